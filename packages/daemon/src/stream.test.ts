// Streams and channels by raw connections: slow readers, half-closed channels, clients and far ends that vanish.
import { once } from 'node:events';
import { connect } from 'node:net';
import { PassThrough } from 'node:stream';
import { CHANNEL_PROTOCOL, type Channel, type ChannelFrame, type Control, Fault, frame, STREAM_PROTOCOL } from '@thecloud/core/contracts';
import { describe, expect, it } from 'vitest';
import { WebSocket } from 'ws';
import { ask, type Bench, bench, until } from './testbench.ts';

/** As a core's channel, with the far end in the test's hands. */
function farEnd() {
  const input = new PassThrough();
  const output = new PassThrough();
  const error = new PassThrough();
  const { promise: result, resolve, reject } = Promise.withResolvers<unknown>();
  result.catch(() => {});
  const controls: Control[] = [];
  const state = { closed: 0 };
  const channel: Channel = {
    input,
    output,
    error,
    control: (message) => controls.push(message),
    result,
    close: () => {
      state.closed++;
      output.destroy();
      error.destroy();
      input.destroy();
      reject(new Fault('conflict', 'closed'));
    },
  };
  return { channel, input, output, error, controls, state, resolve, reject };
}

/** Paused, so that nothing is missed; `gather` and `resume` let it go on. */
const open = async ({ daemon }: Bench, path: string, protocol: string): Promise<WebSocket> => {
  const socket = new WebSocket('ws://localhost' + path, protocol, { createConnection: () => connect(daemon.socketPath) });
  socket.once('open', () => socket.pause());
  await once(socket, 'open');
  return socket;
};

/** All that comes until the socket closes. */
function gather(socket: WebSocket) {
  const text: unknown[] = [];
  const bytes: Record<number, string> = {};
  socket.on('message', (data: Buffer, binary: boolean) => {
    if (!binary) text.push(JSON.parse(data.toString()));
    else bytes[data[0] as number] = (bytes[data[0] as number] ?? '') + data.subarray(1).toString();
  });
  socket.resume();
  return { text, bytes, closed: once(socket, 'close').then(([code]) => code as number) };
}

const EXEC = '/v1/instances/web/exec?command=sh';

describe('server-sent events', () => {
  it('sends each item, and ends when the items do', async () => {
    await using b = await bench({
      stream: async function* () {
        yield { text: 'one\ntwo' };
        yield { text: 'ü' };
      },
    });
    const answer = await ask(b, 'GET', '/v1/instances/web/logs?follow=true&tail=3');
    expect(answer).toMatchObject({ status: 200, headers: { 'content-type': 'text/event-stream; charset=utf-8' } });
    expect(answer.text).toBe('data: {"text":"one\\ntwo"}\n\ndata: {"text":"ü"}\n\n');
    expect(b.calls[0]).toMatchObject({ service: 'instance', operation: 'logs', target: 'web', input: { follow: true, tail: 3 } });
  });

  it('answers as usual when the stream does not open', async () => {
    await using b = await bench({
      stream: () => {
        throw new Fault('not_found', 'There is no instance "web"');
      },
    });
    expect(await ask(b, 'GET', '/v1/instances/web/logs')).toMatchObject({ status: 404, json: { error: { code: 'not_found' } } });
  });

  it('tells of a failure on the way as an event', async () => {
    await using b = await bench({
      stream: async function* () {
        yield 1;
        throw new Fault('unavailable', 'Docker went away');
      },
    });
    const { text } = await ask(b, 'GET', '/v1/events/watch', { headers: { 'x-request-id': 'r1' } });
    expect(text).toBe('data: 1\n\nevent: error\ndata: {"code":"unavailable","message":"Docker went away","requestId":"r1"}\n\n');
  });

  it('does not run ahead of a slow reader, and stops when it goes', async () => {
    let made = 0;
    let ended = false;
    const line = 'x'.repeat(10_000);
    await using b = await bench({
      stream: async function* () {
        try {
          for (;;) {
            made++;
            yield line;
          }
        } finally {
          ended = true;
        }
      },
    });
    const socket = connect(b.daemon.socketPath, () => socket.write('GET /v1/instances/web/logs?follow=true HTTP/1.1\r\nHost: x\r\n\r\n'));
    socket.pause();
    // The kernel's buffers fill, and then nothing more is made.
    let before = -1;
    await until(async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const still = made > 0 && made === before;
      before = made;
      return still;
    });
    expect(made * line.length, 'bytes made for nobody').toBeLessThan(8 * 1024 * 1024);
    socket.destroy();
    await until(() => ended);
    expect(b.calls[0]?.signal?.aborted).toBe(true);
  });

  it('is told when the daemon stops', async () => {
    const b = await bench({
      stream: async function* ({ signal }) {
        yield 1;
        await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
      },
    });
    const answer = ask(b, 'GET', '/v1/events/watch');
    await until(() => b.calls.length === 1);
    await b[Symbol.asyncDispose]();
    expect((await answer).text).toMatch(/^data: 1\n\nevent: error\ndata: \{"code":"unavailable"/);
  });

  it('gives the same items over a WebSocket', async () => {
    await using b = await bench({
      stream: async function* () {
        yield { n: 1 };
        yield { n: 2 };
        throw new Fault('unavailable', 'away');
      },
    });
    const { text, closed } = gather(await open(b, '/v1/events/watch?type=instance.*', STREAM_PROTOCOL));
    expect(await closed).toBe(1011);
    expect(text).toEqual([{ n: 1 }, { n: 2 }, { error: { code: 'unavailable', message: 'away', requestId: expect.any(String) as string } }]);
    expect(b.calls[0]?.input).toEqual({ type: 'instance.*' });
  });

  it('ends the source when a WebSocket client goes', async () => {
    await using b = await bench({
      stream: async function* ({ signal }) {
        yield 1;
        await new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve()));
      },
    });
    const socket = await open(b, '/v1/events/watch', STREAM_PROTOCOL);
    const first = once(socket, 'message');
    socket.resume();
    await first;
    socket.terminate();
    await until(() => b.calls[0]?.signal?.aborted === true);
  });
});

describe('channels', () => {
  it('carries bytes, controls, ends and the result', async () => {
    const far = farEnd();
    await using b = await bench({ channel: () => far.channel });
    const socket = await open(b, '/v1/instances/ghcr.io%2Fx/exec?command=sh&command=-c&tty=true&env=%7B%22A%22%3A%22b%22%7D', CHANNEL_PROTOCOL);
    expect(b.calls[0]).toMatchObject({ operation: 'exec', target: 'ghcr.io/x', input: { command: ['sh', '-c'], tty: true, env: { A: 'b' } } });
    const { text, bytes, closed } = gather(socket);
    socket.send(frame(0, Buffer.from('to far')));
    socket.send(JSON.stringify({ type: 'control', control: { type: 'resize', columns: 80, rows: 24 } }));
    expect(((await once(far.input, 'data')) as [Buffer])[0].toString()).toBe('to far');
    // Half-closed: the input has ended, the outputs go on.
    socket.send(JSON.stringify({ type: 'end', pipe: 0 } satisfies ChannelFrame));
    await once(far.input, 'end');
    expect(far.controls).toEqual([{ type: 'resize', columns: 80, rows: 24 }]);
    far.output.end('from far');
    far.error.end('problems');
    far.resolve({ exitCode: 3 });
    expect(await closed).toBe(1000);
    expect(bytes).toEqual({ 1: 'from far', 2: 'problems' });
    expect(text).toHaveLength(3);
    expect(text.at(-1)).toEqual({ type: 'result', result: { exitCode: 3 } });
    expect(text).toEqual(
      expect.arrayContaining([
        { type: 'end', pipe: 1 },
        { type: 'end', pipe: 2 },
      ]),
    );
  });

  it('ends the far end when the client vanishes', async () => {
    const far = farEnd();
    await using b = await bench({ channel: () => far.channel });
    const socket = await open(b, EXEC, CHANNEL_PROTOCOL);
    socket.terminate();
    await until(() => far.state.closed > 0);
  });

  it('tells of a failure as the last frame', async () => {
    const far = farEnd();
    await using b = await bench({ channel: () => far.channel });
    const { text, closed } = gather(await open(b, EXEC, CHANNEL_PROTOCOL));
    far.output.destroy();
    far.error.end();
    far.reject(new Fault('conflict', 'web was stopped'));
    expect(await closed).toBe(1011);
    expect(text.at(-1)).toMatchObject({ type: 'error', error: { code: 'conflict', message: 'web was stopped' } });
  });

  it('honours a far end that does not read, and a client that does not', async () => {
    const far = farEnd();
    await using b = await bench({ channel: () => far.channel });
    const socket = await open(b, EXEC, CHANNEL_PROTOCOL);
    const chunk = Buffer.alloc(64 * 1024, 120);
    // Towards the far end, which reads nothing: the client's own socket fills up.
    for (let count = 0; count < 400; count++) socket.send(frame(0, chunk));
    await until(async () => {
      const before = socket.bufferedAmount;
      await new Promise((resolve) => setTimeout(resolve, 100));
      return socket.bufferedAmount === before && before > 0;
    });
    expect(far.input.readableLength + far.input.writableLength).toBeLessThan(1024 * 1024);
    // And back, with a client that reads nothing.
    socket.pause();
    let written = 0;
    let full = false;
    while (!full && written < 50_000_000) {
      full = !far.output.write(chunk);
      written += chunk.length;
      if (full)
        full = await Promise.race([once(far.output, 'drain').then(() => false), new Promise<boolean>((resolve) => setTimeout(() => resolve(true), 300))]);
    }
    expect(full).toBe(true);
    expect(written).toBeLessThan(8 * 1024 * 1024);
    // Both go on when the other side does.
    far.input.resume();
    await until(() => socket.bufferedAmount === 0);
    const { bytes, closed } = gather(socket);
    far.output.end();
    far.error.end();
    far.resolve({});
    expect(await closed).toBe(1000);
    expect(bytes[1]?.length).toBe(written);
  });

  it('goes on when the far end has closed its input', async () => {
    const far = farEnd();
    await using b = await bench({ channel: () => far.channel });
    const socket = await open(b, EXEC, CHANNEL_PROTOCOL);
    const { bytes, closed } = gather(socket);
    far.input.destroy();
    for (let count = 0; count < 50; count++) socket.send(frame(0, Buffer.alloc(64 * 1024)));
    far.output.end('still here');
    far.error.end();
    far.resolve({});
    expect(await closed).toBe(1000);
    expect(bytes[1]).toBe('still here');
  });

  it.each([
    ['bytes to an output', frame(1, Buffer.from('x'))],
    ['text that is no frame', 'hello'],
    ['an unknown frame', '{"type":"dance"}'],
    ['an impossible size', '{"type":"control","control":{"type":"resize","columns":0,"rows":1}}'],
  ])('refuses %s', async (_, message) => {
    const far = farEnd();
    await using b = await bench({ channel: () => far.channel });
    const socket = await open(b, EXEC, CHANNEL_PROTOCOL);
    const { text, closed } = gather(socket);
    socket.send(message);
    expect(await closed).toBe(1011);
    expect(text.at(-1)).toMatchObject({ type: 'error', error: { code: 'invalid_input' } });
    expect(far.state.closed).toBeGreaterThan(0);
  });

  it('is told when the daemon stops', async () => {
    const far = farEnd();
    const b = await bench({ channel: () => far.channel });
    const { text, closed } = gather(await open(b, EXEC, CHANNEL_PROTOCOL));
    await b[Symbol.asyncDispose]();
    await closed;
    expect(text.at(-1)).toMatchObject({ type: 'error', error: { code: 'unavailable', message: 'The daemon is stopping' } });
  });
});

describe('before the upgrade', () => {
  const handshake = (b: Bench, path: string, headers: Record<string, string> = {}, port?: number) =>
    ask(b, 'GET', path, {
      headers: {
        connection: 'Upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
        'sec-websocket-protocol': CHANNEL_PROTOCOL,
        ...headers,
      },
      ...(port === undefined ? {} : { port }),
    });

  it.each([
    ['a fault of the core', EXEC, {}, 409, 'conflict'],
    ['no such path', '/v1/instances/web/exce?command=sh', {}, 404, 'not_found'],
    ['a path that needs none', '/v1/vpcs', {}, 400, 'invalid_input'],
    ['another subprotocol', EXEC, { 'sec-websocket-protocol': 'chat' }, 400, 'invalid_input'],
    ['another version', EXEC, { 'sec-websocket-version': '8' }, 400, 'invalid_input'],
    ['another upgrade', EXEC, { upgrade: 'h2c' }, 400, 'invalid_input'],
  ])('answers %s as HTTP', async (_, path, headers, status, code) => {
    await using b = await bench({
      channel: () => {
        throw new Fault('conflict', 'web is stopped', { hint: 'cloud instance start web' });
      },
    });
    const answer = await handshake(b, path, headers as Record<string, string>);
    expect(answer).toMatchObject({ status, json: { error: { code, requestId: answer.headers['x-request-id'] } } });
  });

  it('speaks the subprotocol of the endpoint, wherever in the offer it stands', async () => {
    await using b = await bench({
      stream: async function* () {
        yield 1;
      },
    });
    const socket = new WebSocket('ws://localhost/v1/events/watch', ['chat', CHANNEL_PROTOCOL, STREAM_PROTOCOL], {
      createConnection: () => connect(b.daemon.socketPath),
    });
    await once(socket, 'open');
    expect(socket.protocol).toBe(STREAM_PROTOCOL);
    socket.terminate();
  });

  it('asks for credentials over TCP', async () => {
    await using b = await bench({ channel: () => farEnd().channel }, { listen: '0' });
    const answer = await handshake(b, EXEC, {}, b.daemon.address?.port);
    expect(answer).toMatchObject({ status: 401, json: { error: { code: 'unauthenticated' } } });
    expect(b.calls).toHaveLength(0);
  });
});
