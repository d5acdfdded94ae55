// Buckets themselves: list, create, head, delete. All routes of service and bucket level are put together here, and what is not implemented is named.

import { anonymous, type Principal } from '../../../kernel/authorize.ts';
import { Fault } from '../../../kernel/errors.ts';
import { bucketNameField, buckets } from '../contract.ts';
import { engineOf } from '../engine/objects.ts';
import type { Acl, Bucket } from '../engine/types.ts';
import { ownerContent } from './accounts.ts';
import { aclFromHeaders, privateAcl } from './acl.ts';
import { authorize } from './authorize.ts';
import { accessRoutes, ownershipOf } from './bucket-access.ts';
import { corsRoutes } from './bucket-cors.ts';
import { lifecycleRoutes } from './bucket-lifecycle.ts';
import { loggingRoutes } from './bucket-logging.ts';
import { notificationRoutes } from './bucket-notification.ts';
import { settingsRoutes } from './bucket-settings.ts';
import { s3Error } from './errors.ts';
import { NO_CONTENT, onBucket } from './find.ts';
import { isPublicAcl } from './public-access.ts';
import { MOST_BUCKET_TAGS, tagsOf } from './tagging.ts';
import type { Route, S3Context, S3Handler, S3Reply, S3Request } from './types.ts';
import { document, element, list, optional, parseXml } from './xml.ts';

const MOST_BYTES = 64 * 1024;
const MOST_LISTED = 10_000;
/** Rows read at once, while those are looked for whose names begin so. */
const PAGE = 1000;

const text = (request: S3Request, header: string): string | undefined => {
  const value = request.headers[header];
  return Array.isArray(value) ? value[0] : value;
};

async function listBuckets(request: S3Request, context: S3Context): Promise<S3Reply> {
  const { tenantId, principal } = request.caller;
  if (principal === undefined) {
    // Who has no account has no buckets: there is nothing to be refused.
    request.decided = true;
    return { status: 200, xml: document('ListAllMyBucketsResult', [element('Buckets', [])]) };
  }
  await authorize(request, context, { action: 's3:ListAllMyBuckets' });
  const most = request.query.get('max-buckets');
  const limit = most === undefined ? MOST_LISTED : /^\d{1,5}$/.test(most) ? Number(most) : 0;
  if (limit < 1 || limit > MOST_LISTED)
    throw s3Error('InvalidArgument', `Argument max-buckets must be an integer between 1 and ${MOST_LISTED}`, {
      ArgumentName: 'max-buckets',
      ArgumentValue: most ?? '',
    });
  const prefix = request.query.get('prefix') ?? '';
  const token = request.query.get('continuation-token');
  const found = await bucketsFrom(context, { tenantId, prefix, after: token === undefined ? '' : afterOf(token), limit: limit + 1 });
  const region = request.query.get('bucket-region');
  const shown = region !== undefined && region !== context.region ? [] : found.slice(0, limit);
  const last = found.length > limit ? shown.at(-1) : undefined;
  return {
    status: 200,
    xml: document('ListAllMyBucketsResult', [
      element('Owner', await ownerContent(context.service, tenantId)),
      element('Buckets', [
        list('Bucket', shown, ({ name, createdAt }) => [
          element('Name', name),
          element('CreationDate', new Date(createdAt).toISOString()),
          element('BucketRegion', context.region),
        ]),
      ]),
      optional('Prefix', prefix === '' ? undefined : prefix),
      optional('ContinuationToken', last === undefined ? undefined : Buffer.from(last.name).toString('base64url')),
    ]),
  };
}

function afterOf(token: string): string {
  const name = Buffer.from(token, 'base64url').toString();
  if (!/^[a-z0-9.-]{3,63}$/.test(name))
    throw s3Error('InvalidArgument', 'The continuation token provided is incorrect', { ArgumentName: 'continuation-token' });
  return name;
}

async function bucketsFrom({ service }: S3Context, page: { tenantId: string; prefix: string; after: string; limit: number }): Promise<Bucket[]> {
  const { buckets: registry } = engineOf(service);
  const found: Bucket[] = [];
  for (let { after } = page; found.length < page.limit; ) {
    const some = await registry.list({ tenantId: page.tenantId, after, limit: PAGE });
    found.push(...some.filter(({ name }) => name.startsWith(page.prefix)));
    const last = some.at(-1);
    if (last === undefined || some.length < PAGE) break;
    after = last.name;
  }
  return found.slice(0, page.limit);
}

/** What a new bucket is to be. */
interface Wanted {
  name: string;
  acl: Acl | undefined;
  ownership: ReturnType<typeof ownershipOf>;
  objectLock: boolean;
  tags: Record<string, string> | undefined;
}

async function wantedOf(request: S3Request, { service, region }: S3Context, name: string): Promise<Wanted> {
  const bytes = await request.body.bytes(MOST_BYTES);
  const root = bytes.length === 0 ? undefined : parseXml(bytes, { root: 'CreateBucketConfiguration' }).only('LocationConstraint', 'Location', 'Bucket', 'Tags');
  const location = root?.text('LocationConstraint')?.trim() ?? '';
  if (root?.child('Location') !== undefined || root?.child('Bucket') !== undefined)
    throw s3Error('NotImplemented', 'There are no directory buckets here, only buckets for general use');
  if (location !== '' && location !== region) {
    const message = `The ${location} location constraint is incompatible for the region specific endpoint this request was sent to.`;
    throw /^([a-z]{2}(-[a-z]+)+-\d|EU)$/.test(location)
      ? s3Error('IllegalLocationConstraintException', message)
      : s3Error('InvalidLocationConstraint', undefined, { LocationConstraint: location });
  }
  const asked = text(request, 'x-amz-object-ownership');
  const ownership = ownershipOf(asked);
  if (asked !== undefined && ownership === undefined)
    throw s3Error('InvalidArgument', 'Invalid x-amz-object-ownership header', { ArgumentName: 'x-amz-object-ownership', ArgumentValue: asked });
  const owner = request.caller.tenantId;
  const acl = await aclFromHeaders(service, request.headers, { kind: 'bucket', owner, bucketOwner: owner });
  const given = acl?.grants.some(({ grantee }) => grantee.kind !== 'tenant' || grantee.id !== owner) === true;
  if (ownership === 'BucketOwnerEnforced' && (given || isPublicAcl(acl))) throw s3Error('InvalidBucketAclWithObjectOwnership');
  const tags = root?.child('Tags')?.only('Tag').children('Tag');
  return {
    name,
    acl,
    ownership,
    objectLock: text(request, 'x-amz-bucket-object-lock-enabled')?.toLowerCase() === 'true',
    tags: tags === undefined ? undefined : tagsOf(tags, MOST_BUCKET_TAGS),
  };
}

const sameAcl = (a: Acl, b: Acl): boolean => {
  const texts = (acl: Acl): string[] => acl.grants.map((grant) => JSON.stringify([grant.grantee, grant.permission])).sort();
  return JSON.stringify(texts(a)) === JSON.stringify(texts(b));
};

/** A bucket of this name is there. One's own, made again as it is: done, as in us-east-1. */
function again(existing: Bucket, wanted: Wanted, tenantId: string): S3Reply {
  const elements = { BucketName: existing.name };
  if (existing.tenantId !== tenantId) throw s3Error('BucketAlreadyExists', undefined, elements);
  const plain = privateAcl(tenantId);
  if (!sameAcl(existing.config.acl ?? plain, wanted.acl ?? plain)) throw s3Error('BucketAlreadyExists', undefined, elements);
  if (wanted.objectLock !== existing.objectLock || wanted.ownership !== existing.config.ownership)
    throw s3Error('BucketAlreadyOwnedByYou', undefined, elements);
  return created(existing.name);
}
const created = (name: string): S3Reply => ({ status: 200, headers: { location: `/${name}` } });

/** A parameter without a value names a part of a bucket: what nobody here knows is not the bucket itself. */
function refuseParts({ query }: S3Request): void {
  for (const [name, value] of query) {
    if (value === '' && !/^x-/i.test(name)) throw s3Error('NotImplemented', undefined, { Header: name });
  }
}

async function createBucket(request: S3Request, context: S3Context): Promise<S3Reply> {
  refuseParts(request);
  const { service, objects } = context;
  const { principal, tenantId } = request.caller;
  const name = request.bucketName ?? '';
  if (!bucketNameField.safeParse(name).success) throw s3Error('InvalidBucketName', undefined, { BucketName: name });
  await authorize(request, context, { action: 's3:CreateBucket' });
  if (principal === undefined) throw s3Error('AccessDenied');
  const wanted = await wantedOf(request, context, name);
  const existing = await objects.find(name);
  if (existing !== undefined) return again(existing, wanted, tenantId);
  await authorizeWanted(request, context, wanted);
  const { bucket: client } = service.clientFor({ principal, tenantId, source: request.source, requestId: request.requestId }, { bucket: buckets });
  try {
    await client.create({ name, objectLock: wanted.objectLock, versioning: wanted.objectLock ? 'enabled' : 'off' });
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    if (error.code === 'quota_exceeded') throw s3Error('TooManyBuckets', error.message, undefined, { cause: error });
    const other = error.code === 'conflict' ? await objects.find(name) : undefined;
    if (other !== undefined) return again(other, wanted, tenantId);
    throw error;
  }
  await configure(request, context, wanted);
  return created(name);
}

/** What a bucket is configured with at once takes the same permissions as to configure it later. */
async function authorizeWanted(request: S3Request, context: S3Context, { acl, ownership, tags }: Wanted): Promise<void> {
  const plain = privateAcl(request.caller.tenantId);
  if (acl !== undefined && !sameAcl(acl, plain)) await authorize(request, context, { action: 's3:PutBucketAcl' });
  if (ownership !== undefined) await authorize(request, context, { action: 's3:PutBucketOwnershipControls' });
  if (tags !== undefined) await authorize(request, context, { action: 's3:PutBucketTagging' });
}

/** Until this is done, the bucket is as private as any. */
async function configure(request: S3Request, { service, objects }: S3Context, { name, acl, ownership, tags }: Wanted): Promise<void> {
  const bucket = await objects.find(name);
  if (bucket === undefined) throw s3Error('OperationAborted');
  const { buckets: registry } = engineOf(service);
  if (ownership !== undefined) await registry.setConfig(bucket, 'ownership', ownership, request.actor);
  if (acl !== undefined) await registry.setConfig(bucket, 'acl', acl, request.actor);
  if (tags !== undefined) await registry.setConfig(bucket, 'tags', tags, request.actor);
}

/** Somebody whom the bucket's tenant lets by the bucket's policy, as if they were of it: the audit names them, and the system is not asked, which deletes what is in it. */
const letIn = ({ id, name }: Principal, tenantId: string): Principal => ({
  ...{ id, kind: 'user', tenantId, roles: { [tenantId]: ['admin'] } },
  ...(name === undefined ? {} : { name }),
});

async function deleteBucket(request: S3Request, { service }: S3Context, bucket: Bucket): Promise<S3Reply> {
  refuseParts(request);
  const { tenantId } = bucket;
  const { caller, source, requestId } = request;
  const as = (principal: Principal): Promise<unknown> =>
    service.clientFor({ principal, tenantId, source, requestId }, { bucket: buckets }).bucket.delete(bucket.name);
  try {
    if (caller.principal !== undefined && caller.tenantId === tenantId) {
      try {
        await as(caller.principal);
        return NO_CONTENT;
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== 'forbidden') throw error;
      }
    }
    await as(letIn(caller.principal ?? anonymous, tenantId));
    return NO_CONTENT;
  } catch (error) {
    if (error instanceof Fault && error.code === 'conflict') throw s3Error('BucketNotEmpty', undefined, { BucketName: bucket.name }, { cause: error });
    throw error;
  }
}

/** What a bucket answers that never had such a configuration, and never can. */
const never = (action: string, code: Parameters<typeof s3Error>[0]): S3Handler =>
  onBucket(action, (_request, _context, { name }) => {
    throw s3Error(code, undefined, { BucketName: name });
  });
const nothing = (action: string, reply: S3Reply): S3Handler => onBucket(action, () => reply);

/** Kinds of configuration that there are several of, each with an id. */
const several = (query: string, name: string, list: string, permission: string): Route[] => [
  {
    name: `GetBucket${name}Configuration`,
    method: 'GET',
    level: 'bucket',
    query: { [query]: true, id: true },
    handle: never(permission, 'NoSuchConfiguration'),
  },
  {
    name: `ListBucket${name}Configurations`,
    method: 'GET',
    level: 'bucket',
    query: { [query]: true },
    handle: nothing(permission, { status: 200, xml: document(list, [element('IsTruncated', false)]) }),
  },
  { name: `PutBucket${name}Configuration`, method: 'PUT', level: 'bucket', query: { [query]: true } },
  { name: `DeleteBucket${name}Configuration`, method: 'DELETE', level: 'bucket', query: { [query]: true } },
];

const absentRoutes: Route[] = [
  { name: 'GetBucketWebsite', method: 'GET', level: 'bucket', query: { website: true }, handle: never('s3:GetBucketWebsite', 'NoSuchWebsiteConfiguration') },
  { name: 'PutBucketWebsite', method: 'PUT', level: 'bucket', query: { website: true } },
  { name: 'DeleteBucketWebsite', method: 'DELETE', level: 'bucket', query: { website: true }, handle: nothing('s3:DeleteBucketWebsite', NO_CONTENT) },
  {
    name: 'GetBucketReplication',
    method: 'GET',
    level: 'bucket',
    query: { replication: true },
    handle: never('s3:GetReplicationConfiguration', 'ReplicationConfigurationNotFoundError'),
  },
  { name: 'PutBucketReplication', method: 'PUT', level: 'bucket', query: { replication: true } },
  {
    name: 'DeleteBucketReplication',
    method: 'DELETE',
    level: 'bucket',
    query: { replication: true },
    handle: nothing('s3:PutReplicationConfiguration', NO_CONTENT),
  },
  {
    name: 'GetBucketAccelerateConfiguration',
    method: 'GET',
    level: 'bucket',
    query: { accelerate: true },
    handle: nothing('s3:GetAccelerateConfiguration', { status: 200, xml: document('AccelerateConfiguration', []) }),
  },
  { name: 'PutBucketAccelerateConfiguration', method: 'PUT', level: 'bucket', query: { accelerate: true } },
  ...several('analytics', 'Analytics', 'ListBucketAnalyticsConfigurationResult', 's3:GetAnalyticsConfiguration'),
  ...several('inventory', 'Inventory', 'ListInventoryConfigurationsResult', 's3:GetInventoryConfiguration'),
  ...several('metrics', 'Metrics', 'ListMetricsConfigurationsResult', 's3:GetMetricsConfiguration'),
  ...several('intelligent-tiering', 'IntelligentTiering', 'ListBucketIntelligentTieringConfigurationsOutput', 's3:GetIntelligentTieringConfiguration'),
  { name: 'CreateBucketMetadataTableConfiguration', method: 'POST', level: 'bucket', query: { metadataTable: true } },
  { name: 'GetBucketMetadataTableConfiguration', method: 'GET', level: 'bucket', query: { metadataTable: true } },
  { name: 'DeleteBucketMetadataTableConfiguration', method: 'DELETE', level: 'bucket', query: { metadataTable: true } },
  { name: 'CreateSession', method: 'GET', level: 'bucket', query: { session: true } },
];

/** Those with a parameter; lists of objects, which have none, stand after them. */
export const bucketRoutes: Route[] = [
  ...accessRoutes,
  ...settingsRoutes,
  ...corsRoutes,
  ...lifecycleRoutes,
  ...notificationRoutes,
  ...loggingRoutes,
  {
    name: 'GetBucketLocation',
    method: 'GET',
    level: 'bucket',
    query: { location: true },
    // The first region of all has no name here.
    handle: onBucket('s3:GetBucketLocation', (_request, { region }) => ({
      status: 200,
      xml: document('LocationConstraint', region === 'us-east-1' ? '' : region),
    })),
  },
  ...absentRoutes,
  { name: 'CreateBucket', method: 'PUT', level: 'bucket', handle: createBucket },
  {
    name: 'HeadBucket',
    method: 'HEAD',
    level: 'bucket',
    handle: onBucket('s3:ListBucket', (_request, { region }) => ({
      status: 200,
      headers: { 'x-amz-bucket-region': region, 'x-amz-access-point-alias': 'false', 'content-type': 'application/xml' },
    })),
  },
  { name: 'DeleteBucket', method: 'DELETE', level: 'bucket', handle: onBucket('s3:DeleteBucket', deleteBucket) },
];

export const serviceRoutes: Route[] = [
  { name: 'ListDirectoryBuckets', method: 'GET', level: 'service', query: { 'directory-buckets': true } },
  { name: 'ListBuckets', method: 'GET', level: 'service', handle: listBuckets },
];
