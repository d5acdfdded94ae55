// Instances as a demanding user finds them: the kernel's own limits, addresses, ports, programs that die, streams of bytes.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { docker, dockerMissing, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
let cloud: TestCloud;

/** Where a container's cgroup keeps a limit, in either version of cgroups. */
function cgroup(container: string, v1: string, v2: string): string {
  const places = [
    `/sys/fs/cgroup/${v1.split('/')[0]}/docker/${container}/${v1.split('/')[1]}`,
    `/sys/fs/cgroup/docker/${container}/${v2}`,
    `/sys/fs/cgroup/system.slice/docker-${container}.scope/${v2}`,
  ];
  const place = places.find((path) => existsSync(path));
  if (place === undefined) throw new Error(`none of ${places.join(', ')} is there`);
  return readFileSync(place, 'utf8').trim();
}
const quota = (id: string): number => {
  const text = cgroup(id, 'cpu/cpu.cfs_quota_us', 'cpu.max').split(' ');
  const period = text[1] ?? cgroup(id, 'cpu/cpu.cfs_period_us', 'cpu.max');
  return Number(text[0]) / Number(period);
};
const memory = (id: string): number => Number(cgroup(id, 'memory/memory.limit_in_bytes', 'memory.max'));
const pids = (id: string): number => Number(cgroup(id, 'pids/pids.max', 'pids.max'));

const fetchText = async (url: string): Promise<string> => (await fetch(url, { signal: AbortSignal.timeout(2000) })).text();
const events = async (instance: string): Promise<string[]> =>
  (await cloud.client.event.list({ resource: `instance/${instance}` })).items.map(({ type }) => type);

/** An instance with `sleep` as its program, unless said otherwise. */
const create = (name: string, input: Partial<Parameters<typeof cloud.client.instance.create>[0]> = {}) =>
  cloud.client.instance.create({ name, image: 'busybox', type: 'nano', vpc: 'net', command: ['sleep', '100000'], stopTimeout: 0, ...input }, { wait: true });

describe.skipIf(missing !== undefined)(`instances on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
    await cloud.client.vpc.create({ name: 'net' }, { wait: true });
    // Its five restarts take the better part of a minute; the last test sees how that ended.
    await cloud.ok('instance', 'create', 'doomed', '--image', 'busybox', '--vpc', 'net', '--type', 'nano', '--command', 'false', '--no-wait');
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  test('the limits of the type are the kernel’s, before and after a resize, which changes nothing else', async () => {
    const made = await cloud.json<{ id: string; address: string }>(
      ...['instance', 'create', 'limited', '--image', 'busybox', '--vpc', 'net', '--type', 'nano', '--command', 'sleep 100000', '--stop-timeout', '0'],
    );
    const { Id, State } = await (await cloud.container(made.id)).inspect();
    expect([quota(Id), memory(Id), pids(Id)]).toEqual([0.25, 128 * 2 ** 20, 256]);
    await cloud.ok('instance', 'resize', 'limited', '--type', 'micro');
    expect([quota(Id), memory(Id), pids(Id)]).toEqual([0.5, 512 * 2 ** 20, 512]);
    const after = await (await cloud.container(made.id)).inspect();
    expect([after.Id, after.State.StartedAt, after.State.Pid]).toEqual([Id, State.StartedAt, State.Pid]);
    await cloud.ok('instance', 'resize', 'limited', '--type', 'nano');
    expect([quota(Id), memory(Id), pids(Id)]).toEqual([0.25, 128 * 2 ** 20, 256]);
    expect(await cloud.client.instance.get('limited')).toMatchObject({ type: 'nano', cpus: 0.25, memoryMiB: 128, address: made.address, state: 'running' });
    const wrong = await cloud.cloud('instance', 'resize', 'limited', '--type', 'micor');
    expect([wrong.code, wrong.stderr]).toEqual([2, expect.stringContaining('did you mean micro')]);
  });

  test('address, name, files, environment and metadata stay over stop, start and a restart of the daemon', async () => {
    const made = await create('stable', { env: { MODE: 'dev', SPACED: 'a  b$c"d' }, metadata: { owner: 'ops' }, labels: { tier: 'front' } });
    expect(made.address).toMatch(/^10\./);
    const look = () => cloud.sh('stable', 'hostname; hostname -i; cat /kept; printf "%s|%s" "$MODE" "$SPACED"');
    await cloud.sh('stable', 'echo files > /kept');
    const seen = (await look()).output;
    expect(seen).toBe(`stable\n${made.address}\nfiles\ndev|a  b$c"d`);
    await cloud.ok('instance', 'stop', 'stable');
    // Others that come meanwhile do not take it.
    const other = await create('stranger');
    expect(other.address).not.toBe(made.address);
    expect(await cloud.client.instance.get('stable')).toMatchObject({ state: 'stopped', address: made.address });
    await cloud.ok('instance', 'start', 'stable');
    expect((await look()).output).toBe(seen);
    const before = (await (await cloud.container(made.id)).inspect()).State.StartedAt;
    await cloud.restart();
    expect(await cloud.client.instance.get('stable')).toMatchObject({ state: 'running', address: made.address, metadata: { owner: 'ops' } });
    expect((await look()).output).toBe(seen);
    expect((await (await cloud.container(made.id)).inspect()).State.StartedAt, 'a healthy instance is not touched').toBe(before);
    const named = async (...words: string[]) => (await cloud.ok('instance', 'list', '--output', 'name', ...words)).trim();
    expect(await named('--label', 'tier=front')).toBe('stable');
    expect(await named('--label', 'tier')).toBe('stable');
    expect(await named('--label', 'tier=back')).toBe('');
    expect((await named('--label', 'tier!=front')).split('\n')).not.toContain('stable');
  });

  test('a change that needs a restart asks, and then keeps the files and the address', async () => {
    const made = await create('changed');
    await cloud.sh('changed', 'echo mine > /kept');
    const refused = await cloud.cloud('instance', 'update', 'changed', '--env', 'MODE=prod');
    expect([refused.code, refused.stderr]).toEqual([5, expect.stringMatching(/needs a restart of changed[^]*--yes/)]);
    await cloud.ok('instance', 'update', 'changed', '--env', 'MODE=prod', '--yes');
    expect((await cloud.sh('changed', 'echo $MODE; cat /kept; hostname -i')).output).toBe(`prod\nmine\n${made.address}\n`);
  });

  test('entrypoint and command of the image count, and each can be replaced', async () => {
    const image = 'registry-like/entrypoint-test:1';
    const of = async (name: string, input: object) => {
      const { id } = await create(name, { image, restartPolicy: 'never', ...input });
      const { Path, Args } = await (await cloud.container(id)).inspect();
      return [Path, ...Args];
    };
    if ((await docker.listImages({ filters: { reference: [image] } })).length === 0) throw new Error(`no image ${image}; npm run setup`);
    expect(await of('ep1', { command: undefined })).toEqual(['/entrypoint', 'first', 'second', 'third word']);
    expect(await of('ep2', { command: ['mine', 'a b'] })).toEqual(['/entrypoint', 'first', 'mine', 'a b']);
    expect(await of('ep3', { command: undefined, entrypoint: ['/bin/sleep', '1000'] })).toEqual(['/bin/sleep', '1000']);
    expect(await of('ep4', { entrypoint: ['/bin/echo'], command: 'one "two three"' })).toEqual(['/bin/echo', 'one', 'two three']);
  });

  test('published ports: given, chosen (and kept), taken, twice', async () => {
    const web = [
      '--image',
      'busybox',
      '--vpc',
      'net',
      '--type',
      'nano',
      '--stop-timeout',
      '0',
      '--command',
      'sh -c "mkdir /www; hostname > /www/index.html; exec httpd -f -h /www"',
    ];
    await cloud.ok('instance', 'create', 'web', ...web, '--publish', '80', '--publish', '127.0.0.1:0:80');
    const { ports } = await cloud.client.instance.get('web');
    const chosen = ports.map(({ hostPort }) => hostPort);
    expect(new Set(chosen).size).toBe(2);
    for (const port of chosen) await until('it answers', async () => (await fetchText(`http://127.0.0.1:${port}/`)) === 'web\n');
    await cloud.ok('instance', 'restart', 'web');
    await cloud.restart();
    expect((await cloud.client.instance.get('web')).ports).toEqual(ports);
    for (const port of chosen) await until('it answers again', async () => (await fetchText(`http://127.0.0.1:${port}/`)) === 'web\n');
    const second = await cloud.cloud('instance', 'create', 'web2', ...web, '--publish', `${chosen[0]}:80`);
    expect([second.code, second.stderr]).toEqual([5, expect.stringContaining(`${chosen[0]}`)]);
    expect((await cloud.client.instance.list()).items.map(({ name }) => name)).not.toContain('web2');
    // A port that another program of the host has is known only when it is tried.
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
    const { port } = taken.address() as { port: number };
    const third = await cloud.cloud('instance', 'create', 'web3', ...web, '--publish', `${port}:80`);
    expect(third.code).not.toBe(0);
    expect(third.stderr).toMatch(new RegExp(`${port}.*in use`));
    await new Promise((resolve) => taken.close(resolve));
    const left = (await cloud.client.instance.list()).items.find(({ name }) => name === 'web3');
    if (left !== undefined) {
      expect(left).toMatchObject({ state: 'error', reason: expect.stringContaining('in use') });
      await cloud.ok('instance', 'start', 'web3');
      await until('it answers once the port is free', async () => (await fetchText(`http://127.0.0.1:${port}/`)) === 'web3\n');
    }
  });

  test('an instance killed behind our back is noticed within two seconds and healed, visibly', async () => {
    const { id } = await create('killed', { command: ['sh', '-c', 'trap "exit 3" TERM; while :; do sleep 1; done'] });
    const at = Date.now();
    await docker.getContainer(id).kill();
    await until('it was noticed', async () => (await events('killed')).includes('instance.died'), 2000);
    await until('it runs again', async () => {
      const { state, restarts } = await cloud.client.instance.get('killed');
      return state === 'running' && restarts === 1;
    });
    expect(Date.now() - at).toBeLessThan(10_000);
    expect(await events('killed')).toContain('instance.healed');
    // Stopped by hand in the engine is no wish of the user either.
    await docker.getContainer(id).stop({ t: 0 });
    await until(
      'it runs again',
      async () => (await cloud.client.instance.get('killed')).restarts === 2 && (await cloud.client.instance.get('killed')).state === 'running',
    );
  });

  test('a container removed behind our back is made anew under the same address', async () => {
    const made = await create('removed');
    await docker.getContainer(made.id).remove({ force: true });
    await until('it was noticed', async () => (await events('removed')).includes('instance.recreated'), 3000);
    await until('it runs', async () => (await cloud.sh('removed', 'hostname -i')).output === `${made.address}\n`);
    expect((await cloud.client.instance.get('removed')).state).toBe('running');
  });

  test('pausing and resuming freeze and go on; done behind our back they are undone', async () => {
    const { id } = await create('frozen');
    await cloud.ok('instance', 'pause', 'frozen');
    expect((await docker.getContainer(id).inspect()).State.Paused).toBe(true);
    const exec = await cloud.cloud('instance', 'exec', 'frozen', '--', 'true');
    expect([exec.code, exec.stderr]).toEqual([5, expect.stringContaining('paused')]);
    await cloud.ok('instance', 'resume', 'frozen');
    expect((await docker.getContainer(id).inspect()).State).toMatchObject({ Paused: false, Running: true });
    await docker.getContainer(id).pause();
    await until('it goes on', async () => !(await docker.getContainer(id).inspect()).State.Paused, 5000);
  });

  test('restart policies, and the end of trying', async () => {
    const ended = async (name: string, state: string) =>
      until(`${name} is ${state}`, async () => (await cloud.client.instance.get(name)).state === state, 5000);
    await create('never', { restartPolicy: 'never', command: ['sh', '-c', 'exit 4'] }).catch(() => undefined);
    await ended('never', 'stopped');
    expect(await cloud.client.instance.get('never')).toMatchObject({ exitCode: 4, reason: expect.stringContaining('exit code 4') });
    await create('onfail', { restartPolicy: 'on-failure', command: ['sh', '-c', 'test -e /second && exit 0; touch /second; exit 1'] }).catch(() => undefined);
    await ended('onfail', 'stopped');
    expect(await cloud.client.instance.get('onfail')).toMatchObject({ exitCode: 0, restarts: 1 });
  });

  test('more memory than the type has ends the program, not the host, and says so', async () => {
    await create('greedy', { restartPolicy: 'never', command: ['sh', '-c', 'dd if=/dev/zero of=/dev/null bs=300M count=1'] }).catch(() => undefined);
    const { reason } = await until('it ended', async () => {
      const seen = await cloud.client.instance.get('greedy');
      return seen.state === 'stopped' && seen;
    });
    expect(reason).toContain('more memory');
  });

  test('logs: all of them, both streams, and on over a restart while followed', async () => {
    await create('talker', { command: ['sh', '-c', 'echo started $(cat /runs 2>/dev/null); echo x >> /runs; echo oops >&2; exec sleep 100000'] });
    const follow = cloud.spawn(['instance', 'logs', 'talker', '--follow']);
    let seen = '';
    for (const stream of [follow.stdout, follow.stderr]) stream.on('data', (bytes: Buffer) => (seen += bytes.toString()));
    await until('the first run', async () => seen.includes('started') && seen.includes('oops'));
    await cloud.ok('instance', 'restart', 'talker');
    await until('the second run, in the same command', async () => seen.includes('started x'));
    await cloud.ok('instance', 'update', 'talker', '--env', 'A=b', '--yes');
    await until('the third run, in a container made anew', async () => seen.includes('started x x'));
    expect(follow.exitCode).toBeNull();
    follow.kill('SIGINT');
    expect(await new Promise((resolve) => follow.once('close', resolve))).toBe(130);
    const all = await cloud.cloud('instance', 'logs', 'talker');
    expect(all.stdout.match(/started.*/g)).toEqual(['started', 'started x', 'started x x']);
    expect((await cloud.ok('instance', 'logs', 'talker', '--tail', '1')).trim().split('\n')).toHaveLength(1);
  });

  test('exec carries bytes both ways, ends of input, exit codes, users and a terminal', async () => {
    await create('box');
    const bytes = randomBytes(3 * 1024 * 1024 + 17);
    const channel = await cloud.client.instance.exec('box', { command: ['sh', '-c', 'md5sum >&2; head -c 100000 /dev/zero'] });
    channel.input.end(bytes);
    const [out, error] = await Promise.all([buffer(channel.output), buffer(channel.error)]);
    expect(await channel.result).toEqual({ exitCode: 0 });
    expect([out.length, error.toString()]).toEqual([100_000, expect.stringMatching(/^[0-9a-f]{32} {2}-\n$/)]);
    const echo = await cloud.client.instance.exec('box', { command: ['cat'] });
    echo.input.end(bytes);
    expect(Buffer.compare(await buffer(echo.output), bytes)).toBe(0);
    const piped = await cloud.cloudWith({ input: 'a\nb\n' }, 'instance', 'exec', 'box', '--', 'sh', '-c', 'cat; echo err >&2; exit 42');
    expect(piped).toEqual({ stdout: 'a\nb\n', stderr: 'err\n', code: 42 });
    expect(
      (await cloud.cloud('instance', 'exec', 'box', '--env', 'A=1', '--workdir', '/tmp', '--user', '1000', '--', 'sh', '-c', 'echo $A $PWD $(id -u)')).stdout,
    ).toBe('1 /tmp 1000\n');
    expect((await cloud.cloud('instance', 'exec', 'box', '--', 'no-such-program')).code).toBe(127);
    expect((await cloud.cloud('instance', 'exec', 'box', '--', 'sh', '-c', 'kill -9 $$')).code).toBe(137);
    const script =
      'while [ "$(stty size)" != "23 91" ]; do :; done 2>/dev/null; test -t 0 && test -t 1 && echo terminal; while [ "$(stty size)" = "23 91" ]; do :; done; stty size; exit 5';
    const tty = await cloud.client.instance.exec('box', { command: ['sh', '-c', script], tty: true, columns: 91, rows: 23 });
    let text = '';
    tty.output.on('data', (chunk: Buffer) => (text += chunk.toString()));
    await until('the terminal in its size', async () => text.includes('terminal'));
    tty.control({ type: 'resize', columns: 120, rows: 40 });
    expect(await tty.result).toEqual({ exitCode: 5 });
    expect(text).toContain('40 120');
  });

  test('cp carries files and directories with odd names, up and down', async () => {
    await create('files');
    const from = join(cloud.folder, 'from');
    mkdirSync(join(from, 'sub dir', 'empty'), { recursive: true });
    const names = ['plain', ' leading blank', 'ünïcödé ✓', '-dash', 'quo"te\'s', 'new\nline', 'a:b', `${'long'.repeat(50)}`];
    for (const name of names) writeFileSync(join(from, 'sub dir', name), `content of ${name}`);
    const big = randomBytes(5 * 1024 * 1024);
    writeFileSync(join(from, 'big'), big, { mode: 0o755 });
    symlinkSync('plain', join(from, 'sub dir', 'link'));
    await cloud.ok('instance', 'cp', from, 'files:/copied');
    expect((await cloud.sh('files', 'ls /copied/"sub dir" | wc -l; stat -c %a /copied/big; readlink "/copied/sub dir/link"')).output).toBe(
      `${names.length + 2}\n755\nplain\n`,
    );
    await cloud.ok('instance', 'cp', 'files:/copied', join(cloud.folder, 'back'));
    await cloud.sh('files', 'ln -s /copied/link2 /tmp/one; ln -s "sub dir/link" /copied/link2');
    await cloud.ok('instance', 'cp', 'files:/tmp/one', join(cloud.folder, 'behind'));
    expect(readFileSync(join(cloud.folder, 'behind'), 'utf8')).toBe('content of plain');
    for (const name of names) expect(readFileSync(join(cloud.folder, 'back', 'sub dir', name), 'utf8')).toBe(`content of ${name}`);
    expect(Buffer.compare(readFileSync(join(cloud.folder, 'back', 'big')), big)).toBe(0);
    await cloud.ok('instance', 'cp', join(from, 'sub dir', 'quo"te\'s'), 'files:/tmp/renamed');
    expect((await cloud.sh('files', 'cat /tmp/renamed')).output).toBe('content of quo"te\'s');
    const absent = await cloud.cloud('instance', 'cp', 'files:/no/such', cloud.folder);
    expect([absent.code, absent.stderr]).toEqual([4, expect.stringContaining('There is no /no/such in the instance')]);
  });

  test('stats are those of the instance', async () => {
    await create('busy', { command: ['sh', '-c', 'while :; do :; done'], type: 'micro' });
    const samples: { cpu: number; memoryLimitBytes: number; pids: number }[] = [];
    for await (const sample of cloud.client.instance.stats('busy', { samples: 3 })) samples.push(sample);
    expect(samples).toHaveLength(3);
    expect(samples.at(-1)).toMatchObject({ memoryLimitBytes: 512 * 2 ** 20, pids: 1 });
    expect(samples.at(-1)?.cpu).toBeGreaterThan(0.1);
    expect(samples.at(-1)?.cpu).toBeLessThan(0.7);
    await cloud.ok('instance', 'delete', 'busy', '--yes');
  });

  test('ssh logs in with the key that was given', async (context) => {
    const image = 'debian-ssh:trixie';
    if ((await docker.listImages({ filters: { reference: [image] } })).length === 0) {
      if ((process.env['CLOUD_REQUIRED'] ?? '').includes('docker')) throw new Error(`no image ${image}; npm run setup`);
      context.skip(`there is no image ${image}`);
    }
    await cloud.ok('ssh-key', 'create', 'laptop', '--generate', '--out', join(cloud.folder, 'key'));
    await cloud.ok('instance', 'create', 'vm', '--image', image, '--vpc', 'net', '--type', 'micro', '--ssh-key', 'laptop');
    // The instance runs when its program does; its sshd makes its host keys first.
    await until('sshd listens', async () => (await cloud.cloudWith({ input: '' }, 'instance', 'connect', 'vm', '22')).stdout.startsWith('SSH-'));
    const { stdout, stderr, code } = await cloud.cloud('instance', 'ssh', 'vm', '--identity', join(cloud.folder, 'key'), '--', 'hostname; exit 6');
    expect([stdout, code], stderr).toEqual(['vm\n', 6]);
  });

  test('a program that ends again and again is restarted five times, at longer and longer intervals, and then no more', async () => {
    const { state, reason, restarts } = await until(
      'it was given up',
      async () => (await events('doomed')).includes('instance.healing-gave-up') && cloud.client.instance.get('doomed'),
      90_000,
    );
    expect({ state, reason, restarts }).toEqual({ state: 'error', reason: expect.stringMatching(/exit code 1, 5 restarts/), restarts: 5 });
    const { items } = await cloud.client.event.list({ resource: 'instance/doomed' });
    const times = items.filter(({ type }) => type === 'instance.healed').map(({ time }) => Date.parse(time));
    expect(times).toHaveLength(5);
    const pauses = times.slice(1).map((time, index) => time - (times[index] as number));
    expect(pauses).toEqual(pauses.toSorted((a, b) => a - b));
    expect(pauses.at(-1)).toBeGreaterThan(10_000);
    expect(await cloud.cloud('instance', 'start', 'doomed')).not.toMatchObject({ code: 70 });
  });
});
