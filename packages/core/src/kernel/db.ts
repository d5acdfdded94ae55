// The database: SQLite in WAL mode behind kysely, with every statement prepared once, and its failures turned into Faults in one place.
//
// SQLite syncs on the thread that calls it, which is the one that serves everybody; so it runs with `synchronous = NORMAL`, which syncs all that keeps the database
// whole (around checkpoints, and the first header of a log) but not the log at each commit, and that sync is ours, on another thread. Nobody uses the connection
// meanwhile: what is committed is seen, told and answered only when it lasts, as with `FULL`.
import { closeSync, existsSync, fdatasync, fsyncSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import {
  type ColumnType,
  type CompiledQuery,
  type DatabaseConnection,
  type Driver,
  Kysely,
  type QueryResult,
  SqliteAdapter,
  SqliteDialect,
  SqliteDriver,
  type Transaction,
} from 'kysely';
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

const syncFile = promisify(fdatasync);
/** Texts with lists of varying length are many; the oldest goes. */
const MOST_STATEMENTS = 500;

/** The only one that there is, so kysely lets one query or transaction have it at a time. */
class Connection implements DatabaseConnection {
  readonly #database: Database.Database;
  /** Preparing is most of the cost of a query, so each text is prepared once. */
  readonly #statements = new Map<string, Database.Statement<unknown[]>>();
  /** Of the log; undefined when nothing need last. */
  readonly #sync: (() => Promise<void>) | undefined;
  #inTransaction = false;
  /** Something was written that is not synced. */
  #dirty = false;
  /** It is being synced. */
  #syncing = false;
  /** After a sync that failed nobody knows what is on the disk, and syncing again would not tell. */
  #broken: Error | undefined;

  constructor(database: Database.Database, sync: (() => Promise<void>) | undefined) {
    this.#database = database;
    this.#sync = sync;
  }

  #prepare(text: string): Database.Statement<unknown[]> {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      if (this.#statements.size >= MOST_STATEMENTS) this.#statements.delete(this.#statements.keys().next().value as string);
      statement = this.#database.prepare<unknown[]>(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  async executeQuery<R>({ sql, parameters }: CompiledQuery): Promise<QueryResult<R>> {
    if (sql === 'rollback') {
      this.#dirty = false;
      this.#inTransaction = false;
      // SQLite rolls back by itself when the disk is full; a second rollback would hide that error behind its own.
      if (!this.#database.inTransaction) return { rows: [] };
    } else if (this.#broken !== undefined) throw this.#broken;
    const statement = this.#prepare(sql);
    let result: QueryResult<R>;
    if (statement.reader) result = { rows: statement.all(parameters) as R[] };
    else {
      const { changes, lastInsertRowid } = statement.run(parameters);
      result = { insertId: BigInt(lastInsertRowid), numAffectedRows: BigInt(changes), rows: [] };
    }
    if (sql === 'begin') this.#inTransaction = true;
    else if (sql === 'commit') this.#inTransaction = false;
    else if (!statement.readonly) this.#dirty = true;
    if (this.#dirty && !this.#inTransaction) await this.#last();
    return result;
  }

  async *streamQuery<R>({ sql, parameters }: CompiledQuery): AsyncGenerator<QueryResult<R>> {
    if (this.#broken !== undefined) throw this.#broken;
    for (const row of this.#prepare(sql).iterate(parameters)) yield { rows: [row as R] };
  }

  /**
   * A statement that can be run in this very moment: any one in the transaction that is under way, and one that only reads while there is none and all that was
   * committed lasts. Undefined: wait for your turn, by `executeQuery` of the database.
   */
  now(text: string, inTransaction: boolean): Database.Statement<unknown[]> | undefined {
    if (this.#inTransaction !== inTransaction || this.#syncing) return undefined;
    if (this.#broken !== undefined) throw this.#broken;
    const statement = this.#prepare(text);
    if (statement.readonly) return statement;
    if (!inTransaction) return undefined;
    this.#dirty = true;
    return statement;
  }

  /** Resolves when what was committed would survive loss of power. */
  async #last(): Promise<void> {
    this.#dirty = false;
    if (this.#sync === undefined) return;
    this.#syncing = true;
    try {
      await this.#sync();
    } catch (error) {
      this.#broken = Object.assign(new Error('The log of the database could not be synced', { cause: error }), { code: 'SQLITE_IOERR_FSYNC' });
      throw this.#broken;
    } finally {
      this.#syncing = false;
    }
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }
}

class OneConnection extends SqliteDriver {
  readonly #connection: Connection;
  readonly #closed: () => void;

  constructor(database: Database.Database, sync: (() => Promise<void>) | undefined, closed: () => void) {
    super({ database });
    this.#connection = new Connection(database, sync);
    this.#closed = closed;
  }

  get connection(): Connection {
    return this.#connection;
  }
  override acquireConnection(): Promise<DatabaseConnection> {
    return Promise.resolve(this.#connection);
  }
  override async destroy(): Promise<void> {
    this.#connection.close();
    this.#closed();
  }
}

/** What a database and its transactions have in common: by it the connection is found that both use. */
class Adapter extends SqliteAdapter {
  readonly connection: Connection;

  constructor(connection: Connection) {
    super();
    this.connection = connection;
  }
}

class Dialect extends SqliteDialect {
  readonly #driver: OneConnection;

  constructor(database: Database.Database, driver: OneConnection) {
    super({ database });
    this.#driver = driver;
  }
  override createDriver(): Driver {
    return this.#driver;
  }
  override createAdapter(): Adapter {
    return new Adapter(this.#driver.connection);
  }
}

/**
 * A statement to be run by the caller at once, without the turns of promises that every query of kysely takes: in a transaction always, on the database itself
 * if it only reads and nobody has a transaction. Undefined: use `executeQuery`, which waits.
 */
export function statementNow(db: Db | Tx, text: string): Database.Statement<unknown[]> | undefined {
  const { adapter } = db.getExecutor();
  return adapter instanceof Adapter ? adapter.connection.now(text, db.isTransaction) : undefined;
}

/** Ours, beside SQLite's: opened when there is something to sync. Closing it takes no lock away, since SQLite holds none on its log. */
class LogFile {
  readonly #path: string;
  #file: number | undefined;

  constructor(path: string) {
    this.#path = path;
  }

  async sync(): Promise<void> {
    if (this.#file === undefined) {
      this.#file = openSync(this.#path, 'r+');
      syncDirectory(dirname(this.#path));
    }
    await syncFile(this.#file);
  }
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}

/** The log was just made, maybe. */
function syncDirectory(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
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
    database.pragma(`synchronous = ${options.durable ? 'NORMAL' : 'OFF'}`);
    // A log that is left was maybe never synced, though it can be read: what is written behind it would be lost with it. So it goes into the database first.
    if (options.durable) database.pragma('wal_checkpoint(TRUNCATE)');
    database.pragma('foreign_keys = ON');
    database.pragma('busy_timeout = 500');
    const opened = database;
    const log = new LogFile(`${file}-wal`);
    const driver = new OneConnection(opened, options.durable ? () => log.sync() : undefined, () => log.close());
    const db = new Kysely<KernelTables>({ dialect: new Dialect(database, driver) });
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
  if (code === 'SQLITE_IOERR_FSYNC') {
    return new Fault('unavailable', 'The disk did not confirm the last changes; nothing is read or written until the daemon is restarted', {
      ...options,
      hint: 'dmesg | tail  # then cloud daemon stop && cloud daemon start, and look whether the last change is there',
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
