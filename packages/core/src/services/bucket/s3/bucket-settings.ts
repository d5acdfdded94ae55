// What else is configured of a bucket: versions, tags, default encryption, object lock, who pays.
import type { BucketConfig, LockDefault } from '../engine/config.ts';
import { engineOf } from '../engine/objects.ts';
import { s3Error } from './errors.ts';
import { NO_CONTENT, onBucket } from './find.ts';
import { MOST_BUCKET_TAGS, taggingOf, taggingXml } from './tagging.ts';
import type { Route } from './types.ts';
import { document, element, type Node, optional, parseXml } from './xml.ts';

const MOST_BYTES = 64 * 1024;
/** A hundred years: no default retention is longer. */
const MOST_DAYS = 36_500;
const MOST_YEARS = 100;

function encryptionOf(bytes: Buffer): NonNullable<BucketConfig['encryption']> {
  const rule = parseXml(bytes, { root: 'ServerSideEncryptionConfiguration' }).only('Rule').need('Rule');
  rule.only('ApplyServerSideEncryptionByDefault', 'BucketKeyEnabled', 'BlockedEncryptionTypes');
  const applied = rule.need('ApplyServerSideEncryptionByDefault').only('SSEAlgorithm', 'KMSMasterKeyID');
  const [algorithm, kmsKeyId, bucketKey] = [applied.needText('SSEAlgorithm'), applied.text('KMSMasterKeyID'), rule.boolean('BucketKeyEnabled')];
  if (algorithm !== 'AES256' && algorithm !== 'aws:kms') throw s3Error('MalformedXML');
  if (algorithm === 'AES256' && kmsKeyId !== undefined)
    throw s3Error('InvalidArgument', 'a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms or aws:kms:dsse', {
      ArgumentName: 'ApplyServerSideEncryptionByDefault',
    });
  return { algorithm, ...(kmsKeyId === undefined ? {} : { kmsKeyId }), ...(bucketKey === undefined ? {} : { bucketKey }) };
}

const encryptionXml = ({ algorithm, kmsKeyId, bucketKey }: NonNullable<BucketConfig['encryption']>): string =>
  document('ServerSideEncryptionConfiguration', [
    element('Rule', [
      element('ApplyServerSideEncryptionByDefault', [element('SSEAlgorithm', algorithm), optional('KMSMasterKeyID', kmsKeyId)]),
      element('BucketKeyEnabled', bucketKey ?? false),
    ]),
  ]);

/** A whole number above nothing, else InvalidRetentionPeriod. */
function period(node: Node, name: string, most: number): number | undefined {
  const text = node.text(name)?.trim();
  if (text === undefined) return undefined;
  if (!/^-?\d{1,9}$/.test(text)) throw s3Error('MalformedXML');
  const value = Number(text);
  if (value <= 0) throw s3Error('InvalidRetentionPeriod', 'Default retention period must be a positive integer value.');
  if (value > most) throw s3Error('InvalidRetentionPeriod', `Default retention period is too large: at most ${most}.`);
  return value;
}

/** Undefined: locking is on, and nothing is locked by default. */
export function lockDefaultOf(bytes: Buffer): LockDefault | undefined {
  const root = parseXml(bytes, { root: 'ObjectLockConfiguration' }).only('ObjectLockEnabled', 'Rule');
  if (root.text('ObjectLockEnabled') !== 'Enabled') throw s3Error('MalformedXML');
  const retention = root.child('Rule')?.only('DefaultRetention').need('DefaultRetention').only('Mode', 'Days', 'Years');
  if (retention === undefined) return undefined;
  const mode = retention.needText('Mode');
  if (mode !== 'GOVERNANCE' && mode !== 'COMPLIANCE') throw s3Error('MalformedXML');
  if ((retention.child('Days') === undefined) === (retention.child('Years') === undefined)) throw s3Error('MalformedXML');
  const [days, years] = [period(retention, 'Days', MOST_DAYS), period(retention, 'Years', MOST_YEARS)];
  return { mode, ...(days === undefined ? {} : { days }), ...(years === undefined ? {} : { years }) };
}

export const lockDefaultXml = (lock: LockDefault | undefined): string =>
  document('ObjectLockConfiguration', [
    element('ObjectLockEnabled', 'Enabled'),
    lock && element('Rule', [element('DefaultRetention', [element('Mode', lock.mode), optional('Days', lock.days), optional('Years', lock.years)])]),
  ]);

export const settingsRoutes: Route[] = [
  {
    name: 'GetBucketVersioning',
    method: 'GET',
    level: 'bucket',
    query: { versioning: true },
    handle: onBucket('s3:GetBucketVersioning', (_request, _context, { versioning }) => {
      const status = versioning === 'off' ? undefined : versioning === 'enabled' ? 'Enabled' : 'Suspended';
      return { status: 200, xml: document('VersioningConfiguration', [optional('Status', status)]) };
    }),
  },
  {
    name: 'PutBucketVersioning',
    method: 'PUT',
    level: 'bucket',
    query: { versioning: true },
    handle: onBucket('s3:PutBucketVersioning', async (request, { service }, bucket) => {
      const root = parseXml(await request.body.bytes(MOST_BYTES), { root: 'VersioningConfiguration' }).only('Status', 'MfaDelete');
      if (root.text('MfaDelete') === 'Enabled') throw s3Error('NotImplemented', 'There is no multi-factor authentication here, so MFA delete is not possible');
      const status = root.text('Status');
      if (status === undefined) throw s3Error('IllegalVersioningConfigurationException');
      if (status !== 'Enabled' && status !== 'Suspended') throw s3Error('MalformedXML');
      if (bucket.objectLock && status === 'Suspended')
        throw s3Error('InvalidBucketState', 'An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.');
      await engineOf(service).buckets.update(bucket, { versioning: status === 'Enabled' ? 'enabled' : 'suspended' }, request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'GetBucketTagging',
    method: 'GET',
    level: 'bucket',
    query: { tagging: true },
    handle: onBucket('s3:GetBucketTagging', (_request, _context, { name, config }) => {
      if (config.tags === undefined) throw s3Error('NoSuchTagSet', undefined, { BucketName: name });
      return { status: 200, xml: taggingXml(config.tags) };
    }),
  },
  {
    name: 'PutBucketTagging',
    method: 'PUT',
    level: 'bucket',
    query: { tagging: true },
    handle: onBucket('s3:PutBucketTagging', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'tags', taggingOf(await request.body.bytes(MOST_BYTES), MOST_BUCKET_TAGS), request.actor);
      return NO_CONTENT;
    }),
  },
  {
    name: 'DeleteBucketTagging',
    method: 'DELETE',
    level: 'bucket',
    query: { tagging: true },
    handle: onBucket('s3:PutBucketTagging', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'tags', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
  {
    name: 'GetBucketEncryption',
    method: 'GET',
    level: 'bucket',
    query: { encryption: true },
    handle: onBucket('s3:GetEncryptionConfiguration', (_request, _context, { name, config }) => {
      if (config.encryption === undefined) throw s3Error('ServerSideEncryptionConfigurationNotFoundError', undefined, { BucketName: name });
      return { status: 200, xml: encryptionXml(config.encryption) };
    }),
  },
  {
    name: 'PutBucketEncryption',
    method: 'PUT',
    level: 'bucket',
    query: { encryption: true },
    handle: onBucket('s3:PutEncryptionConfiguration', async (request, { service }, bucket) => {
      const encryption = encryptionOf(await request.body.bytes(MOST_BYTES));
      await engineOf(service).buckets.setConfig(bucket, 'encryption', encryption, request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'DeleteBucketEncryption',
    method: 'DELETE',
    level: 'bucket',
    query: { encryption: true },
    handle: onBucket('s3:PutEncryptionConfiguration', async (request, { service }, bucket) => {
      await engineOf(service).buckets.setConfig(bucket, 'encryption', undefined, request.actor);
      return NO_CONTENT;
    }),
  },
  {
    name: 'GetObjectLockConfiguration',
    method: 'GET',
    level: 'bucket',
    query: { 'object-lock': true },
    handle: onBucket('s3:GetBucketObjectLockConfiguration', (_request, _context, { name, objectLock, config }) => {
      if (!objectLock) throw s3Error('ObjectLockConfigurationNotFoundError', undefined, { BucketName: name });
      return { status: 200, xml: lockDefaultXml(config.lockDefault) };
    }),
  },
  {
    name: 'PutObjectLockConfiguration',
    method: 'PUT',
    level: 'bucket',
    query: { 'object-lock': true },
    handle: onBucket('s3:PutBucketObjectLockConfiguration', async (request, { service }, bucket) => {
      const lock = lockDefaultOf(await request.body.bytes(MOST_BYTES));
      if (bucket.versioning !== 'enabled')
        throw s3Error('InvalidBucketState', 'Versioning must be ‘Enabled’ on the bucket to apply a Object Lock configuration');
      const { buckets } = engineOf(service);
      if (!bucket.objectLock) await buckets.update(bucket, { objectLock: true }, request.actor);
      await buckets.setConfig(bucket, 'lockDefault', lock, request.actor);
      return { status: 200 };
    }),
  },
  {
    name: 'GetBucketRequestPayment',
    method: 'GET',
    level: 'bucket',
    query: { requestPayment: true },
    handle: onBucket('s3:GetBucketRequestPayment', (_request, _context, { config }) => {
      return { status: 200, xml: document('RequestPaymentConfiguration', [element('Payer', config.requestPayment ?? 'BucketOwner')]) };
    }),
  },
  {
    name: 'PutBucketRequestPayment',
    method: 'PUT',
    level: 'bucket',
    query: { requestPayment: true },
    handle: onBucket('s3:PutBucketRequestPayment', async (request, { service }, bucket) => {
      const payer = parseXml(await request.body.bytes(MOST_BYTES), { root: 'RequestPaymentConfiguration' })
        .only('Payer')
        .needText('Payer');
      if (payer !== 'BucketOwner' && payer !== 'Requester') throw s3Error('MalformedXML');
      await engineOf(service).buckets.setConfig(bucket, 'requestPayment', payer, request.actor);
      return { status: 200 };
    }),
  },
];
