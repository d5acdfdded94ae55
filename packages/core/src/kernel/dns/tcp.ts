// DNS over TCP: each message behind its length in two bytes.
import { connect } from 'node:net';
import { DriverError } from '../errors.ts';

/** Cuts a stream into messages. */
export class Frames {
  readonly #longest: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(longest = 0xffff) {
    this.#longest = longest;
  }

  /** Messages that are whole now. Throws RangeError for one that is longer than the longest. */
  add(bytes: Buffer): Buffer[] {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const messages: Buffer[] = [];
    while (this.#rest.length >= 2) {
      const length = this.#rest.readUInt16BE(0);
      if (length > this.#longest) throw new RangeError(`a message of ${length} bytes`);
      if (this.#rest.length < 2 + length) break;
      messages.push(this.#rest.subarray(2, 2 + length));
      this.#rest = this.#rest.subarray(2 + length);
    }
    return messages;
  }
}

export function framed(message: Buffer): Buffer {
  const frame = Buffer.allocUnsafe(2 + message.length);
  frame.writeUInt16BE(message.length, 0);
  message.copy(frame, 2);
  return frame;
}

/** One question and its answer over a connection of their own. */
export function askByTcp(message: Buffer, { host, port }: { host: string; port: number }, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, noDelay: true });
    const frames = new Frames();
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      settle();
    };
    const failed = (error: unknown): void =>
      end(() => reject(new DriverError('unavailable', `The DNS server at ${host}:${port} does not answer`, { cause: error })));
    const onAbort = (): void => failed(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) return onAbort();
    socket.on('error', failed);
    socket.on('close', () => failed(new Error('closed')));
    socket.on('data', (bytes) => {
      const [answer] = frames.add(bytes);
      if (answer === undefined) return;
      if (answer.length < 12 || answer.readUInt16BE(0) !== message.readUInt16BE(0)) return failed(new Error('another answer'));
      end(() => resolve(answer));
    });
    socket.write(framed(message));
  });
}
