// Places that only their owner may look into.
import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Makes a directory and its missing parents, mode 0700; one that is there is left as it is. Throws the file system's own error.
 * One at a time, because `mkdirSync` with `recursive` tries for ever where the file system answers ENOENT for a child of what exists, as /proc does.
 */
export function makeDirectory(path: string): void {
  const missing: string[] = [];
  for (let at = path; !existsSync(at) && dirname(at) !== at; at = dirname(at)) missing.unshift(at);
  for (const each of missing) {
    try {
      mkdirSync(each, { mode: 0o700 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
  }
  if (!statSync(path).isDirectory()) throw new Error('it is not a directory');
}

/**
 * Sees to it that a database is readable by its owner only. SQLite gives what it writes beside it the same mode.
 * A file that is there is never opened: closing it would give up the locks that this process holds on it.
 */
export function makeDatabasePrivate(file: string): void {
  try {
    closeSync(openSync(file, 'wx', 0o600));
  } catch (error) {
    // Whatever else keeps the file from being made, SQLite meets it too and says it in its own way.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') return;
  }
  for (const each of [file, `${file}-wal`, `${file}-shm`]) {
    const info = statSync(each, { throwIfNoEntry: false });
    if (info?.isFile() && (info.mode & 0o077) !== 0 && info.uid === process.getuid?.()) chmodSync(each, 0o600);
  }
}

/** Makes a file of mode 0600 that is there whole or not at all, also after power loss. One that is there is replaced. Throws the file system's own error. */
export function writeWhole(path: string, text: string): void {
  const part = `${path}.part`;
  rmSync(part, { force: true }); // of a process that died in the middle
  const fd = openSync(part, 'wx', 0o600);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameWhole(part, path);
}

/** Renames, and has the disk know it. */
export function renameWhole(from: string, to: string): void {
  renameSync(from, to);
  syncDirectory(dirname(to));
}

/** Removes a file, and has the disk know it. Nothing where there is none. */
export function removeWhole(path: string): void {
  if (!existsSync(path)) return;
  unlinkSync(path);
  syncDirectory(dirname(path));
}

function syncDirectory(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
