// CRC32, CRC32C and CRC64NVME as S3 uses them: running values, and the CRC of two runs of bytes from the CRCs of each, which is how the checksum of a whole
// object follows from those of its parts.
import { crc32 } from 'node:zlib';
import { type CrcProgram, crcProgram, crcRunner, type RunCrc } from './crc-program.ts';

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

const PROGRAMS = {
  CRC32C: once(() => crcProgram(BigInt(CRC32C_POLYNOMIAL))),
  CRC64NVME: once(() => crcProgram((BigInt(CRC64_HIGH) << 32n) | BigInt(CRC64_LOW))),
};
const RUNNERS = {
  CRC32C: once(() => crcRunner(PROGRAMS.CRC32C())),
  CRC64NVME: once(() => crcRunner(PROGRAMS.CRC64NVME())),
};
/** What a thread needs to run them itself. */
export const crcPrograms = (): Record<keyof typeof PROGRAMS, CrcProgram> => ({ CRC32C: PROGRAMS.CRC32C(), CRC64NVME: PROGRAMS.CRC64NVME() });

function once<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => (made ??= make());
}

class Crc32 implements Crc {
  #value = 0;
  update(chunk: Uint8Array): void {
    this.#value = crc32(chunk, this.#value);
  }
  digest(): Buffer {
    return bytes32(this.#value);
  }
}

class WideCrc implements Crc {
  readonly #bytes: 4 | 8;
  readonly #run: RunCrc;
  readonly #ones: bigint;
  #state: bigint;

  constructor(run: RunCrc, bytes: 4 | 8) {
    this.#run = run;
    this.#bytes = bytes;
    this.#ones = (1n << BigInt(8 * bytes)) - 1n;
    this.#state = this.#ones;
  }
  update(chunk: Uint8Array): void {
    this.#state = this.#run(this.#state, chunk);
  }
  digest(): Buffer {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64BE(BigInt.asUintN(64, this.#state ^ this.#ones));
    return bytes.subarray(8 - this.#bytes);
  }
}

export function newCrc(algorithm: CrcAlgorithm): Crc {
  if (algorithm === 'CRC32') return new Crc32();
  return algorithm === 'CRC32C' ? new WideCrc(RUNNERS.CRC32C(), 4) : new WideCrc(RUNNERS.CRC64NVME(), 8);
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
