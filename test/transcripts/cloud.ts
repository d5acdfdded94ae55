// The real command against a real daemon of its own (memory driver), as a user types it: in a pipe or on a terminal.
import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const binary = join(import.meta.dirname, '..', '..', 'packages', 'cli', 'bin', 'cloud.js');

export interface Result {
  stdout: string;
  stderr: string;
  code: number | null;
}

export class Cloud implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), 'cloud-cli-'));
  readonly env: NodeJS.ProcessEnv = {
    PATH: process.env['PATH'],
    HOME: this.folder,
    CLOUD_DATA_DIR: join(this.folder, 'data'),
    TZ: 'UTC',
    LANG: 'C.UTF-8',
    TERM: 'xterm',
    // Its port would be another one each time.
    CLOUD_S3_LISTEN: 'off',
  };

  /** With a daemon that runs. */
  static async start(): Promise<Cloud> {
    const cloud = new Cloud();
    const { code, stderr } = await cloud.run(['daemon', 'start', '--driver', 'memory']);
    if (code !== 0) throw new Error(stderr);
    return cloud;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.run(['daemon', 'stop']);
    rmSync(this.folder, { recursive: true, force: true });
  }

  spawn(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcessWithoutNullStreams {
    return spawn(process.execPath, [binary, ...args], { cwd: this.folder, env: { ...this.env, ...env } });
  }

  run(args: readonly string[], { input, env }: { input?: string | Buffer; env?: NodeJS.ProcessEnv } = {}): Promise<Result> {
    return new Promise((resolve, reject) => {
      const child = this.spawn(args, env);
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

  /** The answer of a command that must succeed. */
  async json<T>(args: readonly string[]): Promise<T> {
    const { stdout, stderr, code } = await this.run([...args, '--output', 'json']);
    if (code !== 0) throw new Error(`cloud ${args.join(' ')}: ${stderr}`);
    return JSON.parse(stdout) as T;
  }

  /** On a terminal of 100 columns. */
  terminal(args: readonly string[], env: NodeJS.ProcessEnv = {}): Terminal {
    const words = [process.execPath, binary, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
    return new Terminal(`stty cols 100 rows 30; exec ${words}`, this.folder, { ...this.env, ...env });
  }

  /** What a session looks like, with all that differs from run to run replaced. */
  async transcript(lines: readonly (readonly string[])[]): Promise<string> {
    let text = '';
    for (const args of lines) {
      const { stdout, stderr, code } = await this.run(args);
      const words = args.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`));
      const block = (name: string, output: string) => (output === '' ? '' : `${name}${output.endsWith('\n') ? output : `${output}\n`}`);
      text += `$ cloud ${words.join(' ')}\n${block('', stdout)}${block('--- stderr\n', stderr)}${code === 0 ? '' : `--- exit ${code}\n`}\n`;
    }
    return this.normal(text);
  }

  normal(text: string): string {
    return (
      text
        .replaceAll(this.folder, '/home/me')
        // How many steps of an operation are seen depends on how busy the machine is.
        .replace(/^[A-Z][a-z]+ing [^:\n]+: .+\n/gm, '')
        .replace(/\b([a-z]+)-[0-9a-hjkmnp-tv-z]{16}\b/g, (_, prefix: string) => `${prefix}-${'0'.repeat(16)}`)
        .replace(/req-[0-9a-f-]{36}/g, 'req-0')
        .replace(/\d{4}-\d\d-\d\d([ T])\d\d:\d\d:\d\d(?:\.\d+Z)?/g, '2026-01-31$112:00:00')
        .replace(/\((?:\d+[smh])+ ago\)/g, '(3s ago)')
        .replace(/\(\d+\.\d s\)/g, '(0.1 s)')
        .replace(/(?<= {3})(?:\d+[smh])+(?= {3}|$)/gm, '3s')
        .replace(/\(process \d+/g, '(process 100')
    );
  }
}

/** A pseudo-terminal by `script` from util-linux. */
export class Terminal {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<number | null>;
  #waiting: (() => void)[] = [];
  output = '';

  constructor(command: string, cwd: string, env: NodeJS.ProcessEnv) {
    this.#child = spawn('script', ['--quiet', '--flush', '--return', '--command', command, '/dev/null'], { cwd, env: { ...env, SHELL: '/bin/sh' } });
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.output += text;
      for (const look of this.#waiting) look();
    });
    this.ended = new Promise((resolve) => this.#child.once('close', resolve));
    void this.ended.then(() => {
      for (const look of this.#waiting) look();
    });
  }

  type(text: string): void {
    this.#child.stdin.write(text);
  }

  /** Resolves with everything shown so far once `what` is there. */
  sees(what: string | RegExp, milliseconds = 10_000): Promise<string> {
    return new Promise((resolve, reject) => {
      const found = () => (typeof what === 'string' ? this.output.includes(what) : what.test(this.output));
      const settle = (error?: Error): void => {
        clearTimeout(timer);
        this.#waiting = this.#waiting.filter((one) => one !== look);
        if (error === undefined) resolve(this.output);
        else reject(error);
      };
      const look = (): void => {
        if (found()) settle();
        else if (this.#child.exitCode !== null) settle(new Error(`ended without ${what}:\n${this.output}`));
      };
      const timer = setTimeout(() => settle(new Error(`no ${what} within ${milliseconds} ms:\n${this.output}`)), milliseconds);
      this.#waiting.push(look);
      look();
    });
  }
}

/** A port of five digits that nobody has at this moment. */
export const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => (port >= 10_000 ? resolve(port) : freePort().then(resolve, reject)));
    });
  });

export const has = (program: string): boolean => spawnSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' }).status === 0;
