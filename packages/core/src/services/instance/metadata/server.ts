// The metadata service's HTTP: node:http with limits for instances that send what is malformed, slow, endless or too much, none of which harms the others.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Clock } from '../../../kernel/clock.ts';
import type { Log } from '../../../kernel/log.ts';
import type { Answer, Question } from './answer.ts';

/** Milliseconds, bytes and numbers. */
const LIMITS = {
  headerBytes: 8 * 1024,
  headers: 5_000,
  request: 10_000,
  keepAlive: 15_000,
  silence: 20_000,
  connections: 1_024,
  connectionsOfOne: 32,
  /** Requests of one instance: at once, and then each second. */
  burst: 400,
  rate: 50,
  /** Refusals, after which one who goes on is not even answered. */
  refusals: 100,
  /** Addresses that are remembered for that. */
  remembered: 65_536,
} as const;
export type Limits = { readonly [K in keyof typeof LIMITS]: number };

export interface MetadataServerOptions {
  /** The answer to who asks from an address. */
  answer(source: string, question: Question): Promise<Answer>;
  readonly clock: Pick<Clock, 'now'>;
  readonly log: Log;
  readonly limits?: Partial<Limits>;
  /** Who asks, where that is not the address that the connection comes from. */
  sourceOf?(socket: Socket): string;
}

const tooMany: Answer = { status: 503, headers: { 'content-type': 'text/plain; charset=utf-8', 'retry-after': '1' }, body: 'Too many requests\n' };
const failed: Answer = { status: 500, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'The answer is not there at the moment\n' };
const noBody: Answer = { status: 413, headers: { 'content-type': 'text/plain; charset=utf-8' }, body: 'No body is taken here\n' };

/** One for each address that it listens at. */
export class MetadataServer {
  readonly #options: MetadataServerOptions;
  readonly #limits: Limits;
  readonly #server: Server;
  readonly #connections = new Map<string, number>();
  readonly #buckets = new Map<string, { left: number; at: number }>();

  constructor(options: MetadataServerOptions) {
    this.#options = options;
    const limits = { ...LIMITS, ...options.limits };
    this.#limits = limits;
    this.#server = createServer({
      maxHeaderSize: limits.headerBytes,
      headersTimeout: limits.headers,
      requestTimeout: limits.request,
      keepAliveTimeout: limits.keepAlive,
      connectionsCheckingInterval: Math.min(1_000, limits.headers),
      insecureHTTPParser: false,
    });
    this.#server.maxConnections = limits.connections;
    // Also for those who do not read their answer.
    this.#server.timeout = limits.silence;
    this.#server
      .on('connection', (socket: Socket) => this.#admit(socket))
      .on('request', (request: IncomingMessage, response: ServerResponse) => void this.#take(request, response))
      .on('checkExpectation', (_: IncomingMessage, response: ServerResponse) => this.#send(response, noBody, false))
      .on('checkContinue', (_: IncomingMessage, response: ServerResponse) => this.#send(response, noBody, false))
      .on('connect', (_: IncomingMessage, socket: Socket) => socket.destroy())
      .on('upgrade', (_: IncomingMessage, socket: Socket) => socket.destroy())
      .on('clientError', (error: NodeJS.ErrnoException, socket: Socket) => {
        if (error.code === 'ECONNRESET' || !socket.writable) socket.destroy();
        else {
          const status = error.code === 'HPE_HEADER_OVERFLOW' ? '431 Request Header Fields Too Large' : '400 Bad Request';
          socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`, () => socket.destroy());
        }
      });
  }

  /** Rejects with the system's own error (`EADDRINUSE`, `EADDRNOTAVAIL`). */
  listen(host: string, port: number): Promise<{ host: string; port: number }> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', reject);
        this.#server.on('error', (error) => this.#options.log.warn({ error: error.message }, 'the metadata service has trouble with its connections'));
        const at = this.#server.address() as AddressInfo;
        resolve({ host: at.address, port: at.port });
      });
    });
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
      this.#server.closeAllConnections();
    });
  }

  #sourceOf(socket: Socket): string {
    return this.#options.sourceOf?.(socket) ?? socket.remoteAddress ?? '';
  }

  #admit(socket: Socket): void {
    const source = this.#sourceOf(socket);
    const open = this.#connections.get(source) ?? 0;
    if (open >= this.#limits.connectionsOfOne || this.#left(source) <= 1 - this.#limits.refusals) {
      socket.destroy();
      return;
    }
    this.#connections.set(source, open + 1);
    socket.once('close', () => {
      const left = (this.#connections.get(source) ?? 1) - 1;
      if (left === 0) this.#connections.delete(source);
      else this.#connections.set(source, left);
    });
  }

  /** Requests that it has left now; below 0 it was refused so often since. */
  #left(source: string): number {
    const { burst, rate } = this.#limits;
    const bucket = this.#buckets.get(source);
    if (bucket === undefined) return burst;
    return Math.min(burst, bucket.left + (Math.max(0, this.#options.clock.now() - bucket.at) / 1000) * rate);
  }

  /** Whether it has a request left now, which this takes. */
  #allows(source: string): boolean {
    const { refusals, remembered } = this.#limits;
    const left = this.#left(source);
    this.#buckets.delete(source); // last to ask, last to be forgotten
    this.#buckets.set(source, { left: Math.max(-refusals, left - 1), at: this.#options.clock.now() });
    if (this.#buckets.size > remembered) this.#buckets.delete(this.#buckets.keys().next().value as string);
    return left >= 1;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // What goes wrong with a connection ends it, and is nobody else's business.
    response.on('error', () => request.socket.destroy());
    const source = this.#sourceOf(request.socket);
    if (!this.#allows(source)) {
      this.#send(response, tooMany, false);
      return;
    }
    if (request.headers['transfer-encoding'] !== undefined || Number(request.headers['content-length'] ?? 0) > 0) {
      this.#send(response, noBody, false);
      return;
    }
    const question = { method: request.method ?? '', url: request.url ?? '', headers: request.headers };
    try {
      this.#send(response, await this.#options.answer(source, question), true);
    } catch (error) {
      this.#options.log.error({ error: (error as Error).message }, 'the metadata service could not answer');
      this.#send(response, failed, false);
    }
  }

  #send(response: ServerResponse, { status, headers, body }: Answer, keep: boolean): void {
    if (response.headersSent || response.destroyed) return;
    const { socket } = response.req;
    const bytes = Buffer.from(body);
    response.writeHead(status, { ...headers, 'cache-control': 'no-store', 'content-length': bytes.length, ...(keep ? {} : { connection: 'close' }) });
    response.end(response.req.method === 'HEAD' ? undefined : bytes, () => {
      if (!keep) socket.destroySoon();
    });
  }
}
