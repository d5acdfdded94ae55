// What conditions of a bucket policy may look at: values of one request, by the names that AWS gives them. Made only for buckets that have a policy.
import { isIP } from 'node:net';
import type { ContextValues } from '../../../kernel/policy/index.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Bucket } from '../engine/types.ts';
import { headersOf } from './object-headers.ts';
import { userArn } from './policy.ts';
import type { Demand, S3Request } from './types.ts';

type Values = Record<string, ContextValues[string]>;

/** Headers whose value a policy may ask for under their own name. */
const HEADERS = [
  'x-amz-acl',
  'x-amz-grant-read',
  'x-amz-grant-write',
  'x-amz-grant-read-acp',
  'x-amz-grant-write-acp',
  'x-amz-grant-full-control',
  'x-amz-content-sha256',
  'x-amz-copy-source',
  'x-amz-metadata-directive',
  'x-amz-server-side-encryption',
  'x-amz-server-side-encryption-aws-kms-key-id',
  'x-amz-server-side-encryption-customer-algorithm',
  'x-amz-storage-class',
  'x-amz-website-redirect-location',
  'x-amz-object-ownership',
  'if-match',
  'if-none-match',
] as const;
const LOCK_HEADERS = [
  ['x-amz-object-lock-mode', 's3:object-lock-mode'],
  ['x-amz-object-lock-legal-hold', 's3:object-lock-legal-hold'],
  ['x-amz-object-lock-retain-until-date', 's3:object-lock-retain-until-date'],
] as const;
const DAY_MS = 24 * 60 * 60 * 1000;

const plainAddress = (source: string): string | undefined => {
  const address = source.replace(/^::ffff:(?=\d+\.)/, '');
  return isIP(address) === 0 ? undefined : address;
};

/** When it was signed, from the header or the query: `20260131T120000Z`. */
function signedAt({ headers, query }: S3Request): number | undefined {
  const text = query.get('X-Amz-Date') ?? headers['x-amz-date'];
  const [, year, month, day, hour, minute, second] = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(String(text ?? '')) ?? [];
  return year === undefined ? undefined : Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second));
}

function ofRequest(values: Values, request: S3Request, now: number): void {
  const { query, caller, secure } = request;
  // Of a presigned address also what it carries as parameters: handlers take those for headers.
  const headers = headersOf(request);
  const source = plainAddress(request.source);
  if (source !== undefined) values['aws:SourceIp'] = source;
  values['aws:SecureTransport'] = secure;
  if (headers['user-agent'] !== undefined) values['aws:UserAgent'] = headers['user-agent'];
  if (headers.referer !== undefined) values['aws:Referer'] = headers.referer;
  for (const name of HEADERS) {
    const value = headers[name];
    if (value !== undefined) values[`s3:${name}`] = Array.isArray(value) ? value.join(',') : value;
  }
  const copied = values['s3:x-amz-copy-source'];
  // AWS compares it without the slash that it may begin with.
  if (typeof copied === 'string') values['s3:x-amz-copy-source'] = copied.replace(/^\//, '');
  for (const [header, key] of LOCK_HEADERS) if (typeof headers[header] === 'string') values[key] = headers[header];
  const until = Date.parse(String(headers['x-amz-object-lock-retain-until-date'] ?? ''));
  if (!Number.isNaN(until)) values['s3:object-lock-remaining-retention-days'] = Math.ceil((until - now) / DAY_MS);
  const version = query.get('versionId');
  if (version !== undefined) values['s3:VersionId'] = version;
  if (caller.authType === 'ANONYMOUS') return;
  values['s3:authType'] = caller.authType;
  values['s3:signatureversion'] = caller.signatureVersion ?? 'AWS4-HMAC-SHA256';
  const signed = signedAt(request);
  if (signed !== undefined) values['s3:signatureAge'] = Math.max(0, now - signed);
}

/** Of lists, which are all asked about at the level of the bucket. */
function ofList(values: Values, { query, key }: S3Request): void {
  if (key !== undefined) return;
  for (const name of ['prefix', 'delimiter'] as const) {
    const value = query.get(name);
    if (value !== undefined) values[`s3:${name}`] = value;
  }
  const most = query.get('max-keys');
  if (most !== undefined && /^\d{1,9}$/.test(most)) values['s3:max-keys'] = Number(most);
}

export interface Asking {
  readonly principal: { readonly id: string; readonly name?: string | undefined } | undefined;
  readonly tenantId: string;
  /** It administers the tenant. */
  readonly isAccount: boolean;
}

function ofCaller(values: Values, { principal, tenantId, isAccount }: Asking): void {
  values['aws:PrincipalType'] = principal === undefined ? 'Anonymous' : isAccount ? 'Account' : 'User';
  values['aws:PrincipalIsAWSService'] = false;
  if (principal === undefined) return;
  const name = principal.name ?? principal.id;
  values['aws:PrincipalAccount'] = tenantId;
  values['aws:PrincipalArn'] = userArn(tenantId, name);
  values['aws:username'] = name;
  values['aws:userid'] = principal.id;
}

function ofBucket(values: Values, bucket: Bucket, now: number): void {
  values['aws:CurrentTime'] = new Date(now).toISOString();
  values['aws:EpochTime'] = Math.floor(now / 1000);
  values['aws:ResourceAccount'] = bucket.tenantId;
  values['s3:ResourceAccount'] = bucket.tenantId;
  for (const [key, value] of Object.entries(bucket.config.tags ?? {})) values[`s3:BucketTag/${key}`] = value;
}

const ofTags = (values: Values, tags: Readonly<Record<string, string>> | undefined): void => {
  for (const [key, value] of Object.entries(tags ?? {})) values[`s3:ExistingObjectTag/${key}`] = value;
};

/** Of an S3 request. What the handler says of it in its demand wins. */
export function contextOf(
  service: Pick<ServiceContext, 'clock'>,
  request: S3Request,
  demand: Demand,
  bucket: Bucket,
  asking: Asking,
  tags: Readonly<Record<string, string>> | undefined,
): ContextValues {
  const now = service.clock.now();
  const values: Values = {};
  ofBucket(values, bucket, now);
  ofCaller(values, asking);
  ofRequest(values, request, now);
  ofList(values, request);
  ofTags(values, tags);
  return { ...values, ...demand.context };
}

/** Of a call over the daemon: what there is of a request. */
export function callContextOf(
  service: Pick<ServiceContext, 'clock'>,
  call: { readonly source: string | undefined; readonly tags?: Readonly<Record<string, string>> | undefined; readonly context?: Demand['context'] },
  bucket: Bucket,
  asking: Asking,
): ContextValues {
  const now = service.clock.now();
  const values: Values = {};
  ofBucket(values, bucket, now);
  ofCaller(values, asking);
  const source = plainAddress(call.source ?? '');
  if (source !== undefined) values['aws:SourceIp'] = source;
  // It comes over a socket of this machine, or over what its administrator put before it.
  values['aws:SecureTransport'] = true;
  ofTags(values, call.tags);
  return { ...values, ...call.context };
}
