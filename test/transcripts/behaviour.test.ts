// What a transcript does not show: terminals, signals, pipes, settings, the life of the daemon.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cloud, has } from './cloud.ts';

let cloud: Cloud;
beforeAll(async () => {
  cloud = await Cloud.start();
  await cloud.run(['instance', 'create', 'web', '--image', 'busybox']);
});
afterAll(() => cloud[Symbol.asyncDispose]());

describe.skipIf(!has('script'))('on a terminal', () => {
  it('a delete asks, and no is no', async () => {
    const terminal = cloud.terminal(['instance', 'delete', 'web']);
    await terminal.sees('Delete instance web? [y/N]');
    terminal.type('n\n');
    expect(await terminal.ended).toBe(130);
    expect(terminal.output).toContain('Nothing was changed.');
    expect((await cloud.run(['instance', 'get', 'web'])).code).toBe(0);
  });

  it('Ctrl-C at the question is no', async () => {
    const terminal = cloud.terminal(['instance', 'delete', 'web']);
    await terminal.sees('[y/N]');
    terminal.type('\x03');
    expect(await terminal.ended).toBe(130);
    expect((await cloud.run(['instance', 'get', 'web'])).code).toBe(0);
  });

  it('--yes asks nothing', async () => {
    await cloud.run(['vpc', 'create', 'gone']);
    const terminal = cloud.terminal(['vpc', 'delete', 'gone', '--yes']);
    expect(await terminal.ended).toBe(0);
    expect(terminal.output).not.toContain('[y/N]');
  });

  it('a change that needs a restart asks for it', async () => {
    const terminal = cloud.terminal(['instance', 'update', 'web', '--env', 'A=1']);
    await terminal.sees('Restart it now? [y/N]');
    terminal.type('yes\n');
    expect(await terminal.ended).toBe(0);
    expect((await cloud.json<{ env: unknown }>(['instance', 'get', 'web'])).env).toEqual({ A: '1' });
  });

  it('states have colours, unless NO_COLOR', async () => {
    const plain = cloud.terminal(['instance', 'list'], { NO_COLOR: '1' });
    await plain.ended;
    expect(plain.output).toContain('running');
    expect(plain.output).not.toContain('\x1b[');
    const coloured = cloud.terminal(['instance', 'list']);
    await coloured.ended;
    expect(coloured.output).toContain('\x1b[32mrunning\x1b[0m');
  });

  it('--watch redraws when something changes, until Ctrl-C', async () => {
    const terminal = cloud.terminal(['vpc', 'list', '--watch', '--columns', 'name,state']);
    await terminal.sees('NAME');
    await cloud.run(['vpc', 'create', 'seen']);
    await terminal.sees('seen');
    terminal.type('\x03');
    expect(await terminal.ended).toBe(130);
    await cloud.run(['vpc', 'delete', 'seen']);
  });

  it("a program's exit code comes back", async () => {
    const terminal = cloud.terminal(['instance', 'exec', 'web', '--', 'sh', '-c', 'exit 5']);
    expect(await terminal.ended).toBe(5);
  });
});

describe('in a pipe', () => {
  it('a reader that goes away is no error', async () => {
    for (let index = 0; index < 5; index++) await cloud.run(['vpc', 'create', `many-${index}`, '--no-wait']);
    const child = spawn(
      'sh',
      ['-c', `${process.execPath} ${join(import.meta.dirname, '../../packages/cli/bin/cloud.js')} event watch --since 0 | head -n 1; exit 0`],
      { env: cloud.env },
    );
    let text = '';
    child.stdout.on('data', (bytes: Buffer) => {
      text += bytes.toString();
    });
    let errors = '';
    child.stderr.on('data', (bytes: Buffer) => {
      errors += bytes.toString();
    });
    const closed = new Promise((resolve) => child.once('close', resolve));
    await new Promise((resolve) => child.stdout.once('data', resolve));
    // The reader has gone; whatever is written now finds nobody.
    await cloud.run(['vpc', 'create', 'wakes-the-writer']);
    expect(await closed).toBe(0);
    expect([text.trim().split('\n').length, errors]).toEqual([1, '']);
  });

  it('Ctrl-C ends a stream with 130', async () => {
    const child = cloud.spawn(['event', 'watch', '--since', '0']);
    await new Promise((resolve) => child.stdout.once('data', resolve));
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(130);
  });

  it('--watch prints what changes, as lines of JSON', async () => {
    const child = cloud.spawn(['vpc', 'list', '--watch', '--output', 'json', '--label', 'watched=yes']);
    let text = '';
    const line = (wanted: (row: { name: string; state: string; description?: string }) => boolean) =>
      new Promise<void>((resolve) => {
        const look = (bytes?: Buffer): void => {
          text += bytes?.toString() ?? '';
          if (
            text
              .trim()
              .split('\n')
              .filter(Boolean)
              .some((one) => wanted(JSON.parse(one)))
          )
            resolve();
        };
        child.stdout.on('data', look);
        look();
      });
    await cloud.run(['vpc', 'create', 'watched', '--label', 'watched=yes']);
    await line(({ name, state }) => name === 'watched' && state === 'ready');
    await cloud.run(['vpc', 'update', 'watched', '--description', 'new']);
    await line(({ description }) => description === 'new');
    await cloud.run(['vpc', 'delete', 'watched']);
    await line(({ state }) => state === 'deleted');
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(130);
  });

  it('input goes to the program and ends with it', async () => {
    const bytes = 'x'.repeat(300_000);
    expect(await cloud.run(['instance', 'exec', 'web', '--', 'cat'], { input: bytes })).toEqual({ stdout: bytes, stderr: '', code: 0 });
  });

  it('files come through copies unchanged', async () => {
    const folder = join(cloud.folder, 'site');
    mkdirSync(join(folder, 'sub'), { recursive: true });
    writeFileSync(join(folder, 'sub', 'a.bin'), Buffer.from(Array.from({ length: 200_000 }, (_, index) => index % 251)));
    writeFileSync(join(folder, 'b.txt'), 'text', { mode: 0o640 });
    const succeed = async (args: string[], input?: string) => {
      const result = await cloud.run(['instance', 'cp', ...args], input === undefined ? {} : { input });
      expect(result.stderr).toBe('');
      expect(result.code).toBe(0);
      return result.stdout;
    };
    await succeed(['site', 'web:/srv']);
    await succeed(['web:/srv', 'copy']);
    expect(readFileSync(join(cloud.folder, 'copy', 'sub', 'a.bin'))).toEqual(readFileSync(join(folder, 'sub', 'a.bin')));
    expect(statSync(join(cloud.folder, 'copy', 'b.txt')).mode & 0o777).toBe(0o640);
    expect(await succeed(['web:/srv/b.txt', '-'])).toBe('text');
    await succeed(['-', 'web:/srv/c.txt'], 'from a pipe');
    expect(await succeed(['web:/srv/c.txt', '-'])).toBe('from a pipe');
    await succeed(['site', 'web:/srv']);
    expect(await succeed(['web:/srv/site/b.txt', '-'])).toBe('text');
    symlinkSync('b.txt', join(folder, 'link'));
    await succeed(['site/link', 'web:/srv/followed']);
    expect(await succeed(['web:/srv/followed', '-'])).toBe('text');
  });
});

describe('settings', () => {
  it('a flag goes before the environment, that before the configuration', async () => {
    const output = async (args: string[], env?: NodeJS.ProcessEnv) => (await cloud.run(['instance', 'list', ...args], env === undefined ? {} : { env })).stdout;
    await cloud.run(['config', 'set', 'output', 'name']);
    try {
      expect(await output([])).toBe('web\n');
      expect(JSON.parse(await output([], { CLOUD_OUTPUT: 'json' }))).toMatchObject({ items: [{ name: 'web' }] });
      expect(await output(['--output', 'yaml'], { CLOUD_OUTPUT: 'json' })).toMatch(/^items:\n/);
      expect((await cloud.run(['config', 'list'])).stdout).toMatch(/^output +name +config /m);
      expect((await cloud.run(['config', 'list', '-o', 'json'])).stdout).toContain('"source": "flag"');
      expect(statSync(join(cloud.folder, '.config', 'thecloud', 'config.json')).mode & 0o777).toBe(0o600);
    } finally {
      await cloud.run(['config', 'unset', 'output']);
    }
    expect(await output([])).toMatch(/^NAME/);
  });

  it('errors are JSON where JSON is wanted', async () => {
    const { stdout, stderr, code } = await cloud.run(['instance', 'get', 'none'], { env: { CLOUD_OUTPUT: 'json' } });
    expect([stdout, code]).toEqual(['', 4]);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'not_found' } });
  });
});

describe('the daemon', () => {
  it('that does not run is said to be away, with what to do', async () => {
    const { stderr, code } = await cloud.run(['instance', 'list'], { env: { CLOUD_DATA_DIR: join(cloud.folder, 'none') } });
    expect([stderr, code]).toEqual([
      `Error: The daemon is not running (nobody answers at ${join(cloud.folder, 'none', 'cloud.sock')})\nHint: cloud daemon start\n`,
      8,
    ]);
  });

  it('starts, is there, listens on TCP with a token, and stops; twice is once', async () => {
    await using other = new Cloud();
    const started = await other.run(['daemon', 'start', '--driver', 'memory', '--listen', '127.0.0.1:0']);
    expect(started).toMatchObject({ code: 0 });
    const url = /http:\/\/\S+/.exec(started.stdout)?.[0] as string;
    const again = await other.run(['daemon', 'start']);
    expect([again.code, again.stderr]).toEqual([0, expect.stringContaining('runs already')]);
    const status = await other.json<{ state: string; pid: number; drivers: string[] }>(['daemon', 'status']);
    expect(status).toMatchObject({ state: 'running', drivers: ['memory'] });
    expect((await other.run(['system', 'doctor'])).code).toBe(0);

    const token = readFileSync(join(other.folder, 'data', 'admin-token'), 'utf8').trim();
    expect((await other.run(['vpc', 'list', '--url', url])).code).toBe(3);
    expect((await other.run(['vpc', 'list', '--url', url], { env: { CLOUD_TOKEN: token } })).code).toBe(0);
    await other.run(['instance', 'create', 'web', '--image', 'busybox'], { env: { CLOUD_TOKEN: token, CLOUD_URL: url } });
    const said = await other.run(['instance', 'exec', 'web', '--', 'echo', 'over tcp'], { env: { CLOUD_TOKEN: token, CLOUD_URL: url } });
    expect([said.stdout, said.code]).toEqual(['over tcp\n', 0]);

    expect((await other.run(['daemon', 'logs'])).stdout).toContain('serving');
    expect(await other.run(['daemon', 'stop'])).toMatchObject({ code: 0, stderr: 'The daemon has stopped.\n' });
    expect(await other.run(['daemon', 'stop'])).toMatchObject({ code: 0, stderr: 'The daemon does not run.\n' });
    expect((await other.run(['daemon', 'status'])).code).toBe(8);
    expect((await other.run(['system', 'doctor'])).code).toBe(8);
  });

  it('remembers its driver and takes no other for the same data', async () => {
    await using other = await Cloud.start();
    await other.run(['daemon', 'stop']);
    const refused = await other.run(['daemon', 'start', '--driver', 'docker']);
    expect([refused.code, refused.stderr]).toEqual([5, expect.stringContaining('was made with the memory driver')]);
    expect((await other.run(['daemon', 'start'])).stderr).toContain('memory driver');
  });

  it('that cannot start says why', async () => {
    await using other = new Cloud();
    const refused = await other.run(['daemon', 'start', '--driver', 'memory', '--listen', '0.0.0.0:0']);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('not a loopback address')]);
    await using damaged = new Cloud();
    mkdirSync(join(damaged.folder, 'data', 'cloud.db'), { recursive: true });
    const broken = await damaged.run(['daemon', 'start', '--driver', 'memory']);
    expect(broken.code).not.toBe(0);
    expect(broken.stderr).toMatch(/^Error: /);
  });

  it('stays in the foreground when asked, and ends on Ctrl-C', async () => {
    await using other = new Cloud();
    const child = other.spawn(['daemon', 'start', '--foreground', '--driver', 'memory']);
    let text = '';
    await new Promise<void>((resolve) =>
      child.stderr.on('data', (bytes: Buffer) => {
        text += bytes.toString();
        if (text.includes('Ctrl-C stops it')) resolve();
      }),
    );
    expect((await other.run(['vpc', 'list'])).code).toBe(0);
    child.kill('SIGINT');
    expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
    expect((await other.run(['daemon', 'status'])).code).toBe(8);
  });
});

describe('keys', () => {
  it('are made here, and the private half stays here', async () => {
    const { code } = await cloud.run(['ssh-key', 'create', 'ci', '--generate', '--out', 'id_ci']);
    expect(code).toBe(0);
    const file = join(cloud.folder, 'id_ci');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    const { publicKey } = await cloud.json<{ publicKey: string }>(['ssh-key', 'get', 'ci']);
    expect(readFileSync(`${file}.pub`, 'utf8').trim()).toBe(publicKey);
    const again = await cloud.run(['ssh-key', 'create', 'ci2', '--generate', '--out', 'id_ci']);
    expect([again.code, again.stderr]).toEqual([5, expect.stringContaining('not overwritten')]);
    const taken = await cloud.run(['ssh-key', 'create', 'ci', '--generate', '--out', 'id_other']);
    expect(taken.code).toBe(5);
    expect(existsSync(join(cloud.folder, 'id_other'))).toBe(false);
  });

  it('come from a file or standard input', async () => {
    const key = readFileSync(join(cloud.folder, 'id_ci.pub'), 'utf8');
    await cloud.run(['ssh-key', 'delete', 'ci']);
    expect((await cloud.run(['ssh-key', 'create', 'a', '--public-key', '@~/id_ci.pub'])).code).toBe(0);
    await cloud.run(['ssh-key', 'delete', 'a']);
    expect((await cloud.run(['ssh-key', 'create', 'b', '--public-key', '-'], { input: key })).code).toBe(0);
  });
});
