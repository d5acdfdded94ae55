// Requests that are malformed, slow, endless or too many, over raw sockets: each ends, and somebody else is answered meanwhile.
import { connect, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { ManualClock } from '../../../kernel/clock.ts';
import { silent } from '../../../kernel/log.ts';
import { type Limits, MetadataServer } from './server.ts';

/** Two who ask. */
const ONE = '127.0.1.1';
const TWO = '127.0.1.2';

const open: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of open.splice(0).reverse()) await close();
});

async function serve(limits: Partial<Limits> = {}, body = 'answer') {
  const clock = new ManualClock();
  const server = new MetadataServer({
    clock,
    log: silent,
    limits,
    answer: async (source, { url }) => {
      if (url === '/broken') throw new Error('not now');
      return { status: 200, headers: {}, body: url === '/source' ? source : body };
    },
  });
  const { port } = await server.listen('127.0.0.1', 0);
  open.push(() => server.close());
  /** A connection, and everything that comes back until the other side ends it. */
  const dial = async (source: string = ONE) => {
    const socket: Socket = connect({ port, host: '127.0.0.1', localAddress: source });
    let text = '';
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    const ended = new Promise<string>((resolve) => {
      socket.on('close', () => resolve(text)).on('error', () => undefined);
    });
    open.push(async () => socket.destroy());
    await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
    return { socket, ended, text: () => text };
  };
  const ask = async (source: string, path = '/') => {
    const { socket, ended } = await dial(source);
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    return ended;
  };
  return { dial, ask, clock, port };
}

const status = (text: string) => Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);

test('what is no HTTP, or too much of it, is refused and ends', async () => {
  const { dial, ask } = await serve();
  for (const [bytes, expected] of [
    ['\x16\x03\x01\x00\xa5\x01\x00\x00', 400],
    ['GET\r\n\r\n', 400],
    [`GET /${'a'.repeat(20_000)} HTTP/1.1\r\nHost: x\r\n\r\n`, 431],
    [`GET / HTTP/1.1\r\nHost: x\r\n${'A: b\r\n'.repeat(5_000)}\r\n`, 431],
    ['GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', 400],
    ['PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n', 413],
    ['PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n', 413],
    ['PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n', 413],
    ['GET /broken HTTP/1.1\r\nHost: x\r\n\r\n', 500],
  ] as const) {
    const { socket, ended } = await dial();
    socket.write(bytes);
    const text = await ended;
    expect(status(text), bytes.slice(0, 60)).toBe(expected);
    expect(text).not.toContain('not now');
  }
  for (const bytes of ['CONNECT 10.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n', 'GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n']) {
    const { socket, ended } = await dial();
    socket.write(bytes);
    expect(await ended).not.toContain(' 101 ');
  }
  expect(status(await ask(TWO))).toBe(200);
});

test('slow ones are cut off, others are served meanwhile', async () => {
  const { dial, ask } = await serve({ headers: 300, request: 400, keepAlive: 300, silence: 500 });
  const dripping = await dial();
  const drip = setInterval(() => dripping.socket.write('a'), 50);
  dripping.socket.write('GET / HTTP/1.1\r\nHost: x\r\nA: ');
  const silentOne = await dial();
  const idle = await dial();
  idle.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  expect(status(await ask(TWO))).toBe(200);
  await Promise.all([dripping.ended, silentOne.ended, idle.ended]);
  clearInterval(drip);
  expect(status(idle.text())).toBe(200);
  expect(status(dripping.text())).not.toBe(200);
});

test('who does not read the answers is cut off', async () => {
  const { dial, ask } = await serve({ silence: 1_000, burst: 100_000 }, 'x'.repeat(65_536));
  const { socket, ended } = await dial();
  socket.pause();
  socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(1_000));
  expect(status(await ask(TWO))).toBe(200);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  socket.resume();
  expect((await ended).length).toBeLessThan(1_000 * 65_536);
});

test('one instance has so many connections and requests, and takes none from another', async () => {
  const { dial, ask, clock } = await serve({ connectionsOfOne: 4, burst: 10, rate: 2, refusals: 6 });
  const held = await Promise.all(Array.from({ length: 4 }, () => dial()));
  expect(await ask(ONE)).toBe('');
  expect(status(await ask(TWO))).toBe(200);
  for (const { socket } of held) socket.destroy();
  await Promise.all(held.map(({ ended }) => ended));
  const statuses: number[] = [];
  while (statuses.length < 14) statuses.push(status(await ask(ONE)));
  expect(statuses.filter((each) => each === 200)).toHaveLength(10);
  expect(statuses.at(-1)).toBe(503);
  expect(status(await ask(TWO))).toBe(200);
  // Who goes on all the same is not even answered, until it has waited for what it took too much.
  expect(status(await ask(ONE))).toBe(503);
  expect(await ask(ONE)).toBe('');
  await clock.advance(3_500);
  expect([status(await ask(ONE)), status(await ask(ONE)), status(await ask(ONE))]).toEqual([200, 200, 503]);
});
