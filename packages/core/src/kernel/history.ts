// What is kept for a while and then goes: stored answers, ended operations, old events, and audit lines after a time of their own.
import type { AuditLog } from './audit.ts';
import type { Bound } from './bound.ts';
import type { Clock } from './clock.ts';
import type { Log } from './log.ts';
import type { Store } from './store.ts';

const PRUNE_MS = 60 * 60 * 1000;
/** Ended operations and events older than this go. */
const HISTORY_MS = 30 * 24 * 60 * 60 * 1000;

/** About once an hour, until aborted. */
export async function pruneForever({
  store,
  clock,
  log,
  bound,
  audit,
  signal,
}: {
  store: Store;
  clock: Clock;
  log: Log;
  bound: ReadonlyMap<string, Bound>;
  audit: AuditLog;
  signal: AbortSignal;
}): Promise<void> {
  for (;;) {
    try {
      const now = clock.now();
      await store.transaction({ tenantId: '', principal: 'system' }, async ({ tx }) => {
        await tx.deleteFrom('idempotency').where('expires_at', '<=', now).execute();
        await tx
          .deleteFrom('operation')
          .where('finished_at', '<', now - HISTORY_MS)
          .execute();
        // The newest event stays: its id is what the next one counts on from.
        await tx
          .deleteFrom('event')
          .where('time', '<', now - HISTORY_MS)
          .where('id', '<', (of) => of.selectFrom('event').select((last) => last.fn.max('id').as('id')) as never)
          .execute();
      });
      for (const { service } of bound.values()) await service.prune?.(now);
      await audit.prune(now, signal);
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ error: String(error) }, 'could not clean up');
    }
    try {
      await clock.sleep(PRUNE_MS, signal);
    } catch {
      return; // stopping
    }
  }
}
