// The object store port: named, immutable runs of bytes. It knows nothing of buckets, keys or what the bytes mean: they come sealed.
import { type Driver, port } from '../../kernel/driver.ts';

export interface StoredBlob {
  id: string;
  bytes: number;
  /** Unix milliseconds, as the backend tells it. */
  createdAt: number;
}

/** One machine, disk or zone of what stands behind, as it reports itself. */
export interface StoreNode {
  name: string;
  state: 'up' | 'degraded' | 'down' | 'unknown';
  bytesTotal: number | undefined;
  bytesFree: number | undefined;
  detail: string;
}

export interface StoreStatus {
  /** `files`, `s3`, `memory`. */
  engine: string;
  /** Where the bytes are: a directory or an endpoint, without credentials. */
  location: string;
  bytesTotal: number | undefined;
  bytesFree: number | undefined;
  nodes: StoreNode[];
}

/**
 * Bytes that are all there. Most blobs are small, and for those an iterator that gives one piece costs more than what is done with the piece: a driver that knows
 * this class takes the bytes of `put`, and may answer `get` with them.
 */
export class Whole implements AsyncIterable<Buffer> {
  readonly bytes: Buffer;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    if (this.bytes.length > 0) yield this.bytes;
  }
}

export interface ObjectStoreCapabilities {
  /** Whether what is written outlives the process. */
  readonly durable: boolean;
}

export interface ObjectStoreDriver extends Driver {
  readonly capabilities: ObjectStoreCapabilities;
  /**
   * Keeps the bytes under an id that was never used before (24 lower-case hex digits). Resolves when they would survive loss of power. When it rejects,
   * or `bytes` does, nothing of it is left, or `remove` of the id takes it away. `size` is their number when it is known beforehand; fewer or more bytes
   * reject. A full disk: DriverError('full'). A piece is good only until the next is asked for: its memory is used again.
   */
  put(id: string, bytes: AsyncIterable<Uint8Array>, options: { size: number | undefined; signal: AbortSignal }): Promise<{ bytes: number }>;
  /** From `start` to before `end`, or to the last. DriverError('failed') when there is no such blob or it is shorter. Stops reading when the iterator returns. Pieces
   * belong to who gets them, who may free them. */
  get(id: string, range: { start: number; end: number | undefined }, signal: AbortSignal): AsyncIterable<Buffer>;
  /** Absent ones: fine. The space is free when it resolves. */
  remove(ids: readonly string[], signal: AbortSignal): Promise<void>;
  /** In order of ids, after `after`, at most `limit`. One that is being written may be there or not. */
  list(after: string | undefined, limit: number): Promise<readonly StoredBlob[]>;
  /** What stands behind and how it is. Rejects with DriverError('unavailable') when it cannot be asked. */
  status(signal: AbortSignal): Promise<StoreStatus>;
  /** Ends what it has open. Absent where there is nothing to end. */
  close?(): Promise<void>;
}

export const objectStorePort = port<ObjectStoreDriver>('object-store');
