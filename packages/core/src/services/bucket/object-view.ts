// Objects between the words of calls and those of the engine: names, cursors, attributes and views.
import type { z } from 'zod';
import { Fault } from '../../kernel/errors.ts';
import { notACursor } from '../../kernel/page.ts';
import { type Bucket, KEPT_HEADERS, type ObjectAttributes, type ObjectInfo, type ObjectLock } from './engine/types.ts';
import type { ObjectView } from './object-contract.ts';

type View = z.output<typeof ObjectView>;

/** `<bucket>/<key>`. Buckets are named, never called by their ids, so that policies about names hold. */
export function nameOf(name: string): { bucketName: string; key: string } {
  const slash = name.indexOf('/');
  if (slash > 0 && slash < name.length - 1) return { bucketName: name.slice(0, slash), key: name.slice(slash + 1) };
  const message = 'use <bucket>/<key>';
  throw new Fault('invalid_input', `${JSON.stringify(name)} is no name of an object: ${message}`, { details: [{ path: 'object', message }] });
}

/** Where a page ended: opaque to callers. */
export const cursorOf = (...place: string[]): string => Buffer.from(JSON.stringify(place)).toString('base64url');

/** Throws `invalid_input` for what no page answered with. */
export function placeOf(cursor: string | undefined, length: number): string[] | undefined {
  if (cursor === undefined) return undefined;
  try {
    const place: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    if (Array.isArray(place) && place.length === length && place.every((each): each is string => typeof each === 'string')) return place;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw notACursor();
}

interface Described {
  contentType?: string | undefined;
  cacheControl?: string | undefined;
  contentDisposition?: string | undefined;
  contentEncoding?: string | undefined;
  contentLanguage?: string | undefined;
  expires?: string | undefined;
  metadata: Record<string, string>;
  tags: Record<string, string>;
}
const FIELDS: Readonly<Record<(typeof KEPT_HEADERS)[number], Exclude<keyof Described, 'metadata' | 'tags'>>> = {
  'cache-control': 'cacheControl',
  'content-disposition': 'contentDisposition',
  'content-encoding': 'contentEncoding',
  'content-language': 'contentLanguage',
  'content-type': 'contentType',
  expires: 'expires',
};
/** All that is given back in headers together, as in S3. */
const MOST_METADATA_BYTES = 2048;

export function attributesOf(bucket: Bucket, { tenantId }: { tenantId: string }, given: Described): ObjectAttributes {
  const headers: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = given[FIELDS[name]];
    if (value === undefined) continue;
    if (!isHeader(value)) throw unfit(FIELDS[name], 'use printable characters: it is sent in a header');
    headers[name] = value;
  }
  let bytes = 0;
  for (const [name, value] of Object.entries(given.metadata)) {
    bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
    if (/[\r\n\0]/.test(value)) throw unfit('metadata', 'use one line for each value');
  }
  if (bytes > MOST_METADATA_BYTES) throw unfit('metadata', `at most ${MOST_METADATA_BYTES} bytes, names and values together`);
  const algorithm = bucket.config.encryption?.algorithm;
  return {
    headers,
    metadata: given.metadata,
    owner: tenantId,
    ...(Object.keys(given.tags).length === 0 ? {} : { tags: given.tags }),
    ...(algorithm === undefined ? {} : { encryption: algorithm }),
    ...(bucket.config.encryption?.kmsKeyId === undefined ? {} : { kmsKeyId: bucket.config.encryption.kmsKeyId }),
  };
}

const isHeader = (value: string): boolean => /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
const unfit = (path: string, message: string): Fault => new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }] });

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

export function viewOf(bucket: Bucket, info: ObjectInfo): View {
  const { headers, metadata, tags = {}, lock } = info.attributes;
  const contentType = headers['content-type'];
  return {
    bucket: bucket.name,
    key: info.key,
    ...(bucket.versioning === 'off' && info.version === 'null' ? {} : { version: info.version }),
    latest: info.latest,
    deleteMarker: info.deleteMarker,
    size: info.size,
    etag: info.etag,
    modifiedAt: time(info.modifiedAt),
    ...(contentType === undefined ? {} : { contentType }),
    headers: { ...headers },
    metadata: { ...metadata },
    tags: { ...tags },
    ...(info.checksum === undefined ? {} : { checksum: info.checksum }),
    ...(info.parts === undefined ? {} : { parts: info.parts }),
    ...(lock?.mode === undefined ? {} : { lockMode: lock.mode }),
    ...(lock?.until === undefined ? {} : { lockedUntil: time(lock.until) }),
    ...(lock?.legalHold === undefined ? {} : { legalHold: lock.legalHold }),
  };
}

/** What is to be changed of a lock. Throws `invalid_input` for a retention without an end, and for nothing at all. */
export function lockOf({ mode, until, legalHold }: { mode?: ObjectLock['mode']; until?: string | undefined; legalHold?: boolean | undefined }): {
  mode?: ObjectLock['mode'];
  until?: number;
  legalHold?: boolean;
} {
  if ((mode === undefined) !== (until === undefined)) throw unfit(mode === undefined ? 'mode' : 'until', 'a retention has a mode and an end: give both');
  if (mode === undefined && legalHold === undefined) throw unfit('mode', 'give a retention or a legal hold');
  return { ...(mode === undefined ? {} : { mode, until: Date.parse(until as string) }), ...(legalHold === undefined ? {} : { legalHold }) };
}
