// Resolvers at the gateways of all VPCs, on one port, to which the rules of the networks lead port 53. A gateway that is not there yet is tried again.
import type { Clock } from '../../kernel/clock.ts';
import type { Log } from '../../kernel/log.ts';
import { type AnswerTo, Door } from './door.ts';
import type { View } from './resolver.ts';

/** Not 53, which another program of the host may have on all addresses; below the ports that the system gives out by itself. */
const PORTS = Array.from({ length: 16 }, (_, n) => 10_053 + n);
const RETRY_MS = 1000;

export interface GatewaysOptions {
  answer: AnswerTo;
  clock: Clock;
  log: Log;
  /** The port is another one now. Rejects when that could not be said to the rules yet. */
  onPort(port: number): Promise<void>;
  ports?: readonly number[];
}

export class Gateways {
  readonly #options: GatewaysOptions;
  readonly #stop = new AbortController();
  readonly #doors = new Map<string, { door: Door; at: string }>();
  readonly #views = new Map<string, View>();
  #choice = 0;
  #announced: number | undefined;
  readonly #first = Promise.withResolvers<void>();
  #working: Promise<void> | undefined;
  #again = false;

  constructor(options: GatewaysOptions) {
    this.#options = options;
  }

  /** Resolves as soon as the rules lead to the resolvers. */
  get led(): Promise<void> {
    return this.#first.promise;
  }

  /** These are the VPCs of a tenant now. */
  update(tenantId: string, views: readonly View[]): void {
    const now = new Set(views.map(({ vpcId }) => vpcId));
    for (const [vpcId, view] of this.#views) if (view.tenantId === tenantId && !now.has(vpcId)) this.#views.delete(vpcId);
    for (const view of views) {
      this.#views.set(view.vpcId, view);
      const there = this.#doors.get(view.vpcId);
      if (there !== undefined) there.door.view = view;
    }
    this.#wake();
  }

  #wake(): void {
    this.#again = true;
    if (this.#stop.signal.aborted) return;
    this.#working ??= this.#work().finally(() => {
      this.#working = undefined;
      if (this.#again) this.#wake();
    });
  }

  async #work(): Promise<void> {
    const { clock, log } = this.#options;
    const { signal } = this.#stop;
    while (this.#again && !signal.aborted) {
      this.#again = false;
      const wait = await this.#round().catch((error: unknown) => {
        log.warn({ error: error instanceof Error ? error.message : String(error) }, 'the resolvers of the VPCs could not be opened');
        return true;
      });
      if (!wait) continue;
      // What is missing (a bridge, or the leave of the rules) comes without a word.
      await clock.sleep(RETRY_MS, signal).catch(() => undefined);
      this.#again = true;
    }
  }

  /** True when something is to be tried again. */
  async #round(): Promise<boolean> {
    for (const [vpcId, { door, at }] of this.#doors) {
      const view = this.#views.get(vpcId);
      if (view !== undefined && view.gateway === at) continue;
      this.#doors.delete(vpcId);
      await door.close();
    }
    const ports = this.#options.ports ?? PORTS;
    const port = ports[this.#choice % ports.length] as number;
    let wait = false;
    for (const view of this.#views.values()) {
      if (this.#stop.signal.aborted) return false;
      if (view.gateway === undefined || !view.ready || this.#doors.has(view.vpcId)) continue;
      const outcome = await this.#open(view, view.gateway, port);
      if (outcome === 'taken') {
        await this.#another(port);
        return true;
      }
      wait ||= outcome === 'absent';
    }
    if (this.#doors.size > 0 && this.#announced !== port) {
      await this.#options.onPort(port);
      this.#announced = port;
      this.#first.resolve();
    }
    return wait;
  }

  async #open(view: View, gateway: string, port: number): Promise<'open' | 'absent' | 'taken'> {
    const { answer, log } = this.#options;
    const door = new Door(view, answer, (error) => {
      log.warn({ vpc: view.vpcId, error: error.message }, 'the resolver of a VPC is opened again');
      if (this.#doors.get(view.vpcId)?.door === door) this.#doors.delete(view.vpcId);
      void door.close().finally(() => this.#wake());
    });
    try {
      await door.open(gateway, port);
    } catch (error) {
      await door.close();
      const { code } = error as { code?: string };
      if (code === 'EADDRINUSE') return 'taken';
      if (code !== 'EADDRNOTAVAIL') log.warn({ vpc: view.vpcId, error: (error as Error).message }, 'no resolver can listen at the gateway of a VPC');
      return 'absent';
    }
    this.#doors.set(view.vpcId, { door, at: gateway });
    return 'open';
  }

  /** Somebody has the port on all addresses: all take the next. */
  async #another(taken: number): Promise<void> {
    this.#options.log.warn({ port: taken }, 'another program has the port of the resolvers; the next is tried');
    this.#choice++;
    const doors = [...this.#doors.values()];
    this.#doors.clear();
    await Promise.all(doors.map(({ door }) => door.close()));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    this.#again = false;
    await this.#working;
    await Promise.all([...this.#doors.values()].map(({ door }) => door.close()));
    this.#doors.clear();
  }
}
