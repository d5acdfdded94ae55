// The operations that carry bytes: programs, connections, files, logs and measurements. Each asks the driver and adds only words.
import { PassThrough, type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Channel } from '../../kernel/channel.ts';
import { DriverError, Fault } from '../../kernel/errors.ts';
import type { Call, Handlers, RowOf, ServiceContext } from '../../kernel/service.ts';
import { bootLog } from './cloudinit-run.ts';
import type { instances } from './contract.ts';
import type { ComputeDriver } from './driver.ts';

type Instances = typeof instances;
type ByteHandlers = Required<Pick<Handlers<Instances>, 'exec' | 'connect' | 'upload' | 'download' | 'logs' | 'stats'>>;

const DURATIONS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `10m` ago, or an RFC 3339 time, as Unix milliseconds. */
function sinceTime(text: string, now: number): number {
  const duration = /^(\d+)(ms|s|m|h|d)$/.exec(text);
  const time = duration === null ? Date.parse(text) : now - Number(duration[1]) * (DURATIONS[duration[2] as string] as number);
  if (Number.isNaN(time))
    throw new Fault('invalid_input', `since: ${text} is no time`, {
      details: [{ path: 'since', message: 'use a duration such as 10m, or a time such as 2026-01-31T10:00:00Z' }],
    });
  return time;
}

function running(call: Call<Instances, unknown>, what: string): RowOf<Instances> {
  const row = call.target;
  if (row.state === 'running') return row;
  throw new Fault('conflict', `${row.name} is ${row.state}${row.reason === undefined ? '' : ` (${row.reason})`}; ${what} needs a running instance`, {
    hint: row.state === 'paused' ? `cloud instance resume ${row.name}` : `cloud instance start ${row.name}`,
  });
}

const ended = (): PassThrough => new PassThrough().end() as PassThrough;

/** A channel of which only one direction carries bytes. */
function oneWay(parts: { input?: Writable; output?: Readable; result: Promise<object>; close: () => void }): Channel<never> {
  return {
    input: parts.input ?? new Writable({ write: (_chunk, _encoding, done) => done() }),
    output: parts.output ?? ended(),
    error: ended(),
    control: () => undefined,
    result: parts.result as Promise<never>,
    close: parts.close,
  };
}

export function bytesHandlers(context: ServiceContext, driver: ComputeDriver): ByteHandlers {
  return {
    async exec(call) {
      const row = running(call, 'exec');
      const { command, tty, stdin, env, user, workdir, columns, rows } = call.input;
      const session = await driver.exec(row.id, {
        command,
        tty,
        stdin,
        env,
        ...(user === undefined ? {} : { user }),
        ...(workdir === undefined ? {} : { workingDirectory: workdir }),
        ...(columns === undefined ? {} : { columns }),
        ...(rows === undefined ? {} : { rows }),
      });
      return {
        input: session.stdin,
        output: session.stdout,
        error: session.stderr,
        control: ({ columns: wide, rows: high }) => {
          session.resize(wide, high).catch((error: unknown) => context.log.debug({ id: row.id, error: String(error) }, 'the terminal could not be resized'));
        },
        result: session.exited.then((exitCode) => ({ exitCode })),
        close: () => session.kill(),
      };
    },

    async connect(call) {
      const row = running(call, 'a connection');
      const socket = await driver.connect(row.id, call.input.port);
      const result = new Promise<object>((resolve, reject) => {
        socket.once('error', (error) =>
          reject(new Fault('unavailable', `The connection to port ${call.input.port} of ${row.name} broke: ${error.message}`, { cause: error })),
        );
        socket.once('close', () => resolve({}));
      });
      return oneWay({ input: socket, output: socket, result, close: () => socket.destroy() });
    },

    async upload(call) {
      const row = call.target;
      const archive = new PassThrough();
      const result = driver.writeFiles(row.id, call.input.path, archive).then(() => ({}));
      result.catch((error: unknown) => archive.destroy(error as Error));
      return oneWay({ input: archive, result, close: () => archive.destroy(new Fault('timeout', 'The upload was given up')) });
    },

    async download(call) {
      const row = call.target;
      const { path } = call.input;
      const archive = await driver.readFiles(row.id, path).catch((error: unknown) => {
        if (error instanceof DriverError && error.code === 'bad_spec') {
          throw new Fault('not_found', error.message, { cause: error, details: [{ path: 'path', message: 'name a file or directory of the instance' }] });
        }
        throw error;
      });
      const output = new PassThrough();
      const result = pipeline(archive, output).then(() => ({}));
      return oneWay({ output, result, close: () => archive.destroy() });
    },

    async *logs(call) {
      const { follow, tail, since, cloudInit } = call.input;
      const row = call.target;
      if (cloudInit) {
        if (row.status.cloudInit === undefined || row.status.cloudInit.status === 'none') {
          throw new Fault('conflict', `${row.name} was created without user data or SSH keys, so there was no cloud-init`);
        }
        if (driver.capabilities.cloudInit !== 'exec')
          throw new Fault('unsupported', 'This driver does not run cloud-init itself, so it has no log of it', { hint: 'cloud system info' });
        yield* bootLog(driver, row.id, { follow, signal: call.signal }) as AsyncIterable<never>;
        return;
      }
      const after = since === undefined ? undefined : sinceTime(since, context.clock.now());
      for await (const line of driver.logs(row.id, { follow, tail, since: after, signal: call.signal })) {
        yield { time: new Date(line.time).toISOString(), stream: line.stream, text: line.text };
      }
    },

    async *stats(call) {
      const row = running(call, 'a measurement');
      let left = call.input.samples ?? Number.POSITIVE_INFINITY;
      for await (const { time, ...sample } of driver.stats(row.id, call.signal)) {
        yield { time: new Date(time).toISOString(), ...sample };
        if (--left <= 0) return;
      }
    },
  };
}
