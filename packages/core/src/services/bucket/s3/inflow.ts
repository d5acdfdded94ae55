// The bytes of a request as they come from the socket. Nothing is asked for before somebody wants them, nobody waits for ever for a client that sends nothing,
// and a client that goes away ends the reading with an error, whatever it had begun.
import type { IncomingMessage } from 'node:http';
import type { Gatherable } from '../engine/body-types.ts';
import { s3Error } from './errors.ts';

export interface Patience {
  /** Without a byte, milliseconds. */
  readonly idle: number;
  /** Bytes per second that must come on average, over the time of `window`. Time in which we do not ask does not count. */
  readonly rate: number;
  /** Milliseconds. */
  readonly window: number;
}
export const PATIENCE: Patience = { idle: 30_000, rate: 128, window: 120_000 };

const tooSlow = () => s3Error('RequestTimeout', undefined, undefined, { headers: { connection: 'close' } });
const wentAway = (cause?: unknown) => s3Error('IncompleteBody', 'The connection ended before the request did', undefined, cause === undefined ? {} : { cause });

export class Inflow implements Gatherable {
  readonly #message: IncomingMessage;
  readonly #patience: Patience;
  /** Tells the client to go on, where it asked whether it may (`Expect: 100-continue`). */
  #invite: (() => void) | undefined;
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  #begun = false;
  #ended = false;

  constructor(message: IncomingMessage, options: { patience?: Patience; invite?: (() => void) | undefined } = {}) {
    this.#message = message;
    this.#patience = options.patience ?? PATIENCE;
    this.#invite = options.invite;
  }

  /** The client waits for leave to send, and has not got it. */
  get uninvited(): boolean {
    return this.#invite !== undefined;
  }
  /** Everything has been read. */
  get ended(): boolean {
    return this.#ended || this.#message.readableEnded;
  }

  /** A small body of a length that is known, in one piece: most are, and come in one or two. In place of iterating. */
  whole(most: number): Promise<Buffer> | undefined {
    const message = this.#message;
    const length = Number(message.headers['content-length']);
    if (!(length <= most) || this.#begun) return undefined;
    this.#begun = true;
    this.#invite?.();
    this.#invite = undefined;
    const { idle, rate, window } = this.#patience;
    return new Promise((resolve, reject) => {
      const pieces: Buffer[] = [];
      let came = 0;
      let since = { time: performance.now(), came: 0 };
      const settle = (): void => {
        clearTimeout(timer);
        // That for errors stays: without one a client that goes away now would end the process.
        message.off('data', data).off('end', end).off('close', gone);
      };
      const fail = (error: Error): void => {
        settle();
        message.pause();
        reject(error);
      };
      const timer = setTimeout(() => fail(tooSlow()), idle);
      const data = (piece: Buffer): void => {
        pieces.push(piece);
        came += piece.length;
        if (came === length) return;
        timer.refresh();
        const time = performance.now();
        const waited = time - since.time;
        if (waited <= window) return;
        if ((came - since.came) * 1000 < rate * waited) fail(tooSlow());
        since = { time, came };
      };
      const end = (): void => {
        settle();
        this.#ended = true;
        resolve(pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces));
      };
      const gone = (error?: Error): void => fail(wentAway(error));
      if (message.destroyed && !message.readableEnded) return fail(wentAway(message.errored ?? undefined));
      message.on('data', data).on('end', end).on('error', gone).on('close', gone);
    });
  }

  /** Once. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer> {
    if (this.#begun) throw new Error('a body is read once');
    this.#begun = true;
    const message = this.#message;
    const wake = () => this.#wake?.();
    const fail = (error?: Error) => {
      this.#failure ??= wentAway(error);
      this.#wake?.();
    };
    const close = () => {
      if (!message.readableEnded) fail();
    };
    message.on('readable', wake).on('end', wake).on('error', fail).on('close', close);
    try {
      this.#invite?.();
      this.#invite = undefined;
      let waited = 0;
      let came = 0;
      for (;;) {
        const chunk = message.read() as Buffer | null;
        if (chunk !== null) {
          came += chunk.length;
          yield chunk;
          continue;
        }
        if (message.readableEnded) break;
        if (this.#failure !== undefined) throw this.#failure;
        if (message.destroyed) throw wentAway(message.errored ?? undefined);
        const from = performance.now();
        await this.#waited();
        waited += performance.now() - from;
        if (waited > this.#patience.window) {
          if (came * 1000 < this.#patience.rate * waited) throw tooSlow();
          waited = 0;
          came = 0;
        }
      }
      this.#ended = true;
    } finally {
      message.off('readable', wake).off('end', wake).off('close', close);
      // `fail` stays: without a listener for errors a client that goes away now would end the process.
    }
  }

  #waited(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#wake = undefined;
        reject(tooSlow());
      }, this.#patience.idle);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = undefined;
        resolve();
      };
    });
  }

  /** Reads on and throws away, so that a client that is still sending gets to read the answer. Resolves to whether the end came within the limits. */
  drain({ bytes, milliseconds }: { bytes: number; milliseconds: number }): Promise<boolean> {
    const message = this.#message;
    this.#begun = true;
    if (this.ended) return Promise.resolve(true);
    if (message.destroyed) return Promise.resolve(false);
    return new Promise((resolve) => {
      let left = bytes;
      const done = (whole: boolean) => {
        clearTimeout(timer);
        message.off('data', data).off('end', end).off('close', gone);
        if (!whole) message.pause();
        this.#ended = whole;
        resolve(whole);
      };
      const data = (chunk: Buffer) => {
        left -= chunk.length;
        if (left < 0) done(false);
      };
      const end = () => done(true);
      const gone = () => done(false);
      const timer = setTimeout(gone, milliseconds);
      message.removeAllListeners('readable');
      message.on('data', data).on('end', end).on('close', gone);
      message.on('error', gone);
      message.resume();
    });
  }
}
