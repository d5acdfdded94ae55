// The Docker backend as one set: four drivers over one connection.
import type { DriverSet } from '../../kernel/driver.ts';
import { DockerClient, type DockerOptions } from './client.ts';
import { DockerCompute } from './compute.ts';
import { DockerImage } from './image.ts';
import { DockerNetwork } from './network.ts';
import { DockerVolume } from './volume.ts';

export type { DockerOptions } from './client.ts';

/** Makes no demand on the engine: one that is away shows at the first call, as DriverError('unavailable'). */
export async function dockerDrivers(options: DockerOptions): Promise<DriverSet> {
  const client = new DockerClient(options);
  const volume = await DockerVolume.create(client);
  const network = new DockerNetwork(client);
  const compute = new DockerCompute(client, volume, { onRunning: (running, signal) => network.bind(running, signal) });
  return {
    name: 'docker',
    drivers: { compute, network, volume, image: await DockerImage.create(client) },
    close: async () => {},
  };
}
