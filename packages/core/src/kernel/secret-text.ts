// Secrets that are shown once: random, so that a plain hash is enough to keep them, and compared in constant time.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** 43 characters of base64url: 256 random bits. */
export const randomSecret = (): string => randomBytes(32).toString('base64url');
export const secretDigest = (text: string): string => createHash('sha256').update(text).digest('base64url');

const NONE = secretDigest('nothing is like this');
/** As long for a hash that is not there. */
export function isSecret(text: string, hash: string | null | undefined): boolean {
  const same = timingSafeEqual(Buffer.from(secretDigest(text)), Buffer.from(hash ?? NONE));
  return same && hash !== null && hash !== undefined;
}
