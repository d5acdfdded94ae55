// The data directory in trouble: full, locked, newer than the program, held by another process, damaged. The core says which, and lives on.
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { sql } from 'kysely';
import { afterEach, expect, test } from 'vitest';
import { memoryDrivers } from '../drivers/memory/index.ts';
import { createCore } from '../index.ts';
import { services } from '../services.ts';
import { bench, faultOf, fillDisk } from '../testing/bench.ts';
import { localAdministrator } from './authorize.ts';
import { ManualClock } from './clock.ts';
import { openDb } from './db.ts';
import { lockDataDir } from './lock.ts';
import { type Migration, migrate, migrateKernel, statements } from './migrate.ts';

const made: string[] = [];
const directory = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'cloud-storage-'));
  made.push(dir);
  return dir;
};
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});
const open = (dataDir: string) => createCore({ dataDir, drivers: memoryDrivers(), durable: false });
const list = { service: 'vpc', operation: 'list', input: {}, principal: localAdministrator };

test('a full disk: a clear refusal, nothing half-written, and everything works again when there is room', async () => {
  const clock = new ManualClock(1_000_000);
  await using b = await bench({ clock });
  await b.ready(b.cloud.vpc.create({ name: 'before' }));
  await fillDisk(b.db, false);
  let refused: Awaited<ReturnType<typeof faultOf>> | undefined;
  let accepted = 0;
  // Free pages of the file are used up first.
  for (let n = 0; refused === undefined && n < 50; n++) {
    const create = b.cloud['sshKey'].create({
      name: `k-${n}`,
      labels: Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`key-${index}`, 'v'.repeat(250)])),
      publicKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8q0u8FzSGDLg8mXAnA8mVq1T9bD3Vbl0Fvq4vJ2m0Q me@example',
    });
    await create.then(
      () => accepted++,
      (error) => {
        refused = error;
      },
    );
  }
  expect(refused).toMatchObject({
    code: 'insufficient_storage',
    message: 'The disk that holds the data directory is full; nothing was changed',
    hint: expect.stringContaining('df -h'),
  });
  expect((await b.cloud.sshKey.list()).items).toHaveLength(accepted);
  expect((await b.cloud.vpc.list()).items).toHaveLength(1);
  await fillDisk(b.db, true);
  await b.cloud.sshKey.create({ name: 'after', publicKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8q0u8FzSGDLg8mXAnA8mVq1T9bD3Vbl0Fvq4vJ2m0Q me@example' });
  expect((await b.ready(b.cloud.vpc.create({ name: 'after' }))).state).toBe('ready');
});

test('a disk that fills up while a controller works: it tries again until it can write down what it did', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  drivers.faults.slow('network.ensure', 100);
  const created = await b.cloud.vpc.create({ name: 'net', description: 'd'.repeat(200) });
  await fillDisk(b.db, false);
  // Use up the free pages, so that the controller's own writes are refused.
  await sql`create table filler (x text)`.execute(b.db).catch(() => undefined);
  for (let n = 0; n < 200; n++) {
    const full =
      await sql`insert into event (tenant, time, type, resource, resource_id, name, message, principal) values ('', 0, '', '', '', '', ${'x'.repeat(3000)}, '')`
        .execute(b.db)
        .then(
          () => false,
          () => true,
        );
    if (full) break;
  }
  for (let n = 0; n < 20; n++) await clock.advance(1000);
  await fillDisk(b.db, true);
  await b.until(async () => (await b.cloud.operation.get(created.operation ?? '')).state === 'succeeded', 5000);
  expect((await b.cloud.vpc.get('net')).state).toBe('ready');
});

test('another program holds the database: unavailable, and fine after it let go', async () => {
  await using b = await bench();
  await b.cloud.vpc.list();
  const other = new Database(join(b.dataDir, 'cloud.db'));
  await sql`pragma busy_timeout = 50`.execute(b.db);
  other.exec('begin immediate');
  expect(await faultOf(b.cloud.vpc.create({ name: 'net' }))).toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining('locked'),
    hint: 'try again',
  });
  expect((await b.cloud.vpc.list()).items).toEqual([]);
  other.exec('rollback');
  other.close();
  expect((await b.ready(b.cloud.vpc.create({ name: 'net' }))).state).toBe('ready');
});

test('one core per data directory, in this process too; closing gives it free', async () => {
  const dataDir = directory();
  const first = await open(dataDir);
  const refused = await faultOf(open(dataDir));
  expect(refused).toMatchObject({ code: 'conflict', hint: 'cloud daemon status' });
  await first.close();
  await first.close();
  const second = await open(dataDir);
  expect((await second.invoke(list)).value).toEqual({ items: [] });
  await second.close();
});

test('a holder that is killed leaves no lock behind', async () => {
  const dataDir = directory();
  const lock = join(import.meta.dirname, 'lock.ts');
  const child = spawn(
    process.execPath,
    [
      '-e',
      `import(${JSON.stringify(lock)}).then(({ lockDataDir }) => { const lock = lockDataDir(${JSON.stringify(dataDir)}); process.stdout.write('held'); setInterval(() => lock, 1000); })`,
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  try {
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve());
      child.once('exit', (code) => reject(new Error(`the holder ended with ${code}`)));
    });
    expect(() => lockDataDir(dataDir)).toThrow(/Another cloud runs/);
    child.removeAllListeners('exit');
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
    lockDataDir(dataDir).release();
  } finally {
    child.kill('SIGKILL');
  }
});

test('a data directory of another driver, a damaged or impossible one: a Fault each, and the lock is given back', async () => {
  const other = directory();
  await (await open(other)).close();
  expect(await faultOf(createCore({ dataDir: other, drivers: 'docker' }))).toMatchObject({
    code: 'conflict',
    hint: expect.stringContaining('--driver memory'),
  });
  await (await open(other)).close();

  const damaged = directory();
  writeFileSync(join(damaged, 'cloud.db'), 'this is no database, and long enough to be read as one '.repeat(100));
  for (let n = 0; n < 2; n++)
    expect(await faultOf(open(damaged))).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('damaged'),
      hint: expect.stringContaining('backup'),
    });

  const blocked = directory();
  mkdirSync(join(blocked, 'lock'));
  expect((await faultOf(open(blocked))).code).toBe('unavailable');
  const file = join(directory(), 'file');
  writeFileSync(file, '');
  expect(await faultOf(open(file))).toMatchObject({ code: 'unavailable', hint: 'choose another with --data-dir' });
});

test('a data directory where none can be made: said at once', async () => {
  for (const dataDir of ['/proc/cloud', '/proc/a/cloud', '/dev/null/cloud'])
    expect(await faultOf(open(dataDir)), dataDir).toMatchObject({ code: 'unavailable', message: expect.stringContaining(dataDir) });
});

test("everything in a data directory is its owner's alone, also in one that everybody may look into", async () => {
  const dataDir = directory();
  chmodSync(dataDir, 0o755);
  const modes = () => Object.fromEntries(readdirSync(dataDir).map((name) => [name, (statSync(join(dataDir, name)).mode & 0o777).toString(8)]));
  const first = await open(dataDir);
  await first.invoke({ service: 'ssh-key', operation: 'list', input: {}, principal: localAdministrator });
  expect(modes()).toMatchObject({ 'cloud.db': '600', 'cloud.db-wal': '600', 'cloud.db-shm': '600', lock: '600' });
  expect(Object.values(modes()).every((mode) => mode === '600')).toBe(true);
  await first.close();
  // Made by an earlier version, or by hand.
  for (const name of ['cloud.db', 'lock']) chmodSync(join(dataDir, name), 0o644);
  const second = await open(dataDir);
  expect(modes()).toMatchObject({ 'cloud.db': '600', lock: '600' });
  expect(() => lockDataDir(dataDir), 'and what checked that did not let go of the lock').toThrow(/Another cloud runs/);
  const child = spawnSync(process.execPath, [
    '-e',
    `import(${JSON.stringify(join(import.meta.dirname, 'lock.ts'))}).then(({ lockDataDir }) => lockDataDir(${JSON.stringify(dataDir)}))`,
  ]);
  expect(child.stderr.toString()).toContain('Another cloud runs');
  await second.close();
  expect(statSync(dataDir).mode & 0o777, 'the directory itself is whoever made it to decide').toBe(0o755);
});

test('the database of a newer version is refused and not touched', async () => {
  const dataDir = directory();
  await (await open(dataDir)).close();
  const database = new Database(join(dataDir, 'cloud.db'));
  database.exec("insert into migration (id, applied_at) values ('vpc-999', 'later')");
  database.close();
  const fault = await faultOf(open(dataDir));
  expect(fault).toMatchObject({ code: 'conflict', hint: expect.stringContaining('version that wrote it') });
  expect(fault.message).toContain('vpc-999');
});

test('a migration that fails leaves nothing of itself, and is tried again at the next start', async () => {
  const { db, close } = openDb(join(directory(), 'cloud.db'), { durable: false });
  await migrateKernel(db);
  const contract = services[0]?.contract;
  if (contract === undefined) throw new Error('no service');
  const good: Migration = { id: 'x-001', up: statements('create table x (a text)') };
  const bad: Migration = { id: 'x-002', up: statements('create table y (a text)', 'create table x (a text)') };
  await expect(migrate(db, [{ contract, migrations: [good, bad] }])).rejects.toThrow(/already exists/);
  const tables = await sql<{ name: string }>`select name from sqlite_master where name in ('x', 'y')`.execute(db);
  expect(tables.rows.map(({ name }) => name)).toEqual(['x']);
  await migrate(db, [{ contract, migrations: [good, { ...bad, up: statements('create table y (a text)') }] }]);
  await migrate(db, [{ contract, migrations: [good, bad] }]); // applied under its id: not run again
  await close();
});

test('all ids of migrations are unique', async () => {
  await using b = await bench();
  const rows = await sql<{ id: string }>`select id from migration`.execute(b.db);
  expect(new Set(rows.rows.map(({ id }) => id)).size).toBe(rows.rows.length);
});

test('the clean-up takes what is old, and event ids go on counting', async () => {
  const clock = new ManualClock(1_000_000_000_000);
  await using b = await bench({ clock });
  await b.cloud.vpc.create({ name: 'old' });
  await b.until(async () => (await b.cloud.vpc.get('old')).state === 'ready', 0);
  const before = (await b.cloud.event.list()).items.at(-1)?.id ?? 0;
  const rows = async (table: 'event' | 'operation') => (await b.db.selectFrom(table).selectAll().execute()).length;
  const hour = 3_600_000;
  const age = (milliseconds: number) =>
    Promise.all([
      b.db
        .updateTable('operation')
        .set({ finished_at: clock.now() - milliseconds })
        .execute(),
      b.db
        .updateTable('event')
        .set({ time: clock.now() - milliseconds })
        .execute(),
    ]);
  await age(29 * 24 * hour);
  await clock.advance(hour);
  expect([await rows('event'), await rows('operation')]).toEqual([2, 1]);
  await age(31 * 24 * hour);
  await clock.advance(hour);
  await b.until(async () => (await rows('operation')) === 0 && (await rows('event')) <= 1, 0);
  await b.cloud.vpc.create({ name: 'new' });
  expect((await b.cloud.event.list({ since: before })).items[0]?.name).toBe('new');
});
