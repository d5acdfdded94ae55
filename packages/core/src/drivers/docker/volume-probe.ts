// Finds out by trying whether the engine mounts loop devices that this process makes, and whether a mounted file system grows here.
import { mkdir, mkdtemp, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DriverError } from '../../kernel/errors.ts';
import { type DockerClient, unlessAbsent } from './client.ts';
import { makeFileSystem } from './ext4.ts';
import { engineIsLocal, isRoot } from './host.ts';
import { attachLoop, detachLoop } from './loop.ts';
import { installed, run } from './tools.ts';
import { readVolumeFile, temporaryLabels } from './volume-copy.ts';
import { temporaryName, type VolumePaths } from './volume-files.ts';

export interface Ability {
  /** Why image volumes cannot be used; undefined when they can. */
  obstacle: { reason: string; remedy: string } | undefined;
  onlineResize: boolean;
}

const TOOLS: Record<string, string> = {
  losetup: 'mount',
  flock: 'util-linux',
  fsfreeze: 'util-linux',
  mount: 'mount',
  umount: 'mount',
  'mkfs.ext4': 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  resize2fs: 'e2fsprogs',
  debugfs: 'e2fsprogs',
};

/** A success is remembered until the next boot or another engine, because a try takes a good part of a second. */
export async function probeAbility(client: DockerClient, paths: VolumePaths): Promise<Ability> {
  const obstacle = await knownObstacle(client);
  if (obstacle !== undefined) return { obstacle, onlineResize: false };
  const info = (await client.docker.info()) as { ID: string; ServerVersion: string };
  const key = [(await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim(), info.ID, info.ServerVersion].join(' ');
  const cache = join(paths.volumes, 'probe.json');
  const stored = await readFile(cache, 'utf8').catch(() => '{}');
  const { key: storedKey, onlineResize } = JSON.parse(stored) as { key?: string; onlineResize?: boolean };
  if (storedKey === key && onlineResize !== undefined) return { obstacle: undefined, onlineResize };
  try {
    const ability: Ability = { obstacle: undefined, onlineResize: await tryOut(client, paths) };
    await writeFile(cache, JSON.stringify({ key, onlineResize: ability.onlineResize }));
    return ability;
  } catch (error) {
    const reason = (error as Error).message;
    client.log.warn({ error: reason }, 'volume sizes are not enforced: a trial image could not be mounted by the engine');
    return { obstacle: { reason, remedy: 'sudo losetup --find  # shows whether loop devices work here' }, onlineResize: false };
  }
}

async function knownObstacle(client: DockerClient): Promise<Ability['obstacle']> {
  if (!(await engineIsLocal(client))) {
    return { reason: 'Docker Engine does not run directly on this machine as root', remedy: 'unset DOCKER_HOST  # and use the engine of this machine' };
  }
  if (!isRoot()) return { reason: 'only root can make block devices', remedy: 'sudo cloud daemon start' };
  const { SecurityOptions } = (await client.docker.info()) as { SecurityOptions?: string[] | null };
  if (SecurityOptions?.some((option) => option.includes('name=userns'))) {
    return { reason: "the engine maps users, so root inside an instance does not own the volume's root", remedy: 'dockerd without --userns-remap' };
  }
  const absent = [];
  for (const [tool, packageName] of Object.entries(TOOLS)) if (!(await installed(tool))) absent.push([tool, packageName] as const);
  if (absent.length === 0) return undefined;
  const packages = [...new Set(absent.map(([, packageName]) => packageName))].sort().join(' ');
  return { reason: `${absent.map(([tool]) => tool).join(', ')} not found`, remedy: `sudo apt-get install ${packages}` };
}

/** Throws when the engine does not read what we wrote; returns whether a mounted file system can grow. */
async function tryOut(client: DockerClient, paths: VolumePaths): Promise<boolean> {
  const image = temporaryName(paths.volumes, 'probe');
  const word = `${Math.random()}`;
  const note = temporaryName(paths.volumes, 'note');
  const link = join(paths.devices, `probe-${process.pid}`);
  const signal = AbortSignal.timeout(30_000);
  let volume: string | undefined;
  try {
    await makeFileSystem(image, 8 * 1024 * 1024, signal);
    await writeFile(note, word);
    await run('debugfs', ['-w', '-R', `write "${note}" note`, image]);
    const { device } = await attachLoop(image);
    await mkdir(paths.devices, { recursive: true });
    await rm(link, { force: true });
    await symlink(device, link);
    const created = await client.docker.createVolume({
      Driver: 'local',
      DriverOpts: { type: 'ext4', device: link, o: 'noatime' },
      Labels: temporaryLabels(client),
    });
    volume = created.name;
    // An engine in a virtual machine may have a device of that name too, with something else on it.
    if (!(await readVolumeFile(client, volume, 'note')).includes(word)) throw new DriverError('failed', 'The engine sees other devices than this process');
    return await growsMounted(image, device, paths.volumes);
  } finally {
    if (volume !== undefined) await unlessAbsent(client.docker.getVolume(volume).remove());
    await rm(link, { force: true });
    await detachLoop(image);
    await rm(image, { force: true });
    await rm(note, { force: true });
  }
}

async function growsMounted(image: string, device: string, directory: string): Promise<boolean> {
  const target = `${await mkdtemp(join(directory, 'probe-'))}`;
  await run('mount', ['-t', 'ext4', device, target]);
  try {
    await truncate(image, 16 * 1024 * 1024);
    await run('losetup', ['--set-capacity', device]);
    await run('resize2fs', [device]);
    return true;
  } catch (error) {
    // The kernel wants CAP_SYS_RESOURCE for it, which a root in a container or sandbox often lacks.
    if (error instanceof DriverError && error.code === 'failed') return false;
    throw error;
  } finally {
    await run('umount', [target]);
    await rm(target, { recursive: true });
  }
}
