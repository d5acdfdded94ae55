// What an instance reads at 169.254.169.254, and who does not: asked over HTTP, as the address of an instance of a VPC.
import { expect, test } from 'vitest';
import { ManualClock } from '../../../kernel/clock.ts';
import { metadataBench } from './testbench.ts';

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8q0u8FzSGDLg8mXAnA8mVq1T9bD3Vbl0Fvq4vJ2m0Q me@example';
const TOKEN = 'X-aws-ec2-metadata-token';
const TTL = 'X-aws-ec2-metadata-token-ttl-seconds';
const USER_DATA = '#cloud-config\nhostname: front\nruncmd:\n  - echo äöü\n';

async function open(more: object = {}) {
  const clock = new ManualClock(1_700_000_000_000);
  const m = await metadataBench({ clock });
  const { cloud } = m.b;
  await m.b.ready(cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16' }));
  await cloud.sshKey.create({ name: 'laptop', publicKey: KEY });
  const web = await m.b.ready(
    cloud.instance.create({
      name: 'web',
      image: 'busybox',
      vpc: 'prod',
      sshKeys: ['laptop'],
      userData: USER_DATA,
      labels: { 'app.io/tier': 'front', env: 'dev' },
      metadata: { 'cost center': '7' },
      ...more,
    }),
  );
  m.asks(web.vpcId as string, web.address as string);
  return { m, clock, web, cloud };
}

test('the tree is as EC2 has it, and every name of every listing leads somewhere', async () => {
  const { m, web } = await open();
  await using _ = m;
  const headers = { [TOKEN]: await m.token() };
  const text = async (path: string) => {
    const { status, body } = await m.get(path, headers);
    expect(status, path).toBe(200);
    return body;
  };
  expect((await text('/')).split('\n')).toEqual(expect.arrayContaining(['1.0', '2009-04-04', '2021-03-23', 'latest']));
  expect(await text('/latest')).toBe('dynamic/\nmeta-data/\nuser-data');
  expect(await text('/latest/')).toBe('dynamic/\nmeta-data/\nuser-data');
  const mac = web.address?.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  const hardware = `02:42:${mac?.join(':')}`;

  /** All leaves below a listing, by path. */
  const crawl = async (path: string): Promise<Record<string, string>> => {
    const leaves: Record<string, string> = {};
    for (const name of (await text(path)).split('\n')) {
      const [, index] = /^(\d+)=/.exec(name) ?? [];
      if (index !== undefined) Object.assign(leaves, await crawl(`${path}${index}/`));
      else if (name.endsWith('/')) Object.assign(leaves, await crawl(path + name));
      else leaves[path + name] = await text(path + name);
    }
    return leaves;
  };
  const leaves = await crawl('/latest/meta-data/');
  const interfacePath = `/latest/meta-data/network/interfaces/macs/${hardware}`;
  expect(leaves).toMatchObject({
    '/latest/meta-data/ami-id': 'busybox',
    '/latest/meta-data/instance-id': web.id,
    '/latest/meta-data/instance-type': 'small',
    '/latest/meta-data/hostname': 'front',
    '/latest/meta-data/local-hostname': 'front',
    '/latest/meta-data/local-ipv4': web.address,
    '/latest/meta-data/mac': hardware,
    [`${interfacePath}/local-ipv4s`]: web.address,
    [`${interfacePath}/device-number`]: '0',
    [`${interfacePath}/subnet-ipv4-cidr-block`]: '10.20.0.0/16',
    [`${interfacePath}/vpc-ipv4-cidr-block`]: '10.20.0.0/16',
    [`${interfacePath}/vpc-id`]: web.vpcId,
    '/latest/meta-data/placement/region': 'us-east-1',
    '/latest/meta-data/placement/availability-zone': 'us-east-1a',
    '/latest/meta-data/public-keys/0/openssh-key': KEY,
    '/latest/meta-data/security-groups': 'default',
    '/latest/meta-data/tags/instance/env': 'dev',
    '/latest/meta-data/tags/instance/app.io%2Ftier': 'front',
    '/latest/meta-data/tags/metadata/cost%20center': '7',
  });
  expect(leaves['/latest/meta-data/public-ipv4']).toBeUndefined();
  expect(await text('/latest/meta-data/public-keys')).toBe('0=laptop');
  expect(await text('/latest/meta-data/public-keys/')).toBe('0=laptop');
  expect(await text('/latest/meta-data/public-keys/0')).toBe('openssh-key');
  // As clients encode what they read in a listing once more.
  expect(await text('/latest/meta-data/tags/instance/app.io%252Ftier')).toBe('front');
  expect(await text('/2009-04-04/meta-data/instance-id')).toBe(web.id);
  expect(await text('/1.0/user-data')).toBe(USER_DATA);
  expect(JSON.parse(await text('/latest/dynamic/instance-identity/document'))).toMatchObject({
    instanceId: web.id,
    privateIp: web.address,
    region: 'us-east-1',
    availabilityZone: 'us-east-1a',
    accountId: 'tnt-0000000000000000',
    imageId: 'busybox',
    instanceType: 'small',
  });
  for (const path of ['/latest/meta-data/instance-id/', '/latest/meta-data/no', '/1999-01-01/meta-data/', '/latest/meta-data/constructor', '/latest/../latest'])
    expect((await m.get(path, headers)).status, path).toBe(404);
  expect((await m.get('/latest/meta-data/%ff', headers)).status).toBe(400);
  const head = await m.get('/latest/user-data', headers, 'HEAD');
  expect(head).toMatchObject({ status: 200, body: '', headers: { 'content-length': String(Buffer.byteLength(USER_DATA)) } });
});

test('a token is needed, is of one instance, and ends', async () => {
  const { m, clock, web, cloud } = await open();
  await using _ = m;
  const id = '/latest/meta-data/instance-id';
  expect(await m.get(id)).toMatchObject({ status: 401 });
  expect((await m.get('/latest/user-data')).body).not.toContain('runcmd');
  const token = await m.token(60);
  expect(await m.get(id, { [TOKEN]: token })).toMatchObject({ status: 200, body: web.id, headers: { [TTL.toLowerCase()]: '60' } });

  // What is wrong with a token: nothing, one bit of it, its end, its instance.
  for (const wrong of ['', 'x', `${token}A`, token.slice(0, -2), `${token.startsWith('A') ? 'B' : 'A'}${token.slice(1)}`])
    expect((await m.get(id, { [TOKEN]: wrong })).status, wrong).toBe(401);
  const other = await m.b.ready(cloud.instance.create({ name: 'other', image: 'busybox', vpc: 'prod' }));
  m.asks(other.vpcId as string, other.address as string);
  expect((await m.get(id, { [TOKEN]: token })).status).toBe(401);
  m.asks(web.vpcId as string, web.address as string);
  await clock.advance(59_000);
  expect((await m.get(id, { [TOKEN]: token })).status).toBe(200);
  await clock.advance(1_000);
  expect((await m.get(id, { [TOKEN]: token })).status).toBe(401);

  for (const ttl of ['', '0', '-1', '21601', '1.5', '1e3', ' ', 'x']) expect((await m.get('/latest/api/token', { [TTL]: ttl }, 'PUT')).status, ttl).toBe(400);
  expect((await m.get('/latest/api/token', {}, 'PUT')).status).toBe(400);
  expect((await m.get('/latest/api/token', { [TTL]: '21600' }, 'PUT')).status).toBe(200);
  expect((await m.get('/latest/api/token', { [TTL]: '60', 'X-Forwarded-For': '10.0.0.9' }, 'PUT')).status).toBe(403);
  expect((await m.get('/2021-03-23/api/token', { [TTL]: '60' }, 'PUT')).status).toBe(403);
  expect((await m.get('/latest/api/token', { [TTL]: '60' })).status).toBe(405);
  expect((await m.get('/latest/user-data', { [TTL]: '60' }, 'PUT')).status).toBe(405);
  expect((await m.get('/latest/user-data', {}, 'POST')).status).toBe(405);
});

test('who needs a token is said by the instance, and changes without a restart', async () => {
  const { m, web, cloud } = await open();
  await using _ = m;
  const paths = ['/latest/user-data', '/nocloud/user-data', '/user-data'];
  const table: Record<string, { plain: number; cloudInit: number }> = {
    required: { plain: 401, cloudInit: 401 },
    'except-cloud-init': { plain: 401, cloudInit: 200 },
    optional: { plain: 200, cloudInit: 200 },
  };
  expect(web.metadataTokens).toBe('except-cloud-init');
  const generation = web.startedAt;
  for (const [rule, expected] of Object.entries(table)) {
    await m.b.ready(cloud.instance.update('web', { metadataTokens: rule as 'required' }));
    for (const path of paths) {
      expect((await m.get(path)).status, `${rule} ${path}`).toBe(expected.plain);
      expect((await m.get(path, { 'User-Agent': 'Cloud-Init/25.1.4' })).status, `${rule} ${path}`).toBe(expected.cloudInit);
      expect((await m.get(path, { 'User-Agent': 'Cloud-Init/25.1.4', 'X-Forwarded-For': '1.2.3.4' })).status).toBe(403);
      // One that is wrong is wrong even where none is needed.
      expect((await m.get(path, { [TOKEN]: 'x'.repeat(51) })).status).toBe(401);
    }
  }
  expect((await cloud.instance.get('web')).startedAt).toBe(generation);
});

test('nobody gets anything by an address that is no instance of the VPC', async () => {
  const { m, web, cloud } = await open();
  await using _ = m;
  await m.b.ready(cloud.vpc.create({ name: 'dev', cidr: '10.30.0.0/16' }));
  const there = await m.b.ready(cloud.instance.create({ name: 'there', image: 'busybox', vpc: 'dev', userData: '#!/bin/sh\necho dev\n' }));
  for (const [vpcId, address] of [
    [web.vpcId, '10.20.9.9'],
    [web.vpcId, '10.20.0.1'],
    [web.vpcId, there.address],
    [there.vpcId, web.address],
    ['', web.address],
    [web.vpcId, ''],
    [web.vpcId, '::1'],
  ] as [string, string][]) {
    m.asks(vpcId, address);
    for (const [path, method] of [
      ['/latest/user-data', 'GET'],
      ['/nocloud/user-data', 'GET'],
      ['/', 'GET'],
      ['/latest/api/token', 'PUT'],
    ] as const) {
      const { status, body } = await m.get(path, { 'User-Agent': 'Cloud-Init/1', [TTL]: '60' }, method);
      expect({ status, body }, `${address} ${path}`).toEqual({ status: 404, body: 'No instance has this address\n' });
    }
  }
  // The address of one that is gone, and then is another's.
  m.asks(there.vpcId as string, there.address as string);
  expect((await m.get('/user-data', { 'User-Agent': 'Cloud-Init/1' })).body).toContain('echo dev');
  await m.b.ended(cloud.instance.delete('there'));
  expect((await m.get('/user-data', { 'User-Agent': 'Cloud-Init/1' })).status).toBe(404);
});

test('the NoCloud seed is four files', async () => {
  const { m, web } = await open();
  await using _ = m;
  const headers = { 'User-Agent': 'Cloud-Init/25.1.4' };
  expect((await m.get('/nocloud/', headers)).body).toBe('meta-data\nuser-data\nvendor-data\nnetwork-config');
  for (const at of ['/nocloud/', '/']) {
    expect(await m.get(`${at}user-data`, headers)).toMatchObject({ status: 200, body: USER_DATA });
    expect(await m.get(`${at}vendor-data`, headers)).toMatchObject({ status: 200, body: '' });
    const meta = (await m.get(`${at}meta-data`, headers)).body;
    expect(meta).toContain(`instance-id: "${web.id}"\n`);
    expect(meta).toContain('local-hostname: "front"\n');
    expect(meta).toContain(KEY);
    const network = (await m.get(`${at}network-config`, headers)).body;
    expect(network).toContain(`${web.address}/16`);
    expect(network).toContain('via: "10.20.0.1"');
  }
});

test('without user data and keys there is none to be found', async () => {
  const { m } = await open({ userData: undefined, sshKeys: [], labels: {}, metadata: {}, metadataTokens: 'optional' });
  await using _ = m;
  expect((await m.get('/latest')).body).toBe('dynamic/\nmeta-data/');
  expect((await m.get('/latest/user-data')).status).toBe(404);
  expect((await m.get('/latest/meta-data/')).body).not.toMatch(/public-keys|tags/);
  expect(await m.get('/nocloud/user-data')).toMatchObject({ status: 200, body: '' });
  expect((await m.get('/nocloud/meta-data')).body).not.toContain('public-keys');
  expect((await m.get('/latest/meta-data/hostname')).body).toBe('web');
});

test('subnet, security groups and elastic IP are those of now', async () => {
  const { m, cloud } = await open({ metadataTokens: 'optional' });
  await using _ = m;
  const { b } = m;
  const front = await b.ready(cloud.subnet.create({ name: 'front', vpc: 'prod', cidr: '10.20.1.0/24' }));
  const groups = [];
  for (const name of ['http', 'ops']) groups.push(await b.ready(cloud.securityGroup.create({ name, vpc: 'prod' })));
  const made = await b.ready(
    cloud.instance.create({ name: 'placed', image: 'busybox', subnet: 'front', securityGroups: ['http'], metadataTokens: 'optional' }),
  );
  m.asks(made.vpcId as string, made.address as string);
  const text = async (path: string) => {
    const { status, body } = await m.get(`/latest/meta-data/${path}`);
    return status === 200 ? body : status;
  };
  const own = `network/interfaces/macs/${String(await text('mac'))}`;
  expect(await text(`${own}/subnet-id`)).toBe(front.id);
  expect(await text(`${own}/subnet-ipv4-cidr-block`)).toBe('10.20.1.0/24');
  expect(await text(`${own}/vpc-ipv4-cidr-block`)).toBe('10.20.0.0/16');
  expect(await text('security-groups')).toBe('http');
  await b.ready(cloud.securityGroup.attach('ops', { instance: 'placed' }));
  expect(await text('security-groups')).toBe('http\nops');
  expect(await text(`${own}/security-group-ids`)).toBe(groups.map(({ id }) => id).join('\n'));

  expect(await text('public-ipv4')).toBe(404);
  const { address } = await b.ready(cloud.elasticIp.allocate({ name: 'eip', instance: 'placed' }));
  expect(await text('public-ipv4')).toBe(address);
  expect(await text(`${own}/ipv4-associations/${address}`)).toBe(made.address);
  await b.ready(cloud.elasticIp.disassociate('eip'));
  expect(await text('public-ipv4')).toBe(404);

  await cloud.instance.update('placed', { labels: { stage: 'two' } });
  expect(await text('tags/instance/stage')).toBe('two');
});
