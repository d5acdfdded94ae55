// Writing an object: bytes to the object store first, synced; then, in one transaction, the row that names them in place of what was there.
import type { Written } from './body-types.ts';
import { checkWrite, isConditional } from './conditions.ts';
import type { Ground } from './ground.ts';
import { lockFor } from './locks.ts';
import { checkKey, newToken } from './names.ts';
import { boundOf } from './reading.ts';
import { infoOf, keptAcl, keptAttributes, keptTags, type VersionRow } from './rows.ts';
import type { Actor, Bucket, Checksum, Conditions, ObjectAttributes, ObjectChange, ObjectInfo, Objects, PutOptions, PutResult } from './types.ts';
import { checkRoom } from './usage.ts';
import { addVersion, newestOf } from './versions.ts';

/** Of Amazon S3, for what is written in one request. */
export const MOST_BYTES = 5 * 1024 ** 3;
/** What has at most so many bytes is written before anybody asks whether there is room: the transaction says so. */
const SMALL = 1024 * 1024;

export const DEFAULT_CHECKSUM = 'CRC64NVME';

/** Refuses what would be refused in the end, before bytes are read. */
export async function checkBefore(
  ground: Ground,
  bucket: Bucket,
  key: string,
  options: { conditions?: Conditions | undefined; size?: number | undefined },
): Promise<void> {
  const { conditions, size = 0 } = options;
  const conditional = isConditional(conditions);
  if (!conditional && size <= SMALL) return;
  await ground.read(async (db) => {
    const newest = await newestOf(db, bucket.id, key);
    if (conditional) checkWrite(conditions, key, newest);
    if (size > SMALL) await checkRoom(db, bucket, size, bucket.versioning === 'enabled' ? 0 : (newest?.size ?? 0));
  });
}

export interface Stored {
  key: string;
  token: string;
  written: Pick<Written, 'body' | 'size' | 'md5'>;
  attributes: ObjectAttributes;
  checksum: Checksum | undefined;
  customerKeyMd5: string | undefined;
  conditions: Conditions | undefined;
  actor: Actor;
  permission: string;
  type: ObjectChange['type'];
}

/** Makes the row that names the bytes. When it cannot, the bytes go again. */
export async function commitObject(ground: Ground, bucket: Bucket, stored: Stored): Promise<PutResult & { info: ObjectInfo }> {
  const { written, actor } = stored;
  const { blob } = written.body;
  try {
    const result = await ground.change(bucket, actor, async (change) => {
      const newest = await newestOf(change.tx, change.bucket.id, stored.key);
      checkWrite(stored.conditions, stored.key, newest);
      const row = await addVersion(
        ground,
        change,
        {
          key: stored.key,
          token: stored.token,
          marker: false,
          size: written.size,
          etag: written.md5,
          attributes: keptAttributes(stored.attributes, stored.checksum, stored.customerKeyMd5),
          tags: keptTags(stored.attributes.tags),
          acl: keptAcl(stored.attributes.acl),
          lock: lockFor(change.bucket, stored.attributes.lock, change.now),
          body: JSON.stringify(written.body),
          partsOf: null,
          parts: null,
        },
        { newest },
      );
      await ground.audit(change, actor, stored.permission, stored.key);
      await ground.tell(change, stored.type, () => infoOf(bucket.id, row), actor);
      return resultOf(change.bucket, row);
    });
    ground.bodies.settled(blob);
    return result;
  } catch (error) {
    await ground.discard([blob]);
    throw error;
  }
}

/** What a write answers with. */
export function resultOf(bucket: Bucket, row: VersionRow): PutResult & { info: ObjectInfo } {
  const info = infoOf(bucket.id, row);
  return {
    etag: row.etag,
    version: bucket.versioning === 'enabled' ? row.version : undefined,
    size: row.size,
    checksum: info.checksum,
    modifiedAt: row.modified_at,
    info,
  };
}

export async function putObject(ground: Ground, bucket: Bucket, key: string, body: AsyncIterable<Buffer>, options: PutOptions): ReturnType<Objects['put']> {
  checkKey(key);
  const { attributes, expected, customerKey } = options;
  const now = ground.now();
  lockFor(bucket, attributes.lock, now);
  await checkBefore(ground, bucket, key, { conditions: options.conditions, size: expected.size });
  const token = newToken(now);
  const algorithm = expected.checksum?.algorithm ?? DEFAULT_CHECKSUM;
  const written = await ground.write(bucket, body, {
    by: await ground.kms.wrapperOf(bucket, attributes, options.actor),
    bound: boundOf(bucket.id, key, token),
    encrypt: bucket.encrypted || attributes.encryption !== undefined,
    customerKey,
    expected,
    checksums: [algorithm],
    limit: options.limit ?? MOST_BYTES,
    signal: options.signal,
  });
  const value = written.checksums[algorithm];
  return commitObject(ground, bucket, {
    key,
    token,
    written,
    attributes,
    checksum: value === undefined ? undefined : { algorithm, type: 'full', value },
    customerKeyMd5: customerKey?.md5,
    conditions: options.conditions,
    actor: options.actor,
    permission: 'object:put',
    type: options.type ?? 'ObjectCreated:Put',
  });
}
