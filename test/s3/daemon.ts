// A throw-away daemon with an S3 endpoint, as a process of its own that can be killed and started again, and accounts to use it with.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, connect, isFault } from '../../packages/sdk/src/index.ts';
import { type Account, type Accounts, ROLES } from './suite.ts';

/** What the suite calls keys when its configuration names none. */
const KMS_KEYS = ['testkey-1', 'testkey-2'];
const START_MS = 30_000;

export interface S3DaemonOptions {
  /** Of the process, besides PATH and HOME. */
  env?: NodeJS.ProcessEnv;
  /** Options of node itself. */
  node?: readonly string[];
}

export class S3Daemon implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'cloud-s3-'));
  readonly dataDir = join(this.folder, 'data');
  /** Of the SDK, as the local administrator; outlives restarts. */
  readonly client: Connection = connect({ dataDir: this.dataDir });
  readonly #options: S3DaemonOptions;
  #child: ChildProcess | undefined;
  #port = 0;

  private constructor(options: S3DaemonOptions) {
    this.#options = options;
    mkdirSync(this.dataDir, { mode: 0o700 });
  }

  static async start(options: S3DaemonOptions = {}): Promise<S3Daemon> {
    const daemon = new S3Daemon(options);
    try {
      await daemon.start();
      return daemon;
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The same port as the last time. */
  async start(): Promise<void> {
    const { env = {}, node = [] } = this.#options;
    const words = [...node, '--conditions=@thecloud/source', join(import.meta.dirname, 'serve.ts'), this.dataDir, String(this.#port)];
    const child = spawn(process.execPath, words, {
      cwd: this.folder,
      env: { PATH: process.env['PATH'], HOME: this.folder, TZ: 'UTC', LANG: 'C.UTF-8', ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    let errors = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      errors = (errors + text).slice(-8_000);
    });
    this.#port = await new Promise<number>((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the daemon was not ready within ${START_MS} ms: ${errors}`)), START_MS);
      let said = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        said += text;
        if (!said.includes('\n')) return;
        clearTimeout(late);
        resolve((JSON.parse(said.slice(0, said.indexOf('\n'))) as { port: number }).port);
      });
      child.once('exit', (code, signal) => {
        clearTimeout(late);
        reject(new Error(`the daemon ended (${signal ?? `code ${code}`}): ${errors}`));
      });
    });
  }

  get endpoint(): URL {
    return new URL(`http://127.0.0.1:${this.#port}`);
  }

  get pid(): number {
    if (this.#child?.pid === undefined) throw new Error('never started');
    return this.#child.pid;
  }

  /** Undefined while it runs. */
  get ended(): string | undefined {
    const child = this.#child;
    if (child === undefined) return 'never started';
    return child.exitCode === null && child.signalCode === null ? undefined : (child.signalCode ?? `code ${child.exitCode}`);
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (child === undefined || this.ended !== undefined) return;
    const over = new Promise((done) => child.once('exit', done));
    child.kill(signal);
    await over;
  }
  kill(): Promise<void> {
    return this.#end('SIGKILL');
  }
  stop(): Promise<void> {
    return this.#end('SIGTERM');
  }

  /** Bytes of memory that the process has in RAM. */
  get residentBytes(): number {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
  }

  /** A key of the local administrator's in a tenant, which is made when there is none. */
  async account(tenant: string): Promise<Account> {
    const { client } = this;
    try {
      await client.tenant.create({ name: tenant });
    } catch (error) {
      if (!isFault(error, 'conflict')) throw error;
    }
    const { id, name } = await client.tenant.get(tenant);
    const { accessKeyId, secretAccessKey } = await client.s3Key.create({ name: `key-${Date.now().toString(36)}` }, { tenant });
    return { accessKeyId, secretAccessKey, id, name };
  }

  /** Everybody whom the suite wants, with the keys that it names. */
  async accounts(): Promise<Accounts> {
    const all: [string, Account][] = [];
    for (const role of ROLES) {
      const tenant = role.replaceAll(' ', '-');
      all.push([role, await this.account(tenant)]);
      for (const name of KMS_KEYS) await this.client.kmsKey.create({ name }, { tenant });
    }
    return Object.fromEntries(all) as Accounts;
  }

  get log(): string {
    const file = join(this.dataDir, 'daemon.log');
    return existsSync(file) ? readFileSync(file, 'utf8') : '';
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
