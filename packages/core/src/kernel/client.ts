// The one typed client: its methods come from the contracts, whatever carries the calls (a core in the same process, a socket).
import type { z } from 'zod';
import type { Channel } from './channel.ts';
import type { Contracts, Operation } from './contract.ts';

export interface CallOptions {
  signal?: AbortSignal;
  /** Name or id of the tenant to act in; the principal's default one otherwise. */
  tenant?: string;
  /** Makes a repeated write the same write for 24 hours. The client makes one up when absent. */
  idempotencyKey?: string;
  /** Only if the target still has this generation, else `stale`. */
  ifMatch?: number;
  /** Of an asynchronous write: resolve when it is done (and reject when it failed). Default false: when it is accepted. */
  wait?: boolean;
  /** With `wait`: most milliseconds to wait before `timeout`. Default 10 minutes. */
  timeout?: number;
}

type Arguments<O extends Operation> = O['target'] extends true
  ? {} extends z.input<O['input']>
    ? [target: string, input?: z.input<O['input']>, options?: CallOptions]
    : [target: string, input: z.input<O['input']>, options?: CallOptions]
  : {} extends z.input<O['input']>
    ? [input?: z.input<O['input']>, options?: CallOptions]
    : [input: z.input<O['input']>, options?: CallOptions];

type Answer<O extends Operation> = O['kind'] extends 'stream'
  ? AsyncIterable<z.output<O['output']>>
  : O['kind'] extends 'channel'
    ? Promise<Channel<z.output<O['output']>>>
    : Promise<z.output<O['output']>>;

export type Method<O extends Operation> = (...args: Arguments<O>) => Answer<O>;

export type Client<C extends Contracts> = {
  readonly [S in keyof C]: { readonly [O in keyof C[S]['operations']]: Method<C[S]['operations'][O]> };
};

/** One call, before anything is known about how it travels. */
export interface Request {
  /** Resource name as in the contract: `ssh-key`. */
  service: string;
  operation: string;
  target?: string;
  input: unknown;
  options: CallOptions;
}

/** What a transport must be able to do. */
export interface Transport {
  call(request: Request): Promise<unknown>;
  stream(request: Request): AsyncIterable<unknown>;
  channel(request: Request): Promise<Channel>;
}

/** Builds the client over a transport. */
export function clientOf<C extends Contracts>(contracts: C, transport: Transport): Client<C> {
  const client: Record<string, Record<string, unknown>> = {};
  for (const [key, { resource, operations }] of Object.entries(contracts)) {
    const methods: Record<string, unknown> = {};
    for (const [name, operation] of Object.entries(operations)) {
      methods[name] = (...args: unknown[]) => {
        const [target, input, options] = operation.target ? args : [undefined, ...args];
        const request: Request = {
          service: resource.name,
          operation: name,
          ...(target === undefined ? {} : { target: target as string }),
          input: input ?? {},
          options: (options as CallOptions | undefined) ?? {},
        };
        if (operation.kind === 'stream') return transport.stream(request);
        if (operation.kind === 'channel') return transport.channel(request);
        return transport.call(request);
      };
    }
    client[key] = methods;
  }
  return client as Client<C>;
}
