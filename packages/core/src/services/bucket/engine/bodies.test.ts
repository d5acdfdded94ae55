// The path of the bytes over the memory store: what goes in comes out, what was changed does not, and what fails leaves nothing, whoever fails and when.
import { createHash, createSecretKey, randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { memoryDrivers } from '../../../drivers/memory/index.ts';
import type { MemoryObjectStore } from '../../../drivers/memory/object-store.ts';
import { DriverError } from '../../../kernel/errors.ts';
import { silent } from '../../../kernel/log.ts';
import type { ObjectStoreDriver } from '../driver.ts';
import { BodyStore } from './bodies.ts';
import type { StoredBody, Written } from './body-types.ts';
import { newCrc } from './crc.ts';
import { sealedSize } from './seal.ts';
import type { CustomerKey, Expected } from './types.ts';

const KIB = 1024;
const SEGMENT = 64 * KIB;
const never = new AbortController().signal;
const SIZES = [0, 1, 4096, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 5 * SEGMENT + 77, 1024 * KIB];
const tenantKeys = new Map<string, ReturnType<typeof createSecretKey>>();
const keys = (tenant: string) => {
  let key = tenantKeys.get(tenant);
  if (key === undefined) tenantKeys.set(tenant, (key = createSecretKey(randomBytes(32))));
  return key;
};

let store: MemoryObjectStore;
let bodies: BodyStore;
let faults: ReturnType<typeof memoryDrivers>['faults'];
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown) => unhandled.push(error);

beforeEach(() => {
  const backend = memoryDrivers();
  store = backend.drivers['object-store'];
  faults = backend.faults;
  bodies = new BodyStore({ store, keys, log: silent });
  process.on('unhandledRejection', onUnhandled);
});
afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', onUnhandled);
  expect(unhandled.splice(0)).toEqual([]);
});

async function* pieces(bytes: Buffer, size = 10_007): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const write = (
  source: AsyncIterable<Buffer>,
  options: { expected?: Expected; encrypt?: boolean; customerKey?: CustomerKey; limit?: number; signal?: AbortSignal; checksums?: ('CRC32' | 'SHA1')[] } = {},
  over = bodies,
): Promise<Written> =>
  over.write(source, { by: 'ten-a', bound: 'bkt-a/1', encrypt: true, expected: {}, checksums: [], limit: 2 ** 40, signal: never, ...options });
const read = async (body: StoredBody, range?: { start: number; end: number }, customerKey?: CustomerKey): Promise<Buffer> =>
  Buffer.concat(await Array.fromAsync(bodies.read(body, { range, customerKey, signal: never })));
const problem = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => expect.fail('it succeeded'),
    (error: unknown) => (error as { problem?: unknown }).problem ?? error,
  );
const customer = (): CustomerKey => {
  const key = randomBytes(32);
  return { key, md5: createHash('md5').update(key).digest('base64') };
};

describe.each([
  ['sealed', { encrypt: true }],
  ['plain', { encrypt: false }],
  ['with a customer key', { encrypt: true, customerKey: customer() }],
] as const)('%s', (_, how) => {
  test.each(SIZES)('%i bytes come back, whole and in ranges', async (size) => {
    const bytes = randomBytes(size);
    for (const [announced, by] of [
      [size, 10_007],
      [undefined, 10_007],
      [undefined, 1024 * KIB],
      [size, 300_001],
    ] as const) {
      const written = await write(pieces(bytes, by), { ...how, expected: { size: announced } });
      expect(written).toMatchObject({ size, md5: createHash('md5').update(bytes).digest('hex'), body: { size } });
      const key = 'customerKey' in how ? how.customerKey : undefined;
      expect((await read(written.body, undefined, key)).equals(bytes)).toBe(true);
      for (const [start, end] of [
        [0, 0],
        [size - 1, size - 1],
        [0, size - 1],
        [size >> 1, size - 1],
        [SEGMENT - 1, SEGMENT],
        [SEGMENT, 2 * SEGMENT - 1],
        [2 * SEGMENT + 5, 3 * SEGMENT + 5],
      ] as const) {
        if (start < 0 || end >= size || start > end) continue;
        expect((await read(written.body, { start, end }, key)).equals(bytes.subarray(start, end + 1))).toBe(true);
      }
      const lies = store.bytesOf(written.body.blob) as Buffer;
      expect(lies.length).toBe(how.encrypt ? sealedSize(size) : size);
      if (size > 8) expect(lies.includes(bytes.subarray(0, 8))).toBe(!how.encrypt);
      expect(bodies.inFlight()).toContain(written.body.blob);
      bodies.settled(written.body.blob);
      await bodies.discard([written.body.blob]);
    }
    expect(bodies.inFlight().size).toBe(0);
    expect(store.ids).toEqual([]);
  });
});

test('single bytes make no difference', async () => {
  const bytes = randomBytes(SEGMENT + 300);
  const written = await write(pieces(bytes, 1));
  expect((await read(written.body)).equals(bytes)).toBe(true);
});

describe('what is expected', () => {
  const sizes = [100, 3 * SEGMENT + 1];
  const digests = (bytes: Buffer) => {
    const crc = newCrc('CRC32');
    crc.update(bytes);
    return {
      md5: createHash('md5').update(bytes).digest('base64'),
      sha256: createHash('sha256').update(bytes).digest('hex'),
      crc32: crc.digest().toString('base64'),
      sha1: createHash('sha1').update(bytes).digest('base64'),
    };
  };
  test.each(sizes)('digests of %i bytes', async (size) => {
    const bytes = randomBytes(size);
    const { md5, sha256, crc32, sha1 } = digests(bytes);
    const trailer = () => crc32;
    const written = await write(pieces(bytes), { expected: { size, md5, sha256, checksum: { algorithm: 'CRC32', value: trailer } }, checksums: ['SHA1'] });
    expect(written.checksums).toEqual({ CRC32: crc32, SHA1: sha1 });
    const wrong = digests(randomBytes(5));
    for (const expected of [
      { md5: wrong.md5 },
      { sha256: wrong.sha256 },
      { checksum: { algorithm: 'CRC32' as const, value: wrong.crc32 } },
      { checksum: { algorithm: 'CRC32' as const, value: () => wrong.crc32 } },
      { checksum: { algorithm: 'SHA1' as const, value: wrong.sha1 } },
    ]) {
      expect(await problem(write(pieces(bytes), { expected }))).toBe('bad_digest');
    }
    const malformed = new Error('there is no trailer');
    const checksum = {
      algorithm: 'CRC32' as const,
      value: () => {
        throw malformed;
      },
    };
    expect(await problem(write(pieces(bytes), { expected: { checksum } }))).toBe(malformed);
    expect(store.ids).toEqual([written.body.blob]);
    expect([...bodies.inFlight()]).toEqual([written.body.blob]);
  });

  test.each(sizes)('lengths of %i bytes', async (size) => {
    const bytes = randomBytes(size);
    expect(await problem(write(pieces(bytes), { expected: { size: size + 1 } }))).toBe('incomplete_body');
    expect(await problem(write(pieces(bytes), { expected: { size: size - 1 } }))).toBe('incomplete_body');
    expect(await problem(write(pieces(bytes), { limit: size - 1 }))).toBe('object_too_large');
    expect(await problem(write(pieces(bytes), { limit: size - 1, expected: { size } }))).toBe('object_too_large');
    await write(pieces(bytes), { limit: size, expected: { size } });
    expect(store.ids).toHaveLength(1);
  });
});

describe('what was changed at rest', () => {
  const size = 3 * SEGMENT + 100;
  const SEALED = SEGMENT + 16;
  const bytes = randomBytes(size);
  const damaged = async (body: StoredBody, range?: { start: number; end: number }) => expect(await problem(read(body, range))).toBe('damaged');

  test('a bit', async () => {
    for (const at of [0, SEGMENT, SEGMENT + 15, 2 * SEALED + 5, sealedSize(size) - 1]) {
      const { body } = await write(pieces(bytes));
      (store.bytesOf(body.blob) as Buffer)[at]! ^= 1;
      await damaged(body);
      const segment = Math.floor(at / SEALED);
      const others = segment === 0 ? { start: SEGMENT, end: size - 1 } : { start: 0, end: SEGMENT - 1 };
      expect((await read(body, others)).equals(bytes.subarray(others.start, others.end + 1))).toBe(true);
    }
  });

  test('nothing is given of a segment before it is known to be whole', async () => {
    const { body } = await write(pieces(bytes));
    (store.bytesOf(body.blob) as Buffer)[SEALED + 10]! ^= 1;
    const given: Buffer[] = [];
    await expect(
      (async () => {
        for await (const piece of bodies.read(body, { range: undefined, signal: never })) given.push(piece);
      })(),
    ).rejects.toMatchObject({ problem: 'damaged' });
    expect(Buffer.concat(given).equals(bytes.subarray(0, SEGMENT))).toBe(true);
  });

  test('its end', async () => {
    for (const length of [0, 5, SEALED, 3 * SEALED, sealedSize(size) - 1]) {
      const { body } = await write(pieces(bytes));
      store.truncate(body.blob, length);
      await damaged(body);
      // Metadata that were changed to fit do not help.
      if (length > 16) await damaged({ ...body, size: length - Math.ceil(length / SEALED) * 16 });
    }
    const { body } = await write(pieces(randomBytes(0)));
    store.truncate(body.blob, 0);
    await damaged(body);
  });

  test('the order of segments, or one of another blob', async () => {
    const { body } = await write(pieces(bytes));
    const lies = store.bytesOf(body.blob) as Buffer;
    const first = Buffer.from(lies.subarray(0, SEALED));
    lies.copyWithin(0, SEALED, 2 * SEALED);
    lies.set(first, SEALED);
    await damaged(body);
    const [one, other] = [await write(pieces(bytes)), await write(pieces(bytes))];
    (store.bytesOf(one.body.blob) as Buffer).set((store.bytesOf(other.body.blob) as Buffer).subarray(0, SEALED));
    await damaged(one.body);
    (store.bytesOf(one.body.blob) as Buffer).set(store.bytesOf(other.body.blob) as Buffer);
    await damaged(one.body);
  });

  test('what names it', async () => {
    const { body } = await write(pieces(bytes));
    const other = (await write(pieces(bytes))).body;
    await damaged({ ...body, bound: 'bkt-b/1' });
    await damaged({ ...body, by: 'ten-b' });
    await damaged({ ...body, key: other.key as string });
    await damaged({ ...body, key: 'nonsense' });
    await damaged({ ...body, blob: other.blob });
    await damaged({ ...body, blob: 'f'.repeat(24) });
    expect(await problem(read(body, { start: 0, end: size }))).toBe('invalid_range');
  });
});

test('a customer key opens what it sealed and nothing else', async () => {
  const [key, other] = [customer(), customer()];
  const [mine, ours] = [await write(pieces(Buffer.from('mine')), { customerKey: key }), await write(pieces(Buffer.from('ours')))];
  expect(JSON.stringify(mine.body)).not.toContain(key.key.toString('base64url'));
  expect(mine.body.by).toBeUndefined();
  expect(String(await read(mine.body, undefined, key))).toBe('mine');
  for (const wrong of [other, undefined, { key: Buffer.alloc(0), md5: '' }]) {
    expect(await problem(read(mine.body, undefined, wrong))).toBe('invalid_key');
    expect(() => bodies.checkKey(mine.body, wrong)).toThrow(expect.objectContaining({ problem: 'invalid_key' }));
  }
  expect(await problem(read(ours.body, undefined, key))).toBe('invalid_key');
  expect(await problem(write(pieces(Buffer.from('x')), { customerKey: { key: Buffer.alloc(16), md5: '' } }))).toBe('invalid_key');
});

describe('sources that fail', () => {
  const lengths = [0, 1, SEGMENT, SEGMENT + 1, 4 * SEGMENT];
  test.each(lengths)('by throwing after %i bytes', async (length) => {
    for (const size of [undefined, length + 10]) {
      const trouble = new Error('cut off');
      const source = (async function* () {
        yield* pieces(randomBytes(length));
        throw trouble;
      })();
      expect(await problem(write(source, { expected: { size } }))).toBe(trouble);
    }
    expect(store.ids).toEqual([]);
    expect(bodies.inFlight().size).toBe(0);
  });

  test.each(lengths)('by never ending after %i bytes', async (length) => {
    const controller = new AbortController();
    const source = (async function* () {
      yield* pieces(randomBytes(length));
      setImmediate(() => controller.abort(new Error('the client is gone')));
      await new Promise(() => undefined);
    })();
    expect(await problem(write(source, { signal: controller.signal }))).toMatchObject({ message: 'the client is gone' });
    expect(store.ids).toEqual([]);
    expect(bodies.inFlight().size).toBe(0);
  });

  test('by throwing when they are asked, or let go', async () => {
    const trouble = new Error('not at all');
    const throwing = (next: () => Promise<IteratorResult<Buffer>>): AsyncIterable<Buffer> => ({
      [Symbol.asyncIterator]: () => ({
        next,
        return: () => {
          throw new Error('nor this');
        },
      }),
    });
    expect(
      await problem(
        write(
          throwing(() => {
            throw trouble;
          }),
        ),
      ),
    ).toBe(trouble);
    const endless = throwing(async () => ({ done: false, value: Buffer.alloc(1000) }));
    expect(await problem(write(endless, { limit: 300_000 }))).toBe('object_too_large');
    const late: AsyncIterable<Buffer> = {
      [Symbol.asyncIterator]: () => ({ next: async () => ({ done: false, value: Buffer.alloc(1000) }), return: () => Promise.reject(new Error('late')) }),
    };
    expect(await problem(write(late, { expected: { size: 10 } }))).toBe('incomplete_body');
    expect(store.ids).toEqual([]);
  });

  test('are let go when the store fails', async () => {
    let returned = 0;
    const source = (async function* () {
      try {
        for (;;) yield randomBytes(1000);
      } finally {
        returned += 1;
      }
    })();
    faults.fail('object-store.put', 1, new DriverError('full', 'no room'));
    expect(await problem(write(source))).toBe('storage_full');
    expect(returned).toBe(1);
  });
});

describe('stores that fail', () => {
  const failing = (put: ObjectStoreDriver['put'], more: Partial<ObjectStoreDriver> = {}): BodyStore => {
    const driver = { ...({} as ObjectStoreDriver), remove: async () => undefined, put, ...more };
    return new BodyStore({ store: driver, keys, log: silent });
  };
  const bytes = randomBytes(5 * SEGMENT);

  test.each([
    ['full', 'storage_full'],
    ['unavailable', 'storage_unavailable'],
    ['busy', 'storage_unavailable'],
    ['failed', 'storage_unavailable'],
  ] as const)('say %s, which is %s', async (code, expected) => {
    for (const length of [10, 5 * SEGMENT]) {
      for (let after = 0; after < 8; after += 1) {
        let left = after;
        const over = failing(async (_id, source) => {
          for await (const piece of source) if (left-- === 0) throw new DriverError(code, `no, after ${piece.length}`);
          throw new DriverError(code, 'no, at the end');
        });
        expect(await problem(write(pieces(bytes.subarray(0, length)), {}, over))).toBe(expected);
        expect(over.inFlight().size).toBe(0);
      }
    }
  });

  test('while they wait for more, and do not look at it', async () => {
    const over = failing(async (_id, source) => {
      const iterator = source[Symbol.asyncIterator]();
      await iterator.next();
      for (let more = 0; more < 20; more += 1) void iterator.next();
      throw new DriverError('unavailable', 'gone');
    });
    const slow = (async function* () {
      yield randomBytes(17 * SEGMENT);
      await new Promise(() => undefined);
    })();
    expect(await problem(write(slow, {}, over))).toBe('storage_unavailable');
    const broken = (async function* () {
      yield randomBytes(17 * SEGMENT);
      await new Promise((resolve) => setImmediate(resolve));
      throw new Error('broken too');
    })();
    expect(await problem(write(broken, {}, over))).toBeDefined();
  });

  test('or pretend', async () => {
    expect(
      await problem(
        write(
          pieces(bytes),
          {},
          failing(async () => ({ bytes: 10 })),
        ),
      ),
    ).toBe('storage_unavailable');
    expect(
      await problem(
        write(
          pieces(bytes.subarray(0, 5)),
          {},
          failing(async () => ({ bytes: 5 })),
        ),
      ),
    ).toBe('storage_unavailable');
    const sync = failing(() => {
      throw new DriverError('unavailable', 'at once');
    });
    expect(await problem(write(pieces(bytes), {}, sync))).toBe('storage_unavailable');
  });

  test('to clean up as well: the first reason counts', async () => {
    const over = failing(() => Promise.reject(new DriverError('full', 'no room')), { remove: () => Promise.reject(new DriverError('unavailable', 'away')) });
    expect(await problem(write(pieces(bytes), {}, over))).toBe('storage_full');
    expect(over.inFlight().size).toBe(0);
    expect(await problem(over.discard(['a']))).toBe('storage_unavailable');
  });

  test('when they lose their answer nothing is left', async () => {
    faults.lose('object-store.put');
    expect(await problem(write(pieces(bytes)))).toBe('storage_unavailable');
    expect(store.ids).toEqual([]);
  });

  test('while they are read', async () => {
    const { body } = await write(pieces(bytes));
    faults.fail('object-store.get');
    expect(await problem(read(body))).toBe('storage_unavailable');
    const controller = new AbortController();
    const reading = (async () => {
      for await (const piece of bodies.read(body, { range: undefined, signal: controller.signal })) {
        expect(piece.length).toBeGreaterThan(0);
        controller.abort(new Error('enough'));
      }
    })();
    expect(await problem(reading)).toMatchObject({ message: 'enough' });
    // A reader that stops early ends the reading of the store, too.
    let ended = false;
    const lies = store.bytesOf(body.blob) as Buffer;
    const over = failing(store.put.bind(store), {
      get: async function* (_id, { start, end }) {
        try {
          for (let at = start; at < (end ?? 0); at += 1000) yield lies.subarray(at, Math.min(at + 1000, end ?? 0));
        } finally {
          ended = true;
        }
      },
    });
    for await (const piece of over.read(body, { range: { start: 10, end: 4 * SEGMENT }, signal: never })) {
      expect(piece.equals(bytes.subarray(10, 10 + piece.length))).toBe(true);
      break;
    }
    expect(ended).toBe(true);
  });
});
