// bcrypt, off the event loop and bounded: a flood of logins must not take all of the pool's threads, which files and names need too.
import bcrypt from 'bcrypt';
import { Fault } from '../../kernel/errors.ts';

const COST = 12;
/** Of libuv's four threads. */
const AT_ONCE = 2;
const MOST_WAITING = 64;
const MOST_BYTES = 72;

/** Replaceable by tests that count. */
export interface Hasher {
  hash(password: string): Promise<string>;
  compare(password: string, hash: string): Promise<boolean>;
}

export const hasher: Hasher = { hash: (password) => bcrypt.hash(password, COST), compare: (password, hash) => bcrypt.compare(password, hash) };

/** Of a random text that nobody has: what a login is compared with when there is nothing to compare it with, so that it takes as long. */
const NOBODY = '$2b$12$fEs1bQ2LoXT/IF1gesSSQekhMAM4fz84x8M1c2QTxi5sAhBJwFDb6';

/** The first thing that is tried is the address, or what stands before the @. Throws `invalid_input`, and does not repeat it. */
export function refuseAddress(password: string, email: string): void {
  const text = password.trim().toLowerCase();
  const address = email.trim().toLowerCase();
  if (text !== address && text !== address.split('@')[0]) return;
  const message = 'a password is not the e-mail address, nor what stands before the @';
  throw new Fault('invalid_input', `password: ${message}`, { details: [{ path: 'password', message }] });
}

export class Passwords {
  readonly #hasher: Hasher;
  readonly #waiting: (() => void)[] = [];
  #running = 0;

  constructor(of: Hasher = hasher) {
    this.#hasher = of;
  }

  hash(password: string): Promise<string> {
    return this.#turn(() => this.#hasher.hash(password));
  }

  /**
   * The same work whether there is a hash or not. `before` and `wrong` belong to its turn: what is counted there, those who wait for theirs see.
   * What `before` throws ends it.
   */
  compare(password: string, hash: string | undefined, { before, wrong }: { before(): Promise<void>; wrong(): Promise<void> }): Promise<boolean> {
    return this.#turn(async () => {
      await before();
      const same = await this.#hasher.compare(password, hash ?? NOBODY);
      // bcrypt looks at nothing beyond, so that anything could follow the right password.
      const right = same && hash !== undefined && Buffer.byteLength(password) <= MOST_BYTES && !password.includes('\0');
      if (!right) await wrong();
      return right;
    });
  }

  async #turn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= AT_ONCE) {
      if (this.#waiting.length >= MOST_WAITING) throw new Fault('rate_limited', 'Too many logins at once; try again', { details: { retryAfter: 2 } });
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#running++;
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}
