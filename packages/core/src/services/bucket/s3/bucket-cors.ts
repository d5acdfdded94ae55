// CORS rules of a bucket: from XML with the errors of AWS, and back. What they say of a request stands in cors.ts.
import type { CorsRule } from '../engine/config.ts';
import { engineOf } from '../engine/objects.ts';
import { s3Error } from './errors.ts';
import { NO_CONTENT, onBucket } from './find.ts';
import type { Route } from './types.ts';
import { document, list, type Node, optional, parseXml } from './xml.ts';

const MOST_BYTES = 64 * 1024;
const MOST_RULES = 100;
const METHODS = ['GET', 'PUT', 'HEAD', 'POST', 'DELETE'];
/** A header's name, with stars. */
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
