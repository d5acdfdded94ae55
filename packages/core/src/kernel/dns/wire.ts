// DNS messages (RFC 1035, EDNS by RFC 6891), as bytes. A name is kept in wire form, one character a byte, so that a dot inside a label is not a dot between
// two, and no name means another after a round trip. Anything that is not as it must be is a `Malformed`.

export class Malformed extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Malformed';
  }
}

/** Wire form without compression, a latin1 string: `\x03www\x07example\x00`. */
export type Name = string;

export const ROOT: Name = '\0';
const MAX_NAME = 255;
const MAX_LABEL = 63;
/** More records than any answer of ours has; what says it has more is not worth reading. */
const MAX_RECORDS = 2000;

export const TYPES = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  OPT: 41,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
} as const;
const TYPE_NAMES = new Map<number, string>(Object.entries(TYPES).map(([name, number]) => [number, name]));
export const typeName = (type: number): string => TYPE_NAMES.get(type) ?? `TYPE${type}`;

export const RCODES = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5, BADVERS: 16 } as const;
const RCODE_NAMES = new Map<number, string>(Object.entries(RCODES).map(([name, number]) => [number, name]));
export const rcodeName = (rcode: number): string => RCODE_NAMES.get(rcode) ?? `RCODE${rcode}`;

export const FLAGS = { QR: 0x8000, AA: 0x0400, TC: 0x0200, RD: 0x0100, RA: 0x0080, AD: 0x0020, CD: 0x0010 } as const;
export const IN = 1;

export interface Question {
  name: Name;
  type: number;
  class: number;
}

export interface WireRecord {
  name: Name;
  type: number;
  class: number;
  ttl: number;
  /** Names inside are not compressed. */
  data: Buffer;
}

export interface Edns {
  /** Bytes that the sender takes by UDP. */
  size: number;
  version: number;
  /** Upper eight bits of the response code. */
  extended: number;
}

export interface Message {
  id: number;
  flags: number;
  opcode: number;
  rcode: number;
  question: Question | undefined;
  answers: WireRecord[];
  authority: WireRecord[];
  additional: WireRecord[];
  edns: Edns | undefined;
}

/** Where names stand in the data of a record: bytes before the first, how many follow each other, and whether they may be written compressed. */
const NAMES_IN: Readonly<Record<number, { before: number; names: number; compressible: boolean }>> = {
  [TYPES.NS]: { before: 0, names: 1, compressible: true },
  [TYPES.CNAME]: { before: 0, names: 1, compressible: true },
  [TYPES.PTR]: { before: 0, names: 1, compressible: true },
  [TYPES.SOA]: { before: 0, names: 2, compressible: true },
  [TYPES.MX]: { before: 2, names: 1, compressible: true },
  [TYPES.SRV]: { before: 6, names: 1, compressible: false },
  // Older ones that a server may compress (RFC 3597, section 4).
  3: { before: 0, names: 1, compressible: true },
  4: { before: 0, names: 1, compressible: true },
  7: { before: 0, names: 1, compressible: true },
  8: { before: 0, names: 1, compressible: true },
  9: { before: 0, names: 1, compressible: true },
  14: { before: 0, names: 2, compressible: true },
  17: { before: 0, names: 2, compressible: false },
  18: { before: 2, names: 1, compressible: false },
  21: { before: 2, names: 1, compressible: false },
  39: { before: 0, names: 1, compressible: false },
};

/** Reads a name at an offset; says where the next thing begins. */
function readName(bytes: Buffer, start: number): { name: Name; next: number } {
  let name = '';
  let at = start;
  let next = -1;
  for (;;) {
    const length = bytes[at];
    if (length === undefined) throw new Malformed('a name goes on behind the end');
    if (length === 0) return { name: `${name}\0`, next: next === -1 ? at + 1 : next };
    if ((length & 0xc0) === 0xc0) {
      const low = bytes[at + 1];
      if (low === undefined) throw new Malformed('a pointer goes on behind the end');
      const to = ((length & 0x3f) << 8) | low;
      // Only backwards: then it ends.
      if (to >= at || to >= start) throw new Malformed('a pointer does not point backwards');
      if (next === -1) next = at + 2;
      start = to;
      at = to;
      continue;
    }
    if (length > MAX_LABEL) throw new Malformed('a label of a kind that nobody uses');
    const end = at + 1 + length;
    if (end > bytes.length) throw new Malformed('a label goes on behind the end');
    name += bytes.toString('latin1', at, end);
    if (name.length >= MAX_NAME) throw new Malformed('a name is too long');
    at = end;
  }
}

function readRecord(bytes: Buffer, start: number): { record: WireRecord; next: number } {
  const { name, next: at } = readName(bytes, start);
  if (at + 10 > bytes.length) throw new Malformed('a record goes on behind the end');
  const type = bytes.readUInt16BE(at);
  const length = bytes.readUInt16BE(at + 8);
  const from = at + 10;
  const end = from + length;
  if (end > bytes.length) throw new Malformed('the data of a record goes on behind the end');
  const record = { name, type, class: bytes.readUInt16BE(at + 2), ttl: bytes.readUInt32BE(at + 4), data: dataOf(bytes, type, from, end) };
  return { record, next: end };
}

function dataOf(bytes: Buffer, type: number, from: number, end: number): Buffer {
  const shape = NAMES_IN[type];
  if (shape === undefined) return bytes.subarray(from, end);
  let at = from + shape.before;
  let names = '';
  for (let n = 0; n < shape.names; n++) {
    if (at >= end) throw new Malformed('the data of a record is too short');
    const { name, next } = readName(bytes, at);
    names += name;
    at = next;
  }
  if (at > end) throw new Malformed('a name goes on behind the data of its record');
  return Buffer.concat([bytes.subarray(from, from + shape.before), Buffer.from(names, 'latin1'), bytes.subarray(at, end)]);
}

/** The head and the question alone, which is all that most messages are asked for. */
export function readQuestion(bytes: Buffer): { id: number; flags: number; opcode: number; question: Question; next: number } {
  if (bytes.length < 12) throw new Malformed('shorter than the head of a message');
  const flags = bytes.readUInt16BE(2);
  if (bytes.readUInt16BE(4) !== 1) throw new Malformed('not one question');
  const { name, next } = readName(bytes, 12);
  if (next + 4 > bytes.length) throw new Malformed('the question goes on behind the end');
  const question = { name, type: bytes.readUInt16BE(next), class: bytes.readUInt16BE(next + 2) };
  return { id: bytes.readUInt16BE(0), flags, opcode: (flags >> 11) & 0xf, question, next: next + 4 };
}

export function decode(bytes: Buffer): Message {
  if (bytes.length < 12) throw new Malformed('shorter than the head of a message');
  const flags = bytes.readUInt16BE(2);
  const questions = bytes.readUInt16BE(4);
  if (questions > 1) throw new Malformed('more than one question');
  let at = 12;
  let question: Question | undefined;
  if (questions === 1) ({ question, next: at } = readQuestion(bytes));
  const counts = [bytes.readUInt16BE(6), bytes.readUInt16BE(8), bytes.readUInt16BE(10)] as const;
  if (counts[0] + counts[1] + counts[2] > MAX_RECORDS) throw new Malformed('too many records');
  const section = (count: number): WireRecord[] => {
    const records: WireRecord[] = [];
    for (let n = 0; n < count; n++) {
      const { record, next } = readRecord(bytes, at);
      records.push(record);
      at = next;
    }
    return records;
  };
  const answers = section(counts[0]);
  const authority = section(counts[1]);
  const additional = section(counts[2]);
  const options = additional.filter(({ type }) => type === TYPES.OPT);
  if (options.length > 1) throw new Malformed('more than one OPT record');
  const [option] = options;
  if (option !== undefined && option.name !== ROOT) throw new Malformed('an OPT record has no name');
  const edns = option === undefined ? undefined : { size: option.class, version: (option.ttl >>> 16) & 0xff, extended: option.ttl >>> 24 };
  return {
    id: bytes.readUInt16BE(0),
    flags,
    opcode: (flags >> 11) & 0xf,
    rcode: (flags & 0xf) | ((edns?.extended ?? 0) << 4),
    question,
    answers,
    authority,
    additional: additional.filter(({ type }) => type !== TYPES.OPT),
    edns,
  };
}

/** Bytes of a message, names compressed. */
export function encode(message: Omit<Message, 'opcode'> & { opcode?: number }): Buffer {
  const { id, flags, rcode, question, answers, authority, additional, edns } = message;
  const parts: Buffer[] = [];
  const known = new Map<string, number>();
  let length = 12;
  const put = (part: Buffer): void => {
    parts.push(part);
    length += part.length;
  };
  const nameAt = (name: Name, offset: number): Buffer => {
    let at = 0;
    while (name.charCodeAt(at) !== 0) {
      const rest = lower(name.slice(at));
      const to = known.get(rest);
      if (to !== undefined) {
        const bytes = Buffer.alloc(at + 2);
        bytes.write(name.slice(0, at), 'latin1');
        bytes.writeUInt16BE(0xc000 | to, at);
        return bytes;
      }
      if (offset + at < 0x3fff) known.set(rest, offset + at);
      at += name.charCodeAt(at) + 1;
    }
    return Buffer.from(name, 'latin1');
  };
  const head = Buffer.alloc(12);
  head.writeUInt16BE(id, 0);
  head.writeUInt16BE((flags & ~0x780f) | (((message.opcode ?? 0) & 0xf) << 11) | (rcode & 0xf), 2);
  head.writeUInt16BE(question === undefined ? 0 : 1, 4);
  head.writeUInt16BE(answers.length, 6);
  head.writeUInt16BE(authority.length, 8);
  head.writeUInt16BE(additional.length + (edns === undefined ? 0 : 1), 10);
  parts.push(head);
  if (question !== undefined) {
    put(nameAt(question.name, length));
    const rest = Buffer.alloc(4);
    rest.writeUInt16BE(question.type, 0);
    rest.writeUInt16BE(question.class, 2);
    put(rest);
  }
  for (const { name, type, class: of, ttl, data } of [...answers, ...authority, ...additional]) {
    put(nameAt(name, length));
    const fixed = Buffer.alloc(10);
    fixed.writeUInt16BE(type, 0);
    fixed.writeUInt16BE(of, 2);
    fixed.writeUInt32BE(ttl >>> 0, 4);
    const shape = NAMES_IN[type];
    let body = data;
    if (shape?.compressible === true) {
      const pieces = [data.subarray(0, shape.before)];
      let at = shape.before;
      let size = shape.before;
      for (let n = 0; n < shape.names; n++) {
        const { name: inner, next } = readName(data, at);
        const piece = nameAt(inner, length + 10 + size);
        pieces.push(piece);
        size += piece.length;
        at = next;
      }
      pieces.push(data.subarray(at));
      body = Buffer.concat(pieces);
    }
    fixed.writeUInt16BE(body.length, 8);
    put(fixed);
    put(body);
  }
  if (edns !== undefined) {
    const option = Buffer.alloc(11);
    option.writeUInt16BE(TYPES.OPT, 1);
    option.writeUInt16BE(edns.size, 3);
    option.writeUInt32BE(((rcode >> 4) << 24) | (edns.version << 16), 5);
    put(option);
  }
  return Buffer.concat(parts, length);
}

/** Names in the data of a record, each given to `change`. */
export function mapNames(record: WireRecord, change: (name: Name) => Name): WireRecord {
  const shape = NAMES_IN[record.type];
  const name = change(record.name);
  if (shape === undefined) return { ...record, name };
  let at = shape.before;
  let names = '';
  for (let n = 0; n < shape.names; n++) {
    const { name: inner, next } = readName(record.data, at);
    names += change(inner);
    at = next;
  }
  return { ...record, name, data: Buffer.concat([record.data.subarray(0, shape.before), Buffer.from(names, 'latin1'), record.data.subarray(at)]) };
}

/** The first name in the data, e.g. the target of a CNAME. */
export const nameIn = ({ type, data }: WireRecord): Name => readName(data, NAMES_IN[type]?.before ?? 0).name;

/** Offsets at which the labels of a name begin, the root's last. */
export function labelsOf(name: Name): number[] {
  const offsets: number[] = [];
  for (let at = 0; ; ) {
    offsets.push(at);
    const length = name.charCodeAt(at);
    if (length === 0 || Number.isNaN(length)) return offsets;
    at += length + 1;
  }
}

/** `www.example.com.` (a last dot or none) → wire form. Backslash escapes as in zone files. */
export function nameOf(text: string): Name {
  if (text === '.' || text === '') return ROOT;
  let name = '';
  let label = '';
  const end = (): void => {
    if (label.length === 0) throw new Malformed(`${JSON.stringify(text)} has an empty label`);
    if (label.length > MAX_LABEL) throw new Malformed(`a label of ${JSON.stringify(text)} has more than ${MAX_LABEL} characters`);
    name += String.fromCharCode(label.length) + label;
    label = '';
  };
  for (let at = 0; at < text.length; at++) {
    const character = text[at] as string;
    if (character === '.') end();
    else if (character === '\\') {
      const digits = /^\d{3}/.exec(text.slice(at + 1))?.[0];
      if (digits !== undefined) {
        if (Number(digits) > 255) throw new Malformed(`\\${digits} is no byte`);
        label += String.fromCharCode(Number(digits));
        at += 3;
      } else {
        const next = text[++at];
        if (next === undefined || next.charCodeAt(0) > 126) throw new Malformed(`${JSON.stringify(text)} ends within an escape`);
        label += next;
      }
    } else {
      if (character.charCodeAt(0) > 126) throw new Malformed(`${JSON.stringify(text)} has a character that no DNS name has`);
      label += character;
    }
  }
  if (label.length > 0) end();
  name += '\0';
  if (name.length > MAX_NAME) throw new Malformed(`${JSON.stringify(text)} is longer than a DNS name can be`);
  return name;
}

/** Wire form → `www.example.com.`. */
export function textOf(name: Name): string {
  let text = '';
  for (let at = 0; ; ) {
    const length = name.charCodeAt(at);
    if (length === 0 || Number.isNaN(length)) return text === '' ? '.' : text;
    for (let n = at + 1; n <= at + length; n++) {
      const code = name.charCodeAt(n);
      if (code < 33 || code > 126) text += `\\${String(code).padStart(3, '0')}`;
      else if ('.\\";()@$'.includes(name[n] as string)) text += `\\${name[n]}`;
      else text += name[n];
    }
    text += '.';
    at += length + 1;
  }
}

/** As DNS compares names: only A to Z have two cases. */
export const lower = (name: Name): Name => name.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
