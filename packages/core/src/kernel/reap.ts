// Leftovers: what a crash between the backend and the database left behind under our label, and no row wants.
import type { Clock } from './clock.ts';
import type { Contract } from './contract.ts';
import type { Log } from './log.ts';
import { tableName } from './migrate.ts';
import type { Controller } from './service.ts';
import type { Store } from './store.ts';

/** Younger things in the backend are left alone: their row may just not be visible yet. */
const GRACE_MS = 30_000;

export interface Reaping {
  contract: Contract;
  reap: NonNullable<Controller<Contract>['reap']>;
  store: Store;
  clock: Clock;
  log: Log;
  signal: AbortSignal;
}

/** Looks once. Never rejects: what could not be looked at or removed is logged, and met again at the next look. */
export async function reapLeftovers({ contract, reap, store, clock, log, signal }: Reaping): Promise<void> {
  const resource = contract.resource.name;
  const warn = (error: unknown, text: string, more: object = {}): void => {
    if (!signal.aborted) log.warn({ resource, ...more, error: error instanceof Error ? error.message : String(error) }, text);
  };
  try {
    for (const { id, createdAt } of await reap.list()) {
      if (clock.now() - createdAt < GRACE_MS) continue;
      const row = await store.read((db) => db.selectFrom(tableName(resource)).select('id').where('id', '=', id).executeTakeFirst());
      if (row !== undefined || signal.aborted) continue;
      log.warn({ resource, id }, 'removing a leftover that no row wants');
      // One that cannot go yet (a network that another leftover sits on) must not keep the others.
      await reap.remove(id, signal).catch((error: unknown) => warn(error, 'could not remove a leftover', { id }));
    }
  } catch (error) {
    warn(error, 'could not look for leftovers');
  }
}
