// Questions to a DNS server over one UDP socket, told apart by their ids; what does not fit into a packet is asked again by TCP.
import { createSocket, type Socket } from 'node:dgram';
import { askByTcp } from '../../kernel/dns/tcp.ts';
import { readQuestion } from '../../kernel/dns/wire.ts';
import { DriverError } from '../../kernel/errors.ts';

const TRY_MS = 1500;
const TRIES = 2;
const TRUNCATED = 0x02;

interface Waiting {
  /** Bytes of the question, which an answer repeats: one that comes late must not be taken for that to a later question with the same id. */
  question: Buffer;
  resolve(answer: Buffer): void;
}

export class Questions {
  readonly #waiting = new Map<number, Waiting>();
  #socket: { at: string; socket: Socket; ready: Promise<void> } | undefined;
  #next = 0;

  /** The answer has the id of the message. */
  async ask(message: Buffer, server: { host: string; port: number }, signal: AbortSignal): Promise<Buffer> {
    for (let tries = 1; ; tries++) {
      signal.throwIfAborted();
      const answer = await this.#once(message, server, signal);
      if (answer !== undefined) {
        if ((answer.readUInt8(2) & TRUNCATED) === 0) return answer;
        return askByTcp(message, server, AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]));
      }
      if (tries === TRIES) throw new DriverError('unavailable', 'PowerDNS does not answer questions');
    }
  }

  async #once(message: Buffer, server: { host: string; port: number }, signal: AbortSignal): Promise<Buffer | undefined> {
    const { socket, ready } = this.#to(server);
    await ready;
    if (this.#waiting.size >= 0xf000) throw new DriverError('busy', 'Too many questions at once');
    let id = this.#next;
    while (this.#waiting.has(id)) id = (id + 1) & 0xffff;
    this.#next = (id + 1) & 0xffff;
    const sent = Buffer.from(message);
    sent.writeUInt16BE(id, 0);
    const question = sent.subarray(12, readQuestion(sent).next);
    let timer: NodeJS.Timeout | undefined;
    let onAbort: (() => void) | undefined;
    try {
      const answer = await new Promise<Buffer | undefined>((resolve) => {
        timer = setTimeout(() => resolve(undefined), TRY_MS);
        onAbort = () => resolve(undefined);
        signal.addEventListener('abort', onAbort, { once: true });
        this.#waiting.set(id, { question, resolve });
        socket.send(sent, (error) => {
          if (error !== null) resolve(undefined);
        });
      });
      signal.throwIfAborted();
      if (answer === undefined) return undefined;
      answer.writeUInt16BE(message.readUInt16BE(0), 0);
      return answer;
    } finally {
      clearTimeout(timer);
      if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
      this.#waiting.delete(id);
    }
  }

  #to({ host, port }: { host: string; port: number }): { socket: Socket; ready: Promise<void> } {
    const at = `${host}:${port}`;
    if (this.#socket?.at === at) return this.#socket;
    this.#socket?.socket.close();
    const socket = createSocket({ type: 'udp4', recvBufferSize: 4 * 1024 * 1024 });
    // Connected: packets of others do not arrive.
    const ready = new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.connect(port, host, () => {
        socket.off('error', reject);
        resolve();
      });
    }).catch((error: unknown) => {
      throw new DriverError('unavailable', `PowerDNS cannot be asked: ${(error as Error).message}`);
    });
    // A server that is just being started again refuses packets; the question is asked once more.
    socket.on('error', () => undefined);
    socket.on('message', (answer) => this.#got(answer));
    this.#socket = { at, socket, ready };
    return this.#socket;
  }

  #got(answer: Buffer): void {
    if (answer.length < 12) return;
    const waiting = this.#waiting.get(answer.readUInt16BE(0));
    if (waiting === undefined || !waiting.question.equals(answer.subarray(12, 12 + waiting.question.length))) return;
    waiting.resolve(answer);
  }

  close(): void {
    this.#socket?.socket.close();
    this.#socket = undefined;
  }
}
