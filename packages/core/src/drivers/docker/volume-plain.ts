// Volumes as plain Docker volumes, for engines whose disk this process cannot reach as root: no size is enforced, and copies go through the engine as
// tar streams. A record file per volume says that it is complete; a Docker volume without one is half-made.
import { createReadStream, createWriteStream } from 'node:fs';
import { readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { VolumeObserved, VolumeSpec } from '../../services/volume/driver.ts';
import { type DockerClient, LABEL_INSTALLATION, statusOf, unlessAbsent } from './client.ts';
import { publish } from './ext4.ts';
import { readVolume, writeVolume } from './volume-copy.ts';
import { exists, temporaryName, usersOf, type VolumePaths, withSuffix } from './volume-files.ts';

const RECORD = '.plain';
const TAR = '.tar';
/** Beside a snapshot: the size of the volume that it was taken of. */
const SIZE = '.size';
/** Lists the containers that a snapshot paused, until they run again. */
const PAUSED = '.paused';
const ATTEMPTS = 3;

export class PlainVolumes {
  readonly #client: DockerClient;
  readonly #paths: VolumePaths;

  constructor(client: DockerClient, paths: VolumePaths) {
    this.#client = client;
    this.#paths = paths;
  }

  #record(id: string): string {
    return join(this.#paths.volumes, id + RECORD);
  }

  snapshotFile(id: string): string {
    return join(this.#paths.snapshots, id + TAR);
  }

  snapshotStream(id: string): Readable {
    return createReadStream(this.snapshotFile(id));
  }

  has(id: string): Promise<boolean> {
    return exists(this.#record(id));
  }

  list(): Promise<Found[]> {
    return withSuffix(this.#paths.volumes, RECORD);
  }

  listSnapshots(): Promise<Found[]> {
    return withSuffix(this.#paths.snapshots, TAR);
  }

  /** After a kill: wakes what a snapshot had paused. */
  async recover(): Promise<void> {
    for (const { id } of await withSuffix(this.#paths.snapshots, PAUSED)) await this.#wake(id);
  }

  async create(spec: VolumeSpec, signal: AbortSignal): Promise<void> {
    if (spec.fromSnapshot !== undefined) {
      const size = Number(await readFile(join(this.#paths.snapshots, spec.fromSnapshot + SIZE), 'utf8'));
      if (size > spec.sizeBytes) {
        throw new DriverError('bad_spec', `Snapshot ${spec.fromSnapshot} is of a volume of ${size} bytes; a new volume cannot be smaller`);
      }
    }
    const half = await unlessAbsent(this.#client.docker.getVolume(spec.id).inspect());
    if (half !== undefined) {
      if (half.Labels?.[LABEL_INSTALLATION] !== this.#client.installation) {
        throw new DriverError('bad_spec', `Docker Engine already has a volume named ${spec.id} that is not ours`);
      }
      await this.#client.docker.getVolume(spec.id).remove();
    }
    signal.throwIfAborted();
    await this.#client.docker.createVolume({ Name: spec.id, Driver: 'local', Labels: this.#client.labels(spec.id) });
    if (spec.fromSnapshot !== undefined) await writeVolume(this.#client, spec.id, this.snapshotStream(spec.fromSnapshot));
    await this.#write(spec);
  }

  async #write({ id, sizeBytes }: VolumeSpec): Promise<void> {
    const temporary = temporaryName(this.#paths.volumes, id);
    await writeFile(temporary, JSON.stringify({ sizeBytes }));
    await publish(temporary, this.#record(id));
  }

  async #sizeOf(id: string): Promise<number> {
    return (JSON.parse(await readFile(this.#record(id), 'utf8')) as { sizeBytes: number }).sizeBytes;
  }

  async keep(spec: VolumeSpec): Promise<void> {
    const sizeBytes = await this.#sizeOf(spec.id);
    if (spec.sizeBytes < sizeBytes) throw new DriverError('bad_spec', `Volume ${spec.id} has ${sizeBytes} bytes and cannot shrink to ${spec.sizeBytes}`);
    await this.attach(spec.id);
    if (spec.sizeBytes > sizeBytes) await this.#write(spec);
  }

  /** The data lives in the engine: a Docker volume that somebody removed must not come back empty as if nothing had happened. */
  async attach(id: string): Promise<void> {
    if ((await unlessAbsent(this.#client.docker.getVolume(id).inspect())) === undefined) {
      throw new DriverError('failed', `The data of volume ${id} is lost: its Docker volume was removed from the engine`);
    }
  }

  observe(id: string): VolumeObserved {
    return { id, sizeBytes: undefined, usedBytes: undefined };
  }

  /** The Docker volume is gone already. */
  async remove(id: string): Promise<void> {
    await rm(this.#record(id), { force: true });
  }

  /** Pauses every container that writes to the volume, copies, and wakes them; so all its writers stop at one instant. */
  async snapshot(id: string, volumeId: string, signal: AbortSignal): Promise<void> {
    const temporary = temporaryName(this.#paths.snapshots, id);
    try {
      for (let attempt = 1; ; attempt += 1) {
        await this.#pause(id, volumeId);
        try {
          signal.throwIfAborted();
          await readVolume(this.#client, volumeId, (tar) => pipeline(tar, createWriteStream(temporary, { mode: 0o600 }), { signal }));
          // Somebody may have woken or started a writer meanwhile; then the copy is of no one instant.
          if (await this.#allQuiet(volumeId)) break;
        } finally {
          await this.#wake(id);
        }
        if (attempt === ATTEMPTS) throw new DriverError('busy', `Volume ${volumeId} was written to during every attempt to copy it`);
      }
      await writeFile(join(this.#paths.snapshots, id + SIZE), String(await this.#sizeOf(volumeId)), { flush: true });
      await publish(temporary, this.snapshotFile(id));
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async #pause(id: string, volumeId: string): Promise<void> {
    const running = (await usersOf(this.#client, volumeId)).filter(({ state }) => state === 'running').map(({ containerId }) => containerId);
    const mark = join(this.#paths.snapshots, id + PAUSED);
    const temporary = temporaryName(this.#paths.snapshots, id);
    await writeFile(temporary, JSON.stringify(running), { flush: true });
    await rename(temporary, mark);
    for (const container of running) {
      try {
        await unlessAbsent(this.#client.docker.getContainer(container).pause());
      } catch (error) {
        // Stopped or paused by somebody else since: it does not write either way, and the check after the copy sees one that runs again.
        if (statusOf(error) !== 409 && statusOf(error) !== 500) throw error;
      }
    }
  }

  async #allQuiet(volumeId: string): Promise<boolean> {
    const users = await usersOf(this.#client, volumeId);
    return users.every(({ state }) => state !== 'running' && state !== 'restarting');
  }

  async #wake(id: string): Promise<void> {
    const mark = join(this.#paths.snapshots, id + PAUSED);
    for (const container of JSON.parse(await readFile(mark, 'utf8')) as string[]) {
      const { State } = (await unlessAbsent(this.#client.docker.getContainer(container).inspect())) ?? {};
      if (State?.Paused === true) await unlessAbsent(this.#client.docker.getContainer(container).unpause());
    }
    await rm(mark);
  }

  async snapshotBytes(id: string): Promise<number> {
    return (await stat(this.snapshotFile(id))).size;
  }

  async removeSnapshot(id: string): Promise<void> {
    await rm(this.snapshotFile(id), { force: true });
    await rm(join(this.#paths.snapshots, id + SIZE), { force: true });
  }
}
