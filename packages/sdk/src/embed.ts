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
  type ObjectStoreOptions,
  type OutsideSource,
  objectStoreFrom,
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
  /** Who calls: a principal as it is, or the id or e-mail address of one in the directory, who may then do what they may do. Default: the local administrator. */
  as?: Principal | string;
  /** Name or id of the tenant that calls act in. Default: the principal's own. */
  tenant?: string;
  /** False: the database is not synced to disk, which is faster and fit for throw-away data. Default true. */
  durable?: boolean;
  /** Serves S3 clients: a port on loopback, or a host and a port; 0 takes a free one. Default: nobody is served. */
  s3?: S3Place;
  /** Where the master key comes from. Default: as the environment says (`CLOUD_MASTER_KEY` and its like), else a file of the data directory. */
  masterKey?: MasterKeySource;
  /** Together with `masterKey`: what to rotate to before anything else is done. */
  nextMasterKey?: OutsideSource;
  /** An S3 engine that keeps the bytes of objects. Default: as the environment says (`CLOUD_OBJECT_STORE` and its like), else the data directory. */
  objectStore?: ObjectStoreOptions;
}

/** Letting go of it stops its controllers and closes its data directory; instances keep running, if their backend keeps them. */
export type Embedded = Cloud & AsyncDisposable & ActingAs & Served & { close(): Promise<void>; readonly dataDir: string };

export type S3Place = number | { host?: string; port: number };

export interface Served {
  /** Where S3 clients are served, `http://127.0.0.1:9000`; undefined when they are not. */
  readonly s3Endpoint: string | undefined;
}

/** Listens until the core ends. */
export async function serveS3(core: Core, place: S3Place | undefined): Promise<Served> {
  if (place === undefined) return { s3Endpoint: undefined };
  const { host = '127.0.0.1', port } = typeof place === 'number' ? { port: place } : place;
  const at = await core.listen('s3', { host, port });
  return { s3Endpoint: `http://${at.host.includes(':') ? `[${at.host}]` : at.host}:${at.port}` };
}

export interface ActingAs {
  /**
   * The same cloud as somebody else sees it; it ends with this one. Of a principal in the directory the id or e-mail address is enough:
   * it is looked up at the first call, which is `not_found` when there is none.
   */
  as(who: Principal | string, options?: { tenant?: string }): Cloud;
}

/** Where calls act that name no tenant. */
export interface Acting {
  tenant?: string | undefined;
}

/** Calls a core as this principal. Answers are copies, so that a caller may change what it got. */
export function coreExchange(core: Core, who: Principal | string, { tenant }: Acting = {}): Exchange {
  let found: Promise<Principal> | undefined;
  const principalOf = (): Principal | Promise<Principal> => {
    if (typeof who !== 'string') return who;
    found ??= core.principal(who).catch((error: unknown) => {
      found = undefined; // whoever is made later is found later
      throw error;
    });
    return found;
  };
  const invocationOf = async ({ service, operation, target, input, options }: Request, signal: AbortSignal | undefined): Promise<Invocation> => ({
    service,
    operation,
    target,
    input,
    principal: await principalOf(),
    tenant: options.tenant ?? tenant,
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
      return await core.invoke(await invocationOf(request, signal));
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
        for await (const item of await core.stream(await invocationOf(request, both))) yield structuredClone(item);
        signal?.throwIfAborted();
      } finally {
        ended.abort();
      }
    },
    channel: async (request) => {
      const { signal } = request.options;
      signal?.throwIfAborted();
      return givenUpBy(await core.channel(await invocationOf(request, signal)), signal);
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

/** A cloud of one's own, as one of those who may use it. */
export const actingAs = (core: Core, who: Principal | string, acting: Acting): Cloud & ActingAs => ({
  ...cloudOver(coreExchange(core, who, acting)),
  as: (other, options) => cloudOver(coreExchange(core, other, options)),
});

/** Rejects with `not_found` when `as` names nobody. */
export async function embed(options: EmbedOptions = {}): Promise<Embedded> {
  const {
    dataDir = defaultDataDir(process.env),
    driver,
    log,
    masterKey,
    nextMasterKey,
    durable = true,
    as = localAdministrator,
    tenant,
    s3,
    objectStore,
  } = options;
  const core = await createCore({
    dataDir: resolve(dataDir),
    durable,
    masterKey: masterKey ?? masterKeySource(process.env, { production: false }),
    nextMasterKey: masterKey === undefined ? nextMasterKeySource(process.env) : nextMasterKey,
    objectStore: objectStore ?? objectStoreFrom(process.env),
    ...(driver === undefined ? {} : { drivers: driver }),
    ...(log === undefined ? {} : { log }),
  });
  const close = () => core.close();
  try {
    const principal = typeof as === 'string' ? await core.principal(as) : as;
    const served = await serveS3(core, s3);
    return { ...actingAs(core, principal, { tenant }), ...served, dataDir: core.dataDir, close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}
