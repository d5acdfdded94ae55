// What the engine of object storage knows, in its own words: no XML, no HTTP. The S3 listener and the services `bucket` and `object` both stand on this.
import type { Principal } from '../../../kernel/authorize.ts';
import type { CallLine } from '../../../kernel/service.ts';
import type { BucketConfig } from './config.ts';
import type { ObjectError } from './problem.ts';

export { ObjectError, type ObjectProblem } from './problem.ts';

export type Versioning = 'off' | 'enabled' | 'suspended';
export type ChecksumAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256';
/** `composite`: of the checksums of parts (`<base64>-<parts>`). */
export type ChecksumType = 'full' | 'composite';

/** A bucket as the data plane sees it: kept in memory, made anew after every change of its row or configuration. */
export interface Bucket {
  readonly id: string;
  readonly name: string;
  /** Who owns it. */
  readonly tenantId: string;
  readonly createdAt: number;
  readonly versioning: Versioning;
  readonly objectLock: boolean;
  /** Sealed at rest. */
  readonly encrypted: boolean;
  readonly maxBytes: number | undefined;
  readonly maxObjects: number | undefined;
  readonly auditReads: boolean;
  /** What S3 clients configure: policy, ACL, CORS, lifecycle, tags, … */
  readonly config: BucketConfig;
}

/** Who does it, for owner fields, audit and quotas. */
export interface Actor {
  readonly principal: string;
  /** The same with all that its credential is bound to: what else it must be allowed is asked of this. Absent: nothing more is known than its id. */
  readonly speaker?: Principal | undefined;
  readonly principalName: string | undefined;
  /** The tenant that it acts in; empty: anonymous. */
  readonly tenantId: string;
  readonly credential: string | undefined;
  readonly source: string;
  readonly requestId: string;
  /** A call of the kernel: its line in the audit is written there, or with the first change as this one says. */
  readonly audited?: boolean | undefined;
  readonly line?: CallLine | undefined;
}

/** Headers that are kept and given back as they came, in lower case. */
export const KEPT_HEADERS = ['cache-control', 'content-disposition', 'content-encoding', 'content-language', 'content-type', 'expires'] as const;

export interface ObjectLock {
  mode?: 'GOVERNANCE' | 'COMPLIANCE' | undefined;
  /** Unix milliseconds. */
  until?: number | undefined;
  legalHold?: boolean | undefined;
}

export interface Grant {
  /** A tenant's id, or one of the groups. */
  grantee: { kind: 'tenant'; id: string } | { kind: 'all-users' | 'authenticated-users' | 'log-delivery' };
  permission: 'FULL_CONTROL' | 'READ' | 'WRITE' | 'READ_ACP' | 'WRITE_ACP';
}
export interface Acl {
  /** Tenant id. */
  owner: string;
  grants: readonly Grant[];
}

/** What a writer says of an object. */
export interface ObjectAttributes {
  /** Of KEPT_HEADERS. */
  headers: Readonly<Record<string, string>>;
  /** `x-amz-meta-*` without the prefix, lower case. */
  metadata: Readonly<Record<string, string>>;
  tags?: Readonly<Record<string, string>> | undefined;
  acl?: Acl | undefined;
  /** Tenant that owns it: the writer's, or the bucket's where that is enforced. */
  owner: string;
  storageClass?: string | undefined;
  lock?: ObjectLock | undefined;
  websiteRedirect?: string | undefined;
  /** `AES256` when the client asked for SSE-S3 in so many words, or the bucket's default says it; everything is sealed anyway. */
  encryption?: 'AES256' | 'aws:kms' | undefined;
  kmsKeyId?: string | undefined;
}

/** A key that the client keeps (SSE-C). Never stored. */
export interface CustomerKey {
  key: Buffer;
  /** Base64 of its MD5, as the client sends and sees it. */
  md5: string;
}

/** Conditional writes and reads; ETags without quotes, `*` allowed; times in Unix milliseconds at whole seconds. */
export interface Conditions {
  ifMatch?: readonly string[] | undefined;
  ifNoneMatch?: readonly string[] | undefined;
  ifModifiedSince?: number | undefined;
  ifUnmodifiedSince?: number | undefined;
  /** Of deletes. */
  ifMatchSize?: number | undefined;
  ifMatchLastModified?: number | undefined;
}

export interface Checksum {
  algorithm: ChecksumAlgorithm;
  type: ChecksumType;
  /** Base64; of composite ones with `-<parts>`. */
  value: string;
}

/** One version of an object, without its bytes. */
export interface ObjectInfo {
  readonly bucketId: string;
  readonly key: string;
  /** `null` where versioning was off or suspended when it was written. */
  readonly version: string;
  readonly latest: boolean;
  readonly deleteMarker: boolean;
  readonly size: number;
  /** Without quotes. */
  readonly etag: string;
  /** Unix milliseconds. */
  readonly modifiedAt: number;
  readonly attributes: ObjectAttributes;
  readonly checksum: Checksum | undefined;
  /** Number of parts when it was uploaded in parts. */
  readonly parts: number | undefined;
  /** Base64 of the MD5 of the customer key that it was sealed with. */
  readonly customerKeyMd5: string | undefined;
}

export interface PartInfo {
  number: number;
  size: number;
  etag: string;
  modifiedAt: number;
  checksum: Checksum | undefined;
}

/** What must be true of bytes as they come, else nothing is stored. `checksum.value` may be known only after the last byte (a trailer): then a function. */
export interface Expected {
  size?: number | undefined;
  /** Base64 MD5 (Content-MD5). */
  md5?: string | undefined;
  /** Lower-case hex (x-amz-content-sha256). */
  sha256?: string | undefined;
  checksum?: { algorithm: ChecksumAlgorithm; value: string | (() => string) } | undefined;
}

export interface PutOptions {
  attributes: ObjectAttributes;
  expected: Expected;
  /** Default: CRC64NVME is computed when the writer names none. */
  conditions?: Conditions | undefined;
  customerKey?: CustomerKey | undefined;
  actor: Actor;
  signal: AbortSignal;
  /** Most bytes; default 5 GiB, as in S3. */
  limit?: number | undefined;
  /** What listeners are told that it was; default a Put. */
  type?: 'ObjectCreated:Put' | 'ObjectCreated:Post' | undefined;
}

export interface PutResult {
  etag: string;
  /** Undefined where the bucket keeps no versions (now); it is `null` then. */
  version: string | undefined;
  size: number;
  checksum: Checksum | undefined;
  modifiedAt: number;
}

/** Both ends included, as in RFC 9110; `suffix` counts from the end. Checked against the size by the engine. */
export type ByteRange = { start: number; end: number | undefined } | { suffix: number };

export interface GetOptions {
  version?: string | undefined;
  part?: number | undefined;
  range?: ByteRange | undefined;
  conditions?: Conditions | undefined;
  customerKey?: CustomerKey | undefined;
  /** Who reads, for buckets whose reads are audited. */
  actor?: Actor | undefined;
  signal: AbortSignal;
}

export interface Opened {
  info: ObjectInfo;
  /** What `body` gives: both ends included; the whole object when none was asked for. Undefined for an object of no bytes. */
  range: { start: number; end: number } | undefined;
  /** A range or part was asked for. */
  partial: boolean;
  /** Of the part that was asked for. */
  partInfo: PartInfo | undefined;
  /** Nothing is read before it is iterated; each piece has been authenticated before it is given, and belongs to who gets it. Return early to stop. */
  body: AsyncIterable<Buffer>;
}

export interface DeleteOptions {
  version?: string | undefined;
  /** May end retention of mode GOVERNANCE; the caller has checked that the writer may. */
  bypassGovernance?: boolean | undefined;
  conditions?: Conditions | undefined;
  actor: Actor;
}
export interface DeleteResult {
  /** A marker was made, or one was removed. */
  deleteMarker: boolean;
  /** Of the marker made, or of the version removed; undefined in a bucket without versions. */
  version: string | undefined;
}

export interface ListOptions {
  prefix: string;
  delimiter: string | undefined;
  /** Only what comes after it, in order of UTF-8 bytes. A common prefix counts as itself. */
  after: string | undefined;
  limit: number;
}
export interface ObjectPage {
  objects: ObjectInfo[];
  prefixes: string[];
  truncated: boolean;
  /** The last key or prefix of the page: where the next begins. */
  last: string | undefined;
}
export interface VersionPage {
  versions: ObjectInfo[];
  prefixes: string[];
  truncated: boolean;
  nextKey: string | undefined;
  nextVersion: string | undefined;
}

export interface UploadInfo {
  id: string;
  bucketId: string;
  key: string;
  startedAt: number;
  attributes: ObjectAttributes;
  initiator: string;
  checksum: { algorithm: ChecksumAlgorithm; type: ChecksumType } | undefined;
  customerKeyMd5: string | undefined;
}
export interface UploadPage {
  uploads: UploadInfo[];
  prefixes: string[];
  truncated: boolean;
  nextKey: string | undefined;
  nextUpload: string | undefined;
}

export interface CompletePart {
  number: number;
  etag: string;
  checksum?: { algorithm: ChecksumAlgorithm; value: string } | undefined;
}

export interface Usage {
  /** Newest versions that are no delete markers. */
  objects: number;
  /** All versions, markers too. */
  versions: number;
  /** Of all versions. */
  bytes: number;
  uploads: number;
  /** Of parts of uploads that are open. */
  uploadBytes: number;
}

/** What was found wrong at rest. */
export interface Damage {
  key: string;
  version: string;
  part: number | undefined;
  problem: string;
}

/**
 * Objects, wherever their bytes are. Every method that names a bucket takes the Bucket itself, as `find` gave it; a bucket that was deleted meanwhile is
 * `no_such_bucket`. Who may do what has been decided before. Rejects with ObjectError, and with nothing else on purpose.
 */
export interface Objects {
  /** By name, of whatever tenant: names are unique in the installation. Undefined: there is none. */
  find(name: string): Promise<Bucket | undefined>;
  byId(id: string): Promise<Bucket | undefined>;

  /** A piece of the body is not looked at any more when the next is asked for. */
  put(bucket: Bucket, key: string, body: AsyncIterable<Buffer>, options: PutOptions): Promise<PutResult & { info: ObjectInfo }>;
  /** `delete_marker`, `no_such_key`, `not_modified`, `precondition_failed`, `invalid_range`, `invalid_key`. */
  get(bucket: Bucket, key: string, options: GetOptions): Promise<Opened>;
  /** As `get`, without a body. */
  head(bucket: Bucket, key: string, options: Omit<GetOptions, 'signal'>): Promise<Omit<Opened, 'body'>>;
  /** One that is not there: done. */
  delete(bucket: Bucket, key: string, options: DeleteOptions): Promise<DeleteResult>;
  /** Many at once; each has its own outcome, in order. */
  deleteMany(bucket: Bucket, targets: readonly ({ key: string } & Omit<DeleteOptions, 'actor'>)[], actor: Actor): Promise<(DeleteResult | ObjectError)[]>;
  /** Without `attributes` those of the source are kept. Where only attributes change, no bytes are copied. */
  copy(
    source: { bucket: Bucket; key: string; version?: string | undefined; conditions?: Conditions | undefined; customerKey?: CustomerKey | undefined },
    to: { bucket: Bucket; key: string },
    options: Omit<PutOptions, 'expected' | 'limit' | 'attributes' | 'type'> & {
      /** Of the new object, made from the source's. */
      attributes: (source: ObjectInfo) => ObjectAttributes;
      checksum?: ChecksumAlgorithm | undefined;
    },
  ): Promise<PutResult & { info: ObjectInfo; source: ObjectInfo }>;
  list(bucket: Bucket, options: ListOptions): Promise<ObjectPage>;
  /** Newest first within a key. `after` with `afterVersion`: after that version of that key. */
  listVersions(bucket: Bucket, options: ListOptions & { afterVersion?: string | undefined }): Promise<VersionPage>;

  tags(bucket: Bucket, key: string, version: string | undefined): Promise<{ tags: Readonly<Record<string, string>>; info: ObjectInfo }>;
  setTags(bucket: Bucket, key: string, version: string | undefined, tags: Readonly<Record<string, string>>, actor: Actor): Promise<ObjectInfo>;
  setAcl(bucket: Bucket, key: string, version: string | undefined, acl: Acl, actor: Actor): Promise<ObjectInfo>;
  /** `locked` for what shortens or takes away retention without the right to. */
  setLock(
    bucket: Bucket,
    key: string,
    version: string | undefined,
    lock: { mode?: ObjectLock['mode'] | null; until?: number | null; legalHold?: boolean },
    options: { actor: Actor; bypassGovernance: boolean },
  ): Promise<ObjectInfo>;

  createUpload(
    bucket: Bucket,
    key: string,
    options: {
      attributes: ObjectAttributes;
      checksum: { algorithm: ChecksumAlgorithm; type: ChecksumType } | undefined;
      customerKey?: CustomerKey | undefined;
      actor: Actor;
    },
  ): Promise<UploadInfo>;
  upload(bucket: Bucket, key: string, uploadId: string): Promise<UploadInfo>;
  putPart(
    bucket: Bucket,
    key: string,
    uploadId: string,
    number: number,
    body: AsyncIterable<Buffer>,
    options: Pick<PutOptions, 'expected' | 'customerKey' | 'actor' | 'signal'>,
  ): Promise<PartInfo>;
  copyPart(
    source: {
      bucket: Bucket;
      key: string;
      version?: string | undefined;
      range?: ByteRange | undefined;
      conditions?: Conditions | undefined;
      customerKey?: CustomerKey | undefined;
    },
    to: { bucket: Bucket; key: string; uploadId: string; number: number },
    options: Pick<PutOptions, 'customerKey' | 'actor' | 'signal'>,
  ): Promise<{ part: PartInfo; source: ObjectInfo }>;
  listParts(bucket: Bucket, key: string, uploadId: string, options: { after: number; limit: number }): Promise<{ parts: PartInfo[]; truncated: boolean }>;
  /** Of an object that was uploaded in parts, numbered from 1 on without gaps, whatever numbers they were uploaded under. */
  partsOf(bucket: Bucket, info: ObjectInfo, options: { after: number; limit: number }): Promise<{ parts: PartInfo[]; truncated: boolean }>;
  /** Completing the same upload with the same parts again gives the same answer. */
  completeUpload(
    bucket: Bucket,
    key: string,
    uploadId: string,
    parts: readonly CompletePart[],
    options: { conditions?: Conditions | undefined; checksum?: { type?: ChecksumType | undefined; value?: string | undefined }; size?: number; actor: Actor },
  ): Promise<PutResult & { info: ObjectInfo }>;
  abortUpload(bucket: Bucket, key: string, uploadId: string, actor: Actor): Promise<void>;
  listUploads(bucket: Bucket, options: ListOptions & { afterUpload?: string | undefined }): Promise<UploadPage>;

  usage(bucketIds: readonly string[]): Promise<ReadonlyMap<string, Usage>>;
  /** Reads everything of a bucket as it lies, and says what is wrong, page by page of keys. */
  verify(bucket: Bucket, options: { prefix: string; signal: AbortSignal }): AsyncIterable<{ checked: number; bytes: number; damage: Damage[] }>;
  /** Told of each object that came or went, in its transaction: for notifications. `type` as S3 names it, without `s3:`. */
  onChange(listener: ObjectListener): void;
}

export interface ObjectChange {
  type:
    | 'ObjectCreated:Put'
    | 'ObjectCreated:Post'
    | 'ObjectCreated:Copy'
    | 'ObjectCreated:CompleteMultipartUpload'
    | 'ObjectRemoved:Delete'
    | 'ObjectRemoved:DeleteMarkerCreated'
    | 'ObjectTagging:Put'
    | 'ObjectTagging:Delete'
    | 'ObjectAcl:Put'
    | 'LifecycleExpiration:Delete'
    | 'LifecycleExpiration:DeleteMarkerCreated';
  bucket: Bucket;
  info: ObjectInfo;
  actor: Actor;
  time: number;
}
/** Runs in the transaction of the change, if the bucket is configured for notifications. */
export type ObjectListener = (sql: import('../../../kernel/db.ts').Tx, change: ObjectChange) => Promise<void>;
