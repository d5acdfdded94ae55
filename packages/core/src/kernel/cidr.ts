// IPv4 arithmetic: plain numbers, no strings inside.
export interface Cidr {
  /** First address, as a number. */
  base: number;
  /** 0 to 32. */
  prefix: number;
}

export const sizeOf = ({ prefix }: Cidr): number => 2 ** (32 - prefix);

export function parseAddress(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    // A leading zero is octal to some programs and decimal to others.
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

export const formatAddress = (value: number): string => [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');

/** undefined when it is no IPv4 network; host bits may be set (see `isNetwork`). */
export function parseCidr(text: string): Cidr | undefined {
  const [address, bits, ...rest] = text.split('/');
  const base = parseAddress(address ?? '');
  if (base === undefined || rest.length > 0 || bits === undefined || !/^(0|[1-9]\d?)$/.test(bits) || Number(bits) > 32) return undefined;
  return { base, prefix: Number(bits) };
}

export const formatCidr = ({ base, prefix }: Cidr): string => `${formatAddress(base)}/${prefix}`;

export const isNetwork = (cidr: Cidr): boolean => cidr.base % sizeOf(cidr) === 0;

export const networkOf = (cidr: Cidr): Cidr => ({ base: cidr.base - (cidr.base % sizeOf(cidr)), prefix: cidr.prefix });

export const overlap = (a: Cidr, b: Cidr): boolean => a.base < b.base + sizeOf(b) && b.base < a.base + sizeOf(a);

export const contains = (outer: Cidr, address: number): boolean => address >= outer.base && address < outer.base + sizeOf(outer);

/** RFC 1918. */
const PRIVATE = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16'].map((text) => parseCidr(text) as Cidr);

export const isPrivate = (cidr: Cidr): boolean => PRIVATE.some((range) => contains(range, cidr.base) && contains(range, cidr.base + sizeOf(cidr) - 1));

/** The first network of `prefix` bits in `within` that overlaps none of `taken`; undefined when there is none. */
export function firstFree(within: Cidr, prefix: number, taken: readonly Cidr[]): Cidr | undefined {
  const sorted = taken.map(networkOf).sort((a, b) => a.base - b.base);
  const size = 2 ** (32 - prefix);
  let base = within.base;
  while (base + size <= within.base + sizeOf(within)) {
    const candidate = { base, prefix };
    const blocker = sorted.find((other) => overlap(candidate, other));
    if (blocker === undefined) return candidate;
    base = Math.ceil((blocker.base + sizeOf(blocker)) / size) * size;
  }
  return undefined;
}
