// Volumes with an enforced size: an ext4 image file per volume, a loop device over it, and a Docker volume that has the engine mount the device
// when a container starts. The image file alone decides what exists; device, link and Docker volume are made again whenever they are missing.
import { mkdir, readdir, readlink, rm, stat, statfs, symlink, truncate, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { systemClock } from '../../kernel/clock.ts';
import type { Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { VolumeObserved, VolumeSpec } from '../../services/volume/driver.ts';
import { type DockerClient, LABEL_INSTALLATION, unlessAbsent } from './client.ts';
import { checkFileSystem, exclusively, fillImage, imageBytes, MIN_BYTES, makeFileSystem, publish, readSuperblock, sync } from './ext4.ts';
import { attachLoop, detachLoop, findLoop, type Loop, listLoops, mountPoint, mountPoints } from './loop.ts';
import { run, withoutFolders } from './tools.ts';
import { temporaryLabels, writeVolume } from './volume-copy.ts';
import { exists, isLive, named, TEMPORARY, temporaryName, usersOf, type VolumePaths, withSuffix } from './volume-files.ts';

const IMAGE = '.img';
/** Stands beside an image while its file system may be smaller than the file. */
const GROWING = '.growing';
/** Stands beside an image while its file system may be frozen. */
const FROZEN = '.frozen';
/** A mount of our own, there for as long as the file system is frozen. */
const MOUNT = '.mount';
/** Freed blocks go back to the host's disk. */
const MOUNT_OPTIONS = 'noatime,discard';
const BUSY_TRIES = 100;
const BUSY_PAUSE_MS = 50;

export class ImageVolumes {
  readonly #client: DockerClient;
  readonly #paths: VolumePaths;

  constructor(client: DockerClient, paths: VolumePaths) {
    this.#client = client;
    this.#paths = paths;
  }

  #image(id: string): string {
    return join(this.#paths.volumes, id + IMAGE);
  }

  #mark(id: string, mark: string): string {
    return join(this.#paths.volumes, id + mark);
  }

  #link(id: string): string {
    return join(this.#paths.devices, id);
  }

  snapshotFile(id: string): string {
    return join(this.#paths.snapshots, id + IMAGE);
  }

  has(id: string): Promise<boolean> {
    return exists(this.#image(id));
  }

  list(): Promise<Found[]> {
    return withSuffix(this.#paths.volumes, IMAGE);
  }

  listSnapshots(): Promise<Found[]> {
    return withSuffix(this.#paths.snapshots, IMAGE);
  }

  /** After a kill: thaws what was frozen, and lets go of devices and links that lead nowhere. Must be over before anything is attached. */
  async recover(): Promise<void> {
    for (const { id } of await withSuffix(this.#paths.volumes, FROZEN)) await this.#thaw(id);
    const loops = await listLoops();
    for (const { device, file } of loops) {
      const ours = file.startsWith(`${this.#paths.volumes}/`) || file.startsWith(`${this.#paths.snapshots}/`);
      if (ours && (file.endsWith(' (deleted)') || file.endsWith(TEMPORARY))) await run('losetup', ['--detach', device], { accept: [1] });
    }
    for (const name of (await exists(this.#paths.devices)) ? await readdir(this.#paths.devices) : []) {
      const target = await readlink(join(this.#paths.devices, name));
      if (!loops.some(({ device, file }) => device === target && file === this.#image(name))) await unlink(join(this.#paths.devices, name));
    }
  }

  async create(spec: VolumeSpec, snapshot: { image: string } | { tar: () => Readable } | undefined, signal: AbortSignal): Promise<void> {
    if (spec.sizeBytes < MIN_BYTES) throw new DriverError('bad_spec', `A volume has at least ${MIN_BYTES} bytes`);
    const temporary = temporaryName(this.#paths.volumes, spec.id);
    try {
      if (snapshot !== undefined && 'image' in snapshot) await this.#restore(spec, snapshot.image, temporary, signal);
      else await makeFileSystem(temporary, spec.sizeBytes, signal);
      if (snapshot !== undefined && 'tar' in snapshot) await this.#unpack(temporary, snapshot.tar());
      signal.throwIfAborted();
      await publish(temporary, this.#image(spec.id));
    } finally {
      await rm(temporary, { force: true });
    }
  }

  async #restore(spec: VolumeSpec, snapshot: string, temporary: string, signal: AbortSignal): Promise<void> {
    const { size } = await stat(snapshot);
    if (size > imageBytes(spec.sizeBytes)) {
      throw new DriverError('bad_spec', `Snapshot ${spec.fromSnapshot} is of a volume of ${size} bytes; a new volume cannot be smaller`);
    }
    await copySparse(snapshot, temporary, signal);
    await fillImage(temporary, spec.sizeBytes);
  }

  /** A snapshot that was taken as files: the engine mounts the unfinished image under a name of its own and unpacks them there. */
  async #unpack(temporary: string, tar: Readable): Promise<void> {
    const { device } = await attachLoop(temporary);
    const { name } = await this.#client.docker.createVolume({ Driver: 'local', DriverOpts: driverOptions(device), Labels: temporaryLabels(this.#client) });
    try {
      await writeVolume(this.#client, name, tar);
    } finally {
      await unlessAbsent(this.#client.docker.getVolume(name).remove());
      await detachLoop(temporary);
    }
  }

  /** Grows where that is asked for, ends what a killed call began, and sees to the Docker volume. */
  async keep(spec: VolumeSpec, onlineResize: boolean): Promise<void> {
    const { size } = await stat(this.#image(spec.id));
    const wanted = imageBytes(spec.sizeBytes);
    if (wanted < size && !(await exists(this.#mark(spec.id, GROWING)))) {
      throw new DriverError('bad_spec', `Volume ${spec.id} has ${size} bytes and cannot shrink to ${spec.sizeBytes}`);
    }
    const interrupted = await exists(this.#mark(spec.id, GROWING));
    if (wanted > size || interrupted) await this.#grow(spec.id, Math.max(wanted, size), interrupted, onlineResize);
    await this.#ensureDockerVolume(spec.id);
  }

  async #grow(id: string, sizeBytes: number, interrupted: boolean, onlineResize: boolean): Promise<void> {
    const image = this.#image(id);
    const begin = () => writeFile(this.#mark(id, GROWING), '', { flush: true });
    const end = () => rm(this.#mark(id, GROWING), { force: true });
    const idle = await this.#whileDetached(id, async () => {
      await begin();
      await fillImage(image, sizeBytes, interrupted);
      await end();
      return true;
    });
    if (idle === true) return;
    const users = named((await usersOf(this.#client, id)).filter(isLive));
    if (!onlineResize) {
      throw new DriverError('busy', `Volume ${id} cannot grow while it is in use by ${users || 'a mount on this host'}: detach it or stop the instance`);
    }
    await begin();
    await truncate(image, imageBytes(sizeBytes));
    const { device } = await attachLoop(image);
    await run('losetup', ['--set-capacity', device]);
    await exclusively(image, 'resize2fs', [device]);
    await end();
  }

  /**
   * Runs `call` while nobody can mount the volume: its link is gone, so the engine finds no device, and so is its device.
   * Returns undefined, with everything as it was, when the volume is in use.
   */
  async #whileDetached<T>(id: string, call: () => Promise<T>): Promise<T | undefined> {
    if ((await usersOf(this.#client, id)).some(isLive)) return undefined;
    const loop = await findLoop(this.#image(id));
    if (loop !== undefined && (await mountPoint(loop)) !== undefined) return undefined;
    await rm(this.#link(id), { force: true });
    if (!(await detachLoop(this.#image(id)))) {
      // A mount came in between. The device now goes away with that mount, and `attach` makes the next one.
      await this.#attachDevice(id);
      return undefined;
    }
    try {
      return await call();
    } finally {
      if (loop !== undefined) await this.#attachDevice(id);
    }
  }

  /** Device, link and Docker volume stand when this returns; an interrupted growth is ended first, because half-grown is not mountable safely. */
  async attach(id: string): Promise<void> {
    if (await exists(this.#mark(id, GROWING))) await this.#grow(id, (await stat(this.#image(id))).size, true, false);
    await this.#attachDevice(id);
    await this.#ensureDockerVolume(id);
  }

  async #attachDevice(id: string): Promise<void> {
    const { device } = await attachLoop(this.#image(id));
    const link = this.#link(id);
    const target = await readlink(link).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    if (target === device) return;
    await mkdir(this.#paths.devices, { recursive: true, mode: 0o755 });
    await rm(link, { force: true });
    await symlink(device, link);
  }

  async #ensureDockerVolume(id: string): Promise<void> {
    const present = await unlessAbsent(this.#client.docker.getVolume(id).inspect());
    if (present === undefined) {
      await this.#client.docker.createVolume({ Name: id, Driver: 'local', DriverOpts: driverOptions(this.#link(id)), Labels: this.#client.labels(id) });
    } else if (present.Labels?.[LABEL_INSTALLATION] !== this.#client.installation || present.Options?.device !== this.#link(id)) {
      throw new DriverError('failed', `Docker Engine has another volume under the name ${id}`);
    }
  }

  async observe(id: string): Promise<VolumeObserved> {
    const [{ size }, growing, loop] = await Promise.all([stat(this.#image(id)), exists(this.#mark(id, GROWING)), findLoop(this.#image(id))]);
    const mounted = loop === undefined ? undefined : await mountPoint(loop);
    const superblock = await readSuperblock(this.#image(id));
    const sizeBytes = growing ? superblock.sizeBytes : size;
    if (mounted === undefined) return { id, sizeBytes, usedBytes: superblock.usedBytes };
    const { blocks, bfree, bsize } = await statfs(mounted);
    return { id, sizeBytes, usedBytes: (blocks - bfree) * bsize };
  }

  /** The Docker volume is gone already, so no container mounts it any more. */
  async remove(id: string): Promise<void> {
    await rm(this.#link(id), { force: true });
    if (!(await detachLoop(this.#image(id)))) throw new DriverError('busy', `Volume ${id} is still mounted on this host`);
    for (const mark of [GROWING, FROZEN]) await rm(this.#mark(id, mark), { force: true });
    await rm(this.#image(id), { force: true });
    await sync(this.#paths.volumes);
  }

  /**
   * Copies the image as of one instant: of an idle volume while nothing can mount it, of a mounted one while its file system is frozen.
   * Freezing makes writers wait until the copy is done: no time at all where the disk's file system shares blocks, else as long as reading the used blocks takes.
   */
  async snapshot(id: string, volumeId: string, signal: AbortSignal): Promise<void> {
    const temporary = temporaryName(this.#paths.snapshots, id);
    const copy = async (): Promise<true> => {
      await copySparse(this.#image(volumeId), temporary, signal);
      return true;
    };
    try {
      if ((await this.#whileDetached(volumeId, copy)) === undefined) await this.#whileFrozen(volumeId, copy);
      await checkFileSystem(temporary);
      signal.throwIfAborted();
      await publish(temporary, this.snapshotFile(id));
    } finally {
      await rm(temporary, { force: true });
    }
  }

  /**
   * The engine's own mount may go away at any instant. A file system that loses its last mount while frozen stays frozen where nobody reaches
   * it, and its path then belongs to the host's. So it is frozen through a mount of our own, which nobody else takes away.
   */
  async #whileFrozen(id: string, call: () => Promise<unknown>): Promise<void> {
    const loop = await findLoop(this.#image(id));
    if (loop === undefined || (await mountPoint(loop)) === undefined) throw new DriverError('busy', `Volume ${id} is just being mounted or unmounted`);
    await writeFile(this.#mark(id, FROZEN), '', { flush: true });
    try {
      await this.#mount(id, loop);
      await run('fsfreeze', ['--freeze', this.#mark(id, MOUNT)]);
      await call();
    } finally {
      await this.#thaw(id);
    }
  }

  async #mount(id: string, loop: Loop): Promise<void> {
    const path = this.#mark(id, MOUNT);
    if ((await mountPoints(loop)).includes(path)) return;
    await mkdir(path, { recursive: true, mode: 0o700 });
    await run('mount', ['--types', 'ext4', '--options', MOUNT_OPTIONS, loop.device, path]);
  }

  /** Mounts what is not mounted, because that is the only way to what was left frozen without a mount. */
  async #thaw(id: string): Promise<void> {
    const path = this.#mark(id, MOUNT);
    const loop = await findLoop(this.#image(id));
    if (loop !== undefined) {
      await this.#mount(id, loop);
      const { exitCode, stderr } = await run('fsfreeze', ['--unfreeze', path], { accept: [1] });
      const thawed = exitCode === 0 || stderr.includes('Invalid argument'); // which it says of what is not frozen (any more)
      if (!thawed) throw new DriverError('failed', `The file system of volume ${id} stays frozen: ${stderr.trim()}`);
      await unmount(path);
    }
    await rm(path, { recursive: true, force: true });
    await rm(this.#mark(id, FROZEN), { force: true });
  }

  async snapshotBytes(id: string): Promise<number> {
    return (await stat(this.snapshotFile(id))).blocks * 512;
  }

  async removeSnapshot(id: string): Promise<void> {
    await rm(this.snapshotFile(id), { force: true });
  }
}

/** A program that a killed daemon began may hold it for a moment longer. */
async function unmount(path: string): Promise<void> {
  for (let left = BUSY_TRIES; ; left -= 1) {
    const { exitCode, stderr } = await run('umount', [path], { accept: [32] });
    if (exitCode === 0) return;
    if (left === 0 || !stderr.includes('busy')) throw new DriverError('failed', `umount: ${withoutFolders(stderr.trim())}`);
    await systemClock.sleep(BUSY_PAUSE_MS);
  }
}

const driverOptions = (device: string): Record<string, string> => ({ type: 'ext4', device, o: MOUNT_OPTIONS });

/** Shares blocks where the disk's file system can, else copies only what holds data. */
const copySparse = (from: string, to: string, signal: AbortSignal) => run('cp', ['--reflink=auto', '--sparse=always', from, to], { signal });
