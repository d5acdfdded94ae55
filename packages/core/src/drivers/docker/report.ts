// What the engine of this machine makes true, in words for `cloud system info` and `cloud system doctor`.
import { statfs } from 'node:fs/promises';
import type { Check, DriverReport, Feature, Level } from '../../kernel/driver.ts';
import type { DriverError } from '../../kernel/errors.ts';
import { type DockerClient, translate } from './client.ts';
import { engineIsLocal } from './host.ts';

interface EngineInfo {
  ServerVersion: string;
  Driver: string;
  CgroupVersion?: string;
  CgroupDriver?: string;
  DockerRootDir: string;
  MemoryLimit: boolean;
  SwapLimit: boolean;
  PidsLimit: boolean;
  CpuCfsQuota: boolean;
  NCPU: number;
  MemTotal: number;
  SecurityOptions?: string[] | null;
  OperatingSystem: string;
}

const LEAST_FREE = 2 * 1024 ** 3;
const gib = (bytes: number): string => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;

/** The first line of a report: whether the engine answers. A driver's other checks make sense only then. */
export const awayReport = (error: DriverError): DriverReport => ({
  driver: 'docker',
  features: [],
  checks: [{ name: 'docker', ok: false, detail: error.message, ...(error.hint === undefined ? {} : { remedy: error.hint }) }],
});

export async function engineInfo(client: DockerClient, signal?: AbortSignal): Promise<EngineInfo | DriverError> {
  try {
    await client.ping(signal);
    return (await client.docker.info()) as EngineInfo;
  } catch (error) {
    return translate(error, 'Docker Engine does not answer');
  }
}

export async function computeReport(client: DockerClient, signal?: AbortSignal): Promise<DriverReport> {
  const info = await engineInfo(client, signal);
  if (info instanceof Error) return awayReport(info);
  const local = await engineIsLocal(client).catch(() => false);
  const rootless = info.SecurityOptions?.some((option) => option.includes('rootless')) ?? false;
  const cgroup = `cgroup v${info.CgroupVersion ?? '1'} by ${info.CgroupDriver ?? 'the engine'}`;
  const limit = (name: string, works: boolean, detail: string): Feature => ({
    name,
    level: works ? 'enforced' : 'recorded',
    detail: works ? `${detail}, ${cgroup}` : `This engine has no such control (${cgroup})`,
  });
  const always = (name: string, detail: string, level: Level = 'enforced'): Feature => ({ name, level, detail });
  const features: Feature[] = [
    limit('cpu', info.CpuCfsQuota, 'A share of time per period'),
    limit('memory', info.MemoryLimit, info.SwapLimit ? 'Killed beyond it, no swap' : 'Killed beyond it; swap comes on top'),
    limit('pids', info.PidsLimit, 'Forking fails beyond it'),
    always('own disk', "The size of an instance's own file system is not limited; that of a volume is where the volume driver says so", 'recorded'),
    always('process isolation', 'Kernel namespaces and the default seccomp profile; the kernel itself is shared'),
    always('pause', 'Freezes all processes'),
    always('resize', 'CPU, memory and pids change while running'),
    always('volumes', 'Attaching and detaching needs a restart of the instance, which keeps its files'),
    always('ports', 'Published by the engine; a port chosen by the driver stays the same over stop and start'),
    always('cloud-init', 'Executed in the instance at its first boot'),
    always(
      'exec kill',
      local ? 'SIGKILL by the host' : 'Streams end; the program is left alone, because the engine is on another machine',
      local ? 'enforced' : 'recorded',
    ),
    always(
      'connect',
      local ? 'TCP to private addresses from this machine' : 'This machine has no route to private addresses; publish a port',
      local ? 'enforced' : 'unsupported',
    ),
  ];
  const missing = [!info.CpuCfsQuota && 'cpu', !info.MemoryLimit && 'memory', !info.PidsLimit && 'pids'].filter((name) => name !== false);
  const checks: Check[] = [
    { name: 'docker', ok: true, detail: `Docker Engine ${info.ServerVersion} on ${info.OperatingSystem}, ${info.NCPU} CPUs, ${gib(info.MemTotal)}` },
    {
      name: 'storage driver',
      ok: info.Driver !== 'vfs',
      detail: info.Driver === 'vfs' ? 'vfs copies every image for every instance' : info.Driver,
      ...(info.Driver === 'vfs' ? { remedy: 'set "storage-driver": "overlay2" in /etc/docker/daemon.json and restart Docker Engine' } : {}),
    },
    {
      name: 'limits',
      ok: missing.length === 0,
      detail: missing.length === 0 ? `CPU, memory and pids, ${cgroup}` : `No limit on ${missing.join(', ')}`,
      ...(missing.length === 0
        ? {}
        : {
            remedy: rootless
              ? 'delegate the cgroup controllers to your user (systemd: Delegate=cpu memory pids)'
              : 'boot with cgroup_enable=memory swapaccount=1',
          }),
    },
  ];
  if (local) checks.push(await spaceCheck(info.DockerRootDir));
  return { driver: 'docker', version: info.ServerVersion, features, checks };
}

async function spaceCheck(directory: string): Promise<Check> {
  const space = await statfs(directory).catch((error: NodeJS.ErrnoException) => error);
  if (space instanceof Error) return { name: 'docker space', ok: true, detail: `${directory} is not ours to look at (${space.code ?? space.message})` };
  const free = space.bavail * space.bsize;
  return {
    name: 'docker space',
    ok: free >= LEAST_FREE,
    detail: `${gib(free)} free in ${directory}`,
    ...(free >= LEAST_FREE ? {} : { remedy: 'docker system df  # then: docker image prune' }),
  };
}
