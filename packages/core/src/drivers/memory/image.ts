// An image store that knows names and sizes only: every well-formed reference can be "pulled" and takes no space.
import { createHash } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type ImageDriver, type ImageObserved, type ImageProgress, normaliseReference } from '../../services/image/driver.ts';
import type { MemoryWorld } from './world.ts';

const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

export class MemoryImage implements ImageDriver {
  readonly #world: MemoryWorld;

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#world.faults.run('image.ping', signal, () => {});
  }

  async report(): Promise<DriverReport> {
    return {
      driver: 'memory',
      features: [{ name: 'images', level: 'recorded', detail: 'Names only; nothing is downloaded' }],
      checks: [{ name: 'memory', ok: true, detail: `${this.#world.images.size} image names in this process` }],
    };
  }

  list(): Promise<ImageObserved[]> {
    return this.#world.faults.run('image.list', undefined, () =>
      [...new Set(this.#world.images.values())].map((image) => structuredClone(image)).sort((a, b) => (a.reference < b.reference ? -1 : 1)),
    );
  }

  inspect(reference: string): Promise<ImageObserved | undefined> {
    return this.#world.faults.run('image.inspect', undefined, () => structuredClone(this.#world.images.get(normaliseReference(reference))));
  }

  ensure(reference: string, options: { signal: AbortSignal; always?: boolean; onProgress?: (progress: ImageProgress) => void }): Promise<ImageObserved> {
    return this.#world.faults.run('image.ensure', options.signal, () => {
      const name = normaliseReference(reference);
      const present = this.#world.images.get(name);
      if (present !== undefined && options.always !== true) return structuredClone(present);
      options.onProgress?.({ message: `Recorded ${name}`, percent: 100 });
      return structuredClone(present ?? this.#record(name, createHash('sha256').update(name).digest('hex'), 0));
    });
  }

  import(reference: string, archive: Readable, options: { signal: AbortSignal; command?: string[] }): Promise<ImageObserved> {
    return this.#world.faults.run('image.import', options.signal, async () => {
      const name = normaliseReference(reference);
      const hash = createHash('sha256');
      let size = 0;
      for await (const chunk of archive.iterator({ destroyOnReturn: true })) {
        options.signal.throwIfAborted();
        hash.update(chunk);
        size += chunk.length;
      }
      return structuredClone(this.#record(name, hash.digest('hex'), size));
    });
  }

  #record(reference: string, hash: string, sizeBytes: number): ImageObserved {
    const image: ImageObserved = {
      reference,
      references: [reference],
      digest: `sha256:${hash}`,
      sizeBytes,
      createdAt: this.#world.clock.now(),
      architecture: ARCHITECTURES[process.arch] ?? process.arch,
    };
    this.#world.images.set(reference, image);
    return image;
  }

  remove(reference: string): Promise<void> {
    return this.#world.faults.run('image.remove', undefined, () => {
      const name = normaliseReference(reference);
      const user = [...this.#world.instances.values()].find(({ spec }) => normaliseReference(spec.image) === name);
      if (user !== undefined) throw new DriverError('busy', `Image ${name} is in use by instance ${user.spec.name}`);
      this.#world.images.delete(name);
    });
  }
}
