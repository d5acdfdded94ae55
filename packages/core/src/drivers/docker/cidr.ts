// IPv4 ranges as numbers: first and last address.
import { isIPv4 } from 'node:net';

export interface Range {
  first: number;
  last: number;
}

const toNumber = (address: string): number => address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);

const toAddress = (value: number): string => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

/** undefined unless the text is an IPv4 network: `10.0.0.0/24` is, `10.0.0.1/24` and `fd00::/64` are not. */
export function parseCidr(text: string): Range | undefined {
  const match = /^([\d.]+)\/(\d{1,2})$/.exec(text);
  const base = match?.[1] ?? '';
  const prefix = Number(match?.[2]);
  if (!isIPv4(base) || prefix > 32) return undefined;
  const size = 2 ** (32 - prefix);
  const first = toNumber(base);
  return first % size === 0 ? { first, last: first + size - 1 } : undefined;
}

/** The network in which an address with this prefix length lies. */
export function networkOf(address: string, prefix: number): string {
  const size = 2 ** (32 - prefix);
  return `${toAddress(Math.floor(toNumber(address) / size) * size)}/${prefix}`;
}

export const contains = (range: Range, address: string): boolean => isIPv4(address) && toNumber(address) >= range.first && toNumber(address) <= range.last;

export const overlap = (a: Range, b: Range): boolean => a.first <= b.last && b.first <= a.last;
