// kill -9 in the middle of volume work, at random instants: what follows is usable or absent, nobody stays frozen or paused, and nothing is left over.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import tar from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { MIB } from '../../services/volume/driver.conformance.ts';
import { isRoot } from './host.ts';
import { listLoops } from './loop.ts';
import { dockerMissing, TestInstallation } from './testbench.ts';
import { DockerVolume, type DockerVolumeOptions } from './volume.ts';
import { readVolumeFile, writeVolume } from './volume-copy.ts';
import type { CrashPlan } from './volume-crash.child.ts';

const ROUNDS = 12;
const signal = new AbortController().signal;
const missing = await dockerMissing();
const child = fileURLToPath(new URL('./volume-crash.child.ts', import.meta.url));

/** Starts the plan and kills it this long after its driver is ready; tells whether it had finished. */
async function killed(plan: CrashPlan, milliseconds: number): Promise<boolean> {
  const run: ChildProcess = spawn(process.execPath, ['--conditions=@thecloud/source', child, JSON.stringify(plan)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const exited = once(run, 'exit');
  let said = '';
  run.stdout?.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  while (!said.includes('ready') && run.exitCode === null) await sleep(2);
  await Promise.race([exited, sleep(milliseconds)]);
  run.kill('SIGKILL');
  await exited;
  return said.includes('done');
}

describe.skipIf(missing !== undefined)(`with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  test.each(isRoot() ? (['image', 'plain'] as const) : (['plain'] as const))(
    '%s volumes survive kill -9 of every verb',
    async (kind) => {
      const installation = await TestInstallation.create();
      const { client } = installation;
      // Volume names are the engine's, so two runs at once need different ones.
      const run = `${kind}-${client.installation}`;
      const origin = `vol-${run}`;
      const originCopy = `snap-${run}`;
      const options: DockerVolumeOptions = kind === 'plain' ? { kind } : {};
      const base = { installation: client.installation, dataDir: client.dataDir, options };
      const first = await DockerVolume.create(client, options);
      await first.ensure({ id: origin, sizeBytes: 64 * MIB }, signal);
      await first.attach(origin);
      const pack = tar.pack();
      pack.entry({ name: 'word' }, 'kept');
      pack.finalize();
      await writeVolume(client, origin, Readable.from(await buffer(pack)));
      await first.ensureSnapshot({ id: originCopy, volumeId: origin }, signal);
      const writer = await installation.run({
        mounts: [{ ...(await first.attach(origin)), Target: '/data' }],
        script: 'while :; do date >>/data/log; sync; done',
      });

      /** A new process's view: the driver as it comes up after the kill. */
      const restarted = async (): Promise<DockerVolume> => {
        const driver = await DockerVolume.create(client, options);
        for (const directory of ['volumes', 'snapshots']) {
          const names = await readdir(join(client.dataDir, directory));
          expect(names.filter((name) => /\.(tmp|frozen|paused)$/.test(name))).toEqual([]);
        }
        expect(await writer.sh('timeout 5 sh -c "echo alive >/data/alive; sync"')).toMatchObject({ code: 0 });
        return driver;
      };

      for (let round = 0; round < ROUNDS; round += 1) {
        // Most calls take 20 to 150 ms: short delays hit their middles, long ones their ends.
        const delay = Math.random() ** 2 * 250;
        const id = `vol-${run}-${round}`;
        const spec = { id, sizeBytes: 64 * MIB, ...(round % 3 === 0 ? {} : { fromSnapshot: originCopy }) };
        await killed({ ...base, ensure: spec }, delay);
        let driver = await restarted();
        await driver.ensure(spec, signal);
        await driver.attach(id);
        if (spec.fromSnapshot !== undefined) expect((await readVolumeFile(client, id, 'word')).toString(), `delay ${delay}`).toContain('kept');

        const grown = { ...spec, sizeBytes: 128 * MIB };
        await killed({ ...base, ensure: grown }, delay);
        driver = await restarted();
        const observed = await driver.ensure(grown, signal);
        expect(observed.sizeBytes).toBe(kind === 'image' ? grown.sizeBytes : undefined);
        await driver.attach(id);
        if (spec.fromSnapshot !== undefined) expect((await readVolumeFile(client, id, 'word')).toString(), `delay ${delay}`).toContain('kept');

        const snapshot = { id: `snap-${run}-${round}`, volumeId: origin };
        await killed({ ...base, snapshot }, delay);
        driver = await restarted();
        await driver.ensureSnapshot(snapshot, signal);
        const copy = `vol-${run}-${round}-copy`;
        await driver.ensure({ id: copy, sizeBytes: 64 * MIB, fromSnapshot: snapshot.id }, signal);
        await driver.attach(copy);
        expect((await readVolumeFile(client, copy, 'word')).toString(), `delay ${delay}`).toContain('kept');
        await driver.removeSnapshot(snapshot.id, signal);
        await driver.remove(copy, signal);

        const finished = await killed({ ...base, remove: id }, delay / 4);
        driver = await restarted();
        if (finished) expect(await driver.inspect(id)).toBeUndefined();
        await driver.remove(id, signal);
        expect((await driver.list()).map((found) => found.id)).toEqual([origin]);
      }

      await writer.remove();
      const last = await DockerVolume.create(client, options);
      await last.remove(origin, signal);
      await last.removeSnapshot(originCopy, signal);
      await rm(join(client.dataDir, 'volumes', 'probe.json'), { force: true });
      expect(await readdir(join(client.dataDir, 'volumes'))).toEqual([]);
      expect(await readdir(join(client.dataDir, 'snapshots'))).toEqual([]);
      expect((await listLoops()).filter(({ file }) => file.startsWith(client.dataDir))).toEqual([]);
      expect(await client.docker.listContainers({ all: true, filters: { label: [`thecloud.temporary=${client.installation}`] } })).toEqual([]);
      await installation.close();
    },
    300_000,
  );
});
