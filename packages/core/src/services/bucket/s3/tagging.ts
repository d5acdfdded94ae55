// Tags of buckets and objects, in XML and in the header `x-amz-tagging`.
import { s3Error } from './errors.ts';
import { document, type Element, element, list, type Node, parseXml } from './xml.ts';

export const MOST_OBJECT_TAGS = 10;
export const MOST_BUCKET_TAGS = 50;
const MOST_KEY = 128;
const MOST_VALUE = 256;
const MOST_BYTES = 64 * 1024;
/** Letters, digits, spaces and these. */
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

export type Tags = Readonly<Record<string, string>>;

const invalid = (message: string, key: string): never => {
  throw s3Error('InvalidTag', message, { TagKey: key });
};

/** Throws InvalidTag. */
function checked(pairs: readonly (readonly [string, string])[], most: number): Tags {
  if (pairs.length > most) throw s3Error('InvalidTag', `${most === MOST_OBJECT_TAGS ? 'Object' : 'Bucket'} tags cannot be greater than ${most}`);
  // Without a prototype: `__proto__` is a name like any other.
  const tags: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of pairs) {
    if (key === '' || key.length > MOST_KEY || !ALLOWED.test(key)) invalid('The TagKey you have provided is invalid', key);
    if (value.length > MOST_VALUE || !ALLOWED.test(value)) invalid('The TagValue you have provided is invalid', key);
    if (key.toLowerCase().startsWith('aws:')) invalid('System tags cannot be added/updated by requester', key);
    if (Object.hasOwn(tags, key)) invalid('Cannot provide multiple Tags with the same key', key);
    tags[key] = value;
  }
  return tags;
}

export const tagsOf = (nodes: readonly Node[], most: number): Record<string, string> => ({
  ...checked(
    nodes.map((node) => [node.only('Key', 'Value').needText('Key'), node.needText('Value')] as const),
    most,
  ),
});

/** A body of PutBucketTagging or PutObjectTagging. */
export function taggingOf(bytes: Buffer, most: number): Record<string, string> {
  const set = parseXml(bytes, { root: 'Tagging' }).only('TagSet').need('TagSet');
  return tagsOf(set.only('Tag').children('Tag'), most);
}

/** `x-amz-tagging: a=1&b=2`. Throws InvalidArgument for what is no query string. */
export function tagsOfHeader(header: string): Record<string, string> {
  if (header.length > MOST_BYTES) throw s3Error('InvalidArgument', 'The header ‘x-amz-tagging’ is too long', { ArgumentName: 'x-amz-tagging' });
  const pairs = header
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair) => {
      const equals = pair.indexOf('=');
      const part = (text: string): string => {
        try {
          return decodeURIComponent(text.replaceAll('+', ' '));
        } catch (error) {
          throw s3Error(
            'InvalidArgument',
            "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
            { ArgumentName: 'x-amz-tagging', ArgumentValue: header },
            { cause: error },
          );
        }
      };
      return equals < 0 ? ([part(pair), ''] as const) : ([part(pair.slice(0, equals)), part(pair.slice(equals + 1))] as const);
    });
  return { ...checked(pairs, MOST_OBJECT_TAGS) };
}

const inOrder = (tags: Tags): [string, string][] => Object.entries(tags).sort(([a], [b]) => (a < b ? -1 : 1));
export const tagsXml = (tags: Tags): Element => list('Tag', inOrder(tags), ([key, value]) => [element('Key', key), element('Value', value)]);
export const taggingXml = (tags: Tags): string => document('Tagging', [element('TagSet', [tagsXml(tags)])]);

/** What a bucket policy may ask about the tags that a request sets. */
export const requestTagContext = (tags: Tags | undefined): Record<string, string | readonly string[]> =>
  tags === undefined
    ? {}
    : { ...Object.fromEntries(inOrder(tags).map(([key, value]) => [`s3:RequestObjectTag/${key}`, value])), 's3:RequestObjectTagKeys': Object.keys(tags) };
