// Rows of versions, uploads and parts, and what the rest of the engine sees of them.

import type { ObjectPartTable, ObjectUploadTable, ObjectVersionTable } from '../tables.ts';
import type { StoredBody } from './body-types.ts';
import type { Acl, Checksum, ObjectAttributes, ObjectInfo, ObjectLock, PartInfo, UploadInfo } from './types.ts';

export type VersionRow = Omit<ObjectVersionTable, 'bucket_id'>;
export type UploadRow = ObjectUploadTable;
export type PartRow = ObjectPartTable;

export const VERSION_COLUMNS =
  'key, seq, version, latest, marker, size, etag, modified_at, attributes, tags, acl, lock_mode, lock_until, legal_hold, body, parts_of, parts';
/** Of lists, which show nothing of where the bytes are. */
export const LISTED_COLUMNS = VERSION_COLUMNS.replace(' body,', ' null as body,');
export const UPLOAD_COLUMNS = 'id, bucket_id, key, started_at, attributes, completed';
export const PART_COLUMNS = 'owner, number, size, etag, modified_at, checksum, body';

type Kept = ObjectAttributes & { checksum?: Checksum; customerKeyMd5?: string };

/** What goes into the column `attributes`. */
export function keptAttributes(attributes: ObjectAttributes, checksum: Checksum | undefined, customerKeyMd5: string | undefined): string {
  const { tags: _tags, acl: _acl, lock: _lock, ...rest } = attributes;
  return JSON.stringify({ ...rest, checksum, customerKeyMd5 });
}

export const keptTags = (tags: ObjectAttributes['tags']): string | null => (tags === undefined || Object.keys(tags).length === 0 ? null : JSON.stringify(tags));
export const keptAcl = (acl: Acl | undefined): string | null => (acl === undefined ? null : JSON.stringify(acl));

export const bodyOf = (text: string): StoredBody => JSON.parse(text) as StoredBody;

function lockOf(row: Pick<VersionRow, 'lock_mode' | 'lock_until' | 'legal_hold'>): ObjectLock | undefined {
  if (row.lock_mode === null && row.legal_hold === 0) return undefined;
  return {
    ...(row.lock_mode === null ? {} : { mode: row.lock_mode as NonNullable<ObjectLock['mode']> }),
    ...(row.lock_until === null ? {} : { until: row.lock_until }),
    // 2: it was lifted, and a client that asks is told so.
    ...(row.legal_hold === 0 ? {} : { legalHold: row.legal_hold === 1 }),
  };
}

export function infoOf(bucketId: string, row: VersionRow): ObjectInfo {
  // Once for each row of every list: one copy, and nothing is spread.
  const { checksum, customerKeyMd5, ...attributes } = JSON.parse(row.attributes) as Kept;
  if (row.tags !== null) attributes.tags = JSON.parse(row.tags) as Record<string, string>;
  if (row.acl !== null) attributes.acl = JSON.parse(row.acl) as Acl;
  const lock = lockOf(row);
  if (lock !== undefined) attributes.lock = lock;
  return {
    bucketId,
    key: row.key,
    version: row.version,
    latest: row.latest === 1,
    deleteMarker: row.marker === 1,
    size: row.size,
    etag: row.etag,
    modifiedAt: row.modified_at,
    attributes,
    checksum,
    parts: row.parts ?? undefined,
    customerKeyMd5,
  };
}

export interface KeptUpload {
  attributes: ObjectAttributes;
  initiator: string;
  checksum?: UploadInfo['checksum'];
  customerKeyMd5?: string;
}

export function uploadOf(row: UploadRow): UploadInfo {
  const kept = JSON.parse(row.attributes) as KeptUpload;
  return {
    id: row.id,
    bucketId: row.bucket_id,
    key: row.key,
    startedAt: row.started_at,
    attributes: kept.attributes,
    initiator: kept.initiator,
    checksum: kept.checksum,
    customerKeyMd5: kept.customerKeyMd5,
  };
}

export const partOf = (row: Omit<PartRow, 'body' | 'owner'>): PartInfo => ({
  number: row.number,
  size: row.size,
  etag: row.etag,
  modifiedAt: row.modified_at,
  checksum: row.checksum === null ? undefined : (JSON.parse(row.checksum) as Checksum),
});
