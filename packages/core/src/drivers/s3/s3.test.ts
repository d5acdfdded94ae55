// The S3 driver under the conformance suite, with our own endpoint as the engine behind it.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Listening } from '../../kernel/listener.ts';
import { type ServiceContext, service } from '../../kernel/service.ts';
import { inPieces, newId, objectStoreConformance } from '../../services/bucket/driver.conformance.ts';
import { listenS3 } from '../../services/bucket/s3/listen.ts';
import { services } from '../../services.ts';
import { type Bench, bench } from '../../testing/bench.ts';
import { testContracts } from '../../testing/gadget.ts';
import { S3ObjectStore, type S3StoreOptions } from './index.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;

interface Behind {
  cloud: Bench;
  options: S3StoreOptions;
  close(): Promise<void>;
}

async function behind(): Promise<Behind> {
  let context: ServiceContext | undefined;
  const watching = service(testContracts.plain, (given) => {
    context = given;
    return {};
  });
  const cloud = await bench({ definitions: [...services, watching] });
  const listening: Listening = await listenS3(context as ServiceContext, { host: '127.0.0.1', port: 0 });
  await cloud.cloud.bucket.create({ name: 'behind' });
  const { accessKeyId, secretAccessKey } = await cloud.cloud.s3Key.create({ name: 'store' });
  return {
    cloud,
    options: { endpoint: `http://127.0.0.1:${listening.port}`, bucket: 'behind', region: 'us-east-1', accessKeyId, secretAccessKey, prefix: 'cloud/a-1/' },
    close: async () => {
      await listening.close();
      await cloud.close();
    },
  };
}

objectStoreConformance('s3', async () => {
  const { options, close } = await behind();
  let driver = new S3ObjectStore(options);
  return {
    driver,
    reopen: async () => {
      await driver.close();
      driver = new S3ObjectStore(options);
      return driver;
    },
    close: async () => {
      await driver.close();
      await close();
    },
  };
});

describe('in our own endpoint', () => {
  let engine: Behind;
  let store: S3ObjectStore;
  beforeAll(async () => {
    engine = await behind();
    store = new S3ObjectStore(engine.options);
  });
  afterAll(async () => {
    await store.close();
    await engine.close();
  });
  const whole = async (id: string, start = 0, end?: number) => Buffer.concat(await Array.fromAsync(store.get(id, { start, end }, never)));

  test.each([17 * MIB + 5, 32 * MIB, 33 * MIB + 1])('%i bytes go in parts, of known and of unknown length', { timeout: 60_000 }, async (size) => {
    const bytes = randomBytes(size);
    for (const announced of [size, undefined]) {
      const id = newId();
      expect(await store.put(id, inPieces(bytes, 100_003), { size: announced, signal: never })).toEqual({ bytes: size });
      expect((await whole(id)).equals(bytes)).toBe(true);
      expect((await whole(id, 16 * MIB - 7, 16 * MIB + 9)).equals(bytes.subarray(16 * MIB - 7, 16 * MIB + 9))).toBe(true);
      await store.remove([id], never);
    }
  });

  test('a large one that fails leaves no upload behind', { timeout: 30_000 }, async () => {
    for (const announced of [40 * MIB, undefined]) {
      const source = (async function* () {
        yield* inPieces(randomBytes(20 * MIB), MIB);
        throw new Error('cut off');
      })();
      await expect(store.put(newId(), source, { size: announced, signal: never })).rejects.toThrow('cut off');
    }
    const { uploads } = await engine.cloud.cloud.bucket.get('behind');
    expect(uploads).toBe(0);
    expect(await store.list(undefined, 10)).toEqual([]);
  });

  test('only what is under its prefix and looks like its own is seen', async () => {
    const other = new S3ObjectStore({ ...engine.options, prefix: 'cloud/b/' });
    const [mine, its] = [newId(), newId()];
    await store.put(mine, inPieces(Buffer.from('mine')), { size: 4, signal: never });
    await other.put(its, inPieces(Buffer.from('its')), { size: 3, signal: never });
    expect((await store.list(undefined, 10)).map(({ id }) => id)).toEqual([mine]);
    await store.remove([its], never);
    expect((await other.list(undefined, 10)).map(({ id }) => id)).toEqual([its]);
    await store.remove([mine], never);
    await other.remove([its], never);
    await other.close();
  });

  test('many names are removed and listed in more than one request', { timeout: 60_000 }, async () => {
    const ids = Array.from({ length: 1100 }, newId);
    const left = [...ids];
    await Promise.all(
      Array.from({ length: 32 }, async () => {
        for (let id = left.pop(); id !== undefined; id = left.pop()) await store.put(id, inPieces(Buffer.from(id)), { size: 24, signal: never });
      }),
    );
    expect((await store.list(undefined, 2000)).map(({ id }) => id)).toEqual(ids);
    await store.remove(ids, never);
    expect(await store.list(undefined, 2000)).toEqual([]);
  });

  test.each([
    ['a bucket that is not there', { bucket: 'nowhere-at-all' }],
    ['a key that is not known', { accessKeyId: 'AKIAIOSFODNN7EXAMPLE' }],
    ['a wrong secret', { secretAccessKey: 'wrong' }],
    ['another region', { region: 'mars-north-1' }],
    ['nobody there', { endpoint: 'http://127.0.0.1:1' }],
  ])('%s is unavailable, and says so', { timeout: 20_000 }, async (_, change) => {
    const wrong = new S3ObjectStore({ ...engine.options, ...change, clock: { now: () => Date.now(), sleep: async () => undefined } });
    await expect(wrong.ping()).rejects.toMatchObject({ name: 'DriverError', code: 'unavailable' });
    expect((await wrong.report()).checks).toMatchObject([{ ok: false }]);
    for (const size of [10, 2 * MIB]) {
      await expect(wrong.put(newId(), inPieces(randomBytes(size)), { size, signal: never })).rejects.toMatchObject({ code: 'unavailable' });
    }
    await expect(wrong.list(undefined, 5)).rejects.toMatchObject({ code: 'unavailable' });
    await expect(wrong.remove([newId(), newId()], never)).rejects.toMatchObject({ code: 'unavailable' });
    await wrong.close();
  });

  test('uploads that a killed process left are given up at the next start', { timeout: 20_000 }, async () => {
    const controller = new AbortController();
    const lost = new S3ObjectStore(engine.options);
    const old = (Date.now() - 10_000).toString(16).padStart(12, '0') + randomBytes(6).toString('hex');
    const source = (async function* () {
      yield* inPieces(randomBytes(18 * MIB), MIB);
      await new Promise(() => undefined);
    })();
    // It never comes to an end, as if the process had.
    void lost.put(old, source, { size: 40 * MIB, signal: controller.signal }).catch(() => undefined);
    const uploads = async () => (await engine.cloud.cloud.bucket.get('behind')).uploads;
    await vi.waitFor(async () => expect(await uploads()).toBe(1), { timeout: 10_000 });
    const next = new S3ObjectStore(engine.options);
    await next.put(newId(), inPieces(Buffer.from('a')), { size: 1, signal: never });
    await vi.waitFor(async () => expect(await uploads()).toBe(0), { timeout: 10_000 });
    await next.close();
  });
});
