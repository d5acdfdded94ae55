// The database: SQLite in WAL mode behind kysely, with every statement prepared once, and its failures turned into Faults in one place.
import { existsSync } from 'node:fs';
import Database from 'better-sqlite3';
import { type ColumnType, Kysely, type SqliteDatabase, SqliteDialect, type SqliteStatement, type Transaction } from 'kysely';
import { Fault } from './errors.ts';
import { makeDatabasePrivate } from './files.ts';

/** How every stored resource is kept: API handlers write the first group, controllers the second. */
export interface RowRecord {
  id: string;
  tenant: string;
  name: string;
  labels: string;
  spec: string;
  generation: number;
  deleted_at: number | null;
  operation: string | null;

  status: string;
  state: string;
  reason: string | null;
  observed: number;

  revision: number;
  created_at: number;
  updated_at: number;
}

export interface KernelTables {
  /** One table per resource, `r_<name>`. */
  [resource: `r_${string}`]: RowRecord;
  meta: { key: string; value: string };
  tenant: { id: string; name: string; created_at: number };
  label: { owner: string; key: string; value: string };
  reference: { from_kind: string; from_id: string; from_name: string; to_id: string };
  operation: {
    id: string;
    tenant: string;
    kind: string;
    resource: string;
    resource_id: string;
    name: string;
    generation: number;
    state: string;
    progress: string | null;
    percent: number | null;
    error: string | null;
    request_id: string;
    created_at: number;
    finished_at: number | null;
  };
  event: {
    id: ColumnType<number, never, never>;
    tenant: string;
    time: number;
    type: string;
    resource: string;
    resource_id: string;
    name: string;
    message: string;
    principal: string;
    request_id: string | null;
  };
  audit: {
    id: ColumnType<number, never, never>;
    tenant: string;
    time: number;
    principal: string;
    source: string;
    permission: string;
    target: string | null;
    request_id: string;
    outcome: string;
    seq: number;
    principal_name: string | null;
    credential: string | null;
    target_id: string | null;
    decision: string | null;
    hash: string;
  };
  audit_head: { tenant: string; seq: number; hash: string; first_seq: number; anchor: string; mac: string };
  idempotency: { tenant: string; principal: string; key: string; hash: string; answer: string; created_at: number; expires_at: number };
  /** Which policies apply to whom; of a role `principal_id` is its name. */
  policy_attachment: { tenant: string; policy_id: string; kind: string; principal_id: string };
  quota_limit: { tenant: string; name: string; value: number };
  quota_usage: { tenant: string; name: string; value: number };
}

export type Db = Kysely<KernelTables>;
export type Tx = Transaction<KernelTables>;

/** Kysely asks for a statement with every query; preparing is most of its cost, so each text is prepared once. */
class Prepared implements SqliteDatabase {
  readonly #database: Database.Database;
  readonly #statements = new Map<string, SqliteStatement>();

  constructor(database: Database.Database) {
    this.#database = database;
  }

  prepare(text: string): SqliteStatement {
    // SQLite rolls back by itself when the disk is full; a second rollback would hide that error behind its own.
    if (text === 'rollback' && !this.#database.inTransaction)
      return { reader: false, all: () => [], run: () => ({ changes: 0, lastInsertRowid: 0 }), iterate: () => [].values() };
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      // Texts with lists of varying length are many; the oldest goes.
      if (this.#statements.size >= 500) this.#statements.delete(this.#statements.keys().next().value as string);
      statement = this.#database.prepare(text) as unknown as SqliteStatement;
      this.#statements.set(text, statement);
    }
    return statement;
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }
}

export interface OpenedDb {
  db: Db;
  close(): Promise<void>;
}

/** `durable`: a committed change survives power loss, not only the end of the process. */
export function openDb(file: string, options: { durable: boolean }): OpenedDb {
  let database: Database.Database | undefined;
  try {
    makeDatabasePrivate(file);
    database = new Database(file);
    database.pragma('journal_mode = WAL');
    database.pragma(`synchronous = ${options.durable ? 'FULL' : 'OFF'}`);
    database.pragma('foreign_keys = ON');
    database.pragma('busy_timeout = 500');
    const db = new Kysely<KernelTables>({ dialect: new SqliteDialect({ database: new Prepared(database) }) });
    return { db, close: () => db.destroy() };
  } catch (error) {
    database?.close();
    throw databaseFault(error, existsSync(file) ? file : `${file} (new)`) ?? error;
  }
}

/** What a database failure means to a caller; undefined when the error is not the database's. */
export function databaseFault(error: unknown, where = 'the database'): Fault | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  if (typeof code !== 'string' || !code.startsWith('SQLITE_')) return undefined;
  const options = { cause: error };
  if (code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_WRITE' || code === 'SQLITE_IOERR_SHMSIZE') {
    return new Fault('insufficient_storage', 'The disk that holds the data directory is full; nothing was changed', {
      ...options,
      hint: 'df -h  # free some space, then try again',
    });
  }
  if (code.startsWith('SQLITE_BUSY') || code.startsWith('SQLITE_LOCKED')) {
    return new Fault('unavailable', `Another program holds ${where} locked; nothing was changed`, { ...options, hint: 'try again' });
  }
  if (code.startsWith('SQLITE_READONLY') || code.startsWith('SQLITE_CANTOPEN') || code.startsWith('SQLITE_PERM')) {
    return new Fault('unavailable', `Cannot write to ${where}; nothing was changed`, {
      ...options,
      hint: 'ls -l the data directory: it must belong to this user',
    });
  }
  if (code.startsWith('SQLITE_IOERR'))
    return new Fault('unavailable', `The disk failed while reading or writing ${where}`, { ...options, hint: 'dmesg | tail' });
  if (code === 'SQLITE_NOTADB' || code.startsWith('SQLITE_CORRUPT'))
    return new Fault('unavailable', `${where} is damaged`, { ...options, hint: 'restore the data directory from a backup' });
  return undefined;
}

/** A broken UNIQUE rule, which a service turns into its own sentence. */
export const isUniqueViolation = (error: unknown): boolean => {
  const code = (error as { code?: unknown } | undefined)?.code;
  return code === 'SQLITE_CONSTRAINT_UNIQUE' || code === 'SQLITE_CONSTRAINT_PRIMARYKEY';
};
