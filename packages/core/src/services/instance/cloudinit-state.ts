// What an instance itself says about its first boot: a few small files under a directory that only root may read, and a process.
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';
import { systemClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import { BORN } from './cloudinit-script.ts';
import type { ComputeDriver, ExecSession } from './driver.ts';

/** Holds a directory of state per instance, named by its id: an image made from an instance has a first boot of its own. */
export const HOME = '/var/lib/thecloud/cloud-init';
const CHECK_LIMIT = 10_000;
/** The files are ours, but whoever is root in the instance may write there what he likes: what is larger or more than we ever write is not read. */
const MAX_BYTES = 64 * 1024;
const MAX_FILES = 100;

export interface BootState {
  /** `<process id> <when it began>` of the one run. */
  started?: string;
  /** Exit code, then a line `<exit code> <step>` for each step that failed. */
  result?: string;
  /** JSON: why there can be no run. */
  refused?: string;
}

export async function readState(driver: ComputeDriver, id: string): Promise<BootState> {
  const state: BootState = {};
  let files = 0;
  for await (const { name, size, content } of readTar(driver, id, `${HOME}/${id}`)) {
    if (size > MAX_BYTES || ++files > MAX_FILES)
      throw new DriverError('failed', `Something in the instance has filled ${HOME}/${id}, where the state of its first boot stands`);
    const file = posix.basename(name);
    if (file === 'started' || file === 'result' || file === 'refused') state[file] = (await text(content)).trim();
  }
  return state;
}

/** Whether nothing more will come. */
export async function isOver(driver: ComputeDriver, id: string): Promise<boolean> {
  const { started, result, refused } = await readState(driver, id);
  if (result !== undefined || refused !== undefined) return true;
  return started === undefined ? (await driver.inspect(id)) === undefined : !(await isAlive(driver, id, started));
}

/** Runs that this process started and whose end it will hear of. Only to spare a question: they may also go on without us. */
const heard = new WeakMap<ComputeDriver, Map<string, ExecSession>>();

export const isHeard = (driver: ComputeDriver, id: string): boolean => heard.get(driver)?.has(id) === true;

export function hear(driver: ComputeDriver, id: string, session: ExecSession): void {
  const sessions = heard.get(driver) ?? new Map<string, ExecSession>();
  heard.set(driver, sessions.set(id, session));
  const over = () => {
    if (sessions.get(id) === session) sessions.delete(id);
  };
  session.exited.then(over, over);
}

/** Whether the process of a run still lives. Process ids are used again, so its beginning must be the same too. */
export async function isAlive(driver: ComputeDriver, id: string, started: string): Promise<boolean> {
  if (isHeard(driver, id)) return true;
  const power = (await driver.inspect(id))?.power;
  if (power !== 'running') return power === 'paused';
  const [pid = '', beginning = ''] = started.split(' ');
  const check = `${BORN}\n[ "$(born "$1")" = "$2" ]`;
  const session = await driver.exec(id, { command: ['/bin/sh', '-c', check, 'sh', pid, beginning], user: '0', tty: false, stdin: false });
  session.stdout.resume();
  session.stderr.resume();
  const limit = new AbortController();
  const code = await Promise.race([session.exited, systemClock.sleep(CHECK_LIMIT, limit.signal)]).finally(() => limit.abort());
  if (code === undefined) session.kill();
  // No answer, or the check was killed itself: better to look again than to call a living run dead.
  return code === undefined || code === 0 || code === 137;
}

/** Takes the content from files that a run did not come to remove: they may hold secrets. */
export async function scrub(driver: ComputeDriver, id: string): Promise<void> {
  const pack = tar.pack();
  let found = false;
  for await (const { name, type } of readTar(driver, id, HOME)) {
    if (type !== 'file' || !posix.basename(posix.dirname(name)).startsWith(`${id}.staged-`)) continue;
    found = true;
    pack.entry({ name, mode: 0o600, uid: 0, gid: 0 }, '').on('error', () => undefined); // the driver says what went wrong
  }
  pack.finalize();
  if (found) await driver.writeFiles(id, posix.dirname(HOME), Readable.from(pack));
  else pack.destroy();
}

export interface TarEntry {
  name: string;
  type: string | null | undefined;
  size: number;
  modifiedAt: Date;
  content: Readable;
}

/** What is at a path of an instance, in the order of the archive. Nothing when the path is absent. */
export async function* readTar(driver: ComputeDriver, id: string, path: string): AsyncGenerator<TarEntry> {
  let archive: Readable;
  try {
    archive = await driver.readFiles(id, path);
  } catch (error) {
    if (error instanceof DriverError && error.code === 'bad_spec') return;
    throw error;
  }
  const extract = tar.extract();
  const piped = pipeline(archive, extract).catch((error: unknown) => {
    extract.destroy();
    throw error instanceof DriverError ? error : new DriverError('unavailable', 'Reading files of the instance broke off', { cause: error });
  });
  // Met again below, unless the reader leaves early; then it is of no interest.
  piped.catch(() => {});
  try {
    for await (const entry of extract) {
      const { name, type, size, mtime } = entry.header;
      yield { name, type, size: size ?? 0, modifiedAt: mtime ?? new Date(0), content: Readable.from(entry) };
      entry.resume();
    }
    await piped;
  } finally {
    archive.destroy();
    extract.destroy();
  }
}
