// VPCs with real packets: inside they flow, between them none does, whoever came first and whatever is published; names follow the same borders.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerMissing, ruleset, inside as run, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
let cloud: TestCloud;

/** Answers its name by HTTP, on a published port and on one that is not. */
const server = (name: string) => `mkdir -p /www; echo ${name} > /www/index.html; httpd -h /www -p 81; exec httpd -f -h /www -p 80`;
interface Box {
  id: string;
  name: string;
  vpc: string;
  address: string;
  port: number;
}

async function box(name: string, vpc: string, publish: string): Promise<Box> {
  const made = await cloud.client.instance.create(
    { name, vpc, image: 'busybox', type: 'nano', command: ['sh', '-c', server(name)], ports: [publish], stopTimeout: 0 },
    { wait: true },
  );
  return { id: made.id, name, vpc, address: made.address as string, port: made.ports[0]?.hostPort as number };
}

const reaches = async (from: Box, url: string): Promise<string> => (await run(from.id, `timeout 1 wget -q -O - ${url} 2>/dev/null`)).output.trim();
const pings = async (from: Box, address: string): Promise<boolean> => (await run(from.id, `ping -c 1 -W 1 ${address} > /dev/null`)).code === 0;

describe.skipIf(missing !== undefined)(`VPCs on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  test('packets stay inside, in every order of creation', async () => {
    const { client } = cloud;
    // One VPC with everything in it before the other exists, and instances in both after both exist.
    const red = await client.vpc.create({ name: 'red' }, { wait: true });
    const red1 = await box('red1', 'red', '127.0.0.1:0:80');
    const blue = await client.vpc.create({ name: 'blue' }, { wait: true });
    const blue1 = await box('blue1', 'blue', '0.0.0.0:0:80');
    const red2 = await box('red2', 'red', '0.0.0.0:0:80');
    const blue2 = await box('blue2', 'blue', '127.0.0.1:0:80');
    const inside: [Box, Box][] = [
      [red1, red2],
      [red2, red1],
      [blue1, blue2],
      [blue2, blue1],
    ];
    const border: [Box, Box][] = [
      [red1, blue1],
      [red1, blue2],
      [red2, blue1],
      [red2, blue2],
      [blue1, red1],
      [blue1, red2],
      [blue2, red1],
      [blue2, red2],
    ];
    const check = async (): Promise<void> => {
      for (const [from, to] of inside) {
        for (const host of [to.address, to.name])
          for (const port of [80, 81])
            await until(`${from.name} reaches ${host}:${port}`, async () => (await reaches(from, `http://${host}:${port}/`)) === to.name);
        expect(await pings(from, to.address), `${from.name} pings ${to.name}`).toBe(true);
      }
      await Promise.all(
        border.map(async ([from, to]) => {
          const tries = await Promise.all([
            ...[80, 81].map((port) => reaches(from, `http://${to.address}:${port}/`)),
            reaches(from, `http://${to.name}/`),
            // Its published port at the gateways: of its own VPC and of ours.
            reaches(from, `http://${to.vpc === 'red' ? red.gateway : blue.gateway}:${to.port}/`),
          ]);
          expect(tries, `${from.name} to ${to.name}`).toEqual(['', '', '', '']);
          expect(await pings(from, to.address), `${from.name} pings ${to.name}`).toBe(false);
          const { output } = await run(from.id, `timeout 2 nslookup ${to.name} 2>&1`);
          expect(output).not.toContain(to.address);
        }),
      );
      for (const { name, port } of [red1, red2, blue1, blue2]) expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe(`${name}\n`);
    };
    await check();
    await cloud.kill();
    await check(); // no daemon is needed for it
    await cloud.start();
    await cloud.ok('instance', 'restart', 'red1', 'blue2');
    await check();
  });

  test('what somebody took away from the packet filter comes back by itself', async () => {
    const { id } = await cloud.client.vpc.get('red');
    const isolation = (await cloud.client.system.info()).drivers.flatMap(({ features }) => features).find(({ name }) => name === 'isolation');
    const bridge = cloud.bridgeOf(id);
    const table = (await ruleset()).split(/^(?=table )/m).find((text) => text.startsWith('table ip thecloud_') && text.includes(bridge));
    if (table === undefined) return expect(isolation?.detail, 'says what is missing').toMatch(/because/);
    expect(isolation?.level).toBe('enforced');
    const name = table.split(' ')[2] as string;
    const nft = (...args: string[]) => promisify(execFile)('nft', args);
    await nft('flush', 'chain', 'ip', name, 'verdict');
    await until('the chain is filled again', async () => (await nft('list', 'chain', 'ip', name, 'verdict')).stdout.includes('of_ours'));
    await nft('delete', 'table', 'bridge', name);
    await until('the table is there again', async () => (await ruleset()).includes(`table bridge ${name}`));
  });

  test('deleting a VPC is refused while something is in it, and says what', async () => {
    const refused = await cloud.cloud('vpc', 'delete', 'red', '--yes');
    expect(refused.code).toBe(5);
    expect(refused.stderr).toContain('red1');
    expect(refused.stderr).toContain('red2');
    await cloud.ok('instance', 'stop', 'red1', 'red2');
    expect((await cloud.cloud('vpc', 'delete', 'red', '--yes')).code, 'stopped ones count').toBe(5);
    const { id } = await cloud.client.vpc.get('red');
    await cloud.ok('instance', 'delete', 'red1', 'red2', '--yes');
    await cloud.ok('vpc', 'delete', 'red', '--yes');
    expect(await ruleset()).not.toContain(cloud.bridgeOf(id));
    // The freed network can be given again.
    await cloud.ok('vpc', 'create', 'red');
  });

  test('networks never overlap: given, chosen, or the host’s own', async () => {
    const { cidr } = await cloud.client.vpc.get('blue');
    const refusals: [string, number, RegExp][] = [
      [cidr, 5, /overlaps .*blue/],
      [cidr.replace(/\/\d+$/, '/28'), 5, /overlaps .*blue/],
      ['172.17.0.0/16', 5, /overlaps .*host/],
      ['10.1.2.3/16', 2, /did you mean 10\.1\.0\.0\/16/],
      ['8.8.0.0/16', 2, /not private/],
      ['10.0.0.0/8', 2, /too large/],
      ['10.9.9.0/30', 2, /too small/],
      ['10.300.0.0/16', 2, /not an IPv4 network/],
    ];
    for (const [wanted, code, sentence] of refusals) {
      const { code: got, stderr } = await cloud.cloud('vpc', 'create', 'green', '--cidr', wanted);
      expect(got, `${wanted}: ${stderr}`).toBe(code);
      expect(stderr).toMatch(sentence);
    }
    const made = await Promise.all([1, 2, 3, 4].map((n) => cloud.client.vpc.create({ name: `auto${n}` }, { wait: true })));
    expect(new Set(made.map((one) => one.cidr)).size).toBe(4);
  });
});
