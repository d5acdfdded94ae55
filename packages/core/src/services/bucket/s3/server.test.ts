// The listener on the wire: answers to the letter, and clients that are malformed, slow, endless or gone, while it goes on serving everybody else.
import { randomBytes } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ObjectError } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import { type Bench, codeOf, echo, open, plain, raw, serve, statusOf } from './testbench.ts';
import type { Route } from './types.ts';

const BIG = Buffer.alloc(1024 * 1024, 'thecloud');
let taken = 0;
let ended: string[] = [];

async function* pieces(count: number): AsyncGenerator<Buffer> {
  try {
    for (let index = 0; index < count; index++) yield Buffer.from(BIG);
  } finally {
    ended.push('released');
  }
}
async function* breaking(after: number): AsyncGenerator<Buffer> {
  for (let index = 0; index < after; index++) yield BIG.subarray(0, 1000);
  throw new ObjectError('damaged', 'flipped');
}

const routes: Route[] = [
  {
    name: 'PutObject',
    method: 'PUT',
    level: 'object',
    handle: open(async (request) => {
      if (request.key === 'refused') throw s3Error('AccessDenied');
      try {
        for await (const chunk of request.body.stream()) taken += chunk.length;
      } catch (error) {
        ended.push((error as { code?: string }).code ?? String(error));
        throw error;
      }
      ended.push('whole');
      return { status: 200, headers: { etag: '"e"', 'x-amz-meta-name': 'Zoë' } };
    }),
  },
  { name: 'ListObjects', method: 'GET', level: 'bucket', handle: open(() => ({ status: 200, xml: '<A/>' })) },
  { name: 'GetBucketAcl', method: 'GET', level: 'bucket', query: { acl: true }, handle: open(() => ({ status: 200, text: 'acl' })) },
  { name: 'ListObjectsV2', method: 'GET', level: 'bucket', query: { 'list-type': '2' }, handle: open(() => ({ status: 200, text: 'v2' })) },
  { name: 'GetBucketInventory', method: 'GET', level: 'bucket', query: { inventory: true } },
  {
    name: 'GetObject',
    method: 'GET',
    level: 'object',
    handle: open(({ key }) => {
      switch (key) {
        case 'small':
          return {
            status: 200,
            headers: { 'content-length': '5' },
            body: (async function* () {
              yield Buffer.from('hello');
            })(),
          };
        case 'empty':
          return { status: 200, headers: { 'content-length': '0' }, body: (async function* () {})() };
        case 'big':
          return { status: 200, headers: { 'content-length': String(64 * BIG.length) }, body: pieces(64) };
        case 'short':
          return {
            status: 200,
            headers: { 'content-length': '5000' },
            body: (async function* () {
              yield Buffer.from('hello');
              yield Buffer.from('x');
            })(),
          };
        case 'long':
          return {
            status: 200,
            headers: { 'content-length': '6' },
            body: (async function* () {
              yield Buffer.from('hello');
              yield Buffer.from('hello');
            })(),
          };
        case 'broken-at-once':
          return { status: 200, headers: { 'content-length': '5000' }, body: breaking(0) };
        case 'broken':
          return { status: 200, headers: { 'content-length': '5000' }, body: breaking(3) };
        case 'bug':
          throw new TypeError('secret inside');
        case 'unmodified':
          throw new ObjectError('not_modified', '', { etag: 'e', modifiedAt: 0 });
        case 'injection':
          return { status: 200, headers: { 'content-type': 'a\r\nx-evil: 1' } };
        case 'gone':
          return { status: 204 };
        default:
          throw new ObjectError('no_such_key', '');
      }
    }),
  },
  {
    name: 'HeadObject',
    method: 'HEAD',
    level: 'object',
    handle: open(({ key }) => {
      if (key === 'none') throw new ObjectError('no_such_key', '');
      return { status: 200, headers: { 'content-length': '123', etag: '"e"' } };
    }),
  },
  { name: 'CreateBucket', method: 'PUT', level: 'bucket', handle: echo },
  { name: 'DeleteObject', method: 'DELETE', level: 'object', handle: async () => ({ status: 204 }) },
];

let bench: Bench;
const PATIENCE = { idle: 300, rate: 1000, window: 400 };
const limits = {
  headersTimeout: 500,
  patience: PATIENCE,
  replies: { stall: 600, drain: { bytes: 8 * 1024 * 1024, milliseconds: 400 } },
  grace: 300,
  pipelined: 8,
};
const RULE = { allowedOrigins: ['https://a.example'], allowedMethods: ['GET', 'PUT'], allowedHeaders: ['*'], exposeHeaders: ['ETag'] };
beforeEach(async () => {
  taken = 0;
  ended = [];
  bench = await serve({ routes, limits, cors: [RULE] });
});
afterEach(async () => {
  await bench.close();
});
const CLOSE = { Connection: 'close' };
const ask = (method: string, path: string, headers: Record<string, string> = {}, body = '') =>
  raw(bench.port, plain(method, path, { ...CLOSE, ...headers }, body));
const serves = async (): Promise<void> => {
  expect(await ask('GET', '/b/small')).toMatch(/hello$/);
};
const headOf = (answer: string): string => answer.slice(0, answer.indexOf('\r\n\r\n')).toLowerCase();
const bodyOf = (answer: string): string => answer.slice(answer.indexOf('\r\n\r\n') + 4);

describe('answers', () => {
  test('an error says what S3 says', async () => {
    const answer = await ask('GET', '/b/none%20such');
    expect(statusOf(answer)).toBe(404);
    expect(headOf(answer)).toContain('content-type: application/xml');
    const id = /x-amz-request-id: ([0-9A-F]{16})/i.exec(answer)?.[1];
    expect(bodyOf(answer)).toMatch(
      new RegExp(
        `^<\\?xml version="1.0" encoding="UTF-8"\\?>\\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>none such</Key><Resource>/b/none%20such</Resource><RequestId>${id}</RequestId><HostId>[^<]+</HostId></Error>$`,
      ),
    );
  });

  test('a bug tells nothing of itself, but to the log', async () => {
    const answer = await ask('GET', '/b/bug');
    expect([statusOf(answer), codeOf(answer)]).toEqual([500, 'InternalError']);
    expect(answer).not.toContain('secret');
    expect(bench.troubles()).toMatchObject([{ level: 'error', fields: { err: { message: 'secret inside' } } }]);
  });

  test('what nobody decided about is not answered', async () => {
    expect(codeOf(await ask('DELETE', '/b/k'))).toBe('InternalError');
    expect(bench.troubles()).toHaveLength(1);
  });

  test('304 and 204 without a body or its headers', async () => {
    const unmodified = await ask('GET', '/b/unmodified');
    expect(statusOf(unmodified)).toBe(304);
    expect(headOf(unmodified)).toContain('etag: "e"');
    expect(headOf(unmodified)).not.toMatch(/content-(type|length)/);
    expect(bodyOf(unmodified)).toBe('');
    const gone = await ask('GET', '/b/gone');
    expect(statusOf(gone)).toBe(204);
    expect(headOf(gone)).not.toMatch(/content-(type|length)/);
  });

  test('HEAD: headers of the object, and errors without a body', async () => {
    const there = await ask('HEAD', '/b/k');
    expect(headOf(there)).toContain('content-length: 123');
    expect(bodyOf(there)).toBe('');
    const none = await ask('HEAD', '/b/none');
    expect([statusOf(none), bodyOf(none)]).toEqual([404, '']);
  });

  test('routes: parameters before none, unknown ones do not count', async () => {
    expect(bodyOf(await ask('GET', '/b?acl'))).toBe('acl');
    expect(bodyOf(await ask('GET', '/b?list-type=2&prefix=a'))).toBe('v2');
    expect(bodyOf(await ask('GET', '/b?list-type=3'))).toContain('<A/>');
    expect(bodyOf(await ask('GET', '/b?whatever'))).toContain('<A/>');
    expect(codeOf(await ask('GET', '/b?inventory'))).toBe('NotImplemented');
    expect(codeOf(await ask('POST', '/b/k'))).toBe('MethodNotAllowed');
    expect(codeOf(await ask('GET', '/'))).toBe('MethodNotAllowed');
    expect(codeOf(await ask('GET', '//k'))).toBe('InvalidBucketName');
  });

  test('a length is needed for an object, and for nothing else', async () => {
    const answer = await ask('PUT', '/b/k');
    expect([statusOf(answer), codeOf(answer)]).toEqual([411, 'MissingContentLength']);
    expect(statusOf(await ask('PUT', '/b'))).toBe(200);
    expect(statusOf(await ask('PUT', '/b/k', { 'Transfer-Encoding': 'chunked' }, '5\r\nhello\r\n0\r\n\r\n'))).toBe(200);
    expect(taken).toBe(5);
  });

  test('text in headers is sent as UTF-8, and line ends are not', async () => {
    const answer = await ask('PUT', '/b/k', { 'Content-Length': '0' });
    expect(Buffer.from(answer, 'latin1').toString('utf8')).toContain('x-amz-meta-name: Zoë');
    const injected = await ask('GET', '/b/injection');
    expect([statusOf(injected), codeOf(injected)]).toEqual([400, 'InvalidArgument']);
    expect(headOf(injected)).not.toContain('x-evil');
  });

  test('CORS: preflight, and headers on every answer, errors too', async () => {
    const origin = { Origin: 'https://a.example' };
    const allowed = await ask('OPTIONS', '/b/k', { ...origin, 'Access-Control-Request-Method': 'PUT', 'Access-Control-Request-Headers': 'x-amz-date' });
    expect(statusOf(allowed)).toBe(200);
    expect(headOf(allowed)).toContain('access-control-allow-methods: get, put');
    expect(statusOf(await ask('OPTIONS', '/b/k'))).toBe(400);
    const other = await ask('OPTIONS', '/b/k', { Origin: 'https://b.example', 'Access-Control-Request-Method': 'PUT' });
    expect([statusOf(other), codeOf(other)]).toEqual([403, 'AccessForbidden']);
    for (const path of ['/b/small', '/b/none', '/b/bug']) {
      expect(headOf(await ask('GET', path, origin))).toContain('access-control-allow-origin: https://a.example');
    }
    expect(headOf(await ask('GET', '/b/small', { Origin: 'https://b.example' }))).not.toContain('access-control');
    expect(headOf(await ask('GET', '/b/small'))).not.toContain('access-control');
  });

  test('a body that breaks before its first byte is an error, and later it is cut off', async () => {
    expect(codeOf(await ask('GET', '/b/broken-at-once'))).toBe('InternalError');
    const broken = await ask('GET', '/b/broken');
    // The head may be lost with it.
    expect([0, 200]).toContain(statusOf(broken));
    expect(bodyOf(broken).length).toBeLessThan(5000);
    expect(codeOf(await ask('GET', '/b/long'))).toBeUndefined();
    expect(bodyOf(await ask('GET', '/b/short')).length).toBeLessThan(5000);
    expect(statusOf(await ask('GET', '/b/empty'))).toBe(200);
    const failed = await fetch(`${bench.endpoint}/b/broken`)
      .then((answer) => answer.text())
      .catch((error: Error) => error.name);
    expect(failed).toBe('TypeError');
    await serves();
  });

  test('the same connection serves again after an error with a small body unread', async () => {
    const text = plain('PUT', '/b/refused', { 'Content-Length': '1000' }, 'x'.repeat(1000)) + plain('GET', '/b/small', CLOSE);
    const answer = await raw(bench.port, text);
    expect(answer).toMatch(/403 Forbidden[\s\S]*AccessDenied[\s\S]*hello$/);
  });
});

describe('100-continue', () => {
  const expecting = (path: string, length: number) => plain('PUT', path, { ...CLOSE, Expect: '100-continue', 'Content-Length': String(length) });

  test('a body is asked for when it is wanted', async () => {
    const socket = connect(bench.port, '127.0.0.1');
    let sent = false;
    const answer = await raw(bench.port, expecting('/b/k', 5), {
      socket,
      until: (text) => {
        if (!sent && text.includes('100 Continue\r\n\r\n')) {
          sent = true;
          socket.write('hello');
        }
        return false;
      },
    });
    expect(answer).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK/);
    expect(taken).toBe(5);
  });

  test('who is refused is not asked for it', async () => {
    const answer = await raw(bench.port, expecting('/b/refused', 1_000_000_000));
    expect(statusOf(answer)).toBe(403);
    expect(headOf(answer)).toContain('connection: close');
    const unsigned = await raw(bench.port, plain('PUT', '/b/k', { Expect: '100-continue', 'Content-Length': '9', Authorization: 'AWS4-HMAC-SHA256 x' }));
    expect(statusOf(unsigned)).toBe(400);
  });

  test('other expectations are none', async () => {
    for (const Expect of ['200-ok', '']) expect(statusOf(await ask('PUT', '/b/k', { Expect, 'Content-Length': '5' }, 'hello'))).toBe(200);
  });
});

describe('rude clients', () => {
  test.each<[string, string, number]>([
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['binary', `${randomBytes(200).toString('latin1')}\r\n\r\n`, 400],
    ['TLS', '\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u00fc', 400],
    ['a length and chunks', plain('PUT', '/b/k', { 'Content-Length': '5', 'Transfer-Encoding': 'chunked' }, '0\r\n\r\n'), 400],
    ['two lengths', 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 400],
    ['a negative length', plain('PUT', '/b/k', { 'Content-Length': '-1' }), 400],
    ['an empty length', plain('PUT', '/b/k', { 'Content-Length': '' }), 400],
    ['an unknown coding', plain('PUT', '/b/k', { 'Transfer-Encoding': 'chunked, gzip' }), 400],
    ['headers without end', `GET / HTTP/1.1\r\nHost: h\r\n${'x-a: b\r\n'.repeat(20_000)}\r\n`, 400],
    ['one header without end', `GET / HTTP/1.1\r\nHost: h\r\nx-a: ${'b'.repeat(100_000)}\r\n\r\n`, 400],
    ['an address without end', `GET /${'b'.repeat(100_000)} HTTP/1.1\r\nHost: h\r\n\r\n`, 400],
    ['folded headers', 'GET / HTTP/1.1\r\nHost: h\r\nx-a: b\r\n c\r\n\r\n', 400],
    ['a space before the colon', 'GET / HTTP/1.1\r\nHost: h\r\nx-a : b\r\n\r\n', 400],
    ['no host', 'GET /b/small HTTP/1.1\r\n\r\n', 400],
  ])('%s', async (_what, text, status) => {
    expect(statusOf(await raw(bench.port, Buffer.from(text, 'latin1')))).toBe(status);
    await serves();
  });

  test('what cannot be parsed is answered as S3 does', async () => {
    expect(codeOf(await raw(bench.port, 'nonsense\r\n\r\n'))).toBe('BadRequest');
    expect(codeOf(await raw(bench.port, `GET / HTTP/1.1\r\nHost: h\r\nx-a: ${'b'.repeat(100_000)}\r\n\r\n`))).toBe('RequestHeaderSectionTooLarge');
    expect(codeOf(await ask('GET', '/b/%ff'))).toBe('InvalidURI');
  });

  test('bad chunks of HTTP in the middle of an upload', async () => {
    const answer = await raw(bench.port, plain('PUT', '/b/k', { 'Transfer-Encoding': 'chunked' }, '5\r\nhello\r\nzz\r\n'));
    expect([0, 400]).toContain(statusOf(answer));
    await expect.poll(() => ended).toEqual(['IncompleteBody']);
    await serves();
  });

  test('more bytes than were said: the request is answered, what is behind it ends the connection', async () => {
    const answer = await raw(bench.port, plain('PUT', '/b/k', { 'Content-Length': '2' }, 'bar'));
    expect(statusOf(answer)).toBe(200);
    expect(taken).toBe(2);
    const garbage = await raw(bench.port, `${plain('GET', '/b/small')}garbage\r\n\r\nmore garbage`);
    expect(garbage).toMatch(/hello$/);
    await serves();
  });

  test('gone at any byte of a request', async () => {
    const text = plain('PUT', '/b/k', { 'Content-Length': '300', 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' }, 'x'.repeat(300));
    const leave = (length: number, how: 'end' | 'reset') =>
      new Promise<void>((resolve) => {
        const socket = connect(bench.port, '127.0.0.1', () => {
          socket.write(text.slice(0, length), () => (how === 'end' ? socket.end() : socket.resetAndDestroy()));
        });
        socket.on('close', () => resolve()).on('error', () => resolve());
        socket.resume();
      });
    for (let length = 0; length < text.length; length += 4)
      await Promise.all([leave(length, 'end'), leave(length + 1, 'reset'), leave(length + 2, 'end'), leave(length + 3, 'reset')]);
    await expect.poll(() => ended.length).toBeGreaterThan(200);
    expect(new Set(ended.filter((each) => each !== 'whole'))).toEqual(new Set(['IncompleteBody']));
    await serves();
    expect(bench.troubles()).toEqual([]);
  });

  test('headers that never end are cut off', async () => {
    const answer = await raw(bench.port, 'GET /b/small HTTP/1.1\r\nHost: h\r\nx-a: ');
    expect(codeOf(answer)).toBe('RequestTimeout');
    await serves();
  });

  test('a body that stops, and one that trickles', async () => {
    const stopped = await raw(bench.port, plain('PUT', '/b/k', { 'Content-Length': '1000' }, 'half'));
    expect([statusOf(stopped), codeOf(stopped)]).toEqual([400, 'RequestTimeout']);
    const socket = connect(bench.port, '127.0.0.1');
    const timer = setInterval(() => socket.write('x'), 50);
    const trickled = await raw(bench.port, plain('PUT', '/b/k', { 'Content-Length': '100000' }), { socket });
    clearInterval(timer);
    expect(codeOf(trickled)).toBe('RequestTimeout');
    expect(ended).toEqual(['RequestTimeout', 'RequestTimeout']);
    await serves();
  });

  test('a body without end for somebody who is refused', async () => {
    const socket = connect(bench.port, '127.0.0.1');
    let running = true;
    const pump = async (): Promise<void> => {
      while (running && !socket.destroyed) {
        if (!socket.write(`100000\r\n${BIG.toString('latin1')}\r\n`, 'latin1'))
          await new Promise((resolve) => socket.once('drain', resolve).once('close', resolve));
      }
    };
    const answer = raw(bench.port, plain('PUT', '/b/refused', { 'Transfer-Encoding': 'chunked' }), { socket });
    void pump();
    const text = await answer;
    running = false;
    expect([statusOf(text), codeOf(text)]).toEqual([403, 'AccessDenied']);
    await serves();
  });

  test('a large body for somebody who is refused: the answer arrives', async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const request = httpRequest(
        { port: bench.port, host: '127.0.0.1', method: 'PUT', path: '/b/refused', headers: { 'content-length': 4 * BIG.length } },
        (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        },
      );
      request.on('error', reject);
      for (let index = 0; index < 4; index++) request.write(BIG);
      request.end();
    });
    expect(status).toBe(403);
  });

  test('a client that reads nothing, and one that goes away in the middle', async () => {
    const lazy = connect(bench.port, '127.0.0.1');
    lazy.pause();
    lazy.write(plain('GET', '/b/big'));
    const gone = await raw(bench.port, plain('GET', '/b/big'), { until: (text) => text.length > 100_000 });
    expect(statusOf(gone)).toBe(200);
    await expect.poll(() => ended, { timeout: 5000 }).toEqual(['released', 'released']);
    lazy.destroy();
    await serves();
  });

  test('a reader who is merely slow gets everything', async () => {
    let length = 0;
    await new Promise<void>((resolve) => {
      const socket: Socket = connect(bench.port, '127.0.0.1', () => socket.write(plain('GET', '/b/big', CLOSE)));
      socket.on('data', (data) => {
        length += data.length;
        socket.pause();
        setTimeout(() => socket.resume(), 1);
      });
      socket.on('close', () => resolve());
    });
    expect(length).toBeGreaterThan(64 * BIG.length);
  });

  test('requests one behind the other, without end', async () => {
    const some = await raw(bench.port, plain('GET', '/b/small').repeat(5) + plain('GET', '/b/small', CLOSE));
    expect(some.match(/hello/g)).toHaveLength(6);
    // What is too much ends the connection.
    await raw(bench.port, plain('GET', '/b/big').repeat(50));
    await serves();
  });
});

describe('closing', () => {
  test('what is under way ends, what takes too long is cut off, and twice is once', async () => {
    const socket = connect(bench.port, '127.0.0.1');
    const upload = raw(bench.port, plain('PUT', '/b/k', { 'Content-Length': '5' }, 'he'), { socket });
    const stuck = connect(bench.port, '127.0.0.1');
    const forever = raw(bench.port, plain('PUT', '/b/k', { 'Content-Length': '100000' }, 'x'), { socket: stuck });
    await sleep(50);
    const closing = bench.close();
    socket.write('llo');
    expect(statusOf(await upload)).toBe(200);
    await closing;
    await bench.close();
    expect([0, 400]).toContain(statusOf(await forever));
    await expect(fetch(`${bench.endpoint}/b/small`)).rejects.toThrow();
  });
});
