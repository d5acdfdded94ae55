// Statements written by hand, for hot paths: making them with a query builder costs more than running them, and so does waiting where nobody has to.
import { CompiledQuery } from 'kysely';
import { type Db, statementNow, type Tx } from './db.ts';

type Value = string | number | null;

/** Rows of a statement that gives some. */
export async function all<T>(db: Db | Tx, text: string, ...values: readonly Value[]): Promise<T[]> {
  const statement = statementNow(db, text);
  if (statement !== undefined) return statement.all(values) as T[];
  return (await db.executeQuery<T>(CompiledQuery.raw(text, values as Value[]))).rows;
}

/** Its first row. All of it is run all the same: it may change something. */
export async function one<T>(db: Db | Tx, text: string, ...values: readonly Value[]): Promise<T | undefined> {
  return (await all<T>(db, text, ...values))[0];
}

/** How many rows a statement changed. */
export async function run(db: Db | Tx, text: string, ...values: readonly Value[]): Promise<number> {
  const statement = statementNow(db, text);
  if (statement !== undefined) return statement.run(values).changes;
  return Number((await db.executeQuery(CompiledQuery.raw(text, values as Value[]))).numAffectedRows ?? 0);
}
