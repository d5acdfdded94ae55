// Archives of images: a root file system as a tar, or what `docker save` wrote, compressed or not. A saved archive brings names along,
// and the engine gives them to its images whoever has them now; here they are replaced before it sees them.
import { createReadStream } from 'node:fs';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import tar from 'tar-stream';
import { DriverError } from '../../kernel/errors.ts';
import { installed, outputOf } from './tools.ts';

/** `docker save` writes this beside the layers; a root file system has it only by accident. */
const MANIFEST = 'manifest.json';
/** The same in the way of OCI, which newer engines read instead. */
const INDEX = 'index.json';
/** Names, as engines wrote them before there was a manifest. */
const REPOSITORIES = 'repositories';
const MAX_MANIFEST = 4 * 1024 * 1024;
/** The only thing that `docker save` writes as a link: a layer that an earlier image of the archive has too. */
const LINKED_LAYER = /(?:^|\/)layer\.tar$/;

/** The archive as a tar, whatever it was compressed with: older engines know no zstd, and the names in it must be read here too. */
export async function openArchive(path: string): Promise<Readable> {
  const start = (await firstBytes(path)).toString('latin1');
  if (start.startsWith('\xfd7zXZ')) return unpackedBy('xz', 'xz-utils', path);
  if (start.startsWith('BZh')) return unpackedBy('bzip2', 'bzip2', path);
  const file = createReadStream(path);
  const plain = start.startsWith('\x1f\x8b') ? createGunzip() : start.startsWith('\x28\xb5\x2f\xfd') ? createZstdDecompress() : undefined;
  if (plain === undefined) return file;
  pipeline(file, plain).catch((error: Error) => plain.destroy(error));
  return plain;
}

/** Node reads neither of the two. */
async function unpackedBy(program: string, debianPackage: string, path: string): Promise<Readable> {
  if (!(await installed(program))) {
    throw new DriverError('unavailable', `The archive is compressed with ${program}, which is not installed on this machine`, {
      hint: `sudo apt-get install ${debianPackage}`,
    });
  }
  return outputOf(program, ['--decompress', '--stdout', '--', path]);
}

/** The entry's place in the archive's folder, however it is written. */
const placeOf = (name: string): string => posix.normalize(`/${name}`).slice(1).replace(/\/$/, '');

/** Looks for an image archive's manifest among the names in a tar. */
export async function isSaved(path: string): Promise<boolean> {
  if ((await firstBytes(path)).length === 0) throw new DriverError('bad_spec', 'The archive is empty');
  const extract = tar.extract();
  const archive = await openArchive(path);
  const piped = pipeline(archive, extract);
  // The loop meets the same failure; without this line it would also be an unhandled rejection.
  piped.catch(() => extract.destroy());
  try {
    for await (const entry of extract) {
      if (placeOf(entry.header.name) === MANIFEST) return true;
      entry.resume();
    }
    await piped;
  } catch (error) {
    if (error instanceof DriverError) throw error;
    throw new DriverError('bad_spec', 'The archive is not a tar', { cause: error });
  } finally {
    archive.destroy();
  }
  return false;
}

/** The saved archive with one image, under this name and no other. What does not fit fails the stream with DriverError('bad_spec'). */
export async function renamed(path: string, name: string): Promise<Readable> {
  const archive = await openArchive(path);
  const extract = tar.extract();
  const pack = tar.pack();
  const copy = async (): Promise<void> => {
    const links = new Set<string>();
    for await (const entry of extract) {
      const { header } = entry;
      const place = placeOf(header.name);
      for (let folder = posix.dirname(place); folder !== '.'; folder = posix.dirname(folder)) if (links.has(folder)) throw unusual(header.name);
      if (header.type === 'symlink' || header.type === 'link') {
        if (!LINKED_LAYER.test(place)) throw unusual(header.name);
        links.add(place);
      }
      if (place === '' || place === REPOSITORIES) {
        entry.resume();
      } else if (place === MANIFEST || place === INDEX) {
        if (header.type !== 'file' || (header.size ?? 0) > MAX_MANIFEST) throw unusual(header.name);
        const content = (place === MANIFEST ? manifestNamed : indexNamed)(await text(entry), name);
        pack.entry({ name: place, mode: 0o644 }, content);
      } else {
        await pipeline(entry, pack.entry({ ...header, name: place }));
      }
    }
    pack.finalize();
  };
  const failed = (error: Error) => {
    archive.destroy();
    extract.destroy();
    pack.destroy(error instanceof DriverError ? error : new DriverError('bad_spec', 'The archive is not a tar', { cause: error }));
  };
  pipeline(archive, extract).catch(failed);
  copy().catch(failed);
  return pack as unknown as Readable;
}

const unusual = (name: string): DriverError => new DriverError('bad_spec', `The archive is not as docker save writes one: ${JSON.stringify(name)}`);

function listIn(content: string, key?: string): { whole: Record<string, unknown>; list: Record<string, unknown>[] } {
  let whole: unknown;
  try {
    whole = JSON.parse(content);
  } catch (error) {
    throw new DriverError('bad_spec', "The archive's manifest is not JSON", { cause: error });
  }
  const list = key === undefined ? whole : (whole as Record<string, unknown> | null)?.[key];
  if (!Array.isArray(list) || list.some((item) => typeof item !== 'object' || item === null))
    throw new DriverError('bad_spec', "The archive's manifest is damaged");
  if (list.length === 0) throw new DriverError('bad_spec', 'The archive holds no image');
  if (list.length > 1) throw new DriverError('bad_spec', 'The archive holds several images; save each by itself');
  return { whole: whole as Record<string, unknown>, list };
}

const manifestNamed = (content: string, name: string): string =>
  JSON.stringify(listIn(content).list.map((image) => ({ ...only(image, ['Config', 'Layers', 'LayerSources']), RepoTags: [name] })));

/** The same keys in another case would be read too. */
const only = (object: Record<string, unknown>, keys: readonly string[]): Record<string, unknown> =>
  Object.fromEntries(keys.flatMap((key) => (Object.hasOwn(object, key) ? [[key, object[key]]] : [])));

function indexNamed(content: string, name: string): string {
  const { whole, list } = listIn(content, 'manifests');
  const manifests = list.map((each) => ({
    ...only(each, ['mediaType', 'digest', 'size', 'platform', 'artifactType']),
    annotations: { 'io.containerd.image.name': `docker.io/${name}`, 'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1) },
  }));
  return JSON.stringify({ ...only(whole, ['schemaVersion', 'mediaType']), manifests });
}

async function firstBytes(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { start: 0, end: 7 })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
