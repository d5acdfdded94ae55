import { z } from 'zod';
import { action, channel, contract, crud, immutable, query, resource, stream } from '../../kernel/contract.ts';

/** Rules of Amazon S3, "General purpose bucket naming rules"; and each part between dots can be part of a host's name, for `<bucket>.localhost`. */
const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
export const bucketNameField = z
  .string()
  .regex(BUCKET_NAME, 'use 3 to 63 lower-case letters, digits, hyphens and dots, with a letter or digit at both ends')
  .refine((name) => !/\.[.-]|-\./.test(name) && !/^\d{1,3}(\.\d{1,3}){3}$/.test(name), 'a dot beside a dot or hyphen, and addresses, are no bucket names')
  .refine((name) => !/^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$/.test(name), 'this name is reserved in S3; choose another')
  .refine((name) => !/^bkt-[0-9a-hjkmnp-tv-z]{16}$/.test(name), 'this looks like an id; choose another name')
  .meta({ immutable: true, description: 'Name, unique in the installation', example: 'photos' });

const bytes = z.int().min(0);

/** Seconds. A day of answers would be more than the objects themselves: calls are many. */
const SHORTLY = 600;

export const NotificationField = z.strictObject({
  id: z.string().min(1).max(255).optional().meta({ description: 'Name of the rule; made up when absent' }),
  events: z
    .array(z.string().regex(/^s3:[A-Za-z]+:(\*|[A-Za-z]+)$/, 'use a name of S3, such as s3:ObjectCreated:*'))
    .min(1)
    .max(20)
    .default(['s3:ObjectCreated:*', 's3:ObjectRemoved:*']),
  prefix: z.string().max(1024).optional(),
  suffix: z.string().max(1024).optional(),
  queue: z.string().optional().meta({ description: 'Queue that gets a message for each event' }),
  webhook: z
    .url({ protocol: /^https?$/ })
    .max(2048)
    .optional()
    .meta({ description: 'Address that each event is posted to' }),
});

export const bucket = resource('bucket', {
  summary: 'Buckets: named places for objects, served by the S3 protocol',
  description:
    'Names of buckets are unique in the installation. What is in them is sealed at rest (AES-256-GCM), counted against the quotas of the tenant, and served to every S3 client at the address that `cloud s3 credentials` shows.',
  prefix: 'bkt',
  nameField: bucketNameField,
  spec: {
    versioning: z.enum(['off', 'enabled', 'suspended']).default('off').meta({ description: 'Whether older versions of objects are kept', example: 'enabled' }),
    objectLock: immutable(z.boolean().default(false).meta({ description: 'Versions may be locked against deletion; turns versioning on for good' })),
    encryption: immutable(z.boolean().default(true).meta({ description: 'Seal objects at rest' })),
    maxBytes: bytes.optional().meta({ description: 'Most bytes in it, all versions together', example: 10_737_418_240 }),
    maxObjects: bytes.optional().meta({ description: 'Most versions of objects in it', example: 100_000 }),
    auditReads: z.boolean().default(false).meta({ description: 'Write an audit line for each read of an object, too' }),
  },
  status: {
    objects: z.int().meta({ description: 'Objects in it' }),
    versions: z.int().meta({ description: 'Versions of objects, delete markers too' }),
    bytes: z.int().meta({ description: 'Bytes of all versions' }),
    uploads: z.int().meta({ description: 'Uploads in parts that are open' }),
    uploadBytes: z.int().meta({ description: 'Bytes of their parts' }),
  },
  columns: ['name', 'objects', 'bytes', 'versioning', 'createdAt'],
  wide: ['id', 'versions', 'objectLock', 'encryption', 'uploads', 'uploadBytes', 'maxBytes', 'maxObjects'],
  quota: { buckets: 1 },
});

export const Damaged = z.strictObject({ key: z.string(), version: z.string(), part: z.int().optional(), problem: z.string() });

/** What S3 clients configure, by name. */
export const CONFIG_NAMES = [
  'acl',
  'policy',
  'cors',
  'lifecycle',
  'tags',
  'publicAccessBlock',
  'ownership',
  'encryption',
  'lockDefault',
  'notifications',
  'requestPayment',
  'logging',
] as const;

export const buckets = contract(bucket, {
  ...crud(bucket, {
    create: {
      examples: [
        ['bucket create photos', ''],
        ['bucket create backups --versioning enabled --object-lock', 'Versions that can be locked against deletion'],
      ],
    },
    delete: {
      input: {
        force: z
          .boolean()
          .default(false)
          .meta({ description: 'Also when there are objects in it: they are deleted with it, except locked ones, which keep it' }),
      },
      examples: [
        ['bucket delete photos', ''],
        ['bucket delete photos --force', 'With everything in it'],
      ],
    },
  }),
  configuration: query(bucket, {
    summary: 'Show what S3 clients configured: policy, ACL, CORS, lifecycle and the rest',
    output: z.strictObject({ items: z.array(z.strictObject({ name: z.enum(CONFIG_NAMES), value: z.unknown() })) }),
    examples: [['bucket configuration photos', '']],
  }),
  configure: action(bucket, {
    summary: 'Set or remove one part of the configuration',
    input: {
      name: z.enum(CONFIG_NAMES).meta({ description: 'Which part', example: 'cors', cli: { positional: true } }),
      value: z
        .unknown()
        .optional()
        .meta({ description: 'JSON as `bucket configuration` shows it; nothing removes it', cli: { file: true } }),
    },
    examples: [
      ['bucket configure photos policy @policy.json', ''],
      ['bucket configure photos cors', 'Remove it'],
    ],
  }),
  notification: action(bucket, {
    summary: 'Send events of a bucket to queues and webhooks; replaces all rules',
    input: {
      rules: z
        .array(NotificationField)
        .max(100)
        .meta({ description: 'Rules as JSON; none ends it', example: [{ queue: 'uploads', events: ['s3:ObjectCreated:*'] }], cli: { file: true } }),
    },
    examples: [
      [`bucket notification photos --rules '[{"queue":"uploads"}]'`, ''],
      ["bucket notification photos --rules '[]'", 'None any more'],
    ],
  }),
  verify: stream(bucket, {
    summary: 'Read everything in a bucket as it lies on disk and report what is damaged',
    input: { prefix: z.string().max(1024).default('').meta({ description: 'Only keys that begin so' }) },
    output: z.strictObject({ checked: z.int(), bytes: z.int(), damaged: z.array(Damaged) }),
    examples: [['bucket verify photos', '']],
  }),
  clusterStatus: query(bucket, {
    target: false,
    access: 'administrator',
    summary: 'Show what stands behind all buckets: where bytes are kept, nodes, capacity',
    output: z.strictObject({
      engine: z.string(),
      location: z.string(),
      bytesTotal: z.int().optional(),
      bytesFree: z.int().optional(),
      nodes: z.array(
        z.strictObject({
          name: z.string(),
          state: z.enum(['up', 'degraded', 'down', 'unknown']),
          bytesTotal: z.int().optional(),
          bytesFree: z.int().optional(),
          detail: z.string(),
        }),
      ),
    }),
    examples: [['bucket cluster-status', '']],
  }),
});

// ---- objects: not rows, but things with names `<bucket>/<key>`

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
    input: {
      upload: z.string().max(128).meta({ description: 'Id of the upload' }),
      after: z.int().min(0).default(0).meta({ description: 'Only parts after this number' }),
    },
    output: z.strictObject({ items: z.array(Part), truncated: z.boolean() }),
    examples: [],
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
    examples: [],
  }),
  uploadAbort: action(object, {
    summary: 'Give up an upload and free its parts',
    answerKept: SHORTLY,
    input: { upload: z.string().max(128).meta({ description: 'Id of the upload' }) },
    output: z.strictObject({ upload: z.string() }),
    examples: [],
  }),
  uploads: query(object, {
    summary: 'List uploads that are open, of objects whose names begin so',
    input: page,
    output: z.strictObject({ items: z.array(Upload), cursor: z.string().optional() }),
    examples: [['object uploads photos', '']],
  }),
});

// ---- keys for S3 clients

export const s3Key = resource('s3-key', {
  summary: 'Access keys for S3 clients',
  description: 'A key acts as the user who made it, in one tenant. S3 signs with the secret itself, so it is kept sealed, not hashed.',
  spec: {
    expiresAt: immutable(z.iso.datetime().optional().meta({ description: 'When it ends' })),
  },
  status: {
    accessKeyId: z.string().meta({ description: 'What clients send' }),
    owner: z.string().meta({ description: 'Whom it acts as' }),
    ownerId: z.string().meta({ description: 'Id of whom it acts as' }),
  },
  columns: ['name', 'accessKeyId', 'owner', 'expiresAt', 'createdAt'],
  quota: { s3Keys: 1 },
});

const Credentials = z.strictObject({
  endpoint: z.string().optional().meta({ description: 'Address of the S3 endpoint; absent while nothing listens' }),
  region: z.string(),
  accessKeyId: z.string(),
  secretAccessKey: z.string(),
  tenant: z.string(),
});

export const s3Keys = contract(s3Key, {
  create: action(s3Key, {
    target: false,
    summary: 'Make an access key; its secret is shown now and by `s3 credentials`',
    secretAnswer: true,
    input: { name: s3Key.nameField, ...s3Key.spec },
    output: Credentials,
    examples: [['s3-key create laptop', '']],
  }),
  list: crud(s3Key, { list: { summary: 'List your access keys; administrators see all of the tenant', examples: [['s3-key list', '']] } }).list,
  get: crud(s3Key).get,
  delete: crud(s3Key, { delete: { summary: 'Revoke an access key', examples: [['s3-key delete laptop', '']] } }).delete,
  ofOwner: action(s3Key, {
    target: false,
    internal: true,
    summary: 'The key that `s3 credentials` shows to the caller; the first call makes it',
    output: Credentials,
  }),
});

export const s3 = resource('s3', {
  plural: 's3',
  summary: 'The S3 endpoint',
  stored: false,
  columns: ['endpoint', 'region'],
});
export const s3s = contract(s3, {
  credentials: action(s3, {
    target: false,
    summary: 'Show the endpoint and an access key of yours in this tenant; the first call makes it',
    secretAnswer: true,
    answerKept: 0,
    output: Credentials,
    examples: [['s3 credentials', '']],
  }),
  status: query(s3, {
    target: false,
    summary: 'Show where the S3 endpoint is',
    output: z.strictObject({ endpoint: z.string().optional().meta({ description: 'Absent: nothing listens' }), region: z.string() }),
    examples: [['s3 status', '']],
  }),
});
