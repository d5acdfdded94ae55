// Who one is, as it is typed: logging in and out, tokens that renew themselves, tenants, keys, what may not be done and why.
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cloud, has } from './cloud.ts';

const PASSWORD = 'correct horse battery';

let cloud: Cloud;
let url: string;
beforeAll(async () => {
  cloud = new Cloud();
  const { stdout, stderr, code } = await cloud.run(['daemon', 'start', '--driver', 'memory', '--listen', '127.0.0.1:0']);
  if (code !== 0) throw new Error(stderr);
  url = /http:\/\/\S+/.exec(stdout)?.[0] as string;
  await done(['tenant', 'create', 'acme']);
  await done(['user', 'create', 'ann@example.com', '--password', '-'], PASSWORD);
  await done(['tenant', 'member', 'add', 'ann@example.com', '--role', 'developer', '--tenant', 'acme']);
});
afterAll(() => cloud[Symbol.asyncDispose]());

/** A command that must succeed; its standard output. */
async function done(args: readonly string[], input?: string, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stdout, stderr, code } = await cloud.run(args, input === undefined ? { env } : { input, env });
  if (code !== 0) throw new Error(`cloud ${args.join(' ')}: ${code}: ${stderr}`);
  return stdout;
}

const kept = (name: string): string => join(cloud.folder, '.config', 'thecloud', name);
type Kept = { contexts: Record<string, { expiresAt: number; accessToken: string; refreshToken: string }> };
const credentials = (): Kept => JSON.parse(readFileSync(kept('credentials.json'), 'utf8')) as Kept;
const change = (to: (one: Kept['contexts'][string]) => void): void => {
  const all = credentials();
  for (const one of Object.values(all.contexts)) to(one);
  writeFileSync(kept('credentials.json'), JSON.stringify(all));
};

describe('without credentials', () => {
  it('nothing works over TCP, and the hint is what helps', async () => {
    const { stderr, code } = await cloud.run(['vpc', 'list', '--url', url]);
    expect([code, stderr]).toEqual([3, expect.stringContaining(`Hint: cloud auth login --url ${url}\n`)]);
  });

  it('the socket is its owner', async () => {
    expect(await done(['auth', 'whoami'])).toMatch(/Name: +local\b[^]*administrator of the installation[^]*Context: +default/);
  });
});

describe('a login', () => {
  it('takes no password from the command line', async () => {
    const { stderr, code } = await cloud.run(['auth', 'login', 'ann@example.com', '--password', PASSWORD]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('Hint: cloud auth login ann@example.com --password -\n')]);
    expect(stderr).not.toContain('horse');
  });

  it('with a wrong password is refused, and leaves nothing', async () => {
    const { stderr, code } = await cloud.run(['auth', 'login', 'ann@example.com', '--password', '-', '--url', url], { input: 'wrong horse battery\n' });
    expect([code, stderr]).toEqual([3, expect.stringMatching(/^Error: /)]);
    expect(await done(['context', 'current'])).toBe('default\n');
  });

  it('makes a context for its address, with tokens that only the owner reads', async () => {
    const { stderr, code } = await cloud.run(['auth', 'login', 'ann@example.com', '--password', '-', '--url', url, '--context', 'work'], {
      input: `${PASSWORD}\n`,
    });
    expect([code, stderr]).toEqual([0, expect.stringMatching(/^Logged in as ann@example\.com, in the tenant acme; the context is work\.\n$/)]);
    expect(statSync(kept('credentials.json')).mode & 0o777).toBe(0o600);
    expect(readFileSync(kept('contexts.json'), 'utf8')).not.toContain(credentials().contexts['work']?.accessToken);
    expect(await done(['auth', 'whoami'])).toMatch(/Name: +ann@example\.com[^]*Context: +work\nTenant: +acme[^]*Roles: +developer/);
    expect(await done(['vpc', 'list', '-o', 'name'])).toBe('');
    expect(await done(['context', 'list'])).toMatch(/\* +work +http:[^\n]+ann@example\.com +session\n/);
  });

  it.skipIf(!has('script'))('asks on a terminal, and shows nothing of the password', async () => {
    const terminal = cloud.terminal(['auth', 'login', '--context', 'work']);
    await terminal.sees('E-mail: ');
    terminal.type('ann@example.com\n');
    await terminal.sees('Password: ');
    terminal.type(`${PASSWORD}\n`);
    expect(await terminal.ended).toBe(0);
    expect(terminal.output).toContain('Logged in as ann@example.com');
    expect(terminal.output).not.toContain('horse');
  });
});

describe('a token', () => {
  it('is printed for scripts, and is what curl needs', async () => {
    const token = (await done(['auth', 'token'])).trim();
    const answer = await fetch(`${url}/v1/vpcs`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(200);
    expect(JSON.parse(await done(['vpc', 'list', '-o', 'json', '--url', url, '--context', 'default'], undefined, { CLOUD_TOKEN: token }))).toHaveProperty(
      'items',
    );
  });

  it('that has expired is renewed by one of several commands that run at once', async () => {
    const before = credentials().contexts['work']?.refreshToken;
    change((one) => {
      one.expiresAt = 0;
    });
    // A refresh token that was used twice would have ended the session.
    const all = await Promise.all(Array.from({ length: 5 }, () => cloud.run(['vpc', 'list', '-o', 'name'])));
    expect(all.map(({ code, stderr }) => [code, stderr])).toEqual(all.map(() => [0, expect.not.stringContaining('Error')]));
    expect(credentials().contexts['work']?.refreshToken).not.toBe(before);
    expect((await cloud.run(['vpc', 'list'])).code).toBe(0);
  });

  it('that is refused is renewed, for calls, streams and channels', async () => {
    const spoil = () =>
      change((one) => {
        one.accessToken = `${one.accessToken.slice(0, -4)}AAAA`;
      });
    spoil();
    await done(['vpc', 'list']);
    await done(['instance', 'create', 'web', '--image', 'busybox', '-q']);
    spoil();
    expect(await done(['instance', 'exec', 'web', '--', 'echo', 'hello'])).toBe('hello\n');
    spoil();
    const watching = cloud.spawn(['event', 'watch', '--since', '0']);
    await new Promise((resolve) => watching.stdout.once('data', resolve));
    watching.kill('SIGINT');
  });

  it('goes to no other address', async () => {
    const { code, stderr } = await cloud.run(['vpc', 'list', '--url', url.replace('127.0.0.1', 'localhost')]);
    expect([code, stderr]).toEqual([3, expect.stringContaining('Error: ')]);
  });

  it('in a file that others can read is not used', async () => {
    chmodSync(kept('credentials.json'), 0o640);
    const { code, stderr } = await cloud.run(['vpc', 'list']);
    expect([code, stderr]).toEqual([3, expect.stringContaining(`Hint: chmod 600 ${kept('credentials.json')}\n`)]);
    chmodSync(kept('credentials.json'), 0o600);
  });

  it('of a session that was ended elsewhere is told to log in again', async () => {
    await done(['user', 'sign', 'out', 'ann@example.com', '--context', 'default']);
    const { code, stderr } = await cloud.run(['vpc', 'list']);
    expect([code, stderr]).toEqual([3, expect.stringContaining('Hint: cloud auth login ann@example.com --context work\n')]);
    await done(['auth', 'login', 'ann@example.com', '--password', '-', '--context', 'work'], PASSWORD);
  });
});

describe('what one may', () => {
  it('is answered, with an exit code', async () => {
    expect(await cloud.run(['auth', 'can-i', 'instance:delete', 'web'])).toMatchObject({ code: 0, stdout: expect.stringMatching(/^yes: /) });
    expect(await cloud.run(['auth', 'can', 'i', 'role:create'])).toMatchObject({ code: 1, stdout: expect.stringMatching(/^no: /) });
    expect(await cloud.run(['auth', 'can-i', 'role:create', '-q'])).toEqual({ code: 1, stdout: '', stderr: '' });
  });

  it('not do is refused with the question to ask', async () => {
    const { code, stderr } = await cloud.run(['role', 'create', 'ops', '--permission', 'instance:*']);
    expect([code, stderr]).toEqual([3, expect.stringContaining('Hint: cloud auth can-i role:create ops\n')]);
  });
});

describe('tenants', () => {
  it('are listed with the current one marked, and switched', async () => {
    await done(['tenant', 'create', 'shop', '--context', 'default']);
    await done(['tenant', 'member', 'add', 'ann@example.com', '--role', 'viewer', '--tenant', 'shop', '--context', 'default']);
    expect(await done(['tenant', 'list'])).toMatch(/^\* +acme /m);
    await done(['tenant', 'switch', 'shop']);
    expect(await done(['tenant', 'list'])).toMatch(/^\* +shop /m);
    expect(await done(['auth', 'whoami'])).toMatch(/Tenant: +shop[^]*Roles: +viewer/);
    expect((await cloud.run(['vpc', 'create', 'x'])).code).toBe(3);
    expect((await cloud.run(['tenant', 'switch', 'none'])).code).toBe(4);
    expect((await cloud.run(['complete', '--', 'vpc', 'list', '--tenant', 's'])).stdout).toMatch(/^shop\t/);
    await done(['tenant', 'switch', 'acme']);
  });

  it.skipIf(!has('script'))('with something in them are shown before they go', async () => {
    await done(['vpc', 'create', 'inside', '--tenant', 'shop', '--context', 'default']);
    expect(await done(['tenant', 'delete', 'shop', '--cascade', '--dry-run', '--context', 'default'])).toMatch(/in this order:[^]*vpc +inside/);
    const terminal = cloud.terminal(['tenant', 'delete', 'shop', '--cascade', '--context', 'default']);
    await terminal.sees('with all of this? [y/N]');
    expect(terminal.output).toMatch(/vpc +inside/);
    terminal.type('n\n');
    expect(await terminal.ended).toBe(130);
    await done(['tenant', 'delete', 'shop', '--cascade', '--context', 'default']);
    expect((await cloud.run(['tenant', 'get', 'shop', '--context', 'default'])).code).toBe(4);
  });
});

describe('keys', () => {
  it('are shown once, and can be what one logs in with', async () => {
    const { stdout, stderr } = await cloud.run(['api-key', 'create', 'ci', '--output', 'json']);
    const { key } = JSON.parse(stdout) as { key: string };
    expect(stderr).toContain('not shown again');
    expect(await done(['api-key', 'list'])).not.toContain(key);
    expect(await done(['vpc', 'list', '-o', 'name', '--url', url], undefined, { CLOUD_API_KEY: key, CLOUD_CONTEXT: 'default' })).toBe(
      await done(['vpc', 'list', '-o', 'name']),
    );
    expect((await cloud.run(['vpc', 'list'], { env: { CLOUD_API_KEY: key, CLOUD_TOKEN: 'x' } })).code).toBe(2);
    await done(['auth', 'login', '--api-key', '-', '--url', url, '--context', 'robot'], `${key}\n`);
    expect(await done(['auth', 'whoami'])).toMatch(/Credential: +api-key key-[^]*Context: +robot/);
    await done(['api-key', 'revoke', 'ci', '-q', '--context', 'work']);
    expect((await cloud.run(['vpc', 'list'])).code).toBe(3);
    await done(['auth', 'logout']);
    await done(['context', 'delete', 'robot']);
    await done(['context', 'use', 'work']);
  });
});

describe('documents', () => {
  const policy = (effect: string) => `Version: "2012-10-17"\nStatement:\n  - Effect: ${effect}\n    Action: instance:*\n    Resource: "*"\n`;

  it('may be YAML, and their mistakes have a place', async () => {
    const local = ['--context', 'default', '--tenant', 'acme'];
    expect((await cloud.run(['policy', 'lint', '--document', '-', ...local], { input: policy('Allow') })).code).toBe(0);
    const wrong = await cloud.run(['policy', 'lint', '--document', '-', ...local], { input: policy('Alow') });
    expect([wrong.code, wrong.stdout]).toEqual([1, expect.stringMatching(/error +Statement\[0\]\.Effect/)]);
    const refused = await cloud.run(['policy', 'create', 'p', '--document', '-', ...local], { input: policy('Alow') });
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining('--document (Statement[0].Effect): ')]);
    await done(['policy', 'create', 'p', '--document', '-', ...local], policy('Allow'));
  });
});

describe('the audit', () => {
  it('names people, and its chain is whole', async () => {
    const local = ['--context', 'default', '--tenant', 'acme'];
    expect(await done(['audit', 'list', '--outcome', 'forbidden', ...local])).toMatch(/ann@example\.com +role:create/);
    expect((await cloud.run(['audit', 'verify', ...local])).stderr).toMatch(/lines, and the chain is whole/);
    const lines = (await done(['audit', 'export', '-o', 'json', ...local])).trim().split('\n');
    expect(JSON.parse(lines[0] as string)).toMatchObject({ id: 1 });
  });
});

describe('passwords', () => {
  it.skipIf(!has('script'))('are changed with both asked for, the new one twice', async () => {
    const terminal = cloud.terminal(['auth', 'change-password']);
    await terminal.sees('Password in force: ');
    terminal.type(`${PASSWORD}\n`);
    await terminal.sees('New password: ');
    terminal.type('another horse battery\n');
    await terminal.sees('The same again: ');
    terminal.type('another horse battery\n');
    expect(await terminal.ended).toBe(0);
    expect(terminal.output).not.toContain('horse');
  });

  it('are reset with a one-time token', async () => {
    const { token } = JSON.parse(await done(['user', 'reset-password', 'ann@example.com', '-o', 'json', '--context', 'default'])) as { token: string };
    writeFileSync(join(cloud.folder, 'token'), `${token}\n`);
    const twice = await cloud.run(['auth', 'reset-password', 'ann@example.com', '--token', '-', '--password', '-'], { input: token });
    expect([twice.code, twice.stderr]).toEqual([2, expect.stringContaining('Standard input can be read once only')]);
    await done(['auth', 'reset-password', 'ann@example.com', '--token', '@token', '--password', '-'], 'a third horse battery\n');
    await done(['auth', 'login', 'ann@example.com', '--password', '-'], 'a third horse battery\n');
  });

  it('are made by whoever registers, where that is open', async () => {
    expect((await cloud.run(['auth', 'register', 'bob@example.com', '--password', '-', '--url', url], { input: PASSWORD })).code).toBe(3);
    await done(['auth', 'configure', '--registration', 'open', '--context', 'default']);
    await done(['auth', 'register', 'bob@example.com', '--password', '-', '--url', url, '--context', 'bob'], PASSWORD);
    expect(await done(['auth', 'whoami'])).toMatch(/Name: +bob@example\.com[^]*Roles: +admin/);
  });
});

describe('a logout', () => {
  it('ends the session there and forgets it here', async () => {
    const token = (await done(['auth', 'token', '--context', 'work'])).trim();
    await done(['auth', 'logout', '--context', 'work']);
    expect((await fetch(`${url}/v1/vpcs`, { headers: { authorization: `Bearer ${token}` } })).status).toBe(401);
    expect(credentials().contexts['work']).toBeUndefined();
    expect(await cloud.run(['auth', 'logout', '--context', 'work'])).toMatchObject({ code: 0, stderr: 'Nobody is logged in here.\n' });
    expect((await cloud.run(['auth', 'token', '--context', 'work'])).code).toBe(3);
  });
});
