// Bucket policies: documents of AWS's language, read by the engine that reads our own. What they may speak of stands here; so does what is public.
import { Fault, type FieldProblem } from '../../../kernel/errors.ts';
import { blockOf } from '../../../kernel/policy/address.ts';
import { type CompiledPolicy, type ConditionKey, compilePolicy, type Statement, type Vocabulary } from '../../../kernel/policy/index.ts';
import { foldedKey, matches } from '../../../kernel/policy/pattern.ts';
import type { Bucket } from '../engine/types.ts';
import { policyActions } from './actions.ts';
import { s3Error } from './errors.ts';
import { S3Error } from './types.ts';

const MOST_BYTES = 20 * 1024;
/** Writes access logs, and is named by policies of the buckets that they go to. */
export const LOGGING_SERVICE = 'logging.s3.amazonaws.com';

const text = (name: string, meaning: string): ConditionKey => ({ name, types: ['string'], meaning });
/** AWS compares what it has as text also where it is a number or date; policies rely on it. */
const texts = (kind: ConditionKey['types'][number], name: string, meaning: string): ConditionKey => ({ name, types: [kind, 'string'], meaning });
const several = (name: string, meaning: string): ConditionKey => ({ name, types: ['string'], many: true, meaning });

const s3Keys: readonly ConditionKey[] = [
  texts('ip', 'aws:SourceIp', 'Address that the request came from'),
  texts('bool', 'aws:SecureTransport', 'Whether it came over TLS'),
  text('aws:UserAgent', 'User-Agent'),
  text('aws:Referer', 'Referer'),
  texts('date', 'aws:CurrentTime', 'Time of the request'),
  { name: 'aws:EpochTime', types: ['date', 'numeric', 'string'], meaning: 'Time of the request, seconds since 1970' },
  text('aws:PrincipalArn', 'ARN of the caller'),
  text('aws:PrincipalAccount', 'Tenant of the caller'),
  text('aws:PrincipalType', 'User, Account or Anonymous'),
  texts('bool', 'aws:PrincipalIsAWSService', 'Whether the cloud itself asks'),
  text('aws:PrincipalServiceName', 'Which part of the cloud asks'),
  text('aws:username', 'Name of the caller'),
  text('aws:userid', 'Id of the caller'),
  text('aws:SourceAccount', 'Tenant for which the cloud itself asks'),
  text('aws:SourceArn', 'Bucket for which the cloud itself asks'),
  text('aws:ResourceAccount', 'Tenant that owns the bucket'),
  // Nothing here sets these four: the request has no such facts. Policies that were written for AWS demand them, and then never allow.
  text('aws:SourceVpc', 'Never set'),
  text('aws:SourceVpce', 'Never set'),
  text('aws:PrincipalOrgID', 'Never set'),
  texts('bool', 'aws:MultiFactorAuthPresent', 'Never set'),
  text('aws:PrincipalTag/', 'Never set'),
  texts('numeric', 'aws:MultiFactorAuthAge', 'Never set'),

  text('s3:prefix', 'Prefix of a list'),
  text('s3:delimiter', 'Delimiter of a list'),
  texts('numeric', 's3:max-keys', 'Page size of a list'),
  text('s3:VersionId', 'Version that is asked for'),
  text('s3:ExistingObjectTag/', 'A tag of the object that is there'),
  text('s3:RequestObjectTag/', 'A tag that the request sets'),
  several('s3:RequestObjectTagKeys', 'Keys of the tags that the request sets'),
  text('s3:BucketTag/', 'A tag of the bucket'),
  text('s3:authType', 'REST-HEADER, REST-QUERY-STRING or POST'),
  text('s3:signatureversion', 'AWS4-HMAC-SHA256'),
  texts('numeric', 's3:signatureAge', 'Age of the signature, milliseconds'),
  texts('numeric', 's3:TlsVersion', 'Version of TLS'),
  text('s3:ResourceAccount', 'Tenant that owns the bucket'),
  text('s3:locationconstraint', 'Region that a new bucket is to be in'),
  text('s3:if-match', 'If-Match'),
  text('s3:if-none-match', 'If-None-Match'),
  text('s3:x-amz-acl', 'Canned ACL'),
  ...['read', 'write', 'read-acp', 'write-acp', 'full-control'].map((grant) => text(`s3:x-amz-grant-${grant}`, 'Grant in a header')),
  text('s3:x-amz-content-sha256', 'Digest of the body'),
  text('s3:x-amz-copy-source', 'Source of a copy'),
  text('s3:x-amz-metadata-directive', 'COPY or REPLACE'),
  text('s3:x-amz-server-side-encryption', 'Encryption that is asked for'),
  text('s3:x-amz-server-side-encryption-aws-kms-key-id', 'Key of it'),
  text('s3:x-amz-server-side-encryption-customer-algorithm', 'AES256 where the client keeps the key'),
  text('s3:x-amz-storage-class', 'Storage class'),
  text('s3:x-amz-website-redirect-location', 'Redirect'),
  text('s3:x-amz-object-ownership', 'Ownership that a new bucket is to have'),
  text('s3:object-lock-mode', 'GOVERNANCE or COMPLIANCE'),
  text('s3:object-lock-legal-hold', 'ON or OFF'),
  texts('date', 's3:object-lock-retain-until-date', 'End of the retention'),
  texts('numeric', 's3:object-lock-remaining-retention-days', 'Days until then'),
];

const ACCOUNT = /^[A-Za-z0-9_-]{1,64}$/;

/** How policies and requests name a caller. */
export const accountName = (tenantId: string): string => `account/${tenantId}`;
export const userName = (tenantId: string, nameOrId: string): string => `user/${tenantId}/${nameOrId}`;
export const serviceName = (name: string): string => `service/${name}`;
export const userArn = (tenantId: string, name: string): string => `arn:aws:iam::${tenantId}:user/${name}`;

function principalOf(kind: string, value: string): { name: string } | { problem: string } {
  const refused = { problem: `Invalid principal in policy: ${JSON.stringify(value)}` };
  if (kind === 'CanonicalUser') return ACCOUNT.test(value) ? { name: accountName(value) } : refused;
  if (kind === 'Service') return value === LOGGING_SERVICE ? { name: serviceName(value) } : refused;
  if (kind !== 'AWS') return { problem: `Unsupported kind of principal: ${JSON.stringify(kind)}` };
  if (ACCOUNT.test(value)) return { name: accountName(value) };
  const [, account, who] = /^arn:aws:iam::([A-Za-z0-9_-]{1,64}):(root|user\/.+)$/.exec(value) ?? [];
  if (account === undefined || who === undefined) return refused;
  if (who === 'root') return { name: accountName(account) };
  const name = who.slice(who.lastIndexOf('/') + 1);
  return /[*?$]/.test(name) || name === '' ? refused : { name: userName(account, name) };
}

const ARN = 'arn:aws:s3:::';
const resourceProblem = (bucket: string) => (written: string) => {
  if (!written.startsWith(ARN)) return 'Policy has invalid resource';
  const rest = written.slice(ARN.length);
  const slash = rest.indexOf('/');
  const name = slash < 0 ? rest : rest.slice(0, slash);
  return name !== '' && matches(name.replaceAll(/\$\{[^}]*\}/g, '*'), bucket) ? undefined : 'Policy has invalid resource';
};

export const objectArn = (bucket: string, key?: string): string => (key === undefined ? `${ARN}${bucket}` : `${ARN}${bucket}/${key}`);

const vocabularyOf = (bucket: string): Vocabulary => ({
  actions: policyActions,
  services: [],
  keys: s3Keys,
  resourcePolicy: { resource: resourceProblem(bucket), principal: principalOf },
});

/** Reads a policy as it is put. Throws MalformedPolicy for whatever is not understood: an element that is passed over is a hole. */
export function readPolicy(bucket: string, document: string): CompiledPolicy {
  if (Buffer.byteLength(document) > MOST_BYTES) throw s3Error('MalformedPolicy', `Policy exceeds the maximum allowed document size of ${MOST_BYTES} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(document);
  } catch (error) {
    throw s3Error('MalformedPolicy', undefined, undefined, { cause: error });
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw s3Error('MalformedPolicy');
  return compiled(bucket, value);
}

function compiled(bucket: string, value: unknown): CompiledPolicy {
  try {
    return compilePolicy('bucket', bucket, value, vocabularyOf(bucket));
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const [first] = error.details as FieldProblem[];
    throw s3Error(
      'MalformedPolicy',
      first === undefined ? undefined : `${first.path.replace(/^document\.?/, '')}: ${first.message}`.replace(/^: /, ''),
      undefined,
      {
        cause: error,
      },
    );
  }
}

/** A bucket's policy, ready to be asked. */
export interface BucketPolicy {
  /** The same list for the same bucket, by which the engine knows it again. */
  readonly policies: readonly CompiledPolicy[];
  readonly isPublic: boolean;
  /** Some condition looks at the tags of the object that is there. */
  readonly asksTags: boolean;
}

const known = new WeakMap<Bucket, BucketPolicy>();

/** Compiled once for each bucket as it is kept in memory, which is made anew with every change of its configuration. */
export function policyOf(bucket: Bucket): BucketPolicy | undefined {
  const document = bucket.config.policy;
  if (document === undefined) return undefined;
  let found = known.get(bucket);
  if (found === undefined) {
    const policy = readable(bucket.name, document);
    found = {
      policies: [policy],
      isPublic: isPublicPolicy(policy),
      asksTags: policy.statements.some((statement) => statementAsks(statement, 's3:existingobjecttag/')),
    };
    known.set(bucket, found);
  }
  return found;
}

/** One that cannot be read any more, because it was written under other rules, denies everything to everybody but who may mend it. */
function readable(bucket: string, document: string): CompiledPolicy {
  try {
    return readPolicy(bucket, document);
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    const statement = { Effect: 'Deny', Principal: '*', Action: 's3:*', Resource: [objectArn(bucket), objectArn(bucket, '*')] };
    return compiled(bucket, { Version: '2012-10-17', Statement: [statement] });
  }
}

const statementAsks = ({ conditions, resources }: Statement, prefix: string): boolean =>
  conditions.some(({ key, values }) => foldedKey(key).startsWith(prefix) || values.some((value) => value.toLowerCase().includes(`\${${prefix}`))) ||
  (resources ?? []).some(({ text: pattern }) => pattern.toLowerCase().includes(`\${${prefix}`));

// ---- what is public: AWS, "Blocking public access to your Amazon S3 storage", "The meaning of public"

/** Keys that, held to values without wildcards, say who asks. */
const FIXED = new Set(
  ['aws:PrincipalArn', 'aws:PrincipalAccount', 'aws:PrincipalOrgID', 'aws:SourceArn', 'aws:SourceAccount', 'aws:SourceVpc', 'aws:SourceVpce', 'aws:userid'].map(
    (key) => key.toLowerCase(),
  ),
);
/** Blocks that are wider count as everybody. */
const WIDEST = { four: 8, six: 32 };

/** Whether it allows something to people that it does not name. */
export const isPublicPolicy = ({ statements }: CompiledPolicy): boolean =>
  statements.some(({ effect, principals, conditions }) => effect === 'Allow' && principals?.has('*') === true && !conditions.some(narrows));

function narrows({ operator, key, values }: Statement['conditions'][number]): boolean {
  // With `IfExists` or `ForAllValues` it holds for those who do not say.
  const name = operator.replace(/^ForAnyValue:/, '');
  const folded = key.toLowerCase();
  if (folded === 'aws:sourceip') return name === 'IpAddress' && values.every(isNarrow);
  if (!FIXED.has(folded) || !['StringEquals', 'StringEqualsIgnoreCase', 'StringLike', 'ArnEquals', 'ArnLike'].includes(name)) return false;
  return values.every((value) => !/[*?]|\$\{/.test(value));
}

function isNarrow(value: string): boolean {
  const block = blockOf(value);
  return block !== undefined && block.bits >= (block.bytes.length === 4 ? WIDEST.four : WIDEST.six);
}
