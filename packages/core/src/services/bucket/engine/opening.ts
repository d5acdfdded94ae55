// The way out: asks the object store for the segments that a range touches, opens one after the other and gives what was asked for.
import type { ObjectStoreDriver } from '../driver.ts';
import type { StoredBody } from './body-types.ts';
import { release } from './memory.ts';
import { SEALED_SEGMENT_BYTES, SEGMENT_BYTES, type Sealing, sealedSize, segmentsOf, TAG_BYTES } from './seal.ts';
import { ObjectError } from './types.ts';

/** Both ends included; of an empty run `end` is -1. Rejects with `damaged`, or with what the object store threw. */
export async function* opened(
  store: ObjectStoreDriver,
  body: StoredBody,
  sealing: Sealing | undefined,
  { start, end }: { start: number; end: number },
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  if (sealing === undefined) {
    yield* asTheyLie(store, body, { start, end }, signal);
    return;
  }
  const last = segmentsOf(body.size) - 1;
  let index = Math.floor(start / SEGMENT_BYTES);
  const lastWanted = Math.max(index, Math.floor(end / SEGMENT_BYTES));
  const stored = { start: index * SEALED_SEGMENT_BYTES, end: Math.min((lastWanted + 1) * SEALED_SEGMENT_BYTES, sealedSize(body.size)) };

  let pieces: Buffer[] = [];
  let held = 0;
  for await (const chunk of store.get(body.blob, stored, signal)) {
    pieces.push(chunk);
    held += chunk.length;
    if (index > lastWanted || held < sealedLength(body, index, last)) continue;
    const sealed = together(pieces);
    const plain = new Plain(
      Math.min(end + 1, body.size, (index + segmentsIn(body, index, last, held)) * SEGMENT_BYTES) - Math.max(start, index * SEGMENT_BYTES),
    );
    let at = 0;
    let damage: ObjectError | undefined;
    for (; index <= lastWanted; index += 1) {
      const length = sealedLength(body, index, last);
      if (held - at < length) break;
      try {
        const [segment] = sealing.open(
          index,
          index === last,
          [sealed.subarray(at, at + length - TAG_BYTES)],
          sealed.subarray(at + length - TAG_BYTES, at + length),
        );
        plain.add(segment as Buffer, start - index * SEGMENT_BYTES, end + 1 - index * SEGMENT_BYTES);
      } catch (error) {
        damage = new ObjectError('damaged', 'The stored bytes are not those that were written', { blob: body.blob, segment: index }, { cause: error });
        break;
      }
      at += length;
    }
    held -= at;
    pieces = held === 0 ? [] : [Buffer.from(sealed.subarray(at))];
    release(sealed);
    const given = plain.bytes();
    if (given !== undefined) yield given;
    if (damage !== undefined) throw damage;
  }
  if (index <= lastWanted || held > 0) throw wrongLength(body);
}

/** The same of a body of one segment whose stored bytes are all there. */
export function openedWhole(stored: Buffer, body: StoredBody, sealing: Sealing | undefined): Buffer {
  if (stored.length !== (sealing === undefined ? body.size : sealedSize(body.size))) throw wrongLength(body);
  if (sealing === undefined) return stored;
  try {
    return sealing.open(0, true, [stored.subarray(0, body.size)], stored.subarray(body.size))[0] as Buffer;
  } catch (error) {
    throw new ObjectError('damaged', 'The stored bytes are not those that were written', { blob: body.blob, segment: 0 }, { cause: error });
  }
}

const sealedLength = (body: StoredBody, index: number, last: number): number =>
  index === last ? sealedSize(body.size) - last * SEALED_SEGMENT_BYTES : SEALED_SEGMENT_BYTES;

/** How many whole ones lie in so many bytes. */
function segmentsIn(body: StoredBody, index: number, last: number, bytes: number): number {
  const full = Math.min(Math.floor(bytes / SEALED_SEGMENT_BYTES), last - index);
  return full + (index + full === last && bytes - full * SEALED_SEGMENT_BYTES >= sealedLength(body, last, last) ? 1 : 0);
}

/** What of opened segments was asked for, in one piece: it goes to a socket, and each write costs. */
class Plain {
  readonly #size: number;
  #bytes: Buffer | undefined;
  length = 0;

  constructor(size: number) {
    this.#size = size;
  }
  add(segment: Buffer, from: number, to: number): void {
    if (this.#bytes === undefined && segment.length === this.#size) {
      this.#bytes = segment;
      this.length = segment.length;
      return;
    }
    this.#bytes ??= Buffer.allocUnsafeSlow(this.#size);
    this.length += segment.copy(this.#bytes, this.length, Math.max(0, from), Math.min(segment.length, to));
    release(segment);
  }
  bytes(): Buffer | undefined {
    return this.length === 0 ? undefined : this.#bytes?.subarray(0, this.length);
  }
}

async function* asTheyLie(store: ObjectStoreDriver, body: StoredBody, range: { start: number; end: number }, signal: AbortSignal): AsyncGenerator<Buffer> {
  let left = range.end + 1 - range.start;
  if (left === 0) return;
  for await (const chunk of store.get(body.blob, { start: range.start, end: range.end + 1 }, signal)) {
    left -= chunk.length;
    if (left < 0) break;
    yield chunk;
  }
  if (left !== 0) throw wrongLength(body);
}

const wrongLength = (body: StoredBody): ObjectError => new ObjectError('damaged', 'The stored bytes are fewer or more than were written', { blob: body.blob });

function together(pieces: readonly Buffer[]): Buffer {
  const [first] = pieces;
  if (pieces.length === 1) return first as Buffer;
  const whole = Buffer.concat(pieces);
  for (const piece of pieces) release(piece);
  return whole;
}
