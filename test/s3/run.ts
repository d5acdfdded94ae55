// ceph/s3-tests against a throw-away daemon of ours, compared with the committed baseline:
//   node --conditions=@thecloud/source test/s3/run.ts --suite <checkout> [--update] [--timed] [-k expression] [--jobs 2] [--python <PYTHONPATH>] [--failures <file>]
// or the same against any server, with a configuration of the suite: --config <file>. The environment may say CLOUD_S3_TESTS and CLOUD_S3_PYTHON.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { baselineOf, compare, readBaseline, summary, writeBaseline } from './baseline.ts';
import { configuration, DAY_SECONDS, nodeIdOf, type Outcome, runSuite, suiteMissing } from './suite.ts';

export interface ConformanceOptions {
  suite: string;
  python: string | undefined;
  jobs: number;
  /** The tests that wait until objects expire, in place of the others. */
  timed?: boolean | undefined;
  only?: string | undefined;
  /** A configuration of the suite for a server that runs already; ours is started when absent. */
  config?: string | undefined;
  say?: (text: string) => void;
}

/** Each test once, and what should have passed and did not once more, alone: some count what others make meanwhile, and a busy machine makes some late. */
export async function conformance({ suite, python, jobs, timed = false, only, config, say = () => {} }: ConformanceOptions): Promise<Outcome[]> {
  const { S3Daemon } = await import('./daemon.ts');
  const env = { CLOUD_S3_SIGNATURE_V2: '1', ...(timed ? { CLOUD_S3_LIFECYCLE_DAY_SECONDS: String(DAY_SECONDS) } : {}) };
  await using daemon = config === undefined ? await S3Daemon.start({ env }) : undefined;
  const text = daemon === undefined ? readFileSync(config as string, 'utf8') : configuration(daemon.endpoint, await daemon.accounts());
  const common = { suite, pythonPath: python, configuration: text, timed, say };
  const outcomes = await runSuite({ ...common, jobs, only });
  if (config !== undefined) return outcomes;
  const before = readBaseline(baselineOf(timed));
  const late = outcomes.filter(({ name, outcome }) => (outcome === 'failed' || outcome === 'error') && (before.get(name) ?? 'passed') === 'passed');
  if (late.length === 0 || late.length > 100) return outcomes;
  const again = await runSuite({ ...common, jobs: 1, names: late.map(({ name }) => nodeIdOf(name)) });
  const second = new Map(again.map((outcome) => [outcome.name, outcome]));
  for (const { name, outcome } of again) if (outcome === 'passed') say(`${name} passed only when it ran alone\n`);
  return outcomes.map((outcome) => second.get(outcome.name) ?? outcome);
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      suite: { type: 'string', default: process.env['CLOUD_S3_TESTS'] },
      python: { type: 'string', default: process.env['CLOUD_S3_PYTHON'] },
      timed: { type: 'boolean', default: false },
      update: { type: 'boolean', default: false },
      k: { type: 'string', short: 'k' },
      jobs: { type: 'string', default: '2' },
      config: { type: 'string' },
      failures: { type: 'string' },
    },
  });
  const { suite, python, timed, update, k: only, config, failures } = values;
  const missing = await suiteMissing(suite, python);
  if (missing !== undefined || suite === undefined) {
    process.stdout.write(`Skipped: ${missing}.\n`);
    return 0;
  }
  const say = (text: string): void => void process.stdout.write(text);
  const outcomes = await conformance({ suite, python, jobs: Number(values.jobs), timed, only, config, say });
  if (failures !== undefined) {
    const bad = outcomes.filter(({ outcome }) => outcome === 'failed' || outcome === 'error');
    writeFileSync(failures, bad.map(({ name, outcome, aws, why }) => `## ${name} (${outcome}${aws ? '' : ', AWS fails it too'})\n${why}\n`).join('\n'));
  }
  const before = readBaseline(baselineOf(timed));
  const { regressions, gained, unknown, absent } = compare(before, outcomes);
  if (config === undefined) {
    for (const { name } of gained) say(`passes now: ${name}\n`);
    if (before.size > 0) for (const { name, outcome } of unknown) say(`not in the baseline: ${name} (${outcome})\n`);
    if (only === undefined) for (const name of absent) say(`in the baseline, but did not run: ${name}\n`);
    for (const { name, outcome, why } of regressions) say(`\nregression: ${name} (${outcome})\n${why}\n`);
    if (update) writeBaseline(before, outcomes, baselineOf(timed));
  }
  say(`\n${summary(outcomes)}\n`);
  if (config !== undefined) return 0;
  say(`${regressions.length} regressions, ${gained.length} new passes${update ? `; ${baselineOf(timed)} written` : ''}.\n`);
  return regressions.length === 0 ? 0 : 1;
}

if (import.meta.main) process.exitCode = await main();
