// Figures of many samples, and whether a goal is met.
import type { Case, Figure, Goal, Sample } from './case.ts';

/** `of` from 0 to 1, by nearest rank. NaN of nothing. */
export function quantile(values: readonly number[] | Float64Array, of: number): number {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(of * sorted.length) - 1))] ?? Number.NaN;
}

export const median = (values: readonly number[]): number => quantile(values, 0.5);

export type Results = ReadonlyMap<string, readonly Sample[]>;

export function figures(samples: readonly Sample[] | undefined, figure: Figure): number[] {
  return (samples ?? []).map((sample) => sample[figure]).filter((value) => value !== undefined);
}

/** Undefined when nobody measured it. */
export function typical(samples: readonly Sample[] | undefined, figure: Figure): number | undefined {
  const values = figures(samples, figure);
  return values.length === 0 ? undefined : median(values);
}

export interface Verdict {
  text: string;
  met: boolean | undefined;
}

export function judge(of: Case, goal: Goal, results: Results): Verdict {
  const { figure = 'value', most, least, times, besides } = goal;
  const ours = typical(results.get(of.subjects[0]), figure);
  const allowed = besides === undefined ? 0 : typical(results.get(besides), figure);
  const other = times === undefined ? 1 : typical(results.get(times), figure);
  const bound = most ?? least ?? 0;
  const text = [
    figure === 'value' ? '' : `${figure} `,
    most === undefined ? '≥ ' : '≤ ',
    times === undefined ? `${bound} ${{ value: of.unit, p50: 'ms', p99: 'ms', cpu: 'µs', rss: 'MiB' }[figure]}` : `${bound} × ${times}`,
    besides === undefined ? '' : ` + ${besides}`,
  ].join('');
  if (ours === undefined || allowed === undefined || other === undefined) return { text, met: undefined };
  const compared = ours - allowed;
  return { text, met: (most === undefined || compared <= most * other) && (least === undefined || compared >= least * other) };
}
