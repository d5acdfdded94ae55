// From a request to its answer: parsed, authenticated, matched with a route, handled, and only then answered, if somebody has decided that it may be.
import { randomBytes, randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http';
import type { CorsRule } from '../engine/config.ts';
import type { Answered } from './access-log.ts';
import { RequestBody } from './body.ts';
import { answerPreflight, corsHeaders, crossOrigin, matchCors, preflight } from './cors.ts';
import { errorXml, s3Error, toS3Error, type Where } from './errors.ts';
import { Inflow, type Patience } from './inflow.ts';
import { headersOf } from './object-headers.ts';
import { type Exchange, type ReplyLimits, send, Truncated } from './reply.ts';
import { DOMAINS, headerText, IncomingRequest, parseTarget, type Target } from './request.ts';
import { Authenticator, type Keys } from './sigv4.ts';
import type { Route, S3Context, S3Error, S3Reply, S3Request } from './types.ts';

export interface DispatchOptions {
  readonly context: S3Context;
  readonly keys: Keys;
  readonly routes: readonly Route[];
  /** Rules of a bucket; from its configuration unless given. */
  readonly cors?: (bucketName: string) => Promise<readonly CorsRule[] | undefined>;
  readonly domains?: readonly string[];
  /** Takes Signature Version 2 as well. AWS takes it only for buckets from before June 2020. */
  readonly version2?: boolean;
  readonly patience: Patience;
  readonly replies: ReplyLimits;
  /** Told of each answer to a request that names a bucket and could be read. Never waited for. */
  readonly answered?: (answered: Answered) => void;
}

/** Whether it is still wanted. Its signal is made when somebody asks for it. */
export interface Wanted {
  readonly signal: AbortSignal;
  readonly aborted: boolean;
}

/** What becomes of a request on its way. */
interface Progress {
  readonly requestId: string;
  readonly startedAt: number;
  readonly life: Wanted;
  request?: S3Request;
  code?: string;
}

const SERVER = 'TheCloud';
const HOST_ID = randomBytes(36).toString('base64');

/** Sixteen digits, as clients print them. */
const newRequestId = (): string => {
  const text = randomUUID();
  return (text.slice(0, 8) + text.slice(24, 32)).toUpperCase();
};

/** Answers where the body has no length at all would be an object of no bytes by accident. */
const NEEDS_LENGTH: ReadonlySet<string> = new Set(['PutObject', 'UploadPart']);

export class Dispatcher {
  readonly #options: DispatchOptions;
  readonly #routes: RouteTable;
  readonly #authenticator: Authenticator;
  readonly #domains: readonly string[];

  constructor(options: DispatchOptions) {
    const { context, keys, routes } = options;
    this.#options = options;
    this.#routes = new RouteTable(routes);
    this.#authenticator = new Authenticator({ keys, region: context.region, clock: context.service.clock, version2: options.version2 });
    this.#domains = [...DOMAINS, ...(options.domains ?? []).map((domain) => domain.toLowerCase())];
  }

  /** Never rejects. `invite` is there when the client waits for `100 Continue`. */
  async handle(message: IncomingMessage, response: ServerResponse, { life, invite }: { life: Wanted; invite?: (() => void) | undefined }): Promise<void> {
    const { log, clock } = this.#options.context.service;
    const requestId = newRequestId();
    const startedAt = clock.now();
    const headers: Record<string, string> = { 'x-amz-request-id': requestId, 'x-amz-id-2': HOST_ID, server: SERVER };
    const exchange: Exchange = {
      message,
      response,
      inflow: new Inflow(message, { patience: this.#options.patience, invite }),
      limits: this.#options.replies,
      headers,
      sent: 0,
    };
    const progress: Progress = { requestId, startedAt, life };
    let target: Target | undefined;
    try {
      let reply: S3Reply;
      try {
        target = parseTarget(message.url ?? '', message.headers.host, this.#domains);
        if (message.method === 'OPTIONS') reply = await this.#preflight(message, target);
        else {
          const question = target.bucketName === undefined ? undefined : crossOrigin(message.method ?? '', message.headers);
          if (question !== undefined) {
            const rule = matchCors((await this.#rules(target.bucketName as string)) ?? [], question);
            if (rule !== undefined) Object.assign(headers, corsHeaders(rule, question));
          }
          reply = await this.#answer(exchange, target, progress);
        }
        await send(exchange, reply);
      } catch (error) {
        if (error instanceof Truncated || response.headersSent) throw error;
        await send(exchange, this.#refusal(error, message, target, progress));
      }
      this.#tell(progress, exchange);
      log.debug({ requestId, method: message.method, path: target?.rawPath, status: response.statusCode, milliseconds: clock.now() - startedAt }, 's3 request');
    } catch (error) {
      // Too late for an answer. What was sent must not look whole.
      response.destroy();
      const cause = error instanceof Truncated ? error.cause : error;
      const fields = { requestId, method: message.method, path: target?.rawPath, err: cause };
      if (life.aborted) log.debug(fields, 'the client of an s3 request went away');
      else log.error(fields, 'the answer to an s3 request broke off');
    }
  }

  #tell({ request, code }: Progress, { response, sent }: Exchange): void {
    const { answered } = this.#options;
    if (answered === undefined || request?.bucketName === undefined) return;
    answered({ request, status: response.statusCode, code, bytes: sent === 0 ? undefined : sent, hostId: HOST_ID });
  }

  async #answer(exchange: Exchange, target: Target, progress: Progress): Promise<S3Reply> {
    const { message } = exchange;
    const { context } = this.#options;
    const method = message.method ?? '';
    const authentication = await this.#authenticator.authenticate({ method, target, headers: message.headers, rawHeaders: message.rawHeaders });
    const headers = textHeaders(message.headers);
    const body = new RequestBody(exchange.inflow, {
      headers: headersOf({ headers, query: target.query, caller: authentication.caller }),
      authentication,
      checksumOfBody: !(method === 'POST' && target.query.has('uploadId')),
    });
    const request = new IncomingRequest({
      requestId: progress.requestId,
      startedAt: progress.startedAt,
      life: progress.life,
      method,
      target,
      headers,
      body,
      source: message.socket.remoteAddress ?? '',
      secure: false,
      authenticator: this.#authenticator,
    });
    progress.request = request;
    request.authenticated(authentication.caller);
    if (target.bucketName === '') throw s3Error('InvalidBucketName', undefined, { BucketName: '' });
    const route = this.#routes.find(request);
    if (route === undefined) throw s3Error('MethodNotAllowed', undefined, { Method: method, ResourceType: levelOf(target).toUpperCase() });
    if (route.handle === undefined) throw s3Error('NotImplemented', undefined, { Operation: route.name });
    if (NEEDS_LENGTH.has(route.name) && headers['content-length'] === undefined && headers['transfer-encoding'] === undefined) {
      throw s3Error('MissingContentLength');
    }
    const reply = await route.handle(request, context);
    if (!request.decided && reply.status < 400) {
      await reply.body?.[Symbol.asyncIterator]().return?.();
      throw new Error(`${route.name} answered though nobody decided whether it may`);
    }
    return reply;
  }

  async #preflight(message: IncomingMessage, target: Target): Promise<S3Reply> {
    const question = preflight(message.headers);
    const rules = target.bucketName === undefined ? undefined : await this.#rules(target.bucketName);
    return { status: 200, headers: answerPreflight(rules, question, target.key === undefined ? 'BUCKET' : 'OBJECT') };
  }

  async #rules(bucketName: string): Promise<readonly CorsRule[] | undefined> {
    const { cors, context } = this.#options;
    if (cors !== undefined) return cors(bucketName);
    return (await context.objects.find(bucketName))?.config.cors;
  }

  #refusal(error: unknown, message: IncomingMessage, target: Target | undefined, progress: Progress): S3Reply {
    const { requestId } = progress;
    const where: Where = {
      bucketName: target?.bucketName,
      key: target?.key,
      version: target?.query.get('versionId'),
      uploadId: target?.query.get('uploadId'),
    };
    const refusal = toS3Error(error, where);
    progress.code = refusal.code;
    if (refusal.status >= 500) {
      const { log } = this.#options.context.service;
      log.error({ requestId, method: message.method, path: target?.rawPath, code: refusal.code, err: refusal.cause ?? refusal }, 's3 request failed');
    }
    return refusalReply(refusal, message, requestId, target);
  }
}

function refusalReply(error: S3Error, message: IncomingMessage, requestId: string, target: Target | undefined): S3Reply {
  if (message.method === 'HEAD' || error.status === 304) return { status: error.status, headers: { ...error.headers } };
  const path = target?.rawPath ?? message.url ?? '';
  return {
    status: error.status,
    headers: { ...error.headers, 'content-type': 'application/xml' },
    xml: errorXml(error, { resource: headerText(path), requestId, hostId: HOST_ID }),
  };
}

/** What is answered to what is no request at all: as bytes, because there is no response to write to. */
export function rawRefusal(error: S3Error): string {
  const requestId = newRequestId();
  const xml = errorXml(error, { resource: '', requestId, hostId: HOST_ID });
  const head = [
    `HTTP/1.1 ${error.status} ${error.code}`,
    'Content-Type: application/xml',
    `Content-Length: ${Buffer.byteLength(xml)}`,
    'Connection: close',
    `x-amz-request-id: ${requestId}`,
    `x-amz-id-2: ${HOST_ID}`,
    `Server: ${SERVER}`,
    `Date: ${new Date().toUTCString()}`,
  ];
  return `${head.join('\r\n')}\r\n\r\n${xml}`;
}

/** The same object unless a value is more than ASCII. */
function textHeaders(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  let texts: IncomingHttpHeaders | undefined;
  for (const name in headers) {
    const value = headers[name];
    if (typeof value !== 'string') continue;
    const text = headerText(value);
    if (text === value) continue;
    texts ??= { ...headers };
    texts[name] = text;
  }
  return texts ?? headers;
}

const levelOf = ({ bucketName, key }: Pick<S3Request, 'bucketName' | 'key'>): Route['level'] =>
  bucketName === undefined ? 'service' : key === undefined ? 'bucket' : 'object';

/** Routes by method and level; those that ask for parameters or headers before those that ask for none, in the order in which they were given. */
class RouteTable {
  readonly #particular = new Map<string, Route[]>();
  readonly #plain = new Map<string, Route>();

  constructor(routes: readonly Route[]) {
    for (const route of routes) {
      const place = `${route.method} ${route.level}`;
      if (route.query === undefined && route.header === undefined) {
        if (!this.#plain.has(place)) this.#plain.set(place, route);
        continue;
      }
      const known = this.#particular.get(place);
      if (known === undefined) this.#particular.set(place, [route]);
      else known.push(route);
    }
  }

  find(request: S3Request): Route | undefined {
    const place = `${request.method} ${levelOf(request)}`;
    for (const route of this.#particular.get(place) ?? []) if (matches(route, request)) return route;
    return this.#plain.get(place);
  }
}

function matches({ query, header }: Route, request: S3Request): boolean {
  if (header !== undefined && request.headers[header] === undefined) return false;
  for (const name in query) {
    const value = request.query.get(name);
    if (value === undefined || (query[name] !== true && query[name] !== value)) return false;
  }
  return true;
}
