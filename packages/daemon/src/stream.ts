// Streams: items as server-sent events, or the same items as messages of a WebSocket. A slow reader slows the source down; nothing is queued for it.
import type { ServerResponse } from 'node:http';
import type { Log } from '@thecloud/core';
import { HEADER } from '@thecloud/core/contracts';
import type { WebSocket } from 'ws';
import type { OpenCalls } from './calls.ts';
import { faultOf } from './faults.ts';
import { send } from './socket.ts';

export interface StreamContext {
  requestId: string;
  calls: OpenCalls;
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
export async function serveEvents(items: AsyncIterable<unknown>, response: ServerResponse, { requestId, calls, log }: StreamContext): Promise<void> {
  const write = async (text: string): Promise<void> => {
    if (!response.write(text)) await drained(response);
  };
  response.writeHead(200, {
    'content-type': 'text/event-stream; charset=utf-8',
    'cache-control': 'no-store',
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
    if (calls.stopped !== undefined) throw calls.stopped;
  } catch (error) {
    if (response.destroyed) return;
    const fault = faultOf(calls.stopped ?? error, requestId, log);
    await write(`event: error\ndata: ${JSON.stringify(fault.toJSON())}\n\n`);
  } finally {
    clearInterval(heartbeat);
    response.end();
  }
}

/** The same over a WebSocket: an item a message, an error as a last `{ "error": … }`. */
export async function serveMessages(items: AsyncIterable<unknown>, socket: WebSocket, { requestId, calls, log }: StreamContext): Promise<void> {
  const open = () => socket.readyState === socket.OPEN;
  socket.resume();
  try {
    for await (const item of items) {
      if (!open()) return;
      await send(socket, JSON.stringify(item));
    }
    if (calls.stopped !== undefined) throw calls.stopped;
    socket.close(1000);
  } catch (error) {
    if (!open()) return;
    const fault = faultOf(calls.stopped ?? error, requestId, log);
    await send(socket, JSON.stringify({ error: fault.toJSON() }));
    socket.close(1011);
  }
}
