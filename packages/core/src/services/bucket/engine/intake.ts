// Somebody else's bytes on their way in: a source may throw at any point, say nothing for ever, or send more than was agreed. None of it outlives the intake.
import { ObjectError } from './types.ts';

/** The source is read to its end even when all bytes that were announced have come: what checks its digest throws only there. */
export class Intake {
  readonly #iterator: AsyncIterator<Buffer>;
  readonly #signal: AbortSignal;
  readonly #limit: number;
  readonly #expected: number | undefined;
  readonly #onAbort = () => this.#interrupt?.(this.#signal.reason);
  #interrupt: ((reason: unknown) => void) | undefined;
  #finish: (() => void) | undefined;
  #ended = false;
  #closed = false;
  /** Bytes so far. */
  size = 0;

  constructor(source: AsyncIterable<Buffer>, options: { expected: number | undefined; limit: number; signal: AbortSignal }) {
    this.#iterator = source[Symbol.asyncIterator]();
    this.#signal = options.signal;
    this.#limit = options.limit;
    this.#expected = options.expected;
    this.#signal.addEventListener('abort', this.#onAbort);
  }

  /** The next bytes, good until more are asked for, or undefined after the last. Rejects with what the source threw, the signal's reason, `object_too_large` or `incomplete_body`. */
  async next(): Promise<Buffer | undefined> {
    while (!this.#ended && !this.#closed) {
      const result = await this.#nextOfSource();
      if (result === undefined) break;
      if (result.done === true) {
        this.#ended = true;
        if (this.#expected !== undefined && this.size < this.#expected) throw this.#incomplete();
        break;
      }
      const chunk = result.value;
      if (chunk.length === 0) continue;
      this.size += chunk.length;
      if (this.size > this.#limit) throw tooLarge(this.#limit);
      if (this.#expected !== undefined && this.size > this.#expected) throw this.#incomplete();
      return chunk;
    }
    return undefined;
  }

  // Not Promise.race: with a promise that lives as long as the transfer, each race would stay in memory until the end.
  #nextOfSource(): Promise<IteratorResult<Buffer> | undefined> {
    return new Promise<IteratorResult<Buffer> | undefined>((resolve, reject) => {
      this.#signal.throwIfAborted();
      this.#interrupt = reject;
      this.#finish = () => resolve(undefined);
      this.#iterator.next().then(resolve, reject);
    });
  }

  /** Wakes whoever waits for bytes as if they had ended, and lets the source go. It is not waited for: it may be stuck. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#signal.removeEventListener('abort', this.#onAbort);
    this.#finish?.();
    if (this.#ended) return;
    // What a source has to say while it is let go matters to nobody: the outcome is decided.
    try {
      this.#iterator.return?.().then(undefined, () => undefined);
    } catch {
      // As above.
    }
  }

  #incomplete(): ObjectError {
    return incomplete(this.#expected as number, this.size);
  }
}

export const incomplete = (expected: number, received: number): ObjectError =>
  new ObjectError(
    'incomplete_body',
    received < expected ? `Only ${received} of ${expected} bytes came` : `More than the ${expected} bytes that were announced came`,
    { expected, received },
  );

export const tooLarge = (limit: number): ObjectError => new ObjectError('object_too_large', `More than ${limit} bytes are not taken at once`, { limit });
