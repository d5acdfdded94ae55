// Streams: items as server-sent events, or the same items as messages of a WebSocket. A slow reader slows the source down; nothing is queued for it.
import type { ServerResponse } from 'node:http';
import type { Log } from '@thecloud/core';
import { HEADER } from '@thecloud/core/contracts';
import type { WebSocket } from 'ws';
import type { OpenCall } from './calls.ts';
import { faultOf, SECURITY_HEADERS } from './faults.ts';
import { send } from './socket.ts';

export interface StreamContext {
  requestId: string;
  call: OpenCall;
  log: Log;
}

/** So that proxies and clients can tell a quiet stream from a dead one. */
const HEARTBEAT_MS = 15_000;

const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const settle = () => {
      response.off('drain', settle).off('close', settle);
      resolve();
    };
    response.once('drain', settle).once('close', settle);
  });

/** Writes until the items end, fail, or the client is gone. An end without an `error` event is the end of the items. */
export async function serveEvents(
  items: AsyncIterable<unknown>,
  response: ServerResponse,
  { requestId, call, log, headers }: StreamContext & { headers: Record<string, string> },
): Promise<void> {
  const write = async (text: string): Promise<void> => {
    if (!response.write(text)) await drained(response);
  };
  response.writeHead(200, {
    ...SECURITY_HEADERS,
    ...headers,
    'content-type': 'text/event-stream; charset=utf-8',
    'x-accel-buffering': 'no',
    [HEADER.requestId]: requestId,
  });
  response.flushHeaders();
  const heartbeat = setInterval(() => {
    if (!response.writableNeedDrain) response.write(':\n\n');
  }, HEARTBEAT_MS);
  try {
    for await (const item of items) {
      if (response.destroyed) return;
      await write(`data: ${JSON.stringify(item)}\n\n`);
    }
    if (call.ended !== undefined) throw call.ended;
  } catch (error) {
    if (response.destroyed) return;
    const fault = faultOf(call.ended ?? error, requestId, log);
    await write(`event: error\ndata: ${JSON.stringify(fault.toJSON())}\n\n`);
  } finally {
    clearInterval(heartbeat);
    response.end();
  }
}

/** The same over a WebSocket: an item a message, an error as a last `{ "error": … }`. */
export async function serveMessages(items: AsyncIterable<unknown>, socket: WebSocket, { requestId, call, log }: StreamContext): Promise<void> {
  const open = () => socket.readyState === socket.OPEN;
  socket.resume();
  try {
    for await (const item of items) {
      if (!open()) return;
      await send(socket, JSON.stringify(item));
    }
    if (call.ended !== undefined) throw call.ended;
    socket.close(1000);
  } catch (error) {
    if (!open()) return;
    const fault = faultOf(call.ended ?? error, requestId, log);
    await send(socket, JSON.stringify({ error: fault.toJSON() }));
    socket.close(1011);
  }
}
