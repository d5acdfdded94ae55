// What the daemon leaves in its data directory, read from this side: who serves it, with which driver, and its log.
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readFileSync, readSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Fault, FILES } from '@thecloud/core/contracts';
import { printable } from './print/printable.ts';
import { Remote } from './remote.ts';
import type { Settings } from './settings.ts';
import { commandOf, type OperationSpec } from './table.ts';

export interface DaemonRecord {
  pid: number;
  version: string;
  startedAt: string;
  socket: string;
  listen?: string;
  /** Where S3 clients are served. */
  s3?: string;
}

export interface SystemInfo {
  version: string;
  installation: string;
  dataDir: string;
  tenant: string;
  principal: string;
  node: string;
  startedAt: string;
  drivers: { port: string; driver: string; version?: string; features: { name: string; level: string; detail: string }[] }[];
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Fault('unavailable', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

/** The process that said it serves the directory; undefined when there is none, or when it has gone without a word. */
export function daemonRecord(dataDir: string): DaemonRecord | undefined {
  const text = readIfThere(join(dataDir, FILES.daemon));
  if (text === undefined) return undefined;
  const record = JSON.parse(text) as DaemonRecord;
  return isDaemon(record.pid) ? record : undefined;
}

/** A process id may have been given to another program since: only one that runs our daemon counts. */
export function isDaemon(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  if (process.platform !== 'linux') return true;
  const words = readIfThere(`/proc/${pid}/cmdline`)?.split('\0') ?? [];
  const zombie = /^\d+ \(.*\) Z/.test(readIfThere(`/proc/${pid}/stat`) ?? '');
  return !zombie && words.some((word) => /(?:^|\/)(?:main\.[jt]s|cloud|cloud\.js)$/.test(word));
}

const DRIVER_FILE = 'driver';

/** The driver that the directory was made with, so that a start without --driver takes the same one. */
export const rememberedDriver = (dataDir: string): string | undefined => readIfThere(join(dataDir, DRIVER_FILE))?.trim() || undefined;

/**
 * Makes a directory and its missing parents, mode 0700. One at a time, because `mkdirSync` with `recursive` tries for ever
 * where the file system answers ENOENT for a child of what exists, as /proc does.
 */
export function makeDirectory(path: string): void {
  const missing: string[] = [];
  for (let at = path; !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.unshift(at);
  for (const each of missing) {
    try {
      mkdirSync(each, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  if (!statSync(path).isDirectory()) throw new Error('it is not a directory');
}

export function rememberDriver(dataDir: string, driver: string): void {
  makeDirectory(dataDir);
  const path = join(dataDir, DRIVER_FILE);
  writeFileSync(`${path}.${process.pid}`, `${driver}\n`, { mode: 0o600 });
  renameSync(`${path}.${process.pid}`, path);
}

/** What the daemon at the endpoint in force says of itself; undefined when nobody answers. */
export async function systemInfo(settings: Settings, patience = 5000): Promise<SystemInfo | undefined> {
  try {
    return (await new Remote(settings).call(commandOf('system info').operation as OperationSpec, { patience })).value as SystemInfo;
  } catch (error) {
    if (error instanceof Fault && error.code === 'unavailable') return undefined;
    throw error;
  }
}

/** The last lines of a file, read from its end. */
export function tailOf(path: string, lines: number): { text: string; end: number } | undefined {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Fault('unavailable', `${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const end = fstatSync(file).size;
    let text = Buffer.alloc(0);
    let start = end;
    while (start > 0 && text.toString('latin1').split('\n').length <= lines + 1) {
      const length = Math.min(64 * 1024, start);
      const piece = Buffer.alloc(length);
      readSync(file, piece, 0, length, start - length);
      start -= length;
      text = Buffer.concat([piece, text]);
    }
    const all = text.toString('utf8').split('\n');
    if (all.at(-1) === '') all.pop();
    const kept = lines === 0 ? [] : all.slice(-lines);
    return { text: kept.map((line) => `${line}\n`).join(''), end };
  } finally {
    closeSync(file);
  }
}

const LEVELS: Readonly<Record<number, string>> = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error', 60: 'fatal' };

/** A line of the log as people read it; what is not a log line stays as it is. */
export function logLine(line: string): string {
  if (!line.startsWith('{')) return printable(line);
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(line) as Record<string, unknown>;
  } catch {
    return printable(line); // cut off in the middle by a crash: shown as it is
  }
  const { time, level, msg, pid: _pid, hostname: _host, name: _name, v: _v, err, ...rest } = entry;
  const when = typeof time === 'number' ? new Date(time).toISOString() : String(time ?? '');
  const facts = Object.entries(rest).map(([key, value]) => `${key}=${typeof value === 'string' ? value : JSON.stringify(value)}`);
  const error = err as { message?: string; stack?: string } | undefined;
  const text = [
    when,
    (LEVELS[Number(level)] ?? String(level ?? '')).padEnd(5),
    String(msg ?? ''),
    ...facts,
    ...(error === undefined ? [] : [error.stack ?? error.message ?? '']),
  ]
    .join(' ')
    .trimEnd();
  return printable(text);
}
