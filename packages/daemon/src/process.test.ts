// The daemon as a process of its own: what it says, how it ends, and what a killed one leaves to the next.
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RotatingFile } from './log.ts';
import { ask, until } from './testbench.ts';

const entry = fileURLToPath(new URL('./main.ts', import.meta.url));
let dataDir: string;
const running = new Set<ChildProcess>();

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'cloud-process-'));
});
afterEach(async () => {
  for (const child of running) child.kill('SIGKILL');
  await rm(dataDir, { recursive: true, force: true });
});

/** The process, and the first line it says. */
async function start(...args: string[]) {
  return startWith({}, ...args);
}

async function startWith(environment: Record<string, string>, ...args: string[]) {
  const child = spawn(process.execPath, ['--conditions=@thecloud/source', entry, '--data-dir', dataDir, '--driver', 'memory', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, CLOUD_S3_LISTEN: 'off', ...environment },
  });
  running.add(child);
  const exit = once(child, 'exit').then(([code]) => (running.delete(child), code as number | null));
  let log = '';
  child.stderr.on('data', (chunk: Buffer) => (log += chunk.toString()));
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  return {
    child,
    exit,
    log: () => log,
    said: JSON.parse(line.toString()) as {
      ready?: { pid: number; socket: string; s3?: { host: string; port: number } };
      error?: { code: string; message: string };
    },
  };
}
const missing = (name: string) =>
  access(join(dataDir, name)).then(
    () => false,
    () => true,
  );

describe('the process', () => {
  it('says when it is ready, serves, and ends in good order on SIGTERM', async () => {
    const { child, exit, said, log } = await start('--listen', '0');
    expect(said).toMatchObject({ ready: { pid: child.pid, socket: join(dataDir, 'cloud.sock'), address: { host: '127.0.0.1' } } });
    const daemon = { daemon: { socketPath: join(dataDir, 'cloud.sock') } } as Parameters<typeof ask>[0];
    expect(await ask(daemon, 'GET', '/v1/vpcs')).toMatchObject({ status: 200, json: { items: [] } });
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
    expect(await Promise.all(['cloud.sock', 'daemon.json'].map(missing))).toEqual([true, true]);
    const lines = log()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    expect(lines.map(({ msg }) => msg)).toEqual(expect.arrayContaining(['serving', 'stopping', 'stopped']));
    expect(log()).not.toContain((await readFile(join(dataDir, 'admin-token'), 'utf8')).trim());
  });

  it('refuses a directory that another one serves, and takes over from a killed one', async () => {
    const first = await start();
    const second = await start();
    expect(second.said.error).toMatchObject({ code: 'conflict' });
    expect(await second.exit).toBe(5);
    first.child.kill('SIGKILL');
    await first.exit;
    expect(await missing('cloud.sock')).toBe(false);
    const third = await start('--log-file', join(dataDir, 'daemon.log'));
    expect(third.said.ready).toBeDefined();
    expect(third.log()).toBe('');
    third.child.kill('SIGINT');
    expect(await third.exit).toBe(0);
    expect(await readFile(join(dataDir, 'daemon.log'), 'utf8')).toContain('"serving"');
  });

  it.each([
    [['--listen', '0.0.0.0:0'], 'invalid_input', 2],
    [['--listen', 'everywhere'], 'invalid_input', 2],
    [['--driver', 'cloud9'], 'invalid_input', 2],
    [['--lsten', '1'], 'invalid_input', 2],
    [['--listen', '0', '--allowed-host', '*'], 'invalid_input', 2],
    [['--listen', '0', '--allowed-origin', 'app.example.com'], 'invalid_input', 2],
    [['--listen', '0', '--trusted-proxy', 'all'], 'invalid_input', 2],
    [['--listen', '0', '--rate-limit', 'much'], 'invalid_input', 2],
    [['--production'], 'invalid_input', 2],
    [['--data-dir', `/tmp/${'x'.repeat(120)}`], 'invalid_input', 2],
    [['--data-dir', '/etc/passwd/nope'], 'unavailable', 8],
  ])('says why it does not start with %j', async (args, code, status) => {
    const { said, exit } = await start(...args);
    expect(said.error).toMatchObject({ code });
    expect(await exit).toBe(status);
  });
});

describe('the master key', () => {
  const KEY = randomBytes(32).toString('base64');

  it('comes from outside in production, and no program that the daemon runs inherits it', async () => {
    const script = join(dataDir, 'key.sh');
    const { exit, said, child } = await startWith({ CLOUD_MASTER_KEY: KEY }, '--production');
    expect(said.ready).toBeDefined();
    expect(await missing('master-key')).toBe(true);
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
    // Once it was given a key, it is started with no other and not without.
    expect((await start()).said.error).toMatchObject({ code: 'conflict' });
    // The program that prints the key is the first that the daemon runs: what it inherits, the others do.
    await writeFile(script, `#!/bin/sh\nenv > '${dataDir}/inherited'\necho '${KEY}'\n`, { mode: 0o700 });
    const again = await startWith({ CLOUD_MASTER_KEY_COMMAND: script, CLOUD_MASTER_KEY_NEXT: '' }, '--production');
    expect(again.said.error).toBeUndefined();
    expect(await readFile(join(dataDir, 'inherited'), 'utf8')).not.toContain('CLOUD_MASTER_KEY');
    again.child.kill('SIGTERM');
    expect(await again.exit).toBe(0);
    expect(again.log()).not.toContain(KEY);
  });
});

describe('the log file', () => {
  it('is rotated by size, and three old ones are kept', async () => {
    const path = join(dataDir, 'x.log');
    const file = new RotatingFile(path, 100);
    for (let count = 0; count < 10; count++) file.write(`${String(count).repeat(59)}\n`);
    await until(() => true);
    const first = async (name: string) => (await readFile(join(dataDir, name), 'utf8'))[0];
    expect(await Promise.all(['x.log', 'x.log.1', 'x.log.2', 'x.log.3'].map(first))).toEqual(['9', '8', '7', '6']);
    expect(await missing('x.log.4')).toBe(true);
  });
});

describe('S3 clients', () => {
  /** Something else on a port of loopback. */
  async function taken(): Promise<{ port: number; close(): Promise<void> }> {
    const server = createServer();
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return { port: (server.address() as AddressInfo).port, close: () => new Promise((done) => server.close(() => done())) };
  }
  const stop = async ({ child, exit }: Awaited<ReturnType<typeof start>>) => {
    child.kill('SIGTERM');
    expect(await exit).toBe(0);
  };

  it('are served where it is said, and nowhere when that is said', async () => {
    const none = await start();
    expect(none.said.ready).not.toHaveProperty('s3');
    await stop(none);
    const given = await start('--s3-listen', '127.0.0.1:0');
    const port = given.said.ready?.s3?.port as number;
    expect(JSON.parse(await readFile(join(dataDir, 'daemon.json'), 'utf8'))).toMatchObject({ s3: `127.0.0.1:${port}` });
    expect((await fetch(`http://127.0.0.1:${port}/photos`)).status).toBe(404);
    await stop(given);
    expect(await missing('s3-port')).toBe(true);
  });

  it('find it where it was, whoever else listens at the usual place', async () => {
    const first = await startWith({ CLOUD_S3_LISTEN: 'auto' });
    const port = first.said.ready?.s3?.port as number;
    expect((await readFile(join(dataDir, 's3-port'), 'utf8')).trim()).toBe(String(port));
    await stop(first);
    const other = await taken();
    await writeFile(join(dataDir, 's3-port'), `${other.port}\n`);
    const moved = await startWith({ CLOUD_S3_LISTEN: '' });
    expect(moved.said.ready?.s3?.port).not.toBe(other.port);
    expect(moved.log()).toContain('something else listens where S3 clients were served');
    await stop(moved);
    await other.close();
    const again = await startWith({ CLOUD_S3_LISTEN: '' });
    expect(again.said.ready?.s3).toEqual(moved.said.ready?.s3);
    await stop(again);
  });

  it('an address that is taken, no loopback or none at all keeps the daemon from starting', async () => {
    const other = await taken();
    for (const [address, code] of [
      [`127.0.0.1:${other.port}`, 'conflict'],
      ['0.0.0.0:0', 'invalid_input'],
      ['nowhere', 'invalid_input'],
    ]) {
      const { said, exit } = await start('--s3-listen', address as string);
      expect(said.error, address).toMatchObject({ code });
      expect(await exit).not.toBe(0);
    }
    await other.close();
    const remote = await start('--s3-listen', '0.0.0.0:0', '--allow-remote');
    expect(remote.said.ready?.s3).toMatchObject({ host: '0.0.0.0' });
    await stop(remote);
  });
});
