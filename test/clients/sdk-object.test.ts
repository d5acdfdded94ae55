// @aws-sdk/client-s3 with objects: everything that it sends by default, streams both ways, conditions, checksums, presigned addresses.
import { createHash } from 'node:crypto';
import { Agent } from 'node:http';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import {
  ChecksumAlgorithm,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ClientBench, noise, sha256 } from './bench.ts';

let bench: ClientBench;
let s3: S3;
const Bucket = 'objects';

beforeAll(async () => {
  bench = await ClientBench.start('sdk');
  s3 = new S3({ endpoint: bench.endpoint, region: 'us-east-1', forcePathStyle: true, credentials: bench.account, maxAttempts: 1 });
  await s3.createBucket({ Bucket });
});
afterAll(async () => {
  s3?.destroy();
  await bench?.[Symbol.asyncDispose]();
});

const crc32Of = (value: string): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(value));
  return bytes.toString('base64');
};

/** Status and code of what must fail. */
async function refused(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof S3ServiceException) return `${error.$metadata.httpStatusCode} ${error.name}`;
    throw error;
  }
  throw new Error('it was not refused');
}
const text = async (Key: string, more: { VersionId?: string; Range?: string } = {}): Promise<string> =>
  (await (await s3.getObject({ Bucket, Key, ...more })).Body?.transformToString()) ?? '';

test('an object comes back with all that was said of it', async () => {
  const Key = 'a folder/ünï+codé &<>"\'%41 日本 🎉';
  const put: PutObjectCommandInput = {
    Bucket,
    Key,
    Body: 'hello',
    ContentType: 'text/x-hello',
    CacheControl: 'no-store',
    ContentDisposition: 'attachment; filename="h.txt"',
    ContentEncoding: 'x-none',
    ContentLanguage: 'de',
    Expires: new Date('2030-01-01T00:00:00Z'),
    Metadata: { album: 'summer', empty: '' },
    Tagging: 'a=1&b=%20x%2Fy',
  };
  const { ETag } = await s3.putObject(put);
  expect(ETag).toBe('"5d41402abc4b2a76b9719d911017c592"');
  const got = await s3.getObject({ Bucket, Key });
  expect(await got.Body?.transformToString()).toBe('hello');
  const { Body: _, Tagging: __, Bucket: ___, Key: ____, Expires: _____, ...said } = put;
  expect(got).toMatchObject({ ...said, ETag, ContentLength: 5, AcceptRanges: 'bytes', TagCount: 2, ExpiresString: 'Tue, 01 Jan 2030 00:00:00 GMT' });
  expect(await s3.headObject({ Bucket, Key })).toMatchObject({ ...said, ETag, ContentLength: 5 });
  expect((await s3.getObjectTagging({ Bucket, Key })).TagSet).toEqual([
    { Key: 'a', Value: '1' },
    { Key: 'b', Value: ' x/y' },
  ]);
  const other = await s3.getObject({ Bucket, Key, ResponseContentType: 'image/png', ResponseCacheControl: 'private', ResponseContentDisposition: 'inline' });
  expect(other).toMatchObject({ ContentType: 'image/png', CacheControl: 'private', ContentDisposition: 'inline' });
  await other.Body?.transformToByteArray();
  expect(await refused(s3.getObject({ Bucket, Key: 'none' }))).toBe('404 NoSuchKey');
  expect(await refused(s3.headObject({ Bucket, Key: 'none' }))).toBe('404 NotFound');
  await s3.deleteObject({ Bucket, Key });
  await s3.deleteObject({ Bucket, Key }); // what is not there may be deleted
});

test('streams go both ways', async () => {
  const bytes = noise(9 * 1024 * 1024 + 17);
  const pieces = function* () {
    for (let at = 0; at < bytes.length; at += 100_003) yield bytes.subarray(at, at + 100_003);
  };
  await s3.putObject({ Bucket, Key: 'stream', Body: Readable.from(pieces(), { objectMode: false }), ContentLength: bytes.length });
  const { Body, ContentLength } = await s3.getObject({ Bucket, Key: 'stream' });
  const hash = createHash('sha256');
  for await (const chunk of Body as Readable) hash.update(chunk as Buffer);
  expect([ContentLength, hash.digest('hex')]).toEqual([bytes.length, sha256(bytes)]);
  // Somebody who stops listening harms nobody.
  const { Body: left } = await s3.getObject({ Bucket, Key: 'stream' });
  (left as Readable).destroy();
  expect((await s3.headObject({ Bucket, Key: 'stream' })).ContentLength).toBe(bytes.length);
});

test('ranges', async () => {
  await s3.putObject({ Bucket, Key: 'digits', Body: '0123456789' });
  for (const [range, wanted] of [
    ['bytes=0-0', '0'],
    ['bytes=4-', '456789'],
    ['bytes=-3', '789'],
    ['bytes=8-99', '89'],
  ] as const) {
    const got = await s3.getObject({ Bucket, Key: 'digits', Range: range });
    expect([range, await got.Body?.transformToString(), got.$metadata.httpStatusCode]).toEqual([range, wanted, 206]);
    expect(got.ContentRange).toMatch(/^bytes \d+-\d+\/10$/);
  }
  expect(await refused(s3.getObject({ Bucket, Key: 'digits', Range: 'bytes=10-' }))).toBe('416 InvalidRange');
});

test('conditions of reads and writes', async () => {
  const { ETag } = await s3.putObject({ Bucket, Key: 'guarded', Body: 'one', IfNoneMatch: '*' });
  expect(await refused(s3.putObject({ Bucket, Key: 'guarded', Body: 'two', IfNoneMatch: '*' }))).toBe('412 PreconditionFailed');
  expect(await refused(s3.putObject({ Bucket, Key: 'guarded', Body: 'two', IfMatch: '"00000000000000000000000000000000"' }))).toBe('412 PreconditionFailed');
  expect(await refused(s3.putObject({ Bucket, Key: 'absent', Body: 'two', IfMatch: ETag }))).toBe('404 NoSuchKey');
  expect(await text('guarded')).toBe('one');
  await s3.putObject({ Bucket, Key: 'guarded', Body: 'two', IfMatch: ETag });
  expect(await text('guarded')).toBe('two');
  const now = await s3.headObject({ Bucket, Key: 'guarded' });
  expect(await refused(s3.getObject({ Bucket, Key: 'guarded', IfNoneMatch: now.ETag }))).toMatch(/^304/);
  expect(await refused(s3.getObject({ Bucket, Key: 'guarded', IfModifiedSince: new Date(Date.now() + 3_600_000) }))).not.toMatch(/^412/);
  expect(await refused(s3.getObject({ Bucket, Key: 'guarded', IfUnmodifiedSince: new Date('2001-01-01') }))).toBe('412 PreconditionFailed');
});

test('every checksum is checked, kept and given back', async () => {
  for (const algorithm of [ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32C, ChecksumAlgorithm.CRC64NVME, ChecksumAlgorithm.SHA1, ChecksumAlgorithm.SHA256]) {
    const Key = `sum-${algorithm}`;
    if (algorithm === 'CRC64NVME') {
      await s3.putObject({ Bucket, Key, Body: '123456789', ChecksumCRC64NVME: 'rosUhgp5mIg=' });
      expect(await refused(s3.putObject({ Bucket, Key: 'bad', Body: '123456780', ChecksumCRC64NVME: 'rosUhgp5mIg=' }))).toBe('400 BadDigest');
      continue;
    }
    await s3.putObject({ Bucket, Key, Body: '123456789', ChecksumAlgorithm: algorithm });
    const head = await s3.headObject({ Bucket, Key, ChecksumMode: 'ENABLED' });
    expect(head[`Checksum${algorithm}` as 'ChecksumCRC32'], algorithm).toBeTruthy();
    expect(await text(Key)).toBe('123456789'); // checked by the SDK
    const wrong = { [`Checksum${algorithm}`]: head[`Checksum${algorithm}` as 'ChecksumCRC32'] };
    expect(await refused(s3.putObject({ Bucket, Key: 'bad', Body: '123456780', ...wrong })), algorithm).toBe('400 BadDigest');
    const attributes = await s3.getObjectAttributes({ Bucket, Key, ObjectAttributes: ['Checksum', 'ETag', 'ObjectSize'] });
    expect(attributes).toMatchObject({ ObjectSize: 9, ETag: '25f9e794323b453885f5181f1b624d0b', Checksum: { ChecksumType: 'FULL_OBJECT' } });
  }
  // What it does when nobody says anything.
  expect((await s3.headObject({ Bucket, Key: 'digits', ChecksumMode: 'ENABLED' })).ChecksumCRC32).toBe(crc32Of('0123456789'));
  expect(await refused(s3.headObject({ Bucket, Key: 'bad' }))).toBe('404 NotFound');
});

test('copies, and lists of them by prefix, delimiter and page', async () => {
  await s3.putObject({ Bucket, Key: 'from', Body: 'copied', Metadata: { a: '1' }, ContentType: 'text/one' });
  await s3.copyObject({ Bucket, Key: 'list/x/1', CopySource: `${Bucket}/from` });
  expect(await s3.headObject({ Bucket, Key: 'list/x/1' })).toMatchObject({ Metadata: { a: '1' }, ContentType: 'text/one' });
  await s3.copyObject({ Bucket, Key: 'list/x/2', CopySource: `${Bucket}/from`, MetadataDirective: 'REPLACE', Metadata: { b: '2' }, ContentType: 'text/two' });
  expect(await s3.headObject({ Bucket, Key: 'list/x/2' })).toMatchObject({ Metadata: { b: '2' }, ContentType: 'text/two' });
  expect(await refused(s3.copyObject({ Bucket, Key: 'from', CopySource: `${Bucket}/from` }))).toBe('400 InvalidRequest');
  for (const Key of ['list/a', 'list/b', 'list/y/1', 'list/z']) await s3.copyObject({ Bucket, Key, CopySource: `${Bucket}/from` });
  const level = await s3.listObjectsV2({ Bucket, Prefix: 'list/', Delimiter: '/' });
  expect(level.CommonPrefixes).toEqual([{ Prefix: 'list/x/' }, { Prefix: 'list/y/' }]);
  expect(level.Contents?.map(({ Key }) => Key)).toEqual(['list/a', 'list/b', 'list/z']);
  const pages: string[][] = [];
  for (let ContinuationToken: string | undefined, more = true; more; ) {
    const page = await s3.listObjectsV2({ Bucket, Prefix: 'list/', MaxKeys: 3, ...(ContinuationToken === undefined ? {} : { ContinuationToken }) });
    pages.push((page.Contents ?? []).map(({ Key = '' }) => Key));
    ContinuationToken = page.NextContinuationToken;
    more = page.IsTruncated ?? false;
  }
  expect(pages).toEqual([
    ['list/a', 'list/b', 'list/x/1'],
    ['list/x/2', 'list/y/1', 'list/z'],
  ]);
  const old = await s3.listObjects({ Bucket, Prefix: 'list/', Marker: 'list/x/1', MaxKeys: 2 });
  expect([old.Contents?.map(({ Key }) => Key), old.IsTruncated]).toEqual([['list/x/2', 'list/y/1'], true]);
  const gone = await s3.deleteObjects({ Bucket, Delete: { Objects: ['list/a', 'list/b', 'list/none'].map((Key) => ({ Key })) } });
  expect(gone.Deleted?.map(({ Key }) => Key).sort()).toEqual(['list/a', 'list/b', 'list/none']);
  expect((await s3.listObjectsV2({ Bucket, Prefix: 'list/' })).KeyCount).toBe(4);
});

test('tags and ACLs of objects', async () => {
  await s3.putObject({ Bucket, Key: 'tagged', Body: 'x' });
  await s3.putObjectTagging({ Bucket, Key: 'tagged', Tagging: { TagSet: [{ Key: 'k', Value: 'v' }] } });
  expect((await s3.getObjectTagging({ Bucket, Key: 'tagged' })).TagSet).toEqual([{ Key: 'k', Value: 'v' }]);
  await s3.deleteObjectTagging({ Bucket, Key: 'tagged' });
  expect((await s3.getObjectTagging({ Bucket, Key: 'tagged' })).TagSet).toEqual([]);
  await s3.putObjectAcl({ Bucket, Key: 'tagged', ACL: 'public-read' });
  const { Grants = [], Owner } = await s3.getObjectAcl({ Bucket, Key: 'tagged' });
  expect(Owner).toEqual({ ID: bench.account.id, DisplayName: bench.account.name });
  expect(Grants.map(({ Permission, Grantee }) => `${Permission} ${Grantee?.URI ?? Grantee?.ID}`).sort()).toEqual([
    `FULL_CONTROL ${bench.account.id}`,
    'READ http://acs.amazonaws.com/groups/global/AllUsers',
  ]);
  expect((await fetch(`${bench.endpoint}/${Bucket}/tagged`)).status).toBe(200);
});

test('keys of their own seal what nobody else can read', async () => {
  const key = {
    SSECustomerAlgorithm: 'AES256',
    SSECustomerKey: Buffer.alloc(32, 7).toString('base64'),
    SSECustomerKeyMD5: createHash('md5').update(Buffer.alloc(32, 7)).digest('base64'),
  };
  await s3.putObject({ Bucket, Key: 'sealed', Body: 'secret', ...key });
  expect(await refused(s3.getObject({ Bucket, Key: 'sealed' }))).toBe('400 InvalidRequest');
  const got = await s3.getObject({ Bucket, Key: 'sealed', ...key });
  expect(await got.Body?.transformToString()).toBe('secret');
  await s3.putObject({ Bucket, Key: 'sse', Body: 'x', ServerSideEncryption: 'AES256' });
  expect((await s3.headObject({ Bucket, Key: 'sse' })).ServerSideEncryption).toBe('AES256');
});

test('presigned addresses: GET, PUT, HEAD, DELETE, and not beyond their time', async () => {
  const sign = (command: GetObjectCommand | PutObjectCommand | HeadObjectCommand | DeleteObjectCommand, expiresIn = 60): Promise<string> =>
    getSignedUrl(s3, command, { expiresIn });
  const Key = 'pre signed/ü';
  const put = await fetch(await sign(new PutObjectCommand({ Bucket, Key })), { method: 'PUT', body: 'by address' });
  expect([put.status, await put.text()]).toEqual([200, '']);
  expect(await (await fetch(await sign(new GetObjectCommand({ Bucket, Key })))).text()).toBe('by address');
  const head = await fetch(await sign(new HeadObjectCommand({ Bucket, Key })), { method: 'HEAD' });
  expect([head.status, head.headers.get('content-length')]).toEqual([200, '10']);
  expect((await fetch(await sign(new DeleteObjectCommand({ Bucket, Key })), { method: 'DELETE' })).status).toBe(204);
  const old = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key }), { expiresIn: 60, signingDate: new Date(Date.now() - 120_000) });
  const late = await fetch(old);
  expect([late.status, await late.text()]).toEqual([403, expect.stringContaining('Request has expired')]);
});

test('metadata of more than ASCII comes back in encoded words, as from S3', async () => {
  await s3.putObject({ Bucket, Key: 'words', Body: 'x', Metadata: { place: 'Café du Midi', said: '=?UTF-8?Q?Caf=C3=A9?=', plain: 'a b' } });
  const { Metadata } = await s3.headObject({ Bucket, Key: 'words' });
  expect(Metadata).toEqual({ place: '=?UTF-8?Q?Caf=C3=A9_du_Midi?=', said: '=?UTF-8?Q?Caf=C3=A9?=', plain: 'a b' });
});

test('a presigned address that names a checksum takes no other bytes', async () => {
  const Key = 'bound';
  const right = { ChecksumSHA256: createHash('sha256').update('these bytes').digest('base64') };
  const put = async (input: object, body: string): Promise<string> => {
    const answer = await fetch(await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key, ...input }), { expiresIn: 60 }), { method: 'PUT', body });
    return `${answer.status} ${/<Code>(\w+)/.exec(await answer.text())?.[1] ?? ''}`.trim();
  };
  expect(await put(right, 'other bytes')).toBe('400 BadDigest');
  expect(await put(right, 'these bytes')).toBe('200');
  expect((await s3.headObject({ Bucket, Key, ChecksumMode: 'ENABLED' })).ChecksumSHA256).toBe(right.ChecksumSHA256);
  expect(await put({ ChecksumSHA256: 'not base64' }, 'these bytes')).toBe('400 BadDigest');
  // By itself the SDK names the checksum of a body that is not there yet.
  expect(await put({ ChecksumAlgorithm: 'SHA1' }, 'any bytes')).toBe('200');
});

test('buckets by the name of the host', async () => {
  // Every name under localhost is this machine, whatever its resolver says.
  const agent = new Agent({
    lookup: (_, options, callback) => (options.all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4)),
  });
  const hosted = new S3({
    endpoint: `http://localhost:${bench.daemon.endpoint.port}`,
    region: 'us-east-1',
    credentials: bench.account,
    maxAttempts: 1,
    requestHandler: { httpAgent: agent },
  });
  try {
    await hosted.putObject({ Bucket, Key: 'by/host', Body: 'hosted' });
    expect(await text('by/host')).toBe('hosted');
    expect((await hosted.listObjectsV2({ Bucket, Prefix: 'by/' })).KeyCount).toBe(1);
  } finally {
    hosted.destroy();
    agent.destroy();
  }
});
