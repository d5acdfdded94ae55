// `aws-chunked`: a body in chunks of its own within the body of HTTP, each signed or none, and after them trailers with a checksum.
//
//   10000;chunk-signature=<64 hex>\r\n <bytes> \r\n … 0;chunk-signature=<64 hex>\r\n  x-amz-checksum-crc32:AAAAAA==\r\n  x-amz-trailer-signature:<64 hex>\r\n  \r\n
import { createHash, createHmac, type Hash, hash } from 'node:crypto';
import { s3Error } from './errors.ts';
import { type Signing, sameSignature } from './sigv4.ts';
import type { S3Error } from './types.ts';

export interface ChunkOptions {
  /** Chunks, and trailers, are signed. */
  signing: Signing | undefined;
  /** Trailers may follow. */
  trailers: boolean;
  /** Lower case: those that were announced. */
  announced: readonly string[];
  /** Bytes that must come, when it was said. */
  decodedLength: number | undefined;
}

const LONGEST_LINE = 8192;
const MOST_TRAILERS = 32;
const EMPTY_DIGEST = hash('sha256', '', 'hex');
const CR = 13;
const LF = 10;
const NOTHING = Buffer.alloc(0);

const malformed = (message = 'The chunked encoding of the body is not well-formed'): S3Error => s3Error('InvalidRequest', message);
const ended = (): S3Error => s3Error('IncompleteBody', 'The request body terminated unexpectedly');

/** Takes bytes as they come, in any pieces, and gives what they carry. Trailers are known after the last byte. */
export class ChunkedBody {
  readonly #options: ChunkOptions;
  readonly #trailers = new Map<string, string>();
  #previous: string;

  constructor(options: ChunkOptions) {
    this.#options = options;
    this.#previous = options.signing?.signature ?? '';
  }

  /** Good when `stream` has ended. */
  trailer(name: string): string | undefined {
    return this.#trailers.get(name);
  }

  async *stream(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const { signing, decodedLength } = this.#options;
    const state = { phase: 'size' as 'size' | 'data' | 'end' | 'trailer' | 'done', left: 0, claimed: '', hashing: undefined as Hash | undefined };
    let rest: Buffer = NOTHING;
    let total = 0;
    let trailerLines = 0;
    for await (const piece of source) {
      // Only the beginning of a line is ever kept back.
      let bytes = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      rest = NOTHING;
      while (bytes.length > 0) {
        if (state.phase === 'done') throw malformed('There are bytes after the last chunk');
        if (state.phase === 'data') {
          const data = bytes.length > state.left ? bytes.subarray(0, state.left) : bytes;
          bytes = bytes.subarray(data.length);
          state.left -= data.length;
          total += data.length;
          state.hashing?.update(data);
          if (state.left === 0) {
            if (signing !== undefined) this.#checkChunk(signing, state.claimed, state.hashing?.digest('hex') ?? EMPTY_DIGEST);
            state.phase = 'end';
          }
          yield data;
          continue;
        }
        const end = bytes.indexOf(LF);
        if (end < 0) {
          if (bytes.length > LONGEST_LINE) throw malformed();
          rest = Buffer.from(bytes); // what it is part of may be gone when the next comes
          break;
        }
        if (end > LONGEST_LINE) throw malformed();
        const line = bytes.toString('latin1', 0, end > 0 && bytes[end - 1] === CR ? end - 1 : end);
        bytes = bytes.subarray(end + 1);
        if (state.phase === 'end') {
          if (line !== '') throw malformed();
          state.phase = 'size';
        } else if (state.phase === 'size') {
          const { size, signature } = parseSize(line, signing !== undefined);
          if (decodedLength !== undefined && total + size > decodedLength) throw wrongLength(decodedLength, total + size);
          state.left = size;
          state.claimed = signature;
          if (size === 0) {
            if (signing !== undefined) this.#checkChunk(signing, signature, EMPTY_DIGEST);
            state.phase = 'trailer';
          } else {
            state.hashing = signing === undefined ? undefined : createHash('sha256');
            state.phase = 'data';
          }
        } else if (line === '') {
          // Some write an empty line between the trailers and their signature, as an example of the documentation does.
          const awaitsSignature = signing !== undefined && this.#options.trailers && !this.#trailers.has(SIGNATURE);
          if (!awaitsSignature || trailerLines === 0) state.phase = 'done';
        } else {
          if (!this.#options.trailers) throw malformed('Trailers were not announced');
          if (++trailerLines > MOST_TRAILERS) throw s3Error('MalformedTrailerError');
          this.#take(line);
        }
      }
    }
    // Without trailers the line end after the last chunk tells nothing that its size did not, and is left out by some.
    if (state.phase !== 'done' && !(state.phase === 'trailer' && rest.length === 0 && !this.#options.trailers)) throw ended();
    if (decodedLength !== undefined && total !== decodedLength) throw wrongLength(decodedLength, total);
    if (this.#options.trailers) this.#checkTrailers();
  }

  #take(line: string): void {
    const colon = line.indexOf(':');
    const name = spaceless(line.slice(0, Math.max(colon, 0))).toLowerCase();
    const allowed = name === SIGNATURE ? this.#options.signing !== undefined : this.#options.announced.includes(name);
    if (colon <= 0 || !allowed || this.#trailers.has(name)) throw s3Error('MalformedTrailerError');
    this.#trailers.set(name, spaceless(line.slice(colon + 1)));
  }

  #checkTrailers(): void {
    for (const name of this.#options.announced) if (!this.#trailers.has(name)) throw s3Error('MalformedTrailerError');
    const { signing } = this.#options;
    if (signing === undefined) return;
    let text = '';
    for (const [name, value] of this.#trailers) if (name !== SIGNATURE) text += `${name}:${value}\n`;
    const signature = this.#trailers.get(SIGNATURE);
    if (signature === undefined) throw s3Error('MalformedTrailerError');
    this.#check(signing, signature, `AWS4-HMAC-SHA256-TRAILER\n${signing.time}\n${signing.scope}\n${this.#previous}\n${hash('sha256', text, 'hex')}`);
  }

  #checkChunk(signing: Signing, claimed: string, digest: string): void {
    this.#check(signing, claimed, `AWS4-HMAC-SHA256-PAYLOAD\n${signing.time}\n${signing.scope}\n${this.#previous}\n${EMPTY_DIGEST}\n${digest}`);
  }

  #check(signing: Signing, claimed: string, text: string): void {
    const expected = createHmac('sha256', signing.key).update(text).digest('hex');
    if (!sameSignature(expected, claimed.toLowerCase())) throw s3Error('SignatureDoesNotMatch', undefined, { StringToSign: text, SignatureProvided: claimed });
    this.#previous = expected;
  }
}

const SIGNATURE = 'x-amz-trailer-signature';
const CHUNK_SIGNATURE = ';chunk-signature=';

function parseSize(line: string, signed: boolean): { size: number; signature: string } {
  const semicolon = line.indexOf(';');
  const digits = semicolon < 0 ? line : line.slice(0, semicolon);
  if (!/^[0-9a-fA-F]{1,12}$/.test(digits)) throw malformed();
  const extension = semicolon < 0 ? '' : line.slice(semicolon);
  const hasSignature = extension.startsWith(CHUNK_SIGNATURE);
  if (signed && !hasSignature) throw malformed('A chunk is not signed');
  return { size: Number.parseInt(digits, 16), signature: hasSignature ? extension.slice(CHUNK_SIGNATURE.length) : '' };
}

const spaceless = (text: string): string => text.replace(/^[ \t]+|[ \t]+$/g, '');

const wrongLength = (expected: number, came: number): S3Error =>
  s3Error('IncompleteBody', 'The body has not the length that x-amz-decoded-content-length says', {
    NumberBytesExpected: String(expected),
    NumberBytesProvided: String(came),
  });
