// Everything that the memory backend knows, in one place that its drivers share. It lives as long as the process.
import { createHash } from 'node:crypto';
import { type Clock, systemClock } from '../../kernel/clock.ts';
import { type ImageContent, type ImageObserved, normaliseReference } from '../../services/image/driver.ts';
import type { InstanceSpec, LogLine, PortMapping } from '../../services/instance/driver.ts';
import type { NetworkSpec, Plane } from '../../services/vpc/driver.ts';
import { Faults } from './faults.ts';
import type { MemoryFiles } from './files.ts';

export interface MemoryInstanceState {
  spec: InstanceSpec;
  power: 'running' | 'stopped' | 'paused';
  exitCode: number | undefined;
  outOfMemory: boolean;
  startedAt: number | undefined;
  createdAt: number;
  /** With real host ports in place of 0; kept over stop and start. */
  ports: PortMapping[];
  files: MemoryFiles;
  logs: LogLine[];
}

export interface MemoryVolumeState {
  id: string;
  sizeBytes: number;
  createdAt: number;
  files: MemoryFiles;
}

export interface MemorySnapshotState {
  id: string;
  volumeId: string;
  sizeBytes: number;
  createdAt: number;
  files: MemoryFiles;
}

export interface MemoryNetworkState {
  spec: NetworkSpec;
  createdAt: number;
}

/** What content is known by follows from what is in it. */
export function imageContent(of: string | Buffer, sizeBytes: number): ImageContent {
  const digest = `sha256:${createHash('sha256').update(of).digest('hex')}`;
  return { content: digest, digest, sizeBytes, architecture: ARCHITECTURES[process.arch] ?? process.arch };
}

const ARCHITECTURES: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', arm64: 'arm64' };

export class MemoryWorld {
  readonly clock: Clock;
  readonly faults: Faults;
  readonly instances = new Map<string, MemoryInstanceState>();
  readonly volumes = new Map<string, MemoryVolumeState>();
  readonly snapshots = new Map<string, MemorySnapshotState>();
  readonly networks = new Map<string, MemoryNetworkState>();
  /** What was applied last. */
  plane: Plane | undefined;
  /** Why it shall say that it enforces no rules. */
  refusal: string | undefined;
  /** The host's, by normalised reference; two references of one image hold the same object. */
  readonly images = new Map<string, ImageObserved>();
  /** By owner. */
  readonly keptImages = new Map<string, { contents: Map<string, ImageContent>; createdAt: number }>();
  readonly #listeners = new Set<(id: string) => void>();

  constructor(clock: Clock = systemClock) {
    this.clock = clock;
    this.faults = new Faults(clock);
  }

  /** The host gets an image of that name, as `docker pull` by its administrator would bring it. */
  hostImage(reference: string, content: string = reference): ImageObserved {
    const name = normaliseReference(reference);
    const image = { ...imageContent(`host:${content}`, 0), reference: name, references: [name], createdAt: this.clock.now() };
    this.images.set(name, image);
    return image;
  }

  /** Whatever has it. */
  contentOf(content: string): ImageContent | undefined {
    const kept = [...this.keptImages.values()].flatMap(({ contents }) => [...contents.values()]);
    return [...this.images.values(), ...kept].find((image) => image.content === content);
  }

  /** Ids of the instances that mount the volume, running or not. */
  instancesWithVolume(volumeId: string): string[] {
    return [...this.instances.values()].filter(({ spec }) => spec.mounts.some((mount) => mount.volumeId === volumeId)).map(({ spec }) => spec.id);
  }

  /** Ids of the instances on the network, running or not. */
  instancesOnNetwork(networkId: string): string[] {
    return [...this.instances.values()].filter(({ spec }) => spec.networkId === networkId).map(({ spec }) => spec.id);
  }

  /** Tells every `watch` that an instance changed. */
  changed(id: string): void {
    for (const listener of [...this.#listeners]) listener(id);
  }

  /** Returns the function that ends the subscription. */
  onChange(listener: (id: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The instance's program dies behind everybody's back. */
  kill(id: string, exitCode: number, options: { outOfMemory?: boolean } = {}): void {
    const instance = this.instances.get(id);
    if (instance === undefined || instance.power === 'stopped') throw new RangeError(`No running instance ${id} to kill`);
    instance.power = 'stopped';
    instance.exitCode = exitCode;
    instance.outOfMemory = options.outOfMemory ?? false;
    this.changed(id);
  }

  /** The instance disappears behind everybody's back, files and all. */
  vanish(id: string): void {
    if (this.instances.delete(id)) this.changed(id);
  }
}
