// Calls over HTTP, by Unix socket or TCP: routes from the contracts, retries where the same call may succeed and cannot count twice.
import type { Agent, ClientRequest, IncomingMessage, RequestOptions } from 'node:http';
import { ERRORS, type ErrorBody, encodeQuery, Fault, HEADER, type Request, routeOf } from '@thecloud/core/contracts';
import { parseEvents } from './events.ts';
import { contractOf, type Exchange, type Reply } from './exchange.ts';
import type { Bearer } from './session.ts';

export interface Place {
  /** Either this … */
  socketPath?: string | undefined;
  /** … or that: origin and perhaps a path before `/v1`. */
  url?: URL | undefined;
  /** Goes along with every call but those that anybody may make. */
  bearer?: Bearer | undefined;
  tenant?: string | undefined;
}

/** A request that is ready to go but for who sends it; its query is part of the path. */
export interface Prepared {
  /** Whether it says who sends it. */
  signed: boolean;
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | undefined;
}

export const nameOf = (place: Place): string => place.socketPath ?? place.url?.origin ?? '';

export function prepare(place: Place, request: Request): Prepared {
  const { contract, operation } = contractOf(request);
  const route = routeOf(contract, request.operation, operation);
  const { options, target } = request;
  if (operation.target && !target) throw new Fault('invalid_input', `${request.service} ${request.operation} needs the name or id of one ${request.service}`);
  const path = route.path.replace(/\{\w+\}/, encodeURIComponent(target ?? ''));
  const query = route.query ? encodeQuery(request.input as Record<string, unknown>).toString() : '';
  const tenant = options.tenant ?? place.tenant;
  const body = route.query ? undefined : JSON.stringify(request.input);
  return {
    signed: operation.access !== 'anonymous',
    method: route.method,
    path: `${place.url?.pathname.replace(/\/$/, '') ?? ''}${path}${query === '' ? '' : `?${query}`}`,
    headers: {
      accept: operation.kind === 'stream' ? 'text/event-stream' : 'application/json',
      ...(tenant === undefined ? {} : { [HEADER.tenant]: tenant }),
      ...(options.ifMatch === undefined ? {} : { [HEADER.ifMatch]: `"${options.ifMatch}"` }),
      ...(operation.kind === 'write' ? { [HEADER.idempotencyKey]: options.idempotencyKey ?? crypto.randomUUID() } : {}),
      ...(body === undefined ? {} : { 'content-type': 'application/json', 'content-length': String(new TextEncoder().encode(body).length) }),
    },
    body,
  };
}

/** The connection broke after it stood: the daemon may have done what was asked. */
class BrokenOff extends Fault {}

/** Why no answer came, in words and with what to do. */
export function unreachable(place: Place, error: NodeJS.ErrnoException): Fault {
  const where = nameOf(place);
  switch (error.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new Fault('unavailable', `No daemon answers at ${where}`, { hint: 'cloud daemon start', cause: error });
    case 'EACCES':
    case 'EPERM':
      return new Fault('forbidden', `You may not open ${where}: it belongs to another user`, { cause: error });
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'EHOSTUNREACH':
    case 'ENETUNREACH':
    case 'ETIMEDOUT':
      return new Fault('unavailable', `${where} cannot be reached: ${error.message}`, { cause: error });
    default:
      return new BrokenOff('unavailable', `The connection to ${where} broke off: ${error.message}`, { cause: error });
  }
}

export async function textOf(response: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

/** Whether an answer says that the token was refused (RFC 6750 §3.1): then nothing was done, and another token may do. */
export const refusesToken = ({ statusCode, headers }: IncomingMessage): boolean =>
  statusCode === 401 && /\berror="?invalid_token\b/.test(headers['www-authenticate'] ?? '');

/**
 * Sends a request with the token, and with another when that one was refused. Of the refused request nothing was done, so even a write is still one write.
 * `send` resolves with the answer, whatever its status.
 */
async function signed(
  { bearer }: Place,
  prepared: Prepared,
  signal: AbortSignal | undefined,
  send: (headers: Record<string, string>) => Promise<IncomingMessage>,
): Promise<IncomingMessage> {
  const token = prepared.signed ? await bearer?.get(signal) : undefined;
  if (bearer === undefined || token === undefined) return send(prepared.headers);
  const withToken = (text: string) => send({ ...prepared.headers, authorization: `Bearer ${text}` });
  const response = await withToken(token);
  if (!refusesToken(response)) return response;
  const another = await bearer.renew(token, signal);
  if (another === undefined) return response;
  response.resume(); // so that its connection can be used again
  return withToken(another);
}

/** The Fault that an answer of status 400 and more carries. */
export function faultOfAnswer(place: Place, status: number, text: string): Fault {
  try {
    const { error } = JSON.parse(text) as ErrorBody;
    if (typeof error.code === 'string' && typeof error.message === 'string') return Fault.from(error);
  } catch {
    // not ours; said below
  }
  return new Fault('unavailable', `${nameOf(place)} answered with status ${status}, and not as The Cloud does`);
}

const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** Whoever is to wait longer for a limit is told at once. */
const LONGEST_LIMIT_MS = 15_000;

/** What a limit asks for, in milliseconds. */
function askedPause({ code, details }: Fault): number {
  const { retryAfter } = (code === 'rate_limited' ? (details ?? {}) : {}) as { retryAfter?: unknown };
  return typeof retryAfter === 'number' && retryAfter > 0 ? retryAfter * 1000 : 0;
}

/** Whether the very same request may be sent again. A `timeout` may too, but only the caller knows whether to wait on. */
const again = (fault: unknown): fault is Fault =>
  fault instanceof BrokenOff || (fault instanceof Fault && fault.requestId !== undefined && ERRORS[fault.code].retry && fault.code !== 'timeout');

const sleep = (ms: number, signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener('abort', () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });

/** The carrier, and how to let go of its connections. Loads `node:http` at the first call. */
export function httpExchange(place: Place): { exchange: Omit<Exchange, 'channel'>; close(): void } {
  let agent: Agent | undefined;
  let closed = false;

  const open = (prepared: Prepared, signal: AbortSignal | undefined): Promise<IncomingMessage> =>
    signed(place, prepared, signal, (headers) => send({ ...prepared, headers }, signal));

  async function send(prepared: Prepared, signal: AbortSignal | undefined): Promise<IncomingMessage> {
    const secure = place.url?.protocol === 'https:';
    const http: typeof import('node:http') = secure ? ((await import('node:https')) as unknown as typeof import('node:http')) : await import('node:http');
    if (closed) throw new Fault('unavailable', 'This connection was closed');
    signal?.throwIfAborted();
    agent ??= new http.Agent({ keepAlive: true });
    const options: RequestOptions = {
      agent,
      method: prepared.method,
      path: prepared.path,
      headers: prepared.headers,
      ...(place.socketPath === undefined ? { hostname: place.url?.hostname.replace(/^\[|\]$/g, ''), port: place.url?.port } : { socketPath: place.socketPath }),
      ...(signal === undefined ? {} : { signal }),
    };
    return new Promise((resolve, reject) => {
      const request: ClientRequest = http.request(options, resolve);
      request.on('error', (error) =>
        reject(signal?.aborted ? signal.reason : closed ? new Fault('unavailable', 'This connection was closed') : unreachable(place, error)),
      );
      request.end(prepared.body);
    });
  }

  async function retrying<T>(signal: AbortSignal | undefined, attempt: () => Promise<T>): Promise<T> {
    for (let count = 1; ; count++) {
      try {
        return await attempt();
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (count === ATTEMPTS || closed || !again(error)) throw error;
        const asked = askedPause(error);
        if (asked > LONGEST_LIMIT_MS) throw error;
        // Those who were limited together must not all come back together.
        await sleep(asked + Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (count - 1)) * (0.5 + Math.random() / 2), signal);
      }
    }
  }

  async function answer(prepared: Prepared, signal: AbortSignal | undefined): Promise<Reply> {
    const response = await open(prepared, signal);
    let text: string;
    try {
      text = await textOf(response);
    } catch (error) {
      throw signal?.aborted ? signal.reason : unreachable(place, error as NodeJS.ErrnoException);
    }
    const status = response.statusCode ?? 0;
    if (status >= 400) throw faultOfAnswer(place, status, text);
    const operation = response.headers[HEADER.operation];
    try {
      return { value: JSON.parse(text), operation: typeof operation === 'string' ? operation : undefined };
    } catch (cause) {
      throw new Fault('unavailable', `${nameOf(place)} does not answer as The Cloud does`, { cause });
    }
  }

  async function* items(prepared: Prepared, signal: AbortSignal | undefined): AsyncGenerator<unknown> {
    const response = await retrying(signal, async () => {
      const opened = await open(prepared, signal);
      const status = opened.statusCode ?? 0;
      if (status >= 400) throw faultOfAnswer(place, status, await textOf(opened));
      return opened;
    });
    try {
      for await (const { type, data } of parseEvents(response)) {
        if (type === 'error') throw Fault.from(JSON.parse(data));
        yield JSON.parse(data);
      }
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw error instanceof Fault ? error : unreachable(place, error as NodeJS.ErrnoException);
    } finally {
      response.destroy();
    }
  }

  return {
    exchange: {
      call: async (request) => {
        const prepared = prepare(place, request); // once: a repeated write is the same write
        return retrying(request.options.signal, () => answer(prepared, request.options.signal));
      },
      stream: (request) => items(prepare(place, request), request.options.signal),
    },
    close() {
      closed = true;
      agent?.destroy();
    },
  };
}
