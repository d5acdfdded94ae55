// The path of the bytes: hashed, sealed in segments and handed to the object store on the way in; opened and authenticated on the way out.
import type { ChecksumAlgorithm, CustomerKey, Expected } from './types.ts';

/** One run of bytes in the object store, as metadata keep it (JSON in the column `body`). */
export interface StoredBody {
  /** Id in the object store. */
  blob: string;
  /** Of the plain bytes. */
  size: number;
  /** 1: AES-256-GCM in segments of 64 KiB under a key of its own. 0: as they came. */
  format: 0 | 1;
  /** With format 1: the key, wrapped by the tenant's (or, with SSE-C, by the customer's). Base64url. */
  key?: string;
  /** Whose key wrapped it: a tenant's, or `<tenant>/<key id>/<version>` of a `kms-key` (SSE-KMS). Absent with SSE-C. */
  by?: string;
  /** With SSE-C: what tells the right customer key from another (keyed digest with salt). */
  customer?: string;
  /** What the wrapped key is bound to besides the blob, so that rows cannot be exchanged: `<bucketId>/<version or upload and part>`, never the key text. */
  bound: string;
}

export interface Written {
  body: StoredBody;
  size: number;
  /** Lower-case hex. */
  md5: string;
  /** Base64, of those asked for. */
  checksums: Partial<Record<ChecksumAlgorithm, string>>;
}

export interface Bodies {
  /**
   * Writes a new blob. Rejects with ObjectError (`bad_digest`, `incomplete_body`, `object_too_large`, `storage_full`, `storage_unavailable`), or with what the
   * source threw; nothing is left of it then. The blob counts as in flight until `settled` or `discard`.
   */
  write(
    source: AsyncIterable<Buffer>,
    options: {
      /** Whose key wraps the blob's: what `KmsWrappers.wrapperOf` says. */
      by: string;
      bound: string;
      encrypt: boolean;
      customerKey?: CustomerKey | undefined;
      expected: Expected;
      checksums: readonly ChecksumAlgorithm[];
      limit: number;
      signal: AbortSignal;
    },
  ): Promise<Written>;
  /** Plain bytes of one run, both ends included. `invalid_key` before the first byte, `damaged` when something at rest was changed. */
  read(
    body: StoredBody,
    options: { range: { start: number; end: number } | undefined; customerKey?: CustomerKey | undefined; signal: AbortSignal },
  ): AsyncIterable<Buffer>;
  /** As `read`, of bytes that the object store has at hand: those of small bodies. Undefined: use `read`. */
  atHand(body: StoredBody, range: { start: number; end: number } | undefined): Buffer | undefined;
  /** Throws `invalid_key` unless the customer key is the one (or none belongs and none came). */
  checkKey(body: StoredBody, customerKey: CustomerKey | undefined): void;
  /** Metadata that name the blob are committed. */
  settled(blob: string): void;
  /** Not needed after all, or not any more. */
  discard(blobs: readonly string[]): Promise<void>;
  /** Ids that are being written or not yet settled, for the sweep of orphans. */
  inFlight(): ReadonlySet<string>;
}

/** A source that can give all of its bytes at once. */
export interface Gatherable extends AsyncIterable<Buffer> {
  /** In place of iterating. Undefined when they may be more than `most`, or have been asked for already. Rejects as the iterator would. */
  whole(most: number): Promise<Buffer> | undefined;
}

export const isGatherable = (source: AsyncIterable<Buffer>): source is Gatherable => 'whole' in source && typeof source.whole === 'function';
