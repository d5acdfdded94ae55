// kill -9 at random instants under a random load on real Docker, and then the promises: every accepted request ends, a repeated one makes
// nothing twice, no container, network, volume, loop device or packet filter rule without its resource, data as written.
// CLOUD_CRASH_SEED repeats a run as far as timing allows; CLOUD_CRASH_ROUNDS makes it longer.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isFault } from '../../packages/sdk/src/index.ts';
import { docker, dockerMissing, inside, ruleset, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
const seed = Number(process.env['CLOUD_CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const rounds = Number(process.env['CLOUD_CRASH_ROUNDS'] ?? 5);
const CLIENTS = 6;

/** mulberry32: small, and the same numbers everywhere. */
let state = seed;
function random(): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (n: number): number => Math.floor(random() * n);
const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T;

let cloud: TestCloud;

interface Attempt {
  what: string;
  key: string;
  call: () => Promise<{ id: string }>;
  /** Of the resource that the first answer named. */
  id?: string;
  answer: 'accepted' | 'refused' | 'unknown';
}

/** One random wish of a user. Names come from small sets, so that wishes meet. */
function wish(number: number): Attempt {
  const { client } = cloud;
  const key = `crash-${seed}-${number}`;
  const options = { idempotencyKey: key };
  const instance = `i${below(6)}`;
  const volume = `v${below(4)}`;
  const vpc = pick(['n0', 'n1', 'base']);
  const snapshot = `s${below(2)}`;
  const type = pick(['nano', 'micro']);
  const allowRestart = true;
  const mounts = random() < 0.4 ? [{ volume, path: '/data' }] : [];
  const labels = { n: String(number) };
  const spec = { image: 'busybox', type: 'nano', command: ['sleep', '100000'], stopTimeout: 0 };
  const choices: [string, () => Promise<{ id: string }>][] = [
    [`create ${instance} in ${vpc}`, () => client.instance.create({ name: instance, vpc, volumes: mounts, ...spec }, options)],
    [`create ${instance} published`, () => client.instance.create({ name: instance, vpc: 'base', ports: ['80'], ...spec }, options)],
    [`create ${volume}`, () => client.volume.create({ name: volume, size: 1 }, options)],
    [`attach ${volume} to ${instance}`, () => client.volume.attach(volume, { instance, path: '/data', allowRestart }, options)],
    [`detach ${volume}`, () => client.volume.detach(volume, { allowRestart }, options)],
    [`env of ${instance}`, () => client.instance.update(instance, { env: { N: String(number) }, allowRestart }, options)],
    [`label of ${instance}`, () => client.instance.update(instance, { labels }, options)],
    [`resize ${instance}`, () => client.instance.resize(instance, { type }, options)],
    [`stop ${instance}`, () => client.instance.stop(instance, {}, options)],
    [`start ${instance}`, () => client.instance.start(instance, {}, options)],
    [`restart ${instance}`, () => client.instance.restart(instance, {}, options)],
    [`delete ${instance}`, () => client.instance.delete(instance, {}, options)],
    [`delete ${volume}`, () => client.volume.delete(volume, {}, options)],
    [`snapshot ${volume}`, () => client.snapshot.create({ name: snapshot, volume }, options)],
    [`snapshot of the precious one`, () => client.snapshot.create({ name: snapshot, volume: 'precious' }, options)],
    [`restore ${snapshot}`, () => client.volume.create({ name: volume, snapshot }, options)],
    [`delete ${snapshot}`, () => client.snapshot.delete(snapshot, {}, options)],
    [`create ${vpc}`, () => client.vpc.create({ name: vpc }, options)],
    [`delete ${vpc}`, () => (vpc === 'base' ? client.vpc.update('base', { labels }, options) : client.vpc.delete(vpc, {}, options))],
  ];
  const [what, call] = pick(choices);
  return { what, key, call, answer: 'unknown' };
}

const REFUSALS = ['conflict', 'not_found', 'stale', 'invalid_input', 'quota_exceeded'] as const;

async function attempt(one: Attempt): Promise<void> {
  try {
    one.id = (await one.call()).id;
    one.answer = 'accepted';
  } catch (error) {
    if (REFUSALS.some((code) => isFault(error, code))) one.answer = 'refused';
    else if (!isFault(error, 'unavailable')) throw error;
  }
}

/** Everything that was accepted has ended, and nobody is on the way to anywhere. */
async function settled(): Promise<void> {
  await until(
    'all operations have ended',
    async () => {
      const { items } = await cloud.client.operation.list({ state: 'running', limit: 1000 });
      if (items.length > 0) throw new Error(items.map(({ kind, name, progress }) => `${kind} ${name}: ${progress ?? ''}`).join('; '));
      return true;
    },
    60_000,
  );
}

async function check(vpcIds: Set<string>): Promise<void> {
  const { client } = cloud;
  const [instances, volumes, vpcs, snapshots] = (await Promise.all(
    [client.instance, client.volume, client.vpc, client.snapshot].map(async (kind) => (await kind.list({ limit: 1000 })).items),
  )) as [
    Awaited<ReturnType<typeof client.instance.list>>['items'],
    Awaited<ReturnType<typeof client.volume.list>>['items'],
    Awaited<ReturnType<typeof client.vpc.list>>['items'],
    Awaited<ReturnType<typeof client.snapshot.list>>['items'],
  ];
  for (const { name, state, reason } of [...instances, ...volumes, ...vpcs, ...snapshots]) {
    expect(['running', 'stopped', 'paused', 'available', 'in-use', 'ready', 'error'], name).toContain(state);
    if (state === 'error') expect(reason, `${name} is in error`).toBeTruthy();
  }
  for (const vpc of vpcs) vpcIds.add(vpc.id);

  const label = [`thecloud.installation=${cloud.installation}`];
  const containers = await docker.listContainers({ all: true, filters: { label } });
  expect(containers.map(({ Names }) => Names[0]?.slice(1) ?? '').sort(), 'one container for each instance').toEqual(
    instances
      .filter(({ state }) => state !== 'error')
      .map(({ id }) => id)
      .sort(),
  );
  for (const { id, state, name, address, vpcId } of instances) {
    if (state === 'error') continue;
    const found = containers.find(({ Names }) => Names[0] === `/${id}`);
    expect(found?.State, name).toBe(state === 'stopped' ? (found?.State === 'created' ? 'created' : 'exited') : state);
    const network = (await docker.getContainer(id).inspect()).NetworkSettings.Networks[vpcId as string];
    expect(network?.IPAMConfig?.IPv4Address ?? network?.IPAddress, name).toBe(address);
  }
  const networks = await docker.listNetworks({ filters: { label } });
  expect(networks.map(({ Name }) => Name).sort(), 'one network for each VPC').toEqual(vpcs.map(({ id }) => id).sort());
  const rules = await ruleset();
  for (const id of vpcIds) expect(rules.includes(cloud.bridgeOf(id)), `rules of ${id}`).toBe(rules.includes('thecloud') && vpcs.some((vpc) => vpc.id === id));
  const known = new Set(volumes.map(({ id }) => id));
  const dockerVolumes = (await docker.listVolumes({ filters: JSON.stringify({ label }) })).Volumes ?? [];
  expect(
    dockerVolumes.map(({ Name }) => Name).filter((name) => !known.has(name)),
    'no volume without its resource',
  ).toEqual([]);

  // Who has what is said the same from both sides, and an address or a port is one instance's.
  const mounts = instances.flatMap(({ id, volumes: has }) => has.map(({ volumeId }) => `${volumeId} in ${id}`));
  expect(
    volumes
      .filter(({ instanceId }) => instanceId !== undefined)
      .map(({ id, instanceId }) => `${id} in ${instanceId}`)
      .sort(),
  ).toEqual(mounts.sort());
  for (const values of [
    instances.map(({ vpcId, address }) => `${vpcId} ${address}`),
    instances.flatMap(({ ports }) => ports.map(({ hostPort }) => String(hostPort))),
  ])
    expect(new Set(values).size).toBe(values.length);
  for (const names of [instances, volumes, vpcs, snapshots].map((items) => items.map(({ name }) => name))) expect(new Set(names).size).toBe(names.length);
}

describe.skipIf(missing !== undefined)(`kill -9 under load${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    process.stderr.write(`crash tests: CLOUD_CRASH_SEED=${seed}\n`);
    cloud = await TestCloud.start();
    await cloud.ok('vpc', 'create', 'base');
    await cloud.ok('volume', 'create', 'precious', '--size', '1');
    const keeper = ['--image', 'busybox', '--vpc', 'base', '--type', 'nano', '--stop-timeout', '0', '--volume', 'precious:/data'];
    await cloud.ok('instance', 'create', 'keeper', ...keeper, '--command', 'sh -c "i=0; while :; do i=$((i+1)); echo $i >> /data/log; sleep 0.05; done"');
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  test(
    `${rounds} rounds`,
    async () => {
      const keeper = await cloud.client.instance.get('keeper');
      const born = (await docker.getContainer(keeper.id).inspect()).State.StartedAt;
      const vpcIds = new Set<string>();
      let number = 0;
      for (let round = 0; round < rounds; round++) {
        const attempts: Attempt[] = [];
        let over = false;
        const clients = Array.from({ length: CLIENTS }, async () => {
          while (!over) {
            const one = wish(number++);
            attempts.push(one);
            await attempt(one);
            await sleep(below(60));
          }
        });
        await sleep(100 + below(2500));
        over = true;
        await cloud.kill();
        // Sometimes dead again while it still picks up what the first one left.
        if (random() < 0.4) {
          await cloud.start();
          await sleep(below(600));
          await cloud.kill();
        }
        await cloud.start();
        await Promise.all(clients);

        // Whoever got no answer asks again, and whoever did may as well: the same thing, once.
        for (const one of attempts) {
          const { answer, id } = one;
          if (answer === 'refused') continue;
          await attempt(one);
          if (answer === 'accepted') expect({ what: one.what, answer: one.answer, id: one.id }).toEqual({ what: one.what, answer, id });
          else expect(one.answer, one.what).not.toBe('unknown');
        }
        await settled();
        await until('no row is in between', async () => (await check(vpcIds), true), 20_000).catch((error: Error) => {
          throw new Error(`round ${round} of seed ${seed}: ${(error.cause as Error | undefined)?.message ?? error.message}`, { cause: error.cause });
        });
      }
      expect(number).toBeGreaterThan(rounds * 3);
      // The one that nobody asked anything of was left alone.
      expect((await docker.getContainer(keeper.id).inspect()).State.StartedAt).toBe(born);
      expect((await inside(keeper.id, 'awk \'$1 != NR { print "hole at " NR; exit }\' /data/log')).output).toBe('');
      for (const { name } of (await cloud.client.snapshot.list()).items.filter(({ state, volume }) => state === 'available' && volume === 'precious')) {
        await cloud.client.volume.create({ name: `of-${name}`, snapshot: name }, { wait: true });
        const reader = await cloud.client.instance.create(
          { name: `reader-${name}`, image: 'busybox', type: 'nano', vpc: 'base', command: ['sleep', '1000'], stopTimeout: 0, volumes: [`of-${name}:/data`] },
          { wait: true },
        );
        expect((await inside(reader.id, 'awk \'$1 != NR { print "hole at " NR; exit }\' /data/log; test -s /data/log || echo empty')).output).toBe('');
      }
    },
    60_000 + rounds * 90_000,
  );

  test('a command that waits sees the kill and the restart through', async () => {
    const words = ['--image', 'busybox', '--vpc', 'base', '--type', 'nano', '--stop-timeout', '0', '--command', 'sleep 100000'];
    const waiting = cloud.cloud('instance', 'create', 'awaited', ...words, '--output', 'json');
    await until('it was accepted', async () => (await cloud.client.instance.list()).items.some(({ name }) => name === 'awaited'));
    await cloud.kill();
    await cloud.start();
    const { code, stdout, stderr } = await waiting;
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: 'awaited', state: 'running' });
  });
});
