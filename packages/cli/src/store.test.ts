// Several commands at once, and commands that are killed: nothing is lost, nothing is half, and nobody waits for the dead.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { locked, writeWhole } from './store.ts';

let home: string;
let folder: string;
const before = process.env['XDG_CONFIG_HOME'];
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'cloud-store-'));
  folder = join(home, 'thecloud');
  process.env['XDG_CONFIG_HOME'] = home;
});
afterEach(() => {
  if (before === undefined) delete process.env['XDG_CONFIG_HOME'];
  else process.env['XDG_CONFIG_HOME'] = before;
  rmSync(home, { recursive: true, force: true });
});

/** A process of its own that runs this body with `locked` and `writeWhole` in scope. */
function another(body: string): { ended: Promise<string | null>; kill(): void; said(): Promise<void> } {
  const code = `import { locked, writeWhole } from ${JSON.stringify(join(import.meta.dirname, 'store.ts'))};\nimport { readFileSync } from 'node:fs';\n${body}`;
  const child = spawn(process.execPath, ['--conditions=@thecloud/source', '--input-type=module-typescript', '-e', code], {
    env: { ...process.env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  return {
    ended: new Promise((resolve) => child.once('close', (status, signal) => resolve(signal ?? String(status)))),
    kill: () => child.kill('SIGKILL'),
    said: () => new Promise((resolve) => child.stdout.once('data', () => resolve())),
  };
}

describe('the lock', () => {
  it('lets one in at a time, in one process', async () => {
    let inside = 0;
    let most = 0;
    const work = () =>
      locked(async () => {
        most = Math.max(most, ++inside);
        await new Promise((resolve) => setTimeout(resolve, 5));
        inside--;
      });
    await Promise.all([work(), work(), work()]);
    expect(most).toBe(1);
    expect(readdirSync(folder)).toEqual([]);
  });

  it('loses no change of many processes', async () => {
    const file = join(folder, 'count.json');
    mkdirSync(folder, { recursive: true });
    writeFileSync(file, '{"count":0}');
    const body = `for (let i = 0; i < 5; i++) await locked(() => { const { count } = JSON.parse(readFileSync(${JSON.stringify(file)}, 'utf8')); writeWhole(${JSON.stringify(file)}, { count: count + 1 }); });`;
    const all = Array.from({ length: 4 }, () => another(body).ended);
    expect(await Promise.all(all)).toEqual(['0', '0', '0', '0']);
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ count: 20 });
  });

  it('of a killed holder is taken over by one of those that wait, and by the others after it', async () => {
    const holder = another(`await locked(async () => { console.log('held'); await new Promise((resolve) => setTimeout(resolve, 60_000)); });`);
    await holder.said();
    let inside = 0;
    const wait = () =>
      locked(async () => {
        expect(++inside).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        inside--;
      });
    const waiting = Promise.all([wait(), wait(), wait()]);
    holder.kill();
    await waiting;
    expect(readdirSync(folder)).toEqual([]);
  });

  it('of a process whose number another has now is no lock', async () => {
    mkdirSync(folder, { recursive: true });
    await locked(() => {
      const mine = JSON.parse(readFileSync(join(folder, 'lock'), 'utf8')) as Record<string, unknown>;
      writeFileSync(join(folder, 'lock'), JSON.stringify({ ...mine, pid: 1, began: 'long ago' }));
    });
    await locked(() => undefined);
    expect(readdirSync(folder)).toEqual([]);
  });
});

describe('a file', () => {
  it('is only for its owner', async () => {
    await locked(() => writeWhole(join(folder, 'credentials.json'), { contexts: {} }));
    expect(statSync(join(folder, 'credentials.json')).mode & 0o777).toBe(0o600);
    expect(statSync(folder).mode & 0o777).toBe(0o700);
  });

  it('is whole whenever its writer is killed', async () => {
    const file = join(folder, 'credentials.json');
    const body = `console.log('begins'); for (let i = 0; ; i++) await locked(() => writeWhole(${JSON.stringify(file)}, { i, token: 'x'.repeat(50_000), end: true }));`;
    for (let round = 0; round < 6; round++) {
      const writer = another(body);
      await writer.said();
      await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 40));
      writer.kill();
      expect(await writer.ended).toBe('SIGKILL');
      expect(JSON.parse(readFileSync(file, 'utf8'))).toMatchObject({ end: true });
      expect(statSync(file).mode & 0o777).toBe(0o600);
    }
    await locked(() => writeWhole(file, { contexts: {} }));
    expect(readdirSync(folder)).toEqual(['credentials.json']);
  });
});
