// DNS of one core: keeps the server as the rows say, and answers at the gateways. The services of zones, records and questions share it.
import { DriverError } from '../../kernel/errors.ts';
import { tableName } from '../../kernel/migrate.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import { networkPort } from '../vpc/driver.ts';
import { networks } from '../vpc/network-contract.ts';
import { dnsPort } from './driver.ts';
import { Gateways } from './gateways.ts';
import { Publisher } from './publisher.ts';
import { Resolver, type View, viewOf } from './resolver.ts';
import { tenantsWithVpcs, vpcsOf } from './rows.ts';
import { HostResolvers, type Upstream } from './upstream.ts';

/** A change of one of these may change what is answered. */
const CONCERNED = new Set(['vpc', 'zone', 'record', 'instance', 'internet-gateway']);

/** How long an instance that is made waits to learn whether the rules lead to the resolvers; only the first one of a VPC that is the first of all. */
const LED_MS = 10_000;

export interface NamingOptions {
  upstream?: Upstream;
}

export class Naming {
  readonly #context: ServiceContext;
  readonly #resolver: Resolver;
  readonly #publisher: Publisher;
  readonly #gateways: Gateways;
  #wake: ((zoneId: string) => void) | undefined;
  #unfollow: (() => void) | undefined;
  #here = false;

  constructor(context: ServiceContext, { upstream }: NamingOptions = {}) {
    this.#context = context;
    const { clock, log } = context;
    this.#resolver = new Resolver({ driver: context.driver(dnsPort), upstream: upstream ?? new HostResolvers(clock), log });
    this.#publisher = new Publisher({
      driver: context.driver(dnsPort),
      clock,
      log,
      tenants: () => tenantsWithVpcs(context.db),
      vpcs: (tenantId) => vpcsOf(context.db, tenantId, context.resources),
      onFacts: (tenantId, facts) => {
        if (this.#here) this.#gateways.update(tenantId, facts.map(viewOf));
      },
      onTrouble: (tenantId) => void this.#wakeZones(tenantId),
    });
    this.#gateways = new Gateways({
      answer: (view, packet, by, signal) => this.#resolver.answer(view, packet, by, signal),
      clock,
      log,
      onPort: async (port) => {
        await context.client('', { network: networks }).network.serve({ service: 'dns', port });
      },
    });
  }

  async start(): Promise<void> {
    const { driver, log, onCommit } = this.#context;
    try {
      this.#here = await driver(networkPort).gatewaysHere();
    } catch (error) {
      if (!(error instanceof DriverError)) throw error;
      log.warn({ error: error.message }, 'it is not known where the gateways of the VPCs are; instances resolve names as the host of their engine does');
    }
    this.#unfollow = onCommit(({ rows }) => {
      for (const { resource, tenantId } of rows) if (CONCERNED.has(resource)) this.#publisher.touch(tenantId);
    });
    this.#publisher.start();
  }

  async close(): Promise<void> {
    this.#unfollow?.();
    await this.#gateways.close();
    await this.#publisher.close();
  }

  /** Resolves when what was committed before is answered; with the reason why this zone is not. */
  async settled(tenantId: string, publishedName: string): Promise<Error | undefined> {
    return (await this.#publisher.settle(tenantId)).get(publishedName);
  }

  /** `wake` is told the zones that cannot be brought up to date, or can again. */
  onTrouble(wake: (zoneId: string) => void): void {
    this.#wake = wake;
  }

  async #wakeZones(tenantId: string): Promise<void> {
    const wake = this.#wake;
    if (wake === undefined) return;
    const { db, log } = this.#context;
    try {
      const rows = await db.selectFrom(tableName('zone')).select('id').where('tenant', '=', tenantId).execute();
      for (const { id } of rows) wake(id);
    } catch (error) {
      log.warn({ error: (error as Error).message }, 'the zones of a tenant could not be looked at');
    }
  }

  /** What a resolver in this VPC knows; undefined when there is no such VPC. */
  async view(tenantId: string, vpcId: string): Promise<View | undefined> {
    const facts = await vpcsOf(this.#context.db, tenantId, this.#context.resources);
    const vpc = facts.find(({ id }) => id === vpcId);
    return vpc === undefined ? undefined : viewOf(vpc);
  }

  /** Where instances of a VPC with this gateway ask; nothing where the rules do not lead there. */
  async serversAt(gateway: string | undefined): Promise<string[]> {
    if (gateway === undefined || !this.#here) return [];
    const soon = new AbortController();
    const late = this.#context.clock.sleep(LED_MS, soon.signal).then(
      () => false,
      () => false, // the other came first
    );
    const led = await Promise.race([this.#gateways.led.then(() => true), late]);
    soon.abort(new Error('it is known'));
    if (!led) this.#context.log.warn({ gateway }, 'an instance is made that does not resolve names of its VPC: nothing leads to the resolvers');
    return led ? [gateway] : [];
  }

  get resolver(): Resolver {
    return this.#resolver;
  }
}

const all = new WeakMap<ServiceContext, Naming>();

export function namingOf(context: ServiceContext, options?: NamingOptions): Naming {
  let naming = all.get(context);
  if (naming === undefined) {
    naming = new Naming(context, options);
    all.set(context, naming);
  }
  return naming;
}
