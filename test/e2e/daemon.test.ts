// The daemon's own life, as processes and files show it: starts, stops, kills, locks, sockets, tokens, a full disk, a held database.
import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { expect, test } from 'vitest';
import { connect, isFault } from '../../packages/sdk/src/index.ts';
import { isAlive, TestCloud, until } from './bench.ts';

const execute = promisify(execFile);
const isRoot = process.getuid?.() === 0;
const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
const memory = (options: ConstructorParameters<typeof TestCloud>[0] = {}): Promise<TestCloud> => TestCloud.start({ driver: 'memory', ...options });

test('start, status, logs, stop, and each of them once more', async () => {
  await using cloud = new TestCloud({ driver: 'memory' });
  expect(await cloud.cloud('daemon', 'status')).toMatchObject({
    code: 8,
    stdout: expect.stringContaining('stopped'),
    stderr: expect.stringContaining('cloud daemon start'),
  });
  expect(await cloud.cloud('vpc', 'list')).toMatchObject({ code: 8, stdout: '', stderr: expect.stringMatching(/cloud daemon start/) });
  expect(await cloud.cloud('daemon', 'stop')).toMatchObject({ code: 0, stderr: expect.stringContaining('does not run') });
  await cloud.start();
  const { pid } = cloud;
  expect([mode(cloud.dataDir), mode(join(cloud.dataDir, 'cloud.sock'))]).toEqual(['700', '600']);
  for (const file of ['cloud.db', 'daemon.json', 'daemon.log']) expect(mode(join(cloud.dataDir, file)), file).toMatch(/^[67]00$/);
  const again = await cloud.cloud('daemon', 'start', '--driver', 'memory');
  expect(again).toMatchObject({ code: 0, stderr: expect.stringContaining(`runs already (process ${pid})`) });
  expect(cloud.pid).toBe(pid);
  expect(await cloud.json('daemon', 'status')).toMatchObject({ state: 'running', pid, drivers: ['memory'] });
  expect(await cloud.ok('daemon', 'logs')).toContain('serving');
  await cloud.ok('daemon', 'stop');
  expect(isAlive(pid)).toBe(false);
  expect((await cloud.cloud('daemon', 'status')).code).toBe(8);
});

test('two starts at the same moment give one daemon, and both say where it is', async () => {
  await using cloud = new TestCloud({ driver: 'memory' });
  const results = await Promise.all([1, 2, 3].map(() => cloud.cloud('daemon', 'start', '--driver', 'memory')));
  const { stdout } = await execute('pgrep', ['-f', `data-dir ${cloud.dataDir} `]);
  expect(stdout.trim().split('\n')).toEqual([String(cloud.pid)]);
  expect(results.map(({ code, stderr }) => (code === 0 ? 0 : `${code}: ${stderr}`))).toEqual([0, 0, 0]);
});

test('after kill -9 the stale socket and record disturb nobody, and what was written is there', async () => {
  await using cloud = await memory();
  await cloud.ok('vpc', 'create', 'kept');
  await cloud.kill();
  expect(statSync(join(cloud.dataDir, 'cloud.sock')).isSocket()).toBe(true);
  expect(await cloud.cloud('vpc', 'list')).toMatchObject({ code: 8, stderr: expect.stringContaining('cloud daemon start') });
  expect(await cloud.cloud('daemon', 'stop')).toMatchObject({ code: 0 });
  await cloud.start();
  expect((await cloud.ok('vpc', 'list', '--output', 'name')).trim()).toBe('kept');
});

test('the driver of a data directory is for good', async () => {
  await using cloud = await memory();
  await cloud.ok('daemon', 'stop');
  const wrong = await cloud.cloud('daemon', 'start', '--driver', 'docker');
  expect(wrong).toMatchObject({ code: 5, stdout: '', stderr: expect.stringMatching(/made with the memory driver[^]*--data-dir/) });
  expect(await cloud.cloud('daemon', 'start', '--driver', 'dokcer')).toMatchObject({ code: 2, stderr: expect.stringContaining('docker or memory') });
  await cloud.ok('daemon', 'start'); // the one that it was made with
  expect(await cloud.json('daemon', 'status')).toMatchObject({ drivers: ['memory'] });
});

test('TCP is there only when asked for, on loopback, and wants the token', async () => {
  await using cloud = await memory({ start: ['--listen', '127.0.0.1:0'] });
  const { listen } = JSON.parse(readFileSync(join(cloud.dataDir, 'daemon.json'), 'utf8')) as { listen: string };
  const url = `http://${listen}`;
  const token = readFileSync(join(cloud.dataDir, 'admin-token'), 'utf8').trim();
  expect(mode(join(cloud.dataDir, 'admin-token'))).toBe('600');
  for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: `Basic ${token}` }, { authorization: `Bearer ${token}x` }] as Record<
    string,
    string
  >[]) {
    const answer = await fetch(`${url}/v1/vpcs`, { headers });
    expect([answer.status, await answer.json()]).toEqual([401, { error: expect.objectContaining({ code: 'unauthenticated' }) }]);
  }
  expect((await fetch(`${url}/v1/vpcs`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
  await using client = connect({ url, token });
  await client.vpc.create({ name: 'over-tcp' }, { wait: true });
  await expect(connect({ url, token: 'wrong' }).vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
  const env = { CLOUD_URL: url, CLOUD_TOKEN: token, CLOUD_DATA_DIR: join(cloud.folder, 'elsewhere') };
  expect((await cloud.cloudWith({ env }, 'vpc', 'list', '--output', 'name')).stdout.trim()).toBe('over-tcp');
  expect((await cloud.cloudWith({ env: { ...env, CLOUD_TOKEN: '' } }, 'vpc', 'list')).code).toBe(3);
  await using other = new TestCloud({ driver: 'memory' });
  expect(await other.cloud('daemon', 'start', '--driver', 'memory', '--listen', '0.0.0.0:0')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('--allow-remote'),
  });
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as { port: number };
  const refused = await other.cloud('daemon', 'start', '--driver', 'memory', '--listen', `127.0.0.1:${port}`);
  expect(refused.code).not.toBe(0);
  expect(refused.stderr).toContain(String(port));
  await new Promise((resolve) => taken.close(resolve));
});

test('a data directory that cannot be used is told about before anything else', async () => {
  await using cloud = new TestCloud({ driver: 'memory' });
  mkdirSync(cloud.dataDir);
  writeFileSync(join(cloud.dataDir, 'cloud.db'), 'this is not a database at all, but a text of some length, longer than a header\n'.repeat(20));
  const broken = await cloud.cloud('daemon', 'start', '--driver', 'memory');
  expect(broken.code).not.toBe(0);
  expect(broken.stderr).toMatch(/cloud\.db/);
  expect(broken.stderr).not.toMatch(/at .*\.js:\d+/);
  const file = join(cloud.folder, 'file');
  writeFileSync(file, '');
  const notDirectory = await cloud.cloud('daemon', 'start', '--driver', 'memory', '--data-dir', join(file, 'data'));
  expect(notDirectory).toMatchObject({ code: 8, stderr: expect.stringContaining(file) });
  const long = await cloud.cloud('daemon', 'start', '--driver', 'memory', '--data-dir', join(cloud.folder, 'x'.repeat(120)));
  expect(long).toMatchObject({ code: 2, stderr: expect.stringContaining('too long') });
});

test.skipIf(!isRoot)('a full disk is a clear error; reads go on, and writes when there is room again', async () => {
  const folder = new TestCloud({ driver: 'memory' });
  const disk = join(folder.folder, 'disk');
  mkdirSync(disk);
  await execute('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', disk]);
  try {
    chmodSync(disk, 0o700);
    const cloud = await memory({ dataDir: join(disk, 'data') });
    try {
      await cloud.ok('vpc', 'create', 'before');
      const { pid } = cloud;
      const fill = join(disk, 'fill');
      for (let size = 1024 * 1024; size >= 512; size /= 2) {
        for (;;) {
          try {
            writeFileSync(fill, Buffer.alloc(size), { flag: 'a' });
          } catch (error) {
            if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
            break;
          }
        }
      }
      const errors: string[] = [];
      for (let n = 0; n < 100 && errors.length < 3; n++) {
        await cloud.client.vpc.create({ name: `full${n}`, description: 'x'.repeat(200) }).catch((error: unknown) => {
          errors.push(isFault(error) ? `${error.code}: ${error.message}` : String(error));
        });
      }
      expect(errors.length).toBeGreaterThan(0);
      expect([...new Set(errors.map((error) => error.split(':')[0]))], errors[0]).toEqual(['insufficient_storage']);
      expect(errors.at(-1)).toMatch(/full|no space/i);
      const said = await cloud.cloud('vpc', 'create', 'full');
      expect(said).toMatchObject({ code: 8, stdout: '', stderr: expect.stringMatching(/full|no space/i) });
      expect((await cloud.ok('vpc', 'get', 'before', '--output', 'name')).trim()).toBe('before');
      expect([isAlive(pid), cloud.pid]).toEqual([true, pid]);
      writeFileSync(fill, '');
      await until('writes work again', async () => cloud.client.vpc.create({ name: 'after' }, { wait: true, timeout: 10_000 }));
      await until('what was accepted ends', async () => (await cloud.client.operation.list({ state: 'running' })).items.length === 0);
      // And the file is whole.
      await cloud.kill();
      await cloud.start();
      expect((await cloud.client.vpc.get('after')).state).toBe('ready');
    } finally {
      await cloud[Symbol.asyncDispose]();
    }
  } finally {
    await execute('umount', [disk]);
    await folder[Symbol.asyncDispose]();
  }
});

test('a database that another process holds is a clear error or a short wait, and the daemon lives', async () => {
  await using cloud = await memory();
  await cloud.ok('vpc', 'create', 'before');
  const other = new Database(join(cloud.dataDir, 'cloud.db'));
  other.exec('begin immediate');
  const started = Date.now();
  const held = await cloud.client.vpc.create({ name: 'held' }).then(
    () => 'accepted',
    (error: unknown) => (isFault(error) ? `${error.code}: ${error.message}` : String(error)),
  );
  expect(held).toMatch(/^unavailable: .*(locked|holds|busy|in use)/);
  expect(Date.now() - started).toBeLessThan(30_000);
  expect((await cloud.client.vpc.list()).items.map(({ name }) => name)).toEqual(['before']);
  const waiting = cloud.client.vpc.create({ name: 'waited' }, { wait: true });
  await sleep(200);
  other.exec('rollback');
  other.close();
  expect((await waiting).state).toBe('ready');
});

test('a second process may not use the data directory', async () => {
  await using cloud = await memory();
  const { embed } = await import('../../packages/sdk/src/embed.ts');
  await expect(embed({ dataDir: cloud.dataDir })).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining(cloud.dataDir) });
  expect((await cloud.client.system.info()).dataDir).toBe(cloud.dataDir);
});

test('SIGTERM and SIGINT end it in good order, with commands still waiting', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    await using cloud = await memory();
    const watch = cloud.spawn(['event', 'watch']);
    const closed = new Promise<number | null>((resolve) => watch.once('close', resolve));
    let seen = '';
    watch.stdout.on('data', (bytes: Buffer) => (seen += bytes.toString()));
    await until('it watches', async () => {
      await cloud.client.vpc.create({ name: `n${Math.floor(Math.random() * 1e9)}` }, { wait: true });
      return seen.includes('vpc.ready');
    });
    const { pid } = cloud;
    const at = Date.now();
    process.kill(pid, signal);
    await until('it has ended', async () => !isAlive(pid), 5000);
    expect(Date.now() - at, 'open streams do not hold it up').toBeLessThan(3000);
    expect(await closed, 'told as what it is').toBe(8);
    expect(await cloud.ok('daemon', 'logs')).toContain('stopped');
  }
});
