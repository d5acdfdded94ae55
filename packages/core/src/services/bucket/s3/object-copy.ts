// CopyObject and UploadPartCopy.
import type { ObjectAttributes, ObjectInfo } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import { bucketOf } from './find.ts';
import { ALGORITHMS, checksumElements, versionOf, writtenHeaders } from './object-answer.ts';
import { customerKeyOf, encryptionHeaders } from './object-encryption.ts';
import { type Headers, header, headersOf, invalid, writeConditionsOf } from './object-headers.ts';
import { copyRangeOf } from './object-range.ts';
import { fromSource, type Source, sourceOf, tagsOfSource } from './object-source.ts';
import { quoted, xmlDate } from './object-text.ts';
import { uploadIn } from './object-upload.ts';
import { attributesOf, authorizeWrite, tagsIn } from './object-write.ts';
import type { S3Handler } from './types.ts';
import { document, element } from './xml.ts';

type Directive = 'COPY' | 'REPLACE';

function directiveOf(headers: Headers, name: string, what: string): Directive {
  const value = header(headers, name);
  if (value === undefined || value === 'COPY') return 'COPY';
  if (value === 'REPLACE') return 'REPLACE';
  throw invalid(name, value, `Unknown ${what} directive.`);
}

/** Changes that make it worth copying an object to itself. */
const CHANGES = [
  'x-amz-storage-class',
  'x-amz-website-redirect-location',
  'x-amz-server-side-encryption',
  'x-amz-server-side-encryption-customer-algorithm',
  'x-amz-copy-source-server-side-encryption-customer-algorithm',
];

function refuseSame(source: Source, to: { bucket: { id: string }; key: string }, headers: Headers, metadata: Directive): void {
  const same = source.bucket.id === to.bucket.id && source.key === to.key && source.version === undefined;
  if (!same || metadata === 'REPLACE' || CHANGES.some((name) => header(headers, name) !== undefined)) return;
  throw s3Error(
    'InvalidRequest',
    "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.",
  );
}

export const copyObject: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  const key = request.key ?? '';
  const metadata = directiveOf(headers, 'x-amz-metadata-directive', 'metadata');
  const tagging = directiveOf(headers, 'x-amz-tagging-directive', 'tagging');
  const tags = tagging === 'REPLACE' ? (tagsIn(headers) ?? {}) : undefined;
  const source = await sourceOf(request, context, headers);
  const taken = tags ?? (await tagsOfSource(request, context, source));
  await authorizeWrite(request, context, { bucket, key }, headers, taken);
  refuseSame(source, { bucket, key }, headers, metadata);
  const { attributes, customerKey } = await attributesOf(request, context, bucket, headers, tags);
  const asked = header(headers, 'x-amz-checksum-algorithm')?.toUpperCase();
  const checksum = ALGORITHMS.find((algorithm) => algorithm === asked);
  if (asked !== undefined && checksum === undefined) throw s3Error('InvalidRequest', 'Checksum algorithm provided is unsupported.');
  const result = await fromSource(source, () =>
    context.objects.copy(
      source,
      { bucket, key },
      {
        attributes: ({ attributes: from }: ObjectInfo): ObjectAttributes => ({
          ...attributes,
          ...(metadata === 'COPY' ? { headers: from.headers, metadata: from.metadata } : {}),
          ...(tagging === 'COPY' ? { tags: from.tags } : {}),
        }),
        checksum,
        conditions: writeConditionsOf(headers),
        customerKey,
        actor: request.actor,
        signal: request.signal,
      },
    ),
  );
  return {
    status: 200,
    headers: { ...writtenHeaders(bucket, result), 'x-amz-copy-source-version-id': versionOf(source.bucket, result.source) },
    xml: document('CopyObjectResult', [
      element('ETag', quoted(result.etag)),
      element('LastModified', xmlDate(result.modifiedAt)),
      ...checksumElements(result.checksum),
    ]),
  };
};

export const uploadPartCopy: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  const key = request.key ?? '';
  const range = copyRangeOf(header(headers, 'x-amz-copy-source-range'));
  const source = await sourceOf(request, context, headers);
  await authorizeWrite(request, context, { bucket, key }, headers, undefined);
  const { upload, number } = await uploadIn(request, context, bucket);
  const { part, source: info } = await fromSource(source, () =>
    context.objects.copyPart(
      { ...source, range },
      { bucket, key, uploadId: upload.id, number },
      { customerKey: customerKeyOf(headers), actor: request.actor, signal: request.signal },
    ),
  );
  return {
    status: 200,
    headers: { 'x-amz-copy-source-version-id': versionOf(source.bucket, info), ...encryptionHeaders(upload) },
    xml: document('CopyPartResult', [
      element('LastModified', xmlDate(part.modifiedAt)),
      element('ETag', quoted(part.etag)),
      ...checksumElements(part.checksum, false),
    ]),
  };
};
