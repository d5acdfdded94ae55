// The data of records between presentation format (what zone files and people write) and bytes.
import { isIPv6 } from 'node:net';
import { formatAddress, parseAddress } from '../cidr.ts';
import { Malformed, nameIn, nameOf, TYPES, textOf, type WireRecord } from './wire.ts';

/** Words of a value; what is in quotes is one, and told from others. */
export function wordsOf(text: string): { text: string; quoted: boolean }[] {
  const words: { text: string; quoted: boolean }[] = [];
  let at = 0;
  while (at < text.length) {
    const character = text[at] as string;
    if (character === ' ' || character === '\t') {
      at++;
      continue;
    }
    const quoted = character === '"';
    if (quoted) at++;
    let word = '';
    for (;;) {
      const next = text[at];
      if (next === undefined) {
        if (quoted) throw new Malformed('a quote is not closed');
        break;
      }
      if (quoted ? next === '"' : next === ' ' || next === '\t') break;
      if (next === '\\') {
        word += next;
        at++;
        if (text[at] === undefined) throw new Malformed('it ends within an escape');
      }
      word += text[at];
      at++;
    }
    if (quoted) at++;
    words.push({ text: word, quoted });
  }
  return words;
}

/** Bytes of a character string: `\"`, `\\` and `\DDD` undone, the rest as UTF-8. */
export function bytesOf(text: string): Buffer {
  const parts: Buffer[] = [];
  let plain = '';
  const flush = (): void => {
    if (plain !== '') parts.push(Buffer.from(plain));
    plain = '';
  };
  for (let at = 0; at < text.length; at++) {
    if (text[at] !== '\\') {
      plain += text[at];
      continue;
    }
    const digits = /^\d{3}/.exec(text.slice(at + 1))?.[0];
    if (digits === undefined) plain += text[++at] ?? '';
    else {
      if (Number(digits) > 255) throw new Malformed(`\\${digits} is no byte`);
      flush();
      parts.push(Buffer.from([Number(digits)]));
      at += 3;
    }
  }
  flush();
  return Buffer.concat(parts);
}

/** A character string in quotes. */
export function quote(bytes: Buffer): string {
  let text = '';
  for (const byte of bytes) {
    if (byte === 0x22 || byte === 0x5c) text += `\\${String.fromCharCode(byte)}`;
    else if (byte < 32 || byte > 126) text += `\\${String(byte).padStart(3, '0')}`;
    else text += String.fromCharCode(byte);
  }
  return `"${text}"`;
}

/** The longest character string. */
export const MAX_STRING = 255;

/** Pieces that a record can hold, of a text of any length. */
export function piecesOf(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += MAX_STRING) pieces.push(bytes.subarray(at, at + MAX_STRING));
  return pieces.length === 0 ? [Buffer.alloc(0)] : pieces;
}

export function parseIpv6(text: string): Buffer | undefined {
  if (!isIPv6(text) || text.includes('%')) return undefined;
  let whole = text;
  const last = text.slice(text.lastIndexOf(':') + 1);
  if (last.includes('.')) {
    const value = parseAddress(last);
    if (value === undefined) return undefined;
    whole = `${text.slice(0, -last.length)}${Math.floor(value / 0x1_0000).toString(16)}:${(value % 0x1_0000).toString(16)}`;
  }
  const [head = '', tail] = whole.split('::');
  const groups = (part: string): string[] => (part === '' ? [] : part.split(':'));
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  const all = tail === undefined ? before : [...before, ...Array.from({ length: 8 - before.length - after.length }, () => '0'), ...after];
  const bytes = Buffer.alloc(16);
  for (const [index, group] of all.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  return bytes;
}

/** RFC 5952: the longest run of zero groups is left out. */
export function formatIpv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  let best = { from: -1, length: 1 };
  for (let from = 0; from < 8; from++) {
    let length = 0;
    while (groups[from + length] === '0') length++;
    if (length > best.length) best = { from, length };
  }
  if (best.from === -1) return groups.join(':');
  return `${groups.slice(0, best.from).join(':')}::${groups.slice(best.from + best.length).join(':')}`;
}

const number = (text: string | undefined, most: number): number => {
  if (text === undefined || !/^\d{1,10}$/.test(text) || Number(text) > most) throw new Malformed(`${text ?? 'nothing'} is no number up to ${most}`);
  return Number(text);
};
const uint16 = (value: number): Buffer => {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
};
const nameBytes = (text: string | undefined): Buffer => Buffer.from(nameOf(text ?? ''), 'latin1');
const string = (bytes: Buffer): Buffer => {
  if (bytes.length > MAX_STRING) throw new Malformed(`a text of more than ${MAX_STRING} bytes`);
  return Buffer.concat([Buffer.from([bytes.length]), bytes]);
};

/** A value in presentation format, names in it absolute → bytes. `Malformed` for what is none. */
export function dataOf(type: string, value: string): Buffer {
  const words = wordsOf(value);
  const [first, second, third, fourth] = words.map(({ text }) => text);
  switch (type) {
    case 'A': {
      const address = parseAddress(first ?? '');
      if (address === undefined) throw new Malformed(`${value} is no IPv4 address`);
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(address);
      return bytes;
    }
    case 'AAAA': {
      const bytes = parseIpv6(first ?? '');
      if (bytes === undefined) throw new Malformed(`${value} is no IPv6 address`);
      return bytes;
    }
    case 'CNAME':
    case 'NS':
    case 'PTR':
      return nameBytes(first);
    case 'MX':
      return Buffer.concat([uint16(number(first, 65_535)), nameBytes(second)]);
    case 'SRV':
      return Buffer.concat([uint16(number(first, 65_535)), uint16(number(second, 65_535)), uint16(number(third, 65_535)), nameBytes(fourth)]);
    case 'TXT':
      return Buffer.concat(words.map(({ text }) => string(bytesOf(text))));
    case 'CAA':
      return Buffer.concat([Buffer.from([number(first, 255)]), string(bytesOf(second ?? '')), bytesOf(third ?? '')]);
    default:
      throw new Malformed(`records of type ${type} are not made here`);
  }
}

function stringsIn(data: Buffer): Buffer[] {
  const strings: Buffer[] = [];
  for (let at = 0; at < data.length; ) {
    const end = at + 1 + (data[at] as number);
    if (end > data.length) throw new Malformed('a text goes on behind the end of its record');
    strings.push(data.subarray(at + 1, end));
    at = end;
  }
  return strings;
}

/** Bytes → presentation format; what is not known by RFC 3597. */
export function valueOf(record: WireRecord): string {
  const { type, data } = record;
  const unknown = (): string => `\\# ${data.length}${data.length === 0 ? '' : ` ${data.toString('hex')}`}`;
  switch (type) {
    case TYPES.A:
      return data.length === 4 ? formatAddress(data.readUInt32BE(0)) : unknown();
    case TYPES.AAAA:
      return data.length === 16 ? formatIpv6(data) : unknown();
    case TYPES.CNAME:
    case TYPES.NS:
    case TYPES.PTR:
      return textOf(nameIn(record));
    case TYPES.MX:
      return `${data.readUInt16BE(0)} ${textOf(nameIn(record))}`;
    case TYPES.SRV:
      return `${data.readUInt16BE(0)} ${data.readUInt16BE(2)} ${data.readUInt16BE(4)} ${textOf(nameIn(record))}`;
    case TYPES.TXT:
      return stringsIn(data).map(quote).join(' ');
    case TYPES.CAA: {
      const [flags = 0, length = 0] = data;
      if (data.length < 2 + length) return unknown();
      return `${flags} ${data.toString('latin1', 2, 2 + length)} ${quote(data.subarray(2 + length))}`;
    }
    case TYPES.SOA: {
      const first = nameIn(record);
      const names = data.toString('latin1');
      const rest = data.subarray(data.length - 20);
      const second = names.slice(first.length, data.length - 20);
      return [textOf(first), textOf(second), ...Array.from({ length: 5 }, (_, index) => rest.readUInt32BE(index * 4))].join(' ');
    }
    default:
      return unknown();
  }
}
