// Small blobs, as rows of an SQLite database of their own. Whoever comes while a batch is being synced is in the next one: one sync for all of them.
//
// Why it is sound that SQLite runs with `synchronous = OFF` here. SQLite syncs on the thread that calls it, which is the one that serves everybody; so it is told
// to sync nothing, and we do it, asynchronously, at the places where it would. All writing is done by one loop, so nothing is written while it waits:
//  - A batch is committed to the log (`-wal`), and nobody is answered before `fdatasync` of the log is back. Recovery replays the log up to its last whole
//    commit, so everything that was answered is in it.
//  - A checkpoint never runs by itself (`wal_autocheckpoint = 0`). Ours finds the log synced, copies it into the database (PASSIVE), syncs the database, and only
//    then empties the log (TRUNCATE, which has nothing left to copy) and syncs that. Power lost before the database is synced: the log is still there, whole, and
//    is replayed. Lost afterwards: the database is whole without it.
//  - The log is emptied before new frames come: then an old header with new frames behind it, which is what SQLite syncs the header against, cannot be. Under
//    load it is emptied by zeros over its header (RESTART instead of TRUNCATE): recovery takes no log without one, and old frames behind new ones do not fit the
//    new header. The file keeps its length, because syncing one that grows takes more than twice as long. Where emptying fails after the copying succeeded,
//    nothing is written any more.
//  - `locking_mode = EXCLUSIVE` keeps every other program from writing, and from reading a log that has to be emptied.
//  - Opening runs with `synchronous = FULL`: recovery, and the making of a new database.
import { closeSync, fdatasync, fstatSync, openSync, writeSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import type { Clock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';
import type { StoredBlob } from '../../services/bucket/driver.ts';
import { codeOf, driverError } from './errors.ts';

const syncFile = promisify(fdatasync);

/** One transaction holds the event loop no longer than this many bytes take. */
const TRANSACTION_BYTES = 1024 * 1024;
/** So long a log is copied into the database. */
const LOG_BYTES = 4 * 1024 * 1024;
const PAGE_BYTES = 4096;
/** A page in the log, with the header of its frame. */
const FRAME_BYTES = PAGE_BYTES + 24;
const NO_HEADER = Buffer.alloc(32);
/** Free pages of the database are used by what comes next, so they are given back to the disk only when nothing comes, or when they are many. */
const IDLE_MILLISECONDS = 1000;
const FEW_FREE_PAGES = 64;
const MANY_FREE_PAGES = 4096;
const PAGES_AT_ONCE = 256;
/** Blobs removed between two looks at how many pages are free. */
const LOOK_AFTER = 1000;

interface Write {
  put?: { id: string; bytes: Buffer };
  remove?: readonly string[];
  /** Ids of `remove` that were there. */
  removed: string[];
  bytes: number;
  error: unknown;
  resolve: () => void;
  reject: (error: unknown) => void;
}

export interface SmallOptions {
  file: string;
  clock: Clock;
  log: Log;
  /** False: nothing is synced, and what was answered may be lost with the power. */
  durable: boolean;
  /** Tells a full disk from a broken one, where SQLite does not. */
  probe: () => Promise<DriverError | undefined>;
}

export class SmallBlobs {
  readonly #options: SmallOptions;
  readonly #database: Database.Database;
  /** Ours, beside SQLite's. They are closed after SQLite's: a file's locks go with the first descriptor that a process closes. */
  readonly #logFile: number;
  readonly #databaseFile: number;
  readonly #statements;
  #queue: Write[] = [];
  #running: Promise<void> | undefined;
  #idle: ReturnType<typeof setTimeout> | undefined;
  #removedSince = false;
  #removals = 0;
  #closed = false;
  /** After a sync that failed nobody knows what is on the disk, and syncing again would not tell. */
  #broken: DriverError | undefined;

  constructor(options: SmallOptions) {
    this.#options = options;
    const { file } = options;
    closeSync(openSync(file, 'a', 0o600));
    const database = new Database(file);
    try {
      database.pragma('busy_timeout = 500');
      database.pragma('locking_mode = EXCLUSIVE');
      database.pragma(`page_size = ${PAGE_BYTES}`);
      database.pragma('auto_vacuum = INCREMENTAL');
      database.pragma('journal_mode = WAL');
      database.pragma('synchronous = FULL');
      database.pragma('wal_autocheckpoint = 0');
      database.exec('create table if not exists blob (id text primary key, at integer not null, bytes blob not null)');
      database.pragma('wal_checkpoint(TRUNCATE)');
      database.pragma('synchronous = OFF');
      this.#statements = {
        insert: database.prepare<[string, number, Buffer]>('insert into blob (id, at, bytes) values (?, ?, ?) on conflict (id) do nothing'),
        remove: database.prepare<[string]>('delete from blob where id = ?'),
        get: database.prepare<[string], { bytes: Buffer }>('select bytes from blob where id = ?'),
        list: database.prepare<[string, number], StoredBlob>('select id, length(bytes) as bytes, at as createdAt from blob where id > ? order by id limit ?'),
        begin: database.prepare('begin immediate'),
        commit: database.prepare('commit'),
        rollback: database.prepare('rollback'),
        frames: database.prepare<[], { log: number }>('pragma wal_checkpoint(NOOP)'),
      };
      this.#logFile = openSync(`${file}-wal`, 'r+');
      this.#databaseFile = openSync(file, 'r+');
    } catch (error) {
      database.close();
      throw error;
    }
    this.#database = database;
  }

  /** Resolves when it would survive loss of power. */
  put(id: string, bytes: Buffer): Promise<void> {
    return new Promise((resolve, reject) => this.#enqueue({ put: { id, bytes }, bytes: bytes.length, resolve, reject, removed: [], error: undefined }));
  }

  /** Those that were there. */
  remove(ids: readonly string[]): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      const write: Write = { remove: ids, bytes: 256 * ids.length, resolve: () => resolve(write.removed), reject, removed: [], error: undefined };
      this.#enqueue(write);
    });
  }

  get(id: string): Buffer | undefined {
    try {
      return this.#statements.get.get(id)?.bytes;
    } catch (error) {
      throw driverError(error, 'Cannot read from the database of small blobs');
    }
  }

  list(after: string, limit: number): StoredBlob[] {
    try {
      return this.#statements.list.all(after, limit);
    } catch (error) {
      throw driverError(error, 'Cannot list the database of small blobs');
    }
  }

  /** Why nothing can be written any more. */
  get broken(): DriverError | undefined {
    return this.#broken;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#idle);
    await this.#running;
    try {
      if (this.#broken === undefined) await this.#checkpoint('TRUNCATE');
    } catch (error) {
      this.#options.log.warn({ err: error }, 'the log of small blobs could not be copied into their database; the next start does it');
    } finally {
      // Closing, SQLite copies what is left of the log by itself.
      if (this.#options.durable) this.#database.pragma('synchronous = FULL');
      this.#database.close();
      closeSync(this.#logFile);
      closeSync(this.#databaseFile);
    }
  }

  #enqueue(write: Write): void {
    if (this.#broken !== undefined) return write.reject(this.#broken);
    if (this.#closed) return write.reject(new DriverError('unavailable', 'The object store was closed'));
    this.#queue.push(write);
    this.#start();
  }

  #start(): void {
    clearTimeout(this.#idle);
    this.#running ??= this.#run()
      .catch((error: unknown) => {
        this.#options.log.error({ err: error }, 'the database of small blobs could not be tidied');
      })
      .finally(() => {
        this.#running = undefined;
        if (this.#broken !== undefined) this.#refuseAll(this.#broken);
        else if (this.#queue.length > 0) this.#start();
        else if (!this.#closed) this.#idle = setTimeout(() => this.#rest(), IDLE_MILLISECONDS).unref();
      });
  }

  async #run(): Promise<void> {
    // Those who come in the same turn of the event loop share the first batch.
    await turn();
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      await this.#write(batch);
      if (this.#broken !== undefined) return;
      if (this.#removals > LOOK_AFTER) {
        if (this.#freePages() > Math.max(MANY_FREE_PAGES, this.#pages() / 4)) this.#trim();
        else this.#removals = 0;
      }
      if (this.#logBytes() > LOG_BYTES) await this.#checkpoint('RESTART');
    }
  }

  async #write(batch: Write[]): Promise<void> {
    for (let at = 0; at < batch.length; ) {
      const from = at;
      for (let bytes = 0; at < batch.length && (at === from || bytes + (batch[at] as Write).bytes <= TRANSACTION_BYTES); at += 1)
        bytes += (batch[at] as Write).bytes;
      await this.#transaction(batch.slice(from, at));
      if (at < batch.length) await turn();
    }
    try {
      if (batch.some(({ error }) => error === undefined)) await this.#sync(this.#logFile);
    } catch (error) {
      this.#break(error);
      for (const write of batch) write.reject(this.#broken);
      return;
    }
    for (const write of batch) {
      if (write.error === undefined) write.resolve();
      else write.reject(write.error);
    }
  }

  async #transaction(writes: readonly Write[]): Promise<void> {
    const now = this.#options.clock.now();
    try {
      this.#statements.begin.run();
      for (const write of writes) {
        if (write.put !== undefined) {
          const { changes } = this.#statements.insert.run(write.put.id, now, write.put.bytes);
          if (changes === 0) write.error = new DriverError('failed', `There is a blob ${write.put.id} already`);
        }
        for (const id of write.remove ?? []) if (this.#statements.remove.run(id).changes > 0) write.removed.push(id);
        this.#removedSince ||= write.removed.length > 0;
        this.#removals += write.removed.length;
      }
      this.#statements.commit.run();
    } catch (error) {
      // SQLite itself rolls back when the disk is full.
      if (this.#database.inTransaction) this.#statements.rollback.run();
      const code = codeOf(error) ?? '';
      const known = code.startsWith('SQLITE_IOERR') ? await this.#options.probe() : undefined;
      const problem = known ?? driverError(error, 'Cannot write to the database of small blobs');
      for (const write of writes) {
        write.error = problem;
        write.removed = [];
      }
    }
  }

  /** Nobody came for a while: what is free goes back to the disk, and the log into the database, in steps that let others in between. */
  #rest(): void {
    if (this.#running !== undefined || this.#closed || this.#broken !== undefined) return;
    this.#running = (async () => {
      try {
        while (this.#queue.length === 0 && this.#removedSince && this.#freePages() > FEW_FREE_PAGES) {
          this.#trim();
          await turn();
        }
        this.#removedSince &&= this.#queue.length > 0;
        if (this.#queue.length === 0) await this.#checkpoint('TRUNCATE');
      } catch (error) {
        this.#options.log.warn({ err: error }, 'the database of small blobs could not be tidied');
      } finally {
        this.#running = undefined;
        if (this.#broken !== undefined) this.#refuseAll(this.#broken);
        else if (this.#queue.length > 0) this.#start();
      }
    })();
  }

  #trim(): void {
    this.#database.pragma(`incremental_vacuum(${PAGES_AT_ONCE})`);
  }
  #freePages(): number {
    return this.#database.pragma('freelist_count', { simple: true }) as number;
  }
  #pages(): number {
    return this.#database.pragma('page_count', { simple: true }) as number;
  }

  /** What is in the log; its file may be longer. */
  #logBytes(): number {
    return Math.max(0, this.#statements.frames.get()?.log ?? 0) * FRAME_BYTES;
  }

  /** Only from the loop that writes. See above for the order. */
  async #checkpoint(how: 'RESTART' | 'TRUNCATE'): Promise<void> {
    if (fstatSync(this.#logFile).size === 0) return;
    let copied = false;
    try {
      await this.#sync(this.#logFile);
      this.#database.pragma('wal_checkpoint(PASSIVE)');
      copied = true;
      await this.#sync(this.#databaseFile);
      const [answer] = this.#database.pragma(`wal_checkpoint(${how})`) as [{ busy: number }];
      if (answer.busy !== 0) throw new Error('another program holds the log of the database of small blobs');
      if (how === 'RESTART') writeSync(this.#logFile, NO_HEADER, 0, NO_HEADER.length, 0);
      await this.#sync(this.#logFile);
    } catch (error) {
      // A log that cannot be copied because there is no room just grows on.
      if (copied || codeOf(error)?.startsWith('SQLITE_') !== true) this.#break(error);
      throw error;
    }
  }

  async #sync(file: number): Promise<void> {
    if (this.#options.durable) await syncFile(file);
  }

  #break(error: unknown): void {
    this.#broken = new DriverError('unavailable', `The disk failed to keep what was written: ${(error as Error).message}`, {
      cause: error,
      hint: 'dmesg | tail  # then restart the daemon',
    });
  }

  #refuseAll(error: DriverError): void {
    for (const write of this.#queue.splice(0)) write.reject(error);
  }
}
