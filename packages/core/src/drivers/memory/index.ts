// The memory backend as one set. User-visible (`--driver memory`): it keeps every promise of the ports except that anything runs,
// and it forgets everything when the process ends.
import type { Clock } from '../../kernel/clock.ts';
import type { DriverSet } from '../../kernel/driver.ts';
import { MemoryCompute } from './compute.ts';
import { MemoryDns } from './dns.ts';
import type { Faults } from './faults.ts';
import { MemoryImage } from './image.ts';
import { MemoryNetwork } from './network.ts';
import { MemoryObjectStore } from './object-store.ts';
import { MemoryVolume } from './volume.ts';
import { MemoryWorld } from './world.ts';

export interface MemoryDriverSet extends DriverSet {
  readonly drivers: Readonly<{
    compute: MemoryCompute;
    network: MemoryNetwork;
    volume: MemoryVolume;
    image: MemoryImage;
    'object-store': MemoryObjectStore;
    dns: MemoryDns;
  }>;
  /** Trouble on demand. */
  readonly faults: Faults;
  /** What the backend really holds, for tests that look or act behind the drivers' back. */
  readonly world: MemoryWorld;
}

export function memoryDrivers(options: { clock?: Clock } = {}): MemoryDriverSet {
  const world = new MemoryWorld(options.clock);
  return {
    name: 'memory',
    drivers: {
      compute: new MemoryCompute(world),
      network: new MemoryNetwork(world),
      volume: new MemoryVolume(world),
      image: new MemoryImage(world),
      'object-store': new MemoryObjectStore(world),
      dns: new MemoryDns(world),
    },
    faults: world.faults,
    world,
    close: async () => {},
  };
}
