// Statements of the engine are written by hand: making them with a query builder costs more than running them.
import { CompiledQuery } from 'kysely';
import type { Db, Tx } from '../../../kernel/db.ts';

type Value = string | number | null;

/** Rows of a statement that gives some. */
export async function all<T>(db: Db | Tx, text: string, ...values: readonly Value[]): Promise<T[]> {
  return (await db.executeQuery<T>(CompiledQuery.raw(text, values as Value[]))).rows;
}

export async function one<T>(db: Db | Tx, text: string, ...values: readonly Value[]): Promise<T | undefined> {
  return (await db.executeQuery<T>(CompiledQuery.raw(text, values as Value[]))).rows[0];
}

/** How many rows a statement changed. */
export async function run(db: Db | Tx, text: string, ...values: readonly Value[]): Promise<number> {
  return Number((await db.executeQuery(CompiledQuery.raw(text, values as Value[]))).numAffectedRows ?? 0);
}

export const marks = (count: number): string => Array.from({ length: count }, () => '?').join(', ');

/** Lists of varying length make a statement each; these few lengths keep them few. */
export function* chunks<T>(items: readonly T[], sizes: readonly number[] = [500, 100, 20, 5, 1]): Iterable<readonly T[]> {
  let at = 0;
  for (const size of sizes) for (; at + size <= items.length; at += size) yield items.slice(at, at + size);
}

/** Lets others have their turn between two pages of a long walk. */
export const breath = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
