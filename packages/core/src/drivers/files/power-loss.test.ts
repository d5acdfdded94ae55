// Loss of power, made up: of every file there may be, in each block, what was synced last or anything that was written since. Whatever the mixture,
// what was answered must be there.

import { createHash, randomBytes, randomInt } from 'node:crypto';
import type * as Fs from 'node:fs';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, expect, test, vi } from 'vitest';
import { FilesObjectStore } from './index.ts';

/** Called with every sync, before it and after it is back but not yet answered. */
const hooks = vi.hoisted(() => ({ synced: undefined as ((file: number, when: 'before' | 'after') => void) | undefined }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof Fs>();
  const fdatasync = (file: number, done: (error: NodeJS.ErrnoException | null) => void) => {
    hooks.synced?.(file, 'before');
    fs.fdatasync(file, (error) => {
      hooks.synced?.(file, 'after');
      done(error);
    });
  };
  return { ...fs, fdatasync, default: { ...fs, fdatasync } };
});

const BLOCK = 4096;
const NAMES = ['small.db', 'small.db-wal'];
const never = new AbortController().signal;
const root = mkdtempSync(join(tmpdir(), 'cloud-power-'));
afterAll(() => rmSync(root, { recursive: true }));

/** Lengths, too, may be those of before. */
function mixture(synced: Buffer, now: Buffer): Buffer {
  const how = randomInt(4);
  if (how === 0) return synced;
  const length = how === 1 ? synced.length : now.length;
  const mixed = Buffer.alloc(length);
  for (let at = 0; at < length; at += BLOCK) {
    const from = randomInt(2) === 0 || at >= now.length ? synced : now;
    from.subarray(at, at + BLOCK).copy(mixed, at);
  }
  return mixed;
}

test('whatever of the unsynced reached the disk, what was answered is there', { timeout: 120_000 }, async () => {
  const directory = join(root, 'objects');
  const store = new FilesObjectStore({ directory });
  await store.ping();
  // SQLite removes the log when it is closed.
  const content = (name: string) => (existsSync(join(directory, name)) ? readFileSync(join(directory, name)) : Buffer.alloc(0));
  const current = () => new Map(NAMES.map((name) => [name, content(name)]));
  const synced = current();
  const started = new Map<string, ReturnType<typeof content>>();
  /** Digests of what was answered. */
  const there = new Map<string, string>();
  const gone = new Set<string>();
  const images: { path: string; there: Map<string, string>; gone: Set<string> }[] = [];
  const loseThePower = () => {
    const path = join(root, `image-${images.length}`);
    mkdirSync(path, { recursive: true });
    for (const [name, now] of current()) writeFileSync(join(path, name), mixture(synced.get(name) as Buffer, now));
    images.push({ path, there: new Map(there), gone: new Set(gone) });
  };
  let syncs = 0;
  hooks.synced = (file, when) => {
    const name = NAMES.find((each) => readlinkSync(`/proc/self/fd/${file}`) === join(directory, each)) as string;
    if (when === 'before') started.set(name, readFileSync(join(directory, name)));
    // Any instant may be the last: also those in a checkpoint, which are three syncs in a row.
    syncs += 1;
    if (syncs % 9 === 0 || name === 'small.db' || randomInt(30) === 0) loseThePower();
    if (when === 'after') synced.set(name, started.get(name) as ReturnType<typeof content>);
  };

  let next = 0x019000000000;
  const worker = async () => {
    const mine: string[] = [];
    for (let round = 0; round < 60; round += 1) {
      const id = (next++).toString(16).padStart(12, '0') + randomBytes(6).toString('hex');
      const bytes = randomBytes(randomInt(2) === 0 ? randomInt(500) : randomInt(60_000));
      await store.put(
        id,
        (async function* () {
          yield bytes;
        })(),
        { size: bytes.length, signal: never },
      );
      there.set(id, createHash('sha1').update(bytes).digest('hex'));
      mine.push(id);
      if (randomInt(3) === 0) {
        const old = mine.splice(randomInt(mine.length), 1)[0] as string;
        there.delete(old);
        await store.remove([old], never);
        gone.add(old);
      }
      await turn();
    }
  };
  await Promise.all(Array.from({ length: 12 }, worker));
  loseThePower();
  await store.close();
  loseThePower();
  hooks.synced = undefined;

  expect(there.size).toBeGreaterThan(300);
  expect(images.length).toBeGreaterThan(20);
  for (const image of images) {
    const revived = new FilesObjectStore({ directory: image.path });
    const read = async (id: string) => Buffer.concat(await Array.fromAsync(revived.get(id, { start: 0, end: undefined }, never)));
    for (const [id, digest] of image.there) {
      const bytes = await read(id);
      expect(createHash('sha1').update(bytes).digest('hex')).toBe(digest);
    }
    for (const id of image.gone) await expect(read(id)).rejects.toMatchObject({ code: 'failed', message: /no blob/ });
    await revived.close();
    rmSync(image.path, { recursive: true });
  }
});
