#!/usr/bin/env node
// `npm test`: set-up, then every check there is, and a last line that counts them. Words after `--` go to vitest
// (`npm test -- packages/core`, `npm test -- -t 'two writers'`).

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { probe } from './engine.mjs';
import { rememberBuild, setUp } from './setup.mjs';
import { bold, childEnv, npm, report, root, run, Stop, seconds } from './terminal.mjs';

const total = { passed: 0, failed: 0, skipped: /** @type {{ name: string, reason: string }[]} */ ([]) };

/**
 * A check that is one npm script: counts as one test, shows its output.
 * @param {string} name
 * @param {string} script
 * @param {string[]} [words]
 */
async function check(name, script, words = []) {
  const since = Date.now();
  const more = words.length > 0 ? ['--', ...words] : [];
  process.stdout.write(`\n${bold(`▸ ${name}`)}: ${['npm run', script, ...more].join(' ')}\n`);
  const [command, args] = npm();
  const { code } = await run(command, [...args, 'run', '--silent', script, ...more], { show: true });
  if (code === 0) total.passed += 1;
  else total.failed += 1;
  process.stdout.write(`${code === 0 ? '✓' : '✗'} ${name} (${code === 0 ? '' : `exit code ${code}, `}${seconds(since)})\n`);
  return code === 0;
}

/** @param {string[]} words @param {string | undefined} required what may not be missing, as CLOUD_REQUIRED says it */
async function vitest(words, required) {
  const since = Date.now();
  const folder = mkdtempSync(join(tmpdir(), 'cloud-test-'));
  const file = join(folder, 'count.json');
  process.stdout.write(`\n${bold('▸ tests')}: vitest run ${words.join(' ')}\n`);
  try {
    const env = { ...childEnv, CLOUD_TEST_COUNT: file, ...(required ? { CLOUD_REQUIRED: required } : {}) };
    const { code } = await run('vitest', ['run', '--reporter=default', '--reporter=./scripts/count-tests.mjs', ...words], { show: true, env });
    const count = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { passed: 0, failed: 0, skipped: [] };
    total.passed += count.passed;
    total.failed += count.failed;
    // A name pattern skips all that does not match it: not worth a list.
    if (!words.some((word) => /^(-t|--testNamePattern)/.test(word))) total.skipped.push(...count.skipped);
    if (code !== 0 && count.failed === 0) total.failed += 1;
    if (code === 0 && count.passed + count.failed === 0) {
      process.stdout.write('No test ran.\n');
      total.failed += 1;
    }
    process.stdout.write(`${code === 0 ? '✓' : '✗'} tests (${seconds(since)})\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Docker has to be there in CI; elsewhere its tests may be skipped, each saying so. */
async function setUpForTests() {
  try {
    await setUp({ build: false, images: 'test', clients: true });
  } catch (error) {
    if (process.env.CI || !(error instanceof Stop) || (await probe()).state === 'ready') throw error;
    report(error);
    process.stdout.write('\nGoing on without Docker: the tests that need it are skipped and listed at the end.\n');
    await setUp({ build: false, docker: false, clients: true });
  }
}

/** @param {string[]} words */
async function main(words) {
  await setUpForTests();
  const scripts = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts;
  await check('format', 'format:check');
  await check('lint', 'lint');
  await check('types of scripts, tests and examples', 'types');
  const built = await check('build', 'build');
  if (built) rememberBuild();
  if (scripts.generate && built) await check('generated files are current', 'generate', ['--check']);
  if (!built) process.stdout.write('\nThe build failed, so the tests did not run.\n');
  else await vitest(words, process.env.CI ? 'docker,s3-clients' : (await probe()).state === 'ready' ? 'docker' : undefined);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  report(error);
  total.failed += 1;
}
if (total.skipped.length > 0) process.stdout.write(`\nSkipped:\n${total.skipped.map(({ name, reason }) => `  ${name}: ${reason}`).join('\n')}\n`);
if (total.failed > 0 || total.passed === 0) process.exitCode = 1;
process.stdout.write(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped.length} skipped\n`);
