// Unix password hashes of the kind $6$ (SHA-512), made here because many images have no program that makes them and because
// this way a password never enters the instance as text. Written from the specification "Unix crypt using SHA-256 and SHA-512".
import { createHash, randomInt } from 'node:crypto';

const ALPHABET = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** The specification's default: then the hash names no count. */
const ROUNDS = 5000;
const SALT_LENGTH = 16;
const SIZE = 64;

const sha512 = (...parts: Uint8Array[]): Buffer => {
  const hash = createHash('sha512');
  for (const part of parts) hash.update(part);
  return hash.digest();
};

/** `length` bytes of `block`, repeated. */
const stretch = (block: Buffer, length: number): Buffer => Buffer.alloc(length, block);

export const randomSalt = (): string => Array.from({ length: SALT_LENGTH }, () => ALPHABET[randomInt(ALPHABET.length)]).join('');

/** About 15 ms of work. `salt`: up to 16 characters of letters, digits, `.` and `/`. */
export function sha512crypt(password: string, salt: string): string {
  const key = Buffer.from(password);
  const saltBytes = Buffer.from(salt);
  const alternate = sha512(key, saltBytes, key);
  const parts: Buffer[] = [key, saltBytes, stretch(alternate, key.length)];
  for (let rest = key.length; rest > 0; rest >>= 1) parts.push(rest & 1 ? alternate : key);
  let digest = sha512(...parts);
  const p = stretch(sha512(...Array.from({ length: key.length }, () => key)), key.length);
  const s = stretch(sha512(...Array.from({ length: 16 + (digest[0] as number) }, () => saltBytes)), saltBytes.length);
  for (let round = 0; round < ROUNDS; round += 1) {
    const odd = round % 2 === 1;
    const input = [odd ? p : digest];
    if (round % 3 !== 0) input.push(s);
    if (round % 7 !== 0) input.push(p);
    input.push(odd ? digest : p);
    digest = sha512(...input);
  }
  return `$6$${salt}$${encode(digest)}`;
}

/** The specification takes the bytes in threes, 21 apart, and turns the places with each three. */
function encode(digest: Buffer): string {
  let text = '';
  for (let i = 0; i < 21; i += 1) {
    const three = [i, i + 21, i + 42].map((index) => digest[index] as number);
    const turned = [...three.slice(i % 3), ...three.slice(0, i % 3)] as [number, number, number];
    text += sixBits((turned[0] << 16) | (turned[1] << 8) | turned[2], 4);
  }
  return text + sixBits(digest[SIZE - 1] as number, 2);
}

function sixBits(value: number, count: number): string {
  let text = '';
  for (let rest = value, i = 0; i < count; i += 1, rest >>= 6) text += ALPHABET[rest & 63];
  return text;
}
