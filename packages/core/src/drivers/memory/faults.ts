// Trouble on demand for the memory backend: fail a verb, make it slow, or do what it asks and lose the answer.
import type { Clock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';

interface Fault {
  pattern: string;
  left: number;
  kind: 'fail' | 'lose';
  error: DriverError;
}

/**
 * Verbs are named `<port>.<method>`: `compute.ensure`, `volume.remove`. A pattern is such a name, `compute.*` or `*`.
 * Faults apply in the order in which they were asked for; each is used up by `times` calls.
 */
export class Faults {
  readonly #clock: Clock;
  #faults: Fault[] = [];
  #slow = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The next `times` calls do nothing and throw. */
  fail(pattern: string, times = 1, error = new DriverError('unavailable', 'The memory backend was told to be away')): void {
    this.#faults.push({ pattern, left: times, kind: 'fail', error });
  }

  /** The next `times` calls do what they should and then throw, as when a connection breaks before the answer. */
  lose(pattern: string, times = 1, error = new DriverError('unavailable', 'The memory backend was told to lose its answer')): void {
    this.#faults.push({ pattern, left: times, kind: 'lose', error });
  }

  /** Every call takes `milliseconds` longer from now on; 0 ends it. */
  slow(pattern: string, milliseconds: number): void {
    if (milliseconds > 0) this.#slow.set(pattern, milliseconds);
    else this.#slow.delete(pattern);
  }

  clear(): void {
    this.#faults = [];
    this.#slow.clear();
  }

  /** Wraps one call of a driver's verb. An aborted signal ends the waiting of a slow call before anything was done. */
  async run<T>(verb: string, signal: AbortSignal | undefined, call: () => T | Promise<T>): Promise<T> {
    signal?.throwIfAborted();
    const delay = Math.max(0, ...[...this.#slow].filter(([pattern]) => matches(pattern, verb)).map(([, ms]) => ms));
    if (delay > 0) await this.#clock.sleep(delay, signal);
    const fault = this.#faults.find((each) => each.left > 0 && matches(each.pattern, verb));
    if (fault !== undefined) {
      fault.left -= 1;
      if (fault.left === 0) this.#faults = this.#faults.filter((each) => each !== fault);
    }
    if (fault?.kind === 'fail') throw fault.error;
    const answer = await call();
    if (fault?.kind === 'lose') throw fault.error;
    return answer;
  }
}

const matches = (pattern: string, verb: string): boolean =>
  pattern === '*' || pattern === verb || (pattern.endsWith('.*') && verb.startsWith(pattern.slice(0, -1)));
