// A program in an instance, from start to end, when nothing about it needs to be live.
import { text } from 'node:stream/consumers';
import type { CallOptions, Cloud } from '@thecloud/core/contracts';

export interface RunOptions extends Pick<CallOptions, 'signal' | 'tenant'> {
  /** What the program reads; nothing when absent. */
  input?: string | Uint8Array;
  env?: Record<string, string>;
  /** User name or id inside the instance. */
  user?: string;
  workdir?: string;
}

/** Runs a program and gathers what it writes, as UTF-8. An exit code other than 0 is an answer, not an error. */
export async function run(
  cloud: Pick<Cloud, 'instance'>,
  instance: string,
  command: string[],
  { input, signal, tenant, ...rest }: RunOptions = {},
): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const channel = await cloud.instance.exec(instance, { command, stdin: input !== undefined, ...rest }, { signal, tenant });
  channel.input.end(input);
  const [{ exitCode }, stdout, stderr] = await Promise.all([channel.result, text(channel.output), text(channel.error)]);
  return { exitCode, stdout, stderr };
}
