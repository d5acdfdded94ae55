// The few programs that the memory backend plays, so that transports can be tried without an engine:
// echo, cat, env, hostname, true, false and `sh -c 'exit N'`. Anything else is 127, as in a shell.
import { PassThrough } from 'node:stream';
import type { ExecSession, ExecSpec } from '../../services/instance/driver.ts';

export interface ExecWorld {
  hostname: string;
  env: Record<string, string>;
  /** undefined when there is no such file. */
  readFile(path: string): Buffer | undefined;
}

interface Streams {
  stdin: PassThrough;
  stdout: PassThrough;
  stderr: PassThrough;
}

type Program = (args: string[], streams: Streams, world: ExecWorld, tty: boolean) => number | Promise<number>;

const PROGRAMS: Record<string, Program> = {
  true: () => 0,
  false: () => 1,
  echo: (args, { stdout }) => {
    stdout.write(args[0] === '-n' ? args.slice(1).join(' ') : `${args.join(' ')}\n`);
    return 0;
  },
  env: (_args, { stdout }, world) => {
    stdout.write(
      Object.entries(world.env)
        .map(([name, value]) => `${name}=${value}\n`)
        .join(''),
    );
    return 0;
  },
  hostname: (_args, { stdout }, world) => {
    stdout.write(`${world.hostname}\n`);
    return 0;
  },
  cat: async (args, { stdin, stdout, stderr }, world) => {
    let exit = 0;
    for (const path of args.length === 0 ? ['-'] : args) {
      const content = path === '-' ? undefined : world.readFile(path);
      if (path === '-') {
        for await (const chunk of stdin) await write(stdout, chunk);
      } else if (content === undefined) {
        stderr.write(`cat: can't open '${path}': No such file or directory\n`);
        exit = 1;
      } else await write(stdout, content);
    }
    return exit;
  },
  sh: (args, { stderr }) => {
    const exit = args[0] === '-c' ? /^\s*exit\s+(\d{1,3})\s*$/.exec(args[1] ?? '') : null;
    if (exit !== null) return Number(exit[1]) & 255;
    stderr.write("sh: the memory driver runs no programs; of sh it knows only: sh -c 'exit N'\n");
    return 127;
  },
};

async function write(stream: PassThrough, chunk: Buffer): Promise<void> {
  if (stream.destroyed || stream.write(chunk)) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      stream.off('drain', done).off('close', done);
      resolve();
    };
    stream.on('drain', done).on('close', done);
  });
}

export function play(spec: ExecSpec, world: ExecWorld): ExecSession {
  const stdin = new PassThrough();
  const stdout = new PassThrough();
  const errors = new PassThrough();
  const stderr = spec.tty ? stdout : errors;
  if (!spec.stdin) stdin.end();
  if (spec.tty) errors.end();
  const killed = Promise.withResolvers<number>();
  const [name = '', ...args] = spec.command;
  const program: Program =
    PROGRAMS[name.replace(/^\/(usr\/)?bin\//, '')] ??
    ((_args, streams) => {
      streams.stderr.write(`${name}: not found; the memory driver runs no programs, only ${Object.keys(PROGRAMS).join(', ')}\n`);
      return 127;
    });
  const run = async () => program(args, { stdin, stdout, stderr }, { ...world, env: { ...world.env, ...spec.env } }, spec.tty);
  const exited = Promise.race([run(), killed.promise]).then(async (code) => {
    stdout.end();
    errors.end();
    stdin.destroy();
    // Whoever gives it up does not read to the end any more.
    await Promise.race([Promise.all([ended(stdout), ended(errors)]), killed.promise]);
    return code;
  });
  return {
    stdin,
    stdout,
    stderr: errors,
    resize: async () => {},
    exited,
    kill: () => killed.resolve(137),
  };
}

/** Settled when the reader has taken everything, or has gone away; at once when nothing is left to take. */
const ended = (stream: PassThrough): Promise<void> =>
  stream.readableEnded || stream.destroyed || stream.readableLength === 0
    ? Promise.resolve()
    : new Promise((resolve) => stream.once('end', resolve).once('close', resolve));
