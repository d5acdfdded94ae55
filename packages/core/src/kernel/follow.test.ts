// Those who wait and watch: nothing is missed between the look and the listening, nobody is left behind, and going away ends it.
import { expect, test } from 'vitest';
import { services } from '../services.ts';
import { bench, faultOf } from '../testing/bench.ts';
import { type GadgetController, gadgetService, plainService, testContracts } from '../testing/gadget.ts';
import { ManualClock } from './clock.ts';
import { Waiting } from './service.ts';

const open = (plan: Partial<GadgetController> = {}) =>
  bench({ definitions: [...services, gadgetService(plan), plainService], clock: new ManualClock(1_000_000) });

test('every event is seen once and in order, though they come while one begins to watch', async () => {
  await using b = await open();
  const { plain } = b.clientOf(testContracts);
  let stop = false;
  const writer = (async () => {
    for (let n = 0; !stop; n++) {
      await plain.create({ name: `p-${n}` });
      await new Promise((resolve) => setImmediate(resolve));
    }
  })();
  for (let round = 0; round < 5; round++) {
    const known = (await b.cloud.event.list({ limit: 1000 })).items;
    const since = known.at(-1)?.id ?? 0;
    const abort = new AbortController();
    const seen: number[] = [];
    for await (const { id } of b.cloud.event.watch({ since }, { signal: abort.signal })) {
      seen.push(id);
      if (seen.length === 20) abort.abort();
      if (seen.length >= 20) break;
    }
    expect(seen).toEqual(Array.from({ length: 20 }, (_, n) => since + n + 1));
  }
  stop = true;
  await writer;
});

test('a list from an event on goes forwards, page by page, and ends where a watch begins', async () => {
  await using b = await open();
  const { plain } = b.clientOf(testContracts);
  for (let n = 0; n < 25; n++) await plain.create({ name: `p-${n}` });
  const seen: number[] = [];
  for (let since = 0; ; ) {
    const { items } = await b.cloud.event.list({ since, limit: 10 });
    if (items.length === 0) break;
    seen.push(...items.map(({ id }) => id));
    since = items.at(-1)?.id ?? since;
  }
  expect(seen).toEqual(Array.from({ length: 25 }, (_, n) => n + 1));
  expect((await b.cloud.event.list({ limit: 3 })).items.map(({ id }) => id)).toEqual([23, 24, 25]);
});

test('watchers see the same, each with its filter; one that goes away does not disturb the other; other tenants see nothing', async () => {
  await using b = await open();
  const { plain } = b.clientOf(testContracts);
  await b.tenant('other');
  const abort = { one: new AbortController(), two: new AbortController(), there: new AbortController() };
  const seen = { one: [] as string[], two: [] as string[], there: [] as string[] };
  const follow = async (who: keyof typeof seen, filter: object, options: object = {}) => {
    for await (const { type, name } of b.cloud.event.watch(filter, { signal: abort[who].signal, ...options })) seen[who].push(`${type} ${name}`);
  };
  const all = [follow('one', {}), follow('two', { type: 'plain.d*', resource: 'plain' }), follow('there', {}, { tenant: 'other' })];
  await new Promise((resolve) => setImmediate(resolve));
  await plain.create({ name: 'a' });
  await plain.delete('a');
  await b.until(() => seen.one.length === 2 && seen.two.length === 1, 0);
  abort.one.abort();
  await all[0];
  await plain.create({ name: 'b' });
  await plain.delete('b');
  await b.until(() => seen.two.length === 2, 0);
  expect(seen).toEqual({ one: ['plain.created a', 'plain.deleted a'], two: ['plain.deleted a', 'plain.deleted b'], there: [] });
  abort.two.abort();
  abort.there.abort();
  await Promise.all(all);
});

test('filters: one thing by name or id, a kind, a type; nonsense is refused with its field', async () => {
  await using b = await open();
  const { plain } = b.clientOf(testContracts);
  const { id } = await plain.create({ name: 'a' });
  await plain.create({ name: 'b' });
  const names = async (filter: object) => (await b.cloud.event.list(filter)).items.map(({ name }) => name);
  expect(await names({ resource: 'plain/a' })).toEqual(['a']);
  expect(await names({ resource: `plain/${id}` })).toEqual(['a']);
  expect(await names({ resource: 'plain' })).toEqual(['a', 'b']);
  expect(await names({ type: '*' })).toEqual(['a', 'b']);
  expect(await names({ type: 'plain.created' })).toEqual(['a', 'b']);
  expect(await names({ type: 'plain.creat' })).toEqual([]);
  await b.cloud.image.pull({ reference: 'ghcr.io/acme/app:1' });
  expect(await names({ resource: 'image/ghcr.io/acme/app:1', type: 'image.created' })).toEqual(['ghcr.io/acme/app:1']);
  expect(await faultOf(b.cloud.event.list({ resource: 'plian/a' }))).toMatchObject({
    code: 'invalid_input',
    message: 'resource: there is no resource "plian"; did you mean plain?',
  });
  expect(await faultOf(b.cloud.event.list({ type: 'plian.*' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'type' }] });
  expect(await faultOf(b.cloud.event.list({ type: '*.created' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'type' }] });
});

test('an operation is waited for: ended, progress, time up; by the beginning of its id; without a warning however often', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error) => warnings.push(warning.name);
  process.on('warning', onWarning);
  let runs = 0;
  await using b = await open({
    async reconcile(_, { report }) {
      if (++runs <= 30) throw new Waiting(`step ${runs}`, 1000);
      await report({ state: 'ready' });
    },
  });
  const { gadget } = b.clientOf(testContracts);
  const { operation = '' } = await gadget.create({ name: 'g' });
  expect(await faultOf(b.cloud.operation.wait(operation, { timeout: 0 }))).toMatchObject({ code: 'timeout', details: { operation: { state: 'running' } } });
  const ended = b.cloud.operation.wait(operation.slice(0, 14));
  let progress = (await b.cloud.operation.wait(operation, { progress: '' })).progress ?? '';
  const steps = [progress];
  while (steps.length < 10) {
    const next = b.cloud.operation.wait(operation, { progress });
    await b.until(async () => (await b.cloud.operation.get(operation)).progress !== progress, 1000);
    progress = (await next).progress ?? '';
    steps.push(progress);
  }
  expect(new Set(steps).size).toBe(10);
  await b.until(async () => (await b.cloud.operation.get(operation)).state === 'succeeded', 1000);
  const view = await ended;
  expect(view).toMatchObject({ state: 'succeeded', name: 'g', kind: 'gadget.create' });
  expect(view.progress).toBeUndefined();
  expect((await faultOf(b.cloud.operation.wait('op-nothing'))).code).toBe('not_found');
  await new Promise((resolve) => setImmediate(resolve));
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});

test('whoever stops waiting is let go, and the operation goes on', async () => {
  let ready = false;
  await using b = await open({
    async reconcile(_, { report }) {
      if (!ready) throw new Waiting('for a sign', 1000);
      await report({ state: 'ready' });
    },
  });
  const { gadget } = b.clientOf(testContracts);
  const { operation = '' } = await gadget.create({ name: 'g' });
  const abort = new AbortController();
  const waiting = b.cloud.operation.wait(operation, {}, { signal: abort.signal });
  abort.abort(new Error('enough'));
  await expect(waiting).rejects.toThrow();
  ready = true;
  await b.until(async () => (await b.cloud.operation.get(operation)).state === 'succeeded', 1000);
});

test('closing ends those who wait and watch', async () => {
  const b = await open({
    async reconcile() {
      throw new Waiting('for ever', 1000);
    },
  });
  const { gadget } = b.clientOf(testContracts);
  const { operation = '' } = await gadget.create({ name: 'g' });
  const watched = (async () => {
    for await (const _ of b.cloud.event.watch()) continue;
  })();
  const waited = faultOf(b.cloud.operation.wait(operation));
  await new Promise((resolve) => setImmediate(resolve));
  await b.close();
  expect(await waited).toMatchObject({ code: 'unavailable', hint: 'cloud daemon start' });
  await watched;
  expect(await faultOf(gadget.list())).toMatchObject({ code: 'unavailable' });
});
