// Encryption as a request asks for it: by the cloud (SSE-S3), or with a key that the client keeps and sends each time (SSE-C). Everything is sealed at rest
// whether or not it is asked for. Keys of a key management service are refused: there is none, and AES256 under its name would be a lie.
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

/** How an object that is written is encrypted. With a client's key the bucket's default does not count. */
export function encryptionOf(headers: Headers, bucket: Bucket): { encryption: ObjectAttributes['encryption']; customerKey: CustomerKey | undefined } {
  const asked = header(headers, SSE);
  const kmsKey = header(headers, `${SSE}-aws-kms-key-id`);
  const customerAsked = ['algorithm', 'key', 'key-md5'].some((name) => header(headers, `${CUSTOMER}-${name}`) !== undefined);
  if (asked !== undefined && asked !== 'AES256' && asked !== 'aws:kms' && asked !== 'aws:kms:dsse') {
    throw invalid(SSE, asked, 'The encryption method specified is not supported');
  }
  if (asked !== undefined && customerAsked) {
    throw invalid(SSE, asked, 'Server Side Encryption with Customer provided key is incompatible with the encryption method specified');
  }
  if (kmsKey !== undefined && (asked === undefined || asked === 'AES256')) {
    throw invalid(SSE, asked ?? 'null', 'Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms');
  }
  const wanted = asked ?? (customerAsked ? undefined : bucket.config.encryption?.algorithm);
  if (wanted !== undefined && wanted !== 'AES256')
    throw s3Error('NotImplemented', 'There is no key management service here: use AES256, or keep the key yourself (SSE-C)');
  return { encryption: wanted, customerKey: customerKeyOf(headers) };
}

/** Reads do not say how an object is encrypted, only with which key of the client. */
export function refuseEncryptionOf(headers: Headers): void {
  const asked = header(headers, SSE);
  if (asked !== undefined) throw invalid(SSE, asked, `${SSE} header is not supported for this operation.`);
}

/** What an answer says about it. */
export function encryptionHeaders({ attributes, customerKeyMd5 }: Pick<ObjectInfo, 'attributes' | 'customerKeyMd5'>): Record<string, string | undefined> {
  if (customerKeyMd5 !== undefined) return { [`${CUSTOMER}-algorithm`]: 'AES256', [`${CUSTOMER}-key-MD5`]: customerKeyMd5 };
  return { [SSE]: attributes.encryption };
}
