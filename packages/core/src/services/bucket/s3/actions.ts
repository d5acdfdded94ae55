// What can be done over S3, by the names of AWS: which permission of ours it asks of the caller, whom it is about, and which grant of an ACL allows it.
import type { Grant } from '../engine/types.ts';

/**
 * Whose word counts beside the caller's own permission: `account` the caller's alone; `bucket` the bucket owner's, for the bucket or for a key in it; `object`
 * that of who owns the object; `upload` the bucket owner's or that of who began the upload.
 */
type Level = 'account' | 'bucket' | 'key' | 'upload' | 'object';

export interface S3Action {
  readonly level: Level;
  /** `<resource>:<operation>`. */
  readonly permission: string;
  /** Which grant allows it to others, in the ACL of the object (level `object`) or of the bucket. */
  readonly grant?: Exclude<Grant['permission'], 'FULL_CONTROL'>;
  /** Nothing changes by it: a refusal of somebody of the same account is no line in the audit. */
  readonly reads: boolean;
}

const action = (level: Level, permission: string, grant?: S3Action['grant']): Omit<S3Action, 'reads'> => ({
  level,
  permission,
  ...(grant === undefined ? {} : { grant }),
});
const configuration = action('bucket', 'bucket:configuration');
const configure = action('bucket', 'bucket:configure');

const table: Readonly<Record<string, Omit<S3Action, 'reads'>>> = {
  ListAllMyBuckets: action('account', 'bucket:list'),
  CreateBucket: action('account', 'bucket:create'),

  DeleteBucket: action('bucket', 'bucket:delete'),
  ListBucket: action('bucket', 'object:list', 'READ'),
  ListBucketVersions: action('bucket', 'object:versions', 'READ'),
  ListBucketMultipartUploads: action('bucket', 'object:uploads', 'READ'),
  GetBucketLocation: action('bucket', 'bucket:get'),
  GetBucketVersioning: action('bucket', 'bucket:get'),
  PutBucketVersioning: action('bucket', 'bucket:update'),
  GetBucketAcl: action('bucket', 'bucket:configuration', 'READ_ACP'),
  PutBucketAcl: action('bucket', 'bucket:configure', 'WRITE_ACP'),
  PutBucketNotification: action('bucket', 'bucket:notification'),
  ...Object.fromEntries(
    [
      ...['BucketPolicy', 'BucketPolicyStatus', 'BucketCORS', 'LifecycleConfiguration', 'BucketTagging', 'EncryptionConfiguration', 'BucketPublicAccessBlock'],
      ...['BucketOwnershipControls', 'BucketObjectLockConfiguration', 'BucketNotification', 'BucketRequestPayment', 'BucketLogging', 'BucketWebsite'],
      ...['AccelerateConfiguration', 'ReplicationConfiguration', 'InventoryConfiguration', 'AnalyticsConfiguration', 'MetricsConfiguration'],
      ...['IntelligentTieringConfiguration', 'BucketMetadataTableConfiguration'],
    ].map((name) => [`Get${name}`, configuration]),
  ),
  ...Object.fromEntries(
    [
      ...['PutBucketPolicy', 'DeleteBucketPolicy', 'PutBucketCORS', 'PutLifecycleConfiguration', 'PutBucketTagging', 'PutEncryptionConfiguration'],
      ...['PutBucketPublicAccessBlock', 'PutBucketOwnershipControls', 'PutBucketObjectLockConfiguration', 'PutBucketRequestPayment', 'PutBucketLogging'],
      ...['PutBucketWebsite', 'DeleteBucketWebsite', 'PutAccelerateConfiguration', 'PutReplicationConfiguration', 'PutInventoryConfiguration'],
      ...['PutAnalyticsConfiguration', 'PutMetricsConfiguration', 'PutIntelligentTieringConfiguration'],
    ].map((name) => [name, configure]),
  ),

  PutObject: action('key', 'object:put', 'WRITE'),
  DeleteObject: action('key', 'object:delete', 'WRITE'),
  DeleteObjectVersion: action('key', 'object:delete'),
  PutObjectRetention: action('key', 'object:setLock'),
  PutObjectLegalHold: action('key', 'object:setLock'),
  // Who may lock may not by that break locks: it is asked of the bucket.
  BypassGovernanceRetention: action('key', 'bucket:configure'),
  RestoreObject: action('key', 'object:restore'),
  AbortMultipartUpload: action('upload', 'object:uploadAbort'),
  ListMultipartUploadParts: action('upload', 'object:uploadParts'),

  GetObject: action('object', 'object:get', 'READ'),
  GetObjectVersion: action('object', 'object:get', 'READ'),
  GetObjectAttributes: action('object', 'object:head', 'READ'),
  GetObjectVersionAttributes: action('object', 'object:head', 'READ'),
  GetObjectAcl: action('object', 'object:head', 'READ_ACP'),
  GetObjectVersionAcl: action('object', 'object:head', 'READ_ACP'),
  PutObjectAcl: action('object', 'object:put', 'WRITE_ACP'),
  PutObjectVersionAcl: action('object', 'object:put', 'WRITE_ACP'),
  GetObjectTagging: action('object', 'object:head'),
  GetObjectVersionTagging: action('object', 'object:head'),
  PutObjectTagging: action('object', 'object:setTags'),
  PutObjectVersionTagging: action('object', 'object:setTags'),
  DeleteObjectTagging: action('object', 'object:setTags'),
  DeleteObjectVersionTagging: action('object', 'object:setTags'),
  GetObjectRetention: action('object', 'object:head'),
  GetObjectLegalHold: action('object', 'object:head'),
  GetObjectTorrent: action('object', 'object:get', 'READ'),
};

/** By name: `s3:GetObject`. */
export const s3Actions: ReadonlyMap<string, S3Action> = new Map(
  Object.entries(table).map(([name, of]) => [`s3:${name}`, { ...of, reads: /^(Get|List)/.test(name) }]),
);

/** Actions of AWS that nothing here asks for; policies that were written for AWS may name them. */
const FOREIGN = [
  ...['ReplicateObject', 'ReplicateDelete', 'ReplicateTags', 'ObjectOwnerOverrideToBucketOwner', 'GetObjectVersionForReplication', 'GetObjectVersionTorrent'],
  ...['InitiateReplication', 'UpdateObjectEncryption', 'CreateBucketMetadataTableConfiguration'],
  ...['DeleteBucketMetadataTableConfiguration', 'PauseReplication', 'GetBucketAbac', 'PutBucketAbac', 'ListTagsForResource', 'TagResource', 'UntagResource'],
];

/** What a bucket policy may name: not what is done to no bucket. */
export const policyActions: readonly string[] = [
  ...[...s3Actions].flatMap(([name, { level }]) => (level === 'account' ? [] : [name])),
  ...FOREIGN.map((name) => `s3:${name}`),
];
