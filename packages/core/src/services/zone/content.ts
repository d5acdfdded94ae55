// From rows to zones: what people wrote, what running instances register, and the reverse zone of the VPC. Pure; who reads the rows is `rows.ts`.
import { formatAddress, parseAddress, parseCidr } from '../../kernel/cidr.ts';
import type { RecordType } from './contract.ts';
import type { RecordSet, ZoneContent } from './driver.ts';

export interface ZoneRow {
  id: string;
  domain: string;
  ttl: number;
  autoRegister: boolean;
  /** Oldest first decides which name an address has. */
  createdAt: number;
  records: { fqdn: string; type: RecordType; ttl?: number | undefined; values: readonly string[] }[];
}

export interface RunningInstance {
  name: string;
  address: string;
}

export interface VpcRows {
  id: string;
  cidr: string;
  zones: readonly ZoneRow[];
  instances: readonly RunningInstance[];
}

/** A name that is not there may be made at any moment; believed for long, it would not be seen. */
const NEGATIVE_TTL = 5;
const REVERSE = 'in-addr.arpa';
/** The server's own name in each zone, which a zone must have. */
const SERVER = 'ns';

/** `5.0.20.10.in-addr.arpa` */
export const reverseName = (address: string): string => `${address.split('.').reverse().join('.')}.in-addr.arpa`;

/** Zones that hold the addresses of a network: the shortest whole octets that have all of it. */
export function reverseZone(cidr: string): string {
  const parsed = parseCidr(cidr);
  if (parsed === undefined) throw new RangeError(`${cidr} is no network`);
  const octets = Math.max(1, Math.floor(parsed.prefix / 8));
  return reverseName(formatAddress(parsed.base))
    .split('.')
    .slice(4 - octets)
    .join('.');
}

const within = (name: string, domain: string): boolean => name === domain || name.endsWith(`.${domain}`);

/** Which of their names people have taken themselves. */
export function shadowedIn({ domain, autoRegister, records }: ZoneRow, instances: readonly RunningInstance[]): Set<string> {
  if (!autoRegister) return new Set();
  // A CNAME stands for all types; and an own A record is what its owner wants the name to mean.
  const taken = new Set(records.filter(({ type }) => type === 'A' || type === 'CNAME').map(({ fqdn }) => fqdn));
  return new Set(instances.map(({ name }) => name).filter((name) => taken.has(`${name}.${domain}`)));
}

/** All zones of a VPC, in the order of their names. */
export function zonesOf({ cidr, zones, instances }: VpcRows): ZoneContent[] {
  const contents = new Map<string, RecordSet[]>();
  const ordered = [...zones].sort((a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1));
  for (const zone of ordered) {
    const { domain, ttl, records } = zone;
    const sets: RecordSet[] = records.map((record) => ({ name: `${record.fqdn}.`, type: record.type, ttl: record.ttl ?? ttl, values: [...record.values] }));
    if (!records.some(({ fqdn, type }) => fqdn === domain && type === 'NS')) {
      sets.push({ name: `${domain}.`, type: 'NS', ttl, values: [`${SERVER}.${domain}.`] });
    }
    if (zone.autoRegister && !within(domain, REVERSE)) {
      const shadowed = shadowedIn(zone, instances);
      for (const { name, address } of instances) {
        if (!shadowed.has(name)) sets.push({ name: `${name}.${domain}.`, type: 'A', ttl, values: [address] });
      }
    }
    contents.set(domain, sets);
  }
  // An address has one name: in the oldest zone in which its instance is registered.
  const registering = ordered.filter(({ autoRegister, domain }) => autoRegister && !within(domain, REVERSE));
  const shadowed = new Map(registering.map((zone) => [zone.id, shadowedIn(zone, instances)]));
  const own = ordered.filter(({ domain }) => within(domain, REVERSE)).sort((a, b) => b.domain.length - a.domain.length);
  const taken = new Set([...contents.values()].flatMap((sets) => sets.filter(({ type }) => type === 'PTR' || type === 'CNAME').map(({ name }) => name)));
  const reverse = reverseZone(cidr);
  for (const { name, address } of instances) {
    const zone = registering.find(({ id }) => shadowed.get(id)?.has(name) === false);
    if (zone === undefined || parseAddress(address) === undefined) continue;
    const owner = reverseName(address);
    if (taken.has(`${owner}.`)) continue;
    const domain = own.find((other) => within(owner, other.domain))?.domain ?? reverse;
    let sets = contents.get(domain);
    if (sets === undefined) {
      sets = [{ name: `${reverse}.`, type: 'NS', ttl: zone.ttl, values: [`${SERVER}.${reverse}.`] }];
      contents.set(domain, sets);
    }
    sets.push({ name: `${owner}.`, type: 'PTR', ttl: zone.ttl, values: [`${name}.${zone.domain}.`] });
  }
  return [...contents].map(([domain, records]) => ({ name: `${domain}.`, negativeTtl: NEGATIVE_TTL, records: sorted(records) })).sort(byName);
}

const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

export const sorted = (records: readonly RecordSet[]): RecordSet[] =>
  [...records].sort((a, b) => byName(a, b) || (a.type < b.type ? -1 : a.type > b.type ? 1 : 0));
