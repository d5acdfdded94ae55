// Large transfers in bounded memory: the daemon's, as the kernel counts it. CLOUD_S3_LARGE says how many bytes (1 GiB; 5368709120 for what one PUT may have).
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { GetObjectCommand, PutObjectCommand, S3 } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { S3Daemon } from './daemon.ts';

const MB = 1024 * 1024;
const LARGE = Number(process.env['CLOUD_S3_LARGE'] ?? 1024 * MB);
/** What a transfer may cost at most, whatever its size: buffers of sockets, hashing, sealing and the disk, and what is not collected yet. */
const FLAT = 160 * MB;
const Bucket = 'large';

let daemon: S3Daemon;
let s3: S3;
beforeAll(async () => {
  daemon = await S3Daemon.start();
  s3 = new S3({
    endpoint: daemon.endpoint.origin,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: await daemon.account('large'),
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  await s3.createBucket({ Bucket });
});
afterAll(async () => {
  s3?.destroy();
  await daemon?.[Symbol.asyncDispose]();
});

/** The same bytes for the same size, a different block each. */
function* blocks(size: number): Generator<Buffer> {
  const block = createHash('shake256', { outputLength: MB }).update('blocks').digest();
  for (let at = 0; at < size; at += MB) {
    const next = Buffer.from(block.subarray(0, Math.min(MB, size - at)));
    if (next.length >= 6) next.writeUIntLE(at, 0, 6);
    yield next;
  }
}

async function up(Key: string, size: number): Promise<string> {
  const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key }), { expiresIn: 3600 });
  const hash = createHash('md5');
  const source = Readable.from(
    (function* () {
      for (const block of blocks(size)) {
        hash.update(block);
        yield block;
      }
    })(),
  );
  await new Promise<void>((resolve, reject) => {
    const put = request(url, { method: 'PUT', headers: { 'content-length': size } }, (answer) => {
      answer.resume().once('end', () => (answer.statusCode === 200 ? resolve() : reject(new Error(`status ${answer.statusCode}`))));
    });
    put.once('error', reject);
    pipeline(source, put).catch(reject);
  });
  return `"${hash.digest('hex')}"`;
}

async function down(Key: string): Promise<{ bytes: number; md5: string }> {
  const url = await getSignedUrl(s3, new GetObjectCommand({ Bucket, Key }), { expiresIn: 3600 });
  const hash = createHash('md5');
  let bytes = 0;
  await new Promise<void>((resolve, reject) => {
    request(url, (answer) => {
      answer.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        hash.update(chunk);
      });
      answer.once('end', resolve).once('error', reject);
    })
      .once('error', reject)
      .end();
  });
  return { bytes, md5: `"${hash.digest('hex')}"` };
}

/** The most that it had while the work was done. */
async function peak<T>(work: () => Promise<T>): Promise<{ most: number; value: T }> {
  let most = 0;
  const look = (): void => {
    most = Math.max(most, daemon.residentBytes);
  };
  const timer = setInterval(look, 20);
  try {
    const value = await work();
    look();
    return { most, value };
  } finally {
    clearInterval(timer);
  }
}

test(`${LARGE / MB} MB up and down, and memory stays flat`, { timeout: 60_000 + (LARGE / MB) * 100 }, async () => {
  await up('warm', 64 * MB);
  await down('warm');
  const before = daemon.residentBytes;
  const { most: sending, value: etag } = await peak(() => up('large', LARGE));
  expect(await s3.headObject({ Bucket, Key: 'large' })).toMatchObject({ ContentLength: LARGE, ETag: etag });
  const { most: reading, value: got } = await peak(() => down('large'));
  expect(got).toEqual({ bytes: LARGE, md5: etag });
  process.stderr.write(`resident: ${[before, sending, reading].map((bytes) => `${Math.round(bytes / MB)} MB`).join(', ')}\n`);
  expect(sending - before).toBeLessThan(FLAT);
  expect(reading - before).toBeLessThan(FLAT);
  await s3.deleteObject({ Bucket, Key: 'large' });
});

test('10,000 parts are kept, listed in pages and given up', { timeout: 240_000 }, async () => {
  const Key = 'parts';
  const { UploadId } = await s3.createMultipartUpload({ Bucket, Key });
  const upload = { Bucket, Key, UploadId };
  let next = 1;
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (let PartNumber = next++; PartNumber <= 10_000; PartNumber = next++) await s3.uploadPart({ ...upload, PartNumber, Body: `part ${PartNumber}` });
    }),
  );
  const Parts: { PartNumber: number | undefined; ETag: string | undefined }[] = [];
  for (let marker: string | undefined, more = true; more; ) {
    const page = await s3.listParts({ ...upload, ...(marker === undefined ? {} : { PartNumberMarker: marker }) });
    Parts.push(...(page.Parts ?? []).map(({ PartNumber, ETag }) => ({ PartNumber, ETag })));
    marker = page.NextPartNumberMarker;
    more = page.IsTruncated ?? false;
  }
  expect([Parts.length, Parts[0]?.PartNumber, Parts.at(-1)?.PartNumber]).toEqual([10_000, 1, 10_000]);
  // All but the last must have 5 MB: the answer comes after all of them were looked at.
  await expect(s3.completeMultipartUpload({ ...upload, MultipartUpload: { Parts } })).rejects.toMatchObject({ name: 'EntityTooSmall' });
  await expect(s3.uploadPart({ ...upload, PartNumber: 10_001, Body: 'x' })).rejects.toMatchObject({ name: 'InvalidArgument' });
  await s3.abortMultipartUpload(upload);
  const { items } = await daemon.client.bucket.list({}, { tenant: 'large' });
  expect(items).toMatchObject([{ name: Bucket, uploads: 0, uploadBytes: 0 }]);
});
