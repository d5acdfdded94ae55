// The daemon's HTTP by raw requests: what well-meant and ill-meant clients get, before and instead of a core.
import { readFile, stat, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { serve } from './daemon.ts';
import { ask, type Bench, bench, until } from './testbench.ts';

const JSON_HEADERS = { 'content-type': 'application/json' };
const view = { id: 'vpc-0000000000000000', name: 'prod', generation: 3 };
const errorOf = (answer: { json: unknown }) => (answer.json as { error: { code: string; message: string; requestId?: string; hint?: string } }).error;

describe('calls', () => {
  let b: Bench;
  beforeAll(async () => {
    b = await bench({
      invoke: ({ operation, target }) => {
        if (target === 'busy') throw new Fault('unavailable', 'Docker is away', { hint: 'cloud system doctor' });
        if (target === 'bug') throw new Error('a secret inside');
        if (operation === 'list') return { value: { items: [view] } };
        if (operation === 'get') return { value: view, generation: 3 };
        return { value: view, generation: 3, operation: 'op-0000000000000000' };
      },
    });
  });
  afterAll(() => b[Symbol.asyncDispose]());
  const last = () => b.calls.at(-1);

  it('answers reads with 200, and tells the generation as ETag', async () => {
    const answer = await ask(b, 'GET', '/v1/vpcs/prod');
    expect(answer).toMatchObject({ status: 200, json: view, headers: { etag: '"3"', 'content-type': 'application/json; charset=utf-8' } });
    expect(last()).toMatchObject({ service: 'vpc', operation: 'get', target: 'prod', input: {}, source: 'socket', principal: { id: 'local' } });
  });

  it('answers asynchronous writes with 202 and the operation', async () => {
    const answer = await ask(b, 'POST', '/v1/vpcs', { headers: JSON_HEADERS, body: '{"name":"prod"}' });
    expect(answer).toMatchObject({ status: 202, headers: { operation: 'op-0000000000000000', location: '/v1/vpcs/vpc-0000000000000000' } });
    expect(last()).toMatchObject({ operation: 'create', input: { name: 'prod' } });
  });

  it.each(['ghcr.io/acme/app:1', 'a b', 'ü%', '../../etc', 'x?y#z'])('takes the target %j percent-encoded', async (target) => {
    expect((await ask(b, 'GET', `/v1/images/${encodeURIComponent(target)}`)).status).toBe(200);
    expect(last()).toMatchObject({ service: 'image', operation: 'get', target });
  });

  it('takes targets as long as image references are', async () => {
    const target = `${'a/'.repeat(255)}b`;
    expect((await ask(b, 'GET', `/v1/images/${encodeURIComponent(target)}`)).status).toBe(200);
    expect(last()?.target).toBe(target);
  });

  it('gets an item that has the name of a collection channel', async () => {
    expect((await ask(b, 'GET', '/v1/images/import')).status).toBe(200);
    expect(last()).toMatchObject({ operation: 'get', target: 'import' });
  });

  it('gives query parameters the types of the contract', async () => {
    await ask(b, 'GET', '/v1/vpcs?limit=5&label=a=b&label=c');
    expect(last()?.input).toEqual({ limit: 5, label: ['a=b', 'c'] });
    await ask(b, 'GET', '/v1/vpcs?limit=many&labels=x');
    expect(last()?.input, 'what does not convert is left to validation').toEqual({ limit: 'many', labels: 'x' });
  });

  it('passes headers on', async () => {
    await ask(b, 'PATCH', '/v1/vpcs/prod', {
      headers: {
        'content-type': 'application/merge-patch+json',
        'if-match': 'W/"7"',
        'idempotency-key': 'k1',
        'x-tenant': 'acme',
        'x-request-id': 'my-request',
      },
      body: '{"description":null}',
    });
    expect(last()).toMatchObject({
      operation: 'update',
      input: { description: null },
      ifMatch: 7,
      idempotencyKey: 'k1',
      tenant: 'acme',
      requestId: 'my-request',
    });
  });

  it('makes up a request id for an unfit one, and tells it', async () => {
    const answer = await ask(b, 'GET', '/v1/vpcs', { headers: { 'x-request-id': 'a b\u00e9' } });
    expect(answer.headers['x-request-id']).toMatch(/^req-/);
    expect(last()?.requestId).toBe(answer.headers['x-request-id']);
  });

  it('takes an action without a body', async () => {
    expect((await ask(b, 'POST', '/v1/instances/web/start')).status).toBe(202);
    expect(last()).toMatchObject({ operation: 'start', target: 'web', input: {} });
    expect((await ask(b, 'POST', '/v1/instances/web/start', { headers: JSON_HEADERS })).status).toBe(202);
  });

  it.each([
    ['malformed JSON', 'POST', '/v1/vpcs', JSON_HEADERS, '{"name":', /not JSON/],
    ['another content type', 'POST', '/v1/vpcs', { 'content-type': 'application/x-www-form-urlencoded' }, 'name=x', /must be JSON/],
    ['no content type', 'POST', '/v1/vpcs', {}, '{}', /must be JSON/],
    ['a body on a query route', 'DELETE', '/v1/vpcs/prod', JSON_HEADERS, '{}', /query string/],
    ['a malformed If-Match', 'DELETE', '/v1/vpcs/prod', { 'if-match': '"three"' }, undefined, /If-Match/],
    ['a malformed idempotency key', 'POST', '/v1/vpcs', { ...JSON_HEADERS, 'idempotency-key': 'a b' }, '{}', /Idempotency-Key/],
    ['a path that is not UTF-8', 'GET', '/v1/vpcs/%ff', {}, undefined, /percent-encoded/],
    ['a method that the path does not take', 'PUT', '/v1/vpcs/prod', JSON_HEADERS, '{}', /takes GET or PATCH or DELETE, not PUT/],
    ['a channel without an upgrade', 'GET', '/v1/instances/web/exec?command=ls', {}, undefined, /WebSocket/],
  ])('refuses %s', async (_, method, path, headers, body, message) => {
    const before = b.calls.length;
    const answer = await ask(b, method, path, { headers: headers as Record<string, string>, ...(body === undefined ? {} : { body }) });
    expect(answer.status).toBe(400);
    expect(errorOf(answer)).toMatchObject({
      code: 'invalid_input',
      message: expect.stringMatching(message) as string,
      requestId: answer.headers['x-request-id'],
    });
    expect(b.calls.length, 'nothing reaches the core').toBe(before);
  });

  it('refuses a huge body without reading all of it', async () => {
    const answer = await ask(b, 'POST', '/v1/vpcs', { headers: JSON_HEADERS, body: Buffer.alloc(1024 * 1024 + 1, 32) });
    expect(answer.status).toBe(400);
    expect(errorOf(answer).message).toMatch(/larger than 1024 KiB/);
  });

  it('refuses huge headers in the same form', async () => {
    const answer = await ask(b, 'GET', `/v1/vpcs?label=${'x'.repeat(300_000)}`);
    expect(answer.status).toBe(400);
    expect(errorOf(answer).message).toMatch(/headers are larger/);
  });

  it.each([
    ['/v1/vpc', '/v1/vpcs'],
    ['/v1/instnces/web', '/v1/instances/web'],
    ['/v1/instances/web/strat', '/v1/instances/web/start'],
    ['/openapi.jsn', '/openapi.json'],
  ])('says for %s what is near', async (path, near) => {
    const answer = await ask(b, 'GET', path);
    expect(answer.status).toBe(404);
    expect(errorOf(answer)).toMatchObject({ code: 'not_found', message: `There is nothing at ${path}; did you mean ${near}?` });
  });

  it('shows faults by the table, and asks to try again where that may help', async () => {
    const answer = await ask(b, 'GET', '/v1/vpcs/busy');
    expect(answer).toMatchObject({ status: 503, headers: { 'retry-after': '1' } });
    expect(errorOf(answer)).toMatchObject({ code: 'unavailable', hint: 'cloud system doctor' });
  });

  it('shows nothing of a bug but the request id', async () => {
    const answer = await ask(b, 'GET', '/v1/vpcs/bug');
    expect(answer.status).toBe(500);
    expect(answer.text).not.toContain('secret');
    expect(errorOf(answer).message).toContain(answer.headers['x-request-id']);
  });

  it('does not offer internal operations', async () => {
    expect((await ask(b, 'POST', '/v1/vpcs/prod/allocate-address', { headers: JSON_HEADERS, body: '{"owner":"x"}' })).status).toBe(404);
  });

  it('answers /healthz, /metrics and /openapi.json', async () => {
    expect(await ask(b, 'GET', '/healthz')).toMatchObject({ status: 200, json: { ok: true } });
    const metrics = await ask(b, 'GET', '/metrics');
    expect(metrics.text).toContain('cloud_calls_total{service="vpc",operation="list",outcome="ok"} 3');
    expect(metrics.text).toContain('cloud_reconcile_queue{service="vpc"} 2');
    expect((await ask(b, 'GET', '/metrics')).text, 'totals do not add up twice').toContain('outcome="ok"} 3');
    expect((await ask(b, 'GET', '/openapi.json')).json).toMatchObject({ openapi: '3.1.0' });
  });

  it('says so when a request is not HTTP', async () => {
    const text = await new Promise<string>((resolve, reject) => {
      const socket = connect(b.daemon.socketPath, () => socket.write('hello?\r\n\r\n'));
      let seen = '';
      socket.on('data', (chunk) => (seen += chunk.toString()));
      socket.on('end', () => resolve(seen));
      socket.on('error', reject);
    });
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"invalid_input"');
  });

  it('keeps the socket to its owner', async () => {
    expect((await stat(b.daemon.socketPath)).mode & 0o777).toBe(0o600);
  });
});

describe('a client that goes away', () => {
  it('ends a read, and tells a write, which goes on once it is accepted', async () => {
    const open: AbortSignal[] = [];
    let written = false;
    const release = Promise.withResolvers<void>();
    await using b = await bench({
      invoke: async ({ operation, signal }) => {
        if (operation === 'create') {
          await release.promise;
          expect(signal?.aborted).toBe(true);
          written = true;
          return { value: view };
        }
        open.push(signal as AbortSignal);
        await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new Fault('timeout', 'gone'))));
        return { value: view };
      },
    });
    const send = (text: string) => {
      const socket = connect(b.daemon.socketPath, () => socket.write(text));
      return socket;
    };
    const reader = send('GET /v1/instances/web/wait HTTP/1.1\r\nHost: x\r\n\r\n');
    const writer = send('POST /v1/vpcs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}');
    await until(() => b.calls.length === 2);
    reader.destroy();
    writer.destroy();
    await until(() => b.calls.every(({ signal }) => signal?.aborted === true));
    release.resolve();
    await until(() => written);
  });
});

describe('TCP', () => {
  it('needs the token of the data directory', async () => {
    await using b = await bench({ invoke: () => ({ value: { items: [] } }) }, { listen: '0' });
    const port = b.daemon.address?.port as number;
    const token = (await readFile(join(b.dataDir, 'admin-token'), 'utf8')).trim();
    expect(token).toMatch(/^[\w-]{43}$/);
    expect((await stat(join(b.dataDir, 'admin-token'))).mode & 0o777).toBe(0o600);
    for (const authorization of [undefined, 'Bearer wrong', `Basic ${token}`, `Bearer ${token}x`]) {
      const answer = await ask(b, 'GET', '/v1/vpcs', { port, headers: authorization === undefined ? {} : { authorization } });
      expect(answer).toMatchObject({ status: 401, headers: { 'www-authenticate': expect.stringContaining('Bearer') as string } });
      expect(errorOf(answer).code).toBe('unauthenticated');
    }
    for (const path of ['/metrics', '/openapi.json', '/v1/nothing']) expect((await ask(b, 'GET', path, { port })).status, path).toBe(401);
    expect((await ask(b, 'GET', '/healthz', { port })).status).toBe(200);
    expect((await ask(b, 'GET', '/v1/vpcs', { port, headers: { authorization: `Bearer ${token}` } })).status).toBe(200);
    expect(b.calls.at(-1)).toMatchObject({ source: '127.0.0.1', principal: { id: 'local' } });
    expect(b.calls).toHaveLength(1);
  });

  it('keeps the token from one start to the next, and refuses an unfit one', async () => {
    await using b = await bench({}, { listen: '0' });
    const path = join(b.dataDir, 'admin-token');
    const token = await readFile(path, 'utf8');
    await b.daemon.close();
    const again = await serve(b.daemon.core, { log: { debug() {}, info() {}, warn() {}, error() {} }, listen: '127.0.0.1:0' });
    await again.close();
    expect(await readFile(path, 'utf8')).toBe(token);
    await writeFile(path, 'short');
    await expect(serve(b.daemon.core, { log: { debug() {}, info() {}, warn() {}, error() {} }, listen: '0' })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  it.each(['0.0.0.0:0', '[::]:0', '10.1.2.3:80'])('does not listen on %s without leave', async (listen) => {
    await expect(bench({}, { listen })).rejects.toMatchObject({ code: 'invalid_input', message: expect.stringContaining('plain HTTP') as string });
  });

  it.each(['', 'x', '1.2.3.4', '70000', 'http://localhost:1'])('refuses %j as an address', async (listen) => {
    await expect(bench({}, { listen })).rejects.toMatchObject({ code: 'invalid_input' });
  });

  it('says when the address is taken', async () => {
    await using b = await bench({}, { listen: '0' });
    await expect(bench({}, { listen: String(b.daemon.address?.port) })).rejects.toMatchObject({ code: 'conflict' });
  });
});

describe('life and end', () => {
  it('says where it is while it serves, and takes over a socket that a killed daemon left', async () => {
    await using b = await bench();
    const record = JSON.parse(await readFile(join(b.dataDir, 'daemon.json'), 'utf8')) as Record<string, unknown>;
    expect(record).toMatchObject({ pid: process.pid, version: '0.0.0', socket: b.daemon.socketPath });
    expect(Date.parse(record.startedAt as string)).toBeGreaterThan(Date.now() - 60_000);
    await b.daemon.close();
    await expect(stat(join(b.dataDir, 'daemon.json'))).rejects.toMatchObject({ code: 'ENOENT' });
    await writeFile(b.daemon.socketPath, 'left behind');
    const again = await serve(b.daemon.core, { log: { debug() {}, info() {}, warn() {}, error() {} } });
    expect((await ask({ daemon: again }, 'GET', '/healthz')).status).toBe(200);
    await again.close();
  });

  it('lets a call in flight finish, ends long polls, and then closes the core', async () => {
    const release = Promise.withResolvers<void>();
    const b = await bench({
      invoke: async ({ operation, signal }) => {
        if (operation === 'wait') await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
        await release.promise;
        return { value: view };
      },
    });
    const write = ask(b, 'POST', '/v1/vpcs', { headers: JSON_HEADERS, body: '{}' });
    const poll = ask(b, 'GET', '/v1/operations/op-1/wait');
    await until(() => b.calls.length === 2);
    const closing = b.daemon.close();
    expect(await poll).toMatchObject({ status: 503, json: { error: { code: 'unavailable' } } });
    expect(b.closed()).toBe(false);
    release.resolve();
    expect((await write).status).toBe(201);
    await closing;
    expect(b.closed()).toBe(true);
    await b[Symbol.asyncDispose]();
  });
});
