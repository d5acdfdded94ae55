// What may be asked of an instance in each state, and what becomes of it; then what it does when its program dies.
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import type { MemoryWorld } from '../../drivers/memory/world.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

async function open() {
  const clock = new ManualClock(1_000_000_000);
  const drivers = memoryDrivers({ clock });
  const b = await bench({ clock, drivers });
  return { b, clock, drivers, world: drivers.world };
}
const make = (b: Bench, name = 'web', more: object = {}) => b.ready(b.cloud.instance.create({ name, image: 'busybox', ...more }));
const state = async (b: Bench, name = 'web') => (await b.cloud.instance.get(name)).state;
const types = async (b: Bench, name = 'web') =>
  (await b.cloud.event.list({ resource: `instance/${name}`, limit: 1000 })).items.map(({ type }) => type.replace('instance.', ''));
const starts = (world: MemoryWorld, id: string) => world.instances.get(id)?.logs.filter(({ text }) => text.includes('started')).length;

test('every verb in every state: done, or refused with what to do', async () => {
  const { b } = await open();
  await using _ = b;
  const { instance } = b.cloud;
  const verbs = {
    start: () => instance.start('web'),
    stop: () => instance.stop('web'),
    restart: () => instance.restart('web'),
    pause: () => instance.pause('web'),
    resume: () => instance.resume('web'),
  };
  const enter = {
    running: async () => undefined,
    stopped: async () => void (await b.ended(instance.stop('web'))),
    paused: async () => void (await b.ended(instance.pause('web'))),
  };
  /** The state afterwards, or the hint of the refusal. */
  const table: Record<keyof typeof enter, Record<keyof typeof verbs, string>> = {
    running: { start: 'running', stop: 'stopped', restart: 'running', pause: 'paused', resume: 'running' },
    stopped: { start: 'running', stop: 'stopped', restart: 'running', pause: 'cloud instance start web', resume: 'cloud instance start web' },
    paused: { start: 'cloud instance resume web', stop: 'stopped', restart: 'running', pause: 'paused', resume: 'running' },
  };
  for (const [from, row] of Object.entries(table) as [keyof typeof enter, (typeof table)['running']][]) {
    for (const [verb, outcome] of Object.entries(row) as [keyof typeof verbs, string][]) {
      await make(b);
      await enter[from]();
      const before = await instance.get('web');
      if (outcome.startsWith('cloud')) {
        const fault = await faultOf(verbs[verb]());
        expect(fault, `${verb} when ${from}`).toMatchObject({ code: 'conflict', hint: outcome });
        expect(fault.message).toContain(from);
        expect(await instance.get('web')).toEqual(before);
      } else {
        expect(await b.ended(verbs[verb]()), `${verb} when ${from}`).toMatchObject({ state: 'succeeded' });
        expect(await state(b), `${verb} when ${from}`).toBe(outcome);
      }
      await b.ended(instance.delete('web'));
    }
  }
});

test('being deleted, nothing may be asked but to delete again', async () => {
  const { b, drivers } = await open();
  await using _ = b;
  const { instance, volume } = b.cloud;
  await b.ready(volume.create({ name: 'data' }));
  await make(b);
  drivers.faults.fail('compute.remove', 1);
  const first = await instance.delete('web');
  for (const refused of [
    instance.start('web'),
    instance.stop('web'),
    instance.restart('web'),
    instance.pause('web'),
    instance.resume('web'),
    instance.resize('web', { type: 'medium' }),
    instance.update('web', { labels: { a: 'b' } }),
    volume.attach('data', { instance: 'web', path: '/d', allowRestart: true }),
  ])
    expect(await faultOf(refused)).toMatchObject({ code: 'conflict', message: expect.stringContaining('being deleted') });
  const second = await instance.delete('web');
  await b.until(async () => (await instance.list()).items.length === 0);
  expect((await b.ended(first)).state).toBe('succeeded');
  expect((await b.ended(second)).state).toBe('succeeded');
});

test('what needs a restart asks for it, does it once when allowed, and needs no leave when stopped', async () => {
  const { b, world } = await open();
  await using _ = b;
  const { instance } = b.cloud;
  const { id, address } = await make(b, 'web', { env: { A: '1' } });
  const refused = await faultOf(instance.update('web', { env: { A: '2' } }));
  expect(refused).toMatchObject({ code: 'conflict', details: { reason: 'restart_required' }, hint: 'repeat with --yes' });
  expect(refused.message).toContain('A change of env needs a restart of web');
  expect(starts(world, id)).toBe(1);
  await b.ended(instance.update('web', { env: { A: '1' }, labels: { same: 'env' } }));
  await b.ended(instance.update('web', { metadata: { who: 'me' }, restartPolicy: 'never', stopTimeout: 1 }));
  expect(starts(world, id)).toBe(1);
  await b.ended(instance.update('web', { env: { A: '2' }, allowRestart: true }));
  expect(starts(world, id)).toBe(2);
  expect(await instance.get('web')).toMatchObject({ address, env: { A: '2' }, state: 'running' });
  expect(world.instances.get(id)?.spec.env).toEqual({ A: '2' });
  // The leave was for that change only.
  expect((await faultOf(instance.update('web', { env: { A: '3' } }))).details).toEqual({ reason: 'restart_required' });
  await b.ended(instance.stop('web'));
  await b.ended(instance.update('web', { env: { A: '3' }, command: 'sleep 1h' }));
  expect(await state(b)).toBe('stopped');
  await b.ended(instance.start('web'));
  expect(world.instances.get(id)?.spec).toMatchObject({ env: { A: '3' }, command: ['sleep', '1h'] });
  expect(await b.ended(instance.update('web', { command: null, allowRestart: true }))).toMatchObject({ state: 'succeeded' });
  expect((await instance.get('web')).command).toBeUndefined();
});

test('resize: the limits change, an unknown type is refused with the near one', async () => {
  const { b, world } = await open();
  await using _ = b;
  const { id } = await make(b);
  expect(await b.ready(b.cloud.instance.resize('web', { type: 'nano' }))).toMatchObject({ type: 'nano', cpus: 0.25, memoryMiB: 128 });
  expect(world.instances.get(id)?.spec).toMatchObject({ cpus: 0.25, memoryBytes: 128 * 2 ** 20 });
  expect((await faultOf(b.cloud.instance.resize('web', { type: 'larg' }))).message).toContain('did you mean large?');
  expect((await faultOf(b.cloud.instance.create({ name: 'x', image: 'busybox', type: 'huge' }))).details).toMatchObject([{ path: 'type' }]);
});

test('stop over and over, start over and over: one run each', async () => {
  const { b, world } = await open();
  await using _ = b;
  const { id } = await make(b);
  for (let n = 0; n < 3; n++) await b.ended(b.cloud.instance.start('web'));
  expect(starts(world, id)).toBe(1);
  for (let n = 0; n < 2; n++) await b.ended(b.cloud.instance.stop('web'));
  for (let n = 0; n < 2; n++) await b.ended(b.cloud.instance.start('web'));
  expect(starts(world, id)).toBe(2);
  await b.ended(b.cloud.instance.restart('web'));
  expect(starts(world, id)).toBe(3);
});

test('a healthy instance is never touched', async () => {
  const { b, clock, world } = await open();
  await using _ = b;
  const { id } = await make(b);
  const before = structuredClone({ ...world.instances.get(id), files: undefined });
  const row = await b.cloud.instance.get('web');
  for (let n = 0; n < 60; n++) await clock.advance(15_000);
  expect(structuredClone({ ...world.instances.get(id), files: undefined })).toEqual(before);
  expect(await b.cloud.instance.get('web')).toEqual(row);
  expect(await types(b)).toEqual(['created', 'running']);
});

test('killed behind our back: restarted after a pause, visibly, with the same address', async () => {
  const { b, world } = await open();
  await using _ = b;
  const { id, address } = await make(b);
  world.kill(id, 137, { outOfMemory: true });
  await b.until(async () => (await state(b)) === 'error', 0);
  expect(await b.cloud.instance.get('web')).toMatchObject({ reason: expect.stringContaining('more memory than its type has'), exitCode: 137 });
  await b.until(async () => (await state(b)) === 'running', 50);
  const view = await b.cloud.instance.get('web');
  expect(view).toMatchObject({ address, restarts: 1 });
  expect(view.reason).toBeUndefined();
  expect(await types(b)).toEqual(['created', 'running', 'died', 'error', 'healed', 'running']);
  expect(starts(world, id)).toBe(2);
});

test('after five restarts in a row it is given up; a start begins anew', async () => {
  const { b, world, clock } = await open();
  await using _ = b;
  const { id } = await make(b);
  for (let n = 0; n < 6; n++) {
    await b.until(() => world.instances.get(id)?.power === 'running', 1000);
    await b.until(async () => (await state(b)) === 'running', 0);
    world.kill(id, 1);
    await b.until(async () => (await state(b)) === 'error', 0);
  }
  expect(await b.cloud.instance.get('web')).toMatchObject({
    state: 'error',
    restarts: 5,
    reason: 'its program ended with exit code 1, 5 restarts in a row did not help',
  });
  for (let n = 0; n < 40; n++) await clock.advance(15_000);
  expect(await state(b)).toBe('error');
  expect(starts(world, id)).toBe(6);
  expect((await types(b)).filter((type) => type === 'healing-gave-up')).toHaveLength(1);
  expect((await types(b)).filter((type) => type === 'healed')).toHaveLength(5);
  await b.ended(b.cloud.instance.start('web'));
  expect(await state(b)).toBe('running');
  world.kill(id, 1);
  await b.until(async () => (await b.cloud.instance.get('web')).restarts === 6 && (await state(b)) === 'running', 100);
});

test('policies: never and a clean end with on-failure stay stopped, until asked to start', async () => {
  const { b, world, clock } = await open();
  await using _ = b;
  const never = await make(b, 'never', { restartPolicy: 'never' });
  const clean = await make(b, 'clean', { restartPolicy: 'on-failure' });
  const failing = await make(b, 'failing', { restartPolicy: 'on-failure' });
  world.kill(never.id, 3);
  world.kill(clean.id, 0);
  world.kill(failing.id, 1);
  await b.until(async () => (await b.cloud.instance.get('failing')).restarts === 1, 100);
  for (let n = 0; n < 10; n++) await clock.advance(15_000);
  expect(await b.cloud.instance.get('never')).toMatchObject({ state: 'stopped', exitCode: 3, restarts: 0, reason: 'its program ended with exit code 3' });
  expect(await b.cloud.instance.get('clean')).toMatchObject({ state: 'stopped', exitCode: 0, restarts: 0 });
  expect(await state(b, 'failing')).toBe('running');
  await b.ended(b.cloud.instance.start('never'));
  expect(await b.cloud.instance.get('never')).toMatchObject({ state: 'running' });
  expect((await b.cloud.instance.get('never')).reason).toBeUndefined();
});

test('stopped by the user while it waits for its restart: it stays stopped', async () => {
  const { b, world, clock } = await open();
  await using _ = b;
  const { id } = await make(b);
  world.kill(id, 1);
  await b.until(async () => (await state(b)) === 'error', 0);
  await b.ended(b.cloud.instance.stop('web'));
  for (let n = 0; n < 10; n++) await clock.advance(15_000);
  expect(await state(b)).toBe('stopped');
  expect(starts(world, id)).toBe(1);
});

test('gone from the backend: made anew with its volumes, and said so; a stopped one stays stopped', async () => {
  const { b, world } = await open();
  await using _ = b;
  await b.ready(b.cloud.volume.create({ name: 'data' }));
  const { id, address } = await make(b, 'web', { volumes: ['data:/data'] });
  world.vanish(id);
  await b.until(() => world.instances.has(id), 1000);
  await b.until(async () => (await state(b)) === 'running', 0);
  expect(world.instances.get(id)?.spec.mounts).toMatchObject([{ path: '/data' }]);
  expect((await b.cloud.instance.get('web')).address).toBe(address);
  expect(await types(b)).toContain('recreated');
  await b.ended(b.cloud.instance.stop('web'));
  world.vanish(id);
  await b.until(() => world.instances.has(id), 5000);
  expect(world.instances.get(id)?.power).toBe('stopped');
});

test('the backend away: writes say so at once with nothing written; what was accepted converges when it is back', async () => {
  const { b, drivers } = await open();
  await using _ = b;
  await make(b);
  drivers.faults.fail('*', 1_000_000);
  for (const call of [b.cloud.instance.create({ name: 'x', image: 'busybox' }), b.cloud.instance.stop('web'), b.cloud.vpc.create({ name: 'v' })])
    expect((await faultOf(call)).code).toBe('unavailable');
  expect((await b.cloud.instance.list()).items.map(({ name, state }) => `${name} ${state}`)).toEqual(['web running']);
  drivers.faults.clear();
  drivers.faults.fail('compute.ensure', 20);
  const stopping = await b.cloud.instance.stop('web');
  await b.until(async () => (await b.cloud.operation.get(stopping.operation ?? '')).progress?.startsWith('waiting: ') === true, 0);
  await b.until(async () => (await state(b)) === 'stopped', 5000);
  expect((await b.ended(stopping)).state).toBe('succeeded');
});

test('an answer that got lost is no second instance', async () => {
  const { b, drivers, world } = await open();
  await using _ = b;
  drivers.faults.lose('compute.ensure', 3);
  const made = await b.cloud.instance.create({ name: 'web', image: 'busybox' });
  await b.until(async () => (await b.cloud.operation.get(made.operation ?? '')).state === 'succeeded');
  expect(world.instances.size).toBe(1);
  expect(starts(world, made.id)).toBe(1);
});

test('wait: until a state, gone, or time is up', async () => {
  const { b, drivers } = await open();
  await using _ = b;
  const { instance } = b.cloud;
  drivers.faults.fail('compute.ensure', 2);
  await instance.create({ name: 'web', image: 'busybox' });
  const running = instance.wait('web', { for: 'running' });
  await b.until(async () => (await state(b)) === 'running');
  expect((await running).state).toBe('running');
  expect(await faultOf(instance.wait('web', { for: 'stopped', timeout: 0 }))).toMatchObject({ code: 'timeout', hint: 'cloud instance get web' });
  const stopped = instance.wait('web', { for: 'stopped' });
  const gone = instance.wait('web', { for: 'deleted' });
  const paused = faultOf(instance.wait('web', { for: 'paused' }));
  await b.ended(instance.stop('web'));
  expect((await stopped).state).toBe('stopped');
  await b.ended(instance.delete('web'));
  expect((await gone).name).toBe('web');
  expect((await paused).code).toBe('not_found');
});
