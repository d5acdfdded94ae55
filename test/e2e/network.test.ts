// Networks as somebody would build them, by the command, with real packets: a public and a private subnet, groups, a way out, elastic IPs, a peering between
// tenants; and what a daemon that dies changes for them: nothing.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerMissing, inside, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
const SERVER = 'sh -c "mkdir -p /www; hostname >/www/index.html; httpd -p 5432 -h /www; exec httpd -f -p 80 -h /www"';

describe.skipIf(missing !== undefined)(`networks on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let cloud: TestCloud;
  let enforced = false;
  const ids = new Map<string, string>();
  const addresses = new Map<string, string>();
  /** Of the VPC `shop`, where nothing else on the host is. */
  let range = '';
  const at = (rest: string): string => `${range}.${rest}`;

  const box = async (name: string, ...words: string[]): Promise<void> => {
    await cloud.ok('instance', 'create', name, '--image', 'busybox', '--type', 'nano', '--stop-timeout', '0', '--command', SERVER, ...words);
    const made = await cloud.client.instance.get(name);
    ids.set(name, made.id);
    addresses.set(name, made.address as string);
  };
  const of = (map: Map<string, string>, name: string): string => map.get(name) ?? expect.fail(`there is no ${name}`);
  const gets = async (from: string, host: string, port = 80): Promise<string> => {
    const request = `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 1 ${host} ${port} 2>/dev/null | tail -n 1`;
    return (await inside(of(ids, from), request)).output.trim();
  };
  const fromHost = async (address: string): Promise<string> => {
    const answer = await fetch(`http://${address}/index.html`, { signal: AbortSignal.timeout(1_500) }).catch(() => undefined); // no answer is one
    return answer === undefined ? '' : (await answer.text()).trim();
  };
  /** What the rules say and what a packet did; they have to agree. */
  const trace = async (from: string, to: string, port: number, protocol: 'tcp' | 'udp' = 'tcp'): Promise<{ passes: boolean; summary: string }> => {
    const { passes, summary, live } = await cloud.client.network.trace({ from, to, port, protocol, live: true });
    expect(live, summary).toMatchObject({ agrees: true });
    return { passes, summary };
  };

  beforeAll(async () => {
    cloud = await TestCloud.start();
    const features = (await cloud.client.system.info()).drivers.flatMap((driver) => driver.features);
    enforced = features.find(({ name }) => name === 'security groups')?.level === 'enforced';
    if (!enforced) return;
    await cloud.ok('vpc', 'create', 'shop');
    const { cidr } = await cloud.client.vpc.get('shop');
    const [a, b, c] = cidr.split('.').map(Number) as [number, number, number];
    range = `${a}.${b}`;
    await cloud.ok('internet-gateway', 'create', 'door', '--vpc', 'shop');
    await cloud.ok('route-table', 'create', 'public', '--vpc', 'shop');
    await cloud.ok('route-table', 'route', 'add', 'public', '0.0.0.0/0', '--internet-gateway', 'door');
    await cloud.ok('subnet', 'create', 'front', '--vpc', 'shop', '--cidr', at(`${c}.0/24`), '--route-table', 'public');
    await cloud.ok('subnet', 'create', 'back', '--vpc', 'shop', '--cidr', at(`${c + 1}.0/24`));
    await cloud.ok('security-group', 'create', 'web', '--vpc', 'shop');
    await cloud.ok('security-group', 'create', 'db', '--vpc', 'shop');
    await cloud.ok('security-group', 'rule', 'add', 'web', '--port', '80', '--cidr', '0.0.0.0/0');
    await cloud.ok('security-group', 'rule', 'add', 'db', '--port', '5432', '--group', 'web');
    await box('web1', '--vpc', 'shop', '--subnet', 'front', '--security-group', 'web');
    await box('db1', '--vpc', 'shop', '--subnet', 'back', '--security-group', 'db');
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  const check = async (): Promise<void> => {
    const db = of(addresses, 'db1');
    expect(await gets('web1', db, 5432)).toBe('db1');
    expect(await gets('web1', db, 80)).toBe('');
    expect(await gets('db1', of(addresses, 'web1'))).toBe('web1');
  };

  test('groups decide who reaches whom, at which port', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    await check();
    expect(await trace('web1', 'db1', 5432)).toMatchObject({ passes: true });
    expect(await trace('web1', 'db1', 80)).toMatchObject({ passes: false, summary: expect.stringContaining('no ingress rule of security group db') });
    expect(await trace('web1', 'db1', 5432, 'udp')).toMatchObject({ passes: false });
    await cloud.ok('security-group', 'rule', 'add', 'db', '--protocol', 'udp', '--port', '5000-6000', '--group', 'web');
    expect(await trace('web1', 'db1', 5432, 'udp')).toMatchObject({ passes: true });
    expect(await trace('db1', 'web1', 5432, 'udp')).toMatchObject({ passes: false });
    await cloud.ok('security-group', 'attach', 'web', 'db1');
    expect(await gets('web1', of(addresses, 'db1'), 80)).toBe('db1');
    await cloud.ok('security-group', 'detach', 'web', 'db1');
    await check();
  });

  test('a private subnet has no way out until a NAT gateway gives one, and none in', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    expect((await cloud.client.network.trace({ from: 'db1', to: '203.0.113.9', port: 80 })).summary).toContain('the subnet back has no route to it');
    await cloud.ok('elastic-ip', 'allocate', 'out');
    await cloud.ok('nat-gateway', 'create', 'nat', '--subnet', 'front', '--elastic-ip', 'out');
    await cloud.ok('route-table', 'create', 'private', '--vpc', 'shop');
    await cloud.ok('route-table', 'route', 'add', 'private', '0.0.0.0/0', '--nat-gateway', 'nat');
    await cloud.ok('subnet', 'update', 'back', '--route-table', 'private');
    expect((await cloud.client.network.trace({ from: 'db1', to: '203.0.113.9', port: 80 })).passes).toBe(true);
    // Nothing comes in by it.
    expect(await fromHost((await cloud.client.elasticIp.get('out')).address as string)).toBe('');
    const wrong = await cloud.cloud('nat-gateway', 'create', 'inner', '--subnet', 'back');
    expect(`${wrong.stdout}${wrong.stderr}`).toMatch(/internet gateway/);
  });

  test('an elastic IP is reached from the host and from other VPCs, and moves in one step', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    await cloud.ok('vpc', 'create', 'lab');
    await box('lab1', '--vpc', 'lab');
    await box('web2', '--vpc', 'shop', '--subnet', 'front', '--security-group', 'web');
    await cloud.ok('elastic-ip', 'allocate', 'shop-ip');
    await cloud.ok('elastic-ip', 'associate', 'shop-ip', '--instance', 'web1');
    const { address } = await cloud.client.elasticIp.get('shop-ip');
    expect(address).toMatch(/^100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\./);
    expect(await fromHost(address)).toBe('web1');
    expect(await gets('lab1', address)).toBe('web1');
    expect(await gets('lab1', of(addresses, 'web1'))).toBe('');
    // Under traffic: every answer is of the one or of the other, and after the answer of the other none of the first.
    const seen: string[] = [];
    let moved = false;
    const asking = (async () => {
      while (!moved || seen.at(-1) !== 'web2') seen.push(await gets('lab1', address));
    })();
    await until('traffic', async () => seen.length > 2);
    await cloud.ok('elastic-ip', 'associate', 'shop-ip', '--instance', 'web2');
    moved = true;
    await asking;
    expect(seen.filter((word) => word !== 'web1' && word !== 'web2').length).toBeLessThanOrEqual(1);
    expect(seen.lastIndexOf('web1')).toBeLessThan(seen.indexOf('web2'));
    await cloud.ok('instance', 'delete', 'web2', '--yes');
    expect(await fromHost(address)).toBe('');
    expect((await cloud.client.elasticIp.get('shop-ip')).instance).toBeUndefined();
  });

  test('peered VPCs meet after acceptance, also of another tenant, and part with the deletion', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    const web = of(addresses, 'web1');
    await cloud.ok('peering', 'create', 'near', '--vpc', 'shop', '--peer-vpc', 'lab');
    expect(await gets('lab1', web)).toBe('');
    await cloud.ok('peering', 'accept', 'near');
    expect(await gets('lab1', web)).toBe('web1');
    expect(await trace('lab1', 'web1', 80)).toMatchObject({ passes: true });
    expect((await cloud.cloud('vpc', 'delete', 'lab', '--yes')).stderr).toContain('peering near');
    await cloud.ok('peering', 'delete', 'near', '--yes');
    expect(await gets('lab1', web)).toBe('');

    await cloud.ok('tenant', 'create', 'partner');
    await cloud.ok('vpc', 'create', 'theirs', '--tenant', 'partner');
    const shop = await cloud.client.vpc.get('shop');
    await cloud.ok(
      'instance',
      'create',
      'guest',
      '--tenant',
      'partner',
      '--vpc',
      'theirs',
      '--image',
      'busybox',
      '--type',
      'nano',
      '--stop-timeout',
      '0',
      '--command',
      SERVER,
    );
    const guest = JSON.parse(await cloud.ok('instance', 'get', 'guest', '--tenant', 'partner', '--output', 'json')) as { id: string };
    ids.set('guest', guest.id);
    await cloud.ok('peering', 'create', 'far', '--tenant', 'partner', '--vpc', 'theirs', '--peer-vpc', shop.id);
    expect(await gets('guest', web)).toBe('');
    expect((await cloud.cloud('peering', 'accept', 'far', '--tenant', 'partner')).code, 'the one who asks cannot accept').not.toBe(0);
    const asked = (await cloud.client.peering.list()).items.find(({ state }) => state === 'pending-acceptance');
    await cloud.ok('peering', 'accept', asked?.id ?? expect.fail('the other side does not see it'));
    expect(await gets('guest', web)).toBe('web1');
    await cloud.ok('peering', 'delete', asked?.id as string, '--yes');
    expect(await gets('guest', web)).toBe('');
    await cloud.ok('tenant', 'delete', 'partner', '--cascade', '--yes');
  });

  test('metadata are told to whom they are of', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    const ask = (request: string): string => `printf '${request}\\r\\n\\r\\n' | nc -w 2 169.254.169.254 80 | tail -n 1`;
    const script = `T=$(${ask('PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60')}); printf "GET /latest/meta-data/local-ipv4 HTTP/1.0\\r\\nX-aws-ec2-metadata-token: $T\\r\\n\\r\\n" | nc -w 2 169.254.169.254 80 | tail -n 1`;
    for (const name of ['web1', 'db1', 'lab1']) expect((await inside(of(ids, name), script)).output.trim()).toBe(of(addresses, name));
  });

  test('a daemon that is killed, or starts anew, changes nothing for what is under way', async ({ skip }) => {
    if (!enforced) skip('our packet filter is not available here');
    await inside(of(ids, 'db1'), '(tail -f /dev/null | nc -l -p 5433 >/tmp/lines) >/dev/null 2>&1 &');
    await cloud.ok('security-group', 'rule', 'add', 'db', '--port', '5433', '--group', 'web');
    await inside(of(ids, 'web1'), `(while sleep 0.1; do echo line || exit; done | nc ${of(addresses, 'db1')} 5433) >/dev/null 2>&1 &`);
    const arrived = async (): Promise<number> => Number((await inside(of(ids, 'db1'), 'wc -l </tmp/lines')).output);
    const goesOn = async (): Promise<void> => {
      const before = await arrived();
      await until('lines arrive', async () => (await arrived()) > before + 2);
    };
    await goesOn();
    await cloud.kill();
    await goesOn();
    await check();
    await cloud.start();
    await goesOn();
    await cloud.restart();
    await goesOn();
    await check();
  });
});
