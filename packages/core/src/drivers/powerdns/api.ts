// PowerDNS's HTTP API, one change after another: its SQLite backend answers concurrent changes with "database is locked".
import { DriverError } from '../../kernel/errors.ts';
import type { RecordSet, ZoneContent } from '../../services/zone/driver.ts';
import type { Address } from './server.ts';

const API_MS = 15_000;
const TRIES = 3;
const SERVER = '/api/v1/servers/localhost';

export interface ApiZone {
  name: string;
  account?: string;
  rrsets?: { name: string; type: string; ttl: number; records: { content: string; disabled: boolean }[] }[];
}

/** A change of a zone: what is to be there, or, without values, what is not. */
type Change = Omit<RecordSet, 'values'> & { values: readonly string[] | undefined };

export const soaOf = (name: string, negativeTtl: number, serial: number): string => `ns.${name} hostmaster.${name} ${serial} 10800 3600 604800 ${negativeTtl}`;
const SOA_TTL = 60;

export class Api {
  readonly #address: () => Promise<Address>;
  #last: Promise<unknown> = Promise.resolve();

  constructor(address: () => Promise<Address>) {
    this.#address = address;
  }

  /** After every change before it. */
  change<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#last.then(work, work);
    this.#last = next.catch(() => undefined);
    return next;
  }

  async version(signal?: AbortSignal): Promise<string> {
    const server = (await this.#call('GET', SERVER, undefined, signal)) as { version?: string } | undefined;
    return server?.version ?? 'unknown';
  }

  async zones(signal?: AbortSignal): Promise<ApiZone[]> {
    return ((await this.#call('GET', `${SERVER}/zones?dnssec=false`, undefined, signal)) ?? []) as ApiZone[];
  }

  async zone(name: string, signal: AbortSignal): Promise<ApiZone | undefined> {
    return (await this.#call('GET', path(name), undefined, signal, 404)) as ApiZone | undefined;
  }

  async create({ name, negativeTtl, records }: ZoneContent, account: string, signal: AbortSignal): Promise<void> {
    const soa: Change = { name, type: 'SOA', ttl: SOA_TTL, values: [soaOf(name, negativeTtl, 1)] };
    const body = { name, kind: 'Native', account, nameservers: [], soa_edit_api: 'INCREASE', rrsets: [rrset(soa)] };
    await this.#call('POST', `${SERVER}/zones`, body, signal);
    // Only a change makes it forget that it refused to answer for these names a moment ago.
    await this.patch(name, [soa, ...records], signal);
  }

  async patch(name: string, changes: readonly Change[], signal: AbortSignal): Promise<void> {
    if (changes.length === 0) return;
    await this.#call('PATCH', path(name), { rrsets: changes.map(rrset) }, signal);
  }

  async remove(name: string, signal: AbortSignal): Promise<void> {
    await this.#call('DELETE', path(name), undefined, signal, 404);
  }

  async #call(method: string, where: string, body: unknown, signal: AbortSignal | undefined, absent?: number): Promise<unknown> {
    for (let tries = 1; ; tries++) {
      const { api, key } = await this.#address();
      const patience = AbortSignal.timeout(API_MS);
      let response: Response;
      let text: string;
      try {
        response = await fetch(`${api}${where}`, {
          method,
          headers: { 'x-api-key': key, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
          ...(body === undefined ? {} : { body: JSON.stringify(body) }),
          signal: signal === undefined ? patience : AbortSignal.any([signal, patience]),
        });
        text = await response.text();
      } catch (error) {
        signal?.throwIfAborted();
        throw new DriverError('unavailable', 'The API of PowerDNS does not answer', { cause: error, hint: 'cloud system doctor' });
      }
      if (response.ok) return text === '' ? undefined : JSON.parse(text);
      if (response.status === absent) return undefined;
      const said = messageIn(text);
      if (response.status === 401 || response.status === 403)
        throw new DriverError('unavailable', 'PowerDNS does not take the API key', { hint: 'export CLOUD_POWERDNS_API_KEY=…' });
      // Another program writes to its database, too.
      if (response.status >= 500 && tries < TRIES) {
        await new Promise((resolve) => setTimeout(resolve, 50 * tries));
        continue;
      }
      throw new DriverError(response.status >= 500 ? 'unavailable' : 'failed', `PowerDNS answered ${response.status}: ${said}`);
    }
  }
}

const path = (name: string): string => `${SERVER}/zones/${encodeURIComponent(name)}`;

const rrset = ({ name, type, ttl, values }: Change) =>
  values === undefined
    ? { name, type, changetype: 'DELETE' }
    : { name, type, ttl, changetype: 'REPLACE', records: values.map((content) => ({ content, disabled: false })) };

function messageIn(text: string): string {
  try {
    return String((JSON.parse(text) as { error?: unknown }).error ?? text).slice(0, 300);
  } catch {
    return text.slice(0, 300); // an older version, or a proxy before it
  }
}

/** What must change so that a zone that has `before` has `after`; what goes away comes first, because a CNAME stands alone. */
export function changesBetween(before: ReadonlyMap<string, RecordSet>, after: readonly RecordSet[]): Change[] {
  const wanted = new Map(after.map((set) => [keyOf(set), set]));
  const gone: Change[] = [...before.values()].filter((set) => !wanted.has(keyOf(set))).map((set) => ({ ...set, values: undefined }));
  const others = after.filter((set) => !same(before.get(keyOf(set)), set));
  return [...gone, ...others];
}

export const keyOf = ({ name, type }: { name: string; type: string }): string => `${name} ${type}`;

const same = (a: RecordSet | undefined, b: RecordSet): boolean =>
  a !== undefined && a.ttl === b.ttl && a.values.length === b.values.length && JSON.stringify([...a.values].sort()) === JSON.stringify([...b.values].sort());
