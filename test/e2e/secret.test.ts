// Secrets as they are used: by the command, in a container's environment, across a rotation, a kill and a daemon that is given the wrong key.
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerMissing, inside, TestCloud, until } from './bench.ts';

const missing = await dockerMissing();
let cloud: TestCloud;
const planted = { first: 'planted-1-7f0c9a', second: 'planted-2-33be41', third: 'planted-3-c0ffee' };

/** Everything that the installation has written, the database and its journal among it. */
function written(folder: string): string {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && statSync(join(entry.parentPath, entry.name)).size < 64 * 2 ** 20)
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');
}

describe.skipIf(missing !== undefined)(`secrets on Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  beforeAll(async () => {
    cloud = await TestCloud.start();
    await cloud.client.vpc.create({ name: 'net' }, { wait: true });
  });
  afterAll(() => cloud?.[Symbol.asyncDispose]());

  const environment = async (id: string) => (await inside(id, 'tr "\\0" "\\n" < /proc/1/environ')).output;

  test('a value comes from standard input, and goes into the container and nowhere else', async () => {
    const { code, stderr } = await cloud.cloudWith({ input: planted.first }, 'secret', 'create', 'db-password', '--value', '-');
    expect([code, stderr]).toEqual([0, '']);
    expect(await cloud.ok('secret', 'list')).toContain('[REDACTED]');
    const { id } = await cloud.json<{ id: string }>(
      ...['instance', 'create', 'web', '--image', 'busybox', '--vpc', 'net', '--type', 'nano', '--command', 'sleep 100000', '--stop-timeout', '0'],
      ...['--env', 'PASSWORD=@secret:db-password', '--env', 'LITERAL=@@secret:db-password'],
    );
    expect(await environment(id)).toContain(`PASSWORD=${planted.first}\n`);
    expect(await environment(id)).toContain('LITERAL=@secret:db-password\n');
    expect(await cloud.ok('instance', 'get', 'web', '--output', 'json')).not.toContain('planted');
    const inspected = await (await cloud.container(id)).inspect();
    expect(JSON.stringify(inspected.Config.Labels)).not.toContain('planted');
    const refused = await cloud.cloud('secret', 'delete', 'db-password', '--yes');
    expect([refused.code, refused.stderr]).toEqual([5, expect.stringContaining('in use by instance web')]);
  });

  test('a new value comes with the restart, and a daemon that was killed changes nothing', async () => {
    const { id } = await cloud.client.instance.get('web');
    await cloud.client.secret.rotate('db-password', { value: planted.second });
    await cloud.kill();
    await cloud.start();
    await until('the controllers have looked', async () => (await cloud.client.instance.get('web')).state === 'running');
    expect(await environment(id)).toContain(`PASSWORD=${planted.first}\n`);
    await cloud.ok('instance', 'restart', 'web');
    expect(await environment(id)).toContain(`PASSWORD=${planted.second}\n`);
    expect((await cloud.client.secret.get('db-password')).lastAccessedAt).toBeDefined();
  });

  test('the master key changes while things run; another one, or none, starts nothing and harms nothing', async () => {
    const file = join(cloud.dataDir, 'master-key');
    const before = readFileSync(file, 'utf8');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    await cloud.ok('system', 'rotate-master-key');
    const key = readFileSync(file, 'utf8');
    expect(key).not.toBe(before);
    expect(existsSync(`${file}.next`)).toBe(false);
    expect((await cloud.client.secret.value('db-password')).value).toBe(planted.second);
    await cloud.ok('daemon', 'stop');
    for (const wrong of [before, randomBytes(32).toString('base64')]) {
      writeFileSync(file, wrong);
      const { code, stderr } = await cloud.cloud('daemon', 'start', '--driver', 'docker');
      expect([code, stderr]).toEqual([5, expect.stringContaining('This is not the master key that this data directory was written with')]);
    }
    writeFileSync(file, key);
    await cloud.start();
    expect((await cloud.client.secret.value('db-password')).value).toBe(planted.second);
  });

  test('no value is in the data directory or in a log', async () => {
    await cloud.client.secret.create({ name: 'other', value: planted.third }, { idempotencyKey: 'k' });
    await cloud.client.secret.value('other');
    const text = written(cloud.dataDir);
    expect(text).toContain('db-password');
    for (const value of Object.values(planted)) expect(text.includes(value), value).toBe(false);
  });
});
