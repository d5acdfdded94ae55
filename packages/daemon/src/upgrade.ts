// WebSockets: streams and channels. Whatever is wrong is answered as ordinary HTTP before the upgrade; after it, the far end is open.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { CHANNEL_PROTOCOL, Fault, STREAM_PROTOCOL } from '@thecloud/core/contracts';
import { type WebSocket, WebSocketServer } from 'ws';
import { mustBeKnown, RECHECK_MS } from './access.ts';
import { type AppOptions, doorOf, whileGood } from './app.ts';
import { serveChannel } from './channel.ts';
import { unknownRoute, upgradeOf } from './endpoints.ts';
import { type ErrorAnswer, errorAnswer, faultOf, rawAnswer } from './faults.ts';
import { invocationOf, pathOf, requestIdOf } from './headers.ts';
import { MESSAGE_LIMIT } from './socket.ts';
import { serveMessages } from './stream.ts';

export interface Upgrades {
  handle(request: IncomingMessage, socket: Socket, head: Buffer): void;
  /** Cuts what is still open. */
  terminate(): void;
}

export function createUpgrades({ core, log, access, calls, web, recheckMs = RECHECK_MS }: AppOptions): Upgrades {
  // Whatever else a client offers, and in whatever order: what is spoken is what it is told.
  const spoken = new WeakMap<IncomingMessage, string>();
  const handleProtocols = (_offered: Set<string>, request: IncomingMessage) => spoken.get(request) ?? false;
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MESSAGE_LIMIT, perMessageDeflate: false, clientTracking: true, handleProtocols });

  /** Throws what is to be answered in place of the upgrade. */
  async function serve(request: IncomingMessage, socket: Socket, head: Buffer, requestId: string): Promise<void> {
    const door = doorOf(access, web, request, true);
    const path = pathOf(request.url);
    const found = upgradeOf(path);
    const caller = await door.authenticate(request, found?.endpoint);
    if (found?.endpoint.operation.access !== 'anonymous') mustBeKnown(caller);
    if (found === undefined) throw unknownUpgrade(request.method ?? 'GET', path);
    const { endpoint, target } = found;
    const protocol = endpoint.operation.kind === 'channel' ? CHANNEL_PROTOCOL : STREAM_PROTOCOL;
    checkHandshake(request, protocol);
    spoken.set(request, protocol);
    const call = calls.open();
    socket.once('close', call.abort);
    try {
      const invocation = invocationOf(endpoint, request, { caller, requestId, target, signal: call.signal });
      const context = { requestId, call, log };
      const held = (webSocket: WebSocket, work: Promise<void>): Promise<void> => {
        const forget = whileGood(core, invocation, recheckMs, call, () => webSocket.terminate());
        return afterwards(webSocket, requestId, work).finally(forget);
      };
      if (endpoint.operation.kind === 'channel') {
        const channel = await core.channel(invocation);
        // The client may have gone while the far end was being opened; then nobody else would close it.
        socket.once('close', () => channel.close());
        if (socket.destroyed) return channel.close();
        channel.result.catch(() => {}); // serveChannel reports it; this keeps a failure in between from being unhandled
        const webSocket = await accept(sockets, request, socket, head);
        await held(webSocket, serveChannel(channel, webSocket, context));
      } else {
        const items = await core.stream(invocation);
        if (socket.destroyed) return;
        const webSocket = await accept(sockets, request, socket, head);
        await held(webSocket, serveMessages(items, webSocket, context));
      }
    } finally {
      call.done();
    }
  }

  /** After the upgrade there is no HTTP answer any more: a failure to send means that the client has gone. */
  async function afterwards(socket: WebSocket, requestId: string, work: Promise<void>): Promise<void> {
    socket.on('error', (error) => log.debug({ requestId, err: error }, 'client failed'));
    try {
      await work;
    } catch (error) {
      log.debug({ requestId, err: error }, 'client gone');
      socket.terminate();
    }
  }

  return {
    handle(request, socket, head) {
      const requestId = requestIdOf(request.headers);
      socket.on('error', (error) => log.debug({ requestId, err: error }, 'client connection failed'));
      serve(request, socket, head, requestId).catch((error: unknown) => refuse(socket, errorAnswer(faultOf(error, requestId, log))));
    },
    terminate() {
      for (const socket of sockets.clients) socket.terminate();
    },
  };
}

function unknownUpgrade(method: string, path: string): Fault {
  const fault = unknownRoute(method, path);
  return fault.code === 'not_found' ? fault : new Fault('invalid_input', `${path} is neither a stream nor a channel: call it without an upgrade`);
}

/** All that `ws` would refuse by itself, so that refusals look like every other error and nothing is opened in vain. */
function checkHandshake(request: IncomingMessage, protocol: string): void {
  const { headers } = request;
  if (request.method !== 'GET' || headers.upgrade?.toLowerCase() !== 'websocket') throw new Fault('invalid_input', 'Upgrade with GET to `websocket`');
  if (headers['sec-websocket-version'] !== '13' || !/^[+/0-9A-Za-z]{22}==$/.test(headers['sec-websocket-key'] ?? '')) {
    throw new Fault('invalid_input', 'This is not a handshake of WebSocket version 13 (RFC 6455)');
  }
  const offered = (headers['sec-websocket-protocol'] ?? '').split(',').map((name) => name.trim());
  if (!offered.includes(protocol)) throw new Fault('invalid_input', `Offer the subprotocol ${protocol} (Sec-WebSocket-Protocol)`);
}

const accept = (sockets: WebSocketServer, request: IncomingMessage, socket: Socket, head: Buffer) =>
  new Promise<WebSocket>((resolve, reject) => {
    socket.once('close', () => reject(new Fault('unavailable', 'The client went away')));
    sockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.pause(); // until somebody listens; the server of the stream or channel lets it go on
      resolve(webSocket);
    });
  });

function refuse(socket: Socket, answer: ErrorAnswer): void {
  if (socket.writable) socket.end(rawAnswer(answer));
}
