// The metadata service with real instances: each reads its own at 169.254.169.254 and nobody else's, by whatever address it asks or pretends to be; and
// Debian's cloud-init finds there what it needs.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { docker, dockerMissing, inside, TestCloud, until } from './bench.ts';

const execute = promisify(execFile);
const missing = await dockerMissing();
const suite = describe.skipIf(missing !== undefined);

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4m1kHmWkVyPk0jb0RW5mEPYJ0s6Hq8H1JXZ9o7Qm1a me@laptop';
const CLOUD_INIT = 'debian-cloud-init:trixie';
const USER_DATA = `#cloud-config
hostname: front
write_files:
  - path: /root/secret
    content: swordfish
runcmd:
  - [sh, -c, 'echo ran >> /root/ran']
`;

/** False when the tests of this image may be left out; throws when they may not. */
async function hasImage(name: string): Promise<boolean> {
  if (missing !== undefined) return false;
  const found = (await docker.listImages({ filters: { reference: [name] } })).length > 0;
  if (!found && (process.env['CLOUD_REQUIRED'] ?? '').split(',').includes('docker'))
    throw new Error(`Docker tests are required: there is no image ${name}; npm run setup`);
  return found;
}
const hasCloudInit = await hasImage(CLOUD_INIT);

let cloud: TestCloud;
interface Box {
  id: string;
  address: string;
}
let web: Box;
let near: Box;
let far: Box;

/** One request as busybox can write it: the status and the body, or nothing when nobody answered. */
async function ask(
  from: Box,
  path: string,
  { method = 'GET', headers = {}, at = '169.254.169.254', port = 80 }: { method?: string; headers?: Record<string, string>; at?: string; port?: number } = {},
) {
  const lines = [
    `${method} ${path} HTTP/1.1`,
    'Host: metadata',
    'Connection: close',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    '',
    '',
  ];
  const { output } = await inside(
    from.id,
    `printf '%s\\r\\n' ${lines
      .slice(0, -1)
      .map((line) => `'${line}'`)
      .join(' ')} | timeout 3 nc ${at} ${port} 2>/dev/null`,
  );
  const [head = '', ...body] = output.split('\r\n\r\n');
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0), body: body.join('\r\n\r\n') };
}
const TTL = { 'X-aws-ec2-metadata-token-ttl-seconds': '600' };
const withToken = (token: string) => ({ headers: { 'X-aws-ec2-metadata-token': token } });
const tokenOf = async (from: Box) => (await ask(from, '/latest/api/token', { method: 'PUT', headers: TTL })).body;
const idSeenBy = async (from: Box) => (await ask(from, '/latest/meta-data/instance-id', withToken(await tokenOf(from)))).body;

suite(`instance metadata${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
    const { client } = cloud;
    await client.tenant.create({ name: 'acme' });
    await client.vpc.create({ name: 'red' }, { wait: true });
    await client.vpc.create({ name: 'blue' }, { wait: true, tenant: 'acme' });
    await client.sshKey.create({ name: 'laptop', publicKey: KEY });
    const plain = { image: 'busybox', type: 'nano', command: ['sleep', '10000'], stopTimeout: 0 };
    const box = async (name: string, more: object, tenant?: string): Promise<Box> => {
      const made = await client.instance.create({ ...plain, name, ...more }, { wait: true, ...(tenant === undefined ? {} : { tenant }) });
      return { id: made.id, address: made.address as string };
    };
    web = await box('web', { vpc: 'red', sshKeys: ['laptop'], userData: '#!/bin/sh\n# swordfish\n', labels: { env: 'dev' } });
    near = await box('near', { vpc: 'red' });
    far = await box('far', { vpc: 'blue' }, 'acme');
  });
  afterAll(async () => {
    await cloud?.client.tenant.delete('acme', { cascade: true }, { wait: true, timeout: 60_000 });
    await cloud?.[Symbol.asyncDispose]();
  });

  test('each instance reads its own, with a token', async () => {
    expect((await ask(web, '/latest/meta-data/instance-id')).status).toBe(401);
    expect((await ask(web, '/latest/user-data')).body).not.toContain('swordfish');
    const token = await tokenOf(web);
    const text = async (path: string) => (await ask(web, path, withToken(token))).body;
    expect(await text('/latest/meta-data/instance-id')).toBe(web.id);
    expect(await text('/latest/meta-data/local-ipv4')).toBe(web.address);
    expect(await text('/latest/meta-data/public-keys/0/openssh-key')).toBe(KEY);
    expect(await text('/latest/meta-data/tags/instance/env')).toBe('dev');
    expect(await text('/latest/user-data')).toContain('swordfish');
    // What it says of the interface is so.
    const mac = (await inside(web.id, 'cat /sys/class/net/eth0/address')).output.trim();
    expect(await text('/latest/meta-data/mac')).toBe(mac);
    expect(await text(`/latest/meta-data/network/interfaces/macs/${mac}/local-ipv4s`)).toBe(web.address);

    expect(await idSeenBy(near)).toBe(near.id);
    expect(await idSeenBy(far)).toBe(far.id);
    expect((await ask(near, '/latest/user-data', withToken(token))).status, "another's token").toBe(401);
    expect((await ask(far, '/latest/user-data', withToken(token))).status).toBe(401);
  });

  test('the gateway of another VPC does not answer', async () => {
    const { gateway } = await cloud.client.vpc.get('red');
    const port = await portOf(gateway);
    expect((await ask(far, '/latest/meta-data/', { at: gateway, port })).status).toBe(0);
    expect((await ask(near, '/latest/meta-data/', { at: gateway, port })).status, 'its own does').toBe(401);
    // Who is no instance of the VPC, such as the host itself, is told nothing.
    expect((await fetch(`http://${gateway}:${port}/latest/user-data`, { headers: { 'User-Agent': 'Cloud-Init/1' } })).status).toBe(404);
  });

  test.skipIf(process.getuid?.() !== 0)('a forged source gets nothing', async () => {
    const { Pid } = (await docker.getContainer(near.id).inspect()).State;
    const nsenter = (...words: string[]) => execute('nsenter', ['--target', String(Pid), '--net', ...words]);
    const script = (localAddress: string) =>
      `const r = require('node:http').get({ host: '169.254.169.254', path: '/user-data', localAddress: '${localAddress}', headers: { 'User-Agent': 'Cloud-Init/1' }, timeout: 1500 }, (a) => { console.log(a.statusCode); process.exit(); });
       r.on('timeout', () => process.exit(0)).on('error', () => process.exit(0));`;
    const seenAs = async (address: string) => (await nsenter(process.execPath, '-e', script(address))).stdout.trim();
    expect(await seenAs(near.address)).toBe('200');
    await nsenter('ip', 'address', 'add', `${web.address}/32`, 'dev', 'eth0');
    try {
      expect(await seenAs(web.address)).toBe('');
    } finally {
      await nsenter('ip', 'address', 'delete', `${web.address}/32`, 'dev', 'eth0');
    }
    expect(await idSeenBy(web), 'the true one is served all the same').toBe(web.id);
  });

  test.skipIf(process.getuid?.() !== 0)('an answer goes no further than to the instance: nothing for what it forwards for', async () => {
    const { Pid } = (await docker.getContainer(near.id).inspect()).State;
    const request = (name: string) =>
      `require('node:http').get({ host: '169.254.169.254', timeout: 2000 }, (a) => { console.log('${name}', a.statusCode); process.exit(); }).on('timeout', () => process.exit()).on('error', () => process.exit());`;
    // A network behind the instance, whose packets it sends on under its own address, as a container host does.
    const { stdout } = await execute('unshare', [
      '--net',
      'sh',
      '-euc',
      `host() { nsenter --target ${Pid} --net "$@"; }
       host ip link add behind0 type veth peer name behind1
       host ip link set behind1 netns $$
       trap 'host ip link delete behind0; host nft delete table ip behind' EXIT
       host ip address add 192.168.77.1/24 dev behind0
       host ip link set behind0 up
       host sysctl --quiet --write net.ipv4.ip_forward=1
       printf 'table ip behind {\\n chain out {\\n type nat hook postrouting priority 100\\n oifname eth0 masquerade\\n }\\n}\\n' | host nft --file -
       ip address add 192.168.77.2/24 dev behind1
       ip link set behind1 up
       ip route add default via 192.168.77.1
       host "$0" -e "$1"
       "$0" -e "$2"`,
      process.execPath,
      request('instance'),
      request('behind'),
    ]);
    expect(stdout.trim()).toBe('instance 401');
  });

  test('it is there again after the daemon was killed, and tokens are good still', async () => {
    const token = await tokenOf(web);
    await cloud.kill();
    expect((await ask(web, '/latest/meta-data/')).status).toBe(0);
    await cloud.start();
    await until('it answers again', async () => (await ask(web, '/latest/meta-data/instance-id', withToken(token))).body === web.id);
    expect(await idSeenBy(far)).toBe(far.id);
  });

  test('no user data in the log of the daemon', async () => {
    expect(readFileSync(`${cloud.dataDir}/daemon.log`, 'utf8')).not.toContain('swordfish');
  });

  describe.skipIf(!hasCloudInit)(`Debian’s cloud-init${hasCloudInit ? '' : ` (skipped: no image ${CLOUD_INIT})`}`, () => {
    const sources: Record<string, string> = {
      Ec2: 'datasource_list: [Ec2]\ndatasource: { Ec2: { max_wait: 20, timeout: 5 } }\n',
      NoCloud: 'datasource_list: [NoCloud]\ndatasource: { NoCloud: { seedfrom: "http://169.254.169.254/nocloud/" } }\n',
    };
    test.each(Object.entries(sources))('finds name, keys and user data by %s', { timeout: 180_000 }, async (source, config) => {
      const made = await cloud.client.instance.create(
        { name: `ci-${source.toLowerCase()}`, image: CLOUD_INIT, type: 'small', vpc: 'red', sshKeys: ['laptop'], userData: USER_DATA, stopTimeout: 0 },
        { wait: true },
      );
      await cloud.client.instance.wait(made.id, { for: 'cloud-init', timeout: 60 });
      // The driver has carried out keys and user data; what is there afterwards is what cloud-init found by itself.
      const { output } = await inside(
        made.id,
        `rm -rf /root/secret /root/ran /root/.ssh
         printf '%s' '${config}' > /etc/cloud/cloud.cfg.d/99_test.cfg
         cloud-init init --local; cloud-init init; cloud-init modules --mode config; cloud-init modules --mode final`,
      );
      const said = output.slice(-3000);
      const seen = async (command: string) => (await inside(made.id, command)).output.trim();
      expect(await seen('cloud-init query instance_id'), said).toBe(made.id);
      expect(await seen('cloud-init query local_hostname')).toBe('front');
      expect(await seen('cat /run/cloud-init/cloud-id'), said).not.toBe('');
      expect(await seen('cat /var/lib/cloud/instance/user-data.txt')).toBe(USER_DATA.trim());
      expect(await seen('cat /root/secret')).toBe('swordfish');
      expect(await seen('cat /root/ran'), said).toBe('ran');
      expect(await seen('cat /home/debian/.ssh/authorized_keys')).toContain(KEY);
    });
  });
});

/** Where the metadata service listens: the port that the rules lead to. */
async function portOf(gateway: string): Promise<number> {
  const { stdout } = await execute('ss', ['--listening', '--tcp', '--numeric', '--no-header', 'src', gateway]);
  const port = /:(61\d{3})\s/.exec(stdout)?.[1];
  if (port === undefined) throw new Error(`nobody listens at ${gateway}: ${stdout}`);
  return Number(port);
}
