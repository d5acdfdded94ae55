// CRC32, CRC32C and CRC64NVME as S3 uses them: running values, and the CRC of two runs of bytes from the CRCs of each, which is how the checksum of a whole
// object follows from those of its parts.
import { endianness } from 'node:os';
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

// Constants of the module, not of the objects that use them: the compiler then knows where they are, and takes half the time.
const CASTAGNOLI = tables32(CRC32C_POLYNOMIAL);
const { high: HIGHS, low: LOWS } = tables64();

class Crc32 implements Crc {
  #value = 0;
  update(chunk: Uint8Array): void {
    this.#value = crc32(chunk, this.#value);
  }
  digest(): Buffer {
    return bytes32(this.#value);
  }
}

/** Reading words is twice as fast as putting bytes together; they must be aligned, and lie in the order of the tables. Else all goes byte by byte. */
const WORDS = endianness() === 'LE';
const NO_WORDS = new Int32Array(0);

/** Bytes before the first aligned word, and an even number of words. */
function wordsOf(chunk: Uint8Array): { head: number; words: Int32Array } {
  const head = -chunk.byteOffset & 3;
  const pairs = (chunk.length - head) >> 3;
  return WORDS && pairs > 0 ? { head, words: new Int32Array(chunk.buffer, chunk.byteOffset + head, 2 * pairs) } : { head: 0, words: NO_WORDS };
}

class Crc32c implements Crc {
  #state = -1;
  update(chunk: Uint8Array): void {
    const { head, words } = wordsOf(chunk);
    let crc = this.#state;
    let at = 0;
    for (; at < head; at += 1) crc = (crc >>> 8) ^ (CASTAGNOLI[(crc ^ (chunk[at] as number)) & 0xff] as number);
    for (let word = 0; word < words.length; word += 2) {
      const low = crc ^ (words[word] as number);
      const high = words[word + 1] as number;
      crc =
        (CASTAGNOLI[1792 + (low & 0xff)] as number) ^
        (CASTAGNOLI[1536 + ((low >>> 8) & 0xff)] as number) ^
        (CASTAGNOLI[1280 + ((low >>> 16) & 0xff)] as number) ^
        (CASTAGNOLI[1024 + (low >>> 24)] as number) ^
        (CASTAGNOLI[768 + (high & 0xff)] as number) ^
        (CASTAGNOLI[512 + ((high >>> 8) & 0xff)] as number) ^
        (CASTAGNOLI[256 + ((high >>> 16) & 0xff)] as number) ^
        (CASTAGNOLI[high >>> 24] as number);
    }
    for (at += 4 * words.length; at < chunk.length; at += 1) crc = (crc >>> 8) ^ (CASTAGNOLI[(crc ^ (chunk[at] as number)) & 0xff] as number);
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
    const { head, words } = wordsOf(chunk);
    this.#bytes(chunk, 0, head);
    let high = this.#high;
    let low = this.#low;
    for (let word = 0; word < words.length; word += 2) {
      low ^= words[word] as number;
      high ^= words[word + 1] as number;
      const a = 1792 + (low & 0xff);
      const b = 1536 + ((low >>> 8) & 0xff);
      const c = 1280 + ((low >>> 16) & 0xff);
      const d = 1024 + (low >>> 24);
      const e = 768 + (high & 0xff);
      const f = 512 + ((high >>> 8) & 0xff);
      const g = 256 + ((high >>> 16) & 0xff);
      const h = high >>> 24;
      low =
        (LOWS[a] as number) ^
        (LOWS[b] as number) ^
        (LOWS[c] as number) ^
        (LOWS[d] as number) ^
        (LOWS[e] as number) ^
        (LOWS[f] as number) ^
        (LOWS[g] as number) ^
        (LOWS[h] as number);
      high =
        (HIGHS[a] as number) ^
        (HIGHS[b] as number) ^
        (HIGHS[c] as number) ^
        (HIGHS[d] as number) ^
        (HIGHS[e] as number) ^
        (HIGHS[f] as number) ^
        (HIGHS[g] as number) ^
        (HIGHS[h] as number);
    }
    this.#high = high;
    this.#low = low;
    this.#bytes(chunk, head + 4 * words.length, chunk.length);
  }
  #bytes(chunk: Uint8Array, from: number, to: number): void {
    for (let at = from; at < to; at += 1) {
      const byte = (this.#low ^ (chunk[at] as number)) & 0xff;
      this.#low = ((this.#low >>> 8) | (this.#high << 24)) ^ (LOWS[byte] as number);
      this.#high = (this.#high >>> 8) ^ (HIGHS[byte] as number);
    }
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
