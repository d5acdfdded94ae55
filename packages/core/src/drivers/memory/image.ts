// An image store that knows names and sizes only: every well-formed reference can be "pulled" and takes no space.
import type { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type { DriverReport, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type ImageContent, type ImageDriver, type ImageObserved, type ImageProgress, normaliseReference } from '../../services/image/driver.ts';
import { imageContent, type MemoryInstanceState, type MemoryWorld } from './world.ts';

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
      features: [
        { name: 'images', level: 'recorded', detail: 'Names only; nothing is downloaded' },
        { name: 'ownership', level: 'enforced', detail: 'What a tenant pulls or imports is kept for it alone' },
      ],
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

  remove(reference: string): Promise<void> {
    return this.#world.faults.run('image.remove', undefined, () => {
      const name = normaliseReference(reference);
      const content = this.#world.images.get(name)?.content;
      const runs = ({ spec }: MemoryInstanceState) => (spec.content === undefined ? normaliseReference(spec.image) === name : spec.content === content);
      if ([...this.#world.instances.values()].some(runs)) throw new DriverError('busy', `Image ${name} is in use`);
      this.#world.images.delete(name);
    });
  }

  has(content: string): Promise<boolean> {
    return this.#world.faults.run('image.has', undefined, () => this.#world.contentOf(content) !== undefined);
  }

  pull(owner: string, reference: string, options: { signal: AbortSignal; onProgress?: (progress: ImageProgress) => void }): Promise<ImageContent> {
    return this.#world.faults.run('image.pull', options.signal, () => {
      const name = normaliseReference(reference);
      options.onProgress?.({ message: `Recorded ${name}`, percent: 100 });
      return this.#record(owner, imageContent(name, 0));
    });
  }

  import(owner: string, archive: Readable, options: { signal: AbortSignal; command?: string[] }): Promise<ImageContent> {
    return this.#world.faults.run('image.import', options.signal, async () => {
      const bytes = await buffer(archive).catch((error: unknown) => {
        throw options.signal.aborted ? options.signal.reason : error;
      });
      options.signal.throwIfAborted();
      return this.#record(owner, imageContent(bytes, bytes.length));
    });
  }

  keep(owner: string, content: string): Promise<void> {
    return this.#world.faults.run('image.keep', undefined, () => {
      const there = this.#world.contentOf(content);
      if (there === undefined) throw new DriverError('failed', 'The content of the image is gone');
      const { digest, sizeBytes, architecture } = there;
      this.#record(owner, { content, digest, sizeBytes, architecture });
    });
  }

  #record(owner: string, image: ImageContent): ImageContent {
    const kept = this.#world.keptImages.get(owner) ?? { contents: new Map<string, ImageContent>(), createdAt: 0 };
    kept.contents.set(image.content, image);
    kept.createdAt = this.#world.clock.now();
    this.#world.keptImages.set(owner, kept);
    return structuredClone(image);
  }

  release(owner: string, but: readonly string[]): Promise<void> {
    return this.#world.faults.run('image.release', undefined, () => {
      const kept = this.#world.keptImages.get(owner);
      if (kept === undefined) return;
      for (const content of kept.contents.keys()) if (!but.includes(content) && !this.#runs(content)) kept.contents.delete(content);
      if (kept.contents.size === 0) this.#world.keptImages.delete(owner);
    });
  }

  kept(): Promise<Found[]> {
    return this.#world.faults.run('image.kept', undefined, () =>
      [...this.#world.keptImages]
        .filter(([, { contents }]) => [...contents.keys()].some((content) => !this.#runs(content)))
        .map(([id, { createdAt }]) => ({ id, createdAt })),
    );
  }

  #runs(content: string): boolean {
    return [...this.#world.instances.values()].some(({ spec }) => spec.content === content);
  }
}
