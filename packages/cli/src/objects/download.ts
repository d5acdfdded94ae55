// Objects to files: in ranges, several at once, into a file beside the one it is to become. What broke off is gone on with; nobody ever sees half a file.
import { createHash } from 'node:crypto';
import { constants, type FileHandle, open, rename, rm, stat, utimes } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import type { Objects, ObjectView } from './calls.ts';
import { type ObjectName, partName, textOf } from './name.ts';
import { etagOfParts, hasBytesOf, inParts, MD5, partSizeFor, type Range, rangesOf, together } from './parts.ts';
import { type Count, mtimeFrom } from './upload.ts';

export interface Fetching {
  objects: Objects;
  signal: AbortSignal;
  count: Count;
  parallel: number;
  partSize: number | undefined;
  version?: string | undefined;
}

export async function downloadFile(name: ObjectName, view: ObjectView, path: string, fetching: Fetching): Promise<void> {
  const beside = join(dirname(path), partName(basename(path), view.etag));
  const parts = await PartFile.open(beside, view, fetching);
  try {
    fetching.count(
      parts.ranges.reduce((sum, range) => sum + (parts.has(range) ? range.size : 0), 0),
      true,
    );
    await together(
      parts.ranges.filter((range) => !parts.has(range)),
      fetching.parallel,
      (range) => fetchRange(name, view, range, parts, fetching),
    );
    await parts.complete(name, fetching.signal);
    const before = await stat(path).catch(absent);
    // Not what it would run as: these are other bytes.
    if (before !== undefined) await parts.file.chmod(before.mode & 0o777);
  } catch (error) {
    await parts.file.close();
    // Bytes of an object that is no longer there, or is broken, are of no use to a next time.
    if (error instanceof Fault && (error.code === 'stale' || error.code === 'internal')) await rm(beside, { force: true });
    throw error;
  }
  await parts.file.close();
  const changed = new Date(mtimeFrom(view.metadata) ?? Date.parse(view.modifiedAt));
  await utimes(beside, changed, changed);
  await rename(beside, path);
}

const absent = (error: NodeJS.ErrnoException): undefined => {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
};

async function fetchRange(name: ObjectName, { etag }: ObjectView, range: Range, parts: PartFile, { objects, count, version }: Fetching): Promise<void> {
  const hash = createHash('md5');
  let at = 0;
  const which = parts.ranges.length === 1 ? {} : { start: range.start, end: range.start + range.size - 1 };
  try {
    for await (const piece of objects.get(name, { ...which, ifMatch: etag, ...(version === undefined ? {} : { version }) })) {
      if (at + piece.length > range.size) throw new Fault('internal', `${textOf(name)}: more bytes came than the object has`);
      await parts.file.write(piece, 0, piece.length, range.start + at);
      hash.update(piece);
      at += piece.length;
      count(piece.length);
    }
    if (at !== range.size) throw new Fault('unavailable', `${textOf(name)}: the bytes ended early, after ${at} of ${range.size}`);
    await parts.mark(range, hash.digest());
  } catch (error) {
    count(-at);
    throw error;
  }
}

/**
 * A file that becomes an object: its bytes in their places, and behind them what is known of the parts: the MD5 of each one that is whole (zeros
 * while it is not), and their size. A part is marked when it is on the disk, so that a mark is true after a power failure, too.
 */
class PartFile {
  readonly file: FileHandle;
  readonly ranges: readonly Range[];
  readonly #view: ObjectView;
  readonly #marks: Buffer;
  readonly #partSize: number;

  private constructor(file: FileHandle, view: ObjectView, partSize: number, marks: Buffer) {
    this.file = file;
    this.#view = view;
    this.#partSize = partSize;
    this.ranges = rangesOf(view.size, partSize);
    this.#marks = marks;
  }

  static async open(path: string, view: ObjectView, { partSize: wanted }: Pick<Fetching, 'partSize'>): Promise<PartFile> {
    // Its name can be known before: in a directory of all a link or file of somebody else's may lie there.
    const file = await open(path, constants.O_RDWR | constants.O_NOFOLLOW).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return open(path, 'wx+');
      if (error.code === 'ELOOP') throw strange(path);
      throw error;
    });
    try {
      const { uid, nlink } = await file.stat();
      if (nlink > 1 || (process.getuid !== undefined && uid !== process.getuid())) throw strange(path);
      const found = await PartFile.#read(file, view);
      if (found !== undefined) return found;
      const partSize = sizeFor(view, wanted);
      const parts = new PartFile(file, view, partSize, Buffer.alloc(rangesOf(view.size, partSize).length * MARK));
      await file.truncate(0);
      const tail = Buffer.alloc(TAIL);
      tail.writeBigUInt64BE(BigInt(partSize));
      await file.write(Buffer.concat([parts.#marks, tail]), 0, parts.#marks.length + TAIL, view.size);
      return parts;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  static async #read(file: FileHandle, view: ObjectView): Promise<PartFile | undefined> {
    const { size } = await file.stat();
    if (size < view.size + MARK + TAIL) return undefined;
    const behind = Buffer.alloc(size - view.size);
    await file.read(behind, 0, behind.length, view.size);
    const partSize = Number(behind.readBigUInt64BE(behind.length - TAIL));
    if (partSize < 1 || behind.length !== rangesOf(view.size, partSize).length * MARK + TAIL) return undefined;
    return new PartFile(file, view, partSize, behind.subarray(0, behind.length - TAIL));
  }

  #markOf({ number }: Range): Buffer {
    return this.#marks.subarray((number - 1) * MARK, number * MARK);
  }
  has(range: Range): boolean {
    return this.#markOf(range).some((byte) => byte !== 0);
  }

  async mark(range: Range, md5: Buffer): Promise<void> {
    if (this.ranges.length > 1) await this.file.datasync();
    md5.copy(this.#markOf(range));
    await this.file.write(md5, 0, MARK, this.#view.size + (range.number - 1) * MARK);
  }

  /** All are there: are they what the object is? Then only its bytes stay. */
  async complete(name: ObjectName, signal: AbortSignal): Promise<void> {
    const { etag, size } = this.#view;
    const md5s = this.ranges.map((range) => this.#markOf(range).toString('hex'));
    const known =
      this.ranges.length === 1 && MD5.test(etag)
        ? md5s[0] === etag
        : etagOfParts(md5s) === etag || (await hasBytesOf(this.file, size, etag, this.#partSize, signal));
    if (known === false) throw new Fault('internal', `${textOf(name)}: what came is not what its ETag says; nothing was written`);
    await this.file.truncate(size);
    await this.file.datasync();
  }
}

const strange = (path: string): Fault =>
  new Fault('conflict', `${path} is no download of yours that broke off; nothing was written`, { hint: `ls -l ${path}` });

const MARK = 16;
const TAIL = 8;

/** As it was cut when it was written, where that can be told: then the marks make up the ETag, and nothing is read again to check it. */
function sizeFor({ size, parts }: ObjectView, wanted: number | undefined): number {
  if (!inParts(size, wanted)) return Math.max(1, size);
  const part = partSizeFor(size, wanted);
  if (parts === undefined || Math.ceil(size / part) === parts) return part;
  const MIB = 2 ** 20;
  const cut = Math.ceil(size / parts / MIB) * MIB;
  return cut >= MIB && cut <= 64 * MIB && Math.ceil(size / cut) === parts ? cut : part;
}

/** Standard output: as it comes, in one go. */
export async function* downloadStream(name: ObjectName, { objects, count, version }: Fetching): AsyncGenerator<Uint8Array> {
  const hash = createHash('md5');
  const view = await objects.head(name, version);
  for await (const piece of objects.get(name, { ifMatch: view.etag, ...(version === undefined ? {} : { version }) })) {
    hash.update(piece);
    count(piece.length);
    yield piece;
  }
  if (MD5.test(view.etag) && hash.digest('hex') !== view.etag)
    throw new Fault('internal', `${textOf(name)}: what came is not what its ETag says; do not use what was written`);
}

/** Whether a file is what the object is. Undefined: its ETag does not tell. */
export async function sameBytes(path: string, size: number, etag: string, partSize: number | undefined, signal: AbortSignal): Promise<boolean | undefined> {
  const file = await open(path, 'r');
  try {
    return await hasBytesOf(file, size, etag, partSize, signal);
  } finally {
    await file.close();
  }
}
