// What answers say of an object: in headers, and in the elements that several documents share.
import type { Bucket, Checksum, ChecksumAlgorithm, ChecksumType, ObjectInfo, PutResult } from '../engine/types.ts';
import { httpDate } from './dates.ts';
import { encodeWords } from './metadata-text.ts';
import { encryptionHeaders } from './object-encryption.ts';
import { expirationHeader } from './object-expiry.ts';
import { fitsHeader, quoted } from './object-text.ts';
import { type Element, element } from './xml.ts';

type HeaderValues = Record<string, string | undefined>;

export { CHECKSUM_ALGORITHMS as ALGORITHMS } from '../engine/checksums.ts';
export const TYPES: Readonly<Record<ChecksumType, string>> = { full: 'FULL_OBJECT', composite: 'COMPOSITE' };
export const checksumHeader = (algorithm: ChecksumAlgorithm): string => `x-amz-checksum-${algorithm.toLowerCase()}`;

/** A part's has no type of its own. */
export const checksumHeaders = (checksum: Checksum | undefined, typed = true): HeaderValues =>
  checksum === undefined ? {} : { [checksumHeader(checksum.algorithm)]: checksum.value, ...(typed ? { 'x-amz-checksum-type': TYPES[checksum.type] } : {}) };

export const checksumElements = (checksum: Checksum | undefined, typed = true): Element[] =>
  checksum === undefined ? [] : [element(`Checksum${checksum.algorithm}`, checksum.value), ...(typed ? [element('ChecksumType', TYPES[checksum.type])] : [])];

/** Which version it is. A bucket that never kept versions does not speak of them. */
export const versionOf = (bucket: Bucket, info: Pick<ObjectInfo, 'version'>): string | undefined => (bucket.versioning === 'off' ? undefined : info.version);

export const versionHeader = (bucket: Bucket, info: Pick<ObjectInfo, 'version'>): HeaderValues => ({ 'x-amz-version-id': versionOf(bucket, info) });

/** Of an object that was just made. */
export const writtenHeaders = (bucket: Bucket, result: PutResult & { info: ObjectInfo }): HeaderValues => ({
  'x-amz-version-id': result.version,
  'x-amz-expiration': expirationHeader(bucket, result.info),
  ...encryptionHeaders(result.info),
});

export const storageClassOf = ({ attributes }: Pick<ObjectInfo, 'attributes'>): string => attributes.storageClass ?? 'STANDARD';

function addMetadata(headers: HeaderValues, { attributes: { metadata } }: ObjectInfo): void {
  let missing = 0;
  for (const [name, text] of Object.entries(metadata)) {
    if (fitsHeader(text) && /^[!#$%&'*+.^_`|~0-9a-z-]+$/i.test(name)) headers[`x-amz-meta-${name}`] = encodeWords(text);
    else missing++;
  }
  // What came another way than in headers need not fit into one.
  if (missing > 0) headers['x-amz-missing-meta'] = String(missing);
}

/** All that is known of a version, besides its lock and the range that is sent. */
export function objectHeaders(bucket: Bucket, info: ObjectInfo): HeaderValues {
  const { attributes } = info;
  const headers: HeaderValues = {
    'last-modified': httpDate(info.modifiedAt),
    etag: quoted(info.etag),
    'accept-ranges': 'bytes',
  };
  addMetadata(headers, info);
  headers['x-amz-version-id'] = versionOf(bucket, info);
  headers['x-amz-storage-class'] = attributes.storageClass;
  headers['x-amz-website-redirect-location'] = attributes.websiteRedirect;
  headers['x-amz-expiration'] = expirationHeader(bucket, info);
  Object.assign(headers, encryptionHeaders(info));
  for (const [name, text] of Object.entries(attributes.headers)) if (fitsHeader(text)) headers[name] = text;
  const tags = attributes.tags === undefined ? 0 : Object.keys(attributes.tags).length;
  if (tags > 0) headers['x-amz-tagging-count'] = String(tags);
  return headers;
}
