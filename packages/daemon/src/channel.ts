// A channel over a WebSocket: bytes are passed on as fast as the slower side takes them, each direction ends by itself, and a client that goes takes the far end with it.
import type { Readable } from 'node:stream';
import { type Channel, type ChannelFrame, type Control, Fault, frame, PIPE } from '@thecloud/core/contracts';
import type { RawData, WebSocket } from 'ws';
import { faultOf } from './faults.ts';
import { FRAME_BYTES, send } from './socket.ts';
import type { StreamContext } from './stream.ts';

/** Ends when the result is delivered or the client is gone; the far end is then at its end too. */
export async function serveChannel(channel: Channel, socket: WebSocket, { requestId, call, log }: StreamContext): Promise<void> {
  const say = (message: ChannelFrame): Promise<void> => send(socket, JSON.stringify(message));
  let broken: Fault | undefined;
  const giveUp = (fault?: Fault): void => {
    broken ??= fault;
    channel.close();
  };
  const onStop = () => giveUp(call.ended);
  call.signal.addEventListener('abort', onStop, { once: true });
  socket.on('close', () => giveUp());
  // A program may close its input and go on: what the client still sends is then for nobody.
  channel.input.on('error', (error) => log.debug({ requestId, err: error }, 'channel input closed'));

  socket.on('message', (data: RawData, binary: boolean) => {
    const bytes = data as Buffer;
    if (binary) {
      if (bytes[0] !== PIPE.input) return giveUp(new Fault('invalid_input', 'A client sends bytes to pipe 0 only'));
      if (!channel.input.writable || channel.input.write(bytes.subarray(1))) return;
      socket.pause();
      const go = () => {
        channel.input.off('drain', go).off('close', go);
        socket.resume();
      };
      channel.input.once('drain', go).once('close', go);
      return;
    }
    const message = controlOf(bytes.toString('utf8'));
    if (message === undefined) giveUp(new Fault('invalid_input', 'This control frame is not known; send `end` of pipe 0 or `control`'));
    else if (message === 'end') channel.input.end();
    else channel.control(message);
  });

  socket.resume();

  const pump = async (pipe: 1 | 2, source: Readable): Promise<void> => {
    for await (const chunk of source) {
      const bytes = chunk as Buffer;
      for (let at = 0; at < bytes.length; at += FRAME_BYTES) await send(socket, frame(pipe, bytes.subarray(at, at + FRAME_BYTES)));
    }
    await say({ type: 'end', pipe });
  };
  const pumps = Promise.all([pump(PIPE.output, channel.output), pump(PIPE.error, channel.error)]);
  // The result tells more than a broken output does, so it is asked first.
  pumps.catch((error: unknown) => log.debug({ requestId, err: error }, 'channel output broke'));
  try {
    const result = await channel.result;
    await pumps;
    if (broken !== undefined) throw broken;
    await say({ type: 'result', result });
    socket.close(1000);
  } catch (error) {
    channel.close();
    if (socket.readyState !== socket.OPEN) return;
    await say({ type: 'error', error: faultOf(broken ?? error, requestId, log).toJSON() });
    socket.close(1011);
  } finally {
    call.signal.removeEventListener('abort', onStop);
  }
}

const size = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 10_000;

function controlOf(text: string): Control | 'end' | undefined {
  let message: { type?: unknown; pipe?: unknown; control?: { type?: unknown; columns?: unknown; rows?: unknown } };
  try {
    message = JSON.parse(text);
  } catch {
    return undefined; // the caller says what was expected
  }
  if (message?.type === 'end' && message.pipe === PIPE.input) return 'end';
  const control = message?.type === 'control' ? message.control : undefined;
  if (control?.type === 'resize' && size(control.columns) && size(control.rows)) return { type: 'resize', columns: control.columns, rows: control.rows };
  return undefined;
}
