// Instances as containers. The instance's id is the container's name; what a live container cannot change costs a new one with the same files.
import type { Duplex, Readable } from 'node:stream';
import type { ContainerInspectInfo, MountSettings } from 'dockerode';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type {
  ComputeCapabilities,
  ComputeDriver,
  EnsureOptions,
  ExecSession,
  ExecSpec,
  InstanceObserved,
  InstanceSpec,
  LogLine,
  LogOptions,
  Stats,
  VolumeMount,
} from '../../services/instance/driver.ts';
import { type DockerClient, LABEL_ID, LABEL_INSTALLATION, LABEL_INSTANCE, messageOf, statusOf, translate, unlessAbsent } from './client.ts';
import {
  type Base,
  baseFrom,
  baseOf,
  boundPorts,
  containerConfig,
  hashOf,
  idOf,
  LABEL_BASE,
  LABEL_HASH,
  layerOf,
  limitChanges,
  observe,
  powerOf,
  type Source,
  startedAt,
} from './config.ts';
import { openSocket } from './connect.ts';
import { openExec } from './exec.ts';
import { linesOf } from './frames.ts';
import { type Checkpoint, discard, find, forgetFiles, keptFiles, look, replace, stop } from './lifecycle.ts';
import { Locks } from './locks.ts';
import { archiveLogs, forgetLogs, readLogs } from './logs.ts';
import { choosePorts } from './ports.ts';
import { computeReport } from './report.ts';
import { readStats } from './stats.ts';

/** Overlay file systems of the engine end at about 125 layers. */
const MAX_LAYERS = 115;
const PORT_TRIES = 5;
const LIST_PARALLEL = 16;

/** What compute needs of the volume driver of the same backend: to make a volume mountable just before a container uses it. */
export interface VolumeSource {
  /** Unknown volume: throws DriverError. Twice is once. */
  attach(volumeId: string): Promise<{ Type: 'volume'; Source: string }>;
}

export interface DockerComputeOptions {
  maxLayers?: number;
  /** Tests end a replacement here, as a kill of the process would. */
  onCheckpoint?: (checkpoint: Checkpoint) => void;
  /** An instance runs: its first process, and where its packets come from. */
  onRunning?: (running: { pid: number; networkId: string; address: string }, signal: AbortSignal) => Promise<void>;
}

export class DockerCompute implements ComputeDriver {
  readonly #client: DockerClient;
  readonly #volumes: VolumeSource;
  readonly #options: DockerComputeOptions;
  readonly #locks = new Locks();
  /** Restarts already made by this process, so that an engine whose clock is behind ours is not asked for the same one again and again. */
  readonly #restarted = new Map<string, string>();
  /** The run of each instance that `onRunning` was called for. */
  readonly #told = new Map<string, string>();
  #machine: { cpus: number; memoryBytes: number } | undefined;

  constructor(client: DockerClient, volumes: VolumeSource, options: DockerComputeOptions = {}) {
    this.#client = client;
    this.#volumes = volumes;
    this.#options = options;
  }

  get capabilities(): ComputeCapabilities {
    return {
      cloudInit: 'exec',
      runsPrograms: true,
      hotVolumes: false,
      hotResize: true,
      pause: true,
      maxCpus: this.#machine?.cpus,
      maxMemoryBytes: this.#machine?.memoryBytes,
    };
  }

  /** Also learns the size of the engine's machine, once. */
  async ping(signal?: AbortSignal): Promise<void> {
    await this.#client.ping(signal);
    if (this.#machine !== undefined) return;
    const info = (await this.#engine('Docker Engine does not answer', () => this.#client.docker.info())) as { NCPU: number; MemTotal: number };
    this.#machine = { cpus: info.NCPU, memoryBytes: info.MemTotal };
  }

  report(signal?: AbortSignal): Promise<DriverReport> {
    return computeReport(this.#client, signal);
  }

  ensure(spec: InstanceSpec, options: EnsureOptions): Promise<InstanceObserved> {
    return this.#alone(spec.id, options.signal, 'Could not make the instance as it should be', async () => {
      const found = await find(this.#client, spec.id, options.signal);
      let info = found === undefined ? await this.#create(spec, options) : await this.#shape(found, spec, options);
      for (let tries = 1; ; tries += 1) {
        try {
          const now = await this.#power(info, spec, options);
          await this.#tellRunning(now, spec, options.signal);
          return observe(spec.id, now);
        } catch (error) {
          const taken = translate(error, 'Could not start the instance');
          // A port that we chose may be gone by now; one that the user chose is the user's to change.
          if (tries === PORT_TRIES || options.signal.aborted || !isOurChoice(taken, spec)) throw error;
          info = await this.#replace((await look(this.#client, spec.id)) ?? info, spec, options, { keepPorts: false });
        }
      }
    });
  }

  /** Once for each run, and once more for those that ran before this process did. */
  async #tellRunning({ Id, State }: ContainerInspectInfo, { id, networkId, address }: InstanceSpec, signal: AbortSignal): Promise<void> {
    const run = `${Id} ${State.StartedAt}`;
    if (!State.Running || this.#told.get(id) === run) return;
    await this.#options.onRunning?.({ pid: State.Pid, networkId, address }, signal);
    this.#told.set(id, run);
  }

  async #create(spec: InstanceSpec, options: EnsureOptions): Promise<ContainerInspectInfo> {
    const [image, kept, mounts] = await Promise.all([
      unlessAbsent(this.#client.docker.getImage(spec.content ?? spec.image).inspect()),
      keptFiles(this.#client, spec.id),
      this.#mounts(spec.mounts),
    ]);
    // Files of ours without a container: somebody removed it behind our back. What was kept of them is better than nothing.
    const ours = kept !== undefined && kept.labels[LABEL_BASE] !== undefined ? { ...kept, base: baseFrom(kept.labels) } : undefined;
    if (image === undefined && ours === undefined) {
      throw new DriverError('bad_spec', `There is no image ${spec.image} on this machine`, { hint: `cloud image pull ${spec.image}` });
    }
    const base = ours?.base ?? baseOf(spec.image, image as NonNullable<typeof image>);
    const source: Source =
      ours === undefined
        ? { image: spec.content ?? spec.image, layer: 0, staleEnv: [] }
        : { image: ours.image, layer: ours.layer, staleEnv: staleNames(ours.env, base) };
    options.onProgress?.('creating the instance');
    options.signal.throwIfAborted();
    const config = containerConfig(this.#client, spec, base, source, await choosePorts(spec.ports, []), mounts);
    const container = await this.#client.docker.createContainer({ ...config, name: spec.id });
    return container.inspect();
  }

  /** Brings everything but the power to what the spec says. */
  async #shape(info: ContainerInspectInfo, spec: InstanceSpec, options: EnsureOptions): Promise<ContainerInspectInfo> {
    if (baseFrom(info.Config.Labels).reference !== spec.image) {
      throw new DriverError('bad_spec', 'The image of an instance cannot change: its files stand on it');
    }
    if (info.Config.Labels[LABEL_HASH] !== hashOf(spec)) {
      if (powerOf(info) !== 'stopped' && !options.allowRestart) throw new DriverError('busy', `Instance ${spec.name} must restart for this change`);
      return this.#replace(info, spec, options, { keepPorts: true });
    }
    const limits = limitChanges(info.HostConfig, spec);
    if (limits === undefined) return info;
    options.onProgress?.('changing the limits');
    const container = this.#client.docker.getContainer(info.Id);
    await container.update(limits);
    return container.inspect();
  }

  async #replace(info: ContainerInspectInfo, spec: InstanceSpec, options: EnsureOptions, { keepPorts }: { keepPorts: boolean }): Promise<ContainerInspectInfo> {
    // All that may be refused is asked for before the first change.
    const mounts = await this.#mounts(spec.mounts);
    const ports = await choosePorts(spec.ports, keepPorts ? boundPorts(info) : []);
    const base = baseFrom(info.Config.Labels);
    containerConfig(this.#client, spec, base, { image: info.Image, layer: 0, staleEnv: [] }, ports, mounts);
    return replace(this.#client, {
      current: info,
      id: spec.id,
      stopTimeout: spec.stopTimeout,
      maxLayers: this.#options.maxLayers ?? MAX_LAYERS,
      signal: options.signal,
      configure: async (source) => containerConfig(this.#client, spec, base, source, ports, mounts),
      onProgress: (message) => options.onProgress?.(message),
      beforeRemoval: () => archiveLogs(this.#client, spec.id, info, layerOf(info.Config.Labels)),
      onCheckpoint: (checkpoint) => this.#options.onCheckpoint?.(checkpoint),
    });
  }

  /** The power as the spec says, in as few calls as it takes. */
  async #power(before: ContainerInspectInfo, spec: InstanceSpec, options: EnsureOptions): Promise<ContainerInspectInfo> {
    const container = this.#client.docker.getContainer(before.Id);
    let power = powerOf(before);
    const settled = power;
    options.signal.throwIfAborted();
    if (power !== 'stopped' && (spec.power === 'stopped' || this.#mustRestart(before, spec))) {
      options.onProgress?.('stopping the instance');
      await stop(this.#client, before, spec.stopTimeout, options.signal);
      power = 'stopped';
    }
    if (spec.power === 'stopped') return power === settled ? before : container.inspect();
    const restarted = power !== settled;
    if (power === 'stopped') {
      options.onProgress?.('starting the instance');
      await this.#mounts(spec.mounts);
      await container.start().catch(unlessStatus(304));
      power = 'running';
    }
    if (restarted) this.#restarted.set(spec.id, spec.restartToken);
    if (power !== spec.power) {
      if (spec.power === 'paused') await container.pause();
      else await container.unpause();
      power = spec.power;
    }
    return power === settled && !restarted ? before : container.inspect();
  }

  #mustRestart(info: ContainerInspectInfo, spec: InstanceSpec): boolean {
    if (spec.restartToken === '' || this.#restarted.get(spec.id) === spec.restartToken) return false;
    const asked = Date.parse(spec.restartToken);
    if (Number.isNaN(asked)) throw new DriverError('bad_spec', `The restart token is no time: ${spec.restartToken}`);
    return (startedAt(info) ?? 0) < asked;
  }

  #mounts(mounts: VolumeMount[]): Promise<MountSettings[]> {
    return Promise.all(
      mounts.map(async ({ volumeId, path, readOnly }) => ({
        ...(await this.#volumes.attach(volumeId)),
        Target: path,
        ReadOnly: readOnly,
        // A volume shows what is on it, never a copy of what the image has at that place.
        VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: 'local', Options: {} } },
      })),
    );
  }

  inspect(id: string): Promise<InstanceObserved | undefined> {
    return this.#engine('Could not look at the instance', async () => {
      const info = await look(this.#client, id);
      return info === undefined ? undefined : observe(id, info);
    });
  }

  remove(id: string, options: { signal: AbortSignal; stopTimeout: number }): Promise<void> {
    return this.#alone(id, options.signal, 'Could not remove the instance', async () => {
      const { docker } = this.#client;
      const label = (name: string) => [`${LABEL_INSTALLATION}=${this.#client.installation}`, `${name}=${id}`];
      const containers = await docker.listContainers({ all: true, filters: { label: label(LABEL_ID) } });
      for (const { Id } of containers) {
        const info = await unlessAbsent(docker.getContainer(Id).inspect());
        if (info === undefined) continue;
        if (powerOf(info) !== 'stopped') await stop(this.#client, info, options.stopTimeout, options.signal);
        options.signal.throwIfAborted();
        await discard(this.#client, Id, options.signal);
      }
      const { Volumes } = await docker.listVolumes({ filters: { label: label(LABEL_INSTANCE) } });
      await Promise.all((Volumes ?? []).map(({ Name }) => unlessAbsent(docker.getVolume(Name).remove())));
      await Promise.all([forgetFiles(this.#client, id), forgetLogs(this.#client, id)]);
      this.#restarted.delete(id);
      this.#told.delete(id);
    });
  }

  list(): ReturnType<ComputeDriver['list']> {
    return this.#engine('Could not list the instances', async () => {
      const containers = await this.#client.docker.listContainers({ all: true, filters: this.#client.filter() });
      const found = new Map<string, InstanceObserved & { createdAt: number }>();
      const pending = [...containers];
      const work = async () => {
        for (let next = pending.shift(); next !== undefined; next = pending.shift()) {
          const id = idOf(next.Labels);
          if (id === undefined) continue;
          const info = await unlessAbsent(this.#client.docker.getContainer(next.Id).inspect());
          // Of an instance that is being made anew, the container that bears its name counts.
          if (info === undefined || (found.has(id) && info.Name !== `/${id}`)) continue;
          found.set(id, { ...observe(id, info), createdAt: next.Created * 1000 });
        }
      };
      await Promise.all(Array.from({ length: LIST_PARALLEL }, work));
      return [...found.values()];
    });
  }

  async watch(onChange: (id: string) => void, signal: AbortSignal, onReady?: () => void): Promise<void> {
    if (signal.aborted) return;
    let source: Readable | undefined;
    const close = () => source?.destroy();
    signal.addEventListener('abort', close, { once: true });
    try {
      source = (await this.#client.docker.getEvents({
        // The engine answers a moment before it listens: what happens in between is told from its memory.
        since: Math.floor(Date.now() / 1000),
        filters: { type: ['container'], event: ['create', 'start', 'die', 'pause', 'unpause', 'oom', 'destroy'], ...this.#client.filter() },
      })) as Readable;
      if (signal.aborted) return;
      onReady?.();
      for await (const text of linesOf(source)) {
        const event = JSON.parse(text) as { Actor?: { Attributes?: Record<string, string> } };
        const id = idOf(event.Actor?.Attributes ?? {});
        if (id !== undefined) onChange(id);
      }
    } catch (error) {
      if (signal.aborted) return;
      throw translate(error, 'The events of Docker Engine broke off');
    } finally {
      signal.removeEventListener('abort', close);
      source?.destroy();
    }
    if (!signal.aborted) throw new DriverError('unavailable', 'Docker Engine ended its stream of events');
  }

  exec(id: string, spec: ExecSpec): Promise<ExecSession> {
    return openExec(this.#client, id, spec);
  }

  async *logs(id: string, options: LogOptions): AsyncIterable<LogLine> {
    if ((await this.#engine('Could not read the output of the instance', () => look(this.#client, id))) === undefined) throw absent(id);
    yield* readLogs(this.#client, id, options);
  }

  stats(id: string, signal: AbortSignal): AsyncIterable<Stats> {
    return readStats(this.#client, id, signal);
  }

  async writeFiles(id: string, directory: string, tar: Readable): Promise<void> {
    const container = await this.#withMounts(id);
    try {
      await container.putArchive(tar, { path: directory, noOverwriteDirNonDir: 'true' });
    } catch (error) {
      if (statusOf(error) === 404) throw new DriverError('bad_spec', `There is no directory ${directory} in the instance`, { cause: error });
      if (/extraction point is not a directory/.test(messageOf(error)))
        throw new DriverError('bad_spec', `${directory} in the instance is not a directory`, { cause: error });
      throw translate(error, 'Could not write the files');
    } finally {
      tar.destroy();
    }
  }

  async readFiles(id: string, path: string): Promise<Readable> {
    const container = await this.#withMounts(id);
    try {
      return (await container.getArchive({ path })) as Readable;
    } catch (error) {
      if (statusOf(error) === 404) throw new DriverError('bad_spec', `There is no ${path} in the instance`, { cause: error });
      throw translate(error, 'Could not read the files');
    }
  }

  /** The container, its volumes mountable: the engine mounts them to copy, also while it is stopped. */
  async #withMounts(id: string) {
    const info = await this.#engine('Could not look at the instance', () => look(this.#client, id));
    if (info === undefined) throw absent(id);
    if (!info.State.Running) {
      const own = new Set((info.HostConfig.Mounts ?? []).filter((mount) => mount.VolumeOptions?.Labels?.[LABEL_INSTANCE] === id).map((mount) => mount.Source));
      const volumes = (info.HostConfig.Mounts ?? []).map((mount) => mount.Source).filter((source) => !own.has(source));
      await Promise.all(volumes.map((volumeId) => this.#volumes.attach(volumeId)));
    }
    return this.#client.docker.getContainer(info.Id);
  }

  async connect(id: string, instancePort: number): Promise<Duplex> {
    const observed = await this.inspect(id);
    if (observed === undefined) throw absent(id);
    if (observed.power !== 'running' || observed.address === undefined) {
      throw new DriverError('bad_spec', `The instance is ${observed.power}; it must be running for this`);
    }
    return openSocket(observed.address, instancePort);
  }

  #alone<T>(id: string, signal: AbortSignal, doing: string, call: () => Promise<T>): Promise<T> {
    return this.#locks.run(id, signal, () => this.#engine(doing, call, signal));
  }

  /** An engine's refusal leaves as a DriverError, an abort as the signal's reason. */
  async #engine<T>(doing: string, call: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    try {
      return await call();
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw translate(error, doing);
    }
  }
}

const absent = (id: string): DriverError => new DriverError('bad_spec', `Docker Engine has no instance ${id}`);

const unlessStatus =
  (status: number) =>
  (error: unknown): void => {
    if (statusOf(error) !== status) throw error;
  };

const staleNames = (env: string[], base: Base): string[] => {
  const original = new Set(base.env.map((entry) => entry.split('=', 1)[0]));
  return env.map((entry) => entry.split('=', 1)[0] ?? entry).filter((name) => !original.has(name));
};

/** Whether a start failed over a host port that the spec left to us. */
const isOurChoice = (error: DriverError, spec: InstanceSpec): boolean => {
  const port = /^Port (\d+) on this host is already in use$/.exec(error.message)?.[1];
  return port !== undefined && spec.ports.some((mapping) => mapping.hostPort === 0) && !spec.ports.some((mapping) => mapping.hostPort === Number(port));
};
