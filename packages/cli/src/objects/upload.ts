// Files to objects. Large ones in parts, several at once; an upload that broke off is gone on with, as far as what is there is what is here.
import { createHash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { Fault } from '@thecloud/core/contracts';
import { type About, isThere, type Objects, type ObjectView, type Part } from './calls.ts';
import { type ObjectName, textOf } from './name.ts';
import { etagOfParts, inParts, MD5, md5Of, partSizeFor, piecesOf, type Range, rangesOf, together } from './parts.ts';

/** Hears of bytes that went over, or that were there before. */
export type Count = (bytes: number, before?: true) => void;

export interface Sending {
  objects: Objects;
  signal: AbortSignal;
  count: Count;
  parallel: number;
  partSize: number | undefined;
  /** Go on with an upload of this file that is open. */
  resume: boolean;
  ifNoneMatch?: boolean | undefined;
  ifMatch?: string | undefined;
  md5?: string | undefined;
}

/** Metadata of an object that tells when its file was changed: seconds, as rclone writes and reads them. */
const MTIME = 'mtime';
export const mtimeText = (milliseconds: number): string => (Math.floor(milliseconds) / 1000).toString();
/** Milliseconds; undefined where it says nothing, or nothing that is a time. */
export function mtimeFrom(metadata: Readonly<Record<string, string>>): number | undefined {
  const match = /^(\d{1,12})(?:\.(\d+))?$/.exec(metadata[MTIME] ?? '');
  return match === null ? undefined : Number(match[1]) * 1000 + Number((match[2] ?? '').padEnd(3, '0').slice(0, 3));
}
/** Times go through seconds with a fraction, which loses a little. */
export const sameTime = (a: number, b: number): boolean => Math.abs(a - b) <= 2;

export async function uploadFile(path: string, name: ObjectName, about: About, sending: Sending): Promise<ObjectView> {
  const file = await openFile(path);
  try {
    const { size, mtimeMs } = await file.stat();
    const unchanged = async (): Promise<void> => {
      const now = await file.stat();
      if (now.size !== size || now.mtimeMs !== mtimeMs) throw new Fault('conflict', `${path} changed while it was being read; nothing was written`);
    };
    const given = about['metadata'] as Record<string, string> | undefined;
    const whole = { ...about, metadata: { [MTIME]: mtimeText(mtimeMs), ...given } };
    // What is asked of the whole at once cannot be asked of parts.
    if (!inParts(size, sending.partSize) || sending.ifMatch !== undefined || sending.md5 !== undefined)
      return await inOne(file, size, name, whole, sending, unchanged);
    if (sending.ifNoneMatch && (await isThere(sending.objects, name)) !== undefined) throw thereAlready(name);
    return await uploadInParts(file, { size, mtimeMs }, name, whole, sending, unchanged);
  } finally {
    await file.close();
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw unreadable(path, error);
  }
}

export function unreadable(path: string, error: unknown): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return new Fault('invalid_input', `There is no ${path}`);
  if (code === 'EACCES' || code === 'EPERM') return new Fault('invalid_input', `${path} may not be read by this user`);
  if (code === 'EISDIR') return new Fault('invalid_input', `${path} is a directory; --recursive sends what is in it`);
  return code === undefined ? error : new Fault('invalid_input', `${path} cannot be read (${code})`, { cause: error });
}

async function inOne(
  file: FileHandle,
  size: number,
  name: ObjectName,
  about: About,
  { objects, signal, count, ifNoneMatch, ifMatch, md5 }: Sending,
  unchanged: () => Promise<void>,
): Promise<ObjectView> {
  const hash = createHash('md5');
  let sent = 0;
  const bytes = async function* (): AsyncGenerator<Buffer> {
    for await (const piece of piecesOf(file, 0, size, signal)) {
      hash.update(piece);
      sent += piece.length;
      count(piece.length);
      yield piece;
    }
    // Before the end is told: what was changed meanwhile does not become an object.
    await unchanged();
  };
  try {
    const input = {
      ...about,
      size,
      ...(ifNoneMatch ? { ifNoneMatch } : {}),
      ...(ifMatch === undefined ? {} : { ifMatch }),
      ...(md5 === undefined ? {} : { md5 }),
    };
    const view = await objects.put(name, input, bytes());
    compare(name, view.etag, hash.digest('hex'));
    return view;
  } catch (error) {
    count(-sent);
    throw unmet(error, name, ifNoneMatch);
  }
}

const thereAlready = (name: ObjectName): Fault => new Fault('stale', `There is ${textOf(name)} already`);
/** Which condition it was, is known here. */
const unmet = (error: unknown, name: ObjectName, ifNoneMatch: boolean | undefined): unknown =>
  ifNoneMatch === true && error instanceof Fault && error.code === 'stale' ? thereAlready(name) : error;

/** Both ends counted; they must have counted the same bytes. */
function compare({ key }: ObjectName, etag: string, expected: string): void {
  if (MD5.test(etag.slice(0, 32)) && etag !== expected) {
    throw new Fault('internal', `${key}: what was written (${etag}) is not what was sent (${expected}); write it again`);
  }
}

async function uploadInParts(
  file: FileHandle,
  { size, mtimeMs }: { size: number; mtimeMs: number },
  name: ObjectName,
  about: About,
  sending: Sending,
  unchanged: () => Promise<void>,
): Promise<ObjectView> {
  const { objects, signal, count, parallel, ifNoneMatch } = sending;
  const found = sending.resume ? await openUpload(file, { size, mtimeMs }, name, sending) : undefined;
  const upload = found?.upload ?? (await objects.uploadStart(name, about)).upload;
  const etags = found?.etags ?? new Map<number, string>();
  const ranges = rangesOf(size, found?.partSize ?? partSizeFor(size, sending.partSize));
  count(
    ranges.reduce((sum, range) => sum + (etags.has(range.number) ? range.size : 0), 0),
    true,
  );
  try {
    await together(
      ranges.filter(({ number }) => !etags.has(number)),
      parallel,
      async (range) => void etags.set(range.number, await sendPart(file, range, name, upload, sending)),
    );
    await unchanged();
    const parts = ranges.map(({ number }) => ({ number, etag: etags.get(number) as string }));
    const view = await objects.uploadComplete(name, { upload, parts, ...(ifNoneMatch ? { ifNoneMatch } : {}) });
    compare(name, view.etag, etagOfParts(parts.map(({ etag }) => etag)));
    return view;
  } catch (error) {
    throw await leftOpen(error, objects, name, upload, signal);
  }
}

async function sendPart(file: FileHandle, range: Range, name: ObjectName, upload: string, { objects, signal, count }: Sending): Promise<string> {
  const hash = createHash('md5');
  let sent = 0;
  const bytes = async function* (): AsyncGenerator<Buffer> {
    for await (const piece of piecesOf(file, range.start, range.size, signal)) {
      hash.update(piece);
      sent += piece.length;
      count(piece.length);
      yield piece;
    }
  };
  try {
    const { etag } = await objects.uploadPart(name, { upload, number: range.number, size: range.size }, bytes());
    compare(name, etag, hash.digest('hex'));
    return etag;
  } catch (error) {
    count(-sent);
    throw error;
  }
}

/** Where the daemon or the caller went away, the upload stays and can be gone on with; what was refused is given up, so that its parts take no room. */
async function leftOpen(error: unknown, objects: Objects, name: ObjectName, upload: string, signal: AbortSignal): Promise<unknown> {
  const lost = signal.aborted || (error instanceof Fault && ['unavailable', 'timeout', 'unauthenticated', 'rate_limited'].includes(error.code));
  if (lost) return new Unfinished(error);
  try {
    await objects.uploadAbort(name, upload);
  } catch (second) {
    if (!(second instanceof Fault)) throw second;
    // The first failure is the one to be told; parts that stay are what `object uploads` lists.
  }
  return error;
}

/** Broke off with parts that are there: whoever tells it may say how to go on. */
export class Unfinished extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
    this.name = 'Unfinished';
  }
}

interface Open {
  upload: string;
  partSize: number;
  /** By number, of parts that are there and whole. */
  etags: Map<number, string>;
}

/** The open upload of which the most is there that this file has, too. One that began before the file was changed is another file's. */
async function openUpload(
  file: FileHandle,
  { size, mtimeMs }: { size: number; mtimeMs: number },
  name: ObjectName,
  sending: Sending,
): Promise<Open | undefined> {
  let best: Open | undefined;
  for (const { upload, startedAt } of await sending.objects.uploads(name)) {
    if (Date.parse(startedAt) < Math.floor(mtimeMs)) continue;
    const parts = await sending.objects.uploadParts(name, upload);
    const found = await sameParts(file, size, parts, sending);
    if (found !== undefined && found.etags.size > (best?.etags.size ?? 0)) best = { upload, ...found };
  }
  return best;
}

async function sameParts(file: FileHandle, size: number, parts: readonly Part[], { partSize, signal }: Sending): Promise<Omit<Open, 'upload'> | undefined> {
  // All but the last are of one size; a lone last part tells nothing of it.
  const cut = Math.max(0, ...parts.map((part) => part.size));
  const chosen = [partSizeFor(size, partSize), cut].find((one) => one > 0 && fits(parts, rangesOf(size, one)));
  if (chosen === undefined) return undefined;
  const ranges = rangesOf(size, chosen);
  const etags = new Map<number, string>();
  for (const { number, etag } of parts) {
    if ((await md5Of(file, ranges[number - 1] as Range, signal)) === etag) etags.set(number, etag);
  }
  return etags.size === 0 ? undefined : { partSize: chosen, etags };
}

const fits = (parts: readonly Part[], ranges: readonly Range[]): boolean => parts.every(({ number, size }) => ranges[number - 1]?.size === size);

/** What comes without a size: one object while it is small, else parts that are sent as they come, one after another. */
export async function uploadStream(source: AsyncIterable<Uint8Array>, name: ObjectName, about: About, sending: Sending): Promise<ObjectView> {
  const { objects, signal, count, ifNoneMatch, ifMatch, md5 } = sending;
  const input = new Chunks(source);
  const hash = createHash('md5');
  const counted = async function* (bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of bytes) {
      signal.throwIfAborted();
      hash.update(piece);
      count(piece.length);
      yield piece;
    }
  };
  const whole = { ...(ifNoneMatch ? { ifNoneMatch } : {}), ...(ifMatch === undefined ? {} : { ifMatch }), ...(md5 === undefined ? {} : { md5 }) };
  const small = await input.ahead(STREAM_IN_ONE);
  if (small || ifMatch !== undefined || md5 !== undefined || about['size'] !== undefined) {
    const view = await objects.put(name, { ...about, ...whole }, counted(input.take(Number.POSITIVE_INFINITY)));
    compare(name, view.etag, hash.digest('hex'));
    return view;
  }
  const { upload } = await objects.uploadStart(name, about);
  const parts: { number: number; etag: string }[] = [];
  try {
    for (let number = 1; number === 1 || !(await input.ahead(1)); number++) {
      const part = createHash('md5');
      const bytes = async function* (): AsyncGenerator<Uint8Array> {
        for await (const piece of counted(input.take(streamPart(number, sending.partSize)))) {
          part.update(piece);
          yield piece;
        }
      };
      const { etag } = await objects.uploadPart(name, { upload, number }, bytes());
      compare(name, etag, part.digest('hex'));
      parts.push({ number, etag });
    }
    const view = await objects.uploadComplete(name, { upload, parts, ...(ifNoneMatch ? { ifNoneMatch } : {}) });
    compare(name, view.etag, etagOfParts(parts.map(({ etag }) => etag)));
    return view;
  } catch (error) {
    // What was read from a pipe cannot be read again: nobody can go on with it.
    await objects.uploadAbort(name, upload).catch((second: unknown) => {
      if (!(second instanceof Fault) && !signal.aborted) throw second;
    });
    throw error;
  }
}

const STREAM_IN_ONE = 8 * 2 ** 20;

/** Parts grow, so that 10,000 of them hold as much as an object can have, and small streams do not wait for large parts. */
const streamPart = (number: number, wanted: number | undefined): number => wanted ?? Math.min(2 ** 30, 16 * 2 ** 20 * 2 ** Math.floor((number - 1) / 1000));

/** Bytes that come in pieces of any size, taken in amounts. */
class Chunks {
  readonly #source: AsyncIterator<Uint8Array>;
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #ended = false;

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]();
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const { done, value } = await this.#source.next();
    if (done === true) {
      this.#ended = true;
      return false;
    }
    this.#held.push(value);
    this.#heldBytes += value.length;
    return true;
  }

  /** Whether it ends within so many bytes, which are kept for whoever takes them. */
  async ahead(bytes: number): Promise<boolean> {
    while (this.#heldBytes < bytes) if (!(await this.#more())) return true;
    return false;
  }

  async *take(bytes: number): AsyncGenerator<Uint8Array> {
    for (let left = bytes; left > 0; ) {
      const piece = this.#held.shift();
      if (piece === undefined) {
        if (!(await this.#more())) return;
        continue;
      }
      const part = piece.length > left ? piece.subarray(0, left) : piece;
      if (part.length < piece.length) this.#held.unshift(piece.subarray(part.length));
      this.#heldBytes -= part.length;
      left -= part.length;
      yield part;
    }
  }
}
