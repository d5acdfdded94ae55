// What S3 clients configure about a bucket, each under its own name in `bucket_config`. Read whole with the bucket, so that no request asks for it.
import type { Acl, ObjectLock } from './types.ts';

export interface CorsRule {
  id?: string;
  allowedOrigins: string[];
  allowedMethods: string[];
  allowedHeaders: string[];
  exposeHeaders: string[];
  maxAgeSeconds?: number;
}

export interface LifecycleFilter {
  prefix?: string;
  tags?: Record<string, string>;
  sizeGreaterThan?: number;
  sizeLessThan?: number;
}
export interface LifecycleRule {
  id: string;
  enabled: boolean;
  /** `prefix` at the rule itself, which older clients send, is given back where it came from. */
  filter: LifecycleFilter;
  prefixAtRule?: boolean;
  /** Whether the filter came inside `And`. */
  and?: boolean;
  expiration?: { days?: number; date?: string; expiredObjectDeleteMarker?: boolean };
  noncurrentExpiration?: { days: number; newerVersions?: number };
  abortUploadDays?: number;
}

export interface PublicAccessBlock {
  blockPublicAcls: boolean;
  ignorePublicAcls: boolean;
  blockPublicPolicy: boolean;
  restrictPublicBuckets: boolean;
}

export interface NotificationTarget {
  id: string;
  /** Names of S3, with `*`: `s3:ObjectCreated:*`. */
  events: string[];
  prefix?: string;
  suffix?: string;
  /** A queue of the tenant, by id. */
  queueId?: string;
  /** An address that each event is posted to. */
  webhook?: string;
}

export interface LockDefault {
  mode: NonNullable<ObjectLock['mode']>;
  days?: number;
  years?: number;
}

/** Absent: never configured. */
export interface BucketConfig {
  acl?: Acl;
  /** The document as it was put, text and all. */
  policy?: string;
  cors?: CorsRule[];
  lifecycle?: LifecycleRule[];
  tags?: Record<string, string>;
  publicAccessBlock?: PublicAccessBlock;
  ownership?: 'BucketOwnerEnforced' | 'BucketOwnerPreferred' | 'ObjectWriter';
  encryption?: { algorithm: 'AES256' | 'aws:kms'; kmsKeyId?: string; bucketKey?: boolean };
  lockDefault?: LockDefault;
  notifications?: NotificationTarget[];
  requestPayment?: 'BucketOwner' | 'Requester';
  logging?: { targetBucket: string; targetPrefix: string; xml: string };
}
export type ConfigName = keyof BucketConfig;
