// The HTTP client against a server that says every byte itself: answers come in any pieces, break off, or never come.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ConnectionLost, events, request } from './http.ts';
import { faultFrom, Remote } from './remote.ts';
import type { OperationSpec } from './table.ts';

let folder: string;
let socket: string;
let server: Server;
let heard: string[];
let answer: (client: Socket, head: string) => void;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'cloud-http-'));
  socket = join(folder, 's');
  heard = [];
  server = createServer((client) => {
    let text = '';
    client.on('error', () => undefined);
    client.on('data', (bytes) => {
      text += bytes.toString('utf8');
      const end = text.indexOf('\r\n\r\n');
      const length = Number(/content-length: (\d+)/.exec(text)?.[1] ?? 0);
      if (end < 0 || Buffer.byteLength(text) < end + 4 + length) return;
      heard.push(text);
      answer(client, text);
    });
  });
  await new Promise<void>((resolve) => server.listen(socket, resolve));
});
afterEach(async () => {
  await new Promise((resolve) => server.close(resolve));
  rmSync(folder, { recursive: true, force: true });
});

const get = () => request({ socket }, { method: 'GET', path: '/x' });

describe('an answer', () => {
  const body = JSON.stringify({ text: 'Grüße 🚀' });
  const plain = `HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const half = Math.floor(Buffer.byteLength(body) / 2);
  const chunk = (bytes: Buffer) => Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from('\r\n')]);
  const raw = Buffer.from(body);
  const chunked = Buffer.concat([
    Buffer.from('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-a: b\r\nTransfer-Encoding: chunked\r\n\r\n'),
    chunk(raw.subarray(0, half)),
    chunk(raw.subarray(half)),
    Buffer.from('0\r\nTrailer: x\r\n\r\n'),
  ]);
  const toTheEnd = Buffer.from(`HTTP/1.1 200 OK\r\nx-a: b\r\n\r\n${body}`);

  it.each([
    ['with a length', Buffer.from(plain)],
    ['in chunks', chunked],
    ['until the end of the connection', toTheEnd],
  ])('%s is read whole, in whatever pieces it comes', async (_, bytes) => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: bytes.length }), { maxLength: 6 }), async (cuts) => {
        answer = (client) => {
          const at = [...new Set([0, ...cuts.sort((a, b) => a - b), bytes.length])];
          const next = (index: number): void => {
            if (index >= at.length - 1) return void client.end();
            client.write(bytes.subarray(at[index], at[index + 1]), () => setImmediate(next, index + 1));
          };
          next(0);
        };
        const { status, headers, body: got } = await get();
        expect([status, headers.get('x-a'), got]).toEqual([200, 'b', body]);
      }),
      { numRuns: 20 },
    );
  });

  it('that breaks off is no answer', async () => {
    answer = (client) => client.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
    await expect(get()).rejects.toBeInstanceOf(ConnectionLost);
  });

  it('in another language is no answer', async () => {
    answer = (client) => client.end('SSH-2.0-OpenSSH_9.2\r\n\r\n');
    await expect(get()).rejects.toThrow('does not speak HTTP');
  });

  it('without a body ends at its head', async () => {
    answer = (client) => client.write('HTTP/1.1 204 No Content\r\n\r\n');
    expect((await get()).status).toBe(204);
  });

  it('that never comes is not waited for longer than asked', async () => {
    answer = () => undefined;
    await expect(request({ socket }, { method: 'GET', path: '/', patience: 50 })).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('nobody at the other end', () => {
  it('is unavailable, with the command that helps', async () => {
    await expect(request({ socket: join(folder, 'none') }, { method: 'GET', path: '/' })).rejects.toMatchObject({
      code: 'unavailable',
      hint: 'cloud daemon start',
    });
    await expect(request({ host: '127.0.0.1', port: 1, url: 'http://127.0.0.1:1', secure: false }, { method: 'GET', path: '/' })).rejects.toMatchObject({
      code: 'unavailable',
    });
  });
});

describe('events', () => {
  const collect = async (): Promise<string[]> => {
    const found: string[] = [];
    for await (const event of events({ socket }, { method: 'GET', path: '/e' }, faultFrom)) found.push(`${event.event}:${event.data}`);
    return found;
  };
  const head = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n';

  it('come in order, without the heartbeats', async () => {
    answer = (client) => client.end(`${head}data: {"a":1}\n\n:\n\ndata: x\ndata: y\n\nevent: error\ndata: z\n\n`);
    expect(await collect()).toEqual(['message:{"a":1}', 'message:x\ny', 'error:z']);
  });

  it('keep characters whole that arrive in two pieces', async () => {
    const bytes = Buffer.from(`${head}data: 🚀\n\n`);
    answer = (client) => client.write(bytes.subarray(0, -4), () => setTimeout(() => client.end(bytes.subarray(-4)), 10));
    expect(await collect()).toEqual(['message:🚀']);
  });

  it('that are refused are an error', async () => {
    answer = (client) => client.end('HTTP/1.1 404 Not Found\r\n\r\n{"error":{"code":"not_found","message":"There is no instance"}}');
    await expect(collect()).rejects.toMatchObject({ code: 'not_found', message: 'There is no instance' });
  });
});

describe('calls', () => {
  const create = {
    resource: 'vpc',
    name: 'create',
    kind: 'write',
    method: 'POST',
    path: '/v1/vpcs',
    target: false,
    async: true,
    destructive: false,
    form: 'resource',
  } as const satisfies OperationSpec;
  const remote = () => new Remote({ output: 'json', tenant: 'acme', quiet: true, verbose: false, dataDir: folder, endpoint: { socket } });

  it('repeat a write whose answer was lost, under the same key', async () => {
    answer = (client) => {
      if (heard.length === 1) client.destroy();
      else client.end('HTTP/1.1 202 Accepted\r\nOperation: op-1\r\nContent-Length: 12\r\n\r\n{"id":"vpc"}\n');
    };
    const called = await remote().call(create, { input: { name: 'prod' } });
    expect(called).toMatchObject({ status: 202, operation: 'op-1', value: { id: 'vpc' } });
    const keys = heard.map((text) => /idempotency-key: (.+)\r\n/.exec(text)?.[1]);
    expect(keys).toHaveLength(2);
    expect(keys[0]).toBe(keys[1]);
    expect(heard[0]).toContain('x-tenant: acme\r\n');
    expect(heard[0]?.endsWith('{"name":"prod"}')).toBe(true);
  });

  it('give up when the connection breaks again and again', async () => {
    answer = (client) => void client.destroy();
    await expect(remote().call(create, { input: {} })).rejects.toMatchObject({ code: 'unavailable' });
    expect(heard).toHaveLength(3);
  });

  it('escape names in paths', async () => {
    answer = (client) => client.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
    const one = { ...create, method: 'GET', kind: 'read', path: '/v1/images/{image}', target: true } as const;
    await remote().call(one, { target: 'ghcr.io/acme/app:1 x', input: {} });
    expect(heard[0]).toMatch(/^GET \/v1\/images\/ghcr\.io%2Facme%2Fapp%3A1%20x HTTP\/1\.1\r\n/);
  });
});

it('sends no header that would be two', async () => {
  answer = (client) => client.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}');
  const ask = { method: 'GET', path: '/v1/vpcs', headers: { authorization: 'Bearer planted\r\nx-tenant: other' } };
  const refused = await request({ socket }, ask).catch((error: unknown) => error);
  expect(refused).toMatchObject({ code: 'invalid_input', message: expect.stringContaining('authorization') });
  expect(String(refused)).not.toContain('planted');
  await expect(events({ socket }, ask, faultFrom).next()).rejects.toMatchObject({ code: 'invalid_input' });
  expect(heard).toEqual([]);
});
