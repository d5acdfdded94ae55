// Secrets: versions, who sees them, and that a value is nowhere but in the answer to who reads it.
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, describe, expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { createCore, type StartableCore } from '../../index.ts';
import { localAdministrator, type Principal, systemPrincipal } from '../../kernel/authorize.ts';
import { ManualClock } from '../../kernel/clock.ts';
import type { Log } from '../../kernel/log.ts';
import type { MasterKeySource, OutsideSource } from '../../kernel/master-key.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import { literalText, secretReference } from './contract.ts';
import type { Sql } from './tables.ts';

const made: string[] = [];
const directory = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'cloud-secret-'));
  made.push(dir);
  return dir;
};
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

const TENANT = 'tnt-0000000000000000';
const person = (id: string, role: string, tenantId = TENANT): Principal => ({
  id,
  kind: 'user',
  name: `${id}@example.com`,
  tenantId,
  roles: { [tenantId]: [role] },
});
const ann = person('usr-ann', 'developer');
const bob = person('usr-bob', 'developer');
const eve = person('usr-eve', 'viewer');
const chief = person('usr-chief', 'admin');
const versionsOf = (b: Bench) => b.db as unknown as Sql;

describe('values', () => {
  test('are shown by value alone, and that is remembered', async () => {
    const clock = new ManualClock(1_000_000);
    await using b = await bench({ clock });
    const { secret } = b.cloud;
    const created = await secret.create({ name: 'db', value: 'correct horse', description: 'of the shop' });
    expect(created).toMatchObject({ value: '[REDACTED]', currentVersion: 1, versions: 1, private: false, owner: 'local', description: 'of the shop' });
    expect(created).not.toHaveProperty('lastAccessedAt');
    for (const view of [await secret.get('db'), await secret.get(created.id), (await secret.list()).items[0]]) expect(view).toEqual(created);
    await clock.advance(1000);
    expect(await secret.value('db')).toEqual({ id: created.id, name: 'db', version: 1, value: 'correct horse', createdAt: created.createdAt });
    expect(await secret.get(created.id)).toMatchObject({ value: '[REDACTED]', lastAccessedAt: new Date(1_001_000).toISOString() });
    expect((await secret.list()).items[0]).toMatchObject({ lastAccessedAt: new Date(1_001_000).toISOString() });
    const events = (await b.cloud.event.list()).items.map(({ type, message }) => [type, message]);
    expect(events).toContainEqual(['secret.created', 'Secret db was created']);
    expect(events).toContainEqual(['secret.accessed', 'Version 1 of the secret db was read']);
    const audit = await b.db.selectFrom('audit').select(['permission', 'target', 'principal', 'outcome']).orderBy('id').execute();
    expect(audit).toContainEqual({ permission: 'secret:create', target: 'db', principal: 'local', outcome: 'ok' });
    expect(audit).toContainEqual({ permission: 'secret:value', target: 'db', principal: 'local', outcome: 'ok' });
  });

  test('of any text, up to 64 KiB', async () => {
    await using b = await bench();
    const { secret } = b.cloud;
    const texts = ['x', 'with\nline\n', '€😀\u0000\u0001', '"\\', 'x'.repeat(65_536)];
    for (const [index, value] of texts.entries()) {
      await secret.create({ name: `s${index}`, value });
      expect((await secret.value(`s${index}`)).value).toBe(value);
    }
    for (const value of ['', 'x'.repeat(65_537), '€'.repeat(22_000)]) {
      expect(await faultOf(secret.create({ name: 'bad', value }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'value' }] });
    }
    expect(await faultOf(secret.create({ name: 'bad' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'value' }] });
    expect(await faultOf(secret.create({ name: 'bad', value: 'x', generate: 20 }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'generate' }] });
    await secret.create({ name: 'made', generate: 40 });
    await secret.create({ name: 'made-too', generate: 40 });
    const { value } = await secret.value('made');
    expect(value).toMatch(/^[A-Za-z0-9]{40}$/);
    expect((await secret.value('made-too')).value).not.toBe(value);
  });

  test('in versions: as many as are kept', async () => {
    await using b = await bench();
    const { secret } = b.cloud;
    const created = await secret.create({ name: 'db', value: 'v1', keepVersions: 3 });
    for (const value of ['v2', 'v3']) await secret.rotate('db', { value });
    const third = await secret.get('db');
    expect(third).toMatchObject({ currentVersion: 3, versions: 3 });
    expect(third.generation).toBe(created.generation + 2);
    expect(await secret.value('db')).toMatchObject({ version: 3, value: 'v3' });
    expect(await secret.value('db', { version: 1 })).toMatchObject({ version: 1, value: 'v1' });
    await secret.rotate('db', { generate: 16 });
    expect((await secret.versions('db')).items.map(({ version, state }) => [version, state])).toEqual([
      [4, 'current'],
      [3, 'previous'],
      [2, 'previous'],
    ]);
    expect(await faultOf(secret.value('db', { version: 1 }))).toMatchObject({ code: 'not_found', message: expect.stringContaining('has no version 1') });
    await secret.deleteVersion('db', { version: 3 });
    expect(await faultOf(secret.deleteVersion('db', { version: 3 }))).toMatchObject({ code: 'not_found' });
    expect(await faultOf(secret.deleteVersion('db', { version: 4 }))).toMatchObject({ code: 'conflict' });
    expect((await secret.update('db', { keepVersions: 1, description: 'x' })).versions).toBe(1);
    expect((await secret.versions('db')).items.map(({ version }) => version)).toEqual([4]);
    expect(await faultOf(secret.rotate('db', { value: 'v5' }, { ifMatch: created.generation }))).toMatchObject({ code: 'stale' });
    await secret.delete('db');
    expect(await versionsOf(b).selectFrom('secret_version').selectAll().execute()).toEqual([]);
    expect(await faultOf(secret.value('db'))).toMatchObject({ code: 'not_found' });
  });

  test('a retried rotation is one, a retried reading reads again, and no answer with a value is kept', async () => {
    await using b = await bench();
    const { secret } = b.cloud;
    await secret.create({ name: 'db', value: 'v1' }, { idempotencyKey: 'a' });
    for (const _ of [1, 2]) expect(await secret.rotate('db', { value: 'v2' }, { idempotencyKey: 'b' })).toMatchObject({ currentVersion: 2, versions: 2 });
    for (const _ of [1, 2]) expect((await secret.value('db', {}, { idempotencyKey: 'c' })).value).toBe('v2');
    expect((await b.db.selectFrom('idempotency').select('key').orderBy('key').execute()).map(({ key }) => key)).toEqual(['a', 'b']);
  });
});

describe('who sees what', () => {
  test('members by their roles', async () => {
    await using b = await bench();
    await b.as(ann).secret.create({ name: 'shared', value: 'v1' });
    expect((await b.as(bob).secret.value('shared')).value).toBe('v1');
    await b.as(bob).secret.rotate('shared', { value: 'v2' });
    expect((await b.as(eve).secret.get('shared')).value).toBe('[REDACTED]');
    expect((await b.as(eve).secret.versions('shared')).items).toHaveLength(2);
    expect(await faultOf(b.as(eve).secret.value('shared'))).toMatchObject({ code: 'forbidden' });
    const other = await b.tenant('other');
    const mallory = b.as(person('usr-mallory', 'admin', other));
    expect(await faultOf(mallory.secret.value('shared'))).toMatchObject({ code: 'not_found' });
    expect((await mallory.secret.list()).items).toEqual([]);
    await mallory.secret.create({ name: 'shared', value: 'theirs' });
    expect((await b.as(bob).secret.value('shared')).value).toBe('v2');
  });

  test('what is private is not there for anybody else; an administrator may delete it unread', async () => {
    await using b = await bench();
    const { id } = await b.as(ann).secret.create({ name: 'mine-alone', value: 'v1', private: true });
    expect((await b.as(ann).secret.value('mine-alone')).value).toBe('v1');
    for (const other of [bob, chief]) {
      const { secret } = b.as(other);
      expect((await secret.list()).items).toEqual([]);
      for (const target of ['mine-alone', id, id.slice(0, -2), 'mine-alon']) {
        const faults = await Promise.all(
          [
            secret.get(target),
            secret.value(target),
            secret.versions(target),
            secret.update(target, { description: 'x' }),
            secret.rotate(target, { value: 'x' }),
          ].map(faultOf),
        );
        for (const fault of faults) expect(fault).toMatchObject({ code: 'not_found', message: `There is no secret "${target}"` });
      }
    }
    expect(await faultOf(b.as(bob).secret.delete('mine-alone'))).toMatchObject({ code: 'not_found' });
    expect(await b.as(chief).secret.delete('mine-alone')).toMatchObject({ id, value: '[REDACTED]' });
    expect((await b.as(ann).secret.list()).items).toEqual([]);
  });

  test('pages hold as many as were asked for, whatever is hidden between', async () => {
    await using b = await bench();
    for (let n = 0; n < 9; n++) await b.as(n % 3 === 0 ? ann : bob).secret.create({ name: `s${n}`, value: 'v', private: n % 2 === 0 });
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const page = await b.as(ann).secret.list({ limit: 2, ...(cursor === undefined ? {} : { cursor }) });
      expect(page.items.length === 2 || page.cursor === undefined).toBe(true);
      seen.push(...page.items.map(({ name }) => name));
      cursor = page.cursor;
    } while (cursor !== undefined);
    expect(seen.sort()).toEqual(['s0', 's1', 's3', 's5', 's6', 's7']);
  });
});

describe('what lies on disk', () => {
  test('a ciphertext opens only in its place', async () => {
    await using b = await bench();
    const { secret } = b.cloud;
    const other = await b.tenant('other');
    await secret.create({ name: 'a', value: 'of a' });
    await secret.create({ name: 'b', value: 'of b' });
    await secret.rotate('a', { value: 'second of a' });
    await secret.create({ name: 'a', value: 'of theirs' }, { tenant: other });
    const rows = await versionsOf(b).selectFrom('secret_version').selectAll().orderBy('created_at').orderBy('version').execute();
    expect(rows).toHaveLength(4);
    const wanted = new Map([
      ['of a', () => secret.value('a', { version: 1 })],
      ['second of a', () => secret.value('a', { version: 2 })],
      ['of b', () => secret.value('b')],
      ['of theirs', () => secret.value('a', {}, { tenant: other })],
    ]);
    const put = (to: (typeof rows)[number], sealed: string) =>
      versionsOf(b).updateTable('secret_version').set({ sealed }).where('secret_id', '=', to.secret_id).where('version', '=', to.version).execute();
    for (const to of rows) {
      for (const from of rows.filter((each) => each !== to)) {
        await put(to, from.sealed);
        const answers = await Promise.allSettled([...wanted.values()].map((ask) => ask()));
        const failed = answers.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
        expect(failed).toHaveLength(1);
        expect(failed[0]?.reason).toMatchObject({
          code: 'conflict',
          message: expect.stringMatching(/cannot be opened.*was changed, or belongs to something else/),
        });
      }
      await put(to, to.sealed);
    }
    for (const [value, ask] of wanted) expect((await ask()).value).toBe(value);
    // A private one cannot be made everybody's by its row.
    await b.as(ann).secret.create({ name: 'private', value: 'of ann', private: true });
    await sql`update r_secret set spec = json_set(spec, '$.private', json('false')) where name = 'private'`.execute(b.db);
    expect(await faultOf(b.as(bob).secret.value('private'))).toMatchObject({ code: 'conflict' });
  });

  test('no value is in the database, its journal, or a log', async () => {
    const dataDir = directory();
    const planted = ['planted-one-0c2f', 'planted-two-77ab', 'planted-three-19d0', 'planted-four-5e5e'];
    const lines: string[] = [];
    const write = (fields: Record<string, unknown>, message: string) => void lines.push(JSON.stringify(fields) + message);
    const log: Log = { debug: write, info: write, warn: write, error: write };
    const b = await bench({ dataDir, log });
    const { secret } = b.cloud;
    await secret.create({ name: 'a', value: planted[0] }, { idempotencyKey: 'k1' });
    await secret.create({ name: 'b', value: planted[1], private: true, labels: { x: 'y' } }, { idempotencyKey: 'k2' });
    await secret.rotate('a', { value: planted[2] }, { idempotencyKey: 'k3' });
    for (const name of ['a', 'b']) await secret.value(name, {}, { idempotencyKey: `v${name}` });
    await secret.value('a', { version: 1 });
    const faults = [
      await faultOf(secret.create({ name: 'a', value: planted[3] })),
      await faultOf(secret.create({ name: 'Bad Name', value: planted[3] })),
      await faultOf(secret.create({ name: 'c', value: planted[3], generate: 20 })),
      await faultOf(secret.rotate('none', { value: planted[3] })),
      await faultOf(secret.rotate('a', { value: planted[3], keepVersions: 1 } as never)),
      await faultOf(b.as(eve).secret.rotate('a', { value: planted[3] })),
    ];
    const everything = [
      ...readdirSync(dataDir).map((name) => readFileSync(join(dataDir, name), 'latin1')),
      ...lines,
      JSON.stringify(faults),
      ...faults.map(String),
    ].join('\n');
    await b.close();
    const closed = readdirSync(dataDir).map((name) => readFileSync(join(dataDir, name), 'latin1'));
    for (const value of planted) {
      for (const form of [value, Buffer.from(value).toString('base64').slice(0, 16), Buffer.from(value).toString('hex')]) {
        expect(everything.includes(form), form).toBe(false);
        expect(closed.join('\n').includes(form), form).toBe(false);
      }
    }
    // It looks where it should: the names are there.
    expect(everything).toContain('secret.accessed');
  });

  test('the master key changes, and everything opens as before', async () => {
    const dataDir = directory();
    const b = await bench({ dataDir, masterKey: { kind: 'local' } });
    const { secret } = b.cloud;
    await secret.create({ name: 'a', value: 'v1' });
    await secret.rotate('a', { value: 'v2' });
    await b.as(ann).secret.create({ name: 'b', value: 'of ann', private: true });
    const other = await b.tenant('other');
    await secret.create({ name: 'a', value: 'theirs' }, { tenant: other });
    const before = await versionsOf(b).selectFrom('secret_version').select('sealed').execute();
    const { from, to } = await b.cloud.system.rotateMasterKey();
    expect(from).not.toBe(to);
    const after = await versionsOf(b).selectFrom('secret_version').select('sealed').execute();
    expect(after.filter(({ sealed }) => before.some((each) => each.sealed === sealed))).toEqual([]);
    const check = async (of: Bench) => {
      expect((await of.cloud.secret.value('a', { version: 1 })).value).toBe('v1');
      expect((await of.cloud.secret.value('a')).value).toBe('v2');
      expect((await of.as(ann).secret.value('b')).value).toBe('of ann');
      expect((await of.cloud.secret.value('a', {}, { tenant: other })).value).toBe('theirs');
    };
    await check(b);
    for (const principal of [ann, chief]) expect(await faultOf(b.as(principal).system.rotateMasterKey())).toMatchObject({ code: 'forbidden' });
    await b.close();
    await using again = await bench({ dataDir, masterKey: { kind: 'local' } });
    await check(again);
    // One that does not open stops a rotation, and nothing is changed.
    await versionsOf(again).updateTable('secret_version').set({ sealed: 'AQ' }).where('version', '=', 2).execute();
    expect(await faultOf(again.cloud.system.rotateMasterKey())).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('Version 2 of the secret a'),
    });
    expect((await again.as(ann).secret.value('b')).value).toBe('of ann');
  });
});

test('references', () => {
  expect(secretReference('plain')).toBeUndefined();
  expect(secretReference('@@secret:x')).toBeUndefined();
  expect(secretReference(' @secret:x')).toBeUndefined();
  expect(secretReference('@secret:db-password')).toEqual({ secret: 'db-password', version: undefined });
  expect(secretReference('@secret:db#12')).toEqual({ secret: 'db', version: 12 });
  for (const text of ['@secret:', '@secret:#1', '@secret:x#', '@secret:x#0', '@secret:x#1.5', '@secret:x#one', '@secret:a b'])
    expect(secretReference(text)).toBeTypeOf('string');
  expect([literalText('@@secret:x'), literalText('@@secret'), literalText('x')]).toEqual(['@secret:x', '@@secret', 'x']);
});

test('a start with the next master key seals everything with it, also for the start after', async () => {
  const dataDir = directory();
  const [first, next]: OutsideSource[] = ['a', 'b'].map((letter) => ({ kind: 'value', value: createHash('sha256').update(letter).digest('hex') }));
  const start = (masterKey?: MasterKeySource, nextMasterKey?: OutsideSource) =>
    createCore({ dataDir, drivers: memoryDrivers(), durable: false, nextMasterKey, ...(masterKey === undefined ? {} : { masterKey }) });
  const call = async (core: StartableCore, operation: string, target: string | undefined, input: object) =>
    (await core.invoke({ service: 'secret', operation, target, input, principal: localAdministrator })).value;
  const before = await start();
  await call(before, 'create', undefined, { name: 'a', value: 'v1' });
  await before.close();
  // From the file of the data directory to a key from outside, from that to another, and a start with both once more.
  for (const [source, to] of [
    [undefined, first],
    [first, next],
    [first, next],
    [next, undefined],
  ]) {
    const core = await start(source, to);
    expect(await call(core, 'value', 'a', {})).toMatchObject({ value: 'v1' });
    await core.close();
  }
  expect(readdirSync(dataDir)).not.toContain('master-key');
  expect(await faultOf(start(first))).toMatchObject({ code: 'conflict', message: expect.stringContaining('This is not the master key') });
  expect(await faultOf(start())).toMatchObject({ code: 'conflict', message: expect.stringContaining('none was given') });
  await (await start(next)).close();
});

test('the system sees all of a tenant, to take it down', async () => {
  await using b = await bench();
  await b.as(ann).secret.create({ name: 'private', value: 'v', private: true });
  const system = b.as(systemPrincipal(TENANT)).secret;
  const { items } = await system.list();
  expect(items).toMatchObject([{ name: 'private', value: '[REDACTED]' }]);
  for (const { id } of items) await system.delete(id);
  expect((await b.as(ann).secret.list()).items).toEqual([]);
});
