// The way out: asks the object store for the segments that a range touches, opens one after the other and gives what was asked for.
import type { ObjectStoreDriver } from '../driver.ts';
import type { StoredBody } from './body-types.ts';
import { SEALED_SEGMENT_BYTES, SEGMENT_BYTES, type Sealing, sealedSize, segmentsOf, TAG_BYTES } from './seal.ts';
import { ObjectError } from './types.ts';
import { passed } from './young.ts';

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
    passed(chunk.length);
    pieces.push(chunk);
    held += chunk.length;
    for (;;) {
      const length = index === last ? sealedSize(body.size) - last * SEALED_SEGMENT_BYTES : SEALED_SEGMENT_BYTES;
      if (held < length || index > lastWanted) break;
      const [sealed, rest] = cut(pieces, length - TAG_BYTES);
      const [tag, after] = cut(rest, TAG_BYTES);
      pieces = after;
      held -= length;
      let plain: Buffer[];
      try {
        plain = sealing.open(index, index === last, sealed, tag.length === 1 ? (tag[0] as Buffer) : Buffer.concat(tag));
      } catch (error) {
        throw new ObjectError('damaged', 'The stored bytes are not those that were written', { blob: body.blob, segment: index }, { cause: error });
      }
      let at = index * SEGMENT_BYTES;
      for (const piece of plain) {
        const from = Math.max(0, start - at);
        const to = Math.min(piece.length, end + 1 - at);
        if (from < to) yield from === 0 && to === piece.length ? piece : piece.subarray(from, to);
        at += piece.length;
      }
      index += 1;
    }
  }
  if (index <= lastWanted || held > 0) throw wrongLength(body);
}

async function* asTheyLie(store: ObjectStoreDriver, body: StoredBody, range: { start: number; end: number }, signal: AbortSignal): AsyncGenerator<Buffer> {
  let left = range.end + 1 - range.start;
  if (left === 0) return;
  for await (const chunk of store.get(body.blob, { start: range.start, end: range.end + 1 }, signal)) {
    passed(chunk.length);
    left -= chunk.length;
    if (left < 0) break;
    yield chunk;
  }
  if (left !== 0) throw wrongLength(body);
}

const wrongLength = (body: StoredBody): ObjectError => new ObjectError('damaged', 'The stored bytes are fewer or more than were written', { blob: body.blob });

/** The first `length` bytes, and the rest. */
function cut(pieces: readonly Buffer[], length: number): [Buffer[], Buffer[]] {
  const first: Buffer[] = [];
  let at = 0;
  for (let left = length; left > 0; ) {
    const piece = pieces[at] as Buffer;
    if (piece.length > left) {
      first.push(piece.subarray(0, left));
      return [first, [piece.subarray(left), ...pieces.slice(at + 1)]];
    }
    first.push(piece);
    left -= piece.length;
    at += 1;
  }
  return [first, pieces.slice(at)];
}
