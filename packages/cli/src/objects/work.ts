// What every command that moves objects has: the daemon, Ctrl-C, how far it is, and a tally of many that may fail one by one.
import { Fault } from '@thecloud/core/contracts';
import { EXIT, Exit, err, out, tell, usage } from '../base.ts';
import { bytes } from '../print/cells.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Progress } from '../progress.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { untilInterrupted } from '../watch.ts';
import { flag, type Words } from '../words.ts';
import { type Objects, objectsOf } from './calls.ts';
import { AT_ONCE, partSizeFrom, SMALL_AT_ONCE } from './parts.ts';
import { Unfinished } from './upload.ts';
import { Wanted } from './walk.ts';

export interface Work {
  words: Words;
  remote: Remote;
  objects: Objects;
  signal: AbortSignal;
  parallel: number;
  /** Of objects that are small. */
  smallParallel: number;
  partSize: number | undefined;
  quiet: boolean;
}

export function workOf(words: Words): Work {
  const remote = new Remote(settingsOf(words));
  const { signal } = untilInterrupted();
  return {
    words,
    remote,
    objects: objectsOf(remote, signal),
    signal,
    parallel: Number(flag(words, 'parallel') ?? AT_ONCE),
    smallParallel: Number(flag(words, 'parallel') ?? SMALL_AT_ONCE),
    partSize: partSizeFrom(flag(words, 'part-size')),
    quiet: remote.settings.quiet,
  };
}

export const wantedOf = ({ flags }: Words): Wanted => new Wanted(flags.get('include'), flags.get('exclude'));

/** A bar on a terminal, nothing elsewhere. */
export class Meter {
  readonly #progress: Progress;
  readonly #began = performance.now();
  #total: number | undefined;
  #sent = 0;
  /** What was there before it began counts as done, and not as fast. */
  #before = 0;
  readonly #show: boolean;

  constructor(title: string, quiet: boolean, total?: number) {
    this.#show = !quiet && process.stderr.isTTY === true;
    this.#progress = new Progress(printable(title), !this.#show);
    this.#total = total;
  }

  readonly count = (amount: number, before?: true): void => {
    this.#sent += amount;
    if (before) this.#before += amount;
    this.#draw();
  };
  readonly expect = (amount: number): void => {
    this.#total = (this.#total ?? 0) + amount;
    this.#draw();
  };

  #draw(): void {
    if (!this.#show) return;
    const seconds = (performance.now() - this.#began) / 1000;
    const speed = seconds < 0.5 ? 0 : Math.max(0, this.#sent - this.#before) / seconds;
    this.#progress.update(meterText(this.#sent, this.#total, speed));
  }

  end(): void {
    this.#progress.end();
  }
  get seconds(): string {
    return `${((performance.now() - this.#began) / 1000).toFixed(1)} s`;
  }
}

const WIDTH = 20;

/** `███████░░░░░░░░░░░░░ 35%, 1.2 of 3.4 GiB, 210 MiB/s, 11 s left`. */
export function meterText(sent: number, total: number | undefined, speed: number): string {
  const pace = speed < 1 ? '' : `, ${bytes(Math.round(speed))}/s`;
  if (total === undefined || total === 0) return `${bytes(sent)}${pace}`;
  const part = Math.min(1, Math.max(0, sent / total));
  const full = Math.round(part * WIDTH);
  const left = speed < 1 || sent >= total ? '' : `, ${leftText((total - sent) / speed)} left`;
  return `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${Math.floor(part * 100)}%, ${bytes(sent)} of ${bytes(total)}${pace}${left}`;
}

const leftText = (seconds: number): string =>
  seconds < 60 ? `${Math.ceil(seconds)} s` : seconds < 3600 ? `${Math.ceil(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;

/** Objects, and bytes, as a sentence counts them. */
export const amount = (count: number, noun: string): string =>
  `${count} ${count === 1 ? noun : /[^aeiou]y$/.test(noun) ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;

/** Many, each of which may fail: the others are done all the same, the first failure decides the exit code. */
export class Tally {
  readonly #work: Work;
  readonly counts: Record<string, number> = {};
  bytes = 0;
  #code: number = EXIT.done;
  #failed = 0;
  /** Names of what was done, for `--output json`. */
  readonly items: Record<string, unknown>[] = [];

  constructor(work: Work, ...kinds: readonly string[]) {
    this.#work = work;
    for (const kind of kinds) this.counts[kind] = 0;
  }

  done(kind: string, item: Record<string, unknown>, size = 0): void {
    this.counts[kind] = (this.counts[kind] ?? 0) + 1;
    this.bytes += size;
    if (this.#listed) this.items.push({ done: kind, ...item });
  }
  get code(): number {
    return this.#code;
  }
  get #listed(): boolean {
    return ['json', 'yaml'].includes(this.#work.remote.settings.output);
  }

  /** Says it and goes on, unless nothing further can succeed. */
  failed(what: string, error: unknown): void {
    if (this.#work.signal.aborted || error instanceof Exit) throw error;
    const cause = error instanceof Unfinished ? error.cause : error;
    if (cause instanceof Fault && ['unavailable', 'unauthenticated', 'insufficient_storage', 'quota_exceeded'].includes(cause.code)) throw error;
    this.#failed++;
    const fault = cause instanceof Fault ? Fault.from({ ...cause.toJSON(), message: `${what}: ${cause.message}` }) : (localFault(what, cause) ?? cause);
    const code = tell(fault, { command: undefined, json: this.#work.remote.settings.output === 'json' });
    if (this.#code === EXIT.done) this.#code = code;
  }

  skipped(what: string, why: string): void {
    if (!this.#work.quiet) err(`Left out: ${printable(what)}: ${printable(why)}.\n`);
  }
  /** Left out although it was asked for. */
  refused(what: string, why: string): void {
    this.failed(what, new Fault('invalid_input', why));
  }

  /** Answers with the exit code, after a line that says what came of it. */
  async end(line: string): Promise<number> {
    const { output, quiet } = this.#work.remote.settings;
    if (output === 'json' || output === 'yaml') out(await structured({ ...this.counts, bytes: this.bytes, failed: this.#failed, items: this.items }, output));
    else if (!quiet) out(`${printable(line)}${this.#failed === 0 ? '' : `; ${this.#failed} failed`}\n`);
    return this.#code;
  }
}

/** What the system said of a file here. */
function localFault(what: string, error: unknown): Fault | undefined {
  const { code, message } = error as NodeJS.ErrnoException;
  if (!(error instanceof Error) || typeof code !== 'string' || !/^E[A-Z0-9]+$/.test(code)) return undefined;
  const said = LOCAL[code];
  return new Fault(code === 'ENOSPC' ? 'insufficient_storage' : 'invalid_input', `${what}: ${said ?? message}`, { cause: error });
}

const LOCAL: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or directory',
  EACCES: 'this user may not',
  EPERM: 'this user may not',
  ENOSPC: 'the disk is full',
  EISDIR: 'that is a directory',
  ENOTDIR: 'a part of the path is no directory',
  ENAMETOOLONG: 'the name is too long for the file system',
  EROFS: 'the file system is read-only',
  EMFILE: 'too many files are open',
};

/** The failure of one transfer, in words; says how to go on with what broke off. */
export function inWords(work: Work, what: string, error: unknown, goOn?: string): unknown {
  if (error instanceof Unfinished) {
    if (goOn !== undefined && !work.quiet) err(`What went over is kept. To go on with it: ${printable(goOn)}\n`);
    return inWords(work, what, error.cause);
  }
  return localFault(what, error) ?? error;
}

/** Flags that say something of one object, where there are many. */
export function onlyForOne({ flags }: Words, ...names: readonly string[]): void {
  for (const name of names) if (flags.has(name)) throw usage(`--${name} says something of one object; it does not go with --recursive`);
}
