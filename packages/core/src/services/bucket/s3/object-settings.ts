// What can be asked and changed about an object without its bytes: tags, ACL, retention and legal hold.
import type { Bucket, ObjectLock } from '../engine/types.ts';
import { aclXml, enforcesOwner, privateAcl, putAclOf } from './acl.ts';
import { allows, authorize } from './authorize.ts';
import { s3Error } from './errors.ts';
import { aclOf, allowedTarget, demandOf, targetOf } from './object-access.ts';
import { versionHeader } from './object-answer.ts';
import { bypasses, headersOf } from './object-headers.ts';
import { isoTime } from './object-text.ts';
import { MOST_OBJECT_TAGS, requestTagContext, taggingOf, taggingXml } from './tagging.ts';
import type { S3Handler } from './types.ts';
import { document, element, optional, parseXml } from './xml.ts';

const MOST_BYTES = 64 * 1024;

// ---- tags

export const getObjectTagging: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:GetObjectTagging');
  const { tags, info } = await context.objects.tags(bucket, key, version);
  return { status: 200, headers: versionHeader(bucket, info), xml: taggingXml(tags) };
};

export const putObjectTagging: S3Handler = async (request, context) => {
  const target = await targetOf(request, context);
  const tags = taggingOf(await request.body.bytes(MOST_BYTES), MOST_OBJECT_TAGS);
  await authorize(request, context, demandOf(context, 's3:PutObjectTagging', target, requestTagContext(tags)));
  const info = await context.objects.setTags(target.bucket, target.key, target.version, tags, request.actor);
  return { status: 200, headers: versionHeader(target.bucket, info) };
};

export const deleteObjectTagging: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:DeleteObjectTagging');
  const info = await context.objects.setTags(bucket, key, version, {}, request.actor);
  return { status: 204, headers: versionHeader(bucket, info) };
};

// ---- ACL

export const getObjectAcl: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:GetObjectAcl');
  const { info } = await context.objects.tags(bucket, key, version);
  const acl = enforcesOwner(bucket) ? privateAcl(bucket.tenantId) : aclOf(info);
  return { status: 200, headers: versionHeader(bucket, info), xml: await aclXml(context.service, acl) };
};

export const putObjectAcl: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:PutObjectAcl');
  const { info } = await context.objects.tags(bucket, key, version);
  const acl = await putAclOf(context.service, { headers: headersOf(request), body: request.body }, bucket, {
    kind: 'object',
    owner: info.attributes.owner,
    bucketOwner: bucket.tenantId,
  });
  // Where ACLs are out of use, one that gives nothing new is accepted and changes nothing.
  if (enforcesOwner(bucket)) return { status: 200, headers: versionHeader(bucket, info) };
  return { status: 200, headers: versionHeader(bucket, await context.objects.setAcl(bucket, key, version, acl, request.actor)) };
};

// ---- object lock

function checkLockable({ objectLock }: Bucket): void {
  if (!objectLock) throw s3Error('InvalidRequest', 'Bucket is missing Object Lock Configuration');
}

/** An empty one takes the retention away. */
export function retentionOf(bytes: Buffer): { mode: NonNullable<ObjectLock['mode']>; until: number } | undefined {
  const root = parseXml(bytes, { root: 'Retention' }).only('Mode', 'RetainUntilDate');
  const mode = root.text('Mode');
  const date = root.text('RetainUntilDate');
  if (mode === undefined && date === undefined) return undefined;
  if ((mode !== 'GOVERNANCE' && mode !== 'COMPLIANCE') || date === undefined) throw s3Error('MalformedXML');
  const until = isoTime(date);
  if (until === undefined) throw s3Error('MalformedXML');
  return { mode, until };
}

export const getObjectRetention: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:GetObjectRetention');
  checkLockable(bucket);
  const { info } = await context.objects.tags(bucket, key, version);
  const { mode, until } = info.attributes.lock ?? {};
  if (mode === undefined) throw s3Error('NoSuchObjectLockConfiguration', undefined, { Key: key });
  return {
    status: 200,
    xml: document('Retention', [element('Mode', mode), optional('RetainUntilDate', until === undefined ? undefined : new Date(until).toISOString())]),
  };
};

export const putObjectRetention: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:PutObjectRetention');
  checkLockable(bucket);
  const retention = retentionOf(await request.body.bytes(MOST_BYTES));
  const bypassGovernance = bypasses(headersOf(request)) && (await allows(request, context, { action: 's3:BypassGovernanceRetention', bucket, key }));
  const info = await context.objects.setLock(bucket, key, version, retention ?? { mode: null, until: null }, { actor: request.actor, bypassGovernance });
  return { status: 200, headers: versionHeader(bucket, info) };
};

export const getObjectLegalHold: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:GetObjectLegalHold');
  checkLockable(bucket);
  const { info } = await context.objects.tags(bucket, key, version);
  const hold = info.attributes.lock?.legalHold;
  if (hold === undefined) throw s3Error('NoSuchObjectLockConfiguration', undefined, { Key: key });
  return { status: 200, xml: document('LegalHold', [element('Status', hold ? 'ON' : 'OFF')]) };
};

export const putObjectLegalHold: S3Handler = async (request, context) => {
  const { bucket, key, version } = await allowedTarget(request, context, 's3:PutObjectLegalHold');
  checkLockable(bucket);
  const status = parseXml(await request.body.bytes(MOST_BYTES), { root: 'LegalHold' })
    .only('Status')
    .text('Status');
  if (status !== 'ON' && status !== 'OFF') throw s3Error('MalformedXML');
  const change = { legalHold: status === 'ON' };
  const info = await context.objects.setLock(bucket, key, version, change, { actor: request.actor, bypassGovernance: false });
  return { status: 200, headers: versionHeader(bucket, info) };
};
