// Names inside real instances: of each other, of records, of nobody else's; and whatever dies comes back.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { findProgram } from '../../packages/core/src/drivers/powerdns/server.ts';
import { dockerMissing, isAlive, inside as run, TestCloud, until } from './bench.ts';

const missing = (await dockerMissing()) ?? (findProgram('pdns_server') === undefined ? 'PowerDNS is not installed' : undefined);
let cloud: TestCloud;

/** Process ids of the DNS servers of this installation. */
const servers = (): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 1 && existsSync(`/proc/${pid}/cmdline`))
    .filter((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
        return words[0]?.endsWith('pdns_server') === true && words.includes(`--config-dir=${cloud.dataDir}/powerdns`);
      } catch {
        return false; // it ended meanwhile
      }
    });

interface Box {
  id: string;
  address: string;
}

async function box(name: string, vpc: string): Promise<Box> {
  const made = await cloud.client.instance.create({ name, vpc, image: 'busybox', type: 'nano', command: ['sleep', '1d'], stopTimeout: 0 }, { wait: true });
  return { id: made.id, address: made.address as string };
}

/** What the instance's own resolver library says. */
const resolve = async (from: Box, name: string): Promise<string> =>
  (await run(from.id, `timeout 3 nslookup -type=a ${name} 2>&1 | sed -n '/^Name/,$p' | awk '/^Address/ {print $NF}'`)).output.trim();

describe.skipIf(missing !== undefined)(`DNS on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let web: Box;
  let db: Box;
  let stranger: Box;

  beforeAll(async () => {
    cloud = await TestCloud.start();
    const { client } = cloud;
    for (const name of ['red', 'blue']) await client.vpc.create({ name }, { wait: true });
    expect(servers()).toEqual([]);
    await client.zone.create({ name: 'prod.internal', vpc: 'red' }, { wait: true });
    await client.zone.create({ name: 'prod.internal@blue', vpc: 'blue' }, { wait: true });
    [web, db, stranger] = await Promise.all([box('web', 'red'), box('db', 'red'), box('stranger', 'blue')]);
  }, 120_000);
  afterAll(async () => {
    for (const { id } of (await cloud?.client.zone.list())?.items ?? []) await cloud.client.zone.delete(id, { force: true }, { wait: true });
    await cloud?.[Symbol.asyncDispose]();
  });

  test('instances find each other without being told where to ask', async () => {
    await until('db is found', async () => (await resolve(web, 'db.prod.internal')) === db.address);
    await until('web is found', async () => (await resolve(db, 'web.prod.internal')) === web.address);
    expect((await run(db.id, 'ping -c 1 -W 2 web.prod.internal > /dev/null')).code).toBe(0);
    const { gateway } = await cloud.client.vpc.get('red');
    expect((await run(web.id, `nslookup ${db.address} ${gateway} 2>&1`)).output).toContain('db.prod.internal');
    await cloud.client.record.create({ name: 'www', zone: 'prod.internal', type: 'CNAME', values: ['web'] });
    await until('the alias is found', async () => (await resolve(db, 'www.prod.internal')) === web.address);
  });

  test('another VPC finds its own, and nothing of this one', async () => {
    await until('stranger finds itself', async () => (await resolve(stranger, 'stranger.prod.internal')) === stranger.address);
    expect(await resolve(stranger, 'db.prod.internal')).toBe('');
    expect(await resolve(web, 'stranger.prod.internal')).toBe('');
    const { gateway } = await cloud.client.vpc.get('red');
    expect((await run(stranger.id, `timeout 3 nslookup db.prod.internal ${gateway} 2>&1`)).output).not.toContain(db.address);
    for (const { id } of (await cloud.client.vpc.list()).items) expect(await resolve(stranger, `db.prod.internal.${id}`)).toBe('');
  });

  test('the DNS server is killed: another takes its place', async () => {
    const [first] = servers();
    expect(servers()).toHaveLength(1);
    process.kill(first as number, 'SIGKILL');
    await until('another runs', async () => servers().length === 1 && servers()[0] !== first);
    await until('db is found', async () => (await resolve(web, 'db.prod.internal')) === db.address);
  });

  test('the daemon is killed: its server ends with it, and with the next one all is as it was', async () => {
    const [before] = servers();
    await cloud.kill();
    await until('the server is gone', async () => !isAlive(before as number));
    await cloud.start();
    await until('db is found', async () => (await resolve(web, 'db.prod.internal')) === db.address);
    expect(servers()).toHaveLength(1);
  });

  test('the key is in a file of ours alone, and nowhere else', () => {
    const [pid] = servers();
    const key = /^api-key=(.+)$/m.exec(readFileSync(`${cloud.dataDir}/powerdns/pdns.conf`, 'utf8'))?.[1] as string;
    expect(key.length).toBeGreaterThan(20);
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).not.toContain(key);
    expect(readFileSync(`/proc/${pid}/environ`, 'utf8')).not.toContain(key);
    expect(readFileSync(`${cloud.dataDir}/daemon.log`, 'utf8')).not.toContain(key);
  });

  test('who goes is forgotten', async () => {
    await cloud.client.instance.delete('db', {}, { wait: true });
    await until('db is gone', async () => (await resolve(web, 'db.prod.internal')) === '');
  });
});
