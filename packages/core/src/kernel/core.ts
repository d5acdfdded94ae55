// What the transports see of the cloud: one way in for each kind of operation, and its end of life.
import type { Principal } from './authorize.ts';
import type { Channel } from './channel.ts';
import type { ListenAt, Listening } from './listener.ts';

export interface Invocation {
  /** Resource name: `ssh-key`. */
  service: string;
  operation: string;
  target?: string | undefined;
  input: unknown;
  /** Absent: `unauthenticated`. */
  principal: Principal | undefined;
  /** Name or id; the principal's own when absent. */
  tenant?: string | undefined;
  ifMatch?: number | undefined;
  idempotencyKey?: string | undefined;
  /** Made up when absent. */
  requestId?: string | undefined;
  /** Where the call came from (address, `socket`, `embedded`), for the audit. */
  source?: string | undefined;
  signal?: AbortSignal | undefined;
}

export interface Answer {
  /** The same object for the same state, so that a transport may keep its serialised form (WeakMap). Never to be changed. */
  value: unknown;
  /** Of an asynchronous write. */
  operation?: string;
  /** Of an answer that is one stored resource: its ETag. */
  generation?: number;
  /** An earlier answer to the same idempotency key. */
  replayed?: boolean;
}

/** Every method rejects with a Fault and with nothing else. */
export interface Core {
  readonly installation: string;
  readonly version: string;
  readonly dataDir: string;
  /** Whose token or key this is. `source` is the address it came from. Rejects with `unauthenticated`. */
  authenticate(bearer: string, source: string): Promise<Principal>;
  /** A user by id or e-mail address, or a service account by id, to act as. Rejects with `not_found`. */
  principal(nameOrId: string): Promise<Principal>;
  /** Rejects as the call itself would be refused now: `unauthenticated`, `not_found` for its tenant, `forbidden`. Does nothing else. */
  check(invocation: Invocation): Promise<void>;
  invoke(invocation: Invocation): Promise<Answer>;
  /** Resolves when the stream is authorised and open; ends when the signal aborts or the iterator returns. */
  stream(invocation: Invocation): Promise<AsyncIterable<unknown>>;
  channel(invocation: Invocation): Promise<Channel>;
  /** For `/metrics`: totals since start, by service, operation and outcome (`ok` or the error code). */
  metrics(): { calls: { service: string; operation: string; outcome: string; count: number; seconds: number }[]; queued: Record<string, number> };
  /** Data planes that services offer: `s3`. */
  readonly listeners: readonly { readonly name: string; readonly defaultPort: number }[];
  /** Opens one. `conflict` when it is open or the address is taken. It ends with the core. */
  listen(name: string, at: ListenAt): Promise<Listening>;
  /** Stops controllers at a safe point, ends streams, closes the database and gives the data directory free. Twice is once. */
  close(): Promise<void>;
}
