// Directories and their durability: a new name survives loss of power only when its directory was synced, and one sync serves all names that were there before it.
import { mkdir, open } from 'node:fs/promises';
import { codeOf } from './errors.ts';

export class DirectorySync {
  readonly #running = new Map<string, { now: Promise<void>; next: Promise<void> | undefined }>();

  readonly #durable: boolean;

  /** Not durable: syncs nothing. */
  constructor(durable: boolean) {
    this.#durable = durable;
  }

  /** Resolves when every name that was in the directory at the call would survive. */
  sync(path: string): Promise<void> {
    if (!this.#durable) return Promise.resolve();
    const running = this.#running.get(path);
    // The one under way may have read the directory before this name was in it; the next one serves all who wait by then.
    if (running !== undefined) return (running.next ??= running.now.catch(() => undefined).then(() => this.#start(path)));
    return this.#start(path);
  }

  #start(path: string): Promise<void> {
    const entry = { now: syncDirectory(path), next: undefined };
    this.#running.set(path, entry);
    const over = () => {
      if (this.#running.get(path) === entry && entry.next === undefined) this.#running.delete(path);
    };
    entry.now.then(over, over);
    return entry.now;
  }
}

export async function syncDirectory(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Mode 0700; whether it was made now. Its parent must be there. */
export async function makeOne(path: string): Promise<boolean> {
  try {
    await mkdir(path, { mode: 0o700 });
    return true;
  } catch (error) {
    if (codeOf(error) === 'EEXIST') return false;
    throw error;
  }
}
