// People for tests: a bench whose passwords cost nothing to check, and what one does to have somebody who is logged in.
import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { Cloud } from '../contracts.ts';
import type { Directory, Principal } from '../kernel/authorize.ts';
import { ManualClock } from '../kernel/clock.ts';
import type { ServiceDefinition } from '../kernel/service.ts';
import { auths, type Session } from '../services/auth/contract.ts';
import type { Hasher } from '../services/auth/passwords.ts';
import { authServiceWith } from '../services/auth/service.ts';
import { services } from '../services.ts';
import { type Bench, type BenchOptions, bench } from './bench.ts';

export const PASSWORD = 'correct horse battery';
export const SOURCE = '192.0.2.1';
export type SessionView = z.output<typeof Session>;

/** Counts, and may be held. */
class CountingHasher implements Hasher {
  hashed = 0;
  compared = 0;
  /** Awaited by each before it answers. */
  gate: Promise<void> | undefined;

  async hash(password: string): Promise<string> {
    this.hashed++;
    await this.gate;
    return `hash-${createHash('sha256').update(password.slice(0, 72)).digest('hex')}`;
  }
  async compare(password: string, hash: string): Promise<boolean> {
    this.compared++;
    await this.gate;
    return hash === `hash-${createHash('sha256').update(password.slice(0, 72)).digest('hex')}`;
  }
}

/** Time that can be moved far without waking who sleeps on the way there. */
class JumpingClock extends ManualClock {
  #ahead = 0;
  override now(): number {
    return super.now() + this.#ahead;
  }
  jump(ms: number): void {
    this.#ahead += ms;
  }
}

export interface People extends Bench {
  readonly hasher: CountingHasher;
  readonly directory: Directory;
  readonly clock: JumpingClock;
  /** A call of `auth` without credentials. */
  open(operation: string, input: unknown, source?: string): Promise<unknown>;
  login(email: string, password?: string, source?: string): Promise<SessionView>;
  /** By a bearer token, as a transport does it: at every call anew. */
  by(bearer: string, source?: string): Promise<Cloud>;
  /** A user with the usual password; in the default tenant when there are roles. */
  person(email: string, ...roles: string[]): Promise<{ id: string; name: string }>;
  /** The user as the directory knows her. */
  principal(email: string): Promise<Principal>;
}

export async function people(options: Omit<BenchOptions, 'clock'> & { clock?: JumpingClock } = {}): Promise<People> {
  const hasher = new CountingHasher();
  const clock = options.clock ?? new JumpingClock(Date.UTC(2030, 0, 1));
  let directory: Directory | undefined;
  const { contract, make } = authServiceWith(hasher);
  const auth: ServiceDefinition = {
    contract,
    make(context) {
      const made = make(context);
      directory = made.directory;
      return made;
    },
  };
  const definitions = (options.definitions ?? services).map((one) => (one.contract === auths ? auth : one));
  const b = await bench({ ...options, clock, definitions });
  const open: People['open'] = async (operation, input, source = SOURCE) =>
    (await b.core.invoke({ service: 'auth', operation, input, principal: undefined, source })).value;
  return {
    ...b,
    [Symbol.asyncDispose]: () => b.close(),
    hasher,
    clock,
    directory: directory as unknown as Directory,
    open,
    login: async (email, password = PASSWORD, source = SOURCE) => (await open('login', { email, password }, source)) as SessionView,
    by: async (bearer, source = SOURCE) => b.as(await b.core.authenticate(bearer, source)),
    async person(email, ...roles) {
      const { id, name } = await b.cloud.user.create({ name: email, password: PASSWORD });
      if (roles.length > 0) await b.cloud.tenantMember.add({ name, roles });
      return { id, name };
    },
    principal: (email) => b.core.principal(email),
  };
}
