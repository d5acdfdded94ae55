// The memory backend under the conformance suites of networks and volumes, and its faults.
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { expect, test } from 'vitest';
import type { InstanceSpec } from '../../services/instance/driver.ts';
import { volumeConformance } from '../../services/volume/driver.conformance.ts';
import { networkConformance, networkSpec } from '../../services/vpc/driver.conformance.ts';
import { unpack } from './files.ts';
import { memoryDrivers } from './index.ts';

const signal = new AbortController().signal;
let counter = 0;

/** An instance with this network and these volumes. */
async function occupy(backend: ReturnType<typeof memoryDrivers>, networkId: string, volumeIds: string[]) {
  const { compute } = backend.drivers;
  counter += 1;
  backend.world.hostImage('busybox');
  const spec: InstanceSpec = {
    id: `i-${counter}`,
    name: `i${counter}`,
    image: 'busybox',
    command: undefined,
    entrypoint: undefined,
    env: {},
    cpus: 1,
    memoryBytes: 64 * 1024 * 1024,
    pids: 16,
    networkId,
    address: '10.9.0.2',
    ports: [],
    mounts: volumeIds.map((volumeId) => ({ volumeId, path: `/${volumeId}`, readOnly: false })),
    power: 'running',
    restartToken: '',
    stopTimeout: 1,
  };
  await compute.ensure(spec, { signal, allowRestart: true });
  return {
    instanceId: spec.id,
    stop: async () => {
      await compute.ensure({ ...spec, power: 'stopped' }, { signal, allowRestart: true });
    },
    remove: () => compute.remove(spec.id, { signal, stopTimeout: 1 }),
  };
}

networkConformance('memory', async () => {
  const backend = memoryDrivers();
  let next = 0;
  return {
    driver: backend.drivers.network,
    freeCidr: () => `10.77.${next++}.0/24`,
    occupy: (networkId) => occupy(backend, networkId, []),
    close: () => backend.close(),
  };
});

volumeConformance('memory', async () => {
  const backend = memoryDrivers();
  const network = networkSpec('10.9.0.0/24');
  await backend.drivers.network.ensure(network, signal);
  const filesOf = (volumeId: string) => backend.world.volumes.get(volumeId)?.files ?? expect.fail(`no volume ${volumeId}`);
  return {
    driver: backend.drivers.volume,
    use: (volumeId) => occupy(backend, network.id, [volumeId]),
    write: async (volumeId, name, content) => {
      const pack = tar.pack();
      pack.entry({ name }, content);
      pack.finalize();
      await unpack(Readable.from(await buffer(pack)), '/', (path) => ({ files: filesOf(volumeId), path }));
    },
    read: async (volumeId, name) => filesOf(volumeId).get(`/${name}`)?.content.toString(),
    names: async (volumeId) => [...filesOf(volumeId).keys()].map((path) => path.slice(1)).sort(),
    close: () => backend.close(),
  };
});

test('faults reach networks and volumes by name', async () => {
  const backend = memoryDrivers();
  const { network, volume } = backend.drivers;
  backend.faults.fail('network.ensure');
  const spec = networkSpec('10.9.0.0/24');
  await expect(network.ensure(spec, signal)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await network.inspect(spec.id)).toBeUndefined();
  await network.ensure(spec, signal);
  backend.faults.lose('volume.*');
  await expect(volume.ensure({ id: 'vol-1', sizeBytes: 1 }, signal)).rejects.toMatchObject({ code: 'unavailable' });
  expect(await volume.inspect('vol-1')).toBeDefined();
});
