// Making one object of the parts of an upload: nothing is copied, only rows are written. What can be counted beforehand is, so that the transaction is short.
import { createHash } from 'node:crypto';
import { checkWrite } from './conditions.ts';
import { combineCrc, newCrc } from './crc.ts';
import { discardBodies } from './garbage.ts';
import type { Change, Ground } from './ground.ts';
import { lockFor } from './locks.ts';
import { newToken } from './names.ts';
import { infoOf, keptAcl, keptAttributes, keptTags, type PartRow, partOf, UPLOAD_COLUMNS, type UploadRow, uploadOf } from './rows.ts';
import { all, breath, chunks, marks, one, run } from './sql.ts';
import {
  type Bucket,
  type Checksum,
  type CompletePart,
  ObjectError,
  type ObjectInfo,
  type Objects,
  type PartInfo,
  type PutResult,
  type UploadInfo,
} from './types.ts';
import { type Completed, MOST_PARTS, noSuchUpload } from './uploads.ts';
import { addVersion, newestOf, versionOf } from './versions.ts';
import { resultOf } from './writing.ts';

type Options = Parameters<Objects['completeUpload']>[4];
type Result = PutResult & { info: ObjectInfo };

/** Checksums put together before others have their turn. */
const AT_ONCE = 200;

/** A number that comes twice in a row stands for the later one, as a part that is written twice does. */
function inOrder(parts: readonly CompletePart[]): CompletePart[] {
  if (parts.length === 0) throw new ObjectError('invalid_request', 'You must specify at least one part');
  if (parts.length > MOST_PARTS) throw new ObjectError('invalid_request', `An upload has at most ${MOST_PARTS} parts`);
  const ordered: CompletePart[] = [];
  for (const part of parts) {
    const { number } = part;
    const before = ordered.at(-1)?.number ?? 0;
    if (number < before) {
      throw new ObjectError('invalid_part_order', 'The list of parts was not in ascending order. Parts must be ordered by part number.', { part: number });
    }
    if (number === before) ordered.pop();
    ordered.push(part);
  }
  return ordered;
}

/** With checksums of parts, as S3 has it: they are found again by their place in the object. */
function refuseGaps({ checksum }: UploadInfo, parts: readonly CompletePart[]): void {
  if (checksum === undefined || checksum.algorithm === 'CRC64NVME') return;
  const gap = parts.find(({ number }, at) => number !== at + 1);
  if (gap === undefined) return;
  throw new ObjectError('invalid_part_order', 'Parts of an upload with checksums must be numbered 1, 2, 3 … without gaps.', { part: gap.number });
}

const hashOf = (parts: readonly CompletePart[]): string =>
  createHash('sha256')
    .update(parts.map(({ number, etag }) => `${number} ${etag}`).join('\n'))
    .digest('base64url');

async function uploadRow(ground: Ground, bucket: Bucket, key: string, id: string): Promise<UploadRow> {
  const row = await ground.read((db) => one<UploadRow>(db, `select ${UPLOAD_COLUMNS} from object_upload where id = ?`, id));
  if (row === undefined || row.bucket_id !== bucket.id || row.key !== key) throw noSuchUpload(id);
  return row;
}

/** What it answered the first time. */
async function again(ground: Ground, bucket: Bucket, row: UploadRow, hash: string): Promise<Result> {
  const completed = JSON.parse(row.completed as string) as Completed;
  if (completed.hash !== hash) throw noSuchUpload(row.id);
  const version = await ground.read((db) => versionOf(db, bucket.id, row.key, completed.version));
  if (version === undefined || version.parts_of !== row.id) throw noSuchUpload(row.id);
  return resultOf(bucket, version);
}

const partRows = (db: Change['tx'] | Ground['db'], owner: string): Promise<PartRow[]> =>
  all<PartRow>(db, 'select number, size, etag, modified_at, checksum from object_part where owner = ? order by number', owner);

/** The parts that were named, in order. */
function chosen(kept: readonly PartRow[], parts: readonly CompletePart[], leastPart: number): PartInfo[] {
  const byNumber = new Map(kept.map((row) => [row.number, row]));
  const found = parts.map(({ number, etag, checksum }) => {
    const row = byNumber.get(number);
    const part = row === undefined ? undefined : partOf(row);
    const differs = checksum !== undefined && part?.checksum?.algorithm === checksum.algorithm && part.checksum.value !== checksum.value;
    if (part === undefined || part.etag !== etag || differs) {
      throw new ObjectError(
        'invalid_part',
        "One or more of the specified parts could not be found. The part might not have been uploaded, or the specified entity tag might not have matched the part's entity tag.",
        { part: number, etag },
      );
    }
    return part;
  });
  for (const { number, size } of found.slice(0, -1)) {
    if (size < leastPart) {
      throw new ObjectError('part_too_small', 'Your proposed upload is smaller than the minimum allowed size', { part: number, size, least: leastPart });
    }
  }
  return found;
}

/** MD5 of the MD5s, as S3 makes it. */
const etagOf = (parts: readonly PartInfo[]): string => {
  const hash = createHash('md5');
  for (const { etag } of parts) hash.update(Buffer.from(etag, 'hex'));
  return `${hash.digest('hex')}-${parts.length}`;
};

function composite(algorithm: Checksum['algorithm'], values: readonly Buffer[]): string {
  if (algorithm === 'SHA1' || algorithm === 'SHA256') {
    const hash = createHash(algorithm === 'SHA1' ? 'sha1' : 'sha256');
    for (const value of values) hash.update(value);
    return hash.digest('base64');
  }
  const crc = newCrc(algorithm);
  for (const value of values) crc.update(value);
  return crc.digest().toString('base64');
}

/** Of the whole, from those of its parts. Undefined where a part has none. */
async function checksumOf(upload: UploadInfo, parts: readonly PartInfo[]): Promise<Checksum | undefined> {
  const { algorithm, type } = upload.checksum ?? ({ algorithm: 'CRC64NVME', type: 'full' } as const);
  const values: Buffer[] = [];
  for (const { checksum } of parts) {
    if (checksum?.algorithm !== algorithm) return undefined;
    values.push(Buffer.from(checksum.value, 'base64'));
  }
  if (type === 'composite') return { algorithm, type, value: `${composite(algorithm, values)}-${parts.length}` };
  if (algorithm === 'SHA1' || algorithm === 'SHA256') return undefined;
  let whole = values[0] as Buffer;
  for (let at = 1; at < parts.length; at++) {
    whole = combineCrc(algorithm, whole, values[at] as Buffer, (parts[at] as PartInfo).size);
    if (at % AT_ONCE === 0) await breath();
  }
  return { algorithm, type, value: whole.toString('base64') };
}

function checkChecksum(checksum: Checksum | undefined, upload: UploadInfo, asked: Options['checksum']): void {
  if (asked === undefined) return;
  if (asked.type !== undefined && checksum !== undefined && asked.type !== checksum.type) {
    throw new ObjectError(
      'invalid_request',
      `The upload was created using the ${upload.checksum?.type === 'composite' ? 'COMPOSITE' : 'FULL_OBJECT'} checksum mode. The complete request must use the same checksum mode.`,
    );
  }
  if (asked.value === undefined || checksum === undefined) return;
  const bare = (value: string): string => (checksum.type === 'composite' ? value.replace(/-\d+$/, '') : value);
  if (bare(asked.value) !== bare(checksum.value)) {
    throw new ObjectError('bad_digest', `The ${checksum.algorithm} you specified did not match the calculated checksum.`, { digest: checksum.algorithm });
  }
}

export async function completeUpload(
  ground: Ground,
  bucket: Bucket,
  key: string,
  uploadId: string,
  named: readonly CompletePart[],
  options: Options,
): Promise<Result> {
  const parts = inOrder(named);
  const hash = hashOf(parts);
  const first = await uploadRow(ground, bucket, key, uploadId);
  if (first.completed !== null) return again(ground, bucket, first, hash);
  const upload = uploadOf(first);
  refuseGaps(upload, parts);
  const kept = await ground.read((db) => partRows(db, uploadId));
  const found = chosen(kept, parts, ground.leastPart);
  const size = found.reduce((sum, part) => sum + part.size, 0);
  if (options.size !== undefined && options.size !== size) {
    throw new ObjectError('invalid_request', `The parts have ${size} bytes together, not ${options.size}`, { size });
  }
  const checksum = await checksumOf(upload, found);
  checkChecksum(checksum, upload, options.checksum);
  const etag = etagOf(found);
  const token = newToken(ground.now());

  const outcome = await ground.change(bucket, options.actor, async (change): Promise<Result | UploadRow> => {
    const { tx, now } = change;
    const row = await one<UploadRow>(tx, `select ${UPLOAD_COLUMNS} from object_upload where id = ?`, uploadId);
    if (row === undefined) throw noSuchUpload(uploadId);
    if (row.completed !== null) return row;
    // A part that was replaced since is not the one that was asked for.
    const current = await partRows(tx, uploadId);
    const same = current.length === kept.length && current.every((part, at) => part.etag === kept[at]?.etag && part.modified_at === kept[at]?.modified_at);
    if (!same) chosen(current, parts, ground.leastPart);
    const newest = await newestOf(tx, bucket.id, key);
    checkWrite(options.conditions, key, newest);
    const used = new Set(found.map(({ number }) => number));
    const unused = current.filter(({ number }) => !used.has(number));
    for (const some of chunks(unused)) {
      const where = `owner = ? and number in (${marks(some.length)})`;
      const numbers = some.map(({ number }) => number);
      const bodies = await all<{ body: string }>(tx, `select body from object_part where ${where}`, uploadId, ...numbers);
      await run(tx, `delete from object_part where ${where}`, uploadId, ...numbers);
      await discardBodies(
        tx,
        bodies.map(({ body }) => body),
        now,
      );
      change.discarded = true;
    }
    const { lock } = upload.attributes;
    const version = await addVersion(
      ground,
      change,
      {
        key,
        token,
        marker: false,
        size,
        etag,
        attributes: keptAttributes(upload.attributes, checksum, upload.customerKeyMd5),
        tags: keptTags(upload.attributes.tags),
        acl: keptAcl(upload.attributes.acl),
        // A date that was in the future when the upload began need not be any more.
        lock: lockFor(change.bucket, lock, lock?.mode === undefined ? now : upload.startedAt),
        body: null,
        partsOf: uploadId,
        parts: found.length,
      },
      { newest, upload: { uploadBytes: current.reduce((sum, part) => sum + part.size, 0) } },
    );
    const completed: Completed = { hash, version: version.version, at: now };
    await run(tx, 'update object_upload set completed = ? where id = ?', JSON.stringify(completed), uploadId);
    await ground.audit(change, options.actor, 'object:uploadComplete', key);
    await ground.tell(change, 'ObjectCreated:CompleteMultipartUpload', () => infoOf(bucket.id, version), options.actor);
    return resultOf(change.bucket, version);
  });
  return 'bucket_id' in outcome ? again(ground, bucket, outcome, hash) : outcome;
}
