// Brings the DNS server to what rows say, tenant by tenant: whatever changed while one round runs is in the next, so that two hundred instances that come at
// once are a few changes of one zone. A round looks at everything again, so one that was lost is made good by any later one.
import type { Clock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { Log } from '../../kernel/log.ts';
import { zonesOf } from './content.ts';
import type { DnsDriver } from './driver.ts';
import { inside, vpcOf, zoneInside } from './names.ts';
import type { VpcFacts } from './rows.ts';

/** Between two looks at everything, milliseconds. */
const LOOK_MS = 15_000;
const FIRST_RETRY_MS = 250;

export interface PublisherOptions {
  driver: DnsDriver;
  clock: Clock;
  log: Log;
  tenants(): Promise<string[]>;
  vpcs(tenantId: string): Promise<VpcFacts[]>;
  /** What is so of a tenant's VPCs now, before the server has it. */
  onFacts(tenantId: string, facts: readonly VpcFacts[]): void;
  /** Zones of a tenant could not be brought up to date, or could again. */
  onTrouble(tenantId: string): void;
}

/** Why a zone is not as it should be, by its name in the server. */
type Failures = ReadonlyMap<string, Error>;

interface Waiter {
  resolve(failures: Failures): void;
  reject(error: unknown): void;
}

export class Publisher {
  readonly #options: PublisherOptions;
  readonly #stop = new AbortController();
  readonly #dirty = new Map<string, Waiter[]>();
  /** Names in the server, by tenant. */
  readonly #published = new Map<string, Set<string>>();
  readonly #troubled = new Set<string>();
  #running: Promise<void> | undefined;
  #looking: Promise<void> | undefined;
  #retry: Promise<void> | undefined;
  #failures = 0;

  constructor(options: PublisherOptions) {
    this.#options = options;
  }

  /** Something of the tenant changed. */
  touch(tenantId: string): void {
    if (this.#stop.signal.aborted) return;
    if (!this.#dirty.has(tenantId)) this.#dirty.set(tenantId, []);
    this.#run();
  }

  /** Resolves when what was committed before the call is answered, with the zones for which that could not be. */
  settle(tenantId: string): Promise<Failures> {
    if (this.#stop.signal.aborted) return Promise.reject(new DriverError('unavailable', 'The daemon is stopping'));
    return new Promise((resolve, reject) => {
      const waiters = this.#dirty.get(tenantId) ?? [];
      waiters.push({ resolve, reject });
      this.#dirty.set(tenantId, waiters);
      this.#run();
    });
  }

  /** Begins with all that is there. */
  start(): void {
    this.#looking ??= this.#look();
  }

  async close(): Promise<void> {
    this.#stop.abort(new DriverError('unavailable', 'The daemon is stopping'));
    await this.#running;
    for (const waiters of this.#dirty.values()) for (const { reject } of waiters) reject(this.#stop.signal.reason);
    this.#dirty.clear();
    await this.#looking;
    await this.#retry;
  }

  #run(): void {
    this.#running ??= this.#rounds().finally(() => {
      this.#running = undefined;
      if (this.#dirty.size > 0 && !this.#stop.signal.aborted) this.#run();
    });
  }

  async #rounds(): Promise<void> {
    // What else is committed in this turn of the event loop is in the same round.
    await new Promise((resolve) => setImmediate(resolve));
    while (this.#dirty.size > 0 && !this.#stop.signal.aborted) {
      const [tenantId, waiters] = this.#dirty.entries().next().value as [string, Waiter[]];
      this.#dirty.delete(tenantId);
      try {
        const failures = await this.#publish(tenantId);
        this.#tell(tenantId, failures.size > 0);
        for (const { resolve } of waiters) resolve(failures);
      } catch (error) {
        this.#tell(tenantId, true);
        for (const { reject } of waiters) reject(error);
        if (!this.#stop.signal.aborted) this.#options.log.warn({ tenant: tenantId, error: messageOf(error) }, 'the DNS zones could not be brought up to date');
      }
    }
  }

  #tell(tenantId: string, trouble: boolean): void {
    if (trouble) this.#tryAgain();
    else if (this.#troubled.size === 0) this.#failures = 0;
    if (trouble === this.#troubled.has(tenantId)) return;
    if (trouble) this.#troubled.add(tenantId);
    else this.#troubled.delete(tenantId);
    this.#options.onTrouble(tenantId);
  }

  #tryAgain(): void {
    const wait = Math.min(LOOK_MS, FIRST_RETRY_MS * 2 ** Math.min(this.#failures++, 10));
    this.#retry ??= this.#options.clock
      .sleep(wait, this.#stop.signal)
      .catch(() => undefined)
      .finally(() => {
        this.#retry = undefined;
        for (const tenantId of this.#troubled) this.touch(tenantId);
      });
  }

  async #publish(tenantId: string): Promise<Map<string, Error>> {
    const { driver, vpcs, onFacts } = this.#options;
    const { signal } = this.#stop;
    const facts = await vpcs(tenantId);
    onFacts(tenantId, facts);
    const failures = new Map<string, Error>();
    const wanted = new Set<string>();
    const published = this.#published.get(tenantId) ?? new Set();
    this.#published.set(tenantId, published);
    for (const vpc of facts) {
      for (const zone of zonesOf(vpc)) {
        const content = zoneInside(zone, vpc.id);
        wanted.add(content.name);
        try {
          published.add(content.name);
          await driver.ensure(content, signal);
        } catch (error) {
          signal.throwIfAborted();
          // One that is away is away for all.
          if (error instanceof DriverError && error.code === 'unavailable') throw error;
          failures.set(content.name, error instanceof Error ? error : new Error(String(error)));
          this.#options.log.warn({ zone: content.name, error: messageOf(error) }, 'a DNS zone could not be brought up to date');
        }
      }
    }
    for (const name of [...published]) {
      if (wanted.has(name)) continue;
      await driver.remove(name, signal);
      published.delete(name);
    }
    return failures;
  }

  async #look(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        const tenants = new Set([...(await this.#options.tenants()), ...this.#published.keys()]);
        await Promise.all([...tenants].map((tenantId) => this.settle(tenantId)));
        await this.#reap();
      } catch (error) {
        if (signal.aborted) return;
        this.#options.log.debug({ error: messageOf(error) }, 'not all DNS zones were looked at');
      }
      await this.#options.clock.sleep(LOOK_MS, signal).catch(() => undefined);
    }
  }

  /** Zones that an earlier life left, of VPCs or tenants that are gone. */
  async #reap(): Promise<void> {
    const { driver, log } = this.#options;
    for (const { id } of await driver.list()) {
      // Looked up for each, because one that is wanted may have come meanwhile.
      if ([...this.#published.values()].some((names) => names.has(id))) continue;
      log.info({ zone: id, vpc: vpcOf(id) }, 'a DNS zone that nobody wants is removed');
      await driver.remove(id, this.#stop.signal);
    }
  }
}

/** A zone's name in the server. */
export const publishedName = (domain: string, vpcId: string): string => inside(`${domain}.`, vpcId);

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
