// The rules of networks as callers see them: what the plane is made of, what a trace says, and what happens where nothing enforces them.
import { expect, test, vi } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

async function shop(b: Bench): Promise<void> {
  await b.ready(b.cloud.vpc.create({ name: 'shop', cidr: '10.20.0.0/16' }));
  await b.ready(b.cloud.vpc.create({ name: 'lab', cidr: '10.21.0.0/16' }));
  await b.cloud.internetGateway.create({ name: 'door', vpc: 'shop' });
  await b.cloud.routeTable.create({ name: 'public', vpc: 'shop', routes: [{ destination: '0.0.0.0/0', internetGateway: 'door' }] });
  await b.cloud.subnet.create({ name: 'front', vpc: 'shop', cidr: '10.20.1.0/24', routeTable: 'public' });
  await b.cloud.subnet.create({ name: 'back', vpc: 'shop', cidr: '10.20.2.0/24' });
  await b.cloud.securityGroup.create({ name: 'web', vpc: 'shop' });
  await b.cloud.securityGroup.create({ name: 'db', vpc: 'shop' });
  await b.cloud.securityGroup.ruleAdd('web', { port: '80', cidr: '0.0.0.0/0' });
  await b.cloud.securityGroup.ruleAdd('db', { port: '5432', group: 'web' });
  const instance = (name: string, more: object) => b.ready(b.cloud.instance.create({ name, image: 'busybox', ...more }));
  await instance('w1', { vpc: 'shop', subnet: 'front', securityGroups: ['web'] });
  await instance('d1', { vpc: 'shop', subnet: 'back', securityGroups: ['db'] });
  await instance('l1', { vpc: 'lab' });
}

test('the plane has what was asked for, when the answer has come', async () => {
  await using b = await bench();
  await shop(b);
  const plane = b.world.plane ?? expect.fail('nothing was applied');
  expect(plane.endpoints.map(({ address }) => address).sort()).toEqual(['10.20.1.4', '10.20.2.4', '10.21.0.4']);
  const network = plane.networks.find(({ cidr }) => cidr === '10.20.0.0/16');
  expect(network?.routes).toEqual([{ destination: '0.0.0.0/0', target: 'internet' }]);
  // In the order of their ids, which is none.
  expect(network?.subnets.map(({ cidr, routes }) => [cidr, routes.map(({ target }) => target)]).sort()).toEqual([
    ['10.20.1.0/24', ['internet']],
    ['10.20.2.0/24', []],
  ]);
  const lab = plane.networks.find(({ cidr }) => cidr === '10.21.0.0/16');
  expect(plane.endpoints.find(({ address }) => address === '10.21.0.4')?.groups, 'without a group: that of its VPC').toEqual([lab?.id]);
  await b.ended(b.cloud.instance.delete('l1'));
  await vi.waitFor(() => expect(b.world.plane?.endpoints).toHaveLength(2));
});

test('a trace names what lets the packet pass, or stops it', async () => {
  await using b = await bench();
  await shop(b);
  const trace = (from: string, to: string, port?: number) =>
    b.cloud.network.trace({ from, to, ...(port === undefined ? { protocol: 'icmp' as const } : { port }) });
  expect(await trace('w1', 'd1', 5432)).toMatchObject({
    passes: true,
    steps: [
      { at: 'egress', detail: 'security group web allows everything to 0.0.0.0/0' },
      { at: 'route', detail: 'within the VPC' },
      { at: 'ingress', detail: 'security group db allows tcp 5432 from security group web' },
    ],
  });
  expect((await trace('w1', 'd1', 80)).summary).toBe(
    'tcp 80 from 10.20.1.4 to 10.20.2.4 is stopped at the ingress: no ingress rule of security group db allows it',
  );
  expect((await trace('w1', 'd1')).passes).toBe(false);
  expect((await trace('d1', '203.0.113.1', 80)).summary).toContain('the subnet back has no route to it');
  expect(await trace('w1', '203.0.113.1', 80)).toMatchObject({
    passes: true,
    steps: [{}, { detail: 'route table public leads 0.0.0.0/0 to the internet gateway' }, {}],
  });
  expect((await trace('l1', 'w1', 80)).summary).toContain('no active peering leads from the VPC lab to the VPC shop');
  const far = await b.ready(b.cloud.peering.create({ name: 'far', vpc: 'shop', peerVpc: 'lab' }).then(() => b.cloud.peering.accept('far')));
  expect(far.state).toBe('active');
  expect(await trace('l1', 'w1', 80)).toMatchObject({ passes: true, steps: [{}, { detail: 'by the peering far' }, {}] });
  await b.cloud.elasticIp.allocate({ name: 'ip' });
  const { address } = await b.cloud.elasticIp.get('ip');
  expect((await trace('l1', address, 80)).summary).toContain('leads to no instance with a way out');
  await b.cloud.elasticIp.associate('ip', { instance: 'w1' });
  expect(await trace('l1', address, 80)).toMatchObject({ passes: true, steps: [{}, {}, { detail: `the elastic IP ${address} stands for 10.20.1.4` }, {}] });
  expect(await faultOf(trace('w1', 'nobody', 80))).toMatchObject({ code: 'not_found' });
  expect(await faultOf(b.cloud.network.trace({ from: 'w1', to: 'd1' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'port' }] });
  expect(await faultOf(b.cloud.network.trace({ from: 'w1', to: 'd1', port: 80, live: true }))).toMatchObject({ code: 'unsupported' });
});

test('what cannot be enforced is refused before anything is made', async () => {
  await using b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'shop', cidr: '10.20.0.0/16' }));
  b.world.refusal = 'only root may change the packet filter';
  const refused = { code: 'unsupported', message: expect.stringContaining('only root may change the packet filter'), hint: 'cloud system doctor' };
  expect(await faultOf(b.cloud.subnet.create({ name: 'front', vpc: 'shop', cidr: '10.20.1.0/24' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.securityGroup.create({ name: 'web', vpc: 'shop' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.routeTable.create({ name: 'public', vpc: 'shop' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.internetGateway.create({ name: 'door', vpc: 'shop' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.elasticIp.allocate({ name: 'ip' }))).toMatchObject(refused);
  expect(await faultOf(b.cloud.vpc.create({ name: 'closed', internet: false }))).toMatchObject(refused);
  expect((await b.cloud.subnet.list()).items).toEqual([]);
  expect((await b.cloud.instance.create({ name: 'plain', image: 'busybox', vpc: 'shop' })).name).toBe('plain');
});

test('a change is not ready before it is in force, and is tried again', async () => {
  await using b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'shop', cidr: '10.20.0.0/16' }));
  b.world.faults.fail('network.apply', 3, new DriverError('failed', 'nft does not take it'));
  const group = await b.cloud.securityGroup.create({ name: 'web', vpc: 'shop' });
  await vi.waitFor(
    async () => {
      const { state } = await b.cloud.securityGroup.get('web');
      // At no time is it said to be ready while it is not in force.
      if (state === 'ready') expect(b.world.plane?.groups.map(({ id }) => id)).toContain(group.id);
      expect(state).toBe('ready');
    },
    { timeout: 15_000, interval: 5 },
  );
});
