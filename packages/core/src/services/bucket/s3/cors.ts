// Cross-origin requests by the rules of a bucket: which rule fits, and what browsers are told then.
import type { CorsRule } from '../engine/config.ts';
import { s3Error } from './errors.ts';

export interface CorsQuestion {
  readonly origin: string;
  readonly method: string;
  /** Lower case, of a preflight. */
  readonly headers: readonly string[];
}

/** `*` stands for any characters, once, as S3 has it. */
function fits(pattern: string, text: string): boolean {
  const star = pattern.indexOf('*');
  if (star < 0) return pattern === text;
  const before = pattern.slice(0, star);
  const after = pattern.slice(star + 1);
  return text.length >= before.length + after.length && text.startsWith(before) && text.endsWith(after);
}

/** The first rule that allows all of it. */
export function matchCors(rules: readonly CorsRule[], { origin, method, headers }: CorsQuestion): CorsRule | undefined {
  return rules.find(
    (rule) =>
      rule.allowedMethods.includes(method) &&
      rule.allowedOrigins.some((pattern) => fits(pattern, origin)) &&
      headers.every((header) => rule.allowedHeaders.some((pattern) => fits(pattern.toLowerCase(), header))),
  );
}

export function corsHeaders(rule: CorsRule, { origin, headers }: CorsQuestion): Record<string, string> {
  // A bucket that is open to everyone says so, and then browsers send no credentials.
  const everyone = rule.allowedOrigins.includes('*');
  return {
    'access-control-allow-origin': everyone ? '*' : origin,
    'access-control-allow-methods': rule.allowedMethods.join(', '),
    ...(headers.length === 0 ? {} : { 'access-control-allow-headers': headers.join(', ') }),
    ...(rule.exposeHeaders.length === 0 ? {} : { 'access-control-expose-headers': rule.exposeHeaders.join(', ') }),
    ...(rule.maxAgeSeconds === undefined ? {} : { 'access-control-max-age': String(rule.maxAgeSeconds) }),
    ...(everyone ? {} : { 'access-control-allow-credentials': 'true' }),
    vary: VARY,
  };
}
const VARY = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method';

const METHODS = new Set(['GET', 'PUT', 'HEAD', 'POST', 'DELETE']);
type Header = string | string[] | undefined;
const single = (value: Header): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
const listed = (value: Header): string[] =>
  (single(value) ?? '')
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');

interface CorsRequestHeaders {
  readonly origin?: string | undefined;
  readonly 'access-control-request-method'?: Header;
  readonly 'access-control-request-headers'?: Header;
}

/** What an OPTIONS request asks. BadRequest for one that is no preflight. */
export function preflight(headers: CorsRequestHeaders): CorsQuestion {
  const origin = single(headers.origin);
  if (origin === undefined) throw s3Error('BadRequest', 'Insufficient information. Origin request header needed.');
  const method = single(headers['access-control-request-method']);
  if (method === undefined || !METHODS.has(method)) {
    throw s3Error('BadRequest', `Invalid Access-Control-Request-Method: ${method ?? 'null'}`);
  }
  return { origin, method, headers: listed(headers['access-control-request-headers']) };
}

/** What any other request asks; undefined for one that comes from no page. One that says what it would be asks as that. */
export function crossOrigin(method: string, headers: CorsRequestHeaders): CorsQuestion | undefined {
  const origin = single(headers.origin);
  if (origin === undefined) return undefined;
  return { origin, method: single(headers['access-control-request-method']) ?? method, headers: [] };
}

/** The answer to a preflight. AccessForbidden when no rule allows it. */
export function answerPreflight(rules: readonly CorsRule[] | undefined, question: CorsQuestion, level: 'BUCKET' | 'OBJECT'): Record<string, string> {
  const elements = { Method: question.method, ResourceType: level };
  if (rules === undefined || rules.length === 0) throw s3Error('AccessForbidden', undefined, elements);
  const rule = matchCors(rules, question);
  if (rule === undefined) {
    throw s3Error(
      'AccessForbidden',
      'CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource’s CORS spec.',
      elements,
    );
  }
  return corsHeaders(rule, question);
}
