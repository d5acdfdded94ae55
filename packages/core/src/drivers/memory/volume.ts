// Volumes as file trees in memory. Copies are real: what a snapshot holds no longer follows its volume.
import type { DriverReport, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { SnapshotSpec, VolumeCapabilities, VolumeDriver, VolumeObserved, VolumeSpec } from '../../services/volume/driver.ts';
import { copyFiles, type MemoryFiles, sizeOfFiles } from './files.ts';
import type { MemoryVolumeState, MemoryWorld } from './world.ts';

export class MemoryVolume implements VolumeDriver {
  readonly capabilities: VolumeCapabilities = { durable: false, sizeEnforced: false, onlineResize: true };
  readonly #world: MemoryWorld;

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#world.faults.run('volume.ping', signal, () => {});
  }

  async report(): Promise<DriverReport> {
    return {
      driver: 'memory',
      features: [
        { name: 'persistence', level: 'unsupported', detail: 'Files are kept in memory and are gone when the process ends' },
        { name: 'size', level: 'recorded', detail: 'Nothing stops a volume from holding more than its size' },
        { name: 'snapshots', level: 'enforced', detail: 'A copy of the file tree' },
      ],
      checks: [{ name: 'memory', ok: true, detail: `${this.#world.volumes.size} volumes and ${this.#world.snapshots.size} snapshots in this process` }],
    };
  }

  ensure(spec: VolumeSpec, signal: AbortSignal): Promise<VolumeObserved> {
    return this.#world.faults.run('volume.ensure', signal, () => {
      const present = this.#world.volumes.get(spec.id);
      if (!Number.isSafeInteger(spec.sizeBytes) || spec.sizeBytes <= 0) throw new DriverError('bad_spec', 'The size of a volume is a positive number of bytes');
      if (present === undefined) {
        const volume = { id: spec.id, sizeBytes: spec.sizeBytes, createdAt: this.#world.clock.now(), files: this.#initialFiles(spec) };
        this.#world.volumes.set(spec.id, volume);
        return observe(volume);
      }
      if (spec.sizeBytes < present.sizeBytes) {
        throw new DriverError('bad_spec', `Volume ${spec.id} has ${present.sizeBytes} bytes and cannot shrink to ${spec.sizeBytes}`);
      }
      present.sizeBytes = spec.sizeBytes;
      return observe(present);
    });
  }

  #initialFiles(spec: VolumeSpec): MemoryFiles {
    if (spec.fromSnapshot === undefined) return new Map();
    const snapshot = this.#world.snapshots.get(spec.fromSnapshot);
    if (snapshot === undefined) throw new DriverError('bad_spec', `Snapshot ${spec.fromSnapshot} does not exist`);
    if (snapshot.sizeBytes > spec.sizeBytes) {
      throw new DriverError('bad_spec', `Snapshot ${snapshot.id} needs ${snapshot.sizeBytes} bytes; the volume has only ${spec.sizeBytes}`);
    }
    return copyFiles(snapshot.files);
  }

  remove(id: string, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('volume.remove', signal, () => {
      if (!this.#world.volumes.has(id)) return;
      const users = this.#world.instancesWithVolume(id);
      if (users.length > 0) throw new DriverError('busy', `Volume ${id} is in use by ${users.join(', ')}`);
      this.#world.volumes.delete(id);
    });
  }

  inspect(id: string): Promise<VolumeObserved | undefined> {
    return this.#world.faults.run('volume.inspect', undefined, () => {
      const volume = this.#world.volumes.get(id);
      return volume === undefined ? undefined : observe(volume);
    });
  }

  list(): Promise<Found[]> {
    return this.#world.faults.run('volume.list', undefined, () => [...this.#world.volumes.values()].map(({ id, createdAt }) => ({ id, createdAt })));
  }

  ensureSnapshot(spec: SnapshotSpec, signal: AbortSignal): Promise<{ sizeBytes: number }> {
    return this.#world.faults.run('volume.ensureSnapshot', signal, () => {
      const present = this.#world.snapshots.get(spec.id);
      if (present !== undefined) return { sizeBytes: present.sizeBytes };
      const volume = this.#world.volumes.get(spec.volumeId);
      if (volume === undefined) throw new DriverError('bad_spec', `Volume ${spec.volumeId} does not exist`);
      const sizeBytes = sizeOfFiles(volume.files);
      this.#world.snapshots.set(spec.id, { ...spec, sizeBytes, createdAt: this.#world.clock.now(), files: copyFiles(volume.files) });
      return { sizeBytes };
    });
  }

  removeSnapshot(id: string, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('volume.removeSnapshot', signal, () => {
      this.#world.snapshots.delete(id);
    });
  }

  listSnapshots(): Promise<Found[]> {
    return this.#world.faults.run('volume.listSnapshots', undefined, () => [...this.#world.snapshots.values()].map(({ id, createdAt }) => ({ id, createdAt })));
  }
}

const observe = (volume: MemoryVolumeState): VolumeObserved => ({ id: volume.id, sizeBytes: undefined, usedBytes: sizeOfFiles(volume.files) });
