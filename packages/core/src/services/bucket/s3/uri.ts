// Percent-encoding. Addresses come from node:http as one character for each byte, so what is decoded here are bytes, and only then text.
import { isUtf8 } from 'node:buffer';

const UNRESERVED = new Uint8Array(256);
for (const character of 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~') UNRESERVED[character.charCodeAt(0)] = 1;
const ENCODED = Array.from({ length: 256 }, (_, byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`);
const SLASH = 47;
const PERCENT = 37;
const PLUS = 43;
const SPACE = 32;

const digit = (code: number): number => {
  if (code >= 48 && code <= 57) return code - 48;
  const lower = code | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
};

/** Undefined when a `%` is not followed by two digits. */
function decodeBytes(raw: string, plusIsSpace: boolean): Buffer | undefined {
  const bytes = Buffer.allocUnsafe(raw.length);
  let length = 0;
  for (let index = 0; index < raw.length; index++) {
    let byte = raw.charCodeAt(index);
    if (byte === PERCENT) {
      const high = digit(raw.charCodeAt(index + 1));
      const low = digit(raw.charCodeAt(index + 2));
      if (high < 0 || low < 0) return undefined;
      byte = high * 16 + low;
      index += 2;
    } else if (byte === PLUS && plusIsSpace) byte = SPACE;
    bytes[length++] = byte;
  }
  return bytes.subarray(0, length);
}

function encodeBytes(bytes: Uint8Array, keepSlash: boolean): string {
  let text = '';
  for (const byte of bytes) {
    text += UNRESERVED[byte] === 1 || (keepSlash && byte === SLASH) ? String.fromCharCode(byte) : (ENCODED[byte] as string);
  }
  return text;
}

const PLAIN = /^[!-$&-*,-~]*$/;

/** Undefined for what is no percent-encoded UTF-8. */
export function decode(raw: string, plusIsSpace = false): string | undefined {
  if (PLAIN.test(raw)) return raw;
  const bytes = decodeBytes(raw, plusIsSpace);
  return bytes === undefined || !isUtf8(bytes) ? undefined : bytes.toString('utf8');
}

const CANONICAL = /^[A-Za-z0-9._~-]*$/;
const CANONICAL_PATH = /^[A-Za-z0-9._~/-]*$/;

/** A path as it is signed: everything encoded except unreserved characters and slashes, once. What cannot be decoded stays. */
export function canonicalPath(rawPath: string): string {
  if (CANONICAL_PATH.test(rawPath)) return rawPath;
  const bytes = decodeBytes(rawPath, false);
  return bytes === undefined ? rawPath : encodeBytes(bytes, true);
}

function canonicalPart(raw: string): string {
  if (CANONICAL.test(raw)) return raw;
  const bytes = decodeBytes(raw, true);
  return bytes === undefined ? raw : encodeBytes(bytes, false);
}

/** A query as it is signed: each name and value encoded, sorted; `omit` left out. */
export function canonicalQuery(rawQuery: string, omit?: string): string {
  if (rawQuery === '') return '';
  const pairs: [string, string][] = [];
  for (const part of rawQuery.split('&')) {
    if (part === '') continue;
    const equals = part.indexOf('=');
    const name = canonicalPart(equals < 0 ? part : part.slice(0, equals));
    if (name !== omit) pairs.push([name, equals < 0 ? '' : canonicalPart(part.slice(equals + 1))]);
  }
  pairs.sort((a, b) => (a[0] === b[0] ? order(a[1], b[1]) : order(a[0], b[0])));
  let text = '';
  for (const [name, value] of pairs) text += `${text === '' ? '' : '&'}${name}=${value}`;
  return text;
}
const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/** Text as AWS encodes it in a path (`keepSlash`) or query. */
export const encode = (text: string, keepSlash = false): string =>
  (keepSlash ? CANONICAL_PATH : CANONICAL).test(text) ? text : encodeBytes(Buffer.from(text, 'utf8'), keepSlash);
