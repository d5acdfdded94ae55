// Files of a directory by the keys that they become, and which of them are meant.
import { isUtf8 } from 'node:buffer';
import { lstat, mkdir, readdir, realpath, stat } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { PART } from './name.ts';
import { unreadable } from './upload.ts';

export interface Found {
  /** Below the directory, with slashes. */
  key: string;
  path: string;
  size: number;
  mtimeMs: number;
}

export interface Walking {
  /** Also symbolic links that lead out of the directory. */
  follow: boolean;
  wanted: Wanted;
  /** Hears why something is left out. */
  skipped: (path: string, why: string, key: string) => void;
}

export async function* walk(root: string, walking: Walking): AsyncGenerator<Found> {
  const real = await realpath(root).catch((error: unknown) => {
    throw unreadable(root, error);
  });
  yield* below(root, '', [real], real, walking);
}

async function* below(directory: string, prefix: string, above: readonly string[], root: string, walking: Walking): AsyncGenerator<Found> {
  const names = await readdir(directory, { encoding: 'buffer' }).catch((error: unknown) => {
    throw unreadable(directory, error);
  });
  for (const bytes of names) {
    const name = bytes.toString('utf8');
    const path = join(directory, name);
    if (!isUtf8(bytes)) {
      walking.skipped(path, 'its name is no text in UTF-8', `${prefix}${name}`);
      continue;
    }
    const key = `${prefix}${name}`;
    // Of a download that broke off.
    if (PART.test(name)) continue;
    const info = await behind(path, root, key, walking);
    if (info === undefined) continue;
    if (info.isDirectory()) {
      if (!walking.wanted.enters(key)) continue;
      // Only a link can lead back to where one came from.
      const real = info.link ? await realpath(path) : join(above.at(-1) as string, name);
      if (info.link && above.includes(real)) walking.skipped(path, 'it leads in a circle', key);
      else yield* below(path, `${key}/`, [...above, real], root, walking);
    } else if (!info.isFile()) walking.skipped(path, 'it is a special file', key);
    else if (walking.wanted.takes(key)) yield { key, path, size: info.size, mtimeMs: info.mtimeMs };
  }
}

interface Info {
  link: boolean;
  isDirectory(): boolean;
  isFile(): boolean;
  size: number;
  mtimeMs: number;
}

async function behind(path: string, root: string, key: string, { follow, wanted, skipped }: Walking): Promise<Info | undefined> {
  try {
    const own = await lstat(path);
    if (!own.isSymbolicLink()) return Object.assign(own, { link: false });
    if (!wanted.takes(key) && !wanted.enters(key)) return undefined;
    const target = await realpath(path);
    if (!follow && target !== root && !target.startsWith(root.endsWith(sep) ? root : `${root}${sep}`)) {
      skipped(path, 'it is a symbolic link that leads out of the directory; --follow-symlinks takes it', key);
      return undefined;
    }
    return Object.assign(await stat(path), { link: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') skipped(path, 'it is a symbolic link that leads nowhere, or has just been deleted', key);
    else if (code === 'ELOOP') skipped(path, 'it leads in a circle', key);
    else throw unreadable(path, error);
    return undefined;
  }
}

/** Makes directories below a root, and refuses to leave it over a symbolic link that lies there. */
export class Directories {
  readonly #root: string;
  readonly #follow: boolean;
  readonly #known = new Map<string, Promise<void>>();

  constructor(root: string, follow: boolean) {
    this.#root = root;
    this.#follow = follow;
  }

  /** Of a key that has been found fit: the directory of its file, which is there then. */
  async of(key: string): Promise<string> {
    const parts = key.split('/').slice(0, -1);
    await this.#made('');
    for (let count = 1; count <= parts.length; count++) await this.#made(parts.slice(0, count).join('/'));
    return join(this.#root, ...parts);
  }

  #made(relative: string): Promise<void> {
    let made = this.#known.get(relative);
    if (made === undefined) {
      made = this.#make(relative);
      this.#known.set(relative, made);
      made.catch(() => this.#known.delete(relative));
    }
    return made;
  }

  async #make(relative: string): Promise<void> {
    const path = join(this.#root, relative);
    if (relative === '') return void (await mkdir(path, { recursive: true }).catch((error: unknown) => notMade(path, error)));
    try {
      await mkdir(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') notMade(path, error);
      const own = await lstat(path);
      if (own.isSymbolicLink() && !this.#follow)
        throw new Fault('conflict', `${path} is a symbolic link; nothing is written behind it unless --follow-symlinks says so`);
      if (!(own.isSymbolicLink() ? await stat(path) : own).isDirectory()) throw new Fault('conflict', `${path} is there, and is no directory`);
    }
  }
}

function notMade(path: string, error: unknown): never {
  const { code } = error as NodeJS.ErrnoException;
  if (code === undefined) throw error;
  if (code === 'EEXIST' || code === 'ENOTDIR') throw new Fault('conflict', `${path} is there, and is no directory`, { cause: error });
  throw new Fault('invalid_input', `The directory ${path} cannot be made (${code})`, { cause: error });
}

/** Which paths are meant: those that --include names (all, where it names none) without those that --exclude names. */
export class Wanted {
  readonly #include: readonly RegExp[];
  readonly #exclude: readonly RegExp[];

  constructor(include: readonly string[] = [], exclude: readonly string[] = []) {
    this.#include = include.map(globOf);
    this.#exclude = exclude.map(globOf);
  }

  takes(key: string): boolean {
    return (this.#include.length === 0 || this.#include.some((glob) => glob.test(key))) && !this.#exclude.some((glob) => glob.test(key));
  }
  /** Whether something below a directory may be meant. */
  enters(key: string): boolean {
    return !this.#exclude.some((glob) => glob.test(key));
  }
}

/**
 * `*` and `?` stay within a name, `**` goes over slashes, `[…]` is one of these. Without a slash it is a name at any depth, else a path from the top; what
 * names a directory names all that is in it.
 */
export function globOf(pattern: string): RegExp {
  const path = pattern.replace(/\/+$/, '').replace(/^\//, '');
  const anywhere = !pattern.replace(/\/+$/, '').includes('/');
  let text = '';
  for (let at = 0; at < path.length; at++) {
    const character = path[at] as string;
    const bracket = /^\[(!?)((?:\]|[^\]/])[^\]/]*)\]/.exec(path.slice(at));
    if (path.startsWith('**/', at)) {
      text += '(?:.*/)?';
      at += 2;
    } else if (path.startsWith('**', at)) {
      text += '.*';
      at++;
    } else if (character === '*') text += '[^/]*';
    else if (character === '?') text += '[^/]';
    else if (bracket !== null) {
      text += `[${bracket[1] === '' ? '' : '^/'}${(bracket[2] as string).replaceAll(/[\\\]^[]/g, '\\$&')}]`;
      at += bracket[0].length - 1;
    } else if (character === '\\' && at + 1 < path.length) text += (path[++at] as string).replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&');
    else text += character.replaceAll(/[.*+?^${}()|[\]\\/]/g, '\\$&');
  }
  return new RegExp(`^${anywhere ? '(?:.*/)?' : ''}${text}(?:/.*)?$`, 'su');
}
