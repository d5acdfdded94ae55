// Bodies in chunks of S3: however the bytes are cut on their way, the same comes out, and nothing that is wrong gets by.
import { createHash, createHmac, createSecretKey } from 'node:crypto';
import { expect, test } from 'vitest';
import { ChunkedBody, type ChunkOptions } from './chunked.ts';
import type { Signing } from './sigv4.ts';
import { signingKey } from './testbench.ts';
import type { S3Error } from './types.ts';

const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
const KEY = signingKey('20130524');
const signing: Signing = { key: createSecretKey(KEY), scope: '20130524/us-east-1/s3/aws4_request', time: '20130524T000000Z', signature: '0'.repeat(64) };

/** A client of its own, by the documentation. */
function encoded(chunks: readonly Buffer[], { signed, trailers = {} }: { signed: boolean; trailers?: Record<string, string> }): Buffer {
  let previous = signing.signature;
  const sign = (kind: string, rest: string): string => {
    previous = createHmac('sha256', KEY).update(`AWS4-HMAC-SHA256-${kind}\n${signing.time}\n${signing.scope}\n${previous}\n${rest}`).digest('hex');
    return previous;
  };
  const pieces = [...chunks, Buffer.alloc(0)].flatMap((chunk) => {
    const extension = signed ? `;chunk-signature=${sign('PAYLOAD', `${sha256('')}\n${sha256(chunk)}`)}` : '';
    return [Buffer.from(`${chunk.length.toString(16)}${extension}\r\n`), chunk, Buffer.from(chunk.length === 0 ? '' : '\r\n')];
  });
  const lines = Object.entries(trailers);
  for (const [name, value] of lines) pieces.push(Buffer.from(`${name}:${value}\r\n`));
  if (signed && lines.length > 0) {
    pieces.push(Buffer.from(`x-amz-trailer-signature:${sign('TRAILER', sha256(lines.map(([name, value]) => `${name}:${value}\n`).join('')))}\r\n`));
  }
  return Buffer.concat([...pieces, Buffer.from('\r\n')]);
}

async function* cut(bytes: Buffer, size: () => number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const length = Math.max(1, size());
    yield Buffer.from(bytes.subarray(at, at + length));
    at += length;
  }
}
const plain: ChunkOptions = { signing: undefined, trailers: true, announced: [], decodedLength: undefined };
async function decoded(bytes: Buffer, options: ChunkOptions, size: () => number = () => bytes.length): Promise<{ data: Buffer; body: ChunkedBody }> {
  const body = new ChunkedBody(options);
  const pieces: Buffer[] = [];
  for await (const piece of body.stream(cut(bytes, size))) pieces.push(piece);
  return { data: Buffer.concat(pieces), body };
}
const refused = async (bytes: Buffer | string, options: ChunkOptions, size?: () => number): Promise<string> => {
  try {
    await decoded(Buffer.from(bytes), options, size);
  } catch (error) {
    return (error as S3Error).code;
  }
  return 'accepted';
};

/** Repeatable. */
function randomly(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

const TRAILERS = { 'x-amz-checksum-crc32': 'AAAAAA==' };
test.each([true, false])('any chunks, cut anywhere (signed: %s)', async (signed) => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomly(seed);
    const chunks = Array.from({ length: Math.floor(random() * 6) }, () => Buffer.alloc(1 + Math.floor(random() * 3000), Math.floor(random() * 256)));
    const data = Buffer.concat(chunks);
    const trailers = seed % 2 === 0 ? TRAILERS : {};
    const options = {
      signing: signed ? signing : undefined,
      trailers: seed % 2 === 0,
      announced: Object.keys(trailers),
      decodedLength: seed % 3 === 0 ? undefined : data.length,
    };
    const bytes = encoded(chunks, { signed, trailers });
    const { data: came, body } = await decoded(bytes, options, () => Math.floor(random() ** 3 * 2000));
    expect(came.equals(data)).toBe(true);
    expect(body.trailer('x-amz-checksum-crc32')).toBe(trailers['x-amz-checksum-crc32' as keyof typeof trailers]);
  }
});

test.each([true, false])('byte by byte, and cut off at every byte (signed: %s)', async (signed) => {
  const chunks = [Buffer.from('hello'), Buffer.from(' world\r\n0\r\n')];
  const bytes = encoded(chunks, { signed, trailers: TRAILERS });
  const options = { signing: signed ? signing : undefined, trailers: true, announced: Object.keys(TRAILERS), decodedLength: 16 };
  expect((await decoded(bytes, options, () => 1)).data.toString()).toBe('hello world\r\n0\r\n');
  for (let length = 0; length < bytes.length; length++) {
    expect(await refused(bytes.subarray(0, length), options)).toMatch(/^(IncompleteBody|MalformedTrailerError)$/);
  }
});

test('signed: a flip of any bit is noticed', async () => {
  const bytes = encoded([Buffer.from('hello world')], { signed: true, trailers: TRAILERS });
  const options = { signing, trailers: true, announced: Object.keys(TRAILERS), decodedLength: 11 };
  const harmless: string[] = [];
  for (let at = 0; at < bytes.length; at++) {
    const flipped = Buffer.from(bytes);
    flipped[at] = (flipped[at] as number) ^ 1;
    if ((await refused(flipped, options)) === 'accepted') harmless.push(JSON.stringify(bytes.toString('latin1', at, at + 1)));
  }
  expect(harmless).toEqual([]);
});

test.each<[string, string, Partial<ChunkOptions>, string]>([
  ['no size', 'xyz\r\n', {}, 'InvalidRequest'],
  ['a size that is negative', '-1\r\n', {}, 'InvalidRequest'],
  ['a size that is too large', '1000000000000\r\n', {}, 'InvalidRequest'],
  ['a line without an end', 'a'.repeat(9000), {}, 'InvalidRequest'],
  ['a chunk that is longer than it says', '3\r\nabcd\r\n0\r\n\r\n', {}, 'InvalidRequest'],
  ['a chunk that is shorter than it says', '5\r\nabc\r\n0\r\n\r\n', {}, 'InvalidRequest'],
  ['bytes after the end', '3\r\nabc\r\n0\r\n\r\nmore', {}, 'InvalidRequest'],
  ['more than was said', '3\r\nabc\r\n0\r\n\r\n', { decodedLength: 2 }, 'IncompleteBody'],
  ['less than was said', '3\r\nabc\r\n0\r\n\r\n', { decodedLength: 4 }, 'IncompleteBody'],
  ['a trailer that nobody announced', '0\r\nx-amz-checksum-sha1:a\r\n\r\n', {}, 'MalformedTrailerError'],
  ['a trailer that did not come', '0\r\n\r\n', { announced: ['x-amz-checksum-sha1'] }, 'MalformedTrailerError'],
  ['a trailer twice', '0\r\na:1\r\na:2\r\n\r\n', { announced: ['a'] }, 'MalformedTrailerError'],
  ['a trailer without a name', '0\r\n:1\r\n\r\n', { announced: ['a'] }, 'MalformedTrailerError'],
  ['trailers where there are none', '0\r\na:1\r\n\r\n', { trailers: false, announced: ['a'] }, 'InvalidRequest'],
  ['a chunk without a signature', '3\r\nabc\r\n0\r\n\r\n', { signing, trailers: false }, 'InvalidRequest'],
  ['an empty signature', '3;chunk-signature=\r\nabc\r\n0\r\n\r\n', { signing, trailers: false }, 'SignatureDoesNotMatch'],
  ['nothing at all', '', {}, 'IncompleteBody'],
  ['only the end', '0\r\n\r\n', {}, 'accepted'],
  ['without the last line, where no trailers are', '3\r\nabc\r\n0\r\n', { trailers: false }, 'accepted'],
  ['an extension that is not ours, unsigned', '3;name=value\r\nabc\r\n0\r\n\r\n', {}, 'accepted'],
])('%s', async (_what, text, options, code) => {
  for (const size of [1, 2, 7, 100_000]) expect(await refused(text, { ...plain, ...options }, () => size)).toBe(code);
});
