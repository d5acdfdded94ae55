// From our spec to the engine's container configuration, and back to what a container says about itself.
import { createHash } from 'node:crypto';
import type { ContainerCreateOptions, ContainerInspectInfo, HostConfig, ImageInspectInfo, MountSettings } from 'dockerode';
import { DriverError } from '../../kernel/errors.ts';
import type { InstanceObserved, InstanceSpec, PortMapping } from '../../services/instance/driver.ts';
import { hardwareAddress } from '../../services/vpc/driver.ts';
import { type DockerClient, LABEL_ID, LABEL_INSTALLATION, LABEL_INSTANCE } from './client.ts';

/** Hash of all that a live container cannot change. */
export const LABEL_HASH = 'thecloud.hash';
/** The original image's configuration, so that a committed layer never decides what the spec means. */
export const LABEL_BASE = 'thecloud.base';
/** How many times the writable layer was committed. */
export const LABEL_LAYER = 'thecloud.layer';

const LOG_MAX_SIZE = '10m';
const LOG_MAX_FILES = '3';

/** What the original image says about running it. Kept in a label, because the image may be gone when it is needed again. */
export interface Base {
  reference: string;
  entrypoint: string[] | null;
  command: string[] | null;
  env: string[];
  volumes: string[];
  workingDirectory: string;
  user: string;
  stopSignal?: string;
  healthcheck?: ContainerCreateOptions['Healthcheck'];
}

/** Where a container's files come from, and what must be undone of what the commit baked in. */
export interface Source {
  image: string;
  layer: number;
  /** Variables that the image carries from an earlier spec. */
  staleEnv: string[];
}

const asList = (value: string | string[] | null | undefined): string[] | null =>
  value === null || value === undefined ? null : Array.isArray(value) ? value : [value];

export function baseOf(reference: string, image: ImageInspectInfo): Base {
  const config = image.Config as ImageInspectInfo['Config'] & { StopSignal?: string; Healthcheck?: ContainerCreateOptions['Healthcheck'] };
  return {
    reference,
    entrypoint: asList(config.Entrypoint),
    command: asList(config.Cmd),
    env: config.Env ?? [],
    volumes: Object.keys(config.Volumes ?? {}).sort(),
    workingDirectory: config.WorkingDir ?? '',
    user: config.User ?? '',
    ...(config.StopSignal === undefined ? {} : { stopSignal: config.StopSignal }),
    ...(config.Healthcheck === undefined || config.Healthcheck === null ? {} : { healthcheck: config.Healthcheck }),
  };
}

export function baseFrom(labels: Record<string, string>): Base {
  const text = labels[LABEL_BASE];
  if (text === undefined) throw new DriverError('failed', 'A container of this installation lacks its label of origin');
  return JSON.parse(text) as Base;
}

export const layerOf = (labels: Record<string, string>): number => Number(labels[LABEL_LAYER] ?? 0);

/** Equal for two specs exactly when one container can serve both without being made anew. */
export function hashOf(spec: InstanceSpec): string {
  const { name, command, entrypoint, env, envKey, networkId, address, ports, mounts } = spec;
  const environment = envKey ?? Object.entries(env).sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = [1, name, command ?? null, entrypoint ?? null, environment, networkId, address, ports, mounts];
  return createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 32);
}

/** The part of the configuration that a live container can change. Swap equals memory: no swap. */
export const limitsOf = (spec: InstanceSpec) => ({
  NanoCpus: Math.round(spec.cpus * 1e9),
  Memory: spec.memoryBytes,
  MemorySwap: spec.memoryBytes,
  PidsLimit: spec.pids,
});

/** The limits that differ. A limit that the engine dropped for lack of a cgroup reads 0 and is not asked for again. */
export function limitChanges(host: HostConfig, spec: InstanceSpec): Partial<ReturnType<typeof limitsOf>> | undefined {
  const wanted = limitsOf(spec);
  const memory = host.Memory !== wanted.Memory && (host.Memory ?? 0) !== 0;
  const changes = {
    ...(host.NanoCpus !== wanted.NanoCpus && (host.NanoCpus ?? 0) !== 0 ? { NanoCpus: wanted.NanoCpus } : {}),
    ...(memory ? { Memory: wanted.Memory, MemorySwap: wanted.MemorySwap } : {}),
    ...(host.PidsLimit !== wanted.PidsLimit && (host.PidsLimit ?? 0) !== 0 ? { PidsLimit: wanted.PidsLimit } : {}),
  };
  return Object.keys(changes).length === 0 ? undefined : changes;
}

const portKey = (mapping: PortMapping): string => `${mapping.instancePort}/${mapping.protocol}`;

/** Name of the Docker volume that keeps one image-declared VOLUME path of an instance. */
const ownVolume = (id: string, path: string): string => `${id}-${createHash('sha256').update(path).digest('hex').slice(0, 8)}`;

export function containerConfig(
  client: DockerClient,
  spec: InstanceSpec,
  base: Base,
  source: Source,
  ports: PortMapping[],
  mounts: MountSettings[],
): ContainerCreateOptions {
  const entrypoint = spec.entrypoint ?? base.entrypoint ?? [];
  const command = spec.command ?? (spec.entrypoint === undefined ? (base.command ?? []) : []);
  if (entrypoint.length === 0 && command.length === 0) throw new DriverError('bad_spec', `Image ${spec.image} names no command; give one`);
  const env = new Map(base.env.map((entry) => [entry.split('=', 1)[0] ?? entry, entry]));
  for (const [name, value] of Object.entries(spec.env)) env.set(name, `${name}=${value}`);
  // To the engine, a name without "=" means: remove it from what the image brings along.
  for (const name of source.staleEnv) if (!env.has(name)) env.set(name, name);

  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const mapping of ports) (bindings[portKey(mapping)] ??= []).push({ HostIp: mapping.hostAddress, HostPort: String(mapping.hostPort) });

  const taken = new Set(mounts.map((mount) => mount.Target));
  const own: MountSettings[] = base.volumes
    .filter((path) => !taken.has(path))
    .map((path) => ({
      Type: 'volume',
      Source: ownVolume(spec.id, path),
      Target: path,
      VolumeOptions: {
        NoCopy: false,
        Labels: { [LABEL_INSTALLATION]: client.installation, [LABEL_INSTANCE]: spec.id },
        DriverConfig: { Name: 'local', Options: {} },
      },
    }));

  return {
    Hostname: spec.hostname ?? spec.name,
    Image: source.image,
    Entrypoint: entrypoint,
    Cmd: command,
    Env: [...env.values()],
    User: base.user,
    WorkingDir: base.workingDirectory,
    ...(base.stopSignal === undefined ? {} : { StopSignal: base.stopSignal }),
    ...(base.healthcheck === undefined ? {} : { Healthcheck: base.healthcheck }),
    StopTimeout: spec.stopTimeout,
    // Without it an image whose command is a bare shell would read end-of-file and stop at once.
    OpenStdin: true,
    Tty: false,
    ExposedPorts: Object.fromEntries(Object.keys(bindings).map((key) => [key, {}])),
    Labels: {
      ...client.labels(spec.id),
      [LABEL_HASH]: hashOf(spec),
      [LABEL_BASE]: JSON.stringify(base),
      [LABEL_LAYER]: String(source.layer),
    },
    HostConfig: {
      ...limitsOf(spec),
      NetworkMode: spec.networkId,
      PortBindings: bindings,
      // The engine's own resolver answers for the names of the network, and asks these, from inside it, for all others.
      ...(spec.dns === undefined || spec.dns.length === 0 ? {} : { Dns: spec.dns }),
      Mounts: [...mounts, ...own],
      RestartPolicy: { Name: 'no' },
      LogConfig: { Type: 'json-file', Config: { 'max-size': LOG_MAX_SIZE, 'max-file': LOG_MAX_FILES } },
    },
    // Made from the address, so that the packet filter knows it before the first packet.
    MacAddress: hardwareAddress(spec.address),
    NetworkingConfig: { EndpointsConfig: { [spec.networkId]: { IPAMConfig: { IPv4Address: spec.address }, Aliases: [spec.name] } } },
  };
}

/** The engine writes this for "never". */
const NEVER = '0001-01-01T00:00:00Z';

export const startedAt = (info: ContainerInspectInfo): number | undefined => (info.State.StartedAt === NEVER ? undefined : Date.parse(info.State.StartedAt));

export const powerOf = ({ State }: ContainerInspectInfo): InstanceObserved['power'] => (State.Paused ? 'paused' : State.Running ? 'running' : 'stopped');

export function observe(id: string, info: ContainerInspectInfo): InstanceObserved {
  const power = powerOf(info);
  const started = startedAt(info);
  const networks = Object.values(info.NetworkSettings.Networks ?? {});
  const ports = Object.entries(info.NetworkSettings.Ports ?? {}).flatMap(([key, bindings]) => {
    const [port, protocol] = key.split('/');
    return (bindings ?? []).map((binding) => ({
      hostAddress: binding.HostIp,
      hostPort: Number(binding.HostPort),
      instancePort: Number(port),
      protocol: protocol === 'udp' ? ('udp' as const) : ('tcp' as const),
    }));
  });
  return {
    id,
    power,
    exitCode: power !== 'stopped' || started === undefined ? undefined : info.State.ExitCode,
    // The engine keeps the flag over the next start, and sets it too when a program other than the first one was killed.
    outOfMemory: power === 'stopped' && info.State.OOMKilled,
    startedAt: started,
    address: networks[0]?.IPAMConfig?.IPv4Address ?? (networks[0]?.IPAddress || undefined),
    ports: power === 'stopped' ? [] : ports.sort((a, b) => a.instancePort - b.instancePort || a.hostPort - b.hostPort),
  };
}

/** The ports that a container was made with, with the choices in place of 0. */
export const boundPorts = (info: ContainerInspectInfo): PortMapping[] =>
  Object.entries((info.HostConfig.PortBindings ?? {}) as Record<string, { HostIp: string; HostPort: string }[]>).flatMap(([key, bindings]) =>
    bindings.map((binding) => ({
      hostAddress: binding.HostIp,
      hostPort: Number(binding.HostPort),
      instancePort: Number(key.split('/')[0]),
      protocol: key.endsWith('/udp') ? ('udp' as const) : ('tcp' as const),
    })),
  );

export const ownedBy = (client: DockerClient, info: ContainerInspectInfo): boolean => info.Config.Labels[LABEL_INSTALLATION] === client.installation;
export const idOf = (labels: Record<string, string>): string | undefined => labels[LABEL_ID];
