// Host ports: chosen once, given to one instance, told apart by address, port and protocol.
import dgram from 'node:dgram';
import net from 'node:net';
import type { Kysely } from 'kysely';
import type { Clock } from '../../kernel/clock.ts';
import { Fault } from '../../kernel/errors.ts';
import type { PortMapping } from './driver.ts';
import type { InstanceTables } from './tables.ts';

const WILDCARD = new Set(['0.0.0.0', '::']);
const clash = (a: string, b: string): boolean => a === b || WILDCARD.has(a) || WILDCARD.has(b);

/** Binds for a moment: 0 asks the host for a free port. Rejects with the host's reason (EADDRINUSE, EACCES, EADDRNOTAVAIL). */
async function bindOnce({ hostAddress, hostPort, protocol }: PortMapping): Promise<number> {
  if (protocol === 'udp') {
    const socket = dgram.createSocket(net.isIPv6(hostAddress) ? 'udp6' : 'udp4');
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(error);
      });
      socket.bind(hostPort, hostAddress, () => {
        const { port } = socket.address();
        socket.close(() => resolve(port));
      });
    });
  }
  const server = net.createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(hostPort, hostAddress, () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

const same = (a: PortMapping, b: PortMapping): boolean => a.hostPort === b.hostPort && a.protocol === b.protocol && clash(a.hostAddress, b.hostAddress);

/** How often a free port is asked for before the host is called out of ports. */
const MOST_TRIES = 100;
/** Between the choice of a port and its reservation nobody else is given it; longer than any create takes. */
const PROMISED_MS = 10_000;

/** Chooses host ports for one installation. */
export class PortChooser {
  readonly #db: Kysely<InstanceTables>;
  readonly #clock: Clock;
  readonly #promised = new Map<string, number>();

  constructor(db: unknown, clock: Clock) {
    this.#db = db as Kysely<InstanceTables>;
    this.#clock = clock;
  }

  /** Replaces 0 by free ports, and refuses ports that another program of the host listens on. `own` are ports that the instance has already. */
  async choose(tenantId: string, ports: readonly PortMapping[], own: readonly PortMapping[] = []): Promise<PortMapping[]> {
    const chosen: PortMapping[] = [];
    const left = [...own];
    for (const [index, port] of ports.entries()) {
      const kept = left.findIndex(
        (other) =>
          other.instancePort === port.instancePort &&
          other.protocol === port.protocol &&
          other.hostAddress === port.hostAddress &&
          (port.hostPort === 0 || other.hostPort === port.hostPort),
      );
      if (kept >= 0) chosen.push(...left.splice(kept, 1));
      // Its own listener is no other program.
      else if (own.some((other) => same(other, port))) chosen.push(port);
      else chosen.push(await this.#bound(tenantId, port, index, [...own, ...chosen]));
    }
    return chosen;
  }

  async #bound(tenantId: string, port: PortMapping, index: number, beside: readonly PortMapping[]): Promise<PortMapping> {
    try {
      for (let tries = 0; tries < MOST_TRIES; tries++) {
        const found = { ...port, hostPort: await bindOnce(port) };
        if (port.hostPort !== 0) return found;
        // What a stopped instance has looks free to the host.
        if (!beside.some((other) => same(other, found)) && !(await this.#taken(found)) && this.#promise(found)) return found;
      }
      throw new Fault('conflict', `No free ${port.protocol} port was found on ${port.hostAddress}`, {
        details: [{ path: `ports.${index}.hostPort`, message: 'name a port' }],
      });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const path = `ports.${index}.${code === 'EADDRNOTAVAIL' ? 'hostAddress' : 'hostPort'}`;
      if (code === 'EADDRINUSE') {
        throw await portInUse(this.#db, tenantId, port, index);
      }
      if (code === 'EADDRNOTAVAIL') {
        throw new Fault('invalid_input', `${port.hostAddress} is not an address of this host`, {
          details: [{ path, message: 'use 127.0.0.1, 0.0.0.0 or an address of this host' }],
        });
      }
      // Ports below 1024 need a right that the backend may have and this process not.
      if (code === 'EACCES') return port;
      throw error;
    }
  }

  async #taken({ hostPort, protocol }: PortMapping): Promise<boolean> {
    const found = await this.#db
      .selectFrom('instance_port')
      .select('instance_id')
      .where('host_port', '=', hostPort)
      .where('protocol', '=', protocol)
      .executeTakeFirst();
    return found !== undefined;
  }

  /** False when somebody else was given it just now. */
  #promise({ hostPort, protocol }: PortMapping): boolean {
    const now = this.#clock.now();
    for (const [key, until] of this.#promised) if (until <= now) this.#promised.delete(key);
    const key = `${hostPort}/${protocol}`;
    if (this.#promised.has(key)) return false;
    this.#promised.set(key, now + PROMISED_MS);
    return true;
  }
}

/** Of what another tenant has a tenant learns no more than of any other program: that the port is not free. */
async function portInUse(db: Kysely<InstanceTables>, tenantId: string, port: PortMapping, index: number): Promise<Fault> {
  const found = await db
    .selectFrom('instance_port')
    .innerJoin('r_instance', 'r_instance.id', 'instance_port.instance_id')
    .select(['r_instance.name', 'instance_port.host_address'])
    .where('r_instance.tenant', '=', tenantId)
    .where('host_port', '=', port.hostPort)
    .where('protocol', '=', port.protocol)
    .execute();
  const own = found.find(({ host_address }) => clash(host_address, port.hostAddress));
  return new Fault(
    'conflict',
    `Port ${port.hostPort}/${port.protocol} on ${port.hostAddress} is in use ${own === undefined ? 'on this host' : `by the instance ${own.name}`}`,
    {
      hint: own === undefined ? `ss -lnp 'sport = :${port.hostPort}'` : `cloud instance get ${own.name}`,
      details: [{ path: `ports.${index}.hostPort`, message: 'use another port, or 0 for a free one' }],
    },
  );
}

/** Refuses a list in which one port of the host stands twice; 0 stands for ports that are different anyway. */
export function refuseTwice(ports: readonly PortMapping[]): void {
  for (const [index, port] of ports.entries()) {
    if (port.hostPort === 0 || !ports.slice(0, index).some((other) => same(other, port))) continue;
    throw new Fault('invalid_input', `ports.${index}: ${port.hostAddress}:${port.hostPort}/${port.protocol} is given twice`, {
      details: [{ path: `ports.${index}`, message: 'give each host port once' }],
    });
  }
}

/** Writes down who has which port, in the instance's transaction. Another instance's port is a `conflict`. */
export async function reservePorts(sql: unknown, tenantId: string, instanceId: string, ports: readonly PortMapping[]): Promise<void> {
  const db = sql as Kysely<InstanceTables>;
  await db.deleteFrom('instance_port').where('instance_id', '=', instanceId).execute();
  for (const [index, port] of ports.entries()) {
    const others = await db.selectFrom('instance_port').selectAll().where('host_port', '=', port.hostPort).where('protocol', '=', port.protocol).execute();
    if (others.some((other) => clash(other.host_address, port.hostAddress))) {
      throw await portInUse(db, tenantId, port, index);
    }
    await db
      .insertInto('instance_port')
      .values({ instance_id: instanceId, host_address: port.hostAddress, host_port: port.hostPort, protocol: port.protocol })
      .execute();
  }
}
