// The client against servers that misbehave: what is tried again, with what, and what is said in the end.
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { connect } from './connect.ts';
import { parseEvents } from './events.ts';
import { Fault } from './index.ts';

const cleanUp: (() => void)[] = [];
afterEach(() => {
  for (const step of cleanUp.splice(0)) step();
});

/** A server that answers the n-th request by the n-th listener, the last one for ever; and a client of it. */
async function against(...listeners: RequestListener[]) {
  const requests: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    requests.push(request);
    listeners[Math.min(requests.length, listeners.length) - 1]?.(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const cloud = connect({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, token: 't' });
  cleanUp.push(() => (cloud.close(), server.closeAllConnections(), server.close()));
  return { cloud, requests };
}

const hangUp: RequestListener = (request) => request.socket.destroy();
const answer =
  (status: number, body: unknown, headers: Record<string, string> = {}): RequestListener =>
  (_, response) =>
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(typeof body === 'string' ? body : JSON.stringify(body));
const fault = (code: string, status: number) => answer(status, { error: { code, message: 'so it is', requestId: 'r' } });

describe('trying again', () => {
  it('repeats a write that broke off, as the same write', async () => {
    const { cloud, requests } = await against(hangUp, fault('unavailable', 503), answer(201, { id: 'vpc-1' }));
    expect(await cloud.vpc.create({ name: 'x' })).toEqual({ id: 'vpc-1' });
    const keys = requests.map(({ headers }) => headers['idempotency-key']);
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
    expect(keys[0]).toMatch(/^[\w-]{36}$/);
  });

  it('gives every write a key of its own, and takes a given one', async () => {
    const { cloud, requests } = await against(answer(200, {}));
    await cloud.vpc.create({ name: 'x' });
    await cloud.vpc.create({ name: 'x' });
    await cloud.vpc.create({ name: 'x' }, { idempotencyKey: 'mine' });
    await cloud.vpc.list();
    const keys = requests.map(({ headers }) => headers['idempotency-key']);
    expect(keys[0]).not.toBe(keys[1]);
    expect(keys.slice(2)).toEqual(['mine', undefined]);
  });

  it('repeats a read and the opening of a stream', async () => {
    const { cloud, requests } = await against(hangUp, answer(200, { items: [] }), hangUp, (_, response) => response.end('data: 1\n\n'));
    expect(await cloud.vpc.list()).toEqual({ items: [] });
    expect(await Array.fromAsync(cloud.event.watch())).toEqual([1]);
    expect(requests).toHaveLength(4);
  });

  it('gives up after a few times', async () => {
    const { cloud, requests } = await against(hangUp);
    await expect(cloud.vpc.list()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('broke off') as string });
    expect(requests).toHaveLength(4);
  });

  it.each([
    ['conflict', 409],
    ['quota_exceeded', 429],
    ['timeout', 504],
    ['internal', 500],
  ])('does not repeat what ended in %s', async (code, status) => {
    const { cloud, requests } = await against(fault(code, status));
    await expect(cloud.vpc.create({ name: 'x' })).rejects.toMatchObject({ code, requestId: 'r' });
    expect(requests).toHaveLength(1);
  });

  it('stops at once when told to', async () => {
    const { cloud, requests } = await against(hangUp);
    const stop = new AbortController();
    const call = cloud.vpc.list({}, { signal: stop.signal });
    setTimeout(() => stop.abort(new Error('enough')), 20);
    await expect(call).rejects.toThrow('enough');
    expect(requests.length).toBeLessThan(4);
  });
});

describe('what is no cloud', () => {
  it.each([
    ['a page in place of an answer', answer(200, '<html>')],
    ['a page in place of an error', answer(502, '<html>')],
    ['another kind of error', answer(404, { message: 'no' })],
  ])('says so of %s', async (_, listener) => {
    const { cloud } = await against(listener);
    await expect(cloud.vpc.list()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('The Cloud') as string });
  });

  it('says how to start a daemon that is not there, at once', async () => {
    const dataDir = await mkdtemp(join(tmpdir(), 'cloud-none-'));
    cleanUp.push(() => void rm(dataDir, { recursive: true }));
    using cloud = connect({ dataDir });
    const missing = { code: 'unavailable', hint: 'cloud daemon start', message: `No daemon answers at ${join(dataDir, 'cloud.sock')}` };
    await expect(cloud.vpc.list()).rejects.toMatchObject(missing);
    await expect(cloud.instance.exec('web', { command: ['true'] })).rejects.toMatchObject(missing);
    await expect(Array.fromAsync(cloud.event.watch())).rejects.toMatchObject(missing);
    using tcp = connect({ url: 'http://127.0.0.1:1', token: 't' });
    await expect(tcp.vpc.list()).rejects.toMatchObject({ code: 'unavailable', hint: 'cloud daemon start' });
  });

  it('refuses addresses that cannot be', () => {
    expect(() => connect({ url: 'localhost:7070' })).toThrow(Fault);
    expect(() => connect({ dataDir: `/tmp/${'x'.repeat(120)}` })).toThrow(/too long/);
  });

  it('is over when it was closed', async () => {
    const { cloud } = await against((_, response) => void response.write('data: 1\n\n'));
    const items = cloud.event.watch()[Symbol.asyncIterator]();
    expect(await items.next()).toEqual({ done: false, value: 1 });
    cloud.close();
    await expect(items.next()).rejects.toMatchObject({ code: 'unavailable' });
    await expect(cloud.vpc.list()).rejects.toMatchObject({ code: 'unavailable', message: 'This connection was closed' });
  });

  it('tells a stream that broke off from one that ended', async () => {
    const { cloud } = await against((request, response) => {
      response.write('data: 1\n\n');
      setTimeout(() => request.socket.destroy(), 20);
    });
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const item of cloud.event.watch()) seen.push(item);
    })();
    await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
    expect(seen).toEqual([1]);
  });
});

describe('server-sent events', () => {
  const parse = (text: string, size: number) => {
    const bytes = new TextEncoder().encode(text);
    async function* chunks() {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    }
    return Array.fromAsync(parseEvents(chunks()));
  };
  const text = ':\n\ndata: {"ü":1}\n\r\nevent: error\rdata:two\r\ndata: lines\r\n\r\nid: 7\n\nretry: 1\ndata\n\ndata: cut off';

  it.each([1, 2, 3, 7, 1000])('reads the same in pieces of %i bytes', async (size) => {
    expect(await parse(text, size)).toEqual([
      { type: 'message', data: '{"ü":1}' },
      { type: 'error', data: 'two\nlines' },
      { type: 'message', data: '' },
    ]);
  });
});
