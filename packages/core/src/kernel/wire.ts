// How contracts look in HTTP: routes, statuses, query strings, stream and channel frames. Nothing here decides anything.
import { z } from 'zod';
import { type Contract, inputShape, type Operation, unwrap } from './contract.ts';
import type { ErrorCode, FaultBody } from './errors.ts';
import { ERRORS } from './errors.ts';

export const API_PREFIX = '/v1';

/** Header names, lower case. */
export const HEADER = {
  operation: 'operation',
  requestId: 'x-request-id',
  idempotencyKey: 'idempotency-key',
  tenant: 'x-tenant',
  ifMatch: 'if-match',
  etag: 'etag',
  /** `true` on an answer that was given before to the same idempotency key. */
  replayed: 'idempotency-replayed',
} as const;

export interface Route {
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  /** `/v1/queues/{queue}/send`; the parameter is the target. */
  path: string;
  /** Input travels in the query string, not in a body. */
  query: boolean;
}

/** The parameter in a route that holds the target. */
export const targetParameter = (service: string): string => service.replaceAll('-', '_');

/** Streams are GET with server-sent events; channels are GET upgraded to a WebSocket. */
export function routeOf(contract: Contract, name: string, operation: Operation): Route {
  const collection = `${API_PREFIX}/${contract.resource.plural}`;
  const item = `${collection}/{${targetParameter(contract.resource.name)}}`;
  switch (operation.standard ?? named(name, operation)) {
    case 'create':
      return { method: 'POST', path: collection, query: false };
    case 'list':
      return { method: 'GET', path: collection, query: true };
    case 'get':
      return { method: 'GET', path: item, query: true };
    case 'update':
      return { method: 'PATCH', path: item, query: false };
    case 'delete':
      return { method: 'DELETE', path: item, query: true };
    case undefined:
      break;
  }
  const path = `${operation.target ? item : collection}/${kebab(name)}`;
  return operation.kind === 'write' ? { method: 'POST', path, query: false } : { method: 'GET', path, query: true };
}

/** A service's own `list` and `get` have the routes of the standard ones. */
function named(name: string, operation: Operation): 'list' | 'get' | undefined {
  if (operation.kind !== 'read') return undefined;
  return name === 'list' && !operation.target ? 'list' : name === 'get' && operation.target ? 'get' : undefined;
}

/** `attachVolume` → `attach-volume`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
/** `ssh-key` → `sshKey`. */
export const camel = (name: string): string => name.replace(/-([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

export const statusOfError = (code: ErrorCode): number => ERRORS[code].status;

/** Body of every error answer. */
export interface ErrorBody {
  error: FaultBody;
}

/** Query parameters of an input: strings as they are, lists repeated, anything nested as JSON. */
export function encodeQuery(input: Record<string, unknown>): URLSearchParams {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(input)) {
    if (value === undefined) continue;
    for (const item of Array.isArray(value) ? value : [value]) query.append(key, typeof item === 'object' ? JSON.stringify(item) : String(item));
  }
  return query;
}

/** The inverse, by the schema's types. What cannot be converted stays a string, so that validation names the field. */
export function decodeQuery(operation: Operation, query: URLSearchParams): Record<string, unknown> {
  const shape = inputShape(operation);
  const input: Record<string, unknown> = {};
  for (const key of new Set(query.keys())) {
    const schema = shape[key];
    const inner = schema === undefined ? undefined : unwrap(schema);
    const all = query.getAll(key);
    input[key] = inner instanceof z.ZodArray ? all.map((text) => scalar(inner.def.element as z.ZodType, text)) : scalar(inner, all[all.length - 1] ?? '');
  }
  return input;
}

function scalar(schema: z.ZodType | undefined, text: string): unknown {
  const inner = schema === undefined ? undefined : unwrap(schema);
  if (inner instanceof z.ZodNumber) return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text;
  if (inner instanceof z.ZodBoolean) return text === 'true' ? true : text === 'false' ? false : text;
  if (inner instanceof z.ZodObject || inner instanceof z.ZodRecord) {
    try {
      return JSON.parse(text);
    } catch {
      return text; // validation will say what was expected here
    }
  }
  return text;
}

/**
 * Channel frames over a WebSocket. Binary: one byte that names the pipe, then its bytes. Text: one JSON control frame.
 * `input` goes from client to server, the other two come back; the server closes after `result` or `error`.
 */
export const PIPE = { input: 0, output: 1, error: 2 } as const;
export type ChannelFrame =
  | { type: 'end'; pipe: 0 | 1 | 2 }
  | { type: 'control'; control: { type: 'resize'; columns: number; rows: number } }
  | { type: 'result'; result: unknown }
  | { type: 'error'; error: FaultBody };
export const CHANNEL_PROTOCOL = 'thecloud.channel.v1';
/** The subprotocol of a stream over a WebSocket: each text message is one item, an error closes with a final `{ "error": … }`. */
export const STREAM_PROTOCOL = 'thecloud.stream.v1';

export function frame(pipe: 0 | 1 | 2, bytes: Uint8Array): Uint8Array {
  const framed = new Uint8Array(bytes.length + 1);
  framed[0] = pipe;
  framed.set(bytes, 1);
  return framed;
}
