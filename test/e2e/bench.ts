// A whole installation for one test file: a daemon process of its own, the real command, and the SDK over its socket. At the end
// everything is deleted as a user would, and whatever is still there then (in the engine, the kernel, the packet filter) fails the file.
import { type ChildProcessWithoutNullStreams, execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import Dockerode from 'dockerode';
import { type Connection, connect, isFault } from '../../packages/sdk/src/index.ts';

export { dockerMissing } from '../../packages/core/src/drivers/docker/testbench.ts';

const binary = join(import.meta.dirname, '..', '..', 'packages', 'cli', 'bin', 'cloud.js');
const execute = promisify(execFile);
export const docker = new Dockerode();

export interface Result {
  stdout: string;
  stderr: string;
  code: number | null;
}

/** Resolves as soon as `look` answers something other than undefined or false; what it throws counts as "not yet" and is told at the end. */
export async function until<T>(what: string, look: () => Promise<T | undefined | false>, milliseconds = 20_000): Promise<T> {
  const deadline = Date.now() + milliseconds;
  let last: unknown;
  for (;;) {
    try {
      const seen = await look();
      if (seen !== undefined && seen !== false) return seen;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${milliseconds} ms: ${what}`, { cause: last });
    await sleep(25);
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // gone, or somebody else's by now
  }
  return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
};

export interface TestCloudOptions {
  driver?: 'docker' | 'memory';
  /** Words for `cloud daemon start`. */
  start?: readonly string[];
  env?: NodeJS.ProcessEnv;
  /** Default: a fresh one. */
  dataDir?: string;
}

export class TestCloud implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'cloud-e2e-'));
  readonly dataDir: string;
  readonly env: NodeJS.ProcessEnv;
  readonly driver: 'docker' | 'memory';
  /** Of the SDK; outlives restarts of the daemon. */
  readonly client: Connection;
  readonly #start: readonly string[];
  #installation: string | undefined;

  constructor({ driver = 'docker', start = [], env = {}, dataDir }: TestCloudOptions = {}) {
    this.driver = driver;
    this.#start = start;
    this.dataDir = dataDir ?? join(this.folder, 'data');
    this.env = {
      PATH: process.env['PATH'],
      HOME: this.folder,
      CLOUD_DATA_DIR: this.dataDir,
      TZ: 'UTC',
      LANG: 'C.UTF-8',
      // Whoever tests it says where.
      CLOUD_S3_LISTEN: 'off',
      ...(process.env['DOCKER_HOST'] === undefined ? {} : { DOCKER_HOST: process.env['DOCKER_HOST'] }),
      ...env,
    };
    this.client = connect({ dataDir: this.dataDir });
  }

  static async start(options: TestCloudOptions = {}): Promise<TestCloud> {
    const cloud = new TestCloud(options);
    try {
      await cloud.start();
      cloud.#installation = (await cloud.client.system.info()).installation;
      return cloud;
    } catch (error) {
      await cloud[Symbol.asyncDispose]();
      throw error;
    }
  }

  get installation(): string {
    if (this.#installation === undefined) throw new Error('never started');
    return this.#installation;
  }

  async start(...words: string[]): Promise<void> {
    const { code, stderr } = await this.cloud('daemon', 'start', '--driver', this.driver, ...this.#start, ...words);
    if (code !== 0) throw new Error(stderr);
  }

  /** Of the daemon, as it wrote it down. */
  get pid(): number {
    return (JSON.parse(readFileSync(join(this.dataDir, 'daemon.json'), 'utf8')) as { pid: number }).pid;
  }

  /** kill -9, and wait until it is gone. */
  async kill(): Promise<void> {
    const { pid } = this;
    process.kill(pid, 'SIGKILL');
    await until('the daemon is dead', async () => !isAlive(pid));
  }

  async restart(): Promise<void> {
    const { code, stderr } = await this.cloud('daemon', 'stop');
    if (code !== 0) throw new Error(stderr);
    await this.start();
  }

  spawn(words: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
    return spawn(process.execPath, [binary, ...words], { cwd: this.folder, env: { ...this.env, ...env } });
  }

  /** The command, to its end, whatever that is. */
  cloud(...words: string[]): Promise<Result> {
    return this.cloudWith({}, ...words);
  }

  cloudWith({ input, env }: { input?: string | Buffer; env?: NodeJS.ProcessEnv }, ...words: string[]): Promise<Result> {
    return new Promise((resolve, reject) => {
      const child = this.spawn(words, env);
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      child.stdin.on('error', () => undefined); // a command that does not read may be gone first
      child.stdin.end(input);
      child.once('error', reject);
      child.once('close', (code) => resolve({ stdout, stderr, code }));
    });
  }

  /** A command that must succeed; its output. */
  async ok(...words: string[]): Promise<string> {
    const { stdout, stderr, code } = await this.cloud(...words);
    if (code !== 0) throw new Error(`cloud ${words.join(' ')}: exit ${code}: ${stderr}`);
    return stdout;
  }

  async json<T = Record<string, unknown>>(...words: string[]): Promise<T> {
    return JSON.parse(await this.ok(...words, '--output', 'json')) as T;
  }

  /** A shell script inside an instance: its output of both kinds, in order, and the exit code. */
  async sh(instance: string, script: string): Promise<{ output: string; code: number }> {
    const channel = await this.client.instance.exec(instance, { command: ['sh', '-c', `exec 2>&1\n${script}`], stdin: false });
    let output = '';
    for await (const chunk of channel.output) output += Buffer.from(chunk as Uint8Array).toString('utf8');
    return { output, code: (await channel.result).exitCode };
  }

  /** The container that is an instance now. */
  async container(id: string): Promise<Dockerode.Container> {
    return docker.getContainer((await docker.getContainer(id).inspect()).Id);
  }

  /** Everything of this installation outside its data directory, and what of the kernel's hangs on that directory. */
  async leftovers(): Promise<string[]> {
    const left: string[] = [];
    if (this.driver === 'docker' && this.#installation !== undefined) {
      const label = [`thecloud.installation=${this.#installation}`];
      const [containers, networks, volumes, images, kept] = await Promise.all([
        docker.listContainers({ all: true, filters: { label } }),
        docker.listNetworks({ filters: { label } }),
        docker.listVolumes({ filters: JSON.stringify({ label }) }),
        docker.listImages({ filters: { label } }),
        docker.listImages({ filters: { reference: [`thecloud-image/${this.#installation.toLowerCase()}/*`] } }),
      ]);
      for (const { Names, Id, Labels } of containers) left.push(`container ${Names[0] ?? Id} (${Labels['thecloud.id'] ?? ''})`);
      for (const { Name, Id } of networks) left.push(`network ${Name} ${Id.slice(0, 12)}`);
      for (const { Name } of volumes.Volumes ?? []) left.push(`volume ${Name}`);
      for (const { RepoTags, Id } of [...images, ...kept]) left.push(`image ${RepoTags?.join() ?? Id}`);
    }
    for (const device of readdirSync('/sys/block').filter((name) => name.startsWith('loop'))) {
      const file = `/sys/block/${device}/loop/backing_file`;
      if (existsSync(file) && readFileSync(file, 'utf8').startsWith(`${this.dataDir}/`)) left.push(`loop device ${device}`);
    }
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) if (line.includes(`${this.dataDir}/`)) left.push(`mount ${line}`);
    return left;
  }

  /** Name of the packet filter's chain for a VPC, and of its bridge. */
  bridgeOf(vpcId: string): string {
    const digest = createHash('sha256').update(`${this.installation}/${vpcId}`).digest().readBigUInt64BE();
    return `cl${digest.toString(36).padStart(13, '0')}`;
  }

  /** Deletes all resources through the product, as often as something still can be deleted. */
  async deleteEverything(): Promise<void> {
    const { client } = this;
    const addresses = { list: client.elasticIp.list, delete: client.elasticIp.release };
    const parts = [client.peering, client.subnet, client.routeTable, client.natGateway, addresses, client.internetGateway, client.securityGroup];
    const kinds = [client.instance, client.snapshot, client.volume, ...parts, client.vpc];
    for (let round = 0; ; round++) {
      const problems: unknown[] = [];
      for (const kind of kinds) {
        const { items } = await kind.list({ limit: 1000 });
        await Promise.all(
          items.map(({ id }) =>
            kind.delete(id, {}, { wait: true, timeout: 20_000 }).catch((error: unknown) => {
              if (!isFault(error, 'not_found')) problems.push(error);
            }),
          ),
        );
      }
      const { items } = await client.image.list({ limit: 1000 });
      await Promise.all(items.filter(({ source }) => source !== 'host').map(({ id }) => client.image.delete(id, {}, { wait: true, timeout: 20_000 })));
      if (problems.length === 0) return;
      if (round === 2) throw new AggregateError(problems, 'Some resources cannot be deleted');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const problems: unknown[] = [];
    const attempt = (work: () => Promise<unknown>) => work().catch((error: unknown) => problems.push(error));
    if (this.#installation !== undefined) {
      await attempt(async () => {
        await this.start();
        const chains = (await this.client.vpc.list({ limit: 1000 })).items.map(({ id }) => this.bridgeOf(id));
        await this.deleteEverything();
        const rules = await ruleset();
        const left = [...(await this.leftovers()), ...chains.filter((chain) => rules.includes(chain)).map((chain) => `nft chain ${chain}`)];
        if (left.length > 0) throw new Error(`Left behind: ${left.join(', ')}`);
      });
      if (problems.length > 0) await attempt(() => this.#sweep());
    }
    this.client.close();
    await attempt(async () => {
      const { code, stderr } = await this.cloud('daemon', 'stop');
      if (code !== 0) throw new Error(stderr);
    });
    const log = join(this.dataDir, 'daemon.log');
    if (problems.length > 0 && existsSync(log)) process.stderr.write(`${readFileSync(log, 'utf8').split('\n').slice(-40).join('\n')}\n`);
    rmSync(this.folder, { recursive: true, force: true });
    if (problems.length > 0) throw new AggregateError(problems, problems.map((problem) => (problem as Error).message).join('\n'));
  }

  /** By force, after the product failed to. */
  async #sweep(): Promise<void> {
    const label = [`thecloud.installation=${this.installation}`];
    for (const { Id } of await docker.listContainers({ all: true, filters: { label } })) await docker.getContainer(Id).remove({ force: true, v: true });
    for (const { Id } of await docker.listNetworks({ filters: { label } })) await docker.getNetwork(Id).remove();
    for (const { Name } of (await docker.listVolumes({ filters: JSON.stringify({ label }) })).Volumes ?? []) await docker.getVolume(Name).remove();
    for (const { Id } of await docker.listImages({ filters: { label } })) await docker.getImage(Id).remove({ force: true });
    for (const device of readdirSync('/sys/block').filter((name) => name.startsWith('loop'))) {
      const file = `/sys/block/${device}/loop/backing_file`;
      if (existsSync(file) && readFileSync(file, 'utf8').startsWith(`${this.dataDir}/`)) await execute('losetup', ['--detach', `/dev/${device}`]);
    }
  }
}

/** A shell script inside an instance, by the engine itself: for what must be so without a daemon. */
export async function inside(id: string, script: string): Promise<{ output: string; code: number }> {
  const exec = await docker.getContainer(id).exec({ Cmd: ['sh', '-c', `exec 2>&1\n${script}`], AttachStdout: true, Tty: false });
  const stream = await exec.start({});
  const chunks: Buffer[] = [];
  // Frames of one stream only: a header of eight bytes before each.
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  let output = '';
  for (let rest = Buffer.concat(chunks); rest.length >= 8; rest = rest.subarray(8 + rest.readUInt32BE(4))) {
    output += rest.subarray(8, 8 + rest.readUInt32BE(4)).toString('utf8');
  }
  return { output, code: (await exec.inspect()).ExitCode ?? -1 };
}

/** The kernel's whole packet filter; empty where there is no nft. */
export async function ruleset(): Promise<string> {
  try {
    return (await execute('nft', ['list', 'ruleset'], { maxBuffer: 32 * 1024 * 1024 })).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}

/** Stands between a daemon and the engine, and can be cut: to the daemon, the engine is away then. Nothing happens to the engine. */
export class EngineProxy implements AsyncDisposable {
  readonly path: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #cut = false;

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer({ allowHalfOpen: true }, (near) => {
      this.#sockets.add(near);
      near.on('error', () => undefined).on('close', () => this.#sockets.delete(near));
      if (this.#cut) {
        near.destroy();
        return;
      }
      const far = connectTcp({ path: '/var/run/docker.sock', allowHalfOpen: true });
      this.#sockets.add(far);
      far
        .on('error', () => near.destroy())
        .on('close', () => {
          this.#sockets.delete(far);
          near.destroy();
        });
      near.on('close', () => far.destroy());
      near.pipe(far).pipe(near);
    });
  }

  static async start(folder: string): Promise<EngineProxy> {
    const proxy = new EngineProxy(join(folder, 'engine.sock'));
    await new Promise<void>((resolve) => proxy.#server.listen(proxy.path, resolve));
    return proxy;
  }

  get host(): string {
    return `unix://${this.path}`;
  }

  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#cut = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
