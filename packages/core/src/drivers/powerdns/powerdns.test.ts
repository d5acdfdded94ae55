// A real PowerDNS of our own, as the daemon runs it: what it promises, and what happens when it, or the one who started it, is killed.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../kernel/clock.ts';
import { ask, conformance } from '../../services/zone/driver.conformance.ts';
import { PowerDns } from './index.ts';
import { findProgram } from './server.ts';

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
const fresh = (): string => {
  const folder = mkdtempSync(join(tmpdir(), 'cloud-dns-'));
  folders.push(folder);
  return join(folder, 'powerdns');
};
const installation = 'cloud-0000000000000000';
const open = (directory: string, server?: ConstructorParameters<typeof PowerDns>[0]['server']): PowerDns =>
  new PowerDns({ installation, directory, clock: systemClock, server });
const signal = new AbortController().signal;
const Z = 'prod.internal.vpc-0000000000000000.';
const zone = (...values: string[]) => ({
  name: Z,
  negativeTtl: 5,
  records: [
    { name: Z, type: 'NS', ttl: 60, values: [`ns.${Z}`] },
    { name: `www.${Z}`, type: 'A', ttl: 60, values },
  ],
});
const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false; // gone
  }
};
const until = async (what: string, look: () => unknown): Promise<void> => {
  const deadline = Date.now() + 10_000;
  for (;;) {
    // What throws is not so yet.
    if (
      await Promise.resolve()
        .then(look)
        .catch(() => false)
    )
      return;
    if (Date.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};

describe.skipIf(findProgram('pdns_server') === undefined)('PowerDNS', () => {
  conformance('PowerDNS', async () => {
    const driver = open(fresh());
    return { driver, close: () => driver.close() };
  });

  test('it runs from the first zone on, on loopback, with a key in a file of ours alone', async () => {
    const directory = fresh();
    const driver = open(directory);
    try {
      await driver.ping();
      expect(await driver.list()).toEqual([]);
      expect(driver.pid).toBeUndefined();
      expect((await driver.report()).checks).toEqual([{ name: 'PowerDNS is installed', ok: true, detail: 'It is started with the first zone' }]);
      await driver.ensure(zone('10.0.0.1'), signal);
      const { checks, version } = await driver.report();
      expect(checks).toMatchObject([{ ok: true, detail: expect.stringContaining(`process ${driver.pid}`) }]);
      expect(version).toMatch(/^4\./);
      expect(statSync(join(directory, 'pdns.conf')).mode & 0o777).toBe(0o600);
      expect(statSync(directory).mode & 0o777).toBe(0o700);
      expect(readFileSync(join(directory, 'pdns.conf'), 'utf8')).not.toMatch(/0\.0\.0\.0|::/);
      expect((await fetch(`${driver.address?.api}/api/v1/servers/localhost`, { headers: { 'x-api-key': 'guess' } })).status).toBe(401);
    } finally {
      await driver.close();
    }
    expect(await driver.list()).toEqual([]);
  });

  test('killed, it is there again with all it had; also when its database is no database any more', async () => {
    const directory = fresh();
    const driver = open(directory);
    try {
      await driver.ensure(zone('10.0.0.1'), signal);
      const first = driver.pid as number;
      process.kill(first, 'SIGKILL');
      await until('another one answers', async () => driver.pid !== first && (await ask(driver, `www.${Z}`)).answers.length === 1);
      const second = driver.pid as number;
      writeFileSync(join(directory, 'zones.db'), 'no database'.repeat(1000));
      process.kill(second, 'SIGKILL');
      await until('another one runs', () => driver.pid !== undefined && driver.pid !== second);
      await driver.ensure(zone('10.0.0.2'), signal);
      expect((await ask(driver, `www.${Z}`)).answers).toEqual([`www.${Z} 60 A 10.0.0.2`]);
    } finally {
      await driver.close();
    }
  });

  test('a process that is killed takes it along, and one that is left over is replaced', async () => {
    const directory = fresh();
    const script = `import { PowerDns } from ${JSON.stringify(join(import.meta.dirname, 'index.ts'))};
      const driver = new PowerDns({ installation: ${JSON.stringify(installation)}, directory: ${JSON.stringify(directory)} });
      await driver.ensure(${JSON.stringify(zone('10.0.0.1'))}, new AbortController().signal);
      console.log(driver.pid);
      setInterval(() => {}, 1000);`;
    const child = spawn(process.execPath, ['--conditions=@thecloud/source', '--input-type=module', '--eval', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    const pid = await new Promise<number>((resolve) => child.stdout.once('data', (text: Buffer) => resolve(Number(text.toString()))));
    expect(isAlive(pid)).toBe(true);
    child.kill('SIGKILL');
    if (findProgram('setpriv') !== undefined) await until('it is gone, too', () => !isAlive(pid));
    // As one would be left where its parent's end is told to nobody.
    const orphan = spawn(findProgram('pdns_server') as string, [`--config-dir=${directory}`], { stdio: 'ignore', detached: true });
    await until('the orphan runs', () => isAlive(orphan.pid as number));
    const driver = open(directory);
    try {
      await driver.ensure(zone('10.0.0.3'), signal);
      expect(isAlive(orphan.pid as number)).toBe(false);
      expect((await ask(driver, `www.${Z}`)).answers).toEqual([`www.${Z} 60 A 10.0.0.3`]);
    } finally {
      await driver.close();
    }
  });

  test('several run beside each other, also in a directory with a long path', async () => {
    const drivers = [open(fresh()), open(fresh()), open(join(fresh(), 'x'.repeat(120)))];
    try {
      await Promise.all(drivers.map((driver, index) => driver.ensure(zone(`10.0.0.${index}`), signal)));
      for (const [index, driver] of drivers.entries()) expect((await ask(driver, `www.${Z}`)).answers).toEqual([`www.${Z} 60 A 10.0.0.${index}`]);
    } finally {
      await Promise.all(drivers.map((driver) => driver.close()));
    }
  });

  test('a given server: zones of others in it stay, a wrong key is said', async () => {
    const owner = open(fresh());
    try {
      await owner.ensure(
        { ...zone('10.0.0.1'), name: 'theirs.example.', records: [{ name: 'theirs.example.', type: 'NS', ttl: 60, values: ['ns.theirs.example.'] }] },
        signal,
      );
      const server = owner.address as NonNullable<typeof owner.address>;
      const guest = new PowerDns({ installation: 'cloud-1111111111111111', directory: '/nonexistent', server });
      await guest.ping();
      await guest.ensure(zone('10.0.0.9'), signal);
      expect((await ask(guest, `www.${Z}`)).answers).toHaveLength(1);
      expect((await guest.list()).map(({ id }) => id)).toEqual([Z]);
      expect((await owner.list()).map(({ id }) => id)).toEqual(['theirs.example.']);
      await guest.close();
      const wrong = new PowerDns({ installation, directory: '/nonexistent', server: { ...server, key: 'guess' } });
      await expect(wrong.ping()).rejects.toMatchObject({ code: 'unavailable', message: 'PowerDNS does not take the API key' });
      expect((await wrong.report()).checks).toMatchObject([{ ok: false }]);
      expect(JSON.stringify(await wrong.report())).not.toContain('guess');
      await wrong.close();
    } finally {
      await owner.close();
    }
  });
});
