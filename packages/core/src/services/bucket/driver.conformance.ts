// What every object store driver must do, as one body of tests. A driver's own test file says how to make one and calls this.
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import type { ObjectStoreDriver } from './driver.ts';

export interface ObjectStoreBench {
  driver: ObjectStoreDriver;
  /** The same store after its process ended and began anew; undefined where nothing outlives it. */
  reopen?: (() => Promise<ObjectStoreDriver>) | undefined;
  close(): Promise<void>;
}

const KIB = 1024;
const never = new AbortController().signal;
/** Around what stores treat apart: nothing, small and large ones, pieces of reads and of uploads. */
const SIZES = [0, 1, 15, 4112, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 256 * KIB, 256 * KIB + 3, 1024 * KIB + 17];

let time = Date.now() - 100_000;
/** Later ones come after earlier ones, as those of the engine do. */
export const newId = (): string => (time++).toString(16).padStart(12, '0') + randomBytes(6).toString('hex');

export async function* inPieces(bytes: Buffer, piece = 16 * KIB + 5): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += piece) {
    await new Promise((resolve) => setImmediate(resolve));
    yield bytes.subarray(at, at + piece);
  }
}

const whole = async (bytes: AsyncIterable<Buffer>): Promise<Buffer> => Buffer.concat(await Array.fromAsync(bytes));

const rejected = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => expect.fail('it succeeded'),
    (error: unknown) => error,
  );

export function objectStoreConformance(backend: string, setUp: () => Promise<ObjectStoreBench>): void {
  describe(`object store driver ${backend}`, () => {
    let bench: ObjectStoreBench;
    let driver: ObjectStoreDriver;
    const made = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.driver;
    });
    afterAll(async () => {
      await driver.remove([...made], never);
      await bench.close();
    });

    const id = (): string => {
      const next = newId();
      made.add(next);
      return next;
    };
    const put = async (bytes: Buffer, size: number | undefined = bytes.length): Promise<string> => {
      const blob = id();
      expect(await driver.put(blob, inPieces(bytes), { size, signal: never })).toEqual({ bytes: bytes.length });
      return blob;
    };
    const get = (blob: string, start = 0, end?: number): Promise<Buffer> => whole(driver.get(blob, { start, end }, never));
    const listed = async (): Promise<string[]> => {
      const all: string[] = [];
      for (;;) {
        const page = await driver.list(all.at(-1), 7);
        all.push(...page.map((blob) => blob.id));
        if (page.length < 7) return all;
      }
    };
    const absent = async (blob: string): Promise<void> => {
      const error = await rejected(get(blob));
      expect(error).toBeInstanceOf(DriverError);
      expect(error).toMatchObject({ code: 'failed' });
    };

    test.each(SIZES)('gives back %i bytes, of known and of unknown length', async (size) => {
      const bytes = randomBytes(size);
      for (const blob of [await put(bytes), await put(bytes, undefined)]) expect((await get(blob)).equals(bytes)).toBe(true);
    });

    test.each(SIZES)('gives any range of %i bytes', async (size) => {
      const bytes = randomBytes(size);
      const blob = await put(bytes);
      const half = size >> 1;
      for (const [start, end] of [
        [0, size],
        [0, half],
        [half, size],
        [half, undefined],
        [half, half],
        [size, undefined],
        [Math.max(0, size - 1), size],
      ] as const) {
        expect((await get(blob, start, end)).equals(bytes.subarray(start, end))).toBe(true);
      }
    });

    test('says so when there is no such blob, or less of it', async () => {
      await absent(newId());
      for (const size of [10, 100 * KIB]) {
        const blob = await put(randomBytes(size));
        for (const [start, end] of [
          [0, size + 1],
          [size + 1, undefined],
        ] as const) {
          expect(await rejected(get(blob, start, end))).toMatchObject({ name: 'DriverError', code: 'failed' });
        }
      }
    });

    test.each([100, 300 * KIB])('keeps nothing of a source that throws after some of %i bytes', async (size) => {
      for (const announced of [size, undefined]) {
        for (const after of [0, size >> 1, size]) {
          const blob = id();
          const trouble = new Error('the client went away');
          const source = (async function* () {
            yield* inPieces(randomBytes(after));
            throw trouble;
          })();
          expect(await rejected(driver.put(blob, source, { size: announced, signal: never }))).toBe(trouble);
          await driver.remove([blob], never);
          await absent(blob);
          expect(await listed()).not.toContain(blob);
        }
      }
    });

    test.each([100, 300 * KIB])('refuses fewer and more bytes than %i when that many were announced', async (size) => {
      for (const came of [0, size - 1, size + 1, size * 2]) {
        const blob = id();
        let closed = false;
        const source = (async function* () {
          try {
            yield* inPieces(randomBytes(came), 64 * KIB);
          } finally {
            closed = true;
          }
        })();
        expect(await rejected(driver.put(blob, source, { size, signal: never }))).toBeInstanceOf(DriverError);
        expect(closed).toBe(true);
        await driver.remove([blob], never);
        await absent(blob);
      }
    });

    test('ends when it is told to, and keeps nothing', async () => {
      for (const size of [undefined, 200 * KIB]) {
        const blob = id();
        const controller = new AbortController();
        const source = (async function* () {
          yield randomBytes(100 * KIB);
          controller.abort(new Error('enough'));
          yield randomBytes(100 * KIB);
        })();
        expect(await rejected(driver.put(blob, source, { size, signal: controller.signal }))).toMatchObject({ message: 'enough' });
        await driver.remove([blob], never);
        await absent(blob);
      }
      const blob = await put(randomBytes(300 * KIB));
      expect(await rejected(whole(driver.get(blob, { start: 0, end: undefined }, AbortSignal.abort(new Error('enough')))))).toMatchObject({
        message: 'enough',
      });
      expect(await rejected(driver.put(id(), inPieces(randomBytes(5)), { size: 5, signal: AbortSignal.abort(new Error('enough')) }))).toMatchObject({
        message: 'enough',
      });
    });

    test('an id is used once', async () => {
      for (const size of [100, 200 * KIB]) {
        const bytes = randomBytes(size);
        const blob = await put(bytes);
        expect(await rejected(driver.put(blob, inPieces(randomBytes(size)), { size, signal: never }))).toMatchObject({ name: 'DriverError', code: 'failed' });
        expect((await get(blob)).equals(bytes)).toBe(true);
      }
    });

    test('stops reading when the reader does', async () => {
      const bytes = randomBytes(3 * 1024 * KIB);
      const blob = await put(bytes);
      for await (const piece of driver.get(blob, { start: 5, end: undefined }, never)) {
        expect(piece.equals(bytes.subarray(5, 5 + piece.length))).toBe(true);
        break;
      }
      await driver.remove([blob], never);
      await absent(blob);
    });

    test('removes many, absent ones too, twice', async () => {
      const blobs = await Promise.all([10, 20, 70 * KIB, 80 * KIB, 0].map((size) => put(randomBytes(size))));
      const stays = await put(randomBytes(10));
      await driver.remove([...blobs, newId()], never);
      await driver.remove(blobs, never);
      await driver.remove([], never);
      for (const blob of blobs) await absent(blob);
      const left = await listed();
      expect(left).toContain(stays);
      expect(left.filter((blob) => blobs.includes(blob))).toEqual([]);
    });

    test('lists in order of ids, page by page, with sizes and times', async () => {
      const sizes = [5, 100 * KIB, 6, 7, 200 * KIB, 0];
      const before = Date.now() - 60_000;
      const blobs = await Promise.all(sizes.map((size) => put(randomBytes(size))));
      const all = await listed();
      expect(all).toEqual([...all].sort());
      expect(new Set(all).size).toBe(all.length);
      const first = blobs[0] as string;
      const page = await driver.list(all[all.indexOf(first) - 1], 1000);
      const mine = page.filter((blob) => blobs.includes(blob.id));
      expect(mine.map((blob) => [blob.id, blob.bytes])).toEqual(blobs.map((blob, at) => [blob, sizes[at]]));
      for (const { createdAt } of mine) expect(createdAt).toBeGreaterThan(before);
      expect((await driver.list(first, 2)).map((blob) => blob.id)).toEqual(blobs.slice(1, 3));
      expect(await driver.list('f'.repeat(24), 10)).toEqual([]);
    });

    test('many at once are all whole', async () => {
      const contents = Array.from({ length: 60 }, (_, at) => randomBytes(at % 6 === 0 ? 90 * KIB + at : 10 * at));
      const blobs = await Promise.all(contents.map((bytes, at) => put(bytes, at % 2 === 0 ? bytes.length : undefined)));
      const removed = blobs.filter((_, at) => at % 3 === 0);
      await Promise.all([driver.remove(removed, never), put(randomBytes(50))]);
      await Promise.all(
        blobs.map(async (blob, at) => {
          if (removed.includes(blob)) await absent(blob);
          else expect((await get(blob)).equals(contents[at] as Buffer)).toBe(true);
        }),
      );
    });

    test('says what stands behind, and introduces itself', async () => {
      const status = await driver.status(never);
      expect(status.engine).toMatch(/^[a-z0-9]+$/);
      expect(status.nodes.length).toBeGreaterThan(0);
      expect(status.nodes.every(({ state }) => state === 'up')).toBe(true);
      await driver.ping(never);
      const report = await driver.report(never);
      expect(report.features.length + report.checks.length).toBeGreaterThan(0);
      expect(report.checks.filter(({ ok }) => !ok)).toEqual([]);
    });

    test('what was put is there after the process ended', async (context) => {
      if (bench.reopen === undefined) return context.skip('this store keeps nothing beyond its process, and says so');
      expect(driver.capabilities.durable).toBe(true);
      const contents = [randomBytes(10), randomBytes(100 * KIB), randomBytes(0)];
      const blobs = await Promise.all(contents.map((bytes) => put(bytes)));
      const gone = await put(randomBytes(10));
      await driver.remove([gone], never);
      driver = await bench.reopen();
      for (const [at, blob] of blobs.entries()) expect((await get(blob)).equals(contents[at] as Buffer)).toBe(true);
      await absent(gone);
    });
  });
}
