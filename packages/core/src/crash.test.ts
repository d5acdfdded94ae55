// The core is killed between any two steps while it is busy, again and again over the same data and the same backend. Then: every accepted
// request ended, with a reason if badly; nothing is left over, nothing is there twice, nothing that was promised is lost.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memoryDrivers } from './drivers/memory/index.ts';
import { ManualClock } from './kernel/clock.ts';
import { Fault } from './kernel/errors.ts';
import { type Bench, bench } from './testing/bench.ts';

interface Promised {
  service: string;
  id: string;
  operation: string | undefined;
  key: string;
  input: unknown;
}

/** One request; what it asks for and about is drawn from small sets, so that requests meet. */
const request = fc.oneof(
  fc.record({ do: fc.constantFrom('vpc' as const, 'volume' as const), n: fc.nat(3) }),
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('instance' as const),
      n: fc.nat(4),
      vpc: fc.nat(2),
      volume: fc.option(fc.nat(3), { nil: undefined }),
      port: fc.boolean(),
    }),
  },
  fc.record({
    do: fc.constantFrom('stop' as const, 'start' as const, 'restart' as const, 'detach' as const, 'snapshot' as const, 'update' as const),
    n: fc.nat(4),
  }),
  fc.record({ do: fc.constantFrom('delete-instance' as const, 'delete-volume' as const, 'delete-vpc' as const), n: fc.nat(4) }),
);
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never;

function callOf(asked: Request): { service: string; operation: string; target?: string; input: object } {
  const { n } = asked;
  switch (asked.do) {
    case 'vpc':
      return { service: 'vpc', operation: 'create', input: { name: `vpc-${n}` } };
    case 'volume':
      return { service: 'volume', operation: 'create', input: { name: `vol-${n}` } };
    case 'instance':
      return {
        service: 'instance',
        operation: 'create',
        input: {
          name: `inst-${n}`,
          image: 'busybox',
          vpc: `vpc-${asked.vpc}`,
          volumes: asked.volume === undefined ? [] : [`vol-${asked.volume}:/data`],
          ports: asked.port ? ['80'] : [],
        },
      };
    case 'stop':
    case 'start':
    case 'restart':
      return { service: 'instance', operation: asked.do, target: `inst-${n}`, input: {} };
    case 'update':
      return { service: 'instance', operation: 'update', target: `inst-${n}`, input: { env: { N: String(n) }, allowRestart: true } };
    case 'detach':
      return { service: 'volume', operation: 'detach', target: `vol-${n % 4}`, input: { allowRestart: true } };
    case 'snapshot':
      return { service: 'snapshot', operation: 'create', input: { name: `snap-${n}`, volume: `vol-${n % 4}` } };
    case 'delete-instance':
      return { service: 'instance', operation: 'delete', target: `inst-${n}`, input: {} };
    case 'delete-volume':
      return { service: 'volume', operation: 'delete', target: `vol-${n % 4}`, input: {} };
    case 'delete-vpc':
      return { service: 'vpc', operation: 'delete', target: `vpc-${n % 3}`, input: {} };
  }
}

const rowsOf = (b: Bench, resource: string) => b.db.selectFrom(`r_${resource}`).selectAll().orderBy('id').execute();
const keys = (map: ReadonlyMap<string, unknown>) => [...map.keys()].sort();

/** Operations that nobody is working on, because no core has the data. */
function runningIn(dataDir: string): number {
  const database = new Database(join(dataDir, 'cloud.db'));
  const { n } = database.prepare("select count(*) as n from operation where state = 'running'").get() as { n: number };
  database.close();
  return n;
}

async function settle(b: Bench): Promise<void> {
  await b.until(async () => (await b.db.selectFrom('operation').select('id').where('state', '=', 'running').execute()).length === 0, 1000);
  // Leftovers have a grace period.
  const clock = b.clock as ManualClock;
  for (let n = 0; n < 8; n++) await clock.advance(20_000);
  await b.until(async () => {
    const unfinished = await Promise.all(['vpc', 'volume', 'instance', 'snapshot'].map((resource) => rowsOf(b, resource)));
    return unfinished.flat().every(({ deleted_at }) => deleted_at === null);
  }, 1000);
}

async function check(b: Bench, promised: readonly Promised[]): Promise<void> {
  const { world } = b;
  const [vpcs, volumes, instances, snapshots] = await Promise.all(['vpc', 'volume', 'instance', 'snapshot'].map((resource) => rowsOf(b, resource)));
  if (vpcs === undefined || volumes === undefined || instances === undefined || snapshots === undefined) throw new Error('no rows');
  const ids = (rows: readonly { id: string }[]) => rows.map(({ id }) => id);
  // The backend has what the rows want, and nothing else.
  expect(keys(world.networks)).toEqual(ids(vpcs));
  expect(keys(world.volumes)).toEqual(ids(volumes));
  expect(keys(world.instances)).toEqual(ids(instances));
  expect(keys(world.snapshots)).toEqual(ids(snapshots.filter(({ state }) => state === 'available')));
  for (const { id, spec, state } of instances) {
    const wanted = (JSON.parse(spec) as { desiredState: string }).desiredState;
    expect(state, id).toBe(wanted);
    expect(world.instances.get(id)?.power).toBe(wanted);
  }
  // Addresses and ports: one owner each, and none without.
  const addresses = (await b.db
    .selectFrom('vpc_address' as 'meta')
    .selectAll()
    .execute()) as unknown as { vpc_id: string; owner: string }[];
  expect(addresses.map(({ owner }) => owner).sort()).toEqual(ids(instances));
  for (const { id, status } of vpcs)
    expect((JSON.parse(status) as { addressesUsed: number }).addressesUsed).toBe(addresses.filter(({ vpc_id }) => vpc_id === id).length);
  const ports = (await b.db
    .selectFrom('instance_port' as 'meta')
    .selectAll()
    .execute()) as unknown as { instance_id: string }[];
  for (const { instance_id } of ports) expect(ids(instances)).toContain(instance_id);
  // A volume's claim and the instance's wish agree.
  for (const { id, status, state } of volumes) {
    const { instanceId } = JSON.parse(status) as { instanceId?: string };
    const users = instances.filter(({ spec }) => (JSON.parse(spec) as { volumes: { volumeId: string }[] }).volumes.some((mount) => mount.volumeId === id));
    expect(
      users.map((user) => user.id),
      id,
    ).toEqual(instanceId === undefined ? [] : [instanceId]);
    expect(state, id).toBe(instanceId === undefined ? 'available' : 'in-use');
  }
  // Counted right.
  const usage = await b.db.selectFrom('quota_usage').select(['name', 'value']).execute();
  const used = (name: string) => usage.find((each) => each.name === name)?.value ?? 0;
  expect([used('vpcs'), used('volumes'), used('instances'), used('snapshots')]).toEqual([vpcs.length, volumes.length, instances.length, snapshots.length]);
  for (const { to_id } of await b.db.selectFrom('reference').select('to_id').execute())
    expect([...ids(vpcs), ...ids(volumes), ...ids(snapshots)]).toContain(to_id);
  // What was answered came true, or says why not.
  for (const { operation } of promised) {
    if (operation === undefined) continue;
    const { value } = await b.call({ service: 'operation', operation: 'get', target: operation, input: {} });
    const { state, error } = value as { state: string; error?: { message: string } };
    if (state === 'failed') expect(error?.message.length).toBeGreaterThan(5);
    else expect(state).toBe('succeeded');
  }
  // The same key is the same request, across any number of deaths.
  for (const { service, id, key, input } of promised.filter(({ key }) => key.startsWith('create'))) {
    const again = await b.call({ service, operation: 'create', input, idempotencyKey: key });
    expect(again.replayed).toBe(true);
    expect((again.value as { id: string }).id).toBe(id);
  }
}

test('killed at any step, it comes back whole', { timeout: 120_000 }, async () => {
  let lives = 0;
  /** Operations that were running when their core died. */
  let interrupted = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ requests: fc.array(fc.record({ asked: request, turns: fc.nat(300) }), { minLength: 5, maxLength: 25 }), turns: fc.nat(240) }), {
        minLength: 2,
        maxLength: 5,
      }),
      fc.boolean(),
      async (rounds, losing) => {
        const clock = new ManualClock(1_000_000_000);
        const drivers = memoryDrivers({ clock });
        const dataDir = mkdtempSync(join(tmpdir(), 'cloud-crash-'));
        const promised: Promised[] = [];
        let n = 0;
        /** One turn is one step of whatever runs: a statement, a call of a driver, a line of a handler. */
        const pass = async (turns: number) => {
          for (let turn = 1; turn <= turns; turn++) await (turn % 100 === 0 ? new Promise((resolve) => setImmediate(resolve)) : null);
        };
        try {
          const first = await bench({ clock, drivers, dataDir });
          for (const name of ['vpc-0', 'vpc-1', 'vpc-2']) await first.ready(first.cloud.vpc.create({ name }));
          for (const name of ['vol-0', 'vol-1', 'vol-2']) await first.ready(first.cloud.volume.create({ name }));
          await first.close();
          for (const { requests, turns } of rounds) {
            interrupted += runningIn(dataDir);
            const b = await bench({ clock, drivers, dataDir });
            lives++;
            if (losing) for (const verb of ['compute.ensure', 'compute.remove', 'volume.ensure', 'network.remove']) drivers.faults.lose(verb, 2);
            for (const { asked, turns: before } of requests) {
              const call = callOf(asked);
              const key = `${call.operation}-${n++}`;
              b.call({ ...call, idempotencyKey: key }).then(
                ({ value, operation }) => promised.push({ service: call.service, id: (value as { id: string }).id, operation, key, input: call.input }),
                (error: unknown) => expect(error).toBeInstanceOf(Fault),
              );
              await pass(before);
            }
            await pass(turns);
            b.kill();
            await new Promise((resolve) => setImmediate(resolve));
            drivers.faults.clear();
          }
          interrupted += runningIn(dataDir);
          await using b = await bench({ clock, drivers, dataDir });
          await settle(b);
          await check(b, promised);
        } finally {
          rmSync(dataDir, { recursive: true, force: true });
        }
      },
    ),
    { numRuns: 25 },
  );
  expect(lives).toBeGreaterThan(25);
  process.stdout.write(`killed: ${lives} lives, ${interrupted} operations interrupted\n`);
  expect(interrupted).toBeGreaterThan(lives / 4);
});

test('two hundred instances: made, listed, deleted, with nothing left', { timeout: 60_000 }, async () => {
  await using b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'default' }));
  const names = Array.from({ length: 200 }, (_, n) => `i-${n}`);
  const begun = performance.now();
  const made = await Promise.all(names.map((name) => b.cloud.instance.create({ name, image: 'busybox' })));
  const accepted = performance.now();
  await Promise.all(made.map((view) => b.ended(view)));
  const running = performance.now();
  const { items } = await b.cloud.instance.list();
  const listed = performance.now();
  expect(items.filter(({ state }) => state === 'running')).toHaveLength(200);
  expect(new Set(items.map(({ address }) => address)).size).toBe(200);
  const gone = await Promise.all(names.map((name) => b.cloud.instance.delete(name)));
  await Promise.all(gone.map((view) => b.ended(view)));
  const deleted = performance.now();
  expect(b.world.instances.size).toBe(0);
  expect((await b.cloud.vpc.get('default')).addressesUsed).toBe(0);
  const ms = (from: number, to: number) => `${Math.round(to - from)} ms`;
  process.stdout.write(
    `200 instances: accepted ${ms(begun, accepted)}, running ${ms(begun, running)}, listed ${ms(running, listed)}, deleted ${ms(listed, deleted)}\n`,
  );
});
