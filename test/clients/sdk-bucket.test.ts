// @aws-sdk/client-s3 with buckets: their life, what is configured about them, versions and locks, uploads in parts.
import { Readable } from 'node:stream';
import { S3, S3ServiceException } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ClientBench, noise, sha256 } from './bench.ts';

const MB = 1024 * 1024;
let bench: ClientBench;
let s3: S3;
let stranger: S3;

beforeAll(async () => {
  bench = await ClientBench.start('sdk');
  const common = { endpoint: bench.endpoint, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1 };
  s3 = new S3({ ...common, credentials: bench.account });
  stranger = new S3({ ...common, credentials: await bench.daemon.account('stranger') });
});
afterAll(async () => {
  s3?.destroy();
  stranger?.destroy();
  await bench?.[Symbol.asyncDispose]();
});

async function refused(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof S3ServiceException) return `${error.$metadata.httpStatusCode} ${error.name}`;
    throw error;
  }
  throw new Error('it was not refused');
}

test('made, found, listed, deleted; and nobody else’s', async () => {
  const Bucket = 'mine';
  await s3.createBucket({ Bucket });
  expect(await refused(stranger.createBucket({ Bucket }))).toBe('409 BucketAlreadyExists');
  expect((await s3.headBucket({ Bucket })).$metadata.httpStatusCode).toBe(200);
  expect((await s3.getBucketLocation({ Bucket })).LocationConstraint).toBeUndefined();
  expect((await s3.listBuckets({})).Buckets?.map(({ Name }) => Name)).toContain(Bucket);
  expect((await stranger.listBuckets({})).Buckets ?? []).toEqual([]);
  expect(await refused(stranger.headBucket({ Bucket }))).toMatch(/^403/);
  expect(await refused(stranger.listObjectsV2({ Bucket }))).toBe('403 AccessDenied');
  expect(await refused(stranger.putObject({ Bucket, Key: 'x', Body: 'x' }))).toBe('403 AccessDenied');
  await s3.putObject({ Bucket, Key: 'x', Body: 'x' });
  expect(await refused(s3.deleteBucket({ Bucket }))).toBe('409 BucketNotEmpty');
  await s3.deleteObject({ Bucket, Key: 'x' });
  await s3.deleteBucket({ Bucket });
  expect(await refused(s3.headBucket({ Bucket }))).toMatch(/^404/);
  expect(await refused(s3.createBucket({ Bucket: 'Not_A_Name' }))).toBe('400 InvalidBucketName');
});

test('policy, public access block, ownership and ACL', async () => {
  const Bucket = 'ruled';
  await s3.createBucket({ Bucket, ObjectOwnership: 'ObjectWriter' });
  await s3.putObject({ Bucket, Key: 'open/a', Body: 'for all' });
  const Policy = JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: `arn:aws:s3:::${Bucket}/open/*` }],
  });
  await s3.putBucketPolicy({ Bucket, Policy });
  expect(JSON.parse((await s3.getBucketPolicy({ Bucket })).Policy ?? '')).toEqual(JSON.parse(Policy));
  expect((await s3.getBucketPolicyStatus({ Bucket })).PolicyStatus?.IsPublic).toBe(true);
  const status = async (): Promise<number> => (await fetch(`${bench.endpoint}/${Bucket}/open/a`)).status;
  expect(await status()).toBe(200);
  const block = { BlockPublicAcls: true, IgnorePublicAcls: true, BlockPublicPolicy: true, RestrictPublicBuckets: true };
  await s3.putPublicAccessBlock({ Bucket, PublicAccessBlockConfiguration: block });
  expect((await s3.getPublicAccessBlock({ Bucket })).PublicAccessBlockConfiguration).toEqual(block);
  expect(await status()).toBe(403);
  expect(await refused(s3.putBucketPolicy({ Bucket, Policy }))).toBe('403 AccessDenied');
  await s3.deletePublicAccessBlock({ Bucket });
  await s3.deleteBucketPolicy({ Bucket });
  expect(await status()).toBe(403);
  expect(await refused(s3.getBucketPolicy({ Bucket }))).toBe('404 NoSuchBucketPolicy');
  await s3.putBucketAcl({ Bucket, ACL: 'public-read' });
  expect((await s3.getBucketAcl({ Bucket })).Grants).toHaveLength(2);
  expect((await fetch(`${bench.endpoint}/${Bucket}`)).status).toBe(200);
  await s3.putBucketAcl({ Bucket, ACL: 'private' });
  expect((await s3.getBucketOwnershipControls({ Bucket })).OwnershipControls?.Rules).toEqual([{ ObjectOwnership: 'ObjectWriter' }]);
  await s3.putBucketOwnershipControls({ Bucket, OwnershipControls: { Rules: [{ ObjectOwnership: 'BucketOwnerEnforced' }] } });
  expect(await refused(s3.putBucketAcl({ Bucket, ACL: 'public-read' }))).toBe('400 AccessControlListNotSupported');
  await s3.deleteBucketOwnershipControls({ Bucket });
});

test('CORS, tags, lifecycle, encryption', async () => {
  const Bucket = 'configured';
  await s3.createBucket({ Bucket });
  const CORSRules = [
    { AllowedOrigins: ['https://app.example.com'], AllowedMethods: ['GET', 'PUT'], AllowedHeaders: ['*'], ExposeHeaders: ['ETag'], MaxAgeSeconds: 600 },
  ];
  await s3.putBucketCors({ Bucket, CORSConfiguration: { CORSRules } });
  expect((await s3.getBucketCors({ Bucket })).CORSRules).toEqual(CORSRules);
  const preflight = (origin: string): Promise<Response> =>
    fetch(`${bench.endpoint}/${Bucket}/x`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'PUT', 'access-control-request-headers': 'content-type' },
    });
  const yes = await preflight('https://app.example.com');
  expect([yes.status, yes.headers.get('access-control-allow-origin'), yes.headers.get('access-control-max-age')]).toEqual([
    200,
    'https://app.example.com',
    '600',
  ]);
  expect((await preflight('https://evil.example.com')).status).toBe(403);
  await s3.deleteBucketCors({ Bucket });
  expect(await refused(s3.getBucketCors({ Bucket }))).toBe('404 NoSuchCORSConfiguration');

  await s3.putBucketTagging({ Bucket, Tagging: { TagSet: [{ Key: 'team', Value: 'red' }] } });
  expect((await s3.getBucketTagging({ Bucket })).TagSet).toEqual([{ Key: 'team', Value: 'red' }]);
  await s3.deleteBucketTagging({ Bucket });
  expect(await refused(s3.getBucketTagging({ Bucket }))).toBe('404 NoSuchTagSet');

  const Rules = [
    { ID: 'old', Status: 'Enabled' as const, Filter: { Prefix: 'logs/' }, Expiration: { Days: 30 }, NoncurrentVersionExpiration: { NoncurrentDays: 5 } },
    { ID: 'parts', Status: 'Enabled' as const, Filter: { Prefix: '' }, AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 } },
  ];
  await s3.putBucketLifecycleConfiguration({ Bucket, LifecycleConfiguration: { Rules } });
  expect((await s3.getBucketLifecycleConfiguration({ Bucket })).Rules).toEqual(Rules);
  await s3.deleteBucketLifecycle({ Bucket });

  const ServerSideEncryptionConfiguration = { Rules: [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' as const } }] };
  await s3.putBucketEncryption({ Bucket, ServerSideEncryptionConfiguration });
  expect((await s3.getBucketEncryption({ Bucket })).ServerSideEncryptionConfiguration).toMatchObject(ServerSideEncryptionConfiguration);
  await s3.deleteBucketEncryption({ Bucket });
  expect(await refused(s3.putBucketWebsite({ Bucket, WebsiteConfiguration: { IndexDocument: { Suffix: 'index.html' } } }))).toBe('501 NotImplemented');
});

test('versions: kept, listed, restored by copying, deleted one by one', async () => {
  const Bucket = 'versioned';
  await s3.createBucket({ Bucket });
  await s3.putObject({ Bucket, Key: 'k', Body: 'before' });
  await s3.putBucketVersioning({ Bucket, VersioningConfiguration: { Status: 'Enabled' } });
  expect((await s3.getBucketVersioning({ Bucket })).Status).toBe('Enabled');
  const { VersionId: one } = await s3.putObject({ Bucket, Key: 'k', Body: 'one' });
  await s3.putObject({ Bucket, Key: 'k', Body: 'two' });
  const marker = await s3.deleteObject({ Bucket, Key: 'k' });
  expect(marker.DeleteMarker).toBe(true);
  expect(await refused(s3.getObject({ Bucket, Key: 'k' }))).toBe('404 NoSuchKey');
  const { Versions = [], DeleteMarkers = [] } = await s3.listObjectVersions({ Bucket });
  expect([Versions.length, Versions.at(-1)?.VersionId, DeleteMarkers.length]).toEqual([3, 'null', 1]);
  await s3.copyObject({ Bucket, Key: 'k', CopySource: `${Bucket}/k?versionId=${one}` });
  expect(await (await s3.getObject({ Bucket, Key: 'k' })).Body?.transformToString()).toBe('one');
  await s3.putBucketVersioning({ Bucket, VersioningConfiguration: { Status: 'Suspended' } });
  await s3.putObject({ Bucket, Key: 'k', Body: 'null again' }); // in place of what was there before versions were kept
  const all = await s3.listObjectVersions({ Bucket });
  const Objects = [...(all.Versions ?? []), ...(all.DeleteMarkers ?? [])].map(({ Key, VersionId }) => ({ Key, VersionId }));
  expect(Objects).toHaveLength(5);
  await s3.deleteObjects({ Bucket, Delete: { Objects } });
  await s3.deleteBucket({ Bucket });
});

test('locks: retention, legal hold, default, bypass', async () => {
  const Bucket = 'locked';
  await s3.createBucket({ Bucket, ObjectLockEnabledForBucket: true });
  const lock = { ObjectLockEnabled: 'Enabled' as const, Rule: { DefaultRetention: { Mode: 'GOVERNANCE' as const, Days: 1 } } };
  await s3.putObjectLockConfiguration({ Bucket, ObjectLockConfiguration: lock });
  expect((await s3.getObjectLockConfiguration({ Bucket })).ObjectLockConfiguration).toEqual(lock);
  const { VersionId } = await s3.putObject({ Bucket, Key: 'k', Body: 'kept' });
  const at = { Bucket, Key: 'k', VersionId };
  expect((await s3.getObjectRetention(at)).Retention?.Mode).toBe('GOVERNANCE');
  expect(await refused(s3.deleteObject(at))).toBe('403 AccessDenied');
  await s3.putObjectLegalHold({ ...at, LegalHold: { Status: 'ON' } });
  expect((await s3.getObjectLegalHold(at)).LegalHold?.Status).toBe('ON');
  expect(await refused(s3.deleteObject({ ...at, BypassGovernanceRetention: true }))).toBe('403 AccessDenied');
  await s3.putObjectLegalHold({ ...at, LegalHold: { Status: 'OFF' } });
  await s3.putObjectRetention({ ...at, Retention: { Mode: 'GOVERNANCE', RetainUntilDate: new Date(Date.now() + 60_000) }, BypassGovernanceRetention: true });
  await s3.deleteObject({ ...at, BypassGovernanceRetention: true });
  expect((await s3.listObjectVersions({ Bucket })).Versions ?? []).toEqual([]);
});

test('uploads in parts: by hand, with copies of ranges, listed, completed twice, aborted', async () => {
  const Bucket = 'parts';
  await s3.createBucket({ Bucket });
  const source = noise(6 * MB);
  await s3.putObject({ Bucket, Key: 'source', Body: source });
  const { UploadId } = await s3.createMultipartUpload({ Bucket, Key: 'whole', ContentType: 'x/whole', Metadata: { a: 'b' } });
  const upload = { Bucket, Key: 'whole', UploadId };
  const first = noise(5 * MB);
  const one = await s3.uploadPart({ ...upload, PartNumber: 1, Body: first });
  const two = await s3.uploadPartCopy({ ...upload, PartNumber: 2, CopySource: `${Bucket}/source`, CopySourceRange: `bytes=0-${5 * MB - 1}` });
  const three = await s3.uploadPart({ ...upload, PartNumber: 7, Body: 'the end' });
  expect((await s3.listParts(upload)).Parts?.map(({ PartNumber, Size }) => [PartNumber, Size])).toEqual([
    [1, 5 * MB],
    [2, 5 * MB],
    [7, 7],
  ]);
  expect((await s3.listMultipartUploads({ Bucket })).Uploads?.map(({ Key }) => Key)).toEqual(['whole']);
  const Parts = [
    { PartNumber: 1, ETag: one.ETag },
    { PartNumber: 2, ETag: two.CopyPartResult?.ETag },
    { PartNumber: 7, ETag: three.ETag },
  ];
  expect(await refused(s3.completeMultipartUpload({ ...upload, MultipartUpload: { Parts: [...Parts].reverse() } }))).toBe('400 InvalidPartOrder');
  const { ETag } = await s3.completeMultipartUpload({ ...upload, MultipartUpload: { Parts } });
  expect(ETag).toMatch(/^"[0-9a-f]{32}-3"$/);
  expect((await s3.completeMultipartUpload({ ...upload, MultipartUpload: { Parts } })).ETag).toBe(ETag);
  const whole = await s3.getObject({ Bucket, Key: 'whole' });
  expect(whole).toMatchObject({ ContentType: 'x/whole', Metadata: { a: 'b' }, ContentLength: 10 * MB + 7 });
  expect(sha256((await whole.Body?.transformToByteArray()) ?? new Uint8Array())).toBe(
    sha256(Buffer.concat([first, source.subarray(0, 5 * MB), Buffer.from('the end')])),
  );
  // Of what is whole the parts are counted, whatever numbers they were sent under.
  const part = await s3.getObject({ Bucket, Key: 'whole', PartNumber: 3 });
  expect([await part.Body?.transformToString(), part.PartsCount]).toEqual(['the end', 3]);

  const given = await s3.createMultipartUpload({ Bucket, Key: 'given up' });
  const up = { Bucket, Key: 'given up', UploadId: given.UploadId };
  await s3.uploadPart({ ...up, PartNumber: 1, Body: 'x' });
  await s3.abortMultipartUpload(up);
  expect(await refused(s3.listParts(up))).toBe('404 NoSuchUpload');
  expect((await s3.listMultipartUploads({ Bucket })).Uploads ?? []).toEqual([]);
  expect(await refused(s3.headObject({ Bucket, Key: 'given up' }))).toBe('404 NotFound');
});

test('lib-storage sends a stream of unknown length in parts at once', async () => {
  const Bucket = 'streams';
  await s3.createBucket({ Bucket });
  const bytes = noise(23 * MB + 5);
  const pieces = function* () {
    for (let at = 0; at < bytes.length; at += 1_000_003) yield bytes.subarray(at, at + 1_000_003);
  };
  const upload = new Upload({
    client: s3,
    params: { Bucket, Key: 'stream', Body: Readable.from(pieces(), { objectMode: false }) },
    queueSize: 4,
    partSize: 5 * MB,
  });
  await upload.done();
  const got = await s3.getObject({ Bucket, Key: 'stream' });
  expect(got.ETag).toMatch(/-5"$/);
  expect(sha256((await got.Body?.transformToByteArray()) ?? new Uint8Array())).toBe(sha256(bytes));
});
