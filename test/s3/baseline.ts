// What became of each test the last time somebody looked: a line each, committed, so that only what got worse fails.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Outcome } from './suite.ts';

const BASELINE = join(import.meta.dirname, 'baseline.txt');
const TIMED_BASELINE = join(import.meta.dirname, 'baseline-timed.txt');
export const baselineOf = (timed: boolean): string => (timed ? TIMED_BASELINE : BASELINE);
export type Baseline = ReadonlyMap<string, string>;

export function readBaseline(file: string): Baseline {
  if (!existsSync(file)) return new Map();
  const lines = readFileSync(file, 'utf8').split('\n');
  return new Map(
    lines.filter((line) => line !== '' && !line.startsWith('#')).map((line) => [line.slice(line.indexOf(' ') + 1), line.slice(0, line.indexOf(' '))]),
  );
}

/** Tests that did not run keep their lines. */
export function writeBaseline(before: Baseline, outcomes: readonly Outcome[], file: string): void {
  const all = new Map([...before, ...outcomes.map(({ name, outcome }) => [name, outcome] as const)]);
  const lines = [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, outcome]) => `${outcome} ${name}`);
  writeFileSync(file, `${lines.join('\n')}\n`);
}

export interface Comparison {
  /** Passed before, and do not now. */
  regressions: Outcome[];
  /** Pass now, and did not before. */
  gained: Outcome[];
  /** Not in the baseline. */
  unknown: Outcome[];
  /** In the baseline, and did not run. */
  absent: string[];
}

export function compare(before: Baseline, outcomes: readonly Outcome[]): Comparison {
  const ran = new Set(outcomes.map(({ name }) => name));
  return {
    regressions: outcomes.filter(({ name, outcome }) => before.get(name) === 'passed' && outcome !== 'passed'),
    gained: outcomes.filter(({ name, outcome }) => outcome === 'passed' && before.has(name) && before.get(name) !== 'passed'),
    unknown: outcomes.filter(({ name }) => !before.has(name)),
    absent: [...before.keys()].filter((name) => !ran.has(name)),
  };
}

/** In sentences, with the numbers that count. */
export function summary(outcomes: readonly Outcome[]): string {
  const count = (wanted: Outcome['outcome'], from = outcomes): number => from.filter(({ outcome }) => outcome === wanted).length;
  const aws = outcomes.filter((outcome) => outcome.aws);
  return [
    `${outcomes.length} tests: ${count('passed')} passed, ${count('failed')} failed, ${count('error')} with errors, ${count('skipped')} skipped.`,
    `${count('passed', aws)} of ${aws.length} that AWS passes.`,
  ].join('\n');
}
