// The client's side of a channel: bytes both ways and a result, over a WebSocket. Slow readers slow the sender down in both directions.
import { Readable, Writable } from 'node:stream';
import { CHANNEL_PROTOCOL, type Channel, type ChannelFrame, Fault, type FaultBody, frame, PIPE } from '@thecloud/core/contracts';
import WebSocket from 'ws';
import { unreachable } from './http.ts';
import { faultFrom, pathOf, type Remote } from './remote.ts';
import type { OperationSpec } from './table.ts';

/** Larger pieces are cut, so that no message outgrows the daemon's limit. */
const PIECE = 64 * 1024;

export async function openChannel<R>(
  remote: Remote,
  operation: OperationSpec,
  target: string | undefined,
  input: Record<string, unknown>,
): Promise<Channel<R>> {
  const authorization = await remote.authorization(operation);
  try {
    return await channelWith<R>(remote, pathOf(operation, target, input), authorization);
  } catch (error) {
    const other = error instanceof Fault && error.code === 'unauthenticated' ? await remote.renewed(authorization) : undefined;
    if (other === undefined) throw error;
    return channelWith<R>(remote, pathOf(operation, target, input), other);
  }
}

async function channelWith<R>(remote: Remote, path: string, authorization: string | undefined): Promise<Channel<R>> {
  const { endpoint } = remote.settings;
  const address = 'socket' in endpoint ? `ws+unix://${endpoint.socket}:${path}` : `${endpoint.url.replace(/^http/, 'ws')}${path}`;
  const headers = remote.headers(authorization);
  const socket = new WebSocket(address, [CHANNEL_PROTOCOL], { headers, perMessageDeflate: false, maxPayload: 4 * 1024 * 1024 });
  socket.on('error', () => undefined); // told through `opened` and `result`
  const opened = new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', (error) => reject(unreachable(endpoint, error)));
    socket.once('unexpected-response', (_, response) => {
      const parts: Buffer[] = [];
      response.on('data', (bytes: Buffer) => parts.push(bytes));
      response.on('end', () => {
        const entries = Object.entries(response.headers).map(([name, value]) => [name, String(value)] as const);
        reject(faultFrom({ status: response.statusCode ?? 0, headers: new Map(entries), body: Buffer.concat(parts).toString('utf8') }));
      });
    });
  });
  const channel = channelOver<R>(socket);
  await opened;
  return channel;
}

function channelOver<R>(socket: WebSocket): Channel<R> {
  const send = (data: Uint8Array | string): Promise<void> =>
    new Promise((resolve, reject) => {
      if (socket.readyState !== WebSocket.OPEN) return reject(new Fault('unavailable', 'The connection to the daemon is closed'));
      socket.send(data, (error) => (error ? reject(error) : resolve()));
    });

  const pipes = [PIPE.output, PIPE.error].map((pipe) => new Readable({ read: () => resume(pipe) }));
  const [output, error] = pipes as [Readable, Readable];
  const full = new Set<number>();
  const resume = (pipe: number): void => {
    full.delete(pipe);
    if (full.size === 0) socket.resume();
  };

  const input = new Writable({
    write(bytes: Buffer, _, done) {
      (async () => {
        for (let at = 0; at < bytes.length; at += PIECE) await send(frame(PIPE.input, bytes.subarray(at, at + PIECE)));
      })().then(() => done(), done);
    },
    final(done) {
      send(JSON.stringify({ type: 'end', pipe: PIPE.input } satisfies ChannelFrame)).then(
        () => done(),
        () => done(),
      ); // a far end that is done needs no end
    },
  });
  input.on('error', () => undefined); // the far end may close its input first; the result tells what became of it

  const result = new Promise<R>((resolve, reject) => {
    let settled: { value: R } | { fault: FaultBody } | undefined;
    socket.on('message', (data, binary) => {
      const bytes = data as Buffer;
      if (binary) {
        const pipe = bytes[0] ?? -1;
        const to = pipe === PIPE.output ? output : pipe === PIPE.error ? error : undefined;
        if (to !== undefined && !to.readableEnded && !to.push(bytes.subarray(1))) {
          full.add(pipe);
          socket.pause();
        }
        return;
      }
      const message = JSON.parse(bytes.toString('utf8')) as ChannelFrame;
      if (message.type === 'end') {
        (message.pipe === PIPE.error ? error : output).push(null);
        resume(message.pipe); // a stream that has its end does not ask for more
      }
      if (message.type === 'result') settled = { value: message.result as R };
      else if (message.type === 'error') settled = { fault: message.error };
    });
    socket.on('close', () => {
      for (const pipe of pipes) if (!pipe.readableEnded) pipe.push(null);
      input.destroy();
      if (settled === undefined) reject(new Fault('unavailable', 'The connection to the daemon broke off', { hint: 'cloud daemon status' }));
      else if ('value' in settled) resolve(settled.value);
      else reject(Fault.from(settled.fault));
    });
  });
  result.catch(() => undefined); // whoever awaits it hears of it; until then it is not unhandled

  return {
    input,
    output,
    error,
    control: (control) => void send(JSON.stringify({ type: 'control', control } satisfies ChannelFrame)).catch(() => undefined),
    result,
    close: () => socket.terminate(),
  };
}
