// The object store on local files: small blobs are rows of one database, large ones a file each. Both are on the disk before anybody is told so.
import { accessSync, constants } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Clock, systemClock } from '../../kernel/clock.ts';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type Log, silent } from '../../kernel/log.ts';
import { type ObjectStoreCapabilities, type ObjectStoreDriver, type StoredBlob, type StoreStatus, Whole } from '../../services/bucket/driver.ts';
import { makeOne, syncDirectory } from './directories.ts';
import { driverError } from './errors.ts';
import { LargeBlobs, unexpected } from './large.ts';
import { Room, spaceOf } from './room.ts';
import { SmallBlobs } from './small.ts';

/** As stored. */
export const SMALL_BYTES = 64 * 1024;
const ID = /^[0-9a-f]{24}$/;

export interface FilesOptions {
  /** Made when absent, with mode 0700; its parent must be there. */
  directory: string;
  clock?: Clock;
  log?: Log;
  /** Whether what was put survives loss of power. Default true; only tests and measurements turn it off. */
  durable?: boolean;
}

export class FilesObjectStore implements ObjectStoreDriver {
  readonly capabilities: ObjectStoreCapabilities = { durable: true };
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #durable: boolean;
  readonly #room: Room;
  readonly #large: LargeBlobs;
  #opened: Promise<SmallBlobs> | undefined;
  #small: SmallBlobs | undefined;
  #lastListed: string | undefined;
  #closed = false;

  constructor(options: FilesOptions) {
    this.#directory = options.directory;
    this.#clock = options.clock ?? systemClock;
    this.#log = options.log ?? silent;
    this.#durable = options.durable ?? true;
    this.#room = new Room(options.directory);
    this.#large = new LargeBlobs(options.directory, this.#room, this.#durable);
  }

  /** Nothing is opened before something is asked for; what failed is tried again. */
  #open(): Promise<SmallBlobs> {
    if (this.#closed) return Promise.reject(new DriverError('unavailable', 'The object store was closed'));
    this.#opened ??= this.#begin().catch((error: unknown) => {
      this.#opened = undefined;
      throw driverError(error, `Cannot open the object store at ${this.#directory}`);
    });
    return this.#opened;
  }

  async #begin(): Promise<SmallBlobs> {
    await makeOne(this.#directory);
    await this.#large.open();
    const small = new SmallBlobs({
      file: join(this.#directory, 'small.db'),
      clock: this.#clock,
      log: this.#log,
      durable: this.#durable,
      probe: () => this.#probe(),
    });
    await syncDirectory(this.#directory);
    this.#small = small;
    return small;
  }

  async put(id: string, bytes: AsyncIterable<Uint8Array>, { size, signal }: { size: number | undefined; signal: AbortSignal }): Promise<{ bytes: number }> {
    signal.throwIfAborted();
    checked(id);
    const small = this.#small ?? (await this.#open());
    if (bytes instanceof Whole && bytes.bytes.length <= SMALL_BYTES) {
      if (size !== undefined && bytes.bytes.length !== size) throw unexpected(size, bytes.bytes.length);
      return await this.#putSmall(small, id, bytes.bytes);
    }
    if (size !== undefined && size > SMALL_BYTES) return await this.#large.put(id, bytes, size, signal);
    const head: Uint8Array[] = [];
    let held = 0;
    const source = bytes[Symbol.asyncIterator]();
    let over = false;
    try {
      while (held <= SMALL_BYTES) {
        const next = await source.next();
        signal.throwIfAborted();
        if (next.done === true) {
          over = true;
          break;
        }
        head.push(Buffer.from(next.value)); // it is good only until the next is asked for
        held += next.value.length;
        if (size !== undefined && held > size) throw unexpected(size, held);
      }
      if (over) {
        if (size !== undefined && held !== size) throw unexpected(size, held);
        return await this.#putSmall(small, id, together(head));
      }
      return await this.#large.put(id, continued(head, source), undefined, signal);
    } finally {
      if (!over) await source.return?.();
    }
  }

  async #putSmall(small: SmallBlobs, id: string, bytes: Buffer): Promise<{ bytes: number }> {
    const room = this.#room.take(bytes.length);
    if (room !== undefined) await room;
    await small.put(id, bytes);
    return { bytes: bytes.length };
  }

  get(id: string, range: { start: number; end: number | undefined }, signal: AbortSignal): AsyncIterable<Buffer> {
    const bytes = this.#small?.get(checked(id));
    if (bytes === undefined || range.start > bytes.length || (range.end ?? 0) > bytes.length) return this.#read(id, range, signal);
    return new Whole(bytes.subarray(range.start, range.end));
  }

  async *#read(id: string, range: { start: number; end: number | undefined }, signal: AbortSignal): AsyncGenerator<Buffer> {
    signal.throwIfAborted();
    const small = this.#small ?? (await this.#open());
    const bytes = small.get(checked(id));
    if (bytes === undefined) yield* this.#large.get(id, range, signal);
    else if (range.start > bytes.length || (range.end ?? 0) > bytes.length) throw new DriverError('failed', `The blob ${id} is shorter than it should be`);
    else yield bytes.subarray(range.start, range.end);
  }

  async remove(ids: readonly string[], signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (ids.length === 0) return;
    const small = this.#small ?? (await this.#open());
    const removed = new Set(await small.remove(ids.map(checked)));
    await this.#large.remove(ids.filter((id) => !removed.has(id)));
  }

  async list(after = '', limit: number): Promise<readonly StoredBlob[]> {
    const small = this.#small ?? (await this.#open());
    const large = await this.#large.list(after, limit, after !== '' && after === this.#lastListed);
    const page = [...small.list(after, limit), ...large].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(0, limit);
    this.#lastListed = page.at(-1)?.id;
    return page;
  }

  async status(signal: AbortSignal): Promise<StoreStatus> {
    signal.throwIfAborted();
    const small = await this.#open();
    const { total, free, low } = await spaceOf(this.#directory);
    const broken = small.broken;
    const state = broken !== undefined ? 'down' : low ? 'degraded' : 'up';
    const detail = broken?.message ?? (low ? 'nearly full: objects can be read and deleted' : 'synced before every answer');
    return {
      engine: 'files',
      location: this.#directory,
      bytesTotal: total,
      bytesFree: free,
      nodes: [{ name: hostname(), state, bytesTotal: total, bytesFree: free, detail }],
    };
  }

  async ping(): Promise<void> {
    const small = await this.#open();
    if (small.broken !== undefined) throw small.broken;
    try {
      accessSync(this.#directory, constants.R_OK | constants.W_OK | constants.X_OK);
    } catch (error) {
      throw driverError(error, `Cannot use the object store at ${this.#directory}`);
    }
  }

  async report(): Promise<DriverReport> {
    const features: DriverReport['features'] = [
      { name: 'durability', level: 'enforced', detail: 'Bytes are synced to the disk before a write is answered; small ones together, by group commit' },
    ];
    try {
      await this.ping();
      const { free, low } = await spaceOf(this.#directory);
      const detail = `${Math.floor(free / 2 ** 20)} MiB free at ${this.#directory}`;
      const check = { name: 'objects', ok: !low, detail: low ? `${detail}: too few for new objects` : detail };
      return { driver: 'files', features, checks: [!low ? check : { ...check, remedy: `df -h ${this.#directory}  # free some space` }] };
    } catch (error) {
      const { message, hint } = driverError(error, 'objects');
      return { driver: 'files', features, checks: [{ name: 'objects', ok: false, detail: message, remedy: hint ?? `ls -ld ${this.#directory}` }] };
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const small = await this.#opened?.catch(() => undefined); // what could not be opened needs no closing
    await small?.close();
  }

  /** SQLite has one word for a disk that failed and for a quota that is used up; the file system has two. */
  async #probe(): Promise<DriverError | undefined> {
    const file = join(this.#directory, 'incoming', 'probe');
    try {
      await writeFile(file, Buffer.alloc(SMALL_BYTES), { mode: 0o600, flush: true });
      return undefined;
    } catch (error) {
      return driverError(error, 'Cannot write to the object store');
    } finally {
      await rm(file, { force: true });
    }
  }
}

/** An id is part of a path. */
function checked(id: string): string {
  if (!ID.test(id)) throw new DriverError('bad_spec', `${JSON.stringify(id)} is no id of a blob`);
  return id;
}

function together(pieces: readonly Uint8Array[]): Buffer {
  const [first] = pieces;
  return pieces.length === 1 && Buffer.isBuffer(first) ? first : Buffer.concat(pieces);
}

async function* continued(head: readonly Uint8Array[], rest: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* head;
  for (;;) {
    const next = await rest.next();
    if (next.done === true) return;
    yield next.value;
  }
}
