// What keeps web pages out: by which name the daemon was asked for, and which page made the browser ask. A page that has its name point at 127.0.0.1
// (DNS rebinding) still sends that name; one of another site still sends its origin.
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { Fault, HEADER } from '@thecloud/core/contracts';
import { isLoopback } from './address.ts';

/** Host names besides those of this machine's loopback, and pages that may call. */
export interface Web {
  hosts: ReadonlySet<string>;
  origins: ReadonlySet<string>;
}

/** Throws `invalid_input`. */
export function webOf(hosts: readonly string[] = [], origins: readonly string[] = []): Web {
  return { hosts: new Set(hosts.map(hostFrom)), origins: new Set(origins.map(originFrom)) };
}

function hostFrom(text: string): string {
  const name = text.trim().toLowerCase();
  if (isIP(name) !== 0 || /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/.test(name)) return name;
  throw new Fault('invalid_input', `"${text}" is no host name: it takes one name, without scheme, port or *`, {
    hint: 'cloud daemon start --allowed-host cloud.example.com',
  });
}

function originFrom(text: string): string {
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.origin === text.trim().toLowerCase()) return url.origin;
  throw new Fault('invalid_input', `"${text}" is no origin: it takes scheme, host and perhaps a port`, {
    hint: 'cloud daemon start --allowed-origin https://app.example.com',
  });
}

/** Throws `forbidden` for a name that this daemon is not known by. */
export function checkHost(request: IncomingMessage, { hosts }: Web, listening: string): void {
  const given = request.headers.host ?? '';
  const name = (/^\[([^\]]+)\](?::\d*)?$/.exec(given)?.[1] ?? given.replace(/:\d*$/, '')).toLowerCase().replace(/\.$/, '');
  if (isLoopback(name) || name === listening.toLowerCase() || hosts.has(name)) return;
  // The address that was connected to, for those who listen on all: no page can have a name that is one.
  if (isIP(name) !== 0 && name === request.socket.localAddress?.replace(/^::ffff:(?=\d+\.)/, '')) return;
  throw new Fault('forbidden', `This daemon does not answer to the name ${JSON.stringify(given.slice(0, 255))}`, {
    hint: `cloud daemon start --allowed-host ${isIP(name) !== 0 || /^[a-z0-9._-]{1,253}$/.test(name) ? name : '<name>'}`,
  });
}

const LOOKS = new Set(['GET', 'HEAD', 'OPTIONS']);

const isSame = (origin: string, request: IncomingMessage): boolean => {
  const host = URL.parse(origin)?.host;
  return host !== undefined && host === URL.parse(`${origin.slice(0, origin.indexOf(':'))}://${request.headers.host}`)?.host;
};

/** Throws `forbidden` when a page of another site would change something, or open a connection that it could read from. */
export function checkOrigin(request: IncomingMessage, { origins }: Web, upgrade: boolean): void {
  const { origin } = request.headers;
  if (origin === undefined || (!upgrade && LOOKS.has(request.method ?? ''))) return;
  if (origins.has(origin) || isSame(origin, request)) return;
  throw new Fault('forbidden', `Pages of ${JSON.stringify(origin.slice(0, 255))} may not call this daemon`, {
    hint: `cloud daemon start --allowed-origin ${URL.parse(origin) === null ? '<origin>' : new URL(origin).origin}`,
  });
}

const EXPOSED = [HEADER.requestId, HEADER.operation, HEADER.etag, HEADER.replayed, 'location', 'retry-after', 'www-authenticate'].join(', ');
const SENT = ['authorization', 'content-type', HEADER.tenant, HEADER.idempotencyKey, HEADER.ifMatch, HEADER.requestId].join(', ');

/** Headers by which a browser lets a page see the answer: none, unless the page's origin is allowed by name. */
export function crossOriginHeaders(request: IncomingMessage, { origins }: Web): Record<string, string> {
  if (origins.size === 0) return {};
  const { origin } = request.headers;
  if (origin === undefined || !origins.has(origin)) return { vary: 'Origin' };
  return { vary: 'Origin', 'access-control-allow-origin': origin, 'access-control-expose-headers': EXPOSED };
}

/** The answer to the question that browsers ask first, or undefined when this is not one, or not from an allowed page. */
export function preflightHeaders(request: IncomingMessage, { origins }: Web, methods: readonly string[]): Record<string, string> | undefined {
  const { origin } = request.headers;
  if (request.method !== 'OPTIONS' || origin === undefined || !origins.has(origin) || request.headers['access-control-request-method'] === undefined) {
    return undefined;
  }
  return { 'access-control-allow-methods': methods.join(', '), 'access-control-allow-headers': SENT, 'access-control-max-age': '600' };
}
