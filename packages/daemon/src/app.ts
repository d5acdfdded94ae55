// The HTTP side of the core: one Fastify application, whatever listener a request came through. Routes come from the contracts.
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Answer, Core, Invocation, Log } from '@thecloud/core';
import { Fault, HEADER } from '@thecloud/core/contracts';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type Authenticate, type Caller, mustAdminister, mustBeKnown, RECHECK_MS, watchCall } from './access.ts';
import type { OpenCall, OpenCalls } from './calls.ts';
import { type Endpoint, methodsOf, routed, unknownRoute } from './endpoints.ts';
import { BODY_LIMIT, errorAnswer, faultOf, SECURITY_HEADERS } from './faults.ts';
import { invocationOf, pathOf, requestIdOf } from './headers.ts';
import { checkHost, checkOrigin, crossOriginHeaders, preflightHeaders, type Web } from './origin.ts';
import { serveEvents } from './stream.ts';

/** What a listener wants to know of a request before anything is done with it. */
export interface Door {
  authenticate: Authenticate;
  /** The host that it listens on. Undefined: a socket, which no name leads to. */
  host?: string;
}

/** By connection: each listener has its own door. */
export type Access = WeakMap<Socket, Door>;

/** Throws `forbidden` for requests that a browser was talked into. */
export function doorOf(access: Access, web: Web, request: IncomingMessage, upgrade = false): Door {
  const door = access.get(request.socket as Socket);
  if (door === undefined) throw new Fault('unauthenticated', 'This connection came through no known listener');
  if (door.host !== undefined) checkHost(request, web, door.host);
  checkOrigin(request, web, upgrade);
  return door;
}

export interface AppOptions {
  core: Core;
  log: Log;
  access: Access;
  calls: OpenCalls;
  web: Web;
  /** How often it is asked again whether what stays open is still allowed. Default: every 30 seconds. */
  recheckMs?: number | undefined;
}

declare module 'fastify' {
  interface FastifyContextConfig {
    endpoint?: Endpoint;
  }
}

const JSON_TYPE = 'application/json; charset=utf-8';

/** An unchanged answer is the same object, so its JSON is made once. */
const bodies = new WeakMap<object, Buffer>();
function bodyOf(value: unknown): Buffer {
  if (typeof value !== 'object' || value === null) return Buffer.from(JSON.stringify(value ?? null));
  let body = bodies.get(value);
  if (body === undefined) {
    body = Buffer.from(JSON.stringify(value));
    bodies.set(value, body);
  }
  return body;
}

export async function createApp({ core, log, access, calls, web, recheckMs = RECHECK_MS }: AppOptions): Promise<FastifyInstance> {
  const callers = new WeakMap<FastifyRequest, Caller>();
  const app = fastify({
    logger: false,
    bodyLimit: BODY_LIMIT,
    exposeHeadRoutes: false,
    // Names of objects are targets, and percent-encoding triples a byte.
    routerOptions: { maxParamLength: 4096, querystringParser: () => ({}) },
    requestIdHeader: false,
    // The core validates, by the contracts. Fastify's own compilers would be loaded and never used: five megabytes.
    schemaController: { compilersFactory: { buildValidator: (() => () => () => true) as never, buildSerializer: () => () => JSON.stringify } },
    genReqId: (request: IncomingMessage) => requestIdOf(request.headers),
    frameworkErrors: (error, request, reply) => void fail(reply, faultOf(error, request.id, log)),
  });

  app.removeAllContentTypeParsers();
  app.addContentTypeParser(['application/json', 'application/merge-patch+json'], { parseAs: 'string' }, (_request, body, done) => {
    if (body === '') return done(null, undefined);
    try {
      done(null, JSON.parse(body as string));
    } catch (error) {
      done(new Fault('invalid_input', `The body is not JSON: ${(error as Error).message}`));
    }
  });

  app.addHook('onRequest', async (request, reply) => {
    reply.headers(SECURITY_HEADERS).header(HEADER.requestId, request.id);
    const door = doorOf(access, web, request.raw);
    reply.headers(crossOriginHeaders(request.raw, web));
    const path = pathOf(request.raw.url);
    const preflight = preflightHeaders(request.raw, web, methodsOf(path));
    if (preflight !== undefined) return reply.code(204).headers(preflight).send();
    if (path === '/healthz') return;
    const { endpoint } = request.routeOptions.config;
    const caller = await door.authenticate(request.raw, endpoint);
    // The core would say so too, after the body was read.
    if (endpoint?.operation.access !== 'anonymous') mustBeKnown(caller);
    callers.set(request, caller);
    const { standing } = caller;
    if (standing === undefined) return;
    reply.headers({ 'ratelimit-limit': standing.limit, 'ratelimit-remaining': standing.remaining, 'ratelimit-reset': standing.reset });
  });

  app.setErrorHandler((error, request, reply) => fail(reply, faultOf(error, request.id, log)));
  app.setNotFoundHandler((request, reply) => {
    const path = pathOf(request.raw.url);
    const methods = methodsOf(path);
    if (methods.length > 0) reply.header('allow', methods.join(', '));
    return fail(reply, faultOf(unknownRoute(request.method, path), request.id, log));
  });

  app.get('/healthz', (_request, reply) => reply.send({ ok: true }));
  app.get('/openapi.json', async (_request, reply) => {
    const { openapi } = await import('./openapi.ts');
    return reply.type(JSON_TYPE).send(bodyOf(openapi()));
  });
  app.get('/metrics', async (request, reply) => {
    mustAdminister(callers.get(request));
    const { metricsOf } = await import('./metrics.ts');
    const registry = metricsOf(core);
    return reply.type(registry.contentType).send(await registry.metrics());
  });

  for (const endpoint of routed) {
    app.route({
      method: endpoint.route.method,
      url: endpoint.route.path.replace(/\{(\w+)\}/, ':$1'),
      config: { endpoint },
      handler: async (request, reply) => {
        const caller = callers.get(request);
        if (caller === undefined) throw new Fault('unauthenticated', 'Nobody is known to have sent this call');
        await serve(endpoint, caller, request, reply);
        return reply;
      },
    });
  }

  async function serve(endpoint: Endpoint, caller: Caller, request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { kind } = endpoint.operation;
    if (kind === 'channel') {
      reply.header('upgrade', 'websocket');
      throw new Fault('invalid_input', `${endpoint.service} ${endpoint.name} carries bytes both ways: open it as a WebSocket`);
    }
    const target = endpoint.parameter === undefined ? undefined : (request.params as Record<string, string>)[endpoint.parameter];
    const call = { caller, requestId: request.id, target, body: request.body };
    // The core knows what is pointless without its client: a write that it has accepted goes on.
    const open = calls.open();
    reply.raw.once('close', open.abort);
    try {
      const invocation = invocationOf(endpoint, request.raw, { ...call, signal: open.signal });
      if (kind === 'read' || kind === 'write') return void answer(endpoint, reply, await core.invoke(invocation));
      const items = await core.stream(invocation);
      reply.hijack();
      const forget = whileGood(core, invocation, recheckMs, open, () => reply.raw.destroy());
      const headers = crossOriginHeaders(request.raw, web);
      await serveEvents(items, reply.raw, { requestId: request.id, call: open, log, headers }).finally(forget);
    } catch (error) {
      throw kind !== 'write' && open.ended !== undefined ? open.ended : error;
    } finally {
      reply.raw.off('close', open.abort); // every connection closes some time: an answer that was sent is not given up
      open.done();
    }
  }

  await app.ready();
  return app;
}

/** Long enough to be told why; a client that does not read is cut off. */
const LAST_WORDS_MS = 5_000;

/** Ends a call that stays open when its caller might not make it any more. Returns what to do when it is over. */
export function whileGood(core: Core, invocation: Invocation, every: number, call: OpenCall, cut: () => void): () => void {
  let cutting: NodeJS.Timeout | undefined;
  const forget = watchCall(core, invocation, every, (fault) => {
    call.end(fault);
    cutting = setTimeout(cut, LAST_WORDS_MS);
  });
  return () => {
    forget();
    clearTimeout(cutting);
  };
}

/** A generation is the ETag that If-Match compares. It does not change with the status, so it must never answer If-None-Match. */
function answer(endpoint: Endpoint, reply: FastifyReply, { value, operation, generation, replayed }: Answer): FastifyReply {
  const created = endpoint.operation.standard === 'create';
  if (operation !== undefined) reply.header(HEADER.operation, operation);
  if (generation !== undefined) reply.header(HEADER.etag, `"${generation}"`);
  if (replayed === true) reply.header(HEADER.replayed, 'true');
  if (created) reply.header('location', `${endpoint.route.path}/${encodeURIComponent((value as { id: string }).id)}`);
  return reply
    .code(operation !== undefined ? 202 : created ? 201 : 200)
    .type(JSON_TYPE)
    .send(bodyOf(value));
}

function fail(reply: FastifyReply, fault: Fault): FastifyReply {
  const { status, headers, body } = errorAnswer(fault);
  return reply.code(status).headers(headers).send(body);
}
