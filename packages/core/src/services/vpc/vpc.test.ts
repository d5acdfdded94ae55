// VPCs: networks that never overlap, and addresses that are never given twice.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { memoryDrivers } from '../../drivers/memory/index.ts';
import { systemPrincipal } from '../../kernel/authorize.ts';
import { type Cidr, overlap, parseCidr } from '../../kernel/cidr.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { Kernel } from '../../kernel/invoke.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import { vpcs } from './contract.ts';

const TENANT = 'tnt-0000000000000000';
/** The client of services, which sees internal operations. */
const inside = (b: Bench) => (b.core as Kernel).clientFor(systemPrincipal(TENANT), { vpc: vpcs }).vpc;

test('a CIDR that cannot be is refused with what would be right', async () => {
  await using b = await bench();
  const told = async (cidr: string) => {
    const fault = await faultOf(b.cloud.vpc.create({ name: 'n', cidr }));
    expect(fault, cidr).toMatchObject({ code: 'invalid_input', details: [{ path: 'cidr' }] });
    return fault.message;
  };
  expect(await told('10.1.2.3/16')).toBe('cidr: 10.1.2.3/16 has host bits set; did you mean 10.1.0.0/16?');
  expect(await told('10.0.0.0/8')).toBe('cidr: /8 is too large; use /16 to /28');
  expect(await told('10.0.0.0/29')).toBe('cidr: /29 is too small; use /16 to /28');
  expect(await told('8.8.0.0/16')).toContain('is not private');
  expect(await told('999.0.0.0/16')).toContain('is not an IPv4 network');
  expect(await told('010.0.0.0/16')).toContain('is not an IPv4 network');
  expect(await told('fd00::/64')).toContain('use an IPv4 network such as 10.20.0.0/16');
  expect((await b.cloud.vpc.list()).items).toEqual([]);
});

test('overlap is refused: with one’s own by name, with another tenant’s without, with the host’s', async () => {
  const drivers = memoryDrivers();
  drivers.drivers.network.reserved = async () => ['192.168.5.0/24', 'fe80::/10'];
  await using b = await bench({ drivers });
  await b.tenant('other');
  await b.cloud.vpc.create({ name: 'mine', cidr: '10.1.0.0/16' });
  await b.cloud.vpc.create({ name: 'theirs', cidr: '10.2.0.0/16' }, { tenant: 'other' });
  expect((await faultOf(b.cloud.vpc.create({ name: 'n', cidr: '10.1.128.0/20' }))).message).toBe('10.1.128.0/20 overlaps 10.1.0.0/16, which is the VPC mine');
  const hidden = await faultOf(b.cloud.vpc.create({ name: 'n', cidr: '10.2.0.0/24' }));
  expect(hidden.message).toBe('10.2.0.0/24 overlaps a network that this host uses already');
  expect((await faultOf(b.cloud.vpc.create({ name: 'n', cidr: '192.168.0.0/16' }))).message).toContain('192.168.5.0/24, which the host uses already');
  const member = b.as({ id: 'usr-1', kind: 'user', tenantId: 'tnt-0000000000000000', roles: { 'tnt-0000000000000000': ['admin'] } });
  const toMember = await faultOf(member.vpc.create({ name: 'n', cidr: '192.168.0.0/16' }));
  expect(toMember.message).toBe('192.168.0.0/16 overlaps a network that this host uses already');
});

test('free networks overlap nothing, in any order of creation and deletion, also at once', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.oneof(fc.constant('auto' as const), fc.constant('delete' as const), fc.integer({ min: 0, max: 255 })), { minLength: 4, maxLength: 20 }),
      async (steps) => {
        await using b = await bench();
        let n = 0;
        await Promise.all(
          steps.map(async (step) => {
            if (step === 'delete') {
              const [oldest] = (await b.cloud.vpc.list()).items;
              if (oldest !== undefined) await b.cloud.vpc.delete(oldest.id).catch((error: unknown) => expect(error).toMatchObject({ code: 'not_found' }));
              return;
            }
            const input = step === 'auto' ? { name: `v-${n++}` } : { name: `v-${n++}`, cidr: `10.0.${step}.0/24` };
            await b.cloud.vpc.create(input).catch((error: unknown) => expect(error).toMatchObject({ code: 'conflict' }));
          }),
        );
        const networks = (await b.cloud.vpc.list()).items.map(({ cidr }) => parseCidr(cidr) as Cidr);
        for (const [index, a] of networks.entries()) for (const other of networks.slice(index + 1)) expect(overlap(a, other)).toBe(false);
      },
    ),
    { numRuns: 15 },
  );
});

test('no address is given twice, whatever is taken and given back, and at once', async () => {
  await using b = await bench();
  const vpc = inside(b);
  let n = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof({ weight: 3, arbitrary: fc.constant(-1) }, { weight: 2, arbitrary: fc.nat(30) }), { maxLength: 60 }), async (steps) => {
      const name = `v-${n++}`;
      await b.cloud.vpc.create({ name, cidr: `10.${n}.0.0/28` });
      const held = new Map<string, string>();
      for (const step of steps) {
        if (step >= 0) {
          const owner = [...held.keys()][step % Math.max(1, held.size)];
          if (owner === undefined) continue;
          held.delete(owner);
          await vpc.releaseAddresses(name, { owner });
          continue;
        }
        const owner = `o-${n}-${Math.random()}`;
        const full = held.size === 11;
        const got = vpc.allocateAddress(name, { owner });
        if (full) {
          expect(await faultOf(got)).toMatchObject({ code: 'conflict', message: expect.stringContaining('has no free address') });
          continue;
        }
        const { address } = await got;
        expect([...held.values()]).not.toContain(address);
        expect(Number(address.split('.')[3])).toBeGreaterThanOrEqual(4);
        expect(Number(address.split('.')[3])).toBeLessThanOrEqual(14);
        held.set(owner, address);
      }
      expect(await b.cloud.vpc.get(name)).toMatchObject({ addressesUsed: held.size, addressesTotal: 11 });
    }),
    { numRuns: 15 },
  );
});

test('a /28 has eleven: of twenty who ask at once eleven get one each', async () => {
  await using b = await bench();
  await b.cloud.vpc.create({ name: 'small', cidr: '10.9.0.0/28' });
  const answers = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => b.cloud.instance.create({ name: `i-${n}`, image: 'busybox', vpc: 'small' })));
  const given = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value.address] : []));
  expect(new Set(given).size).toBe(11);
  for (const answer of answers)
    if (answer.status === 'rejected') expect(answer.reason).toMatchObject({ code: 'conflict', message: expect.stringContaining('no free address') });
  const [first] = (await b.cloud.instance.list()).items;
  await b.ended(b.cloud.instance.delete(first?.id ?? ''));
  expect((await b.cloud.instance.create({ name: 'late', image: 'busybox', vpc: 'small' })).address).toBe(first?.address);
});

test('a wished address: inside, not reserved, not in use', async () => {
  await using b = await bench();
  await b.cloud.vpc.create({ name: 'v', cidr: '10.9.0.0/28' });
  const vpc = inside(b);
  expect(await vpc.allocateAddress('v', { owner: 'a', address: '10.9.0.7' })).toEqual({ address: '10.9.0.7' });
  expect((await faultOf(vpc.allocateAddress('v', { owner: 'b', address: '10.9.0.7' }))).code).toBe('conflict');
  for (const address of ['10.9.0.0', '10.9.0.1', '10.9.0.3', '10.9.0.15', '10.9.0.16', 'x'])
    expect((await faultOf(vpc.allocateAddress('v', { owner: 'b', address }))).code, address).toBe('invalid_input');
});

test('in use it stays, and says by whom; free it goes, with its addresses', async () => {
  await using b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'v' }));
  await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'v' }));
  expect(await faultOf(b.cloud.vpc.delete('v'))).toMatchObject({
    code: 'conflict',
    message: 'The VPC v is in use by instance web',
    hint: 'cloud instance delete web',
    details: { usedBy: [{ resource: 'instance', name: 'web' }] },
  });
  await b.ended(b.cloud.instance.delete('web'));
  await b.ended(b.cloud.vpc.delete('v'));
  expect(b.world.networks.size).toBe(0);
  expect(
    await b.db
      .selectFrom('vpc_address' as never)
      .selectAll()
      .execute(),
  ).toEqual([]);
});

test('a backend that refuses the network: error with its sentence; an instance in it fails for that reason', async () => {
  const clock = new ManualClock(1_000_000);
  const drivers = memoryDrivers({ clock });
  await using b = await bench({ clock, drivers });
  drivers.faults.fail('network.ensure', 1, new DriverError('bad_spec', '10.0.0.0/20 is the network of eth7'));
  expect(await b.ended(b.cloud.vpc.create({ name: 'v' }))).toMatchObject({ state: 'failed', error: { message: '10.0.0.0/20 is the network of eth7' } });
  expect(await b.cloud.vpc.get('v')).toMatchObject({ state: 'error', reason: '10.0.0.0/20 is the network of eth7' });
  const made = await b.cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'v' });
  await b.until(async () => (await b.cloud.operation.get(made.operation ?? '')).state === 'failed', 1000);
  expect((await b.cloud.instance.get('web')).reason).toContain('eth7');
  await b.cloud.instance.delete('web');
  await b.until(async () => (await b.cloud.instance.list()).items.length === 0);
  await b.ended(b.cloud.vpc.delete('v'));
});
