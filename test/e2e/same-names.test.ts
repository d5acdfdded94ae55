// Two tenants side by side on a real engine, each with the same names for everything: what one lists, reads, hears and changes is never the other's.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Connection, connect } from '../../packages/sdk/src/index.ts';
import { docker, dockerMissing, inside, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
const WAIT = { wait: true, timeout: 60_000 } as const;

interface Side {
  tenant: string;
  other: string;
  client: Connection;
  ids: Record<'vpc' | 'volume' | 'instance' | 'queue' | 'secret', string>;
}
let cloud: TestCloud;
let sides: Side[];

/** Somebody of this tenant, who proves it with a key, and one of everything. */
async function side(tenant: string, other: string): Promise<Side> {
  const { client: root } = cloud;
  await root.tenant.create({ name: tenant }, WAIT);
  await root.serviceAccount.create({ name: 'owner', roles: ['admin'] }, { tenant });
  const { key } = await root.apiKey.create({ name: 'owner', serviceAccount: 'owner' }, { tenant });
  const client = connect({ dataDir: cloud.dataDir, apiKey: key });
  const vpc = await client.vpc.create({ name: 'net' }, WAIT);
  const volume = await client.volume.create({ name: 'data', size: 1 }, WAIT);
  const queue = await client.queue.create({ name: 'jobs' });
  await client.queue.send('jobs', { body: `work of ${tenant}` });
  const secret = await client.secret.create({ name: 'word', value: `secret of ${tenant}` });
  const command = ['sh', '-c', `echo ${tenant} > /data/who; while :; do echo log of ${tenant}; sleep 1; done`];
  const instance = await client.instance.create(
    { name: 'web', image: 'busybox', type: 'nano', vpc: 'net', volumes: ['data:/data'], command, env: { WORD: '@secret:word' }, stopTimeout: 0 },
    WAIT,
  );
  return { tenant, other, client, ids: { vpc: vpc.id, volume: volume.id, instance: instance.id, queue: queue.id, secret: secret.id } };
}
const codeOf = async (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => 'answered',
    (error: { code?: unknown }) => error.code,
  );
const of = (tenant: string): Side => sides.find((one) => one.tenant === tenant) as Side;

describe.skipIf(missing !== undefined)(`two tenants with the same names, on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
    sides = await Promise.all([side('red', 'blue'), side('blue', 'red')]);
  }, 120_000);
  afterAll(async () => {
    for (const { client } of sides ?? []) client.close();
    for (const { tenant } of sides ?? []) await cloud.cloud('tenant', 'delete', tenant, '--cascade', '--yes');
    await cloud?.[Symbol.asyncDispose]();
  }, 120_000);

  test('lists and names mean one’s own', async () => {
    for (const { client, ids, tenant } of sides) {
      expect((await client.instance.list()).items.map(({ id, name }) => [id, name])).toEqual([[ids.instance, 'web']]);
      expect((await client.vpc.list()).items.map(({ id }) => id)).toEqual([ids.vpc]);
      expect((await client.volume.list()).items.map(({ id }) => id)).toEqual([ids.volume]);
      expect((await client.instance.get('web')).id).toBe(ids.instance);
      expect((await client.secret.value('word')).value).toBe(`secret of ${tenant}`);
      expect((await client.queue.receive('jobs')).items.map(({ body }) => body)).toEqual([`work of ${tenant}`]);
      expect((await client.tenant.list()).items.map(({ name }) => name)).toEqual([tenant]);
    }
  });

  test('another’s ids and tenant are not there, for reading and for writing, by whatever way', async () => {
    for (const { client, other } of sides) {
      const theirs = of(other).ids;
      const calls = [
        client.instance.get(theirs.instance),
        client.instance.stop(theirs.instance),
        client.instance.delete(theirs.instance),
        client.instance.list({}, { tenant: other }),
        client.volume.delete(theirs.volume),
        client.vpc.get(theirs.vpc),
        client.vpc.delete(theirs.vpc),
        client.queue.receive(theirs.queue),
        client.secret.value(theirs.secret),
        client.instance.create({ name: 'thief', image: 'busybox', vpc: theirs.vpc }),
        client.instance.create({ name: 'thief', image: 'busybox', volumes: [`${theirs.volume}:/data`] }),
        client.event.list({ resource: 'instance/web' }, { tenant: other }),
      ];
      const codes = await Promise.all(calls.map(codeOf));
      expect(codes).toEqual(codes.map(() => 'not_found'));
      expect((await client.instance.list()).items).toHaveLength(1);
    }
  });

  test('logs, files, processes and variables are one’s own', async () => {
    for (const { client, tenant, other, ids } of sides) {
      const lines = await until('there is a log', async () => {
        const found: string[] = [];
        for await (const { text } of client.instance.logs('web')) found.push(text);
        return found.length > 0 && found;
      });
      expect(lines.every((line) => line.includes(`log of ${tenant}`))).toBe(true);
      expect(await codeOf(client.instance.logs(of(other).ids.instance)[Symbol.asyncIterator]().next())).toBe('not_found');
      const { output } = await inside(ids.instance, 'cat /data/who; echo $WORD');
      expect(output.trim().split('\n')).toEqual([tenant, `secret of ${tenant}`]);
    }
  });

  test('events and operations of one say nothing of the other, in lists and while they come', async () => {
    const heard: Record<string, string[]> = { red: [], blue: [] };
    const stop = new AbortController();
    const watches = sides.map(async ({ client, tenant }) => {
      for await (const event of client.event.watch({ since: 0 }, { signal: stop.signal })) heard[tenant]?.push(JSON.stringify(event));
    });
    const ended = Promise.allSettled(watches);
    for (const { client } of sides) await client.instance.stop('web', {}, WAIT);
    for (const { client } of sides) await client.instance.start('web', {}, WAIT);
    for (const { client, tenant } of sides) {
      const last = (await client.event.list({ limit: 1000 })).items.at(-1)?.id;
      await until('the last event was heard', async () => heard[tenant]?.some((line) => line.includes(`"id":${last},`)));
    }
    for (const { client, tenant, other } of sides) {
      const theirs = Object.values(of(other).ids);
      const said = [
        ...(heard[tenant] ?? []),
        ...(await client.event.list({ limit: 1000 })).items.map((event) => JSON.stringify(event)),
        ...(await client.operation.list({ limit: 1000 })).items.map((operation) => JSON.stringify(operation)),
        // What was asked for in vain stands there as it was asked for.
        ...(await client.audit.list({ limit: 1000 })).items.filter(({ outcome }) => outcome !== 'not_found').map((line) => JSON.stringify(line)),
      ];
      expect(said.length).toBeGreaterThan(10);
      for (const id of [...theirs, `of ${other}`, `"${other}"`]) expect(said.filter((line) => line.includes(id))).toEqual([]);
    }
    stop.abort();
    await ended;
  });

  test('what one does to a name does not touch the other’s of that name', { timeout: 60_000 }, async () => {
    const [red, blue] = [of('red'), of('blue')];
    await red.client.instance.delete('web', {}, WAIT);
    await red.client.volume.delete('data', {}, WAIT);
    expect((await red.client.instance.list()).items).toEqual([]);
    expect(await blue.client.instance.get('web')).toMatchObject({ id: blue.ids.instance, state: 'running' });
    const containers = await docker.listContainers({ filters: { label: [`thecloud.installation=${cloud.installation}`] } });
    expect(containers.map(({ Labels }) => Labels['thecloud.id'])).toEqual([blue.ids.instance]);
    // By the command, which takes the tenant as a flag.
    expect(await cloud.ok('instance', 'list', '--tenant', 'blue')).toContain('web');
    expect(await cloud.ok('instance', 'list', '--tenant', 'red')).not.toContain('web');
    expect(await cloud.ok('instance', 'list')).not.toContain('web');
  });
});
