// The whole cloud in this process: the same client, over a core of one's own in place of a daemon.
import { resolve } from 'node:path';
import {
  type Answer,
  type Core,
  createCore,
  type DriverSet,
  type Invocation,
  type Log,
  localAdministrator,
  type MasterKeySource,
  masterKeySource,
  nextMasterKeySource,
  type Principal,
} from '@thecloud/core';
import { type Channel, type Cloud, defaultDataDir, type Request } from '@thecloud/core/contracts';
import { closedEarly, cloudOver, type Exchange } from './exchange.ts';

export interface EmbedOptions {
  /** Made when absent; held by one process at a time, or else `conflict`. Default: where the daemon of this user has its data. */
  dataDir?: string;
  /** `memory` runs no programs and forgets its instances when the process ends. Default: the one that the data directory was used with, else docker. */
  driver?: 'docker' | 'memory' | DriverSet;
  /** Nothing is logged when absent. */
  log?: Log;
  /** False: the database is not synced to disk, which is faster and fit for throw-away data. Default true. */
  durable?: boolean;
  /** Where the master key comes from. Default: as the environment says (`CLOUD_MASTER_KEY` and its like), else a file of the data directory. */
  masterKey?: MasterKeySource;
}

/** Letting go of it stops its controllers and closes its data directory; instances keep running, if their backend keeps them. */
export type Embedded = Cloud & AsyncDisposable & { close(): Promise<void>; readonly dataDir: string };

/** Calls a core as this principal. Answers are copies, so that a caller may change what it got. */
export function coreExchange(core: Core, principal: Principal): Exchange {
  const invocationOf = ({ service, operation, target, input, options }: Request, signal: AbortSignal | undefined): Invocation => ({
    service,
    operation,
    target,
    input,
    principal,
    tenant: options.tenant,
    ifMatch: options.ifMatch,
    idempotencyKey: options.idempotencyKey,
    source: 'embedded',
    signal,
  });
  const answer = async (request: Request): Promise<Answer> => {
    const { signal } = request.options;
    signal?.throwIfAborted();
    // A write that was accepted is done, whoever still waits for it; over a socket it is the same.
    try {
      return await core.invoke(invocationOf(request, signal));
    } catch (error) {
      throw signal?.aborted ? signal.reason : error;
    }
  };
  return {
    call: async (request) => {
      const { value, operation } = await answer(request);
      return { value: structuredClone(value), operation };
    },
    async *stream(request) {
      const { signal } = request.options;
      signal?.throwIfAborted();
      // Breaking out of the loop must end the source too, even one that waits for its next item.
      const ended = new AbortController();
      const both = signal === undefined ? ended.signal : AbortSignal.any([signal, ended.signal]);
      try {
        for await (const item of await core.stream(invocationOf(request, both))) yield structuredClone(item);
        signal?.throwIfAborted();
      } finally {
        ended.abort();
      }
    },
    channel: async (request) => {
      const { signal } = request.options;
      signal?.throwIfAborted();
      return givenUpBy(await core.channel(invocationOf(request, signal)), signal);
    },
  };
}

/** A channel whose result says that its own client gave it up, as over a socket, and not how the far end took that. */
function givenUpBy(channel: Channel, signal: AbortSignal | undefined): Channel {
  let reason: { why: unknown } | undefined;
  const giveUp = (why: unknown): void => {
    reason ??= { why };
    channel.close();
  };
  const onAbort = () => giveUp(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  const result = channel.result.then(
    (value) => {
      signal?.removeEventListener('abort', onAbort);
      if (reason !== undefined) throw reason.why;
      return structuredClone(value);
    },
    (error: unknown) => {
      signal?.removeEventListener('abort', onAbort);
      throw reason === undefined ? error : reason.why;
    },
  );
  result.catch(() => {}); // whoever awaits it learns of it; a channel that nobody awaits must not end the process
  if (signal?.aborted) onAbort();
  return {
    input: channel.input,
    output: channel.output,
    error: channel.error,
    control: (message) => channel.control(message),
    result,
    close: () => giveUp(closedEarly()),
  };
}

export async function embed({ dataDir = defaultDataDir(process.env), driver, log, durable = true, masterKey }: EmbedOptions = {}): Promise<Embedded> {
  const core = await createCore({
    dataDir: resolve(dataDir),
    durable,
    masterKey: masterKey ?? masterKeySource(process.env, { production: false }),
    nextMasterKey: masterKey === undefined ? nextMasterKeySource(process.env) : undefined,
    ...(driver === undefined ? {} : { drivers: driver }),
    ...(log === undefined ? {} : { log }),
  });
  const close = () => core.close();
  return { ...cloudOver(coreExchange(core, localAdministrator)), dataDir: core.dataDir, close, [Symbol.asyncDispose]: close };
}
