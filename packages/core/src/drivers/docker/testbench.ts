// For this backend's own tests: an installation that nobody else has, ranges that nothing else uses, and containers that play instances.
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, type Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import type Dockerode from 'dockerode';
import type { HostConfig, MountSettings } from 'dockerode';
import tar from 'tar-stream';
import { silent } from '../../kernel/log.ts';
import { DockerClient, LABEL_ID } from './client.ts';

const IMAGE = 'busybox';

/** Why the tests cannot run; undefined when they can. Throws instead of excusing when CLOUD_REQUIRED names docker. */
export async function dockerMissing(): Promise<string | undefined> {
  let reason: string | undefined;
  try {
    const client = new DockerClient({ installation: 'probe', dataDir: tmpdir(), log: silent });
    await client.ping();
    await client.docker.getImage(IMAGE).inspect();
  } catch (error) {
    reason = (error as Error).message;
  }
  if (reason !== undefined && (process.env.CLOUD_REQUIRED ?? '').split(',').includes('docker')) throw new Error(`Docker tests are required: ${reason}`);
  return reason;
}

interface Answer {
  code: number;
  output: string;
}

export interface Instance {
  instanceId: string;
  /** Runs a shell command inside. */
  sh(script: string): Promise<Answer>;
  start(): Promise<void>;
  stop(): Promise<void>;
  remove(): Promise<void>;
}

export interface InstanceOptions {
  network?: string;
  address?: string;
  mounts?: MountSettings[];
  /** Ports of the instance that `host.PortBindings` may name, like `80/tcp`. */
  ports?: string[];
  /** What it runs; default: nothing, for ever. */
  script?: string;
  host?: Partial<HostConfig>;
}

export class TestInstallation {
  readonly client: DockerClient;
  readonly #octet = 128 + Math.floor(Math.random() * 100);
  #next = Math.floor(Math.random() * 200);
  readonly #instances = new Set<Instance>();

  private constructor(dataDir: string) {
    this.client = new DockerClient({ installation: `test-${randomBytes(6).toString('hex')}`, dataDir, log: silent });
  }

  static async create(dataDir?: string): Promise<TestInstallation> {
    return new TestInstallation(dataDir ?? (await mkdtemp(join(tmpdir(), 'thecloud-test-'))));
  }

  /** A /24 of 10.128.0.0/9, another with every call. */
  freeCidr(): string {
    this.#next = (this.#next + 1) % 256;
    return `10.${this.#octet}.${this.#next}.0/24`;
  }

  async run(options: InstanceOptions = {}): Promise<Instance> {
    const instanceId = `i-${randomBytes(5).toString('hex')}`;
    const { network, address } = options;
    const container = await this.client.docker.createContainer({
      name: instanceId,
      Image: IMAGE,
      Cmd: ['sh', '-c', options.script ?? 'trap exit TERM; while :; do sleep 1; done'],
      Labels: this.client.labels(instanceId),
      ExposedPorts: Object.fromEntries((options.ports ?? []).map((port) => [port, {}])),
      HostConfig: { NetworkMode: network ?? 'none', Mounts: options.mounts ?? [], ...options.host },
      ...(network === undefined || address === undefined
        ? {}
        : { NetworkingConfig: { EndpointsConfig: { [network]: { IPAMConfig: { IPv4Address: address } } } } }),
    });
    const instance: Instance = {
      instanceId,
      sh: (script) => execute(container, ['sh', '-c', script]),
      start: () => container.start(),
      stop: () => container.stop({ t: 0 }),
      remove: async () => {
        this.#instances.delete(instance);
        await container.remove({ force: true, v: true });
      },
    };
    this.#instances.add(instance);
    await container.start();
    return instance;
  }

  /** The file system of busybox as a tar, with a file `word` besides. */
  async rootWith(word: string): Promise<Buffer> {
    const container = await this.client.docker.createContainer({ Image: IMAGE, Cmd: ['true'] });
    const extract = tar.extract();
    const pack = tar.pack();
    try {
      extract.end(await buffer((await container.export()) as Readable));
      const whole = buffer(pack);
      for await (const entry of extract) {
        const content = await buffer(entry);
        pack.entry(entry.header, content);
      }
      pack.entry({ name: 'word' }, word);
      pack.finalize();
      return await whole;
    } finally {
      await container.remove({ force: true });
    }
  }

  /** Removes whatever the tests left; the drivers' own things are the tests' to remove, and what is left of them is named in the error. */
  async close(): Promise<void> {
    for (const instance of this.#instances) await instance.remove();
    const { docker } = this.client;
    const filters = this.client.filter();
    const networks = await docker.listNetworks({ filters });
    const volumes = (await docker.listVolumes({ filters: JSON.stringify(filters) })).Volumes;
    for (const network of networks) await docker.getNetwork(network.Id).remove();
    for (const volume of volumes) await docker.getVolume(volume.Name).remove();
    await rm(this.client.dataDir, { recursive: true });
    const left = [...networks.map(({ Labels }) => Labels?.[LABEL_ID]), ...volumes.map(({ Name }) => Name)];
    if (left.length > 0) throw new Error(`Left behind by the test: ${left.join(', ')}`);
  }
}

async function execute(container: Dockerode.Container, command: string[]): Promise<Answer> {
  const exec = await container.exec({ Cmd: command, AttachStdout: true, AttachStderr: true });
  const stream = await exec.start({});
  const output = new PassThrough();
  (container.modem as Dockerode['modem']).demuxStream(stream, output, output);
  stream.on('end', () => output.end());
  const said = await text(output);
  const { ExitCode } = await exec.inspect();
  return { code: ExitCode ?? -1, output: said };
}
