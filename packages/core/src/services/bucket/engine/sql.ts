// What statements of the engine are made with. They are written by hand: making them with a query builder costs more than running them.
export { all, one, run } from '../../../kernel/sql.ts';

export const marks = (count: number): string => Array.from({ length: count }, () => '?').join(', ');

/** Lists of varying length make a statement each; these few lengths keep them few. */
export function* chunks<T>(items: readonly T[], sizes: readonly number[] = [500, 100, 20, 5, 1]): Iterable<readonly T[]> {
  let at = 0;
  for (const size of sizes) for (; at + size <= items.length; at += size) yield items.slice(at, at + size);
}

/** Lets others have their turn between two pages of a long walk. */
export const breath = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
