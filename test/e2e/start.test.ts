// `npm start` as a newcomer meets it, on real Docker: from nothing, a second time, and after the instance was thrown away.
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerMissing } from '../../packages/core/src/drivers/docker/testbench.ts';

const root = join(import.meta.dirname, '..', '..');
const missing = await dockerMissing();

let folder: string;

/** Runs a command in the checkout with a data directory of its own, to its end. */
function run(command: string, ...words: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const env: NodeJS.ProcessEnv = { ...process.env, CLOUD_DATA_DIR: join(folder, 'data'), HOME: folder, NO_COLOR: '1' };
    const child = spawn(command, words, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data: Buffer) => {
      stdout += data.toString();
    });
    child.stderr.on('data', (data: Buffer) => {
      stderr += data.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}
const start = (...words: string[]) => run(process.execPath, 'scripts/start.mjs', ...words);
const cloud = (...words: string[]) => run('./cloud', ...words);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloud-start-'));
});
afterAll(async () => {
  for (const [kind, name] of [
    ['instance', 'hello-web'],
    ['volume', 'hello-data'],
    ['vpc', 'hello'],
  ] as const) {
    if ((await cloud(kind, 'get', name)).code === 0) expect((await cloud(kind, 'delete', name, '--yes')).code, `delete ${kind}`).toBe(0);
  }
  await cloud('daemon', 'stop');
  rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(missing !== undefined)(`npm start${missing ? ` (skipped: ${missing})` : ''}`, () => {
  test('does the main job, and the instance answers', async () => {
    const { code, stdout, stderr } = await start();
    expect(stderr).not.toContain('Error');
    expect(stdout).toMatch(/\$ \.\/cloud vpc create hello\n[^]*\$ \.\/cloud volume create hello-data [^]*\$ \.\/cloud instance create hello-web /);
    expect(stdout).toMatch(/\$ curl http:\/\/127\.0\.0\.1:\d+\/\nHello from hello-web\.\nFirst boot: .* UTC\nInstances that have booted on this volume: 1\n/);
    expect(stdout).toContain('It works.');
    expect(code).toBe(0);
  });

  test('picks up what is there, and wakes a stopped instance', async () => {
    const again = await start();
    expect(again.stdout).toContain('nothing was made anew');
    expect(again.stdout).not.toContain(' create ');
    expect(again.code).toBe(0);
    expect((await cloud('instance', 'stop', 'hello-web')).code).toBe(0);
    const woken = await start();
    expect(woken.stdout).toContain('$ ./cloud instance start hello-web\n');
    expect(woken.stdout).toContain('Instances that have booted on this volume: 1\n');
    expect(woken.code).toBe(0);
  });

  test('a new instance finds the data of the old one', async () => {
    expect((await cloud('instance', 'delete', 'hello-web', '--yes')).code).toBe(0);
    const { code, stdout } = await start();
    expect(stdout).toContain('Instances that have booted on this volume: 2\n');
    expect(code).toBe(0);
  });

  test('refuses the memory driver over real data, with the reason', async () => {
    const { code, stderr } = await start('--driver', 'memory');
    expect(stderr).toContain('docker driver');
    expect(code).toBe(5);
  });
});

test('npm start refuses words it does not know, before doing anything', async () => {
  const { code, stderr } = await start('--driver', 'memry');
  expect(stderr).toContain('npm start -- [--driver docker|memory]');
  expect(code).toBe(2);
});
