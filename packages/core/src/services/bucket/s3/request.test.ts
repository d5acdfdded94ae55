// Paths, hosts and parameters: every key is another key, and arrives as it was meant.
import { expect, test } from 'vitest';
import { parseBasic, parseExpiration, parseHttpDate } from './dates.ts';
import { headerText, parseTarget, wireText } from './request.ts';
import type { S3Error } from './types.ts';
import { canonicalPath, canonicalQuery, encode } from './uri.ts';

const at = (url: string, host = '127.0.0.1:9000') => {
  const { bucketName, key } = parseTarget(url, host, ['localhost', 's3.localhost', 'cloud.example']);
  return [bucketName, key];
};
const codeOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as S3Error).code;
  }
  return 'fine';
};

test.each<[string, string | undefined, string | undefined]>([
  ['/', undefined, undefined],
  ['/bucket', 'bucket', undefined],
  ['/bucket/', 'bucket', undefined],
  ['/bucket?list-type=2', 'bucket', undefined],
  ['/bucket//', 'bucket', '/'],
  ['/bucket//a', 'bucket', '/a'],
  ['/bucket/a//b', 'bucket', 'a//b'],
  ['/bucket/./../a', 'bucket', './../a'],
  ['/bucket/a/', 'bucket', 'a/'],
  ['/bucket/a+b', 'bucket', 'a+b'],
  ['/bucket/a%2Fb', 'bucket', 'a/b'],
  ['/bucket/%2Fb', 'bucket', '/b'],
  ['/bucket/%252F', 'bucket', '%2F'],
  ['/bucket/a%20b', 'bucket', 'a b'],
  ['/bucket/%E6%97%A5', 'bucket', '日'],
  ['/bucket/\u00e6\u0097\u00a5', 'bucket', '日'],
  ['/bucket/a%00b', 'bucket', 'a\0b'],
  ['/bucket/a;b=c&d', 'bucket', 'a;b=c&d'],
  ['//key', '', 'key'],
  ['http://other.example/bucket/key?x', 'bucket', 'key'],
  ['http://other.example', undefined, undefined],
])('%s', (url, bucketName, key) => {
  expect(at(url)).toEqual([bucketName, key]);
});

test.each<[string, string, string | undefined, string | undefined]>([
  ['photos.localhost:9000', '/a/b', 'photos', 'a/b'],
  ['photos.localhost', '/', 'photos', undefined],
  ['PHOTOS.LocalHost', '/a', 'photos', 'a'],
  ['photos.s3.localhost', '/a', 'photos', 'a'],
  ['my.dotted.s3.localhost', '//a', 'my.dotted', '/a'],
  ['photos.cloud.example.', '/a', 'photos', 'a'],
  ['localhost:9000', '/photos/a', 'photos', 'a'],
  ['s3.localhost', '/photos/a', 'photos', 'a'],
  ['cloud.example', '/photos/a', 'photos', 'a'],
  ['evilcloud.example', '/photos/a', 'photos', 'a'],
  ['[::1]:9000', '/photos/a', 'photos', 'a'],
  ['127.0.0.1', '/photos/a', 'photos', 'a'],
])('host %s, path %s', (host, url, bucketName, key) => {
  expect(at(url, host)).toEqual([bucketName, key]);
});

test.each(['/b/%', '/b/%4', '/b/%GG', '/b/%ff', '/b/%C3', '/b/%ED%A0%80', '/%FF/k', '/b?%FF', '/b?a=%', '*'])('%s is no address', (url) => {
  expect(codeOf(() => at(url))).toBe('InvalidURI');
});

test('parameters', () => {
  const { query } = parseTarget('/b?acl&prefix=a+b%2Bc&prefix=second&empty=&&x=%C3%BC=1', 'h');
  expect([...query]).toEqual([
    ['acl', ''],
    ['prefix', 'a b+c'],
    ['empty', ''],
    ['x', 'ü=1'],
  ]);
});

test('as they are signed', () => {
  expect(canonicalPath("/b/it's (a) test*$%c3%bc~")).toBe('/b/it%27s%20%28a%29%20test%2A%24%C3%BC~');
  expect(canonicalQuery('b=2&a=1&B=3&a=0&c&d=a+b/c&X-Amz-Signature=x', 'X-Amz-Signature')).toBe('B=3&a=0&a=1&b=2&c=&d=a%20b%2Fc');
  expect(encode('a b/ü')).toBe('a%20b%2F%C3%BC');
});

test('text of headers and back', () => {
  for (const text of ['plain', 'Zoë', '日本', '😀']) {
    const wire = Buffer.from(text, 'utf8').toString('latin1');
    expect(headerText(wire)).toBe(text);
    expect(wireText(text)).toBe(wire);
  }
  expect(wireText(headerText('Zo\u00eb'))).toBe('Zo\u00eb');
});

test('dates', () => {
  const time = Date.UTC(1994, 10, 6, 8, 49, 37);
  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994', 'Sun, 06 Nov 1994 08:49:37 +0000']) {
    expect(parseHttpDate(text)).toBe(time);
  }
  for (const text of ['', 'today', 'Sun, 31 Feb 1994 08:49:37 GMT', 'Sun, 06 Foo 1994 08:49:37 GMT', 'Sun, 06 Nov 1994 25:49:37 GMT', '1994-11-06']) {
    expect(parseHttpDate(text)).toBeUndefined();
  }
  expect(parseBasic('19941106T084937Z')).toBe(time);
  for (const text of ['19940231T000000Z', '19941106T084960Z', '19941106T084937', '1994-11-06T08:49:37Z']) expect(parseBasic(text)).toBeUndefined();
  expect(parseExpiration('1994-11-06T08:49:37Z')).toBe(time);
  expect(parseExpiration('1994-11-06T08:49:37.5Z')).toBe(time + 500);
  expect(parseExpiration('1994-11-06')).toBeUndefined();
});
