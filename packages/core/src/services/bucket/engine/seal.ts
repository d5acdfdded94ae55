// How a blob is sealed: AES-256-GCM in segments of 64 KiB under a random key of its own, so that any range can be opened without the rest. The key is wrapped by
// the tenant's key or, with SSE-C, by one made of the customer's.
import { createCipheriv, createDecipheriv, createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { randomPortion } from './random.ts';

/** Plain bytes of every segment but the last. */
export const SEGMENT_BYTES = 64 * 1024;
export const TAG_BYTES = 16;
export const SEALED_SEGMENT_BYTES = SEGMENT_BYTES + TAG_BYTES;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const SALT_BYTES = 16;
const CIPHER = 'aes-256-gcm';
const GCM = { authTagLength: TAG_BYTES } as const;

/** An empty run has one empty segment: its end is authenticated as any other. */
export const segmentsOf = (size: number): number => Math.max(1, Math.ceil(size / SEGMENT_BYTES));
export const sealedSize = (size: number): number => size + segmentsOf(size) * TAG_BYTES;

export const newBlobKey = (): Buffer => randomPortion(KEY_BYTES);

/** Seals or opens the segments of one blob. */
export class Sealing {
  readonly #key: KeyObject;
  // A key seals one blob only, and an index is sealed once, so the index alone is a nonce that never returns.
  readonly #nonce = Buffer.alloc(NONCE_BYTES);
  /** Id of the blob, index, and whether it is the last: segments that are exchanged, moved, left out or cut off do not open. */
  readonly #bound: Buffer;

  constructor(key: Buffer, blob: string) {
    // The cipher takes a key object in a fraction of the time that it takes bytes.
    this.#key = createSecretKey(key);
    this.#bound = Buffer.concat([Buffer.from(blob, 'latin1'), Buffer.alloc(5)]);
  }

  /** The pieces of one segment; the last of what comes back is its tag. */
  seal(index: number, last: boolean, pieces: readonly Uint8Array[]): Buffer[] {
    this.#at(index, last);
    const cipher = createCipheriv(CIPHER, this.#key, this.#nonce, GCM);
    cipher.setAAD(this.#bound);
    const sealed = pieces.map((piece) => cipher.update(piece));
    cipher.final();
    sealed.push(cipher.getAuthTag());
    return sealed;
  }

  /** Throws unless it is the segment that was sealed there. Nothing of it is given before that is known. */
  open(index: number, last: boolean, pieces: readonly Uint8Array[], tag: Uint8Array): Buffer[] {
    this.#at(index, last);
    const decipher = createDecipheriv(CIPHER, this.#key, this.#nonce, GCM);
    decipher.setAAD(this.#bound);
    decipher.setAuthTag(tag);
    const opened = pieces.map((piece) => decipher.update(piece));
    decipher.final();
    return opened;
  }

  #at(index: number, last: boolean): void {
    this.#nonce.writeUInt32BE(index, NONCE_BYTES - 4);
    this.#bound.writeUInt32BE(index, this.#bound.length - 5);
    this.#bound[this.#bound.length - 1] = last ? 1 : 0;
  }
}

const wrapBound = (blob: string, bound: string): Buffer => Buffer.from(`${blob}\n${bound}`);

/** Base64url. */
export function wrapKey(by: KeyObject | Buffer, key: Buffer, blob: string, bound: string): string {
  const nonce = randomPortion(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, by, nonce, GCM);
  cipher.setAAD(wrapBound(blob, bound));
  return Buffer.concat([nonce, cipher.update(key), cipher.final(), cipher.getAuthTag()]).toString('base64url');
}

/** Throws for what was changed, belongs elsewhere, or was wrapped by another key. */
export function unwrapKey(by: KeyObject | Buffer, wrapped: string, blob: string, bound: string): Buffer {
  const bytes = Buffer.from(wrapped, 'base64url');
  if (bytes.length !== NONCE_BYTES + KEY_BYTES + TAG_BYTES) throw new Error('this is no wrapped key');
  const decipher = createDecipheriv(CIPHER, by, bytes.subarray(0, NONCE_BYTES), GCM);
  decipher.setAAD(wrapBound(blob, bound));
  decipher.setAuthTag(bytes.subarray(NONCE_BYTES + KEY_BYTES));
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, NONCE_BYTES + KEY_BYTES)), decipher.final()]);
}

const fromCustomer = (key: Buffer, purpose: string, salt: Buffer): Buffer =>
  createHmac('sha256', key).update(`thecloud/v1/customer-key/${purpose}/`).update(salt).digest();

/** What tells this customer key from another without telling it: a salt and a keyed digest. Base64url. */
export function customerMark(key: Buffer): string {
  const salt = randomBytes(SALT_BYTES);
  return Buffer.concat([salt, fromCustomer(key, 'mark', salt)]).toString('base64url');
}

/** The key that wraps, if this is the customer key that the mark was made of. */
export function customerWrappingKey(key: Buffer, mark: string): Buffer | undefined {
  const bytes = Buffer.from(mark, 'base64url');
  const salt = bytes.subarray(0, SALT_BYTES);
  const expected = fromCustomer(key, 'mark', salt);
  const given = bytes.subarray(SALT_BYTES);
  return given.length === expected.length && timingSafeEqual(given, expected) ? fromCustomer(key, 'wrap', salt) : undefined;
}
