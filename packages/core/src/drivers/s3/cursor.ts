// One stream of bytes, cut into the parts of an upload: each part takes the bytes that it needs and leaves the rest to the next.
import { DriverError } from '../../kernel/errors.ts';

export class Cursor {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #size: number | undefined;
  #rest: Uint8Array | undefined;
  #ended = false;
  /** So far, with what is not yet taken. */
  #seen = 0;

  constructor(source: AsyncIterable<Uint8Array>, size: number | undefined) {
    this.#source = source[Symbol.asyncIterator]();
    this.#size = size;
  }

  /**
   * Exactly so many bytes. The last piece is given only when it is known what comes after it: something, if more was announced, else the end. A source that fails
   * at its very end, where digests are checked, thus never leaves a whole object behind.
   */
  async *exactly(length: number): AsyncGenerator<Uint8Array> {
    for (let left = length; left > 0; ) {
      const piece = await this.#next();
      if (piece === undefined) throw this.#unexpected();
      if (piece.length > left) this.#rest = piece.subarray(left);
      const given = piece.length > left ? piece.subarray(0, left) : piece;
      left -= given.length;
      if (left === 0 && this.#size !== undefined) await this.#peek();
      yield given;
    }
  }

  /** So many bytes or, at the end, fewer. */
  async upTo(length: number): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    for (let left = length; left > 0; ) {
      const piece = await this.#next();
      if (piece === undefined) break;
      if (piece.length > left) this.#rest = piece.subarray(left);
      const given = piece.length > left ? piece.subarray(0, left) : piece;
      left -= given.length;
      pieces.push(given);
    }
    return Buffer.concat(pieces);
  }

  /** Whether nothing is left. Throws when fewer or more bytes came than were announced. */
  async ended(): Promise<boolean> {
    await this.#peek();
    return this.#rest === undefined;
  }

  get seen(): number {
    return this.#seen;
  }

  /** Lets the source go. */
  async close(): Promise<void> {
    if (!this.#ended) await this.#source.return?.();
  }

  async #peek(): Promise<void> {
    this.#rest ??= await this.#next();
  }

  async #next(): Promise<Uint8Array | undefined> {
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) return rest;
    while (!this.#ended) {
      const next = await this.#source.next();
      if (next.done === true) {
        this.#ended = true;
        if (this.#size !== undefined && this.#seen < this.#size) throw this.#unexpected();
        break;
      }
      this.#seen += next.value.length;
      if (this.#size !== undefined && this.#seen > this.#size) throw this.#unexpected();
      // It is good only until the next is asked for, and a connection may take it later.
      if (next.value.length > 0) return Buffer.from(next.value);
    }
    return undefined;
  }

  #unexpected(): DriverError {
    const size = this.#size ?? 0;
    return new DriverError('failed', this.#seen > size ? `More than the ${size} bytes that were announced came` : `Only ${this.#seen} of ${size} bytes came`);
  }
}
