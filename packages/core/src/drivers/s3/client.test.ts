// The S3 driver before engines that misbehave: busy, full, silent, cut off, of another mind than the documentation; and the nodes that engines tell of.

import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { newId } from '../../services/bucket/driver.conformance.ts';
import { S3ObjectStore, type S3StoreOptions } from './index.ts';
import { signed } from './sign.ts';

const never = new AbortController().signal;
const KIB = 1024;
type Handler = (request: IncomingMessage & { body: Buffer }, response: ServerResponse, at: number) => void;
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function engine(
  handle: Handler,
  options: Partial<S3StoreOptions> & { early?: boolean } = {},
): Promise<{ store: S3ObjectStore; seen: string[]; endpoint: string }> {
  const seen: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((request, response) => {
    const act = (body: Buffer) => {
      // What an earlier process left is looked for beside everything else.
      if (/[?&]uploads=(&|$)/.test(request.url ?? '') && request.method === 'GET') return response.end('<ListMultipartUploadsResult/>');
      seen.push(`${request.method} ${request.url}`);
      handle(Object.assign(request, { body }), response, seen.length);
    };
    if (options.early === true) return act(Buffer.alloc(0));
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece)).on('end', () => act(Buffer.concat(pieces)));
    request.on('error', () => undefined);
  });
  if (options.early === true) server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => server.emit('request', request, response));
  server.on('connection', (socket: Socket) => sockets.add(socket.on('close', () => sockets.delete(socket))));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const clock = { now: () => Date.now(), sleep: async () => undefined };
  const store = new S3ObjectStore({ endpoint, bucket: 'b', region: 'garage', accessKeyId: 'GK1', secretAccessKey: 's', clock, ...options });
  closing.push(async () => {
    await store.close();
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  return { store, seen, endpoint };
}
const xml = (code: string) => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>because of &lt;that&gt;</Message></Error>`;
async function* pieces(bytes: Buffer, size = 50_000): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const put = (store: S3ObjectStore, bytes: Buffer, size: number | undefined = bytes.length) => store.put(newId(), pieces(bytes), { size, signal: never });
const read = async (store: S3ObjectStore, start = 0, end?: number) => Buffer.concat(await Array.fromAsync(store.get(newId(), { start, end }, never)));

test('a request is signed as the documentation shows', () => {
  // The example "GET Object" of Amazon's description of Signature Version 4.
  const headers = signed(
    {
      method: 'GET',
      path: '/test.txt',
      query: {},
      headers: { host: 'examplebucket.s3.amazonaws.com', range: 'bytes=0-9' },
      payload: createHash('sha256').digest('hex'),
    },
    { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' },
    'us-east-1',
    Date.UTC(2013, 4, 24),
  );
  expect(headers.authorization).toContain('SignedHeaders=host;range;x-amz-content-sha256;x-amz-date');
  expect(headers.authorization).toContain('Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41');
});

describe('answers', () => {
  test.each([
    [507, 'InsufficientStorage', 'full'],
    [507, 'XMinioStorageFull', 'full'],
    [403, 'QuotaExceeded', 'full'],
    [403, 'AccessDenied', 'unavailable'],
    [400, 'AuthorizationHeaderMalformed', 'unavailable'],
    [404, 'NoSuchBucket', 'unavailable'],
    [503, 'SlowDown', 'busy'],
    [500, 'InternalError', 'unavailable'],
  ])('%i %s is %s', async (status, code, expected) => {
    const { store, seen } = await engine((_, response) => response.writeHead(status).end(xml(code)));
    for (const bytes of [randomBytes(10), randomBytes(2000 * KIB)]) {
      await expect(put(store, bytes)).rejects.toMatchObject({
        name: 'DriverError',
        code: expected,
        message: expect.stringContaining(`${code}: because of <that>`),
      });
    }
    await expect(read(store)).rejects.toMatchObject({ code: expected });
    expect(seen.filter((each) => each.startsWith('GET')).length).toBe(status >= 500 && status !== 507 ? 4 : 1);
  });

  test('what is busy for a moment is asked again', async () => {
    const { store, seen } = await engine((_, response, at) => (at < 3 ? response.writeHead(503).end(xml('SlowDown')) : response.writeHead(200).end()));
    await put(store, randomBytes(10));
    expect(seen).toHaveLength(3);
  });

  test('a first attempt that was carried out all the same is no second blob', async () => {
    const { store } = await engine((request, response, at) => (at === 1 ? request.socket.destroy() : response.writeHead(412).end(xml('PreconditionFailed'))));
    await put(store, randomBytes(10));
    await expect(put(store, randomBytes(10))).rejects.toMatchObject({ code: 'failed' });
  });

  test('a refusal comes before the bytes are asked for', async () => {
    const { store } = await engine((_, response) => response.writeHead(507).end(xml('InsufficientStorage')), { early: true });
    let asked = 0;
    const source = (async function* () {
      for (;;) {
        asked += 1;
        yield randomBytes(64 * KIB);
      }
    })();
    await expect(store.put(newId(), source, { size: 4096 * KIB, signal: never })).rejects.toMatchObject({ code: 'full' });
    expect(asked).toBe(0);
  });

  test('a connection that was closed while idle is no failure', async () => {
    const bytes = randomBytes(3000 * KIB);
    const kept: Buffer[] = [];
    const { store } = await engine((request, response) => {
      kept.push(request.body);
      response.end();
      setImmediate(() => request.socket.destroy());
    });
    for (let round = 0; round < 5; round += 1) await put(store, bytes);
    expect(kept.every((each) => each.equals(bytes))).toBe(true);
  });

  test('a read that is cut off goes on where it was', async () => {
    const bytes = randomBytes(500 * KIB);
    const { store, seen } = await engine((request, response) => {
      const range = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '');
      const start = Number(range?.[1] ?? 0);
      const end = range?.[2] ? Number(range[2]) + 1 : bytes.length;
      response.writeHead(range === null ? 200 : 206, { 'content-length': end - start, 'content-range': `bytes ${start}-${end - 1}/${bytes.length}` });
      if (end - start <= 150 * KIB) return response.end(bytes.subarray(start, end));
      response.write(bytes.subarray(start, start + 150 * KIB), () => setTimeout(() => request.socket.destroy(), 20));
    });
    expect((await read(store)).equals(bytes)).toBe(true);
    expect((await read(store, 7, 400 * KIB)).equals(bytes.subarray(7, 400 * KIB))).toBe(true);
    expect(seen.length).toBeGreaterThan(5);
  });

  test('one that is cut off every time is unavailable, not damaged', async () => {
    const { store } = await engine((request, response) => {
      response.writeHead(200, { 'content-length': 1000 }).flushHeaders();
      setTimeout(() => request.socket.destroy(), 5);
    });
    await expect(read(store)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('other bytes than those asked for are not given', async () => {
    const { store } = await engine((_, response) => response.writeHead(200, { 'content-length': 10 }).end('0123456789'));
    await expect(read(store, 3, 5)).rejects.toMatchObject({ code: 'failed' });
    expect(String(await read(store, 0, 10))).toBe('0123456789');
    await expect(read(store, 0, 11)).rejects.toMatchObject({ code: 'failed', message: expect.stringContaining('shorter') });
  });

  test('an answer without end is not read', async () => {
    const { store } = await engine((_, response) => {
      response.writeHead(200);
      const more = () => {
        while (response.write(Buffer.alloc(64 * KIB, 'a'))) if (response.destroyed) return;
        response.once('drain', more);
      };
      more();
    });
    await expect(store.list(undefined, 10)).rejects.toMatchObject({ code: 'unavailable' });
  });

  test('what is never closed is looked through once, and what is said is cut', async () => {
    const open = '<Contents>'.repeat(300_000);
    const { store } = await engine((request, response) => {
      if (request.method === 'GET') return response.end(`<ListBucketResult>${open}<Key ${'<Key '.repeat(100_000)}`);
      return response.writeHead(400).end(`<Error><Code>Odd</Code><Message>&#99999999;${'x'.repeat(100_000)}</Message></Error>`);
    });
    expect(await store.list('', 10)).toEqual([]);
    const said = await put(store, randomBytes(10)).catch((error: Error) => error.message);
    expect(said).toMatch(/Odd: &#99999999;x{200,300}\)$/);
  });

  test.each([['the same'], ['an older']])('a list that begins anew with %s name ends', async (which) => {
    const [one, two] = ['000000000000aaaaaaaaaaaa', '000000000001aaaaaaaaaaaa'];
    const { store, seen } = await engine((_, response, at) => {
      const key = at === 1 ? two : which === 'the same' ? two : one;
      response.end(`<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>${key}</Key><Size>1</Size></Contents></ListBucketResult>`);
    });
    await expect(store.list('', 1000)).rejects.toMatchObject({ code: 'failed' });
    expect(seen).toHaveLength(2);
  });

  test('ends when it is told to, whatever the engine does', async () => {
    const { store } = await engine(() => undefined);
    for (const what of [
      (signal: AbortSignal) => store.put(newId(), pieces(randomBytes(10)), { size: 10, signal }),
      (signal: AbortSignal) => store.put(newId(), pieces(randomBytes(2000 * KIB)), { size: 2000 * KIB, signal }),
      (signal: AbortSignal) => Array.fromAsync(store.get(newId(), { start: 0, end: undefined }, signal)),
      (signal: AbortSignal) => store.remove([newId()], signal),
      (signal: AbortSignal) => store.status(signal),
    ]) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(new Error('enough')), 30);
      await expect(what(controller.signal)).rejects.toThrow('enough');
    }
  });

  test('parts that were not put together are told of, though the answer is 200', async () => {
    const { store, seen } = await engine((request, response) => {
      if (request.url?.includes('uploads=')) return response.end('<InitiateMultipartUploadResult><UploadId>u/1+</UploadId></InitiateMultipartUploadResult>');
      if (request.method === 'PUT') return response.writeHead(200, { etag: '"e"' }).end();
      if (request.method === 'POST') return response.end(xml('InternalError'));
      response.writeHead(204).end();
    });
    await expect(put(store, randomBytes(17 * KIB * KIB))).rejects.toMatchObject({ code: 'unavailable' });
    expect(seen.at(-1)).toMatch(/^DELETE .*uploadId=u%2F1%2B/);
  });

  test('engines that cannot delete many are asked one by one', async () => {
    const { store, seen } = await engine((request, response) =>
      request.method === 'POST' ? response.writeHead(501).end(xml('NotImplemented')) : response.writeHead(204).end(),
    );
    await store.remove([newId(), newId()], never);
    expect(seen.filter((each) => each.startsWith('DELETE'))).toHaveLength(2);
  });

  test('one of many that could not be deleted is told of', async () => {
    const { store } = await engine((_, response) => response.end(`<DeleteResult><Error><Key>a</Key><Code>InternalError</Code></Error></DeleteResult>`));
    await expect(store.remove([newId(), newId()], never)).rejects.toMatchObject({ code: 'unavailable' });
    const gone = await engine((_, response) => response.end(`<DeleteResult><Error><Key>a</Key><Code>NoSuchKey</Code></Error></DeleteResult>`));
    await gone.store.remove([newId(), newId()], never);
  });
});

describe('nodes', () => {
  const beside = (path: string, answer: unknown, status = 200) =>
    ((request, response) => {
      if (request.url === path) response.writeHead(status).end(JSON.stringify(answer));
      else response.writeHead(request.url?.startsWith('/b') === true ? 200 : 404).end();
    }) satisfies Handler;

  test('of Garage', async () => {
    const { store } = await engine(
      (request, response) => {
        if (request.url === '/v2/GetClusterStatus' && request.headers.authorization !== 'Bearer token') return response.writeHead(403).end();
        beside('/v2/GetClusterStatus', {
          layoutVersion: 5,
          nodes: [
            { id: 'aa', hostname: 'n1', isUp: true, draining: false, role: { zone: 'z1', capacity: 10 }, dataPartition: { available: 60, total: 100 } },
            { id: 'bb', hostname: 'n2', isUp: false, lastSeenSecsAgo: 12, role: { zone: 'z2' }, dataPartition: { available: 1, total: 200 } },
            { id: 'cc', isUp: true, draining: true, role: { zone: 'z3' }, dataPartition: { available: 5, total: 50 } },
          ],
        })(request, response);
      },
      { cluster: { engine: 'garage', token: 'token' } },
    );
    expect(await store.status(never)).toMatchObject({
      engine: 's3',
      bytesTotal: 350,
      bytesFree: 66,
      nodes: [
        { name: 'n1', state: 'up', bytesFree: 60, detail: 'zone z1' },
        { name: 'n2', state: 'down', detail: 'zone z2; last seen 12 s ago' },
        { name: 'cc', state: 'degraded' },
      ],
    });
  });

  test('of SeaweedFS', async () => {
    const nodes = [
      { Url: '10.0.0.1:8080', PublicUrl: 'v1:8080', Volumes: 3, Max: 8 },
      { Url: '10.0.0.2:8080', PublicUrl: '', Volumes: 8, Max: 8 },
    ];
    const answer = { Topology: { DataCenters: [{ Id: 'dc1', Racks: [{ Id: 'r1', DataNodes: nodes }] }], Free: 5, Max: 16 }, Version: '3.80' };
    const { store } = await engine(beside('/dir/status', answer), { cluster: { engine: 'seaweedfs' } });
    expect((await store.status(never)).nodes).toMatchObject([
      { name: 'v1:8080', state: 'up', detail: 'dc1/r1; 3 of 8 volumes' },
      { name: '10.0.0.2:8080', state: 'degraded' },
    ]);
  });

  test.each([
    [200, 200, 'up'],
    [503, 200, 'degraded'],
    [503, 503, 'down'],
  ])('of MinIO: writes %i, reads %i', async (write, readable, state) => {
    const { store } = await engine(
      (request, response) => {
        const status = request.url === '/minio/health/cluster' ? write : request.url === '/minio/health/cluster/read' ? readable : 200;
        response.writeHead(status).end();
      },
      { cluster: { engine: 'minio' } },
    );
    expect((await store.status(never)).nodes).toMatchObject([{ state }]);
  });

  test('that do not answer as documented are unavailable', async () => {
    for (const [answer, status] of [
      [{ nodes: 5 }, 200],
      ['nonsense', 200],
      [{}, 403],
    ] as const) {
      const { store } = await engine(beside('/v2/GetClusterStatus', answer, status), { cluster: { engine: 'garage' } });
      await expect(store.status(never)).rejects.toMatchObject({ code: 'unavailable' });
    }
    const { store } = await engine((_, response) => response.end(), { cluster: { engine: 'garage', endpoint: 'http://127.0.0.1:1' } });
    await expect(store.status(never)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
