// CRC32, CRC32C and CRC64NVME as S3 uses them: running values, and the CRC of two runs of bytes from the CRCs of each, which is how the checksum of a whole
// object follows from those of its parts.
import { crc32 } from 'node:zlib';

export type CrcAlgorithm = 'CRC32' | 'CRC32C' | 'CRC64NVME';

/** A running value. `digest` may be asked at any time, and is big endian as S3 writes it. */
export interface Crc {
  update(chunk: Uint8Array): void;
  digest(): Buffer;
}

/** Reflected polynomials; of the 64-bit one the upper and the lower half. */
const CRC32_POLYNOMIAL = 0xedb88320;
const CRC32C_POLYNOMIAL = 0x82f63b78;
const CRC64_HIGH = 0x9a6c9329;
const CRC64_LOW = 0xac4bc9b5;

/** Eight tables in one array: table k tells what a byte becomes after k more zero bytes, so that eight bytes are one step. */
function tables32(polynomial: number): Int32Array {
  const table = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ polynomial : crc >>> 1;
    table[byte] = crc;
  }
  for (let at = 256; at < table.length; at += 1) {
    const before = table[at - 256] as number;
    table[at] = (before >>> 8) ^ (table[before & 0xff] as number);
  }
  return table;
}

/** The same in two halves, because an integer of JavaScript that is fast has 32 bits. */
function tables64(): { high: Int32Array; low: Int32Array } {
  const high = new Int32Array(8 * 256);
  const low = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte += 1) {
    let [h, l] = [0, byte];
    for (let bit = 0; bit < 8; bit += 1) {
      const out = l & 1;
      l = (l >>> 1) | (h << 31);
      h >>>= 1;
      if (out) {
        l ^= CRC64_LOW;
        h ^= CRC64_HIGH;
      }
    }
    high[byte] = h;
    low[byte] = l;
  }
  for (let at = 256; at < high.length; at += 1) {
    const [h, l] = [high[at - 256] as number, low[at - 256] as number];
    const byte = l & 0xff;
    low[at] = ((l >>> 8) | (h << 24)) ^ (low[byte] as number);
    high[at] = (h >>> 8) ^ (high[byte] as number);
  }
  return { high, low };
}

// Made when first needed: a daemon that serves no object has no use for them.
let castagnoli: Int32Array | undefined;
let nvme: { high: Int32Array; low: Int32Array } | undefined;

class Crc32 implements Crc {
  #value = 0;
  update(chunk: Uint8Array): void {
    this.#value = crc32(chunk, this.#value);
  }
  digest(): Buffer {
    return bytes32(this.#value);
  }
}

class Crc32c implements Crc {
  #state = -1;
  update(chunk: Uint8Array): void {
    const table = (castagnoli ??= tables32(CRC32C_POLYNOMIAL));
    let crc = this.#state;
    let at = 0;
    for (const end = chunk.length - 7; at < end; at += 8) {
      crc ^= (chunk[at] as number) | ((chunk[at + 1] as number) << 8) | ((chunk[at + 2] as number) << 16) | ((chunk[at + 3] as number) << 24);
      crc =
        (table[1792 + (crc & 0xff)] as number) ^
        (table[1536 + ((crc >>> 8) & 0xff)] as number) ^
        (table[1280 + ((crc >>> 16) & 0xff)] as number) ^
        (table[1024 + (crc >>> 24)] as number) ^
        (table[768 + (chunk[at + 4] as number)] as number) ^
        (table[512 + (chunk[at + 5] as number)] as number) ^
        (table[256 + (chunk[at + 6] as number)] as number) ^
        (table[chunk[at + 7] as number] as number);
    }
    for (; at < chunk.length; at += 1) crc = (crc >>> 8) ^ (table[(crc ^ (chunk[at] as number)) & 0xff] as number);
    this.#state = crc;
  }
  digest(): Buffer {
    return bytes32(~this.#state);
  }
}

class Crc64 implements Crc {
  #high = -1;
  #low = -1;
  update(chunk: Uint8Array): void {
    const { high: highs, low: lows } = (nvme ??= tables64());
    let high = this.#high;
    let low = this.#low;
    let at = 0;
    for (const end = chunk.length - 7; at < end; at += 8) {
      low ^= (chunk[at] as number) | ((chunk[at + 1] as number) << 8) | ((chunk[at + 2] as number) << 16) | ((chunk[at + 3] as number) << 24);
      high ^= (chunk[at + 4] as number) | ((chunk[at + 5] as number) << 8) | ((chunk[at + 6] as number) << 16) | ((chunk[at + 7] as number) << 24);
      const a = 1792 + (low & 0xff);
      const b = 1536 + ((low >>> 8) & 0xff);
      const c = 1280 + ((low >>> 16) & 0xff);
      const d = 1024 + (low >>> 24);
      const e = 768 + (high & 0xff);
      const f = 512 + ((high >>> 8) & 0xff);
      const g = 256 + ((high >>> 16) & 0xff);
      const h = high >>> 24;
      low =
        (lows[a] as number) ^
        (lows[b] as number) ^
        (lows[c] as number) ^
        (lows[d] as number) ^
        (lows[e] as number) ^
        (lows[f] as number) ^
        (lows[g] as number) ^
        (lows[h] as number);
      high =
        (highs[a] as number) ^
        (highs[b] as number) ^
        (highs[c] as number) ^
        (highs[d] as number) ^
        (highs[e] as number) ^
        (highs[f] as number) ^
        (highs[g] as number) ^
        (highs[h] as number);
    }
    for (; at < chunk.length; at += 1) {
      const byte = (low ^ (chunk[at] as number)) & 0xff;
      low = ((low >>> 8) | (high << 24)) ^ (lows[byte] as number);
      high = (high >>> 8) ^ (highs[byte] as number);
    }
    this.#high = high;
    this.#low = low;
  }
  digest(): Buffer {
    return bytes64(~this.#high, ~this.#low);
  }
}

export function newCrc(algorithm: CrcAlgorithm): Crc {
  if (algorithm === 'CRC32') return new Crc32();
  return algorithm === 'CRC32C' ? new Crc32c() : new Crc64();
}

function bytes32(value: number): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}
function bytes64(high: number, low: number): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeUInt32BE(high >>> 0);
  bytes.writeUInt32BE(low >>> 0, 4);
  return bytes;
}

/** A polynomial of at most 64 coefficients, reflected: the highest bit of `high` is that of x^0. Those of 32 bits are all in `high`. */
interface Polynomial {
  high: number;
  low: number;
}
const MODULI: Readonly<Record<CrcAlgorithm, Polynomial & { bits: 32 | 64 }>> = {
  CRC32: { bits: 32, high: CRC32_POLYNOMIAL, low: 0 },
  CRC32C: { bits: 32, high: CRC32C_POLYNOMIAL, low: 0 },
  CRC64NVME: { bits: 64, high: CRC64_HIGH, low: CRC64_LOW },
};

/** Of two polynomials, modulo that of the algorithm. */
function product(algorithm: CrcAlgorithm, a: Polynomial, b: Polynomial): Polynomial {
  const { bits, high: mh, low: ml } = MODULI[algorithm];
  let [ah, al, bh, bl, high, low] = [a.high, a.low, b.high, b.low, 0, 0];
  for (let bit = 0; bit < bits; bit += 1) {
    if (ah < 0) {
      high ^= bh;
      low ^= bl;
    }
    ah = (ah << 1) | (al >>> 31);
    al <<= 1;
    // b times x
    const out = bits === 32 ? bh & 1 : bl & 1;
    bl = bits === 32 ? 0 : (bl >>> 1) | (bh << 31);
    bh >>>= 1;
    if (out) {
      bh ^= mh;
      bl ^= ml;
    }
  }
  return { high, low };
}

/** x^(8 · 2^k) by algorithm, as far as they were needed. */
const powers = new Map<CrcAlgorithm, Polynomial[]>();
/** The last shift asked for: parts of one upload mostly have one length. */
const lastShift = new Map<CrcAlgorithm, { bytes: number; by: Polynomial }>();

/** x^(8 · bytes): what a CRC is multiplied by when so many bytes follow. */
function shift(algorithm: CrcAlgorithm, bytes: number): Polynomial {
  const last = lastShift.get(algorithm);
  if (last?.bytes === bytes) return last.by;
  let known = powers.get(algorithm);
  if (known === undefined) powers.set(algorithm, (known = [{ high: 1 << 23, low: 0 }]));
  let by: Polynomial = { high: 1 << 31, low: 0 };
  for (let [rest, k] = [bytes, 0]; rest > 0; rest = Math.floor(rest / 2), k += 1) {
    const power = (known[k] ??= product(algorithm, known[k - 1] as Polynomial, known[k - 1] as Polynomial));
    if (rest % 2 === 1) by = product(algorithm, by, power);
  }
  lastShift.set(algorithm, { bytes, by });
  return by;
}

/** CRC of bytes A followed by bytes B, from the CRC of each (big endian) and the number of bytes in B. */
export function combineCrc(algorithm: CrcAlgorithm, a: Buffer, b: Buffer, lengthB: number): Buffer {
  const wide = MODULI[algorithm].bits === 64;
  const { high, low } = product(algorithm, { high: a.readInt32BE(0), low: wide ? a.readInt32BE(4) : 0 }, shift(algorithm, lengthB));
  return wide ? bytes64(high ^ b.readInt32BE(0), low ^ b.readInt32BE(4)) : bytes32(high ^ b.readInt32BE(0));
}
