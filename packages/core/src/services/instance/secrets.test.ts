// Secrets in the environment of instances: who may put them there, which version a start gets, and that the value goes to the driver and nowhere else.
import { expect, test } from 'vitest';
import type { Principal } from '../../kernel/authorize.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import type { Sql } from '../secret/tables.ts';

const TENANT = 'tnt-0000000000000000';
const person = (id: string, role: string): Principal => ({ id, kind: 'user', tenantId: TENANT, roles: { [TENANT]: [role] } });
const ann = person('usr-ann', 'developer');
const bob = person('usr-bob', 'developer');

const given = (b: Bench, id: string) => b.world.instances.get(id)?.spec.env;
const accesses = async (b: Bench) =>
  (await b.db.selectFrom('event').select('message').where('type', '=', 'secret.accessed').orderBy('id').execute()).map(({ message }) => message);

test('the driver gets the value, and rows, views, events and operations the reference', async () => {
  await using b = await bench();
  const { cloud } = b;
  await cloud.secret.create({ name: 'db', value: 'planted-6fa1' });
  await cloud.secret.create({ name: 'token', value: 'planted-90bc' });
  await cloud.secret.rotate('token', { value: 'planted-second' });
  const env = { PLAIN: 'x', PASSWORD: '@secret:db', AGAIN: '@secret:db', OLD: '@secret:token#1', LITERAL: '@@secret:db' };
  const made = await b.ready(cloud.instance.create({ name: 'web', image: 'busybox', env }));
  expect(given(b, made.id)).toEqual({ PLAIN: 'x', PASSWORD: 'planted-6fa1', AGAIN: 'planted-6fa1', OLD: 'planted-90bc', LITERAL: '@secret:db' });
  expect((await cloud.instance.get('web')).env).toEqual(env);
  expect((await accesses(b)).filter((message) => message.endsWith('for the instance web'))).toEqual([
    'Version 1 of the secret db was read for the instance web',
    'Version 1 of the secret token was read for the instance web',
  ]);
  const tables = ['r_instance', 'r_secret', 'event', 'operation', 'audit', 'idempotency'] as const;
  for (const table of tables) expect(JSON.stringify(await b.db.selectFrom(table).selectAll().execute())).not.toContain('planted-');
  expect(await faultOf(cloud.secret.delete('db'))).toMatchObject({ code: 'conflict', message: 'The secret db is in use by instance web' });
  await b.ready(cloud.instance.update('web', { env: { PLAIN: 'x', OLD: '@secret:token#1' }, allowRestart: true }));
  expect(given(b, made.id)).toEqual({ PLAIN: 'x', OLD: 'planted-90bc' });
  await cloud.secret.delete('db');
  await b.ready(cloud.instance.update('web', { env: {}, allowRestart: true }));
  expect(given(b, made.id)).toEqual({});
  await cloud.secret.delete('token');
});

test('a new version comes with the next start, and not before', async () => {
  const clock = new ManualClock(1_000_000);
  await using b = await bench({ clock });
  const { cloud } = b;
  await cloud.secret.create({ name: 'db', value: 'v1', keepVersions: 1 });
  const { id } = await b.ready(cloud.instance.create({ name: 'web', image: 'busybox', env: { PASSWORD: '@secret:db' } }));
  const started = b.world.instances.get(id)?.startedAt;
  await cloud.secret.rotate('db', { value: 'v2' });
  // The version that it runs with is gone; it goes on as it is.
  await clock.advance(1000);
  await b.ready(cloud.instance.update('web', { labels: { x: 'y' }, stopTimeout: 3 }));
  await b.ready(cloud.instance.pause('web'));
  await b.ready(cloud.instance.resume('web'));
  expect(b.world.instances.get(id)?.startedAt).toBe(started);
  await b.ready(cloud.instance.restart('web'));
  expect(given(b, id)).toEqual({ PASSWORD: 'v2' });
  expect(b.world.instances.get(id)?.startedAt).not.toBe(started);
  await cloud.secret.rotate('db', { value: 'v3' });
  await b.ready(cloud.instance.stop('web'));
  await b.ready(cloud.instance.start('web'));
  expect(given(b, id)).toEqual({ PASSWORD: 'v3' });
  const before = (await accesses(b)).length;
  await clock.advance(60_000);
  expect((await accesses(b)).length).toBe(before);
  // One that dies is started with what is so then.
  await cloud.secret.rotate('db', { value: 'v4' });
  b.world.kill(id, 1);
  await b.until(async () => (await cloud.instance.get('web')).restarts === 1);
  expect(given(b, id)).toEqual({ PASSWORD: 'v4' });
});

test('whoever writes a reference must be allowed to read the secret', async () => {
  await using b = await bench();
  const { cloud } = b;
  await cloud.secret.create({ name: 'shared', value: 'v' });
  await b.as(ann).secret.create({ name: 'of-ann', value: 'v', private: true });
  await cloud.secret.create({ name: 'binary', value: 'a\u0000b' });
  await cloud.vpc.create({ name: 'default' });
  const create = (who: Principal, text: string) => b.as(who).instance.create({ name: 'web', image: 'busybox', env: { OTHER: 'x', PASSWORD: text } });
  const path = 'env.PASSWORD';
  expect(await faultOf(create(bob, '@secret:of-ann'))).toMatchObject({
    code: 'not_found',
    message: `${path}: There is no secret "of-ann"`,
    details: [{ path }],
  });
  expect(await faultOf(create(bob, '@secret:share'))).toMatchObject({ code: 'not_found', message: expect.stringContaining('did you mean shared?') });
  expect(await faultOf(create(bob, '@secret:shared#7'))).toMatchObject({ code: 'not_found', message: expect.stringContaining('has no version 7') });
  expect(await faultOf(create(bob, '@secret:shared#x'))).toMatchObject({ code: 'invalid_input', details: [{ path }] });
  expect(await faultOf(create(bob, '@secret:binary'))).toMatchObject({ code: 'invalid_input', details: [{ path }] });
  expect((await cloud.instance.list()).items).toEqual([]);
  // A refusal is as if nothing had been read.
  expect(await accesses(b)).toEqual([]);
  const { id } = await b.ready(create(ann, '@secret:of-ann'));
  expect(given(b, id)).toEqual({ OTHER: 'x', PASSWORD: 'v' });
  // What stands there already may be written again by somebody who could not have put it there.
  await b.ready(b.as(bob).instance.update('web', { env: { OTHER: 'y', PASSWORD: '@secret:of-ann' }, allowRestart: true }));
  expect(given(b, id)).toEqual({ OTHER: 'y', PASSWORD: 'v' });
  expect(await faultOf(b.as(bob).instance.update('web', { env: { PASSWORD: '@secret:of-ann#1' }, allowRestart: true }))).toMatchObject({ code: 'not_found' });
});

test('a version that is gone, or a value that was tampered with, fails the start and says which variable', async () => {
  await using b = await bench();
  const { cloud } = b;
  await cloud.secret.create({ name: 'db', value: 'v1' });
  const { id } = await b.ready(cloud.instance.create({ name: 'web', image: 'busybox', env: { PASSWORD: '@secret:db#1' } }));
  await cloud.secret.rotate('db', { value: 'v2' });
  await b.ready(cloud.instance.stop('web'));
  await cloud.secret.deleteVersion('db', { version: 1 });
  expect(await faultOf(b.ready(cloud.instance.start('web')))).toMatchObject({ message: expect.stringMatching(/env\.PASSWORD: .*has no version 1/) });
  await b.ready(cloud.instance.update('web', { env: { PASSWORD: '@secret:db' }, allowRestart: true }));
  await b.ready(cloud.instance.start('web'));
  expect(given(b, id)).toEqual({ PASSWORD: 'v2' });
  const table = (b.db as unknown as Sql).updateTable('secret_version').where('version', '=', 2);
  const { sealed } = await (b.db as unknown as Sql).selectFrom('secret_version').select('sealed').where('version', '=', 2).executeTakeFirstOrThrow();
  await table.set({ sealed: `${sealed.slice(0, -2)}AA` }).execute();
  // It can be stopped, not started, mended, and deleted.
  await b.ready(cloud.instance.stop('web'));
  expect(await faultOf(b.ready(cloud.instance.start('web')))).toMatchObject({ message: expect.stringMatching(/env\.PASSWORD: .*cannot be opened/) });
  expect(b.world.instances.get(id)?.power).toBe('stopped');
  await table.set({ sealed }).execute();
  await b.ready(cloud.instance.start('web'));
  expect(given(b, id)).toEqual({ PASSWORD: 'v2' });
  await table.set({ sealed: 'AQ' }).execute();
  await b.ended(cloud.instance.delete('web'));
  expect(b.world.instances.has(id)).toBe(false);
});

test('a core that dies between the look-up and the start ends with an instance that runs', async () => {
  const clock = new ManualClock(1_000_000);
  const first = await bench({ clock });
  const { cloud, dataDir, drivers } = first;
  await cloud.secret.create({ name: 'db', value: 'v1' });
  const { id } = await first.ready(cloud.instance.create({ name: 'web', image: 'busybox', env: { PASSWORD: '@secret:db' } }));
  await cloud.secret.rotate('db', { value: 'v2' });
  await clock.advance(1000);
  drivers.faults.slow('compute.ensure', 60_000);
  await cloud.instance.restart('web');
  await first.until(
    async () => (await first.db.selectFrom('r_instance').select('status').executeTakeFirst())?.status.includes('"secretVersions":{"PASSWORD":2}'),
    0,
  );
  expect(given(first, id)).toEqual({ PASSWORD: 'v1' });
  first.kill();
  drivers.faults.slow('compute.ensure', 0);
  await using second = await bench({ clock, drivers, dataDir });
  await second.until(async () => (await second.cloud.instance.get('web')).state === 'running' && given(second, id)?.['PASSWORD'] === 'v2');
});
