// Memory that is used again: what is written and read is right although each piece is wiped as soon as it may be, and nothing is freed that somebody else has.
import { createSecretKey, randomBytes, randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { silent } from '../../../kernel/log.ts';
import type { ObjectStoreDriver } from '../driver.ts';
import { ChunkedBody } from '../s3/chunked.ts';
import { BodyStore } from './bodies.ts';
import { digestsOf } from './checksums.ts';
import { passing, release } from './memory.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;

async function* pieces(bytes: Buffer, most: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; ) {
    const piece = Buffer.from(bytes.subarray(at, at + 1 + randomInt(most)));
    at += piece.length;
    yield piece;
  }
}
/** Each piece is good until the next is asked for, and zeros afterwards, also where it is too small to be freed. */
async function* wiped(bytes: Buffer, most: number): AsyncGenerator<Buffer> {
  for await (const piece of pieces(bytes, most)) {
    yield piece;
    piece.fill(0);
  }
}

function store(): ObjectStoreDriver {
  const blobs = new Map<string, Buffer>();
  return {
    capabilities: { durable: false },
    put: async (id, bytes) => {
      const kept: Buffer[] = [];
      for await (const piece of bytes) kept.push(Buffer.from(piece));
      blobs.set(id, Buffer.concat(kept));
      return { bytes: (blobs.get(id) as Buffer).length };
    },
    get: (id, { start, end }) => pieces((blobs.get(id) as Buffer).subarray(start, end), 200_000),
    remove: async () => undefined,
    list: async () => [],
  } as Partial<ObjectStoreDriver> as ObjectStoreDriver;
}

test.each([0, 10, 65_536, 65_537, 256 * 1024, 256 * 1024 + 1, MIB, MIB + 1, 3 * MIB + 7, 5 * MIB])('%d bytes in pieces that do not stay', async (length) => {
  const key = createSecretKey(randomBytes(32));
  const bodies = new BodyStore({ store: store(), keys: () => key, log: silent });
  const bytes = randomBytes(length);
  const options = { by: 'a', bound: 'b', checksums: ['CRC64NVME', 'CRC32C'] as const, limit: 10 * MIB, signal: never };
  for (const [size, encrypt, source] of [
    [length, true, wiped],
    [undefined, true, wiped],
    [length, false, wiped],
    [undefined, false, (of: Buffer, most: number) => passing(pieces(of, most))],
  ] as const) {
    const written = await bodies.write(source(bytes, 150_000), { ...options, encrypt, expected: { size } });
    const { md5, checksums } = digestsOf(bytes, { sha256: false, checksums: new Set(options.checksums) });
    expect(written).toMatchObject({ size: length, md5, checksums });
    const start = length === 0 ? 0 : randomInt(length);
    for (const range of length === 0 ? [undefined] : [undefined, { start, end: start + randomInt(length - start) }]) {
      const read: Buffer[] = [];
      for await (const piece of passing(bodies.read(written.body, { range, signal: never }))) read.push(Buffer.from(piece));
      expect(Buffer.concat(read).equals(range === undefined ? bytes : bytes.subarray(range.start, range.end + 1))).toBe(true);
    }
  }
});

test('chunks of S3 in pieces that do not stay', async () => {
  const data = randomBytes(120_000);
  const cuts = [1, 70_000, 49_999];
  let at = 0;
  const chunks = cuts.flatMap((size) => [Buffer.from(`${size.toString(16)}\r\n`), data.subarray(at, (at += size)), Buffer.from('\r\n')]);
  const bytes = Buffer.concat([...chunks, Buffer.from('0\r\n\r\n')]);
  for (const most of [1, 7, 5000, 100_000]) {
    const body = new ChunkedBody({ signing: undefined, trailers: true, announced: [], decodedLength: data.length });
    const read: Buffer[] = [];
    for await (const piece of body.stream(wiped(bytes, most))) read.push(Buffer.from(piece));
    expect(Buffer.concat(read).equals(data)).toBe(true);
  }
});

test('only what nobody shares is freed', () => {
  const whole = Buffer.allocUnsafeSlow(MIB);
  const part = whole.subarray(0, MIB - 1);
  release(part);
  expect(whole.length).toBe(MIB);
  const shared = Buffer.from(new SharedArrayBuffer(MIB));
  release(shared);
  expect(shared.length).toBe(MIB);
  release(whole);
  expect([whole.length, part.length]).toEqual([0, 0]);
  release(whole); // twice is once
});
