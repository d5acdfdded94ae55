// One metadata server at the gateway of each VPC, all on one port, to which the rules of the networks lead 169.254.169.254. A gateway comes with its
// VPC's bridge, so one that is not there yet is tried again.
import type { Clock } from '../../../kernel/clock.ts';
import type { Log } from '../../../kernel/log.ts';

/** Above the ports that Linux gives out by itself. */
const PORTS = Array.from({ length: 16 }, (_, index) => 61_254 + index);
const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5_000;

/** A VPC whose network is there, or should be. */
export interface Gateway {
  readonly vpcId: string;
  readonly tenantId: string;
  readonly address: string;
}

export interface Listener {
  /** Rejects with the system's own error. */
  listen(host: string, port: number): Promise<unknown>;
  close(): Promise<void>;
}

export interface GatewaysOptions {
  gateways(): Promise<readonly Gateway[]>;
  serverFor(vpcId: string): Listener;
  /** From now on they answer at this port. */
  lead(port: number, tenantId: string): Promise<void>;
  readonly clock: Clock;
  readonly log: Log;
  readonly ports?: readonly number[];
}

export class Gateways {
  readonly #options: GatewaysOptions;
  readonly #open = new Map<string, { listener: Listener; address: string }>();
  readonly #stop = new AbortController();
  #nap = new AbortController();
  #woken = false;
  #port = 0;
  #led: number | undefined;
  #running: Promise<void> | undefined;

  constructor(options: GatewaysOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** VPCs have come, gone or changed. */
  wake(): void {
    this.#woken = true;
    this.#nap.abort();
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.wake();
    await this.#running;
    await this.#closeAll();
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#options;
    let wait = FIRST_RETRY_MS;
    while (!this.#stop.signal.aborted) {
      if (this.#woken) wait = FIRST_RETRY_MS;
      this.#woken = false;
      this.#nap = new AbortController();
      let settled = false;
      try {
        settled = await this.#settle();
      } catch (error) {
        log.warn({ error: (error as Error).message }, 'the metadata service could not be set up everywhere; it is tried again');
      }
      if (this.#woken) continue;
      const { signal } = this.#nap;
      // Aborted is woken.
      await (settled ? until(signal) : clock.sleep(wait, signal).catch(() => undefined));
      wait = Math.min(wait * 2, LAST_RETRY_MS);
    }
  }

  /** Whether there is nothing to try again. */
  async #settle(): Promise<boolean> {
    const { gateways, serverFor, lead, log, ports = PORTS } = this.#options;
    const wanted = new Map((await gateways()).map((gateway) => [gateway.vpcId, gateway]));
    for (const [vpcId, { listener, address }] of this.#open) {
      if (wanted.get(vpcId)?.address === address) continue;
      this.#open.delete(vpcId);
      await listener.close();
    }
    let complete = true;
    for (const { vpcId, address } of wanted.values()) {
      if (this.#open.has(vpcId)) continue;
      if (this.#stop.signal.aborted) return false;
      const listener = serverFor(vpcId);
      const port = ports[this.#port % ports.length] as number;
      try {
        await listener.listen(address, port);
        this.#open.set(vpcId, { listener, address });
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code === 'EADDRINUSE') {
          log.warn({ port }, 'another program listens at the port of the metadata service; another is taken');
          this.#port++;
          await this.#closeAll();
          return false;
        }
        if (code === 'EADDRNOTAVAIL') log.debug({ address }, 'the gateway of a VPC is not there yet');
        else log.warn({ address, error: message }, 'the metadata service cannot listen at the gateway of a VPC');
        complete = false;
      }
    }
    const [first] = wanted.values();
    const port = ports[this.#port % ports.length] as number;
    if (first !== undefined && this.#open.size > 0 && this.#led !== port) {
      await lead(port, first.tenantId);
      this.#led = port;
    }
    return complete;
  }

  async #closeAll(): Promise<void> {
    const open = [...this.#open.values()];
    this.#open.clear();
    await Promise.all(open.map(({ listener }) => listener.close()));
  }
}

const until = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
