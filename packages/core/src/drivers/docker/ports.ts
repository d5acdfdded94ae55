// Choosing host ports ourselves where the spec says 0: the engine would choose anew at every start, and a user's URL would break.
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { PortMapping } from '../../services/instance/driver.ts';

/** Ports with a number in place of 0, the earlier choice where there was one for the same mapping. */
export async function choosePorts(wanted: PortMapping[], earlier: PortMapping[]): Promise<PortMapping[]> {
  const left = [...earlier];
  return Promise.all(
    wanted.map(async (mapping) => {
      if (mapping.hostPort !== 0) return mapping;
      const index = left.findIndex(
        (each) => each.instancePort === mapping.instancePort && each.protocol === mapping.protocol && each.hostAddress === mapping.hostAddress,
      );
      const kept = index < 0 ? undefined : left.splice(index, 1)[0];
      return { ...mapping, hostPort: kept?.hostPort ?? (await freePort(mapping)) };
    }),
  );
}

/** A port that is free now. An address of another machine (a remote engine) cannot be asked: any address's free port is as good a guess. */
function freePort({ hostAddress, protocol }: PortMapping): Promise<number> {
  return probe(protocol, hostAddress).catch(() => probe(protocol, undefined));
}

function probe(protocol: PortMapping['protocol'], address: string | undefined): Promise<number> {
  return new Promise((resolve, reject) => {
    if (protocol === 'tcp') {
      const server = createServer();
      server.once('error', reject);
      server.listen({ port: 0, ...(address === undefined ? {} : { host: address }) }, () => {
        const bound = server.address();
        server.close(() => (typeof bound === 'object' && bound !== null ? resolve(bound.port) : reject(new Error('No port was bound'))));
      });
    } else {
      const socket = createSocket(address?.includes(':') ? 'udp6' : 'udp4');
      socket.once('error', reject);
      socket.bind({ port: 0, ...(address === undefined ? {} : { address }) }, () => {
        const { port } = socket.address();
        socket.close(() => resolve(port));
      });
    }
  });
}
