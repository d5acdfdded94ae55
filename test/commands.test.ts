// The launcher and the parts of the set-up that can be tried without a fresh machine.
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { findProgram, stalePidFiles } from '../scripts/docker.mjs';

const root = join(import.meta.dirname, '..');
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloud commands '));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe('./cloud', () => {
  /** A checkout with nothing in it but the launcher, and a "node" that says how it was called. */
  function checkout(): string {
    const path = join(folder, 'checkout');
    mkdirSync(join(path, 'node_modules', '.bin'), { recursive: true });
    mkdirSync(join(path, 'packages', 'cli', 'dist', 'bundle'), { recursive: true });
    writeFileSync(join(path, 'packages', 'cli', 'dist', 'bundle', 'main.js'), '');
    copyFileSync(join(root, 'cloud'), join(path, 'cloud'));
    const node = join(path, 'node_modules', '.bin', 'node');
    writeFileSync(node, '#!/bin/sh\nfor word; do echo "[$word]"; done\nexit 42\n');
    chmodSync(node, 0o755);
    return path;
  }

  test('runs the CLI of its own checkout with that Node, words and exit code unchanged', () => {
    const path = checkout();
    const { stdout, status } = spawnSync(join(path, 'cloud'), ['a b', '--c=*'], { cwd: '/', encoding: 'utf8' });
    expect(stdout).toBe(`[${path}/packages/cli/bin/cloud.js]\n[a b]\n[--c=*]\n`);
    expect(status).toBe(42);
  });

  test('is found through absolute and relative links, and on the PATH', () => {
    const path = checkout();
    mkdirSync(join(folder, 'bin'));
    symlinkSync('../checkout/cloud', join(folder, 'relative'));
    symlinkSync('../checkout/cloud', join(folder, 'bin', 'first'));
    symlinkSync(join(folder, 'bin', 'first'), join(folder, 'bin', 'cloud'));
    const { stdout, status } = spawnSync('cloud', ['x'], { cwd: '/', encoding: 'utf8', env: { PATH: `${join(folder, 'bin')}:${process.env['PATH']}` } });
    expect(stdout).toContain('/packages/cli/bin/cloud.js]\n[x]\n');
    expect(status).toBe(42);
    expect(spawnSync('./cloud', [], { cwd: path, encoding: 'utf8' }).status).toBe(42);
  });

  test('in a checkout that is not set up, says what to type', () => {
    const path = checkout();
    rmSync(join(path, 'node_modules'), { recursive: true });
    const { stdout, stderr, status } = spawnSync(join(path, 'cloud'), [], { encoding: 'utf8' });
    expect(stderr).toContain('npm run setup');
    expect(stdout).toBe('');
    expect(status).toBe(8);
  });
});

describe('setting up Docker Engine', () => {
  test('a process id that belongs to another program by now is stale; a running or missing process is left to the engine', () => {
    const write = (name: string, pid: number) => {
      writeFileSync(join(folder, name), `${pid}\n`);
      return join(folder, name);
    };
    const stale = write('docker.pid', process.pid);
    const gone = write('containerd.pid', 2 ** 22 + 1);
    expect(stalePidFiles({ dockerd: stale, containerd: gone })).toEqual([stale]);
    expect(stalePidFiles({ dockerd: join(folder, 'absent'), containerd: gone })).toEqual([]);
  });

  test('programs are found on the PATH and where root has them', () => {
    expect(findProgram('sh')).toMatch(/\/sh$/);
    expect(findProgram('no-such-program')).toBeUndefined();
  });
});
