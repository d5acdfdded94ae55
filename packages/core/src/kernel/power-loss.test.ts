// The database when a sync fails, and when the power does. Power lost is made up: of the log there may be, in each block, what was synced last or anything that was
// written since. What SQLite syncs by itself (the database at the end of a checkpoint, the header of a log that begins anew) is there: it happens within a call.
import { randomInt } from 'node:crypto';
import type * as Fs from 'node:fs';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, expect, test, vi } from 'vitest';
import { memoryDrivers } from '../drivers/memory/index.ts';
import { type Core, createCore } from '../index.ts';
import { faultOf } from '../testing/bench.ts';
import { localAdministrator } from './authorize.ts';
import { systemClock } from './clock.ts';
import { type OpenedDb, openDb, statementNow } from './db.ts';
import { GroupCommit } from './group.ts';
import { Store } from './store.ts';

/** What becomes of a sync. `before`: it was asked for; `after`: it is back, and not yet answered. */
const hooks = vi.hoisted(() => ({ fails: false, synced: undefined as ((when: 'before' | 'after' | 'failed') => void) | undefined }));
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof Fs>();
  const fdatasync = (file: number, done: (error: NodeJS.ErrnoException | null) => void) => {
    hooks.synced?.('before');
    if (hooks.fails) hooks.synced?.('failed');
    if (hooks.fails) return void setImmediate(() => done(Object.assign(new Error('EIO: i/o error, fdatasync'), { code: 'EIO' })));
    fs.fdatasync(file, (error) => {
      hooks.synced?.('after');
      done(error);
    });
  };
  return { ...fs, fdatasync, default: { ...fs, fdatasync } };
});

const BLOCK = 4096;
const HEADER = 32;
const made: string[] = [];
const directory = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'cloud-power-'));
  made.push(path);
  return path;
};
afterEach(() => {
  Object.assign(hooks, { fails: false, synced: undefined });
  for (const path of made.splice(0)) rmSync(path, { recursive: true, force: true });
});

const contentOf = (path: string): Buffer => (existsSync(path) ? readFileSync(path) : Buffer.alloc(0));
/** Lengths, too, may be those of before. */
function mixture(synced: Buffer, now: Buffer): Buffer {
  const mixed = Buffer.alloc(randomInt(2) === 0 ? synced.length : now.length);
  for (let at = 0; at < mixed.length; at += BLOCK) (randomInt(2) === 0 || at >= now.length ? synced : now).subarray(at, at + BLOCK).copy(mixed, at);
  return mixed;
}

interface Image {
  database: Buffer;
  log: Buffer;
}

/** A database that keeps in mind what of its log is on the disk. */
class Watched {
  readonly path = join(directory(), 'cloud.db');
  opened: OpenedDb = openDb(this.path, { durable: true });
  /** Called with every sync. */
  at: () => void = () => undefined;
  #synced: Buffer = Buffer.alloc(0);
  #asked: Buffer = Buffer.alloc(0);
  /** What a sync that failed was asked for: the system takes it for written, and a later sync does not write it unless it has changed since. */
  #forgotten: Buffer = Buffer.alloc(0);

  constructor() {
    hooks.synced = (when) => {
      this.at();
      if (when === 'before') this.#asked = this.#log;
      else if (when === 'failed') this.#forgotten = this.#asked;
      else this.#synced = this.#written(this.#asked);
    };
  }
  #written(asked: Buffer): Buffer {
    const written = Buffer.from(asked);
    for (let at = 0; at < asked.length; at += BLOCK) {
      const [block, forgotten] = [asked, this.#forgotten].map((bytes) => bytes.subarray(at, at + BLOCK)) as [Buffer, Buffer];
      if (!block.equals(forgotten)) continue;
      const before = Buffer.alloc(block.length);
      this.#synced.subarray(at, at + BLOCK).copy(before);
      before.copy(written, at);
    }
    return written;
  }
  get #log(): Buffer {
    return contentOf(`${this.path}-wal`);
  }
  /** What is there if the power is lost now. */
  image(): Image {
    const now = this.#log;
    const header = now.subarray(0, HEADER);
    const begun = !this.#synced.subarray(0, HEADER).equals(header);
    return { database: contentOf(this.path), log: mixture(begun ? Buffer.concat([header, this.#synced.subarray(HEADER)]) : this.#synced, now) };
  }
  /** The process is killed, and another takes its place: without the checkpoint that a database makes when it is closed. */
  async killed(): Promise<void> {
    const [database, log] = [contentOf(this.path), this.#log];
    await this.opened.close();
    writeFileSync(this.path, database);
    writeFileSync(`${this.path}-wal`, log);
    this.opened = openDb(this.path, { durable: true });
    // SQLite syncs the log when it cuts it off.
    if (this.#log.length === 0) this.#synced = Buffer.alloc(0);
  }
}

async function numbersIn({ database, log }: Image): Promise<Set<number>> {
  const path = join(directory(), 'cloud.db');
  writeFileSync(path, database);
  writeFileSync(`${path}-wal`, log);
  const { db, close } = openDb(path, { durable: false });
  const { rows } = await sql<{ n: number }>`select n from kept order by n`.execute(db);
  const { rows: checked } = await sql<{ integrity_check: string }>`pragma integrity_check`.execute(db);
  expect(checked).toEqual([{ integrity_check: 'ok' }]);
  await close();
  return new Set(rows.map(({ n }) => n));
}

const keep = (opened: OpenedDb, numbers: readonly number[]): Promise<void> =>
  opened.db.transaction().execute(async (tx) => {
    for (const n of numbers) await sql`insert into kept values (${n}, ${'x'.repeat(randomInt(8000))})`.execute(tx);
  });

test('power lost at any moment: what was answered is there, whatever else is, through checkpoints too', { timeout: 60_000 }, async () => {
  const watched = new Watched();
  await sql`create table kept (n integer primary key, filler text)`.execute(watched.opened.db);
  await sql`pragma wal_autocheckpoint = 100`.execute(watched.opened.db);
  const answered: number[] = [];
  const images: { image: Image; answered: number }[] = [];
  watched.at = () => {
    if (randomInt(3) === 0) images.push({ image: watched.image(), answered: answered.length });
  };
  let checkpoints = 0;
  let salt = '';
  for (let round = 0; round < 80; round++) {
    const numbers = Array.from({ length: 20 }, (_, at) => round * 20 + at);
    await keep(watched.opened, numbers);
    answered.push(...numbers);
    const { log } = watched.image();
    if (log.subarray(16, 24).toString('hex') !== salt) checkpoints++;
    salt = log.subarray(16, 24).toString('hex');
    if (round === 40) await watched.killed();
  }
  await watched.opened.close();
  expect(checkpoints).toBeGreaterThan(2);
  expect(images.length).toBeGreaterThan(20);
  for (const { image, answered: count } of images) {
    const there = await numbersIn(image);
    expect(answered.slice(0, count).filter((n) => !there.has(n))).toEqual([]);
    // Whole transactions.
    expect(there.size % 20).toBe(0);
  }
});

test('a sync that fails: nobody is told that it was done, nothing goes on, and a new start builds on nothing that may be lost', async () => {
  const watched = new Watched();
  const { db } = watched.opened;
  await sql`create table kept (n integer primary key, filler text)`.execute(db);
  await keep(watched.opened, [1]);
  hooks.fails = true;
  const group = new GroupCommit(new Store(db, systemClock), { gather: () => ({ length: 0, write: async () => undefined }) });
  const failed = await Promise.allSettled(
    [2, 3].map((n) => group.submit({ tenantId: '', principal: 'system' }, async ({ tx }) => void (await sql`insert into kept values (${n}, '')`.execute(tx)))),
  );
  for (const each of failed)
    expect(each).toMatchObject({ status: 'rejected', reason: { code: 'unavailable', message: /did not confirm/, hint: /daemon stop/ } });
  // The disk says yes again. What it said no to, it has forgotten.
  hooks.fails = false;
  await expect(keep(watched.opened, [4])).rejects.toThrow(/could not be synced/);
  await expect(sql`select n from kept`.execute(db)).rejects.toThrow(/could not be synced/);
  expect(() => statementNow(db, 'select n from kept')).toThrow(/could not be synced/);
  await group.close();
  await watched.killed();
  await keep(watched.opened, [5]);
  for (let times = 0; times < 20; times++) {
    const there = await numbersIn(watched.image());
    expect([there.has(1), there.has(4), there.has(5), there.has(2) === there.has(3)]).toEqual([true, false, true, true]);
  }
  await watched.opened.close();
});

test('a sync that fails is what callers hear, of reads too, until the core is started again', async () => {
  const dataDir = directory();
  const open = () => createCore({ dataDir, drivers: memoryDrivers(), durable: true });
  const core = await open();
  const call = (of: Core, operation: string, input: object) => of.invoke({ service: 'queue', operation, input, principal: localAdministrator });
  await call(core, 'create', { name: 'before' });
  hooks.fails = true;
  const broken = { code: 'unavailable', hint: expect.stringContaining('dmesg') };
  expect(await faultOf(call(core, 'create', { name: 'lost' }))).toMatchObject(broken);
  hooks.fails = false;
  expect(await faultOf(call(core, 'create', { name: 'after' }))).toMatchObject(broken);
  expect(await faultOf(call(core, 'list', { limit: 7 }))).toMatchObject(broken);
  await core.close();
  const again = await open();
  const { items } = (await call(again, 'list', {})).value as { items: { name: string }[] };
  expect(items.map(({ name }) => name)).toContain('before');
  expect(items.map(({ name }) => name)).not.toContain('after');
  await again.close();
});
