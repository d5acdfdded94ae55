import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import type { LifecycleRule } from '../engine/config.ts';
import type { Bucket, ObjectInfo } from '../engine/types.ts';
import { attributeNamesOf } from './object-attributes.ts';
import { deletionsOf } from './object-delete.ts';
import { customerKeyOf, encryptionOf } from './object-encryption.ts';
import { abortHeaders, expirationHeader } from './object-expiry.ts';
import { conditionsOf, contentEncodingOf, contentOf, deleteConditionsOf, headersOf, lockOf, metadataOf, redirectOf, storageClassOf } from './object-headers.ts';
import { afterOf, limitOf, tokenOf, writtenOf } from './object-lists.ts';
import { headersOfForm, redirectOf as leadOn } from './object-post.ts';
import { copyRangeOf, partNumberOf, rangeOf } from './object-range.ts';
import { retentionOf } from './object-settings.ts';
import { copySourceOf } from './object-source.ts';
import { etagsOf, isoTime, xmlDate } from './object-text.ts';
import { partsOf } from './object-upload.ts';
import { headerText, wireText } from './request.ts';
import { type Caller, S3Error } from './types.ts';

/** Code, and the argument that is wrong. */
function refused(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (!(error instanceof S3Error)) throw error;
    const argument = error.elements.ArgumentName;
    return argument === undefined ? error.code : `${error.code} ${argument}`;
  }
  return 'accepted';
}
const bucket = (config: Bucket['config'] = {}): Bucket => ({
  id: 'bkt-1',
  name: 'b',
  tenantId: 'tnt-1',
  createdAt: 0,
  versioning: 'off',
  objectLock: false,
  encrypted: true,
  maxBytes: undefined,
  maxObjects: undefined,
  auditReads: false,
  config,
});

describe('ranges', () => {
  it.each([
    ['bytes=4-7', { start: 4, end: 7 }],
    ['bytes=4-', { start: 4, end: undefined }],
    ['bytes=-7', { suffix: 7 }],
    ['bytes=-0', { suffix: 0 }],
    ['Bytes = 0-0', { start: 0, end: 0 }],
    ['bytes=7-4', undefined],
    ['bytes=0-1,3-4', undefined],
    ['bytes=-', undefined],
    ['bytes=a-b', undefined],
    ['items=0-1', undefined],
    [undefined, undefined],
  ])('%s', (value, range) => {
    expect(rangeOf(value)).toEqual(range);
  });

  it('of copies must be well-formed', () => {
    expect(copyRangeOf('bytes=0-9')).toEqual({ start: 0, end: 9 });
    expect(copyRangeOf(undefined)).toBeUndefined();
    for (const value of ['0-2', 'bytes=0', 'bytes=hello-world', 'bytes=0-bar', 'bytes=hello-', 'bytes=0-2,3-5', 'bytes=5-2', 'bytes=3-', '']) {
      expect(refused(() => copyRangeOf(value))).toBe('InvalidArgument x-amz-copy-source-range');
    }
  });

  it('parts are numbered from 1 to 10,000', () => {
    expect([partNumberOf('1'), partNumberOf('10000'), partNumberOf(undefined)]).toEqual([1, 10_000, undefined]);
    for (const value of ['0', '10001', '-1', 'x', '', '1.5']) expect(refused(() => partNumberOf(value))).toBe('InvalidArgument partNumber');
  });
});

describe('headers of an object', () => {
  it('keeps content headers, without the coding of the transfer', () => {
    expect(contentOf({ 'content-type': '', 'content-encoding': 'gzip, aws-chunked', 'cache-control': 'no-cache', 'x-other': '1' })).toEqual({
      'content-type': 'binary/octet-stream',
      'content-encoding': 'gzip',
      'cache-control': 'no-cache',
    });
    expect(['gzip', 'deflate, gzip', 'aws-chunked, gzip', 'aws-chunked', 'aws-chunked, aws-chunked', ''].map(contentEncodingOf)).toEqual([
      'gzip',
      'deflate, gzip',
      'gzip',
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('keeps metadata of at most 2 KiB, whatever their names', () => {
    expect(Object.entries(metadataOf({ 'x-amz-meta-a': '1', 'x-amz-meta-__proto__': '2', 'x-amz-acl': 'private' }))).toEqual([
      ['a', '1'],
      ['__proto__', '2'],
    ]);
    expect(refused(() => metadataOf({ 'x-amz-meta-a': 'x'.repeat(2047) }))).toBe('accepted');
    expect(refused(() => metadataOf({ 'x-amz-meta-a': 'x'.repeat(2048) }))).toBe('MetadataTooLarge');
  });

  it.each([['café'], ['\u00e9'], ['日本 🎉'], ['plain'], ['\ufffd']])('gives back the bytes of %s', (text) => {
    const utf8 = Buffer.from(text).toString('latin1');
    expect(headerText(utf8)).toBe(text);
    expect(wireText(headerText(utf8))).toBe(utf8);
  });
  it('gives back bytes that are no UTF-8', () => {
    const latin = 'Hello World\xe9 \xff\x80';
    expect(wireText(headerText(latin))).toBe(latin);
    expect(wireText(JSON.parse(JSON.stringify(headerText(latin))) as string)).toBe(latin);
  });

  it('reads conditions', () => {
    expect(etagsOf('"a", W/"b",c,*')).toEqual(['a', 'b', 'c', '*']);
    expect(conditionsOf({})).toBeUndefined();
    expect(conditionsOf({ 'if-modified-since': 'yesterday' })).toBeUndefined();
    expect(conditionsOf({ 'if-none-match': '"x"', 'if-modified-since': 'Sat, 01 Jan 2000 00:00:00 GMT' })).toMatchObject({
      ifNoneMatch: ['x'],
      ifModifiedSince: Date.UTC(2000, 0, 1),
    });
    expect(deleteConditionsOf({ 'x-amz-if-match-size': '3', 'x-amz-if-match-last-modified-time': '2026-01-02T03:04:05Z' })).toMatchObject({
      ifMatchSize: 3,
      ifMatchLastModified: Date.UTC(2026, 0, 2, 3, 4, 5),
    });
    expect(refused(() => deleteConditionsOf({ 'x-amz-if-match-size': '-1' }))).toBe('InvalidArgument x-amz-if-match-size');
  });

  it('reads object lock', () => {
    const until = '2030-01-01T00:00:00Z';
    expect(lockOf({})).toBeUndefined();
    expect(lockOf({ 'x-amz-object-lock-mode': 'GOVERNANCE', 'x-amz-object-lock-retain-until-date': until, 'x-amz-object-lock-legal-hold': 'ON' })).toEqual({
      mode: 'GOVERNANCE',
      until: Date.UTC(2030, 0, 1),
      legalHold: true,
    });
    expect(refused(() => lockOf({ 'x-amz-object-lock-mode': 'GOVERNANCE' }))).toMatch(/^InvalidArgument/);
    expect(refused(() => lockOf({ 'x-amz-object-lock-retain-until-date': until }))).toMatch(/^InvalidArgument/);
    expect(refused(() => lockOf({ 'x-amz-object-lock-mode': 'x', 'x-amz-object-lock-retain-until-date': until }))).toBe(
      'InvalidArgument x-amz-object-lock-mode',
    );
    expect(refused(() => lockOf({ 'x-amz-object-lock-legal-hold': 'on' }))).toBe('InvalidArgument x-amz-object-lock-legal-hold');
  });

  it('knows storage classes that can be read at once, and redirects', () => {
    expect(storageClassOf({ 'x-amz-storage-class': 'STANDARD' })).toBeUndefined();
    expect(storageClassOf({ 'x-amz-storage-class': 'STANDARD_IA' })).toBe('STANDARD_IA');
    expect(refused(() => storageClassOf({ 'x-amz-storage-class': 'DEEP_ARCHIVE' }))).toBe('InvalidStorageClass');
    expect(redirectOf({ 'x-amz-website-redirect-location': '/there' })).toBe('/there');
    expect(refused(() => redirectOf({ 'x-amz-website-redirect-location': 'javascript:1' }))).toBe('InvalidRedirectLocation');
  });

  it('takes headers from the query of a presigned address, but not its signature', () => {
    const query = new Map([
      ['x-amz-acl', 'private'],
      ['x-amz-meta-a', 'é'],
      ['X-Amz-Signature', 's'],
      ['x-amz-checksum-crc32', 'AAAAAA=='],
      ['x-amz-sdk-checksum-algorithm', 'CRC32'],
      ['versionId', 'v'],
    ]);
    const headers = { 'x-amz-acl': 'public-read' };
    const caller = (authType: Caller['authType']): Caller => ({ principal: undefined, tenantId: '', tenantName: '', accessKeyId: undefined, authType });
    expect(headersOf({ headers, query, caller: caller('REST-QUERY-STRING') })).toEqual({ 'x-amz-acl': 'public-read', 'x-amz-meta-a': 'é' });
    expect(headersOf({ headers, query, caller: caller('REST-HEADER') })).toBe(headers);
  });

  it('takes checksums of a presigned address, but for those of a body that was not there yet', () => {
    const caller: Caller = { principal: undefined, tenantId: '', tenantName: '', accessKeyId: undefined, authType: 'REST-QUERY-STRING' };
    const taken = (query: Record<string, string>, headers: Record<string, string> = {}) =>
      headersOf({ headers, query: new Map(Object.entries(query)), caller });
    const said = { 'x-amz-sdk-checksum-algorithm': 'SHA256' };
    expect(taken({ 'x-amz-checksum-sha256': 'abc', ...said })).toEqual({ 'x-amz-checksum-sha256': 'abc', ...said });
    expect(taken({ 'X-Amz-Checksum-Crc64nvme': 'abc' })).toEqual({ 'x-amz-checksum-crc64nvme': 'abc' });
    expect(taken({ 'x-amz-checksum-sha256': '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=', ...said })).toEqual({});
    expect(taken({ 'x-amz-checksum-crc64nvme': 'AAAAAAAAAAA=' })).toEqual({});
    expect(taken(said)).toEqual({});
    expect(taken(said, { 'x-amz-checksum-sha256': 'abc' })).toEqual({ 'x-amz-checksum-sha256': 'abc', ...said });
  });
});

describe('encryption', () => {
  const key = Buffer.alloc(32, 7);
  const md5 = createHash('md5').update(key).digest('base64');
  const prefix = 'x-amz-server-side-encryption-customer';
  const good = { [`${prefix}-algorithm`]: 'AES256', [`${prefix}-key`]: key.toString('base64'), [`${prefix}-key-md5`]: md5 };

  it('takes the key of a client whole or not at all', () => {
    expect(customerKeyOf({})).toBeUndefined();
    expect(customerKeyOf(good)).toEqual({ key, md5 });
    for (const missing of Object.keys(good)) expect(refused(() => customerKeyOf({ ...good, [missing]: undefined }))).toMatch(/^InvalidArgument/);
    expect(refused(() => customerKeyOf({ ...good, [`${prefix}-key-md5`]: 'AAAAAAAAAAAAAAAAAAAAAA==' }))).toMatch(/^InvalidArgument/);
    expect(refused(() => customerKeyOf({ ...good, [`${prefix}-key`]: 'c2hvcnQ=' }))).toMatch(/^InvalidArgument/);
    expect(refused(() => customerKeyOf({ ...good, [`${prefix}-algorithm`]: 'AES128' }))).toMatch(/^InvalidEncryptionAlgorithmError/);
  });

  it('asks for one kind only, and for none that is not there', () => {
    const sse = (value: string, more = {}) => ({ 'x-amz-server-side-encryption': value, ...more });
    expect(encryptionOf({}, bucket())).toEqual({ encryption: undefined, kmsKeyId: undefined, customerKey: undefined });
    expect(encryptionOf(sse('AES256'), bucket())).toEqual({ encryption: 'AES256', kmsKeyId: undefined, customerKey: undefined });
    expect(encryptionOf({}, bucket({ encryption: { algorithm: 'AES256' } })).encryption).toBe('AES256');
    expect(encryptionOf(good, bucket({ encryption: { algorithm: 'AES256' } }))).toEqual({
      encryption: undefined,
      kmsKeyId: undefined,
      customerKey: { key, md5 },
    });
    expect(refused(() => encryptionOf(sse('AES256', good), bucket()))).toBe('InvalidArgument x-amz-server-side-encryption');
    expect(refused(() => encryptionOf(sse('AES192'), bucket()))).toBe('InvalidArgument x-amz-server-side-encryption');
    expect(refused(() => encryptionOf(sse('AES256', { 'x-amz-server-side-encryption-aws-kms-key-id': 'k' }), bucket()))).toMatch(/^InvalidArgument/);
    expect(refused(() => encryptionOf({ 'x-amz-server-side-encryption-aws-kms-key-id': 'k' }, bucket()))).toMatch(/^InvalidArgument/);
    expect(refused(() => encryptionOf(sse('aws:kms'), bucket()))).toMatch(/^InvalidArgument/);
    const named = { encryption: 'aws:kms', kmsKeyId: 'photos', customerKey: undefined };
    for (const id of ['photos', 'arn:aws:kms:us-east-1:tnt-1:key/photos', 'arn:aws:kms:us-east-1:tnt-1:alias/photos']) {
      expect(encryptionOf(sse('aws:kms', { 'x-amz-server-side-encryption-aws-kms-key-id': id }), bucket())).toEqual(named);
    }
    expect(encryptionOf({}, bucket({ encryption: { algorithm: 'aws:kms', kmsKeyId: 'photos' } }))).toEqual(named);
    expect(refused(() => encryptionOf(sse('aws:kms:dsse'), bucket()))).toBe('NotImplemented');
  });
});

describe('sources of copies', () => {
  it.each([
    ['b/k', 'k', undefined],
    ['/b/a%20b%2Bc', 'a b+c', undefined],
    ['b/a+b', 'a b', undefined],
    ['b/%3FversionId', '?versionId', undefined],
    ['b/k?versionId=v1', 'k', 'v1'],
    ['b%2Fk%2Fl', 'k/l', undefined],
    ['b/%252F', '%2F', undefined],
  ])('%s', (value, key, version) => {
    expect(copySourceOf(value)).toEqual({ bucketName: 'b', key, version });
  });
  it.each([['b'], ['/b/'], ['/'], [''], ['b/%zz'], ['b/k?versionId='], ['b/k?other=1']])('refuses %s', (value) => {
    expect(refused(() => copySourceOf(value))).toBe('InvalidArgument x-amz-copy-source');
  });
});

describe('documents', () => {
  it('reads the parts of an upload', () => {
    const xml =
      '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part><ETag>&quot;e1&quot;</ETag><PartNumber>1</PartNumber><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part><Part><PartNumber>2</PartNumber><ETag>e2</ETag></Part></CompleteMultipartUpload>';
    expect(partsOf(Buffer.from(xml))).toEqual([
      { number: 1, etag: 'e1', checksum: { algorithm: 'CRC32', value: 'AAAAAA==' } },
      { number: 2, etag: 'e2', checksum: undefined },
    ]);
    for (const bad of [
      '',
      '<CompleteMultipartUpload/>',
      '<CompleteMultipartUpload><Part><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>',
      '<X/>',
    ]) {
      expect(refused(() => partsOf(Buffer.from(bad)))).toBe('MalformedXML');
    }
  });

  it('reads what is to be deleted', () => {
    const one = (more = '') => `<Object><Key>a &amp; b</Key>${more}</Object>`;
    expect(deletionsOf(Buffer.from(`<Delete><Quiet>true</Quiet>${one('<VersionId>v</VersionId><ETag>"e"</ETag><Size>3</Size>')}</Delete>`))).toEqual({
      quiet: true,
      wanted: [{ key: 'a & b', version: 'v', conditions: { ifMatch: ['e'], ifMatchSize: 3, ifMatchLastModified: undefined } }],
    });
    expect(deletionsOf(Buffer.from(`<Delete>${one().repeat(1000)}</Delete>`)).wanted).toHaveLength(1000);
    expect(refused(() => deletionsOf(Buffer.from(`<Delete>${one().repeat(1001)}</Delete>`)))).toBe('MalformedXML');
    expect(refused(() => deletionsOf(Buffer.from('<Delete/>')))).toBe('MalformedXML');
  });

  it('reads retention', () => {
    const of = (inner: string) => retentionOf(Buffer.from(`<Retention>${inner}</Retention>`));
    expect(of('')).toBeUndefined();
    expect(of('<Mode>COMPLIANCE</Mode><RetainUntilDate>2030-01-01T00:00:00.000Z</RetainUntilDate>')).toEqual({
      mode: 'COMPLIANCE',
      until: Date.UTC(2030, 0, 1),
    });
    for (const bad of [
      '<Mode>governance</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate>',
      '<Mode>GOVERNANCE</Mode>',
      '<Mode>GOVERNANCE</Mode><RetainUntilDate>soon</RetainUntilDate>',
    ]) {
      expect(refused(() => of(bad))).toBe('MalformedXML');
    }
  });

  it('reads names of attributes', () => {
    expect([...attributeNamesOf('ETag, ObjectSize')]).toEqual(['ETag', 'ObjectSize']);
    for (const bad of [undefined, '', 'Owner']) expect(refused(() => attributeNamesOf(bad))).toBe('InvalidArgument x-amz-object-attributes');
  });
});

describe('forms', () => {
  it('says in fields what headers say elsewhere', () => {
    const fields = new Map([
      ['key', 'k'],
      ['acl', 'private'],
      ['content-type', 'text/plain'],
      ['x-amz-meta-a', '1'],
      ['policy', 'p'],
    ]);
    expect(headersOfForm(fields)).toEqual({ 'x-amz-acl': 'private', 'content-type': 'text/plain', 'x-amz-meta-a': '1' });
  });
  it.each([
    ['http://a/b', 'http://a/b?bucket=b&key=k%2F1&etag=%22e%22'],
    ['https://a/b?c=d#e', 'https://a/b?c=d&bucket=b&key=k%2F1&etag=%22e%22#e'],
    ['javascript:alert(1)', undefined],
    ['/relative', undefined],
  ])('leads on to %s', (page, location) => {
    expect(leadOn(new Map([['success_action_redirect', page]]), { bucket: 'b', key: 'k/1', etag: 'e' })).toBe(location);
  });
});

describe('lists', () => {
  const query = (value: string | undefined) => new Map(value === undefined ? [] : [['max-keys', value]]);
  it('shows at most 1,000', () => {
    expect([undefined, '', '0', '7', '5000'].map((value) => limitOf(query(value), 'max-keys', 'maxKeys'))).toEqual([1000, 1000, 0, 7, 1000]);
    for (const value of ['blah', '1.5', '9999999999']) expect(refused(() => limitOf(query(value), 'max-keys', 'maxKeys'))).toBe('InvalidArgument max-keys');
    expect(refused(() => limitOf(query('-1'), 'max-keys', 'maxKeys'))).toBe('InvalidArgument maxKeys');
  });
  it('writes names so that every XML can hold them', () => {
    const url = writtenOf(new Map([['encoding-type', 'url']]));
    expect(['asdf+b', 'quux ab/', 'é\n'].map(url)).toEqual(['asdf%2Bb', 'quux%20ab/', '%C3%A9%0A']);
    expect(writtenOf(new Map())('a b')).toBe('a b');
    expect(refused(() => writtenOf(new Map([['encoding-type', 'base64']])))).toBe('InvalidArgument encoding-type');
  });
  it('goes on where a token says', () => {
    for (const last of ['a', 'é/ 🎉', '\u0001']) expect(afterOf(tokenOf(last))).toBe(last);
    expect(afterOf('')).toBeUndefined();
    for (const bad of ['x', '1!', 'AAAA']) expect(refused(() => afterOf(bad))).toBe('InvalidArgument continuation-token');
  });
});

describe('times', () => {
  it('are whole seconds in documents', () => {
    expect(xmlDate(Date.UTC(2026, 0, 2, 3, 4, 5, 678))).toBe('2026-01-02T03:04:05.000Z');
    expect([isoTime('2026-01-02T03:04:05+00:00'), isoTime('2026-01-02'), isoTime('tomorrow'), isoTime('2026-01-02T03:04:05')]).toEqual([
      Date.UTC(2026, 0, 2, 3, 4, 5),
      Date.UTC(2026, 0, 2),
      undefined,
      undefined,
    ]);
  });

  it('announce what lifecycle rules will end', () => {
    const rule = (more: Partial<LifecycleRule>): LifecycleRule => ({ id: 'rule 1', enabled: true, filter: {}, ...more });
    const info = (more: Partial<ObjectInfo> = {}): ObjectInfo => ({
      bucketId: 'bkt-1',
      key: 'logs/a',
      version: 'null',
      latest: true,
      deleteMarker: false,
      size: 10,
      etag: 'e',
      modifiedAt: Date.UTC(2026, 0, 2, 3),
      attributes: { headers: {}, metadata: {}, owner: 'tnt-1', tags: { keep: 'no' } },
      checksum: undefined,
      parts: undefined,
      customerKeyMd5: undefined,
      ...more,
    });
    const of = (rules: LifecycleRule[], object = info()) => expirationHeader(bucket({ lifecycle: rules }), object);
    expect(of([rule({ expiration: { days: 1 } })])).toBe('expiry-date="Sun, 04 Jan 2026 00:00:00 GMT", rule-id="rule%201"');
    expect(of([rule({ expiration: { days: 9 } }), rule({ id: 'r2', expiration: { days: 2 }, filter: { prefix: 'logs/', tags: { keep: 'no' } } })])).toContain(
      'r2',
    );
    expect(of([rule({ expiration: { days: 1 }, filter: { prefix: 'other/' } })])).toBeUndefined();
    expect(of([rule({ expiration: { days: 1 }, filter: { tags: { keep: 'yes' } } })])).toBeUndefined();
    expect(of([rule({ expiration: { days: 1 }, filter: { sizeGreaterThan: 10 } })])).toBeUndefined();
    expect(of([rule({ expiration: { days: 1 }, enabled: false })])).toBeUndefined();
    expect(of([rule({ expiration: { expiredObjectDeleteMarker: true } })])).toBeUndefined();
    expect(of([rule({ expiration: { days: 1 } })], info({ latest: false }))).toBeUndefined();
    expect(abortHeaders(bucket({ lifecycle: [rule({ abortUploadDays: 1 })] }), { key: 'x', startedAt: Date.UTC(2026, 0, 1) })).toEqual({
      'x-amz-abort-date': 'Fri, 02 Jan 2026 00:00:00 GMT',
      'x-amz-abort-rule-id': 'rule%201',
    });
  });
});
