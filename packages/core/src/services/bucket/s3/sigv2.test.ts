// Signature Version 2: the values that AWS publishes, and that no header is taken by it unless the listener is told so.
import { expect, test } from 'vitest';
import { ManualClock } from '../../../kernel/clock.ts';
import { parseTarget } from './request.ts';
import { headerClaim2, queryClaim2, signature2 } from './sigv2.ts';
import { Authenticator } from './sigv4.ts';
import { ACCESS_KEY, keys, SECRET } from './testbench.ts';
import type { S3Error } from './types.ts';

const HOST = 'awsexamplebucket1.us-west-1.s3.amazonaws.com';
const DOMAINS = ['us-west-1.s3.amazonaws.com', 's3.amazonaws.com'];
const target = (url: string, host = HOST) => parseTarget(url, host, DOMAINS);
const headersOf = (date: string, more: Record<string, string> = {}) => ({ host: HOST, date, authorization: `AWS ${ACCESS_KEY}:c2ln`, ...more });
const signed = (method: string, url: string, date: string, more: Record<string, string> = {}) => {
  const claim = headerClaim2(method, target(url), headersOf(date, more), Date.parse(date));
  return signature2(SECRET, claim.toSign[0]);
};

test('the examples of the documentation', () => {
  expect(signed('GET', '/photos/puppy.jpg', 'Tue, 27 Mar 2007 19:36:42 +0000')).toBe('qgk2+6Sv9/oM7G3qLEjTH1a1l1g=');
  expect(signed('PUT', '/photos/puppy.jpg', 'Tue, 27 Mar 2007 21:15:45 +0000', { 'content-type': 'image/jpeg', 'content-length': '94328' })).toBe(
    'iqRzw+ileNPu1fhspnRs8nOjjIA=',
  );
  expect(signed('GET', '/?prefix=photos&max-keys=50&marker=puppy', 'Tue, 27 Mar 2007 19:42:41 +0000')).toBe('m0WP8eCtspQl5Ahe6L1SozdX9YA=');
  expect(signed('GET', '/?acl', 'Tue, 27 Mar 2007 19:44:46 +0000')).toBe('82ZHiFIjc+WbcwFKGUVEQspPn+0=');
});

const at = Date.UTC(2007, 2, 27, 19, 36, 42);
const authenticate = (version2: boolean, url: string, headers: Record<string, string>, now = at) =>
  new Authenticator({ keys, region: 'us-east-1', clock: new ManualClock(now), version2 }).authenticate({
    method: 'GET',
    target: target(url),
    headers,
    rawHeaders: Object.entries(headers).flat(),
  });
const code = async (work: Promise<unknown>): Promise<string> => {
  try {
    await work;
  } catch (error) {
    return (error as S3Error).code;
  }
  return 'accepted';
};
const DATE = 'Tue, 27 Mar 2007 19:36:42 +0000';
const good = headersOf(DATE, { authorization: `AWS ${ACCESS_KEY}:qgk2+6Sv9/oM7G3qLEjTH1a1l1g=` });

test('in headers only where it is taken', async () => {
  expect(await code(authenticate(false, '/photos/puppy.jpg', good))).toBe('InvalidRequest');
  const { caller, payload } = await authenticate(true, '/photos/puppy.jpg', good);
  expect(caller).toMatchObject({ accessKeyId: ACCESS_KEY, authType: 'REST-HEADER', signatureVersion: 'AWS' });
  expect(payload).toBe('UNSIGNED-PAYLOAD');
});

test.each<[string, Record<string, string>, string, number?]>([
  ['another path', { ...good, 'x-amz-acl': 'private' }, 'SignatureDoesNotMatch'],
  ['nothing but a word', { ...good, authorization: 'AWS HAHAHA' }, 'InvalidArgument'],
  ['an unknown key', { ...good, authorization: 'AWS nobody:c2ln' }, 'InvalidAccessKeyId'],
  ['a date that is none', { ...good, 'x-amz-date': 'Bad Date' }, 'AccessDenied'],
  ['an empty date', { ...good, 'x-amz-date': '' }, 'AccessDenied'],
  ['a date before all dates', { ...good, 'x-amz-date': 'Tue, 07 Jul 1950 21:53:04 GMT' }, 'AccessDenied'],
  ['a date long ago', { ...good, 'x-amz-date': 'Tue, 07 Jul 1998 21:53:04 GMT' }, 'RequestTimeTooSkewed'],
  ['a date far ahead', { ...good, 'x-amz-date': 'Tue, 07 Jul 2099 21:53:04 GMT' }, 'RequestTimeTooSkewed'],
  ['chunks that would be signed', { ...good, 'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' }, 'InvalidRequest'],
])('%s', async (_what, headers, expected) => {
  expect(await code(authenticate(true, '/photos/puppy.jpg', headers))).toBe(expected);
});

test('a presigned address, until it ends', async () => {
  const end = Math.floor(at / 1000) + 60;
  const { toSign } = queryClaim2('GET', target(`/k?AWSAccessKeyId=a&Signature=b&Expires=${end}&response-content-type=a%2Fb+c&versionId=v`), {}, at);
  expect(toSign).toEqual([`GET\n\n\n${end}\n/awsexamplebucket1/k?response-content-type=a/b c&versionId=v`]);
  expect(queryClaim2('GET', target(`/b?AWSAccessKeyId=a&Signature=b&Expires=${end}&acl`, 's3.amazonaws.com'), {}, at).toSign).toEqual([
    `GET\n\n\n${end}\n/b?acl`,
    `GET\n\n\n${end}\n/b/?acl`,
  ]);
  const url = (given: string) => `/k?AWSAccessKeyId=${ACCESS_KEY}&Expires=${end}&Signature=${encodeURIComponent(given)}`;
  const valid = signature2(SECRET, `GET\n\n\n${end}\n/awsexamplebucket1/k`);
  expect(await code(authenticate(true, url(valid), { host: HOST }))).toBe('accepted');
  expect(await code(authenticate(true, url('c2ln'), { host: HOST }))).toBe('SignatureDoesNotMatch');
  expect(await code(authenticate(true, url(valid), { host: HOST }, end * 1000))).toBe('AccessDenied');
  // An address by the old version is as good as one by the new: neither signs the body.
  expect(await code(authenticate(false, url(valid), { host: HOST }))).toBe('accepted');
  // What an address says in place of a header was signed as one, and nobody adds to it.
  const acl = signature2(SECRET, `GET\n\n\n${end}\nx-amz-acl:private\n/awsexamplebucket1/k`);
  expect(await code(authenticate(false, `${url(acl)}&x-amz-acl=private`, { host: HOST }))).toBe('accepted');
  expect(await code(authenticate(false, `${url(acl)}&x-amz-acl=public-read`, { host: HOST }))).toBe('SignatureDoesNotMatch');
  expect(await code(authenticate(false, `${url(valid)}&X-Amz-Acl=public-read`, { host: HOST }))).toBe('SignatureDoesNotMatch');
});
