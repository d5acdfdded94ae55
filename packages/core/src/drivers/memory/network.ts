// Networks that exist as records. Overlap and use are refused as a real backend refuses them; there are no packets to keep apart.
import { BlockList } from 'node:net';
import type { DriverReport, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { NetworkDriver, NetworkSpec, Plane, ProbePacket } from '../../services/vpc/driver.ts';
import type { MemoryWorld } from './world.ts';

export class MemoryNetwork implements NetworkDriver {
  readonly #world: MemoryWorld;

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#world.faults.run('network.ping', signal, () => {});
  }

  async report(): Promise<DriverReport> {
    return {
      driver: 'memory',
      features: [
        { name: 'isolation', level: 'recorded', detail: 'Nothing runs, so no packet can cross' },
        { name: 'addresses', level: 'recorded', detail: 'Networks that overlap are refused; no interface carries them' },
        { name: 'names', level: 'recorded', detail: 'Nothing resolves the names of instances' },
      ],
      checks: [{ name: 'memory', ok: true, detail: `${this.#world.networks.size} networks in this process` }],
    };
  }

  ensure(spec: NetworkSpec, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('network.ensure', signal, () => {
      const present = this.#world.networks.get(spec.id);
      if (present !== undefined && present.spec.cidr === spec.cidr && present.spec.gateway === spec.gateway) return;
      if (!contains(spec.cidr, spec.gateway)) throw new DriverError('bad_spec', `Gateway ${spec.gateway} is not an address of ${spec.cidr}`);
      this.#refuseWhileUsed(spec.id);
      for (const other of this.#world.networks.values()) {
        if (other.spec.id !== spec.id && overlap(other.spec.cidr, spec.cidr)) {
          throw new DriverError('bad_spec', `${spec.cidr} overlaps with a network that is there already`);
        }
      }
      this.#world.networks.set(spec.id, { spec: { ...spec }, createdAt: present?.createdAt ?? this.#world.clock.now() });
    });
  }

  remove(id: string, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('network.remove', signal, () => {
      if (!this.#world.networks.has(id)) return;
      this.#refuseWhileUsed(id);
      this.#world.networks.delete(id);
    });
  }

  inspect(id: string): Promise<NetworkSpec | undefined> {
    return this.#world.faults.run('network.inspect', undefined, () => structuredClone(this.#world.networks.get(id)?.spec));
  }

  list(): Promise<Found[]> {
    return this.#world.faults.run('network.list', undefined, () =>
      [...this.#world.networks.values()].map(({ spec, createdAt }) => ({ id: spec.id, createdAt })),
    );
  }

  /** This backend has no host. */
  reserved(): Promise<string[]> {
    return this.#world.faults.run('network.reserved', undefined, () => []);
  }

  async gatewaysHere(): Promise<boolean> {
    return false;
  }

  apply(plane: Plane, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('network.apply', signal, () => {
      this.#world.plane = structuredClone(plane);
    });
  }

  refusal(): Promise<string | undefined> {
    return this.#world.faults.run('network.refusal', undefined, () => this.#world.refusal);
  }

  inForce(signal: AbortSignal): Promise<boolean> {
    return this.#world.faults.run('network.inForce', signal, () => this.#world.plane !== undefined);
  }

  probe(_packet: ProbePacket, signal: AbortSignal): Promise<{ passes: boolean; detail: string }> {
    return this.#world.faults.run('network.probe', signal, () => {
      throw new DriverError('bad_spec', 'The memory driver carries no packets');
    });
  }

  #refuseWhileUsed(id: string): void {
    const users = this.#world.instancesOnNetwork(id);
    if (users.length > 0) throw new DriverError('busy', `Network ${id} is in use by ${users.join(', ')}`);
  }
}

function contains(cidr: string, address: string): boolean {
  const [base = '', prefix = ''] = cidr.split('/');
  const block = new BlockList();
  try {
    block.addSubnet(base, Number(prefix), 'ipv4');
  } catch (error) {
    throw new DriverError('bad_spec', `${cidr} is not an IPv4 network`, { cause: error });
  }
  return block.check(address, 'ipv4');
}

const overlap = (a: string, b: string): boolean => contains(a, b.split('/')[0] ?? '') || contains(b, a.split('/')[0] ?? '');
