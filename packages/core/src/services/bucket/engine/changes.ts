// What can be changed of a version without writing it anew: tags, access, and locks.
import type { Change, Ground } from './ground.ts';
import { changedLock, checkLockable } from './locks.ts';
import { infoOf, keptAcl, keptTags, type VersionRow } from './rows.ts';
import { run } from './sql.ts';
import type { Acl, Actor, Bucket, ObjectChange, ObjectInfo, Objects } from './types.ts';
import { objectVersion } from './versions.ts';

/** Changes columns of one version. */
function changeVersion(
  ground: Ground,
  bucket: Bucket,
  target: { key: string; version: string | undefined },
  how: { actor: Actor; permission: string; type?: ObjectChange['type'] },
  columns: (row: VersionRow, change: Change) => Partial<VersionRow>,
): Promise<ObjectInfo> {
  return ground.change(bucket, how.actor, async (change) => {
    const row = await objectVersion(change.tx, change.bucket.id, target.key, target.version);
    const set = columns(row, change);
    const names = Object.keys(set) as (keyof VersionRow)[];
    await run(
      change.tx,
      `update object_version set ${names.map((name) => `${name} = ?`).join(', ')} where bucket_id = ? and key = ? and seq = ?`,
      ...names.map((name) => set[name] ?? null),
      bucket.id,
      row.key,
      row.seq,
    );
    const info = infoOf(bucket.id, { ...row, ...set });
    await ground.audit(change, how.actor, how.permission, row.key);
    if (how.type !== undefined) await ground.tell(change, how.type, () => info, how.actor);
    return info;
  });
}

export const changeTags = (
  ground: Ground,
  bucket: Bucket,
  key: string,
  version: string | undefined,
  tags: Readonly<Record<string, string>>,
  actor: Actor,
): ReturnType<Objects['setTags']> => {
  const type = Object.keys(tags).length === 0 ? 'ObjectTagging:Delete' : 'ObjectTagging:Put';
  return changeVersion(ground, bucket, { key, version }, { actor, permission: 'object:setTags', type }, () => ({ tags: keptTags(tags) }));
};

export const changeAcl = (ground: Ground, bucket: Bucket, key: string, version: string | undefined, acl: Acl, actor: Actor): ReturnType<Objects['setAcl']> =>
  changeVersion(ground, bucket, { key, version }, { actor, permission: 'object:setAcl', type: 'ObjectAcl:Put' }, () => ({ acl: keptAcl(acl) }));

export const changeLock = (
  ground: Ground,
  bucket: Bucket,
  key: string,
  version: string | undefined,
  lock: Parameters<Objects['setLock']>[3],
  { actor, bypassGovernance }: Parameters<Objects['setLock']>[4],
): ReturnType<Objects['setLock']> =>
  changeVersion(ground, bucket, { key, version }, { actor, permission: 'object:setLock' }, (row, change) => {
    checkLockable(change.bucket);
    return changedLock(row, lock, { now: change.now, bypassGovernance });
  });
