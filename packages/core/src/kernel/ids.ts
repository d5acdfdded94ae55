// Ids: a prefix that tells the kind, and 80 random bits in Crockford's base 32 (no i, l, o, u), so that the first few characters are enough for a person.
import { randomBytes } from 'node:crypto';

const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';

export function newId(prefix: string): string {
  let text = '';
  for (const byte of randomBytes(16)) text += ALPHABET.charAt(byte & 31);
  return `${prefix}-${text}`;
}
