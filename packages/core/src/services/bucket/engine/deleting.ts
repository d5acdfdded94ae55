// Deleting: one object, one version, many at once, or all that a bucket holds.
import { checkDelete, isConditional } from './conditions.ts';
import type { Change, Ground } from './ground.ts';
import { scanVersions } from './list.ts';
import { checkUnlocked } from './locks.ts';
import { newToken } from './names.ts';
import { infoOf, type VersionRow } from './rows.ts';
import { breath, one } from './sql.ts';
import { type Actor, type Bucket, type DeleteOptions, type DeleteResult, type ObjectChange, ObjectError, type Objects } from './types.ts';
import { dropUpload } from './uploads.ts';
import { hideNewest, newestOf, removeVersion, versionOf } from './versions.ts';

/** Deletions in one transaction: others wait for it. */
const BATCH = 50;

type Target = { key: string } & Omit<DeleteOptions, 'actor'>;

/** What the change is called where it is told; lifecycle rules have their own names. */
export interface DeleteNames {
  permission: string;
  removed: ObjectChange['type'];
  hidden: ObjectChange['type'];
}
const BY_REQUEST: DeleteNames = { permission: 'object:delete', removed: 'ObjectRemoved:Delete', hidden: 'ObjectRemoved:DeleteMarkerCreated' };

/** In a transaction. Throws before it has changed anything. */
export async function deleteIn(ground: Ground, change: Change, target: Target, actor: Actor, names: DeleteNames = BY_REQUEST): Promise<DeleteResult> {
  const { tx, bucket } = change;
  const { key, version, conditions, bypassGovernance } = target;
  const shown = (row: VersionRow): string | undefined => (bucket.versioning === 'off' ? undefined : row.version);
  if (version !== undefined) {
    const row = await versionOf(tx, bucket.id, key, version);
    if (row === undefined) return { deleteMarker: false, version };
    checkDelete(conditions, row);
    if (row.marker === 0) checkUnlocked(row, change.now, bypassGovernance);
    await removeVersion(change, row, bypassGovernance);
    await ground.audit(change, actor, names.permission, key);
    await ground.tell(change, names.removed, () => infoOf(bucket.id, row), actor);
    return { deleteMarker: row.marker === 1, version: shown(row) ?? version };
  }
  const newest = await newestOf(tx, bucket.id, key);
  checkDelete(conditions, newest);
  // Asked for on a condition, nothing is made of nothing.
  if (newest === undefined && isConditional(conditions)) return { deleteMarker: false, version: undefined };
  const hidden = await hideNewest(ground, change, key, {
    newest,
    token: newToken(change.now),
    owner: actor.tenantId === '' ? bucket.tenantId : actor.tenantId,
    bypassGovernance,
  });
  if (hidden === undefined) return { deleteMarker: false, version: undefined };
  await ground.audit(change, actor, names.permission, key);
  await ground.tell(change, hidden.marker ? names.hidden : names.removed, () => infoOf(bucket.id, hidden.row), actor);
  return { deleteMarker: hidden.marker, version: hidden.marker ? hidden.row.version : undefined };
}

export function deleteObject(ground: Ground, bucket: Bucket, key: string, options: DeleteOptions): ReturnType<Objects['delete']> {
  return ground.change(bucket, options.actor, (change) => deleteIn(ground, change, { key, ...options }, options.actor));
}

export async function deleteMany(ground: Ground, bucket: Bucket, targets: readonly Target[], actor: Actor): Promise<(DeleteResult | ObjectError)[]> {
  const outcomes: (DeleteResult | ObjectError)[] = [];
  for (let at = 0; at < targets.length; at += BATCH) {
    const some = targets.slice(at, at + BATCH);
    outcomes.push(
      ...(await ground.change(bucket, actor, async (change) => {
        const done: (DeleteResult | ObjectError)[] = [];
        for (const target of some) {
          try {
            done.push(await deleteIn(ground, change, target, actor));
          } catch (error) {
            if (!(error instanceof ObjectError)) throw error;
            done.push(error);
          }
        }
        return done;
      })),
    );
  }
  return outcomes;
}

export interface ClearOptions {
  actor: Actor;
  /** Locked versions too: the tenant ends, and nobody is left for whom they would be kept. */
  locked?: boolean;
  /** Asked before a version goes, or an upload is given up (`version` is undefined then); throws where it may not. */
  may?: (key: string, version: string | undefined) => Promise<void>;
  signal: AbortSignal;
}

/** Repeatable: each batch is for good. `locked` when versions are left that may not be deleted. */
export async function clearBucket(ground: Ground, bucket: Bucket, { actor, locked = false, may, signal }: ClearOptions): Promise<void> {
  let refused: ObjectError | undefined;
  for (let from: Parameters<typeof scanVersions>[2] | undefined = { key: '', inclusive: true }; from !== undefined; ) {
    signal.throwIfAborted();
    const rows: VersionRow[] = await scanVersions(ground, bucket.id, from, undefined, BATCH);
    const last = rows.at(-1);
    if (last === undefined) break;
    for (const { key, version } of may === undefined ? [] : rows) await may?.(key, version);
    refused = (await ground.change(bucket, actor, (change) => clearSome(ground, change, rows, actor, locked))) ?? refused;
    from = rows.length < BATCH ? undefined : { row: last };
    await breath();
  }
  if (refused !== undefined) throw refused;
  for (;;) {
    signal.throwIfAborted();
    const upload = await one<{ id: string; key: string }>(ground.db, 'select id, key from object_upload where bucket_id = ? limit 1', bucket.id);
    if (upload === undefined) break;
    await may?.(upload.key, undefined);
    await ground.change(bucket, actor, (change) => dropUpload(change, upload.id));
    await breath();
  }
}

/** Answers with why one of them had to stay. */
async function clearSome(ground: Ground, change: Change, rows: readonly VersionRow[], actor: Actor, locked: boolean): Promise<ObjectError | undefined> {
  let refused: ObjectError | undefined;
  for (const { key, version } of rows) {
    const row = await versionOf(change.tx, change.bucket.id, key, version);
    if (row === undefined) continue;
    try {
      await removeVersion(change, locked ? { ...row, lock_mode: null, lock_until: null, legal_hold: 0 } : row, false);
    } catch (error) {
      if (!(error instanceof ObjectError) || error.problem !== 'locked') throw error;
      refused = error;
      continue;
    }
    await ground.audit(change, actor, 'object:delete', key);
    await ground.tell(change, 'ObjectRemoved:Delete', () => infoOf(change.bucket.id, row), actor);
  }
  return refused;
}
