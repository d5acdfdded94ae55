// The programs in examples/, run as their READMEs say; each folder's output.txt is what they print.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { localAdministrator, silent } from '@thecloud/core';
import { startDaemon } from '@thecloud/daemon';
import { afterEach, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..', '..');

const directories: string[] = [];
afterEach(async () => {
  for (const directory of directories.splice(0)) await rm(directory, { recursive: true });
});
async function temporary(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'cloud-example-'));
  directories.push(directory);
  return directory;
}

const expected = (folder: string): Promise<string> => readFile(join(ROOT, 'examples', folder, 'output.txt'), 'utf8');

/** From the sources, so that nothing has to be built first. */
async function node(words: string[], env: Record<string, string> = {}): Promise<string> {
  const environment = { ...process.env, NO_COLOR: '1', ...env };
  return (await promisify(execFile)(process.execPath, ['--conditions=@thecloud/source', ...words], { cwd: ROOT, env: environment })).stdout;
}

it('sdk-connect, with a daemon', async () => {
  const dataDir = await temporary();
  const daemon = await startDaemon({ dataDir, driver: 'memory', log: silent });
  try {
    const output = await node(['examples/sdk-connect/main.ts'], { CLOUD_DATA_DIR: dataDir, CLOUD_SOCKET: '', CLOUD_URL: '' });
    expect(output).toBe(await expected('sdk-connect'));
    const left = await daemon.core.invoke({ service: 'vpc', operation: 'list', input: {}, principal: localAdministrator });
    expect(left.value).toEqual({ items: [] });
  } finally {
    await daemon.close();
  }
});

it('embed, twice on one directory', async () => {
  const words = ['examples/embed/main.ts', join(await temporary(), 'jobs')];
  expect((await node(words)) + (await node(words))).toBe(await expected('embed'));
});

it('ephemeral-test', async () => {
  const output = await node(['--test', '--test-reporter=spec', 'examples/ephemeral-test/site.test.ts']);
  const withoutTimes = output
    .split('\n')
    .filter((line) => !line.includes('duration_ms'))
    .map((line) => line.replace(/ \([\d.]+ms\)$/, ''))
    .join('\n');
  expect(withoutTimes).toBe(await expected('ephemeral-test'));
});
