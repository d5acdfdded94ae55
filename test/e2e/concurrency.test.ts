// Many at once: two who want the same, twenty on real Docker, two hundred on the memory driver.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, isFault } from '../../packages/sdk/src/index.ts';
import { docker, dockerMissing, TestCloud } from './bench.ts';

const missing = await dockerMissing();

/** Codes of the refusals, `ok` for what was accepted. */
const outcomes = async (calls: Promise<unknown>[]): Promise<string[]> =>
  (await Promise.allSettled(calls))
    .map((one) => (one.status === 'fulfilled' ? 'ok' : isFault(one.reason) ? one.reason.code : String(one.reason)))
    .toSorted((a, b) => (a < b ? -1 : 1));

describe.skipIf(missing !== undefined)(`at once on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let cloud: TestCloud;
  beforeAll(async () => {
    cloud = await TestCloud.start();
    await cloud.ok('vpc', 'create', 'net');
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());
  const box = (name: string) => ({ name, image: 'busybox', type: 'nano', vpc: 'net', command: ['sleep', '100000'], stopTimeout: 0 });

  test('of two clients that create the same name, one wins', async () => {
    await using other = connect({ dataDir: cloud.dataDir });
    const make = (client: typeof cloud.client) => client.instance.create(box('same'), { wait: true });
    expect(await outcomes([make(cloud.client), make(other), make(cloud.client)])).toEqual(['conflict', 'conflict', 'ok']);
    expect((await docker.listContainers({ all: true, filters: { label: [`thecloud.installation=${cloud.installation}`] } })).length).toBe(1);
    const commands = await Promise.all([1, 2].map(() => cloud.cloud('volume', 'create', 'twin', '--size', '1')));
    expect(commands.map(({ code }) => code ?? -1).toSorted((a, b) => a - b)).toEqual([0, 5]);
    expect(commands.find(({ code }) => code === 5)?.stderr).toMatch(/twin/);
  });

  test('of two that attach one volume, one wins', async () => {
    const { client } = cloud;
    await Promise.all([
      client.volume.create({ name: 'one', size: 1 }, { wait: true }),
      ...['a', 'b'].map((name) => client.instance.create(box(name), { wait: true })),
    ]);
    const attach = (instance: string) => client.volume.attach('one', { instance, path: '/data', allowRestart: true }, { wait: true });
    expect(await outcomes([attach('a'), attach('b')])).toEqual(['conflict', 'ok']);
    const { instance } = await client.volume.get('one');
    const mounted = await Promise.all(
      ['a', 'b'].map(async (name) => ((await cloud.sh(name, 'grep -c " /data " /proc/mounts')).output.trim() === '1' ? name : '')),
    );
    expect(mounted.filter(Boolean)).toEqual([instance]);
  });

  test('a change of what has changed since is stale; of two at once with the same knowledge, one wins', async () => {
    const { client } = cloud;
    const { generation } = await client.instance.get('same');
    const change = (n: string) => client.instance.update('same', { labels: { n } }, { ifMatch: generation, wait: true });
    expect(await outcomes([change('1'), change('2'), change('3')])).toEqual(['ok', 'stale', 'stale']);
    await expect(change('4')).rejects.toMatchObject({ code: 'stale', hint: expect.stringContaining('cloud instance get same') });
  });

  test('twenty instances are made at once and deleted at once', async () => {
    const { client } = cloud;
    const names = Array.from({ length: 20 }, (_, n) => `many${n}`);
    const made = await Promise.all(names.map((name) => client.instance.create({ ...box(name), ports: ['80'] }, { wait: true })));
    expect(made.map(({ state }) => state)).toEqual(names.map(() => 'running'));
    expect(new Set(made.map(({ address }) => address)).size).toBe(20);
    expect(new Set(made.map(({ ports }) => ports[0]?.hostPort)).size).toBe(20);
    for (const { id, address } of made) {
      const { State, NetworkSettings } = await docker.getContainer(id).inspect();
      expect([State.Running, Object.values(NetworkSettings.Networks)[0]?.IPAddress]).toEqual([true, address]);
    }
    const one = await cloud.cloud('instance', 'delete', ...names.slice(0, 10), '--yes');
    expect(one.code, one.stderr).toBe(0);
    await Promise.all(names.slice(10).map((name) => client.instance.delete(name, {}, { wait: true })));
    const left = await docker.listContainers({ all: true, filters: { label: [`thecloud.installation=${cloud.installation}`] } });
    expect(left.length).toBe(3);
    expect((await client.vpc.get('net')).addressesUsed).toBe(3);
  });
});

test('two hundred instances on the memory driver, by SDK and command', async () => {
  await using cloud = await TestCloud.start({ driver: 'memory' });
  const { client } = cloud;
  await client.vpc.create({ name: 'net' }, { wait: true });
  const names = Array.from({ length: 200 }, (_, n) => `vm-${n}`);
  const made = await Promise.all(
    names.map((name, n) =>
      client.instance.create({ name, image: 'busybox', type: 'nano', vpc: 'net', labels: { half: n % 2 === 0 ? 'a' : 'b' } }, { wait: true }),
    ),
  );
  expect(new Set(made.map(({ address }) => address)).size).toBe(200);
  const listed = await cloud.json<{ items: { name: string }[] }>('instance', 'list');
  expect(new Set(listed.items.map(({ name }) => name))).toEqual(new Set(names));
  expect((await cloud.ok('instance', 'list', '--label', 'half=a', '--output', 'name')).trim().split('\n')).toHaveLength(100);
  // Pages, with no gap and nothing twice.
  const seen: string[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await client.instance.list({ limit: 33, ...(cursor === undefined ? {} : { cursor }) });
    seen.push(...page.items.map(({ name }) => name));
    cursor = page.cursor;
    if (cursor === undefined) break;
  }
  expect([seen.length, new Set(seen).size]).toEqual([200, 200]);
  const refused = await cloud.cloud('vpc', 'delete', 'net', '--yes');
  expect(refused.code).toBe(5);
  expect(refused.stderr.length, 'names some of them, not all two hundred').toBeLessThan(1500);
  expect((await cloud.cloud('instance', 'delete', ...names, '--yes')).code).toBe(0);
  expect((await client.vpc.get('net')).addressesUsed).toBe(0);
});
