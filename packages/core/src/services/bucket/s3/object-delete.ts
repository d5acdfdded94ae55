// DeleteObject and DeleteObjects: newest versions are hidden or gone, named ones are gone. One that is not there counts as deleted.
import { type Bucket, type Conditions, type DeleteOptions, type DeleteResult, ObjectError } from '../engine/types.ts';
import { allows, authorize } from './authorize.ts';
import { parseHttpDate } from './dates.ts';
import { s3Error, toS3Error } from './errors.ts';
import { bucketOf } from './find.ts';
import { demandOf, targetOf } from './object-access.ts';
import { bypasses, deleteConditionsOf, type Headers, headersOf } from './object-headers.ts';
import { etagsOf, isoTime } from './object-text.ts';
import { type Demand, type S3Context, S3Error, type S3Handler, type S3Request } from './types.ts';
import { document, element, list, type Node, optional, parseXml } from './xml.ts';

const MOST_KEYS = 1000;
/** 1,000 keys of 1,024 bytes, each character beyond ASCII written as a reference, and the elements around them. Read before anybody is asked about a key. */
const MOST_BYTES = 4 * 1024 * 1024;

const demandFor = (context: S3Context, bucket: Bucket, key: string, version: string | undefined): Demand => {
  const target = { bucket, key, version };
  const demand = demandOf(context, 's3:DeleteObject', target, version === undefined ? undefined : { 's3:VersionId': version });
  // What is not there is deleted already: nobody is told which it was.
  return { ...demand, object: undefined };
};

/** Whether the request wants it and the caller may. Who may not is refused where something is locked. */
async function mayBypass(request: S3Request, context: S3Context, headers: Headers, bucket: Bucket, key: string): Promise<boolean> {
  return bypasses(headers) && (await allows(request, context, { action: 's3:BypassGovernanceRetention', bucket, key }));
}

export const deleteObject: S3Handler = async (request, context) => {
  const { bucket, key, version } = await targetOf(request, context);
  await authorize(request, context, demandFor(context, bucket, key, version));
  const headers = headersOf(request);
  const result = await context.objects.delete(bucket, key, {
    version,
    bypassGovernance: await mayBypass(request, context, headers, bucket, key),
    conditions: deleteConditionsOf(headers),
    actor: request.actor,
  });
  return {
    status: 204,
    headers: { 'x-amz-delete-marker': result.deleteMarker ? 'true' : undefined, 'x-amz-version-id': bucket.versioning === 'off' ? undefined : result.version },
  };
};

// ---- many

interface Wanted {
  key: string;
  version: string | undefined;
  conditions: Conditions | undefined;
}

export function deletionsOf(bytes: Buffer): { wanted: Wanted[]; quiet: boolean } {
  const root = parseXml(bytes, { root: 'Delete' }).only('Object', 'Quiet');
  const objects = root.children('Object');
  if (objects.length === 0 || objects.length > MOST_KEYS) throw s3Error('MalformedXML');
  return { wanted: objects.map(wantedOf), quiet: root.boolean('Quiet') ?? false };
}

function wantedOf(node: Node): Wanted {
  node.only('Key', 'VersionId', 'ETag', 'LastModifiedTime', 'Size');
  const etag = node.text('ETag');
  const modified = node.text('LastModifiedTime');
  const ifMatchLastModified = modified === undefined ? undefined : (parseHttpDate(modified) ?? isoTime(modified));
  if (modified !== undefined && ifMatchLastModified === undefined) throw s3Error('MalformedXML');
  const conditions: Conditions = { ifMatch: etagsOf(etag), ifMatchSize: node.integer('Size'), ifMatchLastModified };
  return {
    key: node.needText('Key'),
    version: node.text('VersionId') || undefined,
    conditions: Object.values(conditions).some((condition) => condition !== undefined) ? conditions : undefined,
  };
}

type Outcome = DeleteResult | S3Error;

/** Refused for one key is not refused for the rest. */
async function refusal(request: S3Request, context: S3Context, bucket: Bucket, { key, version }: Wanted): Promise<S3Error | undefined> {
  try {
    await authorize(request, context, demandFor(context, bucket, key, version));
    return undefined;
  } catch (error) {
    if (error instanceof S3Error && error.code === 'AccessDenied') return error;
    throw error;
  }
}

export const deleteObjects: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  // Nobody outside may do anything here, so nothing of what they send has to be read.
  const { config, tenantId } = bucket;
  if (config.policy === undefined && config.acl === undefined && request.caller.tenantId !== tenantId) {
    await authorize(request, context, demandFor(context, bucket, '', undefined));
  }
  if (request.body.md5 === undefined && request.body.checksum === undefined) {
    throw s3Error('InvalidRequest', 'Missing required header for this request: Content-MD5 OR x-amz-checksum-*');
  }
  const { wanted, quiet } = deletionsOf(await request.body.bytes(MOST_BYTES));
  const outcomes: (Outcome | undefined)[] = [];
  const targets: ({ key: string } & Omit<DeleteOptions, 'actor'>)[] = [];
  for (const each of wanted) {
    const refused = each.key === '' ? s3Error('MalformedXML') : await refusal(request, context, bucket, each);
    outcomes.push(refused);
    if (refused === undefined) targets.push({ ...each, bypassGovernance: await mayBypass(request, context, headers, bucket, each.key) });
  }
  // Each key was decided about, even if the answer was no for all.
  request.decided = true;
  const done = (await context.objects.deleteMany(bucket, targets, request.actor)).values();
  const results = wanted.map((each, at): { each: Wanted; outcome: Outcome } => {
    const refused = outcomes[at];
    if (refused !== undefined) return { each, outcome: refused };
    const outcome = done.next().value as DeleteResult | ObjectError;
    const where = { bucketName: bucket.name, key: each.key, version: each.version };
    return { each, outcome: outcome instanceof ObjectError ? toS3Error(outcome, where) : outcome };
  });
  const deleted = results.flatMap(({ each, outcome }) => (outcome instanceof S3Error || quiet ? [] : [{ each, outcome }]));
  const failed = results.flatMap(({ each, outcome }) => (outcome instanceof S3Error ? [{ each, outcome }] : []));
  return {
    status: 200,
    xml: document('DeleteResult', [
      list('Deleted', deleted, ({ each, outcome }) => [
        element('Key', each.key),
        optional('VersionId', each.version),
        optional('DeleteMarker', outcome.deleteMarker ? true : undefined),
        optional('DeleteMarkerVersionId', outcome.deleteMarker ? outcome.version : undefined),
      ]),
      list('Error', failed, ({ each, outcome }) => [
        element('Key', each.key),
        optional('VersionId', each.version),
        element('Code', outcome.code),
        element('Message', outcome.message),
      ]),
    ]),
  };
};
