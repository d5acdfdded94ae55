// Waiting for operations by long poll: each answer comes when the operation has ended or its progress text is another.
import { Fault, type FaultBody } from '@thecloud/core/contracts';
import { EXIT, Exit, err, OperationFailed } from './base.ts';
import { Progress } from './progress.ts';
import type { Remote } from './remote.ts';
import { commandOf } from './table.ts';

export interface OperationView {
  id: string;
  kind: string;
  resource: string;
  resourceId: string;
  name: string;
  state: 'running' | 'succeeded' | 'failed';
  progress?: string;
  percent?: number;
  error?: FaultBody;
}

export interface WaitOptions {
  /** `Creating instance web` */
  title: string;
  /** `instance web created`; said when it is. */
  done: string | undefined;
  timeout: number;
  quiet: boolean;
}

/** Longest single poll, seconds; shorter than what a proxy or firewall takes for dead. */
const POLL = 20;
/** How long a daemon that went away may take to come back. */
const PATIENCE = 15_000;

/** Resolves when it succeeded. Throws `OperationFailed`, `timeout`, or exits when interrupted. */
export async function waitFor(remote: Remote, id: string, options: WaitOptions): Promise<OperationView> {
  const operation = commandOf('operation wait').operation;
  if (operation === undefined) throw new Error('operation wait is no operation');
  const progress = new Progress(options.title, options.quiet);
  const abort = new AbortController();
  const onInterrupt = (): void => abort.abort(new Exit(EXIT.interrupted));
  process.on('SIGINT', onInterrupt);
  process.on('SIGTERM', onInterrupt);
  const deadline = Date.now() + options.timeout;
  let shown = '';
  let lostAt: number | undefined;
  let finished = false;
  try {
    for (;;) {
      const left = deadline - Date.now();
      if (left <= 0)
        throw new Fault('timeout', `${options.title} takes longer than ${Math.round(options.timeout / 1000)} s; it goes on`, {
          hint: `cloud operation wait ${id}`,
        });
      let view: OperationView;
      try {
        const input = { timeout: Math.min(POLL, Math.ceil(left / 1000)), progress: shown };
        view = (await remote.call(operation, { target: id, input, signal: abort.signal, patience: (POLL + 30) * 1000 })).value as OperationView;
        lostAt = undefined;
      } catch (error) {
        if (!(error instanceof Fault)) throw error;
        if (error.code === 'timeout') continue;
        if (error.code !== 'unavailable') throw error;
        lostAt ??= Date.now();
        if (Date.now() - lostAt > PATIENCE) {
          throw new Fault('unavailable', `${error.message}. The change was accepted and goes on when the daemon is back`, {
            hint: `cloud daemon start && cloud operation wait ${id}`,
            cause: error,
          });
        }
        progress.update('the daemon does not answer; trying again');
        await pause(300, abort.signal);
        continue;
      }
      if (view.state === 'succeeded') {
        finished = true;
        progress.end(options.done);
        return view;
      }
      if (view.state === 'failed') {
        const body: FaultBody = view.error === undefined ? { code: 'internal', message: 'it failed without a reason' } : view.error;
        throw new OperationFailed(`${options.title} failed: ${body.message}`, body);
      }
      shown = view.progress ?? '';
      progress.update(view.progress === undefined ? undefined : `${view.progress}${view.percent === undefined ? '' : ` ${Math.round(view.percent)} %`}`);
    }
  } catch (error) {
    if (!finished) progress.end();
    if (error instanceof Exit) err(`Interrupted. The operation goes on: cloud operation wait ${id}\n`);
    throw error;
  } finally {
    process.off('SIGINT', onInterrupt);
    process.off('SIGTERM', onInterrupt);
  }
}

export const pause = (milliseconds: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    if (signal?.aborted) return reject(signal.reason as Error);
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', onAbort, { once: true });
  });
