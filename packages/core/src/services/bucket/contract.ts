import { z } from 'zod';
import { action, contract, crud, immutable, query, resource, stream } from '../../kernel/contract.ts';

/** Rules of Amazon S3, "General purpose bucket naming rules"; and each part between dots can be part of a host's name, for `<bucket>.localhost`. */
const BUCKET_NAME = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
export const bucketNameField = z
  .string()
  .regex(BUCKET_NAME, 'use 3 to 63 lower-case letters, digits, hyphens and dots, with a letter or digit at both ends')
  .refine((name) => !/\.[.-]|-\./.test(name) && !/^\d{1,3}(\.\d{1,3}){3}$/.test(name), 'a dot beside a dot or hyphen, and addresses, are no bucket names')
  .refine((name) => !/^(xn--|sthree-|amzn-s3-demo-)|(-s3alias|--ol-s3|\.mrap|--x-s3|--table-s3)$/.test(name), 'this name is reserved in S3; choose another')
  // `a.s3.localhost` is the bucket `a`: whoever had that would be sent what is meant for this one.
  .refine((name) => !name.endsWith('.s3'), 'a name that ends with .s3 is the host of another bucket; choose another')
  .refine((name) => !/^bkt-[0-9a-hjkmnp-tv-z]{16}$/.test(name), 'this looks like an id; choose another name')
  .meta({ immutable: true, description: 'Name, unique in the installation', example: 'photos' });

const bytes = z.int().min(0);

const NotificationField = z.strictObject({
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

const Damaged = z.strictObject({ key: z.string(), version: z.string(), part: z.int().optional(), problem: z.string() });

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
