// What a request is about: bucket and key from its path or host, and its parameters. Keys are any UTF-8 and are kept to the byte: nothing is collapsed.
import { isUtf8 } from 'node:buffer';
import type { IncomingHttpHeaders } from 'node:http';
import { isIP } from 'node:net';
import type { Actor } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import type { Authenticator } from './sigv4.ts';
import type { Caller, S3Body, S3Request } from './types.ts';
import { decode } from './uri.ts';

/** Hosts whose subdomains are buckets. Browsers and resolvers take everything under `localhost` for this machine. */
export const DOMAINS: readonly string[] = ['localhost', 's3.localhost'];

export interface Target {
  /** As they came, one character for each byte. */
  readonly rawPath: string;
  readonly rawQuery: string;
  /** With the port, as the client wrote it. */
  readonly host: string;
  readonly bucketName: string | undefined;
  readonly key: string | undefined;
  readonly query: ReadonlyMap<string, string>;
  /** The bucket stands in the host. */
  readonly virtual: boolean;
}

const NO_QUERY: ReadonlyMap<string, string> = new Map();

/** `InvalidURI` for what cannot be decoded. */
export function parseTarget(url: string, host: string | undefined, domains: readonly string[] = DOMAINS): Target {
  let target = url;
  // A proxy's form, `http://host/path`: the host header says the same.
  if (!target.startsWith('/')) {
    const scheme = /^https?:\/\/[^/?]*/i.exec(target)?.[0];
    if (scheme === undefined) throw s3Error('InvalidURI', undefined, { URI: url });
    target = target.slice(scheme.length);
    if (!target.startsWith('/')) target = `/${target}`;
  }
  const mark = target.indexOf('?');
  const rawPath = mark < 0 ? target : target.slice(0, mark);
  const rawQuery = mark < 0 ? '' : target.slice(mark + 1);
  const query = rawQuery === '' ? NO_QUERY : parseQuery(rawQuery);
  const bucket = host === undefined ? undefined : bucketOfHost(host, domains);
  const common = { rawPath, rawQuery, host: host ?? '', query, virtual: bucket !== undefined };
  if (bucket !== undefined) return { ...common, bucketName: bucket, key: rawPath === '/' ? undefined : decoded(rawPath.slice(1)) };
  if (rawPath === '/') return { ...common, bucketName: undefined, key: undefined };
  const slash = rawPath.indexOf('/', 1);
  const rawBucket = slash < 0 ? rawPath.slice(1) : rawPath.slice(1, slash);
  const rawKey = slash < 0 ? '' : rawPath.slice(slash + 1);
  return { ...common, bucketName: decoded(rawBucket), key: rawKey === '' ? undefined : decoded(rawKey) };
}

const decoded = (raw: string): string => {
  const text = decode(raw);
  if (text === undefined) throw s3Error('InvalidURI', undefined, { URI: raw });
  return text;
};

function parseQuery(rawQuery: string): ReadonlyMap<string, string> {
  const query = new Map<string, string>();
  for (const part of rawQuery.split('&')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    const name = decode(equals < 0 ? part : part.slice(0, equals), true);
    const value = equals < 0 ? '' : decode(part.slice(equals + 1), true);
    if (name === undefined || value === undefined) throw s3Error('InvalidURI', undefined, { URI: part });
    if (!query.has(name)) query.set(name, value);
  }
  return query;
}

function bucketOfHost(host: string, domains: readonly string[]): string | undefined {
  let name = host;
  if (name.startsWith('[')) return undefined;
  const colon = name.lastIndexOf(':');
  if (colon >= 0) name = name.slice(0, colon);
  name = name.toLowerCase();
  if (name.endsWith('.')) name = name.slice(0, -1);
  if (domains.includes(name) || isIP(name) !== 0) return undefined;
  let bucket: string | undefined;
  for (const domain of domains) {
    // The longest domain that fits leaves the shortest name.
    if (name.length > domain.length + 1 && name.endsWith(domain) && name[name.length - domain.length - 1] === '.') {
      const before = name.slice(0, name.length - domain.length - 1);
      if (bucket === undefined || before.length < bucket.length) bucket = before;
    }
  }
  return bucket;
}

/**
 * Header values come as one character for each byte, too. Bytes that are no UTF-8 become lone surrogates (U+DC80 …), which no UTF-8 can hold: `wireText`
 * makes the same bytes of them again, so that clients that send Latin-1 get back what they sent.
 */
export function headerText(value: string): string {
  // Printable ASCII is the same either way, and is what nearly all of them are.
  if (/^[\t -~]*$/.test(value)) return value;
  const bytes = Buffer.from(value, 'latin1');
  return isUtf8(bytes) ? bytes.toString('utf8') : value.replace(/[\x80-\xff]/g, (byte) => String.fromCharCode(ESCAPE + byte.charCodeAt(0)));
}
const ESCAPE = 0xdc00;

/** Text as one character for each byte, as node:http wants it. */
export function wireText(text: string): string {
  if (/^[\t -~]*$/.test(text)) return text;
  if (text.isWellFormed()) return Buffer.from(text, 'utf8').toString('latin1');
  let value = '';
  for (const character of text) {
    const code = character.charCodeAt(0);
    const escaped = character.length === 1 && code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff;
    value += escaped ? String.fromCharCode(code - ESCAPE) : Buffer.from(character, 'utf8').toString('latin1');
  }
  return value;
}

export interface RequestFacts {
  requestId: string;
  method: string;
  target: Target;
  headers: IncomingHttpHeaders;
  source: string;
  secure: boolean;
  life: { readonly signal: AbortSignal };
  body: S3Body;
  startedAt: number;
  authenticator: Authenticator;
}

export const ANONYMOUS: Caller = { principal: undefined, tenantId: '', tenantName: '', accessKeyId: undefined, authType: 'ANONYMOUS' };

/** Built once per request. Who calls is filled in when it is known: of a form, after its fields have come. */
export class IncomingRequest implements S3Request {
  readonly requestId: string;
  readonly method: string;
  readonly rawPath: string;
  readonly bucketName: string | undefined;
  readonly key: string | undefined;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly source: string;
  readonly secure: boolean;
  readonly body: S3Body;
  readonly host: string;
  readonly startedAt: number;
  /** For who comes to be known later. */
  readonly authenticator: Authenticator;
  decided = false;
  readonly #life: RequestFacts['life'];
  #caller: Caller = ANONYMOUS;
  #actor: Actor | undefined;

  constructor(facts: RequestFacts) {
    this.requestId = facts.requestId;
    this.method = facts.method;
    this.rawPath = facts.target.rawPath;
    this.bucketName = facts.target.bucketName;
    this.key = facts.target.key;
    this.query = facts.target.query;
    this.headers = facts.headers;
    this.source = facts.source;
    this.secure = facts.secure;
    this.#life = facts.life;
    this.body = facts.body;
    this.host = facts.target.host;
    this.startedAt = facts.startedAt;
    this.authenticator = facts.authenticator;
  }

  get signal(): AbortSignal {
    return this.#life.signal;
  }
  get caller(): Caller {
    return this.#caller;
  }
  get actor(): Actor {
    this.#actor ??= {
      principal: this.#caller.principal?.id ?? 'anonymous',
      speaker: this.#caller.principal,
      principalName: this.#caller.principal?.name,
      tenantId: this.#caller.tenantId,
      credential: this.#caller.principal?.credential?.id ?? this.#caller.accessKeyId,
      source: this.source,
      requestId: this.requestId,
    };
    return this.#actor;
  }

  /** Once it has been proved. */
  authenticated(caller: Caller): void {
    this.#caller = caller;
    this.#actor = undefined;
  }
}
