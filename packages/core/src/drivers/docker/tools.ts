// The host's own programs (nft, losetup, mkfs.ext4, …), always by argument list, never through a shell.
import type { Readable } from 'node:stream';
import { ExecaError, execa } from 'execa';
import { DriverError } from '../../kernel/errors.ts';

/** Administrators' programs are often outside the PATH of a service or a plain user. */
const PATH = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'])].filter(Boolean).join(':');

export interface ToolOptions {
  /** Kills the program. */
  signal?: AbortSignal;
  input?: string;
  /** Exit codes besides 0 that are answers, not failures. */
  accept?: readonly number[];
}

export interface ToolResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs a program to its end. A missing program is DriverError('unavailable'), a failing one DriverError('failed') with its own last words. */
export async function run(program: string, args: readonly string[], options: ToolOptions = {}): Promise<ToolResult> {
  options.signal?.throwIfAborted();
  try {
    const { stdout, stderr } = await execa(program, args, {
      env: { PATH, LC_ALL: 'C' },
      stdin: options.input === undefined ? 'ignore' : 'pipe',
      ...(options.input === undefined ? {} : { input: options.input }),
      ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
      forceKillAfterDelay: 2_000,
    });
    return { exitCode: 0, stdout, stderr };
  } catch (error) {
    options.signal?.throwIfAborted();
    if (!(error instanceof ExecaError)) throw error;
    if (error.exitCode !== undefined && options.accept?.includes(error.exitCode) === true)
      return { exitCode: error.exitCode, stdout: String(error.stdout ?? ''), stderr: String(error.stderr ?? '') };
    throw explain(program, error);
  }
}

/** What a program writes, as it comes. Fails when the program does; destroying it ends the program. */
export const outputOf = (program: string, args: readonly string[]): Readable =>
  execa(program, args, { env: { PATH, LC_ALL: 'C' }, stdin: 'ignore', buffer: { stdout: false }, forceKillAfterDelay: 2_000 }).readable();

/** Where things lie on the host is nobody's business but its administrator's: of a path the last part is told. The cause has it all. */
export const withoutFolders = (said: string): string => said.replace(/(?<![\w.])\/(?:[^\s:'"/]+\/)+(?=[^\s:'"/])/g, '…/');

function explain(program: string, error: ExecaError): DriverError {
  if (error.code === 'ENOENT') return new DriverError('unavailable', `The program ${program} is not installed`, { cause: error });
  const said = String(error.stderr || error.stdout || error.shortMessage).trim();
  if (/no space left on device/i.test(said))
    return new DriverError('failed', `${program} stopped: the disk is full`, { cause: error, hint: 'df -h  # shows what is left' });
  return new DriverError('failed', `${program}: ${withoutFolders(said.split('\n').slice(-3).join(' '))}`, { cause: error });
}

/** Whether a program can be started at all. */
export async function installed(program: string, versionFlag = '--version'): Promise<boolean> {
  try {
    await run(program, [versionFlag], { accept: [1, 2, 8, 16] });
    return true;
  } catch (error) {
    return error instanceof DriverError && error.code !== 'unavailable';
  }
}
