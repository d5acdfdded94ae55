// CORS of a bucket: rules from XML and back, and which rule speaks for a request of a page of another origin.
import type { IncomingHttpHeaders } from 'node:http';
import { matches } from '../../../kernel/policy/index.ts';
import type { CorsRule } from '../engine/config.ts';
import { engineOf } from '../engine/objects.ts';
import type { Bucket } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import { NO_CONTENT, onBucket } from './find.ts';
import type { Route } from './types.ts';
import { document, list, type Node, optional, parseXml } from './xml.ts';

const MOST_BYTES = 64 * 1024;
const MOST_RULES = 100;
const METHODS = ['GET', 'PUT', 'HEAD', 'POST', 'DELETE'];
/** In it anything can be sent, and read: a header's name. */
const TOKEN = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

function ruleOf(node: Node): CorsRule {
  node.only('ID', 'AllowedHeader', 'AllowedMethod', 'AllowedOrigin', 'ExposeHeader', 'MaxAgeSeconds');
  const texts = (name: string): string[] => node.children(name).map((child) => child.value());
  const [id, maxAgeSeconds] = [node.text('ID'), node.integer('MaxAgeSeconds')];
  const rule: CorsRule = {
    ...(id === undefined ? {} : { id }),
    allowedOrigins: texts('AllowedOrigin'),
    allowedMethods: texts('AllowedMethod'),
    allowedHeaders: texts('AllowedHeader'),
    exposeHeaders: texts('ExposeHeader'),
    ...(maxAgeSeconds === undefined ? {} : { maxAgeSeconds }),
  };
  if (rule.allowedOrigins.length === 0 || rule.allowedMethods.length === 0 || (id ?? '').length > 255) throw s3Error('MalformedXML');
  const refuse = (message: string): never => {
    throw s3Error('InvalidRequest', message);
  };
  for (const method of rule.allowedMethods)
    if (!METHODS.includes(method)) refuse(`Found unsupported HTTP method in CORS config. Unsupported method is ${method}`);
  for (const origin of rule.allowedOrigins)
    if (origin.split('*').length > 2 || origin === '' || /\s/.test(origin)) refuse(`AllowedOrigin "${origin}" can not have more than one wildcard.`);
  for (const header of rule.allowedHeaders)
    if (header.split('*').length > 2 || !TOKEN.test(header)) refuse(`AllowedHeader "${header}" can not have more than one wildcard.`);
  for (const header of rule.exposeHeaders)
    if (header.includes('*') || !TOKEN.test(header))
      refuse(`ExposeHeader "${header}" contains wildcard. We currently do not support wildcard for ExposeHeader.`);
  return rule;
}

export function corsOf(bytes: Buffer): CorsRule[] {
  const rules = parseXml(bytes, { root: 'CORSConfiguration' }).only('CORSRule').children('CORSRule').map(ruleOf);
  if (rules.length === 0) throw s3Error('MalformedXML');
  if (rules.length > MOST_RULES) throw s3Error('InvalidRequest', `The number of CORS rules should not exceed allowed limit of ${MOST_RULES} rules.`);
  return rules;
}

export const corsXml = (rules: readonly CorsRule[]): string =>
  document('CORSConfiguration', [
    list('CORSRule', rules, (rule) => [
      optional('ID', rule.id),
      list('AllowedOrigin', rule.allowedOrigins, (text) => text),
      list('AllowedMethod', rule.allowedMethods, (text) => text),
      list('AllowedHeader', rule.allowedHeaders, (text) => text),
      list('ExposeHeader', rule.exposeHeaders, (text) => text),
      optional('MaxAgeSeconds', rule.maxAgeSeconds),
    ]),
  ]);

const VARY = 'Origin, Access-Control-Request-Headers, Access-Control-Request-Method';
const one = (headers: IncomingHttpHeaders, name: string): string | undefined => {
  const value = headers[name];
  return Array.isArray(value) ? value[0] : value;
};

function ruleFor(bucket: Bucket, origin: string, method: string, asked: readonly string[]): CorsRule | undefined {
  return bucket.config.cors?.find(
    ({ allowedOrigins, allowedMethods, allowedHeaders }) =>
      allowedOrigins.some((pattern) => matches(pattern, origin)) &&
      allowedMethods.includes(method) &&
      asked.every((header) => allowedHeaders.some((pattern) => matches(pattern.toLowerCase(), header))),
  );
}

const answered = (rule: CorsRule, origin: string): Record<string, string> => {
  const anyOrigin = rule.allowedOrigins.includes('*');
  return {
    'access-control-allow-origin': anyOrigin ? '*' : origin,
    'access-control-allow-methods': rule.allowedMethods.join(', '),
    ...(anyOrigin ? {} : { 'access-control-allow-credentials': 'true' }),
    ...(rule.exposeHeaders.length === 0 ? {} : { 'access-control-expose-headers': rule.exposeHeaders.join(', ') }),
    ...(rule.maxAgeSeconds === undefined ? {} : { 'access-control-max-age': String(rule.maxAgeSeconds) }),
    vary: VARY,
  };
};

/** Headers that an answer to this request has besides its own, errors too. Nothing where no rule speaks for it, or it names no origin. */
export function corsHeaders(bucket: Bucket | undefined, method: string, headers: IncomingHttpHeaders): Record<string, string> {
  const origin = one(headers, 'origin');
  if (origin === undefined || bucket?.config.cors === undefined) return {};
  // A request that says which method it is about is answered for that one, even when it is no preflight.
  const rule = ruleFor(bucket, origin, one(headers, 'access-control-request-method') ?? method, []);
  return rule === undefined ? {} : answered(rule, origin);
}

/** Of `OPTIONS`: what a browser asks before it sends something. Needs no signature. AccessDenied when no rule allows it. */
export function preflight(bucket: Bucket | undefined, headers: IncomingHttpHeaders): Record<string, string> {
  const [origin, method] = [one(headers, 'origin'), one(headers, 'access-control-request-method')];
  if (origin === undefined) throw s3Error('BadRequest', 'Insufficient information. Origin request header needed.');
  if (method === undefined || !METHODS.includes(method)) throw s3Error('BadRequest', `Invalid Access-Control-Request-Method: ${method ?? 'null'}`);
  if (bucket?.config.cors === undefined) throw s3Error('AccessForbidden', 'CORSResponse: CORS is not enabled for this bucket.');
  const asked = (one(headers, 'access-control-request-headers') ?? '')
    .split(',')
    .map((header) => header.trim().toLowerCase())
    .filter((header) => header !== '');
  const rule = ruleFor(bucket, origin, method, asked);
  if (rule === undefined)
    throw s3Error('AccessForbidden', 'CORSResponse: This CORS request is not allowed: no rule of the bucket has this origin, method and these headers.');
  return { ...answered(rule, origin), ...(asked.length === 0 ? {} : { 'access-control-allow-headers': asked.join(', ') }) };
}

export const corsRoutes: Route[] = [
  {
    name: 'GetBucketCors',
    method: 'GET',
    level: 'bucket',
    query: { cors: true },
    handle: onBucket('s3:GetBucketCORS', (_request, _context, { name, config }) => {
      if (config.cors === undefined) throw s3Error('NoSuchCORSConfiguration', undefined, { BucketName: name });
      return { status: 200, xml: corsXml(config.cors) };
    }),
  },
  {
    name: 'PutBucketCors',
    method: 'PUT',
    level: 'bucket',
    query: { cors: true },
    handle: onBucket('s3:PutBucketCORS', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'cors', corsOf(await request.body.bytes(MOST_BYTES)), request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'DeleteBucketCors',
    method: 'DELETE',
    level: 'bucket',
    query: { cors: true },
    handle: onBucket('s3:PutBucketCORS', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'cors', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
];
