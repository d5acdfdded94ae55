// A unit of work: one transaction, what it touched, and what follows once it has committed (waking controllers, forgetting cached answers, telling watchers).
import type { Clock } from './clock.ts';
import { type Db, databaseFault, type Tx } from './db.ts';
import type { FaultBody } from './errors.ts';
import { newId } from './ids.ts';

/** What a committed unit changed. */
export interface Committed {
  /** Resource name, id and tenant of every row written; whether its state changed (those that refer to it may have waited for that). */
  rows: { resource: string; id: string; tenantId: string; stateChanged: boolean }[];
  events: boolean;
  /** Operations whose state or progress changed. */
  operations: string[];
  /** The resource whose controller wrote this: it need not be told to look again. */
  from: string | undefined;
}

/** Everything written in one transaction on behalf of one principal. */
export interface Unit {
  readonly tx: Tx;
  readonly now: number;
  readonly tenantId: string;
  readonly principal: string;
  readonly requestId: string | undefined;
  readonly changes: Committed;
}

export class Store {
  readonly db: Db;
  readonly clock: Clock;
  readonly #versions = new Map<string, number>();
  readonly #listeners = new Set<(committed: Committed) => void>();

  constructor(db: Db, clock: Clock) {
    this.db = db;
    this.clock = clock;
  }

  /** Runs `work` in a transaction; database failures come out as Faults. */
  async transaction<T>(
    by: { tenantId: string; principal: string; requestId?: string | undefined; from?: string },
    work: (unit: Unit) => Promise<T>,
  ): Promise<T> {
    const changes: Committed = { rows: [], events: false, operations: [], from: by.from };
    let result: T;
    try {
      result = await this.db
        .transaction()
        .execute((tx) => work({ tx, now: this.clock.now(), tenantId: by.tenantId, principal: by.principal, requestId: by.requestId, changes }));
    } catch (error) {
      throw databaseFault(error) ?? error;
    }
    for (const { resource, tenantId } of changes.rows) {
      const key = `${tenantId} ${resource}`;
      this.#versions.set(key, this.version(resource, tenantId) + 1);
    }
    for (const listener of this.#listeners) listener(changes);
    return result;
  }

  /** Reads outside a transaction, with the same translation of failures. */
  async read<T>(work: (db: Db) => Promise<T>): Promise<T> {
    try {
      return await work(this.db);
    } catch (error) {
      throw databaseFault(error) ?? error;
    }
  }

  /** Grows with every committed change to a tenant's rows of a resource; equal versions mean equal answers. */
  version(resource: string, tenantId: string): number {
    return this.#versions.get(`${tenantId} ${resource}`) ?? 0;
  }

  /** Called after every commit that changed something; returns the way to stop. */
  onCommit(listener: (committed: Committed) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

export interface EventDraft {
  type: string;
  resource: string;
  resourceId: string;
  name: string;
  message: string;
}

export async function appendEvent(unit: Unit, draft: EventDraft): Promise<void> {
  unit.changes.events = true;
  await unit.tx
    .insertInto('event')
    .values({
      tenant: unit.tenantId,
      time: unit.now,
      type: draft.type,
      resource: draft.resource,
      resource_id: draft.resourceId,
      name: draft.name,
      message: draft.message,
      principal: unit.principal,
      request_id: unit.requestId ?? null,
    })
    .execute();
}

export interface OperationDraft {
  kind: string;
  resource: string;
  resourceId: string;
  name: string;
  generation: number;
  done: boolean;
}

/** Writes the durable promise that `generation` of the resource will be reached, or is already. Returns its id. */
export async function appendOperation(unit: Unit, draft: OperationDraft): Promise<string> {
  const id = newId('op');
  unit.changes.operations.push(id);
  await unit.tx
    .insertInto('operation')
    .values({
      id,
      tenant: unit.tenantId,
      kind: draft.kind,
      resource: draft.resource,
      resource_id: draft.resourceId,
      name: draft.name,
      generation: draft.generation,
      state: draft.done ? 'succeeded' : 'running',
      progress: null,
      percent: null,
      error: null,
      request_id: unit.requestId ?? '',
      created_at: unit.now,
      finished_at: draft.done ? unit.now : null,
    })
    .execute();
  return id;
}

/** Ends what waits for this generation of the resource or an earlier one: succeeded, or failed with the error. */
export async function endOperations(unit: Unit, resourceId: string, generation: number, error: FaultBody | undefined): Promise<void> {
  const open = await unit.tx
    .selectFrom('operation')
    .select('id')
    .where('resource_id', '=', resourceId)
    .where('state', '=', 'running')
    .where('generation', '<=', generation)
    .execute();
  for (const { id } of open) await endOperation(unit, id, error);
}

export async function endOperation(unit: Unit, id: string, error: FaultBody | undefined): Promise<void> {
  unit.changes.operations.push(id);
  await unit.tx
    .updateTable('operation')
    .set({ state: error === undefined ? 'succeeded' : 'failed', error: error === undefined ? null : JSON.stringify(error), finished_at: unit.now })
    .where('id', '=', id)
    .execute();
}
