// The client's end of a channel: two outputs and an input over one WebSocket. Whoever does not read stops the far end from writing, as with a pipe.
import type { Readable, Writable } from 'node:stream';
import { CHANNEL_PROTOCOL, type Channel, type ChannelFrame, Fault, frame, PIPE, type Request } from '@thecloud/core/contracts';
import type { RawData, WebSocket } from 'ws';
import { closedEarly } from './exchange.ts';
import { faultOfAnswer, nameOf, type Place, type Prepared, prepare, refusesToken, textOf, unreachable } from './http.ts';

const FRAME_BYTES = 64 * 1024;
const MESSAGE_LIMIT = 1024 * 1024;

async function connectSocket(place: Place, request: Request): Promise<WebSocket> {
  const prepared = prepare(place, request);
  const { signal } = request.options;
  signal?.throwIfAborted();
  const token = await place.bearer?.get(signal);
  try {
    return await upgrade(place, prepared, token, signal);
  } catch (error) {
    if (!(error instanceof TokenRefused) || token === undefined) throw error instanceof TokenRefused ? error.fault : error;
    const another = await place.bearer?.renew(token, signal);
    if (another === undefined) throw error.fault;
    return upgrade(place, prepared, another, signal).catch((again: unknown) => {
      throw again instanceof TokenRefused ? again.fault : again;
    });
  }
}

class TokenRefused extends Error {
  readonly fault: Fault;
  constructor(fault: Fault) {
    super(fault.message);
    this.fault = fault;
  }
}

/** Rejects with TokenRefused when another token may do. */
async function upgrade(place: Place, { path, headers }: Prepared, token: string | undefined, signal: AbortSignal | undefined): Promise<WebSocket> {
  const [{ WebSocket }, net] = await Promise.all([import('ws'), import('node:net')]);
  signal?.throwIfAborted();
  const { accept: _, ...rest } = headers;
  const origin = place.url === undefined ? 'ws://localhost' : place.url.origin.replace(/^http/, 'ws');
  const { socketPath } = place;
  const socket = new WebSocket(`${origin}${path}`, CHANNEL_PROTOCOL, {
    headers: token === undefined ? rest : { ...rest, authorization: `Bearer ${token}` },
    perMessageDeflate: false,
    maxPayload: MESSAGE_LIMIT,
    ...(socketPath === undefined ? {} : { createConnection: () => net.connect(socketPath) }),
  });
  return new Promise((resolve, reject) => {
    const onAbort = () => socket.terminate();
    signal?.addEventListener('abort', onAbort, { once: true });
    const settle = (act: () => void) => {
      signal?.removeEventListener('abort', onAbort);
      act();
    };
    socket.once('open', () => {
      // Frames may follow the handshake at once; they must not come before there is somebody to take them.
      socket.pause();
      settle(() => resolve(socket));
    });
    socket.on('error', (error) => settle(() => reject(signal?.aborted ? signal.reason : unreachable(place, error))));
    socket.once('unexpected-response', (_request, response) => {
      textOf(response).then(
        (text) => {
          const fault = faultOfAnswer(place, response.statusCode ?? 0, text);
          settle(() => reject(refusesToken(response) ? new TokenRefused(fault) : fault));
        },
        (error: NodeJS.ErrnoException) => settle(() => reject(unreachable(place, error))),
      );
    });
  });
}

export async function openChannel(place: Place, request: Request): Promise<Channel> {
  const socket = await connectSocket(place, request);
  const { Readable, Writable } = await import('node:stream');
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  promise.catch(() => {}); // whoever awaits it learns of it; a channel that nobody awaits must not end the process

  const full = new Set<Readable>();
  const source = (): Readable => {
    const goOn = () => {
      full.delete(stream);
      if (full.size === 0) socket.resume();
    };
    const stream = new Readable({
      read: goOn,
      destroy(problem, done) {
        goOn();
        done(problem);
      },
    });
    // `result` tells what went wrong; iterating over the stream tells it too.
    return stream.on('error', () => {});
  };
  const output = source();
  const error = source();
  const write = (data: Uint8Array | string): Promise<void> =>
    new Promise((done, failed) => socket.send(data, (problem) => (problem ? failed(unreachable(place, problem)) : done())));
  const say = (message: ChannelFrame): void => void write(JSON.stringify(message)).catch(finish);

  const input: Writable = new Writable({
    highWaterMark: FRAME_BYTES,
    write(chunk: Uint8Array, _encoding, done) {
      (async () => {
        for (let at = 0; at < chunk.length; at += FRAME_BYTES) await write(frame(PIPE.input, chunk.subarray(at, at + FRAME_BYTES)));
      })().then(() => done(), done);
    },
    final(done) {
      write(JSON.stringify({ type: 'end', pipe: PIPE.input } satisfies ChannelFrame)).then(() => done(), done);
    },
  });
  // A program may end before all of its input was sent; that is for `result` to judge.
  input.on('error', () => {});

  let over = false;
  /** Once: what comes first decides. */
  function finish(fault?: unknown): void {
    if (over) return;
    over = true;
    signal?.removeEventListener('abort', onAbort);
    if (fault === undefined) return;
    reject(fault);
    for (const stream of [output, error, input]) stream.destroy(fault as Error);
    socket.terminate();
  }

  function take(pipe: Readable, bytes: Buffer): void {
    if (pipe.destroyed || pipe.push(bytes)) return;
    full.add(pipe);
    socket.pause();
  }
  function hear(message: ChannelFrame): void {
    if (message.type === 'end') (message.pipe === PIPE.error ? error : output).push(null);
    else if (message.type === 'error') finish(Fault.from(message.error));
    else if (message.type === 'result') {
      finish();
      resolve(message.result);
      input.destroy();
      socket.close(1000);
    }
  }
  socket.on('message', (data: RawData, binary: boolean) => {
    const bytes = data as Buffer;
    if (!binary) hear(JSON.parse(bytes.toString('utf8')) as ChannelFrame);
    else take(bytes[0] === PIPE.error ? error : output, bytes.subarray(1));
  });
  socket.on('error', (problem) => finish(unreachable(place, problem)));
  socket.on('close', () => finish(new Fault('unavailable', `${nameOf(place)} ended the channel without a result`)));

  const { signal } = request.options;
  const onAbort = () => finish(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted) onAbort();
  socket.resume();

  return {
    input,
    output,
    error,
    control: (control) => say({ type: 'control', control }),
    result: promise,
    close: () => finish(closedEarly()),
  };
}
