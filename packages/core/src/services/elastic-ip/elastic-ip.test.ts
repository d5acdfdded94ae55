// Elastic IPs: an address is one tenant's, leads to one instance, and is not given twice.
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const instance = (b: Bench, name: string) => b.ready(b.cloud.instance.create({ name, image: 'busybox' }));
const kept = (b: Bench) =>
  b.db
    .selectFrom('elastic_ip' as never)
    .selectAll()
    .execute() as Promise<{ address: string; instance_id: string | null; nat_gateway_id: string | null }[]>;

test('allocated, associated, moved in one step, disassociated, released', async () => {
  await using b = await bench();
  const [web, db] = [await instance(b, 'web'), await instance(b, 'db')];
  const front = await b.ready(b.cloud.elasticIp.allocate({ name: 'front' }));
  expect(front).toMatchObject({ state: 'ready', address: '100.64.0.1' });
  expect(front.id).toMatch(/^eip-/);
  expect(front).not.toHaveProperty('instance');
  expect(await b.ready(b.cloud.elasticIp.associate('front', { instance: 'web' }))).toMatchObject({
    instance: 'web',
    instanceId: web.id,
    privateAddress: web.address,
    address: '100.64.0.1',
  });
  const before = await b.cloud.instance.get('web');
  expect(await b.ready(b.cloud.elasticIp.associate('front', { instance: 'db' }))).toMatchObject({ instance: 'db', privateAddress: db.address });
  expect(await b.cloud.instance.get('web')).toEqual(before);
  expect(await kept(b)).toMatchObject([{ address: '100.64.0.1', instance_id: db.id }]);
  expect(await faultOf(b.cloud.elasticIp.release('front'))).toMatchObject({
    code: 'conflict',
    message: 'The elastic IP front is associated with the instance db',
    hint: 'cloud elastic-ip disassociate front',
  });
  const free = await b.ready(b.cloud.elasticIp.disassociate('front'));
  expect(free).not.toHaveProperty('instance');
  expect(free).not.toHaveProperty('instanceId');
  expect(free).not.toHaveProperty('privateAddress');
  expect((await faultOf(b.cloud.elasticIp.disassociate('front'))).message).toBe('front is not associated with an instance');
  expect(await b.ended(b.cloud.elasticIp.release('front'))).toMatchObject({ state: 'succeeded' });
  expect(await kept(b)).toEqual([]);
  // It rests.
  expect((await b.cloud.elasticIp.allocate({ name: 'front' })).address).toBe('100.64.0.2');
});

test('an instance has one; the other is named', async () => {
  await using b = await bench();
  const web = await instance(b, 'web');
  await b.ready(b.cloud.elasticIp.allocate({ name: 'one', instance: 'web' }));
  expect(await b.cloud.elasticIp.get('one')).toMatchObject({ instance: 'web', privateAddress: web.address });
  await b.cloud.elasticIp.allocate({ name: 'two' });
  const refused = {
    code: 'conflict',
    message: 'web has an elastic IP: one (100.64.0.1); an instance has one',
    hint: 'cloud elastic-ip disassociate one',
    details: [{ path: 'instance' }],
  };
  expect(await faultOf(b.cloud.elasticIp.associate('two', { instance: 'web' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.elasticIp.allocate({ name: 'three', instance: 'web' }))).toMatchObject(refused);
  expect((await b.cloud.elasticIp.list()).items).toHaveLength(2);
});

test('an instance that goes leaves its address behind', async () => {
  await using b = await bench();
  await instance(b, 'web');
  await b.ready(b.cloud.elasticIp.allocate({ name: 'front', instance: 'web' }));
  await b.ended(b.cloud.instance.delete('web'));
  const front = await b.cloud.elasticIp.get('front');
  expect(front).toMatchObject({ address: '100.64.0.1', state: 'ready' });
  expect(front).not.toHaveProperty('instance');
  expect(await kept(b)).toMatchObject([{ instance_id: null }]);
});

test('many at once: no address twice, one for an instance, one instance for an address', async () => {
  await using b = await bench();
  await b.tenant('other');
  const made = await Promise.all(Array.from({ length: 60 }, (_, n) => b.cloud.elasticIp.allocate({ name: `e-${n}` }, n % 2 === 0 ? {} : { tenant: 'other' })));
  expect(new Set(made.map(({ address }) => address)).size).toBe(60);
  const names = Array.from({ length: 4 }, (_, n) => `i-${n}`);
  await Promise.all(names.map((name) => instance(b, name)));
  await Promise.allSettled(
    Array.from({ length: 24 }, (_, n) => b.cloud.elasticIp.associate(`e-${(n % 6) * 2}`, { instance: names[n % names.length] as string })),
  );
  const used = (await kept(b)).flatMap(({ instance_id }) => instance_id ?? []);
  expect(used.length).toBeGreaterThan(0);
  expect(new Set(used).size).toBe(used.length);
  const shown = (await b.cloud.elasticIp.list()).items.flatMap(({ instanceId }) => instanceId ?? []);
  expect(shown.sort()).toEqual(used.sort());
});

test('what the host uses is left out, and when that is all it is said', async () => {
  const drivers = memoryDrivers();
  drivers.drivers.network.reserved = async () => ['100.64.0.0/24', '192.168.0.0/16', '100.64.1.1/32'];
  await using b = await bench({ drivers });
  expect((await b.cloud.elasticIp.allocate({ name: 'one' })).address).toBe('100.64.1.2');
  drivers.drivers.network.reserved = async () => ['100.0.0.0/8'];
  expect(await faultOf(b.cloud.elasticIp.allocate({ name: 'two' }))).toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('No elastic IP is free'),
  });
  drivers.drivers.network.reserved = async () => ['100.64.0.0/11', '100.96.0.0/12', '100.112.0.0/13', '100.120.0.0/14', '100.124.0.0/15', '100.126.0.0/16'];
  expect((await b.cloud.elasticIp.allocate({ name: 'two' })).address).toBe('100.127.0.1');
});

test('that of a NAT gateway leads to no instance, and stays while the gateway does', async () => {
  await using b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16' }));
  await b.ready(b.cloud.internetGateway.create({ name: 'out', vpc: 'prod' }));
  await b.ready(b.cloud.routeTable.create({ name: 'public', vpc: 'prod', routes: [{ destination: '0.0.0.0/0', internetGateway: 'out' }] }));
  await b.ready(b.cloud.subnet.create({ name: 'front', vpc: 'prod', cidr: '10.20.1.0/24', routeTable: 'public' }));
  await b.ready(b.cloud.elasticIp.allocate({ name: 'outward' }));
  const nat = await b.ready(b.cloud.natGateway.create({ name: 'nat', subnet: 'front', elasticIp: 'outward' }));
  expect(nat).toMatchObject({ state: 'ready', elasticIp: 'outward', address: '100.64.0.1' });
  expect(await kept(b)).toMatchObject([{ nat_gateway_id: nat.id, instance_id: null }]);
  expect(await b.cloud.elasticIp.get('outward')).toMatchObject({ natGateway: 'nat', natGatewayId: nat.id });
  await instance(b, 'web');
  expect((await faultOf(b.cloud.elasticIp.associate('outward', { instance: 'web' }))).message).toBe('outward is the source address of the NAT gateway nat');
  expect((await faultOf(b.cloud.natGateway.create({ name: 'two', subnet: 'front', elasticIp: 'outward' }))).message).toBe(
    'The elastic IP outward is in use by the NAT gateway nat',
  );
  expect((await faultOf(b.cloud.elasticIp.release('outward'))).message).toBe('The elastic IP outward is in use by NAT gateway nat');
  await b.ready(b.cloud.elasticIp.allocate({ name: 'front', instance: 'web' }));
  expect((await faultOf(b.cloud.natGateway.create({ name: 'two', subnet: 'front', elasticIp: 'front' }))).message).toBe(
    'The elastic IP front is in use by the instance web',
  );
  await b.ended(b.cloud.natGateway.delete('nat'));
  expect(await b.cloud.elasticIp.get('outward')).not.toHaveProperty('natGateway');
  await b.ended(b.cloud.elasticIp.release('outward'));
});

test('quota, and another tenant’s', async () => {
  await using b = await bench();
  await b.tenant('other');
  const theirs = await b.cloud.elasticIp.allocate({ name: 'theirs' }, { tenant: 'other' });
  await instance(b, 'web');
  for (const name of ['theirs', theirs.id]) expect((await faultOf(b.cloud.elasticIp.associate(name, { instance: 'web' }))).code).toBe('not_found');
  await b.cloud.quota.set({ name: 'elasticIps', limit: 1 });
  await b.cloud.elasticIp.allocate({ name: 'one' });
  expect((await faultOf(b.cloud.elasticIp.allocate({ name: 'two' }))).code).toBe('quota_exceeded');
  expect(await kept(b)).toHaveLength(2);
});
