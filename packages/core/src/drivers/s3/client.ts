// Requests to one bucket of an S3 engine, path style. What has its body at hand is tried again when the engine is busy or the connection breaks; what streams its
// body is not, but waits for `100 Continue` first, so that a refusal or a stale connection costs nothing.
import { type ClientRequest, Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https';
import type { Clock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import { AnswerError, textOf } from './answers.ts';
import { type Credentials, encoded, queryText, sha256, signed, UNSIGNED } from './sign.ts';

const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 200;
/** No byte either way for so long: the engine is gone. */
const SILENCE_MS = 60_000;
/** An engine that knows nothing of `Expect` says nothing; then the body goes all the same. */
const CONTINUE_MS = 1000;
const MOST_CONNECTIONS = 64;

interface Streamed {
  bytes: AsyncIterable<Uint8Array>;
  length: number;
}

export interface Call {
  method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Absent: the bucket. */
  key?: string;
  query?: Record<string, string>;
  /** Lower-case names. */
  headers?: Record<string, string>;
  body?: Buffer | Streamed;
  /** Statuses that are answers, not errors. */
  expect: readonly number[];
  /** For messages: `Cannot write a blob`. */
  doing: string;
  signal: AbortSignal;
}

export interface Answer {
  response: IncomingMessage;
  /** It was sent more than once: an earlier one may have been carried out. */
  repeated: boolean;
}

export class S3Client {
  readonly #url: URL;
  readonly #base: string;
  readonly #credentials: Credentials;
  readonly #region: string;
  readonly #clock: Clock;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(options: { endpoint: string; bucket: string; region: string; credentials: Credentials; clock: Clock }) {
    this.#url = new URL(options.endpoint);
    this.#base = `${this.#url.pathname.replace(/\/+$/, '')}/${encoded(options.bucket)}`;
    this.#credentials = options.credentials;
    this.#region = options.region;
    this.#clock = options.clock;
    const how = { keepAlive: true, maxSockets: MOST_CONNECTIONS, scheduling: 'lifo' } as const;
    this.#agent = this.#url.protocol === 'https:' ? new HttpsAgent(how) : new HttpAgent(how);
  }

  /** The answer with its body unread: whoever asked reads it, or destroys it. Rejects with DriverError, with the signal's reason, or with what the body threw. */
  async call(call: Call): Promise<Answer> {
    const streamed = call.body !== undefined && !Buffer.isBuffer(call.body);
    for (let attempt = 1; ; attempt += 1) {
      call.signal.throwIfAborted();
      try {
        return { response: await this.#once(call), repeated: attempt > 1 };
      } catch (error) {
        call.signal.throwIfAborted();
        const again = error instanceof NotSent || (!streamed && (error instanceof AnswerError ? error.again : error instanceof Broken));
        if (!again || attempt === ATTEMPTS) throw error;
      }
      await this.#clock.sleep(FIRST_PAUSE_MS * 2 ** (attempt - 1), call.signal);
    }
  }

  /** For answers that have no body, or one that matters to nobody. */
  async done(call: Call): Promise<IncomingMessage> {
    const { response } = await this.call(call);
    await textOf(response);
    return response;
  }

  async text(call: Call): Promise<string> {
    return await textOf((await this.call(call)).response);
  }

  close(): void {
    this.#agent.destroy();
  }

  async #once(call: Call): Promise<IncomingMessage> {
    const { method, key, query = {}, body, doing, signal } = call;
    const path = key === undefined ? this.#base : `${this.#base}/${key.split('/').map(encoded).join('/')}`;
    const streamed = body !== undefined && !Buffer.isBuffer(body) ? body : undefined;
    const headers = signed(
      {
        method,
        path,
        query,
        headers: { ...call.headers, host: this.#url.host },
        payload: streamed === undefined ? sha256((body as Buffer | undefined) ?? '') : UNSIGNED,
      },
      this.#credentials,
      this.#region,
      this.#clock.now(),
    );
    if (body !== undefined) headers['content-length'] = String(body.length);
    if (streamed !== undefined) headers.expect = '100-continue';
    const text = queryText(query);
    const send = this.#url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send({
      agent: this.#agent,
      hostname: this.#url.hostname.replace(/^\[|\]$/g, ''),
      port: this.#url.port,
      method,
      path: text === '' ? path : `${path}?${text}`,
      headers,
      signal,
    });
    request.setTimeout(SILENCE_MS, () => request.destroy(new Error(`nothing came for ${SILENCE_MS / 1000} seconds`)));
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      request.once('response', resolve);
      request.on('error', (error) => reject(new Broken(doing, error)));
    });
    answered.catch(() => undefined); // while the body is sent, nobody looks at it yet
    let whole = true;
    if (streamed === undefined) request.end(body);
    else whole = await sendBody(request, streamed.bytes, answered);
    const response = await answered;
    // A body that is cut off is told to whoever reads it; without a reader nobody needs to know.
    response.on('error', () => undefined);
    const status = response.statusCode as number;
    if (whole && call.expect.includes(status)) return response;
    try {
      const text = method === 'HEAD' ? '' : await textOf(response);
      throw new AnswerError(status, text, doing);
    } finally {
      // The engine may still wait for a body that never comes.
      if (!whole) request.destroy();
    }
  }
}

/** The connection did not hold: refused, reset, silent. */
class Broken extends DriverError {
  constructor(doing: string, cause: Error) {
    super('unavailable', `${doing}: the object store cannot be reached: ${cause.message}`, { cause });
  }
}
/** Likewise, before a single byte of the body was asked for. */
class NotSent extends DriverError {
  constructor(broken: Error) {
    super('unavailable', broken.message, { cause: broken });
  }
}

/** True when all of it was sent; false when an answer came earlier. */
async function sendBody(request: ClientRequest, bytes: AsyncIterable<Uint8Array>, answered: Promise<IncomingMessage>): Promise<boolean> {
  let over = false;
  let wake: () => void = () => undefined;
  const stop = () => {
    over = true;
    wake();
  };
  answered.then(stop, stop);
  const wait = (event: 'continue' | 'drain', milliseconds?: number): Promise<void> =>
    new Promise((resolve) => {
      if (over) return resolve();
      const timer = milliseconds === undefined ? undefined : setTimeout(resolve, milliseconds);
      wake = () => {
        clearTimeout(timer);
        resolve();
      };
      request.once(event, wake);
    });

  request.flushHeaders();
  await wait('continue', CONTINUE_MS);
  if (over) {
    await answered.catch((error: Error) => {
      throw new NotSent(error);
    });
    return false;
  }
  try {
    for await (const piece of bytes) {
      if (over) return false;
      if (!request.write(piece)) await wait('drain');
    }
  } catch (error) {
    request.destroy();
    throw error;
  }
  request.end();
  return true;
}
