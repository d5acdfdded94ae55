// How much may still be written. A little is left free: what deletes things needs room itself, here and in the database beside us, and a disk that is full to the
// last byte could not be emptied by the one who filled it.
import { statfs } from 'node:fs/promises';
import { DriverError } from '../../kernel/errors.ts';
import { translated } from './errors.ts';

const MOST_KEPT_FREE = 64 * 1024 * 1024;
const SHARE_KEPT_FREE = 0.05;
/** The file system is asked again after so many bytes. */
const ASK_AGAIN = 4 * 1024 * 1024;

export interface Space {
  total: number;
  free: number;
  /** Of `free`, what may be written. */
  usable: number;
}

export async function spaceOf(path: string): Promise<Space> {
  const { bsize, blocks, bavail } = await translated(`Cannot ask for the room at ${path}`, statfs(path));
  const [total, free] = [blocks * bsize, bavail * bsize];
  return { total, free, usable: Math.max(0, free - Math.min(MOST_KEPT_FREE, total * SHARE_KEPT_FREE)) };
}

export class Room {
  readonly #path: string;
  #known = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** To be asked before so many bytes are written. DriverError('full'). */
  async take(bytes: number): Promise<void> {
    this.#known -= bytes;
    if (this.#known >= 0) return;
    const { usable } = await spaceOf(this.#path);
    this.#known = Math.min(usable - bytes, ASK_AGAIN);
    if (usable < bytes) {
      throw new DriverError('full', `There is no room left for ${bytes} bytes at ${this.#path}`, { hint: 'df -h  # free some space, then try again' });
    }
  }
}
