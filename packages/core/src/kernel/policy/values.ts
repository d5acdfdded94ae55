// Reads what conditions compare: numbers, moments, addresses, bytes. Each gives undefined for what is none.
// The expressions are fixed and without nested repetition; the texts are short.

/** A decimal number that a double holds exactly enough; text or number. */
export function numberOf(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isFinite(value) && Math.abs(value) <= Number.MAX_SAFE_INTEGER ? value : undefined;
  if (typeof value !== 'string' || value.length > 32 || !/^[+-]?\d+(\.\d+)?$/.test(value)) return undefined;
  const number = Number(value);
  return Math.abs(number) <= Number.MAX_SAFE_INTEGER ? number : undefined;
}

const ISO = /^(\d{4})-(\d\d)(?:-(\d\d)(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?(Z|[+-]\d\d:?\d\d))?)?$/;
const LAST_SECOND = 253_402_300_799;

/**
 * Milliseconds since 1970 of a date in the W3C profile of ISO 8601 (`2026-11`, `2026-11-23`, `2026-11-23T01:00Z`, `…T01:00:00.5+01:00`),
 * or of seconds since 1970. A bare year is neither: `2026` could be both.
 */
export function momentOf(value: unknown): number | undefined {
  const seconds = typeof value === 'string' && /^\d{4}$/.test(value) ? undefined : numberOf(value);
  if (seconds !== undefined) return Math.abs(seconds) <= LAST_SECOND ? seconds * 1000 : undefined;
  const found = typeof value === 'string' && value.length <= 40 ? ISO.exec(value) : null;
  if (found === null) return undefined;
  const [year, month, day, hour, minute, second] = found.slice(1, 7).map((text) => (text === undefined ? undefined : Number(text)));
  const [y, m, d] = [year as number, month as number, day ?? 1];
  if (m < 1 || m > 12 || d < 1 || d > daysIn(y, m)) return undefined;
  if ((hour ?? 0) > 23 || (minute ?? 0) > 59 || (second ?? 0) > 59) return undefined;
  const milliseconds = Math.floor(Number(`0.${found[7] ?? '0'}`) * 1000);
  const zone = found[8];
  const offset = zone === undefined || zone === 'Z' ? 0 : offsetOf(zone);
  if (offset === undefined) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(y, m - 1, d);
  date.setUTCHours(hour ?? 0, minute ?? 0, second ?? 0, milliseconds);
  return date.getTime() - offset * 60_000;
}

const daysIn = (year: number, month: number): number =>
  month === 2 ? (year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28) : [4, 6, 9, 11].includes(month) ? 30 : 31;

function offsetOf(zone: string): number | undefined {
  const [hours, minutes] = [Number(zone.slice(1, 3)), Number(zone.slice(-2))];
  return hours > 23 || minutes > 59 ? undefined : (zone[0] === '-' ? -1 : 1) * (hours * 60 + minutes);
}

export const booleanOf = (value: unknown): boolean | undefined =>
  value === true || value === 'true' ? true : value === false || value === 'false' ? false : undefined;

/** Base64 in its one canonical form, so that equal bytes are equal texts. */
export function base64Of(value: unknown): string | undefined {
  if (typeof value !== 'string' || value.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
  return btoa(atob(value));
}

/** 4 or 16 bytes. An IPv4 address in the IPv6 form `::ffff:10.0.0.1` is the IPv4 address. */
export function addressOf(text: unknown): readonly number[] | undefined {
  if (typeof text !== 'string' || text.length > 45) return undefined;
  if (!text.includes(':')) return ipv4(text);
  const bytes = ipv6(text);
  if (bytes === undefined) return undefined;
  const mapped = bytes.every((byte, index) => (index < 10 ? byte === 0 : index < 12 ? byte === 0xff : true));
  return mapped ? bytes.slice(12) : bytes;
}

function ipv4(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.map(Number);
}

function ipv6(text: string): number[] | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const read = halves.map((half, index) => groups(half, index === halves.length - 1));
  const [head, tail] = read;
  if (head === undefined || read.includes(undefined)) return undefined;
  if (halves.length === 1) return head.length === 16 ? head : undefined;
  const missing = 16 - head.length - (tail as number[]).length;
  return missing < 2 ? undefined : [...head, ...Array<number>(missing).fill(0), ...(tail as number[])];
}

/** Bytes of groups of hexadecimal digits; the last group of an address may be an IPv4 address. */
function groups(text: string, last: boolean): number[] | undefined {
  if (text === '') return [];
  const bytes: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    const dotted = last && index === parts.length - 1 && part.includes('.') ? ipv4(part) : undefined;
    if (dotted !== undefined) bytes.push(...dotted);
    else if (/^[0-9a-fA-F]{1,4}$/.test(part)) bytes.push(Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 0xff);
    else return undefined;
  }
  return bytes.length > 16 ? undefined : bytes;
}

export interface Block {
  readonly bytes: readonly number[];
  readonly bits: number;
  /** Bits of the address behind the prefix are set: `10.0.0.1/8`. */
  readonly loose: boolean;
}

/** A CIDR block, or one address. */
export function blockOf(text: unknown): Block | undefined {
  if (typeof text !== 'string') return undefined;
  const slash = text.indexOf('/');
  const whole = slash === -1 ? text : text.slice(0, slash);
  const bytes = addressOf(whole);
  if (bytes === undefined) return undefined;
  // A prefix of the IPv6 form of an IPv4 address counts from the start of that form.
  const extra = whole.includes(':') && bytes.length === 4 ? 96 : 0;
  const given = slash === -1 ? bytes.length * 8 + extra : /^(0|[1-9]\d{0,2})$/.test(text.slice(slash + 1)) ? Number(text.slice(slash + 1)) : Number.NaN;
  const bits = given - extra;
  if (!(bits >= 0 && bits <= bytes.length * 8)) return undefined;
  const loose = bytes.some((byte, index) => (byte & (0xff >> Math.min(8, Math.max(0, bits - index * 8)))) !== 0);
  return { bytes, bits, loose };
}

export function inBlock(address: readonly number[], { bytes, bits }: Block): boolean {
  if (address.length !== bytes.length) return false;
  const full = bits >> 3;
  for (let index = 0; index < full; index++) if (address[index] !== bytes[index]) return false;
  const rest = bits & 7;
  return rest === 0 || ((address[full] as number) ^ (bytes[full] as number)) >> (8 - rest) === 0;
}
