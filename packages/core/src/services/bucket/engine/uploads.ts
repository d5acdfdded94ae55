// Uploads in parts: begun, filled, listed, given up. Each part is a blob of its own, and stays one when the upload becomes an object.

import type { Db, Tx } from '../../../kernel/db.ts';
import type { Written } from './body-types.ts';
import { discardBodies } from './garbage.ts';
import type { Change, Ground } from './ground.ts';
import { lockFor } from './locks.ts';
import { checkKey, newToken } from './names.ts';
import { partBound } from './reading.ts';
import { type KeptUpload, PART_COLUMNS, type PartRow, partOf, UPLOAD_COLUMNS, type UploadRow, uploadOf, type VersionRow } from './rows.ts';
import { all, one, run } from './sql.ts';
import {
  type Actor,
  type Bucket,
  type Checksum,
  type CustomerKey,
  ObjectError,
  type ObjectInfo,
  type Objects,
  type PartInfo,
  type PutOptions,
  type UploadInfo,
} from './types.ts';
import { checkRoom, count } from './usage.ts';
import { removeParts, versionOf } from './versions.ts';
import { DEFAULT_CHECKSUM, MOST_BYTES } from './writing.ts';

export const MOST_PARTS = 10_000;
/** How long completing an upload again answers the same. */
const REMEMBERED_MS = 24 * 60 * 60 * 1000;

export const noSuchUpload = (upload: string): ObjectError =>
  new ObjectError('no_such_upload', 'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.', {
    upload,
  });

/** `no_such_upload` also for one of another key, or one that is completed. */
export async function openUpload(db: Db | Tx, bucketId: string, key: string, id: string): Promise<UploadRow> {
  const row = await one<UploadRow>(db, `select ${UPLOAD_COLUMNS} from object_upload where id = ?`, id);
  if (row === undefined || row.bucket_id !== bucketId || row.key !== key || row.completed !== null) throw noSuchUpload(id);
  return row;
}

export async function createUpload(
  ground: Ground,
  bucket: Bucket,
  key: string,
  options: Parameters<Objects['createUpload']>[2],
): ReturnType<Objects['createUpload']> {
  checkKey(key);
  const { attributes, checksum, customerKey, actor } = options;
  if (checksum !== undefined) checkChecksumType(checksum);
  // A key that is not there is told now, and not with the first part.
  await ground.kms.wrapperOf(bucket, attributes, actor);
  return ground.change(bucket, actor, async (change) => {
    lockFor(change.bucket, attributes.lock, change.now);
    const kept: KeptUpload = {
      attributes,
      initiator: actor.principal,
      ...(checksum === undefined ? {} : { checksum }),
      ...(customerKey === undefined ? {} : { customerKeyMd5: customerKey.md5 }),
    };
    const row: UploadRow = {
      id: newToken(change.now),
      bucket_id: bucket.id,
      key,
      started_at: change.now,
      attributes: JSON.stringify(kept),
      completed: null,
    };
    await count(change.unit, change.bucket, { uploads: 1 });
    await run(
      change.tx,
      `insert into object_upload (${UPLOAD_COLUMNS}) values (?, ?, ?, ?, ?, ?)`,
      row.id,
      row.bucket_id,
      row.key,
      row.started_at,
      row.attributes,
      row.completed,
    );
    await ground.audit(change, actor, 'object:uploadStart', key);
    return uploadOf(row);
  });
}

function checkChecksumType({ algorithm, type }: NonNullable<UploadInfo['checksum']>): void {
  const wrong = type === 'full' ? algorithm === 'SHA1' || algorithm === 'SHA256' : algorithm === 'CRC64NVME';
  if (wrong) {
    const said = type === 'full' ? 'FULL_OBJECT' : 'COMPOSITE';
    throw new ObjectError('invalid_request', `The ${said} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`);
  }
}

export async function findUpload(ground: Ground, bucket: Bucket, key: string, uploadId: string): Promise<UploadInfo> {
  return uploadOf(await ground.read((db) => openUpload(db, bucket.id, key, uploadId)));
}

export function checkPartKey(upload: UploadInfo, customerKey: CustomerKey | undefined): void {
  if (upload.customerKeyMd5 === customerKey?.md5) return;
  throw new ObjectError(
    'invalid_key',
    upload.customerKeyMd5 === undefined
      ? 'The upload was begun without a customer key'
      : 'The upload was begun with a customer key, and every part needs the same',
  );
}

export function checkPartNumber(number: number): void {
  if (Number.isInteger(number) && number >= 1 && number <= MOST_PARTS) return;
  throw new ObjectError('invalid_argument', `Part number must be an integer between 1 and ${MOST_PARTS}, inclusive`, { argument: 'partNumber' });
}

/** What a part is checked with: what the upload was begun with, so that the whole can be told from its parts. */
export const partAlgorithm = (upload: UploadInfo): Checksum['algorithm'] => upload.checksum?.algorithm ?? DEFAULT_CHECKSUM;

/** Keeps a part in place of an earlier one of its number. When it cannot, its bytes go again. */
export async function commitPart(
  ground: Ground,
  bucket: Bucket,
  part: { upload: UploadInfo; number: number; written: Written; actor: Actor; permission: string },
): Promise<PartInfo> {
  const { upload, number, written, actor } = part;
  const algorithm = partAlgorithm(upload);
  const value = written.checksums[algorithm];
  const checksum: Checksum | undefined = value === undefined ? undefined : { algorithm, type: 'full', value };
  try {
    const row = await ground.change(bucket, actor, async (change) => {
      const { tx, now } = change;
      await openUpload(tx, bucket.id, upload.key, upload.id);
      const before = await one<PartRow>(tx, `select ${PART_COLUMNS} from object_part where owner = ? and number = ?`, upload.id, number);
      const kept: PartRow = {
        owner: upload.id,
        number,
        size: written.size,
        etag: written.md5,
        modified_at: now,
        checksum: checksum === undefined ? null : JSON.stringify(checksum),
        body: JSON.stringify(written.body),
      };
      await count(change.unit, change.bucket, { uploadBytes: kept.size - (before?.size ?? 0) });
      if (before !== undefined) {
        await discardBodies(tx, [before.body], now);
        change.discarded = true;
      }
      await run(
        tx,
        `insert into object_part (${PART_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?) on conflict (owner, number) do update set size = excluded.size, etag = excluded.etag,
          modified_at = excluded.modified_at, checksum = excluded.checksum, body = excluded.body`,
        kept.owner,
        kept.number,
        kept.size,
        kept.etag,
        kept.modified_at,
        kept.checksum,
        kept.body,
      );
      await ground.audit(change, actor, part.permission, upload.key);
      return kept;
    });
    ground.bodies.settled(written.body.blob);
    return partOf(row);
  } catch (error) {
    await ground.discard([written.body.blob]);
    throw error;
  }
}

export async function putPart(
  ground: Ground,
  bucket: Bucket,
  key: string,
  uploadId: string,
  number: number,
  body: AsyncIterable<Buffer>,
  options: Pick<PutOptions, 'expected' | 'customerKey' | 'actor' | 'signal'>,
): Promise<PartInfo> {
  checkPartNumber(number);
  const upload = await findUpload(ground, bucket, key, uploadId);
  checkPartKey(upload, options.customerKey);
  const { expected } = options;
  if (upload.checksum !== undefined && expected.checksum !== undefined && expected.checksum.algorithm !== upload.checksum.algorithm) {
    throw new ObjectError(
      'invalid_request',
      `Checksum Type mismatch occurred, expected checksum Type: ${upload.checksum.algorithm.toLowerCase()}, actual checksum Type: ${expected.checksum.algorithm.toLowerCase()}`,
    );
  }
  if (expected.size !== undefined && expected.size > MOST_BYTES) {
    throw new ObjectError('part_too_large', 'Your proposed upload exceeds the maximum allowed size', { size: expected.size, limit: MOST_BYTES });
  }
  if (expected.size !== undefined) await ground.read((db) => checkRoom(db, bucket, expected.size as number, 0));
  const written = await ground.write(bucket, body, {
    by: await ground.kms.wrapperOf(bucket, upload.attributes, options.actor),
    bound: partBound(bucket.id, key, uploadId, number, newToken(ground.now())),
    encrypt: bucket.encrypted || upload.attributes.encryption !== undefined,
    customerKey: options.customerKey,
    expected,
    checksums: [partAlgorithm(upload)],
    limit: MOST_BYTES,
    signal: options.signal,
  });
  return commitPart(ground, bucket, { upload, number, written, actor: options.actor, permission: 'object:uploadPart' });
}

async function partsPage(
  ground: Ground,
  owner: string,
  { after, limit }: { after: number; limit: number },
): Promise<{ parts: PartInfo[]; truncated: boolean }> {
  const rows = await all<PartRow>(
    ground.db,
    'select number, size, etag, modified_at, checksum from object_part where owner = ? and number > ? order by number limit ?',
    owner,
    after,
    limit + 1,
  );
  return { parts: rows.slice(0, limit).map(partOf), truncated: rows.length > limit };
}

export async function listParts(
  ground: Ground,
  bucket: Bucket,
  key: string,
  uploadId: string,
  page: { after: number; limit: number },
): Promise<{ parts: PartInfo[]; truncated: boolean }> {
  await findUpload(ground, bucket, key, uploadId);
  return ground.read(() => partsPage(ground, uploadId, page));
}

/** Of an object they are numbered from 1 on. */
export async function listPartsOf(
  ground: Ground,
  bucket: Bucket,
  info: ObjectInfo,
  page: { after: number; limit: number },
): Promise<{ parts: PartInfo[]; truncated: boolean }> {
  return ground.read(async (db) => {
    const row: VersionRow | undefined = await versionOf(db, bucket.id, info.key, info.version);
    if (row === undefined || row.parts_of === null) return { parts: [], truncated: false };
    const rows = await all<PartRow>(
      db,
      'select number, size, etag, modified_at, checksum from object_part where owner = ? order by number limit ? offset ?',
      row.parts_of,
      page.limit + 1,
      page.after,
    );
    const parts = rows.slice(0, page.limit).map((part, at) => ({ ...partOf(part), number: page.after + at + 1 }));
    return { parts, truncated: rows.length > page.limit };
  });
}

/** An upload goes, and its parts if it is still open. */
export async function dropUpload(change: Change, id: string): Promise<void> {
  const { tx, bucket } = change;
  const row = await one<UploadRow>(tx, `select ${UPLOAD_COLUMNS} from object_upload where id = ?`, id);
  if (row === undefined || row.bucket_id !== bucket.id) return;
  await run(tx, 'delete from object_upload where id = ?', id);
  if (row.completed !== null) return;
  const parts = await one<{ bytes: number | null }>(tx, 'select sum(size) as bytes from object_part where owner = ?', id);
  await count(change.unit, bucket, { uploads: -1, uploadBytes: -(parts?.bytes ?? 0) });
  await removeParts(change, id);
}

export async function abortUpload(ground: Ground, bucket: Bucket, key: string, uploadId: string, actor: Actor): Promise<void> {
  await ground.change(bucket, actor, async (change) => {
    await openUpload(change.tx, bucket.id, key, uploadId);
    await dropUpload(change, uploadId);
    await ground.audit(change, actor, 'object:uploadAbort', key);
  });
}

/** What an upload became is remembered for a while. */
export interface Completed {
  /** Of the list of parts. */
  hash: string;
  version: string;
  at: number;
}

export async function pruneUploads(ground: Ground, now: number): Promise<void> {
  const PAGE = 500;
  for (let from = ''; ; ) {
    const rows = await ground.read((db) =>
      all<{ id: string; completed: string }>(
        db,
        'select id, completed from object_upload where completed is not null and id > ? order by id limit ?',
        from,
        PAGE,
      ),
    );
    const old = rows.filter(({ completed }) => (JSON.parse(completed) as Completed).at < now - REMEMBERED_MS);
    if (old.length > 0) {
      await ground.context.submit({ tenantId: '', principal: 'system' }, async ({ tx }) => {
        for (const { id } of old) await run(tx, 'delete from object_upload where id = ?', id);
      });
    }
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return;
    from = last.id;
  }
}
