// Counts refusals of those who did not say who they are, so that a flood of them is a few lines of audit and a number.
const WINDOW_MS = 60_000;
/** Lines a minute from one source. */
const MOST_LINES = 60;
/** Sources counted one by one; the others share a count. */
const MOST_SOURCES = 1000;
const OTHERS = 'other sources';

interface Count {
  ends: number;
  passed: number;
  held: number;
}

export class FloodGuard {
  readonly #counts = new Map<string, Count>();

  /** Whether this one is to be written; if not, it is counted. */
  passes(source: string, now: number): boolean {
    if (this.#counts.size >= MOST_SOURCES && !this.#counts.has(source)) this.#forget(now);
    const of = this.#counts.has(source) || this.#counts.size < MOST_SOURCES ? source : OTHERS;
    let count = this.#counts.get(of);
    // One that holds a number goes only by `take`, or the number would be lost.
    if (count === undefined || (count.ends <= now && count.held === 0)) {
      count = { ends: now + WINDOW_MS, passed: 0, held: 0 };
      this.#counts.set(of, count);
    }
    if (count.passed < MOST_LINES) {
      count.passed++;
      return true;
    }
    count.held++;
    return false;
  }

  #forget(now: number): void {
    for (const [source, { ends, held }] of this.#counts) if (ends <= now && held === 0) this.#counts.delete(source);
  }

  /** Numbers of the minutes that are over (of all, without `now`), which are then forgotten. */
  take(now = Number.POSITIVE_INFINITY): { source: string; held: number }[] {
    const over: { source: string; held: number }[] = [];
    for (const [source, { ends, held }] of this.#counts) {
      if (ends > now) continue;
      this.#counts.delete(source);
      if (held > 0) over.push({ source, held });
    }
    return over;
  }

  /** When the next minute with a number is over; undefined: there is none. */
  get next(): number | undefined {
    let next: number | undefined;
    for (const { ends, held } of this.#counts.values()) if (held > 0 && (next === undefined || ends < next)) next = ends;
    return next;
  }
}
