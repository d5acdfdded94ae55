// MD5 for the ETag, and the checksums that S3 clients ask for, over bytes as they pass.
import { hash } from 'node:crypto';
import { newCrc } from './crc.ts';
import { type DigestName, type HashJob, hashJob } from './hash-threads.ts';
import type { ChecksumAlgorithm } from './types.ts';

export const CHECKSUM_ALGORITHMS: readonly ChecksumAlgorithm[] = ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'];

/** What a run of bytes is told by. */
export interface Digests {
  /** Lower-case hex. */
  md5: string;
  /** Lower-case hex; absent unless asked for. */
  sha256: string | undefined;
  /** Base64, of those asked for. */
  checksums: Partial<Record<ChecksumAlgorithm, string>>;
}

export interface Wanted {
  sha256: boolean;
  checksums: ReadonlySet<ChecksumAlgorithm>;
}

/** As threads call them. */
const DIGESTS: Readonly<Record<ChecksumAlgorithm, DigestName>> = { CRC32: 'CRC32', CRC32C: 'CRC32C', CRC64NVME: 'CRC64NVME', SHA1: 'sha1', SHA256: 'sha256' };

/** Of bytes that are all there, and not many. */
export function digestsOf(bytes: Uint8Array, wanted: Wanted): Digests {
  const checksums: Digests['checksums'] = {};
  const sha256 = wanted.sha256 || wanted.checksums.has('SHA256') ? hash('sha256', bytes, 'buffer') : undefined;
  for (const algorithm of wanted.checksums) {
    if (algorithm === 'SHA256') checksums.SHA256 = sha256?.toString('base64') as string;
    else if (algorithm === 'SHA1') checksums.SHA1 = hash('sha1', bytes, 'base64');
    else {
      const crc = newCrc(algorithm);
      crc.update(bytes);
      checksums[algorithm] = crc.digest().toString('base64');
    }
  }
  return { md5: hash('md5', bytes, 'hex'), sha256: wanted.sha256 ? sha256?.toString('hex') : undefined, checksums };
}

/** Of many bytes, block by block, on threads. `close` ends it at any point. */
export class RunningDigests {
  readonly #wanted: Wanted;
  readonly #names: readonly DigestName[][];
  readonly #jobs: readonly HashJob[];

  constructor(wanted: Wanted) {
    this.#wanted = wanted;
    const { sha256, checksums } = wanted;
    const others = new Set([...checksums].map((algorithm) => DIGESTS[algorithm]));
    if (sha256) others.add('sha256');
    // MD5 takes as long as all others together, so it gets a thread and they get one.
    this.#names = others.size === 0 ? [['md5']] : [['md5'], [...others]];
    this.#jobs = this.#names.map(hashJob);
  }

  /** Of a block of shared memory, from its beginning. Resolves when the bytes may be changed. */
  async update(bytes: Buffer): Promise<void> {
    await Promise.all(this.#jobs.map((job) => job.update(bytes)));
  }

  /** Once, after the last byte. */
  async finish(): Promise<Digests> {
    const values = (await Promise.all(this.#jobs.map((job) => job.digests()))).flat();
    const names = this.#names.flat();
    const valueOf = (name: DigestName): string => values[names.indexOf(name)] as string;
    const checksums: Digests['checksums'] = {};
    for (const algorithm of this.#wanted.checksums) checksums[algorithm] = Buffer.from(valueOf(DIGESTS[algorithm]), 'hex').toString('base64');
    return { md5: valueOf('md5'), sha256: this.#wanted.sha256 ? valueOf('sha256') : undefined, checksums };
  }

  close(): void {
    for (const job of this.#jobs) job.forget();
  }
}
