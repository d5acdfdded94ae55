// The body of a request as handlers see it: chunks of S3 taken out, its length known where it can be, and its digests named for whoever stores it.
import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Gatherable } from '../engine/body-types.ts';
import { digestsOf } from '../engine/checksums.ts';
import { passing } from '../engine/memory.ts';
import type { ChecksumAlgorithm } from '../engine/types.ts';
import { ChunkedBody } from './chunked.ts';
import { s3Error } from './errors.ts';
import type { Inflow } from './inflow.ts';
import { type Authentication, STREAMING, STREAMING_TRAILER, STREAMING_UNSIGNED_TRAILER, UNSIGNED } from './sigv4.ts';
import type { S3Body, S3Error } from './types.ts';

const HEADER = 'x-amz-checksum-';
/** Header → algorithm and bytes of its value. */
const CHECKSUMS: ReadonlyMap<string, { algorithm: ChecksumAlgorithm; bytes: number }> = new Map([
  [`${HEADER}crc32`, { algorithm: 'CRC32', bytes: 4 }],
  [`${HEADER}crc32c`, { algorithm: 'CRC32C', bytes: 4 }],
  [`${HEADER}crc64nvme`, { algorithm: 'CRC64NVME', bytes: 8 }],
  [`${HEADER}sha1`, { algorithm: 'SHA1', bytes: 20 }],
  [`${HEADER}sha256`, { algorithm: 'SHA256', bytes: 32 }],
]);

const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const isBase64 = (text: string, bytes: number): boolean => BASE64.test(text) && Buffer.byteLength(text, 'base64') === bytes;

/**
 * Documents that are being read, of all requests together: who sends one need not have been asked who it is. What is as small as nearly all of them are is not
 * counted, so that large ones that never end keep nobody else's out.
 */
const MOST_HELD = 64 * 1024 * 1024;
const SMALL = 64 * 1024;
let held = 0;

export interface BodyFacts {
  readonly headers: IncomingHttpHeaders;
  readonly authentication: Pick<Authentication, 'payload' | 'signing'>;
  /** Checksum headers speak of the body. Those of CompleteMultipartUpload speak of the object. */
  readonly checksumOfBody: boolean;
}

export class RequestBody implements S3Body {
  readonly #inflow: Inflow;
  readonly #facts: BodyFacts;
  readonly #chunked: ChunkedBody | undefined;
  readonly #announced: readonly string[];
  readonly size: number | undefined;
  readonly sha256: string | undefined;
  #checksum: S3Body['checksum'] | null = null;

  constructor(inflow: Inflow, facts: BodyFacts) {
    const { headers, authentication } = facts;
    const { payload, signing } = authentication;
    this.#inflow = inflow;
    this.#facts = facts;
    const streaming = payload === STREAMING || payload === STREAMING_TRAILER || payload === STREAMING_UNSIGNED_TRAILER;
    const trailers = streaming && payload !== STREAMING;
    this.#announced = trailers ? trailersOf(headers) : [];
    if (streaming) {
      this.size = decodedLength(headers);
      this.sha256 = undefined;
      this.#chunked = new ChunkedBody({
        signing: payload === STREAMING_UNSIGNED_TRAILER ? undefined : signing,
        trailers,
        announced: this.#announced,
        decodedLength: this.size,
      });
    } else {
      const length = headers['content-length'];
      this.size = length !== undefined ? Number(length) : headers['transfer-encoding'] === undefined ? 0 : undefined;
      this.sha256 = payload === UNSIGNED ? undefined : payload;
    }
  }

  stream(how: 'passing' | 'kept' = 'kept'): AsyncIterable<Buffer> {
    const inflow = this.#inflow;
    if (this.#chunked !== undefined) return this.#chunked.stream(how === 'passing' ? passing(inflow) : inflow);
    if (how === 'kept') return inflow;
    const gatherable: Gatherable = { [Symbol.asyncIterator]: () => passing(inflow), whole: (most) => inflow.whole(most) };
    return gatherable;
  }

  get md5(): string | undefined {
    const text = this.#facts.headers['content-md5'];
    if (text === undefined) return undefined;
    if (typeof text !== 'string' || !isBase64(text, 16)) throw s3Error('InvalidDigest', 'The Content-MD5 you specified was invalid.');
    return text;
  }

  get checksum(): S3Body['checksum'] {
    if (this.#checksum === null) this.#checksum = this.#findChecksum();
    return this.#checksum;
  }

  #findChecksum(): S3Body['checksum'] {
    const { headers } = this.#facts;
    let found: S3Body['checksum'];
    for (const name in headers) {
      if (!name.startsWith(HEADER)) continue;
      const known = CHECKSUMS.get(name);
      if (known === undefined) continue;
      if (found !== undefined) throw several();
      found = { algorithm: known.algorithm, value: checked(name, String(headers[name]), known.bytes) };
    }
    for (const name of this.#announced) {
      const known = CHECKSUMS.get(name);
      if (known === undefined) continue;
      if (found !== undefined) throw several();
      found = {
        algorithm: known.algorithm,
        value: () => {
          const value = this.#chunked?.trailer(name);
          if (value === undefined) throw s3Error('MalformedTrailerError');
          return checked(name, value, known.bytes);
        },
      };
    }
    const said = headers['x-amz-sdk-checksum-algorithm'];
    if (typeof said === 'string' && this.#facts.checksumOfBody) {
      const algorithm = said.toUpperCase();
      if (![...CHECKSUMS.values()].some((known) => known.algorithm === algorithm)) {
        throw s3Error('InvalidRequest', `Checksum algorithm provided is unsupported. Please try again with any of the valid types: [${names()}]`);
      }
      if (found !== undefined && found.algorithm !== algorithm) {
        throw s3Error('InvalidRequest', 'Value for x-amz-sdk-checksum-algorithm header is invalid.');
      }
    }
    return found;
  }

  async bytes(limit: number): Promise<Buffer> {
    if (this.size !== undefined && this.size > limit) throw tooLong(limit);
    const md5 = this.md5;
    const checksum = this.#facts.checksumOfBody ? this.checksum : undefined;
    const pieces: Buffer[] = [];
    let length = 0;
    let counted = 0;
    try {
      for await (const piece of this.stream()) {
        length += piece.length;
        if (length > limit) throw tooLong(limit);
        pieces.push(piece);
        const more = Math.max(0, length - SMALL) - counted;
        if (more > 0 && held + more > MOST_HELD) throw s3Error('SlowDown');
        held += more;
        counted += more;
      }
    } finally {
      held -= counted;
    }
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces, length);
    if (this.sha256 !== undefined && hash('sha256', bytes, 'hex') !== this.sha256) {
      throw s3Error('XAmzContentSHA256Mismatch', undefined, {
        ClientComputedContentSHA256: this.sha256,
        S3ComputedContentSHA256: hash('sha256', bytes, 'hex'),
      });
    }
    if (md5 !== undefined && hash('md5', bytes, 'base64') !== md5) {
      throw s3Error('BadDigest', 'The Content-MD5 you specified did not match what we received.', {
        ExpectedDigest: md5,
        CalculatedDigest: hash('md5', bytes, 'base64'),
      });
    }
    if (checksum !== undefined) {
      const value = typeof checksum.value === 'string' ? checksum.value : checksum.value();
      const computed = digestsOf(bytes, { sha256: false, checksums: new Set([checksum.algorithm]) }).checksums[checksum.algorithm];
      if (computed !== value) throw s3Error('BadDigest', `The ${checksum.algorithm} you specified did not match the calculated checksum.`);
    }
    return bytes;
  }
}

const names = (): string => [...CHECKSUMS.values()].map(({ algorithm }) => algorithm).join(', ');
const several = (): S3Error => s3Error('InvalidRequest', 'Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.');
const tooLong = (limit: number): S3Error => s3Error('MaxMessageLengthExceeded', undefined, { MaxMessageLengthBytes: String(limit) });

function checked(name: string, value: string, bytes: number): string {
  if (!isBase64(value, bytes)) throw s3Error('BadDigest', `Value for ${name} header is invalid.`);
  return value;
}

function trailersOf(headers: IncomingHttpHeaders): string[] {
  const value = headers['x-amz-trailer'];
  if (value === undefined || value === '') return [];
  const announced = String(value)
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
  if (announced.some((name) => !CHECKSUMS.has(name))) {
    throw s3Error('InvalidRequest', 'The value specified in the x-amz-trailer header is not supported');
  }
  return [...new Set(announced)];
}

function decodedLength(headers: IncomingHttpHeaders): number {
  const value = headers['x-amz-decoded-content-length'];
  if (value === undefined || value === '') throw s3Error('MissingContentLength');
  if (!/^\d{1,15}$/.test(String(value))) throw s3Error('InvalidArgument', 'x-amz-decoded-content-length must be a number of bytes');
  return Number(value);
}
