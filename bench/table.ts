// The one table, as Markdown that is aligned enough to be read as it is.
import type { Case } from './case.ts';
import { figures, judge, median, type Results, typical } from './statistics.ts';

const digits = (value: number): string =>
  value >= 1000 ? Math.round(value).toLocaleString('en') : value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);

const figure = (value: number | undefined): string => (value === undefined ? '' : digits(value));

const HEAD = ['', 'median', 'min – max', 'p50 ms', 'p99 ms', 'CPU µs', 'RSS MiB', 'ours/this', 'target'];

export function table(measured: readonly (readonly [Case, Results])[]): string {
  const rows: string[][] = [];
  for (const [of, results] of measured) {
    rows.push([`**${of.name}**`, of.unit, ...HEAD.slice(2).map(() => '')]);
    const ours = typical(results.get(of.subjects[0]), 'value');
    for (const [index, subject] of of.subjects.entries()) {
      const samples = results.get(subject);
      const values = figures(samples, 'value');
      if (values.length === 0) continue;
      const goals = index === 0 ? of.goals.map((goal) => judge(of, goal, results)) : [];
      rows.push([
        subject,
        digits(median(values)),
        `${digits(Math.min(...values))} – ${digits(Math.max(...values))}`,
        figure(typical(samples, 'p50')),
        figure(typical(samples, 'p99')),
        figure(typical(samples, 'cpu')),
        figure(typical(samples, 'rss')),
        index === 0 || ours === undefined ? '' : digits(ours / median(values)),
        goals.map(({ text, met }) => `${text} ${met === undefined ? '?' : met ? '✓' : '✗ missed'}`).join('; '),
      ]);
    }
  }
  const widths = HEAD.map((head, column) => Math.max(head.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 || column === HEAD.length - 1 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 || column === HEAD.length - 1 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(HEAD), rule, ...rows.map(line)].join('\n');
}
