// Copying: the bytes are read, opened, sealed anew for their new place and written. Only where a version is replaced by itself do they stay where they are.

import { checkSource, checkWrite } from './conditions.ts';
import type { Ground } from './ground.ts';
import { lockFor } from './locks.ts';
import { passing } from './memory.ts';
import { checkKey, NULL_VERSION, newToken } from './names.ts';
import { exactRange, resolveRange } from './ranges.ts';
import { boundOf, bytesOf, type Found, type Layouts, locate, partBound } from './reading.ts';
import { bodyOf, infoOf, keptAcl, keptAttributes, keptTags } from './rows.ts';
import { type ObjectAttributes, ObjectError, type ObjectInfo, type Objects, type PutResult } from './types.ts';
import { checkPartKey, checkPartNumber, commitPart, findUpload, partAlgorithm } from './uploads.ts';
import { checkRoom } from './usage.ts';
import { addVersion, newestOf, versionOf } from './versions.ts';
import { checkBefore, commitObject, DEFAULT_CHECKSUM, MOST_BYTES, resultOf } from './writing.ts';

type Source = Parameters<Objects['copy']>[0];
type Target = Parameters<Objects['copy']>[1];
type Options = Parameters<Objects['copy']>[2];

const asSource = { conditions: checkSource, range: resolveRange };

const tooLarge = (): ObjectError =>
  new ObjectError('invalid_request', `The specified copy source is larger than the maximum allowable size for a copy source: ${MOST_BYTES}`);

export async function copyObject(
  ground: Ground,
  layouts: Layouts,
  source: Source,
  to: Target,
  options: Options,
): Promise<PutResult & { info: ObjectInfo; source: ObjectInfo }> {
  checkKey(to.key);
  const found = await locate(ground, source.bucket, source.key, source, asSource);
  const { info } = found.opened;
  await ground.kms.permitReading(source.bucket, info.attributes, options.actor);
  if (info.size > MOST_BYTES) throw tooLarge();
  const attributes = options.attributes(info);
  const now = ground.now();
  lockFor(to.bucket, attributes.lock, now);
  await checkBefore(ground, to.bucket, to.key, { conditions: options.conditions });
  if (staysInPlace(found, source, to, options) && sameKey(attributes, info.attributes)) {
    const replaced = await replaceAttributes(ground, found, to, attributes, options);
    if (replaced !== undefined) return { ...replaced, source: info };
  }
  await ground.read((db) => checkRoom(db, to.bucket, info.size, 0));
  const algorithm = options.checksum ?? info.checksum?.algorithm ?? DEFAULT_CHECKSUM;
  const token = newToken(now);
  const { signal, customerKey } = options;
  const written = await ground.write(to.bucket, passing(await bytesOf(ground, layouts, source.bucket, found, { customerKey: source.customerKey, signal })), {
    by: await ground.kms.wrapperOf(to.bucket, attributes, options.actor),
    bound: boundOf(to.bucket.id, to.key, token),
    encrypt: to.bucket.encrypted || attributes.encryption !== undefined,
    customerKey,
    expected: { size: info.size },
    checksums: [algorithm],
    limit: MOST_BYTES,
    signal,
  });
  const value = written.checksums[algorithm];
  const result = await commitObject(ground, to.bucket, {
    key: to.key,
    token,
    written,
    attributes,
    checksum: value === undefined ? undefined : { algorithm, type: 'full', value },
    customerKeyMd5: customerKey?.md5,
    conditions: options.conditions,
    actor: options.actor,
    permission: 'object:copy',
    type: 'ObjectCreated:Copy',
  });
  return { ...result, source: info };
}

/** The null version onto itself, with nothing about its bytes to change. */
const staysInPlace = ({ row }: Found, source: Source, to: Target, options: Options): boolean =>
  source.bucket.id === to.bucket.id &&
  source.key === to.key &&
  to.bucket.versioning !== 'enabled' &&
  row.version === NULL_VERSION &&
  source.customerKey === undefined &&
  options.customerKey === undefined &&
  (options.checksum === undefined || infoOf(to.bucket.id, row).checksum?.algorithm === options.checksum);

const sameKey = (wanted: ObjectAttributes, has: ObjectAttributes): boolean => wanted.encryption === has.encryption && wanted.kmsKeyId === has.kmsKeyId;

/** Undefined: it is not what it was any more, and has to be copied. */
async function replaceAttributes(
  ground: Ground,
  { row, opened }: Found,
  to: Target,
  attributes: ObjectAttributes,
  options: Options,
): Promise<(PutResult & { info: ObjectInfo }) | undefined> {
  return ground.change(to.bucket, options.actor, async (change) => {
    const newest = await newestOf(change.tx, change.bucket.id, to.key);
    checkWrite(options.conditions, to.key, newest);
    const current = newest?.version === NULL_VERSION ? newest : await versionOf(change.tx, change.bucket.id, to.key, NULL_VERSION);
    if (current?.seq !== row.seq || change.bucket.versioning === 'enabled') return undefined;
    const next = await addVersion(
      ground,
      change,
      {
        key: to.key,
        token: NULL_VERSION,
        marker: false,
        size: row.size,
        etag: row.etag,
        attributes: keptAttributes(attributes, opened.info.checksum, undefined),
        tags: keptTags(attributes.tags),
        acl: keptAcl(attributes.acl),
        lock: lockFor(change.bucket, attributes.lock, change.now),
        body: row.body,
        partsOf: row.parts_of,
        parts: row.parts,
      },
      { newest, keepBlobOf: row.seq },
    );
    if (row.body !== null) ground.garbage.moved(bodyOf(row.body).blob);
    await ground.audit(change, options.actor, 'object:copy', to.key);
    await ground.tell(change, 'ObjectCreated:Copy', () => infoOf(change.bucket.id, next), options.actor);
    return resultOf(change.bucket, next);
  });
}

export async function copyPart(
  ground: Ground,
  layouts: Layouts,
  source: Parameters<Objects['copyPart']>[0],
  to: Parameters<Objects['copyPart']>[1],
  options: Parameters<Objects['copyPart']>[2],
): ReturnType<Objects['copyPart']> {
  checkPartNumber(to.number);
  const upload = await findUpload(ground, to.bucket, to.key, to.uploadId);
  checkPartKey(upload, options.customerKey);
  const found = await locate(ground, source.bucket, source.key, source, { conditions: checkSource, range: exactRange });
  const { info, range } = found.opened;
  await ground.kms.permitReading(source.bucket, info.attributes, options.actor);
  const size = range === undefined ? 0 : range.end - range.start + 1;
  if (size > MOST_BYTES) throw tooLarge();
  await ground.read((db) => checkRoom(db, to.bucket, size, 0));
  const { signal, customerKey } = options;
  const written = await ground.write(to.bucket, passing(await bytesOf(ground, layouts, source.bucket, found, { customerKey: source.customerKey, signal })), {
    by: await ground.kms.wrapperOf(to.bucket, upload.attributes, options.actor),
    bound: partBound(to.bucket.id, to.key, to.uploadId, to.number, newToken(ground.now())),
    encrypt: to.bucket.encrypted || upload.attributes.encryption !== undefined,
    customerKey,
    expected: { size },
    checksums: [partAlgorithm(upload)],
    limit: MOST_BYTES,
    signal,
  });
  const part = await commitPart(ground, to.bucket, { upload, number: to.number, written, actor: options.actor, permission: 'object:uploadPart' });
  return { part, source: info };
}
