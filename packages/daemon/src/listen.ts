// The listeners: a Unix socket that only its owner may open, and TCP when asked for. Both pass their requests to the one application.
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Log } from '@thecloud/core';
import { Fault } from '@thecloud/core/contracts';
import { type Address, isLoopback } from './address.ts';
import type { Access, Door } from './app.ts';
import { errorAnswer, HEADER_LIMIT, rawAnswer } from './faults.ts';
import { limitKeyOf, type Sources } from './source.ts';
import type { Upgrades } from './upgrade.ts';

export interface Handlers {
  routing: (request: IncomingMessage, response: ServerResponse) => void;
  upgrades: Upgrades;
  access: Access;
  patience?: Patience | undefined;
}

/** How long a request may take to arrive, in milliseconds; answers may take as long as they need. */
export interface Patience {
  headers: number;
  request: number;
}
const PATIENCE: Patience = { headers: 20_000, request: 60_000 };

/** Open connections over TCP. */
export const MAX_CONNECTIONS = 1024;
/** Of these one address may have this part. */
const OF_ONE = 1 / 2;

function createHttp({ routing, upgrades, access, patience = PATIENCE }: Handlers, door: Door): Server {
  const server = createServer(
    {
      maxHeaderSize: HEADER_LIMIT,
      headersTimeout: patience.headers,
      requestTimeout: patience.request,
      connectionsCheckingInterval: Math.min(5_000, patience.headers),
      keepAliveTimeout: 60_000,
    },
    routing,
  );
  server.on('connection', (socket) => {
    socket.setKeepAlive(true, 30_000);
    access.set(socket, door);
  });
  server.on('upgrade', (request, socket, head) => upgrades.handle(request, socket as Socket, head));
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (error.code === 'ECONNRESET' || !socket.writable) return void socket.destroy();
    const { status, headers, body } = errorAnswer(
      new Fault(
        'invalid_input',
        error.code === 'HPE_HEADER_OVERFLOW'
          ? `The request line and headers are larger than ${HEADER_LIMIT / 1024} KiB`
          : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
            ? 'The request did not arrive in time'
            : 'This is not HTTP/1.1',
      ),
    );
    socket.end(rawAnswer({ status, headers, body }));
  });
  return server;
}

const listening = (server: Server, listen: () => void, where: string): Promise<void> =>
  new Promise((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason =
        error.code === 'EADDRINUSE'
          ? 'something else listens there'
          : error.code === 'EACCES'
            ? 'that is not allowed'
            : error.code === 'EADDRNOTAVAIL' || error.code === 'ENOTFOUND'
              ? 'this machine has no such address'
              : error.message;
      reject(new Fault(error.code === 'EADDRINUSE' ? 'conflict' : 'invalid_input', `Cannot listen on ${where}: ${reason}`, { cause: error }));
    });
    listen();
  });

/** Mode 0600 from the first instant. What is left of an earlier daemon is removed: call this only while holding the data directory's lock. */
export async function listenOnSocket(path: string, handlers: Handlers, door: Door): Promise<Server> {
  const server = createHttp(handlers, door);
  await rm(path, { force: true });
  await listening(
    server,
    () => {
      const before = process.umask(0o177);
      try {
        server.listen(path); // binds before it returns
      } finally {
        process.umask(before);
      }
    },
    path,
  );
  return server;
}

/** Whoever opens too many keeps only others of the same address out: there is room left for the rest. */
function limitConnections(server: Server, { maxConnections, sources, log }: { maxConnections: number; sources: Sources; log: Log }): void {
  server.maxConnections = maxConnections;
  server.on('drop', (dropped) => log.warn({ source: dropped?.remoteAddress }, 'too many connections: one was refused'));
  const mostOfOne = Math.max(1, Math.floor(maxConnections * OF_ONE));
  const open = new Map<string, number>();
  server.prependListener('connection', (socket: Socket) => {
    const address = socket.remoteAddress ?? '';
    // A proxy speaks for many; how many it lets in is up to it.
    if (sources.isProxy(address)) return;
    const key = limitKeyOf(address);
    const count = (open.get(key) ?? 0) + 1;
    if (count > mostOfOne) {
      log.warn({ source: address }, 'too many connections of one address: one was refused');
      socket.destroy();
      return;
    }
    open.set(key, count);
    socket.once('close', () => {
      const left = (open.get(key) ?? 1) - 1;
      if (left === 0) open.delete(key);
      else open.set(key, left);
    });
  });
}

export async function listenOnTcp(
  address: Address,
  handlers: Handlers,
  door: Door,
  options: { allowRemote: boolean; maxConnections: number; sources: Sources; log: Log },
): Promise<{ server: Server; address: Address }> {
  if (!isLoopback(address.host) && !options.allowRemote) {
    throw new Fault(
      'invalid_input',
      `${address.host} is not a loopback address: the daemon speaks plain HTTP, and anyone on the way could read the token and all data`,
      {
        hint: 'cloud daemon start --listen 127.0.0.1:7070 (and a TLS proxy or `ssh -L` in front), or --allow-remote on a network that you trust',
      },
    );
  }
  const server = createHttp(handlers, door);
  limitConnections(server, options);
  await listening(server, () => server.listen(address.port, address.host), `${address.host}:${address.port}`);
  const bound = server.address() as AddressInfo;
  return { server, address: { host: address.host, port: bound.port } };
}
