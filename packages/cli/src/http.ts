// HTTP/1.1 over a socket, as much as talking to the daemon takes. `node:http` alone would cost a third of a command's start.
import { connect, isIP, type Socket } from 'node:net';
import { Fault } from '@thecloud/core/contracts';
import type { Endpoint } from './settings.ts';

export interface Ask {
  method: string;
  path: string;
  headers?: Readonly<Record<string, string>>;
  body?: string;
  signal?: AbortSignal;
  /** Longest silence in milliseconds; none by default for streams, 120 seconds otherwise. */
  patience?: number;
}

export interface Answer {
  status: number;
  headers: ReadonlyMap<string, string>;
}

/** Gone before an answer came. `sent`: the daemon may have acted on the request. */
export class ConnectionLost extends Error {
  readonly sent: boolean;
  constructor(message: string, sent: boolean, cause?: unknown) {
    super(message, { cause });
    this.sent = sent;
  }
}

interface Sink {
  head(answer: Answer): void;
  data(bytes: Buffer): void;
}

const LINE = Buffer.from('\r\n');

/** Takes the bytes of one answer apart as they come. */
class Reader {
  #buffer: Buffer = Buffer.alloc(0);
  #left: number | undefined;
  #state: 'head' | 'body' | 'size' | 'chunk' | 'trailer' | 'done' = 'head';
  #sink: Sink;
  #headOnly: boolean;

  constructor(sink: Sink, headOnly: boolean) {
    this.#sink = sink;
    this.#headOnly = headOnly;
  }

  get done(): boolean {
    return this.#state === 'done';
  }
  /** A body without length ends with the connection. */
  get endsWithConnection(): boolean {
    return this.#state === 'body' && this.#left === undefined;
  }
  get begun(): boolean {
    return this.#state !== 'head' || this.#buffer.length > 0;
  }

  push(bytes: Buffer): void {
    this.#buffer = this.#buffer.length === 0 ? bytes : Buffer.concat([this.#buffer, bytes]);
    while (this.#step());
  }

  #step(): boolean {
    switch (this.#state) {
      case 'head':
        return this.#head();
      case 'body':
      case 'chunk': {
        if (this.#buffer.length === 0) return false;
        const take = this.#left === undefined ? this.#buffer.length : Math.min(this.#left, this.#buffer.length);
        if (take > 0) this.#sink.data(this.#take(take));
        if (this.#left === undefined) return false;
        this.#left -= take;
        if (this.#left > 0) return false;
        if (this.#state === 'body') this.#state = 'done';
        else {
          this.#state = 'size';
          this.#left = -1; // the line end that closes the chunk comes first
        }
        return this.#state !== 'done';
      }
      case 'size': {
        const line = this.#line();
        if (line === undefined) return false;
        if (this.#left === -1) {
          this.#left = undefined;
          return true;
        }
        const size = Number.parseInt(line, 16);
        if (!Number.isFinite(size)) throw new ConnectionLost('What answered does not speak HTTP', true);
        this.#left = size;
        this.#state = size === 0 ? 'trailer' : 'chunk';
        return true;
      }
      case 'trailer': {
        const line = this.#line();
        if (line === undefined) return false;
        if (line === '') this.#state = 'done';
        return line !== '';
      }
      default:
        return false;
    }
  }

  #head(): boolean {
    const end = this.#buffer.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const [first = '', ...lines] = this.#take(end + 4)
      .toString('latin1')
      .trimEnd()
      .split('\r\n');
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1]);
    if (!status) throw new ConnectionLost('What answered does not speak HTTP', true);
    if (status < 200) return true; // 100 Continue and the like: the real head follows
    const headers = new Map<string, string>();
    for (const line of lines) {
      const colon = line.indexOf(':');
      headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
    }
    const length = headers.get('content-length');
    if (/\bchunked\b/i.test(headers.get('transfer-encoding') ?? '')) this.#state = 'size';
    else {
      this.#state = 'body';
      this.#left = length === undefined ? undefined : Number(length);
    }
    if (this.#headOnly || status === 204 || status === 304 || this.#left === 0) this.#state = 'done';
    this.#sink.head({ status, headers });
    return this.#state !== 'done';
  }

  #take(length: number): Buffer {
    const taken = this.#buffer.subarray(0, length);
    this.#buffer = this.#buffer.subarray(length);
    return taken;
  }

  #line(): string | undefined {
    const end = this.#buffer.indexOf(LINE);
    if (end < 0) return undefined;
    const line = this.#take(end).toString('latin1');
    this.#take(2);
    return line;
  }
}

/** Hosts that are this machine. */
export const LOOPBACK = /^(?:localhost|127\.[\d.]+|::1)$/;

export const describeEndpoint = (endpoint: Endpoint): string => ('socket' in endpoint ? endpoint.socket : endpoint.url);

/** What must not stand in a header: from a line end on it would be another header, or another request. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const BREAKS = /[\u0000-\u0008\u000a-\u001f\u007f]/;

/** A connection that never came about, in words. */
export function unreachable(endpoint: Endpoint, error: NodeJS.ErrnoException): Fault {
  const where = describeEndpoint(endpoint);
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return 'socket' in endpoint
        ? new Fault('unavailable', `The daemon is not running (nobody answers at ${where})`, { hint: 'cloud daemon start', cause: error })
        : new Fault('unavailable', `Nobody answers at ${where}`, {
            hint: LOOPBACK.test(endpoint.host) && !endpoint.secure ? 'cloud daemon start --listen 127.0.0.1:7070' : 'cloud context list',
            cause: error,
          });
    case 'EACCES':
    case 'EPERM':
      return new Fault('unavailable', `You may not open ${where}: the daemon belongs to another user`, { hint: `ls -l ${where}`, cause: error });
    case 'ECONNRESET':
    case 'EPROTO':
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
      if (!('secure' in endpoint) || !endpoint.secure) break;
      return new Fault('unavailable', `${where} does not speak TLS`, {
        hint: `use ${where.replace(/^https/, 'http')}, or a proxy that speaks it`,
        cause: error,
      });
    case 'ERR_TLS_CERT_ALTNAME_INVALID':
      return new Fault('unavailable', `The certificate at ${where} is for another name`, { hint: `openssl s_client -connect ${hostOf(where)}`, cause: error });
    case 'CERT_HAS_EXPIRED':
      return new Fault('unavailable', `The certificate at ${where} has expired`, { hint: `openssl s_client -connect ${hostOf(where)}`, cause: error });
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return new Fault('unavailable', `The certificate at ${where} is from nobody that this machine trusts`, {
        hint: "export NODE_EXTRA_CA_CERTS=<the issuer's certificate, PEM>",
        cause: error,
      });
    default:
  }
  return new Fault('unavailable', `${where} cannot be reached: ${error.message}`, {
    hint: 'socket' in endpoint ? 'cloud daemon status' : 'cloud context list',
    cause: error,
  });
}

const hostOf = (url: string): string => {
  const { hostname, port } = new URL(url);
  return `${hostname}:${port === '' ? 443 : port}`;
};

function socketTo(endpoint: Endpoint): Socket {
  if ('socket' in endpoint) return connect(endpoint.socket);
  const { host, port, secure } = endpoint;
  if (!secure) return connect(port, host);
  // Loaded only here: it costs more than all the rest of a plain command.
  const tls = process.getBuiltinModule('node:tls');
  return tls.connect({ host, port, ALPNProtocols: ['http/1.1'], ...(isIP(host) === 0 ? { servername: host } : {}) });
}

function open(endpoint: Endpoint, ask: Ask, sink: Sink, done: (error?: unknown) => void): Socket {
  const socket = socketTo(endpoint);
  const reader = new Reader(sink, ask.method === 'HEAD');
  let connected = false;
  let finished = false;
  const finish = (error?: unknown): void => {
    if (finished) return;
    finished = true;
    ask.signal?.removeEventListener('abort', abort);
    socket.destroy();
    done(error);
  };
  const abort = (): void => finish(ask.signal?.reason);
  if (ask.signal?.aborted) queueMicrotask(abort);
  ask.signal?.addEventListener('abort', abort);
  if (ask.patience !== undefined) {
    const patience = ask.patience;
    socket.setTimeout(patience, () =>
      finish(new Fault('unavailable', `${describeEndpoint(endpoint)} did not answer within ${Math.round(patience / 1000)} s`, { hint: 'cloud daemon status' })),
    );
  }
  socket.on('secure' in endpoint && endpoint.secure ? 'secureConnect' : 'connect', () => {
    connected = true;
  });
  socket.on('data', (bytes: Buffer) => {
    try {
      reader.push(bytes);
    } catch (error) {
      finish(error);
    }
    if (reader.done) finish();
  });
  socket.on('error', (error) =>
    finish(connected ? new ConnectionLost(`The connection to the daemon broke: ${error.message}`, true, error) : unreachable(endpoint, error)),
  );
  socket.on('close', () =>
    finish(reader.done || reader.endsWithConnection ? undefined : new ConnectionLost('The daemon closed the connection before it had answered', true)),
  );
  const body = ask.body === undefined ? undefined : Buffer.from(ask.body);
  const headers: Record<string, string> = {
    host: 'socket' in endpoint ? 'localhost' : endpoint.url.replace(/^https?:\/\//, ''),
    connection: 'close',
    ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(body.length) }),
    ...ask.headers,
  };
  let head = `${ask.method} ${ask.path} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries(headers)) head += `${name}: ${value}\r\n`;
  socket.write(`${head}\r\n`);
  if (body !== undefined) socket.write(body);
  return socket;
}

/** Throws `invalid_input`, and says which header without its value, which may be a secret. */
function checkHeaders({ headers = {} }: Ask): void {
  for (const [name, value] of Object.entries(headers)) {
    if (BREAKS.test(value)) throw new Fault('invalid_input', `What is to be sent as ${name} has a line end or another control character in it`);
  }
}

export function request(endpoint: Endpoint, ask: Ask): Promise<Answer & { body: string }> {
  return new Promise((resolve, reject) => {
    checkHeaders(ask);
    let answer: Answer = { status: 0, headers: new Map() };
    const parts: Buffer[] = [];
    open(
      endpoint,
      { patience: 120_000, ...ask },
      {
        head: (head) => {
          answer = head;
        },
        data: (bytes) => parts.push(bytes),
      },
      (error) => (error === undefined ? resolve({ ...answer, body: Buffer.concat(parts).toString('utf8') }) : reject(error)),
    );
  });
}

export interface ServerEvent {
  event: string;
  id: string | undefined;
  data: string;
}

/** Server-sent events until the other side ends or the signal aborts. An answer other than 200 is handed to `refused`. */
export async function* events(endpoint: Endpoint, ask: Ask, refused: (answer: Answer & { body: string }) => Error): AsyncGenerator<ServerEvent> {
  checkHeaders(ask);
  const queue: Buffer[] = [];
  let status = 0;
  let answer: Answer | undefined;
  let over = false;
  let failure: unknown;
  let wake: (() => void) | undefined;
  const ring = (): void => wake?.();
  const socket = open(
    endpoint,
    { ...ask, headers: { accept: 'text/event-stream', ...ask.headers } },
    {
      head: (head) => {
        answer = head;
        status = head.status;
      },
      data: (bytes) => {
        queue.push(bytes);
        if (queue.length > 256) socket.pause();
        ring();
      },
    },
    (error) => {
      failure = error;
      over = true;
      ring();
    },
  );
  let text = '';
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const bytes = queue.shift();
      if (bytes === undefined) {
        if (over) break;
        socket.resume();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      text += decoder.decode(bytes, { stream: true });
      if (status !== 200) continue;
      for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
        const event = eventFrom(text.slice(0, end));
        text = text.slice(end + 2);
        if (event !== undefined) yield event;
      }
    }
    if (failure !== undefined) throw failure instanceof Error ? failure : new Error(String(failure));
    if (answer !== undefined && status !== 200) throw refused({ ...answer, body: text });
  } finally {
    socket.destroy();
  }
}

function eventFrom(block: string): ServerEvent | undefined {
  let event = 'message';
  let id: string | undefined;
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value =
      colon < 0
        ? ''
        : line
            .slice(colon + 1)
            .replace(/^ /, '')
            .replace(/\r$/, '');
    if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
    else if (field === 'id') id = value;
  }
  return data.length === 0 && event === 'message' ? undefined : { event, id, data: data.join('\n') };
}
