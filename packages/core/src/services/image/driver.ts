// The image port: the backend's own image store, which the whole host shares.
import type { Readable } from 'node:stream';
import { type Driver, port } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';

export interface ImageObserved {
  /** The first of its references, normalised: `alpine:3.20`, `ghcr.io/acme/app:1`. */
  reference: string;
  /** Every reference of the same content. */
  references: string[];
  /** Content digest, `sha256:…`. */
  digest: string;
  sizeBytes: number;
  /** Unix milliseconds. */
  createdAt: number;
  architecture: string;
}

export interface ImageProgress {
  message: string;
  /** 0 to 100 where known. */
  percent?: number;
}

export interface ImageDriver extends Driver {
  /** Every image with a reference, those of the driver's own bookkeeping left out. */
  list(): Promise<ImageObserved[]>;
  /** undefined when absent. `reference` may lack a tag (`latest` is meant). */
  inspect(reference: string): Promise<ImageObserved | undefined>;
  /**
   * Present: returns it at once, nothing is pulled, unless `always`. Absent: pulls.
   * Unknown to its registry: DriverError('bad_spec'); registry out of reach: DriverError('unavailable').
   */
  ensure(reference: string, options: { signal: AbortSignal; always?: boolean; onProgress?: (progress: ImageProgress) => void }): Promise<ImageObserved>;
  /** Loads an archive: a root file system tar (gzip, bzip2, xz or zstd allowed), or an image archive as written by `docker save`. */
  import(reference: string, archive: Readable, options: { signal: AbortSignal; command?: string[] }): Promise<ImageObserved>;
  /** Absent: fine. In use: DriverError('busy') that says by what. */
  remove(reference: string): Promise<void>;
}

export const imagePort = port<ImageDriver>('image');

/**
 * `ensure` for a controller: a registry out of reach is a failure, told after a few tries; only a backend out of reach is waited for.
 * A failure says which image of this machine was probably meant.
 */
export async function fetchImage(driver: ImageDriver, reference: string, options: Parameters<ImageDriver['ensure']>[1]): Promise<void> {
  try {
    await driver.ensure(reference, options);
  } catch (error) {
    if (!(error instanceof DriverError) || error.code === 'busy') throw error;
    if (error.code === 'unavailable') await driver.ping(options.signal);
    const near = nearest(reference, namesOf(await driver.list()));
    throw new DriverError(
      error.code === 'unavailable' ? 'failed' : error.code,
      near === undefined ? error.message : `${error.message}; did you mean ${near}?`,
      {
        cause: error,
        ...(error.hint === undefined ? {} : { hint: error.hint }),
      },
    );
  }
}

/** Every name that an image can be asked for by. */
export const namesOf = (images: readonly ImageObserved[]): string[] =>
  images.flatMap(({ references }) => [...references, ...references.filter((name) => name.endsWith(':latest')).map((name) => name.slice(0, -':latest'.length))]);

const REFERENCE =
  /^(?:[a-z0-9.-]+(?::\d+)?\/)?[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[a-f0-9]{64})?$/;

export const isReference = (text: string): boolean => REFERENCE.test(text);

/** The one spelling of a reference: a tag or digest always, Docker Hub's own prefixes never (`docker.io/library/alpine` → `alpine:latest`). Malformed: DriverError('bad_spec'). */
export function normaliseReference(reference: string): string {
  if (!isReference(reference)) {
    throw new DriverError('bad_spec', `"${reference}" is not an image reference; one looks like alpine:3.20 or ghcr.io/acme/app:1`);
  }
  const short = reference.replace(/^(?:index\.)?docker\.io\//, '').replace(/^library\//, '');
  return short.includes('@') || short.slice(short.lastIndexOf('/') + 1).includes(':') ? short : `${short}:latest`;
}
