// Subnets: parts of a VPC that never overlap, and instances whose addresses come from them.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

async function prod(b: Bench): Promise<void> {
  await b.ready(b.cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16' }));
}
const instance = (b: Bench, name: string, more: object = {}) => b.cloud.instance.create({ name, image: 'busybox', ...more });

test('a part of the VPC, with the addresses that it has', async () => {
  await using b = await bench();
  await prod(b);
  const made = await b.ready(b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/24' }));
  expect(made).toMatchObject({ state: 'ready', vpc: 'prod', cidr: '10.20.1.0/24', gateway: '10.20.0.1', addressesUsed: 0, addressesTotal: 251 });
  expect(made.id).toMatch(/^sub-/);
  const web = await b.ready(instance(b, 'web', { subnet: 'apps' }));
  expect(web).toMatchObject({ vpc: 'prod', subnet: 'apps', subnetId: made.id, address: '10.20.1.4' });
  expect((await instance(b, 'other', { vpc: 'prod' })).address).toBe('10.20.0.4');
  expect((await b.cloud.subnet.list()).items).toMatchObject([{ name: 'apps', addressesUsed: 1 }]);
  expect(await b.cloud.vpc.get('prod')).toMatchObject({ addressesUsed: 2, addressesTotal: 65_531 });
  expect(await faultOf(b.cloud.subnet.delete('apps'))).toMatchObject({ code: 'conflict', message: 'The subnet apps is in use by instance web' });
  expect(await faultOf(b.cloud.vpc.delete('prod'))).toMatchObject({ code: 'conflict', message: expect.stringContaining('subnet apps') });
  await b.ended(b.cloud.instance.delete('web'));
  expect(await b.cloud.subnet.get('apps')).toMatchObject({ addressesUsed: 0 });
  expect(await b.ended(b.cloud.subnet.delete('apps'))).toMatchObject({ state: 'succeeded' });
});

test('a CIDR that cannot be is refused with what would be right', async () => {
  await using b = await bench();
  await prod(b);
  await b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/24' });
  const told = async (cidr: string, code = 'invalid_input') => {
    const fault = await faultOf(b.cloud.subnet.create({ name: 'n', vpc: 'prod', cidr }));
    expect(fault, cidr).toMatchObject({ code, details: [{ path: 'cidr' }] });
    return fault.message;
  };
  expect(await told('10.20.2.7/24')).toBe('cidr: 10.20.2.7/24 has host bits set; did you mean 10.20.2.0/24?');
  expect(await told('10.20.2.0/29')).toBe('cidr: /29 is too small; use /16 to /28');
  expect(await told('10.21.0.0/24')).toBe('cidr: 10.21.0.0/24 is not inside of 10.20.0.0/16, the network of the VPC prod; use a part of that');
  expect(await told('10.0.0.0/8')).toContain('is not inside of 10.20.0.0/16');
  expect(await told('999.0.0.0/16')).toContain('is not an IPv4 network');
  expect(await told('10.20.1.128/25', 'conflict')).toBe('10.20.1.128/25 overlaps 10.20.1.0/24, which is the subnet apps');
  expect((await b.cloud.subnet.list()).items).toHaveLength(1);
});

test('what instances outside of every subnet use does not become one', async () => {
  await using b = await bench();
  await prod(b);
  await b.ready(instance(b, 'web', { vpc: 'prod', privateAddress: '10.20.1.9' }));
  expect(await faultOf(b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/24' }))).toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('10.20.1.9'),
    details: [{ path: 'cidr' }],
  });
  await b.ended(b.cloud.instance.delete('web'));
  await b.ready(b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/24' }));
});

test('a wished address: of the subnet, not reserved, free', async () => {
  await using b = await bench();
  await prod(b);
  await b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/28' });
  const told = async (more: object, code = 'invalid_input') => {
    const fault = await faultOf(instance(b, 'n', more));
    expect(fault).toMatchObject({ code, details: [{ path: 'privateAddress' }] });
    return fault;
  };
  expect(await instance(b, 'web', { subnet: 'apps', privateAddress: '10.20.1.9' })).toMatchObject({ address: '10.20.1.9' });
  expect((await told({ subnet: 'apps', privateAddress: '10.20.1.9' }, 'conflict')).message).toBe('10.20.1.9 is in use');
  expect((await told({ subnet: 'apps', privateAddress: '10.20.1.3' })).message).toBe('privateAddress: 10.20.1.3 is reserved; use 10.20.1.4 to 10.20.1.14');
  expect((await told({ subnet: 'apps', privateAddress: '10.20.1.15' })).message).toContain('is reserved');
  expect((await told({ subnet: 'apps', privateAddress: '10.20.2.4' })).message).toContain('is not an address of the subnet apps; use one of 10.20.1.0/28');
  expect(await told({ vpc: 'prod', privateAddress: '10.20.1.10' })).toMatchObject({
    message: 'privateAddress: 10.20.1.10 is in the subnet apps; name that too',
    hint: 'repeat with --subnet apps',
  });
  expect((await told({ vpc: 'prod', privateAddress: '10.20.0.1' })).message).toContain('is reserved');
});

test('the VPC of an instance is that of its subnet', async () => {
  await using b = await bench();
  await prod(b);
  await b.ready(b.cloud.vpc.create({ name: 'test', cidr: '10.30.0.0/24' }));
  await b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/28' });
  expect(await faultOf(instance(b, 'n', { vpc: 'test', subnet: 'apps' }))).toMatchObject({
    code: 'invalid_input',
    message: 'subnet: apps is a subnet of the VPC prod, not of test',
    details: [{ path: 'subnet' }],
  });
  expect(await instance(b, 'web', { vpc: 'prod', subnet: 'apps' })).toMatchObject({ address: '10.20.1.4' });
  expect((await b.cloud.vpc.list()).items.map(({ name }) => name)).toEqual(['prod', 'test']);
  // A network of which nothing is left for those outside.
  await b.cloud.subnet.create({ name: 'all', vpc: 'test', cidr: '10.30.0.0/24' });
  expect(await faultOf(instance(b, 'n', { vpc: 'test' }))).toMatchObject({
    code: 'conflict',
    message: 'The VPC test (10.30.0.0/24) has no free address outside of its subnets',
  });
});

test('who asks at once gets an address each, and a freed one rests', async () => {
  await using b = await bench();
  await prod(b);
  await b.cloud.subnet.create({ name: 'apps', vpc: 'prod', cidr: '10.20.1.0/28' });
  const answers = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => instance(b, `i-${n}`, n % 2 === 0 ? { subnet: 'apps' } : { vpc: 'prod' })));
  const given = answers.map((answer) => (answer.status === 'fulfilled' ? (answer.value.address as string) : ''));
  expect(new Set(given).size).toBe(20);
  expect(given.filter((address) => address.startsWith('10.20.1.'))).toHaveLength(10);
  await b.ended(b.cloud.instance.delete('i-0'));
  // The last that is free comes first, then the one that was freed.
  expect((await instance(b, 'late', { subnet: 'apps' })).address).toBe('10.20.1.14');
  expect((await instance(b, 'later', { subnet: 'apps' })).address).toBe(given[0]);
  expect(await faultOf(instance(b, 'last', { subnet: 'apps' }))).toMatchObject({
    code: 'conflict',
    message: 'The subnet apps (10.20.1.0/28) has no free address',
  });
  await b.ended(b.cloud.instance.delete('later'));
  await b.ended(b.cloud.instance.delete('late'));
  expect((await instance(b, 'resting', { subnet: 'apps' })).address).toBe('10.20.1.14');
});

test('subnets never overlap, in any order of creation and deletion, also at once', async () => {
  const part = fc.record({ prefix: fc.integer({ min: 24, max: 28 }), at: fc.nat(255) });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.oneof(fc.constant('delete' as const), part), { minLength: 4, maxLength: 16 }), async (steps) => {
      await using b = await bench();
      await b.ready(b.cloud.vpc.create({ name: 'v', cidr: '10.20.0.0/23' }));
      let n = 0;
      await Promise.all(
        steps.map(async (step) => {
          if (step === 'delete') {
            const [oldest] = (await b.cloud.subnet.list()).items;
            if (oldest !== undefined) await b.cloud.subnet.delete(oldest.id).catch((error: unknown) => expect(error).toMatchObject({ code: 'not_found' }));
            return;
          }
          const size = 2 ** (32 - step.prefix);
          const base = Math.floor((step.at * 2) / size) * size;
          const cidr = `10.20.${Math.floor(base / 256)}.${base % 256}/${step.prefix}`;
          await b.cloud.subnet.create({ name: `s-${n++}`, vpc: 'v', cidr }).catch((error: unknown) => expect(error).toMatchObject({ code: 'conflict' }));
        }),
      );
      const ranges = (await b.cloud.subnet.list()).items
        .map(({ cidr }) => {
          const [, third, fourth, prefix] = /^10\.20\.(\d+)\.(\d+)\/(\d+)$/.exec(cidr) as unknown as [string, string, string, string];
          const first = Number(third) * 256 + Number(fourth);
          return { first, last: first + 2 ** (32 - Number(prefix)) - 1 };
        })
        .sort((a, c) => a.first - c.first);
      for (const [index, { first }] of ranges.entries()) if (index > 0) expect(first).toBeGreaterThan(ranges[index - 1]?.last ?? 0);
    }),
    { numRuns: 12 },
  );
});

test('quota, and another tenant’s', async () => {
  await using b = await bench();
  await prod(b);
  await b.cloud.quota.set({ name: 'subnets', limit: 1 });
  await b.cloud.subnet.create({ name: 'one', vpc: 'prod', cidr: '10.20.1.0/24' });
  expect(await faultOf(b.cloud.subnet.create({ name: 'two', vpc: 'prod', cidr: '10.20.2.0/24' }))).toMatchObject({ code: 'quota_exceeded' });
  await b.tenant('other');
  expect(await faultOf(b.cloud.subnet.create({ name: 'x', vpc: 'prod', cidr: '10.20.3.0/24' }, { tenant: 'other' }))).toMatchObject({
    code: 'not_found',
    details: [{ path: 'vpc' }],
  });
  expect((await faultOf(b.cloud.subnet.get('one', {}, { tenant: 'other' }))).code).toBe('not_found');
});
