// How much may still be written. A little is left free: what deletes things needs room itself, here and in the database beside us, and a disk that is full to the
// last byte could not be emptied by the one who filled it.
import { statfs } from 'node:fs/promises';
import { DriverError } from '../../kernel/errors.ts';
import { translated } from './errors.ts';

const MOST_KEPT_FREE = 64 * 1024 * 1024;
/** Of a file system that is so small that the above would be most of it. */
const SHARE_KEPT_FREE = 0.25;
/** The file system is asked again after so many bytes; they count towards what is kept free. */
const ASK_AGAIN = 2 * 1024 * 1024;

export interface Space {
  total: number;
  free: number;
  /** Of `free`, what may be written. */
  usable: number;
  /** So little that larger objects may be refused. */
  low: boolean;
}

export async function spaceOf(path: string): Promise<Space> {
  const { bsize, blocks, bavail } = await translated(`Cannot ask for the room at ${path}`, statfs(path));
  const [total, free] = [blocks * bsize, bavail * bsize];
  const usable = Math.max(0, Math.floor(free - Math.min(MOST_KEPT_FREE, total * SHARE_KEPT_FREE)));
  return { total, free, usable, low: usable < ASK_AGAIN };
}

export class Room {
  readonly #path: string;
  #known = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** To be asked before so many bytes are written. DriverError('full'). Undefined: there is room, nobody need be asked. */
  take(bytes: number): Promise<void> | undefined {
    this.#known -= bytes;
    return this.#known >= 0 ? undefined : this.#ask(bytes);
  }

  async #ask(bytes: number): Promise<void> {
    const { usable } = await spaceOf(this.#path);
    this.#known = Math.min(usable - bytes, ASK_AGAIN);
    if (usable < bytes) {
      throw new DriverError('full', `There is no room left for ${bytes} bytes at ${this.#path}`, { hint: 'df -h  # free some space, then try again' });
    }
  }
}
