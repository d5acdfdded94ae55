// What every volume driver must do, as one body of tests. A driver's own test file says how to make one and calls this.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import type { VolumeDriver, VolumeSpec } from './driver.ts';

export interface VolumeBench {
  driver: VolumeDriver;
  /** Mounts the volume into a running instance, the way the backend's compute driver does. */
  use(volumeId: string): Promise<{ instanceId: string; stop(): Promise<void>; remove(): Promise<void> }>;
  /** Writes a file through an instance of its own that is gone afterwards. */
  write(volumeId: string, name: string, content: string): Promise<void>;
  /** Reads a file likewise; undefined when there is none. */
  read(volumeId: string, name: string): Promise<string | undefined>;
  /** Every name at the volume's root. */
  names(volumeId: string): Promise<string[]>;
  close(): Promise<void>;
}

export const MIB = 1024 * 1024;
const never = new AbortController().signal;
let counter = 0;

const newId = (prefix: string): string => {
  counter += 1;
  return `${prefix}-${Math.random().toString(36).slice(2, 10)}${counter}`;
};

async function refused(call: Promise<unknown>, code: DriverError['code']): Promise<DriverError> {
  const error = await call.then(
    () => expect.fail(`expected DriverError ${code}, but the call succeeded`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DriverError);
  expect(error).toMatchObject({ code });
  return error as DriverError;
}

export function volumeConformance(backend: string, setUp: () => Promise<VolumeBench>): void {
  describe(`volume driver ${backend}`, () => {
    let bench: VolumeBench;
    let driver: VolumeDriver;
    const volumes = new Set<string>();
    const snapshots = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.driver;
    });

    afterAll(async () => {
      for (const id of snapshots) await driver.removeSnapshot(id, never);
      for (const id of volumes) await driver.remove(id, never);
      await bench.close();
    });

    const make = async (spec: Partial<VolumeSpec> = {}): Promise<VolumeSpec> => {
      const full = { id: newId('vol'), sizeBytes: 16 * MIB, ...spec };
      volumes.add(full.id);
      await driver.ensure(full, never);
      return full;
    };

    const snapshot = async (volumeId: string): Promise<string> => {
      const id = newId('snap');
      snapshots.add(id);
      await driver.ensureSnapshot({ id, volumeId }, never);
      return id;
    };

    test('answers a ping and reports what it enforces', async () => {
      await driver.ping();
      const report = await driver.report();
      const size = report.features.find(({ name }) => name === 'size');
      expect(size?.level).toBe(driver.capabilities.sizeEnforced ? 'enforced' : 'recorded');
      for (const feature of report.features) expect(feature.detail).not.toBe('');
      for (const check of report.checks) expect(check.ok || check.remedy !== undefined, check.name).toBe(true);
    });

    test('a new volume is empty, is found, and says what is enforced', async () => {
      const before = Date.now();
      const spec = await make();
      const observed = await driver.inspect(spec.id);
      expect(observed).toMatchObject({ id: spec.id, sizeBytes: driver.capabilities.sizeEnforced ? spec.sizeBytes : undefined });
      expect(await driver.ensure(spec, never)).toEqual(observed);
      const found = (await driver.list()).find(({ id }) => id === spec.id);
      expect(Math.abs((found?.createdAt ?? 0) - before)).toBeLessThan(60_000);
      expect(await bench.names(spec.id)).toEqual([]);
    });

    test('what does not exist is undefined, not an error, and removing it is fine', async () => {
      expect(await driver.inspect('vol-absent')).toBeUndefined();
      await driver.remove('vol-absent', never);
      await driver.removeSnapshot('snap-absent', never);
    });

    test('ensuring twice, also at once, is ensuring once', async () => {
      const spec = { id: newId('vol'), sizeBytes: 16 * MIB };
      volumes.add(spec.id);
      await Promise.all([driver.ensure(spec, never), driver.ensure(spec, never), driver.ensure(spec, never)]);
      expect((await driver.list()).filter(({ id }) => id === spec.id)).toHaveLength(1);
      await bench.write(spec.id, 'kept', 'yes');
      await driver.ensure(spec, never);
      expect(await bench.read(spec.id, 'kept')).toBe('yes');
    });

    test('sizes that are no sizes, and shrinking, are refused', async () => {
      await refused(driver.ensure({ id: newId('vol'), sizeBytes: 0 }, never), 'bad_spec');
      await refused(driver.ensure({ id: newId('vol'), sizeBytes: 1.5 }, never), 'bad_spec');
      const spec = await make();
      await refused(driver.ensure({ ...spec, sizeBytes: 8 * MIB }, never), 'bad_spec');
      expect(await driver.inspect(spec.id)).toBeDefined();
    });

    test('an idle volume grows and keeps its files', async () => {
      const spec = await make();
      await bench.write(spec.id, 'a', 'before');
      const grown = { ...spec, sizeBytes: 48 * MIB };
      const observed = await driver.ensure(grown, never);
      expect(observed.sizeBytes).toBe(driver.capabilities.sizeEnforced ? grown.sizeBytes : undefined);
      expect(await bench.read(spec.id, 'a')).toBe('before');
      expect(await bench.names(spec.id)).toEqual(['a']);
    });

    test('a volume in use grows where the driver says so, and is busy elsewhere', async () => {
      const spec = await make();
      const instance = await bench.use(spec.id);
      const grown = { ...spec, sizeBytes: 48 * MIB };
      try {
        if (driver.capabilities.onlineResize) await driver.ensure(grown, never);
        else expect((await refused(driver.ensure(grown, never), 'busy')).message).toContain(instance.instanceId);
      } finally {
        await instance.remove();
      }
      await driver.ensure(grown, never);
    });

    test('files outlive the instances that wrote them', async () => {
      const spec = await make();
      await bench.write(spec.id, 'a', 'first');
      await bench.write(spec.id, 'b', 'second');
      expect(await bench.read(spec.id, 'a')).toBe('first');
      expect(await bench.read(spec.id, 'b')).toBe('second');
      expect(await bench.read(spec.id, 'c')).toBeUndefined();
    });

    test('a volume that an instance mounts is not removed, running or stopped, and the sentence names the instance', async () => {
      const spec = await make();
      const instance = await bench.use(spec.id);
      try {
        expect((await refused(driver.remove(spec.id, never), 'busy')).message).toContain(instance.instanceId);
        await instance.stop();
        expect((await refused(driver.remove(spec.id, never), 'busy')).message).toContain(instance.instanceId);
      } finally {
        await instance.remove();
      }
      await driver.remove(spec.id, never);
      expect(await driver.inspect(spec.id)).toBeUndefined();
      expect((await driver.list()).map(({ id }) => id)).not.toContain(spec.id);
      await driver.remove(spec.id, never);
    });

    test('a snapshot keeps what the volume held, outlives it, and fills new volumes', async () => {
      const spec = await make();
      await bench.write(spec.id, 'a', 'then');
      const id = await snapshot(spec.id);
      await bench.write(spec.id, 'a', 'now');
      await driver.remove(spec.id, never);
      expect((await driver.listSnapshots()).map((found) => found.id)).toContain(id);
      const copy = await make({ fromSnapshot: id });
      expect(await bench.read(copy.id, 'a')).toBe('then');
      expect(await bench.names(copy.id)).toEqual(['a']);
      const larger = await make({ fromSnapshot: id, sizeBytes: 64 * MIB });
      expect(await bench.read(larger.id, 'a')).toBe('then');
      expect((await driver.inspect(larger.id))?.sizeBytes).toBe(driver.capabilities.sizeEnforced ? larger.sizeBytes : undefined);
    });

    test('a snapshot is taken while the volume is in use, and taking it again touches nothing', async () => {
      const spec = await make();
      await bench.write(spec.id, 'a', 'one');
      const instance = await bench.use(spec.id);
      const id = newId('snap');
      snapshots.add(id);
      try {
        const first = await driver.ensureSnapshot({ id, volumeId: spec.id }, never);
        expect(first.sizeBytes).toBeGreaterThanOrEqual(0);
        await bench.write(spec.id, 'a', 'two');
        expect(await driver.ensureSnapshot({ id, volumeId: spec.id }, never)).toEqual(first);
      } finally {
        await instance.remove();
      }
      const copy = await make({ fromSnapshot: id });
      expect(await bench.read(copy.id, 'a')).toBe('one');
    });

    test('the snapshot of a volume is looked at only when the volume is new', async () => {
      const spec = await make();
      await driver.ensure({ ...spec, fromSnapshot: 'snap-gone' }, never);
      await refused(driver.ensure({ id: newId('vol'), sizeBytes: 16 * MIB, fromSnapshot: 'snap-gone' }, never), 'bad_spec');
    });

    test('a snapshot of no volume, and a volume too small for its snapshot, are refused and leave nothing', async () => {
      await refused(driver.ensureSnapshot({ id: newId('snap'), volumeId: 'vol-absent' }, never), 'bad_spec');
      const spec = await make();
      await bench.write(spec.id, 'big', 'x'.repeat(6 * MIB));
      const id = await snapshot(spec.id);
      const small = newId('vol');
      await refused(driver.ensure({ id: small, sizeBytes: 5 * MIB, fromSnapshot: id }, never), 'bad_spec');
      expect(await driver.inspect(small)).toBeUndefined();
    });

    test('removed snapshots are gone and their volumes stay', async () => {
      const spec = await make();
      const id = await snapshot(spec.id);
      await Promise.all([driver.removeSnapshot(id, never), driver.removeSnapshot(id, never)]);
      expect((await driver.listSnapshots()).map((found) => found.id)).not.toContain(id);
      expect(await driver.inspect(spec.id)).toBeDefined();
    });

    test('an aborted call does nothing', async () => {
      const id = newId('vol');
      await expect(driver.ensure({ id, sizeBytes: 16 * MIB }, AbortSignal.abort(new Error('stop')))).rejects.toThrow('stop');
      expect(await driver.inspect(id)).toBeUndefined();
    });
  });
}
