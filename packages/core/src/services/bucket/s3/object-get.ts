// GET and HEAD of objects: ranges, parts, versions, conditions, and the headers that say what was found.

import type { GetOptions, ObjectInfo, Opened } from '../engine/types.ts';
import { ObjectError } from '../engine/types.ts';
import { allows } from './authorize.ts';
import { s3Error } from './errors.ts';
import { allowedTarget, demandOf, type Target } from './object-access.ts';
import { checksumHeaders, objectHeaders, TYPES } from './object-answer.ts';
import { customerKeyOf, refuseEncryptionOf } from './object-encryption.ts';
import { conditionsOf, type Headers, header, headersOf, invalid } from './object-headers.ts';
import { partNumberOf, rangeOf } from './object-range.ts';
import { fitsHeader } from './object-text.ts';
import type { S3Context, S3Handler, S3Reply, S3Request } from './types.ts';

/** Parameters that replace a header of the answer. */
const OVERRIDES = ['content-type', 'content-language', 'expires', 'cache-control', 'content-disposition', 'content-encoding'] as const;

function overridesOf({ query, caller }: S3Request): Record<string, string | undefined> {
  const headers: Record<string, string | undefined> = {};
  if (query.size === 0) return headers;
  for (const name of OVERRIDES) {
    const value = query.get(`response-${name}`);
    if (value === undefined) continue;
    // Else anybody could make a public object pass for something else.
    if (caller.principal === undefined) throw s3Error('InvalidRequest', 'Request specific response headers cannot be used for anonymous GET requests.');
    if (!fitsHeader(value)) throw invalid(`response-${name}`, value, 'A header cannot have control characters');
    headers[name] = value;
  }
  return headers;
}

function optionsOf(request: S3Request, headers: Headers, { version }: Target): Omit<GetOptions, 'signal'> {
  refuseEncryptionOf(headers);
  return {
    version,
    part: partNumberOf(request.query.get('partNumber')),
    range: rangeOf(header(headers, 'range')),
    conditions: conditionsOf(headers),
    customerKey: customerKeyOf(headers),
    actor: request.actor,
  };
}

/** What only those are told who could ask for it by itself. */
async function guard(headers: Record<string, string | undefined>, request: S3Request, context: S3Context, target: Target, info: ObjectInfo): Promise<void> {
  const { lock, tags } = info.attributes;
  const may = (action: string): Promise<boolean> => allows(request, context, demandOf(context, action, target));
  if (tags !== undefined && Object.keys(tags).length > 0 && !(await may('s3:GetObjectTagging'))) headers['x-amz-tagging-count'] = undefined;
  if (lock?.mode !== undefined && (await may('s3:GetObjectRetention'))) {
    headers['x-amz-object-lock-mode'] = lock.mode;
    headers['x-amz-object-lock-retain-until-date'] = lock.until === undefined ? undefined : new Date(lock.until).toISOString();
  }
  if (lock?.legalHold !== undefined && (await may('s3:GetObjectLegalHold'))) headers['x-amz-object-lock-legal-hold'] = lock.legalHold ? 'ON' : 'OFF';
}

/** Of bytes that are sent whole, or of one part: a range has none that a client could check. */
function digests(headers: Headers, asked: Omit<GetOptions, 'signal'>, { info, partInfo }: Omit<Opened, 'body'>): Record<string, string | undefined> {
  if (header(headers, 'x-amz-checksum-mode')?.toUpperCase() !== 'ENABLED' || asked.range !== undefined) return {};
  if (asked.part === undefined || info.parts === undefined) return checksumHeaders(info.checksum);
  if (partInfo?.checksum === undefined) return {};
  return { ...checksumHeaders(partInfo.checksum, false), 'x-amz-checksum-type': TYPES[info.checksum?.type ?? 'composite'] };
}

async function replyOf(
  request: S3Request,
  context: S3Context,
  target: Target,
  headers: Headers,
  asked: Omit<GetOptions, 'signal'>,
  opened: Omit<Opened, 'body'>,
): Promise<S3Reply> {
  const { info, range, partial } = opened;
  const sent = partial && range !== undefined;
  const said = objectHeaders(target.bucket, info);
  if (info.attributes.lock !== undefined || info.attributes.tags !== undefined) await guard(said, request, context, target, info);
  Object.assign(said, digests(headers, asked, opened));
  if (asked.part !== undefined && info.parts !== undefined) said['x-amz-mp-parts-count'] = String(info.parts);
  said['content-length'] = String(range === undefined ? 0 : range.end - range.start + 1);
  if (sent) said['content-range'] = `bytes ${range.start}-${range.end}/${info.size}`;
  Object.assign(said, overridesOf(request));
  return { status: sent ? 206 : 200, headers: said };
}

/** Clients look at this header to tell a deleted object from one that never was. */
function absent(error: unknown, target: Target): unknown {
  if (!(error instanceof ObjectError) || error.problem !== 'no_such_key') return error;
  return s3Error('NoSuchKey', undefined, { Key: target.key }, { cause: error, headers: { 'x-amz-delete-marker': 'false' } });
}

/** The signal is made only if somebody asks for it: what is small and at hand is never waited for. */
const lately = (asked: Omit<GetOptions, 'signal'>, request: S3Request): GetOptions => ({
  ...asked,
  get signal() {
    return request.signal;
  },
});

export const getObject: S3Handler = async (request, context) => {
  const target = await allowedTarget(request, context, 's3:GetObject');
  const headers = headersOf(request);
  const asked = optionsOf(request, headers, target);
  try {
    const opened = await context.objects.get(target.bucket, target.key, lately(asked, request));
    const reply = await replyOf(request, context, target, headers, asked, opened);
    reply.body = opened.body;
    return reply;
  } catch (error) {
    throw absent(error, target);
  }
};

export const headObject: S3Handler = async (request, context) => {
  const target = await allowedTarget(request, context, 's3:GetObject');
  const headers = headersOf(request);
  const asked = optionsOf(request, headers, target);
  try {
    return await replyOf(request, context, target, headers, asked, await context.objects.head(target.bucket, target.key, asked));
  } catch (error) {
    throw absent(error, target);
  }
};
