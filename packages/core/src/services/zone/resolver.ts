// What an instance gets for a question: from the zones of its VPC, from the resolvers of the host, or nothing. Names of private zones are never passed on.
import { type Cidr, parseCidr } from '../../kernel/cidr.ts';
import {
  decode,
  type Edns,
  encode,
  FLAGS,
  IN,
  labelsOf,
  lower,
  Malformed,
  type Message,
  type Name,
  nameIn,
  nameOf,
  type Question,
  RCODES,
  TYPES,
} from '../../kernel/dns/wire.ts';
import type { Log } from '../../kernel/log.ts';
import { reverseZone, zonesOf } from './content.ts';
import type { DnsDriver } from './driver.ts';
import { labelOf, messageOutside, nameInside } from './names.ts';
import type { VpcFacts } from './rows.ts';
import type { Upstream } from './upstream.ts';

/** What a resolver knows of a VPC. */
export interface View {
  vpcId: string;
  tenantId: string;
  cidr: Cidr;
  gateway: string | undefined;
  ready: boolean;
  internet: boolean;
  /** The VPC's label in the server. */
  label: Name;
  /** Zones, in lower case. */
  zones: ReadonlySet<Name>;
}

export function viewOf(facts: VpcFacts): View {
  return {
    vpcId: facts.id,
    tenantId: facts.tenantId,
    cidr: parseCidr(facts.cidr) as Cidr,
    gateway: facts.gateway,
    ready: facts.ready,
    internet: facts.internet,
    label: labelOf(facts.id),
    // The addresses of the VPC are nobody else's business, whether any of them has a name or not.
    zones: new Set([...zonesOf(facts).map(({ name }) => nameOf(name)), nameOf(reverseZone(facts.cidr))]),
  };
}

/** Who decided about an answer. */
export type Source = 'zone' | 'outside' | 'nobody';

/** Names that mean something on a machine or in a private network only (RFC 6761, 6762, 8375, 9476), and private addresses (RFC 6303). */
const NEVER_PASSED_ON = new Set(
  [
    'localhost',
    'local',
    'invalid',
    'test',
    'onion',
    'alt',
    'internal',
    'home.arpa',
    '10.in-addr.arpa',
    ...Array.from({ length: 16 }, (_, n) => `${16 + n}.172.in-addr.arpa`),
    '168.192.in-addr.arpa',
    '254.169.in-addr.arpa',
    '127.in-addr.arpa',
    '0.in-addr.arpa',
    ...Array.from({ length: 64 }, (_, n) => `${64 + n}.100.in-addr.arpa`),
    ...['8.e.f.ip6.arpa', '9.e.f.ip6.arpa', 'a.e.f.ip6.arpa', 'b.e.f.ip6.arpa', 'd.f.ip6.arpa'],
  ].map(nameOf),
);

/** What fits into a packet on every way (DNS flag day 2020); who takes more asks by TCP. */
const MOST_BYTES = 1232;
const LEAST_BYTES = 512;
/** From the server, whose answers do not leave the machine. */
const SERVER_BYTES = 4096;

/** The longest of the names that hold this one. */
function heldBy(name: Name, names: ReadonlySet<Name>): boolean {
  const small = lower(name);
  return labelsOf(small).some((at) => names.has(small.slice(at)));
}

export class Resolver {
  readonly #driver: DnsDriver;
  readonly #upstream: Upstream;
  readonly #log: Log;

  constructor({ driver, upstream, log }: { driver: DnsDriver; upstream: Upstream; log: Log }) {
    this.#driver = driver;
    this.#upstream = upstream;
    this.#log = log;
  }

  /** The answer to a packet of an instance; undefined when it is none that one answers. */
  async answer(view: View, packet: Buffer, by: 'udp' | 'tcp', signal: AbortSignal): Promise<Buffer | undefined> {
    // Too short for a head, or an answer: who answers that may be made to talk with himself.
    if (packet.length < 12 || (packet.readUInt8(2) & 0x80) !== 0) return undefined;
    let asked: Message;
    try {
      asked = decode(packet);
      if (asked.opcode !== 0) return encode({ ...refusal(asked, RCODES.NOTIMP), opcode: asked.opcode });
      if (asked.question === undefined) throw new Malformed('no question');
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const head = { id: packet.readUInt16BE(0), flags: packet.readUInt16BE(2), question: undefined, edns: undefined };
      return encode({ ...refusal(head, RCODES.FORMERR), opcode: (head.flags >> 11) & 0xf });
    }
    if (asked.edns !== undefined && asked.edns.version !== 0) return encode(refusal(asked, RCODES.BADVERS));
    const { message, raw } = await this.resolve(view, asked, { packet, by }, signal);
    const bytes = raw ?? encode(message);
    if (by === 'tcp') return bytes;
    const most = asked.edns === undefined ? LEAST_BYTES : Math.max(LEAST_BYTES, Math.min(asked.edns.size, MOST_BYTES));
    if (bytes.length <= most || raw !== undefined) return bytes;
    return encode({ ...message, flags: message.flags | FLAGS.TC, answers: [], authority: [], additional: [] });
  }

  /** Whatever is asked, and who it was that knew. */
  async resolve(
    view: View,
    asked: Message,
    given: { packet: Buffer; by: 'udp' | 'tcp' } | undefined,
    signal: AbortSignal,
  ): Promise<{ message: Message; raw?: Buffer; from: Source }> {
    const question = asked.question as Question;
    if (question.class !== IN || question.type === TYPES.AXFR || question.type === TYPES.IXFR)
      return { message: refusal(asked, RCODES.REFUSED), from: 'nobody' };
    try {
      if (heldBy(question.name, view.zones)) return { message: await this.#private(view, asked, signal), from: 'zone' };
      const why = this.#mayPass(view, question.name);
      if (why !== undefined) return { message: refusal(asked, why), from: 'nobody' };
      const packet = given?.packet ?? encode({ ...asked, edns: { size: MOST_BYTES, version: 0, extended: 0 } });
      let raw = await this.#upstream.ask(packet, given?.by ?? 'udp', signal);
      if (given === undefined && (raw.readUInt8(2) & 0x02) !== 0) raw = await this.#upstream.ask(packet, 'tcp', signal);
      return { message: given === undefined ? decode(raw) : asked, raw, from: 'outside' };
    } catch (error) {
      if (!(error instanceof Error)) throw error;
      // Whatever it was, the instance is to know soon that there is no answer; it asks again.
      if (!signal.aborted) this.#log.debug({ vpc: view.vpcId, error: error.message }, 'a DNS question was not answered');
      return { message: refusal(asked, RCODES.SERVFAIL), from: heldBy(question.name, view.zones) ? 'zone' : 'outside' };
    }
  }

  /** Why a name is not passed on; undefined when it is. */
  #mayPass(view: View, name: Name): number | undefined {
    // One label is the name of something nearby, which the outside does not know.
    if (heldBy(name, NEVER_PASSED_ON) || labelsOf(name).length === 2) return RCODES.NXDOMAIN;
    return view.internet ? undefined : RCODES.REFUSED;
  }

  async #private(view: View, asked: Message, signal: AbortSignal): Promise<Message> {
    const question = asked.question as Question;
    const name = nameInside(question.name, view.label);
    // Longer than anything that can be stored.
    if (name === undefined) return refusal(asked, RCODES.NXDOMAIN);
    const edns: Edns = { size: SERVER_BYTES, version: 0, extended: 0 };
    const inner: Message = { ...asked, flags: 0, opcode: 0, rcode: 0, question: { ...question, name }, answers: [], authority: [], additional: [], edns };
    const got = messageOutside(decode(await this.#driver.query(encode(inner), signal)), view.label);
    // The server knows of no such zone yet.
    if (got.rcode === RCODES.REFUSED) return refusal(asked, RCODES.SERVFAIL);
    const answer: Message = { ...got, id: asked.id, flags: replyFlags(asked) | (got.flags & FLAGS.AA), question, edns: ownEdns(asked.edns) };
    return this.#followed(view, asked, answer, signal);
  }

  /** An alias that leads out of the zones is followed there, as who asks expects of a resolver. */
  async #followed(view: View, asked: Message, answer: Message, signal: AbortSignal): Promise<Message> {
    const { type } = asked.question as Question;
    const last = answer.answers.at(-1);
    if (last?.type !== TYPES.CNAME || type === TYPES.CNAME || type === TYPES.ANY) return answer;
    const target = nameIn(last);
    if (heldBy(target, view.zones)) return answer;
    if (this.#mayPass(view, target) !== undefined) return answer;
    const onward: Message = {
      ...asked,
      flags: FLAGS.RD,
      question: { name: target, type, class: IN },
      answers: [],
      authority: [],
      additional: [],
      edns: undefined,
    };
    const { message, raw } = await this.resolve(view, onward, undefined, signal);
    if (raw === undefined) return { ...answer, rcode: message.rcode };
    return { ...answer, flags: answer.flags & ~FLAGS.AA, rcode: message.rcode, answers: [...answer.answers, ...message.answers], authority: [] };
  }
}

const replyFlags = ({ flags }: { flags: number }): number => FLAGS.QR | FLAGS.RA | (flags & (FLAGS.RD | FLAGS.CD));
const ownEdns = (edns: Edns | undefined): Edns | undefined => (edns === undefined ? undefined : { size: MOST_BYTES, version: 0, extended: 0 });

function refusal(asked: Pick<Message, 'id' | 'flags' | 'question' | 'edns'>, rcode: number): Message {
  return {
    id: asked.id,
    flags: replyFlags(asked),
    opcode: 0,
    rcode,
    question: asked.question,
    answers: [],
    authority: [],
    additional: [],
    edns: ownEdns(asked.edns),
  };
}

/** A question as `dig` asks it. */
export const questionFor = (name: Name, type: number): Message => ({
  id: 0,
  flags: FLAGS.RD,
  opcode: 0,
  rcode: RCODES.NOERROR,
  question: { name, type, class: IN },
  answers: [],
  authority: [],
  additional: [],
  edns: { size: MOST_BYTES, version: 0, extended: 0 },
});
