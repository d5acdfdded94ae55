// The resolvers of the host: whoever its /etc/resolv.conf names, as it reads now. A question is passed on as it is, from a port of its own with an id that nobody knows.
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFile, stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../kernel/clock.ts';
import { askByTcp } from '../../kernel/dns/tcp.ts';
import { readQuestion } from '../../kernel/dns/wire.ts';
import { DriverError } from '../../kernel/errors.ts';

export interface Server {
  host: string;
  port: number;
}

export interface Upstream {
  /** The answer, with the id of the question. DriverError('unavailable') when nobody answers. */
  ask(message: Buffer, by: 'udp' | 'tcp', signal: AbortSignal): Promise<Buffer>;
}

const TRY_MS = 1500;
const MOST_SERVERS = 3;
const LOOK_MS = 5000;
const DNS_PORT = 53;

/** Nameservers of a resolv.conf, in their order. */
export const nameserversIn = (text: string): Server[] =>
  text
    .split('\n')
    .map((line) => /^\s*nameserver\s+([^\s#;]+)/.exec(line)?.[1])
    .filter((host) => host !== undefined && isIP(host) !== 0)
    .slice(0, MOST_SERVERS)
    .map((host) => ({ host: host as string, port: DNS_PORT }));

export class HostResolvers implements Upstream {
  readonly #path: string;
  readonly #clock: Clock;
  #servers: readonly Server[] = [];
  #modified = -1;
  #lookedAt = -Infinity;

  constructor(clock: Clock, path = '/etc/resolv.conf') {
    this.#clock = clock;
    this.#path = path;
  }

  async #current(): Promise<readonly Server[]> {
    if (this.#clock.now() - this.#lookedAt < LOOK_MS) return this.#servers;
    this.#lookedAt = this.#clock.now();
    try {
      const { mtimeMs } = await stat(this.#path);
      if (mtimeMs !== this.#modified) {
        this.#servers = nameserversIn(await readFile(this.#path, 'utf8'));
        this.#modified = mtimeMs;
      }
    } catch {
      this.#servers = []; // no file: this host resolves nothing
      this.#modified = -1;
    }
    return this.#servers;
  }

  async ask(message: Buffer, by: 'udp' | 'tcp', signal: AbortSignal): Promise<Buffer> {
    return askServers(await this.#current(), message, by, signal);
  }
}

/** One after another, until one answers with something better than its own trouble. */
export async function askServers(servers: readonly Server[], message: Buffer, by: 'udp' | 'tcp', signal: AbortSignal): Promise<Buffer> {
  let worst: Buffer | undefined;
  for (const server of servers) {
    signal.throwIfAborted();
    const patience = AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]);
    try {
      const answer = await (by === 'udp' ? askByUdp(message, server, patience) : askAnew(message, server, patience));
      const rcode = answer.readUInt8(3) & 0xf;
      // SERVFAIL, NOTIMP and REFUSED speak of the server, not of the name.
      if (rcode !== 2 && rcode !== 4 && rcode !== 5) return answer;
      worst = answer;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof DriverError)) throw error;
    }
  }
  if (worst !== undefined) return worst;
  throw new DriverError('unavailable', servers.length === 0 ? 'The host has no resolver in /etc/resolv.conf' : 'No resolver of the host answers');
}

function withId(message: Buffer, id: number): Buffer {
  const copy = Buffer.from(message);
  copy.writeUInt16BE(id, 0);
  return copy;
}

async function askAnew(message: Buffer, server: Server, signal: AbortSignal): Promise<Buffer> {
  const answer = await askByTcp(withId(message, randomInt(0x1_0000)), server, signal);
  return withId(answer, message.readUInt16BE(0));
}

function askByUdp(message: Buffer, { host, port }: Server, signal: AbortSignal): Promise<Buffer> {
  const asked = withId(message, randomInt(0x1_0000));
  const question = asked.subarray(12, readQuestion(asked).next);
  return new Promise((resolve, reject) => {
    const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
    const end = (settle: () => void): void => {
      signal.removeEventListener('abort', onAbort);
      socket.close();
      settle();
    };
    const onAbort = (): void => end(() => reject(new DriverError('unavailable', `The resolver ${host} does not answer`)));
    if (signal.aborted) return reject(new DriverError('unavailable', `The resolver ${host} was not asked in time`));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', (error) => end(() => reject(new DriverError('unavailable', `The resolver ${host} cannot be asked`, { cause: error }))));
    socket.on('message', (answer) => {
      // Others who guess must guess all of this.
      const fits = answer.length >= 12 && answer.readUInt16BE(0) === asked.readUInt16BE(0) && (answer.readUInt8(2) & 0x80) !== 0;
      if (!fits || !question.equals(answer.subarray(12, 12 + question.length))) return;
      end(() => resolve(withId(answer, message.readUInt16BE(0))));
    });
    socket.connect(port, host, () => socket.send(asked));
  });
}
