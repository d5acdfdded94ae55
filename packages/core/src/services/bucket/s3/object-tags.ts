// Tags of objects: from a header, from XML, as XML. Limits are those of Amazon S3.
import { s3Error } from './errors.ts';
import { textOfHeader } from './object-text.ts';
import { document, element, list, parseXml } from './xml.ts';

export type Tags = Readonly<Record<string, string>>;

const MOST_TAGS = 10;
const MOST_KEY = 128;
const MOST_VALUE = 256;
const ALLOWED = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u;

/** Throws InvalidTag. */
function checked(pairs: readonly (readonly [key: string, value: string])[]): Tags {
  if (pairs.length > MOST_TAGS) throw s3Error('InvalidTag', `Object tags cannot be greater than ${MOST_TAGS}`);
  const tags: Record<string, string> = {};
  for (const [key, value] of pairs) {
    if (key === '' || key.length > MOST_KEY || !ALLOWED.test(key)) throw s3Error('InvalidTag', 'The TagKey you have provided is invalid', { TagKey: key });
    if (value.length > MOST_VALUE || !ALLOWED.test(value)) {
      throw s3Error('InvalidTag', 'The TagValue you have provided is invalid', { TagKey: key, TagValue: value });
    }
    if (Object.hasOwn(tags, key)) throw s3Error('InvalidTag', 'Cannot provide multiple Tags with the same key', { TagKey: key });
    Object.defineProperty(tags, key, { value, enumerable: true, writable: true, configurable: true });
  }
  return tags;
}

const decoded = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '));

/** `x-amz-tagging`: `a=1&b=2`, percent-encoded. */
export function tagsOfHeader(value: string | undefined): Tags | undefined {
  if (value === undefined) return undefined;
  const pairs: [string, string][] = [];
  try {
    for (const pair of textOfHeader(value).split('&')) {
      if (pair === '') continue;
      const equals = pair.indexOf('=');
      pairs.push(equals < 0 ? [decoded(pair), ''] : [decoded(pair.slice(0, equals)), decoded(pair.slice(equals + 1))]);
    }
  } catch (error) {
    throw badHeader(value, error);
  }
  if (new Set(pairs.map(([key]) => key)).size < pairs.length) throw badHeader(value);
  return checked(pairs);
}

const badHeader = (value: string, cause?: unknown): Error =>
  s3Error(
    'InvalidArgument',
    "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
    { ArgumentName: 'x-amz-tagging', ArgumentValue: value },
    { cause },
  );

/** A `Tagging` document. */
export function tagsOfXml(bytes: Buffer): Tags {
  const set = parseXml(bytes, { root: 'Tagging' }).only('TagSet').need('TagSet').only('Tag');
  return checked(
    set.children('Tag').map((tag) => {
      tag.only('Key', 'Value');
      return [tag.needText('Key'), tag.needText('Value')];
    }),
  );
}

const byKey = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : a > b ? 1 : 0);

export const tagsXml = (tags: Tags): string =>
  document('Tagging', [element('TagSet', [list('Tag', Object.entries(tags).sort(byKey), ([key, value]) => [element('Key', key), element('Value', value)])])]);

/** As bucket policies ask for them. */
export function requestTagContext(tags: Tags | undefined): Record<string, string | readonly string[]> {
  if (tags === undefined) return {};
  const context: Record<string, string | readonly string[]> = { 's3:RequestObjectTagKeys': Object.keys(tags) };
  for (const [key, value] of Object.entries(tags)) context[`s3:RequestObjectTag/${key}`] = value;
  return context;
}
