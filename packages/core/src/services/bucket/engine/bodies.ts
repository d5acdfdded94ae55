// The path of the bytes: in one pass they are counted, hashed, cut into segments, sealed and handed to the object store; on the way back each segment is
// authenticated before any of it is given.
import type { KeyObject } from 'node:crypto';
import { type Clock, systemClock } from '../../../kernel/clock.ts';
import { DriverError } from '../../../kernel/errors.ts';
import type { Log } from '../../../kernel/log.ts';
import { type ObjectStoreDriver, Whole } from '../driver.ts';
import { newBlobId } from './blob-id.ts';
import { type Bodies, isGatherable, type StoredBody, type Written } from './body-types.ts';
import { type Digests, digestsOf } from './checksums.ts';
import { check, Feed, wantedOf } from './feed.ts';
import { Intake, incomplete, tooLarge } from './intake.ts';
import { opened, openedWhole } from './opening.ts';
import { customerMark, customerWrappingKey, newBlobKey, SEGMENT_BYTES, Sealing, sealedSize, unwrapKey, wrapKey } from './seal.ts';
import { type CustomerKey, ObjectError } from './types.ts';

export interface BodyStoreOptions {
  store: ObjectStoreDriver;
  /** The wrapping key of that name. */
  keys: (name: string) => Promise<KeyObject> | KeyObject;
  log: Log;
  clock?: Clock;
}

const CUSTOMER_KEY_BYTES = 32;
/** Of what waits for nobody. */
const UNENDED = new AbortController().signal;

type WriteOptions = Parameters<Bodies['write']>[1];

export class BodyStore implements Bodies {
  readonly #store: ObjectStoreDriver;
  readonly #keys: BodyStoreOptions['keys'];
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #inFlight = new Set<string>();

  constructor(options: BodyStoreOptions) {
    this.#store = options.store;
    this.#keys = options.keys;
    this.#log = options.log;
    this.#clock = options.clock ?? systemClock;
  }

  async write(source: AsyncIterable<Buffer>, options: WriteOptions): Promise<Written> {
    const { expected, limit } = options;
    const gathered = expected.size !== undefined && expected.size <= limit && isGatherable(source) ? source.whole(SEGMENT_BYTES) : undefined;
    if (gathered !== undefined) return this.#writeWhole(await gathered, options);
    const { signal } = options;
    const intake = new Intake(source, { expected: expected.size, limit, signal });
    const blob = newBlobId(this.#clock.now());
    let feed: Feed | undefined;
    try {
      if (expected.size !== undefined && expected.size > limit) throw tooLarge(limit);
      const { body, sealing } = await this.#begin(blob, options);
      feed = new Feed(intake, sealing, expected, options.checksums);
      await feed.begin();
      const size = feed.size ?? expected.size;
      const stored = size === undefined || sealing === undefined ? size : sealedSize(size);
      let digests: Digests | undefined;
      this.#inFlight.add(blob);
      try {
        const { bytes } = await this.#store.put(blob, feed, { size: stored, signal });
        digests = feed.digests;
        if (digests === undefined || bytes !== (sealing === undefined ? intake.size : sealedSize(intake.size))) {
          throw new DriverError('failed', 'the object store did not take all bytes');
        }
      } catch (error) {
        feed.close();
        await this.#forget(blob);
        if (feed.failure !== undefined) throw feed.failure.error;
        signal.throwIfAborted();
        throw storeProblem(error);
      }
      return { body: { ...body, size: intake.size }, size: intake.size, md5: digests.md5, checksums: digests.checksums };
    } finally {
      feed?.close();
      intake.close();
    }
  }

  /** One segment. As `write`, without what is there for bytes that come and go. */
  async #writeWhole(bytes: Buffer, options: WriteOptions): Promise<Written> {
    const { expected, checksums } = options;
    const size = bytes.length;
    if (size !== expected.size) throw incomplete(expected.size as number, size);
    const digests = digestsOf(bytes, wantedOf(expected, checksums));
    check(digests, expected);
    const blob = newBlobId(this.#clock.now());
    const { body, sealing } = await this.#begin(blob, options);
    const stored = sealing === undefined ? bytes : Buffer.concat(sealing.seal(0, true, [bytes]));
    this.#inFlight.add(blob);
    try {
      const kept = await this.#store.put(blob, new Whole(stored), { size: stored.length, signal: options.signal });
      if (kept.bytes !== stored.length) throw new DriverError('failed', 'the object store did not take all bytes');
    } catch (error) {
      await this.#forget(blob);
      options.signal.throwIfAborted();
      throw storeProblem(error);
    }
    body.size = size;
    return { body, size, md5: digests.md5, checksums: digests.checksums };
  }

  async #begin(blob: string, { by: name, bound, encrypt, customerKey }: WriteOptions): Promise<{ body: StoredBody; sealing: Sealing | undefined }> {
    if (customerKey !== undefined) {
      if (customerKey.key.length !== CUSTOMER_KEY_BYTES) throw new ObjectError('invalid_key', `A customer key has ${CUSTOMER_KEY_BYTES} bytes`);
      const key = newBlobKey();
      const customer = customerMark(customerKey.key);
      const by = customerWrappingKey(customerKey.key, customer) as Buffer;
      return { body: { blob, size: 0, format: 1, key: wrapKey(by, key, blob, bound), customer, bound }, sealing: new Sealing(key, blob) };
    }
    if (!encrypt) return { body: { blob, size: 0, format: 0, bound }, sealing: undefined };
    const key = newBlobKey();
    const given = this.#keys(name);
    const by = given instanceof Promise ? await given : given;
    return { body: { blob, size: 0, format: 1, key: wrapKey(by, key, blob, bound), by: name, bound }, sealing: new Sealing(key, blob) };
  }

  /** Of what could not be written. The caller is told the reason, not that cleaning up failed too: the sweep finds what stays. */
  async #forget(blob: string): Promise<void> {
    try {
      await this.#store.remove([blob], UNENDED);
    } catch (error) {
      this.#log.warn({ blob, err: error }, 'what is left of a failed upload could not be removed; the next sweep will');
    } finally {
      this.#inFlight.delete(blob);
    }
  }

  async *read(
    body: StoredBody,
    options: { range: { start: number; end: number } | undefined; customerKey?: CustomerKey | undefined; signal: AbortSignal },
  ): AsyncGenerator<Buffer> {
    const by = this.#wrappingKey(body, options.customerKey);
    const { start, end } = options.range ?? { start: 0, end: body.size - 1 };
    if (start < 0 || end >= body.size || (options.range !== undefined && start > end)) {
      throw new ObjectError('invalid_range', `There are no bytes ${start} to ${end} in ${body.size}`);
    }
    const sealing = body.format === 1 ? this.#unsealing(by ?? (await this.#keys(body.by ?? '')), body) : undefined;
    try {
      yield* opened(this.#store, body, sealing, { start, end }, options.signal);
    } catch (error) {
      if (!(error instanceof ObjectError)) options.signal.throwIfAborted();
      throw readProblem(error, body);
    }
  }

  atHand(body: StoredBody, range: { start: number; end: number } | undefined): Buffer | undefined {
    if (body.size === 0 || body.size > SEGMENT_BYTES || body.customer !== undefined) return undefined;
    const by = body.format === 1 ? this.#keys(body.by ?? '') : undefined;
    if (by instanceof Promise) {
      by.catch(() => undefined); // `read` asks again
      return undefined;
    }
    try {
      const given = this.#store.get(body.blob, { start: 0, end: body.format === 1 ? sealedSize(body.size) : body.size }, UNENDED);
      if (!(given instanceof Whole)) return undefined;
      const whole = openedWhole(given.bytes, body, by === undefined ? undefined : this.#unsealing(by, body));
      return range === undefined ? whole : whole.subarray(range.start, range.end + 1);
    } catch (error) {
      throw readProblem(error, body);
    }
  }

  #unsealing(by: KeyObject | Buffer, body: StoredBody): Sealing {
    try {
      return new Sealing(unwrapKey(by, body.key ?? '', body.blob, body.bound), body.blob);
    } catch (error) {
      throw new ObjectError('damaged', 'The key of the stored bytes does not open', { blob: body.blob }, { cause: error });
    }
  }

  checkKey(body: StoredBody, customerKey: CustomerKey | undefined): void {
    this.#wrappingKey(body, customerKey);
  }

  /** Undefined where no customer key belongs. */
  #wrappingKey(body: StoredBody, customerKey: CustomerKey | undefined): Buffer | undefined {
    if (body.customer === undefined) {
      if (customerKey !== undefined) throw new ObjectError('invalid_key', 'The object was not stored with a customer key');
      return undefined;
    }
    if (customerKey === undefined) throw new ObjectError('invalid_key', 'The object was stored with a customer key, which must come with the request');
    const by = customerWrappingKey(customerKey.key, body.customer);
    if (by === undefined) throw new ObjectError('invalid_key', 'The object was stored with another customer key');
    return by;
  }

  settled(blob: string): void {
    this.#inFlight.delete(blob);
  }

  async discard(blobs: readonly string[]): Promise<void> {
    try {
      if (blobs.length > 0) await this.#store.remove(blobs, UNENDED);
    } catch (error) {
      throw storeProblem(error);
    } finally {
      for (const blob of blobs) this.#inFlight.delete(blob);
    }
  }

  inFlight(): ReadonlySet<string> {
    return this.#inFlight;
  }
}

function readProblem(error: unknown, body: StoredBody): unknown {
  if (error instanceof ObjectError) return error;
  if (error instanceof DriverError && error.code === 'failed') {
    return new ObjectError('damaged', `The stored bytes cannot be read: ${error.message}`, { blob: body.blob }, { cause: error });
  }
  return storeProblem(error);
}

function storeProblem(error: unknown): unknown {
  if (!(error instanceof DriverError)) return error;
  if (error.code === 'full') return new ObjectError('storage_full', 'There is no room left in the object store', {}, { cause: error });
  return new ObjectError('storage_unavailable', `The object store cannot do it now: ${error.message}`, {}, { cause: error });
}
