// Other people's S3 clients, each as it comes, against a daemon of ours: where they are, what they are told, and how they are run.
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { S3Daemon } from '../s3/daemon.ts';
import type { Account } from '../s3/suite.ts';

/** Programs that `npm run setup -- --for test` takes out of their packages, because installed they would be services (scripts/clients.mjs). */
const UNPACKED = join(import.meta.dirname, '../../node_modules/.cache/thecloud/clients');
const PATH = [UNPACKED, process.env['PATH'], '/usr/local/bin', '/usr/bin', '/bin'].filter(Boolean).join(':');

/** The Debian package that brings each; nobody's set-up brings those without. */
const PACKAGES = {
  aws: 'awscli',
  rclone: 'rclone',
  restic: 'restic',
  s3cmd: 's3cmd',
  curl: 'curl',
  'docker-registry': 'docker-registry',
  terraform: undefined,
} as const;

/** Why a client's tests cannot run; undefined when they can. Throws instead of excusing when CLOUD_REQUIRED names s3-clients. */
export function clientMissing(...programs: (keyof typeof PACKAGES)[]): string | undefined {
  const missing = programs.filter((program) => !PATH.split(':').some((folder) => isProgram(join(folder, program))));
  if (missing.length === 0) return undefined;
  const packages = missing.map((program) => PACKAGES[program]).filter((name) => name !== undefined);
  const reason = `no ${missing.join(', no ')} on the PATH${packages.length === 0 ? '' : '; npm run setup -- --for test'}`;
  if (packages.length > 0 && (process.env['CLOUD_REQUIRED'] ?? '').split(',').includes('s3-clients')) throw new Error(`The S3 clients are required: ${reason}`);
  return reason;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false; // not in this folder
  }
}

export interface Result {
  stdout: string;
  stderr: string;
  code: number | null;
}

export class ClientBench implements AsyncDisposable {
  readonly daemon: S3Daemon;
  readonly account: Account;
  /** Of the clients: nothing of the machine's own configuration reaches them. */
  readonly env: NodeJS.ProcessEnv;
  readonly folder: string;

  private constructor(daemon: S3Daemon, account: Account) {
    this.daemon = daemon;
    this.account = account;
    this.folder = join(daemon.folder, 'client');
    mkdirSync(this.folder);
    this.env = {
      PATH,
      HOME: this.folder,
      TMPDIR: this.folder,
      LANG: 'C.UTF-8',
      TZ: 'UTC',
      NO_PROXY: '*',
      AWS_ACCESS_KEY_ID: account.accessKeyId,
      AWS_SECRET_ACCESS_KEY: account.secretAccessKey,
      AWS_REGION: 'us-east-1',
      AWS_DEFAULT_REGION: 'us-east-1',
      AWS_EC2_METADATA_DISABLED: 'true',
      AWS_PAGER: '',
      AWS_MAX_ATTEMPTS: '1',
    };
  }

  static async start(tenant: string): Promise<ClientBench> {
    const daemon = await S3Daemon.start();
    try {
      return new ClientBench(daemon, await daemon.account(tenant));
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  get endpoint(): string {
    return this.daemon.endpoint.origin;
  }

  file(...names: string[]): string {
    return join(this.folder, ...names);
  }

  /** A program, to its end, whatever that is. */
  run(program: string, words: readonly string[], { input, env = {} }: { input?: string | Buffer; env?: NodeJS.ProcessEnv } = {}): Promise<Result> {
    return new Promise((resolve, reject) => {
      const child = spawn(program, words, { cwd: this.folder, env: { ...this.env, ...env } });
      let stdout = '';
      let stderr = '';
      child.stdout.setEncoding('utf8').on('data', (text: string) => {
        stdout += text;
      });
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        stderr += text;
      });
      child.stdin.on('error', () => undefined); // a program that does not read may be gone first
      child.stdin.end(input);
      child.once('error', reject);
      child.once('close', (code) => resolve({ stdout, stderr, code }));
    });
  }

  /** A program that must succeed; its output. */
  async ok(program: string, words: readonly string[], options: { input?: string | Buffer; env?: NodeJS.ProcessEnv } = {}): Promise<string> {
    const { stdout, stderr, code } = await this.run(program, words, options);
    if (code !== 0) throw new Error(`${program} ${words.join(' ')}: exit ${code}\n${stdout.slice(-4_000)}${stderr.slice(-4_000)}`);
    return stdout;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
  }
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Bytes that no compression makes smaller, quickly: a random block, repeated with a number in each. */
export function noise(size: number): Buffer {
  const bytes = Buffer.alloc(size);
  const block = randomBytes(Math.min(size, 65_536));
  for (let at = 0; at < size; at += block.length) {
    block.copy(bytes, at);
    if (at + 4 <= size) bytes.writeUInt32LE(at >>> 0, at);
  }
  return bytes;
}

/** Digest of each file below a folder, by its path in it. */
export function tree(folder: string): Map<string, string> {
  const all = new Map<string, string>();
  const visit = (path: string): void => {
    for (const name of readdirSync(path).sort()) {
      const file = join(path, name);
      if (statSync(file).isDirectory()) visit(file);
      else all.set(relative(folder, file), sha256(readFileSync(file)));
    }
  };
  visit(folder);
  return all;
}
