// A program inside a running container: three streams over one hijacked connection, an exit code as a shell would give it, and a kill
// that the engine itself does not offer.
import { readFile } from 'node:fs/promises';
import type { Duplex } from 'node:stream';
import { PassThrough, Writable } from 'node:stream';
import type { Exec } from 'dockerode';
import { systemClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { ExecSession, ExecSpec } from '../../services/instance/driver.ts';
import { type DockerClient, messageOf, statusOf, translate } from './client.ts';
import { type Frame, frames } from './frames.ts';

/** The engine reports a program that never started on its standard output, with exit code 126 and no process number. */
const NOT_STARTED = /^(OCI runtime exec failed: |unable to find (user|group) )/;
const NOT_STARTED_LENGTH = 25;
const KILL_GRACE = 1_000;
const RESIZE_TRIES = 25;

export async function openExec(client: DockerClient, id: string, spec: ExecSpec): Promise<ExecSession> {
  if (spec.command.length === 0) throw new DriverError('bad_spec', 'Name a program to run');
  let exec: Exec;
  let socket: Duplex;
  try {
    exec = await client.docker.getContainer(id).exec({
      Cmd: spec.command,
      AttachStdin: spec.stdin,
      AttachStdout: true,
      AttachStderr: true,
      Tty: spec.tty,
      ...(spec.env === undefined ? {} : { Env: Object.entries(spec.env).map(([name, value]) => `${name}=${value}`) }),
      ...(spec.user === undefined ? {} : { User: spec.user }),
      ...(spec.workingDirectory === undefined ? {} : { WorkingDir: spec.workingDirectory }),
    });
    socket = await exec.start({ hijack: true, stdin: true, Tty: spec.tty });
  } catch (error) {
    if (statusOf(error) === 404) throw new DriverError('bad_spec', `Docker Engine has no instance ${id}`, { cause: error });
    if (statusOf(error) === 409) {
      const state = /is paused/.test(messageOf(error)) ? 'paused' : 'not running';
      throw new DriverError('bad_spec', `The instance is ${state}; it must be running for this`, { cause: error });
    }
    throw translate(error, 'Could not run the program');
  }
  const session = new DockerExec(client, exec, socket, spec);
  if (spec.tty && spec.columns !== undefined && spec.rows !== undefined) await session.resize(spec.columns, spec.rows);
  return session;
}

class DockerExec implements ExecSession {
  readonly stdin: Writable;
  readonly stdout = new PassThrough();
  readonly stderr = new PassThrough();
  readonly exited: Promise<number>;
  readonly #client: DockerClient;
  readonly #exec: Exec;
  readonly #socket: Duplex;
  readonly #spec: ExecSpec;
  #killed = false;
  #over = false;

  constructor(client: DockerClient, exec: Exec, socket: Duplex, spec: ExecSpec) {
    this.#client = client;
    this.#exec = exec;
    this.#socket = socket;
    this.#spec = spec;
    this.stdin = inputOf(socket, spec.stdin);
    // A broken connection ends the reading below, where it is told; without a listener it would end the process.
    socket.on('error', () => this.stdin.destroy());
    this.exited = this.#run().finally(() => {
      this.#over = true;
      this.stdin.destroy();
      socket.destroy();
    });
    this.exited.catch((error: unknown) => {
      this.stdout.destroy(error as Error);
      this.stderr.destroy(error as Error);
    });
    // Their failure is told by `exited`.
    this.stdout.on('error', () => {});
    this.stderr.on('error', () => {});
  }

  async #run(): Promise<number> {
    let held: Frame | undefined;
    let first = true;
    try {
      for await (const frame of this.#output()) {
        if (held !== undefined) await write(this.stdout, held.data);
        held = undefined;
        if (first && NOT_STARTED.test(frame.data.toString('latin1', 0, NOT_STARTED_LENGTH))) held = frame;
        else await write(frame.stream === 'stderr' ? this.stderr : this.stdout, frame.data);
        first = false;
      }
    } catch (error) {
      if (!this.#killed) throw translate(error, 'The connection to the program broke');
    }
    const code = await this.#exitCode(held);
    this.stdout.end();
    this.stderr.end();
    await Promise.all([taken(this.stdout), taken(this.stderr)]);
    return code;
  }

  async *#output(): AsyncGenerator<Frame> {
    if (!this.#spec.tty) yield* frames(this.#socket);
    else for await (const data of this.#socket as AsyncIterable<Buffer>) yield { stream: 'stdout', data };
  }

  async #exitCode(held: Frame | undefined): Promise<number> {
    for (let wait = 5; ; wait = Math.min(wait * 2, 500)) {
      const state = await this.#exec.inspect().catch((error: unknown) => {
        // A container that went away took its programs along.
        if (statusOf(error) === 404) return { Running: false, ExitCode: 137, Pid: 0 };
        throw translate(error, 'Could not learn how the program ended');
      });
      if (!state.Running) {
        const code = state.ExitCode ?? 137;
        if (held === undefined) return code;
        if (state.Pid !== 0) {
          await write(held.stream === 'stderr' ? this.stderr : this.stdout, held.data);
          return code;
        }
        const { sentence, missing } = explain(held.data.toString('utf8').trim(), this.#spec.command[0] ?? '');
        await write(this.#spec.tty ? this.stdout : this.stderr, Buffer.from(`${sentence}${this.#spec.tty ? '\r\n' : '\n'}`));
        return missing ? 127 : 126;
      }
      if (this.#killed) return 137;
      await systemClock.sleep(wait);
    }
  }

  /** Does nothing for a program that has ended. */
  async resize(columns: number, rows: number): Promise<void> {
    for (let tries = 1; !this.#over; tries += 1) {
      try {
        await this.#exec.resize({ w: columns, h: rows });
        return;
      } catch (error) {
        const state = await this.#exec.inspect().catch(() => undefined);
        if (state?.Running === false && state.ExitCode !== null) return;
        // The answer to `start` may come before the program runs.
        if (tries === RESIZE_TRIES) throw translate(error, 'Could not resize the terminal');
        await systemClock.sleep(20);
      }
    }
  }

  /**
   * SIGKILL to the program's process group, by the host where this user may, else by `kill` inside the container.
   * Where neither can be done (an engine on another machine, an image without a shell) the streams end and the program is left alone.
   */
  kill(): void {
    if (this.#killed || this.#over) return;
    this.#killed = true;
    const close = setTimeout(() => this.#socket.destroy(), KILL_GRACE);
    const clear = () => clearTimeout(close);
    this.exited.then(clear, clear);
    // A reader that has stopped reading must not keep the end from being noticed.
    this.stdout.resume();
    this.stderr.resume();
    this.#signal().catch((error: unknown) => {
      this.#client.log.debug({ error: String(error) }, 'could not signal the program; closing its streams');
      this.#socket.destroy();
    });
  }

  async #signal(): Promise<void> {
    const state = await this.#exec.inspect();
    if (!state.Running || !(state.Pid > 0)) return;
    // Only a process that the kernel says is in this container: with a remote engine the number means something else here.
    const group = await readFile(`/proc/${state.Pid}/cgroup`, 'utf8');
    if (!group.includes(state.ContainerID)) throw new Error('the program runs on another machine');
    try {
      signalGroup(state.Pid);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EPERM') throw error;
      const inside = /^NSpid:.*\s(\d+)$/m.exec(await readFile(`/proc/${state.Pid}/status`, 'utf8'))?.[1];
      if (inside === undefined) throw error;
      const Cmd = ['sh', '-c', `kill -9 -${inside} || kill -9 ${inside}`];
      const killer = await this.#client.docker.getContainer(state.ContainerID).exec({ Cmd, User: '0' });
      await killer.start({ Detach: true });
    }
  }
}

/** Why a program did not start, in a shell's words. */
function explain(said: string, program: string): { sentence: string; missing: boolean } {
  const directory = /chdir to cwd \("([^"]*)"\)/.exec(said)?.[1];
  if (directory !== undefined) return { sentence: `no directory ${directory} in the instance`, missing: false };
  const account = /^unable to find (user|group) ([^:]+):/.exec(said);
  if (account !== null) return { sentence: `no ${account[1]} ${account[2]} in the instance`, missing: false };
  if (/exec: "[^"]*": (?:stat \S+: )?(?:executable file not found|no such file or directory)/.test(said))
    return { sentence: `${program}: not found`, missing: true };
  return { sentence: `${program}: ${/permission denied/.test(said) ? 'not executable' : said}`, missing: false };
}

function signalGroup(pid: number): void {
  for (const target of [-pid, pid]) {
    try {
      process.kill(target, 'SIGKILL');
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Ending it closes our half of the connection, which is the program's end-of-file. What comes after the program's end is dropped. */
function inputOf(socket: Duplex, wanted: boolean): Writable {
  const input = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      if (!wanted || socket.destroyed || socket.writableEnded) done();
      else socket.write(chunk, () => done());
    },
    final: (done) => {
      if (wanted && !socket.destroyed) socket.end();
      done();
    },
  });
  input.on('error', () => {});
  return input;
}

async function write(stream: PassThrough, data: Buffer): Promise<void> {
  if (stream.destroyed || stream.write(data)) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}

/** Settled when the reader has taken everything, or has gone away; at once when nothing is left to take. */
const taken = (stream: PassThrough): Promise<void> =>
  stream.readableEnded || stream.destroyed || stream.readableLength === 0
    ? Promise.resolve()
    : new Promise((resolve) => stream.once('end', resolve).once('close', resolve));
