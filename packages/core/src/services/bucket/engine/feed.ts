// What the object store is given: bytes that were counted, hashed and sealed on the way. Whatever pieces they come in, they are copied once, into blocks of shared
// memory which threads hash while the event loop seals them and others are filled.
import { type Digests, digestsOf, RunningDigests, type Wanted } from './checksums.ts';
import { BLOCK_BYTES, giveBlock, takeBlock } from './hash-threads.ts';
import type { Intake } from './intake.ts';
import { release } from './memory.ts';
import { SEALED_SEGMENT_BYTES, SEGMENT_BYTES, type Sealing } from './seal.ts';
import { type ChecksumAlgorithm, type Expected, ObjectError } from './types.ts';

/** Fewer bytes are hashed here sooner than they are handed over to threads. */
const HERE_BYTES = 256 * 1024;
/** Blocks of one stream that are hashed at a time, besides the one that is being filled. */
const MOST_AHEAD = 2;

/** Each piece is good until the next is asked for. The last comes only when everything about the bytes was found to be as expected. */
export class Feed implements AsyncIterableIterator<Uint8Array> {
  readonly #intake: Intake;
  readonly #sealing: Sealing | undefined;
  readonly #expected: Expected;
  readonly #wanted: Wanted;
  /** What is there before the object store asks: all pieces of a small body, or the beginning of one whose size is not known. */
  #head: Buffer[] = [];
  /** Of the piece that came last: what did not fit into the block. */
  #rest: Buffer | undefined;
  #running: RunningDigests | undefined;
  readonly #hashing: Promise<void>[] = [];
  #index = 0;
  /** Sealed bytes of one block. */
  #sealed: Buffer | undefined;
  /** Given as it is. */
  #given: { block: Buffer; hashed: Promise<void> } | undefined;
  #ended = false;
  #over = false;
  /** Known beforehand when the body is small. */
  size: number | undefined;
  digests: Digests | undefined;
  /** Why it ended early, whatever the object store makes of it. */
  failure: { error: unknown } | undefined;

  constructor(intake: Intake, sealing: Sealing | undefined, expected: Expected, checksums: readonly ChecksumAlgorithm[]) {
    this.#intake = intake;
    this.#sealing = sealing;
    this.#expected = expected;
    this.#wanted = wantedOf(expected, checksums);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Takes a small body in; most are. */
  async begin(): Promise<void> {
    const { size } = this.#expected;
    if (size !== undefined && size > HERE_BYTES) return;
    const whole = size === undefined ? await this.#gathered() : await this.#exactly(size);
    if (whole === undefined) return;
    this.size = whole.length;
    const digests = digestsOf(whole, this.#wanted);
    check(digests, this.#expected);
    this.digests = digests;
    this.#ended = true;
    this.#head = this.#sealing === undefined ? [whole] : sealedWhole(this.#sealing, whole);
  }

  async #exactly(size: number): Promise<Buffer> {
    const whole = Buffer.allocUnsafe(size);
    let at = 0;
    for (let chunk = await this.#intake.next(); chunk !== undefined; chunk = await this.#intake.next()) at += chunk.copy(whole, at);
    return whole.subarray(0, at);
  }

  /** Undefined: it is not small. */
  async #gathered(): Promise<Buffer | undefined> {
    let held = 0;
    for (let chunk = await this.#intake.next(); chunk !== undefined; chunk = await this.#intake.next()) {
      held += chunk.length;
      if (held > HERE_BYTES) {
        this.#rest = chunk;
        return undefined;
      }
      this.#head.push(Buffer.from(chunk));
    }
    return Buffer.concat(this.#head);
  }

  next(): Promise<IteratorResult<Uint8Array>> {
    const given = this.#give();
    // An object store that fails may have asked for more and look no further; that is its right.
    given.catch(() => undefined);
    return given;
  }

  return(): Promise<IteratorResult<Uint8Array>> {
    this.close();
    return Promise.resolve({ done: true, value: undefined });
  }

  close(): void {
    this.#over = true;
    this.#intake.close();
    this.#running?.close();
  }

  async #give(): Promise<IteratorResult<Uint8Array>> {
    try {
      const piece = this.#over ? undefined : this.size === undefined ? await this.#block() : this.#head.shift();
      if (piece !== undefined) return { done: false, value: piece };
      // The object store has had it all, and asks no more.
      if (this.#ended && this.#sealed !== undefined) release(this.#sealed);
    } catch (error) {
      this.#over = true;
      this.failure ??= { error };
      throw error;
    }
    this.#over = true;
    return { done: true, value: undefined };
  }

  async #block(): Promise<Buffer | undefined> {
    this.#letGo();
    if (this.#ended) return undefined;
    this.#running ??= new RunningDigests(this.#wanted);
    const block = takeBlock();
    const { length, last } = await this.#fill(block);
    if (this.#over) return undefined;
    const bytes = block.subarray(0, length);
    const hashed = this.#running.update(bytes);
    // What goes wrong with it is found when the digests are asked for.
    hashed.catch(() => undefined);
    const piece = this.#sealing === undefined ? bytes : this.#seal(this.#sealing, bytes, last);
    if (this.#sealing === undefined) this.#given = { block, hashed };
    else
      hashed.then(
        () => giveBlock(block),
        () => undefined,
      );
    if (last) {
      const digests = await this.#running.finish();
      check(digests, this.#expected);
      this.digests = digests;
      this.#ended = true;
    } else if (this.#hashing.push(hashed) > MOST_AHEAD) await this.#hashing.shift();
    return piece;
  }

  /** A block ends only when something follows it or nothing can: whether a segment is the last is part of what is sealed. */
  async #fill(block: Buffer): Promise<{ length: number; last: boolean }> {
    let length = 0;
    for (const piece of this.#head.splice(0)) length += put(piece, block, length);
    for (;;) {
      if (this.#rest !== undefined) {
        const copied = put(this.#rest, block, length);
        length += copied;
        this.#rest = copied === this.#rest.length ? undefined : this.#rest.subarray(copied);
        if (this.#rest !== undefined) return { length, last: false };
      }
      this.#rest = await this.#intake.next();
      if (this.#rest === undefined) return { length, last: true };
    }
  }

  #seal(sealing: Sealing, bytes: Buffer, last: boolean): Buffer {
    this.#sealed ??= Buffer.allocUnsafeSlow((BLOCK_BYTES / SEGMENT_BYTES) * SEALED_SEGMENT_BYTES);
    let length = 0;
    for (let at = 0; at < bytes.length; at += SEGMENT_BYTES) {
      const segment = bytes.subarray(at, at + SEGMENT_BYTES);
      for (const piece of sealing.seal(this.#index, last && at + SEGMENT_BYTES >= bytes.length, [segment])) {
        length += piece.copy(this.#sealed, length);
        release(piece);
      }
      this.#index += 1;
    }
    return this.#sealed.subarray(0, length);
  }

  /** The piece that was given last has been seen. */
  #letGo(): void {
    const given = this.#given;
    this.#given = undefined;
    given?.hashed.then(
      () => giveBlock(given.block),
      () => undefined,
    );
  }
}

export const wantedOf = ({ checksum, sha256 }: Expected, checksums: readonly ChecksumAlgorithm[]): Wanted => ({
  sha256: sha256 !== undefined,
  checksums: new Set(checksum === undefined ? checksums : [...checksums, checksum.algorithm]),
});

/** As much as there is room for. `fill` copies as fast as the processor can; `copy` and `set` go word by word into memory that is shared, at a third of the speed. */
function put(piece: Buffer, block: Buffer, at: number): number {
  const length = Math.min(piece.length, block.length - at);
  if (length > 0) block.fill(length === piece.length ? piece : piece.subarray(0, length), at, at + length);
  return length;
}

function sealedWhole(sealing: Sealing, whole: Buffer): Buffer[] {
  if (whole.length <= SEGMENT_BYTES) return sealing.seal(0, true, [whole]);
  const sealed: Buffer[] = [];
  for (let at = 0; at < whole.length; at += SEGMENT_BYTES) {
    sealed.push(...sealing.seal(at / SEGMENT_BYTES, at + SEGMENT_BYTES >= whole.length, [whole.subarray(at, at + SEGMENT_BYTES)]));
  }
  return [Buffer.concat(sealed)];
}

/** `bad_digest` unless the bytes are those that were announced. */
export function check(digests: Digests, { md5, sha256, checksum }: Expected): void {
  const wrong = (digest: string): ObjectError => new ObjectError('bad_digest', `The bytes that came do not have the ${digest} that came with them`, { digest });
  // In small letters what is of the request; what is kept with the object is called as clients call it.
  if (sha256 !== undefined && digests.sha256 !== sha256) throw wrong('sha256');
  if (md5 !== undefined && Buffer.from(digests.md5, 'hex').toString('base64') !== md5) throw wrong('md5');
  if (checksum !== undefined) {
    const value = typeof checksum.value === 'function' ? checksum.value() : checksum.value;
    if (digests.checksums[checksum.algorithm] !== value) throw wrong(checksum.algorithm);
  }
}
