// What every compute driver must do, as one body of tests. A driver's own test file says how to make one and calls this.
// Tests that need real programs are skipped by `capabilities.runsPrograms`, and say so.

import { Readable } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import tar from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import type { ComputeDriver, ExecSpec, InstanceObserved, InstanceSpec, LogLine } from './driver.ts';

export interface ComputeBench {
  driver: ComputeDriver;
  /** An image with sh, cat, echo, env, hostname and sleep, present in the backend. */
  image: string;
  networkId: string;
  /** An unused address of the network, another with every call. */
  address(): string;
  /** A new empty volume. */
  volume(): Promise<string>;
  /** Ends the instance's program behind the driver's back with this code. */
  kill(id: string, exitCode: number): Promise<void>;
  /** Makes the instance disappear behind the driver's back. */
  vanish(id: string): Promise<void>;
  close(): Promise<void>;
}

const MIB = 1024 * 1024;
const never = new AbortController().signal;
const go = { signal: never, allowRestart: true };
const stay = { signal: never, allowRestart: false };
let counter = 0;

export async function refused(call: Promise<unknown>, code: DriverError['code']): Promise<DriverError> {
  const error = await call.then(
    () => expect.fail(`expected DriverError ${code}, but the call succeeded`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DriverError);
  expect(error).toMatchObject({ code });
  return error as DriverError;
}

/** One file as a tar stream. */
export function archiveOf(name: string, content: string, mode = 0o644): Readable {
  const pack = tar.pack();
  pack.entry({ name, mode }, content);
  pack.finalize();
  return Readable.from(pack);
}

/** Names and contents of a tar stream; a directory has no content. */
export async function entriesOf(archive: Readable): Promise<Map<string, string>> {
  const entries = new Map<string, string>();
  const extract = tar.extract();
  extract.end(await buffer(archive));
  for await (const entry of extract) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    entries.set(entry.header.name, Buffer.concat(chunks).toString());
  }
  return entries;
}

/** Runs a program to its end. */
export async function run(driver: ComputeDriver, id: string, command: string[], options: Partial<ExecSpec> & { input?: string } = {}) {
  const { input, ...rest } = options;
  const session = await driver.exec(id, { command, tty: false, stdin: input !== undefined, ...rest });
  if (input !== undefined) session.stdin.end(input);
  const [stdout, stderr, code] = await Promise.all([text(session.stdout), text(session.stderr), session.exited]);
  return { stdout, stderr, code };
}

const collect = <T>(items: AsyncIterable<T>): Promise<T[]> => first(items, () => false);

async function first<T>(items: AsyncIterable<T>, enough: (all: T[]) => boolean): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) {
    all.push(item);
    if (enough(all)) break;
  }
  return all;
}

export function computeConformance(backend: string, setUp: () => Promise<ComputeBench>): void {
  describe(`compute driver ${backend}`, () => {
    let bench: ComputeBench;
    let driver: ComputeDriver;
    const made = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.driver;
    });

    afterAll(async () => {
      for (const id of made) await driver.remove(id, { signal: never, stopTimeout: 0 });
      await bench.close();
    });

    const specOf = (changes: Partial<InstanceSpec> = {}): InstanceSpec => {
      counter += 1;
      const unique = `${Math.random().toString(36).slice(2, 9)}${counter}`;
      made.add(`i-${unique}`);
      return {
        id: `i-${unique}`,
        name: `web-${unique}`,
        image: bench.image,
        command: undefined,
        entrypoint: undefined,
        env: { COLOUR: 'blue' },
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

    const make = async (changes: Partial<InstanceSpec> = {}): Promise<{ spec: InstanceSpec; observed: InstanceObserved }> => {
      const spec = specOf(changes);
      return { spec, observed: await driver.ensure(spec, go) };
    };

    const programs = (context: { skip(condition: boolean, note: string): void }) =>
      context.skip(!driver.capabilities.runsPrograms, `${backend} runs no programs (capabilities.runsPrograms)`);

    const hasFile = async (id: string, path: string): Promise<string | undefined> => {
      const entries = await driver.readFiles(id, path).then(entriesOf, (error: unknown) => {
        if (error instanceof DriverError && error.code === 'bad_spec') return undefined;
        throw error;
      });
      return entries?.get(path.slice(path.lastIndexOf('/') + 1));
    };

    test('answers a ping and reports what it enforces', async () => {
      await driver.ping();
      const report = await driver.report();
      expect(report.driver).not.toBe('');
      expect(report.features.length).toBeGreaterThan(0);
      for (const feature of report.features) expect(feature.detail).not.toBe('');
      expect(report.checks.filter((check) => !check.ok && check.remedy === undefined)).toEqual([]);
    });

    test('ensure makes a running instance, and again touches nothing', async () => {
      const before = Date.now();
      const { spec, observed } = await make();
      expect(observed).toMatchObject({ id: spec.id, power: 'running', exitCode: undefined, outOfMemory: false, address: spec.address });
      expect(observed.startedAt).toBeGreaterThan(before - 5_000);
      expect(await driver.ensure(structuredClone(spec), stay)).toEqual(observed);
      expect(await driver.inspect(spec.id)).toEqual(observed);
      expect((await driver.list()).find(({ id }) => id === spec.id)).toMatchObject(observed);
    });

    test('an instance that is not there is undefined, and removing it is fine', async () => {
      expect(await driver.inspect('i-nowhere')).toBeUndefined();
      await driver.remove('i-nowhere', { signal: never, stopTimeout: 0 });
      expect((await driver.list()).map(({ id }) => id)).not.toContain('i-nowhere');
    });

    test('power follows the spec through every state', async () => {
      const { spec, observed } = await make({ power: 'stopped' });
      expect(observed).toMatchObject({ power: 'stopped', startedAt: undefined, exitCode: undefined, ports: [] });
      let last = 0;
      for (const power of ['running', 'paused', 'running', 'stopped', 'running', 'paused', 'stopped', 'paused', 'stopped'] as const) {
        if (power === 'paused' && !driver.capabilities.pause) continue;
        const now = await driver.ensure({ ...spec, power }, stay);
        expect(now.power).toBe(power);
        expect(await driver.ensure({ ...spec, power }, stay)).toEqual(now);
        expect(now.startedAt).toBeGreaterThanOrEqual(last);
        last = now.startedAt ?? 0;
        expect(now.exitCode === undefined).toBe(power !== 'stopped');
      }
    });

    test('keeps address and files over stop and start', async () => {
      const { spec } = await make();
      await driver.writeFiles(spec.id, '/tmp', archiveOf('kept', 'still here'));
      await driver.ensure({ ...spec, power: 'stopped' }, stay);
      const again = await driver.ensure(spec, stay);
      expect(again.address).toBe(spec.address);
      expect(await hasFile(spec.id, '/tmp/kept')).toBe('still here');
    });

    test('a request to restart restarts once', async () => {
      const { spec, observed } = await make();
      await sleep(20);
      const asked = { ...spec, restartToken: new Date().toISOString() };
      const restarted = await driver.ensure(asked, stay);
      expect(restarted.power).toBe('running');
      expect(restarted.startedAt).toBeGreaterThan(observed.startedAt ?? 0);
      expect(await driver.ensure(asked, stay)).toEqual(restarted);
    });

    test('a request to restart does not start what should be stopped', async () => {
      const { spec } = await make({ power: 'stopped' });
      const asked = await driver.ensure({ ...spec, restartToken: new Date().toISOString() }, stay);
      expect(asked.power).toBe('stopped');
      expect(asked.startedAt).toBeUndefined();
    });

    test('limits change on a running instance without a restart', async (context) => {
      context.skip(!driver.capabilities.hotResize, `${backend} resizes stopped instances only (capabilities.hotResize)`);
      const { spec, observed } = await make();
      const larger = { ...spec, cpus: 1, memoryBytes: 128 * MIB, pids: 128 };
      expect(await driver.ensure(larger, stay)).toEqual(observed);
      expect(await driver.ensure(larger, stay)).toEqual(observed);
      const smaller = { ...spec, cpus: 0.25, memoryBytes: 48 * MIB, pids: 32 };
      expect(await driver.ensure(smaller, stay)).toEqual(observed);
    });

    test('what needs a restart is refused without leave and changes nothing', async () => {
      const { spec, observed } = await make();
      await driver.writeFiles(spec.id, '/tmp', archiveOf('kept', 'still here'));
      const changed = { ...spec, env: { COLOUR: 'red' } };
      await refused(driver.ensure(changed, stay), 'busy');
      expect(await driver.inspect(spec.id)).toEqual(observed);
      const after = await driver.ensure(changed, go);
      expect(after).toMatchObject({ power: 'running', address: spec.address });
      expect(await hasFile(spec.id, '/tmp/kept')).toBe('still here');
      expect((await run(driver, spec.id, ['env'])).stdout).toContain('COLOUR=red');
      expect(await driver.ensure(changed, stay)).toEqual(after);
    });

    test('what needs a restart needs no leave while the instance is stopped, and does not start it', async () => {
      const { spec } = await make();
      await driver.writeFiles(spec.id, '/tmp', archiveOf('kept', 'still here'));
      const stopped = { ...spec, power: 'stopped' as const };
      await driver.ensure(stopped, stay);
      expect((await driver.ensure({ ...stopped, env: {} }, stay)).power).toBe('stopped');
      expect((await driver.ensure({ ...spec, env: {} }, stay)).power).toBe('running');
      expect(await hasFile(spec.id, '/tmp/kept')).toBe('still here');
      expect((await run(driver, spec.id, ['env'])).stdout).not.toContain('COLOUR');
    });

    test('volumes keep what instances write, one after the other', async () => {
      const volumeId = await bench.volume();
      const mounts = [{ volumeId, path: '/data', readOnly: false }];
      const { spec: one } = await make({ mounts });
      await driver.writeFiles(one.id, '/data', archiveOf('note', 'from one'));
      await driver.remove(one.id, { signal: never, stopTimeout: 0 });
      const { spec: two } = await make();
      await driver.writeFiles(two.id, '/tmp', archiveOf('kept', 'still here'));
      await refused(driver.ensure({ ...two, mounts }, stay), 'busy');
      await driver.ensure({ ...two, mounts }, go);
      expect(await hasFile(two.id, '/data/note')).toBe('from one');
      expect(await hasFile(two.id, '/tmp/kept')).toBe('still here');
      await driver.ensure({ ...two, mounts: [] }, go);
      expect(await hasFile(two.id, '/data/note')).toBeUndefined();
      expect(await hasFile(two.id, '/tmp/kept')).toBe('still here');
    });

    test('published ports: 0 becomes a port that stays; one that is taken is refused by number', async () => {
      const ports = [{ hostAddress: '127.0.0.1', hostPort: 0, instancePort: 80, protocol: 'tcp' as const }];
      const { spec, observed } = await make({ ports });
      const port = observed.ports[0]?.hostPort ?? 0;
      expect(port).toBeGreaterThan(0);
      expect(observed.ports).toEqual([{ ...ports[0], hostPort: port }]);
      expect((await driver.ensure({ ...spec, power: 'stopped' }, stay)).ports).toEqual([]);
      expect((await driver.ensure(spec, stay)).ports).toEqual(observed.ports);
      expect((await driver.ensure({ ...spec, env: {} }, go)).ports).toEqual(observed.ports);
      const rival = specOf({ ports: [{ hostAddress: '127.0.0.1', hostPort: port, instancePort: 80, protocol: 'tcp' }] });
      expect((await refused(driver.ensure(rival, go), 'bad_spec')).message).toContain(String(port));
      const elsewhere = await driver.ensure({ ...rival, ports }, go);
      expect(elsewhere.power).toBe('running');
      expect(elsewhere.ports[0]?.hostPort).not.toBe(port);
    });

    test('an image that is not there is refused by name, and the image of an instance stays', async () => {
      expect((await refused(driver.ensure(specOf({ image: 'no-such-image:1' }), go), 'bad_spec')).message).toContain('no-such-image:1');
      const { spec, observed } = await make();
      await refused(driver.ensure({ ...spec, image: 'no-such-image:1' }, go), 'bad_spec');
      expect(await driver.inspect(spec.id)).toEqual(observed);
    });

    test('an aborted call throws the reason', async () => {
      const reason = new Error('enough');
      await expect(driver.ensure(specOf(), { signal: AbortSignal.abort(reason), allowRestart: true })).rejects.toBe(reason);
    });

    test('calls for one instance at the same time give one instance', async () => {
      const spec = specOf();
      const all = await Promise.all([1, 2, 3, 4].map(() => driver.ensure(spec, go)));
      for (const each of all) expect(each).toEqual(all[0]);
      expect((await driver.list()).filter(({ id }) => id === spec.id)).toHaveLength(1);
    });

    test('a death behind the back is seen by watch and inspect, and healed by ensure', async () => {
      const { spec, observed } = await make();
      const seen: string[] = [];
      const ready = Promise.withResolvers<void>();
      const stop = new AbortController();
      const watching = driver.watch((id) => seen.push(id), stop.signal, ready.resolve);
      await ready.promise;
      await bench.kill(spec.id, 9);
      await expect.poll(() => seen, { timeout: 5_000 }).toContain(spec.id);
      await expect.poll(async () => (await driver.inspect(spec.id))?.power).toBe('stopped');
      const healed = await driver.ensure(spec, stay);
      expect(healed.power).toBe('running');
      expect(healed.startedAt).toBeGreaterThan(observed.startedAt ?? 0);
      stop.abort();
      await watching;
    });

    test('an instance that vanished is made again', async () => {
      const { spec } = await make();
      await bench.vanish(spec.id);
      expect(await driver.inspect(spec.id)).toBeUndefined();
      expect((await driver.ensure(spec, stay)).power).toBe('running');
    });

    test('remove takes everything, from any power, twice', async () => {
      for (const power of ['running', 'stopped', 'paused'] as const) {
        if (power === 'paused' && !driver.capabilities.pause) continue;
        const { spec } = await make({ power });
        await driver.remove(spec.id, { signal: never, stopTimeout: 0 });
        expect(await driver.inspect(spec.id)).toBeUndefined();
        expect((await driver.list()).map(({ id }) => id)).not.toContain(spec.id);
        await driver.remove(spec.id, { signal: never, stopTimeout: 0 });
      }
    });

    test('exec: output, exit code, environment, host name', async () => {
      const { spec } = await make();
      expect(await run(driver, spec.id, ['echo', 'hello', 'there'])).toEqual({ stdout: 'hello there\n', stderr: '', code: 0 });
      expect((await run(driver, spec.id, ['false'])).code).toBe(1);
      expect((await run(driver, spec.id, ['sh', '-c', 'exit 42'])).code).toBe(42);
      expect((await run(driver, spec.id, ['hostname'])).stdout).toBe(`${spec.name}\n`);
      const env = (await run(driver, spec.id, ['env'], { env: { SIZE: 'large' } })).stdout;
      expect(env).toContain('COLOUR=blue\n');
      expect(env).toContain('SIZE=large\n');
    });

    test('exec: the end of stdin reaches the program, every byte before it too', async () => {
      const { spec } = await make();
      const input = 'line of input\n'.repeat(40_000);
      const { stdout, code } = await run(driver, spec.id, ['cat'], { input });
      expect(code).toBe(0);
      expect(stdout.length).toBe(input.length);
      expect(stdout).toBe(input);
    });

    test('exec: a program that is not there is 127, with a sentence on stderr', async () => {
      const { spec } = await make();
      const { stdout, stderr, code } = await run(driver, spec.id, ['no-such-program']);
      expect({ stdout, code }).toEqual({ stdout: '', code: 127 });
      expect(stderr).toContain('no-such-program');
    });

    test('exec: with a terminal everything arrives on stdout, and it can be resized', async () => {
      const { spec } = await make();
      const session = await driver.exec(spec.id, { command: ['cat'], tty: true, stdin: true, columns: 100, rows: 30 });
      await session.resize(120, 40);
      session.stdin.write('typed\n');
      const output = await first(session.stdout, (chunks) => chunks.join('').includes('typed'));
      expect(output.join('')).toContain('typed');
      session.kill();
      await session.exited;
    });

    test('exec: kill ends a program', async () => {
      const { spec } = await make();
      const session = await driver.exec(spec.id, { command: ['cat'], tty: false, stdin: true });
      session.stdin.write('x');
      await first(session.stdout.iterator({ destroyOnReturn: false }), () => true);
      session.kill();
      expect(await session.exited).toBe(137);
    });

    test('exec needs a running instance', async () => {
      const { spec } = await make({ power: 'stopped' });
      expect((await refused(driver.exec(spec.id, { command: ['true'], tty: false, stdin: false }), 'bad_spec')).message).toMatch(/running/);
      await refused(driver.exec('i-nowhere', { command: ['true'], tty: false, stdin: false }), 'bad_spec');
    });

    test('files go in and come out, running or not', async () => {
      const { spec } = await make();
      await driver.writeFiles(spec.id, '/tmp', archiveOf('a', 'running'));
      expect((await run(driver, spec.id, ['cat', '/tmp/a'])).stdout).toBe('running');
      await driver.ensure({ ...spec, power: 'stopped' }, stay);
      await driver.writeFiles(spec.id, '/tmp', archiveOf('b', 'stopped'));
      const entries = await entriesOf(await driver.readFiles(spec.id, '/tmp'));
      expect(entries.get('tmp/a')).toBe('running');
      expect(entries.get('tmp/b')).toBe('stopped');
      await refused(driver.readFiles(spec.id, '/tmp/nothing'), 'bad_spec');
      await refused(driver.readFiles('i-nowhere', '/tmp'), 'bad_spec');
      await refused(driver.writeFiles('i-nowhere', '/tmp', archiveOf('c', '')), 'bad_spec');
      await refused(driver.writeFiles(spec.id, '/tmp/a', archiveOf('c', '')), 'bad_spec');
    });

    test('stats come at once and again, and end when aborted', async () => {
      const { spec } = await make();
      const stop = new AbortController();
      const samples = [];
      for await (const sample of driver.stats(spec.id, stop.signal)) {
        samples.push(sample);
        if (samples.length === 2) stop.abort();
      }
      expect(samples).toHaveLength(2);
      for (const sample of samples) {
        expect(sample.memoryLimitBytes).toBe(spec.memoryBytes);
        expect(sample.cpu).toBeGreaterThanOrEqual(0);
      }
      await driver.ensure({ ...spec, power: 'stopped' }, stay);
      await refused(
        first(driver.stats(spec.id, never), () => true),
        'bad_spec',
      );
    });

    test('logs: both streams with times, the last lines, from a time on', async (context) => {
      programs(context);
      const { spec } = await make({ command: ['sh', '-c', 'echo one; echo two >&2; sleep 0.2; echo three; exec sleep 1000'] });
      const stop = new AbortController();
      const followed = await first(driver.logs(spec.id, { follow: true, tail: undefined, since: undefined, signal: stop.signal }), (all) => all.length === 3);
      expect(new Set(followed.map(({ text: line }) => line))).toEqual(new Set(['one', 'two', 'three']));
      expect(followed.find((line) => line.stream === 'stderr')?.text).toBe('two');
      const all = await collect(driver.logs(spec.id, { follow: false, tail: undefined, since: undefined, signal: never }));
      expect(all).toHaveLength(3);
      const last = all.at(-1) as LogLine;
      expect(last.text).toBe('three');
      expect(Math.abs(last.time - Date.now())).toBeLessThan(60_000);
      expect(await collect(driver.logs(spec.id, { follow: false, tail: 1, since: undefined, signal: never }))).toEqual([last]);
      expect(await collect(driver.logs(spec.id, { follow: false, tail: undefined, since: last.time, signal: never }))).toEqual([last]);
    });

    test('logs: following goes on over restarts and changes, and ends when aborted or removed', async () => {
      const { spec } = await make();
      const counted = async () => (await collect(driver.logs(spec.id, { follow: false, tail: undefined, since: undefined, signal: never }))).length;
      const stop = new AbortController();
      const followers = [stop.signal, never].map((signal) => collect(driver.logs(spec.id, { follow: true, tail: undefined, since: undefined, signal })));
      await driver.ensure({ ...spec, power: 'stopped' }, stay);
      await driver.ensure(spec, stay);
      const total = await counted();
      stop.abort();
      expect(((await followers[0]) ?? []).length).toBe(total);
      await driver.remove(spec.id, { signal: never, stopTimeout: 0 });
      await followers[1];
      await refused(collect(driver.logs('i-nowhere', { follow: false, tail: undefined, since: undefined, signal: never })), 'bad_spec');
    });

    test('logs: long lines and every character arrive whole, over a change that needs a restart too', async (context) => {
      programs(context);
      const long = `i=0; while [ $i -lt 6000 ]; do printf 'grüße-%s ' $i; i=$((i+1)); done; echo`;
      const { spec } = await make({ command: ['sh', '-c', `${long}; echo first; exec sleep 1000`] });
      await first(driver.logs(spec.id, { follow: true, tail: undefined, since: undefined, signal: never }), (all) => all.at(-1)?.text === 'first');
      const changed = { ...spec, command: ['sh', '-c', 'echo second; exec sleep 1000'] };
      await driver.ensure(changed, go);
      const [line, ...rest] = await first(
        driver.logs(spec.id, { follow: true, tail: undefined, since: undefined, signal: never }),
        (all) => all.at(-1)?.text === 'second',
      );
      expect(line?.text.trim().split(' ')).toEqual(Array.from({ length: 6000 }, (_, index) => `grüße-${index}`));
      expect(rest.map((each) => each.text)).toEqual(['first', 'second']);
      const tail = await collect(driver.logs(spec.id, { follow: false, tail: 2, since: undefined, signal: never }));
      expect(tail.map((each) => each.text)).toEqual(['first', 'second']);
    });

    test('connect reaches a listening port, and says so when nothing listens', async (context) => {
      programs(context);
      const { spec } = await make({ command: ['sh', '-c', 'while :; do echo pong | nc -l -p 7000; done'] });
      let answer = '';
      await expect
        .poll(async () => {
          answer = await driver.connect(spec.id, 7000).then(text, () => '');
          return answer;
        })
        .toBe('pong\n');
      expect((await refused(driver.connect(spec.id, 7001), 'failed')).message).toContain('7001');
      await driver.ensure({ ...spec, power: 'stopped' }, stay);
      await refused(driver.connect(spec.id, 7000), 'bad_spec');
    });

    test('names resolve among the instances of a network', async (context) => {
      programs(context);
      const { spec: one } = await make();
      const { spec: two } = await make();
      expect((await run(driver, one.id, ['ping', '-c', '1', '-W', '2', two.name])).stdout).toContain(two.address);
    });
  });
}
