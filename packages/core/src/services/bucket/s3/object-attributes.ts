// GetObjectAttributes: what is known of an object, without its bytes and without its metadata.
import type { ObjectInfo, PartInfo } from '../engine/types.ts';
import { httpDate } from './dates.ts';
import { s3Error } from './errors.ts';
import { allowedTarget, type Target } from './object-access.ts';
import { checksumElements, storageClassOf, versionHeader } from './object-answer.ts';
import { customerKeyOf } from './object-encryption.ts';
import { type Headers, header, headersOf, invalid } from './object-headers.ts';
import type { S3Context, S3Handler } from './types.ts';
import { document, type Element, element, list, optional } from './xml.ts';

const NAMES = ['ETag', 'Checksum', 'ObjectParts', 'StorageClass', 'ObjectSize'] as const;
const MOST_PARTS = 1000;

export function attributeNamesOf(value: string | undefined): Set<string> {
  const asked = (value ?? '').split(',').flatMap((name) => name.trim() || []);
  const argument = 'x-amz-object-attributes';
  if (asked.length === 0) throw invalid(argument, '', `The ${argument} header specifying the attributes to be retrieved is either missing or empty`);
  const unknown = asked.find((name) => !NAMES.some((known) => known === name));
  if (unknown !== undefined) throw invalid(argument, unknown, 'Invalid attribute name specified.');
  return new Set(asked);
}

function whole(headers: Headers, name: string, otherwise: number): number {
  const text = header(headers, name);
  if (text === undefined) return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw invalid(name, text, `Provided ${name} not an integer or within integer range`);
  return Number(text);
}

/** Parts are shown as the object has them; one that was written in one piece has none. */
async function partsElement(context: S3Context, { bucket }: Target, info: ObjectInfo, headers: Headers): Promise<Element | undefined> {
  if (info.parts === undefined) return undefined;
  const limit = Math.min(whole(headers, 'x-amz-max-parts', MOST_PARTS), MOST_PARTS);
  const after = whole(headers, 'x-amz-part-number-marker', 0);
  const page: { parts: PartInfo[]; truncated: boolean } =
    limit === 0 ? { parts: [], truncated: false } : await context.objects.partsOf(bucket, info, { after, limit });
  return element('ObjectParts', [
    element('PartsCount', info.parts),
    element('PartNumberMarker', after),
    element('NextPartNumberMarker', page.parts.at(-1)?.number ?? 0),
    element('MaxParts', limit),
    element('IsTruncated', page.truncated),
    list('Part', page.parts, (part) => [element('PartNumber', part.number), element('Size', part.size), ...checksumElements(part.checksum, false)]),
  ]);
}

export const getObjectAttributes: S3Handler = async (request, context) => {
  const target = await allowedTarget(request, context, 's3:GetObjectAttributes');
  const headers = headersOf(request);
  const names = attributeNamesOf(header(headers, 'x-amz-object-attributes'));
  const { info } = await context.objects.head(target.bucket, target.key, {
    version: target.version,
    customerKey: customerKeyOf(headers),
    actor: request.actor,
  });
  if (header(headers, 'range') !== undefined) throw s3Error('InvalidRequest', 'Attributes are of the whole object: there is no Range');
  const asked = (name: (typeof NAMES)[number]): boolean => names.has(name);
  return {
    status: 200,
    headers: { 'last-modified': httpDate(info.modifiedAt), ...versionHeader(target.bucket, info) },
    xml: document('GetObjectAttributesResponse', [
      optional('ETag', asked('ETag') ? info.etag : undefined),
      optional('Checksum', asked('Checksum') && info.checksum !== undefined ? checksumElements(info.checksum) : undefined),
      asked('ObjectParts') ? await partsElement(context, target, info, headers) : undefined,
      optional('StorageClass', asked('StorageClass') ? storageClassOf(info) : undefined),
      optional('ObjectSize', asked('ObjectSize') ? info.size : undefined),
    ]),
  };
};
