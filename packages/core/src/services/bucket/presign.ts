// An address with its authorization in it (AWS Signature Version 4, "Authenticating requests: using query parameters").
import { createHash, createHmac } from 'node:crypto';

export interface Presigning {
  /** `http://127.0.0.1:9000` */
  endpoint: string;
  region: string;
  accessKeyId: string;
  secret: string;
  method: string;
  /** Bucket and key, as they are. */
  path: readonly [bucket: string, key: string];
  query: Readonly<Record<string, string>>;
  /** Unix milliseconds. */
  now: number;
  /** How long it is good for. */
  seconds: number;
}

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
/** As the signature wants it: everything but letters, digits and `-._~`. */
const encoded = (text: string): string => encodeURIComponent(text).replace(/[!'()*]/g, (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`);

export function presigned({ endpoint, region, accessKeyId, secret, method, path: [bucket, key], query, now, seconds }: Presigning): string {
  const { host } = new URL(endpoint);
  const at = new Date(now).toISOString().replace(/[-:]|\.\d{3}/g, '');
  const day = at.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const path = `/${encoded(bucket)}/${key.split('/').map(encoded).join('/')}`;
  const parameters: Record<string, string> = {
    ...query,
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${accessKeyId}/${scope}`,
    'X-Amz-Date': at,
    'X-Amz-Expires': String(seconds),
    'X-Amz-SignedHeaders': 'host',
  };
  const search = Object.entries(parameters)
    .map(([name, value]) => `${encoded(name)}=${encoded(value)}`)
    .sort()
    .join('&');
  const canonical = [method, path, search, `host:${host}\n`, 'host', 'UNSIGNED-PAYLOAD'].join('\n');
  const text = ['AWS4-HMAC-SHA256', at, scope, createHash('sha256').update(canonical).digest('hex')].join('\n');
  const signing = ['s3', 'aws4_request'].reduce((key_, word) => hmac(key_, word), hmac(hmac(`AWS4${secret}`, day), region));
  return `${endpoint}${path}?${search}&X-Amz-Signature=${hmac(signing, text).toString('hex')}`;
}
