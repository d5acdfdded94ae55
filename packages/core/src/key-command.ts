// Runs the program that prints the master key. What it prints, on either stream, goes into no error and no log: it may be the key.
import { ExecaError, execa } from 'execa';
import { Fault } from './kernel/errors.ts';
import type { ReadCommand } from './kernel/master-key.ts';

const TIMEOUT_MS = 30_000;
const MOST_OUTPUT = 4096;

/** Rejects with `unavailable`. */
export const readKeyCommand: ReadCommand = async ([program = '', ...args]) => {
  try {
    const { stdout } = await execa(program, args, { stdin: 'ignore', timeout: TIMEOUT_MS, maxBuffer: MOST_OUTPUT, forceKillAfterDelay: 2_000 });
    return stdout;
  } catch (error) {
    // No `cause`: it holds what the program printed, and its arguments.
    throw new Fault('unavailable', `The master key could not be had: ${program} ${error instanceof ExecaError ? whyOf(error) : 'could not be run'}`, {
      hint: 'run the command of CLOUD_MASTER_KEY_COMMAND by hand, as the same user, to see what it says',
    });
  }
};

function whyOf(error: ExecaError): string {
  if (error.timedOut) return `took longer than ${TIMEOUT_MS / 1000} s`;
  if (error.isMaxBuffer) return 'printed more than a key';
  if (error.code === 'ENOENT') return 'is not there';
  if (error.code === 'EACCES') return 'may not be run by this user';
  if (error.exitCode !== undefined) return `ended with ${error.exitCode}`;
  if (error.signal !== undefined) return `was ended by ${error.signal}`;
  return 'could not be run';
}
