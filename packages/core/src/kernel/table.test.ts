// Rows: found by any of their names, paged without gaps, changed without loss, counted against the quota, kept while something refers to them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { services } from '../services.ts';
import { type Bench, bench, faultOf } from '../testing/bench.ts';
import { gadgetService, gadgets, plainService, testContracts } from '../testing/gadget.ts';
import { ManualClock } from './clock.ts';
import { Table } from './table.ts';

const definitions = [...services, gadgetService(), plainService];
const open = (clock = new ManualClock(1_000_000)) => bench({ definitions, clock });

describe('find', () => {
  let b: Bench;
  beforeAll(async () => {
    b = await open();
  });
  afterAll(() => b.close());

  test('by name, id, and a prefix that only one id has', async () => {
    const { gadget } = b.clientOf(testContracts);
    const made = await gadget.create({ name: 'one' });
    expect((await gadget.get('one')).id).toBe(made.id);
    expect((await gadget.get(made.id)).name).toBe('one');
    expect((await gadget.get(made.id.slice(0, 12))).name).toBe('one');
  });

  test('a prefix of two ids is a conflict; the bare prefix and foreign characters are nothing', async () => {
    const { gadget } = b.clientOf(testContracts);
    const tenantId = 'tnt-0000000000000000';
    await b.store.transaction({ tenantId, principal: 'test' }, async (unit) => {
      const table = new Table(gadgets, tenantId, unit);
      await table.insert({ id: 'gad-zzzz000000000001', name: 'twin-1', spec: { size: 1 } });
      await table.insert({ id: 'gad-zzzz000000000002', name: 'twin-2', spec: { size: 1 } });
    });
    expect((await gadget.get('gad-zzzz000000000001')).name).toBe('twin-1');
    const ambiguous = await faultOf(gadget.get('gad-zzzz'));
    expect(ambiguous).toMatchObject({ code: 'conflict', hint: 'write more of the id' });
    for (const target of ['gad-', 'gad-%', "gad-' or 1=1 --", 'gad-ZZZZ0000', '{']) expect((await faultOf(gadget.get(target))).code, target).toBe('not_found');
  });

  test('a name goes before an id prefix that reads the same', async () => {
    const { gadget } = b.clientOf(testContracts);
    const made = await gadget.create({ name: 'victim' });
    const prefix = made.id.slice(0, 9);
    await gadget.create({ name: prefix });
    expect((await gadget.get(prefix)).name).toBe(prefix);
  });

  test('not_found offers a near name, and only this tenant’s', async () => {
    const { gadget } = b.clientOf(testContracts);
    await gadget.create({ name: 'production' });
    const near = await faultOf(gadget.get('prodution'));
    expect(near).toMatchObject({ code: 'not_found', details: { near: 'production' }, hint: 'cloud gadget list' });
    expect(near.message).toContain('did you mean production?');
    await b.tenant('neighbour');
    const there = await faultOf(gadget.get('prodution', {}, { tenant: 'neighbour' }));
    expect(there.details).toBeUndefined();
  });

  test('a name that looks like an id is refused', async () => {
    const { gadget } = b.clientOf(testContracts);
    expect((await faultOf(gadget.create({ name: 'gad-0123456789abcdef' }))).message).toContain('looks like an id');
  });
});

describe('list', () => {
  test('pages stay whole while rows come and go', async () => {
    const clock = new ManualClock(1_000_000);
    await using b = await open(clock);
    const { plain } = b.clientOf(testContracts);
    for (let n = 0; n < 20; n++) {
      await plain.create({ name: `p-${n}` });
      await clock.advance(1);
    }
    const first = await plain.list({ limit: 7 });
    expect(first.items.map(({ name }) => name)).toEqual(['p-0', 'p-1', 'p-2', 'p-3', 'p-4', 'p-5', 'p-6']);
    await plain.delete('p-6'); // the row that the cursor stands on
    await plain.delete('p-0');
    await plain.delete('p-8');
    await plain.create({ name: 'late' });
    const seen: string[] = [];
    let cursor = first.cursor;
    while (cursor !== undefined) {
      const page = await plain.list({ limit: 5, cursor });
      seen.push(...page.items.map(({ name }) => name));
      cursor = page.cursor;
    }
    expect(seen).toEqual(['p-7', 'p-9', ...Array.from({ length: 10 }, (_, n) => `p-${n + 10}`), 'late']);
  });

  test('rows of the same instant are all seen, whatever the page size', async () => {
    await using b = await open();
    const { plain } = b.clientOf(testContracts);
    for (let n = 0; n < 9; n++) await plain.create({ name: `p-${n}` });
    for (const limit of [1, 2, 3, 8, 9, 10]) {
      const seen = new Set<string>();
      let cursor: string | undefined;
      do {
        const page: Awaited<ReturnType<typeof plain.list>> = await plain.list({ limit, ...(cursor === undefined ? {} : { cursor }) });
        for (const { name } of page.items) seen.add(name);
        cursor = page.cursor;
      } while (cursor !== undefined);
      expect(seen.size, `limit ${limit}`).toBe(9);
    }
  });

  test('a made-up cursor is invalid input', async () => {
    await using b = await open();
    const { plain } = b.clientOf(testContracts);
    for (const cursor of ['', 'x', Buffer.from('1.2').toString('base64url'), Buffer.from("1.pln-0' or 1=1").toString('base64url')])
      expect(await faultOf(plain.list({ cursor })), cursor).toMatchObject({ code: 'invalid_input', details: [{ path: 'cursor' }] });
  });

  test('label selectors: equal, unequal, present, odd values, several at once', async () => {
    await using b = await open();
    const { plain } = b.clientOf(testContracts);
    await plain.create({ name: 'a', labels: { env: 'dev', tier: 'front' } });
    await plain.create({ name: 'b', labels: { env: 'prod' } });
    await plain.create({ name: 'c', labels: { formula: 'a=b!=c', empty: '', 'k8s.io/x_y-z': "it's 100%" } });
    const names = async (...label: string[]) => (await plain.list({ label })).items.map(({ name }) => name);
    expect(await names('env=dev')).toEqual(['a']);
    expect((await names('env!=dev')).sort()).toEqual(['b', 'c']);
    expect((await names('env')).sort()).toEqual(['a', 'b']);
    expect(await names('env', 'tier!=front')).toEqual(['b']);
    expect(await names('formula=a=b!=c')).toEqual(['c']);
    expect((await names('formula!=a=b!=c')).sort()).toEqual(['a', 'b']);
    expect(await names('empty=')).toEqual(['c']);
    expect((await names('empty!=')).sort()).toEqual(['a', 'b']);
    expect(await names("k8s.io/x_y-z=it's 100%")).toEqual(['c']);
    expect(await names('env=dev', 'env=prod')).toEqual([]);
    expect(await names('env=%')).toEqual([]);
    for (const label of ['=dev', '!env', 'env!', '']) expect((await faultOf(plain.list({ label: [label] }))).code, label).toBe('invalid_input');
    await plain.update('a', { labels: { env: 'test' } });
    expect(await names('env=dev')).toEqual([]);
    expect(await names('env=test')).toEqual(['a']);
    await plain.delete('a');
    expect(await names('env=test')).toEqual([]);
    expect(await b.db.selectFrom('label').selectAll().where('value', '=', 'test').execute()).toEqual([]);
  });
});

describe('concurrency', () => {
  test('two updates at once: nothing is lost; with If-Match one wins and the other is stale', async () => {
    await using b = await open();
    const { gadget } = b.clientOf(testContracts);
    await b.ready(gadget.create({ name: 'g' }));
    await Promise.all([gadget.update('g', { size: 5 }), gadget.update('g', { labels: { a: '1' } })]);
    expect(await gadget.get('g')).toMatchObject({ size: 5, labels: { a: '1' } });
    const { generation } = await gadget.get('g');
    const both = await Promise.allSettled([gadget.update('g', { size: 6 }, { ifMatch: generation }), gadget.update('g', { size: 7 }, { ifMatch: generation })]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const lost = both.find((result) => result.status === 'rejected')?.reason;
    expect(lost).toMatchObject({ code: 'stale', details: { generation: generation + 1 }, hint: 'cloud gadget get g' });
    expect([6, 7]).toContain((await gadget.get('g')).size);
  });

  test('an update that changes nothing is no event, no generation', async () => {
    await using b = await open();
    const { plain } = b.clientOf(testContracts);
    const made = await plain.create({ name: 'p', note: 'x', labels: { a: '1', b: '2' } });
    expect((await plain.update('p', { note: 'x', labels: { a: '1', b: '2' } })).generation).toBe(made.generation);
    const { items } = await b.cloud.event.list({ resource: 'plain' });
    expect(items.map(({ type }) => type)).toEqual(['plain.created']);
  });

  test('two creates of one name at once: one is made', async () => {
    await using b = await open();
    const { plain } = b.clientOf(testContracts);
    const results = await Promise.allSettled(Array.from({ length: 6 }, () => plain.create({ name: 'same' })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const result of results) if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'conflict', hint: 'cloud plain get same' });
    expect((await plain.list()).items).toHaveLength(1);
  });
});

describe('quota', () => {
  const usage = async (b: Bench, name: string) =>
    (await b.db.selectFrom('quota_usage').select('value').where('name', '=', name).executeTakeFirst())?.value ?? 0;
  const limit = (b: Bench, name: string, value: number) => b.db.insertInto('quota_limit').values({ tenant: 'tnt-0000000000000000', name, value }).execute();

  test('creates at once do not overshoot, failures give back, deletes release', async () => {
    await using b = await open();
    const { gadget } = b.clientOf(testContracts);
    await limit(b, 'gadgets', 3);
    const results = await Promise.allSettled(Array.from({ length: 10 }, (_, n) => gadget.create({ name: `g-${n}` })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    for (const result of results)
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'quota_exceeded', details: { quota: 'gadgets', limit: 3, used: 3, needed: 1 } });
    expect(await usage(b, 'gadgets')).toBe(3);
    const [first] = (await gadget.list()).items;
    await b.ended(gadget.delete(first?.id ?? ''));
    expect(await usage(b, 'gadgets')).toBe(2);
    expect((await faultOf(gadget.create({ name: 'bad', friend: 'nobody' }))).code).toBe('not_found');
    expect(await usage(b, 'gadgets')).toBe(2);
    await gadget.create({ name: 'again' });
  });

  test('an update is charged the difference', async () => {
    await using b = await open();
    const { gadget } = b.clientOf(testContracts);
    await limit(b, 'gadgetSize', 10);
    await gadget.create({ name: 'g', size: 4 });
    await gadget.update('g', { size: 10 });
    expect(await usage(b, 'gadgetSize')).toBe(10);
    expect((await faultOf(gadget.update('g', { size: 11 }))).code).toBe('quota_exceeded');
    expect(await gadget.get('g')).toMatchObject({ size: 10 });
    await gadget.update('g', { size: 2 });
    expect(await usage(b, 'gadgetSize')).toBe(2);
  });
});

describe('references', () => {
  test('what is referred to stays, and the sentence names who refers', async () => {
    await using b = await open();
    const { gadget } = b.clientOf(testContracts);
    for (const name of ['a', 'b', 'c', 'd']) await gadget.create({ name });
    const made = await gadget.create({ name: 'user', friend: 'a', friends: ['b', 'c'], parts: ['d', { gadget: 'a', role: 'lever' }] });
    const ids = Object.fromEntries((await gadget.list()).items.map(({ name, id }) => [name, id]));
    expect(made).toMatchObject({ friend: 'a', friendId: ids['a'], friends: ['b', 'c'], friendIds: [ids['b'], ids['c']] });
    expect(made.parts).toEqual([
      { gadget: 'd', gadgetId: ids['d'], role: 'wheel' },
      { gadget: 'a', gadgetId: ids['a'], role: 'lever' },
    ]);
    for (const name of ['a', 'b', 'c', 'd']) {
      const fault = await faultOf(gadget.delete(name));
      expect(fault, name).toMatchObject({ code: 'conflict', hint: 'cloud gadget delete user' });
      expect(fault.message).toBe(`The gadget ${name} is in use by gadget user`);
    }
    await b.ended(gadget.delete('user'));
    for (const name of ['a', 'b', 'c', 'd']) await b.ended(gadget.delete(name));
    expect((await gadget.list()).items).toEqual([]);
    expect(await b.db.selectFrom('reference').selectAll().execute()).toEqual([]);
  });

  test('taking a reference away frees what it referred to', async () => {
    await using b = await open();
    const { gadget } = b.clientOf(testContracts);
    await gadget.create({ name: 'a' });
    await gadget.create({ name: 'b' });
    await gadget.create({ name: 'user', friend: 'a', friends: ['b'] });
    expect(await gadget.update('user', { friend: 'b' })).toMatchObject({ friend: 'b' });
    await b.ended(gadget.delete('a'));
    const without = await gadget.update('user', { friend: null, friends: [] });
    expect(without.friend).toBeUndefined();
    expect(without.friendId).toBeUndefined();
    await b.ended(gadget.delete('b'));
  });

  test('an unknown or dying reference names its path', async () => {
    let let_go = false;
    await using b = await bench({
      definitions: [
        ...services,
        gadgetService({
          remove: async () => {
            if (!let_go) throw new Error('not yet');
          },
        }),
      ],
      clock: new ManualClock(1),
    });
    const { gadget } = b.clientOf({ gadget: gadgets });
    await gadget.create({ name: 'alpha' });
    expect(await faultOf(gadget.create({ name: 'u', friend: 'alpa' }))).toMatchObject({ code: 'not_found', details: [{ path: 'friend' }] });
    expect(await faultOf(gadget.create({ name: 'u', friends: ['alpha', 'x'] }))).toMatchObject({ code: 'not_found', details: [{ path: 'friends.1' }] });
    expect(await faultOf(gadget.create({ name: 'u', parts: ['alpha', { gadget: 'y' }] }))).toMatchObject({
      code: 'not_found',
      details: [{ path: 'parts.1.gadget' }],
    });
    await gadget.delete('alpha');
    expect(await faultOf(gadget.create({ name: 'u', friend: 'alpha' }))).toMatchObject({ code: 'conflict', details: [{ path: 'friend' }] });
    expect(await faultOf(gadget.create({ name: 'alpha' }))).toMatchObject({ code: 'conflict', message: 'The gadget alpha is still being deleted' });
    expect((await faultOf(gadget.update('alpha', { size: 2 }))).code).toBe('conflict');
    let_go = true;
  });
});

describe('views', () => {
  test('secrets are stored and never shown: answers, lists, replays, events', async () => {
    await using b = await open();
    const { gadget } = b.clientOf(testContracts);
    const answers: unknown[] = [
      await gadget.create({ name: 'g', token: 'hunter2' }, { idempotencyKey: 'k' }),
      await gadget.create({ name: 'g', token: 'hunter2' }, { idempotencyKey: 'k' }),
      await gadget.get('g'),
      await gadget.list(),
      await gadget.update('g', { token: 'hunter2-bis' }),
      await b.cloud.event.list(),
      await b.cloud.operation.list(),
    ];
    expect(JSON.stringify(answers)).not.toContain('hunter2');
    expect(await gadget.get('g')).toMatchObject({ token: '[REDACTED]' });
    expect(await b.db.selectFrom('r_gadget').select('spec').execute()).toMatchObject([{ spec: expect.stringContaining('hunter2-bis') }]);
    for (const table of ['event', 'audit', 'idempotency', 'operation'] as const)
      expect(JSON.stringify(await b.db.selectFrom(table).selectAll().execute()), table).not.toContain('hunter2');
  });

  test('what a rolled-back transaction saw is never shown', async () => {
    await using b = await open();
    const cloud = b.cloud;
    await b.ready(cloud.volume.create({ name: 'free' }));
    await b.ready(cloud.volume.create({ name: 'taken' }));
    await b.ready(cloud.instance.create({ name: 'owner', image: 'busybox', volumes: ['taken:/data'] }));
    // The claim of `free` happens, and is undone with the rest because `taken` has an owner.
    expect((await faultOf(cloud.instance.create({ name: 'loser', image: 'busybox', volumes: ['free:/a', 'taken:/b'] }))).code).toBe('conflict');
    await b.ready(cloud.instance.create({ name: 'winner', image: 'busybox', volumes: ['free:/c'] }));
    expect(await cloud.volume.get('free')).toMatchObject({ instance: 'winner', path: '/c' });
    expect((await cloud.volume.list()).items.find(({ name }) => name === 'free')).toMatchObject({ instance: 'winner', path: '/c' });
  });
});
