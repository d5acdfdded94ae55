// MD5 for the ETag, and the checksums that S3 clients ask for, over bytes as they pass.
import { createHash, type Hash, hash } from 'node:crypto';
import { type Crc, newCrc } from './crc.ts';
import { type HashJob, type HashName, hashJob } from './hash-threads.ts';
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

const isHash = (algorithm: ChecksumAlgorithm): algorithm is 'SHA1' | 'SHA256' => algorithm === 'SHA1' || algorithm === 'SHA256';
/** As node:crypto calls it. */
const HASHES = { SHA1: 'sha1', SHA256: 'sha256' } as const;

/** Of bytes that are all there: much faster than a running one. */
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

/** Fewer bytes are hashed sooner than they are handed over. */
const THREAD_BYTES = 1024 * 1024;

/** Of bytes as they come. `close` ends it at any point. */
export class RunningDigests {
  readonly #wanted: Wanted;
  readonly #names: readonly HashName[];
  readonly #hashes: readonly Hash[] = [];
  readonly #job: HashJob | undefined;
  readonly #crcs = new Map<ChecksumAlgorithm, Crc>();

  /** `size` as far as it is known. */
  constructor(wanted: Wanted, size: number | undefined) {
    this.#wanted = wanted;
    const { sha256, checksums } = wanted;
    this.#names = ['md5', ...(sha256 || checksums.has('SHA256') ? (['sha256'] as const) : []), ...(checksums.has('SHA1') ? (['sha1'] as const) : [])];
    if (size === undefined || size >= THREAD_BYTES) this.#job = hashJob(this.#names);
    else this.#hashes = this.#names.map((name) => createHash(name));
    for (const algorithm of checksums) if (!isHash(algorithm)) this.#crcs.set(algorithm, newCrc(algorithm));
  }

  /** A promise: wait for it before the next. */
  update(chunk: Uint8Array): Promise<void> | undefined {
    for (const running of this.#hashes) running.update(chunk);
    for (const running of this.#crcs.values()) running.update(chunk);
    return this.#job?.update(chunk);
  }

  /** Once, after the last byte. */
  async finish(): Promise<Digests> {
    const digests = this.#job === undefined ? this.#hashes.map((hash) => hash.digest('hex')) : await this.#job.digests();
    const hashed = (name: HashName): string | undefined => digests[this.#names.indexOf(name)];
    const checksums: Digests['checksums'] = {};
    for (const algorithm of this.#wanted.checksums) {
      const value = isHash(algorithm) ? Buffer.from(hashed(HASHES[algorithm]) as string, 'hex') : this.#crcs.get(algorithm)?.digest();
      if (value !== undefined) checksums[algorithm] = value.toString('base64');
    }
    return { md5: hashed('md5') as string, sha256: this.#wanted.sha256 ? hashed('sha256') : undefined, checksums };
  }

  close(): void {
    this.#job?.forget();
  }
}
