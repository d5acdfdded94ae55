// Reaches into Docker volumes without running anything: a container that is created and never started lets the engine read and write its mounts as tar.
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type Dockerode from 'dockerode';
import { type DockerClient, unlessAbsent } from './client.ts';
import { FILES_REPOSITORY } from './lifecycle.ts';

/** In the repository of our own images, which no user meets in a list. */
const IMAGE = `${FILES_REPOSITORY}/empty:latest`;
const LABEL_TEMPORARY = 'thecloud.temporary';
const TARGET = '/v';

/** Calls with a container that mounts the volume; the container is gone afterwards. */
async function withContainer<T>(client: DockerClient, volume: string, call: (container: Dockerode.Container) => Promise<T>): Promise<T> {
  await ensureImage(client);
  const container = await client.docker.createContainer({
    Image: IMAGE,
    Cmd: ['/never-started'],
    Labels: { [LABEL_TEMPORARY]: client.installation },
    HostConfig: { NetworkMode: 'none', Mounts: [{ Type: 'volume', Source: volume, Target: TARGET }] },
  });
  try {
    return await call(container);
  } finally {
    await unlessAbsent(container.remove({ force: true }));
  }
}

/** The image has no files at all; it only has to exist. */
async function ensureImage(client: DockerClient): Promise<void> {
  if ((await unlessAbsent(client.docker.getImage(IMAGE).inspect())) !== undefined) return;
  const [repo, tag] = IMAGE.split(':');
  const progress = await client.docker.importImage(Readable.from([Buffer.alloc(1024)]), { repo, tag });
  for await (const _ of progress) continue;
}

/** Everything in the volume, as one tar stream of paths that start with `./`. */
export const readVolume = (client: DockerClient, volume: string, consume: (tar: Readable) => Promise<void>): Promise<void> =>
  withContainer(client, volume, async (container) => consume((await container.getArchive({ path: `${TARGET}/.` })) as Readable));

/** One small file of the volume, still wrapped as tar. */
export const readVolumeFile = (client: DockerClient, volume: string, name: string): Promise<Buffer> =>
  withContainer(client, volume, async (container) => buffer(await container.getArchive({ path: `${TARGET}/${name}` })));

/** Unpacks a tar stream at the volume's root, owners and modes included. */
export const writeVolume = (client: DockerClient, volume: string, tar: Readable): Promise<void> =>
  withContainer(client, volume, async (container) => {
    await container.putArchive(tar, { path: TARGET });
  });

export const temporaryLabels = (client: DockerClient): Record<string, string> => ({ [LABEL_TEMPORARY]: client.installation });

/** What calls of a killed process left in the engine. */
export async function removeTemporary(client: DockerClient): Promise<void> {
  const filters = { label: [`${LABEL_TEMPORARY}=${client.installation}`] };
  for (const { Id } of await client.docker.listContainers({ all: true, filters })) await unlessAbsent(client.docker.getContainer(Id).remove({ force: true }));
  const { Volumes } = await client.docker.listVolumes({ filters: JSON.stringify(filters) });
  for (const { Name } of Volumes ?? []) await unlessAbsent(client.docker.getVolume(Name).remove());
}
