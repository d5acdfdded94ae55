// Who may do what with a bucket, as S3 clients configure it: policy, ACL, public access block, ownership of objects.
import type { BucketConfig } from '../engine/config.ts';
import { engineOf } from '../engine/objects.ts';
import { aclXml, privateAcl, putAclOf } from './acl.ts';
import { s3Error } from './errors.ts';
import { NO_CONTENT, onBucket } from './find.ts';
import { policyOf } from './policy.ts';
import { isPublicAcl, publicAccessBlockOf, publicAccessBlockXml, readAllowedPolicy } from './public-access.ts';
import type { Route } from './types.ts';
import { document, element, parseXml } from './xml.ts';

const MOST_BYTES = 64 * 1024;
const OWNERSHIPS = ['BucketOwnerEnforced', 'BucketOwnerPreferred', 'ObjectWriter'] as const satisfies readonly BucketConfig['ownership'][];

export const ownershipOf = (text: string | undefined): (typeof OWNERSHIPS)[number] | undefined => OWNERSHIPS.find((known) => known === text);

const policyText = (bytes: Buffer): string => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw s3Error('MalformedPolicy', undefined, undefined, { cause: error });
  }
};

export const accessRoutes: Route[] = [
  {
    name: 'GetBucketPolicyStatus',
    method: 'GET',
    level: 'bucket',
    query: { policyStatus: true },
    handle: onBucket('s3:GetBucketPolicyStatus', (_request, _context, bucket) => {
      const block = bucket.config.publicAccessBlock;
      const byAcl = block?.ignorePublicAcls !== true && isPublicAcl(bucket.config.acl);
      const byPolicy = block?.restrictPublicBuckets !== true && policyOf(bucket)?.isPublic === true;
      return { status: 200, xml: document('PolicyStatus', [element('IsPublic', byAcl || byPolicy)]) };
    }),
  },
  {
    name: 'GetBucketPolicy',
    method: 'GET',
    level: 'bucket',
    query: { policy: true },
    handle: onBucket('s3:GetBucketPolicy', (_request, _context, bucket) => {
      const { policy } = bucket.config;
      if (policy === undefined) throw s3Error('NoSuchBucketPolicy', undefined, { BucketName: bucket.name });
      return { status: 200, headers: { 'content-type': 'application/json' }, text: policy };
    }),
  },
  {
    name: 'PutBucketPolicy',
    method: 'PUT',
    level: 'bucket',
    query: { policy: true },
    handle: onBucket('s3:PutBucketPolicy', async (request, { service }, bucket) => {
      const policy = policyText(await request.body.bytes(MOST_BYTES));
      readAllowedPolicy(bucket, policy);
      await engineOf(service).buckets.setConfig(bucket, 'policy', policy, request.actor);
      return NO_CONTENT;
    }),
  },
  {
    name: 'DeleteBucketPolicy',
    method: 'DELETE',
    level: 'bucket',
    query: { policy: true },
    handle: onBucket('s3:DeleteBucketPolicy', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'policy', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
  {
    name: 'GetBucketAcl',
    method: 'GET',
    level: 'bucket',
    query: { acl: true },
    handle: onBucket('s3:GetBucketAcl', async (_request, { service }, bucket) => {
      return { status: 200, xml: await aclXml(service, bucket.config.acl ?? privateAcl(bucket.tenantId)) };
    }),
  },
  {
    name: 'PutBucketAcl',
    method: 'PUT',
    level: 'bucket',
    query: { acl: true },
    handle: onBucket('s3:PutBucketAcl', async (request, { service }, bucket) => {
      const owner = bucket.tenantId;
      const acl = await putAclOf(service, request, bucket, { kind: 'bucket', owner, bucketOwner: owner });
      await engineOf(service).buckets.setConfig(bucket, 'acl', acl, request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'GetPublicAccessBlock',
    method: 'GET',
    level: 'bucket',
    query: { publicAccessBlock: true },
    handle: onBucket('s3:GetBucketPublicAccessBlock', (_request, _context, bucket) => {
      const { publicAccessBlock } = bucket.config;
      if (publicAccessBlock === undefined) throw s3Error('NoSuchPublicAccessBlockConfiguration', undefined, { BucketName: bucket.name });
      return { status: 200, xml: publicAccessBlockXml(publicAccessBlock) };
    }),
  },
  {
    name: 'PutPublicAccessBlock',
    method: 'PUT',
    level: 'bucket',
    query: { publicAccessBlock: true },
    handle: onBucket('s3:PutBucketPublicAccessBlock', async (request, { service }, bucket) => {
      const block = publicAccessBlockOf(parseXml(await request.body.bytes(MOST_BYTES), { root: 'PublicAccessBlockConfiguration' }));
      await engineOf(service).buckets.setConfig(bucket, 'publicAccessBlock', block, request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'DeletePublicAccessBlock',
    method: 'DELETE',
    level: 'bucket',
    query: { publicAccessBlock: true },
    handle: onBucket('s3:PutBucketPublicAccessBlock', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'publicAccessBlock', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
  {
    name: 'GetBucketOwnershipControls',
    method: 'GET',
    level: 'bucket',
    query: { ownershipControls: true },
    handle: onBucket('s3:GetBucketOwnershipControls', (_request, _context, bucket) => {
      const { ownership } = bucket.config;
      if (ownership === undefined) throw s3Error('OwnershipControlsNotFoundError', undefined, { BucketName: bucket.name });
      return { status: 200, xml: document('OwnershipControls', [element('Rule', [element('ObjectOwnership', ownership)])]) };
    }),
  },
  {
    name: 'PutBucketOwnershipControls',
    method: 'PUT',
    level: 'bucket',
    query: { ownershipControls: true },
    handle: onBucket('s3:PutBucketOwnershipControls', async (request, { service }, bucket) => {
      const root = parseXml(await request.body.bytes(MOST_BYTES), { root: 'OwnershipControls' }).only('Rule');
      const ownership = ownershipOf(root.need('Rule').only('ObjectOwnership').needText('ObjectOwnership'));
      if (ownership === undefined) throw s3Error('MalformedXML');
      const { acl } = bucket.config;
      const given = acl?.grants.some(({ grantee }) => grantee.kind !== 'tenant' || grantee.id !== bucket.tenantId) === true;
      if (ownership === 'BucketOwnerEnforced' && given) throw s3Error('InvalidBucketAclWithObjectOwnership');
      await engineOf(service).buckets.setConfig(bucket, 'ownership', ownership, request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'DeleteBucketOwnershipControls',
    method: 'DELETE',
    level: 'bucket',
    query: { ownershipControls: true },
    handle: onBucket('s3:PutBucketOwnershipControls', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'ownership', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
];
