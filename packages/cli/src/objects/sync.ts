// One side made like the other: what differs is written, what is not in the source may go. A second run finds nothing to do.
import { statSync } from 'node:fs';
import { readdir, rmdir, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { confirm, someoneIsThere } from '../ask.ts';
import { out } from '../base.ts';
import { bytes } from '../print/cells.ts';
import { printable } from '../print/printable.ts';
import { isSet } from '../words.ts';
import { every, type Listed } from './calls.ts';
import { downloadFile, sameBytes } from './download.ts';
import { baseOf, type ObjectName, textOf, typeOf, unfit } from './name.ts';
import { MD5, SMALL, severalSizes, together } from './parts.ts';
import { mtimeFrom, sameTime, uploadFile } from './upload.ts';
import { Directories, type Found, type Wanted, walk } from './walk.ts';
import { amount, Meter, Tally, type Work, wantedOf } from './work.ts';

export type Side = { directory: string } | { folder: ObjectName };

export const sideText = (side: Side): string => ('directory' in side ? side.directory : textOf(side.folder));

/** How one of the three ways goes: what there is, what differs, what is done about it. */
interface Way {
  sources(): AsyncIterable<Item>;
  /** What is there already, by key below the folder; those that are in the source are taken out as they are met. */
  there(): Promise<Map<string, { size: number }>>;
  same(item: Item, there: { size: number }): Promise<boolean>;
  write(item: Item): Promise<number>;
  remove(key: string): Promise<void>;
  removed?(): Promise<void>;
}
interface Item {
  key: string;
  size: number;
  source: Found | Listed;
}

export async function sync(work: Work, from: Side, to: Side): Promise<number> {
  const { words } = work;
  const dry = isSet(words, 'dry-run');
  const wanted = wantedOf(words);
  const meter = new Meter(`Syncing ${sideText(from)} to ${sideText(to)}`, work.quiet, 0);
  const tally = new Tally(work, 'written', 'deleted', 'unchanged');
  /** Keys that could not be read here: what they stand for there is left alone. */
  const unread: string[] = [];
  const way = wayOf(work, from, to, wanted, meter, tally, unread);
  const plain = !['json', 'yaml'].includes(work.remote.settings.output);
  let gone: string[] = [];
  try {
    const there = await way.there();
    await severalSizes(way.sources(), work, async (item) => {
      const before = there.get(item.key);
      there.delete(item.key);
      try {
        if (before !== undefined && (await way.same(item, before))) return tally.done('unchanged', { key: item.key });
        if (dry && plain) out(`Would write ${printable(item.key)} (${bytes(item.size)})\n`);
        meter.expect(item.size);
        tally.done('written', { key: item.key, size: item.size }, dry ? item.size : await way.write(item));
      } catch (error) {
        unread.push(item.key);
        tally.failed(item.key, error);
      }
    });
    gone = isSet(words, 'delete') ? [...there.keys()].filter((key) => !unread.some((one) => key === one || key.startsWith(`${one}/`))) : [];
  } finally {
    meter.end();
  }
  if (gone.length > 0) await remove(gone);
  const { written = 0, deleted = 0, unchanged = 0 } = tally.counts;
  const facts = [`${written} written`, ...(isSet(words, 'delete') ? [`${deleted} deleted`] : []), `${unchanged} unchanged`].join(', ');
  return tally.end(`${sideText(to)}: ${facts} (${bytes(tally.bytes)} in ${meter.seconds})${dry ? '; nothing was changed (--dry-run)' : ''}`);

  async function remove(keys: readonly string[]): Promise<void> {
    if (dry) {
      for (const key of keys) {
        if (plain) out(`Would delete ${printable(key)}\n`);
        tally.done('deleted', { key });
      }
      return;
    }
    if (!isSet(words, 'yes') && someoneIsThere())
      await confirm(
        `Delete ${amount(keys.length, 'directory' in to ? 'file' : 'object')} in ${printable(sideText(to))} that ${keys.length === 1 ? 'is' : 'are'} not in ${printable(sideText(from))}?`,
      );
    await together(keys, work.smallParallel, async (key) => {
      try {
        await way.remove(key);
        tally.done('deleted', { key });
      } catch (error) {
        tally.failed(key, error);
      }
    });
    await way.removed?.();
  }
}

function wayOf(work: Work, from: Side, to: Side, wanted: Wanted, meter: Meter, tally: Tally, unread: string[]): Way {
  if ('directory' in from) {
    if ('directory' in to) throw new Fault('invalid_input', 'Neither side is a bucket', { hint: 'cloud object sync --help' });
    return upwards(work, from.directory, to.folder, wanted, meter, tally, unread);
  }
  return 'directory' in to ? downwards(work, from.folder, to.directory, wanted, meter, tally, unread) : across(work, from.folder, to.folder, wanted, meter);
}

const below = (folder: ObjectName, key: string): string => key.slice(folder.key.length);
const inFolder = (folder: ObjectName, key: string): ObjectName => ({ ...folder, key: `${folder.key}${key}` });

async function* objectsIn({ objects }: Work, folder: ObjectName, wanted: Wanted): AsyncGenerator<Item> {
  for await (const source of every(objects, folder)) {
    const key = below(folder, source.key);
    // The mark of a folder, which other clients leave behind, is nothing to be kept alike.
    if ((key === '' || key.endsWith('/')) && source.size === 0) continue;
    if (wanted.takes(key)) yield { key, size: source.size, source };
  }
}

async function mapOf(items: AsyncIterable<Item>): Promise<Map<string, Listed & Found>> {
  const found = new Map<string, Listed & Found>();
  for await (const { key, source } of items) found.set(key, source as Listed & Found);
  return found;
}

/** Whether a file and an object are the same. Metadata of the object is asked for only where reading the file would take longer. */
async function alike(work: Work, file: Found, name: ObjectName, object: Listed): Promise<boolean> {
  if (file.size !== object.size) return false;
  const tells = MD5.test(object.etag);
  if (!tells || file.size > SMALL) {
    const view = await work.objects.head(name);
    const changed = mtimeFrom(view.metadata);
    if (view.etag === object.etag && changed !== undefined && sameTime(changed, Math.floor(file.mtimeMs))) return true;
  }
  return (await sameBytes(file.path, file.size, object.etag, work.partSize, work.signal)) === true;
}

async function* filesOf(work: Work, directory: string, wanted: Wanted, tally: Tally, unread: string[]): AsyncGenerator<Item> {
  const follow = isSet(work.words, 'follow-symlinks');
  const skipped = (path: string, why: string, key: string): void => {
    unread.push(key);
    tally.skipped(path, why);
  };
  for await (const source of walk(directory, { follow, wanted, skipped })) yield { key: source.key, size: source.size, source };
}

function upwards(work: Work, directory: string, to: ObjectName, wanted: Wanted, meter: Meter, tally: Tally, unread: string[]): Way {
  const { objects } = work;
  return {
    sources: () => filesOf(work, directory, wanted, tally, unread),
    there: () => mapOf(objectsIn(work, to, wanted)),
    same: (item, there) => alike(work, item.source as Found, inFolder(to, item.key), there as Listed),
    async write({ key, source }) {
      const type = typeOf(key);
      const sending = { ...work, resume: isSet(work.words, 'resume'), count: meter.count };
      return (await uploadFile((source as Found).path, inFolder(to, key), type === undefined ? {} : { contentType: type }, sending)).size;
    },
    remove: (key) => objects.delete(inFolder(to, key)),
  };
}

function downwards(work: Work, from: ObjectName, directory: string, wanted: Wanted, meter: Meter, tally: Tally, unread: string[]): Way {
  const { objects, words } = work;
  const directories = new Directories(directory, isSet(words, 'follow-symlinks'));
  const emptied = new Set<string>();
  return {
    async *sources() {
      for await (const item of objectsIn(work, from, wanted)) {
        const why = item.key.endsWith('/') ? 'it has the name of a folder, and bytes' : unfit(item.key);
        if (why === undefined) yield item;
        else {
          unread.push(item.key);
          tally.refused(textOf(inFolder(from, item.key)), `it cannot be a file here: ${why}`);
        }
      }
    },
    // A directory that is not there yet has no files.
    there: async () => (statSync(directory, { throwIfNoEntry: false }) === undefined ? new Map() : mapOf(filesOf(work, directory, wanted, tally, unread))),
    same: ({ key, source }, there) => alike(work, there as Found, inFolder(from, key), source as Listed),
    async write({ key }) {
      const name = inFolder(from, key);
      const path = join(await directories.of(key), baseOf(key));
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw new Fault('conflict', `${path} is a directory`);
      const view = await objects.head(name);
      await downloadFile(name, view, path, { ...work, count: meter.count });
      return view.size;
    },
    async remove(key) {
      const path = join(directory, key);
      await unlink(path);
      emptied.add(dirname(path));
    },
    async removed() {
      for (const one of [...emptied].sort((a, b) => b.length - a.length)) await removeEmpty(one, directory);
    },
  };
}

/** Directories that hold nothing any more go with what was in them, up to the one that was named. */
async function removeEmpty(from: string, root: string): Promise<void> {
  for (let one = from; one.length > root.length && one.startsWith(root); one = dirname(one)) {
    if ((await readdir(one).catch(() => ['unreadable'])).length > 0) return;
    await rmdir(one);
  }
}

function across(work: Work, from: ObjectName, to: ObjectName, wanted: Wanted, meter: Meter): Way {
  const { objects } = work;
  if (from.bucket === to.bucket && (to.key.startsWith(from.key) || from.key.startsWith(to.key)))
    throw new Fault('invalid_input', `${textOf(from)} and ${textOf(to)} lie in each other`);
  return {
    sources: () => objectsIn(work, from, wanted),
    there: () => mapOf(objectsIn(work, to, wanted)),
    async same({ key, source }, there) {
      const [one, other] = [source as Listed, there as Listed];
      if (one.size !== other.size) return false;
      if (one.etag === other.etag) return true;
      if (MD5.test(one.etag) && MD5.test(other.etag)) return false;
      // ETags of uploads in parts tell how they were cut, too, and a copy may be cut in another way.
      const [a, b] = await Promise.all([objects.head(inFolder(from, key)), objects.head(inFolder(to, key))]);
      const [x, y] = [mtimeFrom(a.metadata), mtimeFrom(b.metadata)];
      return x !== undefined && y !== undefined ? sameTime(x, y) : Date.parse(a.modifiedAt) <= Date.parse(b.modifiedAt);
    },
    async write({ key, size }) {
      await objects.copy(inFolder(from, key), inFolder(to, key));
      meter.count(size);
      return size;
    },
    remove: (key) => objects.delete(inFolder(to, key)),
  };
}
