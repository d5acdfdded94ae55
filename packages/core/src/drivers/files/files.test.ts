// The files driver under the conformance suite, and what only it can show: what lies on the disk, and a disk that is full.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, mkdtempSync, openSync, readdirSync, rmSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { inPieces, newId, objectStoreConformance } from '../../services/bucket/driver.conformance.ts';
import { FilesObjectStore, SMALL_BYTES } from './index.ts';

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const run = (program: string, ...args: string[]) => execFileSync(program, args, { stdio: 'pipe' });
const whole = async (store: FilesObjectStore, id: string) => Buffer.concat(await Array.fromAsync(store.get(id, { start: 0, end: undefined }, never)));
const put = async (store: FilesObjectStore, bytes: Buffer): Promise<string> => {
  const id = newId();
  await store.put(id, inPieces(bytes, 64 * 1024), { size: bytes.length, signal: never });
  return id;
};

objectStoreConformance('files', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cloud-objects-'));
  let driver = new FilesObjectStore({ directory: join(directory, 'objects') });
  return {
    driver,
    reopen: async () => {
      await driver.close();
      driver = new FilesObjectStore({ directory: join(directory, 'objects') });
      return driver;
    },
    close: async () => {
      await driver.close();
      rmSync(directory, { recursive: true });
    },
  };
});

describe('what lies on the disk', () => {
  let root: string;
  let directory: string;
  let store: FilesObjectStore;
  beforeAll(() => {
    root = mkdtempSync(join(tmpdir(), 'cloud-objects-'));
    directory = join(root, 'objects');
    store = new FilesObjectStore({ directory });
  });
  afterAll(async () => {
    await store.close();
    rmSync(root, { recursive: true });
  });
  const tree = (): string[] => readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const files = () => tree().filter((path) => /\/[0-9a-f]{24}$/.test(path));

  test('is for its owner only', async () => {
    await put(store, randomBytes(10));
    await put(store, randomBytes(100_000));
    for (const path of ['.', ...tree()]) {
      const info = statSync(join(directory, path));
      expect([path, info.mode & 0o777]).toEqual([path, info.isDirectory() ? 0o700 : 0o600]);
    }
  });

  test('small ones are rows, large ones files, whatever was known beforehand', async () => {
    const before = files().length;
    for (const [size, more] of [
      [0, 0],
      [SMALL_BYTES, 0],
      [SMALL_BYTES + 1, 1],
    ] as const) {
      for (const announced of [size, undefined]) {
        const count = files().length;
        await store.put(newId(), inPieces(randomBytes(size)), { size: announced, signal: never });
        expect(files().length - count).toBe(more);
      }
    }
    expect(files().length - before).toBe(2);
  });

  test('what was being written when the process ended goes at the next start', async () => {
    await store.close();
    writeFileSync(join(directory, 'incoming', newId()), 'half');
    store = new FilesObjectStore({ directory });
    await store.ping();
    expect(readdirSync(join(directory, 'incoming'))).toEqual([]);
  });

  test('deleting gives the space back', { timeout: 20_000 }, async () => {
    const empty = (await store.list(undefined, 1000)).map(({ id }) => id);
    await store.remove(empty, never);
    expect(readdirSync(join(directory, 'blobs'))).toEqual([]);
    const blobs = await Promise.all(Array.from({ length: 300 }, () => put(store, randomBytes(60_000))));
    const database = () => ['small.db', 'small.db-wal'].reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
    expect(database()).toBeGreaterThan(300 * 60_000);
    await store.remove(blobs, never);
    await vi.waitFor(() => expect(database()).toBeLessThan(2 * MIB), { timeout: 10_000 });
    const stays = await put(store, Buffer.from('still works'));
    expect(String(await whole(store, stays))).toBe('still works');
  });

  test('a name that is no id reaches no path', async () => {
    for (const id of ['../../etc/passwd', 'a'.repeat(23), `${'a'.repeat(23)}/`, 'A'.repeat(24)]) {
      await expect(store.put(id, inPieces(Buffer.from('x')), { size: 1, signal: never })).rejects.toMatchObject({ code: 'bad_spec' });
      await expect(whole(store, id)).rejects.toMatchObject({ code: 'bad_spec' });
      await expect(store.remove([id], never)).rejects.toMatchObject({ code: 'bad_spec' });
    }
  });

  test('one that cannot be opened is unavailable, and is tried again', async () => {
    const nowhere = join(root, 'not', 'there');
    const other = new FilesObjectStore({ directory: nowhere });
    await expect(other.ping()).rejects.toMatchObject({ name: 'DriverError' });
    expect((await other.report()).checks).toMatchObject([{ ok: false }]);
    mkdirSync(join(root, 'not'));
    await other.ping();
    await other.close();
    await expect(put(other, randomBytes(5))).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a disk that is full', () => {
  let mount: string | undefined;
  let why = '';
  let store: FilesObjectStore;
  beforeAll(() => {
    const path = mkdtempSync(join(tmpdir(), 'cloud-full-'));
    try {
      run('mount', '-t', 'tmpfs', '-o', 'size=48m', 'cloud-full', path);
      mount = path;
      store = new FilesObjectStore({ directory: join(path, 'objects') });
    } catch (error) {
      why = `a small file system cannot be mounted here: ${String((error as { stderr?: Buffer }).stderr ?? error).trim()}`;
      rmSync(path, { recursive: true });
    }
  });
  afterAll(async () => {
    if (mount === undefined) return;
    try {
      await store.close();
    } finally {
      run('umount', '--lazy', mount);
      rmSync(mount, { recursive: true });
    }
  });

  test.for([
    ['small', 50_000],
    ['large', 500_000],
  ] as const)('takes no more %s blobs, gives those that are there, and lets go of them', { timeout: 60_000 }, async ([, size], { skip }) => {
    if (mount === undefined) skip(why);
    const kept: { id: string; bytes: Buffer }[] = [];
    for (;;) {
      const bytes = randomBytes(size);
      const id = newId();
      const problem = await store.put(id, inPieces(bytes), { size, signal: never }).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (problem === undefined) kept.push({ id, bytes });
      else {
        expect(problem).toMatchObject({ name: 'DriverError', code: 'full' });
        break;
      }
    }
    expect(kept.length * size).toBeGreaterThan(10 * MIB);
    for (const { id, bytes } of kept) expect((await whole(store, id)).equals(bytes)).toBe(true);
    expect(await store.status(never)).toMatchObject({ nodes: [{ state: 'degraded' }] });
    expect((await store.report()).checks).toMatchObject([{ ok: false }]);
    await store.remove(
      kept.map(({ id }) => id),
      never,
    );
    expect(await store.list(undefined, 10)).toEqual([]);
    await vi.waitFor(async () => expect(await put(store, randomBytes(size))).toBeDefined(), { timeout: 10_000, interval: 200 });
    await store.remove(
      (await store.list(undefined, 1000)).map(({ id }) => id),
      never,
    );
  });

  test('also to the last byte, by somebody else', { timeout: 60_000 }, async ({ skip }) => {
    if (mount === undefined) return skip(why);
    const kept = [randomBytes(100), randomBytes(200_000)];
    const blobs = await Promise.all(kept.map((bytes) => put(store, bytes)));
    const filler = openSync(join(mount, 'filler'), 'w');
    try {
      for (const piece of [Buffer.alloc(MIB), Buffer.alloc(4096)]) for (;;) writeSync(filler, piece);
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
    }
    fsyncSync(filler);
    closeSync(filler);
    // Room that was known a moment ago is not asked for again, so these are refused by the file system and by SQLite themselves.
    for (const size of [60_000, 200_000]) await expect(put(store, randomBytes(size))).rejects.toMatchObject({ name: 'DriverError', code: 'full' });
    for (const [at, bytes] of kept.entries()) expect((await whole(store, blobs[at] as string)).equals(bytes)).toBe(true);
    rmSync(join(mount, 'filler'));
    for (const size of [60_000, 200_000]) await put(store, randomBytes(size));
    expect(readdirSync(join(mount, 'objects', 'incoming'))).toEqual([]);
  });
});
