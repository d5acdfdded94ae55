// Volumes: one instance at a time, nothing deleted that is in use, copies that stand by themselves.
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const instance = (b: Bench, name: string, more: object = {}) => b.ready(b.cloud.instance.create({ name, image: 'busybox', ...more }));
const volume = (b: Bench, name: string, more: object = {}) => b.ready(b.cloud.volume.create({ name, ...more }));
const file = (text: string) => ({ type: 'file' as const, mode: 0o644, uid: 0, gid: 0, modifiedAt: 0, content: Buffer.from(text) });

test('of instances that want one volume at once, one gets it', async () => {
  await using b = await bench();
  await volume(b, 'data');
  await b.ready(b.cloud.vpc.create({ name: 'default' }));
  const results = await Promise.allSettled(
    Array.from({ length: 5 }, (_, n) => b.cloud.instance.create({ name: `i-${n}`, image: 'busybox', volumes: ['data:/data'] })),
  );
  const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  expect(won).toHaveLength(1);
  for (const result of results)
    if (result.status === 'rejected')
      expect(result.reason).toMatchObject({ code: 'conflict', hint: 'cloud volume detach data', details: { attachedTo: { name: won[0]?.name } } });
  await b.ended(won[0] as object);
  expect(await b.cloud.volume.get('data')).toMatchObject({ state: 'in-use', instance: won[0]?.name, path: '/data' });
  // Those that lost left nothing: no row, no address.
  expect((await b.cloud.instance.list()).items).toHaveLength(1);
  expect((await b.cloud.vpc.get('default')).addressesUsed).toBe(1);
});

test('attach and detach: asks for the restart, keeps address and files, frees the volume when the instance has let go', async () => {
  await using b = await bench();
  const { id: volumeId } = await volume(b, 'data');
  const { id, address } = await instance(b, 'web');
  const attach = { instance: 'web', path: '/data' };
  expect((await faultOf(b.cloud.volume.attach('data', attach))).details).toEqual({ reason: 'restart_required' });
  expect((await b.cloud.volume.get('data')).state).toBe('available');
  expect(await b.ended(b.cloud.volume.attach('data', { ...attach, allowRestart: true }))).toMatchObject({
    kind: 'volume.attach',
    resource: 'instance',
    state: 'succeeded',
  });
  await b.until(async () => (await b.cloud.volume.get('data')).state === 'in-use');
  expect(b.world.instances.get(id)?.spec.mounts).toEqual([{ volumeId, path: '/data', readOnly: false }]);
  expect(await b.cloud.instance.get('web')).toMatchObject({ address, volumes: [{ volume: 'data', volumeId, path: '/data', readOnly: false }] });

  // The same again changes nothing; at another path or elsewhere it is a conflict.
  expect((await b.ended(b.cloud.volume.attach('data', attach))).state).toBe('succeeded');
  expect((await faultOf(b.cloud.volume.attach('data', { instance: 'web', path: '/other', allowRestart: true }))).message).toContain('attached to web at /data');
  await volume(b, 'more');
  expect((await faultOf(b.cloud.volume.attach('more', { ...attach, allowRestart: true }))).message).toContain('web has data at /data');
  await instance(b, 'other');
  expect((await faultOf(b.cloud.volume.attach('data', { instance: 'other', path: '/x', allowRestart: true }))).message).toContain('attached to web');

  b.world.volumes.get(volumeId)?.files.set('/kept', file('x'));
  expect((await faultOf(b.cloud.volume.detach('data'))).details).toEqual({ reason: 'restart_required' });
  expect((await b.ended(b.cloud.volume.detach('data', { allowRestart: true }))).state).toBe('succeeded');
  expect(b.world.instances.get(id)?.spec.mounts).toEqual([]);
  const free = await b.cloud.volume.get('data');
  expect(free).toMatchObject({ state: 'available' });
  expect(free.instance).toBeUndefined();
  expect(await faultOf(b.cloud.volume.detach('data'))).toMatchObject({ code: 'conflict', message: 'data is not attached to an instance' });
  await b.ended(b.cloud.volume.attach('data', { instance: 'other', path: '/x', readOnly: true, allowRestart: true }));
  expect(b.world.volumes.get(volumeId)?.files.has('/kept')).toBe(true);
  expect(await b.cloud.volume.get('data')).toMatchObject({ instance: 'other', readOnly: true });
});

test('attached it cannot be deleted; the instance gone, it stays and is free', async () => {
  await using b = await bench();
  const { id } = await volume(b, 'data');
  await instance(b, 'web', { volumes: ['data:/data'] });
  expect(await faultOf(b.cloud.volume.delete('data'))).toMatchObject({
    code: 'conflict',
    message: 'The volume data is attached to the instance web',
    hint: 'cloud volume detach data',
  });
  await b.ended(b.cloud.instance.delete('web'));
  expect(await b.cloud.volume.get('data')).toMatchObject({ state: 'available' });
  await b.ended(b.cloud.volume.delete('data'));
  expect(b.world.volumes.has(id)).toBe(false);
});

test('detached and attached many times, an instance remembers only what it has still to let go', async () => {
  await using b = await bench();
  await volume(b, 'data');
  await instance(b, 'web');
  await b.ended(b.cloud.instance.stop('web'));
  for (let n = 0; n < 4; n++) {
    await b.ended(b.cloud.volume.attach('data', { instance: 'web', path: '/data' }));
    await b.ended(b.cloud.volume.detach('data'));
  }
  await b.ended(b.cloud.volume.attach('data', { instance: 'web', path: '/data' }));
  await b.until(async () => (await b.cloud.volume.get('data')).state === 'in-use');
  const { spec } = await b.db.selectFrom('r_instance').select('spec').executeTakeFirstOrThrow();
  expect((JSON.parse(spec) as { detaching?: string[] }).detaching?.length ?? 0).toBeLessThanOrEqual(1);
});

test('detach and attach again before the instance has let go: it keeps it', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  await volume(b, 'data');
  await instance(b, 'web', { volumes: ['data:/data'] });
  await b.ended(b.cloud.instance.stop('web'));
  drivers.faults.fail('compute.ensure', 2);
  const detached = await b.cloud.volume.detach('data');
  const attached = await b.cloud.volume.attach('data', { instance: 'web', path: '/again' });
  await b.until(async () => (await b.cloud.operation.get(attached.operation ?? '')).state === 'succeeded');
  expect((await b.ended(detached)).state).toBe('succeeded');
  await b.until(async () => (await b.cloud.volume.get('data')).state === 'in-use', 0);
  expect(await b.cloud.volume.get('data')).toMatchObject({ instance: 'web', path: '/again' });
});

test('sizes: ten by default, only larger, at least the snapshot’s', async () => {
  await using b = await bench();
  expect((await volume(b, 'data')).size).toBe(10);
  await volume(b, 'big', { size: 30 });
  expect(await faultOf(b.cloud.volume.resize('big', { size: 20 }))).toMatchObject({
    code: 'invalid_input',
    details: [{ path: 'size', message: expect.stringContaining('give 30 or more') }],
  });
  expect((await b.ready(b.cloud.volume.resize('big', { size: 40 }))).size).toBe(40);
  expect((await b.ended(b.cloud.volume.resize('big', { size: 40 }))).state).toBe('succeeded');
  await b.ended(b.cloud.volume.snapshot('big', { name: 'snap' }));
  expect((await faultOf(b.cloud.volume.create({ name: 'copy', snapshot: 'snap', size: 39 }))).details).toEqual([
    { path: 'size', message: expect.stringContaining('give 40 or more') },
  ]);
  expect((await volume(b, 'copy', { snapshot: 'snap' })).size).toBe(40);
  expect((await volume(b, 'larger', { snapshot: 'snap', size: 50 })).size).toBe(50);
});

test('a snapshot is what was there then, and outlives its volume; a copy has its content', async () => {
  await using b = await bench();
  const { id } = await volume(b, 'data');
  b.world.volumes.get(id)?.files.set('/a', file('then'));
  const snapshot = await b.cloud.volume.snapshot('data', { name: 'nightly' });
  expect(await b.ended(snapshot)).toMatchObject({ state: 'succeeded', resource: 'snapshot' });
  b.world.volumes.get(id)?.files.set('/a', file('now'));
  await b.ended(b.cloud.volume.delete('data'));
  expect(await b.cloud.snapshot.get('nightly')).toMatchObject({ state: 'available', volume: 'data', size: 10, sizeBytes: 4 });
  const copy = await volume(b, 'copy', { snapshot: 'nightly' });
  expect(b.world.volumes.get(copy.id)?.files.get('/a')?.content.toString()).toBe('then');
  await b.ended(b.cloud.snapshot.delete('nightly'));
  expect((await b.cloud.volume.get('copy')).state).toBe('available');
  expect(b.world.snapshots.size).toBe(0);
});

test('a volume is not removed under a snapshot that is being made', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  const { id } = await volume(b, 'data');
  drivers.faults.fail('volume.ensureSnapshot', 3);
  const snapshot = await b.cloud.volume.snapshot('data', { name: 's' });
  const deleted = await b.cloud.volume.delete('data');
  await b.until(async () => (await b.cloud.operation.get(deleted.operation ?? '')).progress === 'waiting for the snapshot s', 0);
  expect(b.world.volumes.has(id)).toBe(true);
  await b.until(async () => (await b.cloud.operation.get(deleted.operation ?? '')).state === 'succeeded');
  expect((await b.ended(snapshot)).state).toBe('succeeded');
  expect((await b.cloud.snapshot.get('s')).state).toBe('available');
});

test('a snapshot whose data is gone is an error and not made again from what the volume has become', async () => {
  const clock = new ManualClock(1_000_000);
  await using b = await bench({ clock });
  await volume(b, 'data');
  await b.ended(b.cloud.volume.snapshot('data', { name: 's' }));
  b.world.snapshots.clear();
  await b.until(async () => (await b.cloud.snapshot.get('s')).state === 'error', 5000);
  expect(await b.cloud.snapshot.get('s')).toMatchObject({ reason: 'its data is gone from the backend' });
  expect((await faultOf(b.cloud.volume.create({ name: 'copy', snapshot: 's' }))).message).toContain('is error');
  expect(b.world.snapshots.size).toBe(0);
});

test('a volume that is gone from the backend is made anew, empty, and that is said', async () => {
  const clock = new ManualClock(1_000_000);
  await using b = await bench({ clock });
  const { id } = await volume(b, 'data');
  b.world.volumes.delete(id);
  await b.until(() => b.world.volumes.has(id), 5000);
  await b.until(async () => (await b.cloud.event.list({ resource: 'volume/data' })).items.some(({ type }) => type === 'volume.recreated'), 0);
});

test('a volume that the backend refuses: error, its instance fails for that reason, and both can be deleted', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  drivers.faults.fail('volume.ensure', 1, new DriverError('bad_spec', 'there is no such pool'));
  const made = await b.cloud.volume.create({ name: 'data' });
  const web = await b.cloud.instance.create({ name: 'web', image: 'busybox', volumes: ['data:/data'] });
  expect((await b.ended(made)).error?.message).toBe('there is no such pool');
  await b.until(async () => (await b.cloud.operation.get(web.operation ?? '')).state === 'failed', 500);
  expect((await b.cloud.instance.get('web')).reason).toContain('there is no such pool');
  await b.cloud.instance.delete('web');
  await b.until(async () => (await b.cloud.instance.list()).items.length === 0);
  await b.cloud.volume.delete('data');
  await b.until(async () => (await b.cloud.volume.list()).items.length === 0);
  expect(b.world.volumes.size + b.world.instances.size).toBe(0);
});
