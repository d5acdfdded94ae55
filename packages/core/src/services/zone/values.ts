// What a caller may write as the value of a record, brought to the one spelling that is kept: names absolute and in lower case, addresses normal, texts in quotes.
import { formatAddress, parseAddress } from '../../kernel/cidr.ts';
import { bytesOf, formatIpv6, parseIpv6, piecesOf, quote, wordsOf } from '../../kernel/dns/rdata.ts';
import { Malformed } from '../../kernel/dns/wire.ts';
import { MAX_NAME, type RecordType } from './contract.ts';

/** A value that is none, and what would be right. */
export class WrongValue extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'WrongValue';
  }
}

/** Bytes that all values of a record may take, so that an answer has room for them. */
const MAX_TEXT = 4096;

const TARGET_LABEL = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?|\*)$/;

/** `www`, `www.prod.internal.` or `@`, as an absolute name. */
export function absolute(name: string, domain: string): string {
  if (name === '@') return `${domain}.`;
  return name.endsWith('.') && !name.endsWith('\\.') ? name : `${name}.${domain}.`;
}

function target(text: string | undefined, domain: string, what: string): string {
  if (text === undefined || text === '') throw new WrongValue(`${what} is missing`);
  const looksLikeAddress = parseAddress(text.replace(/\.$/, '')) !== undefined || parseIpv6(text) !== undefined;
  if (looksLikeAddress) throw new WrongValue(`${what} is a name, not an address: make an A record for ${text} and name that`);
  const whole = absolute(text, domain).toLowerCase();
  const name = whole.slice(0, -1);
  if (name !== '' && !name.split('.').every((label) => TARGET_LABEL.test(label))) {
    throw new WrongValue(`${JSON.stringify(text)} is no name; use letters, digits and hyphens between dots`);
  }
  if (name.length > MAX_NAME) throw new WrongValue(`${what} is longer than ${MAX_NAME} characters`);
  if (!text.endsWith('.') && text !== '@' && domain.split('.').length > 1 && text.toLowerCase().endsWith(`.${domain}`)) {
    throw new WrongValue(`${text} without a last dot means ${whole}; write ${text}. for the whole name`);
  }
  return whole;
}

const number = (text: string | undefined, what: string, most: number): number => {
  if (text === undefined || !/^\d{1,5}$/.test(text) || Number(text) > most) throw new WrongValue(`${what} is a number from 0 to ${most}`);
  return Number(text);
};

function text(value: string): string {
  let strings: Buffer[];
  try {
    const words = wordsOf(value);
    // What is not in quotes is one text, blanks and all.
    strings = words.some(({ quoted }) => quoted) ? words.map((word) => bytesOf(word.text)) : [bytesOf(value)];
  } catch (error) {
    if (error instanceof Malformed) throw new WrongValue(`${error.message}; write a quote inside a text as \\"`);
    throw error;
  }
  const pieces = strings.flatMap(piecesOf);
  if (pieces.reduce((sum, piece) => sum + piece.length, 0) > MAX_TEXT) throw new WrongValue(`a text has at most ${MAX_TEXT} bytes`);
  return pieces.map(quote).join(' ');
}

/** One value in its one spelling. Throws WrongValue. */
export function canonical(type: RecordType, value: string, domain: string): string {
  const trimmed = value.trim();
  const words = type === 'TXT' ? [] : trimmed.split(/\s+/);
  const [first, second, third, fourth] = words;
  const only = (count: number, form: string): void => {
    if (words.length !== count) throw new WrongValue(`write it as ${form}`);
  };
  switch (type) {
    case 'A': {
      const address = parseAddress(trimmed);
      if (address === undefined)
        throw new WrongValue(
          parseIpv6(trimmed) === undefined ? `${JSON.stringify(trimmed)} is no IPv4 address such as 10.20.0.9` : `${trimmed} is an IPv6 address; use type AAAA`,
        );
      return formatAddress(address);
    }
    case 'AAAA': {
      const address = parseIpv6(trimmed);
      if (address === undefined)
        throw new WrongValue(
          parseAddress(trimmed) === undefined ? `${JSON.stringify(trimmed)} is no IPv6 address such as fd00::9` : `${trimmed} is an IPv4 address; use type A`,
        );
      return formatIpv6(address);
    }
    case 'CNAME':
    case 'NS':
    case 'PTR':
      only(1, 'one name, such as www.example.com. or www');
      return target(first, domain, 'the target');
    case 'MX':
      only(2, 'a preference and a name: 10 mail');
      return `${number(first, 'the preference', 65_535)} ${target(second, domain, 'the mail server')}`;
    case 'SRV':
      only(4, 'priority, weight, port and name: 0 5 5060 sip');
      return `${number(first, 'the priority', 65_535)} ${number(second, 'the weight', 65_535)} ${number(third, 'the port', 65_535)} ${target(fourth, domain, 'the target')}`;
    case 'TXT':
      return text(trimmed);
    case 'CAA': {
      const parts = /^(\d{1,3})\s+([A-Za-z0-9]{1,15})\s+(.+)$/.exec(trimmed);
      if (parts === null) throw new WrongValue('write it as flags, tag and value: 0 issue "ca.example.net"');
      const [, flags, tag = '', rest = ''] = parts;
      return `${number(flags, 'the flags', 255)} ${tag.toLowerCase()} ${text(rest)}`;
    }
  }
}

/** All values of a record: each in its spelling, none twice, in the order given. Throws WrongValue with the number of the value that is wrong. */
export function canonicalValues(type: RecordType, values: readonly string[], domain: string): string[] {
  const found = values.map((value) => canonical(type, value, domain));
  const twice = found.find((value, index) => found.indexOf(value) !== index);
  if (twice !== undefined) throw new WrongValue(`${twice} is there twice`);
  if (type === 'CNAME' && found.length > 1) throw new WrongValue('a CNAME record has one value: a name can be another name for one only');
  return found;
}

/** Whole name of a host of a zone, without the last dot. */
export const fqdnOf = (host: string, domain: string): string => (host === '@' ? domain : `${host}.${domain}`);
