// One process at a time owns a data directory. The lock is SQLite's own on a file beside the database: the kernel frees it however the process ends.
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { databaseFault } from './db.ts';
import { Fault } from './errors.ts';
import { makeDatabasePrivate } from './files.ts';

export interface Lock {
  release(): void;
}

/** Throws `conflict` when another process (or another core in this one) holds the directory, `unavailable` when it cannot be used. */
export function lockDataDir(dataDir: string): Lock {
  const file = join(dataDir, 'lock');
  let database: Database.Database | undefined;
  try {
    makeDatabasePrivate(file);
    database = new Database(file, { timeout: 0 });
    database.pragma('locking_mode = EXCLUSIVE');
    database.exec('begin exclusive');
  } catch (error) {
    database?.close();
    if (String((error as { code?: string }).code).startsWith('SQLITE_BUSY')) {
      throw new Fault('conflict', `Another cloud runs on ${dataDir}`, { hint: 'cloud daemon status', cause: error });
    }
    throw databaseFault(error, file) ?? error;
  }
  const held = database;
  return { release: () => held.close() };
}
