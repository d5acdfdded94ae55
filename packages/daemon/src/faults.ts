// Every failure of a request becomes a Fault with a status, here and nowhere else.
import { STATUS_CODES } from 'node:http';
import type { Log } from '@thecloud/core';
import { ERRORS, type ErrorBody, Fault, HEADER, statusOfError } from '@thecloud/core/contracts';

export const BODY_LIMIT = 1024 * 1024;
/** Inputs of reads, streams and channels travel in the request line; a program's arguments and environment need some room there. */
export const HEADER_LIMIT = 256 * 1024;

/** Seconds that a client is asked to wait before the same call again, where nothing tells better. */
const RETRY_AFTER = 1;

/** On every answer. Nothing that is served here is a page, to be framed, sniffed or kept. */
export const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
} as const;

/** `unauthenticated`, because of the token or key that came along, and not for want of one. */
export class RefusedToken extends Fault {
  constructor(message: string, options: ConstructorParameters<typeof Fault>[2] = {}) {
    super('unauthenticated', message, options);
  }
}

export const refusing = ({ message, hint, details }: Fault): RefusedToken => new RefusedToken(message, { details, ...(hint === undefined ? {} : { hint }) });

/** RFC 6750 §3. A description takes visible ASCII but for quotes. */
const challengeOf = (fault: Fault): string =>
  fault instanceof RefusedToken
    ? `Bearer realm="thecloud", error="invalid_token", error_description="${fault.message.replace(/[^\x20-\x7e]|["\\]/g, '')}"`
    : 'Bearer realm="thecloud"';

/** What a limit said about itself. */
function limitHeaders({ details }: Fault): Record<string, string> {
  const { retryAfter = RETRY_AFTER, limit } = (details ?? {}) as { retryAfter?: number; limit?: number };
  const reset = String(retryAfter);
  return { 'retry-after': reset, ...(limit === undefined ? {} : { 'ratelimit-limit': String(limit), 'ratelimit-remaining': '0', 'ratelimit-reset': reset }) };
}

/** What Fastify refuses before a handler runs, in our words. */
const refusals: Readonly<Record<string, () => Fault>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: () => new Fault('invalid_input', `The body is larger than ${BODY_LIMIT / 1024} KiB`),
  FST_ERR_CTP_INVALID_MEDIA_TYPE: () => new Fault('invalid_input', 'The body must be JSON, sent with the header `Content-Type: application/json`'),
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: () => new Fault('invalid_input', 'The body is not as long as Content-Length says'),
  FST_ERR_BAD_URL: () => new Fault('invalid_input', 'The path is not percent-encoded UTF-8'),
  FST_ERR_MAX_PARAM_LENGTH: () => new Fault('invalid_input', 'A part of the path is too long'),
};

/** The Fault to show for anything that was thrown. What nobody foresaw is logged with its stack, and shown as `internal` without it. */
export function faultOf(error: unknown, requestId: string, log: Log): Fault {
  if (error instanceof Fault) {
    error.requestId ??= requestId;
    return error;
  }
  const refusal = refusals[(error as { code?: string } | undefined)?.code ?? ''];
  const fault = refusal?.() ?? new Fault('internal', `Something unforeseen happened; the daemon's log tells more under ${requestId}`, { cause: error });
  fault.requestId = requestId;
  if (refusal === undefined) log.error({ requestId, err: error }, 'request failed unforeseen');
  return fault;
}

export interface ErrorAnswer {
  status: number;
  headers: Record<string, string>;
  body: ErrorBody;
}

/** For connections that no application answers on: a malformed request, a refused upgrade. They end with it. */
export function rawAnswer({ status, headers, body }: ErrorAnswer): string {
  const text = JSON.stringify(body);
  const lines = Object.entries({ ...headers, 'content-length': String(Buffer.byteLength(text)), connection: 'close' });
  return `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n${text}`;
}

export function errorAnswer(fault: Fault): ErrorAnswer {
  return {
    status: statusOfError(fault.code),
    headers: {
      ...SECURITY_HEADERS,
      'content-type': 'application/json; charset=utf-8',
      ...(fault.requestId === undefined ? {} : { [HEADER.requestId]: fault.requestId }),
      ...(ERRORS[fault.code].retry ? limitHeaders(fault) : {}),
      ...(fault.code === 'unauthenticated' ? { 'www-authenticate': challengeOf(fault) } : {}),
    },
    body: { error: fault.toJSON() },
  };
}
