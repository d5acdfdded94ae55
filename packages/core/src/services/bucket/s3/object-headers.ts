// What the headers of a request say of an object that it writes or reads, in the engine's words. A form upload gives its fields as if they were headers.
import type { IncomingHttpHeaders } from 'node:http';
import { CHECKSUM_ALGORITHMS, digestsOf } from '../engine/checksums.ts';
import { type Conditions, KEPT_HEADERS, type ObjectLock } from '../engine/types.ts';
import { parseHttpDate } from './dates.ts';
import { s3Error } from './errors.ts';
import { decodeWords } from './metadata-text.ts';
import { etagsOf, isoTime } from './object-text.ts';
import { S3Error, type S3Request } from './types.ts';

export type Headers = IncomingHttpHeaders;

export function header(headers: Headers, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(',') : value;
}

/** Parameters of the signature itself. */
const NO_HEADER = /^x-amz-(algorithm|credential|date|expires|signedheaders|signature|security-token|content-sha256)$/;
const CHECKSUM = /^x-amz-checksum-(crc|sha)/;
const SAID = 'x-amz-sdk-checksum-algorithm';

/** What an empty body has. */
const EMPTY: ReadonlySet<string> = new Set(Object.values(digestsOf(Buffer.alloc(0), { sha256: false, checksums: new Set(CHECKSUM_ALGORITHMS) }).checksums));

/**
 * Presigned addresses carry headers as parameters of the query: `x-amz-acl`, `x-amz-tagging` … Their checksums bind whoever uses the address, but for that of an
 * empty body: SDKs put it in because there was no body yet when the address was made, so it says nothing.
 */
export function headersOf({ headers, query, caller }: Pick<S3Request, 'headers' | 'query' | 'caller'>): Headers {
  if (caller.authType !== 'REST-QUERY-STRING') return headers;
  let all: Headers | undefined;
  let said: string | undefined;
  let bound = Object.keys(headers).some((name) => CHECKSUM.test(name));
  for (const [key, value] of query) {
    const name = key.toLowerCase();
    if (!name.startsWith('x-amz-') || NO_HEADER.test(name) || headers[name] !== undefined) continue;
    if (name === SAID) said = value;
    else if (!CHECKSUM.test(name) || !EMPTY.has(value)) {
      bound ||= CHECKSUM.test(name);
      all ??= { ...headers };
      all[name] = value;
    }
  }
  // By itself it promises a checksum that comes in no other way.
  if (said !== undefined && bound) all = { ...(all ?? headers), [SAID]: said };
  return all ?? headers;
}

export const invalid = (name: string, value: string, message: string): S3Error =>
  s3Error('InvalidArgument', message, { ArgumentName: name, ArgumentValue: value });

// ---- content headers and metadata

const MOST_METADATA_BYTES = 2048;
const META = 'x-amz-meta-';
const DEFAULT_CONTENT_TYPE = 'binary/octet-stream';

/** `Content-Encoding` without `aws-chunked`, which is of the transfer. */
export function contentEncodingOf(value: string): string | undefined {
  if (!/aws-chunked/i.test(value)) return value === '' ? undefined : value;
  const codings = value.split(',').map((coding) => coding.trim());
  const left = codings.filter((coding) => coding !== '' && coding.toLowerCase() !== 'aws-chunked');
  return left.length === 0 ? undefined : left.join(',');
}

/** Content-Type, Cache-Control and their like. */
export function contentOf(headers: Headers): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const name of KEPT_HEADERS) {
    const value = header(headers, name);
    const text = name === 'content-encoding' && value !== undefined ? contentEncodingOf(value) : value;
    if (text !== undefined && text !== '') kept[name] = text;
  }
  kept['content-type'] ??= DEFAULT_CONTENT_TYPE;
  return kept;
}

/** `x-amz-meta-…`. Together at most 2 KiB. */
export function metadataOf(headers: Headers): Record<string, string> {
  const metadata: Record<string, string> = {};
  let size = 0;
  for (const name in headers) {
    if (!name.startsWith(META)) continue;
    const value = decodeWords(header(headers, name) ?? '');
    // An own property always, whatever its name.
    Object.defineProperty(metadata, name.slice(META.length), { value, enumerable: true, writable: true, configurable: true });
    size += name.length - META.length + Buffer.byteLength(value);
  }
  if (size > MOST_METADATA_BYTES) throw s3Error('MetadataTooLarge', undefined, { Size: String(size), MaxSizeAllowed: String(MOST_METADATA_BYTES) });
  return metadata;
}

/** All of these are read at once: nothing here goes to sleep, so nothing has to be restored first. */
const STORAGE_CLASSES = ['STANDARD', 'REDUCED_REDUNDANCY', 'STANDARD_IA', 'ONEZONE_IA', 'INTELLIGENT_TIERING', 'GLACIER_IR'];

/** Undefined: STANDARD. */
export function storageClassOf(headers: Headers): string | undefined {
  const value = header(headers, 'x-amz-storage-class');
  if (value === undefined || value === 'STANDARD') return undefined;
  if (!STORAGE_CLASSES.includes(value)) throw s3Error('InvalidStorageClass', undefined, { StorageClassRequested: value });
  return value;
}

export function redirectOf(headers: Headers): string | undefined {
  const value = header(headers, 'x-amz-website-redirect-location');
  if (value === undefined) return undefined;
  if (!/^(\/|https?:\/\/)/.test(value)) {
    throw new S3Error('InvalidRedirectLocation', 400, "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.");
  }
  if (value.length > MOST_METADATA_BYTES) {
    throw new S3Error('InvalidRedirectLocation', 400, 'The length of website redirect location cannot exceed 2,048 characters.');
  }
  return value;
}

// ---- object lock

function modeOf(value: string): NonNullable<ObjectLock['mode']> {
  if (value === 'GOVERNANCE' || value === 'COMPLIANCE') return value;
  throw invalid('x-amz-object-lock-mode', value, 'Unknown wormMode directive.');
}

/** Undefined: none was asked for. */
export function lockOf(headers: Headers): ObjectLock | undefined {
  const mode = header(headers, 'x-amz-object-lock-mode');
  const until = header(headers, 'x-amz-object-lock-retain-until-date');
  const hold = header(headers, 'x-amz-object-lock-legal-hold');
  if (mode === undefined && until === undefined && hold === undefined) return undefined;
  if ((mode === undefined) !== (until === undefined)) {
    throw s3Error('InvalidArgument', 'x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied', {
      ArgumentName: mode === undefined ? 'x-amz-object-lock-mode' : 'x-amz-object-lock-retain-until-date',
    });
  }
  const lock: ObjectLock = {};
  if (mode !== undefined && until !== undefined) {
    lock.mode = modeOf(mode);
    lock.until = isoTime(until);
    if (lock.until === undefined) {
      throw invalid('x-amz-object-lock-retain-until-date', until, 'The retain until date must be provided in ISO 8601 format');
    }
  }
  if (hold !== undefined) {
    if (hold !== 'ON' && hold !== 'OFF') throw invalid('x-amz-object-lock-legal-hold', hold, "Legal Hold must be either of 'ON' or 'OFF'");
    lock.legalHold = hold === 'ON';
  }
  return lock;
}

export const bypasses = (headers: Headers): boolean => header(headers, 'x-amz-bypass-governance-retention')?.toLowerCase() === 'true';

// ---- conditions

const some = (conditions: Conditions): Conditions | undefined =>
  Object.values(conditions).some((condition) => condition !== undefined) ? conditions : undefined;

/** What is no date is ignored, as RFC 9110 has it. */
function date(headers: Headers, name: string): number | undefined {
  const value = header(headers, name);
  return value === undefined ? undefined : parseHttpDate(value);
}

const READ_CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since'] as const;

/** Of reads. */
export function conditionsOf(headers: Headers): Conditions | undefined {
  if (!READ_CONDITIONS.some((name) => headers[name] !== undefined)) return undefined;
  return some({
    ifMatch: etagsOf(header(headers, 'if-match')),
    ifNoneMatch: etagsOf(header(headers, 'if-none-match')),
    ifModifiedSince: date(headers, 'if-modified-since'),
    ifUnmodifiedSince: date(headers, 'if-unmodified-since'),
  });
}

/** Of a write: by ETag alone, dates are for reads. */
export const writeConditionsOf = (headers: Headers): Conditions | undefined =>
  some({ ifMatch: etagsOf(header(headers, 'if-match')), ifNoneMatch: etagsOf(header(headers, 'if-none-match')) });

/** Of the source of a copy. */
export function sourceConditionsOf(headers: Headers): Conditions | undefined {
  return some({
    ifMatch: etagsOf(header(headers, 'x-amz-copy-source-if-match')),
    ifNoneMatch: etagsOf(header(headers, 'x-amz-copy-source-if-none-match')),
    ifModifiedSince: date(headers, 'x-amz-copy-source-if-modified-since'),
    ifUnmodifiedSince: date(headers, 'x-amz-copy-source-if-unmodified-since'),
  });
}

export function deleteConditionsOf(headers: Headers): Conditions | undefined {
  const size = header(headers, 'x-amz-if-match-size');
  if (size !== undefined && !/^\d{1,15}$/.test(size)) throw invalid('x-amz-if-match-size', size, 'x-amz-if-match-size must be a number of bytes');
  const modified = header(headers, 'x-amz-if-match-last-modified-time');
  const ifMatchLastModified = modified === undefined ? undefined : (parseHttpDate(modified) ?? isoTime(modified));
  if (modified !== undefined && ifMatchLastModified === undefined) throw invalid('x-amz-if-match-last-modified-time', modified, 'The date is not valid');
  return some({ ifMatch: etagsOf(header(headers, 'if-match')), ifMatchSize: size === undefined ? undefined : Number(size), ifMatchLastModified });
}
