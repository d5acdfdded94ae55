// bcrypt, off the event loop and bounded: a flood of logins must not take all of the pool's threads, which files and names need too.
import bcrypt from 'bcrypt';
import { Fault } from '../../kernel/errors.ts';

const COST = 12;
/** Of libuv's four threads. */
const AT_ONCE = 2;
const MOST_WAITING = 64;

/** Replaceable by tests that count. */
export interface Hasher {
  hash(password: string): Promise<string>;
  compare(password: string, hash: string): Promise<boolean>;
}

export const hasher: Hasher = { hash: (password) => bcrypt.hash(password, COST), compare: (password, hash) => bcrypt.compare(password, hash) };

/** Of a random text that nobody has: what a login is compared with when there is nothing to compare it with, so that it takes as long. */
const NOBODY = '$2b$12$fEs1bQ2LoXT/IF1gesSSQekhMAM4fz84x8M1c2QTxi5sAhBJwFDb6';

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

  /** The same work whether there is a hash or not. */
  async compare(password: string, hash: string | undefined): Promise<boolean> {
    const same = await this.#turn(() => this.#hasher.compare(password, hash ?? NOBODY));
    return same && hash !== undefined;
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
