// AWS Signature Version 2, for clients that know no better: HMAC-SHA1 over method, some headers and the path. It signs neither the body nor most parameters,
// so the listener takes it only where it is told to.
import { createHmac } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { isoDate, parseBasic, parseHttpDate } from './dates.ts';
import { s3Error } from './errors.ts';
import type { Target } from './request.ts';
import type { S3Error } from './types.ts';
import { decode } from './uri.ts';

export interface Claim2 {
  readonly accessKeyId: string;
  /** Base64. */
  readonly signature: string;
  readonly presigned: boolean;
  /** What it may be of; they stand for the same. The first is the documentation's. */
  readonly toSign: readonly [string, ...string[]];
}

/** Parameters that are part of what is signed; all others are not. */
const SIGNED: ReadonlySet<string> = new Set(
  `accelerate acl analytics cors delete encryption inventory legal-hold lifecycle location logging metrics notification object-lock ownershipControls
   partNumber policy policyStatus publicAccessBlock replication requestPayment response-cache-control response-content-disposition response-content-encoding
   response-content-language response-content-type response-expires restore retention select select-type storageClass tagging torrent uploadId uploads
   versionId versioning versions website`.split(/\s+/),
);

const SKEW = 15 * 60_000;
const noDate = (): S3Error => s3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');

/** `Authorization: AWS <key>:<signature>`. */
export function headerClaim2(method: string, target: Target, headers: IncomingHttpHeaders, now: number): Claim2 {
  const authorization = headers.authorization ?? '';
  const colon = authorization.lastIndexOf(':');
  const accessKeyId = authorization.slice('AWS '.length, colon).trim();
  if (colon < 0 || accessKeyId === '' || colon === authorization.length - 1) {
    throw s3Error('InvalidArgument', 'AWS authorization header is invalid.  Expected AwsAccessKeyId:signature', {
      ArgumentName: 'Authorization',
      ArgumentValue: authorization,
    });
  }
  const amzDate = headers['x-amz-date'];
  const text = typeof amzDate === 'string' ? amzDate : headers.date;
  const at = text === undefined ? undefined : (parseHttpDate(text) ?? parseBasic(text));
  // Before there was time, as far as the protocol goes, there is no date either.
  if (at === undefined || at < 0) throw noDate();
  if (Math.abs(now - at) > SKEW) {
    throw s3Error('RequestTimeTooSkewed', undefined, { RequestTime: text ?? '', ServerTime: isoDate(now), MaxAllowedSkewMilliseconds: String(SKEW) });
  }
  const toSign = stringsToSign(method, target, headers, amzDate === undefined ? (headers.date ?? '') : '');
  return { accessKeyId, signature: authorization.slice(colon + 1).trim(), presigned: false, toSign };
}

/** `?AWSAccessKeyId=…&Expires=…&Signature=…`. */
export function queryClaim2(method: string, target: Target, headers: IncomingHttpHeaders, now: number): Claim2 {
  const accessKeyId = target.query.get('AWSAccessKeyId') ?? '';
  const signature = target.query.get('Signature') ?? '';
  const expires = target.query.get('Expires') ?? '';
  if (accessKeyId === '' || signature === '' || expires === '') {
    throw s3Error('AccessDenied', 'Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters');
  }
  if (!/^\d{1,12}$/.test(expires)) throw s3Error('AccessDenied', 'Invalid date (should be seconds since epoch)');
  const end = Number(expires) * 1000;
  if (now >= end) throw s3Error('AccessDenied', 'Request has expired', { Expires: isoDate(end), ServerTime: isoDate(now) });
  return { accessKeyId, signature, presigned: true, toSign: stringsToSign(method, target, withParameters(headers, target), expires) };
}

/** Headers that the address carries as parameters are signed as the headers that they stand for; otherwise anybody could add one. */
function withParameters(headers: IncomingHttpHeaders, { query }: Target): IncomingHttpHeaders {
  const all = { ...headers };
  for (const [key, value] of query) {
    const name = key.toLowerCase();
    if (name.startsWith('x-amz-')) all[name] ??= Buffer.from(value, 'utf8').toString('latin1');
  }
  return all;
}

export const signature2 = (secret: string, toSign: string): string => createHmac('sha1', secret).update(Buffer.from(toSign, 'latin1')).digest('base64');

function stringsToSign(method: string, target: Target, headers: IncomingHttpHeaders, date: string): [string, ...string[]] {
  const text = (name: string): string => String(headers[name] ?? '').trim();
  let lines = '';
  for (const name of Object.keys(headers)
    .filter((each) => each.startsWith('x-amz-'))
    .sort()) {
    lines += `${name}:${text(name).replace(/, /g, ',')}\n`;
  }
  const before = `${method}\n${text('content-md5')}\n${text('content-type')}\n${date}\n${lines}`;
  const { rawPath, virtual, bucketName, key } = target;
  const path = virtual ? `/${bucketName}${rawPath}` : rawPath;
  const parameters = signedParameters(target);
  // A bucket is signed with a slash behind it by clients that do not send one.
  const others = key === undefined && bucketName !== undefined && !path.endsWith('/') ? [`${before}${path}/${parameters}`] : [];
  return [`${before}${path}${parameters}`, ...others];
}

function signedParameters({ rawQuery }: Target): string {
  const signed: string[] = [];
  for (const part of rawQuery.split('&')) {
    const equals = part.indexOf('=');
    const name = equals < 0 ? part : part.slice(0, equals);
    if (!SIGNED.has(name)) continue;
    const value = equals < 0 ? '' : (decode(part.slice(equals + 1), true) ?? '');
    // Characters of one byte each, as everything else here.
    signed.push(value === '' ? name : `${name}=${Buffer.from(value, 'utf8').toString('latin1')}`);
  }
  return signed.length === 0 ? '' : `?${signed.sort().join('&')}`;
}
