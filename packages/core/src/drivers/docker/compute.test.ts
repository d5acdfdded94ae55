// Instances on a real engine: the common suite, then what only an engine shows: cgroups, crash points, image volumes, layers.
import { mkdtemp, readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import tar from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silent } from '../../kernel/log.ts';
import { archiveOf, computeConformance, entriesOf, refused, run } from '../../services/instance/driver.conformance.ts';
import type { InstanceSpec } from '../../services/instance/driver.ts';
import { DockerClient } from './client.ts';
import { DockerCompute, type DockerComputeOptions, type VolumeSource } from './compute.ts';
import { DockerImage } from './image.ts';
import { type Checkpoint, filesRepository } from './lifecycle.ts';
import { dockerMissing, TestInstallation } from './testbench.ts';

const signal = new AbortController().signal;
const go = { signal, allowRestart: true };
const stay = { signal, allowRestart: false };
const MIB = 1024 * 1024;
const missing = await dockerMissing();
let counter = 0;
const unique = () => `${Math.random().toString(36).slice(2, 9)}${(counter += 1)}`;

/** An installation with a plain network and plain volumes of its own, which stand in for the other drivers of the backend. */
async function setUp() {
  const installation = await TestInstallation.create();
  const { client } = installation;
  const subnet = installation.freeCidr();
  const networkId = `vpc-${unique()}`;
  await client.docker.createNetwork({ Name: networkId, IPAM: { Driver: 'default', Config: [{ Subnet: subnet }] } });
  const volumes: string[] = [];
  const source: VolumeSource = { attach: async (volumeId) => ({ Type: 'volume', Source: volumeId }) };
  let next = 1;
  return {
    client,
    networkId,
    compute: (options?: DockerComputeOptions) => new DockerCompute(client, source, options),
    address: () => subnet.replace(/0\/24$/, String((next += 1))),
    volume: async () => {
      const volumeId = `vol-${unique()}`;
      await client.docker.createVolume({ Name: volumeId });
      volumes.push(volumeId);
      return volumeId;
    },
    close: async () => {
      await client.docker.getNetwork(networkId).remove();
      for (const volumeId of volumes) await client.docker.getVolume(volumeId).remove();
      await installation.close();
    },
  };
}

describe.skipIf(missing !== undefined)(`with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  computeConformance('docker', async () => {
    const bench = await setUp();
    const { docker } = bench.client;
    return {
      driver: bench.compute(),
      image: 'busybox',
      networkId: bench.networkId,
      address: bench.address,
      volume: bench.volume,
      kill: async (id) => docker.getContainer(id).kill({ signal: 'SIGKILL' }),
      vanish: async (id) => docker.getContainer(id).remove({ force: true }),
      close: bench.close,
    };
  });

  describe('on the engine', () => {
    let bench: Awaited<ReturnType<typeof setUp>>;
    let driver: DockerCompute;
    const made = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.compute();
    });

    afterAll(async () => {
      for (const id of made) await driver.remove(id, { signal, stopTimeout: 0 });
      const left = await bench.client.docker.listImages({ filters: { label: bench.client.filter().label } });
      if (left.length > 0) throw new Error(`Left behind by the test: ${left.map((image) => image.RepoTags ?? image.Id).join(', ')}`);
      await bench.close();
    });

    const specOf = (changes: Partial<InstanceSpec> = {}): InstanceSpec => {
      const id = `i-${unique()}`;
      made.add(id);
      return {
        id,
        name: `web-${id}`,
        image: 'busybox',
        command: undefined,
        entrypoint: undefined,
        env: {},
        cpus: 0.5,
        memoryBytes: 64 * MIB,
        pids: 64,
        networkId: bench.networkId,
        address: bench.address(),
        ports: [],
        mounts: [],
        power: 'running',
        restartToken: '',
        stopTimeout: 0,
        ...changes,
      };
    };

    const inspect = (id: string) => bench.client.docker.getContainer(id).inspect();
    const cat = async (id: string, path: string) => (await run(driver, id, ['cat', path])).stdout;

    /** A value of the instance's own cgroup, as the kernel has it. */
    const cgroup = async (id: string, v1: [string, string], v2: string): Promise<string> => {
      const { State } = await inspect(id);
      const groups = (await readFile(`/proc/${State.Pid}/cgroup`, 'utf8')).trim().split('\n');
      const own = groups.map((line) => line.split(':')).find(([, controllers = '']) => controllers.split(',').includes(v1[0]));
      if (own !== undefined) return (await readFile(`/sys/fs/cgroup/${v1[0]}${own[2]}/${v1[1]}`, 'utf8')).trim();
      const path = groups.find((line) => line.startsWith('0::'))?.slice(3);
      return (await readFile(`/sys/fs/cgroup${path}/${v2}`, 'utf8')).trim();
    };

    test('limits are in the cgroup, also after a live change in either direction', async () => {
      const spec = specOf();
      const before = await driver.ensure(spec, go);
      const limits = async () => [
        await cgroup(spec.id, ['memory', 'memory.limit_in_bytes'], 'memory.max'),
        await cgroup(spec.id, ['pids', 'pids.max'], 'pids.max'),
        (await cgroup(spec.id, ['cpu', 'cpu.cfs_quota_us'], 'cpu.max')).split(' ')[0],
      ];
      expect(await limits()).toEqual([String(64 * MIB), '64', '50000']);
      expect(await driver.ensure({ ...spec, cpus: 1.5, memoryBytes: 256 * MIB, pids: 99 }, stay)).toEqual(before);
      expect(await limits()).toEqual([String(256 * MIB), '99', '150000']);
      await driver.ensure({ ...spec, cpus: 0.25, memoryBytes: 32 * MIB, pids: 20 }, stay);
      expect(await limits()).toEqual([String(32 * MIB), '20', '25000']);
    });

    test('less memory than is in use is refused, and the instance goes on as it was', async () => {
      const spec = specOf();
      const before = await driver.ensure(spec, go);
      await run(driver, spec.id, ['sh', '-c', 'head -c 30000000 /dev/zero > /dev/shm/ballast']);
      const error = await refused(driver.ensure({ ...spec, memoryBytes: 8 * MIB }, stay), 'busy');
      expect(error.message).toBe('The instance uses more memory right now than the new limit allows');
      expect(await driver.ensure(spec, stay)).toEqual(before);
    });

    test('too much memory is told as such', async () => {
      const spec = specOf({ memoryBytes: 16 * MIB, command: ['sh', '-c', 'sleep 0.3; x=$(head -c 40000000 /dev/zero | tr "\\0" x); echo survived'] });
      await driver.ensure(spec, go);
      await expect.poll(async () => driver.inspect(spec.id), { timeout: 10_000 }).toMatchObject({ power: 'stopped', outOfMemory: true });
    });

    test('refusals are sentences that a user understands', async () => {
      const cpus = await refused(driver.ensure(specOf({ cpus: 4000 }), go), 'bad_spec');
      expect(cpus.message).toMatch(/^This machine can give an instance 0\.01 to \d/);
      expect((await refused(driver.ensure(specOf({ memoryBytes: 1024 }), go), 'bad_spec')).message).toMatch(/^An instance needs at least \d+MB of memory/);
      expect((await refused(driver.ensure(specOf({ command: ['no-such-program'] }), go), 'bad_spec')).message).toContain('no program "no-such-program"');
      expect((await refused(driver.ensure(specOf({ address: '192.0.2.7' }), go), 'bad_spec')).message).toContain('range');
      expect((await refused(driver.ensure(specOf({ networkId: 'vpc-nowhere' }), go), 'busy')).message).toContain('vpc-nowhere');
      const server = createServer().listen(0, '127.0.0.1');
      await new Promise((resolve) => server.once('listening', resolve));
      const { port } = server.address() as { port: number };
      const spec = specOf({ ports: [{ hostAddress: '127.0.0.1', hostPort: port, instancePort: 80, protocol: 'tcp' }] });
      expect((await refused(driver.ensure(spec, go), 'bad_spec')).message).toBe(`Port ${port} on this host is already in use`);
      server.close();
      expect((await driver.ensure(spec, go)).power).toBe('running');
    });

    test('an engine that is away is unavailable, with a hint', async () => {
      const client = new DockerClient({ installation: 'x', dataDir: tmpdir(), log: silent, socketPath: '/nowhere/docker.sock' });
      const away = new DockerCompute(client, { attach: () => expect.fail('must not be called') });
      expect((await refused(away.ping(), 'unavailable')).hint).toContain('systemctl start docker');
      await refused(away.ensure(specOf(), go), 'unavailable');
      await refused(away.list(), 'unavailable');
      await refused(
        away.watch(() => {}, signal),
        'unavailable',
      );
      const report = await away.report();
      expect(report.checks).toMatchObject([{ ok: false, remedy: expect.stringContaining('docker') }]);
    });

    test('a polite stop is waited for, then comes the kill', async () => {
      const polite = specOf({ command: ['sh', '-c', 'trap "exit 3" TERM; while :; do sleep 0.05; done'], stopTimeout: 5 });
      await driver.ensure(polite, go);
      await sleep(200);
      expect((await driver.ensure({ ...polite, power: 'stopped' }, stay)).exitCode).toBe(3);
      const deaf = specOf({ command: ['sh', '-c', 'trap "" TERM; while :; do sleep 0.05; done'], stopTimeout: 1 });
      await driver.ensure(deaf, go);
      expect((await driver.ensure({ ...deaf, power: 'stopped' }, stay)).exitCode).toBe(137);
    });

    describe('replacement', () => {
      /** An installation's compute driver that dies at one point of the replacement. */
      const cutAt = (point: Checkpoint) =>
        bench.compute({
          onCheckpoint: (checkpoint) => {
            if (checkpoint === point) throw new Error(`killed after ${point}`);
          },
        });

      for (const point of ['stopped', 'committed', 'created', 'removed', 'renamed', 'cleaned'] as const) {
        test(`killed after "${point}": the next call finishes it, with every file`, async () => {
          const spec = specOf({ env: { COLOUR: 'blue' } });
          await driver.ensure(spec, go);
          await driver.writeFiles(spec.id, '/root', archiveOf('precious', 'data'));
          const changed = { ...spec, env: { SIZE: 'large' } };
          await expect(cutAt(point).ensure(changed, go)).rejects.toThrow(`killed after ${point}`);
          expect(await driver.inspect(spec.id)).toMatchObject({ power: 'stopped' });
          expect((await driver.list()).filter(({ id }) => id === spec.id)).toHaveLength(1);
          expect(await driver.ensure(changed, stay)).toMatchObject({ power: 'running', address: spec.address });
          expect(await cat(spec.id, '/root/precious')).toBe('data');
          const env = (await run(driver, spec.id, ['env'])).stdout;
          expect(env).toContain('SIZE=large');
          expect(env).not.toContain('COLOUR');
          await driver.remove(spec.id, { signal, stopTimeout: 0 });
          expect(await bench.client.docker.listImages({ filters: { reference: [filesRepository(spec.id)] } })).toEqual([]);
        });

        test(`killed after "${point}", then the wish is taken back: no file is lost`, async () => {
          const spec = specOf();
          await driver.ensure(spec, go);
          await driver.writeFiles(spec.id, '/root', archiveOf('precious', 'data'));
          await expect(cutAt(point).ensure({ ...spec, env: { SIZE: 'large' } }, go)).rejects.toThrow(`killed after ${point}`);
          expect((await driver.ensure(spec, stay)).power).toBe('running');
          expect(await cat(spec.id, '/root/precious')).toBe('data');
          await driver.writeFiles(spec.id, '/root', archiveOf('later', 'more'));
          await driver.ensure({ ...spec, env: { SIZE: 'small' } }, go);
          expect(await cat(spec.id, '/root/precious')).toBe('data');
          expect(await cat(spec.id, '/root/later')).toBe('more');
        });

        test(`killed after "${point}", then removed: nothing is left`, async () => {
          const spec = specOf();
          await driver.ensure(spec, go);
          await expect(cutAt(point).ensure({ ...spec, env: { SIZE: 'large' } }, go)).rejects.toThrow(`killed after ${point}`);
          await driver.remove(spec.id, { signal, stopTimeout: 0 });
          expect(await driver.inspect(spec.id)).toBeUndefined();
          const filters = { label: [`thecloud.id=${spec.id}`] };
          expect(await bench.client.docker.listContainers({ all: true, filters })).toEqual([]);
          expect(await bench.client.docker.listImages({ filters })).toEqual([]);
        });
      }

      test("a command that is taken back means the image's own again", async () => {
        const spec = specOf({ command: ['sleep', '1000'], entrypoint: undefined });
        await driver.ensure(spec, go);
        await driver.ensure({ ...spec, entrypoint: ['sh', '-c'], command: ['sleep 999'] }, go);
        expect(await inspect(spec.id)).toMatchObject({ Path: 'sh', Args: ['-c', 'sleep 999'] });
        await driver.ensure({ ...spec, command: undefined }, go);
        expect(await inspect(spec.id)).toMatchObject({ Path: 'sh', Args: [] });
      });

      test('deleted files stay deleted, and the layers are flattened in time', async () => {
        const flat = bench.compute({ maxLayers: 4 });
        const spec = specOf();
        await flat.ensure(spec, go);
        await run(flat, spec.id, ['rm', '/bin/wget']);
        for (let round = 0; round < 5; round += 1) {
          await flat.writeFiles(spec.id, '/root', archiveOf(`file-${round}`, String(round)));
          await flat.ensure({ ...spec, env: { ROUND: String(round) } }, go);
          const image = await bench.client.docker.getImage((await inspect(spec.id)).Image).inspect();
          expect(image.RootFS.Layers?.length).toBeLessThan(4);
        }
        for (let round = 0; round < 5; round += 1) expect(await cat(spec.id, `/root/file-${round}`)).toBe(String(round));
        expect((await run(flat, spec.id, ['ls', '/bin/wget'])).code).not.toBe(0);
        expect(await inspect(spec.id)).toMatchObject({ Path: 'sh', Args: [] });
      });

      test('kept files of instances are no images of the user', async () => {
        const spec = specOf();
        await driver.ensure(spec, go);
        await driver.ensure({ ...spec, env: { A: '1' } }, go);
        const images = await new DockerImage(bench.client).list();
        expect(images.flatMap(({ references }) => references).filter((name) => name.includes('thecloud-fs'))).toEqual([]);
      });

      test('a port chosen by the driver that somebody took meanwhile is chosen anew', async () => {
        const spec = specOf({ ports: [{ hostAddress: '127.0.0.1', hostPort: 0, instancePort: 80, protocol: 'tcp' }] });
        const port = (await driver.ensure(spec, go)).ports[0]?.hostPort ?? 0;
        await driver.writeFiles(spec.id, '/root', archiveOf('precious', 'data'));
        await driver.ensure({ ...spec, power: 'stopped' }, stay);
        const server = createServer();
        await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
        const again = await driver.ensure(spec, stay);
        server.close();
        expect(again.power).toBe('running');
        expect(again.ports[0]?.hostPort).not.toBe(port);
        expect(await cat(spec.id, '/root/precious')).toBe('data');
      });
    });

    test('an image with entrypoint, user, variables and a VOLUME is respected, and its volume survives a replacement', async () => {
      const image = `thecloud-test/${unique()}:1`;
      const pack = tar.pack();
      pack.entry(
        { name: 'Dockerfile' },
        'FROM busybox\nENV FROM_IMAGE=yes COLOUR=grey\nWORKDIR /srv\nRUN mkdir -p /var/lib/app && echo seed > /var/lib/app/seed\nVOLUME /var/lib/app\nENTRYPOINT ["sh", "-c"]\nCMD ["sleep 1000"]\n',
      );
      pack.finalize();
      const stream = await bench.client.docker.buildImage(Readable.from(pack), { t: image });
      for await (const _ of stream as Readable) {
        // Read to the end: then it is built.
      }
      const images = new DockerImage(bench.client);
      try {
        const spec = specOf({ image, env: { COLOUR: 'blue' } });
        await driver.ensure(spec, go);
        expect(await inspect(spec.id)).toMatchObject({ Path: 'sh', Args: ['-c', 'sleep 1000'], Config: { WorkingDir: '/srv' } });
        const env = (await run(driver, spec.id, ['env'])).stdout;
        expect(env).toContain('FROM_IMAGE=yes');
        expect(env).toContain('COLOUR=blue');
        expect(await cat(spec.id, '/var/lib/app/seed')).toBe('seed\n');
        await driver.writeFiles(spec.id, '/var/lib/app', archiveOf('written', 'mine'));
        await driver.ensure({ ...spec, env: {} }, go);
        expect((await run(driver, spec.id, ['env'])).stdout).toContain('COLOUR=grey');
        expect(await cat(spec.id, '/var/lib/app/written')).toBe('mine');
        expect((await inspect(spec.id)).Mounts).toMatchObject([{ Type: 'volume', Name: expect.stringMatching(new RegExp(`^${spec.id}-[0-9a-f]{8}$`)) }]);
        await refused(images.remove(image), 'busy');
        await driver.remove(spec.id, { signal, stopTimeout: 0 });
        expect((await bench.client.docker.listVolumes({ filters: { label: [`thecloud.instance=${spec.id}`] } })).Volumes ?? []).toEqual([]);
      } finally {
        await images.remove(image);
      }
    });

    test('exec: user, directory, signals, and what could not be started', async () => {
      const spec = specOf();
      await driver.ensure(spec, go);
      expect((await run(driver, spec.id, ['pwd'], { workingDirectory: '/proc' })).stdout).toBe('/proc\n');
      expect((await run(driver, spec.id, ['id', '-u'], { user: '1234' })).stdout).toBe('1234\n');
      expect(await run(driver, spec.id, ['/etc'])).toMatchObject({ code: 126, stdout: '', stderr: '/etc: not executable\n' });
      expect(await run(driver, spec.id, ['true'], { workingDirectory: '/nowhere' })).toMatchObject({
        code: 126,
        stderr: 'no directory /nowhere in the instance\n',
      });
      expect(await run(driver, spec.id, ['true'], { user: 'nobody-at-all' })).toMatchObject({ code: 126, stderr: 'no user nobody-at-all in the instance\n' });
      expect(await run(driver, spec.id, ['sh', '-c', 'echo out; echo err >&2; exit 7'])).toEqual({ stdout: 'out\n', stderr: 'err\n', code: 7 });
      expect((await run(driver, spec.id, ['sh', '-c', 'kill -9 $$'])).code).toBe(137);
      await driver.ensure({ ...spec, power: 'paused' }, stay);
      expect((await refused(driver.exec(spec.id, { command: ['true'], tty: false, stdin: false }), 'bad_spec')).message).toContain('paused');
    });

    test('exec: a killed program is gone from the instance, its children too', async () => {
      const spec = specOf();
      await driver.ensure(spec, go);
      const session = await driver.exec(spec.id, { command: ['sh', '-c', 'sleep 4321; true'], tty: false, stdin: false });
      await expect.poll(async () => (await run(driver, spec.id, ['ps'])).stdout).toContain('sleep 4321');
      session.kill();
      expect(await session.exited).toBe(137);
      expect((await run(driver, spec.id, ['ps'])).stdout).not.toContain('4321');
    });

    test('exec: a reader that waits holds the program up, and loses nothing', async () => {
      const spec = specOf();
      await driver.ensure(spec, go);
      const session = await driver.exec(spec.id, { command: ['sh', '-c', 'head -c 20000000 /dev/zero'], tty: false, stdin: false });
      session.stderr.resume();
      await sleep(300);
      expect(session.stdout.readableLength).toBeLessThan(4 * MIB);
      let length = 0;
      for await (const chunk of session.stdout) length += (chunk as Buffer).length;
      expect(length).toBe(20_000_000);
      expect(await session.exited).toBe(0);
    });

    test('exec: the terminal has the asked size', async () => {
      const spec = specOf();
      await driver.ensure(spec, go);
      const session = await driver.exec(spec.id, { command: ['sh', '-c', 'sleep 0.3; stty size'], tty: true, stdin: true, columns: 97, rows: 31 });
      const chunks: Buffer[] = [];
      for await (const chunk of session.stdout) chunks.push(chunk as Buffer);
      expect(Buffer.concat(chunks).toString().trim()).toBe('31 97');
      expect(await session.exited).toBe(0);
    });

    test('stats show a busy core and the memory in use', async () => {
      const spec = specOf({ cpus: 1, command: ['sh', '-c', 'while :; do :; done'] });
      await driver.ensure(spec, go);
      const samples = [];
      for await (const sample of driver.stats(spec.id, signal)) if (samples.push(sample) === 2) break;
      const [first, second] = samples;
      expect(first?.cpu).toBeGreaterThan(0.05);
      expect(second?.cpu).toBeLessThan(1.5);
      expect(second?.memoryBytes).toBeGreaterThan(0);
      expect(second?.memoryBytes).toBeLessThan(20 * MIB);
      expect(second?.pids).toBe(1);
    });

    test('files keep mode and owner, and an absent directory is refused', async () => {
      const spec = specOf();
      await driver.ensure(spec, go);
      const pack = tar.pack();
      pack.entry({ name: 'tool', mode: 0o750, uid: 12, gid: 34 }, '#!/bin/sh\n');
      pack.finalize();
      await driver.writeFiles(spec.id, '/tmp', Readable.from(pack));
      expect((await run(driver, spec.id, ['stat', '-c', '%a %u %g', '/tmp/tool'])).stdout).toBe('750 12 34\n');
      expect((await refused(driver.writeFiles(spec.id, '/no/such', archiveOf('a', '')), 'bad_spec')).message).toContain('/no/such');
      expect((await entriesOf(await driver.readFiles(spec.id, '/etc'))).size).toBeGreaterThan(1);
    });

    test('watch ends with the engine', async () => {
      const proxy = createServer((client) => {
        const engine = new PassThrough();
        client.on('error', () => {});
        client.pipe(engine).resume();
        client.end('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n');
      });
      const socketPath = join(await mkdtemp(join(tmpdir(), 'thecloud-socket-')), 'engine.sock');
      await new Promise<void>((resolve) => proxy.listen(socketPath, resolve));
      const client = new DockerClient({ installation: 'x', dataDir: tmpdir(), log: silent, socketPath });
      const driverOfIt = new DockerCompute(client, { attach: () => expect.fail('must not be called') });
      await refused(
        driverOfIt.watch(() => {}, signal),
        'unavailable',
      );
      proxy.close();
    });

    test('twenty at once', async () => {
      const specs = Array.from({ length: 20 }, () => specOf({ ports: [{ hostAddress: '127.0.0.1', hostPort: 0, instancePort: 80, protocol: 'tcp' }] }));
      const observed = await Promise.all(specs.map((spec) => driver.ensure(spec, go)));
      expect(observed.every(({ power }) => power === 'running')).toBe(true);
      await Promise.all(specs.map(({ id }) => driver.remove(id, { signal, stopTimeout: 0 })));
    }, 120_000);
  });
});
