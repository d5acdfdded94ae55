// One body of tests for every way to the cloud: in the same process, over the Unix socket, over TCP. Whoever writes a program need not care which.
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { createCore, DriverError, type DriverSet, silent } from '@thecloud/core';
import { type Daemon, serve } from '@thecloud/daemon';
import { type Cloud, connect, Fault, isFault, OperationFailed, run, waitForOperation } from '@thecloud/sdk';
import { embed } from '@thecloud/sdk/embed';
import { ephemeral } from '@thecloud/sdk/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryDrivers } from '../../packages/core/src/drivers/memory/index.ts';

const WAIT = { wait: true } as const;

interface Subject {
  cloud: Cloud;
  close(): Promise<void>;
}

async function overDaemon(dataDir: string, drivers: DriverSet, open: (daemon: Daemon) => Promise<Cloud & { close(): void }>): Promise<Subject> {
  const daemon = await serve(await createCore({ dataDir, drivers, durable: false }), { listen: '0', log: silent });
  const cloud = await open(daemon);
  return {
    cloud,
    close: async () => {
      cloud.close();
      await daemon.close();
    },
  };
}

const ways: Record<string, (dataDir: string, drivers: DriverSet) => Promise<Subject>> = {
  embedded: async (dataDir, driver) => {
    const cloud = await embed({ dataDir, driver, durable: false });
    return { cloud, close: () => cloud.close() };
  },
  socket: (dataDir, drivers) => overDaemon(dataDir, drivers, async () => connect({ dataDir })),
  tcp: (dataDir, drivers) =>
    overDaemon(dataDir, drivers, async ({ address }) =>
      connect({ url: `http://127.0.0.1:${address?.port}`, token: (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim() }),
    ),
};

describe.each(Object.keys(ways))('%s', (way) => {
  let subject: Subject;
  let cloud: Cloud;
  let dataDir: string;
  const drivers = memoryDrivers();
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'cloud-way-'));
    subject = await (ways[way] as (typeof ways)[string])(dataDir, drivers);
    cloud = subject.cloud;
  });
  afterAll(async () => {
    await subject.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  const machine = async (name: string) => cloud.instance.create({ name, image: 'busybox', command: 'sleep 1h', env: { MODE: 'dev' } }, WAIT);

  it('creates, lists, gets, updates and deletes', async () => {
    const accepted = await cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16', labels: { env: 'dev' } });
    expect(accepted).toMatchObject({ name: 'prod', cidr: '10.20.0.0/16', generation: 1, labels: { env: 'dev' } });
    await waitForOperation(cloud, accepted.operation as string);
    expect(await cloud.vpc.get('prod')).toMatchObject({ id: accepted.id, state: 'ready' });
    expect(await cloud.vpc.get(accepted.id)).toMatchObject({ name: 'prod' });
    expect((await cloud.vpc.list({ label: ['env=dev'] })).items).toMatchObject([{ name: 'prod' }]);
    expect((await cloud.vpc.list({ label: ['env=prod'] })).items).toEqual([]);
    const updated = await cloud.vpc.update('prod', { description: 'mine', labels: {} }, WAIT);
    expect(updated).toMatchObject({ description: 'mine', labels: {}, generation: 2, state: 'ready' });
    expect((await cloud.vpc.update('prod', { description: null }, WAIT)).description).toBeUndefined();
    const last = await cloud.vpc.delete('prod', {}, WAIT);
    expect(last).toMatchObject({ id: accepted.id, name: 'prod' });
    await expect(cloud.vpc.get('prod')).rejects.toMatchObject({ code: 'not_found' });
  });

  it('waits for what is asynchronous when asked, and only then', async () => {
    const created = await machine('waiter');
    expect(created).toMatchObject({ state: 'running', vpc: 'default', address: expect.any(String) as string });
    expect((await cloud.instance.stop('waiter', {}, WAIT)).state).toBe('stopped');
    const accepted = await cloud.instance.start('waiter');
    expect(accepted.operation).toMatch(/^op-/);
    const seen: (string | undefined)[] = [];
    expect(await waitForOperation(cloud, accepted.operation as string, { onProgress: (operation) => seen.push(operation.progress) })).toMatchObject({
      state: 'succeeded',
      kind: 'instance.start',
    });
    const volume = await cloud.volume.create({ name: 'disk', size: 1 }, WAIT);
    expect(volume.state).toBe('available');
    expect(await cloud.volume.snapshot('disk', { name: 'copy' }, WAIT)).toMatchObject({ name: 'copy', volume: 'disk', state: 'available' });
    await cloud.snapshot.delete('copy', {}, WAIT);
    await cloud.volume.delete('disk', {}, WAIT);
    await cloud.instance.delete('waiter', {}, WAIT);
  });

  it('rejects with Faults: code, sentence, details', async () => {
    const bad = await cloud.vpc.create({ name: 'Bad Name', cidr: '10.0.0.0/99' }).catch((error: unknown) => error);
    expect(bad).toBeInstanceOf(Fault);
    expect(bad).toMatchObject({ code: 'invalid_input', requestId: expect.any(String) as string });
    expect(((bad as Fault).details as { path: string }[]).map(({ path }) => path)).toContain('name');
    await expect(cloud.instance.create({ name: 'x', image: 'busybox', vpc: 'nowhere' })).rejects.toMatchObject({ code: 'not_found' });
    // A misspelt field, past the compiler.
    await expect(cloud.vpc.create({ name: 'x', ...({ cdir: '10.9.0.0/16' } as object) })).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(cloud.vpc.list({}, { tenant: 'nobody' })).rejects.toMatchObject({ code: 'not_found' });
    const missing = await cloud.vpc.get('').catch((error: unknown) => error);
    expect(isFault(missing, 'invalid_input'), String(missing)).toBe(true);
  });

  it('rejects with the reason of an operation that failed', async () => {
    drivers.faults.fail('volume.ensure', 1_000, new DriverError('bad_spec', 'no such room'));
    const failed = await cloud.volume.create({ name: 'roomy', size: 1 }, WAIT).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(OperationFailed);
    expect(failed).toMatchObject({
      message: expect.stringContaining('no such room') as string,
      operation: { state: 'failed', kind: 'volume.create', name: 'roomy' },
    });
    expect(await cloud.volume.get('roomy')).toMatchObject({ state: 'error' });
    drivers.faults.clear();
    await cloud.volume.delete('roomy', {}, WAIT);
  });

  it('says when waiting ran out, and that the change goes on', async () => {
    drivers.faults.slow('volume.ensure', 400);
    await expect(cloud.volume.create({ name: 'slow', size: 1 }, { wait: true, timeout: 50 })).rejects.toMatchObject({
      code: 'timeout',
      hint: expect.stringMatching(/^cloud operation wait op-/) as string,
    });
    const { operation } = await cloud.volume.get('slow');
    expect(await waitForOperation(cloud, operation as string)).toMatchObject({ state: 'succeeded' });
    drivers.faults.clear();
    await cloud.volume.delete('slow', {}, WAIT);
  });

  it('makes one write of two with the same idempotency key', async () => {
    const options = { idempotencyKey: `once-${way}` };
    const first = await cloud.volume.create({ name: 'once', size: 1 }, options);
    const second = await cloud.volume.create({ name: 'once', size: 1 }, options);
    expect(second.id).toBe(first.id);
    await expect(cloud.volume.create({ name: 'once', size: 2 }, options)).rejects.toMatchObject({ code: 'conflict' });
    await expect(cloud.volume.create({ name: 'once', size: 1 })).rejects.toMatchObject({ code: 'conflict' });
    await cloud.volume.delete('once', {}, WAIT);
  });

  it('changes only the generation that was read', async () => {
    const { generation } = await cloud.vpc.create({ name: 'guarded' }, WAIT);
    await cloud.vpc.update('guarded', { description: 'a' }, { ...WAIT, ifMatch: generation });
    await expect(cloud.vpc.update('guarded', { description: 'b' }, { ifMatch: generation })).rejects.toMatchObject({ code: 'stale' });
    await expect(cloud.vpc.delete('guarded', {}, { ifMatch: generation })).rejects.toMatchObject({ code: 'stale' });
    await cloud.vpc.delete('guarded', {}, { ...WAIT, ifMatch: generation + 1 });
  });

  it('gives answers that are the caller’s own', async () => {
    const before = (await cloud.instanceType.list()).items;
    const name = before[0]?.name;
    (before[0] as { name: string }).name = 'mangled';
    before.length = 1;
    expect((await cloud.instanceType.list()).items[0]?.name).toBe(name);
  });

  it('streams events as they happen, until the loop is left', async () => {
    const since = (await cloud.event.list({ limit: 1 })).items.at(-1)?.id ?? 0;
    const seen: string[] = [];
    const creating = cloud.vpc.create({ name: 'watched' }, WAIT);
    for await (const event of cloud.event.watch({ since, resource: 'vpc/watched' })) {
      seen.push(event.type);
      if (seen.length === 2) break;
    }
    expect(seen[0]).toMatch(/^vpc\./);
    await creating;
    await cloud.vpc.delete('watched', {}, WAIT);
  });

  it('ends a stream by its signal, and rejects one that cannot open', async () => {
    const stop = new AbortController();
    const watching = (async () => {
      for await (const _ of cloud.event.watch({}, { signal: stop.signal })) stop.abort(new Error('enough'));
    })();
    setTimeout(() => stop.abort(new Error('enough')), 50);
    await expect(watching).rejects.toThrow('enough');
    const logs = cloud.instance.logs('nobody')[Symbol.asyncIterator]();
    await expect(logs.next()).rejects.toMatchObject({ code: 'not_found' });
  });

  it('gives up a call by its signal', async () => {
    await expect(cloud.vpc.list({}, { signal: AbortSignal.abort(new Error('never mind')) })).rejects.toThrow('never mind');
    await machine('idle');
    const stop = new AbortController();
    const waiting = cloud.instance.wait('idle', { for: 'stopped' }, { signal: stop.signal });
    setTimeout(() => stop.abort(new Error('no patience')), 50);
    await expect(waiting).rejects.toThrow('no patience');
    await expect(cloud.instance.wait('idle', { for: 'stopped', timeout: 0 })).rejects.toMatchObject({ code: 'timeout' });
    await cloud.instance.delete('idle', {}, WAIT);
  });

  it('runs programs: input, outputs, exit code', async () => {
    await machine('web');
    expect(await run(cloud, 'web', ['echo', 'hello', 'wörld'])).toEqual({ exitCode: 0, stdout: 'hello wörld\n', stderr: '' });
    expect(await run(cloud, 'web', ['cat'], { input: 'through' })).toEqual({ exitCode: 0, stdout: 'through', stderr: '' });
    expect(await run(cloud, 'web', ['cat', '/nope'])).toMatchObject({ exitCode: 1, stderr: expect.stringContaining('/nope') as string });
    expect((await run(cloud, 'web', ['env'], { env: { A: '1' } })).stdout).toContain('A=1');
    const large = 'x'.repeat(3_000_000);
    expect((await run(cloud, 'web', ['cat'], { input: large })).stdout === large, 'three megabytes there and back').toBe(true);
    await expect(run(cloud, 'nobody', ['true'])).rejects.toMatchObject({ code: 'not_found' });
    await cloud.instance.stop('web', {}, WAIT);
    await expect(run(cloud, 'web', ['true'])).rejects.toMatchObject({ code: 'conflict' });
    await cloud.instance.delete('web', {}, WAIT);
  });

  it('ends a channel from either side', async () => {
    await machine('box');
    const closed = await cloud.instance.exec('box', { command: ['cat'] });
    closed.close();
    await expect(closed.result).rejects.toMatchObject({ code: 'conflict' });
    const stop = new AbortController();
    const aborted = await cloud.instance.exec('box', { command: ['cat'] }, { signal: stop.signal });
    stop.abort(new Error('enough'));
    await expect(aborted.result).rejects.toThrow('enough');
    const half = await cloud.instance.exec('box', { command: ['cat'] });
    half.input.write('one ');
    half.control({ type: 'resize', columns: 80, rows: 24 });
    half.input.end('two');
    expect(await text(half.output)).toBe('one two');
    expect(await half.result).toEqual({ exitCode: 0 });
    await cloud.instance.delete('box', {}, WAIT);
  });

  const put = async (name: string, bytes: string | Buffer, input: Parameters<Cloud['object']['put']>[1] = {}) => {
    const channel = await cloud.object.put(name, input);
    channel.input.end(bytes);
    return channel.result;
  };
  const get = async (name: string, input: Parameters<Cloud['object']['get']>[1] = {}): Promise<Buffer> => {
    const channel = await cloud.object.get(name, input);
    const bytes = await buffer(channel.output);
    await channel.result;
    return bytes;
  };

  it('carries objects of any size and name, and their faults', async () => {
    await cloud.bucket.create({ name: 'photos' });
    const large = randomBytes(3_000_000);
    expect(await put('photos/large', large, { size: large.length, metadata: { of: 'wörds' } })).toMatchObject({
      size: large.length,
      metadata: { of: 'wörds' },
    });
    expect((await get('photos/large')).equals(large), 'three megabytes there and back').toBe(true);
    expect((await get('photos/large', { start: 1_000_000, end: 1_000_002 })).equals(large.subarray(1_000_000, 1_000_003))).toBe(true);
    for (const key of ['a b/c+d', '%2F', '%', '?x=y#z', '..', './/', 'ключ ☃ 𝄞', `${'é'.repeat(511)}xx`, '"\'\\\n\t']) {
      await put(`photos/${key}`, key);
      expect((await get(`photos/${key}`)).toString()).toBe(key);
      expect(await cloud.object.head(`photos/${key}`)).toMatchObject({ bucket: 'photos', key });
      await cloud.object.delete(`photos/${key}`);
    }
    await expect(put('photos/short', 'abc', { size: 4 })).rejects.toMatchObject({ code: 'invalid_input' });
    await expect(get('photos/nothing')).rejects.toMatchObject({ code: 'not_found' });
    await expect(put('nowhere/a', 'x')).rejects.toMatchObject({ code: 'not_found' });
    expect((await cloud.object.list('photos')).items.map(({ key }) => key)).toEqual(['large']);
    await cloud.bucket.delete('photos', { force: true });
  });

  it('leaves nothing of an object whose writer went away', async () => {
    await cloud.bucket.create({ name: 'halves' });
    for (const leave of ['close', 'abort', 'destroy'] as const) {
      const stop = new AbortController();
      const channel = await cloud.object.put('halves/a', {}, { signal: stop.signal });
      channel.input.write(Buffer.alloc(200_000));
      if (leave === 'close') channel.close();
      else if (leave === 'abort') stop.abort(new Error('enough'));
      else channel.input.destroy();
      if (leave === 'destroy') channel.close();
      await expect(channel.result).rejects.toThrow();
    }
    await put('halves/b', Buffer.alloc(2_000_000));
    const reading = await cloud.object.get('halves/b');
    reading.output.once('data', () => reading.close());
    await expect(reading.result).rejects.toMatchObject({ code: 'conflict' });
    expect((await cloud.object.list('halves')).items.map(({ key }) => key)).toEqual(['b']);
    await cloud.bucket.delete('halves', { force: true });
  });
});

it('serves S3 clients from within a program', async () => {
  await using cloud = await ephemeral({ s3: 0 });
  await cloud.bucket.create({ name: 'photos' });
  const { url } = await cloud.object.presign('photos/a', { method: 'PUT' });
  expect(url.startsWith(`${cloud.s3Endpoint}/photos/a?`)).toBe(true);
  expect((await fetch(url, { method: 'PUT', body: 'hello' })).status).toBe(200);
  expect(await cloud.object.head('photos/a')).toMatchObject({ size: 5 });
  await using silentOne = await ephemeral();
  expect(silentOne.s3Endpoint).toBeUndefined();
  const { port } = new URL(cloud.s3Endpoint as string);
  await expect(ephemeral({ s3: Number(port) })).rejects.toMatchObject({ code: 'conflict' });
});

it('waits on when the daemon is restarted meanwhile', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'cloud-way-'));
  const drivers = memoryDrivers();
  const start = async () => serve(await createCore({ dataDir, drivers, durable: false }), { log: silent });
  const first = await start();
  using cloud = connect({ dataDir });
  drivers.faults.slow('volume.ensure', 1_000);
  const { operation } = await cloud.volume.create({ name: 'patient', size: 1 });
  const waiting = waitForOperation(cloud, operation as string);
  const closing = first.close();
  drivers.faults.clear();
  await closing;
  const second = await start();
  expect(await waiting).toMatchObject({ state: 'succeeded' });
  await second.close();
  await rm(dataDir, { recursive: true, force: true });
});
