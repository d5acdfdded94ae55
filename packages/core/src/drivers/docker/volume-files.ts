// Where this backend keeps volumes and snapshots, who uses a volume, and how failures of files become DriverErrors.
import { mkdir, readdir, realpath, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DriverError } from '../../kernel/errors.ts';
import { type DockerClient, LABEL_ID, translate } from './client.ts';
import { withoutFolders } from './tools.ts';

/** Ends the name of every unfinished file. Whatever has it at the start of a process is rubbish. */
export const TEMPORARY = '.tmp';

export interface VolumePaths {
  volumes: string;
  snapshots: string;
  /** Links with stable names to loop devices. In /run, where a reboot clears them before an engine could follow a stale one. */
  devices: string;
}

/** Makes the directories. Image files hold everybody's data: nobody but the daemon's user looks in. */
export async function volumePaths(client: DockerClient): Promise<VolumePaths> {
  const volumes = join(client.dataDir, 'volumes');
  const snapshots = join(client.dataDir, 'snapshots');
  for (const directory of [volumes, snapshots]) await mkdir(directory, { recursive: true, mode: 0o700 });
  // The kernel names a loop device's file by its real path.
  return { volumes: await realpath(volumes), snapshots: await realpath(snapshots), devices: join('/run/thecloud', client.installation) };
}

export const temporaryName = (directory: string, id: string): string => join(directory, `${id}.${Math.random().toString(36).slice(2)}${TEMPORARY}`);

export async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Names in the directory that end so, without the ending; with the time at which each file was made. */
export async function withSuffix(directory: string, suffix: string): Promise<{ id: string; createdAt: number }[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith(suffix));
  return Promise.all(names.map(async (name) => ({ id: name.slice(0, -suffix.length), createdAt: (await stat(join(directory, name))).birthtimeMs })));
}

export async function removeTemporaryFiles(directory: string): Promise<void> {
  for (const name of await readdir(directory)) if (name.endsWith(TEMPORARY)) await rm(join(directory, name), { recursive: true, force: true });
}

export interface VolumeUser {
  /** Our instance id. */
  id: string;
  containerId: string;
  state: string;
}

/** Every container that mounts the volume, running or not. */
export async function usersOf(client: DockerClient, volumeId: string): Promise<VolumeUser[]> {
  const containers = await client.docker.listContainers({ all: true, filters: { volume: [volumeId] } });
  return containers
    .map(({ Id, Labels, Names, State }) => ({ id: Labels[LABEL_ID] ?? `container ${Names[0]?.slice(1) ?? Id}`, containerId: Id, state: State }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

export const isLive = ({ state }: VolumeUser): boolean => ['running', 'paused', 'restarting'].includes(state);

export const named = (users: VolumeUser[]): string => [...new Set(users.map(({ id }) => id))].join(', ');

/** Errors of the file system, the engine and the tools, in the port's words. `doing` begins the sentence: "Could not make volume vol-1". */
export function volumeError(error: unknown, doing: string): DriverError {
  if (error instanceof DriverError) return error;
  const { code, syscall, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new DriverError('failed', `${doing}: the disk is full`, { cause: error, hint: 'df -h  # shows what is left' });
  if (syscall !== undefined && syscall !== 'connect' && syscall !== 'read' && syscall !== 'write')
    return new DriverError('failed', `${doing}: ${withoutFolders(message)}`, { cause: error });
  return translate(error, doing);
}
