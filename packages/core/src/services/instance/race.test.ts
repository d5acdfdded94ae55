// Wishes that overtake each other: what was asked meanwhile wins, and nothing is stuck, lost or shown as it no longer is.
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import { bench } from '../../testing/bench.ts';

const image = { image: 'busybox', type: 'nano' };

test('an instance that runs in the backend though it was seen stopped last may be changed, and started again', async () => {
  await using it = await bench();
  const made = await it.ready(it.cloud.instance.create({ name: 'web', ...image }));
  await it.ready(it.cloud.instance.stop('web'));
  it.world.faults.lose('compute.ensure', 1000);
  const waits = [await it.cloud.instance.start('web')];
  await it.until(() => it.world.instances.get(made.id)?.power === 'running');
  expect((await it.cloud.instance.get('web')).state).toBe('stopped');
  waits.push(await it.cloud.instance.stop('web'), await it.cloud.instance.update('web', { env: { A: 'b' } }), await it.cloud.instance.start('web'));
  it.world.faults.clear();
  for (const answer of waits) expect(await it.ended(answer)).toMatchObject({ state: 'succeeded' });
  expect(await it.cloud.instance.get('web')).toMatchObject({ state: 'running', env: { A: 'b' } });
});

test('a volume attached again to the instance that is just letting it go stays claimed', async () => {
  await using it = await bench();
  await it.ready(it.cloud.volume.create({ name: 'data', size: 1 }));
  const { id } = await it.ready(it.cloud.instance.create({ name: 'web', ...image, volumes: ['data:/data'] }));
  await it.ready(it.cloud.instance.create({ name: 'rival', ...image }));
  it.world.faults.slow('compute.ensure', 200);
  const detach = await it.cloud.volume.detach('data', { allowRestart: true });
  await sleep(50);
  const attach = await it.cloud.volume.attach('data', { instance: 'web', path: '/other', allowRestart: true });
  for (const answer of [detach, attach]) expect(await it.ended(answer)).toMatchObject({ state: 'succeeded' });
  expect(await it.cloud.volume.get('data')).toMatchObject({ state: 'in-use', instance: 'web', instanceId: id, path: '/other' });
  await expect(it.cloud.volume.attach('data', { instance: 'rival', path: '/data', allowRestart: true })).rejects.toMatchObject({ code: 'conflict' });
});

test('an allowed restart is still allowed after failures, and what was detached is given back then', async () => {
  await using it = await bench();
  await it.ready(it.cloud.volume.create({ name: 'data', size: 1 }));
  await it.ready(it.cloud.instance.create({ name: 'web', ...image, volumes: ['data:/data'] }));
  it.world.faults.fail('compute.ensure', 1, new DriverError('bad_spec', 'The backend does not like it'));
  expect(await it.ended(it.cloud.volume.detach('data', { allowRestart: true }))).toMatchObject({ state: 'failed' });
  expect(await it.cloud.instance.get('web')).toMatchObject({ state: 'error' });
  await it.ready(it.cloud.instance.start('web'));
  expect(await it.cloud.instance.get('web')).toMatchObject({ state: 'running', volumes: [] });
  const { state, instance } = await it.cloud.volume.get('data');
  expect({ state, instance }).toEqual({ state: 'available', instance: undefined });
});

test('what is being deleted says so until it is gone, whatever was on its way', async () => {
  await using it = await bench();
  await it.ready(it.cloud.volume.create({ name: 'data', size: 1 }));
  await it.ready(it.cloud.instance.create({ name: 'web', ...image, volumes: ['data:/data'] }));
  it.world.faults.slow('compute.*', 100);
  await it.cloud.instance.update('web', { env: { A: 'b' }, allowRestart: true });
  await sleep(50);
  const deleted = await it.cloud.instance.delete('web');
  const seen = new Set<string>();
  await it.until(async () => {
    const rows = (await it.cloud.instance.list()).items;
    for (const { state } of rows) seen.add(state);
    return rows.length === 0;
  });
  expect([...seen]).toEqual(['deleting']);
  expect(await it.ended(deleted)).toMatchObject({ state: 'succeeded' });
  expect((await it.cloud.volume.get('data')).state).toBe('available');
});
