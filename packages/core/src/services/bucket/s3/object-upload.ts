// Uploads in parts: begun, filled part by part, completed or given up.
import { type Bucket, type ChecksumAlgorithm, type ChecksumType, type CompletePart, ObjectError, type UploadInfo } from '../engine/types.ts';
import { ownerContent } from './accounts.ts';
import { authorize } from './authorize.ts';
import { s3Error } from './errors.ts';
import { bucketOf } from './find.ts';
import { ALGORITHMS, checksumElements, checksumHeader, checksumHeaders, storageClassOf, TYPES, writtenHeaders } from './object-answer.ts';
import { customerKeyOf, encryptionHeaders } from './object-encryption.ts';
import { abortHeaders } from './object-expiry.ts';
import { type Headers, header, headersOf, invalid, writeConditionsOf } from './object-headers.ts';
import { limitOf } from './object-lists.ts';
import { partNumberOf } from './object-range.ts';
import { quoted, unquoted, xmlDate } from './object-text.ts';
import { attributesOf, authorizeWrite, expectedOf, tagsIn } from './object-write.ts';
import type { Demand, S3Context, S3Handler, S3Request } from './types.ts';
import { document, element, list, type Node, optional, parseXml } from './xml.ts';

/** 10,000 parts with a checksum each. */
const MOST_BYTES = 4 * 1024 * 1024;

const idOf = ({ query }: S3Request): string => query.get('uploadId') ?? '';

/** The upload that a request names, and the part. The caller has been decided about. */
export async function uploadIn(request: S3Request, context: S3Context, bucket: Bucket): Promise<{ upload: UploadInfo; number: number }> {
  const number = partNumberOf(request.query.get('partNumber')) as number;
  return { upload: await context.objects.upload(bucket, request.key ?? '', idOf(request)), number };
}

/** Who began it may go on with it; what it is to become has no tags yet that count. */
const uploadDemand = (request: S3Request, context: S3Context, bucket: Bucket, action: string): Demand => ({
  action,
  bucket,
  key: request.key,
  object: async () => {
    try {
      const { attributes } = await context.objects.upload(bucket, request.key ?? '', idOf(request));
      return { tags: {}, acl: undefined, owner: attributes.owner };
    } catch (error) {
      if (error instanceof ObjectError && error.problem === 'no_such_upload') return undefined;
      throw error;
    }
  },
});

// ---- begin

/** SHA digests of parts cannot be put together to that of the whole; CRC64NVME always is of the whole. */
function checksumOf(headers: Headers): { algorithm: ChecksumAlgorithm; type: ChecksumType } | undefined {
  const asked = header(headers, 'x-amz-checksum-algorithm')?.toUpperCase();
  const askedType = header(headers, 'x-amz-checksum-type')?.toUpperCase();
  if (asked === undefined) {
    if (askedType !== undefined) throw s3Error('InvalidRequest', 'The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.');
    return undefined;
  }
  const algorithm = ALGORITHMS.find((known) => known === asked);
  if (algorithm === undefined)
    throw s3Error(
      'InvalidRequest',
      'Checksum algorithm provided is unsupported. Please try again with any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]',
    );
  const type = askedType === undefined ? (algorithm === 'CRC64NVME' ? 'full' : 'composite') : typeOf(askedType);
  const wrong = type === 'full' ? algorithm.startsWith('SHA') : algorithm === 'CRC64NVME';
  if (wrong) throw s3Error('InvalidRequest', `The ${TYPES[type]} checksum type cannot be used with the ${algorithm.toLowerCase()} checksum algorithm.`);
  return { algorithm, type };
}

function typeOf(value: string): ChecksumType {
  if (value === 'FULL_OBJECT') return 'full';
  if (value === 'COMPOSITE') return 'composite';
  throw s3Error('InvalidRequest', 'Value for x-amz-checksum-type header is invalid.');
}

export const createMultipartUpload: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  const key = request.key ?? '';
  const tags = tagsIn(headers);
  await authorizeWrite(request, context, { bucket, key }, headers, tags);
  const { attributes, customerKey } = await attributesOf(request, context, bucket, headers, tags);
  const checksum = checksumOf(headers);
  const upload = await context.objects.createUpload(bucket, key, { attributes, checksum, customerKey, actor: request.actor });
  return {
    status: 200,
    headers: {
      ...encryptionHeaders(upload),
      ...abortHeaders(bucket, upload),
      'x-amz-checksum-algorithm': checksum?.algorithm,
      'x-amz-checksum-type': checksum === undefined ? undefined : TYPES[checksum.type],
    },
    xml: document('InitiateMultipartUploadResult', [element('Bucket', bucket.name), element('Key', key), element('UploadId', upload.id)]),
  };
};

// ---- fill

export const uploadPart: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  const key = request.key ?? '';
  await authorizeWrite(request, context, { bucket, key }, headers, undefined);
  const { upload, number } = await uploadIn(request, context, bucket);
  const part = await context.objects.putPart(bucket, key, upload.id, number, request.body.stream('passing'), {
    expected: expectedOf(request.body, headers),
    customerKey: customerKeyOf(headers),
    actor: request.actor,
    signal: request.signal,
  });
  return { status: 200, headers: { etag: quoted(part.etag), ...checksumHeaders(part.checksum, false), ...encryptionHeaders(upload) } };
};

export const listParts: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const key = request.key ?? '';
  await authorize(request, context, uploadDemand(request, context, bucket, 's3:ListMultipartUploadParts'));
  const { query } = request;
  const limit = limitOf(query, 'max-parts', 'maxParts');
  const marker = query.get('part-number-marker') || '0';
  if (!/^\d{1,10}$/.test(marker)) throw invalid('part-number-marker', marker, 'Provided part-number-marker not an integer or within integer range');
  const after = Number(marker);
  const upload = await context.objects.upload(bucket, key, idOf(request));
  const page = limit === 0 ? { parts: [], truncated: false } : await context.objects.listParts(bucket, key, upload.id, { after, limit });
  const owner = await ownerContent(context.service, upload.attributes.owner);
  return {
    status: 200,
    headers: abortHeaders(bucket, upload),
    xml: document('ListPartsResult', [
      element('Bucket', bucket.name),
      element('Key', key),
      element('UploadId', upload.id),
      element('Initiator', owner),
      element('Owner', owner),
      element('StorageClass', storageClassOf(upload)),
      element('PartNumberMarker', after),
      element('NextPartNumberMarker', page.parts.at(-1)?.number ?? 0),
      element('MaxParts', limit),
      element('IsTruncated', page.truncated),
      optional('ChecksumAlgorithm', upload.checksum?.algorithm),
      optional('ChecksumType', upload.checksum === undefined ? undefined : TYPES[upload.checksum.type]),
      list('Part', page.parts, (part) => [
        element('PartNumber', part.number),
        element('LastModified', xmlDate(part.modifiedAt)),
        element('ETag', quoted(part.etag)),
        element('Size', part.size),
        ...checksumElements(part.checksum, false),
      ]),
    ]),
  };
};

// ---- end

function partOf(node: Node): CompletePart {
  node.only('PartNumber', 'ETag', ...ALGORITHMS.map((algorithm) => `Checksum${algorithm}`));
  const number = node.integer('PartNumber');
  const etag = node.text('ETag');
  if (number === undefined || etag === undefined) throw s3Error('MalformedXML');
  const checksums = ALGORITHMS.flatMap((algorithm) => {
    const value = node.text(`Checksum${algorithm}`);
    return value === undefined ? [] : [{ algorithm, value }];
  });
  return { number, etag: unquoted(etag), checksum: checksums[0] };
}

export function partsOf(bytes: Buffer): CompletePart[] {
  const parts = parseXml(bytes, { root: ['CompleteMultipartUpload', 'CompletedMultipartUpload'] })
    .only('Part')
    .children('Part')
    .map(partOf);
  if (parts.length === 0) throw s3Error('MalformedXML');
  return parts;
}

/** That of the whole object, in headers. */
function wholeChecksum(headers: Headers): { type?: ChecksumType; value?: string } | undefined {
  const values = ALGORITHMS.flatMap((algorithm) => header(headers, checksumHeader(algorithm)) ?? []);
  if (values.length > 1) throw s3Error('InvalidRequest', 'Expecting a single x-amz-checksum- header');
  const type = header(headers, 'x-amz-checksum-type');
  if (values.length === 0 && type === undefined) return undefined;
  return { ...(type === undefined ? {} : { type: typeOf(type.toUpperCase()) }), ...(values[0] === undefined ? {} : { value: values[0] }) };
}

/** The client shows once more that it has the key. */
function checkKey(upload: UploadInfo | undefined, headers: Headers): void {
  const key = customerKeyOf(headers);
  if (upload?.customerKeyMd5 === undefined) return;
  if (key?.md5 !== upload.customerKeyMd5) {
    throw s3Error(
      'InvalidRequest',
      'The multipart upload initiate requested encryption. Subsequent requests must include the appropriate encryption parameters.',
    );
  }
}

/** Undefined: it is completed already, or never was. */
async function openUpload(context: S3Context, bucket: Bucket, key: string, id: string): Promise<UploadInfo | undefined> {
  try {
    return await context.objects.upload(bucket, key, id);
  } catch (error) {
    if (error instanceof ObjectError && error.problem === 'no_such_upload') return undefined;
    throw error;
  }
}

export const completeMultipartUpload: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  const key = request.key ?? '';
  await authorizeWrite(request, context, { bucket, key }, headers, undefined);
  const parts = partsOf(await request.body.bytes(MOST_BYTES));
  const size = header(headers, 'x-amz-mp-object-size');
  if (size !== undefined && !/^\d{1,15}$/.test(size)) throw invalid('x-amz-mp-object-size', size, 'x-amz-mp-object-size must be a number of bytes');
  checkKey(await openUpload(context, bucket, key, idOf(request)), headers);
  const checksum = wholeChecksum(headers);
  const result = await context.objects.completeUpload(bucket, key, idOf(request), parts, {
    conditions: writeConditionsOf(headers),
    ...(checksum === undefined ? {} : { checksum }),
    ...(size === undefined ? {} : { size: Number(size) }),
    actor: request.actor,
  });
  return {
    status: 200,
    headers: writtenHeaders(bucket, result),
    xml: document('CompleteMultipartUploadResult', [
      element('Location', `${request.secure ? 'https' : 'http'}://${request.host}${request.rawPath}`),
      element('Bucket', bucket.name),
      element('Key', key),
      element('ETag', quoted(result.etag)),
      ...checksumElements(result.checksum),
    ]),
  };
};

export const abortMultipartUpload: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  await authorize(request, context, uploadDemand(request, context, bucket, 's3:AbortMultipartUpload'));
  await context.objects.abortUpload(bucket, request.key ?? '', idOf(request), request.actor);
  return { status: 204 };
};
