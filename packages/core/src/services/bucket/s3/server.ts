// The S3 listener: node:http with limits for clients that are malformed, slow, endless or gone, none of whom may harm anybody else.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { ListenAt, Listening } from '../../../kernel/listener.ts';
import { Dispatcher, type DispatchOptions, rawRefusal } from './dispatch.ts';
import { s3Error } from './errors.ts';
import { PATIENCE, type Patience } from './inflow.ts';
import { REPLY_LIMITS, type ReplyLimits } from './reply.ts';

interface ServerLimits {
  /** Of the request line and all headers, bytes. */
  readonly headerBytes: number;
  /** Until all headers are there, milliseconds. */
  readonly headersTimeout: number;
  /** A connection without requests, milliseconds. */
  readonly keepAlive: number;
  readonly connections: number;
  /** Requests that wait on one connection. */
  readonly pipelined: number;
  readonly patience: Patience;
  readonly replies: ReplyLimits;
  /** For what is under way when it closes, milliseconds. */
  readonly grace: number;
}
const SERVER_LIMITS: ServerLimits = {
  headerBytes: 32 * 1024,
  headersTimeout: 30_000,
  keepAlive: 75_000,
  connections: 4096,
  pipelined: 64,
  patience: PATIENCE,
  replies: REPLY_LIMITS,
  grace: 10_000,
};

export interface S3ServerOptions extends Omit<DispatchOptions, 'patience' | 'replies'> {
  readonly limits?: Partial<ServerLimits>;
}

export interface S3Server {
  /** Rejects with the system's own error (`EADDRINUSE`). */
  listen(at: ListenAt): Promise<Listening>;
}

export function createS3Server(options: S3ServerOptions): S3Server {
  const limits: ServerLimits = { ...SERVER_LIMITS, ...options.limits };
  const dispatcher = new Dispatcher({ ...options, patience: limits.patience, replies: limits.replies });
  return {
    listen: async (at) => {
      const listening = new Listen(dispatcher, limits);
      await listening.open(at);
      return listening;
    },
  };
}

/** What is under way on one connection. */
interface Connection {
  readonly exchanges: Set<ServerResponse>;
  /** It was answered outside of any exchange, and takes no more. */
  broken: boolean;
}

/** One request on its way. Most end before anybody asks for the signal. */
class Life {
  #abort: AbortController | undefined;
  #over = false;

  get signal(): AbortSignal {
    if (this.#abort === undefined) {
      this.#abort = new AbortController();
      if (this.#over) this.#abort.abort();
    }
    return this.#abort.signal;
  }
  get aborted(): boolean {
    return this.#over;
  }
  abort(): void {
    this.#over = true;
    this.#abort?.abort();
  }
}

class Listen implements Listening {
  readonly #dispatcher: Dispatcher;
  readonly #limits: ServerLimits;
  readonly #server: Server;
  readonly #connections = new WeakMap<Duplex, Connection>();
  readonly #lives = new Set<Life>();
  #idle: (() => void) | undefined;
  #closing: Promise<void> | undefined;
  host = '';
  port = 0;

  constructor(dispatcher: Dispatcher, limits: ServerLimits) {
    this.#dispatcher = dispatcher;
    this.#limits = limits;
    this.#server = createServer({
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headersTimeout,
      // Of the whole request: an upload takes as long as it takes, and `patience` sees to it that it goes on.
      requestTimeout: 0,
      keepAliveTimeout: limits.keepAlive,
      connectionsCheckingInterval: Math.min(10_000, limits.headersTimeout),
      insecureHTTPParser: false,
    });
    this.#server.maxConnections = limits.connections;
    const plain = (message: IncomingMessage, response: ServerResponse) => this.#take(message, response, false);
    this.#server
      .on('request', plain)
      .on('checkContinue', (message: IncomingMessage, response: ServerResponse) => this.#take(message, response, true))
      // Any other expectation is none.
      .on('checkExpectation', plain)
      .on('clientError', (error: NodeJS.ErrnoException, socket: Duplex) => this.#refuse(error, socket));
  }

  open({ host, port }: ListenAt): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject);
        const address = this.#server.address() as AddressInfo;
        this.host = address.address;
        this.port = address.port;
        resolve();
      });
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    if (this.#lives.size > 0) {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, this.#limits.grace);
      this.#idle = resolve;
      await promise;
      clearTimeout(timer);
    }
    for (const life of this.#lives) life.abort();
    this.#server.closeAllConnections();
    await closed;
  }

  #connection(socket: Duplex): Connection {
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      connection = { exchanges: new Set(), broken: false };
      this.#connections.set(socket, connection);
    }
    return connection;
  }

  #take(message: IncomingMessage, response: ServerResponse, expectsContinue: boolean): void {
    const connection = this.#connection(message.socket);
    if (connection.broken || connection.exchanges.size >= this.#limits.pipelined) {
      message.socket.destroy();
      return;
    }
    const life = new Life();
    connection.exchanges.add(response);
    this.#lives.add(life);
    if (this.#closing !== undefined) response.shouldKeepAlive = false;
    response.on('close', () => {
      connection.exchanges.delete(response);
      if (!response.writableFinished) life.abort();
    });
    // What goes wrong with the socket shows in `close`; without a listener it would end the process.
    response.on('error', () => life.abort());
    const invite = expectsContinue ? () => response.writeContinue() : undefined;
    void this.#dispatcher.handle(message, response, { life, invite }).then(() => {
      this.#lives.delete(life);
      if (this.#lives.size === 0) this.#idle?.();
    });
  }

  /** What the parser did not take. */
  #refuse(error: NodeJS.ErrnoException, socket: Duplex): void {
    const connection = this.#connection(socket);
    const exchanges = [...connection.exchanges];
    const lost = error.code === 'ECONNRESET' || error.code === 'EPIPE' || !socket.writable;
    if (!connection.broken && !lost && exchanges.length > 0 && exchanges.every((response) => response.req.complete)) {
      // What came whole is answered; what came behind it was no request, and after it there is none.
      connection.broken = true;
      for (const response of exchanges) {
        if (!response.headersSent) response.shouldKeepAlive = false;
        response.on('close', () => {
          if (connection.exchanges.size === 0) socket.destroy();
        });
      }
      return;
    }
    // In the middle of an answer there is no saying what ours would be taken for.
    if (connection.broken || lost || exchanges.length > 1 || exchanges.some((response) => response.headersSent)) {
      if (exchanges.length === 0 || lost || exchanges.some((response) => !response.req.complete)) socket.destroy();
      return;
    }
    connection.broken = true;
    const refusal =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? s3Error('RequestHeaderSectionTooLarge')
        : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? s3Error('RequestTimeout')
          : s3Error('BadRequest', undefined, undefined, { cause: error });
    socket.end(rawRefusal(refusal), () => socket.destroy());
  }
}
