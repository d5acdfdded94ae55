// What a bucket holds is counted in the transaction of each change, against the bucket's own limits and the quotas of its tenant.
import type { Db, Tx } from '../../../kernel/db.ts';
import { adjustQuota } from '../../../kernel/quota.ts';
import type { Unit } from '../../../kernel/store.ts';
import type { BucketUsageTable } from '../tables.ts';
import { all, chunks, marks, one } from './sql.ts';
import { type Bucket, ObjectError, type Usage } from './types.ts';

export interface Delta {
  objects?: number;
  versions?: number;
  /** Versions that are no delete markers: what limits and quotas count, so that nobody is kept from deleting. */
  kept?: number;
  bytes?: number;
  uploads?: number;
  uploadBytes?: number;
}

export const gone = (bucket: Pick<Bucket, 'name'>): ObjectError =>
  new ObjectError('no_such_bucket', 'The specified bucket does not exist', { bucket: bucket.name });

const exceeded = (bucket: Bucket, quota: string, limit: number): ObjectError =>
  new ObjectError('quota_exceeded', `The bucket ${bucket.name} holds at most ${limit} ${quota === 'maxBytes' ? 'bytes' : 'versions of objects'}`, {
    quota,
    limit,
  });

/** `no_such_bucket` when the bucket is gone, `quota_exceeded` where there would be more than there may be. */
export async function count(unit: Unit, bucket: Bucket, delta: Delta): Promise<void> {
  const { objects = 0, versions = 0, kept = 0, bytes = 0, uploads = 0, uploadBytes = 0 } = delta;
  const now = await one<BucketUsageTable>(
    unit.tx,
    `update bucket_usage set objects = objects + ?, versions = versions + ?, bytes = bytes + ?, uploads = uploads + ?, upload_bytes = upload_bytes + ?
      where bucket_id = ? returning versions, bytes, upload_bytes`,
    objects,
    versions,
    bytes,
    uploads,
    uploadBytes,
    bucket.id,
  );
  if (now === undefined) throw gone(bucket);
  const more = bytes + uploadBytes;
  if (more > 0 && bucket.maxBytes !== undefined && now.bytes + now.upload_bytes > bucket.maxBytes) throw exceeded(bucket, 'maxBytes', bucket.maxBytes);
  if (kept > 0 && bucket.maxObjects !== undefined && now.versions > bucket.maxObjects) throw exceeded(bucket, 'maxObjects', bucket.maxObjects);
  if (kept !== 0 || more !== 0) await adjustQuota(unit, undefined, { objects: kept, objectBytes: more });
}

/** Of all objects of a tenant together; undefined: there is no limit. */
export async function bytesLimitOf(db: Db, tenantId: string): Promise<number | undefined> {
  const limits = await all<{ tenant: string; value: number }>(
    db,
    "select tenant, value from quota_limit where tenant in (?, '*') and name = 'objectBytes'",
    tenantId,
  );
  return (limits.find(({ tenant }) => tenant === tenantId) ?? limits[0])?.value;
}

/** Before bytes are read that would not be kept: `quota_exceeded`. What is replaced meanwhile makes room, so only what is sure to be too much is refused. */
export async function checkRoom(db: Db, bucket: Bucket, size: number, replaced: number): Promise<void> {
  const more = size - replaced;
  if (more <= 0) return;
  if (bucket.maxBytes !== undefined) {
    const now = await one<BucketUsageTable>(db, 'select bytes, upload_bytes from bucket_usage where bucket_id = ?', bucket.id);
    if (now !== undefined && now.bytes + now.upload_bytes + more > bucket.maxBytes) throw exceeded(bucket, 'maxBytes', bucket.maxBytes);
  }
  const limit = await bytesLimitOf(db, bucket.tenantId);
  if (limit === undefined) return;
  const used = (await one<{ value: number }>(db, "select value from quota_usage where tenant = ? and name = 'objectBytes'", bucket.tenantId))?.value ?? 0;
  if (used + more > limit) {
    throw new ObjectError('quota_exceeded', `This needs ${more} more objectBytes, and ${used} of ${limit} are in use`, { quota: 'objectBytes', limit, used });
  }
}

export async function usageOf(db: Db | Tx, bucketIds: readonly string[]): Promise<Map<string, Usage>> {
  const found = new Map<string, Usage>();
  for (const some of chunks(bucketIds)) {
    const rows = await all<BucketUsageTable>(
      db,
      `select bucket_id, objects, versions, bytes, uploads, upload_bytes from bucket_usage where bucket_id in (${marks(some.length)})`,
      ...some,
    );
    for (const { bucket_id, objects, versions, bytes, uploads, upload_bytes } of rows) {
      found.set(bucket_id, { objects, versions, bytes, uploads, uploadBytes: upload_bytes });
    }
  }
  return found;
}
