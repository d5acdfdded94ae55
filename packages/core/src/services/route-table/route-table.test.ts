// Where subnets lead: route tables, internet gateways and NAT gateways.
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

async function prod(b: Bench): Promise<void> {
  await b.ready(b.cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16' }));
  await b.ready(b.cloud.vpc.create({ name: 'test', cidr: '10.30.0.0/16' }));
}
const ANYWHERE = '0.0.0.0/0';

/** A subnet that an internet gateway leads out of. */
async function publicSubnet(b: Bench): Promise<void> {
  await b.ready(b.cloud.internetGateway.create({ name: 'out', vpc: 'prod' }));
  await b.ready(b.cloud.routeTable.create({ name: 'public', vpc: 'prod' }));
  await b.ready(b.cloud.routeTable.routeAdd('public', { destination: ANYWHERE, internetGateway: 'out' }));
  await b.ready(b.cloud.subnet.create({ name: 'front', vpc: 'prod', cidr: '10.20.1.0/24', routeTable: 'public' }));
}

test('routes come and go, and keep what they lead to', async () => {
  await using b = await bench();
  await prod(b);
  await publicSubnet(b);
  const [route] = (await b.cloud.routeTable.routeList('public')).items;
  expect(route).toEqual({ destination: ANYWHERE, internetGateway: 'out', internetGatewayId: expect.stringMatching(/^igw-/) });
  await b.ready(b.cloud.routeTable.routeAdd('public', { destination: '203.0.113.0/24', blackhole: true }));
  expect((await b.cloud.routeTable.get('public')).routes).toMatchObject([route, { destination: '203.0.113.0/24', blackhole: true }]);
  expect(await faultOf(b.cloud.internetGateway.delete('out'))).toMatchObject({
    code: 'conflict',
    message: 'The internet gateway out is in use by route table public',
  });
  expect(await faultOf(b.cloud.routeTable.delete('public'))).toMatchObject({ code: 'conflict', message: 'The route table public is in use by subnet front' });
  await b.ready(b.cloud.routeTable.routeRemove('public', { destination: ANYWHERE }));
  await b.ended(b.cloud.internetGateway.delete('out'));
  await b.ready(b.cloud.subnet.update('front', { routeTable: null }));
  await b.ended(b.cloud.routeTable.delete('public'));
  expect(await b.cloud.subnet.get('front')).not.toHaveProperty('routeTable');
});

test('a route that cannot be is refused with what would be right', async () => {
  await using b = await bench();
  await prod(b);
  await publicSubnet(b);
  await b.ready(b.cloud.internetGateway.create({ name: 'far', vpc: 'test' }));
  const told = async (route: { destination: string } & Record<string, unknown>, path: string, code = 'invalid_input') => {
    const fault = await faultOf(b.cloud.routeTable.routeAdd('public', route));
    expect(fault, JSON.stringify(route)).toMatchObject({ code, details: [{ path }] });
    return fault.message;
  };
  expect(await told({ destination: '8.8.8.0/24' }, 'internetGateway')).toContain('say where it leads');
  expect(await told({ destination: '8.8.8.0/24', internetGateway: 'out', blackhole: true }, 'blackhole')).toContain(
    'only one of internetGateway and blackhole',
  );
  expect(await told({ destination: '8.8.8.8/24', blackhole: true }, 'destination')).toBe('destination: 8.8.8.8/24 has host bits set; did you mean 8.8.8.0/24?');
  expect(await told({ destination: '8.8.8.300/24', blackhole: true }, 'destination')).toContain('is not an IPv4 network');
  expect(await told({ destination: '10.20.7.0/24', blackhole: true }, 'destination')).toContain('is inside of 10.20.0.0/16, the network of prod');
  expect(await told({ destination: '10.20.0.0/16', blackhole: true }, 'destination')).toContain('is inside of');
  expect(await told({ destination: '8.8.8.0/24', internetGateway: 'far' }, 'internetGateway')).toBe(
    'internetGateway: far is in the VPC test; use a gateway of prod',
  );
  expect(await told({ destination: ANYWHERE, blackhole: true }, 'destination', 'conflict')).toBe(
    'public has a route to 0.0.0.0/0, which leads to the internet gateway out; remove it first',
  );
  expect(await faultOf(b.cloud.routeTable.routeRemove('public', { destination: '8.8.8.0/24' }))).toMatchObject({
    code: 'not_found',
    details: [{ path: 'destination' }],
  });
  const twice = { destination: '8.8.8.0/24', blackhole: true };
  expect((await faultOf(b.cloud.routeTable.create({ name: 'n', vpc: 'prod', routes: [twice, twice] }))).message).toContain('routes.1.destination');
  expect((await faultOf(b.cloud.routeTable.update('public', { routes: [{ destination: ANYWHERE, internetGateway: 'far' }] }))).message).toContain(
    'routes.0.internetGateway: far is in the VPC test',
  );
});

test('a subnet has a route table of its own VPC', async () => {
  await using b = await bench();
  await prod(b);
  await publicSubnet(b);
  await b.cloud.routeTable.create({ name: 'far', vpc: 'test' });
  const refused = { code: 'invalid_input', message: 'routeTable: the route table far is of the VPC test; use one of prod', details: [{ path: 'routeTable' }] };
  expect(await faultOf(b.cloud.subnet.create({ name: 'n', vpc: 'prod', cidr: '10.20.2.0/24', routeTable: 'far' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.subnet.update('front', { routeTable: 'far' }))).toMatchObject(refused);
});

test('one internet gateway for each VPC, also at once', async () => {
  await using b = await bench();
  await prod(b);
  const answers = await Promise.allSettled(Array.from({ length: 6 }, (_, n) => b.cloud.internetGateway.create({ name: `out-${n}`, vpc: 'prod' })));
  const made = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
  expect(made).toHaveLength(1);
  for (const answer of answers)
    if (answer.status === 'rejected')
      expect(answer.reason).toMatchObject({
        code: 'conflict',
        message: `The VPC prod has an internet gateway: ${made[0]?.name}; one is enough for all of its route tables`,
      });
  await b.ready(b.cloud.internetGateway.create({ name: 'other', vpc: 'test' }));
  expect(await faultOf(b.cloud.vpc.delete('test'))).toMatchObject({ code: 'conflict', message: expect.stringContaining('internet gateway other') });
});

test('a NAT gateway needs a way out: in error with the reason until there is one, and again when it goes', async () => {
  await using b = await bench();
  await prod(b);
  await b.ready(b.cloud.subnet.create({ name: 'back', vpc: 'prod', cidr: '10.20.2.0/24' }));
  const operation = await b.ended(b.cloud.natGateway.create({ name: 'nat', subnet: 'back' }));
  const reason = 'The subnet back is private: it has no route table, and so no way out that nat could share';
  expect(operation).toMatchObject({ state: 'failed', error: { message: reason } });
  expect(await b.cloud.natGateway.get('nat')).toMatchObject({ state: 'error', reason, vpc: 'prod' });
  const state = async () => (await b.cloud.natGateway.get('nat')).state;

  await publicSubnet(b);
  await b.ready(b.cloud.subnet.update('back', { routeTable: 'public' }));
  await b.until(async () => (await state()) === 'ready');
  expect(await b.cloud.natGateway.get('nat')).not.toHaveProperty('reason');
  await b.ready(b.cloud.routeTable.routeRemove('public', { destination: ANYWHERE }));
  await b.until(async () => (await state()) === 'error');
  expect((await b.cloud.natGateway.get('nat')).reason).toBe(
    'The subnet back is private: its route table public does not lead 0.0.0.0/0 to an internet gateway',
  );
});

test('a private subnet leads out by a NAT gateway, which then stays', async () => {
  await using b = await bench();
  await prod(b);
  await publicSubnet(b);
  const nat = await b.ready(b.cloud.natGateway.create({ name: 'nat', subnet: 'front' }));
  expect(nat).toMatchObject({ state: 'ready', subnet: 'front', vpc: 'prod' });
  await b.ready(b.cloud.routeTable.create({ name: 'private', vpc: 'prod', routes: [{ destination: ANYWHERE, natGateway: 'nat' }] }));
  expect((await b.cloud.routeTable.get('private')).routes).toEqual([{ destination: ANYWHERE, natGateway: 'nat', natGatewayId: nat.id }]);
  await b.cloud.routeTable.create({ name: 'far', vpc: 'test' });
  expect((await faultOf(b.cloud.routeTable.routeAdd('far', { destination: ANYWHERE, natGateway: 'nat' }))).message).toBe(
    'natGateway: nat is in the VPC prod; use a gateway of test',
  );
  expect(await faultOf(b.cloud.natGateway.delete('nat'))).toMatchObject({ code: 'conflict', message: 'The NAT gateway nat is in use by route table private' });
  expect(await faultOf(b.cloud.subnet.delete('front'))).toMatchObject({ code: 'conflict', message: 'The subnet front is in use by NAT gateway nat' });
  await b.ended(b.cloud.routeTable.delete('private'));
  await b.ended(b.cloud.natGateway.delete('nat'));
});
