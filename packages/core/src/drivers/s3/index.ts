// The object store on any engine that speaks S3: a blob is an object, its id the key behind a prefix. Bytes that leave the machine are sealed already.
import { createHash } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { type Clock, systemClock } from '../../kernel/clock.ts';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type Log, silent } from '../../kernel/log.ts';
import type { ObjectStoreCapabilities, ObjectStoreDriver, StoredBlob, StoreStatus } from '../../services/bucket/driver.ts';
import { AnswerError, elements, textIn, textOf } from './answers.ts';
import { S3Client } from './client.ts';
import { type ClusterSource, nodesOf } from './cluster.ts';
import { Cursor } from './cursor.ts';
import { Uploads } from './uploads.ts';

export interface S3StoreOptions {
  /** `http://storage.example:3900`; buckets are addressed by path. */
  endpoint: string;
  /** Must be there. Nothing else may use it under the same prefix. */
  bucket: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  /** Before every key: letters, digits and `-_./`. */
  prefix?: string;
  /** Where the engine tells of its nodes and capacity; without it only whether it answers is known. */
  cluster?: ClusterSource | undefined;
  clock?: Clock;
  log?: Log;
}

const ID = /^[0-9a-f]{24}$/;
/** What is buffered and can be sent again; larger ones are streamed. */
const BUFFERED_BYTES = 1024 * 1024;
const READ_ATTEMPTS = 4;
/** Most names in one list, and in one delete. */
const MOST_NAMES = 1000;
const ALREADY = 412;

export class S3ObjectStore implements ObjectStoreDriver {
  readonly capabilities: ObjectStoreCapabilities = { durable: true };
  readonly #options: S3StoreOptions;
  readonly #prefix: string;
  readonly #clock: Clock;
  readonly #client: S3Client;
  readonly #uploads: Uploads;
  #tidied: Promise<void> | undefined;

  constructor(options: S3StoreOptions) {
    this.#options = options;
    this.#prefix = options.prefix ?? '';
    this.#clock = options.clock ?? systemClock;
    const { endpoint, bucket, region, accessKeyId, secretAccessKey } = options;
    this.#client = new S3Client({ endpoint, bucket, region, credentials: { accessKeyId, secretAccessKey }, clock: this.#clock });
    this.#uploads = new Uploads(this.#client, { prefix: this.#prefix, log: options.log ?? silent, startedAt: this.#clock.now() });
  }

  async put(id: string, bytes: AsyncIterable<Uint8Array>, { size, signal }: { size: number | undefined; signal: AbortSignal }): Promise<{ bytes: number }> {
    signal.throwIfAborted();
    // What a process that was killed left half uploaded costs space, and no list of objects shows it.
    this.#tidied ??= this.#uploads.tidy();
    const key = this.#key(id);
    const cursor = new Cursor(bytes, size);
    try {
      if (size !== undefined && size > BUFFERED_BYTES && size <= this.#uploads.partBytes) {
        await this.#whole(key, { bytes: cursor.exactly(size), length: size }, signal);
      } else if (size !== undefined && size > BUFFERED_BYTES) await this.#uploads.put(key, cursor, size, signal);
      else {
        const head = await cursor.upTo(BUFFERED_BYTES);
        if (await cursor.ended()) await this.#whole(key, head, signal);
        else await this.#uploads.put(key, cursor, undefined, signal, head);
      }
      return { bytes: cursor.seen };
    } finally {
      await cursor.close();
    }
  }

  async #whole(key: string, body: Buffer | { bytes: AsyncIterable<Uint8Array>; length: number }, signal: AbortSignal): Promise<void> {
    const { response, repeated } = await this.#client.call({
      method: 'PUT',
      key,
      headers: { 'if-none-match': '*', 'content-type': 'application/octet-stream' },
      body,
      expect: [200, ALREADY],
      doing: 'Cannot write a blob',
      signal,
    });
    await textOf(response);
    // When it was sent twice, the one that is there already is the first of the two: ids are used once.
    if (response.statusCode === ALREADY && !repeated) throw new DriverError('failed', `There is a blob ${key} already`);
  }

  async *get(id: string, { start, end }: { start: number; end: number | undefined }, signal: AbortSignal): AsyncGenerator<Buffer> {
    signal.throwIfAborted();
    const key = this.#key(id);
    if (end !== undefined && start >= end) {
      if ((await this.#sizeOf(key, signal)) < end) throw shorter(key);
      return;
    }
    let at = start;
    for (let attempt = 1; ; attempt += 1) {
      const opened = await this.#open(key, at, end, signal);
      if (opened === undefined) return;
      const { response, to } = opened;
      try {
        for await (const piece of response as AsyncIterable<Buffer>) {
          at += piece.length;
          attempt = 1;
          yield piece;
        }
        if (at >= to) return;
        throw new Error('the connection was closed in the middle');
      } catch (error) {
        signal.throwIfAborted();
        // What was read is not asked for again: a long read outlives a connection.
        if (attempt >= READ_ATTEMPTS) throw new DriverError('unavailable', `Cannot read a blob: ${(error as Error).message}`, { cause: error });
        await this.#clock.sleep(200 * 2 ** (attempt - 1), signal);
      } finally {
        response.destroy();
      }
    }
  }

  /** From `start`, which is not `end`. Undefined when that is where the blob ends. */
  async #open(key: string, start: number, end: number | undefined, signal: AbortSignal): Promise<{ response: IncomingMessage; to: number } | undefined> {
    const { response } = await this.#client.call({
      method: 'GET',
      key,
      headers: start === 0 && end === undefined ? {} : { range: `bytes=${start}-${end === undefined ? '' : end - 1}` },
      expect: [200, 206, 416],
      doing: 'Cannot read a blob',
      signal,
    });
    if (response.statusCode === 416) {
      await textOf(response);
      if (end === undefined && (await this.#sizeOf(key, signal)) === start) return undefined;
      throw shorter(key);
    }
    const length = Number(response.headers['content-length']);
    const range = /^bytes (\d+)-(\d+)\//.exec(response.headers['content-range'] ?? '');
    const from = response.statusCode === 200 ? 0 : Number(range?.[1]);
    const to = from + length;
    if (from !== start || !Number.isSafeInteger(to) || (end !== undefined && to !== end)) {
      response.destroy();
      if (from === start && end !== undefined && to < end) throw shorter(key);
      throw new DriverError('failed', `Cannot read a blob: asked for bytes from ${start}, the object store gave others`);
    }
    return { response, to };
  }

  async #sizeOf(key: string, signal: AbortSignal): Promise<number> {
    const response = await this.#client.done({ method: 'HEAD', key, expect: [200], doing: 'Cannot read a blob', signal });
    return Number(response.headers['content-length']);
  }

  async remove(ids: readonly string[], signal: AbortSignal): Promise<void> {
    const keys = ids.map((id) => this.#key(id));
    for (let at = 0; at < keys.length; at += MOST_NAMES) await this.#removeSome(keys.slice(at, at + MOST_NAMES), signal);
  }

  async #removeSome(keys: readonly string[], signal: AbortSignal): Promise<void> {
    const doing = 'Cannot remove blobs';
    const one = async (key: string) => {
      await this.#client.done({ method: 'DELETE', key, expect: [200, 204, 404], doing, signal });
    };
    if (keys.length === 1) return await one(keys[0] as string);
    const body = Buffer.from(
      `<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>${keys
        .map((key) => `<Object><Key>${key}</Key></Object>`)
        .join('')}</Delete>`,
    );
    let xml: string;
    try {
      const headers = { 'content-md5': createHash('md5').update(body).digest('base64'), 'content-type': 'application/xml' };
      xml = await this.#client.text({ method: 'POST', query: { delete: '' }, headers, body, expect: [200], doing, signal });
    } catch (error) {
      // Not every engine can delete many at once.
      if (!(error instanceof AnswerError) || error.status !== 501) throw error;
      for (const key of keys) await one(key);
      return;
    }
    const failed = elements(xml, 'Error').find((each) => textIn(each, 'Code') !== 'NoSuchKey');
    if (failed !== undefined) throw new AnswerError(500, `<Error>${failed}</Error>`, doing);
  }

  async list(after = '', limit: number): Promise<readonly StoredBlob[]> {
    const found: StoredBlob[] = [];
    const { signal } = new AbortController();
    let last = after;
    for (;;) {
      const query: Record<string, string> = { 'list-type': '2', 'max-keys': String(Math.min(MOST_NAMES, limit - found.length)) };
      if (this.#prefix !== '') query.prefix = this.#prefix;
      if (last !== '') query['start-after'] = this.#prefix + last;
      const xml = await this.#client.text({ method: 'GET', query, expect: [200], doing: 'Cannot list blobs', signal });
      const contents = elements(xml, 'Contents');
      const before = last;
      for (const each of contents) {
        last = (textIn(each, 'Key') ?? '').slice(this.#prefix.length);
        if (ID.test(last)) found.push({ id: last, bytes: Number(textIn(each, 'Size')), createdAt: Date.parse(textIn(each, 'LastModified') ?? '') });
      }
      if (contents.length > 0 && Buffer.compare(Buffer.from(last), Buffer.from(before)) <= 0) {
        throw new DriverError('failed', 'Cannot list blobs: the object store gives the same names again');
      }
      if (found.length >= limit || contents.length === 0 || textIn(xml, 'IsTruncated') !== 'true') return found;
    }
  }

  async status(signal: AbortSignal): Promise<StoreStatus> {
    await this.#head(signal);
    const { endpoint, bucket, cluster } = this.#options;
    const nodes = cluster === undefined ? [] : await nodesOf(cluster, endpoint, signal);
    const sum = (field: 'bytesTotal' | 'bytesFree'): number | undefined =>
      nodes.length > 0 && nodes.every((node) => node[field] !== undefined) ? nodes.reduce((total, node) => total + (node[field] as number), 0) : undefined;
    return {
      engine: 's3',
      location: `${new URL(endpoint).origin}/${bucket}/${this.#prefix}`,
      bytesTotal: sum('bytesTotal'),
      bytesFree: sum('bytesFree'),
      nodes:
        nodes.length > 0
          ? nodes
          : [{ name: new URL(endpoint).host, state: 'up', bytesTotal: undefined, bytesFree: undefined, detail: 'answers; tells nothing of what is behind it' }],
    };
  }

  async #head(signal: AbortSignal): Promise<void> {
    await this.#client.done({ method: 'HEAD', expect: [200], doing: 'Cannot use the bucket of the object store', signal });
  }

  async ping(signal: AbortSignal = new AbortController().signal): Promise<void> {
    try {
      await this.#head(signal);
    } catch (error) {
      // An answer without a body says 404 for a bucket that is not there.
      if (error instanceof AnswerError && error.status === 404) {
        throw new DriverError('unavailable', `There is no bucket ${this.#options.bucket} at ${this.#options.endpoint}`, { cause: error });
      }
      throw error;
    }
  }

  async report(signal?: AbortSignal): Promise<DriverReport> {
    const features: DriverReport['features'] = [
      { name: 'durability', level: 'enforced', detail: `As the engine at ${new URL(this.#options.endpoint).origin} promises for what it has answered` },
    ];
    try {
      await this.ping(signal);
      return { driver: 's3', features, checks: [{ name: 'objects', ok: true, detail: `the bucket ${this.#options.bucket} answers` }] };
    } catch (error) {
      const { message, hint } = error as DriverError;
      return {
        driver: 's3',
        features,
        checks: [{ name: 'objects', ok: false, detail: message, remedy: hint ?? `curl -I ${new URL(this.#options.endpoint).origin}` }],
      };
    }
  }

  async close(): Promise<void> {
    await this.#tidied;
    this.#client.close();
  }

  /** An id is part of a path. */
  #key(id: string): string {
    if (!ID.test(id)) throw new DriverError('bad_spec', `${JSON.stringify(id)} is no id of a blob`);
    return this.#prefix + id;
  }
}

const shorter = (key: string): DriverError => new DriverError('failed', `The blob ${key} is shorter than it should be`);
