// Reads everything as it lies and compares it with what was written: lengths, seals, and MD5.
import { createHash } from 'node:crypto';
import { DriverError } from '../../../kernel/errors.ts';
import type { StoredBody } from './body-types.ts';
import { type Ground, inEngineWords } from './ground.ts';
import { scanVersions } from './list.ts';
import { release } from './memory.ts';
import { after, checkBound } from './names.ts';
import { checkOwner } from './reading.ts';
import { bodyOf, type VersionRow } from './rows.ts';
import { sealedSize } from './seal.ts';
import { all } from './sql.ts';
import { type Bucket, type Damage, ObjectError } from './types.ts';
import { versionOf } from './versions.ts';

const PAGE = 50;

interface Findings {
  checked: number;
  bytes: number;
  damage: Damage[];
}

/** What each page found, by itself: the caller adds up. */
export async function* verifyBucket(ground: Ground, bucket: Bucket, options: { prefix: string; signal: AbortSignal }): AsyncGenerator<Findings> {
  const before = after(options.prefix);
  for (let from: Parameters<typeof scanVersions>[2] = { key: options.prefix, inclusive: true }; ; ) {
    options.signal.throwIfAborted();
    const rows: VersionRow[] = await scanVersions(ground, bucket.id, from, before, PAGE);
    const findings: Findings = { checked: 0, bytes: 0, damage: [] };
    for (const row of rows) if (row.marker === 0) await verifyVersion(ground, bucket, row, findings, options.signal);
    if (findings.checked > 0) yield findings;
    const last = rows.at(-1);
    if (rows.length < PAGE || last === undefined) return;
    from = { row: last };
  }
}

async function verifyVersion(ground: Ground, bucket: Bucket, row: VersionRow, findings: Findings, signal: AbortSignal): Promise<void> {
  const report = (part: number | undefined, problem: string): void => {
    findings.damage.push({ key: row.key, version: row.version, part, problem });
  };
  let size = 0;
  const found: Damage[] = [];
  const blobs: { body: StoredBody; etag: string; part: number | undefined; bytes: number }[] = [];
  if (row.body !== null) blobs.push({ body: bodyOf(row.body), etag: row.etag, part: undefined, bytes: row.size });
  else {
    const parts = await ground.read((db) =>
      all<{ number: number; size: number; etag: string; body: string }>(
        db,
        'select number, size, etag, body from object_part where owner = ? order by number',
        row.parts_of,
      ),
    );
    for (const part of parts) blobs.push({ body: bodyOf(part.body), etag: part.etag, part: part.number, bytes: part.size });
  }
  const held = ground.garbage.hold(
    blobs.map(({ body }) => body),
    bucket.tenantId,
  );
  held.begin();
  try {
    for (const { body, etag, part, bytes } of blobs) {
      signal.throwIfAborted();
      const problem = await verifyBlob(ground, bucket, row, { body, etag, part, bytes }, signal);
      if (problem !== undefined) found.push({ key: row.key, version: row.version, part, problem });
      size += bytes;
    }
  } finally {
    held.release();
  }
  // Deleted or replaced meanwhile: nothing of it has to be there.
  const now = await ground.read((db) => versionOf(db, bucket.id, row.key, row.version));
  if (now === undefined || now.seq !== row.seq) return;
  findings.checked++;
  findings.bytes += size;
  for (const { part, problem } of found) report(part, problem);
  if (size !== row.size) report(undefined, `there are ${size} bytes of ${row.size}`);
}

async function verifyBlob(
  ground: Ground,
  bucket: Bucket,
  row: VersionRow,
  { body, etag, part, bytes }: { body: StoredBody; etag: string; part: number | undefined; bytes: number },
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    if (part === undefined) checkOwner(body, bucket.id, row);
    else checkBound(body.bound, bucket.id, row.key, row.parts_of as string, part);
    if (body.size !== bytes) return `${body.size} bytes were written, ${bytes} are said to be there`;
    // Only the customer could open it: that all of it is there is all that can be said.
    if (body.customer !== undefined) return await verifySealed(ground, body, signal);
    const hash = createHash('md5');
    let read = 0;
    for await (const chunk of ground.bodies.read(body, { range: undefined, signal })) {
      hash.update(chunk);
      read += chunk.length;
      release(chunk);
    }
    if (read !== bytes) return `there are ${read} bytes of ${bytes}`;
    return hash.digest('hex') === etag ? undefined : 'the bytes are not those that were written';
  } catch (error) {
    if (error instanceof ObjectError && error.problem === 'damaged') return error.message;
    if (error instanceof ObjectError && error.problem === 'no_such_kms_key') return 'the key that sealed it was deleted';
    throw error;
  }
}

async function verifySealed(ground: Ground, body: StoredBody, signal: AbortSignal): Promise<string | undefined> {
  const expected = sealedSize(body.size);
  let read = 0;
  try {
    for await (const chunk of ground.store.get(body.blob, { start: 0, end: undefined }, signal)) read += chunk.length;
  } catch (error) {
    if (error instanceof DriverError && error.code === 'failed') return `the stored bytes cannot be read: ${error.message}`;
    throw inEngineWords(error);
  }
  return read === expected ? undefined : `there are ${read} bytes of ${expected}, sealed`;
}
