// A resolver at the gateway of one VPC: a UDP socket and a TCP listener. Nobody there takes so much that others get nothing, and what is no question costs little.
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { contains, parseAddress } from '../../kernel/cidr.ts';
import { Frames, framed } from '../../kernel/dns/tcp.ts';
import type { View } from './resolver.ts';

/** Questions of one address, and of all of a VPC, that are being answered. What comes above that by UDP is not heard, and asked again. */
const MOST_OF_ONE = 128;
const MOST_OF_ALL = 2048;
/** Connections of one address, and of all of a VPC. */
const MOST_CONNECTIONS_OF_ONE = 16;
const MOST_CONNECTIONS = 256;
/** Questions of one connection that are being answered. */
const MOST_AT_ONCE = 32;
/** No question is longer. */
const LONGEST = 4096;
const IDLE_MS = 10_000;
const ANSWER_MS = 5000;

export type AnswerTo = (view: View, packet: Buffer, by: 'udp' | 'tcp', signal: AbortSignal) => Promise<Buffer | undefined>;

/** How much of something each address has. */
class Shares {
  readonly #of = new Map<string, number>();
  readonly #mostOfOne: number;
  readonly #most: number;
  #all = 0;

  constructor(mostOfOne: number, most: number) {
    this.#mostOfOne = mostOfOne;
    this.#most = most;
  }

  take(address: string): boolean {
    const has = this.#of.get(address) ?? 0;
    if (has >= this.#mostOfOne || this.#all >= this.#most) return false;
    this.#of.set(address, has + 1);
    this.#all++;
    return true;
  }

  giveBack(address: string): void {
    const has = this.#of.get(address) ?? 0;
    if (has <= 1) this.#of.delete(address);
    else this.#of.set(address, has - 1);
    this.#all--;
  }
}

export class Door {
  readonly #answer: AnswerTo;
  readonly #onError: (error: Error) => void;
  readonly #stop = new AbortController();
  readonly #questions = new Shares(MOST_OF_ONE, MOST_OF_ALL);
  readonly #connections = new Shares(MOST_CONNECTIONS_OF_ONE, MOST_CONNECTIONS);
  readonly #sockets = new Set<Socket>();
  #udp: UdpSocket | undefined;
  #tcp: Server | undefined;
  /** As it is now; whoever asks is answered by this one. */
  view: View;

  /** `onError` is told when it cannot listen any more. */
  constructor(view: View, answer: AnswerTo, onError: (error: Error) => void) {
    this.view = view;
    this.#answer = answer;
    this.#onError = onError;
  }

  /** Rejects with the system's own error. */
  async open(host: string, port: number): Promise<void> {
    const udp = createSocket({ type: 'udp4', recvBufferSize: 1024 * 1024 });
    this.#udp = udp;
    await new Promise<void>((resolve, reject) => {
      udp.once('error', reject);
      udp.bind({ address: host, port, exclusive: true }, () => {
        udp.off('error', reject);
        resolve();
      });
    });
    udp.on('error', this.#onError);
    udp.on('message', (packet, { address, port: from }) => this.#question(udp, packet, address, from));
    const tcp = createServer({ noDelay: true }, (socket) => this.#connection(socket));
    this.#tcp = tcp;
    await new Promise<void>((resolve, reject) => {
      tcp.once('error', reject);
      tcp.listen({ host, port: udp.address().port, exclusive: true }, () => {
        tcp.off('error', reject);
        resolve();
      });
    });
    tcp.on('error', this.#onError);
  }

  get port(): number {
    return this.#udp?.address().port ?? 0;
  }

  #isOurs(address: string): boolean {
    const value = parseAddress(address);
    return value !== undefined && contains(this.view.cidr, value);
  }

  #question(udp: UdpSocket, packet: Buffer, address: string, port: number): void {
    if (packet.length > LONGEST || !this.#isOurs(address) || !this.#questions.take(address)) return;
    this.#answered(packet, 'udp')
      .then((answer) => {
        // One that is closed meanwhile, or whose asker is gone, has nobody to tell.
        if (answer !== undefined && !this.#stop.signal.aborted) udp.send(answer, port, address, () => undefined);
      })
      .finally(() => this.#questions.giveBack(address))
      .catch((error: Error) => this.#onError(error));
  }

  async #answered(packet: Buffer, by: 'udp' | 'tcp'): Promise<Buffer | undefined> {
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), ANSWER_MS);
    const onStop = (): void => patience.abort();
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    try {
      return await this.#answer(this.view, packet, by, patience.signal);
    } finally {
      clearTimeout(timer);
      this.#stop.signal.removeEventListener('abort', onStop);
    }
  }

  #connection(socket: Socket): void {
    const address = socket.remoteAddress ?? '';
    if (!this.#isOurs(address) || !this.#connections.take(address)) {
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    const frames = new Frames(LONGEST);
    let open = 0;
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    socket.on('error', () => socket.destroy());
    socket.on('close', () => {
      this.#sockets.delete(socket);
      this.#connections.giveBack(address);
    });
    socket.on('data', (bytes) => {
      let packets: Buffer[];
      try {
        packets = frames.add(bytes);
      } catch {
        socket.destroy(); // longer than any question
        return;
      }
      for (const packet of packets) {
        if (open >= MOST_AT_ONCE || !this.#questions.take(address)) {
          socket.destroy();
          return;
        }
        open++;
        this.#answered(packet, 'tcp')
          .then((answer) => {
            if (answer === undefined) socket.destroy();
            else if (!socket.destroyed) socket.write(framed(answer));
          })
          .finally(() => {
            open--;
            this.#questions.giveBack(address);
          })
          .catch((error: Error) => this.#onError(error));
      }
    });
  }

  async close(): Promise<void> {
    this.#stop.abort();
    for (const socket of this.#sockets) socket.destroy();
    const { promise: udpClosed, resolve } = Promise.withResolvers<void>();
    try {
      if (this.#udp === undefined) resolve();
      else this.#udp.close(() => resolve());
    } catch {
      resolve(); // was closed by its error already
    }
    await udpClosed;
    const tcp = this.#tcp;
    if (tcp?.listening === true) await new Promise<void>((closed) => tcp.close(() => closed()));
  }
}
