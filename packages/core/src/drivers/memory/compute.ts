// Instances without a backend: every rule of the port is kept, nothing runs. For trying the cloud out and for tests.
import type { Duplex, Readable } from 'node:stream';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { normaliseReference } from '../../services/image/driver.ts';
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
  PortMapping,
  Stats,
} from '../../services/instance/driver.ts';
import { play } from './exec.ts';
import { type MemoryFiles, normalisePath, pack, unpack } from './files.ts';
import type { MemoryInstanceState, MemoryWorld } from './world.ts';

const LOG_LINES = 1_000;
const FIRST_EPHEMERAL_PORT = 49_152;
const STATS_INTERVAL = 1_000;

export class MemoryCompute implements ComputeDriver {
  readonly capabilities: ComputeCapabilities = {
    cloudInit: 'none',
    runsPrograms: false,
    hotVolumes: false,
    hotResize: true,
    pause: true,
    maxCpus: undefined,
    maxMemoryBytes: undefined,
  };
  readonly #world: MemoryWorld;

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#world.faults.run('compute.ping', signal, () => {});
  }

  async report(): Promise<DriverReport> {
    const recorded = 'Stored and shown; the memory driver runs no programs';
    return {
      driver: 'memory',
      features: [
        { name: 'lifecycle', level: 'recorded', detail: 'States follow the commands and are forgotten when the process ends' },
        { name: 'limits', level: 'recorded', detail: recorded },
        { name: 'isolation', level: 'recorded', detail: recorded },
        { name: 'ports', level: 'recorded', detail: 'Allocated without overlap; nothing listens on them' },
        { name: 'cloud-init', level: 'recorded', detail: recorded },
        { name: 'exec', level: 'recorded', detail: "Plays echo, cat, env, hostname, true, false and sh -c 'exit N'" },
        { name: 'copy', level: 'enforced', detail: 'Files are kept in memory, volumes included' },
      ],
      checks: [{ name: 'memory', ok: true, detail: `${this.#world.instances.size} instances in this process` }],
    };
  }

  ensure(spec: InstanceSpec, options: EnsureOptions): Promise<InstanceObserved> {
    return this.#world.faults.run('compute.ensure', options.signal, () => {
      const instance = this.#world.instances.get(spec.id);
      return observe(instance === undefined ? this.#create(spec) : this.#converge(instance, spec, options));
    });
  }

  #create(spec: InstanceSpec): MemoryInstanceState {
    this.#check(spec);
    const instance: MemoryInstanceState = {
      spec: structuredClone({ ...spec, power: 'stopped' }),
      power: 'stopped',
      exitCode: undefined,
      outOfMemory: false,
      startedAt: undefined,
      createdAt: this.#world.clock.now(),
      ports: this.#ports(spec, []),
      files: new Map(),
      logs: [],
    };
    this.#world.instances.set(spec.id, instance);
    return this.#power(instance, spec);
  }

  #converge(instance: MemoryInstanceState, spec: InstanceSpec, options: EnsureOptions): MemoryInstanceState {
    if (spec.image !== instance.spec.image) throw new DriverError('bad_spec', 'The image of an instance cannot change: its files stand on it');
    const rebuild = fixedPart(spec) !== fixedPart(instance.spec);
    // The token's time is compared by token rather than with `startedAt`: a clock that stands still would never call for the restart.
    const restart = spec.restartToken !== '' && spec.restartToken !== instance.spec.restartToken;
    if (rebuild) {
      if (instance.power !== 'stopped' && !options.allowRestart) throw new DriverError('busy', `Instance ${spec.name} must restart for this change`);
      this.#check(spec);
      // Only what was chosen here may be kept; a number of the user's stays the user's.
      const chosen = instance.ports.filter((_, index) => instance.spec.ports[index]?.hostPort === 0);
      const ports = this.#ports(spec, chosen);
      this.#stop(instance);
      instance.ports = ports;
    } else if (restart && spec.power !== 'stopped') this.#stop(instance);
    return this.#power(instance, spec);
  }

  #power(instance: MemoryInstanceState, spec: InstanceSpec): MemoryInstanceState {
    instance.spec = structuredClone(spec);
    if (spec.power === 'stopped') this.#stop(instance);
    else {
      if (instance.power === 'stopped') this.#start(instance);
      if (instance.power !== spec.power) {
        instance.power = spec.power;
        this.#world.changed(spec.id);
      }
    }
    return instance;
  }

  #start(instance: MemoryInstanceState): void {
    for (const { hostAddress, hostPort, protocol } of instance.ports) {
      const other = [...this.#world.instances.values()].find(
        (each) => each !== instance && each.power !== 'stopped' && each.ports.some((port) => samePort(port, { hostAddress, hostPort, protocol })),
      );
      if (other !== undefined) throw new DriverError('bad_spec', `Port ${hostPort}/${protocol} on ${hostAddress} is already in use`);
    }
    instance.power = 'running';
    instance.exitCode = undefined;
    instance.outOfMemory = false;
    instance.startedAt = Math.max(this.#world.clock.now(), (instance.startedAt ?? 0) + 1);
    this.#note(instance, `${instance.spec.name} started (memory driver: no program runs)`);
  }

  #stop(instance: MemoryInstanceState): void {
    if (instance.power === 'stopped') return;
    instance.power = 'stopped';
    instance.exitCode = 0;
    this.#note(instance, `${instance.spec.name} stopped`);
  }

  #note(instance: MemoryInstanceState, text: string): void {
    instance.logs.push({ time: this.#world.clock.now(), stream: 'stdout', text });
    if (instance.logs.length > LOG_LINES) instance.logs.shift();
    this.#world.changed(instance.spec.id);
  }

  #check(spec: InstanceSpec): void {
    const there = spec.content === undefined ? this.#world.images.has(normaliseReference(spec.image)) : this.#world.contentOf(spec.content) !== undefined;
    if (!there) throw new DriverError('bad_spec', `There is no image ${spec.image}`);
    if (!this.#world.networks.has(spec.networkId)) throw new DriverError('busy', `There is no network ${spec.networkId} yet`);
    for (const { volumeId } of spec.mounts) {
      if (!this.#world.volumes.has(volumeId)) throw new DriverError('busy', `There is no volume ${volumeId} yet`);
    }
    const neighbour = [...this.#world.instances.values()].find(
      (each) => each.spec.id !== spec.id && each.spec.networkId === spec.networkId && each.spec.address === spec.address,
    );
    if (neighbour !== undefined) throw new DriverError('bad_spec', `Address ${spec.address} is already in use`);
  }

  #ports(spec: InstanceSpec, earlier: PortMapping[]): PortMapping[] {
    const taken = new Set([...this.#world.instances.values()].flatMap((each) => each.ports.map((port) => port.hostPort)));
    let next = FIRST_EPHEMERAL_PORT;
    return spec.ports.map((wanted) => {
      if (wanted.hostPort !== 0) return { ...wanted };
      const kept = earlier.find(
        (port) => port.instancePort === wanted.instancePort && port.protocol === wanted.protocol && port.hostAddress === wanted.hostAddress,
      );
      if (kept !== undefined) return { ...kept };
      while (taken.has(next)) next += 1;
      taken.add(next);
      return { ...wanted, hostPort: next };
    });
  }

  inspect(id: string): Promise<InstanceObserved | undefined> {
    return this.#world.faults.run('compute.inspect', undefined, () => {
      const instance = this.#world.instances.get(id);
      return instance && observe(instance);
    });
  }

  remove(id: string, options: { signal: AbortSignal; stopTimeout: number }): Promise<void> {
    return this.#world.faults.run('compute.remove', options.signal, () => {
      if (this.#world.instances.delete(id)) this.#world.changed(id);
    });
  }

  list(): ReturnType<ComputeDriver['list']> {
    return this.#world.faults.run('compute.list', undefined, () =>
      [...this.#world.instances.values()].map((instance) => ({ ...observe(instance), createdAt: instance.createdAt })),
    );
  }

  async watch(onChange: (id: string) => void, signal: AbortSignal, onReady?: () => void): Promise<void> {
    if (signal.aborted) return;
    await this.#world.faults.run('compute.watch', undefined, () => {});
    const unsubscribe = this.#world.onChange(onChange);
    const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    onReady?.();
    if (!signal.aborted) await aborted;
    unsubscribe();
  }

  exec(id: string, spec: ExecSpec): Promise<ExecSession> {
    return this.#world.faults.run('compute.exec', undefined, () => {
      const instance = this.#running(id);
      const env = { PATH: '/bin:/usr/bin', HOSTNAME: instance.spec.name, HOME: '/root', ...(spec.tty ? { TERM: 'xterm' } : {}), ...instance.spec.env };
      return play(spec, {
        hostname: instance.spec.name,
        env,
        readFile: (path) => {
          const found = this.#place(instance, normalisePath(path));
          const file = found.files.get(found.path);
          return file?.type === 'file' ? file.content : undefined;
        },
      });
    });
  }

  async *logs(id: string, options: LogOptions): AsyncIterable<LogLine> {
    await this.#world.faults.run('compute.logs', undefined, () => {});
    const instance = this.#existing(id);
    const wanted = instance.logs.filter((line) => options.since === undefined || line.time >= options.since);
    let last = instance.logs.at(-1);
    yield* options.tail === undefined ? wanted : wanted.slice(Math.max(0, wanted.length - options.tail));
    while (options.follow && !options.signal.aborted && this.#world.instances.get(id) === instance) {
      const position = last === undefined ? 0 : instance.logs.indexOf(last) + 1;
      const fresh = instance.logs.slice(position);
      last = fresh.at(-1) ?? last;
      yield* fresh;
      if (fresh.length === 0) await this.#next(id, options.signal);
    }
  }

  /** Resolves at the next change of the instance, or when aborted. */
  #next(id: string, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        unsubscribe();
        signal.removeEventListener('abort', done);
        resolve();
      };
      const unsubscribe = this.#world.onChange((changed) => {
        if (changed === id) done();
      });
      signal.addEventListener('abort', done, { once: true });
    });
  }

  async *stats(id: string, signal: AbortSignal): AsyncIterable<Stats> {
    await this.#world.faults.run('compute.stats', undefined, () => this.#running(id));
    for (;;) {
      const instance = this.#world.instances.get(id);
      if (signal.aborted || instance === undefined || instance.power === 'stopped') return;
      yield {
        time: this.#world.clock.now(),
        cpu: 0,
        memoryBytes: 0,
        memoryLimitBytes: instance.spec.memoryBytes,
        networkReceivedBytes: 0,
        networkSentBytes: 0,
        blockReadBytes: 0,
        blockWrittenBytes: 0,
        pids: 0,
      };
      await this.#world.clock.sleep(STATS_INTERVAL, signal).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
  }

  /** Missing directories are made, because the memory backend has no image's tree to look them up in. */
  writeFiles(id: string, directory: string, tar: Readable): Promise<void> {
    return this.#world.faults.run('compute.writeFiles', undefined, async () => {
      const instance = this.#existing(id);
      const { files, path } = this.#place(instance, normalisePath(directory));
      if (files.get(path)?.type === 'file') throw new DriverError('bad_spec', `${directory} in the instance is not a directory`);
      await unpack(tar, directory, (path) => this.#place(instance, path)).catch((error: unknown) => {
        throw error instanceof DriverError ? error : new DriverError('bad_spec', `Not a tar archive: ${String(error)}`, { cause: error });
      });
    });
  }

  readFiles(id: string, path: string): Promise<Readable> {
    return this.#world.faults.run('compute.readFiles', undefined, () => {
      const wanted = normalisePath(path);
      const found = this.#place(this.#existing(id), wanted);
      const archive = pack(found.files, found.path, wanted.slice(wanted.lastIndexOf('/') + 1));
      if (archive === undefined) throw new DriverError('bad_spec', `There is no ${path} in the instance`);
      return archive;
    });
  }

  connect(id: string, instancePort: number): Promise<Duplex> {
    return this.#world.faults.run('compute.connect', undefined, () => {
      const instance = this.#running(id);
      throw new DriverError('bad_spec', `Nothing listens on port ${instancePort} of ${instance.spec.name}: the memory driver runs no programs`);
    });
  }

  /** The tree that holds an absolute path of the instance: a mounted volume's, else its own. */
  #place(instance: MemoryInstanceState, path: string): { files: MemoryFiles; path: string } {
    const mounts = instance.spec.mounts.map((mount) => ({ ...mount, path: normalisePath(mount.path) })).sort((a, b) => b.path.length - a.path.length);
    const mount = mounts.find((each) => path === each.path || path.startsWith(`${each.path}/`));
    const volume = mount && this.#world.volumes.get(mount.volumeId);
    return mount === undefined || volume === undefined ? { files: instance.files, path } : { files: volume.files, path: path.slice(mount.path.length) };
  }

  #existing(id: string): MemoryInstanceState {
    const instance = this.#world.instances.get(id);
    if (instance === undefined) throw new DriverError('bad_spec', `The memory backend has no instance ${id}`);
    return instance;
  }

  #running(id: string): MemoryInstanceState {
    const instance = this.#existing(id);
    if (instance.power !== 'running') throw new DriverError('bad_spec', `Instance ${instance.spec.name} is ${instance.power}; it must be running for this`);
    return instance;
  }
}

const samePort = (a: Omit<PortMapping, 'instancePort'>, b: Omit<PortMapping, 'instancePort'>): boolean =>
  a.hostPort === b.hostPort && a.protocol === b.protocol && (a.hostAddress === b.hostAddress || a.hostAddress === '0.0.0.0' || b.hostAddress === '0.0.0.0');

/** What cannot change while an instance runs, as text to compare. */
const fixedPart = ({ name, command, entrypoint, env, envKey, networkId, address, ports, mounts }: InstanceSpec): string =>
  JSON.stringify([name, command, entrypoint, envKey ?? Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1)), networkId, address, ports, mounts]);

const observe = (instance: MemoryInstanceState): InstanceObserved => ({
  id: instance.spec.id,
  power: instance.power,
  exitCode: instance.exitCode,
  outOfMemory: instance.outOfMemory,
  startedAt: instance.startedAt,
  address: instance.spec.address,
  ports: instance.power === 'stopped' ? [] : instance.ports.map((port) => ({ ...port })),
});
