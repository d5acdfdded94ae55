// Two tenants on one host: neither sees, uses, changes or hears of what the other has, by whatever way it asks.
import { createServer } from 'node:net';
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import type { Cloud } from './contracts.ts';
import { memoryDrivers } from './drivers/memory/index.ts';
import { DEFAULT_TENANT, type Principal } from './kernel/authorize.ts';
import { systemClock } from './kernel/clock.ts';
import { DriverError } from './kernel/errors.ts';
import { type Bench, bench, faultOf } from './testing/bench.ts';

const member = (id: string, tenantId: string, role = 'admin'): Principal => ({ id, kind: 'user', tenantId, roles: { [tenantId]: [role] } });

async function two(drivers = memoryDrivers()) {
  const b = await bench({ drivers });
  const theirTenant = await b.tenant('theirs');
  return { b, ours: b.as(member('usr-ours', DEFAULT_TENANT.id)), theirs: b.as(member('usr-theirs', theirTenant)), drivers };
}
const done = async (cloud: Cloud, answer: Promise<{ operation?: string | undefined }>) => {
  const { operation = '' } = await answer;
  return cloud.operation.wait(operation, { timeout: 20 });
};
const bring = async (cloud: Cloud, reference: string, content: string) => {
  const channel = await cloud.image.import({ reference });
  Readable.from([Buffer.from(content)]).pipe(channel.input);
  return channel.result;
};
const names = async (cloud: Cloud) => (await cloud.image.list()).items.map(({ name }) => name);
/** What somebody was told, all of it. */
const told = async (call: Promise<unknown>) => {
  const { code, message, hint, details } = await faultOf(call);
  return { code, text: JSON.stringify({ message, hint, details }) };
};
const contentOf = (b: Bench, name: string) => [...b.world.instances.values()].find(({ spec }) => spec.name === name)?.spec.content;

test('an image is its tenant’s: not listed, found, deleted or meant by another', async () => {
  const { b, ours, theirs } = await two();
  await using _ = b;
  await done(theirs, theirs.image.pull({ reference: 'acme/secret:1' }));
  await bring(theirs, 'acme/base:1', 'theirs');
  const id = (await theirs.image.list()).items[0]?.id ?? '';
  expect(await names(theirs)).toEqual(['acme/base:1', 'acme/secret:1']);
  expect(await names(ours)).toEqual([]);
  for (const target of ['acme/secret:1', 'docker.io/acme/secret:1', id, id.slice(0, 8)]) {
    for (const call of [ours.image.get(target), ours.image.delete(target)]) {
      const { code, text } = await told(call);
      expect(code, target).toBe('not_found');
      expect(text).not.toContain('did you mean');
    }
  }
  // A name that is nearly one of theirs gets no help.
  expect((await told(ours.image.get('acme/secre:1'))).text).not.toContain('secret');
  expect((await ours.event.list({ resource: 'image' })).items).toEqual([]);
});

test('one reference, two tenants, two contents: neither moves the other’s', async () => {
  const { b, ours, theirs } = await two();
  await using _ = b;
  const mine = await bring(ours, 'acme/app:1', 'ours');
  const other = await bring(theirs, 'acme/app:1', 'theirs');
  expect(other.digest).not.toBe(mine.digest);
  await done(theirs, theirs.image.pull({ reference: 'acme/app:1', always: true }));
  await done(ours, ours.instance.create({ name: 'one', image: 'acme/app:1' }));
  await done(theirs, theirs.instance.create({ name: 'two', image: 'acme/app:1' }));
  expect((await ours.image.get('acme/app:1')).digest).toBe(mine.digest);
  expect(contentOf(b, 'one')).toBe(mine.digest);
  expect(contentOf(b, 'two')).toBe((await theirs.image.get('acme/app:1')).digest);
  // Theirs goes; ours stays, with the instance that runs it.
  expect(await told(theirs.image.delete('acme/app:1'))).toMatchObject({ code: 'conflict' });
  await done(theirs, theirs.instance.delete('two'));
  await done(theirs, theirs.image.delete('acme/app:1'));
  expect((await ours.image.get('acme/app:1')).digest).toBe(mine.digest);
  expect(b.world.contentOf(mine.digest ?? '')).toBeDefined();
  expect(b.world.contentOf(other.digest ?? '')).toBeUndefined();
});

test('an instance keeps what its image meant, though the name is imported anew; the content goes with the last that has it', async () => {
  const { b, ours } = await two();
  await using _ = b;
  const first = await bring(ours, 'acme/app:1', 'first');
  await done(ours, ours.instance.create({ name: 'web', image: 'acme/app:1' }));
  const second = await bring(ours, 'acme/app:1', 'second');
  expect(second.id).toBe(first.id);
  expect((await ours.image.get('acme/app:1')).digest).toBe(second.digest);
  const [instance] = b.world.instances.values();
  b.world.vanish(instance?.spec.id ?? '');
  await b.until(() => contentOf(b, 'web') === first.digest);
  expect(await told(ours.image.delete('acme/app:1'))).toMatchObject({ code: 'conflict', text: expect.stringContaining('instance web') });
  await done(ours, ours.instance.delete('web'));
  await b.until(() => b.world.contentOf(first.digest ?? '') === undefined);
  expect(b.world.contentOf(second.digest ?? '')).toBeDefined();
  await done(ours, ours.image.delete('acme/app:1'));
  expect(b.world.keptImages.size).toBe(0);
});

test('an instance from before images belonged to tenants goes on, and is made anew from what its name means', async () => {
  const drivers = memoryDrivers();
  drivers.world.hostImage('busybox:latest');
  const { b, ours } = await two(drivers);
  await using _ = b;
  await done(ours, ours.instance.create({ name: 'web', image: 'busybox' }));
  const [instance] = b.world.instances.values();
  if (instance === undefined) throw new Error('no instance');
  await b.db.deleteFrom('image_use' as 'meta').execute();
  delete instance.spec.content;
  await done(ours, ours.instance.stop('web'));
  await done(ours, ours.instance.start('web'));
  expect(instance.spec.content).toBeUndefined();
  const moved = drivers.world.hostImage('busybox:latest', 'newer');
  b.world.vanish(instance.spec.id);
  await b.until(() => contentOf(b, 'web') === moved.content);
});

test('content that somebody took from the backend: pulled again, but what was imported never becomes what a registry has', async () => {
  const { b, ours } = await two();
  await using _ = b;
  await done(ours, ours.image.pull({ reference: 'alpine' }));
  await bring(ours, 'acme/base:1', 'ours');
  await done(ours, ours.instance.create({ name: 'one', image: 'alpine' }));
  await done(ours, ours.instance.create({ name: 'two', image: 'acme/base:1' }));
  const lose = (name: string) => {
    b.world.keptImages.clear();
    for (const { spec } of b.world.instances.values()) if (spec.name === name) b.world.vanish(spec.id);
  };
  lose('one');
  await b.until(() => contentOf(b, 'one') !== undefined);
  expect((await ours.event.list({ resource: 'instance/one' })).items.map(({ type }) => type)).toContain('instance.image-lost');
  lose('two');
  await b.until(async () => (await ours.instance.get('two')).state === 'error');
  for (let n = 0; n < 2; n++) {
    expect((await done(ours, ours.instance.start('two'))).error?.message).toContain('gone from this host');
  }
  expect((await ours.image.get('acme/base:1')).state).toBe('error');
  await bring(ours, 'acme/base:1', 'ours');
  expect(await done(ours, ours.instance.start('two'))).toMatchObject({ state: 'succeeded' });
});

test('an import that is given up, or is no image, leaves what was there', async () => {
  const { b, ours, drivers } = await two();
  await using _ = b;
  const first = await bring(ours, 'acme/app:1', 'first');
  const given = await ours.image.import({ reference: 'acme/app:1' });
  given.input.write('half of it');
  given.close();
  await expect(given.result).rejects.toThrow();
  drivers.faults.fail('image.import', 1, new DriverError('bad_spec', 'The archive is not a tar'));
  await expect(bring(ours, 'acme/app:1', 'junk')).rejects.toThrow('not a tar');
  expect((await ours.image.get('acme/app:1')).digest).toBe(first.digest);
  await b.until(() => b.world.keptImages.size === 1);
});

test('the host’s images: seen and used by all, changed by nobody but administrators of the installation', async () => {
  const drivers = memoryDrivers();
  const host = drivers.world.hostImage('busybox:latest');
  const { b, ours, theirs } = await two(drivers);
  await using _ = b;
  for (const cloud of [ours, theirs]) {
    expect((await cloud.image.list()).items).toMatchObject([{ name: 'busybox:latest', source: 'host' }]);
    expect(await told(cloud.image.delete('busybox'))).toMatchObject({ code: 'forbidden' });
    expect(await told(cloud.image.delete((await cloud.image.get('busybox')).id))).toMatchObject({ code: 'forbidden' });
  }
  // A key of an administrator's is no administrator.
  const key = b.as({
    id: 'local',
    kind: 'user',
    tenantId: DEFAULT_TENANT.id,
    roles: { '*': ['admin'] },
    administrator: true,
    credential: { kind: 'api-key', id: 'key-1' },
  });
  expect(await told(key.image.delete('busybox'))).toMatchObject({ code: 'forbidden' });
  await done(theirs, theirs.instance.create({ name: 'hidden', image: 'busybox' }));
  await done(ours, ours.instance.create({ name: 'mine', image: 'busybox' }));
  expect([contentOf(b, 'hidden'), contentOf(b, 'mine')]).toEqual([host.content, host.content]);
  // Neither the host's image nor the other tenant's becomes what one imports under the same name.
  const own = await bring(ours, 'busybox', 'ours');
  expect((await ours.image.list()).items).toMatchObject([{ name: 'busybox:latest', source: 'imported', digest: own.digest }]);
  expect((await theirs.image.get('busybox')).digest).toBe(host.digest);
  await done(ours, ours.instance.create({ name: 'next', image: 'busybox' }));
  expect(contentOf(b, 'next')).toBe(own.digest);
  await done(ours, ours.instance.delete('mine'));
  await done(ours, ours.instance.delete('next'));
  await done(ours, ours.image.delete('busybox'));
  const refusal = await told(b.cloud.image.delete('busybox'));
  expect(refusal).toMatchObject({ code: 'conflict', text: expect.stringContaining('instances of other tenants') });
  expect(refusal.text).not.toContain('hidden');
  await done(theirs, theirs.instance.delete('hidden'));
  await b.ended(b.cloud.image.delete('busybox'));
  expect(await names(theirs)).toEqual([]);
});

test('a policy about an image holds for every spelling of its name, and one about pulling for those who pull on the way', async () => {
  const { b } = await two();
  await using _ = b;
  const { image, policy, serviceAccount, vpc } = b.cloud;
  await b.ended(image.pull({ reference: 'alpine' }));
  await vpc.create({ name: 'prod' });
  const { id } = await serviceAccount.create({ name: 'robot', roles: ['admin'] });
  const Statement = [
    { Effect: 'Allow', Action: '*', Resource: '*' },
    { Effect: 'Deny', Action: 'image:delete', Resource: 'crn:cloud:*:image:image/alpine:latest' },
    { Effect: 'Deny', Action: ['image:pull', 'vpc:create'], Resource: '*' },
  ];
  await policy.create({ name: 'bounds', document: { Version: '2012-10-17', Statement } });
  await policy.attach('bounds', { serviceAccount: 'robot' });
  const robot = b.as(await b.core.principal(id));
  for (const target of ['alpine', 'alpine:latest', 'docker.io/library/alpine', (await image.get('alpine')).id]) {
    expect(await told(robot.image.delete(target)), target).toMatchObject({ code: 'forbidden' });
  }
  const spec = { name: 'web', vpc: 'prod' };
  expect(await told(robot.instance.create({ ...spec, image: 'acme/app:1' }))).toMatchObject({ code: 'forbidden', text: expect.stringContaining('image:pull') });
  expect(await told(robot.instance.create({ name: 'web', image: 'alpine' }))).toMatchObject({ code: 'forbidden', text: expect.stringContaining('vpc:create') });
  expect(await done(robot, robot.instance.create({ ...spec, image: 'alpine' }))).toMatchObject({ state: 'succeeded' });
});

test('an absent image is fetched for who needs it, with leave to pull; one that failed is asked for again by a start', async () => {
  const { b, ours, theirs, drivers } = await two();
  await using _ = b;
  drivers.faults.fail('image.pull', 1, new DriverError('bad_spec', 'The registry knows no acme/app:1'));
  const failed = await done(ours, ours.instance.create({ name: 'web', image: 'acme/app:1' }));
  expect(failed).toMatchObject({ state: 'failed', error: { message: 'The registry knows no acme/app:1' } });
  expect(await done(ours, ours.instance.start('web'))).toMatchObject({ state: 'succeeded' });
  expect(await names(ours)).toEqual(['acme/app:1']);
  expect(await names(theirs)).toEqual([]);
});

test('a create that is refused leaves nothing behind, not even the VPC default', async () => {
  const { b, ours } = await two();
  await using _ = b;
  await faultOf(ours.instance.create({ name: 'web', image: 'busybox', volumes: ['none:/data'] }));
  await faultOf(ours.instance.create({ name: 'web', image: 'busybox', type: 'enormous' }));
  await faultOf(ours.instance.create({ name: 'web', image: 'acme/app:1@sha256:0' }));
  await ours.vpc.create({ name: 'own' });
  await done(ours, ours.instance.create({ name: 'web', image: 'busybox', vpc: 'own' }));
  await faultOf(ours.instance.create({ name: 'web', image: 'acme/other:1' }));
  expect((await ours.vpc.list()).items.map(({ name }) => name)).toEqual(['own']);
  expect(await names(ours)).toEqual(['busybox:latest']);
  const made = await Promise.all(['a', 'b', 'c'].map((name) => ours.instance.create({ name, image: 'busybox' })));
  expect(new Set(made.map(({ vpc }) => vpc))).toEqual(new Set(['default']));
});

test('a taken port and a taken network say nothing of who has them', async () => {
  const { b, ours, theirs } = await two();
  await using _ = b;
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  const byProgram = await told(ours.instance.create({ name: 'web', image: 'busybox', ports: [`${port}:80`] }));
  await new Promise((resolve) => probe.close(resolve));
  await done(theirs, theirs.instance.create({ name: 'hidden', image: 'busybox', ports: [`${port}:80`] }));
  const byTenant = await told(ours.instance.create({ name: 'web', image: 'busybox', ports: [`${port}:80`] }));
  expect(byTenant).toEqual(byProgram);
  expect(await told(theirs.instance.create({ name: 'web', image: 'busybox', ports: [`${port}:80`] }))).toMatchObject({
    text: expect.stringContaining('hidden'),
  });

  await theirs.vpc.create({ name: 'secret', cidr: '10.77.16.0/20' });
  const overlap = await told(ours.vpc.create({ name: 'mine', cidr: '10.77.0.0/16' }));
  expect(overlap).toMatchObject({ code: 'conflict' });
  for (const word of ['secret', '10.77.16']) expect(overlap.text).not.toContain(word);
});

test('names, ids, operations and events of another tenant are not there', async () => {
  const { b, ours, theirs } = await two();
  await using _ = b;
  const { operation = '', id } = await theirs.instance.create({ name: 'hidden', image: 'busybox' });
  await theirs.operation.wait(operation, { timeout: 20 });
  for (const target of [operation, operation.slice(0, 8)]) {
    expect(await told(ours.operation.get(target))).toMatchObject({ code: 'not_found' });
    expect(await told(ours.operation.wait(target, { timeout: 1 }))).toMatchObject({ code: 'not_found' });
  }
  for (const target of ['hidden', 'hiden', id]) expect((await told(ours.instance.get(target))).text).not.toContain('did you mean');
  expect((await ours.operation.list()).items).toEqual([]);
  expect((await ours.event.list({})).items).toEqual([]);
  expect((await ours.event.list({ since: 0 })).items).toEqual([]);
  // The same names are free here.
  expect(await done(ours, ours.instance.create({ name: 'hidden', image: 'busybox' }))).toMatchObject({ state: 'succeeded' });
});

test('of the host only administrators of the installation are told', async () => {
  const { b, ours } = await two();
  await using _ = b;
  const info = await ours.system.info();
  expect(Object.keys(info).sort()).toEqual(['drivers', 'principal', 'tenant', 'version']);
  expect(JSON.stringify(info)).not.toContain(b.dataDir);
  expect(await told(ours.system.doctor())).toMatchObject({ code: 'forbidden' });
  expect(await b.cloud.system.info()).toMatchObject({ dataDir: b.dataDir, installation: 'cloud-test' });
  expect((await b.cloud.system.doctor()).checks.length).toBeGreaterThan(0);
});

test('the reaper takes what nobody has and nothing else', async () => {
  const drivers = memoryDrivers({ clock: systemClock });
  const { b, ours } = await two(drivers);
  await using _ = b;
  const kept = await bring(ours, 'acme/app:1', 'ours');
  expect(b.world.keptImages.size).toBe(1);
  await drivers.drivers.image.keep('img-0000000000000000', kept.digest ?? '');
  const { image } = drivers.drivers;
  const owners = (await image.kept()).map(({ id }) => id);
  expect(owners).toContain('img-0000000000000000');
  await image.release('img-0000000000000000', []);
  expect(b.world.contentOf(kept.digest ?? '')).toBeDefined();
});
