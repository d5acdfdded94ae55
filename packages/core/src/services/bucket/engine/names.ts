// Names of the engine: version and upload ids, what binds a blob to the row that names it, and the order of keys, which is that of their UTF-8 bytes.
import { hash } from 'node:crypto';
import { randomPortion } from './random.ts';
import { ObjectError } from './types.ts';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const TIME_CHARACTERS = 9;
const RANDOM_CHARACTERS = 23;
/** Of Amazon S3. */
const MOST_KEY_BYTES = 1024;

/** Version of what was written while a bucket kept no versions. */
export const NULL_VERSION = 'null';

/** 32 characters that nobody can guess; later ones sort after earlier ones, to the millisecond. */
export function newToken(now: number): string {
  let time = '';
  for (let left = Math.max(0, Math.floor(now)); time.length < TIME_CHARACTERS; left = Math.floor(left / 32)) time = ALPHABET.charAt(left % 32) + time;
  let random = '';
  for (const byte of randomPortion(RANDOM_CHARACTERS)) random += ALPHABET.charAt(byte & 31);
  return time + random;
}

/** `key_too_long`; `invalid_argument` for what no UTF-8 can write. */
export function checkKey(key: string): void {
  if (key === '') throw new ObjectError('invalid_argument', 'The key of an object has at least one character');
  if (!key.isWellFormed()) throw new ObjectError('invalid_argument', 'The key of an object must be UTF-8');
  if (key.length > MOST_KEY_BYTES || Buffer.byteLength(key) > MOST_KEY_BYTES) {
    throw new ObjectError('key_too_long', `Your key is too long: ${Buffer.byteLength(key)} bytes, at most ${MOST_KEY_BYTES}`, {
      size: Buffer.byteLength(key),
      limit: MOST_KEY_BYTES,
    });
  }
}

const placeOf = (bucketId: string, key: string): string => `${bucketId}/${hash('sha256', key, 'base64url').slice(0, 22)}`;

/** What the key of a blob is bound to: bucket and key (as a digest), then the version, or the upload and the part. */
export const boundTo = (bucketId: string, key: string, ...rest: (string | number)[]): string => [placeOf(bucketId, key), ...rest].join('/');

/** Refuses a blob that was written for another place: rows were exchanged behind our back. */
export function checkBound(bound: string, bucketId: string, key: string, ...rest: (string | number)[]): void {
  const begin = boundTo(bucketId, key, ...rest);
  if (bound === begin || bound.startsWith(`${begin}/`)) return;
  throw new ObjectError('damaged', 'The bytes that are kept for this object were written for another one');
}

const SURROGATES = { first: 0xd800, after: 0xe000 };
const LAST_CODE_POINT = 0x10ffff;

/** The least text that comes after everything that begins with `prefix`; undefined where there is none. */
export function after(prefix: string): string | undefined {
  const points = Array.from(prefix);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    const next = (last.codePointAt(0) as number) + 1;
    if (next <= LAST_CODE_POINT) return points.join('') + String.fromCodePoint(next === SURROGATES.first ? SURROGATES.after : next);
  }
  return undefined;
}

/** Below zero when `a` comes first. Code units of JavaScript order characters beyond U+FFFF before U+E000; UTF-8 does not. */
export function compareKeys(a: string, b: string): number {
  const least = Math.min(a.length, b.length);
  for (let at = 0; at < least; at++) {
    const [x, y] = [a.charCodeAt(at), b.charCodeAt(at)];
    if (x === y) continue;
    const surrogate = (unit: number): boolean => unit >= SURROGATES.first && unit < SURROGATES.after;
    if (surrogate(x) !== surrogate(y) && x >= SURROGATES.first && y >= SURROGATES.first) return surrogate(x) ? 1 : -1;
    return x - y;
  }
  return a.length - b.length;
}
