// Small files that several commands may change at once: one writer at a time, and whoever reads sees the old content or the new, never a part.
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { contextsFile } from './contexts.ts';
import { pause } from './wait.ts';

/** Nobody holds the lock longer: the longest work under it is one call that renews a token. */
const LONGEST = 60_000;
const AGAIN = 25;

const lockFile = (): string => join(dirname(contextsFile()), 'lock');

const readIfThere = (file: string): string | undefined => {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
};

/** Creates the file with this content, or answers false because it is there. */
function take(file: string, content: string): boolean {
  try {
    const handle = openSync(file, 'wx', 0o600);
    writeSync(handle, content);
    closeSync(handle);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

/** Where a process number means the same: this machine, and in it this namespace (containers may share a home directory). */
function place(): string {
  let namespace = '';
  try {
    namespace = readlinkSync('/proc/self/ns/pid');
  } catch {
    // no /proc (macOS): then there is only one namespace
  }
  return `${hostname()} ${namespace}`;
}

/** When the process began, which tells it from a later one of the same number; empty where /proc is not. */
const began = (pid: number): string | undefined => {
  const text = readIfThere(`/proc/${pid}/stat`);
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')[19];
};

interface Holder {
  pid: number;
  began?: string;
  place: string;
  nonce: string;
}

function isDead(text: string, file: string): boolean {
  let holder: Partial<Holder>;
  try {
    holder = JSON.parse(text) as Partial<Holder>;
  } catch {
    holder = {}; // killed between making the file and writing it, or about to write: its age tells
  }
  const age = Date.now() - (statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
  if (age > LONGEST) return true;
  if (holder.pid === undefined) return age > 1000;
  if (holder.place !== place()) return false;
  try {
    process.kill(holder.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
  return holder.began !== undefined && began(holder.pid) !== holder.began;
}

/** Takes away a lock whose holder died. Two that find it dead must not take away the third's: only one may break a given lock, by its content. */
function breakLock(file: string, text: string): void {
  const breaking = `${file}.breaking`;
  if (!take(breaking, '')) {
    // Whoever breaks needs no second for it; one that was killed at it left this behind.
    const made = statSync(breaking, { throwIfNoEntry: false })?.mtimeMs;
    if (made !== undefined && Date.now() - made > LONGEST) rmSync(breaking, { force: true });
    return;
  }
  try {
    if (readIfThere(file) === text) rmSync(file, { force: true });
  } finally {
    rmSync(breaking, { force: true });
  }
}

/** Runs the work while no other command does the same. Throws `timeout` when another one does not come to an end. */
export async function locked<T>(work: () => T | Promise<T>): Promise<T> {
  const file = lockFile();
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  const mine = JSON.stringify({
    pid: process.pid,
    began: process.platform === 'linux' ? began(process.pid) : undefined,
    place: place(),
    nonce: globalThis.crypto.randomUUID(),
  } satisfies { [K in keyof Holder]: Holder[K] | undefined });
  const deadline = Date.now() + LONGEST + 5000;
  while (!take(file, mine)) {
    const text = readIfThere(file);
    if (text === undefined) continue;
    if (isDead(text, file)) breakLock(file, text);
    else if (Date.now() > deadline) throw new Fault('timeout', `Another command holds ${file}`, { hint: `rm ${file}` });
    await pause(AGAIN + Math.random() * AGAIN);
  }
  try {
    return await work();
  } finally {
    // Work that took too long has lost the lock to another, whose it now is.
    if (readIfThere(file) === mine) unlinkSync(file);
  }
}

/** Under the lock. Mode 0600, in place at once and as a whole, on disk before the name is. */
export function writeWhole(file: string, value: unknown): void {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // What a killed writer left: nobody else writes now.
  for (const name of readdirSync(folder)) if (name.startsWith(`${basename(file)}.new-`)) rmSync(join(folder, name), { force: true });
  const temporary = `${file}.new-${process.pid}`;
  const handle = openSync(temporary, 'wx', 0o600);
  try {
    writeSync(handle, `${JSON.stringify(value, undefined, 2)}\n`);
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
  renameSync(temporary, file);
}
