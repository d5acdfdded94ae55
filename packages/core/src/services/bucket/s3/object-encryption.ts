// Encryption as a request asks for it: by the cloud (SSE-S3), or with a key that the client keeps and sends each time (SSE-C). Everything is sealed at rest
// whether or not it is asked for. A key of the tenant's own (SSE-KMS) is a `kms-key` of the cloud.
import { createHash } from 'node:crypto';
import type { Bucket, CustomerKey, ObjectAttributes, ObjectInfo } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import { type Headers, header, invalid } from './object-headers.ts';

const SSE = 'x-amz-server-side-encryption';
const CUSTOMER = 'x-amz-server-side-encryption-customer';
const COPY_CUSTOMER = 'x-amz-copy-source-server-side-encryption-customer';
const KEY_BYTES = 32;

function customerKey(headers: Headers, prefix: string): CustomerKey | undefined {
  const algorithm = header(headers, `${prefix}-algorithm`);
  const text = header(headers, `${prefix}-key`);
  const md5 = header(headers, `${prefix}-key-md5`);
  if (algorithm === undefined && text === undefined && md5 === undefined) return undefined;
  const wrong = (name: string, message: string): Error => s3Error('InvalidArgument', message, { ArgumentName: `${prefix}-${name}`, ArgumentValue: 'null' });
  const must = 'Requests specifying Server Side Encryption with Customer provided keys must provide';
  if (algorithm === undefined) throw wrong('algorithm', `${must} a valid encryption algorithm.`);
  if (algorithm !== 'AES256') {
    throw s3Error('InvalidEncryptionAlgorithmError', 'The Encryption request you specified is not valid. Supported value: AES256.', {
      ArgumentName: `${prefix}-algorithm`,
      ArgumentValue: algorithm,
    });
  }
  if (text === undefined) throw wrong('key', `${must} an appropriate secret key.`);
  if (md5 === undefined) throw wrong('key-MD5', `${must} the client calculated MD5 of the secret key.`);
  const key = Buffer.from(text, 'base64');
  if (key.length !== KEY_BYTES || key.toString('base64').replace(/=+$/, '') !== text.replace(/=+$/, '')) {
    throw wrong('key', 'The secret key was invalid for the specified algorithm.');
  }
  const computed = createHash('md5').update(key).digest('base64');
  if (computed !== md5) throw wrong('key-MD5', 'The calculated MD5 hash of the key did not match the hash that was provided.');
  return { key, md5: computed };
}

/** The client's key, if it sent one. */
export const customerKeyOf = (headers: Headers): CustomerKey | undefined => customerKey(headers, CUSTOMER);
/** The one that the source of a copy is sealed with. */
export const sourceKeyOf = (headers: Headers): CustomerKey | undefined => customerKey(headers, COPY_CUSTOMER);

/** A key by its name or id, however it is written: `arn:aws:kms:…:key/<id>` and `alias/<name>` too. */
const kmsKeyOf = (text: string): string => text.replace(/^arn:aws:kms:[^:]*:[^:]*:/, '').replace(/^(key|alias)\//, '');

/** How an object that is written is encrypted. With a client's key the bucket's default does not count. */
export function encryptionOf(
  headers: Headers,
  bucket: Bucket,
): { encryption: ObjectAttributes['encryption']; kmsKeyId: string | undefined; customerKey: CustomerKey | undefined } {
  const asked = header(headers, SSE);
  const kmsKey = header(headers, `${SSE}-aws-kms-key-id`);
  const customerAsked = ['algorithm', 'key', 'key-md5'].some((name) => header(headers, `${CUSTOMER}-${name}`) !== undefined);
  if (asked === 'aws:kms:dsse') throw s3Error('NotImplemented', 'Objects are sealed once here: use aws:kms');
  if (asked !== undefined && asked !== 'AES256' && asked !== 'aws:kms') {
    throw invalid(SSE, asked, 'The encryption method specified is not supported');
  }
  if (asked !== undefined && customerAsked) {
    throw invalid(SSE, asked, 'Server Side Encryption with Customer provided key is incompatible with the encryption method specified');
  }
  if (kmsKey !== undefined && (asked === undefined || asked === 'AES256')) {
    throw invalid(SSE, asked ?? 'null', 'Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms');
  }
  if (header(headers, `${SSE}-context`) !== undefined) throw s3Error('NotImplemented', 'Keys here are bound to the object, not to a context of your own');
  const customerKey = customerKeyOf(headers);
  if (customerKey !== undefined) return { encryption: undefined, kmsKeyId: undefined, customerKey };
  const ofBucket = asked === undefined ? bucket.config.encryption : undefined;
  if (asked !== 'aws:kms' && ofBucket?.algorithm !== 'aws:kms') return { encryption: asked ?? ofBucket?.algorithm, kmsKeyId: undefined, customerKey };
  const kmsKeyId = kmsKey ?? ofBucket?.kmsKeyId;
  if (kmsKeyId === undefined) throw invalid(`${SSE}-aws-kms-key-id`, 'null', 'Name a key of yours: there is none that a bucket has by itself');
  return { encryption: 'aws:kms', kmsKeyId: kmsKeyOf(kmsKeyId), customerKey };
}

/** Reads do not say how an object is encrypted, only with which key of the client. */
export function refuseEncryptionOf(headers: Headers): void {
  const asked = header(headers, SSE);
  if (asked !== undefined) throw invalid(SSE, asked, `${SSE} header is not supported for this operation.`);
}

/** What an answer says about it. */
export function encryptionHeaders({ attributes, customerKeyMd5 }: Pick<ObjectInfo, 'attributes' | 'customerKeyMd5'>): Record<string, string | undefined> {
  if (customerKeyMd5 !== undefined) return { [`${CUSTOMER}-algorithm`]: 'AES256', [`${CUSTOMER}-key-MD5`]: customerKeyMd5 };
  return { [SSE]: attributes.encryption, [`${SSE}-aws-kms-key-id`]: attributes.kmsKeyId };
}
