// Long polls: look, and look again after each commit that matters. Whatever ends the wait, nothing of it stays behind: not its timer, not a
// listener on a signal that lives as long as the process.
import { systemClock } from './clock.ts';
import type { Committed } from './store.ts';

export interface Wait<T> {
  onCommit(listener: (committed: Committed) => void): () => void;
  signal: AbortSignal;
  /** Most milliseconds, of real time: somebody waits for the answer. */
  milliseconds: number;
  /** Whether a commit may have changed what `look` sees. */
  concerns(committed: Committed): boolean;
  /** Undefined: not yet. */
  look(): Promise<T | undefined>;
}

/** What `look` found; undefined when time was up first, after one last look. Rejects with the signal's reason, or as `look` does. */
export async function waitFor<T>({ onCommit, signal, milliseconds, concerns, look }: Wait<T>): Promise<T | undefined> {
  let changed = false;
  let over = false;
  let wake = (): void => undefined;
  // Listening begins before the first look, so that a change between the two is not missed.
  const stop = onCommit((committed) => {
    if (!concerns(committed)) return;
    changed = true;
    wake();
  });
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort, { once: true });
  const ended = new AbortController();
  systemClock.sleep(milliseconds, ended.signal).then(
    () => {
      over = true;
      wake();
    },
    () => undefined, // ended before
  );
  try {
    for (;;) {
      const last = over;
      changed = false;
      const found = await look();
      if (found !== undefined) return found;
      signal.throwIfAborted();
      if (last) return undefined;
      if (changed || over) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    stop();
    ended.abort();
    signal.removeEventListener('abort', onAbort);
  }
}
