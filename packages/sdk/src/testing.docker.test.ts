// An ephemeral cloud on the real engine: programs run in it, and the engine is afterwards as it was before.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadDrivers, silent, systemClock } from '@thecloud/core';
import { expect, it } from 'vitest';
import { run } from './index.ts';
import { ephemeral } from './testing.ts';

it('runs programs, and leaves nothing in the engine', async () => {
  let installation = '';
  {
    await using cloud = await ephemeral({ driver: 'docker' });
    ({ installation = '' } = await cloud.system.info());
    await cloud.vpc.create({ name: 'prod' });
    await cloud.volume.create({ name: 'data', size: 1 });
    const web = await cloud.instance.create({ name: 'web', image: 'busybox', command: 'sleep 1h', vpc: 'prod', volumes: ['data:/data'] }, { wait: true });
    expect(web).toMatchObject({ state: 'running', address: expect.any(String) as string });
    expect(await run(cloud, 'web', ['sh', '-c', 'cat; echo problems >&2; exit 3'], { input: 'hello' })).toEqual({
      exitCode: 3,
      stdout: 'hello',
      stderr: 'problems\n',
    });
    // Left as it is: the disposal has to cope.
    await cloud.instance.create({ name: 'late', image: 'busybox', command: 'sleep 1h' });
  }
  const scratch = await mkdtemp(join(tmpdir(), 'cloud-'));
  const { drivers, close } = await loadDrivers('docker', { installation, dataDir: scratch, log: silent, clock: systemClock });
  const left = await Promise.all(['compute', 'volume', 'network'].map((port) => (drivers[port] as unknown as { list(): Promise<unknown[]> }).list()));
  expect(left).toEqual([[], [], []]);
  expect(await (drivers['image'] as unknown as { kept(): Promise<object[]> }).kept()).toEqual([]);
  await close();
  await rm(scratch, { recursive: true, force: true });
});
