// Volumes on Docker Engine: with an enforced size where this process may make block devices that the engine mounts, plain Docker volumes elsewhere.
// Which kind a volume is stands in the file system beside it, so both kinds go on working when the daemon is started otherwise later.
import type { Check, DriverReport, Feature, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { SnapshotSpec, VolumeCapabilities, VolumeDriver, VolumeObserved, VolumeSpec } from '../../services/volume/driver.ts';
import { type DockerClient, LABEL_ID, LABEL_INSTALLATION, statusOf, unlessAbsent } from './client.ts';
import { engineIsLocal, isRoot } from './host.ts';
import { Locks } from './locks.ts';
import { removeTemporary } from './volume-copy.ts';
import { exists, named, removeTemporaryFiles, usersOf, type VolumePaths, volumeError, volumePaths } from './volume-files.ts';
import { ImageVolumes } from './volume-image.ts';
import { PlainVolumes } from './volume-plain.ts';
import { type Ability, probeAbility } from './volume-probe.ts';

export interface DockerVolumeOptions {
  /** Default: image volumes where they work. `plain` makes new volumes plain in any case. */
  kind?: 'plain';
}

export class DockerVolume implements VolumeDriver {
  readonly #client: DockerClient;
  readonly #options: DockerVolumeOptions;
  readonly #paths: VolumePaths;
  readonly #images: ImageVolumes;
  readonly #plain: PlainVolumes;
  readonly #locks = new Locks();
  #ability: Ability | undefined;
  #preparing: Promise<Ability> | undefined;

  private constructor(client: DockerClient, options: DockerVolumeOptions, paths: VolumePaths) {
    this.#client = client;
    this.#options = options;
    this.#paths = paths;
    this.#images = new ImageVolumes(client, paths);
    this.#plain = new PlainVolumes(client, paths);
  }

  /** Cleans up after a killed process. An engine that is away is no error here: it is asked again by the first verb that needs it. */
  static async create(client: DockerClient, options: DockerVolumeOptions = {}): Promise<DockerVolume> {
    const paths = await volumePaths(client);
    const driver = new DockerVolume(client, options, paths);
    if (isRoot()) await driver.#images.recover();
    for (const directory of [paths.volumes, paths.snapshots]) await removeTemporaryFiles(directory);
    await driver.#prepared().catch((error: unknown) => {
      client.log.warn({ error: (error as Error).message }, 'volumes: the engine does not answer yet');
    });
    return driver;
  }

  /** Before the engine was first reached nothing is promised. */
  get capabilities(): VolumeCapabilities {
    const enforced = this.#ability !== undefined && this.#ability.obstacle === undefined;
    return { durable: true, sizeEnforced: enforced, onlineResize: enforced ? this.#ability?.onlineResize === true : this.#ability !== undefined };
  }

  /** The engine's part of the start, once it succeeds; every verb that changes something waits for it. */
  async #prepared(): Promise<Ability> {
    this.#preparing ??= this.#prepare().catch((error: unknown) => {
      this.#preparing = undefined;
      throw volumeError(error, 'Could not prepare volumes');
    });
    return this.#preparing;
  }

  async #prepare(): Promise<Ability> {
    await this.#client.ping();
    await this.#plain.recover();
    await removeTemporary(this.#client);
    const plainOnly = { obstacle: { reason: 'plain volumes were asked for', remedy: 'cloud daemon start' }, onlineResize: false };
    this.#ability = this.#options.kind === 'plain' ? plainOnly : await probeAbility(this.#client, this.#paths);
    return this.#ability;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#client.ping(signal);
  }

  ensure(spec: VolumeSpec, signal: AbortSignal): Promise<VolumeObserved> {
    return this.#locked(spec.id, `Could not make volume ${spec.id}`, signal, async (ability) => {
      if (!Number.isSafeInteger(spec.sizeBytes) || spec.sizeBytes <= 0) throw new DriverError('bad_spec', 'The size of a volume is a positive number of bytes');
      if (await this.#plain.has(spec.id)) {
        await this.#plain.keep(spec);
        return this.#plain.observe(spec.id);
      }
      if (await this.#images.has(spec.id)) this.#mayUseImages(spec.id);
      else if (ability.obstacle === undefined) await this.#images.create(spec, await this.#sourceOf(spec, signal), signal);
      else {
        const source = await this.#sourceOf(spec, signal);
        if (source !== undefined && 'image' in source) {
          throw new DriverError('bad_spec', `Snapshot ${spec.fromSnapshot} is a disk image, and volumes here are plain: ${ability.obstacle.reason}`);
        }
        await this.#plain.create(spec, signal);
        return this.#plain.observe(spec.id);
      }
      await this.#images.keep(spec, ability.onlineResize);
      return this.#images.observe(spec.id);
    });
  }

  async #sourceOf({ fromSnapshot }: VolumeSpec, signal: AbortSignal) {
    if (fromSnapshot === undefined) return undefined;
    signal.throwIfAborted();
    if (await exists(this.#images.snapshotFile(fromSnapshot))) return { image: this.#images.snapshotFile(fromSnapshot) };
    if (await exists(this.#plain.snapshotFile(fromSnapshot))) return { tar: () => this.#plain.snapshotStream(fromSnapshot) };
    throw new DriverError('bad_spec', `Snapshot ${fromSnapshot} does not exist`);
  }

  /** What a container mounts. To be called before every creation and every start of one: devices do not outlive a reboot. */
  attach(volumeId: string): Promise<{ Type: 'volume'; Source: string }> {
    return this.#locked(volumeId, `Could not attach volume ${volumeId}`, undefined, async () => {
      if (await this.#images.has(volumeId)) {
        this.#mayUseImages(volumeId);
        await this.#images.attach(volumeId);
      } else if (await this.#plain.has(volumeId)) await this.#plain.attach(volumeId);
      else throw new DriverError('failed', `Volume ${volumeId} does not exist`);
      return { Type: 'volume', Source: volumeId };
    });
  }

  #mayUseImages(id: string): void {
    if (isRoot()) return;
    throw new DriverError('unavailable', `Volume ${id} is a disk image, and only root can attach it`, { hint: 'sudo cloud daemon start' });
  }

  remove(id: string, signal: AbortSignal): Promise<void> {
    return this.#locked(id, `Could not remove volume ${id}`, signal, async () => {
      const users = await usersOf(this.#client, id);
      if (users.length > 0) throw new DriverError('busy', `Volume ${id} is in use by ${named(users)}`);
      const [isImage, isPlain] = await Promise.all([this.#images.has(id), this.#plain.has(id)]);
      if (isImage) this.#mayUseImages(id);
      // The Docker volume first: from then on no container can come to use it.
      const volume = await unlessAbsent(this.#client.docker.getVolume(id).inspect());
      if (volume?.Labels?.[LABEL_INSTALLATION] === this.#client.installation) {
        await unlessAbsent(this.#client.docker.getVolume(id).remove()).catch(async (error: unknown) => {
          if (statusOf(error) !== 409) throw error;
          throw new DriverError('busy', `Volume ${id} is in use by ${named(await usersOf(this.#client, id)) || 'the engine'}`, { cause: error });
        });
      }
      if (isImage) await this.#images.remove(id);
      if (isPlain) await this.#plain.remove(id);
    });
  }

  async inspect(id: string): Promise<VolumeObserved | undefined> {
    return this.#translated(`Could not look at volume ${id}`, async () => {
      if (await this.#images.has(id)) return this.#images.observe(id);
      return (await this.#plain.has(id)) ? this.#plain.observe(id) : undefined;
    });
  }

  list(): Promise<Found[]> {
    return this.#translated('Could not list the volumes', async () => {
      const { Volumes } = await this.#client.docker.listVolumes({ filters: JSON.stringify(this.#client.filter()) });
      const found = new Map<string, Found>();
      // Half-made ones too: the reaper is to see them.
      for (const volume of (Volumes ?? []) as { Labels?: Record<string, string>; CreatedAt?: string }[]) {
        const id = volume.Labels?.[LABEL_ID];
        if (id !== undefined) found.set(id, { id, createdAt: Date.parse(volume.CreatedAt ?? '') });
      }
      for (const volume of [...(await this.#images.list()), ...(await this.#plain.list())]) found.set(volume.id, volume);
      return [...found.values()];
    });
  }

  ensureSnapshot(spec: SnapshotSpec, signal: AbortSignal): Promise<{ sizeBytes: number }> {
    return this.#locks.run(`snapshot ${spec.id}`, signal, async () => {
      const present = await this.#snapshotBytes(spec.id);
      if (present !== undefined) return { sizeBytes: present };
      return this.#locked(spec.volumeId, `Could not copy volume ${spec.volumeId}`, signal, async () => {
        if (await this.#images.has(spec.volumeId)) {
          this.#mayUseImages(spec.volumeId);
          await this.#images.snapshot(spec.id, spec.volumeId, signal);
        } else if (await this.#plain.has(spec.volumeId)) await this.#plain.snapshot(spec.id, spec.volumeId, signal);
        else throw new DriverError('bad_spec', `Volume ${spec.volumeId} does not exist`);
        return { sizeBytes: (await this.#snapshotBytes(spec.id)) ?? 0 };
      });
    });
  }

  async #snapshotBytes(id: string): Promise<number | undefined> {
    if (await exists(this.#images.snapshotFile(id))) return this.#images.snapshotBytes(id);
    return (await exists(this.#plain.snapshotFile(id))) ? this.#plain.snapshotBytes(id) : undefined;
  }

  removeSnapshot(id: string, signal: AbortSignal): Promise<void> {
    return this.#locks.run(`snapshot ${id}`, signal, () =>
      this.#translated(`Could not remove snapshot ${id}`, async () => {
        await this.#images.removeSnapshot(id);
        await this.#plain.removeSnapshot(id);
      }),
    );
  }

  listSnapshots(): Promise<Found[]> {
    return this.#translated('Could not list the snapshots', async () => [...(await this.#images.listSnapshots()), ...(await this.#plain.listSnapshots())]);
  }

  #locked<T>(id: string, doing: string, signal: AbortSignal | undefined, call: (ability: Ability) => Promise<T>): Promise<T> {
    return this.#locks.run(id, signal, () =>
      this.#translated(
        doing,
        async () => {
          const ability = await this.#prepared();
          signal?.throwIfAborted();
          return call(ability);
        },
        signal,
      ),
    );
  }

  async #translated<T>(doing: string, call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await call();
    } catch (error) {
      signal?.throwIfAborted();
      throw volumeError(error, doing);
    }
  }

  async report(signal?: AbortSignal): Promise<DriverReport> {
    const report: DriverReport = { driver: 'docker', features: [], checks: [] };
    try {
      await this.ping(signal);
      const ability = await this.#prepared();
      report.version = ((await this.#client.docker.version()) as { Version: string }).Version;
      report.features.push(...featuresOf(ability, await engineIsLocal(this.#client)));
      report.checks.push({ name: 'docker', ok: true, detail: `Version ${report.version}` }, sizeCheck(ability));
    } catch (error) {
      const { message, hint } = volumeError(error, 'Docker Engine does not answer');
      report.features.push({ name: 'size', level: 'recorded', detail: 'Not known while Docker Engine is away' });
      report.checks.push({ name: 'docker', ok: false, detail: message, remedy: hint ?? 'docker info  # shows what is wrong' });
    }
    return report;
  }
}

function featuresOf({ obstacle, onlineResize }: Ability, local: boolean): Feature[] {
  const persistence = { name: 'persistence', level: 'enforced', detail: 'Data outlives instances, the daemon and the engine' } as const;
  if (obstacle !== undefined) {
    return [
      persistence,
      { name: 'size', level: 'recorded', detail: `Plain Docker volumes share the disk of the engine: ${obstacle.reason}` },
      { name: 'snapshots', level: 'enforced', detail: `Instances that use the volume pause while it is copied${local ? '' : ' over the network'}` },
    ];
  }
  return [
    persistence,
    { name: 'size', level: 'enforced', detail: 'An ext4 image file of that size behind a loop device; disk space is taken as it is written' },
    { name: 'snapshots', level: 'enforced', detail: 'The file system is frozen while its used blocks are copied; writers wait' },
    onlineResize
      ? { name: 'online growth', level: 'enforced', detail: 'Volumes grow while instances use them' }
      : { name: 'online growth', level: 'unsupported', detail: 'This process lacks CAP_SYS_RESOURCE: a volume grows while no running instance uses it' },
  ];
}

const sizeCheck = ({ obstacle }: Ability): Check =>
  obstacle === undefined
    ? { name: 'volume sizes', ok: true, detail: 'The engine mounts the block devices that the daemon makes' }
    : { name: 'volume sizes', ok: false, detail: `Sizes are recorded only: ${obstacle.reason}`, remedy: obstacle.remedy };
