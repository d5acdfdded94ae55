// Runs the benchmarks and prints one table: `npm run bench -- [part of a name] [--rounds N] [--json file]`. Ours and what it stands beside are measured in turns,
// in several rounds, because a machine's speed changes from one minute to the next: read the ratios.
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { parseArgs } from 'node:util';
import { bench as access } from './access.bench.ts';
import type { Bench, Case, Sample } from './case.ts';
import { bench as cli } from './cli.bench.ts';
import { built, ROOT } from './daemon.ts';
import { bench as dns } from './dns.bench.ts';
import { bench as instance } from './instance.bench.ts';
import { benches as lists } from './list.bench.ts';
import { bench as network } from './network.bench.ts';
import { bench as object } from './object.bench.ts';
import { bench as queue } from './queue.bench.ts';
import { bench as start } from './start.bench.ts';
import { table } from './table.ts';

const BENCHES: readonly Bench[] = [cli, start, ...lists, access, queue, object, network, dns, instance];
const ROUNDS = 5;

const say = (text: string): void => void process.stderr.write(`${text}\n`);

const { values, positionals } = parseArgs({ allowPositionals: true, options: { rounds: { type: 'string' }, json: { type: 'string' } } });
const rounds = Number(values.rounds ?? ROUNDS);
const chosen = BENCHES.filter(({ name }) => positionals.length === 0 || positionals.some((part) => name.includes(part)));
if (!Number.isInteger(rounds) || rounds < 1) fail(`--rounds ${values.rounds} is not a number of rounds`);
if (chosen.length === 0) fail(`there is no benchmark ${positionals.join(' ')}; there are ${BENCHES.map(({ name }) => name).join(', ')}`);
if (!built()) fail('what is measured is the built product: npm run build');

function fail(problem: string): never {
  say(`bench: ${problem}`);
  process.exit(2);
}

/** What is running must go away in good order: containers, daemons, directories. */
let interrupted = false;
process.once('SIGINT', () => {
  interrupted = true;
  say('ending after this round (Ctrl-C again to leave everything as it is)');
});

type Measured = Map<Case, Map<string, Sample[]>>;

async function measure({ name, open }: Bench, results: Measured): Promise<void> {
  await using stack = new AsyncDisposableStack();
  say(`${name}: getting ready`);
  const round = await open(stack);
  for (let number = 0; number < rounds && !interrupted; number++) {
    say(`${name}: round ${number + 1} of ${rounds}`);
    await round(
      (of) => (subject, sample) => {
        const subjects = results.get(of) ?? new Map<string, Sample[]>();
        results.set(of, subjects.set(subject, [...(subjects.get(subject) ?? []), sample]));
      },
      number,
    );
  }
}

const measured: Measured = new Map();
const problems: string[] = [];
const loadBefore = loadavg();
for (const one of chosen) {
  if (interrupted) break;
  const obstacle = await one.obstacle?.();
  if (obstacle !== undefined) {
    problems.push(`${one.name} was not measured: ${obstacle}`);
    continue;
  }
  try {
    await measure(one, measured);
  } catch (error) {
    // What the others found is still worth its minutes.
    problems.push(`${one.name} broke off: ${error instanceof SuppressedError ? `${error.error}, after ${error.suppressed}` : String(error)}`);
    process.exitCode = 1;
  }
}

const commit = (): string => execFileSync('git', ['-C', ROOT, 'describe', '--always', '--dirty'], { encoding: 'utf8' }).trim();
const machine = [
  `${cpus().length} × ${cpus()[0]?.model.trim()}`,
  `${(totalmem() / 1e9).toFixed(0)} GB`,
  `Linux ${release()}`,
  `Node ${process.versions.node}`,
  `load ${loadBefore[0]?.toFixed(1)} before and ${loadavg()[0]?.toFixed(1)} after`,
  `commit ${commit()}`,
].join(', ');

process.stdout.write(`${machine}; ${rounds} rounds\n\n${table([...measured])}\n`);
for (const problem of problems) process.stdout.write(`\n${problem}\n`);
if (values.json !== undefined) {
  const json = [...measured].map(([{ name, unit, goals }, results]) => ({ name, unit, goals, results: Object.fromEntries(results) }));
  writeFileSync(values.json, `${JSON.stringify({ machine, rounds, measured: json }, null, 2)}\n`);
}
