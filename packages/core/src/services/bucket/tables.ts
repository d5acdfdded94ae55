// Objects are not rows of the kernel: a bucket may have millions, and their keys are any text. `key` compares by its UTF-8 bytes, which is the order of S3.
import { type Migration, statements } from '../../kernel/migrate.ts';

/** Counted with every change, in its transaction. */
export interface BucketUsageTable {
  bucket_id: string;
  objects: number;
  versions: number;
  bytes: number;
  uploads: number;
  upload_bytes: number;
}

export interface ObjectVersionTable {
  bucket_id: string;
  key: string;
  /** Order of the versions of a key, the newest highest: microseconds since 1970, made unique and growing. */
  seq: number;
  /** `null` or an id. */
  version: string;
  /** 1 for the newest of its key. */
  latest: number;
  marker: number;
  size: number;
  etag: string;
  modified_at: number;
  /** JSON: ObjectAttributes without tags, acl and lock; checksum; customerKeyMd5. */
  attributes: string;
  /** JSON, or null for none. */
  tags: string | null;
  acl: string | null;
  lock_mode: string | null;
  lock_until: number | null;
  legal_hold: number;
  /** JSON: StoredBody. Null for markers, and where there are parts. */
  body: string | null;
  /** Of an object uploaded in parts: the owner of its rows in `object_part`. */
  parts_of: string | null;
  parts: number | null;
}

export interface ObjectUploadTable {
  id: string;
  bucket_id: string;
  key: string;
  started_at: number;
  /** JSON: ObjectAttributes, checksum, initiator, customerKeyMd5. */
  attributes: string;
  /** Version that it became, with the hash of the list of parts: completing again answers the same. Null while open. */
  completed: string | null;
}

export interface ObjectPartTable {
  /** Id of the upload. It stays the owner after completion; numbers are as they were uploaded. */
  owner: string;
  number: number;
  size: number;
  etag: string;
  modified_at: number;
  /** JSON: Checksum, or null. */
  checksum: string | null;
  /** JSON: StoredBody. */
  body: string;
}

export const migrations: Migration[] = [
  {
    id: 'bucket-001',
    up: statements(
      // Who has a name: it is unique in the installation.
      'create table bucket_name (name text primary key, bucket_id text not null unique, tenant text not null)',
      // JSON, by ConfigName.
      'create table bucket_config (bucket_id text not null, kind text not null, value text not null, primary key (bucket_id, kind))',
      `create table bucket_usage (bucket_id text primary key, objects bigint not null, versions bigint not null, bytes bigint not null, uploads bigint not null,
        upload_bytes bigint not null)`,
      `create table object_version (bucket_id text not null, key text not null, seq bigint not null, version text not null, latest integer not null, marker integer not null,
        size bigint not null, etag text not null, modified_at bigint not null, attributes text not null, tags text, acl text, lock_mode text, lock_until bigint,
        legal_hold integer not null, body text, parts_of text, parts integer)`,
      // The key of the table, in the order in which versions are listed: the newest of a key first.
      'create unique index object_version_order on object_version (bucket_id, key, seq desc)',
      'create unique index object_version_id on object_version (bucket_id, key, version)',
      // What a list of objects walks along.
      'create unique index object_live on object_version (bucket_id, key) where latest = 1 and marker = 0',
      'create index object_parts_of on object_version (parts_of) where parts_of is not null',
      `create table object_upload (id text primary key, bucket_id text not null, key text not null, started_at bigint not null, attributes text not null, completed text)`,
      'create index object_upload_open on object_upload (bucket_id, key, id) where completed is null',
      `create table object_part (owner text not null, number integer not null, size bigint not null, etag text not null, modified_at bigint not null, checksum text,
        body text not null, primary key (owner, number))`,
      // Blobs that nothing names any more; they go when the object store has let them go.
      'create table object_garbage (blob text primary key, at bigint not null)',
      // A random key of a tenant that wraps the keys of its blobs; sealed by the keyring, so that a new master key means one row for each tenant.
      'create table object_key (tenant text primary key, sealed text not null)',
    ),
  },
  {
    id: 'bucket-002',
    // What may not be deleted yet, or not without more: few, and looked for before a tenant goes.
    up: statements('create index object_version_locked on object_version (bucket_id, key) where lock_mode is not null or legal_hold = 1'),
  },
];
