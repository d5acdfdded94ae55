// Peerings: asked for, accepted by the other side, ended by either, and never two of one pair.
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const vpc = (b: Bench, name: string, cidr: string, more: object = {}) => b.cloud.vpc.create({ name, cidr }, more);
const links = (b: Bench) =>
  b.db
    .selectFrom('vpc_peering' as never)
    .select(['vpc_a', 'vpc_b', 'state'] as never)
    .execute();

async function two(b: Bench): Promise<{ prod: string; test: string }> {
  const prod = await b.ready(vpc(b, 'prod', '10.20.0.0/16'));
  const other = await b.ready(vpc(b, 'test', '10.30.0.0/16'));
  return { prod: prod.id, test: other.id };
}

/** Another tenant with a VPC, and a way to look at its side. */
async function neighbour(b: Bench) {
  await b.tenant('acme');
  const there = { tenant: 'acme' };
  const theirs = await vpc(b, 'theirs', '10.40.0.0/16', there);
  const state = async (name: string) => (await b.cloud.peering.get(name, {}, there)).state;
  return { there, theirs, state };
}

test('between two VPCs of one tenant: asked for, accepted, ended', async () => {
  await using b = await bench();
  const ids = await two(b);
  const asked = await b.ready(b.cloud.peering.create({ name: 'link', vpc: 'prod', peerVpc: 'test' }));
  expect(asked).toMatchObject({
    state: 'pending-acceptance',
    role: 'requester',
    vpc: 'prod',
    vpcId: ids.prod,
    peerVpc: 'test',
    peerVpcId: ids.test,
    cidr: '10.20.0.0/16',
    peerCidr: '10.30.0.0/16',
  });
  expect(asked.id).toMatch(/^pcx-/);
  expect(await links(b)).toEqual([{ vpc_a: ids.prod, vpc_b: ids.test, state: 'pending-acceptance' }]);
  expect((await b.ready(b.cloud.peering.accept('link'))).state).toBe('active');
  expect(await links(b)).toMatchObject([{ state: 'active' }]);
  expect((await b.ready(b.cloud.peering.accept('link'))).state).toBe('active');
  expect((await faultOf(b.cloud.peering.reject('link'))).message).toBe('link is active already; to end it, delete it');
  for (const name of ['prod', 'test']) {
    expect(await faultOf(b.cloud.vpc.delete(name))).toMatchObject({
      code: 'conflict',
      message: `The VPC ${name} is in use by peering link`,
      hint: 'cloud peering delete link',
    });
  }
  await b.ended(b.cloud.peering.delete('link'));
  expect(await links(b)).toEqual([]);
  for (const name of ['prod', 'test']) await b.ended(b.cloud.vpc.delete(name));
});

test('of one tenant it can be accepted at once', async () => {
  await using b = await bench();
  await two(b);
  expect(await b.ready(b.cloud.peering.create({ name: 'link', vpc: 'prod', peerVpc: 'test', accept: true }))).toMatchObject({ state: 'active' });
});

test('rejected it keeps no VPC and no pair', async () => {
  await using b = await bench();
  await two(b);
  await b.ready(b.cloud.peering.create({ name: 'link', vpc: 'prod', peerVpc: 'test' }));
  expect(await b.ready(b.cloud.peering.reject('link'))).toMatchObject({ state: 'rejected' });
  expect(await faultOf(b.cloud.peering.accept('link'))).toMatchObject({ code: 'conflict', message: 'link was rejected; ask for another' });
  await b.ready(b.cloud.peering.create({ name: 'again', vpc: 'test', peerVpc: 'prod', accept: true }));
  await b.ended(b.cloud.peering.delete('again'));
  await b.ended(b.cloud.vpc.delete('test'));
  expect((await b.cloud.peering.get('link')).state).toBe('rejected');
  await b.ended(b.cloud.peering.delete('link'));
});

test('one for each pair, in either direction, also at once', async () => {
  await using b = await bench();
  await two(b);
  const answers = await Promise.allSettled(
    Array.from({ length: 8 }, (_, n) =>
      b.cloud.peering.create({ name: `p-${n}`, ...(n % 2 === 0 ? { vpc: 'prod', peerVpc: 'test' } : { vpc: 'test', peerVpc: 'prod' }) }),
    ),
  );
  const made = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.name] : []));
  expect(made).toHaveLength(1);
  expect(await faultOf(b.cloud.peering.create({ name: 'n', vpc: 'prod', peerVpc: 'test' }))).toMatchObject({
    code: 'conflict',
    message: `prod and test have a peering: ${made[0]}, which is pending-acceptance`,
    details: [{ path: 'peerVpc' }],
  });
});

test('a VPC that cannot be joined is refused with the reason', async () => {
  await using b = await bench();
  const ids = await two(b);
  const told = async (peerVpc: string, code: string) => {
    const fault = await faultOf(b.cloud.peering.create({ name: 'n', vpc: 'prod', peerVpc }));
    expect(fault).toMatchObject({ code, details: [{ path: 'peerVpc' }] });
    return fault.message;
  };
  expect(await told('prod', 'invalid_input')).toBe('peerVpc: prod is the VPC itself; name another');
  expect(await told('tset', 'not_found')).toContain('There is no VPC "tset"; did you mean test?');
  expect(await told('vpc-0000000000000000', 'not_found')).toContain('of another tenant give the whole id');
  // Networks of one host never overlap; of VPCs that came from elsewhere they may.
  await b.db
    .updateTable('r_vpc')
    .set({ spec: JSON.stringify({ cidr: '10.20.128.0/20', internet: true }) })
    .where('id', '=', ids.test)
    .execute();
  expect(await told('test', 'conflict')).toBe(
    'The networks of prod (10.20.0.0/16) and test (10.20.128.0/20) overlap, so that an address would not say which is meant',
  );
});

test('between tenants the other side sees it, and it alone accepts', async () => {
  await using b = await bench();
  const ids = await two(b);
  const { there, theirs, state } = await neighbour(b);
  // By name another tenant's VPC is not there, nor by the beginning of its id.
  for (const peerVpc of ['theirs', theirs.id.slice(0, -1)])
    expect((await faultOf(b.cloud.peering.create({ name: 'n', vpc: 'prod', peerVpc }))).code).toBe('not_found');
  expect(await faultOf(b.cloud.peering.create({ name: 'n', vpc: 'prod', peerVpc: theirs.id, accept: true }))).toMatchObject({
    code: 'invalid_input',
    details: [{ path: 'accept' }],
  });
  const asked = await b.ready(b.cloud.peering.create({ name: 'partner', vpc: 'prod', peerVpc: theirs.id }));
  expect(asked).toMatchObject({ role: 'requester', peerVpc: theirs.id, peerCidr: '10.40.0.0/16' });
  expect(asked).not.toHaveProperty('peerTenant');
  const [seen] = (await b.cloud.peering.list({}, there)).items;
  expect(seen).toMatchObject({
    name: 'partner',
    state: 'pending-acceptance',
    role: 'accepter',
    vpc: 'theirs',
    vpcId: theirs.id,
    peerVpc: ids.prod,
    peerCidr: '10.20.0.0/16',
    peerTenant: 'default',
  });
  expect(seen?.id).not.toBe(asked.id);
  expect(await faultOf(b.cloud.peering.accept('partner'))).toMatchObject({
    code: 'conflict',
    message: `Only the tenant of ${theirs.id}, which was asked, can accept partner`,
  });
  expect((await faultOf(b.cloud.peering.reject('partner'))).code).toBe('conflict');
  // Each has its own row only.
  expect((await faultOf(b.cloud.peering.accept(asked.id, {}, there))).code).toBe('not_found');
  expect((await faultOf(b.cloud.peering.delete(seen?.id ?? ''))).code).toBe('not_found');
  for (const [name, options] of [
    ['prod', {}],
    ['theirs', there],
  ] as const)
    expect((await faultOf(b.cloud.vpc.delete(name, {}, options))).message).toBe(`The VPC ${name} is in use by peering partner`);

  await b.cloud.peering.accept('partner', {}, there);
  await b.until(async () => (await state('partner')) === 'active' && (await b.cloud.peering.get('partner')).state === 'active');
  expect(await b.cloud.peering.get('partner')).toMatchObject({ peerTenant: 'acme' });
  expect(await links(b)).toEqual([{ vpc_a: ids.prod, vpc_b: theirs.id, state: 'active' }]);

  await b.cloud.peering.delete('partner', {}, there);
  expect(await links(b)).toEqual([]);
  await b.until(async () => (await b.cloud.peering.list()).items.length === 0 && (await b.cloud.peering.list({}, there)).items.length === 0);
  await b.ended(b.cloud.vpc.delete('prod'));
});

test('what others ask for takes a free name, and costs nothing until it is accepted', async () => {
  await using b = await bench();
  await two(b);
  const { there, theirs } = await neighbour(b);
  await vpc(b, 'second', '10.50.0.0/16', there);
  await b.cloud.peering.create({ name: 'partner', vpc: 'theirs', peerVpc: 'second' }, there);
  await b.cloud.quota.set({ name: 'peerings', limit: 1 }, there);
  await b.ready(b.cloud.peering.create({ name: 'partner', vpc: 'prod', peerVpc: theirs.id }));
  const items = (await b.cloud.peering.list({}, there)).items;
  expect(items).toHaveLength(2);
  const asked = items.find(({ role }) => role === 'accepter');
  expect(asked?.name).toMatch(/^partner-[0-9a-z]{16}$/);
  expect((await faultOf(b.cloud.peering.accept(asked?.id ?? '', {}, there))).code).toBe('quota_exceeded');
  expect((await b.cloud.peering.get('partner')).state).toBe('pending-acceptance');
  await b.cloud.peering.delete('partner', {}, there);
  await b.until(async () => (await b.cloud.peering.list({}, there)).items.length === 1);
  await b.cloud.peering.accept(asked?.id ?? '', {}, there);
  await b.until(async () => (await b.cloud.peering.get('partner')).state === 'active');
});

test('rejected by the other side it keeps neither VPC', async () => {
  await using b = await bench();
  await two(b);
  const { there, theirs, state } = await neighbour(b);
  await b.cloud.peering.create({ name: 'partner', vpc: 'prod', peerVpc: theirs.id });
  await b.cloud.peering.reject('partner', {}, there);
  await b.until(async () => (await state('partner')) === 'rejected' && (await b.cloud.peering.get('partner')).state === 'rejected');
  await b.ended(b.cloud.vpc.delete('prod'));
  await b.cloud.vpc.delete('theirs', {}, there);
});

test('a tenant that goes ends its peerings, for the others too', async () => {
  await using b = await bench();
  await two(b);
  const { there, theirs } = await neighbour(b);
  await b.cloud.peering.create({ name: 'partner', vpc: 'prod', peerVpc: theirs.id });
  await b.cloud.peering.accept('partner', {}, there);
  await b.cloud.securityGroup.create({ name: 'a', vpc: 'theirs' }, there);
  await b.cloud.securityGroup.create({ name: 'b', vpc: 'theirs', rules: [{ group: 'a' }] }, there);
  await b.cloud.securityGroup.ruleAdd('a', { group: 'b' }, there);
  await b.cloud.internetGateway.create({ name: 'out', vpc: 'theirs' }, there);
  await b.cloud.routeTable.create({ name: 'public', vpc: 'theirs', routes: [{ destination: '0.0.0.0/0', internetGateway: 'out' }] }, there);
  await b.cloud.subnet.create({ name: 'front', vpc: 'theirs', cidr: '10.40.1.0/24', routeTable: 'public' }, there);
  await b.cloud.elasticIp.allocate({ name: 'outward' }, there);
  await b.cloud.natGateway.create({ name: 'nat', subnet: 'front', elasticIp: 'outward' }, there);
  await b.cloud.instance.create({ name: 'web', image: 'busybox', subnet: 'front', securityGroups: ['a'] }, there);
  await b.cloud.elasticIp.allocate({ name: 'address', instance: 'web' }, there);
  expect(await b.ended(b.cloud.tenant.delete('acme', { cascade: true }))).toMatchObject({ state: 'succeeded' });
  expect((await b.cloud.peering.list()).items).toEqual([]);
  expect(await links(b)).toEqual([]);
  for (const table of ['elastic_ip', 'vpc_address'])
    expect(
      await b.db
        .selectFrom(table as never)
        .selectAll()
        .execute(),
    ).toEqual([]);
  await b.ended(b.cloud.vpc.delete('prod'));
});

test('a rule may name a group of a VPC that is joined', async () => {
  await using b = await bench();
  await two(b);
  await b.ready(b.cloud.peering.create({ name: 'link', vpc: 'prod', peerVpc: 'test' }));
  await b.cloud.securityGroup.create({ name: 'web', vpc: 'prod' });
  await b.cloud.securityGroup.create({ name: 'far', vpc: 'test' });
  expect(await faultOf(b.cloud.securityGroup.ruleAdd('web', { group: 'far' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'group' }] });
  await b.ready(b.cloud.peering.accept('link'));
  expect((await b.ready(b.cloud.securityGroup.ruleAdd('web', { group: 'far' }))).rules).toHaveLength(2);
});
