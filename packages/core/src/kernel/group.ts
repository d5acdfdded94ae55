// Group commit: works that come while a transaction is being made share the next one, and with it the one sync to disk that makes them all last.
// Each runs in a savepoint of its own, so that one which throws takes nothing of the others with it.
import type { AuditLog } from './audit.ts';
import { Fault } from './errors.ts';
import { run } from './sql.ts';
import type { Store, Unit } from './store.ts';

export interface SubmittedBy {
  /** Whose rows, quotas and events it works on. */
  tenantId: string;
  principal: string;
  requestId?: string | undefined;
}

interface Entry {
  by: SubmittedBy;
  work: (unit: Unit) => Promise<unknown>;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

/** Works in one transaction: more would make the first of them wait too long. */
const MOST = 64;
const begin = 'savepoint work';
const undo = 'rollback to work';
const end = 'release work';

export class GroupCommit {
  readonly #store: Store;
  readonly #audit: Pick<AuditLog, 'gather'>;
  #waiting: Entry[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(store: Store, audit: Pick<AuditLog, 'gather'>) {
    this.#store = store;
    this.#audit = audit;
  }

  /**
   * Resolves with what `work` returned when that has been committed, and lasts. Rejects with what it threw, or with what the database failed with; nothing of
   * it has happened then. It must not wait for anything but the database: everybody else waits with it.
   */
  submit<T>(by: SubmittedBy, work: (unit: Unit) => Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(new Fault('unavailable', 'The daemon is stopping', { hint: 'cloud daemon start' }));
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ by, work, resolve: resolve as (value: unknown) => void, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    // Those who submit in the same turn of the event loop go together.
    await new Promise<void>((resolve) => setImmediate(resolve));
    while (this.#waiting.length > 0) {
      await this.#commit(this.#waiting.splice(0, MOST));
      // Answers go out, and requests come in, before the next one begins.
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    this.#running = undefined;
  }

  async #commit(entries: Entry[]): Promise<void> {
    const done: { entry: Entry; value: unknown }[] = [];
    const failed: { entry: Entry; error: unknown }[] = [];
    try {
      await this.#store.transaction({ tenantId: '', principal: 'system' }, async (whole) => {
        const lines = this.#audit.gather(whole.tx);
        for (const entry of entries) {
          const before = lines.length;
          const changes = { ...whole.changes, rows: [], events: false, operations: [] };
          await run(whole.tx, begin);
          try {
            const { tenantId, principal, requestId } = entry.by;
            const value = await entry.work({ tx: whole.tx, now: this.#store.clock.now(), tenantId, principal, requestId, changes });
            await run(whole.tx, end);
            whole.changes.rows.push(...changes.rows);
            whole.changes.operations.push(...changes.operations);
            whole.changes.events ||= changes.events;
            done.push({ entry, value });
          } catch (error) {
            // Where the database has given up the whole transaction (a full disk), this throws as well, and all of them have failed.
            await run(whole.tx, undo);
            await run(whole.tx, end);
            lines.length = before;
            failed.push({ entry, error });
          }
        }
        await lines.write();
      });
    } catch (error) {
      for (const { entry } of done) entry.reject(error);
      const known = new Set(done.map(({ entry }) => entry));
      for (const entry of entries) if (!known.has(entry)) entry.reject(failed.find((each) => each.entry === entry)?.error ?? error);
      return;
    }
    for (const { entry, value } of done) entry.resolve(value);
    for (const { entry, error } of failed) entry.reject(error);
  }

  /** Takes no more, and resolves when all that was taken has ended. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }
}
