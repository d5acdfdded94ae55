// Who gets in and who does not: credentials, web pages, floods, idle connections. All by raw requests, before and instead of a core.
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import type { Principal } from '@thecloud/core';
import { CHANNEL_PROTOCOL, type Channel, Fault, STREAM_PROTOCOL } from '@thecloud/core/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { endpoints } from './endpoints.ts';
import { Allowance } from './limits.ts';
import { createLog } from './log.ts';
import { takeMasterKeys } from './master-keys.ts';
import { takeObjectStore } from './object-store.ts';
import { limitKeyOf, sourcesOf } from './source.ts';
import { ask, type Bench, bench, type Play, type RawAnswer, until } from './testbench.ts';

const JSON_HEADERS = { 'content-type': 'application/json' };
const errorOf = (answer: { json: unknown }) =>
  (answer.json as { error: { code: string; message: string; hint?: string; details?: { retryAfter?: number } } }).error;
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

const user = (more: Partial<Principal> = {}): Principal => ({ id: 'usr-ann', kind: 'user', name: 'ann@example.com', tenantId: 'tnt-1', roles: {}, ...more });
const people: Record<string, Principal> = {
  ann: user({ credential: { kind: 'session', id: 'ses-1' } }),
  root: user({ id: 'usr-root', administrator: true, credential: { kind: 'session', id: 'ses-2' } }),
  key: user({ id: 'usr-root', administrator: true, credential: { kind: 'api-key', id: 'key-1' } }),
};
const authenticate = (token: string): Principal => {
  const found = people[token];
  if (found === undefined) throw new Fault('unauthenticated', 'This token has "expired"', { hint: 'cloud auth login' });
  return found;
};
const playing: Play = { authenticate, invoke: () => ({ value: { items: [] } }) };
const portOf = (b: Bench): number => b.daemon.address?.port as number;
const adminToken = async (b: Bench): Promise<string> => (await readFile(join(b.dataDir, 'admin-token'), 'utf8')).trim();

describe('credentials', () => {
  let b: Bench;
  let port: number;
  let admin: string;
  beforeAll(async () => {
    b = await bench(playing, { listen: '0', rateLimit: 0 });
    port = portOf(b);
    admin = await adminToken(b);
  });
  afterAll(() => b[Symbol.asyncDispose]());
  const caller = () => b.calls.at(-1)?.principal?.id;

  it('are not needed over the socket, and honoured there', async () => {
    expect((await ask(b, 'GET', '/v1/vpcs')).status).toBe(200);
    expect(caller()).toBe('local');
    expect((await ask(b, 'GET', '/v1/vpcs', { headers: bearer('ann') })).status).toBe(200);
    expect(b.calls.at(-1)).toMatchObject({ principal: { id: 'usr-ann' }, source: 'socket' });
    expect((await ask(b, 'GET', '/v1/vpcs', { headers: bearer(admin) })).status).toBe(200);
    expect(caller()).toBe('local');
    for (const authorization of ['Bearer nobody', 'Basic YTpi', 'Bearer', 'ann']) {
      expect((await ask(b, 'GET', '/v1/vpcs', { headers: { authorization } })).status, authorization).toBe(401);
    }
  });

  it('say over TCP who calls, and from where', async () => {
    expect((await ask(b, 'GET', '/v1/vpcs', { port, headers: bearer('ann') })).status).toBe(200);
    expect(b.calls.at(-1)).toMatchObject({ principal: { id: 'usr-ann' }, source: '127.0.0.1' });
    expect((await ask(b, 'GET', '/v1/vpcs', { port, headers: bearer(admin) })).status).toBe(200);
    expect(caller()).toBe('local');
  });

  it('are challenged as RFC 6750 says', async () => {
    const none = await ask(b, 'GET', '/v1/vpcs', { port });
    expect(none).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer realm="thecloud"' } });
    const bad = await ask(b, 'GET', '/v1/vpcs', { port, headers: bearer('nobody') });
    expect(bad).toMatchObject({
      status: 401,
      headers: { 'www-authenticate': 'Bearer realm="thecloud", error="invalid_token", error_description="This token has expired"' },
    });
    expect(errorOf(bad)).toMatchObject({ code: 'unauthenticated', hint: 'cloud auth login' });
    const basic = await ask(b, 'GET', '/v1/vpcs', { port, headers: { authorization: 'Basic YTpi' } });
    expect(basic).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer realm="thecloud"' } });
    const long = await ask(b, 'GET', '/v1/vpcs', { port, headers: bearer('x'.repeat(100_000)) });
    expect(long.headers['www-authenticate']).toContain('invalid_token');
  });

  it('are needed for all but /healthz and what is open to anybody', async () => {
    const before = b.calls.length;
    for (const path of ['/metrics', '/openapi.json', '/v1/nothing', '/v1/vpcs', '/v1/instances/web/logs', '/v1/instances/web/exec?command=ls']) {
      expect((await ask(b, 'GET', path, { port })).status, path).toBe(401);
    }
    expect((await ask(b, 'POST', '/v1/vpcs', { port, headers: JSON_HEADERS, body: '{}' })).status).toBe(401);
    expect(b.calls.length).toBe(before);
    expect((await ask(b, 'GET', '/healthz', { port, headers: bearer('nobody') })).status).toBe(200);
  });

  it('must be those of an administrator for /metrics, and no key', async () => {
    const status = async (token: string) => (await ask(b, 'GET', '/metrics', { port, headers: bearer(token) })).status;
    expect(await Promise.all(['ann', 'key', 'root', admin].map(status))).toEqual([403, 403, 200, 200]);
    expect((await ask(b, 'GET', '/metrics')).status).toBe(200);
    expect((await ask(b, 'GET', '/openapi.json', { port, headers: bearer('ann') })).status).toBe(200);
  });
});

const upgradeTo = (b: Bench, path: string, { token, origin, protocol = CHANNEL_PROTOCOL }: { token?: string; origin?: string; protocol?: string } = {}) => {
  const socket = new WebSocket(`ws://127.0.0.1:${portOf(b)}${path}`, protocol, {
    headers: token === undefined ? {} : bearer(token),
    ...(origin === undefined ? {} : { origin }),
  });
  socket.on('error', () => {});
  const messages: string[] = [];
  socket.on('message', (data: Buffer) => messages.push(data.toString('utf8')));
  const opened = new Promise<number>((resolve) => {
    socket.once('open', () => resolve(101));
    socket.once('unexpected-response', (_request, response: IncomingMessage) => {
      response.resume();
      resolve(response.statusCode ?? 0);
    });
  });
  const closed = new Promise<number>((resolve) => socket.once('close', resolve));
  return { socket, messages, opened, closed };
};

function idleChannel(): Channel {
  const result = Promise.withResolvers<unknown>();
  const channel = { input: new PassThrough(), output: new PassThrough(), error: new PassThrough() };
  const close = () => {
    for (const pipe of Object.values(channel)) pipe.destroy();
    result.reject(new Fault('conflict', 'closed'));
  };
  return { ...channel, control() {}, result: result.promise, close };
}

describe('credentials that end', () => {
  const EXEC = '/v1/instances/web/exec?command=ls';
  const never = async function* (signal: AbortSignal | undefined) {
    yield { id: 1 };
    await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
  };
  const playingLong = (ended: () => boolean): Play => ({
    authenticate: (token) => ({ ...authenticate(token), kept: true }),
    check: () => {
      if (ended()) throw new Fault('unauthenticated', 'The session has ended');
    },
    stream: ({ signal }) => never(signal),
    channel: () => idleChannel(),
  });

  it('end streams and channels that were opened with them', async () => {
    let ended = false;
    await using b = await bench(
      playingLong(() => ended),
      { listen: '0', recheckMs: 20 },
    );
    const channel = upgradeTo(b, EXEC, { token: 'ann' });
    const items = upgradeTo(b, '/v1/events/watch', { token: 'ann', protocol: STREAM_PROTOCOL });
    const admin = upgradeTo(b, EXEC, { token: await adminToken(b) });
    expect(await Promise.all([channel.opened, admin.opened])).toEqual([101, 101]);
    const events = ask(b, 'GET', '/v1/events/watch', { port: portOf(b), headers: bearer('ann') });
    const own = ask(b, 'GET', '/v1/events/watch', { headers: bearer('ann') });
    await until(() => b.calls.length === 5);
    await new Promise((resolve) => setTimeout(resolve, 60)); // looked at more than once, and found good
    ended = true;
    expect(await channel.closed).toBe(1011);
    expect(JSON.parse(channel.messages.at(-1) as string)).toMatchObject({ type: 'error', error: { code: 'unauthenticated' } });
    for (const text of [(await events).text, (await own).text]) {
      expect(text).toContain('data: {"id":1}');
      expect(text).toMatch(/event: error\ndata: \{"code":"unauthenticated"/);
    }
    expect(await items.closed).toBe(1011);
    expect(items.messages.map((text) => JSON.parse(text) as unknown)).toMatchObject([{ id: 1 }, { error: { code: 'unauthenticated' } }]);
    expect(admin.socket.readyState, 'the admin token does not end').toBe(WebSocket.OPEN);
    admin.socket.terminate();
  });

  it('refuse an upgrade before anything is opened', async () => {
    await using b = await bench({ ...playing, channel: () => idleChannel() }, { listen: '0' });
    expect(await upgradeTo(b, EXEC).opened).toBe(401);
    expect(await upgradeTo(b, EXEC, { token: 'nobody' }).opened).toBe(401);
    expect(b.calls).toHaveLength(0);
  });
});

describe('web pages', () => {
  let b: Bench;
  let port: number;
  beforeAll(async () => {
    b = await bench(
      { ...playing, channel: () => idleChannel() },
      { listen: '0', allowedHosts: ['cloud.example.com'], allowedOrigins: ['https://app.example.com'] },
    );
    port = portOf(b);
  });
  afterAll(() => b[Symbol.asyncDispose]());
  const get = (headers: Record<string, string>, path = '/v1/vpcs'): Promise<RawAnswer> =>
    ask(b, 'GET', path, { port, headers: { ...bearer('ann'), ...headers } });

  it.each(['localhost', 'LOCALHOST.:80', '127.0.0.1', '127.8.9.1:7070', '[::1]:7070', 'cloud.example.com', 'Cloud.Example.com:443'])(
    'may ask for the daemon as %s',
    async (host) => {
      expect((await get({ host })).status).toBe(200);
    },
  );

  it.each(['evil.example.com', 'localhost.evil.com', 'evil.com:80', '10.1.2.3', '127.0.0.1.evil.com', '[::1].evil.com', '127.0.0.1@evil.com'])(
    'may not ask for it as %j (DNS rebinding)',
    async (host) => {
      const answer = await get({ host });
      expect(answer.status).toBe(403);
      expect(errorOf(answer)).toMatchObject({ code: 'forbidden', hint: expect.stringContaining('--allowed-host') as string });
      expect((await get({ host }, '/healthz')).status).toBe(403);
      expect((await ask(b, 'GET', '/v1/vpcs', { headers: { host } })).status, 'no name leads to a socket').toBe(200);
    },
  );

  const write = (origin: string | undefined, over: { port?: number } = { port }, host?: string) =>
    ask(b, 'POST', '/v1/vpcs', {
      ...over,
      headers: { ...bearer('ann'), ...JSON_HEADERS, ...(origin === undefined ? {} : { origin }), ...(host === undefined ? {} : { host }) },
      body: '{}',
    });

  it('of other sites change nothing and open nothing', async () => {
    const before = b.calls.length;
    for (const origin of [
      'https://evil.example.com',
      'null',
      'http://localhost:3000',
      'http://app.example.com',
      'https://app.example.com.evil.com',
      'garbage',
    ]) {
      const answer = await write(origin);
      expect(answer.status, origin).toBe(403);
      expect(errorOf(answer).hint).toContain('--allowed-origin');
      expect((await write(origin, {})).status, 'over the socket too').toBe(403);
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
      expect(await upgradeTo(b, '/v1/instances/web/exec?command=ls', { token: 'ann', origin }).opened, origin).toBe(403);
    }
    expect(b.calls.length).toBe(before);
    const look = await get({ origin: 'https://evil.example.com' });
    expect(look.status).toBe(200);
    expect(look.headers['access-control-allow-origin'], 'it cannot read the answer').toBeUndefined();
  });

  it('of an allowed origin, and of the daemon itself, may', async () => {
    const allowed = await write('https://app.example.com');
    expect(allowed).toMatchObject({ headers: { 'access-control-allow-origin': 'https://app.example.com', vary: 'Origin' } });
    expect(allowed.status).toBeLessThan(300);
    expect(allowed.headers['access-control-allow-credentials']).toBeUndefined();
    expect((await write(`http://127.0.0.1:${port}`)).status).toBeLessThan(300);
    expect((await write('https://cloud.example.com', { port }, 'cloud.example.com')).status).toBeLessThan(300);
    const channel = upgradeTo(b, '/v1/instances/web/exec?command=ls', { token: 'ann', origin: 'https://app.example.com' });
    expect(await channel.opened).toBe(101);
    channel.socket.terminate();
  });

  it('are answered before they send what needs asking first', async () => {
    const preflight = (origin: string) =>
      ask(b, 'OPTIONS', '/v1/vpcs/prod', {
        port,
        headers: { origin, 'access-control-request-method': 'PATCH', 'access-control-request-headers': 'authorization' },
      });
    const allowed = await preflight('https://app.example.com');
    expect(allowed).toMatchObject({
      status: 204,
      headers: {
        'access-control-allow-origin': 'https://app.example.com',
        'access-control-allow-methods': 'GET, PATCH, DELETE',
        'access-control-allow-headers': expect.stringMatching(/authorization.*x-tenant/) as string,
      },
    });
    const other = await preflight('https://evil.example.com');
    expect(other.status).toBe(401);
    expect(Object.keys(other.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });

  it('get answers that cannot be framed, sniffed or kept', async () => {
    const answers = [
      await get({}),
      await get({}, '/v1/nothing'),
      await get({}, '/healthz'),
      await get({ host: 'evil.example.com' }),
      await ask(b, 'GET', `/v1/vpcs?label=${'x'.repeat(300_000)}`, { port }),
    ];
    for (const { headers, status } of answers) {
      expect(headers, String(status)).toMatchObject({
        'x-content-type-options': 'nosniff',
        'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
        'referrer-policy': 'no-referrer',
        'cache-control': 'no-store',
        'cross-origin-resource-policy': 'same-origin',
      });
      expect(headers.server).toBeUndefined();
      expect(headers['x-powered-by']).toBeUndefined();
    }
  });

  it.each([
    [{ allowedHosts: ['*'] }],
    [{ allowedHosts: ['https://cloud.example.com'] }],
    [{ allowedOrigins: ['*'] }],
    [{ allowedOrigins: ['app.example.com'] }],
    [{ allowedOrigins: ['https://app.example.com/page'] }],
    [{ trustedProxies: ['everybody'] }],
    [{ trustedProxies: ['10.0.0.0/33'] }],
    [{ rateLimit: -1 }],
    [{ maxConnections: 0 }],
  ])('are not let in by %j', async (options) => {
    await expect(bench({}, { listen: '0', ...options })).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

describe('floods', () => {
  it('of guessed tokens are refused unseen, and bother nobody who was in already', async () => {
    let asked = 0;
    await using b = await bench(
      {
        ...playing,
        authenticate: (token) => {
          asked += 1;
          return authenticate(token);
        },
      },
      { listen: '0' },
    );
    const port = portOf(b);
    const status = async (token: string) => (await ask(b, 'GET', '/v1/vpcs', { port, headers: bearer(token) })).status;
    expect(await status('ann')).toBe(200);
    for (let count = 0; count < 30; count++) expect(await status(`guess-${count}`)).toBe(401);
    expect(asked).toBe(31);
    const answer = await ask(b, 'GET', '/v1/vpcs', { port, headers: bearer('guess') });
    expect(answer.status).toBe(429);
    expect(errorOf(answer)).toMatchObject({ code: 'rate_limited' });
    const after = Number(answer.headers['retry-after']);
    expect(after).toBeGreaterThan(50);
    expect(after).toBeLessThanOrEqual(60);
    expect(errorOf(answer).details?.retryAfter).toBe(after);
    expect(answer.headers).toMatchObject({ 'ratelimit-limit': '30', 'ratelimit-remaining': '0', 'ratelimit-reset': String(after) });
    expect(await status('root'), 'nobody new').toBe(429);
    expect(asked, 'nobody was asked').toBe(31);
    expect(await status('ann')).toBe(200);
    expect((await ask(b, 'GET', '/v1/vpcs', { headers: bearer('nobody') })).status, 'over the socket there is no limit').toBe(401);
  });

  it('of calls of one principal are slowed down, and of that one only', async () => {
    await using b = await bench(playing, { listen: '0', rateLimit: 2 });
    const call = (token: string) => ask(b, 'GET', '/v1/vpcs', { port: portOf(b), headers: bearer(token) });
    const answers = await Promise.all(Array.from({ length: 12 }, () => call('ann')));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(10);
    const refused = answers.find(({ status }) => status === 429) as RawAnswer;
    expect(Number(refused.headers['retry-after'])).toBeLessThanOrEqual(5);
    const other = await call('root');
    expect(other).toMatchObject({ status: 200, headers: { 'ratelimit-limit': '10', 'ratelimit-remaining': '9' } });
    for (let count = 0; count < 20; count++) expect((await ask(b, 'GET', '/v1/vpcs')).status).toBe(200);
  });

  const open = endpoints.find(({ operation, name }) => operation.access === 'anonymous' && name === 'login');
  it.skipIf(open === undefined)('of what anybody may ask are refused by address', async () => {
    await using b = await bench(playing, { listen: '0', trustedProxies: ['127.0.0.1'] });
    const login = (from: string) =>
      ask(b, 'POST', open?.route.path ?? '', { port: portOf(b), headers: { ...JSON_HEADERS, 'x-forwarded-for': from }, body: '{}' });
    for (let count = 0; count < 20; count++) expect((await login('192.0.2.7')).status).toBe(200);
    expect(b.calls.at(-1)).toMatchObject({ principal: undefined, source: '192.0.2.7' });
    expect((await login('192.0.2.7')).status).toBe(429);
    expect((await login('192.0.2.8')).status).toBe(200);
  });

  it('of addresses cost no more memory than the most that are counted', async () => {
    const allowance = new Allowance('tries', { points: 1, seconds: 60, mostKeys: 2 });
    await allowance.take('a');
    await expect(allowance.take('a')).rejects.toMatchObject({ code: 'rate_limited', details: { retryAfter: 60, limit: 1 } });
    await expect(allowance.check('a')).rejects.toMatchObject({ code: 'rate_limited' });
    await allowance.take('b');
    await expect(allowance.check('a')).rejects.toMatchObject({ code: 'rate_limited' });
    await allowance.take('c'); // the one that was counted longest ago goes
    await allowance.check('a');
    await expect(allowance.check('b')).rejects.toMatchObject({ code: 'rate_limited' });
  });

  it('of connections leave room for others', async () => {
    await using b = await bench(playing, { listen: '0', maxConnections: 8 });
    const sockets: Socket[] = [];
    for (let count = 0; count < 8; count++) {
      sockets.push(connect(portOf(b), '127.0.0.1').on('error', () => {}));
    }
    await until(() => sockets.filter(({ destroyed, readyState }) => destroyed || readyState === 'closed').length === 4);
    await expect(ask(b, 'GET', '/healthz', { port: portOf(b) })).rejects.toThrow();
    for (const socket of sockets) socket.destroy();
    await until(async () => (await ask(b, 'GET', '/healthz', { port: portOf(b) }).catch(() => ({ status: 0 }))).status === 200);
    expect((await ask(b, 'GET', '/healthz')).status).toBe(200);
  });
});

describe('slow requests', () => {
  it.each([
    ['that never begin', ''],
    ['whose headers never end', 'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: '],
    [
      'whose body never ends',
      'POST /v1/vpcs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ann\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{',
    ],
  ])('%s are cut off', async (_, text) => {
    await using b = await bench(playing, { listen: '0', patience: { headers: 100, request: 200 } });
    const socket = connect(portOf(b), '127.0.0.1', () => socket.write(text));
    let seen = '';
    socket.on('data', (chunk) => (seen += chunk.toString()));
    const drip = setInterval(() => socket.writable && text !== '' && socket.write(' '), 20);
    await new Promise((resolve) => socket.on('error', () => {}).once('close', resolve));
    clearInterval(drip);
    expect(seen === '' || seen.startsWith('HTTP/1.1 400 '), seen).toBe(true);
    expect(b.calls).toHaveLength(0);
  });
});

describe('where a request comes from', () => {
  const request = (remoteAddress: string, forwarded?: string) =>
    ({ socket: { remoteAddress }, headers: forwarded === undefined ? {} : { 'x-forwarded-for': forwarded } }) as unknown as IncomingMessage;
  it.each([
    [[], '::ffff:192.0.2.1', undefined, '192.0.2.1'],
    [[], '192.0.2.1', '10.0.0.1', '192.0.2.1'],
    [['192.0.2.0/24'], '192.0.2.1', '203.0.113.9', '203.0.113.9'],
    [['192.0.2.0/24'], '192.0.2.1', '1.1.1.1, 203.0.113.9', '203.0.113.9'],
    [['192.0.2.0/24'], '192.0.2.1', '203.0.113.9, 192.0.2.77', '203.0.113.9'],
    [['192.0.2.0/24'], '192.0.2.1', '203.0.113.9, garbage, 192.0.2.77', '192.0.2.77'],
    [['192.0.2.0/24'], '192.0.2.1', undefined, '192.0.2.1'],
    [['192.0.2.0/24'], '192.0.2.1', '203.0.113.9:4711', '203.0.113.9'],
    [['2001:db8::/32'], '2001:db8::1', '[2001:db9::5]:80', '2001:db9::5'],
    [['192.0.2.0/24'], '203.0.113.1', '1.1.1.1', '203.0.113.1'],
  ])('with %j trusted: %s, %s → %s', (proxies, peer, forwarded, source) => {
    expect(sourcesOf(proxies).of(request(peer, forwarded))).toBe(source);
  });
  it.each([
    ['192.0.2.1', '192.0.2.1'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
    ['2001:DB8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['64:ff9b::192.0.2.1', '64:ff9b:0:0::/64'],
    // As a listener on `::` sees IPv4.
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ])('is counted for %s as %s', (source, key) => {
    expect(limitKeyOf(source)).toBe(key);
  });
});

it('writes no credentials and no secrets into its log', async () => {
  const lines: string[] = [];
  const planted = ['planted-bearer-token', 'planted-password', 'planted-refresh', 'planted-query'];
  await using b = await bench(
    {
      authenticate: () => {
        throw new Error('the directory is broken');
      },
      invoke: () => {
        throw Object.assign(new Error('bug'), { password: 'planted-password', nested: { refreshToken: 'planted-refresh' } });
      },
    },
    { listen: '0', log: createLog({ level: 'trace', write: (line) => lines.push(line) }) },
  );
  const port = portOf(b);
  await ask(b, 'GET', '/v1/vpcs?label=planted-query', { port, headers: bearer('planted-bearer-token') });
  await ask(b, 'GET', '/v1/vpcs?label=planted-query', { headers: bearer('planted-bearer-token') });
  await ask(b, 'POST', '/v1/vpcs', { headers: JSON_HEADERS, body: '{"password":"planted-password"' });
  await ask(b, 'POST', '/v1/vpcs', { headers: JSON_HEADERS, body: '{"password":"planted-password","refreshToken":"planted-refresh"}' });
  await upgradeTo(b, '/v1/instances/web/exec?command=planted-query', { token: 'planted-bearer-token' }).opened;
  expect(lines.length).toBeGreaterThan(2);
  for (const secret of planted) expect(lines.join('\n')).not.toContain(secret);
  for (const line of lines) expect(line).not.toContain(await adminToken(b));
});

describe('the master key', () => {
  it('leaves the environment when it is read, whatever comes of it', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'cloud-keys-'));
    await mkdir(join(dataDir, 'x'));
    const environment = { CLOUD_MASTER_KEY: 'k', CLOUD_MASTER_KEY_NEXT_FILE: '/keys/next', HOME: dataDir };
    expect(await takeMasterKeys(environment, { production: true })).toEqual({
      masterKey: { kind: 'value', value: 'k' },
      nextMasterKey: { kind: 'file', path: '/keys/next' },
    });
    expect(environment).toEqual({ HOME: dataDir });
    const both = { CLOUD_MASTER_KEY: 'k', CLOUD_MASTER_KEY_FILE: '/keys/one' };
    await expect(takeMasterKeys(both, { production: false })).rejects.toMatchObject({ code: 'invalid_input' });
    expect(both).toEqual({});
    await expect(takeMasterKeys({}, { production: true })).rejects.toMatchObject({ code: 'invalid_input' });
    expect(await takeMasterKeys({}, { production: false })).toEqual({ masterKey: { kind: 'local' }, nextMasterKey: undefined });
    await rm(dataDir, { recursive: true });
  });
});

describe('the place of objects', () => {
  it('leaves the environment when it is read, with its credentials, whatever comes of it', async () => {
    const environment = {
      CLOUD_OBJECT_STORE: 'http://127.0.0.1:3900/cloud?region=garage',
      CLOUD_OBJECT_STORE_ACCESS_KEY_ID: 'GK1',
      CLOUD_OBJECT_STORE_SECRET_ACCESS_KEY: 's',
      CLOUD_OBJECT_STORE_CLUSTER_TOKEN: 't',
      HOME: '/root',
    };
    expect(await takeObjectStore(environment)).toMatchObject({ bucket: 'cloud', region: 'garage', accessKeyId: 'GK1', secretAccessKey: 's' });
    expect(environment).toEqual({ HOME: '/root' });
    const half = { CLOUD_OBJECT_STORE: 'http://127.0.0.1:3900/cloud', CLOUD_OBJECT_STORE_SECRET_ACCESS_KEY: 's' };
    await expect(takeObjectStore(half)).rejects.toMatchObject({ code: 'invalid_input' });
    expect(half).toEqual({});
    expect(await takeObjectStore({})).toBeUndefined();
  });
});
