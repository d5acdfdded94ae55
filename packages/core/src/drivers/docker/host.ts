// The machine this process runs on, and whether Docker Engine runs on the same one.
import { readFile } from 'node:fs/promises';
import { hostname, networkInterfaces, release } from 'node:os';
import { networkOf } from './cidr.ts';
import type { DockerClient } from './client.ts';

interface EngineInfo {
  Name?: string;
  KernelVersion?: string;
  SecurityOptions?: string[] | null;
}

/**
 * Whether the engine shares this process's kernel, host name and Unix socket: then its bridges, routes and files are those seen here.
 * A remote engine, one in a virtual machine, a rootless one (it lives in namespaces of its own), or a daemon in a container with the
 * engine's socket mounted all say no.
 */
export async function engineIsLocal(client: DockerClient): Promise<boolean> {
  const modem = client.docker.modem as { socketPath?: string };
  if (modem.socketPath === undefined || process.platform !== 'linux') return false;
  const info = (await client.docker.info()) as EngineInfo;
  const rootless = info.SecurityOptions?.some((option) => option.includes('rootless')) ?? false;
  return !rootless && info.Name === hostname() && info.KernelVersion === release();
}

export interface HostRange {
  cidr: string;
  interface: string;
}

/** Networks that the host's interfaces and main routing table already lead to; the default route is not one. */
export async function hostRanges(): Promise<HostRange[]> {
  const ranges: HostRange[] = [];
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    for (const address of addresses ?? []) {
      if (address.family !== 'IPv4' || address.cidr === null) continue;
      ranges.push({ cidr: networkOf(address.address, Number(address.cidr.split('/')[1])), interface: name });
    }
  }
  const [, ...routes] = (await readFile('/proc/net/route', 'utf8')).trimEnd().split('\n');
  for (const route of routes) {
    const [name = '', destination = '', , , , , , mask = ''] = route.split(/\s+/);
    const prefix = Number.parseInt(mask, 16).toString(2).replaceAll('0', '').length;
    if (prefix === 0) continue;
    // The kernel prints the address as a number in the machine's byte order.
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(Number.parseInt(destination, 16));
    ranges.push({ cidr: `${bytes.join('.')}/${prefix}`, interface: name });
  }
  return ranges;
}

export const isRoot = (): boolean => process.getuid?.() === 0;

/** Its number, in <linux/capability.h>. */
const CAP_NET_ADMIN = 12n;

/** Whether programs that this process starts may change the packet filter: those of root, and of who was given the capability as an ambient one. */
export async function administersNetworks(): Promise<boolean> {
  if (isRoot()) return true;
  const [, ambient] = /^CapAmb:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8')) ?? [];
  return ambient !== undefined && (BigInt(`0x${ambient}`) & (1n << CAP_NET_ADMIN)) !== 0n;
}

/** The command that starts a daemon with that capability alone, for those who do not want one of root. */
export const CAPABLE_START = 'sudo setpriv --reuid $(id -u) --regid $(id -g) --init-groups --inh-caps +net_admin --ambient-caps +net_admin cloud daemon start';
