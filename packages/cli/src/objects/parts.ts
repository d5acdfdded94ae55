// How bytes are cut into parts, and what their ETags are: the MD5 of one part, or the MD5 of the MD5s of several (`…-<parts>`).
import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { usage } from '../base.ts';

const MIB = 2 ** 20;
/** Of S3. */
export const MOST_PARTS = 10_000;
const LEAST_PART = 5 * MIB;
const MOST_PART = 5 * 2 ** 30;
const DEFAULT_PART = 16 * MIB;
/** What is not larger than so many parts goes as one: starting and completing an upload would cost more than it gains. */
const WORTH = 4;
/** Of one file or object, and of large ones together. */
export const AT_ONCE = 4;
/** Of small ones. Most of their time is the disk of the daemon, which takes what comes together in one go. */
export const SMALL_AT_ONCE = 32;
export const SMALL = MIB;

export interface Range {
  /** From 1. */
  number: number;
  start: number;
  size: number;
}

/** As large as asked for, or larger where there would be too many. */
export function partSizeFor(size: number, wanted: number | undefined): number {
  let part = wanted ?? DEFAULT_PART;
  while (Math.ceil(size / part) > MOST_PARTS) part *= 2;
  return part;
}

export const inParts = (size: number, wanted: number | undefined): boolean => size > (wanted ?? DEFAULT_PART * WORTH);

export function rangesOf(size: number, part: number): Range[] {
  const count = Math.max(1, Math.ceil(size / part));
  return Array.from({ length: count }, (_, index) => ({ number: index + 1, start: index * part, size: Math.min(part, size - index * part) }));
}

const UNITS: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: MIB, g: 2 ** 30 };

/** `16MiB`, `16M`, or a number of bytes. */
export function partSizeFrom(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const match = /^(\d+)\s*([kmg]?)(?:i?b)?$/i.exec(text);
  const size = match === null ? Number.NaN : Number(match[1]) * (UNITS[(match[2] ?? '').toLowerCase()] as number);
  if (Number.isNaN(size)) throw usage(`--part-size: "${text}" is not a size such as 16MiB`);
  if (size < LEAST_PART || size > MOST_PART) throw usage('--part-size: parts have 5 MiB to 5 GiB');
  return size;
}

/** ETag of an upload in parts, of the ETags of the parts. */
export const etagOfParts = (etags: readonly string[]): string =>
  `${createHash('md5')
    .update(Buffer.concat(etags.map((etag) => Buffer.from(etag, 'hex'))))
    .digest('hex')}-${etags.length}`;

/** An ETag that says something of the bytes. */
export const MD5 = /^[0-9a-f]{32}$/;
const OF_PARTS = /^[0-9a-f]{32}-(\d+)$/;

const PIECE = 256 * 1024;

/** Bytes of a file as they lie there. Ends early where the file does. */
export async function* piecesOf(file: FileHandle, start: number, size: number, signal?: AbortSignal): AsyncGenerator<Buffer> {
  for (let at = 0; at < size; ) {
    signal?.throwIfAborted();
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(Math.min(PIECE, size - at)), 0, Math.min(PIECE, size - at), start + at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

export async function md5Of(file: FileHandle, { start, size }: Pick<Range, 'start' | 'size'>, signal?: AbortSignal): Promise<string> {
  const hash = createHash('md5');
  for await (const piece of piecesOf(file, start, size, signal)) hash.update(piece);
  return hash.digest('hex');
}

/**
 * Whether a file of this size has the bytes that the ETag tells of. Undefined: it cannot be told, because nobody knows how the upload was cut. Sizes
 * of parts that are tried: the one asked for, ours, and whole MiB that give this number of parts, as other clients choose them.
 */
export async function hasBytesOf(file: FileHandle, size: number, etag: string, wanted: number | undefined, signal?: AbortSignal): Promise<boolean | undefined> {
  if (MD5.test(etag)) return (await md5Of(file, { start: 0, size }, signal)) === etag;
  const count = Number(OF_PARTS.exec(etag)?.[1] ?? 0);
  if (count === 0) return undefined;
  for (const part of cuts(size, count, wanted)) {
    const etags: string[] = [];
    for (const range of rangesOf(size, part)) etags.push(await md5Of(file, range, signal));
    if (etagOfParts(etags) === etag) return true;
  }
  return undefined;
}

function cuts(size: number, count: number, wanted: number | undefined): number[] {
  const common = [5, 8, 16, 32, 64, 100, 128, 256, 512, 1024].map((one) => one * MIB);
  return [...new Set([partSizeFor(size, wanted), ...common])].filter((part) => Math.max(1, Math.ceil(size / part)) === count).slice(0, 2);
}

/** Runs many small ones at once, and of them only a few that are large. */
export async function severalSizes<T extends { size: number }>(
  items: Iterable<T> | AsyncIterable<T>,
  atOnce: { parallel: number; smallParallel: number },
  work: (item: T) => Promise<void>,
): Promise<void> {
  let free = atOnce.parallel;
  let failed = false;
  const waiting: (() => void)[] = [];
  await together(items, Math.max(atOnce.parallel, atOnce.smallParallel), async (item) => {
    const large = item.size > SMALL;
    // Whoever ends gives its place on, without freeing it in between.
    if (large && free === 0) await new Promise<void>((place) => waiting.push(place));
    else if (large) free--;
    try {
      if (!failed) await work(item);
    } catch (error) {
      failed = true;
      throw error;
    } finally {
      const next = large ? waiting.shift() : undefined;
      if (next !== undefined) next();
      else if (large) free++;
    }
  });
}

/** Runs so many at once. The first that fails keeps the rest from being begun; what is under way ends first. */
export async function together<T>(items: Iterable<T> | AsyncIterable<T>, atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const iterator: Iterator<T> | AsyncIterator<T> = Symbol.asyncIterator in items ? items[Symbol.asyncIterator]() : items[Symbol.iterator]();
  let failure: { error: unknown } | undefined;
  // One after another asks for the next: generators give one at a time.
  let turn: Promise<unknown> = Promise.resolve();
  const next = (): Promise<IteratorResult<T>> => {
    const asked = turn.then(() => iterator.next());
    turn = asked.catch(() => undefined);
    return asked;
  };
  const worker = async (): Promise<void> => {
    while (failure === undefined) {
      try {
        const { done, value } = await next();
        if (done === true || failure !== undefined) return;
        await work(value);
      } catch (error) {
        failure ??= { error };
      }
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  if (failure !== undefined) {
    await iterator.return?.();
    throw failure.error;
  }
}
