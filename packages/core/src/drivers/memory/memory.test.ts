// The memory backend under the conformance suites of instances and images, at size, and with faults.
import { expect, test } from 'vitest';
import { ManualClock } from '../../kernel/clock.ts';
import { imageConformance } from '../../services/image/driver.conformance.ts';
import { computeConformance } from '../../services/instance/driver.conformance.ts';
import type { InstanceSpec } from '../../services/instance/driver.ts';
import { memoryDrivers } from './index.ts';

const signal = new AbortController().signal;
const go = { signal, allowRestart: true };
const network = { id: 'vpc-1', name: 'main', cidr: '10.9.0.0/16', gateway: '10.9.0.1' };

async function backendWithNetwork(clock?: ManualClock) {
  const backend = memoryDrivers(clock === undefined ? {} : { clock });
  await backend.drivers.network.ensure(network, signal);
  backend.world.hostImage('busybox');
  return backend;
}

const specOf = (number: number): InstanceSpec => ({
  id: `i-${number}`,
  name: `web-${number}`,
  image: 'busybox',
  command: undefined,
  entrypoint: undefined,
  env: {},
  cpus: 1,
  memoryBytes: 64 * 1024 * 1024,
  pids: 16,
  networkId: network.id,
  address: `10.9.${Math.floor(number / 250)}.${(number % 250) + 2}`,
  ports: [{ hostAddress: '127.0.0.1', hostPort: 0, instancePort: 80, protocol: 'tcp' }],
  mounts: [],
  power: 'running',
  restartToken: '',
  stopTimeout: 1,
});

computeConformance('memory', async () => {
  const backend = await backendWithNetwork();
  let next = 0;
  return {
    driver: backend.drivers.compute,
    image: 'busybox',
    networkId: network.id,
    address: () => `10.9.200.${(next += 1)}`,
    volume: async () => {
      next += 1;
      await backend.drivers.volume.ensure({ id: `vol-${next}`, sizeBytes: 1024 * 1024 }, signal);
      return `vol-${next}`;
    },
    kill: async (id, exitCode) => backend.world.kill(id, exitCode),
    vanish: async (id) => backend.world.vanish(id),
    close: () => backend.close(),
  };
});

imageConformance('memory', async () => {
  const backend = await backendWithNetwork();
  return {
    driver: backend.drivers.image,
    present: 'busybox:latest',
    host: async (reference) => {
      backend.world.hostImage(reference, Math.random().toString());
    },
    use: async (content) => {
      await backend.drivers.compute.ensure({ ...specOf(1), content }, go);
      return () => backend.drivers.compute.remove('i-1', { signal, stopTimeout: 0 });
    },
    close: () => backend.close(),
  };
});

test('two hundred instances, each with a port of its own', async () => {
  const backend = await backendWithNetwork();
  const { compute } = backend.drivers;
  const observed = await Promise.all(Array.from({ length: 200 }, (_, number) => compute.ensure(specOf(number), go)));
  expect(new Set(observed.map(({ ports }) => ports[0]?.hostPort)).size).toBe(200);
  expect(await compute.list()).toHaveLength(200);
  await Promise.all(observed.map(({ id }) => compute.remove(id, { signal, stopTimeout: 0 })));
  expect(await compute.list()).toEqual([]);
});

test('a failed call does nothing, a lost answer does everything', async () => {
  const backend = await backendWithNetwork();
  const { compute } = backend.drivers;
  backend.faults.fail('compute.ensure', 2);
  for (const _ of [1, 2]) await expect(compute.ensure(specOf(1), go)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await compute.list()).toEqual([]);
  backend.faults.lose('compute.*');
  await expect(compute.ensure(specOf(1), go)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await compute.list()).toHaveLength(1);
});

test('a slow call waits on the clock and can be aborted before it does anything', async () => {
  const clock = new ManualClock(1_000_000);
  const backend = await backendWithNetwork(clock);
  const { compute } = backend.drivers;
  backend.faults.slow('compute.ensure', 500);
  const call = compute.ensure(specOf(1), go);
  await clock.advance(499);
  expect(await compute.list()).toEqual([]);
  await clock.advance(1);
  expect((await call).startedAt).toBe(1_000_500);
  const stop = new AbortController();
  const aborted = compute.ensure(specOf(2), { signal: stop.signal, allowRestart: true });
  stop.abort(new Error('enough'));
  await expect(aborted).rejects.toThrow('enough');
  expect(await compute.list()).toHaveLength(1);
});

test('an instance on an absent network or volume waits for it', async () => {
  const backend = await backendWithNetwork();
  const { compute } = backend.drivers;
  await expect(compute.ensure({ ...specOf(1), networkId: 'vpc-2' }, go)).rejects.toMatchObject({ code: 'busy' });
  await expect(compute.ensure({ ...specOf(1), mounts: [{ volumeId: 'vol-9', path: '/data', readOnly: false }] }, go)).rejects.toMatchObject({ code: 'busy' });
});
