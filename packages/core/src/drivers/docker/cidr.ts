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

/** As nft writes it. */
export const formatRange = ({ first, last }: Range): string => (first === last ? toAddress(first) : `${toAddress(first)}-${toAddress(last)}`);

/** The same addresses in as few ranges as there can be, in order. */
export function mergeRanges(ranges: readonly Range[]): Range[] {
  const merged: Range[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = merged.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else merged.push({ first, last });
  }
  return merged;
}

/** Ranges that do not overlap, in order: of two that do, the later one of the list has the addresses. */
export function layered<T>(layers: readonly { range: Range; value: T }[]): { range: Range; value: T }[] {
  let result: { range: Range; value: T }[] = [];
  for (const layer of layers) {
    const { first, last } = layer.range;
    result = result.flatMap((below) => {
      if (!overlap(below.range, layer.range)) return [below];
      return [
        ...(below.range.first < first ? [{ range: { first: below.range.first, last: first - 1 }, value: below.value }] : []),
        ...(below.range.last > last ? [{ range: { first: last + 1, last: below.range.last }, value: below.value }] : []),
      ];
    });
    result.push({ range: { first, last }, value: layer.value });
  }
  return result.sort((a, b) => a.range.first - b.range.first);
}
