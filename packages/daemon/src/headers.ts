// What travels in request headers, checked before anything is done with it.
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import type { Invocation } from '@thecloud/core';
import { decodeQuery, Fault, HEADER } from '@thecloud/core/contracts';
import type { Caller } from './access.ts';
import type { Endpoint } from './endpoints.ts';

const SANE_ID = /^[\w.:-]{1,128}$/;

/** The client's own request id when it is short and plain, else a new one. */
export function requestIdOf(headers: IncomingHttpHeaders): string {
  const given = headers[HEADER.requestId];
  return typeof given === 'string' && SANE_ID.test(given) ? given : `req-${randomUUID()}`;
}

const one = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
};

/** `"3"`, `W/"3"` or `3`; `*` asks for nothing that a target does not ask for anyway. */
function ifMatchOf(headers: IncomingHttpHeaders): number | undefined {
  const text = one(headers, HEADER.ifMatch)?.trim();
  if (text === undefined || text === '*') return undefined;
  const digits = /^(?:(?:W\/)?"(\d{1,15})"|(\d{1,15}))$/.exec(text);
  if (digits === null) throw new Fault('invalid_input', `If-Match: ${text} is not a generation; send one as "3", the ETag of the answer that you read`);
  return Number(digits[1] ?? digits[2]);
}

function idempotencyKeyOf(headers: IncomingHttpHeaders): string | undefined {
  const key = one(headers, HEADER.idempotencyKey);
  if (key !== undefined && !/^[\x21-\x7e]{1,255}$/.test(key)) throw new Fault('invalid_input', 'Idempotency-Key must be 1 to 255 visible ASCII characters');
  return key;
}

const queryOf = (url: string | undefined): URLSearchParams => {
  const at = (url ?? '').indexOf('?');
  return new URLSearchParams(at === -1 ? '' : (url ?? '').slice(at + 1));
};

/** The path as it was sent, still percent-encoded. */
export const pathOf = (url: string | undefined): string => (url ?? '/').split('?', 1)[0] ?? '/';

/** The call that a request means. `body` is that of an operation whose input does not travel in the query string. */
export function invocationOf(
  endpoint: Endpoint,
  request: IncomingMessage,
  rest: { caller: Caller; requestId: string; target: string | undefined; body?: unknown; signal?: AbortSignal },
): Invocation {
  const { headers } = request;
  if (endpoint.route.query && (Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined)) {
    throw new Fault('invalid_input', `${endpoint.route.method} takes its input in the query string, not in a body`);
  }
  return {
    service: endpoint.service,
    operation: endpoint.name,
    target: rest.target,
    input: endpoint.route.query ? decodeQuery(endpoint.operation, queryOf(request.url)) : (rest.body ?? {}),
    principal: rest.caller.principal,
    tenant: one(headers, HEADER.tenant) || undefined,
    ifMatch: ifMatchOf(headers),
    idempotencyKey: endpoint.operation.kind === 'write' ? idempotencyKeyOf(headers) : undefined,
    requestId: rest.requestId,
    source: rest.caller.source,
    signal: rest.signal,
  };
}
