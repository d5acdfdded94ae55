// Files to tar and back, with modes and times. What is unpacked stays inside the directory it is unpacked in, whatever the archive says.
import { constants, createReadStream, createWriteStream, type Stats } from 'node:fs';
import { chmod, link, lstat, mkdir, open, readdir, readlink, rm, symlink, utimes } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { Fault } from '@thecloud/core/contracts';
import { extract, type Header, type Pack, pack } from 'tar-stream';

export interface Tally {
  bytes(count: number): void;
  /** Something that is neither file, directory nor link, and is left out. */
  skipped(name: string): void;
}

/** Packs `path` under `name` (its root in the archive; `.` for its content alone). */
export async function packPath(path: string, name: string, into: Writable, tally: Tally): Promise<void> {
  const archive = pack();
  const sending = pipeline(archive as unknown as Readable, into);
  const packing = packEntry(archive, path, name, tally).then(() => archive.finalize());
  try {
    await Promise.all([sending, packing]);
  } catch (error) {
    archive.destroy();
    await Promise.allSettled([sending, packing]);
    throw error;
  }
}

async function packEntry(archive: Pack, path: string, name: string, tally: Tally): Promise<void> {
  const info = await lstat(path);
  const header = headerOf(info, name);
  if (info.isDirectory()) {
    if (name !== '.') await entry(archive, { ...header, name: `${name}/`, type: 'directory' });
    for (const child of (await readdir(path)).sort()) await packEntry(archive, join(path, child), name === '.' ? child : `${name}/${child}`, tally);
  } else if (info.isSymbolicLink()) await entry(archive, { ...header, type: 'symlink', linkname: await readlink(path), size: 0 });
  else if (info.isFile()) {
    const sink = archive.entry({ ...header, type: 'file', size: info.size });
    const source = createReadStream(path, { end: Math.max(0, info.size - 1) });
    source.on('data', (piece) => tally.bytes(piece.length));
    if (info.size === 0) {
      source.destroy();
      (sink as unknown as Writable).end();
    } else await pipeline(source, sink as unknown as Writable);
  } else tally.skipped(path);
}

/** What is told of an entry; tar-stream fills in the rest. */
type Given = Parameters<Pack['entry']>[0];

const headerOf = (info: Stats, name: string): Given => ({ name, mode: info.mode & 0o7777, mtime: info.mtime, uid: 0, gid: 0 });

const entry = (archive: Pack, header: Given): Promise<void> =>
  new Promise((resolve, reject) => {
    archive.entry(header, (error) => (error ? reject(error) : resolve()));
  });

/** One entry with known content and size. */
export async function packStream(source: Readable, header: { name: string; size: number; mode: number }, into: Writable, tally: Tally): Promise<void> {
  const archive = pack();
  const sending = pipeline(archive as unknown as Readable, into);
  const sink = archive.entry({ ...header, mtime: new Date(), type: 'file' });
  source.on('data', (piece: Buffer) => tally.bytes(piece.length));
  await pipeline(source, sink as unknown as Writable);
  archive.finalize();
  await sending;
}

/** What a path is, by the first header of its archive. */
export async function firstHeader(from: Readable): Promise<Header | undefined> {
  const archive = extract();
  from.on('error', (error) => archive.destroy(error)).pipe(archive as unknown as Writable);
  for await (const found of archive) {
    const { header } = found as unknown as { header: Header };
    return header;
  }
  return undefined;
}

/** Writes the content of the one file in the archive; `invalid_input` when it is something else. */
export async function unpackToStream(from: Readable, into: Writable, what: string): Promise<void> {
  const archive = extract();
  from.on('error', (error) => archive.destroy(error)).pipe(archive as unknown as Writable);
  for await (const found of archive) {
    const one = found as unknown as Readable & { header: Header };
    if (one.header.type !== 'file')
      throw new Fault('invalid_input', `${what} is a ${one.header.type ?? 'special file'}; only a file can go to standard output`);
    await pipeline(one, into, { end: false });
    return;
  }
}

/** Unpacks under `target`: the archive's root becomes `target` itself. */
export async function unpackTo(from: Readable, target: string, tally: Tally): Promise<void> {
  const archive = extract();
  const feeding = pipeline(from, archive as unknown as Writable);
  feeding.catch(() => undefined); // the loop below ends with the same error
  const directories: { inner: string[]; header: Header }[] = [];
  let root: string | undefined;
  for await (const found of archive) {
    const one = found as unknown as Readable & { header: Header };
    const { header } = one;
    const parts = partsOf(header.name);
    root ??= parts[0] ?? '';
    const inner = parts[0] === root ? parts.slice(1) : parts;
    const path = join(target, ...inner);
    await refuseLinks(target, inner);
    await mkdir(dirname(path), { recursive: true });
    switch (header.type) {
      case 'directory': {
        const there = await lstatIfThere(path);
        if (there !== undefined && !there.isDirectory()) await rm(path, { force: true });
        await mkdir(path, { recursive: true });
        directories.push({ inner, header });
        break;
      }
      case 'file':
      case 'contiguous-file':
        await writeFile(one, path, header, tally);
        break;
      case 'symlink':
        await makeRoom(path);
        await symlink(header.linkname ?? '', path);
        break;
      case 'link': {
        // A hard link names another entry by its path in the archive.
        const to = partsOf(header.linkname ?? '');
        const source = to[0] === root ? to.slice(1) : to;
        await refuseLinks(target, [...source, '']);
        await makeRoom(path);
        await link(join(target, ...source), path);
        break;
      }
      default:
        tally.skipped(header.name);
    }
    one.resume();
  }
  await feeding;
  // Last and innermost first: writing into a directory would change its time, and may not be allowed any more.
  for (const { inner, header } of directories.reverse()) {
    // A later entry may have put a link in its place.
    await refuseLinks(target, [...inner, '']);
    const path = join(target, ...inner);
    await chmod(path, (header.mode ?? 0o755) & 0o777);
    if (header.mtime !== undefined) await utimes(path, header.mtime, header.mtime);
  }
}

function partsOf(name: string): string[] {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (posix.isAbsolute(name) || parts.includes('..') || name.includes('\0')) {
    throw new Fault('invalid_input', `The archive names a path outside of itself (${JSON.stringify(name)}); nothing more is unpacked`);
  }
  return parts;
}

/** No directory on the way to the last part may be a link, the base among them: else an archive could reach through it to anywhere. */
async function refuseLinks(base: string, parts: readonly string[]): Promise<void> {
  for (let depth = 0; depth < parts.length; depth++) {
    const path = join(base, ...parts.slice(0, depth));
    if ((await lstatIfThere(path))?.isSymbolicLink())
      throw new Fault('invalid_input', `The archive leads through the symbolic link ${path}; nothing more is unpacked`);
  }
}

async function lstatIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await lstat(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** What is in the way of something that is no directory goes; a directory of the user's, with all that is in it, does not. */
async function makeRoom(path: string): Promise<void> {
  if ((await lstatIfThere(path))?.isDirectory()) {
    throw new Fault('conflict', `${path} is a directory here, and something else there; nothing more is unpacked`, {
      hint: 'move it away, or name another place',
    });
  }
  await rm(path, { force: true });
}

async function writeFile(from: Readable, path: string, header: Header, tally: Tally): Promise<void> {
  if (!(await lstatIfThere(path))?.isFile()) await makeRoom(path);
  const mode = (header.mode ?? 0o644) & 0o777;
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW, 0o600);
  from.on('data', (piece: Buffer) => tally.bytes(piece.length));
  await pipeline(from, createWriteStream(path, { fd: file }));
  await chmod(path, mode);
  if (header.mtime !== undefined) await utimes(path, header.mtime, header.mtime);
}
