// IP addresses and blocks of them (CIDR, RFC 4632 and 4291), without Node, so that documents can be checked anywhere.

/** 4 or 16 bytes; undefined for what is no address. An IPv4 address inside IPv6 (`::ffff:10.0.0.1`) is the IPv4 one. */
export function addressOf(text: string): number[] | undefined {
  const four = fourOf(text);
  if (four !== undefined) return four;
  if (!/^[0-9a-fA-F:.]{2,45}$/.test(text) || !text.includes(':')) return undefined;
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const groups = (half: string): number[] | undefined => {
    if (half === '') return [];
    const bytes: number[] = [];
    const parts = half.split(':');
    for (const [index, part] of parts.entries()) {
      const last = index === parts.length - 1 ? fourOf(part) : undefined;
      if (last !== undefined) bytes.push(...last);
      else if (/^[0-9a-fA-F]{1,4}$/.test(part)) bytes.push(Number.parseInt(part, 16) >> 8, Number.parseInt(part, 16) & 255);
      else return undefined;
    }
    return bytes;
  };
  const head = groups(halves[0] ?? '');
  const tail = halves.length === 2 ? groups(halves[1] ?? '') : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  const bytes = [...head, ...Array.from({ length: missing }, () => 0), ...tail];
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255;
  return mapped ? bytes.slice(12) : bytes;
}

function fourOf(text: string): number[] | undefined {
  const parts = text.split('.');
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.map(Number);
}

export interface Block {
  readonly bytes: readonly number[];
  readonly bits: number;
}

/** An address alone is a block of one. Bits behind the prefix are allowed and mean nothing, as AWS takes them. */
export function blockOf(text: string): Block | undefined {
  const [address = '', prefix, ...rest] = text.split('/');
  const bytes = addressOf(address);
  if (bytes === undefined || rest.length > 0) return undefined;
  if (prefix === undefined) return { bytes, bits: bytes.length * 8 };
  if (!/^\d{1,3}$/.test(prefix) || Number(prefix) > bytes.length * 8) return undefined;
  return { bytes, bits: Number(prefix) };
}

export function inBlock({ bytes, bits }: Block, address: readonly number[]): boolean {
  if (bytes.length !== address.length) return false;
  for (let index = 0; index < bytes.length && index * 8 < bits; index++) {
    const mask = bits - index * 8 >= 8 ? 255 : 255 & (255 << (8 - (bits - index * 8)));
    if (((bytes[index] as number) & mask) !== ((address[index] as number) & mask)) return false;
  }
  return true;
}
