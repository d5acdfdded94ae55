// Session tokens of the metadata service: an expiry and a MAC over it, bound to one instance. Nothing is stored, so a restart of the daemon ends none.
import { timingSafeEqual } from 'node:crypto';
import type { Keys } from '../../../kernel/keyring.ts';

/** Seconds. */
export const LONGEST_TOKEN = 21_600;

const PURPOSE = 'metadata-token';
const EXPIRY_BYTES = 6;
const MAC_BYTES = 32;
const LENGTH = Math.ceil(((EXPIRY_BYTES + MAC_BYTES) * 4) / 3);

export interface TokenOwner {
  readonly id: string;
  readonly tenantId: string;
}

const macOf = (keys: Pick<Keys, 'mac'>, { id, tenantId }: TokenOwner, expiry: Uint8Array): Buffer =>
  keys.mac(PURPOSE, { tenant: tenantId }, Buffer.concat([expiry, Buffer.from(id)]));

/** `now` in Unix milliseconds, `ttl` in seconds. */
export function issueToken(keys: Pick<Keys, 'mac'>, owner: TokenOwner, ttl: number, now: number): string {
  const expiry = Buffer.alloc(EXPIRY_BYTES);
  expiry.writeUIntBE(now + ttl * 1000, 0, EXPIRY_BYTES);
  return Buffer.concat([expiry, macOf(keys, owner, expiry)]).toString('base64url');
}

/** Seconds that it is good for still; undefined when it is not, or is not this instance's. */
export function tokenLeft(keys: Pick<Keys, 'mac'>, owner: TokenOwner, token: string, now: number): number | undefined {
  if (token.length !== LENGTH) return undefined;
  const bytes = Buffer.from(token, 'base64url');
  if (bytes.length !== EXPIRY_BYTES + MAC_BYTES) return undefined;
  const expiry = bytes.subarray(0, EXPIRY_BYTES);
  if (!timingSafeEqual(bytes.subarray(EXPIRY_BYTES), macOf(keys, owner, expiry))) return undefined;
  const left = expiry.readUIntBE(0, EXPIRY_BYTES) - now;
  return left > 0 ? Math.ceil(left / 1000) : undefined;
}
