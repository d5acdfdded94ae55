// The compute port: what the instance service needs from a backend. Verbs are states; calling twice is calling once.
// A backend addresses everything by our instance id and never shows its own.
import type { Duplex, Readable, Writable } from 'node:stream';
import { type Driver, type Found, port } from '../../kernel/driver.ts';

export interface ComputeCapabilities {
  /** `exec`: the service runs user data through `exec`; `guest`: the guest's own cloud-init reads it; `none`: recorded only. */
  readonly cloudInit: 'exec' | 'guest' | 'none';
  /** Whether exec, logs and copies reach a real program. */
  readonly runsPrograms: boolean;
  /** A volume can be attached to and detached from a running instance without a restart. */
  readonly hotVolumes: boolean;
  /** CPU, memory and pids limits of a running instance can change without a restart. */
  readonly hotResize: boolean;
  readonly pause: boolean;
  /** Most CPUs and bytes of memory that one instance may have; undefined = not known or no limit. */
  readonly maxCpus: number | undefined;
  readonly maxMemoryBytes: number | undefined;
}

export interface PortMapping {
  /** Address on the host; loopback unless the user asked for another. */
  hostAddress: string;
  /** 0: the backend chooses a free port when the instance starts and keeps it while the instance runs; `inspect` tells which. */
  hostPort: number;
  instancePort: number;
  protocol: 'tcp' | 'udp';
}

export interface VolumeMount {
  volumeId: string;
  /** Absolute path inside the instance. */
  path: string;
  readOnly: boolean;
}

/** All that the backend must know. Built by the controller from rows only; equal input means an equal instance. */
export interface InstanceSpec {
  id: string;
  /** The name under which other instances of the VPC resolve it. */
  name: string;
  /** Host name inside the instance, when it is not `name`. */
  hostname?: string;
  /** Image reference, as the user wrote it. Cannot change over an instance's life: DriverError('bad_spec'). */
  image: string;
  /** What that meant when the instance was made (see ImageContent), present in the backend's image store. Without it: the host's image of that name. */
  content?: string;
  /** Replaces the image's command; its entrypoint stays. */
  command: string[] | undefined;
  /** Replaces the image's entrypoint, and with it the image's command. */
  entrypoint: string[] | undefined;
  env: Record<string, string>;
  /** Stands for `env` where it is asked whether that has changed, and in what a backend keeps for that question: it tells no secret. */
  envKey?: string;
  /** CPU cores as a fraction, e.g. 0.5. */
  cpus: number;
  memoryBytes: number;
  /** Most processes and threads. */
  pids: number;
  networkId: string;
  address: string;
  /** Resolvers that it asks for names, when it is made or made anew; without them those of the backend. A running one keeps what it has. */
  dns?: string[];
  ports: PortMapping[];
  mounts: VolumeMount[];
  power: 'running' | 'stopped' | 'paused';
  /**
   * The ISO time of the user's last request to restart, or '' when there was none. An instance that should run and was started
   * before that time is stopped and started once; what else happened since (a crash, a resize) asks for no second one.
   */
  restartToken: string;
  /** Seconds between the polite stop signal and the kill. */
  stopTimeout: number;
}

export interface InstanceObserved {
  id: string;
  power: 'running' | 'stopped' | 'paused';
  /** Exit code of the last run; undefined while running or never started. */
  exitCode: number | undefined;
  /** Killed for exceeding its memory. */
  outOfMemory: boolean;
  /** Unix milliseconds of the last start; undefined when never started. Changes with every start. */
  startedAt: number | undefined;
  address: string | undefined;
  /** With real host ports in place of 0. Empty while stopped. */
  ports: PortMapping[];
}

export interface EnsureOptions {
  signal: AbortSignal;
  /**
   * Whether a running instance may be stopped and started for what cannot change live (mounts, ports, env, command).
   * When false and that is needed, the driver changes nothing and throws DriverError('busy'). A restart asked for by `restartToken` needs no further leave.
   * Its file system, address and identity survive either way.
   */
  allowRestart: boolean;
  /** One short line on what is being done. */
  onProgress?: (message: string) => void;
}

export interface ExecSpec {
  command: string[];
  env?: Record<string, string>;
  /** User name or uid inside the instance; the image's own when absent. */
  user?: string;
  workingDirectory?: string;
  tty: boolean;
  stdin: boolean;
  columns?: number;
  rows?: number;
}

/** A program running inside an instance. With a tty, everything arrives on stdout. Read both outputs: an unread one holds the program up, as a full pipe does. */
export interface ExecSession {
  readonly stdin: Writable;
  readonly stdout: Readable;
  readonly stderr: Readable;
  resize(columns: number, rows: number): Promise<void>;
  /** Resolves once, after both outputs ended. A program that could not be started: 126 (not executable) or 127 (not found), as shells do. */
  readonly exited: Promise<number>;
  /** Ends the program (SIGKILL where the backend can) and both outputs. */
  kill(): void;
}

export interface LogLine {
  /** Unix milliseconds. */
  time: number;
  stream: 'stdout' | 'stderr';
  /** Without the line break; bytes that are not UTF-8 are replaced. */
  text: string;
}

export interface LogOptions {
  follow: boolean;
  /** Only the last n lines; undefined = all. */
  tail: number | undefined;
  /** Unix milliseconds; only lines at or after it. */
  since: number | undefined;
  signal: AbortSignal;
}

export interface Stats {
  /** Unix milliseconds. */
  time: number;
  /** Of one core: 1.5 is one and a half cores busy since the previous sample. */
  cpu: number;
  memoryBytes: number;
  memoryLimitBytes: number;
  networkReceivedBytes: number;
  networkSentBytes: number;
  blockReadBytes: number;
  blockWrittenBytes: number;
  pids: number;
}

export interface ComputeDriver extends Driver {
  readonly capabilities: ComputeCapabilities;
  /** Makes the instance be as the spec says, from nothing or from any earlier spec, and returns what is then so. Equal spec: touches nothing. */
  ensure(spec: InstanceSpec, options: EnsureOptions): Promise<InstanceObserved>;
  /** undefined when the backend has no such instance. */
  inspect(id: string): Promise<InstanceObserved | undefined>;
  /** Removes the instance and what belongs to it alone (its writable layer, its image's anonymous volumes). Absent: fine. */
  remove(id: string, options: { signal: AbortSignal; stopTimeout: number }): Promise<void>;
  /** Everything of this installation. */
  list(): Promise<(Found & InstanceObserved)[]>;
  /** Calls `onChange(id)` within a second or two of any change of power. Returns when aborted; throws DriverError when the backend goes away. `onReady` once listening. */
  watch(onChange: (id: string) => void, signal: AbortSignal, onReady?: () => void): Promise<void>;
  exec(id: string, spec: ExecSpec): Promise<ExecSession>;
  /** Output of the instance's own program, oldest first, across restarts. `follow` ends when aborted or when the instance is removed. */
  logs(id: string, options: LogOptions): AsyncIterable<LogLine>;
  /** A sample now, then about one a second until aborted or no longer running. Not running at the call: DriverError('bad_spec'). */
  stats(id: string, signal: AbortSignal): AsyncIterable<Stats>;
  /** Unpacks a tar stream into an existing directory inside the instance, running or not. No such directory: DriverError('bad_spec'). */
  writeFiles(id: string, directory: string, tar: Readable): Promise<void>;
  /** A tar stream of a path inside the instance, running or not. Absent path: DriverError('bad_spec'). */
  readFiles(id: string, path: string): Promise<Readable>;
  /** A TCP connection to a port of a running instance. */
  connect(id: string, instancePort: number): Promise<Duplex>;
}

export const computePort = port<ComputeDriver>('compute');
