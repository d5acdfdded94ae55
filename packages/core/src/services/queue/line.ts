// Receivers that wait for a message. In each queue they stand in line by the time at which they came, and only the first one looks:
// when something of the queue was committed, and when the next message becomes visible. So a message wakes one receiver and not all of them.
import type { Clock } from '../../kernel/clock.ts';

interface Waiter {
  readonly since: number;
  wake(): void;
  /** The one before it is about to take what there is; look only for what comes later, until that is committed. */
  afterAnother: boolean;
}

export interface Waiting {
  queueId: string;
  since: number;
  /** Unix milliseconds. */
  deadline: number;
  signal: AbortSignal;
  /** When the next message can be received, among those that can not yet (`later`) or among all. */
  next(later: boolean): Promise<number | undefined>;
}

export class Lines {
  readonly #clock: Clock;
  readonly #lines = new Map<string, Waiter[]>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Something of this queue was committed. */
  changed(queueId: string): void {
    const first = this.#lines.get(queueId)?.[0];
    if (first === undefined) return;
    first.afterAnother = false;
    first.wake();
  }

  /** Resolves when it is this receiver's turn to take a message, or at the deadline. Rejects with the signal's reason. */
  async turn({ queueId, since, deadline, signal, next }: Waiting): Promise<void> {
    const waiter: Waiter = { since, wake: () => undefined, afterAnother: false };
    const line = this.#lines.get(queueId) ?? [];
    this.#lines.set(queueId, line);
    const place = line.findIndex((other) => other.since > since);
    line.splice(place < 0 ? line.length : place, 0, waiter);
    let taking = false;
    try {
      while (!taking) {
        signal.throwIfAborted();
        // Made before the look, so that a commit between the look and the sleep ends the sleep.
        const woken = new AbortController();
        waiter.wake = () => woken.abort();
        let until = deadline;
        if (line[0] === waiter) {
          const at = await next(waiter.afterAnother);
          taking = at !== undefined && at <= this.#clock.now();
          until = Math.min(deadline, at ?? deadline);
        }
        const now = this.#clock.now();
        if (taking || now >= deadline) return;
        if (until > now) await this.#sleep(until - now, signal, woken.signal);
      }
    } finally {
      const wasFirst = line[0] === waiter;
      line.splice(line.indexOf(waiter), 1);
      const [first] = line;
      if (first === undefined) this.#lines.delete(queueId);
      else if (wasFirst) {
        first.afterAnother = taking;
        first.wake();
      }
    }
  }

  async #sleep(ms: number, signal: AbortSignal, woken: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(ms, AbortSignal.any([signal, woken]));
    } catch (error) {
      if (!woken.aborted || signal.aborted) throw error;
    }
  }
}
