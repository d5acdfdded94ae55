// Tokens that a client obtains and renews by itself: how often it asks, what it sends again, and what it never does twice.
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { Fault, type Request } from '@thecloud/core/contracts';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { type ConnectOptions, connect } from './connect.ts';
import { type Bearer, type Session, type SessionOptions, sessionBearer } from './session.ts';

const cleanUp: (() => void)[] = [];
afterEach(() => {
  vi.unstubAllEnvs();
  for (const step of cleanUp.splice(0)) step();
});

/** Somebody who gives tokens, and what was asked of them. */
function giver(options: SessionOptions, { expiresIn = 900, refuse = (_: Request): Fault | undefined => undefined, takes = 0 } = {}) {
  const asked: Request[] = [];
  const sessions: Session[] = [];
  const call = async (request: Request) => {
    asked.push(request);
    const count = asked.length;
    await new Promise((resolve) => setTimeout(resolve, takes));
    const fault = refuse(request);
    if (fault !== undefined) throw fault;
    return { accessToken: `a${count}`, expiresIn, ...(request.operation === 'clientToken' ? {} : { refreshToken: `r${count}` }) };
  };
  const bearer: Bearer = sessionBearer(call, { onSession: (session) => void sessions.push(session), ...options });
  return { bearer, asked, sessions, operations: () => asked.map(({ operation, input }) => [operation, input]) };
}
const login = { email: 'ann@example.com', password: 'correct horse' };
const ended = () => new Fault('unauthenticated', 'The session has ended');

describe('a session', () => {
  it('is begun once for all who wait, and told to who keeps it', async () => {
    const { bearer, operations, sessions } = giver({ login }, { takes: 10 });
    expect(await Promise.all([bearer.get(undefined), bearer.get(undefined), bearer.get(new AbortController().signal)])).toEqual(['a1', 'a1', 'a1']);
    expect(await bearer.get(undefined)).toBe('a1');
    expect(operations()).toEqual([['login', login]]);
    expect(sessions).toEqual([{ accessToken: 'a1', refreshToken: 'r1', expiresAt: expect.any(Number) as number }]);
    expect(sessions[0]?.expiresAt).toBeGreaterThan(Date.now() + 890_000);
  });

  it('is renewed before it expires, and with each refresh token once', async () => {
    const { bearer, operations } = giver({ login }, { expiresIn: 0.04 });
    expect(await bearer.get(undefined)).toBe('a1');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await bearer.get(undefined)).toBe('a2');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await bearer.get(undefined)).toBe('a3');
    expect(operations()).toEqual([
      ['login', login],
      ['refresh', { refreshToken: 'r1' }],
      ['refresh', { refreshToken: 'r2' }],
    ]);
  });

  it('goes on from tokens that were kept, and logs in again when they are no good and it can', async () => {
    const session = { accessToken: 'old', refreshToken: 'r0', expiresAt: Date.now() + 1_000 };
    const kept = giver({ session });
    expect(await kept.bearer.get(undefined)).toBe('a1');
    expect(kept.operations()).toEqual([['refresh', { refreshToken: 'r0' }]]);
    const fresh = giver({ session: { ...session, expiresAt: Date.now() + 900_000 } });
    expect(await fresh.bearer.get(undefined)).toBe('old');
    const refuse = ({ operation }: Request) => (operation === 'refresh' ? ended() : undefined);
    const again = giver({ session, login }, { refuse });
    expect(await again.bearer.get(undefined)).toBe('a2');
    const over = giver({ session: { ...session, expiresAt: 0 } }, { refuse });
    await expect(over.bearer.get(undefined)).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(over.bearer.get(undefined)).rejects.toMatchObject({ code: 'unauthenticated', message: 'The session has ended' });
    expect(over.asked, 'a spent refresh token is not shown twice').toHaveLength(1);
  });

  it('of a service account is asked for anew', async () => {
    const { bearer, operations } = giver({ client: { id: 'sa-1', secret: 's' } });
    await bearer.get(undefined);
    expect(await bearer.renew('a1', undefined)).toBe('a2');
    expect(operations()).toEqual([
      ['clientToken', { clientId: 'sa-1', clientSecret: 's' }],
      ['clientToken', { clientId: 'sa-1', clientSecret: 's' }],
    ]);
  });

  it('is renewed once for all whose token was refused', async () => {
    const { bearer, asked } = giver({ login }, { takes: 5 });
    await bearer.get(undefined);
    expect(await Promise.all([1, 2, 3].map(() => bearer.renew('a1', undefined)))).toEqual(['a2', 'a2', 'a2']);
    expect(await bearer.renew('a1', undefined), 'somebody else has done it').toBe('a2');
    expect(asked).toHaveLength(2);
  });

  it('goes on for others when one gives up waiting', async () => {
    const { bearer, asked } = giver({ login }, { takes: 20 });
    const stop = new AbortController();
    const [first, second] = [bearer.get(stop.signal), bearer.get(undefined)];
    stop.abort(new Error('enough'));
    await expect(first).rejects.toThrow('enough');
    expect(await second).toBe('a1');
    expect(asked).toHaveLength(1);
  });

  it('lasts as long as its token does when nobody answers the renewal', async () => {
    const session = { accessToken: 'old', refreshToken: 'r0', expiresAt: Date.now() + 5_000 };
    let away = true;
    const { bearer } = giver({ session }, { refuse: () => (away ? new Fault('unavailable', 'away') : undefined) });
    expect(await bearer.get(undefined)).toBe('old');
    away = false;
    expect(await bearer.get(undefined)).toBe('a2');
  });
});

type Serve = (request: IncomingMessage & { token: string | undefined; body: string }, response: ServerResponse, count: number) => void;

async function against(serve: Serve, options: ConnectOptions = {}) {
  const requests: { url: string; token: string | undefined; key: string | undefined; body: string }[] = [];
  const server = createServer(async (request, response) => {
    const body = await text(request);
    const token = request.headers.authorization;
    requests.push({ url: request.url ?? '', token, key: request.headers['idempotency-key'] as string | undefined, body });
    serve(Object.assign(request, { token, body }), response, requests.length);
  });
  server.on('upgrade', (request, socket) => {
    requests.push({ url: request.url ?? '', token: request.headers.authorization, key: undefined, body: '' });
    socket.end(`HTTP/1.1 401 Unauthorized\r\nwww-authenticate: ${INVALID}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n`);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cloud = connect({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, ...options });
  cleanUp.push(() => (cloud.close(), server.closeAllConnections(), server.close()));
  return { cloud, requests };
}
const INVALID = 'Bearer realm="thecloud", error="invalid_token", error_description="expired"';
const say = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}) =>
  void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
const refuse = (response: ServerResponse, headers: Record<string, string> = { 'www-authenticate': INVALID }) =>
  say(response, 401, { error: { code: 'unauthenticated', message: 'no', requestId: 'r' } }, headers);

describe('a client', () => {
  it.each([
    [{ token: 't' }, {}, 'Bearer t'],
    [{ apiKey: 'tck_1_2' }, {}, 'Bearer tck_1_2'],
    [{}, { CLOUD_TOKEN: 'env' }, 'Bearer env'],
    [{}, { CLOUD_API_KEY: 'key' }, 'Bearer key'],
    [{ token: 't' }, { CLOUD_API_KEY: 'key' }, 'Bearer t'],
    [{}, {}, undefined],
  ] as [ConnectOptions, Record<string, string>, string | undefined][])('with %j and the environment %j sends %s', async (options, environment, token) => {
    vi.stubEnv('CLOUD_TOKEN', '');
    vi.stubEnv('CLOUD_API_KEY', '');
    for (const [name, value] of Object.entries(environment)) vi.stubEnv(name, value);
    const { cloud, requests } = await against((_, response) => say(response, 200, { items: [] }), options);
    await cloud.vpc.list();
    expect(requests.map((request) => request.token)).toEqual([token]);
  });

  it('takes one kind of credentials', () => {
    expect(() => connect({ url: 'http://localhost:1', token: 't', apiKey: 'k' })).toThrow(/token and apiKey/);
    expect(() => connect({ url: 'http://localhost:1', login, client: { id: 'a', secret: 'b' } })).toThrow(/login and client/);
    vi.stubEnv('CLOUD_TOKEN', 'a');
    vi.stubEnv('CLOUD_API_KEY', 'b');
    expect(() => connect({ url: 'http://localhost:1' })).toThrow(/both set/);
  });

  it('has no other token than one that is given, and repeats nothing that is refused for another reason', async () => {
    const { cloud, requests } = await against((_, response) => refuse(response), { token: 't' });
    await expect(cloud.vpc.create({ name: 'x' })).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(requests).toHaveLength(1);
    await expect(cloud.instance.exec('web', { command: ['ls'] })).rejects.toMatchObject({ code: 'unavailable' });
    expect(requests).toHaveLength(2);
  });

  it('sends what was refused once more, as the same call, with the token that it gets meanwhile', async () => {
    const session = { accessToken: 'old', refreshToken: 'r0', expiresAt: Date.now() + 900_000 };
    const { cloud, requests } = await against(
      ({ url, token }, response) => {
        if (url === '/v1/auth/refresh') return say(response, 200, { tokenType: 'Bearer', accessToken: 'new', expiresIn: 900, refreshToken: 'r1' });
        return token === 'Bearer new' ? say(response, 201, { id: 'vpc-1' }) : refuse(response);
      },
      { session },
    );
    await Promise.all([cloud.vpc.create({ name: 'x' }, { idempotencyKey: 'mine' }), cloud.vpc.list()]);
    const refreshes = requests.filter(({ url }) => url === '/v1/auth/refresh');
    expect(refreshes, 'once for both, and by nobody').toMatchObject([{ token: undefined, body: '{"refreshToken":"r0"}' }]);
    const writes = requests.filter(({ key, url }) => key !== undefined && url === '/v1/vpcs');
    expect(writes.map(({ token, key }) => [token, key])).toEqual([
      ['Bearer old', 'mine'],
      ['Bearer new', 'mine'],
    ]);
  });

  it('does not go on for ever with tokens that are always refused', async () => {
    const { cloud, requests } = await against(
      ({ url }, response) =>
        url === '/v1/auth/login' ? say(response, 200, { tokenType: 'Bearer', accessToken: `a${Math.random()}`, expiresIn: 900 }) : refuse(response),
      { login },
    );
    await expect(cloud.vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(requests.map(({ url }) => url)).toEqual(['/v1/auth/login', '/v1/vpcs', '/v1/auth/login', '/v1/vpcs']);
    await expect(cloud.instance.exec('web', { command: ['ls'] })).rejects.toMatchObject({ code: 'unavailable' });
    expect(requests.slice(4).map(({ url }) => url.split('?')[0])).toEqual(['/v1/instances/web/exec', '/v1/auth/login', '/v1/instances/web/exec']);
  });

  it('takes a refusal for other reasons as the answer', async () => {
    const { cloud, requests } = await against(
      ({ url }, response) =>
        url === '/v1/auth/login'
          ? say(response, 200, { tokenType: 'Bearer', accessToken: 'a', expiresIn: 900 })
          : refuse(response, { 'www-authenticate': 'Bearer realm="thecloud"' }),
      { login },
    );
    await expect(cloud.auth.changePassword({ current: 'wrong', password: 'another horse battery' })).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(requests.map(({ url }) => url)).toEqual(['/v1/auth/login', '/v1/auth/change-password']);
  });

  it('waits as long as a limit asks for, if that is not long', async () => {
    const limited =
      (retryAfter: number): Serve =>
      (_, response, count) =>
        count === 1
          ? say(
              response,
              429,
              { error: { code: 'rate_limited', message: 'slow', requestId: 'r', details: { retryAfter } } },
              { 'retry-after': String(retryAfter) },
            )
          : say(response, 200, { items: [] });
    const soon = await against(limited(1));
    const before = Date.now();
    await soon.cloud.vpc.list();
    expect(Date.now() - before).toBeGreaterThanOrEqual(1_000);
    const late = await against(limited(60));
    await expect(late.cloud.vpc.list()).rejects.toMatchObject({ code: 'rate_limited', details: { retryAfter: 60 } });
    expect(late.requests).toHaveLength(1);
  });
});
