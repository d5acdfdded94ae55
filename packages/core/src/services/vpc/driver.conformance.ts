// What every network driver must do, as one body of tests. A driver's own test file says how to make one and calls this.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import type { NetworkDriver, NetworkSpec } from './driver.ts';

export interface NetworkBench {
  driver: NetworkDriver;
  /** A /24 that nothing on the host uses; another one with every call. */
  freeCidr(): string;
  /** Puts an instance on the network, the way the backend's compute driver does. */
  occupy(networkId: string): Promise<{ instanceId: string; stop(): Promise<void>; remove(): Promise<void> }>;
  close(): Promise<void>;
}

const never = new AbortController().signal;
let counter = 0;

export function networkSpec(cidr: string): NetworkSpec {
  counter += 1;
  const id = `vpc-${Math.random().toString(36).slice(2, 10)}${counter}`;
  return { id, name: `net ${counter}`, cidr, gateway: cidr.replace(/0\/\d+$/, '1') };
}

/** Asserts that a call is refused with this code, and returns the error for a look at its words. */
export async function refused(call: Promise<unknown>, code: DriverError['code']): Promise<DriverError> {
  const error = await call.then(
    () => expect.fail(`expected DriverError ${code}, but the call succeeded`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DriverError);
  expect(error).toMatchObject({ code });
  return error as DriverError;
}

export function networkConformance(backend: string, setUp: () => Promise<NetworkBench>): void {
  describe(`network driver ${backend}`, () => {
    let bench: NetworkBench;
    let driver: NetworkDriver;
    const made = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.driver;
    });

    afterAll(async () => {
      for (const id of made) await driver.remove(id, never);
      await bench.close();
    });

    const make = async (cidr = bench.freeCidr()): Promise<NetworkSpec> => {
      const spec = networkSpec(cidr);
      made.add(spec.id);
      await driver.ensure(spec, never);
      return spec;
    };

    test('answers a ping and reports what it enforces', async () => {
      await driver.ping();
      const report = await driver.report();
      expect(report.driver).not.toBe('');
      expect(report.features.map(({ name }) => name)).toContain('isolation');
      for (const feature of report.features) expect(feature.detail).not.toBe('');
      for (const check of report.checks) expect(check.ok || check.remedy !== undefined, check.name).toBe(true);
    });

    test('what was ensured is found by inspect and list, with equal words', async () => {
      const before = Date.now();
      const spec = await make();
      expect(await driver.inspect(spec.id)).toEqual(spec);
      const found = (await driver.list()).find(({ id }) => id === spec.id);
      expect(found).toBeDefined();
      expect(Math.abs((found?.createdAt ?? 0) - before)).toBeLessThan(60_000);
    });

    test('what does not exist is undefined, not an error, and removing it is fine', async () => {
      expect(await driver.inspect('vpc-absent')).toBeUndefined();
      await driver.remove('vpc-absent', never);
    });

    test('ensuring twice, also at once, is ensuring once', async () => {
      const spec = networkSpec(bench.freeCidr());
      made.add(spec.id);
      await Promise.all([driver.ensure(spec, never), driver.ensure(spec, never), driver.ensure(spec, never)]);
      await driver.ensure(spec, never);
      expect((await driver.list()).filter(({ id }) => id === spec.id)).toHaveLength(1);
    });

    test('a new name for people changes nothing in the backend', async () => {
      const spec = await make();
      await driver.ensure({ ...spec, name: 'renamed' }, never);
      expect((await driver.inspect(spec.id))?.cidr).toBe(spec.cidr);
    });

    test('a network that overlaps with another is refused, and whose the other is stays untold', async () => {
      const spec = await make();
      const error = await refused(driver.ensure(networkSpec(spec.cidr.replace('/24', '/25')), never), 'bad_spec');
      expect(error.message).toContain('overlaps');
      for (const told of [spec.id, spec.name, spec.cidr]) expect(error.message).not.toContain(told);
    });

    test('words that are no network are refused', async () => {
      await refused(driver.ensure({ ...networkSpec('10.0.0.0/24'), cidr: '10.0.0.0/99' }, never), 'bad_spec');
      await refused(driver.ensure({ ...networkSpec(bench.freeCidr()), gateway: '192.0.2.1' }, never), 'bad_spec');
    });

    test('a changed network is made anew while nothing is on it', async () => {
      const spec = await make();
      const cidr = bench.freeCidr();
      const changed = { ...spec, cidr, gateway: cidr.replace('0/24', '1') };
      await driver.ensure(changed, never);
      expect(await driver.inspect(spec.id)).toEqual(changed);
    });

    test('a network in use is neither removed nor changed, running or stopped, and the sentence names the instance', async () => {
      const spec = await make();
      const instance = await bench.occupy(spec.id);
      try {
        expect((await refused(driver.remove(spec.id, never), 'busy')).message).toContain(instance.instanceId);
        const cidr = bench.freeCidr();
        await refused(driver.ensure({ ...spec, cidr, gateway: cidr.replace('0/24', '1') }, never), 'busy');
        await driver.ensure(spec, never);
        await instance.stop();
        expect((await refused(driver.remove(spec.id, never), 'busy')).message).toContain(instance.instanceId);
        expect(await driver.inspect(spec.id)).toEqual(spec);
      } finally {
        await instance.remove();
      }
      await driver.remove(spec.id, never);
      expect(await driver.inspect(spec.id)).toBeUndefined();
    });

    test('removing twice, also at once, is removing once, and the range is free again', async () => {
      const spec = await make();
      await Promise.all([driver.remove(spec.id, never), driver.remove(spec.id, never)]);
      await driver.remove(spec.id, never);
      expect((await driver.list()).map(({ id }) => id)).not.toContain(spec.id);
      await make(spec.cidr);
    });

    test('reserved ranges are networks, ours not among them', async () => {
      const spec = await make();
      const reserved = await driver.reserved();
      for (const cidr of reserved) expect(cidr).toMatch(/^\d+\.\d+\.\d+\.\d+\/\d+$/);
      expect(reserved).not.toContain(spec.cidr);
    });

    test('an aborted call does nothing', async () => {
      const spec = networkSpec(bench.freeCidr());
      await expect(driver.ensure(spec, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');
      expect(await driver.inspect(spec.id)).toBeUndefined();
    });
  });
}
