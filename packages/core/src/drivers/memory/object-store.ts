// The memory backend's object store: the same promises as any other, until the process ends.
import { setImmediate as turn } from 'node:timers/promises';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { ObjectStoreCapabilities, ObjectStoreDriver, StoredBlob, StoreStatus } from '../../services/bucket/driver.ts';
import type { MemoryWorld } from './world.ts';

interface Kept {
  pieces: Buffer[];
  bytes: number;
  createdAt: number;
}

/** Nothing here ever waits for a disk, so the event loop gets its turn after so many bytes. */
const PIECE_BYTES = 256 * 1024;

export class MemoryObjectStore implements ObjectStoreDriver {
  readonly capabilities: ObjectStoreCapabilities = { durable: false };
  readonly #world: MemoryWorld;
  readonly #blobs = new Map<string, Kept>();

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  put(id: string, bytes: AsyncIterable<Uint8Array>, { size, signal }: { size: number | undefined; signal: AbortSignal }): Promise<{ bytes: number }> {
    return this.#world.faults.run('object-store.put', signal, async () => {
      if (this.#blobs.has(id)) throw new DriverError('failed', `There is a blob ${id} already`);
      const pieces: Buffer[] = [];
      let taken = 0;
      let since = 0;
      for await (const piece of bytes) {
        signal.throwIfAborted();
        taken += piece.length;
        if (size !== undefined && taken > size) throw new DriverError('failed', `More than ${size} bytes came for the blob ${id}`);
        pieces.push(Buffer.from(piece));
        if ((since += piece.length) >= PIECE_BYTES) {
          since = 0;
          await turn();
        }
      }
      if (size !== undefined && taken !== size) throw new DriverError('failed', `${taken} bytes came for the blob ${id}, not ${size}`);
      this.#blobs.set(id, { pieces, bytes: taken, createdAt: this.#world.clock.now() });
      return { bytes: taken };
    });
  }

  async *get(id: string, { start, end }: { start: number; end: number | undefined }, signal: AbortSignal): AsyncGenerator<Buffer> {
    const kept = await this.#world.faults.run('object-store.get', signal, () => this.#blobs.get(id));
    if (kept === undefined) throw new DriverError('failed', `There is no blob ${id}`);
    const to = end ?? kept.bytes;
    if (start > kept.bytes || to > kept.bytes) throw new DriverError('failed', `The blob ${id} is shorter than it should be`);
    let at = 0;
    let since = 0;
    for (const piece of kept.pieces) {
      for (let from = Math.max(0, start - at); from < piece.length && at + from < to; from += PIECE_BYTES) {
        signal.throwIfAborted();
        yield Buffer.from(piece.subarray(from, Math.min(from + PIECE_BYTES, piece.length, to - at)));
        if ((since += PIECE_BYTES) >= 4 * PIECE_BYTES) {
          since = 0;
          await turn();
        }
      }
      at += piece.length;
    }
  }

  async remove(ids: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#world.faults.run('object-store.remove', signal, () => {
      for (const id of ids) this.#blobs.delete(id);
    });
  }

  list(after: string | undefined, limit: number): Promise<readonly StoredBlob[]> {
    return this.#world.faults.run('object-store.list', undefined, () =>
      [...this.#blobs]
        .filter(([id]) => after === undefined || id > after)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, limit)
        .map(([id, { bytes, createdAt }]) => ({ id, bytes, createdAt })),
    );
  }

  status(signal: AbortSignal): Promise<StoreStatus> {
    return this.#world.faults.run('object-store.status', signal, () => ({
      engine: 'memory',
      location: 'this process',
      bytesTotal: undefined,
      bytesFree: undefined,
      nodes: [{ name: 'memory', state: 'up' as const, bytesTotal: undefined, bytesFree: undefined, detail: `${this.#blobs.size} blobs` }],
    }));
  }

  /** For tests that look or act behind the driver's back: what was kept, to be changed in place. */
  bytesOf(id: string): Buffer | undefined {
    const kept = this.#blobs.get(id);
    if (kept === undefined) return undefined;
    kept.pieces = [Buffer.concat(kept.pieces)];
    return kept.pieces[0];
  }

  /** Likewise: as if the backend had cut it. */
  truncate(id: string, bytes: number): void {
    const kept = this.#blobs.get(id);
    const whole = this.bytesOf(id);
    if (kept === undefined || whole === undefined) return;
    kept.pieces = [whole.subarray(0, bytes)];
    kept.bytes = bytes;
  }

  get ids(): string[] {
    return [...this.#blobs.keys()].sort();
  }

  async ping(signal?: AbortSignal): Promise<void> {
    await this.#world.faults.run('object-store.ping', signal, () => undefined);
  }

  async report(): Promise<DriverReport> {
    return {
      driver: 'memory',
      features: [{ name: 'persistence', level: 'unsupported', detail: 'Objects are kept in memory and are gone when the process ends' }],
      checks: [{ name: 'memory', ok: true, detail: `${this.#blobs.size} blobs in this process` }],
    };
  }
}
