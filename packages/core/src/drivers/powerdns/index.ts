// DNS zones in PowerDNS: one that we run ourselves, or one that is given by its address and key.
import type { Clock } from '../../kernel/clock.ts';
import { systemClock } from '../../kernel/clock.ts';
import type { Check, DriverReport, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type Log, silent } from '../../kernel/log.ts';
import type { DnsDriver, RecordSet, ZoneContent } from '../../services/zone/driver.ts';
import { Api, changesBetween, keyOf, soaOf } from './api.ts';
import { Questions } from './questions.ts';
import { type Address, findProgram, INSTALL, notInstalled, OwnServer } from './server.ts';

export interface PowerDnsOptions {
  /** Whose zones are ours in a server that others use, too. */
  installation: string;
  /** A server that runs already. Without it: one of our own, in `directory`. */
  server?: Address | undefined;
  directory: string;
  clock?: Clock;
  log?: Log;
}

interface Known {
  negativeTtl: number;
  records: Map<string, RecordSet>;
}

export class PowerDns implements DnsDriver {
  readonly #options: PowerDnsOptions;
  readonly #own: OwnServer | undefined;
  readonly #api: Api;
  readonly #questions = new Questions();
  /** What zones have, as far as we wrote it: saves a look before each change. */
  readonly #known = new Map<string, Known>();

  constructor(options: PowerDnsOptions) {
    this.#options = options;
    const { server, directory, clock = systemClock, log = silent } = options;
    this.#own = server === undefined ? new OwnServer({ directory, clock, log }, () => this.#known.clear()) : undefined;
    this.#api = new Api(() => this.#address());
  }

  /** Process id of the server of our own, while it runs. */
  get pid(): number | undefined {
    return this.#own?.pid;
  }

  /** Where the server is; undefined while one of our own does not run. */
  get address(): Address | undefined {
    return this.#own === undefined ? this.#options.server : this.#own.address;
  }

  #address(): Promise<Address> {
    return this.#own?.started() ?? Promise.resolve(this.#options.server as Address);
  }

  async ping(signal?: AbortSignal): Promise<void> {
    if (this.#own === undefined) await this.#api.version(signal);
    else if (findProgram('pdns_server') === undefined) throw notInstalled();
  }

  async report(signal?: AbortSignal): Promise<DriverReport> {
    const features = [
      {
        name: 'zones',
        level: 'enforced' as const,
        detail: 'Zones are answered by PowerDNS; those of a VPC are below a label of its own, and asked for by its resolver only',
      },
      { name: 'registration', level: 'enforced' as const, detail: 'Running instances have an A and a PTR record' },
    ];
    const check = await this.#check(signal);
    return { driver: 'powerdns', ...(check.version === undefined ? {} : { version: check.version }), features, checks: [check.check] };
  }

  async #check(signal?: AbortSignal): Promise<{ check: Check; version?: string }> {
    const name = 'PowerDNS answers';
    if (this.#own !== undefined && this.#own.address === undefined) {
      if (findProgram('pdns_server') === undefined)
        return { check: { name: 'PowerDNS is installed', ok: false, detail: 'DNS zones need it', remedy: INSTALL } };
      return { check: { name: 'PowerDNS is installed', ok: true, detail: 'It is started with the first zone' } };
    }
    try {
      const version = await this.#api.version(signal);
      const detail = this.#own === undefined ? `version ${version} at ${this.#options.server?.api}` : `version ${version}, process ${this.#own.pid}`;
      return { check: { name, ok: true, detail }, version };
    } catch (error) {
      return { check: { name, ok: false, detail: (error as Error).message, remedy: this.#own === undefined ? 'echo $CLOUD_POWERDNS_URL' : INSTALL } };
    }
  }

  ensure(zone: ZoneContent, signal: AbortSignal): Promise<void> {
    return this.#api.change(async () => {
      signal.throwIfAborted();
      const { name, negativeTtl, records } = zone;
      const known = this.#known.get(name) ?? (await this.#read(name, signal));
      this.#known.delete(name);
      if (known === undefined) await this.#api.create(zone, this.#options.installation, signal);
      else {
        const changes = changesBetween(known.records, records);
        // The serial number is counted up by the server whenever something changes.
        const soa = known.negativeTtl === negativeTtl ? [] : [{ name, type: 'SOA', ttl: 60, values: [soaOf(name, negativeTtl, 1)] }];
        await this.#api.patch(name, [...changes, ...soa], signal);
      }
      this.#known.set(name, { negativeTtl, records: new Map(records.map((set) => [keyOf(set), structuredClone(set)])) });
    });
  }

  remove(name: string, signal: AbortSignal): Promise<void> {
    return this.#api.change(async () => {
      signal.throwIfAborted();
      this.#known.delete(name);
      await this.#api.remove(name, signal);
    });
  }

  async inspect(name: string, signal: AbortSignal): Promise<ZoneContent | undefined> {
    const known = await this.#read(name, signal);
    if (known === undefined) return undefined;
    const records = [...known.records.values()].sort((a, b) => (a.name < b.name || (a.name === b.name && a.type < b.type) ? -1 : 1));
    return { name, negativeTtl: known.negativeTtl, records };
  }

  async list(): Promise<Found[]> {
    // Nobody is answered by one that does not run, and what it has it is told again.
    if (this.address === undefined) return [];
    const zones = await this.#api.zones();
    return zones.filter(({ account }) => account === this.#options.installation).map(({ name }) => ({ id: name, createdAt: 0 }));
  }

  async query(message: Buffer, signal: AbortSignal): Promise<Buffer> {
    const address = this.address;
    if (address === undefined) throw new DriverError('unavailable', 'PowerDNS does not run');
    return this.#questions.ask(message, address.dns, signal);
  }

  async close(): Promise<void> {
    this.#questions.close();
    await this.#own?.close();
  }

  async #read(name: string, signal: AbortSignal): Promise<Known | undefined> {
    const zone = await this.#api.zone(name, signal);
    if (zone === undefined) return undefined;
    let negativeTtl = 0;
    const records = new Map<string, RecordSet>();
    for (const { name: owner, type, ttl, records: values } of zone.rrsets ?? []) {
      const contents = values.map(({ content }) => content);
      if (type === 'SOA') negativeTtl = Number(contents[0]?.split(' ').at(-1) ?? 0);
      else records.set(keyOf({ name: owner, type }), { name: owner, type, ttl, values: contents });
    }
    return { negativeTtl, records };
  }
}
