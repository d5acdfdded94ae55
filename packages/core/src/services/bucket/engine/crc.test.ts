// CRCs against published check values and a bit-by-bit reference; combination against the CRC of the whole.
import { randomBytes, randomInt } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type CrcAlgorithm, combineCrc, newCrc } from './crc.ts';

const ALGORITHMS: CrcAlgorithm[] = ['CRC32', 'CRC32C', 'CRC64NVME'];

const crcOf = (algorithm: CrcAlgorithm, ...chunks: Uint8Array[]): Buffer => {
  const crc = newCrc(algorithm);
  for (const chunk of chunks) crc.update(chunk);
  return crc.digest();
};

/** The definition, one bit at a time. */
function reference(bits: number, polynomial: bigint, bytes: Uint8Array): string {
  const ones = (1n << BigInt(bits)) - 1n;
  let crc = ones;
  for (const byte of bytes) {
    crc ^= BigInt(byte);
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1n ? (crc >> 1n) ^ polynomial : crc >> 1n;
  }
  return (crc ^ ones).toString(16).padStart(bits / 4, '0');
}
const REFERENCE: Record<CrcAlgorithm, (bytes: Uint8Array) => string> = {
  CRC32: (bytes) => reference(32, 0xedb88320n, bytes),
  CRC32C: (bytes) => reference(32, 0x82f63b78n, bytes),
  CRC64NVME: (bytes) => reference(64, 0x9a6c9329ac4bc9b5n, bytes),
};

// "123456789" is the check value of the CRC catalogue; 32 bytes are those of RFC 3720, B.4; 4,096 bytes those of the NVM command set specification.
test.each<[CrcAlgorithm, string, Buffer]>([
  ['CRC32', 'cbf43926', Buffer.from('123456789')],
  ['CRC32C', 'e3069283', Buffer.from('123456789')],
  ['CRC64NVME', 'ae8b14860a799888', Buffer.from('123456789')],
  ['CRC32C', '8a9136aa', Buffer.alloc(32)],
  ['CRC32C', '62a8ab43', Buffer.alloc(32, 0xff)],
  ['CRC32C', '46dd794e', Buffer.from(Array.from({ length: 32 }, (_, at) => at))],
  ['CRC64NVME', '6482d367eb22b64e', Buffer.alloc(4096)],
  ['CRC64NVME', 'c0ddba7302eca3ac', Buffer.alloc(4096, 0xff)],
  ['CRC64NVME', '3e729f5f6750449c', Buffer.from(Array.from({ length: 4096 }, (_, at) => at & 0xff))],
  ['CRC64NVME', '9a2df64b8e9e517e', Buffer.from(Array.from({ length: 4096 }, (_, at) => 255 - (at & 0xff)))],
  ['CRC32', '00000000', Buffer.alloc(0)],
  ['CRC32C', '00000000', Buffer.alloc(0)],
  ['CRC64NVME', '0000000000000000', Buffer.alloc(0)],
])('%s %s', (algorithm, expected, bytes) => {
  expect(crcOf(algorithm, bytes).toString('hex')).toBe(expected);
});

describe.each(ALGORITHMS)('%s', (algorithm) => {
  test('of any bytes in any pieces is what the definition says', () => {
    for (let round = 0; round < 60; round += 1) {
      const bytes = randomBytes(randomInt(0, 300));
      const cut = randomInt(0, bytes.length + 1);
      expect(crcOf(algorithm, bytes).toString('hex')).toBe(REFERENCE[algorithm](bytes));
      expect(crcOf(algorithm, bytes.subarray(0, cut), bytes.subarray(cut))).toEqual(crcOf(algorithm, bytes));
    }
  });

  test('of two runs follows from the two', () => {
    for (let round = 0; round < 200; round += 1) {
      const [a, b] = [randomBytes(randomInt(0, 500)), randomBytes(randomInt(0, 5000))];
      expect(combineCrc(algorithm, crcOf(algorithm, a), crcOf(algorithm, b), b.length)).toEqual(crcOf(algorithm, a, b));
    }
  });

  test('of long runs too', () => {
    // 5 GiB of zeros cannot be read in a test; shifting twice must be the same as shifting once.
    const [a, none] = [crcOf(algorithm, Buffer.from('a')), crcOf(algorithm, Buffer.alloc(0))];
    const [one, other] = [3_000_000_001, 2_368_709_119];
    const zeros = (length: number) => combineCrc(algorithm, combineCrc(algorithm, none, none, length), none, length);
    expect(zeros(one)).toEqual(none);
    const twice = combineCrc(algorithm, combineCrc(algorithm, a, none, one), none, other);
    expect(combineCrc(algorithm, a, none, one + other)).toEqual(twice);
  });
});
