// Lists of a bucket: objects (both versions of the operation), versions, uploads in parts.
import type { Bucket, ListOptions, ObjectInfo } from '../engine/types.ts';
import { ownerContent } from './accounts.ts';
import { onBucket } from './find.ts';
import { storageClassOf, TYPES } from './object-answer.ts';
import { invalid } from './object-headers.ts';
import { quoted, xmlDate } from './object-text.ts';
import type { S3Context, S3Handler, S3Reply, S3Request } from './types.ts';
import { document, type Element, element, list, optional, urlEncoded } from './xml.ts';

const MOST = 1000;
const MOST_INTEGER = 2_147_483_647;

/** `max-keys` and its like: how many are shown, at most 1,000. */
export function limitOf(query: ReadonlyMap<string, string>, name: string, field: string): number {
  const text = query.get(name);
  if (text === undefined || text === '') return MOST;
  if (!/^-?\d{1,15}$/.test(text) || Number(text) > MOST_INTEGER) throw invalid(name, text, `Provided ${name} not an integer or within integer range`);
  const number = Number(text);
  if (number < 0) throw invalid(field, text, `Argument ${field} must be an integer between 0 and ${MOST_INTEGER}`);
  return Math.min(number, MOST);
}

type Written = (text: string) => string;

/** How names are written: as they are, or percent-encoded, which every XML can hold. */
export function writtenOf(query: ReadonlyMap<string, string>): Written {
  const encoding = query.get('encoding-type');
  if (encoding === undefined || encoding === '') return (text) => text;
  if (encoding.toLowerCase() !== 'url') throw invalid('encoding-type', encoding, 'Invalid Encoding Method specified in Request');
  // A space as `%20`, which every decoder understands, unlike `+`.
  return (text) => urlEncoded(text).replaceAll('+', '%20');
}

interface Asked {
  written: Written;
  options: Omit<ListOptions, 'after'>;
  common: (Element | undefined)[];
}

function askedOf({ query }: S3Request, most: readonly [name: string, field: string, element: string] = ['max-keys', 'maxKeys', 'MaxKeys']): Asked {
  const written = writtenOf(query);
  const prefix = query.get('prefix') ?? '';
  const delimiter = query.get('delimiter') || undefined;
  const limit = limitOf(query, most[0], most[1]);
  return {
    written,
    options: { prefix, delimiter, limit },
    common: [
      element(most[2], limit),
      optional('Delimiter', delimiter === undefined ? undefined : written(delimiter)),
      optional('EncodingType', query.get('encoding-type') || undefined),
    ],
  };
}

const prefixesOf = (prefixes: readonly string[], written: Written): Element =>
  list('CommonPrefixes', prefixes, (prefix) => [element('Prefix', written(prefix))]);

type Owners = (id: string) => Element[];

/** What is shown of the owners of a page. */
async function ownersOf({ service }: S3Context, ids: Iterable<string>): Promise<Owners> {
  const owners = new Map<string, Element[]>();
  for (const id of ids) if (!owners.has(id)) owners.set(id, await ownerContent(service, id));
  return (id) => owners.get(id) ?? [];
}

/** A thousand in each full page, so what only we could have written is not looked through for what has to be escaped. */
const contents = (objects: readonly ObjectInfo[], written: Written, owners: Owners | undefined): Element => {
  let xml = '';
  for (const info of objects) {
    const { checksum, attributes } = info;
    const kind =
      checksum === undefined ? '' : `<ChecksumAlgorithm>${checksum.algorithm}</ChecksumAlgorithm><ChecksumType>${TYPES[checksum.type]}</ChecksumType>`;
    const owner = owners === undefined ? '' : element('Owner', owners(attributes.owner)).xml;
    xml += `<Contents>${element('Key', written(info.key)).xml}<LastModified>${xmlDate(info.modifiedAt)}</LastModified><ETag>&quot;${info.etag}&quot;</ETag>${kind}<Size>${info.size}</Size>${owner}${element('StorageClass', storageClassOf(info)).xml}</Contents>`;
  }
  return { xml };
};

const checksumKind = ({ checksum }: Pick<ObjectInfo, 'checksum'>): Element[] =>
  checksum === undefined ? [] : [element('ChecksumAlgorithm', checksum.algorithm), element('ChecksumType', TYPES[checksum.type])];

/** A page of nothing is never asked for. */
const list0 = { objects: [], prefixes: [], truncated: false, last: undefined } as const;

export const listObjects: S3Handler = onBucket('s3:ListBucket', async (request, context, bucket): Promise<S3Reply> => {
  const { written, options, common } = askedOf(request);
  const marker = request.query.get('marker') ?? '';
  const page = options.limit === 0 ? list0 : await context.objects.list(bucket, { ...options, after: marker === '' ? undefined : marker });
  const owners = await ownersOf(
    context,
    page.objects.map(({ attributes }) => attributes.owner),
  );
  // Without a delimiter the last key is the marker of the next page, and S3 leaves it to the client to see that.
  const next = page.truncated && options.delimiter !== undefined ? page.last : undefined;
  return {
    status: 200,
    xml: document('ListBucketResult', [
      element('Name', bucket.name),
      // Of all that is encoded elsewhere, clients take this one as it is.
      element('Prefix', options.prefix),
      ...common,
      element('Marker', written(marker)),
      optional('NextMarker', next === undefined ? undefined : written(next)),
      element('IsTruncated', page.truncated),
      contents(page.objects, written, owners),
      prefixesOf(page.prefixes, written),
    ]),
  };
});

// ---- with tokens

const TOKEN = '1';
export const tokenOf = (last: string): string => TOKEN + Buffer.from(last).toString('base64url');

/** Where a token says that the next page begins. An empty one says nothing. */
export function afterOf(token: string): string | undefined {
  if (token === '') return undefined;
  const last = Buffer.from(token.slice(TOKEN.length), 'base64url').toString();
  if (tokenOf(last) !== token) throw invalid('continuation-token', token, 'The continuation token provided is incorrect');
  return last;
}

export const listObjectsV2: S3Handler = onBucket('s3:ListBucket', async (request, context, bucket): Promise<S3Reply> => {
  const { query } = request;
  const { written, options, common } = askedOf(request);
  const token = query.get('continuation-token');
  const start = query.get('start-after');
  const after = (token === undefined ? undefined : afterOf(token)) ?? (start === '' ? undefined : start);
  const page = options.limit === 0 ? list0 : await context.objects.list(bucket, { ...options, after });
  const owners =
    query.get('fetch-owner') === 'true'
      ? await ownersOf(
          context,
          page.objects.map(({ attributes }) => attributes.owner),
        )
      : undefined;
  return {
    status: 200,
    xml: document('ListBucketResult', [
      element('Name', bucket.name),
      element('Prefix', written(options.prefix)),
      ...common,
      optional('StartAfter', start === undefined ? undefined : written(start)),
      optional('ContinuationToken', token),
      optional('NextContinuationToken', page.truncated && page.last !== undefined ? tokenOf(page.last) : undefined),
      element('KeyCount', page.objects.length + page.prefixes.length),
      element('IsTruncated', page.truncated),
      contents(page.objects, written, owners),
      prefixesOf(page.prefixes, written),
    ]),
  };
});

// ---- versions

const versionElement = (bucket: Bucket, info: ObjectInfo, written: Written, owners: Owners): Element =>
  element(info.deleteMarker ? 'DeleteMarker' : 'Version', [
    element('Key', written(info.key)),
    element('VersionId', bucket.versioning === 'off' ? 'null' : info.version),
    element('IsLatest', info.latest),
    element('LastModified', xmlDate(info.modifiedAt)),
    ...(info.deleteMarker
      ? []
      : [element('ETag', quoted(info.etag)), ...checksumKind(info), element('Size', info.size), element('StorageClass', storageClassOf(info))]),
    element('Owner', owners(info.attributes.owner)),
  ]);

export const listObjectVersions: S3Handler = onBucket('s3:ListBucketVersions', async (request, context, bucket): Promise<S3Reply> => {
  const { query } = request;
  const { written, options, common } = askedOf(request);
  const key = query.get('key-marker') ?? '';
  const version = query.get('version-id-marker') ?? '';
  if (version !== '' && key === '') throw invalid('version-id-marker', version, 'A version-id marker cannot be specified without a key marker.');
  const after = key === '' ? {} : { after: key, afterVersion: version === '' ? undefined : version };
  const page =
    options.limit === 0
      ? { versions: [], prefixes: [], truncated: false, nextKey: undefined, nextVersion: undefined }
      : await context.objects.listVersions(bucket, { after: undefined, ...options, ...after });
  const owners = await ownersOf(
    context,
    page.versions.map(({ attributes }) => attributes.owner),
  );
  return {
    status: 200,
    xml: document('ListVersionsResult', [
      element('Name', bucket.name),
      element('Prefix', written(options.prefix)),
      ...common,
      element('KeyMarker', written(key)),
      element('VersionIdMarker', version),
      optional('NextKeyMarker', page.nextKey === undefined ? undefined : written(page.nextKey)),
      optional('NextVersionIdMarker', page.nextVersion),
      element('IsTruncated', page.truncated),
      { xml: page.versions.map((info) => versionElement(bucket, info, written, owners).xml).join('') },
      prefixesOf(page.prefixes, written),
    ]),
  };
});

// ---- uploads

export const listMultipartUploads: S3Handler = onBucket('s3:ListBucketMultipartUploads', async (request, context, bucket): Promise<S3Reply> => {
  const { query } = request;
  const { written, options, common } = askedOf(request, ['max-uploads', 'maxUploads', 'MaxUploads']);
  const key = query.get('key-marker') ?? '';
  // Without a key it is passed over.
  const upload = key === '' ? '' : (query.get('upload-id-marker') ?? '');
  const page =
    options.limit === 0
      ? { uploads: [], prefixes: [], truncated: false, nextKey: undefined, nextUpload: undefined }
      : await context.objects.listUploads(bucket, {
          ...options,
          after: key === '' ? undefined : key,
          afterUpload: upload === '' ? undefined : upload,
        });
  const owners = await ownersOf(
    context,
    page.uploads.map(({ attributes }) => attributes.owner),
  );
  return {
    status: 200,
    xml: document('ListMultipartUploadsResult', [
      element('Bucket', bucket.name),
      element('KeyMarker', written(key)),
      element('UploadIdMarker', upload),
      optional('NextKeyMarker', page.nextKey === undefined ? undefined : written(page.nextKey)),
      optional('NextUploadIdMarker', page.truncated ? (page.nextUpload ?? '') : undefined),
      element('Prefix', written(options.prefix)),
      ...common,
      element('IsTruncated', page.truncated),
      list('Upload', page.uploads, (info) => [
        element('Key', written(info.key)),
        element('UploadId', info.id),
        element('Initiator', owners(info.attributes.owner)),
        element('Owner', owners(info.attributes.owner)),
        element('StorageClass', storageClassOf(info)),
        element('Initiated', xmlDate(info.startedAt)),
        ...(info.checksum === undefined ? [] : [element('ChecksumAlgorithm', info.checksum.algorithm), element('ChecksumType', TYPES[info.checksum.type])]),
      ]),
      prefixesOf(page.prefixes, written),
    ]),
  };
});
