// Tokens against a daemon that is played here: renewed once for all, sent nowhere else, gone when the session is.
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { credentialsFile } from './contexts.ts';
import { readCredentials, type SessionTokens, writeCredential } from './credentials.ts';
import { Remote } from './remote.ts';
import type { Settings } from './settings.ts';
import { locked } from './store.ts';
import type { OperationSpec } from './table.ts';

let home: string;
let socket: string;
let server: Server;
let refreshes: number;
let good: Set<string>;
let spare: string | undefined;
let seen: (string | undefined)[];
let refuse: number | undefined;
const before = process.env['XDG_CONFIG_HOME'];

beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), 'cloud-credentials-'));
  socket = join(home, 'cloud.sock');
  process.env['XDG_CONFIG_HOME'] = home;
  refreshes = 0;
  good = new Set(['a0']);
  spare = 'r0';
  seen = [];
  refuse = undefined;
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (bytes: Buffer) => {
      body += bytes.toString();
    });
    request.on('end', () => {
      const answer = (status: number, value: unknown) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
      const refused = () => answer(401, { error: { code: 'unauthenticated', message: 'This token is not valid here' } });
      if (request.url === '/v1/auth/refresh') {
        refreshes++;
        expect(request.headers.authorization).toBeUndefined();
        if (refuse !== undefined) return answer(refuse, { error: { code: refuse === 401 ? 'unauthenticated' : 'unavailable', message: 'no' } });
        const { refreshToken } = JSON.parse(body) as { refreshToken: string };
        // Used twice: the session ends, as the real one does.
        if (refreshToken !== spare) {
          good.clear();
          return refused();
        }
        spare = `r${refreshes}`;
        good = new Set([`a${refreshes}`]);
        return setTimeout(
          () =>
            answer(200, {
              tokenType: 'Bearer',
              accessToken: `a${refreshes}`,
              expiresIn: 900,
              refreshToken: spare,
              principal: { id: 'usr-1', name: 'ann@example.com', kind: 'user' },
            }),
          20,
        );
      }
      const bearer = request.headers.authorization?.replace('Bearer ', '');
      seen.push(bearer);
      if (request.url?.startsWith('/v1/events/watch') && bearer !== undefined && good.has(bearer)) {
        const since = Number(new URL(request.url, 'http://localhost').searchParams.get('since') ?? 0);
        response.writeHead(200, { 'content-type': 'text/event-stream' }).write(`data: {"id":${since + 1}}\n\n`);
        good.clear();
        const ended = { error: { code: 'unauthenticated', message: 'This ended because its credentials did' } };
        return since < 2 ? response.end(`event: error\ndata: ${JSON.stringify(ended)}\n\n`) : response.end('event: end\ndata: \n\n');
      }
      return bearer !== undefined && good.has(bearer) ? answer(200, { items: [] }) : refused();
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});

afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  if (before === undefined) delete process.env['XDG_CONFIG_HOME'];
  else process.env['XDG_CONFIG_HOME'] = before;
  rmSync(home, { recursive: true, force: true });
});

const list = {
  resource: 'vpc',
  name: 'list',
  kind: 'read',
  method: 'GET',
  path: '/v1/vpcs',
  target: false,
  async: false,
  destructive: false,
  form: 'items',
} satisfies OperationSpec;
const tokens = (more: Partial<SessionTokens> = {}): SessionTokens => ({
  kind: 'session',
  endpoint: socket,
  principal: { id: 'usr-1', name: 'ann@example.com' },
  accessToken: 'a0',
  expiresAt: Date.now() + 600_000,
  refreshToken: 'r0',
  ...more,
});
const keep = (more: Partial<SessionTokens> = {}): Promise<void> => locked(() => writeCredential('work', tokens(more)));
const remote = (more: Partial<Settings> = {}): Remote =>
  new Remote({ output: 'json', tenant: undefined, quiet: true, verbose: false, dataDir: home, endpoint: { socket }, proof: { context: 'work' }, ...more });

describe('an access token', () => {
  it('is used as it is while it holds', async () => {
    await keep();
    await remote().call(list, {});
    expect([seen, refreshes]).toEqual([['a0'], 0]);
  });

  it('is renewed before it expires, and kept', async () => {
    await keep({ expiresAt: Date.now() + 1000 });
    await remote().call(list, {});
    expect([seen, refreshes]).toEqual([['a1'], 1]);
    expect(readCredentials()['work']).toMatchObject({ accessToken: 'a1', refreshToken: 'r1' });
  });

  it('is renewed when it is refused, once', async () => {
    await keep();
    good = new Set();
    await remote().call(list, {});
    expect([seen, refreshes]).toEqual([['a0', 'a1'], 1]);
    good = new Set();
    refuse = 401;
    await expect(remote().call(list, {})).rejects.toMatchObject({ code: 'unauthenticated', hint: 'cloud auth login ann@example.com --context work' });
    expect(refreshes).toBe(2);
  });

  it('is renewed by one of many that find it expired at the same time', async () => {
    await keep({ expiresAt: Date.now() - 1000 });
    await Promise.all(Array.from({ length: 8 }, () => remote().call(list, {})));
    expect([refreshes, new Set(seen)]).toEqual([1, new Set(['a1'])]);
  });

  it('that still holds for a moment is used when nobody renews it', async () => {
    await keep({ expiresAt: Date.now() + 10_000 });
    refuse = 503;
    await remote().call(list, {});
    expect(seen).toEqual(['a0']);
    expect(readCredentials()['work']).toMatchObject({ refreshToken: 'r0' });
  });

  it('is forgotten when the session has ended', async () => {
    await keep({ expiresAt: Date.now() - 1000 });
    refuse = 401;
    await expect(remote().call(list, {})).rejects.toMatchObject({ code: 'unauthenticated', message: 'The session of ann@example.com has ended' });
    expect(readCredentials()).toEqual({});
  });

  it('goes to no other address than the one that it came from', async () => {
    await keep({ endpoint: 'https://cloud.example.com' });
    await expect(remote().call(list, {})).rejects.toMatchObject({ code: 'unauthenticated' });
    expect([seen, refreshes]).toEqual([[undefined], 0]);
  });
});

describe('a stream', () => {
  const watch = { ...list, resource: 'event', name: 'watch', kind: 'stream', path: '/v1/events/watch', form: 'stream' } satisfies OperationSpec;
  const collect = async (resume?: (last: unknown) => Record<string, unknown>): Promise<number[]> => {
    const ids: number[] = [];
    for await (const item of remote().stream(watch, resume === undefined ? {} : { resume })) ids.push((item as { id: number }).id);
    return ids;
  };

  it('outlives the token that opened it, and goes on where it was', async () => {
    await keep();
    good.add('a0');
    let now = 0;
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => (now += 60_000));
    expect(await collect((last) => ({ since: (last as { id: number }).id }))).toEqual([1, 2, 3]);
    clock.mockRestore();
    expect([seen, refreshes]).toEqual([['a0', 'a1', 'a2'], 2]);
  });

  it('is not opened for ever when each new token is refused', async () => {
    await keep();
    await expect(collect((last) => ({ since: (last as { id: number }).id }))).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(refreshes).toBe(1);
  });

  it('that cannot go on where it was ends with its token', async () => {
    await keep();
    await expect(collect()).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(refreshes).toBe(0);
  });
});

describe('the file', () => {
  it('is not read when others may read it', async () => {
    await keep();
    chmodSync(credentialsFile(), 0o644);
    await expect(remote().call(list, {})).rejects.toMatchObject({ code: 'unauthenticated', hint: `chmod 600 ${credentialsFile()}` });
    expect(seen).toEqual([]);
  });

  it('that is damaged says nothing of its content', async () => {
    await keep();
    writeFileSync(credentialsFile(), readFileSync(credentialsFile(), 'utf8').replace('{', '{secret'), { mode: 0o600 });
    await expect(remote().call(list, {})).rejects.toMatchObject({ message: `${credentialsFile()} is not valid JSON` });
  });
});
