// How often. Counted in memory, by address or principal, in fixed windows; a flood of addresses costs no more memory than the most that are counted.
// oxlint-disable-next-line triple-slash-reference -- an untyped module can be declared in no other way
/// <reference path="./rate-limiter-memory.d.ts" />
import { Fault } from '@thecloud/core/contracts';
import RateLimiterMemory from 'rate-limiter-flexible/lib/RateLimiterMemory.js';

/** Where a caller stands, for the headers `RateLimit-*`. */
export interface Standing {
  limit: number;
  remaining: number;
  /** Seconds until the window ends. */
  reset: number;
}

const MOST_KEYS = 10_000;

export class Allowance {
  readonly #limiter: RateLimiterMemory;
  readonly #points: number;
  readonly #what: string;
  readonly #mostKeys: number;
  /** Least recently used first. Over the most, that one starts anew. */
  readonly #keys = new Set<string>();

  /** `what` is what there are too many of. */
  constructor(what: string, { points, seconds, mostKeys = MOST_KEYS }: { points: number; seconds: number; mostKeys?: number }) {
    this.#limiter = new RateLimiterMemory({ points, duration: seconds });
    this.#points = points;
    this.#what = what;
    this.#mostKeys = mostKeys;
  }

  /** Counts one. Rejects with `rate_limited` when it is one too many. */
  async take(key: string): Promise<Standing> {
    await this.#use(key);
    // Consuming rejects with the same facts that it resolves with; counting does not.
    const { consumedPoints, msBeforeNext } = await this.#limiter.penalty(key);
    const standing = { limit: this.#points, remaining: Math.max(0, this.#points - consumedPoints), reset: seconds(msBeforeNext) };
    if (consumedPoints > this.#points) throw this.#tooMany(standing);
    return standing;
  }

  /** Counts one, whatever the count. */
  async note(key: string): Promise<void> {
    await this.#use(key);
    await this.#limiter.penalty(key);
  }

  /** Rejects with `rate_limited` when the next would be one too many. */
  async check(key: string): Promise<void> {
    const found = await this.#limiter.get(key);
    if (found === null || found.consumedPoints < this.#points || found.msBeforeNext <= 0) return;
    throw this.#tooMany({ limit: this.#points, remaining: 0, reset: seconds(found.msBeforeNext) });
  }

  async #use(key: string): Promise<void> {
    this.#keys.delete(key);
    this.#keys.add(key);
    if (this.#keys.size <= this.#mostKeys) return;
    const [oldest = ''] = this.#keys;
    this.#keys.delete(oldest);
    await this.#limiter.delete(oldest);
  }

  #tooMany({ limit, reset }: Standing): Fault {
    return new Fault('rate_limited', `Too many ${this.#what}; try again in ${reset} s`, { details: { retryAfter: reset, limit } });
  }
}

const seconds = (milliseconds: number): number => Math.max(1, Math.ceil(milliseconds / 1000));

/** The limits of a listener that others than the owner can reach. */
export interface Limits {
  /** Of an address, for what anybody may ask, by the operation's name. */
  anonymous(operation: string): Allowance;
  /** Of an address: tokens and keys that were refused. */
  refused: Allowance;
  /** Of a principal, or of an address without one. Undefined: as many as they like. */
  calls: Allowance | undefined;
}

/** Operations that take what a program keeps, in place of what a person thought of. */
const RANDOM = new Set(['refresh', 'clientToken']);

/** Calls a second, sustained, of one principal over TCP. */
const RATE_LIMIT = 200;
/** A burst may be as much as that many seconds of the sustained rate. */
const BURST_SECONDS = 5;

/** `rate` in calls a second; 0 for no limit. */
export function limitsOf(rate = RATE_LIMIT): Limits {
  const typed = new Allowance('attempts from this address', { points: 20, seconds: 60 });
  // 256 random bits: there is nothing to guess, and many programs may share an address.
  const random = new Allowance('tokens were asked for from this address', { points: 120, seconds: 60 });
  return {
    anonymous: (operation) => (RANDOM.has(operation) ? random : typed),
    refused: new Allowance('credentials from this address were refused', { points: 30, seconds: 60 }),
    calls: rate === 0 ? undefined : new Allowance('calls', { points: rate * BURST_SECONDS, seconds: BURST_SECONDS }),
  };
}
