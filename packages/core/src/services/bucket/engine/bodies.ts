// The path of the bytes: in one pass they are counted, hashed, cut into segments, sealed and handed to the object store; on the way back each segment is
// authenticated before any of it is given.
import type { KeyObject } from 'node:crypto';
import { type Clock, systemClock } from '../../../kernel/clock.ts';
import { DriverError } from '../../../kernel/errors.ts';
import type { Log } from '../../../kernel/log.ts';
import type { ObjectStoreDriver } from '../driver.ts';
import { newBlobId } from './blob-id.ts';
import type { Bodies, StoredBody, Written } from './body-types.ts';
import { type Digests, digestsOf, RunningDigests, type Wanted } from './checksums.ts';
import { Intake, tooLarge } from './intake.ts';
import { opened } from './opening.ts';
import { customerMark, customerWrappingKey, newBlobKey, SEGMENT_BYTES, Sealing, sealedSize, unwrapKey, wrapKey } from './seal.ts';
import { type CustomerKey, type Expected, ObjectError } from './types.ts';
import { passed } from './young.ts';

export interface BodyStoreOptions {
  store: ObjectStoreDriver;
  /** The wrapping key of that name. */
  keys: (name: string) => Promise<KeyObject> | KeyObject;
  log: Log;
  clock?: Clock;
}

/** More pieces than this in one segment are put together first: a source of single bytes must not cost a call of the cipher for each. */
const MOST_PIECES = 16;
const CUSTOMER_KEY_BYTES = 32;

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
    const { expected, limit, signal } = options;
    const intake = new Intake(source, { expected: expected.size, limit, signal });
    const blob = newBlobId(this.#clock.now());
    let feed: Feed | undefined;
    try {
      if (expected.size !== undefined && expected.size > limit) throw tooLarge(limit);
      const { body, sealing } = await this.#begin(blob, options);
      feed = new Feed(intake, sealing, expected, {
        sha256: expected.sha256 !== undefined,
        checksums: new Set(expected.checksum === undefined ? options.checksums : [...options.checksums, expected.checksum.algorithm]),
      });
      await feed.fill();
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
      await this.#store.remove([blob], new AbortController().signal);
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
    let sealing: Sealing | undefined;
    if (body.format === 1) {
      const wrapping = by ?? (await this.#keys(body.by ?? ''));
      try {
        sealing = new Sealing(unwrapKey(wrapping, body.key ?? '', body.blob, body.bound), body.blob);
      } catch (error) {
        throw new ObjectError('damaged', 'The key of the stored bytes does not open', { blob: body.blob }, { cause: error });
      }
    }
    try {
      yield* opened(this.#store, body, sealing, { start, end }, options.signal);
    } catch (error) {
      if (error instanceof ObjectError) throw error;
      options.signal.throwIfAborted();
      if (error instanceof DriverError && error.code === 'failed') {
        throw new ObjectError('damaged', `The stored bytes cannot be read: ${error.message}`, { blob: body.blob }, { cause: error });
      }
      throw storeProblem(error);
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
      if (blobs.length > 0) await this.#store.remove(blobs, new AbortController().signal);
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

/** What the object store is given: sealed bytes. Its last piece comes only when everything about the bytes was found to be as expected. */
class Feed implements AsyncIterableIterator<Uint8Array> {
  readonly #intake: Intake;
  readonly #sealing: Sealing | undefined;
  readonly #expected: Expected;
  readonly #wanted: Wanted;
  #running: RunningDigests | undefined;
  /** Plain, not yet sealed. */
  #pieces: Buffer[] = [];
  #held = 0;
  #index = 0;
  /** Sealed, in the order in which they go. */
  #out: Buffer[] = [];
  #next = 0;
  #ended = false;
  #over = false;
  /** Known beforehand when all of it is in the first segment. */
  size: number | undefined;
  digests: Digests | undefined;
  /** Why it ended early, whatever the object store makes of it. */
  failure: { error: unknown } | undefined;

  constructor(intake: Intake, sealing: Sealing | undefined, expected: Expected, wanted: Wanted) {
    this.#intake = intake;
    this.#sealing = sealing;
    this.#expected = expected;
    this.#wanted = wanted;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Takes the first segment in; most objects end there, and are then hashed in one go. */
  async fill(): Promise<void> {
    while (this.#held <= SEGMENT_BYTES) {
      const chunk = await this.#intake.next();
      if (chunk === undefined) {
        const whole = this.#pieces.length === 1 ? (this.#pieces[0] as Buffer) : Buffer.concat(this.#pieces);
        this.size = whole.length;
        const digests = digestsOf(whole, this.#wanted);
        check(digests, this.#expected);
        this.digests = digests;
        this.#ended = true;
        this.#out = this.#sealing === undefined ? [whole] : this.#sealing.seal(0, true, [whole]);
        return;
      }
      this.#pieces.push(chunk);
      this.#held += chunk.length;
      if (this.#pieces.length > MOST_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
    }
    this.#running = new RunningDigests(this.#wanted, this.#expected.size);
    for (const piece of this.#pieces) await this.#running.update(piece);
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const given = this.#give();
    // An object store that fails may have asked for more and look no further; that is its right.
    given.catch(() => undefined);
    return given;
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  close(): void {
    this.#over = true;
    this.#intake.close();
    this.#running?.close();
  }

  async #give(): Promise<IteratorResult<Uint8Array>> {
    try {
      while (!this.#over) {
        const piece = this.#out[this.#next];
        if (piece !== undefined) {
          this.#next += 1;
          return { done: false, value: piece };
        }
        if (this.#ended) break;
        this.#out = await this.#more();
        this.#next = 0;
      }
    } catch (error) {
      this.#over = true;
      this.failure ??= { error };
      throw error;
    }
    this.#over = true;
    return { done: true, value: undefined };
  }

  /** The next sealed segment. One is sealed only when something follows it or nothing can: whether it is the last is part of what is sealed. */
  async #more(): Promise<Buffer[]> {
    while (this.#held <= SEGMENT_BYTES) {
      const chunk = await this.#intake.next();
      if (this.#over) return [];
      if (chunk === undefined) {
        const digests = await (this.#running as RunningDigests).finish();
        check(digests, this.#expected);
        this.digests = digests;
        this.#ended = true;
        return this.#seal(this.#held, true);
      }
      // Handed to a thread, it is hashed while it is sealed here.
      const room = this.#running?.update(chunk);
      if (room !== undefined) await room;
      this.#pieces.push(chunk);
      this.#held += chunk.length;
      if (this.#pieces.length > MOST_PIECES) this.#pieces = [Buffer.concat(this.#pieces)];
    }
    return this.#seal(SEGMENT_BYTES, false);
  }

  #seal(bytes: number, last: boolean): Buffer[] {
    const segment: Buffer[] = [];
    for (let left = bytes; left > 0; ) {
      const piece = this.#pieces[0] as Buffer;
      if (piece.length <= left) {
        segment.push(piece);
        this.#pieces.shift();
        left -= piece.length;
      } else {
        segment.push(piece.subarray(0, left));
        this.#pieces[0] = piece.subarray(left);
        left = 0;
      }
    }
    passed(bytes);
    this.#held -= bytes;
    const index = this.#index;
    this.#index += 1;
    return this.#sealing === undefined ? segment : this.#sealing.seal(index, last, segment);
  }
}

function check(digests: Digests, { md5, sha256, checksum }: Expected): void {
  const wrong = (digest: string): ObjectError => new ObjectError('bad_digest', `The bytes that came do not have the ${digest} that came with them`, { digest });
  // In small letters what is of the request; what is kept with the object is called as clients call it.
  if (sha256 !== undefined && digests.sha256 !== sha256) throw wrong('sha256');
  if (md5 !== undefined && Buffer.from(digests.md5, 'hex').toString('base64') !== md5) throw wrong('md5');
  if (checksum !== undefined) {
    const value = typeof checksum.value === 'function' ? checksum.value() : checksum.value;
    if (digests.checksums[checksum.algorithm] !== value) throw wrong(checksum.algorithm);
  }
}

function storeProblem(error: unknown): unknown {
  if (!(error instanceof DriverError)) return error;
  if (error.code === 'full') return new ObjectError('storage_full', 'There is no room left in the object store', {}, { cause: error });
  return new ObjectError('storage_unavailable', `The object store cannot do it now: ${error.message}`, {}, { cause: error });
}
