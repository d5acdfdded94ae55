// Every failure of a request becomes a Fault with a status, here and nowhere else.
import type { Log } from '@thecloud/core';
import { ERRORS, type ErrorBody, Fault, HEADER, statusOfError } from '@thecloud/core/contracts';

export const BODY_LIMIT = 1024 * 1024;
/** Inputs of reads, streams and channels travel in the request line; a program's arguments and environment need some room there. */
export const HEADER_LIMIT = 256 * 1024;

/** Seconds that a client is asked to wait before the same call again. */
const RETRY_AFTER = '1';

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

export function errorAnswer(fault: Fault): ErrorAnswer {
  return {
    status: statusOfError(fault.code),
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'cache-control': 'no-store',
      ...(fault.requestId === undefined ? {} : { [HEADER.requestId]: fault.requestId }),
      ...(ERRORS[fault.code].retry ? { 'retry-after': RETRY_AFTER } : {}),
      ...(fault.code === 'unauthenticated' ? { 'www-authenticate': 'Bearer realm="thecloud"' } : {}),
    },
    body: { error: fault.toJSON() },
  };
}
