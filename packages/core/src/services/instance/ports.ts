// Host ports: chosen once, given to one instance, told apart by address, port and protocol.
import dgram from 'node:dgram';
import net from 'node:net';
import type { Kysely } from 'kysely';
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

/** Replaces 0 by free ports, and refuses ports that another program of the host listens on. `own` are ports that the instance has already. */
export async function chooseHostPorts(ports: readonly PortMapping[], own: readonly PortMapping[] = []): Promise<PortMapping[]> {
  const chosen: PortMapping[] = [];
  for (const [index, port] of ports.entries()) {
    const kept = own.find(
      (other) =>
        other.instancePort === port.instancePort &&
        other.protocol === port.protocol &&
        other.hostAddress === port.hostAddress &&
        (port.hostPort === 0 || other.hostPort === port.hostPort),
    );
    if (kept !== undefined) {
      chosen.push(kept);
      continue;
    }
    try {
      chosen.push({ ...port, hostPort: await bindOnce(port) });
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const path = `ports.${index}.${code === 'EADDRNOTAVAIL' ? 'hostAddress' : 'hostPort'}`;
      if (code === 'EADDRINUSE') {
        throw new Fault('conflict', `Port ${port.hostPort}/${port.protocol} on ${port.hostAddress} is in use on this host`, {
          details: [{ path, message: 'use another port, or 0 for a free one' }],
        });
      }
      if (code === 'EADDRNOTAVAIL') {
        throw new Fault('invalid_input', `${port.hostAddress} is not an address of this host`, {
          details: [{ path, message: 'use 127.0.0.1, 0.0.0.0 or an address of this host' }],
        });
      }
      // Ports below 1024 need a right that the backend may have and this process not.
      if (code === 'EACCES') chosen.push(port);
      else throw error;
    }
  }
  return chosen;
}

/** Writes down who has which port, in the instance's transaction. Another instance's port is a `conflict`. */
export async function reservePorts(sql: unknown, instanceId: string, ports: readonly PortMapping[]): Promise<void> {
  const db = sql as Kysely<InstanceTables>;
  await db.deleteFrom('instance_port').where('instance_id', '=', instanceId).execute();
  for (const [index, port] of ports.entries()) {
    const others = await db.selectFrom('instance_port').selectAll().where('host_port', '=', port.hostPort).where('protocol', '=', port.protocol).execute();
    if (others.some((other) => clash(other.host_address, port.hostAddress))) {
      throw new Fault('conflict', `Port ${port.hostPort}/${port.protocol} on ${port.hostAddress} is published by another instance`, {
        details: [{ path: `ports.${index}.hostPort`, message: 'use another port, or 0 for a free one' }],
      });
    }
    await db
      .insertInto('instance_port')
      .values({ instance_id: instanceId, host_address: port.hostAddress, host_port: port.hostPort, protocol: port.protocol })
      .execute();
  }
}
