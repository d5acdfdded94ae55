// Every error that a caller can see is a Fault with a code from one table; everything else is a bug and becomes `internal`.
// A driver never throws a Fault: it throws a DriverError, because only the service knows what the failure means to the caller.

/** The error table: code → HTTP status → exit code → whether the same call may succeed later. Order is the order in the docs. */
export const ERRORS = {
  invalid_input: { status: 400, exit: 2, retry: false, meaning: 'The input breaks a rule; `details` names each field' },
  unauthenticated: { status: 401, exit: 3, retry: false, meaning: 'No valid credentials came with the call' },
  forbidden: { status: 403, exit: 3, retry: false, meaning: 'The principal may not do this' },
  not_found: { status: 404, exit: 4, retry: false, meaning: 'No such thing, or it belongs to another tenant' },
  conflict: { status: 409, exit: 5, retry: false, meaning: 'Taken, in use, or not possible in this state' },
  stale: { status: 412, exit: 5, retry: false, meaning: 'Changed since you read it' },
  quota_exceeded: { status: 429, exit: 6, retry: false, meaning: 'The tenant has reached a limit' },
  rate_limited: { status: 429, exit: 6, retry: true, meaning: 'Too many calls; slow down' },
  unsupported: { status: 501, exit: 7, retry: false, meaning: 'The driver in use cannot do this' },
  unavailable: { status: 503, exit: 8, retry: true, meaning: 'The daemon, or the backend it needs, cannot be reached' },
  insufficient_storage: { status: 507, exit: 8, retry: true, meaning: 'The disk is full; nothing was changed' },
  timeout: { status: 504, exit: 9, retry: true, meaning: 'Waiting ran out; the operation itself goes on' },
  internal: { status: 500, exit: 70, retry: false, meaning: 'A bug; the text stands in the daemon log under the request id' },
} as const satisfies Record<string, { status: number; exit: number; retry: boolean; meaning: string }>;

export type ErrorCode = keyof typeof ERRORS;

/** One thing wrong with one field: `path` as the caller wrote it (`ports.0.host`), `message` says what would be right. */
export interface FieldProblem {
  path: string;
  message: string;
}

export interface FaultOptions {
  /** Structured detail, shown to the caller. Never a secret. */
  details?: unknown;
  /** A command the user can type next. */
  hint?: string;
  cause?: unknown;
}

/** The form in which an error travels: HTTP bodies, `--output json`, stored operations. */
export interface FaultBody {
  code: ErrorCode;
  message: string;
  details?: unknown;
  hint?: string;
  requestId?: string;
}

/** An error that the caller is meant to read: one sentence, and what to do next. */
export class Fault extends Error {
  readonly code: ErrorCode;
  readonly details: unknown;
  readonly hint: string | undefined;
  requestId: string | undefined;

  constructor(code: ErrorCode, message: string, options: FaultOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Fault';
    this.code = code;
    this.details = options.details;
    this.hint = options.hint;
  }

  toJSON(): FaultBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.details === undefined ? {} : { details: this.details }),
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.requestId === undefined ? {} : { requestId: this.requestId }),
    };
  }

  static from(body: FaultBody): Fault {
    const fault = new Fault(body.code in ERRORS ? body.code : 'internal', body.message, {
      details: body.details,
      ...(body.hint === undefined ? {} : { hint: body.hint }),
    });
    fault.requestId = body.requestId;
    return fault;
  }
}

/**
 * What a backend answered, in the five words a controller can act on:
 * `bad_spec` will fail again until the spec changes, `busy` and `unavailable` are worth another try,
 * `full` (the disk is) when there is space again, `failed` is worth a few tries.
 */
export type DriverErrorCode = 'bad_spec' | 'busy' | 'unavailable' | 'full' | 'failed';

export class DriverError extends Error {
  readonly code: DriverErrorCode;
  /** A command the user can type to mend it. */
  readonly hint: string | undefined;

  constructor(code: DriverErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'DriverError';
    this.code = code;
    this.hint = options.hint;
  }
}
