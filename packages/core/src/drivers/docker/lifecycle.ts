// Finding a container, stopping it, and making it anew with the same files. Every step of the last one can be cut by a kill:
// what is then in the engine tells the next `find` whether to finish or to roll back.
import type { ContainerCreateOptions, ContainerInspectInfo } from 'dockerode';
import { systemClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type DockerClient, LABEL_ID, LABEL_INSTALLATION, statusOf, unlessAbsent } from './client.ts';
import { baseFrom, layerOf, ownedBy, type Source } from './config.ts';
import { drainProgress } from './progress.ts';

/** Images that hold instances' own files: `thecloud-fs/<instance id>:<layer>`. */
export const FILES_REPOSITORY = 'thecloud-fs';
export const filesRepository = (id: string): string => `${FILES_REPOSITORY}/${id.toLowerCase()}`;

/** The name of a replacement that has not taken its predecessor's place yet. */
const nextName = (id: string): string => `${id}.next`;
const GOING_POLL = 50;
const GOING_LIMIT = 30_000;

const inspectNamed = async (client: DockerClient, name: string): Promise<ContainerInspectInfo | undefined> => {
  const info = await unlessAbsent(client.docker.getContainer(name).inspect());
  return info !== undefined && ownedBy(client, info) ? info : undefined;
};

/** On its way out: its files cannot be relied on any more. */
const isGoing = ({ State }: ContainerInspectInfo): boolean => State.Dead || State.Status === 'removing';

/** The instance's container as it stands, without touching anything. A replacement counts once its predecessor is gone. */
export async function look(client: DockerClient, id: string): Promise<ContainerInspectInfo | undefined> {
  return (await inspectNamed(client, id)) ?? (await inspectNamed(client, nextName(id))) ?? (await inspectNamed(client, id));
}

/** The instance's container, after finishing or rolling back a replacement that was cut short. */
export async function find(client: DockerClient, id: string, signal: AbortSignal): Promise<ContainerInspectInfo | undefined> {
  const [current, next] = await Promise.all([inspectNamed(client, id), inspectNamed(client, nextName(id))]);
  if (next === undefined) {
    if (current === undefined || !isGoing(current)) return current;
    await discard(client, current.Id, signal);
    return undefined;
  }
  if (current !== undefined && !isGoing(current)) {
    // The replacement never ran and holds nothing of its own, while the predecessor may have changed since: begin again.
    await discard(client, next.Id, signal);
    return current;
  }
  if (current !== undefined) await discard(client, current.Id, signal);
  await client.docker.getContainer(next.Id).rename({ name: id });
  return inspectNamed(client, id);
}

/** Removes a container, also one that is half removed, and returns when its name is free. */
export async function discard(client: DockerClient, containerId: string, signal: AbortSignal): Promise<void> {
  const container = client.docker.getContainer(containerId);
  const deadline = Date.now() + GOING_LIMIT;
  for (;;) {
    try {
      await container.remove({ force: true, v: true });
      return;
    } catch (error) {
      if (statusOf(error) === 404) return;
      if (statusOf(error) !== 409) throw error;
      if (Date.now() > deadline) throw new DriverError('busy', 'Docker Engine is still removing the container', { cause: error });
    }
    await systemClock.sleep(GOING_POLL, signal);
  }
}

/** Polite signal, then the kill. A paused container is woken first, because a frozen program cannot hear the signal. */
export async function stop(client: DockerClient, info: ContainerInspectInfo, timeout: number, signal?: AbortSignal): Promise<void> {
  const container = client.docker.getContainer(info.Id);
  if (info.State.Paused) {
    await container.unpause().catch((error: unknown) => {
      // Not paused any more: somebody was faster.
      if (statusOf(error) !== 500 && statusOf(error) !== 409) throw error;
    });
  }
  try {
    await container.stop({ t: Math.max(0, Math.round(timeout)), ...(signal === undefined ? {} : { abortSignal: signal }) });
  } catch (error) {
    signal?.throwIfAborted();
    if (statusOf(error) !== 304 && statusOf(error) !== 404) throw error;
  }
}

/** Where a kill may cut the replacement; named after what has just been done. */
export type Checkpoint = 'stopped' | 'committed' | 'created' | 'removed' | 'renamed' | 'cleaned';

export interface Replacement {
  current: ContainerInspectInfo;
  id: string;
  stopTimeout: number;
  /** Layers at which the image is flattened into one; engines stop at about 125. */
  maxLayers: number;
  signal: AbortSignal;
  configure: (source: Source) => Promise<ContainerCreateOptions>;
  onProgress: (message: string) => void;
  /** Called with the stopped predecessor before it goes away. */
  beforeRemoval: () => Promise<void>;
  onCheckpoint: (checkpoint: Checkpoint) => void;
}

/**
 * stop, commit the files to an image, create the replacement under another name, remove the predecessor, rename, clean up.
 * Until the predecessor is removed it holds everything and a replacement can be thrown away; from then on the replacement does.
 * Returns the replacement, not started.
 */
export async function replace(client: DockerClient, replacement: Replacement): Promise<ContainerInspectInfo> {
  const { current, id, signal, onProgress, onCheckpoint } = replacement;
  if (current.State.Running || current.State.Paused) {
    onProgress('stopping the instance');
    await stop(client, current, replacement.stopTimeout, signal);
  }
  onCheckpoint('stopped');
  signal.throwIfAborted();

  onProgress("keeping the instance's files");
  const layer = layerOf(current.Config.Labels) + 1;
  const image = await keepFiles(client, current, id, layer, replacement.maxLayers);
  onCheckpoint('committed');
  signal.throwIfAborted();

  const base = baseFrom(current.Config.Labels);
  const original = new Set(base.env.map((entry) => entry.split('=', 1)[0]));
  const staleEnv = (current.Config.Env ?? []).map((entry) => entry.split('=', 1)[0] ?? entry).filter((name) => !original.has(name));
  const config = await replacement.configure({ image, layer, staleEnv });
  await client.docker.createContainer({ ...config, name: nextName(id) });
  onCheckpoint('created');
  signal.throwIfAborted();

  await replacement.beforeRemoval();
  // Named volumes of the instance stay: only anonymous ones go with a container.
  await discard(client, current.Id, signal);
  onCheckpoint('removed');
  await client.docker.getContainer(nextName(id)).rename({ name: id });
  onCheckpoint('renamed');
  await forgetFiles(client, id, layer);
  onCheckpoint('cleaned');
  const info = await inspectNamed(client, id);
  if (info === undefined) throw new DriverError('failed', 'The instance disappeared from Docker Engine while it was made anew');
  return info;
}

/** An image of the container's files under the instance's own name. An image already there (of a replacement that was cut) gives way. */
async function keepFiles(client: DockerClient, current: ContainerInspectInfo, id: string, layer: number, maxLayers: number): Promise<string> {
  const repo = filesRepository(id);
  const container = client.docker.getContainer(current.Id);
  const origin = await unlessAbsent(client.docker.getImage(current.Image).inspect());
  if ((origin?.RootFS.Layers?.length ?? 0) + 1 < maxLayers) {
    // Not paused, because it is stopped; the container's labels go along and let leftovers be found.
    await container.commit({ _query: { container: current.Id, repo, tag: String(layer), pause: 'false' }, _body: {} });
  } else {
    const changes = Object.entries(client.labels(id)).map(([name, value]) => `${name}=${value}`);
    const stream = await client.docker.importImage(await container.export(), { fromSrc: '-', repo, tag: String(layer), changes: `LABEL ${changes.join(' ')}` });
    await drainProgress(stream, 'Could not flatten the files of the instance');
  }
  return `${repo}:${layer}`;
}

/** The newest kept image, for an instance whose container was removed behind our back. */
export async function keptFiles(
  client: DockerClient,
  id: string,
): Promise<{ image: string; layer: number; env: string[]; labels: Record<string, string> } | undefined> {
  const images = await client.docker.listImages({ filters: { reference: [filesRepository(id)] } });
  const layers = images.flatMap((image) => image.RepoTags ?? []).map((tag) => Number(tag.slice(tag.lastIndexOf(':') + 1)));
  if (layers.length === 0) return undefined;
  const layer = Math.max(...layers);
  const image = `${filesRepository(id)}:${layer}`;
  const { Config } = await client.docker.getImage(image).inspect();
  return { image, layer, env: Config.Env ?? [], labels: Config.Labels ?? {} };
}

/** Removes the kept images of an instance, all but one layer's. What cannot go now (still a parent's layer) goes with the last one. */
export async function forgetFiles(client: DockerClient, id: string, exceptLayer?: number): Promise<void> {
  const kept = exceptLayer === undefined ? undefined : `${filesRepository(id)}:${exceptLayer}`;
  const [tagged, dangling] = await Promise.all([
    client.docker.listImages({ filters: { reference: [filesRepository(id)] } }),
    client.docker.listImages({ filters: { dangling: ['true'], label: [`${LABEL_ID}=${id}`, `${LABEL_INSTALLATION}=${client.installation}`] } }),
  ]);
  const names = [...tagged.flatMap((image) => image.RepoTags ?? []).filter((tag) => tag !== kept), ...dangling.map((image) => image.Id)];
  for (const name of names) {
    try {
      await unlessAbsent(client.docker.getImage(name).remove());
    } catch (error) {
      if (statusOf(error) !== 409) throw error;
      client.log.debug({ image: name, instance: id }, 'image layer is still needed');
    }
  }
}
