// Tenants on a real engine: deleting one with all that is in it leaves no container, network, volume, image, mount or rule of it, and touches no other tenant's,
// though the daemon is killed in the middle.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { docker, dockerMissing, isAlive, ruleset, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
let cloud: TestCloud;
const IN = { tenant: 'acme', wait: true, timeout: 60_000 } as const;

describe.skipIf(missing !== undefined)(`tenants on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  /** In the tenant that the options name: two instances on two VPCs, one stopped, with volumes, a snapshot and a published port. */
  async function house(tenant: string): Promise<string[]> {
    const { client } = cloud;
    const there = { ...IN, tenant };
    const net = await client.vpc.create({ name: 'net' }, there);
    const other = await client.vpc.create({ name: 'other' }, there);
    const data = await client.volume.create({ name: 'data', size: 1 }, there);
    const more = await client.volume.create({ name: 'more', size: 1 }, there);
    const base = { image: 'busybox', type: 'nano', command: ['sleep', '1000'], stopTimeout: 0 };
    const web = await client.instance.create({ ...base, name: 'web', vpc: 'net', volumes: ['data:/data'], ports: ['127.0.0.1:0:80'] }, there);
    const db = await client.instance.create({ ...base, name: 'db', vpc: 'other', volumes: ['more:/data'] }, there);
    await client.instance.stop('db', {}, there);
    const snapshot = await client.snapshot.create({ name: 'before', volume: 'data' }, there);
    return [net, other, data, more, web, db, snapshot].map(({ id }) => id);
  }
  /** What the engine has of these, by their ids. */
  const ofThese = async (ids: readonly string[]): Promise<string[]> => {
    const label = [`thecloud.installation=${cloud.installation}`];
    const [containers, networks, { Volumes }] = await Promise.all([
      docker.listContainers({ all: true, filters: { label } }),
      docker.listNetworks({ filters: { label } }),
      docker.listVolumes({ filters: JSON.stringify({ label }) }),
    ]);
    const all = [...containers, ...networks, ...(Volumes ?? [])].map(({ Labels }) => Labels?.['thecloud.id'] ?? '');
    return ids.filter((id) => all.includes(id));
  };

  test('nothing of it is left, though the daemon dies on the way, and its neighbour stands', { timeout: 180_000 }, async () => {
    const { client } = cloud;
    for (const name of ['acme', 'globex']) await cloud.ok('tenant', 'create', name);
    const theirs = await house('acme');
    const neighbours = await house('globex');
    const before = await ofThese(neighbours);
    expect(await ofThese(theirs)).toHaveLength(before.length);
    expect(before.length).toBeGreaterThanOrEqual(4);

    const refused = await cloud.cloud('tenant', 'delete', 'acme');
    expect(refused).toMatchObject({ code: 5, stdout: '' });
    expect(refused.stderr).toContain('The tenant acme is not empty');
    expect(refused.stderr).toContain('cloud tenant delete acme --cascade');
    const preview = await cloud.ok('tenant', 'contents', 'acme');
    for (const name of ['web', 'db', 'data', 'more', 'net', 'other', 'before']) expect(preview).toContain(name);

    const { operation = '' } = await client.tenant.delete('acme', { cascade: true });
    await until('something is gone', async () => (await ofThese(theirs)).length < before.length, 30_000);
    await cloud.kill();
    expect(isAlive(cloud.pid)).toBe(false);
    await cloud.start();
    expect(await client.operation.wait(operation, { timeout: 60 })).toMatchObject({ state: 'succeeded', kind: 'tenant.delete' });

    expect(await ofThese(theirs)).toEqual([]);
    const left = await cloud.leftovers();
    for (const id of theirs) expect(left.filter((line) => line.includes(id))).toEqual([]);
    const rules = await ruleset();
    for (const id of theirs.slice(0, 2)) expect(rules).not.toContain(cloud.bridgeOf(id));
    expect(await ofThese(neighbours)).toEqual(before);
    expect((await client.instance.list({}, { tenant: 'globex' })).items.map(({ name, state }) => `${name} ${state}`).sort()).toEqual([
      'db stopped',
      'web running',
    ]);
    expect((await cloud.cloud('instance', 'list', '--tenant', 'acme')).stderr).toContain('There is no tenant "acme"');

    // The same by the command, and then the engine has nothing at all of this installation.
    expect(await cloud.ok('tenant', 'delete', 'globex', '--cascade', '--yes')).toContain('globex');
    expect(await cloud.leftovers()).toEqual([]);
    await cloud.ok('tenant', 'create', 'acme');
    expect((await client.instance.list({}, { tenant: 'acme' })).items).toEqual([]);
  });
});
