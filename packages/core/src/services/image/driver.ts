// The image port: the backend's image store, which the whole host shares. What it had by itself are the host's images, under the host's names;
// what is fetched or imported for one owner (a row of ours) is kept for that owner alone, and never gets, takes or moves a name of the host's.
import type { Readable } from 'node:stream';
import { type Driver, type Found, port } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';

export interface ImageContent {
  /** What the backend knows the content by and instances run. It never means other content. */
  content: string;
  /** Digest that others know it by, `sha256:…`. */
  digest: string;
  sizeBytes: number;
  architecture: string;
}

/** An image of the host's. */
export interface ImageObserved extends ImageContent {
  /** The first of its references, normalised: `alpine:3.20`, `ghcr.io/acme/app:1`. */
  reference: string;
  /** Every reference of the same content. */
  references: string[];
  /** Unix milliseconds. */
  createdAt: number;
}

export interface ImageProgress {
  message: string;
  /** 0 to 100 where known. */
  percent?: number;
}

export interface ImageDriver extends Driver {
  /** The host's images with a name; what is kept for owners and what instances have written are left out. */
  list(): Promise<ImageObserved[]>;
  /** The host's image of that name; undefined when absent. `reference` may lack a tag (`latest` is meant). */
  inspect(reference: string): Promise<ImageObserved | undefined>;
  /** Takes the name from the host's image, and the content too when nothing else holds it. Absent: fine. In use: DriverError('busy'). */
  remove(reference: string): Promise<void>;
  /** Whether the content is still there, whoever has it. */
  has(content: string): Promise<boolean>;
  /**
   * Fetches from the registry, whatever the host has under that name, and keeps it for the owner.
   * Unknown to its registry: DriverError('bad_spec'); registry out of reach: DriverError('unavailable').
   */
  pull(owner: string, reference: string, options: { signal: AbortSignal; onProgress?: (progress: ImageProgress) => void }): Promise<ImageContent>;
  /**
   * Loads an archive for the owner: a root file system tar (gzip, bzip2, xz or zstd allowed), or an image archive as written by `docker save`
   * with one image in it. Names that the archive brings along count for nothing.
   */
  import(owner: string, archive: Readable, options: { signal: AbortSignal; command?: string[] }): Promise<ImageContent>;
  /** Content that is there is kept for the owner from now on. Gone: DriverError('failed'). */
  keep(owner: string, content: string): Promise<void>;
  /** Nothing is kept for the owner any more but these contents. What still runs stays until a later call. */
  release(owner: string, but: readonly string[]): Promise<void>;
  /** Owners for whom something is kept that could be released, for the reaper; `createdAt` is when it was last kept. */
  kept(): Promise<Found[]>;
}

export const imagePort = port<ImageDriver>('image');

/**
 * `pull` for a controller: a registry out of reach is a failure, told after a few tries; only a backend out of reach is waited for.
 * A failure says which of the images that the tenant can see was probably meant.
 */
export async function fetchImage(
  driver: ImageDriver,
  owner: string,
  reference: string,
  options: Parameters<ImageDriver['pull']>[2] & { names: () => Promise<readonly string[]> },
): Promise<ImageContent> {
  try {
    return await driver.pull(owner, reference, options);
  } catch (error) {
    if (!(error instanceof DriverError) || error.code === 'busy') throw error;
    if (error.code === 'unavailable') await driver.ping(options.signal);
    const near = nearest(reference.replace(/:latest$/, ''), await options.names());
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
export const namesOf = (references: readonly string[]): string[] =>
  references.flatMap((name) => (name.endsWith(':latest') ? [name, name.slice(0, -':latest'.length)] : [name]));

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
