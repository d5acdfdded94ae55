// IPv4 arithmetic, against the plain meaning of addresses.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  type Cidr,
  contains,
  firstFree,
  formatAddress,
  formatCidr,
  isNetwork,
  isPrivate,
  networkOf,
  overlap,
  parseAddress,
  parseCidr,
  sizeOf,
} from './cidr.ts';

const address = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const cidr = fc.tuple(address, fc.integer({ min: 0, max: 32 })).map(([base, prefix]) => networkOf({ base, prefix }));
const within = (outer: Cidr, inner: Cidr) => contains(outer, inner.base) && contains(outer, inner.base + sizeOf(inner) - 1);

test('what is written can be read, and nothing else', () => {
  fc.assert(fc.property(address, (value) => parseAddress(formatAddress(value)) === value));
  fc.assert(fc.property(cidr, (value) => formatCidr(parseCidr(formatCidr(value)) as Cidr) === formatCidr(value)));
  for (const text of ['', '1.2.3', '1.2.3.4.5', '256.1.1.1', '01.2.3.4', '1.2.3.-4', '1.2.3.4 ', '1,2,3,4', '1.2.3.4e0', '١.2.3.4'])
    expect(parseAddress(text), text).toBeUndefined();
  for (const text of ['10.0.0.0', '10.0.0.0/', '10.0.0.0/33', '10.0.0.0/08', '10.0.0.0/8/8', '10.0.0.0/-1', '/8', '10.0.0.0/+8'])
    expect(parseCidr(text), text).toBeUndefined();
});

test('two networks overlap when one holds the other’s first address', () => {
  fc.assert(
    fc.property(cidr, cidr, (a, b) => {
      expect(overlap(a, b)).toBe(contains(a, b.base) || contains(b, a.base));
      expect(overlap(a, b)).toBe(overlap(b, a));
      expect(isNetwork(a)).toBe(true);
    }),
  );
});

test('private means wholly private', () => {
  for (const text of ['10.0.0.0/8', '172.16.0.0/12', '172.31.255.240/28', '192.168.1.0/24']) expect(isPrivate(parseCidr(text) as Cidr), text).toBe(true);
  for (const text of ['8.0.0.0/6', '10.0.0.0/7', '172.32.0.0/16', '172.0.0.0/8', '192.169.0.0/16', '100.64.0.0/10', '0.0.0.0/0'])
    expect(isPrivate(parseCidr(text) as Cidr), text).toBe(false);
});

test('the first free network is free, inside, and there is none before it', () => {
  const pool = parseCidr('10.0.0.0/16') as Cidr;
  const taken = fc.array(
    fc
      .tuple(fc.integer({ min: pool.base - 2 ** 16, max: pool.base + 2 * sizeOf(pool) }), fc.integer({ min: 12, max: 30 }))
      .map(([base, prefix]) => networkOf({ base, prefix })),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(taken, fc.integer({ min: 16, max: 26 }), (others, prefix) => {
      const free = firstFree(pool, prefix, others);
      const size = 2 ** (32 - prefix);
      let slow: Cidr | undefined;
      for (let base = pool.base; base < pool.base + sizeOf(pool) && slow === undefined; base += size)
        if (!others.some((other) => overlap(other, { base, prefix }))) slow = { base, prefix };
      expect(free).toEqual(slow);
      if (free !== undefined) expect(within(pool, free) && isNetwork(free)).toBe(true);
    }),
  );
});
