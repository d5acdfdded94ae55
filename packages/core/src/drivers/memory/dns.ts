// Zones that are answered from memory, by the rules of RFC 1034 as far as what is stored here needs them: exact names, wildcards, aliases, and what is not there.

import { dataOf } from '../../kernel/dns/rdata.ts';
import { decode, encode, FLAGS, IN, labelsOf, lower, type Message, type Name, nameIn, nameOf, RCODES, TYPES, type WireRecord } from '../../kernel/dns/wire.ts';
import type { DriverReport, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { DnsDriver, RecordSet, ZoneContent } from '../../services/zone/driver.ts';
import type { MemoryWorld } from './world.ts';

const MOST_ALIASES = 10;

interface MemoryZone {
  content: ZoneContent;
  createdAt: number;
  serial: number;
  names: Map<Name, WireRecord[]>;
  /** Names that are there because there is something below them. */
  between: Set<Name>;
}

export class MemoryDns implements DnsDriver {
  readonly #world: MemoryWorld;
  readonly #zones = new Map<string, MemoryZone>();

  constructor(world: MemoryWorld) {
    this.#world = world;
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#world.faults.run('dns.ping', signal, () => {});
  }

  async report(): Promise<DriverReport> {
    return {
      driver: 'memory',
      features: [
        { name: 'zones', level: 'recorded', detail: '`cloud dns dig` is answered; nothing runs that could ask' },
        { name: 'registration', level: 'recorded', detail: 'Running instances have an A and a PTR record' },
      ],
      checks: [{ name: 'memory', ok: true, detail: `${this.#zones.size} zones in this process` }],
    };
  }

  ensure(zone: ZoneContent, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('dns.ensure', signal, () => {
      const present = this.#zones.get(zone.name);
      if (present !== undefined && JSON.stringify(present.content) === JSON.stringify(zone)) return;
      this.#zones.set(zone.name, zoneOf(structuredClone(zone), present, this.#world.clock.now()));
    });
  }

  remove(name: string, signal: AbortSignal): Promise<void> {
    return this.#world.faults.run('dns.remove', signal, () => {
      this.#zones.delete(name);
    });
  }

  inspect(name: string, signal: AbortSignal): Promise<ZoneContent | undefined> {
    return this.#world.faults.run('dns.inspect', signal, () => structuredClone(this.#zones.get(name)?.content));
  }

  list(): Promise<Found[]> {
    return this.#world.faults.run('dns.list', undefined, () => [...this.#zones].map(([id, { createdAt }]) => ({ id, createdAt })));
  }

  query(message: Buffer, signal: AbortSignal): Promise<Buffer> {
    return this.#world.faults.run('dns.query', signal, () => encode(this.#answer(decode(message))));
  }

  #answer({ id, flags, question, edns }: Message): Message {
    if (question === undefined) throw new DriverError('bad_spec', 'There is no question in it');
    const reply: Message = {
      id,
      flags: FLAGS.QR | (flags & FLAGS.RD),
      opcode: 0,
      rcode: RCODES.NOERROR,
      question,
      answers: [],
      authority: [],
      additional: [],
      edns: edns === undefined ? undefined : { size: 4096, version: 0, extended: 0 },
    };
    const { type } = question;
    for (let name = question.name, aliases = 0; ; aliases++) {
      const zone = this.#zoneOf(name);
      if (zone === undefined) return aliases === 0 ? { ...reply, rcode: RCODES.REFUSED } : reply;
      reply.flags |= FLAGS.AA;
      const found = lookUp(zone, name);
      if (found === undefined) return { ...reply, rcode: RCODES.NXDOMAIN, authority: [soa(zone)] };
      const alias = found.find((record) => record.type === TYPES.CNAME);
      const fitting = type === TYPES.ANY ? found : found.filter((record) => record.type === type);
      if (fitting.length === 0 && alias !== undefined && aliases < MOST_ALIASES) {
        reply.answers.push(alias);
        name = nameIn(alias);
        continue;
      }
      if (type === TYPES.SOA && lower(name) === nameOf(zone.content.name)) reply.answers.push(soa(zone));
      reply.answers.push(...fitting);
      if (reply.answers.length === 0 || fitting.length === 0) reply.authority = reply.answers.some((record) => record.type === type) ? [] : [soa(zone)];
      return reply;
    }
  }

  #zoneOf(name: Name): MemoryZone | undefined {
    const small = lower(name);
    for (const at of labelsOf(small)) for (const zone of this.#zones.values()) if (nameOf(zone.content.name) === small.slice(at)) return zone;
    return undefined;
  }
}

function zoneOf(content: ZoneContent, before: MemoryZone | undefined, now: number): MemoryZone {
  const names = new Map<Name, WireRecord[]>();
  const between = new Set<Name>();
  const apex = nameOf(content.name);
  for (const set of content.records) {
    const name = nameOf(set.name);
    names.set(name, [...(names.get(name) ?? []), ...recordsOf(set)]);
    for (const at of labelsOf(name)) {
      const parent = name.slice(at);
      if (parent.length <= apex.length) break;
      between.add(parent);
    }
  }
  return { content, createdAt: before?.createdAt ?? now, serial: (before?.serial ?? 0) + 1, names, between };
}

function recordsOf({ name, type, ttl, values }: RecordSet): WireRecord[] {
  const number = (TYPES as Readonly<Record<string, number>>)[type];
  if (number === undefined) throw new DriverError('bad_spec', `There is no type ${type} here`);
  return values.map((value) => {
    try {
      return { name: nameOf(name), type: number, class: IN, ttl, data: dataOf(type, value) };
    } catch (error) {
      throw new DriverError('bad_spec', `${name} ${type} ${value}: ${(error as Error).message}`, { cause: error });
    }
  });
}

/** The records of a name with that name as owner; none: it is there without any; undefined: it is not there. */
function lookUp(zone: MemoryZone, name: Name): WireRecord[] | undefined {
  const small = lower(name);
  const apex = nameOf(zone.content.name);
  const exact = zone.names.get(small);
  if (exact !== undefined) return exact.map((record) => ({ ...record, name }));
  if (small === apex || zone.between.has(small)) return [];
  // The closest name that is there decides: its wildcard stands for what is below it.
  for (const at of labelsOf(small).slice(1)) {
    const parent = small.slice(at);
    const wildcard = zone.names.get(`\x01*${parent}`);
    if (wildcard !== undefined) return wildcard.map((record) => ({ ...record, name }));
    if (parent === apex || zone.between.has(parent) || zone.names.has(parent)) return undefined;
  }
  return undefined;
}

function soa({ content: { name, negativeTtl }, serial }: MemoryZone): WireRecord {
  const numbers = Buffer.alloc(20);
  for (const [index, value] of [serial, 10_800, 3600, 604_800, negativeTtl].entries()) numbers.writeUInt32BE(value, index * 4);
  const data = Buffer.concat([Buffer.from(nameOf(`ns.${name}`) + nameOf(`hostmaster.${name}`), 'latin1'), numbers]);
  return { name: nameOf(name), type: TYPES.SOA, class: IN, ttl: negativeTtl, data };
}
