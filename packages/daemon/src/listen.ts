// The listeners: a Unix socket that only its owner may open, and TCP when asked for. Both pass their requests to the one application.
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { Fault } from '@thecloud/core/contracts';
import type { Authenticate } from './access.ts';
import type { Access } from './app.ts';
import { errorAnswer, HEADER_LIMIT } from './faults.ts';
import type { Upgrades } from './upgrade.ts';

export interface Address {
  host: string;
  port: number;
}

export interface Handlers {
  routing: (request: IncomingMessage, response: ServerResponse) => void;
  upgrades: Upgrades;
  access: Access;
}

/** `7070`, `127.0.0.1:7070`, `[::1]:7070`. A port alone means loopback. Throws `invalid_input`. */
export function parseListen(text: string): Address {
  const match = /^(?:(?:\[([\da-f:.]+)\]|([^:[\]\s]+)):)?(\d{1,5})$/i.exec(text.trim());
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) throw new Fault('invalid_input', `"${text}" is not an address to listen on; use 7070 or 127.0.0.1:7070`);
  return { host: match[1] ?? match[2] ?? '127.0.0.1', port };
}

export const isLoopback = (host: string): boolean => host === 'localhost' || host === '::1' || /^127(\.\d{1,3}){3}$/.test(host);

function createHttp({ routing, upgrades, access }: Handlers, authenticate: Authenticate): Server {
  const server = createServer(
    {
      maxHeaderSize: HEADER_LIMIT,
      headersTimeout: 20_000,
      // For the whole request to arrive; answers may take as long as they need.
      requestTimeout: 60_000,
      keepAliveTimeout: 60_000,
    },
    routing,
  );
  server.on('connection', (socket) => {
    socket.setKeepAlive(true, 30_000);
    access.set(socket, authenticate);
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
    const text = JSON.stringify(body);
    socket.end(
      `HTTP/1.1 ${status} Bad Request\r\ncontent-type: ${headers['content-type']}\r\ncontent-length: ${Buffer.byteLength(text)}\r\nconnection: close\r\n\r\n${text}`,
    );
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
export async function listenOnSocket(path: string, handlers: Handlers, authenticate: Authenticate): Promise<Server> {
  const server = createHttp(handlers, authenticate);
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

export async function listenOnTcp(
  address: Address,
  handlers: Handlers,
  authenticate: Authenticate,
  options: { allowRemote: boolean },
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
  const server = createHttp(handlers, authenticate);
  await listening(server, () => server.listen(address.port, address.host), `${address.host}:${address.port}`);
  const bound = server.address() as AddressInfo;
  return { server, address: { host: address.host, port: bound.port } };
}
