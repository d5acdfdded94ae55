// Quotas: no race overshoots, nothing that failed stays counted, and what is counted is what is there.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DEFAULT_TENANT, type Principal } from '../../kernel/authorize.ts';
import type { AnyResource } from '../../kernel/contract.ts';
import { tableName } from '../../kernel/migrate.ts';
import { costOf } from '../../kernel/quota.ts';
import { services } from '../../services.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import { gadgetService, plainService, testContracts } from '../../testing/gadget.ts';
import { migrations } from '../instance/tables.ts';

const TENANT = DEFAULT_TENANT.id;
const one = async (b: Bench, name: string) => (await b.cloud.quota.list()).items.find((quota) => quota.name === name);
const used = async (b: Bench, name: string) => (await one(b, name))?.used;

/** What the rows that are there cost, by tenant and name. */
async function recount(b: Bench): Promise<Record<string, number>> {
  const counted: Record<string, number> = {};
  for (const { contract } of services) {
    const resource = contract.resource as AnyResource;
    if (!resource.stored || resource.quota === undefined) continue;
    for (const { tenant, spec } of await b.db.selectFrom(tableName(resource.name)).select(['tenant', 'spec']).execute()) {
      for (const [name, value] of Object.entries(costOf(resource, JSON.parse(spec) as Record<string, unknown>))) {
        counted[`${tenant} ${name}`] = (counted[`${tenant} ${name}`] ?? 0) + value;
      }
    }
  }
  return counted;
}
async function kept(b: Bench): Promise<Record<string, number>> {
  const rows = await b.db.selectFrom('quota_usage').selectAll().where('value', '!=', 0).execute();
  return Object.fromEntries(rows.map(({ tenant, name, value }) => [`${tenant} ${name}`, value]));
}

describe('limits', () => {
  test('every quota that a contract knows is listed, with its unit', async () => {
    await using b = await bench();
    const { items } = await b.cloud.quota.list();
    expect(items.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['instances', 'vcpus', 'memoryMiB', 'volumes', 'volumeGiB', 'snapshots', 'vpcs', 'queues', 'secrets']),
    );
    expect(items.find(({ name }) => name === 'volumeGiB')).toEqual({ name: 'volumeGiB', used: 0, unit: 'GiB', source: 'none' });
    expect(items.find(({ name }) => name === 'memoryMiB')?.unit).toBe('MiB');
    expect(items.find(({ name }) => name === 'vcpus')).toEqual({ name: 'vcpus', used: 0, source: 'none' });
  });

  test('the tenant’s own, else that of all, else none', async () => {
    await using b = await bench();
    const { set, unset } = b.cloud.quota;
    expect(await set({ name: 'queues', limit: 1, forAll: true })).toEqual({ name: 'queues', used: 0, limit: 1, source: 'default' });
    await b.cloud.queue.create({ name: 'a' });
    expect(await faultOf(b.cloud.queue.create({ name: 'b' }))).toMatchObject({
      code: 'quota_exceeded',
      message: 'This needs 1 more queues, and 1 of 1 are in use',
      details: { quota: 'queues', limit: 1, used: 1, needed: 1 },
      hint: 'cloud quota list',
    });
    expect(await set({ name: 'queues', limit: 2 })).toEqual({ name: 'queues', used: 1, limit: 2, source: 'tenant' });
    await b.cloud.queue.create({ name: 'b' });
    // What is there stays, and may go.
    expect(await set({ name: 'queues', limit: 0 })).toMatchObject({ used: 2, limit: 0 });
    await b.cloud.queue.delete('b');
    expect((await faultOf(b.cloud.queue.create({ name: 'b' }))).code).toBe('quota_exceeded');
    expect(await unset({ name: 'queues' })).toEqual({ name: 'queues', used: 1, limit: 1, source: 'default' });
    expect(await unset({ name: 'queues' })).toMatchObject({ source: 'default' });
    expect(await unset({ name: 'queues', forAll: true })).toEqual({ name: 'queues', used: 1, source: 'none' });
    await b.cloud.queue.create({ name: 'b' });
  });

  test('a name that nothing counts is told with the near one', async () => {
    await using b = await bench();
    for (const call of [b.cloud.quota.set({ name: 'volumesGiB', limit: 1 }), b.cloud.quota.unset({ name: 'volumesGiB' })]) {
      expect(await faultOf(call)).toMatchObject({
        code: 'invalid_input',
        message: 'name: there is no quota "volumesGiB"; did you mean volumeGiB?',
        details: [{ path: 'name' }],
      });
    }
    expect((await faultOf(b.cloud.quota.set({ name: 'zzzzzzzzzz', limit: 1 }))).message).toContain('use apiKeys, buckets, elasticIps, instances, ');
    expect((await faultOf(b.cloud.quota.set({ name: 'queues', limit: -1 }))).code).toBe('invalid_input');
  });

  test('only administrators of the installation set them; another tenant sees and hears nothing of them', async () => {
    await using b = await bench();
    const second = await b.tenant('second');
    const theirs: Principal = { id: 'theo', kind: 'user', tenantId: second, roles: { [second]: ['admin'] } };
    await b.cloud.quota.set({ name: 'queues', limit: 1 });
    await b.cloud.queue.create({ name: 'a' });
    const them = b.as(theirs);
    expect((await faultOf(them.quota.set({ name: 'queues', limit: 100 }))).code).toBe('forbidden');
    expect((await faultOf(them.quota.unset({ name: 'queues' }))).code).toBe('forbidden');
    expect((await faultOf(them.quota.list({}, { tenant: 'default' }))).code).toBe('not_found');
    expect((await them.quota.list()).items.find(({ name }) => name === 'queues')).toEqual({ name: 'queues', used: 0, source: 'none' });
    await them.queue.create({ name: 'a' });
    await them.queue.create({ name: 'b' });
    await b.cloud.quota.set({ name: 'queues', limit: 2 }, { tenant: 'second' });
    expect(await faultOf(them.queue.create({ name: 'c' }))).toMatchObject({ details: { limit: 2, used: 2 } });
    expect(await one(b, 'queues')).toMatchObject({ used: 1, limit: 1 });
  });
});

describe('counting', () => {
  test('fifty creates at once do not overshoot', async () => {
    await using b = await bench();
    await b.cloud.quota.set({ name: 'volumeGiB', limit: 20 });
    const results = await Promise.allSettled(Array.from({ length: 50 }, (_, n) => b.cloud.volume.create({ name: `v-${n}`, size: 3 })));
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(6);
    for (const result of results)
      if (result.status === 'rejected')
        expect(result.reason).toMatchObject({ code: 'quota_exceeded', details: { quota: 'volumeGiB', limit: 20, used: 18, needed: 3 } });
    expect([await used(b, 'volumes'), await used(b, 'volumeGiB')]).toEqual([6, 18]);
    await b.cloud.volume.create({ name: 'small', size: 2 });
    expect(await kept(b)).toEqual(await recount(b));
  });

  test('an instance counts its CPUs and memory, stopped or not; a resize counts the difference', async () => {
    await using b = await bench();
    const of = async () => [await used(b, 'instances'), await used(b, 'vcpus'), await used(b, 'memoryMiB')];
    await b.ready(b.cloud.instance.create({ name: 'a', image: 'busybox', type: 'nano' }));
    expect(await of()).toEqual([1, 0.25, 128]);
    await b.ready(b.cloud.instance.stop('a'));
    expect(await of()).toEqual([1, 0.25, 128]);
    await b.cloud.quota.set({ name: 'vcpus', limit: 2 });
    expect(await faultOf(b.cloud.instance.resize('a', { type: 'large' }))).toMatchObject({
      code: 'quota_exceeded',
      message: 'This needs 3.75 more vcpus, and 0.25 of 2 are in use',
    });
    expect(await b.cloud.instance.get('a')).toMatchObject({ type: 'nano', cpus: 0.25 });
    await b.ready(b.cloud.instance.resize('a', { type: 'medium', allowRestart: true }));
    expect(await of()).toEqual([1, 2, 2048]);
    expect((await faultOf(b.cloud.instance.create({ name: 'b', image: 'busybox', type: 'nano' }))).code).toBe('quota_exceeded');
    expect((await faultOf(b.cloud.instance.get('b'))).code).toBe('not_found');
    await b.ended(b.cloud.instance.delete('a'));
    expect(await of()).toEqual([0, 0, 0]);
  });

  test('what failed or was rolled back left nothing', async () => {
    await using b = await bench({ definitions: [...services, gadgetService(), plainService] });
    const { gadget } = b.clientOf(testContracts);
    await b.ready(gadget.create({ name: 'g', size: 5 }));
    const before = await kept(b);
    expect((await faultOf(gadget.poke('g', { spoil: true }))).code).toBe('internal');
    expect((await faultOf(gadget.create({ name: 'g', size: 9 }))).code).toBe('conflict');
    expect((await faultOf(gadget.create({ name: 'h', friend: 'nobody' }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.instance.create({ name: 'i', image: 'busybox', volumes: ['none:/data'] }))).code).toBe('not_found');
    await b.cloud.quota.set({ name: 'gadgetSize', limit: 7 });
    expect((await faultOf(gadget.create({ name: 'h', size: 3 }))).code).toBe('quota_exceeded');
    expect((await faultOf(gadget.update('g', { size: 8 }))).code).toBe('quota_exceeded');
    const after = await kept(b);
    expect({ ...after, [`${TENANT} vpcs`]: undefined }).toEqual({ ...before, [`${TENANT} vpcs`]: undefined });
  });

  test('instances from before their CPUs were counted are counted once', async () => {
    await using b = await bench();
    for (const name of ['a', 'b']) await b.ready(b.cloud.instance.create({ name, image: 'busybox', type: 'micro' }));
    const before = await kept(b);
    await b.db.deleteFrom('quota_usage').where('name', 'in', ['vcpus', 'memoryMiB']).execute();
    await migrations.find(({ id }) => id === 'instance-002')?.up(b.db);
    expect(await kept(b)).toEqual(before);
  });

  test('whatever is created, changed and deleted, it is what a recount says', { timeout: 60_000 }, async () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd');
    const size = fc.integer({ min: 1, max: 9 });
    const type = fc.constantFrom('nano', 'micro', 'small', 'medium', 'huge');
    const step = fc.oneof(
      fc.record({ do: fc.constant('volume' as const), name, size }),
      fc.record({ do: fc.constant('grow' as const), name, size }),
      fc.record({ do: fc.constant('dropVolume' as const), name }),
      fc.record({ do: fc.constant('instance' as const), name, type }),
      fc.record({ do: fc.constant('resize' as const), name, type }),
      fc.record({ do: fc.constant('stop' as const), name }),
      fc.record({ do: fc.constant('dropInstance' as const), name }),
      fc.record({ do: fc.constant('queue' as const), name }),
      fc.record({ do: fc.constant('dropQueue' as const), name }),
      fc.record({ do: fc.constant('limit' as const), quota: fc.constantFrom('vcpus', 'volumeGiB', 'queues', 'instances'), size }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), fc.boolean(), async (steps, together) => {
        await using b = await bench();
        const { cloud } = b;
        const doOne = async (of: (typeof steps)[number]): Promise<unknown> => {
          switch (of.do) {
            case 'volume':
              return cloud.volume.create({ name: of.name, size: of.size });
            case 'grow':
              return cloud.volume.resize(of.name, { size: of.size });
            case 'dropVolume':
              return cloud.volume.delete(of.name);
            case 'instance':
              return cloud.instance.create({ name: of.name, image: 'busybox', type: of.type });
            case 'resize':
              return cloud.instance.resize(of.name, { type: of.type, allowRestart: true });
            case 'stop':
              return cloud.instance.stop(of.name);
            case 'dropInstance':
              return cloud.instance.delete(of.name);
            case 'queue':
              return cloud.queue.create({ name: of.name });
            case 'dropQueue':
              return cloud.queue.delete(of.name);
            case 'limit':
              return cloud.quota.set({ name: of.quota, limit: of.size });
          }
        };
        const attempt = async (of: (typeof steps)[number]) => {
          const outcome = await doOne(of).catch((error: unknown) => error);
          if (outcome instanceof Error)
            expect(['conflict', 'not_found', 'quota_exceeded', 'invalid_input', 'stale']).toContain((outcome as { code?: string }).code);
        };
        if (together) await Promise.all(steps.map(attempt));
        else for (const of of steps) await attempt(of);
        // In one transaction, so that no controller removes a row between the two counts.
        await b.store.transaction({ tenantId: TENANT, principal: 'test' }, async ({ tx }) => {
          const inside = { ...b, db: tx };
          expect(await kept(inside)).toEqual(await recount(inside));
        });
      }),
      { numRuns: 40 },
    );
  });
});
