// A file tree as the memory backend keeps it: absolute path → entry. Instances and volumes have one each.
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tar from 'tar-stream';

export interface MemoryFile {
  type: 'file' | 'directory' | 'symlink';
  mode: number;
  uid: number;
  gid: number;
  /** Unix milliseconds. */
  modifiedAt: number;
  content: Buffer;
  /** Target of a symbolic link. */
  target?: string;
}

/** Keys are absolute and normalised (`/etc/motd`); the root directory itself has no entry. */
export type MemoryFiles = Map<string, MemoryFile>;

/** A deep copy, for snapshots: later changes of either side stay its own. */
export const copyFiles = (files: MemoryFiles): MemoryFiles =>
  new Map([...files].map(([path, file]) => [path, { ...file, content: Buffer.from(file.content) }]));

export const sizeOfFiles = (files: MemoryFiles): number => [...files.values()].reduce((sum, file) => sum + file.content.length, 0);

/** One absolute spelling per path: no `.`/`..`, no doubled or trailing slash; the root is the empty string. */
export function normalisePath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.map((part) => `/${part}`).join('');
}

/** Unpacks a tar stream; `place` tells which tree and path an absolute path belongs to, so that mounted volumes get what is theirs. */
export async function unpack(archive: Readable, directory: string, place: (path: string) => { files: MemoryFiles; path: string }): Promise<void> {
  const extract = tar.extract();
  const piped = pipeline(archive, extract);
  // The loop below meets the same failure; without this line it would also be an unhandled rejection.
  piped.catch(() => extract.destroy());
  for await (const entry of extract) {
    const chunks: Buffer[] = [];
    for await (const chunk of entry) chunks.push(chunk as Buffer);
    const { header } = entry;
    const type = header.type === 'directory' || header.type === 'symlink' ? header.type : 'file';
    const { files, path } = place(normalisePath(`${directory}/${header.name}`));
    if (path === '') continue;
    files.set(path, {
      type,
      mode: header.mode ?? (type === 'directory' ? 0o755 : 0o644),
      uid: header.uid ?? 0,
      gid: header.gid ?? 0,
      modifiedAt: header.mtime?.getTime() ?? 0,
      content: Buffer.concat(chunks),
      ...(type === 'symlink' ? { target: header.linkname ?? '' } : {}),
    });
  }
  await piped;
}

/** A tar stream of a file or a directory with all below it, named from its last path part on, as `docker cp` does. Undefined when there is no such path. */
export function pack(files: MemoryFiles, path: string, name: string): Readable | undefined {
  const below = [...files].filter(([each]) => each.startsWith(`${path}/`)).sort(([a], [b]) => (a < b ? -1 : 1));
  const own = files.get(path);
  if (own === undefined && below.length === 0 && path !== '') return undefined;
  const archive = tar.pack();
  const directory: MemoryFile = { type: 'directory', mode: 0o755, uid: 0, gid: 0, modifiedAt: 0, content: Buffer.alloc(0) };
  for (const [each, file] of [[path, own ?? directory] as const, ...below]) {
    const header = { name: `${name}${each.slice(path.length)}`, mode: file.mode, uid: file.uid, gid: file.gid, mtime: new Date(file.modifiedAt) };
    const entry =
      file.type === 'file'
        ? archive.entry({ ...header, type: 'file' }, file.content)
        : archive.entry({ ...header, type: file.type, ...(file.target === undefined ? {} : { linkname: file.target }) });
    // A reader that leaves early breaks every entry that is left, each with an error of its own.
    entry.on('error', () => undefined);
  }
  archive.finalize();
  return Readable.from(archive);
}
