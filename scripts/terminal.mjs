// What the project's commands share with the person in front of them: one line per step, child processes whose output
// is shown only when it matters, and failures that end in a sentence and the command to type next.
// Like everything in this folder it runs before anything is installed: Node 18 or newer, no dependency.

import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** The environment of every child: the project's own Node and tools come first; no colours into a file, although CI is set. */
export const childEnv = {
  ...process.env,
  PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH ?? '/usr/bin:/bin'}`,
  ...(process.stdout.isTTY || process.env.FORCE_COLOR !== undefined ? {} : { NO_COLOR: '1' }),
};

/** The exit codes of the error table in use here. */
export const exitCode = { failed: 1, unavailable: 8 };

/** A failure that was expected: shown as its sentence and hint, never as a stack. */
export class Stop extends Error {
  /**
   * @param {string} sentence
   * @param {{ hint?: string, detail?: string, exit?: number }} [more] `detail` is the output that explains it, `hint` what to type next
   */
  constructor(sentence, more = {}) {
    super(sentence);
    this.hint = more.hint;
    this.detail = more.detail;
    this.exit = more.exit ?? exitCode.failed;
  }
}

/** Prints the failure and returns the exit code that belongs to it. @param {unknown} error */
export function report(error) {
  if (!(error instanceof Stop)) {
    process.stderr.write(`\n${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return 70;
  }
  if (error.detail) process.stderr.write(`\n${error.detail.trimEnd()}\n`);
  process.stderr.write(`\n${red('✗')} ${error.message}\n`);
  if (error.hint) process.stderr.write(`${indent(error.hint)}\n`);
  return error.exit;
}

const colour = process.env.NO_COLOR === undefined && (process.stdout.isTTY || process.env.FORCE_COLOR !== undefined);
const paint = (/** @type {number} */ code) => (/** @type {string} */ text) => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);
export const bold = paint(1);
export const dim = paint(2);
export const red = paint(31);
export const green = paint(32);
export const cyan = paint(36);

export const indent = (/** @type {string} */ text) => text.replace(/^/gm, '  ');

export const seconds = (/** @type {number} */ since) => `${((Date.now() - since) / 1000).toFixed(1)} s`;

/**
 * Runs one step of work under a title: on a terminal one line that is overwritten, in a pipe a line when it starts and one when it ends.
 * @template T
 * @param {string} title
 * @param {(progress: (text: string) => void) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(title, work) {
  const since = Date.now();
  const live = process.stdout.isTTY;
  const show = (/** @type {string} */ text) => process.stdout.write(live ? `\r\x1b[2K… ${text}` : `… ${text}\n`);
  show(title);
  try {
    const result = await work((text) => show(`${title}: ${text}`));
    process.stdout.write(`${live ? '\r\x1b[2K' : ''}${green('✓')} ${title} ${dim(`(${seconds(since)})`)}\n`);
    return result;
  } catch (error) {
    process.stdout.write(`${live ? '\r\x1b[2K' : ''}${red('✗')} ${title} ${dim(`(${seconds(since)})`)}\n`);
    throw error;
  }
}

/**
 * Runs a command to its end. Its output comes back, or with `show` goes to where ours goes, as if it had been typed.
 * Never throws for a failing command: look at `code` (127 when the program does not exist).
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, show?: boolean }} [options]
 * @returns {Promise<{ code: number, output: string, stdout: string }>} `output` is both streams in the order in which they came
 */
export function run(command, args, options = {}) {
  return new Promise((resolve) => {
    let output = '';
    let stdout = '';
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: options.env ?? childEnv,
      stdio: ['ignore', options.show ? 'inherit' : 'pipe', options.show ? 'inherit' : 'pipe'],
    });
    child.stdout?.on('data', (/** @type {Buffer} */ data) => {
      output += data;
      stdout += data;
    });
    child.stderr?.on('data', (/** @type {Buffer} */ data) => {
      output += data;
    });
    child.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      resolve({ code: error.code === 'ENOENT' ? 127 : 126, output: `${command}: ${error.message}`, stdout });
    });
    child.on('close', (code, signal) => resolve({ code: code ?? 128 + (signal === 'SIGINT' ? 2 : 15), output, stdout }));
  });
}

/**
 * Like `run`, for commands that have to succeed.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {Parameters<typeof run>[2] & { failure?: string, hint?: string }} [options]
 */
export async function must(command, args, options = {}) {
  const result = await run(command, args, options);
  if (result.code !== 0) {
    throw new Stop(options.failure ?? `\`${[command, ...args].join(' ')}\` failed with exit code ${result.code}.`, {
      detail: options.show ? undefined : lastLines(result.output, 40),
      hint: options.hint,
    });
  }
  return result;
}

/**
 * Starts a program that outlives this one, with its output in a file.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {string} logFile
 */
export function detach(command, args, logFile) {
  const log = openSync(logFile, 'a');
  const child = spawn(command, args, { cwd: '/', detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  /** @type {{ ended: string | undefined }} */
  const state = { ended: undefined };
  child.on('error', (error) => {
    state.ended = error.message;
  });
  child.on('exit', (code, signal) => {
    state.ended = `exit ${code ?? signal}`;
  });
  child.unref();
  return state;
}

export const lastLines = (/** @type {string} */ text, /** @type {number} */ count) => text.trimEnd().split('\n').slice(-count).join('\n');

/** The end of a file, or why it cannot be read. @param {string} file @param {number} count */
export function tail(file, count) {
  try {
    return lastLines(readFileSync(file, 'utf8'), count);
  } catch (error) {
    return `(${file} cannot be read: ${error instanceof Error ? error.message : error})`;
  }
}

export const sleep = (/** @type {number} */ milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The npm that started us, or the one on the PATH. @returns {[string, string[]]} */
export function npm() {
  const cli = process.env.npm_execpath;
  return cli?.endsWith('.js') ? [process.execPath, [cli]] : ['npm', []];
}
