// Who calls: whoever opened the socket is the data directory's owner; everybody else is who a token or key says.
import { hash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Core, Invocation, Principal } from '@thecloud/core';
import { type ErrorCode, Fault } from '@thecloud/core/contracts';
import type { Endpoint } from './endpoints.ts';
import { RefusedToken, refusing } from './faults.ts';
import type { Limits, Standing } from './limits.ts';
import { limitKeyOf, type Sources } from './source.ts';

export interface Caller {
  /** Undefined: came without credentials, and reaches what is open to anybody. */
  principal: Principal | undefined;
  /** For the audit: `socket`, or the address. */
  source: string;
  standing?: Standing | undefined;
}

type Asked = Pick<Endpoint, 'name' | 'operation'>;

/** Who sent this; `asked` is the operation that is asked for, if any. Rejects with `unauthenticated`, or `rate_limited`. */
export type Authenticate = (request: IncomingMessage, asked?: Asked) => Caller | Promise<Caller>;

export interface Keeper {
  core: Pick<Core, 'authenticate'>;
  owner: Principal;
  /** The admin token of the data directory, if it has one. */
  adminToken: string | undefined;
}

const digest = (text: string): Buffer => hash('sha256', text, 'buffer');
const LONGEST_BEARER = 4096;

/** The token or key of a request; undefined when it brings no credentials. Throws for credentials that can never be good. */
function bearerOf(request: IncomingMessage): string | undefined {
  const { authorization } = request.headers;
  if (authorization === undefined) return undefined;
  const bearer = /^Bearer +([\w\-.~+/]+=*) *$/i.exec(authorization)?.[1];
  if (bearer === undefined) throw new Fault('unauthenticated', 'Credentials come in the header `Authorization: Bearer <token or API key>`');
  if (bearer.length > LONGEST_BEARER) throw new RefusedToken('This token is not valid here');
  return bearer;
}

/** Hashed first, so that the comparison takes the same time for every wrong token of every length. */
function identify({ core, owner, adminToken }: Keeper): (bearer: string, source: string) => Promise<Caller> {
  const expected = adminToken === undefined ? undefined : digest(adminToken);
  return async (bearer, source) => {
    if (expected !== undefined && timingSafeEqual(digest(bearer), expected)) return { principal: owner, source };
    try {
      return { principal: await core.authenticate(bearer, source), source };
    } catch (error) {
      throw error instanceof Fault && error.code === 'unauthenticated' ? refusing(error) : error;
    }
  };
}

/** Whoever could open the socket owns the data directory, and may also be somebody lesser. */
export function overSocket(keeper: Keeper): Authenticate {
  const owner: Caller = { principal: keeper.owner, source: 'socket' };
  const whose = identify(keeper);
  return (request) => {
    const bearer = bearerOf(request);
    return bearer === undefined ? owner : whose(bearer, 'socket');
  };
}

/** Bearers that were good lately. They go on being looked at when guesses from the same address are not, and when they end, that is no guess. */
class Proven {
  readonly #digests = new Set<string>();
  has(bearer: string): boolean {
    return this.#digests.has(hash('sha256', bearer));
  }
  add(bearer: string): void {
    const known = hash('sha256', bearer);
    this.#digests.delete(known);
    this.#digests.add(known);
    if (this.#digests.size > MOST_PROVEN) this.#digests.delete(this.#digests.values().next().value ?? '');
  }
}
const MOST_PROVEN = 10_000;

/** Everybody has to prove who they are, and nobody may try as often as they like. */
export function overTcp(keeper: Keeper, { limits, sources }: { limits: Limits; sources: Sources }): Authenticate {
  const whose = identify(keeper);
  const proven = new Proven();

  const prove = async (bearer: string, source: string, key: string): Promise<Caller> => {
    const known = proven.has(bearer);
    if (!known) await limits.refused.check(key);
    try {
      const caller = await whose(bearer, source);
      proven.add(bearer);
      return caller;
    } catch (error) {
      if (!known && error instanceof RefusedToken) await limits.refused.note(key);
      throw error;
    }
  };

  return async (request, asked) => {
    const source = sources.of(request);
    const key = limitKeyOf(source);
    const bearer = bearerOf(request);
    if (asked?.operation.access === 'anonymous') await limits.anonymous(asked.name).take(key);
    const caller: Caller = bearer === undefined ? { principal: undefined, source } : await prove(bearer, source, key);
    return { ...caller, standing: await limits.calls?.take(caller.principal?.id ?? `from ${key}`) };
  };
}

export function mustBeKnown(caller: Caller | undefined): Principal {
  if (caller?.principal === undefined) throw new Fault('unauthenticated', 'This needs credentials', { hint: 'cloud auth login' });
  return caller.principal;
}

/** The installation's numbers tell about all tenants. Keys and tokens of programs never administer it. */
export function mustAdminister(caller: Caller | undefined): void {
  const principal = mustBeKnown(caller);
  if (principal.administrator === true && (principal.credential === undefined || principal.credential.kind === 'session')) return;
  throw new Fault('forbidden', `${principal.name ?? principal.id} may not see this: it is for administrators of the installation`);
}

/** The longest that something stays open for a caller who may not open it any more. */
export const RECHECK_MS = 30_000;

/**
 * Asks again, now and then, whether the caller might still make this call: its session or key lives, it belongs to the tenant, it is allowed.
 * Calls `end` once with the reason when not. A token that expires ends nothing: its session does. Returns how to stop asking.
 */
export function watchCall(core: Pick<Core, 'check'>, invocation: Invocation, every: number, end: (fault: Fault) => void): () => void {
  if (invocation.principal?.kept !== true) return () => {};
  let stopped = false;
  let timer: NodeJS.Timeout;
  const wait = (): void => {
    timer = setTimeout(look, every);
    timer.unref();
  };
  const look = (): void => {
    core.check(invocation).then(
      () => stopped || wait(),
      (error: unknown) => {
        if (stopped) return;
        // Whoever cannot be asked at the moment is asked again.
        if (!(error instanceof Fault) || !ENDINGS.has(error.code)) return wait();
        end(new Fault(error.code, `This ended because it is not allowed any more: ${error.message}`, error.hint === undefined ? {} : { hint: error.hint }));
      },
    );
  };
  wait();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}
const ENDINGS: ReadonlySet<ErrorCode> = new Set(['unauthenticated', 'forbidden', 'not_found']);
