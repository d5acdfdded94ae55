// PowerDNS as a child of ours: on loopback, with a configuration, a key and a database of its own in the data directory. It ends with this process, however that
// ends, and is started again when it ends by itself.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { accessSync, constants, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Clock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';
import { SCHEMA } from './schema.ts';

/** Where a server is asked, and where it is changed. */
export interface Address {
  api: string;
  key: string;
  dns: { host: string; port: number };
}

export const INSTALL = 'sudo apt-get install pdns-server pdns-backend-sqlite3';
const PROGRAM = 'pdns_server';
const LOOPBACK = '127.0.0.1';
const START_MS = 15_000;
const STOP_MS = 3_000;
const FIRST_RETRY_MS = 100;
const LONGEST_RETRY_MS = 15_000;
/** One that ran so long has started well. */
const STEADY_MS = 30_000;
/** After so many starts in a row that failed, the database is made anew: rows have all that is in it. */
const FAILED_STARTS = 2;
const KEPT_OUTPUT = 4096;
const CONTROL_SOCKET = 'pdns.controlsocket';
/** `sun_path` has 108 bytes, the last of them 0. */
const LONGEST_SOCKET_PATH = 107;

export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin'];
  return folders
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false; // not in this folder
      }
    });
}

export const notInstalled = (): DriverError => new DriverError('unavailable', 'PowerDNS is not installed', { hint: INSTALL });

export interface OwnServerOptions {
  /** Its own; made when absent. */
  directory: string;
  clock: Clock;
  log: Log;
}

interface Running {
  child: ChildProcess;
  address: Address;
  startedAt: number;
  ended: Promise<string>;
}

export class OwnServer {
  readonly #options: OwnServerOptions;
  readonly #onLost: () => void;
  readonly #stop = new AbortController();
  #running: Running | undefined;
  #starting: Promise<Running> | undefined;
  #failures = 0;
  #sockets: string | undefined;
  #keeping: Promise<void> | undefined;

  /** `onLost` is told when what was written before may not be there any more. */
  constructor(options: OwnServerOptions, onLost: () => void) {
    this.#options = options;
    this.#onLost = onLost;
  }

  get pid(): number | undefined {
    return this.#running?.child.pid;
  }

  /** Where it runs, without starting it. */
  get address(): Address | undefined {
    return this.#running?.address;
  }

  /** Where it runs; started if need be, and from then on kept running. */
  async started(): Promise<Address> {
    if (this.#running !== undefined) return this.#running.address;
    if (this.#stop.signal.aborted) throw new DriverError('unavailable', 'PowerDNS is stopping');
    this.#starting ??= this.#start().finally(() => {
      this.#starting = undefined;
    });
    const { address } = await this.#starting;
    this.#keeping ??= this.#keep();
    return address;
  }

  /** Starts it again whenever it ends. */
  async #keep(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      const running = this.#running;
      if (running !== undefined) {
        const why = await running.ended;
        if (signal.aborted) return;
        this.#running = undefined;
        if (clock.now() - running.startedAt > STEADY_MS) this.#failures = 0;
        log.warn({ why }, 'PowerDNS ended by itself and is started again');
      }
      try {
        await clock.sleep(Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures), signal);
        this.#failures++;
        this.#starting ??= this.#start().finally(() => {
          this.#starting = undefined;
        });
        await this.#starting;
      } catch (error) {
        if (!signal.aborted) log.warn({ error: (error as Error).message }, 'PowerDNS did not start');
      }
    }
  }

  async #start(): Promise<Running> {
    const program = findProgram(PROGRAM);
    if (program === undefined) throw notInstalled();
    const { directory, clock, log } = this.#options;
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await endOrphans(directory);
    if (this.#failures >= FAILED_STARTS) {
      log.warn({}, 'the database of PowerDNS is made anew');
      await removeDatabase(directory);
      this.#onLost();
    }
    try {
      prepareDatabase(join(directory, DATABASE));
    } catch (error) {
      log.warn({ error: (error as Error).message }, 'the database of PowerDNS cannot be read and is made anew');
      await removeDatabase(directory);
      prepareDatabase(join(directory, DATABASE));
      this.#onLost();
    }
    const address: Address = {
      key: randomBytes(24).toString('base64url'),
      api: `http://${LOOPBACK}:${await freePort(false)}`,
      dns: { host: LOOPBACK, port: await freePort(true) },
    };
    await writeFile(join(directory, 'pdns.conf'), configuration(directory, address, await this.#socketFolder()), { mode: 0o600 });
    const words = [program, `--config-dir=${directory}`];
    // Where the system can, it ends with us even when we are killed; else the next start finds it.
    const setpriv = findProgram('setpriv');
    const [command = program, ...args] = setpriv === undefined ? words : [setpriv, '--pdeathsig', 'KILL', '--', ...words];
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH ?? '', LC_ALL: 'C' }, cwd: '/' });
    let said = '';
    for (const output of [child.stdout, child.stderr]) {
      output.setEncoding('utf8');
      output.on('data', (text: string) => {
        said = (said + text).slice(-KEPT_OUTPUT);
      });
    }
    const ended = new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(signal === null ? (lastWords(said) ?? `exit code ${code}`) : `ended by ${signal}`));
    });
    const running: Running = { child, address, startedAt: clock.now(), ended };
    try {
      await this.#answering(running);
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
    this.#running = running;
    log.info({ pid: child.pid }, 'PowerDNS runs');
    return running;
  }

  /** Where its control socket is: among its own files, unless that is a longer path than a socket can have. */
  async #socketFolder(): Promise<string> {
    const { directory } = this.#options;
    if (Buffer.byteLength(join(directory, CONTROL_SOCKET)) <= LONGEST_SOCKET_PATH) return directory;
    this.#sockets ??= await mkdtemp(join(tmpdir(), 'cloud-pdns-'));
    return this.#sockets;
  }

  /** Until its API answers. */
  async #answering({ child, address, ended }: Running): Promise<void> {
    let over: string | undefined;
    void ended.then((why) => {
      over = why;
    });
    const deadline = Date.now() + START_MS;
    for (;;) {
      this.#stop.signal.throwIfAborted();
      if (over !== undefined) {
        const hint = /gsqlite3|backend/i.test(over) ? { hint: INSTALL } : {};
        throw new DriverError('unavailable', `PowerDNS did not start: ${over}`, hint);
      }
      if (Date.now() > deadline) throw new DriverError('unavailable', `PowerDNS (process ${child.pid ?? '?'}) did not answer within ${START_MS / 1000} s`);
      try {
        const response = await fetch(`${address.api}/api/v1/servers/localhost`, { headers: { 'x-api-key': address.key }, signal: AbortSignal.timeout(2000) });
        await response.arrayBuffer();
        if (response.ok) return;
      } catch {
        // not yet
      }
      // Real time: a process does not start sooner because a test moves its clock.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async close(): Promise<void> {
    this.#stop.abort(new DriverError('unavailable', 'PowerDNS is stopping'));
    await this.#starting?.catch(() => undefined);
    const running = this.#running;
    this.#running = undefined;
    if (running !== undefined) {
      running.child.kill('SIGTERM');
      const impatience = setTimeout(() => running.child.kill('SIGKILL'), STOP_MS);
      await running.ended;
      clearTimeout(impatience);
    }
    await this.#keeping;
    if (this.#sockets !== undefined) await rm(this.#sockets, { recursive: true, force: true });
  }
}

const DATABASE = 'zones.db';

/** A fallback is no help: what runs here must be ours, on loopback, and must not ask anybody anything. */
function configuration(directory: string, { api, key, dns }: Address, sockets: string): string {
  const settings: Record<string, string | number> = {
    launch: 'gsqlite3',
    'gsqlite3-database': join(directory, DATABASE),
    // Rows are the truth: what a power failure takes is written again.
    'gsqlite3-pragma-synchronous': 0,
    'local-address': dns.host,
    'local-port': dns.port,
    webserver: 'yes',
    'webserver-address': LOOPBACK,
    'webserver-port': new URL(api).port,
    'webserver-allow-from': LOOPBACK,
    'webserver-loglevel': 'none',
    'webserver-max-bodysize': 64,
    api: 'yes',
    'api-key': key,
    'socket-dir': sockets,
    'tcp-control-address': '',
    'disable-axfr': 'yes',
    'any-to-tcp': 'no',
    'version-string': 'anonymous',
    'security-poll-suffix': '',
    'udp-truncation-threshold': 4096,
    // Changes come through the API, which clears what it makes wrong.
    'cache-ttl': 60,
    'query-cache-ttl': 60,
    'negquery-cache-ttl': 60,
    // Two at once only wait for each other in SQLite.
    'receiver-threads': 1,
    'distributor-threads': 1,
    'write-pid': 'no',
    guardian: 'no',
    daemon: 'no',
    loglevel: 4,
  };
  return `${Object.entries(settings)
    .map(([name, value]) => `${name}=${value}`)
    .join('\n')}\n`;
}

function prepareDatabase(path: string): void {
  const database = new Database(path);
  try {
    const { n } = database.prepare("select count(*) as n from sqlite_master where type = 'table' and name = 'records'").get() as { n: number };
    if (n === 0) database.exec(SCHEMA);
  } finally {
    database.close();
  }
}

async function removeDatabase(directory: string): Promise<void> {
  for (const suffix of ['', '-journal', '-wal', '-shm']) await rm(join(directory, `${DATABASE}${suffix}`), { force: true });
}

/** Ends servers of an earlier process that run with our configuration still, and waits until they are gone. */
async function endOrphans(directory: string): Promise<void> {
  const wanted = `--config-dir=${directory}`;
  const orphans = processes().filter((pid) => {
    const words = wordsOf(pid);
    return words.includes(wanted) && words.some((word) => word === PROGRAM || word.endsWith(`/${PROGRAM}`));
  });
  for (const pid of orphans) signalTo(pid, 'SIGKILL');
  for (let tries = 0; tries < 200 && orphans.some((pid) => wordsOf(pid).includes(wanted)); tries++) await new Promise((resolve) => setTimeout(resolve, 10));
}

function processes(): number[] {
  try {
    return readdirSync('/proc')
      .map(Number)
      .filter((pid) => pid > 1 && pid !== process.pid);
  } catch {
    return []; // no Linux: then it ends by the signal of its parent's end, or not at all
  }
}

function wordsOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return []; // gone meanwhile, or another user's
  }
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** The line that says why, without its time. */
function lastWords(said: string): string | undefined {
  const lines = said
    .split('\n')
    .map((line) => line.replace(/^\w{3} \d+ \d\d:\d\d:\d\d /, '').trim())
    .filter((line) => line !== '');
  return lines.findLast((line) => /fatal|error|unable|unknown|could not|exception/i.test(line)) ?? lines.at(-1);
}

/** A port of loopback that nobody has, by TCP and, where asked for, by UDP too. Another may take it before it is used: then the start is tried again. */
async function freePort(udp: boolean): Promise<number> {
  for (;;) {
    const port = await new Promise<number>((resolve, reject) => {
      const server = createServer();
      server.once('error', reject);
      server.listen(0, LOOPBACK, () => {
        const { port: free } = server.address() as { port: number };
        server.close(() => resolve(free));
      });
    });
    if (!udp || (await udpIsFree(port))) return port;
  }
}

const udpIsFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = createSocket('udp4');
    socket.once('error', () => socket.close(() => resolve(false)));
    socket.bind(port, LOOPBACK, () => socket.close(() => resolve(true)));
  });
