// Objects: not rows, but things with names `<bucket>/<key>`.
import { z } from 'zod';
import { action, channel, contract, query, resource } from '../../kernel/contract.ts';

const bytes = z.int().min(0);

/** Seconds. A day of answers would be more than the objects themselves: calls are many. */
const SHORTLY = 600;

export const object = resource('object', {
  summary: 'Objects: bytes with a key, in a bucket',
  description: 'An object is named `<bucket>/<key>`. The same objects are served to S3 clients.',
  stored: false,
  columns: ['key', 'size', 'modifiedAt', 'etag'],
  // Counted by the engine, in its transactions: versions of objects, and bytes of all of them and of open uploads.
  quota: { objects: 1, objectBytes: 1 },
});

const versionInput = z.string().max(128).optional().meta({ description: 'That version, not the newest' });
const metadataInput = {
  contentType: z.string().max(256).optional().meta({ description: 'MIME type', example: 'image/jpeg' }),
  cacheControl: z.string().max(1024).optional().meta({ description: 'Cache-Control' }),
  contentDisposition: z.string().max(1024).optional().meta({ description: 'Content-Disposition' }),
  contentEncoding: z.string().max(256).optional().meta({ description: 'Content-Encoding' }),
  contentLanguage: z.string().max(256).optional().meta({ description: 'Content-Language' }),
  expires: z.string().max(256).optional().meta({ description: 'Expires' }),
  metadata: z
    .record(z.string().regex(/^[a-z0-9!#$%&'*+.^_`|~-]{1,128}$/, 'use lower-case letters, digits and hyphens'), z.string().max(2048))
    .default({})
    .meta({ description: 'Metadata of your own, key=value', example: { album: 'summer' }, cli: { char: 'm' } }),
  tags: z
    .record(z.string().min(1).max(128), z.string().max(256))
    .default({})
    .refine((tags) => Object.keys(tags).length <= 10, 'at most 10 tags')
    .meta({ description: 'Tags, key=value' }),
};

export const ObjectView = z.strictObject({
  bucket: z.string(),
  key: z.string(),
  version: z.string().optional().meta({ description: 'Absent while versioning was never on' }),
  latest: z.boolean(),
  deleteMarker: z.boolean(),
  size: z.int(),
  etag: z.string(),
  modifiedAt: z.iso.datetime(),
  contentType: z.string().optional(),
  headers: z.record(z.string(), z.string()),
  metadata: z.record(z.string(), z.string()),
  tags: z.record(z.string(), z.string()),
  checksum: z.strictObject({ algorithm: z.string(), type: z.enum(['full', 'composite']), value: z.string() }).optional(),
  parts: z.int().optional(),
  lockMode: z.enum(['GOVERNANCE', 'COMPLIANCE']).optional(),
  lockedUntil: z.iso.datetime().optional(),
  legalHold: z.boolean().optional(),
});

const ListedObject = z.strictObject({
  key: z.string(),
  size: z.int(),
  modifiedAt: z.iso.datetime(),
  etag: z.string(),
  storageClass: z.string(),
});
const page = {
  limit: z.int().min(1).max(1000).default(1000).meta({ description: 'At most so many; the answer has a cursor when there are more' }),
  cursor: z.string().max(4096).optional().meta({ description: 'Where the page before ended' }),
};
const ifMatch = z.string().max(128).optional().meta({ description: 'Only if the object there has this ETag' });
const ifNoneMatch = z.boolean().default(false).meta({ description: 'Only if there is none of this name yet' });

const Upload = z.strictObject({ upload: z.string(), key: z.string(), startedAt: z.iso.datetime() });
const Part = z.strictObject({ number: z.int(), size: z.int(), etag: z.string() });

export const objects = contract(object, {
  list: query(object, {
    summary: 'List the objects whose names begin so',
    description: 'Named `<bucket>` or `<bucket>/<prefix>`. With `recursive` everything below; else one level, folders first.',
    input: {
      recursive: z
        .boolean()
        .default(false)
        .meta({ description: 'Everything below, not one level', cli: { char: 'r' } }),
      ...page,
    },
    output: z.strictObject({ items: z.array(ListedObject), folders: z.array(z.string()), cursor: z.string().optional() }),
    examples: [
      ['object list photos', ''],
      ['object list photos/2026/ --recursive', ''],
    ],
  }),
  head: query(object, {
    summary: 'Show what is known of an object, without its bytes',
    input: { version: versionInput },
    output: ObjectView,
    examples: [['object head photos/a.jpg', '']],
  }),
  versions: query(object, {
    summary: 'List the versions of the objects whose names begin so, newest first',
    input: page,
    output: z.strictObject({
      items: z.array(ObjectView.pick({ key: true, version: true, latest: true, deleteMarker: true, size: true, etag: true, modifiedAt: true })),
      cursor: z.string().optional(),
    }),
    examples: [['object versions photos/a.jpg', '']],
  }),
  get: channel(object, {
    onlyReads: true,
    summary: 'Read an object, or a range of it',
    description: 'The bytes are the channel’s output.',
    input: {
      version: versionInput,
      start: z.int().min(0).optional().meta({ description: 'First byte, from 0' }),
      end: z.int().min(0).optional().meta({ description: 'Last byte' }),
      ifMatch,
    },
    output: ObjectView,
    examples: [
      ['object get photos/a.jpg', 'To standard output'],
      ['object get photos/a.jpg a.jpg', ''],
    ],
  }),
  put: channel(object, {
    summary: 'Write an object',
    description: 'The bytes are the channel’s input; the object is there, whole, when the result comes.',
    input: {
      ...metadataInput,
      size: bytes.optional().meta({ description: 'Number of bytes, when it is known: fewer or more are refused' }),
      md5: z.string().max(32).optional().meta({ description: 'Hexadecimal MD5 that the bytes must have' }),
      ifMatch,
      ifNoneMatch,
    },
    output: ObjectView,
    examples: [
      ['object put photos/a.jpg a.jpg', ''],
      ['object put backups/db.sql - --content-type application/sql', 'From standard input'],
    ],
  }),
  delete: action(object, {
    summary: 'Delete an object, or one version of it',
    answerKept: SHORTLY,
    destructive: true,
    input: { version: versionInput, bypassGovernance: z.boolean().default(false).meta({ description: 'Also when it is locked in governance mode' }) },
    output: z.strictObject({ key: z.string(), deleteMarker: z.boolean(), version: z.string().optional() }),
    examples: [['object delete photos/a.jpg', '']],
  }),
  copy: action(object, {
    summary: 'Copy an object',
    answerKept: SHORTLY,
    input: {
      to: z
        .string()
        .min(3)
        .max(1100)
        .meta({ description: 'Name of the copy: <bucket>/<key>', example: 'photos/b.jpg', cli: { positional: true } }),
      version: versionInput,
    },
    output: ObjectView,
    examples: [['object copy photos/a.jpg archive/a.jpg', '']],
  }),
  move: action(object, {
    summary: 'Give an object another name, in the same bucket or another',
    answerKept: SHORTLY,
    input: {
      to: z
        .string()
        .min(3)
        .max(1100)
        .meta({ description: 'New name: <bucket>/<key>', example: 'photos/b.jpg', cli: { positional: true } }),
    },
    output: ObjectView,
    examples: [['object move photos/a.jpg photos/b.jpg', '']],
  }),
  restore: action(object, {
    summary: 'Make an older version the newest again, or undo a deletion',
    answerKept: SHORTLY,
    input: { version: z.string().max(128).optional().meta({ description: 'Which one; the newest before the deletion when absent' }) },
    output: ObjectView,
    examples: [['object restore photos/a.jpg', '']],
  }),
  setTags: action(object, {
    summary: 'Replace the tags of an object',
    answerKept: SHORTLY,
    input: { tags: metadataInput.tags, version: versionInput },
    output: ObjectView,
    examples: [['object set-tags photos/a.jpg --tags album=summer', '']],
  }),
  setLock: action(object, {
    summary: 'Lock a version against deletion, or lift a legal hold',
    answerKept: SHORTLY,
    input: {
      version: versionInput,
      mode: z.enum(['GOVERNANCE', 'COMPLIANCE']).optional().meta({ description: 'Retention; needs `until`' }),
      until: z.iso.datetime().optional().meta({ description: 'End of the retention' }),
      legalHold: z.boolean().optional().meta({ description: 'Locked until it is lifted' }),
      bypassGovernance: z.boolean().default(false).meta({ description: 'Also what shortens retention in governance mode' }),
    },
    output: ObjectView,
    examples: [['object set-lock photos/a.jpg --mode GOVERNANCE --until 2027-01-01T00:00:00Z', '']],
  }),
  presign: action(object, {
    summary: 'Make an address that reads or writes one object for a while, without credentials',
    secretAnswer: true,
    answerKept: 0,
    input: {
      method: z.enum(['GET', 'PUT', 'HEAD', 'DELETE']).default('GET').meta({ description: 'What may be done with it' }),
      expires: z
        .int()
        .min(1)
        .max(604_800)
        .default(3600)
        .meta({ description: 'How long it is good for, seconds', cli: { seconds: true } }),
      version: versionInput,
    },
    output: z.strictObject({ url: z.string(), expiresAt: z.iso.datetime() }),
    examples: [
      ['object presign photos/a.jpg', ''],
      ['object presign photos/new.jpg --method PUT --expires 5m', ''],
    ],
  }),
  uploadStart: action(object, {
    summary: 'Begin an upload in parts',
    answerKept: SHORTLY,
    input: metadataInput,
    output: Upload,
    examples: [['object upload-start photos/big.iso', '']],
  }),
  uploadPart: channel(object, {
    summary: 'Write one part of an upload',
    input: {
      upload: z.string().max(128).meta({ description: 'Id of the upload' }),
      number: z.int().min(1).max(10_000).meta({ description: 'Place of the part' }),
      size: bytes.optional().meta({ description: 'Number of bytes' }),
    },
    output: Part,
    examples: [],
  }),
  uploadParts: query(object, {
    summary: 'List the parts that an upload has',
    description: 'Of one that is still open; `object uploads` lists them.',
    input: {
      upload: z.string().max(128).meta({ description: 'Id of the upload' }),
      after: z.int().min(0).default(0).meta({ description: 'Only parts after this number' }),
    },
    output: z.strictObject({ items: z.array(Part), truncated: z.boolean() }),
    examples: [['object upload-parts photos/big.iso --upload 0abc…', '']],
  }),
  uploadComplete: action(object, {
    summary: 'Make the object of the parts of an upload',
    answerKept: SHORTLY,
    input: {
      upload: z.string().max(128).meta({ description: 'Id of the upload' }),
      parts: z
        .array(z.strictObject({ number: z.int().min(1).max(10_000), etag: z.string().max(128) }))
        .min(1)
        .max(10_000)
        .meta({ description: 'Number and ETag of each, in order', example: [{ number: 1, etag: '…' }] }),
      ifNoneMatch,
    },
    output: ObjectView,
    examples: [[`object upload-complete photos/big.iso --upload 0abc… --parts '[{"number":1,"etag":"…"}]'`, '']],
  }),
  uploadAbort: action(object, {
    summary: 'Give up an upload and free its parts',
    answerKept: SHORTLY,
    input: { upload: z.string().max(128).meta({ description: 'Id of the upload' }) },
    output: z.strictObject({ upload: z.string() }),
    examples: [['object upload-abort photos/big.iso --upload 0abc…', '']],
  }),
  uploads: query(object, {
    summary: 'List uploads that are open, of objects whose names begin so',
    description: '`object put --resume` goes on with one, `object upload-abort` gives one up. Their parts take room until then.',
    input: page,
    output: z.strictObject({ items: z.array(Upload), cursor: z.string().optional() }),
    examples: [['object uploads photos', '']],
  }),
});
