// What a bucket's configuration must look like, whichever door it comes through: JSON of `bucket configure`, or XML of an S3 client once it has been read.
import { z } from 'zod';
import { Fault } from '../../../kernel/errors.ts';
import type { BucketConfig, ConfigName } from './config.ts';

const DAYS = 2_147_483_647;
const days = z.int('use a whole number of days').min(1, 'use at least 1 day').max(DAYS, `use at most ${DAYS} days`);
const tagKey = z.string().min(1).max(128, 'a key of a tag has at most 128 characters');
const tagValue = z.string().max(256, 'a value of a tag has at most 256 characters');
const tagsOf = (most: number) =>
  z
    .record(tagKey, tagValue)
    .refine((tags) => Object.keys(tags).length <= most, `at most ${most} tags`)
    .refine((tags) => Object.keys(tags).every((key) => !key.toLowerCase().startsWith('aws:')), 'keys that begin with aws: are reserved');
const prefix = z.string().max(1024);

const grant = z.strictObject({
  grantee: z.union([
    z.strictObject({ kind: z.literal('tenant'), id: z.string().min(1).max(128) }),
    z.strictObject({ kind: z.enum(['all-users', 'authenticated-users', 'log-delivery']) }),
  ]),
  permission: z.enum(['FULL_CONTROL', 'READ', 'WRITE', 'READ_ACP', 'WRITE_ACP']),
});

/** What a header may be called (RFC 9110), `*` for any. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const headerName = z.string().max(1024).regex(TOKEN, 'use the name of a header');
const corsRule = z.strictObject({
  id: z.string().max(255).optional(),
  allowedOrigins: z
    .array(
      z
        .string()
        .max(2048)
        .regex(/^[!-~]+$/, 'use an origin such as https://app.example.com')
        .refine(oneStar, 'use at most one * in an origin'),
    )
    .min(1)
    .max(1000),
  allowedMethods: z.array(z.enum(['GET', 'PUT', 'POST', 'DELETE', 'HEAD'])).min(1),
  allowedHeaders: z.array(headerName.refine(oneStar, 'use at most one * in a header')).max(1000).default([]),
  exposeHeaders: z
    .array(headerName.refine((name) => !name.includes('*'), 'no * here'))
    .max(1000)
    .default([]),
  maxAgeSeconds: z.int().min(0).max(2_147_483_647).optional(),
});

function oneStar(text: string): boolean {
  return text.indexOf('*') === text.lastIndexOf('*');
}

const filter = z.strictObject({
  prefix: prefix.optional(),
  tags: tagsOf(50).optional(),
  sizeGreaterThan: z.int().min(0).optional(),
  sizeLessThan: z.int().min(1).optional(),
});
const midnight = z.iso.datetime({ offset: true }).refine((text) => Date.parse(text) % 86_400_000 === 0, 'use midnight UTC, such as 2030-01-01T00:00:00Z');
const lifecycleRule = z
  .strictObject({
    id: z.string().min(1).max(255, 'an ID has at most 255 characters'),
    enabled: z.boolean(),
    filter: filter.default({}),
    prefixAtRule: z.boolean().optional(),
    and: z.boolean().optional(),
    expiration: z
      .strictObject({ days: days.optional(), date: midnight.optional(), expiredObjectDeleteMarker: z.boolean().optional() })
      .refine((of) => Object.values(of).filter((value) => value !== undefined).length === 1, 'give one of days, date and expiredObjectDeleteMarker')
      .optional(),
    noncurrentExpiration: z.strictObject({ days, newerVersions: z.int().min(1).max(100).optional() }).optional(),
    abortUploadDays: days.optional(),
  })
  .refine(
    ({ expiration, noncurrentExpiration, abortUploadDays }) => expiration !== undefined || noncurrentExpiration !== undefined || abortUploadDays !== undefined,
    'a rule has at least one action: expiration, noncurrentExpiration or abortUploadDays',
  )
  .refine(
    ({ filter: { sizeGreaterThan = 0, sizeLessThan = Number.POSITIVE_INFINITY } }) => sizeGreaterThan < sizeLessThan,
    'sizeGreaterThan must be less than sizeLessThan',
  )
  .refine(
    ({ filter: { tags, sizeGreaterThan, sizeLessThan }, abortUploadDays }) =>
      abortUploadDays === undefined || (tags === undefined && sizeGreaterThan === undefined && sizeLessThan === undefined),
    'uploads have no tags and no size yet, so a rule that ends them cannot look at those',
  )
  .refine(
    ({ filter: { tags }, expiration }) => tags === undefined || expiration?.expiredObjectDeleteMarker === undefined,
    'delete markers have no tags, so a rule that removes them cannot look at tags',
  );

const EVENT =
  /^s3:(?:TestEvent|(?:ObjectCreated|ObjectRemoved|ObjectTagging|LifecycleExpiration|ObjectAcl|ObjectRestore|Replication|ObjectAnnotation):(?:\*|[A-Za-z]+))$/;
const notificationTarget = z
  .strictObject({
    id: z.string().min(1).max(255),
    events: z.array(z.string().regex(EVENT, 'use a name of S3, such as s3:ObjectCreated:*')).min(1).max(20),
    prefix: prefix.optional(),
    suffix: prefix.optional(),
    queueId: z.string().min(1).max(128).optional(),
    webhook: z
      .url({ protocol: /^https?$/ })
      .max(2048)
      .optional(),
  })
  .refine(({ queueId, webhook }) => (queueId === undefined) !== (webhook === undefined), 'a rule has a queue or a webhook, and not both');

const distinctIds = (items: readonly { id?: string | undefined }[]): boolean => {
  const ids = items.flatMap(({ id }) => (id === undefined ? [] : [id]));
  return new Set(ids).size === ids.length;
};

const lockDefault = z
  .strictObject({ mode: z.enum(['GOVERNANCE', 'COMPLIANCE']), days: days.optional(), years: z.int().min(1).max(100).optional() })
  .refine(({ days: inDays, years }) => (inDays === undefined) !== (years === undefined), 'give days or years, and not both');

const rules = {
  acl: z.strictObject({ owner: z.string().min(1).max(128), grants: z.array(grant).max(100) }),
  // Its text is read by the one who evaluates it (`s3/policy.ts`).
  policy: z.string().min(1).max(20_480, 'a bucket policy has at most 20480 characters'),
  cors: z.array(corsRule).min(1).max(100).refine(distinctIds, 'ids of rules are unique'),
  lifecycle: z.array(lifecycleRule).min(1).max(1000).refine(distinctIds, 'ids of rules are unique'),
  tags: tagsOf(50),
  publicAccessBlock: z.strictObject({
    blockPublicAcls: z.boolean().default(false),
    ignorePublicAcls: z.boolean().default(false),
    blockPublicPolicy: z.boolean().default(false),
    restrictPublicBuckets: z.boolean().default(false),
  }),
  ownership: z.enum(['BucketOwnerEnforced', 'BucketOwnerPreferred', 'ObjectWriter']),
  encryption: z
    .strictObject({ algorithm: z.enum(['AES256', 'aws:kms']), kmsKeyId: z.string().min(1).max(2048).optional(), bucketKey: z.boolean().optional() })
    .refine(({ algorithm, kmsKeyId }) => algorithm === 'aws:kms' || kmsKeyId === undefined, 'a KMS key belongs to the algorithm aws:kms'),
  lockDefault,
  notifications: z.array(notificationTarget).max(100).refine(distinctIds, 'ids of rules are unique'),
  requestPayment: z.enum(['BucketOwner', 'Requester']),
  logging: z.strictObject({ targetBucket: z.string().min(3).max(63), targetPrefix: prefix, xml: z.string().max(65_536) }),
} satisfies { [N in ConfigName]: z.ZodType };

/** One thing that is wrong: where in the value, and what would be right. */
export interface ConfigProblem {
  readonly path: string;
  readonly message: string;
}

/** The value, with defaults filled in; or what is wrong with it. */
export function checkConfig<N extends ConfigName>(name: N, value: unknown): { value: NonNullable<BucketConfig[N]> } | { problems: ConfigProblem[] } {
  const parsed = (rules[name] as z.ZodType).safeParse(value);
  if (parsed.success) return { value: parsed.data as NonNullable<BucketConfig[N]> };
  return { problems: parsed.error.issues.map(({ path, message }) => ({ path: path.map(String).join('.'), message })) };
}

/** The same for calls: `invalid_input` with each field, below `value`. */
export function configFrom<N extends ConfigName>(name: N, value: unknown, at = 'value'): NonNullable<BucketConfig[N]> {
  const checked = checkConfig(name, value);
  if ('value' in checked) return checked.value;
  const details = checked.problems.map(({ path, message }) => ({ path: path === '' ? at : `${at}.${path}`, message }));
  const [first] = details;
  throw new Fault('invalid_input', `${first?.path ?? at}: ${first?.message ?? 'this is no such configuration'}`, { details });
}
