// Rows of one resource, of one tenant. There is no tenant parameter to forget: a table is bound to its tenant when it is made.
import { type CompiledQuery, sql } from 'kysely';
import { type AnyResource, type Contract, fieldMeta, refIdField } from './contract.ts';
import { type Db, isUniqueViolation, type RowRecord } from './db.ts';
import { Fault } from './errors.ts';
import { newId } from './ids.ts';
import { tableName } from './migrate.ts';
import { nearest } from './near.ts';
import { MAX_PAGE, notACursor, type Page, selectorOf } from './page.ts';
import { adjustQuota, costOf } from './quota.ts';
import { appendEvent, type Unit } from './store.ts';
import { withArticle, words } from './words.ts';

export interface Row<Spec = Record<string, unknown>, Status = Record<string, unknown>> {
  readonly id: string;
  readonly tenantId: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** What is wanted; also fields that the contract does not show. */
  readonly spec: Readonly<Spec>;
  /** What is so. */
  readonly status: Readonly<Status>;
  readonly state: string;
  readonly reason: string | undefined;
  readonly generation: number;
  /** The newest generation that the controller has dealt with. */
  readonly observed: number;
  readonly revision: number;
  readonly operation: string | undefined;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly deletedAt: number | undefined;
}

export type { Page };

export interface Draft {
  name: string;
  labels?: Record<string, string>;
  spec: Record<string, unknown>;
  status?: Record<string, unknown>;
  state?: string;
  /** When it must be known before the row is made. */
  id?: string;
}

export const rowOf = (record: RowRecord): Row => ({
  id: record.id,
  tenantId: record.tenant,
  name: record.name,
  labels: JSON.parse(record.labels),
  spec: JSON.parse(record.spec),
  status: JSON.parse(record.status),
  state: record.state,
  reason: record.reason ?? undefined,
  generation: record.generation,
  observed: record.observed,
  revision: record.revision,
  operation: record.operation ?? undefined,
  createdAt: record.created_at,
  updatedAt: record.updated_at,
  deletedAt: record.deleted_at ?? undefined,
});

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** The queries that nearly every call makes, built once for each table: building one takes several times as long as running it. */
const lookups = new Map<string, CompiledQuery<RowRecord>>();

export class Table {
  readonly #resource: AnyResource;
  readonly #table: `r_${string}`;
  readonly #db: Db;
  readonly #tenantId: string;
  readonly #unit: Unit | undefined;

  /** With a unit: reads and writes inside its transaction. Without: reads only. */
  constructor(contract: Contract, tenantId: string, from: Unit | Db) {
    this.#resource = contract.resource;
    this.#table = tableName(contract.resource.name);
    this.#tenantId = tenantId;
    this.#unit = 'tx' in from ? from : undefined;
    this.#db = 'tx' in from ? from.tx : from;
  }

  get #writing(): Unit {
    if (this.#unit === undefined) throw new Error(`a write to ${this.#table} outside a transaction`);
    return this.#unit;
  }

  /** By name, id, or the beginning of an id that fits only one. */
  async find(target: string): Promise<Row | undefined> {
    const exact = (await this.#lookup('name', target)) ?? (await this.#lookup('id', target));
    if (exact !== undefined) return exact;
    const prefix = `${this.#resource.prefix}-`;
    if (!target.startsWith(prefix) || target.length <= prefix.length || !/^[a-z]+-[0-9a-z]+$/.test(target)) return undefined;
    const begun = await this.#db
      .selectFrom(this.#table)
      .selectAll()
      .where('tenant', '=', this.#tenantId)
      .where('id', '>=', target)
      .where('id', '<', `${target}{`)
      .limit(2)
      .execute();
    if (begun.length > 1) {
      throw new Fault('conflict', `More than one ${words(this.#resource.name)} id begins with ${target}`, { hint: 'write more of the id' });
    }
    return begun[0] === undefined ? undefined : rowOf(begun[0]);
  }

  /** As `find`, or `not_found` with a near match. */
  async get(target: string): Promise<Row> {
    const row = await this.find(target);
    if (row !== undefined) return row;
    throw notFound(this.#resource.name, target, await this.#names());
  }

  byId(id: string): Promise<Row | undefined> {
    return this.#lookup('id', id);
  }

  async #lookup(by: 'name' | 'id', value: string): Promise<Row | undefined> {
    const key = `${this.#table} ${by}`;
    let query = lookups.get(key);
    if (query === undefined) {
      query = this.#db.selectFrom(this.#table).selectAll().where('tenant', '=', '').where(by, '=', '').compile();
      lookups.set(key, query);
    }
    const { rows } = await this.#db.executeQuery<RowRecord>({ ...query, parameters: [this.#tenantId, value] });
    return rows[0] === undefined ? undefined : rowOf(rows[0]);
  }

  async #names(): Promise<string[]> {
    const rows = await this.#db.selectFrom(this.#table).select('name').where('tenant', '=', this.#tenantId).limit(1000).execute();
    return rows.map((row) => row.name);
  }

  /** Oldest first. The cursor is the last row's place, so rows that come or go do not shift a page. */
  async list(page: Page = {}): Promise<{ rows: Row[]; cursor: string | undefined }> {
    const limit = Math.min(page.limit ?? MAX_PAGE, MAX_PAGE);
    let query = this.#db
      .selectFrom(this.#table)
      .selectAll()
      .where('tenant', '=', this.#tenantId)
      .orderBy('created_at')
      .orderBy('id')
      .limit(limit + 1);
    if (page.cursor !== undefined) {
      const [at, id] = readCursor(page.cursor);
      query = query.where((where) => where.or([where('created_at', '>', at), where.and([where('created_at', '=', at), where('id', '>', id)])]));
    }
    for (const selector of page.label ?? []) {
      const { key, value, negated } = selectorOf(selector);
      query = query.where((where) => {
        let labels = where
          .selectFrom('label')
          .select('key')
          .whereRef('label.owner', '=', sql.ref(`${this.#table}.id`))
          .where('label.key', '=', key);
        if (value !== undefined) labels = labels.where('label.value', '=', value);
        const has = where.exists(labels);
        return negated ? where.not(has) : has;
      });
    }
    const records = await query.execute();
    const rows = records.slice(0, limit).map(rowOf);
    const last = rows[rows.length - 1];
    return { rows, cursor: records.length > limit && last !== undefined ? writeCursor(last) : undefined };
  }

  async count(): Promise<number> {
    const { n } = await this.#db
      .selectFrom(this.#table)
      .select((of) => of.fn.countAll<number>().as('n'))
      .where('tenant', '=', this.#tenantId)
      .executeTakeFirstOrThrow();
    return Number(n);
  }

  async insert(draft: Draft): Promise<Row> {
    const unit = this.#writing;
    const record: RowRecord = {
      id: draft.id ?? newId(this.#resource.prefix),
      tenant: this.#tenantId,
      name: draft.name,
      labels: JSON.stringify(draft.labels ?? {}),
      spec: JSON.stringify(draft.spec),
      generation: 1,
      deleted_at: null,
      operation: null,
      status: JSON.stringify(draft.status ?? {}),
      state: draft.state ?? (this.#resource.reconciled ? 'pending' : this.#resource.states[0]),
      reason: null,
      observed: this.#resource.reconciled ? 0 : 1,
      revision: 1,
      created_at: unit.now,
      updated_at: unit.now,
    };
    const taken = await this.#db
      .selectFrom(this.#table)
      .select(['deleted_at'])
      .where('tenant', '=', this.#tenantId)
      .where('name', '=', draft.name)
      .executeTakeFirst();
    if (taken !== undefined) throw this.#taken(draft.name, taken.deleted_at !== null);
    try {
      await this.#db.insertInto(this.#table).values(record).execute();
    } catch (error) {
      throw isUniqueViolation(error) ? this.#taken(draft.name, false) : error;
    }
    const row = rowOf(record);
    await adjustQuota(unit, undefined, costOf(this.#resource, row.spec));
    await this.#writeLabels(row.id, draft.labels ?? {});
    await this.#writeReferences(row);
    await this.#event(row, 'created', `${capital(words(this.#resource.name))} ${row.name} was created`);
    this.#touch(row.id);
    return row;
  }

  #taken(name: string, beingDeleted: boolean): Fault {
    const kind = words(this.#resource.name);
    return beingDeleted
      ? new Fault('conflict', `The ${kind} ${name} is still being deleted`, { hint: 'wait a moment, then try again' })
      : new Fault('conflict', `There is already ${withArticle(this.#resource.name)} named ${name}`, {
          hint: `cloud ${this.#resource.name} get ${name}`,
        });
  }

  /** Changes what is wanted. A change of spec counts a generation; `always` counts one all the same (restart, retry). */
  async update(
    row: Row,
    change: { labels?: Record<string, string> | undefined; spec?: Record<string, unknown>; always?: boolean; message?: string },
  ): Promise<Row> {
    const unit = this.#writing;
    if (row.deletedAt !== undefined) throw new Fault('conflict', `The ${words(this.#resource.name)} ${row.name} is being deleted`);
    const spec: Record<string, unknown> = { ...row.spec, ...change.spec };
    for (const [key, value] of Object.entries(spec)) if (value === null || value === undefined) delete spec[key];
    const specText = JSON.stringify(spec);
    const labels = change.labels ?? row.labels;
    const specChanged = specText !== JSON.stringify(row.spec) || change.always === true;
    const labelsChanged = JSON.stringify(labels) !== JSON.stringify(row.labels);
    if (!specChanged && !labelsChanged) return row;
    const generation = row.generation + (specChanged || labelsChanged ? 1 : 0);
    // Labels are not the controller's business: a change of them alone is done when it is written.
    const observed = specChanged && this.#resource.reconciled ? row.observed : row.observed === row.generation ? generation : row.observed;
    const result = await this.#db
      .updateTable(this.#table)
      .set({ spec: specText, labels: JSON.stringify(labels), generation, observed, revision: row.revision + 1, updated_at: unit.now })
      .where('id', '=', row.id)
      .where('revision', '=', row.revision)
      .executeTakeFirst();
    if (result.numUpdatedRows === 0n)
      throw new Fault('stale', `The ${words(this.#resource.name)} ${row.name} changed at the same moment`, { hint: 'try again' });
    const next: Row = { ...row, spec, labels, generation, observed, revision: row.revision + 1, updatedAt: unit.now };
    if (specChanged) {
      await adjustQuota(unit, costOf(this.#resource, row.spec), costOf(this.#resource, spec));
      await this.#writeReferences(next);
    }
    if (labelsChanged) await this.#writeLabels(row.id, labels);
    await this.#event(next, 'updated', change.message ?? `${capital(words(this.#resource.name))} ${row.name} was changed`);
    this.#touch(row.id);
    return next;
  }

  /** Changes what is so; for controllers, and for the few facts that a transaction of another row decides. `reason: null` clears it. */
  async report(
    row: Row,
    change: { status?: Record<string, unknown>; state?: string; reason?: string | null; observed?: number; message?: string },
  ): Promise<Row> {
    const unit = this.#writing;
    const status: Record<string, unknown> = { ...row.status, ...change.status };
    for (const [key, value] of Object.entries(status)) if (value === undefined || value === null) delete status[key];
    // What was looked at before the delete says nothing about a row that is on its way out.
    const state = row.deletedAt === undefined ? (change.state ?? row.state) : row.state;
    const reason = change.reason === undefined ? row.reason : (change.reason ?? undefined);
    const observed = change.observed ?? row.observed;
    if (state === row.state && reason === row.reason && observed === row.observed && JSON.stringify(status) === JSON.stringify(row.status)) return row;
    const result = await this.#db
      .updateTable(this.#table)
      .set({ status: JSON.stringify(status), state, reason: reason ?? null, observed, revision: row.revision + 1, updated_at: unit.now })
      .where('id', '=', row.id)
      .where('revision', '=', row.revision)
      .executeTakeFirst();
    if (result.numUpdatedRows === 0n) throw new Fault('stale', `The ${words(this.#resource.name)} ${row.name} changed at the same moment`);
    const next: Row = { ...row, status, state, reason, observed, revision: row.revision + 1, updatedAt: unit.now };
    if (state !== row.state) {
      await this.#event(
        next,
        state,
        change.message ??
          `${capital(words(this.#resource.name))} ${row.name} ${state === 'error' ? 'has failed' : `is ${state}`}${reason === undefined ? '' : `: ${reason}`}`,
      );
    }
    this.#touch(row.id, state !== row.state);
    return next;
  }

  async setOperation(row: Row, operation: string): Promise<Row> {
    await this.#db.updateTable(this.#table).set({ operation }).where('id', '=', row.id).execute();
    this.#touch(row.id);
    return { ...row, operation };
  }

  /** Wanted gone: what has a controller is torn down first, anything else goes at once. Refused while something refers to it. */
  async delete(row: Row): Promise<Row> {
    const unit = this.#writing;
    if (row.deletedAt !== undefined) return row;
    await this.#refuseInUse(row);
    if (!this.#resource.reconciled) {
      await this.remove(row);
      return row;
    }
    const next: Row = { ...row, deletedAt: unit.now, state: 'deleting', generation: row.generation + 1, revision: row.revision + 1, updatedAt: unit.now };
    const result = await this.#db
      .updateTable(this.#table)
      .set({ deleted_at: unit.now, state: 'deleting', generation: next.generation, revision: next.revision, updated_at: unit.now })
      .where('id', '=', row.id)
      .where('revision', '=', row.revision)
      .executeTakeFirst();
    if (result.numUpdatedRows === 0n)
      throw new Fault('stale', `The ${words(this.#resource.name)} ${row.name} changed at the same moment`, { hint: 'try again' });
    await this.#event(next, 'deleting', `${capital(words(this.#resource.name))} ${row.name} is being deleted`);
    this.#touch(row.id);
    return next;
  }

  /** The end of the row, and of what it had of quota, labels and references. */
  async remove(row: Row): Promise<void> {
    const unit = this.#writing;
    await this.#db.deleteFrom(this.#table).where('id', '=', row.id).execute();
    await this.#db.deleteFrom('label').where('owner', '=', row.id).execute();
    await this.#db.deleteFrom('reference').where('from_id', '=', row.id).execute();
    await adjustQuota(unit, costOf(this.#resource, row.spec), undefined);
    await this.#event(row, 'deleted', `${capital(words(this.#resource.name))} ${row.name} was deleted`);
    this.#touch(row.id, true);
  }

  async #refuseInUse(row: Row): Promise<void> {
    const users = await this.#db
      .selectFrom('reference')
      .select(['from_kind', 'from_name', 'from_id'])
      .where('to_id', '=', row.id)
      .orderBy('from_name')
      .limit(20)
      .execute();
    const first = users[0];
    if (first === undefined) return;
    const named = users.slice(0, 5).map((user) => `${words(user.from_kind)} ${user.from_name}`);
    const more = users.length > 5 ? ` and ${users.length - 5}${users.length === 20 ? ' or more' : ''} others` : '';
    throw new Fault('conflict', `The ${words(this.#resource.name)} ${row.name} is in use by ${named.join(', ')}${more}`, {
      details: { usedBy: users.map((user) => ({ resource: user.from_kind, name: user.from_name, id: user.from_id })) },
      hint: `cloud ${first.from_kind} delete ${first.from_name}`,
    });
  }

  async #writeLabels(owner: string, labels: Readonly<Record<string, string>>): Promise<void> {
    await this.#db.deleteFrom('label').where('owner', '=', owner).execute();
    const values = Object.entries(labels).map(([key, value]) => ({ owner, key, value }));
    if (values.length > 0) await this.#db.insertInto('label').values(values).execute();
  }

  async #writeReferences(row: Row): Promise<void> {
    await this.#db.deleteFrom('reference').where('from_id', '=', row.id).execute();
    const ids = new Set(strongReferences(this.#resource, row.spec));
    // Nothing keeps itself from being deleted.
    ids.delete(row.id);
    if (ids.size === 0) return;
    await this.#db
      .insertInto('reference')
      .values([...ids].map((to_id) => ({ from_kind: this.#resource.name, from_id: row.id, from_name: row.name, to_id })))
      .execute();
  }

  async #event(row: Row, type: string, message: string): Promise<void> {
    const unit = this.#writing;
    await appendEvent(unit, { type: `${this.#resource.name}.${type}`, resource: this.#resource.name, resourceId: row.id, name: row.name, message });
  }

  #touch(id: string, stateChanged = false): void {
    this.#writing.changes.rows.push({ resource: this.#resource.name, id, tenantId: this.#tenantId, stateChanged });
  }
}

/** Ids that a spec refers to and so keeps from being deleted; `alsoUses` are those that a service found in a text (`@secret:name`). */
function strongReferences(resource: AnyResource, spec: Record<string, unknown>): string[] {
  const ids: string[] = [...((spec['alsoUses'] as string[] | undefined) ?? [])];
  for (const [field, schema] of Object.entries(resource.spec)) {
    const value = spec[field];
    const meta = fieldMeta(schema);
    if (meta.ref !== undefined && meta.weak !== true) {
      const id = spec[refIdField(field, Array.isArray(value))];
      if (typeof id === 'string') ids.push(id);
      else if (Array.isArray(id)) ids.push(...(id as string[]));
    } else if (Array.isArray(value)) {
      // Lists of objects with a reference inside, as `volumes: [{ volume, volumeId, path }]`.
      for (const item of value) {
        if (typeof item !== 'object' || item === null) continue;
        for (const [key, inner] of Object.entries(item)) if (key.endsWith('Id') && typeof inner === 'string' && key.slice(0, -2) in item) ids.push(inner);
      }
    }
  }
  return ids;
}

export function notFound(resource: string, target: string, names: Iterable<string>): Fault {
  const near = nearest(target, names);
  return new Fault('not_found', `There is no ${words(resource)} ${JSON.stringify(target)}${near === undefined ? '' : `; did you mean ${near}?`}`, {
    hint: `cloud ${resource} list`,
    ...(near === undefined ? {} : { details: { near } }),
  });
}

const writeCursor = (row: Row): string => Buffer.from(`${row.createdAt}.${row.id}`).toString('base64url');
function readCursor(cursor: string): [number, string] {
  const match = /^(\d+)\.([a-z]+-[0-9a-z]+)$/.exec(Buffer.from(cursor, 'base64url').toString());
  if (match === null) throw notACursor();
  return [Number(match[1]), match[2] as string];
}
