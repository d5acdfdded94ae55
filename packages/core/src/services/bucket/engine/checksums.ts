// MD5 for the ETag, and the checksums that S3 clients ask for, over bytes as they pass.
import { createHash, type Hash, hash } from 'node:crypto';
import { type Crc, newCrc } from './crc.ts';
import type { ChecksumAlgorithm } from './types.ts';

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

/** Of bytes as they come. */
export class RunningDigests {
  readonly #wanted: Wanted;
  readonly #md5 = createHash('md5');
  readonly #hashes = new Map<'SHA1' | 'SHA256', Hash>();
  readonly #crcs = new Map<ChecksumAlgorithm, Crc>();

  constructor(wanted: Wanted) {
    this.#wanted = wanted;
    if (wanted.sha256) this.#hashes.set('SHA256', createHash('sha256'));
    for (const algorithm of wanted.checksums) {
      if (!isHash(algorithm)) this.#crcs.set(algorithm, newCrc(algorithm));
      else if (!this.#hashes.has(algorithm)) this.#hashes.set(algorithm, createHash(HASHES[algorithm]));
    }
  }

  update(chunk: Uint8Array): void {
    this.#md5.update(chunk);
    for (const running of this.#hashes.values()) running.update(chunk);
    for (const running of this.#crcs.values()) running.update(chunk);
  }

  /** Once, after the last byte. */
  finish(): Digests {
    const hashed = new Map([...this.#hashes].map(([algorithm, running]) => [algorithm, running.digest()]));
    const checksums: Digests['checksums'] = {};
    for (const algorithm of this.#wanted.checksums) {
      const value = isHash(algorithm) ? hashed.get(algorithm) : this.#crcs.get(algorithm)?.digest();
      if (value !== undefined) checksums[algorithm] = value.toString('base64');
    }
    return { md5: this.#md5.digest('hex'), sha256: this.#wanted.sha256 ? hashed.get('SHA256')?.toString('hex') : undefined, checksums };
  }
}
