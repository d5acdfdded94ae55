// Volumes on a real engine: the common suite for both kinds, and what only a real disk shows (limits, consistency, leftovers).
import { readdir, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import tar from 'tar-stream';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MIB, volumeConformance } from '../../services/volume/driver.conformance.ts';
import { isRoot } from './host.ts';
import { findLoop, listLoops } from './loop.ts';
import { dockerMissing, type Instance, TestInstallation } from './testbench.ts';
import { run } from './tools.ts';
import { DockerVolume } from './volume.ts';
import { readVolume, writeVolume } from './volume-copy.ts';

const signal = new AbortController().signal;
const missing = await dockerMissing();

const mount = async (driver: DockerVolume, volumeId: string) => [{ ...(await driver.attach(volumeId)), Target: '/data' }];

async function write(installation: TestInstallation, driver: DockerVolume, volumeId: string, name: string, content: string): Promise<void> {
  await driver.attach(volumeId);
  const pack = tar.pack();
  pack.entry({ name }, content);
  pack.finalize();
  await writeVolume(installation.client, volumeId, Readable.from(await buffer(pack)));
}

async function filesOf(installation: TestInstallation, driver: DockerVolume, volumeId: string): Promise<Map<string, string>> {
  await driver.attach(volumeId);
  const files = new Map<string, string>();
  await readVolume(installation.client, volumeId, async (stream) => {
    for await (const entry of stream.pipe(tar.extract())) {
      const name = entry.header.name.replace(/^\.\/?|\/$/g, '');
      const content = await text(entry);
      if (name !== '') files.set(name, content);
    }
  });
  return files;
}

/** Every device over a file of this installation. */
const devicesOf = async (installation: TestInstallation): Promise<string[]> =>
  (await listLoops()).filter(({ file }) => file.startsWith(installation.client.dataDir)).map(({ file }) => file);

describe.skipIf(missing !== undefined)(`with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  for (const kind of ['image', 'plain'] as const) {
    volumeConformance(`docker (${kind})`, async () => {
      const installation = await TestInstallation.create();
      const driver = await DockerVolume.create(installation.client, kind === 'plain' ? { kind } : {});
      if (isRoot()) expect(driver.capabilities.sizeEnforced).toBe(kind === 'image');
      return {
        driver,
        use: async (volumeId) => installation.run({ mounts: await mount(driver, volumeId) }),
        write: (volumeId, name, content) => write(installation, driver, volumeId, name, content),
        read: async (volumeId, name) => (await filesOf(installation, driver, volumeId)).get(name),
        names: async (volumeId) => [...(await filesOf(installation, driver, volumeId)).keys()].sort(),
        close: async () => {
          expect(await devicesOf(installation)).toEqual([]);
          await installation.close();
        },
      };
    });
  }

  describe.skipIf(!isRoot())('image volumes (root only)', () => {
    let installation: TestInstallation;
    let driver: DockerVolume;
    let counter = 0;
    const volumes = new Set<string>();
    const snapshots = new Set<string>();
    const instances = new Set<Instance>();

    beforeAll(async () => {
      installation = await TestInstallation.create();
      driver = await DockerVolume.create(installation.client);
    });

    afterEach(async () => {
      for (const instance of instances) await instance.remove();
      for (const id of volumes) await driver.remove(id, signal);
      for (const id of snapshots) await driver.removeSnapshot(id, signal);
      instances.clear();
      volumes.clear();
      snapshots.clear();
    });

    afterAll(async () => {
      expect(await devicesOf(installation)).toEqual([]);
      expect((await readdir(join(installation.client.dataDir, 'volumes'))).filter((name) => name !== 'probe.json')).toEqual([]);
      expect(await readdir(join(installation.client.dataDir, 'snapshots'))).toEqual([]);
      await installation.close();
    });

    const make = async (sizeBytes = 32 * MIB, fromSnapshot?: string): Promise<string> => {
      counter += 1;
      const id = `vol-${counter}${Math.random().toString(36).slice(2, 8)}`;
      volumes.add(id);
      await driver.ensure({ id, sizeBytes, ...(fromSnapshot === undefined ? {} : { fromSnapshot }) }, signal);
      return id;
    };

    const use = async (id: string, script?: string): Promise<Instance> => {
      const instance = await installation.run({ mounts: await mount(driver, id), ...(script === undefined ? {} : { script }) });
      instances.add(instance);
      return instance;
    };

    const end = async (instance: Instance): Promise<void> => {
      instances.delete(instance);
      await instance.remove();
    };

    const snapshot = async (volumeId: string): Promise<string> => {
      const id = `snap-${volumeId}`;
      snapshots.add(id);
      await driver.ensureSnapshot({ id, volumeId }, signal);
      return id;
    };

    const imageOf = (id: string): string => join(installation.client.dataDir, 'volumes', `${id}.img`);
    const snapshotFile = (id: string): string => join(installation.client.dataDir, 'snapshots', `${id}.img`);

    test('writing stops at the size, and goes on after growing', async () => {
      const id = await make(32 * MIB);
      const first = await use(id);
      const full = await first.sh('dd if=/dev/zero of=/data/big bs=1M count=64');
      expect(full.output).toContain('No space left on device');
      const bytes = Number((await first.sh('stat -c %s /data/big')).output);
      expect(bytes).toBeGreaterThan(20 * MIB);
      expect(bytes).toBeLessThan(32 * MIB);
      await end(first);
      await driver.ensure({ id, sizeBytes: 96 * MIB }, signal);
      const second = await use(id);
      expect(await second.sh('dd if=/dev/zero of=/data/more bs=1M count=48')).toMatchObject({ code: 0 });
      expect(Number((await second.sh('stat -c %s /data/big')).output)).toBe(bytes);
    });

    test('bytes in use are told alike, mounted or not, and freed space returns to the host', async () => {
      const id = await make(64 * MIB);
      const instance = await use(id);
      await instance.sh('dd if=/dev/urandom of=/data/x bs=1M count=20; sync');
      const mounted = (await driver.inspect(id))?.usedBytes ?? 0;
      expect(mounted).toBeGreaterThanOrEqual(20 * MIB);
      expect(mounted).toBeLessThan(22 * MIB);
      await end(instance);
      const idle = (await driver.inspect(id))?.usedBytes;
      if (idle !== undefined) expect(Math.abs(idle - mounted)).toBeLessThan(MIB);
      const before = await blocks(imageOf(id));
      const again = await use(id);
      await again.sh('rm /data/x; sync; sleep 1; sync');
      await end(again);
      expect(await blocks(imageOf(id))).toBeLessThan(before - 15 * MIB);
    });

    test('a lost device and a lost Docker volume are made anew, under any number, with the data in them', async () => {
      const id = await make();
      await write(installation, driver, id, 'a', 'kept');
      const { device } = (await findLoop(imageOf(id))) ?? expect.fail('not attached');
      // As after a reboot: no devices, and another file has the number.
      await run('losetup', ['--detach', device]);
      const other = await make();
      await driver.attach(other);
      expect((await findLoop(imageOf(other)))?.device).toBeDefined();
      await installation.client.docker.getVolume(id).remove();
      const restarted = await DockerVolume.create(installation.client);
      await restarted.ensure({ id, sizeBytes: 32 * MIB }, signal);
      expect(await filesOf(installation, restarted, id)).toEqual(new Map([['a', 'kept']]));
      expect(await filesOf(installation, restarted, other)).toEqual(new Map());
    });

    test('a snapshot under a writer is a clean prefix of what was written', async () => {
      const id = await make(64 * MIB);
      const writer = await use(id, 'i=0; while :; do i=$((i+1)); echo line $i >>/data/log; [ $((i % 50)) = 0 ] && sync; done');
      await writer.sh('while [ ! -s /data/log ]; do sleep 0.1; done; sleep 0.5');
      const before = Number((await writer.sh('sync; wc -l </data/log')).output);
      const snap = await snapshot(id);
      await writer.sh('sleep 0.3');
      const after = Number((await writer.sh('wc -l </data/log')).output);
      expect(after, 'the writer goes on').toBeGreaterThan(before);
      expect((await run('e2fsck', ['-fn', snapshotFile(snap)], { accept: [1, 4] })).exitCode).toBe(0);
      const copy = await make(64 * MIB, snap);
      const lines = ((await filesOf(installation, driver, copy)).get('log') ?? '').split('\n');
      const whole = lines.slice(0, -1);
      expect(whole.length).toBeGreaterThanOrEqual(before);
      expect(whole.length).toBeLessThanOrEqual(after);
      expect(whole).toEqual(whole.map((_, index) => `line ${index + 1}`));
    });

    test('an aborted snapshot leaves the volume writable and nothing else', async () => {
      const id = await make(256 * MIB);
      const instance = await use(id);
      await instance.sh('dd if=/dev/urandom of=/data/x bs=1M count=200; sync');
      for (const milliseconds of [0, 5, 15, 30, 60]) {
        snapshots.add('snap-aborted');
        await driver.ensureSnapshot({ id: 'snap-aborted', volumeId: id }, AbortSignal.timeout(milliseconds)).catch((error: unknown) => {
          expect(error).toMatchObject({ name: 'TimeoutError' });
        });
        expect(await instance.sh('timeout 5 sh -c "echo y >/data/y; sync"')).toMatchObject({ code: 0 });
        await driver.removeSnapshot('snap-aborted', signal);
        expect(await readdir(join(installation.client.dataDir, 'snapshots'))).toEqual([]);
      }
    });

    test('a file system that a kill left frozen, and instances that it left paused, go on with the next start', async () => {
      const id = await make();
      const instance = await use(id);
      const path = (await installation.client.docker.getVolume(id).inspect()).Mountpoint;
      await writeFile(join(installation.client.dataDir, 'volumes', `${id}.frozen`), path);
      await run('fsfreeze', ['--freeze', path]);
      const paused = await use(await make());
      const container = installation.client.docker.getContainer(paused.instanceId);
      await writeFile(join(installation.client.dataDir, 'snapshots', 'snap-x.paused'), JSON.stringify([(await container.inspect()).Id]));
      await container.pause();
      await DockerVolume.create(installation.client);
      expect(await instance.sh('timeout 5 sh -c "echo y >/data/y; sync"')).toMatchObject({ code: 0 });
      expect((await container.inspect()).State.Paused).toBe(false);
    });

    test('a file system that lost its mount while it was frozen comes back with the next start', async () => {
      const id = await make();
      const instance = await use(id);
      await instance.sh('echo kept >/data/word; sync');
      await writeFile(join(installation.client.dataDir, 'volumes', `${id}.frozen`), '');
      await run('fsfreeze', ['--freeze', (await installation.client.docker.getVolume(id).inspect()).Mountpoint]);
      await instance.stop();
      await DockerVolume.create(installation.client);
      await instance.start();
      expect(await instance.sh('timeout 5 sh -c "cat /data/word; echo y >/data/y; sync"')).toEqual({ code: 0, output: 'kept\n' });
      expect((await readdir(join(installation.client.dataDir, 'volumes'))).filter((name) => name.startsWith(id))).toEqual([`${id}.img`]);
    });

    test('an instance that stops while its volume is copied harms neither', async () => {
      const id = await make(256 * MIB);
      const instance = await use(id);
      for (const milliseconds of [0, 20, 40, 80]) {
        await instance.sh('dd if=/dev/urandom of=/data/x bs=1M count=100; sync');
        const snap = `snap-${id}-${milliseconds}`;
        snapshots.add(snap);
        const copied = driver.ensureSnapshot({ id: snap, volumeId: id }, signal).then(
          () => 'copied',
          (error: { code: string }) => error.code,
        );
        await new Promise((resolve) => setTimeout(resolve, milliseconds));
        await instance.stop();
        expect(['copied', 'busy']).toContain(await copied);
        await instance.start();
        expect(await instance.sh('timeout 5 sh -c "echo y >/data/y; sync"')).toMatchObject({ code: 0 });
      }
    });

    test('growth that a kill interrupted is ended by the next ensure or attach', async () => {
      const marker = (id: string): string => join(installation.client.dataDir, 'volumes', `${id}.growing`);
      for (const step of ['ensure', 'attach'] as const) {
        const id = await make(32 * MIB);
        await write(installation, driver, id, 'a', 'kept');
        await driver.ensure({ id, sizeBytes: 32 * MIB }, signal);
        await run('losetup', ['--detach', (await findLoop(imageOf(id)))?.device ?? '']);
        await writeFile(marker(id), '');
        await truncate(imageOf(id), 64 * MIB);
        expect((await driver.inspect(id))?.sizeBytes).toBe(32 * MIB);
        if (step === 'ensure') await driver.ensure({ id, sizeBytes: 64 * MIB }, signal);
        else await driver.attach(id);
        expect((await driver.inspect(id))?.sizeBytes).toBe(64 * MIB);
        expect(await filesOf(installation, driver, id)).toEqual(new Map([['a', 'kept']]));
      }
    });

    test('a full disk is said plainly and leaves nothing', async () => {
      const small = join(installation.client.dataDir, 'small');
      await run('mkdir', [small]);
      await run('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', small]);
      try {
        const tight = await TestInstallation.create(small);
        const here = await DockerVolume.create(tight.client);
        expect(here.capabilities.sizeEnforced).toBe(true);
        await run('dd', ['if=/dev/zero', `of=${join(small, 'filler')}`, 'bs=64k', 'count=15']);
        await expect(here.ensure({ id: 'vol-tight', sizeBytes: 1024 * MIB }, signal)).rejects.toMatchObject({
          code: 'failed',
          message: expect.stringContaining('disk is full'),
        });
        expect(await here.inspect('vol-tight')).toBeUndefined();
        expect((await readdir(join(small, 'volumes'))).filter((name) => name !== 'probe.json')).toEqual([]);
      } finally {
        await run('umount', [small]);
      }
    });

    test('snapshots of plain volumes fill image volumes', async () => {
      const plain = await DockerVolume.create(installation.client, { kind: 'plain' });
      await plain.ensure({ id: 'vol-plain', sizeBytes: 16 * MIB }, signal);
      volumes.add('vol-plain');
      await write(installation, plain, 'vol-plain', 'a', 'moved');
      snapshots.add('snap-plain');
      await plain.ensureSnapshot({ id: 'snap-plain', volumeId: 'vol-plain' }, signal);
      const id = await make(32 * MIB, 'snap-plain');
      expect(await filesOf(installation, driver, id)).toEqual(new Map([['a', 'moved']]));
      expect((await driver.inspect(id))?.sizeBytes).toBe(32 * MIB);
    });
  });
});

const blocks = async (path: string): Promise<number> => Number((await run('stat', ['-c', '%b', path])).stdout) * 512;
