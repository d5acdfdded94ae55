// Versions of a key: which is the newest, what a write replaces, what a delete hides or removes. Always within the transaction of a change.
import type { Db, Tx } from '../../../kernel/db.ts';
import { discardBodies } from './garbage.ts';
import type { Change, Ground } from './ground.ts';
import { checkUnlocked, type LockColumns } from './locks.ts';
import { NULL_VERSION } from './names.ts';
import { VERSION_COLUMNS, type VersionRow } from './rows.ts';
import { all, one, run } from './sql.ts';
import { type Bucket, ObjectError } from './types.ts';
import { count, type Delta, gone } from './usage.ts';

const NEWEST = `select ${VERSION_COLUMNS} from object_version where bucket_id = ? and key = ? order by seq desc limit 1`;
const BY_VERSION = `select ${VERSION_COLUMNS} from object_version where bucket_id = ? and key = ? and version = ?`;

export const newestOf = (db: Db | Tx, bucketId: string, key: string): Promise<VersionRow | undefined> => one<VersionRow>(db, NEWEST, bucketId, key);
export const versionOf = (db: Db | Tx, bucketId: string, key: string, version: string): Promise<VersionRow | undefined> =>
  one<VersionRow>(db, BY_VERSION, bucketId, key, version);

const noSuchKey = (key: string): ObjectError => new ObjectError('no_such_key', 'The specified key does not exist.', { key });

/** The version that is meant, markers too; the newest when none is named. `no_such_key`, `no_such_version`. */
export async function anyVersion(db: Db | Tx, bucketId: string, key: string, version: string | undefined): Promise<VersionRow> {
  const row = version === undefined ? await newestOf(db, bucketId, key) : await versionOf(db, bucketId, key, version);
  if (row !== undefined) return row;
  if (version === undefined) throw noSuchKey(key);
  throw new ObjectError('no_such_version', 'The specified version does not exist.', { key, version });
}

/** As `anyVersion`, and `delete_marker` for one. */
export async function objectVersion(db: Db | Tx, bucketId: string, key: string, version: string | undefined): Promise<VersionRow> {
  const row = await anyVersion(db, bucketId, key, version);
  if (row.marker === 1) {
    throw new ObjectError(
      'delete_marker',
      version === undefined ? 'The specified key does not exist.' : 'The specified method is not allowed against this resource.',
      {
        key,
        version: row.version,
        modifiedAt: row.modified_at,
        named: version !== undefined,
      },
    );
  }
  return row;
}

export interface Draft {
  key: string;
  /** Its id, where the bucket keeps versions. */
  token: string;
  marker: boolean;
  size: number;
  etag: string;
  attributes: string;
  tags: string | null;
  acl: string | null;
  lock: LockColumns;
  body: string | null;
  partsOf: string | null;
  parts: number | null;
}

/** Whether a write keeps what was there. A bucket that kept versions once never loses them by a write. */
const keeps = (bucket: Bucket): boolean => bucket.versioning === 'enabled';

/** What a write replaces: the null version, where the bucket keeps none. */
async function replaced({ tx, bucket }: Change, key: string, newest: VersionRow | undefined): Promise<VersionRow | undefined> {
  if (keeps(bucket) || newest === undefined) return undefined;
  return newest.version === NULL_VERSION ? newest : versionOf(tx, bucket.id, key, NULL_VERSION);
}

/**
 * Puts a version in front of the others, in place of the null version where the bucket keeps none. `upload`: it was one, whose bytes were counted as that.
 * `keepBlobOf`: place of the version whose bytes the new one takes over.
 */
export async function addVersion(
  ground: Ground,
  change: Change,
  draft: Draft,
  options: { newest: VersionRow | undefined; upload?: { uploadBytes: number }; keepBlobOf?: number },
): Promise<VersionRow> {
  const { tx, now, bucket } = change;
  const { newest } = options;
  const old = await replaced(change, draft.key, newest);
  if (old !== undefined && old.marker === 0) checkUnlocked(old, now, false);
  const row: VersionRow = {
    key: draft.key,
    seq: ground.nextSeq(now, newest?.seq ?? 0),
    version: keeps(bucket) ? draft.token : NULL_VERSION,
    latest: 1,
    marker: draft.marker ? 1 : 0,
    size: draft.size,
    etag: draft.etag,
    modified_at: now,
    attributes: draft.attributes,
    tags: draft.tags,
    acl: draft.acl,
    ...draft.lock,
    body: draft.body,
    parts_of: draft.partsOf,
    parts: draft.parts,
  };
  await counted(change, deltaOf(row, newest, old, options.upload));
  if (old !== undefined && old === newest && isPlain(old) && isPlain(row)) {
    await overwrite(change, old, row);
    if (options.keepBlobOf !== old.seq) await letGo(change, old);
    return row;
  }
  if (old !== undefined) await remove(change, old, options.keepBlobOf === old.seq);
  if (newest !== undefined && newest !== old) {
    await run(tx, 'update object_version set latest = 0 where bucket_id = ? and key = ? and seq = ?', bucket.id, draft.key, newest.seq);
  }
  await run(
    tx,
    `insert into object_version (bucket_id, ${VERSION_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    bucket.id,
    row.key,
    row.seq,
    row.version,
    row.latest,
    row.marker,
    row.size,
    row.etag,
    row.modified_at,
    row.attributes,
    row.tags,
    row.acl,
    row.lock_mode,
    row.lock_until,
    row.legal_hold,
    row.body,
    row.parts_of,
    row.parts,
  );
  return row;
}

const live = (row: VersionRow | undefined): number => (row !== undefined && row.marker === 0 ? 1 : 0);

function deltaOf(row: VersionRow, newest: VersionRow | undefined, old: VersionRow | undefined, upload: { uploadBytes: number } | undefined): Delta {
  return {
    objects: live(row) - live(newest),
    versions: old === undefined ? 1 : 0,
    kept: live(row) - live(old),
    bytes: row.size - (old?.size ?? 0),
    ...(upload === undefined ? {} : { uploads: -1, uploadBytes: -upload.uploadBytes }),
  };
}

/** The row goes, and what it named with it. */
async function remove(change: Change, row: VersionRow, keepBlob: boolean): Promise<void> {
  const { tx, bucket } = change;
  await run(tx, 'delete from object_version where bucket_id = ? and key = ? and seq = ?', bucket.id, row.key, row.seq);
  if (!keepBlob) await letGo(change, row);
}

async function letGo(change: Change, row: VersionRow): Promise<void> {
  if (row.body !== null) {
    await discardBodies(change.tx, [row.body], change.now);
    change.discarded = true;
  }
  if (row.parts_of !== null) await removeParts(change, row.parts_of);
}

/** Nothing of it but its place is in an index. */
const isPlain = (row: VersionRow): boolean =>
  row.latest === 1 && row.marker === 0 && row.lock_mode === null && row.legal_hold === 0 && row.parts_of === null && row.parts === null;

/** One plain version in place of another of the same id: of the table's five indexes one is written, where a row that goes and one that comes would touch all. */
async function overwrite({ tx, bucket }: Change, old: VersionRow, row: VersionRow): Promise<void> {
  await run(
    tx,
    `update object_version set seq = ?, size = ?, etag = ?, modified_at = ?, attributes = ?, tags = ?, acl = ?, body = ?
      where bucket_id = ? and key = ? and seq = ?`,
    row.seq,
    row.size,
    row.etag,
    row.modified_at,
    row.attributes,
    row.tags,
    row.acl,
    row.body,
    bucket.id,
    old.key,
    old.seq,
  );
}

/** Most overwrites change no number, and then nothing need be written. */
async function counted({ unit, tx, bucket }: Change, delta: Delta): Promise<void> {
  if (Object.values(delta).some((number) => number !== 0)) await count(unit, bucket, delta);
  else if ((await one(tx, 'select 1 from bucket_usage where bucket_id = ?', bucket.id)) === undefined) throw gone(bucket);
}

export async function removeParts(change: Change, owner: string): Promise<void> {
  const parts = await all<{ body: string }>(change.tx, 'select body from object_part where owner = ?', owner);
  await run(change.tx, 'delete from object_part where owner = ?', owner);
  await discardBodies(
    change.tx,
    parts.map(({ body }) => body),
    change.now,
  );
  change.discarded = true;
}

/** Removes one version for good; the one before it is the newest then. `locked`. */
export async function removeVersion(change: Change, row: VersionRow, bypassGovernance: boolean | undefined): Promise<void> {
  const { tx, now, bucket } = change;
  if (row.marker === 0) checkUnlocked(row, now, bypassGovernance);
  await remove(change, row, false);
  let objects = 0;
  if (row.latest === 1) {
    const next = await newestOf(tx, bucket.id, row.key);
    if (next !== undefined) await run(tx, 'update object_version set latest = 1 where bucket_id = ? and key = ? and seq = ?', bucket.id, row.key, next.seq);
    objects = live(next) - live(row);
  }
  await count(change.unit, bucket, { objects, versions: -1, kept: -live(row), bytes: -row.size });
}

/** Takes the newest version out of sight: with a marker where versions are kept, for good where they are not. Undefined: there was nothing to remove. */
export async function hideNewest(
  ground: Ground,
  change: Change,
  key: string,
  options: { newest: VersionRow | undefined; token: string; owner: string; bypassGovernance: boolean | undefined },
): Promise<{ row: VersionRow; marker: boolean } | undefined> {
  const { bucket } = change;
  const { newest } = options;
  if (bucket.versioning === 'off' && (newest === undefined || newest.version === NULL_VERSION)) {
    // One that kept versions once, and keeps none any more, has others below.
    const others = newest !== undefined && (await hasOthers(change, newest));
    if (!others) {
      if (newest === undefined) return undefined;
      await removeVersion(change, newest, options.bypassGovernance);
      return { row: newest, marker: false };
    }
  }
  const row = await addVersion(
    ground,
    change,
    {
      key,
      token: options.token,
      marker: true,
      size: 0,
      etag: '',
      attributes: JSON.stringify({ headers: {}, metadata: {}, owner: options.owner }),
      tags: null,
      acl: null,
      lock: { lock_mode: null, lock_until: null, legal_hold: 0 },
      body: null,
      partsOf: null,
      parts: null,
    },
    { newest },
  );
  return { row, marker: true };
}

async function hasOthers({ tx, bucket }: Change, row: VersionRow): Promise<boolean> {
  const other = await one(tx, 'select seq from object_version where bucket_id = ? and key = ? and seq < ? limit 1', bucket.id, row.key, row.seq);
  return other !== undefined;
}
