// Tenants through the client: who sees which, what keeps one from being deleted, and a cascade that ends with nothing left, however often it is killed.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { DEFAULT_TENANT } from '../../kernel/authorize.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { openDb } from '../../kernel/db.ts';
import { migrateKernel } from '../../kernel/migrate.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const IN = { tenant: 'acme' };
const READ_ONLY = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*:list', Resource: '*' } };

async function person(b: Bench, name: string, tenants: Record<string, string[]>) {
  const user = await b.cloud.user.create({ name });
  for (const [tenant, roles] of Object.entries(tenants)) await b.cloud.tenantMember.add({ name, roles }, { tenant });
  return { ...user, cloud: b.as(await b.core.principal(name)) };
}
/** In its tenant: where an operation stands is where it was begun. */
const done = async (b: Bench, answer: Promise<{ operation?: string | undefined }>) =>
  b.cloud.operation.wait((await answer).operation ?? '', { timeout: 20 }, IN);

/** One of everything that a tenant can have, and what refers to what. */
async function fullHouse(b: Bench): Promise<void> {
  const { cloud } = b;
  const { id } = await cloud.tenant.get('acme');
  await cloud.user.create({ name: 'ann@example.com' });
  await cloud.tenantMember.add({ name: 'ann@example.com', roles: ['admin'], labels: { team: 'web' } }, IN);
  await cloud.vpc.create({ name: 'net', labels: { a: 'b' } }, IN);
  await cloud.secret.create({ name: 'password', value: 'hidden text' }, IN);
  await cloud.queue.create({ name: 'dead' }, IN);
  await cloud.queue.create({ name: 'jobs', deadLetterQueue: 'dead', maxReceives: 2 }, IN);
  await cloud.queue.send('jobs', { body: 'work' }, IN);
  const key = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtQUDZWhs8k/cZcykMkaoX7ZE7DXld8TP79HyddMVTS test';
  await cloud.sshKey.create({ name: 'laptop', publicKey: key }, IN);
  for (const name of ['one', 'two']) await done(b, cloud.volume.create({ name, size: 1 }, IN));
  await done(b, cloud.snapshot.create({ name: 'before', volume: 'one' }, IN));
  const channel = await cloud.image.import({ reference: 'acme/app:1' }, IN);
  Readable.from([Buffer.from('content')]).pipe(channel.input);
  await channel.result;
  await done(b, cloud.instance.create({ name: 'web', image: 'acme/app:1', vpc: 'net', volumes: ['one:/data'], ports: ['80'], sshKeys: ['laptop'] }, IN));
  await done(b, cloud.instance.create({ name: 'db', image: 'busybox', vpc: 'net', volumes: ['two:/data'] }, IN));
  await done(b, cloud.instance.stop('db', {}, IN));
  await cloud.role.create({ name: 'ops', permissions: ['instance:*'] }, IN);
  await cloud.serviceAccount.create({ name: 'ci', roles: ['ops'] }, IN);
  await cloud.policy.create({ name: 'looks', document: READ_ONLY }, IN);
  await cloud.apiKey.create({ name: 'robot', serviceAccount: 'ci', policies: ['looks'] }, IN);
  await cloud.policy.attach('looks', { role: 'ops' }, IN);
  await cloud.policy.attach('looks', { serviceAccount: 'ci' }, IN);
  await cloud.quota.set({ name: 'instances', limit: 5 }, IN);
  await b.call({ service: 'vpc', operation: 'create', input: { name: 'spare' }, tenant: id, idempotencyKey: 'k' });
}

/** Tables in which something of a tenant is, besides the audit and what was said of the tenant itself. */
async function traces(b: Bench, id: string): Promise<string[]> {
  const tables = await b.db
    .selectFrom('sqlite_master' as 'meta')
    .select('name' as never)
    .where('type' as never, '=', 'table' as never)
    .execute();
  const found: string[] = [];
  for (const { name } of tables as unknown as { name: string }[]) {
    if (name.startsWith('sqlite_') || name.startsWith('audit')) continue;
    for (const row of await b.db
      .selectFrom(name as 'meta')
      .selectAll()
      .execute()) {
      if (name === 'event' || name === 'operation') {
        if ((row as unknown as { tenant: string }).tenant === id) found.push(name);
      } else if (Object.values(row).includes(id)) found.push(`${name}: ${JSON.stringify(row)}`);
    }
  }
  return found;
}

async function expectNothing(b: Bench, id: string): Promise<void> {
  expect(await traces(b, id)).toEqual([]);
  const { world } = b;
  await b.until(() => [world.instances, world.volumes, world.snapshots, world.networks, world.keptImages].every(({ size }) => size === 0), 20_000);
  for (const table of [
    'label',
    'reference',
    'policy_attachment',
    'vpc_address',
    'instance_port',
    'secret_version',
    'queue_message',
    'image_use',
    'api_key_use',
    'r_api_key',
  ])
    expect(
      await b.db
        .selectFrom(table as 'meta')
        .selectAll()
        .execute(),
      table,
    ).toEqual([]);
}

test('one sees the tenants that one belongs to, with one’s roles; administrators see all', async () => {
  await using b = await bench();
  await b.tenant('acme');
  await b.tenant('globex');
  const ann = await person(b, 'ann@example.com', { acme: ['admin'], default: ['viewer', 'developer'] });
  const bob = await person(b, 'bob@example.com', {});
  const seen = async (cloud: Bench['cloud']) => (await cloud.tenant.list()).items.map(({ name, role }) => [name, role]);
  expect(await seen(ann.cloud)).toEqual([
    ['default', 'viewer, developer'],
    ['acme', 'admin'],
  ]);
  expect(await seen(bob.cloud)).toEqual([]);
  expect(await seen(b.cloud)).toEqual([
    ['default', 'admin'],
    ['acme', 'admin'],
    ['globex', 'admin'],
  ]);
  const page = await b.cloud.tenant.list({ limit: 2 });
  expect((await b.cloud.tenant.list({ limit: 2, cursor: page.cursor })).items.map(({ name }) => name)).toEqual(['globex']);
  expect(await ann.cloud.tenant.get('acme')).toMatchObject({ name: 'acme', role: 'admin', state: 'ready' });
  const globex = await b.cloud.tenant.get('globex');
  for (const target of ['globex', 'globx', globex.id]) {
    const fault = await faultOf(ann.cloud.tenant.get(target));
    expect(fault.code).toBe('not_found');
    expect(JSON.stringify(fault)).not.toContain('did you mean');
    expect((await faultOf(ann.cloud.instance.list({}, { tenant: target }))).message).toBe(fault.message);
  }
  expect((await faultOf(b.cloud.tenant.get('globx'))).message).toContain('globex');
  for (const call of [
    ann.cloud.tenant.create({ name: 'own' }),
    ann.cloud.tenant.update('acme', { description: 'mine' }),
    ann.cloud.tenant.delete('acme'),
    ann.cloud.tenant.delete('globex'),
    ann.cloud.tenant.contents('acme'),
  ])
    expect((await faultOf(call)).code).toBe('forbidden');
});

test('a tenant is made, changed, and refused twice', async () => {
  await using b = await bench();
  const made = await b.cloud.tenant.create({ name: 'acme', description: 'The web shop', labels: { a: 'b' } });
  const operation = await b.ended(made);
  expect(operation).toMatchObject({ kind: 'tenant.create', state: 'succeeded' });
  expect((await faultOf(b.cloud.tenant.create({ name: 'acme' }))).code).toBe('conflict');
  expect(await b.ready(b.cloud.tenant.update('acme', { description: 'The other shop' }))).toMatchObject({ description: 'The other shop', labels: { a: 'b' } });
  expect((await b.cloud.operation.list()).items.map(({ kind }) => kind)).toContain('tenant.create');
  expect((await b.cloud.event.list({ resource: 'tenant/acme' })).items.map(({ type }) => type)).toContain('tenant.created');
});

test('what belongs to the installation is told to its administrators, by login and not by key', async () => {
  await using b = await bench();
  const { operation = '' } = await b.cloud.tenant.create({ name: 'acme' });
  await b.ended({ operation });
  const ann = await person(b, 'ann@example.com', { acme: ['admin'] });
  await b.cloud.user.create({ name: 'root@example.com', administrator: true });
  const root = await b.core.principal('root@example.com');
  const { key } = await b.as(root).apiKey.create({ name: 'k' });
  const keyed = await b.core.authenticate(key, '192.0.2.1');
  expect(await b.as(root).operation.get(operation)).toMatchObject({ kind: 'tenant.create' });
  for (const cloud of [ann.cloud, b.as(keyed)]) {
    expect((await faultOf(cloud.operation.get(operation))).code).toBe('not_found');
    expect((await faultOf(cloud.operation.wait(operation, { timeout: 1 }))).code).toBe('not_found');
    expect((await cloud.operation.list()).items.filter(({ kind }) => kind.startsWith('tenant.'))).toEqual([]);
    expect((await cloud.event.list({ since: 0, limit: 1000 })).items.filter(({ type }) => /^(tenant|user)\./.test(type))).toEqual([]);
    expect(await cloud.system.info()).not.toHaveProperty('dataDir');
  }
  expect((await b.cloud.event.list({ resource: 'user' })).items.length).toBeGreaterThan(0);
});

test('events of the installation reach the watches of administrators only', async () => {
  await using b = await bench();
  await b.tenant('acme');
  const ann = await person(b, 'ann@example.com', { acme: ['admin'] });
  const heard: Record<string, string[]> = { ann: [], root: [] };
  const stop = new AbortController();
  const follow = async (who: string, cloud: Bench['cloud']) => {
    for await (const { type, name } of cloud.event.watch({ since: 0 }, { signal: stop.signal })) heard[who]?.push(`${type} ${name}`);
  };
  const watches = [follow('ann', ann.cloud), follow('root', b.cloud)];
  await b.tenant('globex');
  await ann.cloud.vpc.create({ name: 'net' });
  await b.until(() => heard['root']?.includes('tenant.created globex') && heard['ann']?.includes('vpc.created net'));
  stop.abort();
  await Promise.all(watches);
  expect(heard['ann']?.filter((line) => /^(tenant|user)\./.test(line))).toEqual([]);
});

test('a tenant with something in it stays, says what, and the first tenant always does', async () => {
  await using b = await bench();
  await b.tenant('acme');
  for (let n = 0; n < 25; n++) await b.cloud.vpc.create({ name: `net-${n}` }, IN);
  const fault = await faultOf(b.cloud.tenant.delete('acme'));
  expect(fault).toMatchObject({ code: 'conflict', message: 'The tenant acme is not empty: 25 VPCs' });
  expect(fault.hint).toContain('cloud tenant delete acme --cascade');
  expect(fault.details).toMatchObject({ total: 25 });
  expect((fault.details as { contents: unknown[] }).contents).toHaveLength(20);
  for (const cascade of [false, true]) expect(await faultOf(b.cloud.tenant.delete('default', { cascade }))).toMatchObject({ code: 'conflict' });
  expect(await b.cloud.vpc.get('net-3', {}, IN)).toMatchObject({ name: 'net-3' });
});

test('an empty tenant goes, with its members, roles and keys', async () => {
  await using b = await bench();
  const id = await b.tenant('acme');
  const ann = await person(b, 'ann@example.com', { acme: ['admin'] });
  const { key } = await ann.cloud.apiKey.create({ name: 'k' });
  const held = await b.core.authenticate(key, '192.0.2.1');
  await ann.cloud.role.create({ name: 'ops', permissions: ['instance:*'] });
  const operation = await b.ended(b.cloud.tenant.delete('acme'));
  expect(operation.state).toBe('succeeded');
  expect((await faultOf(b.core.authenticate(key, '192.0.2.1'))).code).toBe('unauthenticated');
  expect((await faultOf(b.as(held).vpc.list())).code).toBe('unauthenticated');
  expect((await faultOf(ann.cloud.vpc.list())).code).toBe('forbidden');
  expect((await ann.cloud.tenant.list()).items).toEqual([]);
  await expectNothing(b, id);
});

test('what a cascade would delete is shown in its order: users before what they use', async () => {
  await using b = await bench();
  await b.tenant('acme');
  await fullHouse(b);
  const { items, total } = await b.cloud.tenant.contents('acme');
  expect(total).toBe(items.length);
  const at = (name: string) => items.findIndex((item) => item.name === name);
  for (const [before, after] of [
    ['web', 'net'],
    ['web', 'one'],
    ['db', 'two'],
    ['jobs', 'dead'],
  ] as const)
    expect(at(before), `${before} before ${after}`).toBeLessThan(at(after));
  expect(new Set(items.map(({ resource }) => resource))).toEqual(new Set(['instance', 'vpc', 'volume', 'snapshot', 'queue', 'secret', 'ssh-key', 'image']));
  expect(items.every(({ id, state }) => id !== '' && state !== '')).toBe(true);
});

test('a cascade deletes a full house and nothing of its neighbour, and the name is free again', { timeout: 30_000 }, async () => {
  await using b = await bench();
  const id = await b.tenant('acme');
  await fullHouse(b);
  const neighbour = await b.tenant('globex');
  await b.cloud.role.create({ name: 'ops', permissions: ['vpc:*'], labels: { a: 'b' } }, { tenant: 'globex' });
  const { key } = await b.cloud.apiKey.create({ name: 'late', serviceAccount: 'ci' }, IN);
  await b.as(await b.core.authenticate(key, '192.0.2.1')).auth.whoami();
  const operation = await b.ended(b.cloud.tenant.delete('acme', { cascade: true }));
  expect(operation).toMatchObject({ state: 'succeeded', kind: 'tenant.delete' });
  expect(await b.cloud.role.get('ops', {}, { tenant: neighbour })).toMatchObject({ labels: { a: 'b' } });
  await b.cloud.role.delete('ops', {}, { tenant: neighbour });
  await expectNothing(b, id);
  const again = await b.tenant('acme');
  expect(again).not.toBe(id);
  expect((await b.cloud.vpc.list({}, IN)).items).toEqual([]);
  expect((await b.cloud.tenantMember.list({}, IN)).items).toEqual([]);
  expect((await b.cloud.quota.list({}, IN)).items.filter(({ used, source }) => used > 0 || source === 'tenant')).toEqual([]);
  // What was done in it can still be read by those who keep the database: the lines stay under its id.
  const lines = await b.db.selectFrom('audit').select('permission').where('tenant', '=', id).execute();
  expect(lines.map(({ permission }) => permission)).toEqual(expect.arrayContaining(['instance:create', 'instance:delete', 'api-key:revoke']));
});

test('while a tenant goes nothing begins in it, not even what was let in before', async () => {
  const drivers = memoryDrivers();
  await using b = await bench({ drivers });
  const id = await b.tenant('acme');
  const ann = await person(b, 'ann@example.com', { acme: ['admin'] });
  // A backend that does not come back keeps the tenant in between.
  await done(b, ann.cloud.volume.create({ name: 'one', size: 1 }));
  drivers.faults.fail('volume.remove', 1000);
  const { operation } = await b.cloud.tenant.delete('acme', { cascade: true });
  expect(await b.cloud.tenant.get('acme')).toMatchObject({ state: 'deleting' });
  for (const call of [
    ann.cloud.vpc.create({ name: 'late' }),
    b.cloud.vpc.create({ name: 'late' }, IN),
    b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['admin'] }, IN),
    ann.cloud.apiKey.create({ name: 'late' }),
  ])
    expect(await faultOf(call)).toMatchObject({ code: 'conflict', message: 'The tenant acme is being deleted' });
  expect((await ann.cloud.volume.list()).items).toHaveLength(1);
  expect((await faultOf(b.cloud.tenant.create({ name: 'acme' }))).code).toBe('conflict');
  drivers.faults.clear();
  expect(await b.ended({ operation })).toMatchObject({ state: 'succeeded' });
  await expectNothing(b, id);
});

test('a call that waits for a backend while its tenant goes does not leave anything in it', async () => {
  const clock = new ManualClock(1_000_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  const id = await b.tenant('acme');
  // The backend answers when the tenant is about to go, and when it is long gone.
  for (const when of ['begun', 'gone'] as const) {
    if (when === 'gone') await b.tenant('acme');
    drivers.faults.slow('volume.ping', 10_000);
    const late = faultOf(b.cloud.volume.create({ name: 'late', size: 1 }, IN));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const { operation = '' } = await b.cloud.tenant.delete('acme');
    if (when === 'gone') await b.ended({ operation });
    drivers.faults.clear();
    await clock.advance(10_000);
    expect(await late).toMatchObject({ code: 'conflict', message: 'The tenant acme is being deleted' });
    expect(await b.ended({ operation })).toMatchObject({ state: 'succeeded' });
    expect((await b.db.selectFrom('r_volume').selectAll().execute()).length).toBe(0);
  }
  await expectNothing(b, id);
});

/** What nobody is working on: rows of the tenant, itself among them, in a data directory without a core. */
function leftIn(dataDir: string, id: string): { tenant: number; contents: number } {
  const database = new Database(join(dataDir, 'cloud.db'), { readonly: true });
  const count = (table: string, column: string) => (database.prepare(`select count(*) as n from ${table} where ${column} = ?`).get(id) as { n: number }).n;
  const contents = ['r_instance', 'r_volume', 'r_snapshot', 'r_vpc', 'r_queue', 'r_secret', 'r_ssh_key', 'r_image'].map((table) => count(table, 'tenant'));
  const left = { tenant: count('r_tenant', 'id'), contents: contents.reduce((sum, n) => sum + n, 0) };
  database.close();
  return left;
}

test('killed anywhere in the middle, the cascade goes on and ends', { timeout: 120_000 }, async () => {
  /** How much was left at each kill. */
  const kills: { tenant: number; contents: number }[] = [];
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(3000), { minLength: 1, maxLength: 5 }), async (lives) => {
      const clock = new ManualClock(1_000_000_000);
      const drivers = memoryDrivers({ clock });
      const dataDir = mkdtempSync(join(tmpdir(), 'cloud-tenant-'));
      /** One turn is one step of whatever runs: a statement, a call of a driver, a line of a handler. */
      const live = async (b: Bench, turns: number, id: string) => {
        for (let turn = 1; turn <= turns; turn++) {
          if (turn % 200 === 0) void clock.advance(200);
          await Promise.resolve();
        }
        b.kill();
        await new Promise((resolve) => setImmediate(resolve));
        kills.push(leftIn(dataDir, id));
      };
      try {
        const first = await bench({ clock, drivers, dataDir });
        const moving = setInterval(() => void clock.advance(250), 1);
        const id = await first.tenant('acme');
        await fullHouse(first).finally(() => clearInterval(moving));
        const { operation = '' } = await first.cloud.tenant.delete('acme', { cascade: true });
        await live(first, lives[0] as number, id);
        for (const turns of lives.slice(1)) await live(await bench({ clock, drivers, dataDir }), turns, id);
        await using b = await bench({ clock, drivers, dataDir });
        await b.until(async () => (await b.db.selectFrom('r_tenant').select('id').where('id', '=', id).execute()).length === 0, 1000);
        expect(await b.cloud.operation.get(operation)).toMatchObject({ state: 'succeeded' });
        await expectNothing(b, id);
        await b.cloud.tenant.create({ name: 'acme' });
      } finally {
        rmSync(dataDir, { recursive: true, force: true });
      }
    }),
    { numRuns: 15 },
  );
  process.stdout.write(`killed with so much left: ${kills.map(({ tenant, contents }) => (tenant === 0 ? 'nothing' : contents)).join(', ')}\n`);
  expect(kills.filter(({ tenant }) => tenant > 0).length).toBeGreaterThan(5);
});

test('tenants of a data directory from before keep their ids', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cloud-tenant-'));
  try {
    const before = openDb(join(dataDir, 'cloud.db'), { durable: false });
    await migrateKernel(before.db);
    await before.db.insertInto('tenant').values({ id: 'tnt-1111111111111111', name: 'acme', created_at: 1_000_000_000_000 }).execute();
    await before.close();
    for (let n = 0; n < 2; n++) {
      await using b = await bench({ dataDir });
      expect((await b.cloud.tenant.list()).items.map(({ id, name, state }) => ({ id, name, state }))).toEqual([
        { id: 'tnt-1111111111111111', name: 'acme', state: 'ready' },
        { ...DEFAULT_TENANT, state: 'ready' },
      ]);
      expect((await b.cloud.tenant.get(DEFAULT_TENANT.id)).name).toBe('default');
      expect((await b.cloud.tenant.get('acme')).createdAt).toBe('2001-09-09T01:46:40.000Z');
      if (n === 0) await b.cloud.vpc.create({ name: 'net' }, { tenant: 'tnt-1111111111111111' });
      else expect((await b.cloud.vpc.list({}, IN)).items).toHaveLength(1);
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
