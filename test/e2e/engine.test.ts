// Docker Engine away: to the daemon it is, when the socket between them is cut. Reads go on, writes say what is the matter and how to mend
// it, what was under way waits, and what happened meanwhile is found out afterwards.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { docker, dockerMissing, EngineProxy, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();

describe.skipIf(missing !== undefined)(`an engine that comes and goes${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let folder: string;
  let proxy: EngineProxy;
  let cloud: TestCloud;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cloud-proxy-'));
    proxy = await EngineProxy.start(folder);
    cloud = await TestCloud.start({ env: { DOCKER_HOST: proxy.host } });
    await cloud.ok('vpc', 'create', 'net');
  });
  afterAll(async () => {
    proxy?.mend();
    await cloud?.[Symbol.asyncDispose]();
    await proxy?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });
  const box = (name: string) => ({ name, image: 'busybox', type: 'nano', vpc: 'net', command: ['sleep', '100000'], stopTimeout: 0 });
  const words = (name: string) => [
    'instance',
    'create',
    name,
    '--image',
    'busybox',
    '--vpc',
    'net',
    '--type',
    'nano',
    '--stop-timeout',
    '0',
    '--command',
    'sleep 100000',
  ];

  test('while it is away reads work, and writes say so with a hint', async () => {
    await cloud.ok(...words('web'));
    proxy.cut();
    expect((await cloud.ok('instance', 'list', '--output', 'name')).trim()).toBe('web');
    expect(await cloud.client.instance.get('web')).toMatchObject({ state: 'running' });
    for (const command of [words('other'), ['vpc', 'create', 'other'], ['volume', 'create', 'other', '--size', '1']]) {
      const { code, stdout, stderr } = await cloud.cloud(...command);
      expect({ code, stdout }, `${command.join(' ')}: ${stderr}`).toEqual({ code: 8, stdout: '' });
      expect(stderr).toMatch(/Docker Engine.*not reachable[^]*Hint: /);
    }
    const json = await cloud.cloud(...words('other'), '--output', 'json');
    expect(JSON.parse(json.stdout || json.stderr)).toMatchObject({ error: { code: 'unavailable', hint: expect.any(String) } });
    expect((await cloud.cloud('instance', 'exec', 'web', '--', 'true')).code).toBe(8);
    const doctor = await cloud.cloud('system', 'doctor');
    expect(doctor.stdout + doctor.stderr).toMatch(/Docker Engine/);
    expect((await cloud.client.instance.list()).items.map(({ name }) => name)).toEqual(['web']);
    proxy.mend();
    await cloud.ok(...words('other'));
    await cloud.ok('instance', 'delete', 'other', '--yes');
  });

  test('what was under way when it went goes on when it is back, once', async () => {
    for (const delay of [0, 60, 150, 250, 400]) {
      const name = `cut${delay}`;
      const waiting = cloud.client.instance.create(box(name));
      const made = await waiting;
      await new Promise((resolve) => setTimeout(resolve, delay));
      proxy.cut();
      await new Promise((resolve) => setTimeout(resolve, 200));
      proxy.mend();
      await until(`${name} runs`, async () => (await cloud.client.instance.get(name)).state === 'running');
      const found = await docker.listContainers({ all: true, filters: { label: [`thecloud.id=${made.id}`] } });
      expect(found.map(({ State }) => State)).toEqual(['running']);
      const { items } = await cloud.client.operation.list({ state: 'running' });
      expect(items).toEqual([]);
    }
    proxy.cut();
    const deleting = await Promise.allSettled(['cut0', 'cut60'].map((name) => cloud.client.instance.delete(name)));
    proxy.mend();
    // Accepted or refused: never in between.
    for (const [index, name] of ['cut0', 'cut60'].entries()) {
      if (deleting[index]?.status === 'rejected') await cloud.client.instance.delete(name, {}, { wait: true });
      await until(`${name} is gone`, async () => !(await cloud.client.instance.list()).items.some((one) => one.name === name));
    }
  });

  test('what died or was removed meanwhile is mended when it is back', async () => {
    const { id } = await cloud.client.instance.get('web');
    const second = await cloud.client.instance.create(box('second'), { wait: true });
    proxy.cut();
    await docker.getContainer(id).kill();
    await docker.getContainer(second.id).remove({ force: true });
    await new Promise((resolve) => setTimeout(resolve, 500));
    proxy.mend();
    const at = Date.now();
    await until('both run', async () => {
      const states = await Promise.all([id, second.id].map(async (one) => (await docker.getContainer(one).inspect()).State.Running));
      return states.every(Boolean);
    });
    expect(Date.now() - at).toBeLessThan(15_000);
    await until('and are said to', async () =>
      (await Promise.all(['web', 'second'].map((name) => cloud.client.instance.get(name)))).every(({ state }) => state === 'running'),
    );
  });

  test('a daemon that is started while it is away serves reads, and works once it is back', async () => {
    proxy.cut();
    await cloud.ok('daemon', 'stop');
    await cloud.start();
    expect((await cloud.client.instance.list()).items.length).toBeGreaterThan(1);
    const before = await cloud.cloud('volume', 'create', 'later', '--size', '1');
    expect(before.code).toBe(8);
    proxy.mend();
    await until('writes work', async () => (await cloud.cloud('volume', 'create', 'later', '--size', '1')).code === 0);
    const { id } = await cloud.client.instance.get('web');
    await docker.getContainer(id).kill();
    await until('deaths are noticed again', async () => (await docker.getContainer(id).inspect()).State.Running);
  });
});
