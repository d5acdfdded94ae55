// What ceph/s3-tests says of the S3 endpoint, against the committed baseline. The suite is fetched by whoever runs this; see run.ts.
import { describe, expect, test } from 'vitest';
import { baselineOf, compare, readBaseline, summary } from './baseline.ts';
import { conformance } from './run.ts';
import { suiteMissing } from './suite.ts';

const suite = process.env['CLOUD_S3_TESTS'];
const python = process.env['CLOUD_S3_PYTHON'];
const missing = await suiteMissing(suite, python);

describe.skipIf(missing !== undefined)(`ceph/s3-tests${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  test('passes what it passed before', { timeout: 45 * 60_000 }, async () => {
    const outcomes = await conformance({ suite: suite as string, python, jobs: 2 });
    process.stdout.write(`${summary(outcomes)}\n`);
    const { regressions } = compare(readBaseline(baselineOf(false)), outcomes);
    expect(regressions.map(({ name, outcome, why }) => `${name} ${outcome}\n${why}`)).toEqual([]);
  });
});

describe('the comparison', () => {
  const outcome = (name: string, said: 'passed' | 'failed' | 'error' | 'skipped', aws = true) => ({ name, outcome: said, aws, seconds: 0, why: '' });
  test('only what passed before and does not now is a regression', () => {
    const before = new Map([
      ['a', 'passed'],
      ['b', 'failed'],
      ['c', 'passed'],
      ['d', 'failed'],
      ['gone', 'passed'],
    ]);
    const now = [outcome('a', 'error'), outcome('b', 'passed'), outcome('c', 'passed'), outcome('d', 'error'), outcome('new', 'failed', false)];
    const { regressions, gained, unknown, absent } = compare(before, now);
    expect([regressions, gained, unknown].map((list) => list.map(({ name }) => name))).toEqual([['a'], ['b'], ['new']]);
    expect(absent).toEqual(['gone']);
    expect(summary(now)).toBe('5 tests: 2 passed, 1 failed, 2 with errors, 0 skipped.\n2 of 4 that AWS passes.');
  });
});
