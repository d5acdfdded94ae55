// Large blobs, one file each: written under `incoming/`, synced, and only then given their name under `blobs/`. Directories are named after the time that ids begin
// with, so that a list walks them in order, and blobs that are written at the same time share the sync of one directory.
import { type FileHandle, open, readdir, rename, rm, rmdir, stat, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { DriverError } from '../../kernel/errors.ts';
import type { StoredBlob } from '../../services/bucket/driver.ts';
import { DirectorySync, makeOne } from './directories.ts';
import { codeOf, driverError, translated } from './errors.ts';
import type { Room } from './room.ts';

/** Digits of an id that name its directory: one for each 4 hours and 40 minutes. */
const TIME_DIGITS = 6;
/** Eight sealed segments of the engine (64 KiB and 16 bytes): then it seldom gets one in two pieces. */
const READ_BYTES = 8 * (64 * 1024 + 16);
/** What is not on the disk yet is kept this small, or the last sync of a long upload would hold up everybody's. */
const SYNC_BYTES = 32 * 1024 * 1024;
const STATS_AT_ONCE = 32;

const doing = { write: 'Cannot write a blob', read: 'Cannot read a blob', remove: 'Cannot remove a blob', list: 'Cannot list blobs' };

export class LargeBlobs {
  readonly #incoming: string;
  readonly #blobs: string;
  readonly #room: Room;
  readonly #durable: boolean;
  readonly #directories: DirectorySync;
  /** Those that are there and synced. */
  readonly #made = new Set<string>();
  /** Where the last list was: its directory need not be read for every page. */
  #walk: { time: string; names: string[] } | undefined;

  constructor(directory: string, room: Room, durable: boolean) {
    this.#durable = durable;
    this.#directories = new DirectorySync(durable);
    this.#incoming = join(directory, 'incoming');
    this.#blobs = join(directory, 'blobs');
    this.#room = room;
  }

  /** Makes its directories; what was being written when the process ended goes. */
  async open(): Promise<void> {
    await makeOne(this.#blobs);
    await makeOne(this.#incoming);
    for (const name of await readdir(this.#incoming)) await rm(join(this.#incoming, name), { force: true, recursive: true });
  }

  #path(id: string): string {
    return join(this.#blobs, id.slice(0, TIME_DIGITS), id);
  }

  /** What the source throws is passed on as it is. */
  async put(id: string, source: AsyncIterable<Uint8Array>, size: number | undefined, signal: AbortSignal): Promise<{ bytes: number }> {
    const path = join(this.#incoming, id);
    await this.#room.take(size ?? 0);
    const handle = await translated(doing.write, open(path, 'wx', 0o600));
    try {
      let bytes: number;
      try {
        bytes = await this.#fill(handle, source, size, signal);
        if (this.#durable) await translated(doing.write, handle.datasync());
      } finally {
        await translated(doing.write, handle.close());
      }
      signal.throwIfAborted();
      await translated(doing.write, this.#name(path, id));
      return { bytes };
    } catch (error) {
      await rm(path, { force: true }).catch(() => undefined); // it goes at the next start
      throw error;
    }
  }

  async #fill(handle: FileHandle, source: AsyncIterable<Uint8Array>, size: number | undefined, signal: AbortSignal): Promise<number> {
    let bytes = 0;
    let sinceSync = 0;
    // What was written earlier goes to the disk meanwhile.
    let syncing: Promise<void> = Promise.resolve();
    try {
      for await (const piece of source) {
        signal.throwIfAborted();
        bytes += piece.length;
        if (size === undefined) await this.#room.take(piece.length);
        else if (bytes > size) throw unexpected(size, bytes);
        await translated(doing.write, writeAll(handle, piece));
        sinceSync += piece.length;
        if (!this.#durable || sinceSync < SYNC_BYTES) continue;
        await translated(doing.write, syncing);
        sinceSync = 0;
        syncing = handle.datasync();
        syncing.catch(() => undefined); // it is looked at before the next one, and at the end
      }
      if (size !== undefined && bytes !== size) throw unexpected(size, bytes);
      await translated(doing.write, syncing);
      return bytes;
    } finally {
      // Nothing may be under way when the file is closed.
      await Promise.allSettled([syncing]);
    }
  }

  /** Gives the file its name for good. */
  async #name(from: string, id: string): Promise<void> {
    const directory = join(this.#blobs, id.slice(0, TIME_DIGITS));
    for (let attempt = 1; ; attempt += 1) {
      if (!this.#made.has(directory)) {
        await makeOne(directory);
        await this.#directories.sync(this.#blobs);
        this.#made.add(directory);
      }
      try {
        if (await exists(this.#path(id))) throw new DriverError('failed', `There is a blob ${id} already`);
        await rename(from, this.#path(id));
        break;
      } catch (error) {
        // It was empty, and was removed after we saw it.
        if (codeOf(error) !== 'ENOENT' || attempt > 3) throw error;
        this.#made.delete(directory);
      }
    }
    await this.#directories.sync(directory);
  }

  async *get(id: string, { start, end }: { start: number; end: number | undefined }, signal: AbortSignal): AsyncGenerator<Buffer> {
    let handle: FileHandle;
    try {
      handle = await open(this.#path(id), 'r');
    } catch (error) {
      throw codeOf(error) === 'ENOENT' ? new DriverError('failed', `There is no blob ${id}`, { cause: error }) : driverError(error, doing.read);
    }
    try {
      const { size } = await translated(doing.read, handle.stat());
      const to = end ?? size;
      if (start > size || to > size) throw new DriverError('failed', `The blob ${id} is shorter than it should be`);
      let at = start;
      const next = (): Promise<Buffer> | undefined => {
        if (at >= to) return undefined;
        const piece = readAll(handle, Math.min(READ_BYTES, to - at), at, id);
        piece.catch(() => undefined); // whoever stops reading does not look at what was read ahead
        at += READ_BYTES;
        return piece;
      };
      for (let ahead = next(); ahead !== undefined; ) {
        signal.throwIfAborted();
        const piece = await ahead;
        ahead = next();
        yield piece;
      }
    } finally {
      await handle.close(); // waits for what is being read ahead
    }
  }

  async remove(ids: readonly string[]): Promise<void> {
    const touched = new Set<string>();
    for (const id of ids) {
      try {
        await unlink(this.#path(id));
        touched.add(id.slice(0, TIME_DIGITS));
      } catch (error) {
        if (codeOf(error) !== 'ENOENT') throw driverError(error, doing.remove);
      }
      await rm(join(this.#incoming, id), { force: true });
    }
    // Not synced: a blob that comes back after loss of power is one that nobody names, and goes with those.
    for (const time of touched) {
      const directory = join(this.#blobs, time);
      try {
        await rmdir(directory);
        this.#made.delete(directory);
      } catch (error) {
        if (codeOf(error) !== 'ENOTEMPTY' && codeOf(error) !== 'ENOENT' && codeOf(error) !== 'EEXIST') throw driverError(error, doing.remove);
      }
    }
  }

  /** `onward`: the page after the one that was given last. */
  async list(after: string, limit: number, onward: boolean): Promise<StoredBlob[]> {
    const found: StoredBlob[] = [];
    const times = (await translated(doing.list, readdir(this.#blobs))).filter((time) => time >= after.slice(0, TIME_DIGITS)).sort();
    for (const time of times) {
      const names = onward && this.#walk?.time === time ? this.#walk.names : (await this.#namesOf(time)).sort();
      this.#walk = { time, names };
      for (let at = firstAfter(names, after); at < names.length && found.length < limit; at += STATS_AT_ONCE) {
        const some = names.slice(at, at + Math.min(STATS_AT_ONCE, limit - found.length));
        found.push(...(await Promise.all(some.map((id) => this.#stat(id)))).filter((blob) => blob !== undefined));
      }
      if (found.length >= limit) break;
    }
    return found;
  }

  async #namesOf(time: string): Promise<string[]> {
    try {
      return await readdir(join(this.#blobs, time));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return [];
      throw driverError(error, doing.list);
    }
  }

  async #stat(id: string): Promise<StoredBlob | undefined> {
    try {
      const { size, mtimeMs } = await stat(this.#path(id));
      return { id, bytes: size, createdAt: Math.floor(mtimeMs) };
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw driverError(error, doing.list);
    }
  }
}

export const unexpected = (size: number, bytes: number): DriverError =>
  new DriverError('failed', bytes > size ? `More than the ${size} bytes that were announced came` : `Only ${bytes} of ${size} bytes came`);

async function writeAll(handle: FileHandle, piece: Uint8Array): Promise<void> {
  // A disk that fills up takes a part, and says why with the next call.
  for (let at = 0; at < piece.length; ) at += (await handle.write(piece, at)).bytesWritten;
}

async function readAll(handle: FileHandle, length: number, position: number, id: string): Promise<Buffer> {
  const buffer = Buffer.allocUnsafeSlow(length);
  for (let at = 0; at < length; ) {
    const { bytesRead } = await translated(doing.read, handle.read(buffer, at, length - at, position + at));
    if (bytesRead === 0) throw new DriverError('failed', `The blob ${id} is shorter than it should be`);
    at += bytesRead;
  }
  return buffer;
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Of sorted names. */
function firstAfter(names: readonly string[], after: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((names[middle] as string) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}
