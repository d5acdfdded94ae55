// kill -9 at random instants under a random load of S3 clients, several lives, and then the promises: what was answered is there byte for byte, what was deleted
// is gone, whoever got no answer finds the old object or the new one, whole, and nothing lies in the object store that no object has.
// CLOUD_CRASH_SEED repeats a run as far as timing allows; CLOUD_CRASH_ROUNDS makes it longer.
import { createHash, randomBytes } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { S3, S3ServiceException } from '@aws-sdk/client-s3';
import { expect, test } from 'vitest';
import { FilesObjectStore } from '../../packages/core/src/drivers/files/index.ts';
import { S3Daemon } from './daemon.ts';

const seed = Number(process.env['CLOUD_CRASH_SEED'] ?? Math.floor(Math.random() * 2 ** 31));
const rounds = Number(process.env['CLOUD_CRASH_ROUNDS'] ?? 6);
const CLIENTS = 5;
const KEYS = 12;
const Bucket = 'crash';

/** mulberry32: small, and the same numbers everywhere. */
let state = seed;
function random(): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const below = (n: number): number => Math.floor(random() * n);

const GONE = 'gone';
const digest = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
/** What a key may have now: one digest (or GONE) when the last wish was answered, two when it was not. */
const known = new Map<string, string[]>();

/** Most are small, as they are in life; some are large enough to be files of their own. */
function some(): Buffer {
  const size = [0, 1 + below(500), 4_096, 1 + below(60_000), 65_536 + below(200_000), 1_000_000 + below(3_000_000)][below(6)] ?? 0;
  return randomBytes(size);
}

let answered = 0;
let unanswered = 0;

/** One wish about a key; what it may have afterwards is known before anything is sent. */
async function wish(s3: S3, Key: string): Promise<void> {
  const before = known.get(Key) ?? [GONE];
  const want = async (after: string, work: () => Promise<unknown>): Promise<void> => {
    known.set(Key, [...new Set([...before, after])]);
    await work();
    known.set(Key, [after]);
  };
  const kind = below(20);
  if (kind < 11) {
    const Body = some();
    await want(digest(Body), () => s3.putObject({ Bucket, Key, Body }));
  } else if (kind < 14) {
    await want(GONE, () => s3.deleteObject({ Bucket, Key }));
  } else if (kind < 15) {
    await want(GONE, () => s3.deleteObjects({ Bucket, Delete: { Objects: [{ Key }] } }));
  } else if (kind < 18) {
    const { UploadId } = await s3.createMultipartUpload({ Bucket, Key });
    const upload = { Bucket, Key, UploadId };
    const bodies = [randomBytes(5 * 1024 * 1024), randomBytes(1 + below(100_000))];
    const Parts = await Promise.all(
      bodies.map(async (Body, index) => ({ PartNumber: index + 1, ETag: (await s3.uploadPart({ ...upload, PartNumber: index + 1, Body })).ETag })),
    );
    if (below(4) === 0) await s3.abortMultipartUpload(upload);
    else await want(digest(Buffer.concat(bodies)), () => s3.completeMultipartUpload({ ...upload, MultipartUpload: { Parts } }));
  } else {
    const from = Key.replace(/\d+$/, () => String(below(KEYS)));
    const source = known.get(from) ?? [GONE];
    if (from === Key || source.length !== 1 || source[0] === GONE) return;
    await want(source[0] as string, () => s3.copyObject({ Bucket, Key, CopySource: `${Bucket}/${from}` }));
  }
}

async function client(s3: S3, name: string, over: () => boolean): Promise<void> {
  while (!over()) {
    try {
      await wish(s3, `${name}/${below(KEYS)}`);
      answered++;
    } catch (error) {
      // No answer is the daemon's death; an answer of another kind is a mistake of somebody's.
      if (error instanceof S3ServiceException && error.$metadata.httpStatusCode !== undefined && error.$metadata.httpStatusCode !== 503) throw error;
      unanswered++;
      if (!over()) await sleep(5);
    }
  }
}

/** Reads everything; what was unsettled is settled now. */
async function check(s3: S3, round: number): Promise<number> {
  let bytes = 0;
  const there = new Set<string>();
  for (const [Key, may] of known) {
    let found = GONE;
    try {
      const body = await (await s3.getObject({ Bucket, Key })).Body?.transformToByteArray();
      found = digest(body ?? new Uint8Array());
      bytes += body?.length ?? 0;
      there.add(Key);
    } catch (error) {
      if (!(error instanceof S3ServiceException && error.name === 'NoSuchKey')) throw error;
    }
    expect(may, `${Key} in round ${round} of seed ${seed}`).toContain(found);
    known.set(Key, [found]);
  }
  const { Contents = [], IsTruncated } = await s3.listObjectsV2({ Bucket });
  expect(IsTruncated).toBe(false);
  expect(Contents.map(({ Key }) => Key)).toEqual([...there].sort());
  return bytes;
}

/** What lies in the store of a data directory that no daemon has open: blobs, and what was on its way to be one. */
async function stored(dataDir: string): Promise<string[]> {
  const directory = join(dataDir, 'objects');
  const store = new FilesObjectStore({ directory });
  try {
    return [...readdirSync(join(directory, 'incoming')), ...(await store.list(undefined, 10)).map(({ id }) => id)];
  } finally {
    await store.close();
  }
}

test(`${rounds} lives of a daemon that is killed while ${CLIENTS} clients write`, { timeout: 120_000 + rounds * 60_000 }, async () => {
  process.stderr.write(`crash test of object storage: CLOUD_CRASH_SEED=${seed}\n`);
  await using daemon = await S3Daemon.start();
  const credentials = await daemon.account('crash');
  const s3 = new S3({ endpoint: daemon.endpoint.origin, region: 'us-east-1', forcePathStyle: true, credentials, maxAttempts: 1 });
  await s3.createBucket({ Bucket });
  for (let round = 0; round < rounds; round++) {
    let over = false;
    const clients = Array.from({ length: CLIENTS }, (_, number) => client(s3, `c${number}`, () => over));
    await sleep(200 + below(1_800));
    await daemon.kill();
    over = true;
    await Promise.all(clients);
    await daemon.start();
    // Sometimes dead again while it still looks for what the first one left.
    if (random() < 0.4) {
      await sleep(below(300));
      await daemon.kill();
      await daemon.start();
    }
    const bytes = await check(s3, round);
    const { items } = await daemon.client.bucket.list({}, { tenant: 'crash' });
    expect(items).toMatchObject([{ name: Bucket, bytes }]);
  }
  expect(answered).toBeGreaterThan(rounds * CLIENTS);
  expect(unanswered).toBeGreaterThan(0);

  let damage: unknown[] = [];
  let checked = 0;
  for await (const page of daemon.client.bucket.verify(Bucket, {}, { tenant: 'crash' })) {
    damage = [...damage, ...page.damaged];
    checked = page.checked;
  }
  expect(damage).toEqual([]);
  expect(checked).toBeGreaterThan(0);

  // Everything that anybody can still name goes, and then the store must be empty: bytes that were sent in vain are not there for ever.
  for (const { Key, UploadId } of (await s3.listMultipartUploads({ Bucket })).Uploads ?? []) await s3.abortMultipartUpload({ Bucket, Key, UploadId });
  for (const Key of known.keys()) await s3.deleteObject({ Bucket, Key });
  await s3.deleteBucket({ Bucket });
  s3.destroy();
  let left: string[] = [];
  for (let wait = 0; wait <= 5_000; wait += 500) {
    // The sweep begins with the daemon; how long it takes is nobody's to know.
    await daemon.stop();
    await daemon.start();
    await sleep(wait);
    await daemon.stop();
    left = await stored(daemon.dataDir);
    if (left.length === 0) break;
  }
  expect(left).toEqual([]);
});
