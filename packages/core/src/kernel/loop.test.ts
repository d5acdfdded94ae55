// The loop that makes rows true, with a controller that misbehaves in every way the loop must bear.
import { expect, test } from 'vitest';
import { memoryDrivers } from '../drivers/memory/index.ts';
import { services } from '../services.ts';
import { type Bench, bench, faultOf } from '../testing/bench.ts';
import { type GadgetController, gadgetService, testContracts } from '../testing/gadget.ts';
import { ManualClock } from './clock.ts';
import type { Found } from './driver.ts';
import { DriverError } from './errors.ts';
import { Unsuccessful, Waiting } from './service.ts';

async function open(plan: Partial<GadgetController>) {
  const clock = new ManualClock(10_000_000);
  const b = await bench({ definitions: [...services, gadgetService(plan)], clock });
  return { b, clock, ...b.clientOf({ gadget: testContracts.gadget }) };
}
const gate = () => {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
};
const typesOf = async (b: Bench, name: string) => (await b.cloud.event.list({ resource: `gadget/${name}` })).items.map(({ type }) => type);

test('one row is never worked on twice at once, and wakes while it is worked on become one', async () => {
  const running = new Map<string, number>();
  let most = 0;
  let runs = 0;
  const first = gate();
  const { b, gadget } = await open({
    async reconcile(row, { report }) {
      runs++;
      running.set(row.id, (running.get(row.id) ?? 0) + 1);
      most = Math.max(most, running.get(row.id) ?? 0);
      if (runs === 1) await first.opened;
      running.set(row.id, (running.get(row.id) ?? 0) - 1);
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g' });
  await b.until(() => runs === 1);
  for (let size = 2; size < 12; size++) await gadget.update('g', { size });
  first.open();
  expect((await b.ended(gadget.get('g'))).state).toBe('succeeded');
  expect((await b.ended(made)).state).toBe('succeeded');
  expect(most).toBe(1);
  expect(runs).toBe(2);
});

test('different rows are worked on at once, up to the limit', async () => {
  let now = 0;
  let most = 0;
  const all = gate();
  const { b, gadget } = await open({
    concurrency: 3,
    async reconcile(_, { report }) {
      most = Math.max(most, ++now);
      await all.opened;
      now--;
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  const made = await Promise.all(Array.from({ length: 8 }, (_, n) => gadget.create({ name: `g-${n}` })));
  await b.until(() => now === 3);
  all.open();
  for (const each of made) await b.ended(each);
  expect(most).toBe(3);
});

test('a generation that arrives during the work is not called done by it', async () => {
  const first = gate();
  let runs = 0;
  const seen: number[] = [];
  const { b, gadget } = await open({
    async reconcile(row, { report }) {
      runs++;
      seen.push(row.spec.size);
      if (runs === 1) await first.opened;
      if (runs === 2) throw new DriverError('bad_spec', 'size 9 is too much');
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g', size: 1 });
  await b.until(() => runs === 1);
  const changed = await gadget.update('g', { size: 9 });
  first.open();
  expect((await b.ended(made)).state).toBe('succeeded');
  expect(await b.ended(changed)).toMatchObject({ state: 'failed', error: { message: 'size 9 is too much' } });
  expect(seen).toEqual([1, 9]);
});

test('a change is one round of work, though it writes its row more than once', async () => {
  let runs = 0;
  const { b, gadget } = await open({
    async reconcile(_, { report }) {
      runs++;
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  await b.ready(gadget.create({ name: 'g' }));
  await b.ready(gadget.update('g', { size: 2 }));
  await b.ready(gadget.poke('g'));
  expect(runs).toBe(3);
});

test('waiting is no failure, however often; its text is the progress', async () => {
  let runs = 0;
  const { b, gadget } = await open({
    async reconcile(_, { report }) {
      if (++runs <= 12) throw new Waiting('for the paint to dry', 1000);
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g' });
  await b.until(async () => (await b.cloud.operation.get(made.operation ?? '')).progress === 'for the paint to dry', 0);
  await b.until(async () => (await gadget.get('g')).state === 'ready', 1000);
  expect((await b.ended(made)).state).toBe('succeeded');
  expect(runs).toBe(13);
  expect(await typesOf(b, 'g')).toEqual(['gadget.created', 'gadget.ready']);
});

test('bad_spec: error and a failed operation at once, no further try until the spec changes', async () => {
  let runs = 0;
  const { b, clock, gadget } = await open({
    resyncMs: 1000,
    differing: async (rows) => rows.filter(({ state }) => state !== 'ready').map(({ id }) => id),
    async reconcile(row, { report }) {
      runs++;
      if (row.spec.size > 5) throw new DriverError('bad_spec', 'too large', { hint: 'cloud gadget update g --size 5' });
      await report({ state: 'ready', reason: null });
    },
  });
  await using _ = b;
  const operation = await b.ended(gadget.create({ name: 'g', size: 6 }));
  expect(operation).toMatchObject({ state: 'failed', error: { code: 'conflict', message: 'too large', hint: 'cloud gadget update g --size 5' } });
  expect(await gadget.get('g')).toMatchObject({ state: 'error', reason: 'too large' });
  for (let n = 0; n < 300; n++) await clock.advance(1000);
  expect(runs).toBe(1);
  const changed = await b.ready(gadget.update('g', { size: 5 }));
  expect(changed.state).toBe('ready');
  expect(changed.reason).toBeUndefined();
  expect(runs).toBe(2);
});

test('failed five times: error with the reason; it still heals when the trouble goes', async () => {
  let runs = 0;
  let broken = true;
  const { b, gadget } = await open({
    async reconcile(_, { report }) {
      runs++;
      if (broken) throw new DriverError('failed', 'the wheel came off');
      await report({ state: 'ready', reason: null });
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g' });
  await b.until(async () => (await gadget.get('g')).state === 'error');
  expect(runs).toBe(5);
  expect(await b.ended(made)).toMatchObject({ state: 'failed', error: { code: 'conflict', message: 'the wheel came off' } });
  broken = false;
  await b.until(async () => (await gadget.get('g')).state === 'ready', 5000);
  expect((await gadget.get('g')).reason).toBeUndefined();
});

test('every new change has its own five tries', async () => {
  let runs = 0;
  const { b, gadget } = await open({
    async reconcile() {
      runs++;
      throw new DriverError('failed', `try ${runs}`);
    },
  });
  await using _ = b;
  await gadget.create({ name: 'g' });
  await b.until(async () => (await gadget.get('g')).state === 'error');
  expect(runs).toBe(5);
  const changed = await gadget.update('g', { size: 2 });
  await b.until(async () => (await b.cloud.operation.get(changed.operation ?? '')).state === 'failed');
  expect(runs).toBe(10);
});

test('unavailable: keeps waiting however long, and an outage before does not count as failures', async () => {
  let runs = 0;
  const { b, gadget } = await open({
    async reconcile(_, { report }) {
      runs++;
      if (runs <= 30) throw new DriverError('unavailable', 'the backend is away');
      if (runs <= 33) throw new DriverError('failed', 'it is back, and shaky');
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g' });
  await b.until(() => runs >= 5);
  expect(await b.cloud.operation.get(made.operation ?? '')).toMatchObject({ state: 'running', progress: 'waiting: the backend is away' });
  expect((await gadget.get('g')).state).toBe('pending');
  await b.until(async () => (await b.cloud.operation.get(made.operation ?? '')).state !== 'running', 5000);
  expect((await b.ended(made)).state).toBe('succeeded');
  expect(await typesOf(b, 'g')).toEqual(['gadget.created', 'gadget.ready']);
});

test('busy: waits for two minutes, then counts as failing', async () => {
  const { b, clock, gadget } = await open({
    async reconcile() {
      throw new DriverError('busy', 'somebody sits on it');
    },
  });
  await using _ = b;
  const began = clock.now();
  const made = await gadget.create({ name: 'g' });
  await b.until(async () => (await b.cloud.operation.get(made.operation ?? '')).state === 'failed', 1000);
  expect(clock.now() - began).toBeGreaterThan(120_000);
  expect((await b.ended(made)).error?.message).toBe('somebody sits on it');
});

test('unsuccessful: the operation failed, the resource is what was reported', async () => {
  const { b, gadget } = await open({
    async reconcile(row, { report }) {
      await report({ state: 'ready' });
      if (row.generation === 1) throw new Unsuccessful('the ribbon was not cut');
    },
  });
  await using _ = b;
  expect(await b.ended(gadget.create({ name: 'g' }))).toMatchObject({ state: 'failed', error: { message: 'the ribbon was not cut' } });
  expect((await gadget.get('g')).state).toBe('ready');
});

test('a bug in a controller tells its text to the log only', async () => {
  const { b, gadget } = await open({
    async reconcile() {
      throw new TypeError('cannot read secrets of undefined');
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g' });
  await b.until(async () => (await gadget.get('g')).state === 'error');
  const answers = JSON.stringify([await b.ended(made), await gadget.get('g')]);
  expect(answers).not.toContain('secrets of undefined');
  expect((await b.ended(made)).error?.code).toBe('internal');
});

test('deletion is tried for ever, tells why it is not done, and ends the operations before it', async () => {
  let broken = true;
  let runs = 0;
  const { b, gadget } = await open({
    async reconcile() {
      throw new Waiting('never', 60_000);
    },
    async remove() {
      runs++;
      if (broken) throw new DriverError('failed', 'it holds on');
    },
  });
  await using _ = b;
  const made = await gadget.create({ name: 'g' });
  const deleted = await gadget.delete('g');
  await b.until(() => runs >= 12, 5000);
  expect(await gadget.get('g')).toMatchObject({ state: 'deleting', reason: 'it holds on' });
  expect(await b.cloud.operation.get(deleted.operation ?? '')).toMatchObject({ state: 'running', progress: 'trying again: it holds on' });
  const twice = await gadget.delete('g');
  broken = false;
  await b.until(async () => (await gadget.list()).items.length === 0, 5000);
  expect((await b.ended(deleted)).state).toBe('succeeded');
  expect((await b.ended(twice)).state).toBe('succeeded');
  expect(await b.ended(made)).toMatchObject({ state: 'failed', error: { code: 'conflict', message: 'g was deleted before this was done' } });
});

test('close while a row is worked on: the work is told, and close waits for it', async () => {
  let told = false;
  let begun = false;
  const { b, gadget } = await open({
    async reconcile(_, { signal }) {
      begun = true;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await new Promise((resolve) => setImmediate(resolve));
      told = true;
      throw signal.reason;
    },
  });
  await gadget.create({ name: 'g' });
  await b.until(() => begun);
  await b.close();
  expect(told).toBe(true);
  expect(await faultOf(gadget.get('g'))).toMatchObject({ code: 'unavailable' });
});

test('the reaper takes what is ours, old, and wanted by no row; one that cannot be taken does not protect the others', async () => {
  const clock = new ManualClock(10_000_000);
  const there = new Map<string, Found>();
  const put = (id: string, createdAt: number) => there.set(id, { id, createdAt });
  const definitions = [
    ...services,
    gadgetService({
      reap: {
        list: async () => [...there.values()],
        remove: async (id) => {
          if (id === 'gad-stuck') throw new DriverError('busy', 'in use');
          there.delete(id);
        },
      },
    }),
  ];
  put('gad-stuck', 0);
  put('gad-old', 0);
  put('gad-young', 9_999_000);
  await using b = await bench({ definitions, clock });
  const { gadget } = b.clientOf({ gadget: testContracts.gadget });
  const made = await gadget.create({ name: 'g' });
  put(made.id, 0);
  await b.until(() => !there.has('gad-old'), 0);
  expect([...there.keys()].sort()).toEqual([made.id, 'gad-stuck', 'gad-young'].sort());
  await b.until(() => !there.has('gad-young'), 10_000);
  expect(there.has(made.id)).toBe(true);
});

test('the watch is taken up again after it broke, and what happened meanwhile is seen', async () => {
  let watches = 0;
  let runs = 0;
  let breakIt: (error: Error) => void = () => undefined;
  let different: string[] = [];
  const { b, gadget } = await open({
    resyncMs: 1_000_000_000,
    differing: async () => different,
    async watch(_wake, signal, onReady) {
      watches++;
      onReady();
      await new Promise<void>((resolve, reject) => {
        breakIt = reject;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    },
    async reconcile(_, { report }) {
      runs++;
      await report({ state: 'ready' });
    },
  });
  await using _ = b;
  await b.until(() => watches === 1);
  const made = await b.ready(gadget.create({ name: 'g' }));
  expect(runs).toBe(1);
  different = [made.id];
  breakIt(new DriverError('unavailable', 'the connection broke'));
  await b.until(() => watches === 2 && runs === 2);
});

test('a sweep finds what no event told of', async () => {
  const clock = new ManualClock(10_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  const vpc = await b.ready(b.cloud.vpc.create({ name: 'net' }));
  drivers.world.networks.delete(vpc.id);
  await b.until(() => drivers.world.networks.has(vpc.id), 5000);
});
