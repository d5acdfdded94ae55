// Uploads in parts, for what is too large to be one request. Parts of a known length are streamed; where the end is not known a part is gathered first.

import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';
import { elements, saidIn, textIn, textOf } from './answers.ts';
import type { S3Client } from './client.ts';
import type { Cursor } from './cursor.ts';

const PART_BYTES = 16 * 1024 * 1024;
const MOST_PARTS = 10_000;
/** Parts of unknown length that are gathered at a time, in all uploads together: more would be too much memory. */
const MOST_GATHERED = 8;
const TIME_DIGITS = 12;
/** Of uploads, a thousand in each: an engine that goes in circles comes to an end. */
const MOST_PAGES = 1000;

export class Uploads {
  readonly partBytes = PART_BYTES;
  readonly #client: S3Client;
  readonly #prefix: string;
  readonly #log: Log;
  readonly #startedAt: number;
  #gathering = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(client: S3Client, options: { prefix: string; log: Log; startedAt: number }) {
    this.#client = client;
    this.#prefix = options.prefix;
    this.#log = options.log;
    this.#startedAt = options.startedAt;
  }

  /** `head`: what was taken from the cursor already, when the length is not known. */
  async put(key: string, cursor: Cursor, size: number | undefined, signal: AbortSignal, head?: Buffer): Promise<void> {
    const doing = 'Cannot write a blob';
    const begun = await this.#client.text({ method: 'POST', key, query: { uploads: '' }, expect: [200], doing, signal });
    const uploadId = textIn(begun, 'UploadId');
    if (uploadId === undefined) throw new DriverError('failed', `${doing}: the object store began an upload and did not name it`);
    try {
      const tags: string[] = [];
      const send = async (body: Buffer | { bytes: AsyncIterable<Uint8Array>; length: number }): Promise<void> => {
        const query = { partNumber: String(tags.length + 1), uploadId };
        const { headers } = await this.#client.done({ method: 'PUT', key, query, body, expect: [200], doing, signal });
        if (headers.etag === undefined) throw new DriverError('failed', `${doing}: the object store took a part and gave it no ETag`);
        tags.push(headers.etag);
      };
      if (size !== undefined) {
        const part = Math.max(PART_BYTES, Math.ceil(size / MOST_PARTS));
        for (let at = 0; at < size; at += part) {
          const length = Math.min(part, size - at);
          await send({ bytes: cursor.exactly(length), length });
        }
      } else await this.#gathered(cursor, head ?? Buffer.alloc(0), send);
      await this.#complete(key, uploadId, tags, signal);
    } catch (error) {
      await this.#abort(key, uploadId);
      throw error;
    }
  }

  async #gathered(cursor: Cursor, head: Buffer, send: (body: Buffer) => Promise<void>): Promise<void> {
    if (this.#gathering >= MOST_GATHERED) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#gathering += 1;
    try {
      let first = head;
      do {
        const part = Buffer.concat([first, await cursor.upTo(PART_BYTES - first.length)]);
        first = Buffer.alloc(0);
        // Whether it is the last is asked first: a source that fails at its end must not have sent everything.
        await cursor.ended();
        await send(part);
      } while (!(await cursor.ended()));
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#gathering -= 1;
      else next();
    }
  }

  async #complete(key: string, uploadId: string, tags: readonly string[], signal: AbortSignal): Promise<void> {
    const body = Buffer.from(
      `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">${tags
        .map((tag, at) => `<Part><PartNumber>${at + 1}</PartNumber><ETag>${tag.replace(/&/g, '&amp;').replace(/</g, '&lt;')}</ETag></Part>`)
        .join('')}</CompleteMultipartUpload>`,
    );
    const doing = 'Cannot finish a blob';
    const headers = { 'content-type': 'application/xml', 'if-none-match': '*' };
    const { response, repeated } = await this.#client.call({ method: 'POST', key, query: { uploadId }, headers, body, expect: [200, 404, 412], doing, signal });
    const xml = await textOf(response);
    // The first of two may have finished it and its answer got lost; then the upload is gone and the blob is there.
    if (response.statusCode !== 200 && repeated && (await this.#isThere(key, signal))) return;
    // S3 answers 200 before it knows, and tells of trouble in the body.
    if (response.statusCode !== 200 || !xml.includes('CompleteMultipartUploadResult')) {
      const said = saidIn(xml);
      if (response.statusCode === 412) throw new DriverError('failed', `There is a blob ${key} already`);
      throw new DriverError('unavailable', `${doing}: the object store did not put the parts together${said === '' ? '' : ` (${said})`}`);
    }
  }

  async #isThere(key: string, signal: AbortSignal): Promise<boolean> {
    const { statusCode } = await this.#client.done({ method: 'HEAD', key, expect: [200, 404], doing: 'Cannot look at a blob', signal });
    return statusCode === 200;
  }

  async #abort(key: string, uploadId: string): Promise<void> {
    const { signal } = new AbortController();
    try {
      await this.#client.done({ method: 'DELETE', key, query: { uploadId }, expect: [200, 204, 404], doing: 'Cannot give up an upload', signal });
    } catch (error) {
      this.#log.warn({ key, err: error }, 'an upload to the object store could not be given up; the next start will');
    }
  }

  /** Gives up what a process before this one began: ids tell the time. Never rejects. */
  async tidy(): Promise<void> {
    const { signal } = new AbortController();
    try {
      let marker: Record<string, string> = {};
      for (let page = 0; page < MOST_PAGES; page++) {
        const query = { uploads: '', ...(this.#prefix === '' ? {} : { prefix: this.#prefix }), ...marker };
        const xml = await this.#client.text({ method: 'GET', query, expect: [200], doing: 'Cannot list uploads', signal });
        for (const upload of elements(xml, 'Upload')) {
          const key = textIn(upload, 'Key') ?? '';
          const id = key.slice(this.#prefix.length);
          const uploadId = textIn(upload, 'UploadId');
          if (!/^[0-9a-f]{24}$/.test(id) || uploadId === undefined) continue;
          if (Number.parseInt(id.slice(0, TIME_DIGITS), 16) < this.#startedAt) await this.#abort(key, uploadId);
        }
        const [nextKey, nextUpload] = [textIn(xml, 'NextKeyMarker'), textIn(xml, 'NextUploadIdMarker')];
        if (textIn(xml, 'IsTruncated') !== 'true' || nextKey === undefined) return;
        marker = { 'key-marker': nextKey, ...(nextUpload === undefined ? {} : { 'upload-id-marker': nextUpload }) };
      }
    } catch (error) {
      this.#log.warn({ err: error }, 'uploads that an earlier process left in the object store could not be looked for');
    }
  }
}
