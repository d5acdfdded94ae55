// The engine's image store, which the whole host shares. Images of our own bookkeeping (instances' files) are nobody's images.
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import type { ImageInspectInfo } from 'dockerode';
import tar from 'tar-stream';
import type { DriverReport } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type ImageDriver, type ImageObserved, type ImageProgress, normaliseReference } from '../../services/image/driver.ts';
import { type DockerClient, LABEL_ID, messageOf, statusOf, translate, unlessAbsent } from './client.ts';
import { FILES_REPOSITORY } from './lifecycle.ts';
import { drainProgress, type ProgressLine } from './progress.ts';
import { awayReport, engineInfo } from './report.ts';
import { installed, outputOf } from './tools.ts';

/** `docker save` writes this beside the layers; a root file system has it only by accident. */
const MANIFEST = 'manifest.json';
const MAX_MANIFEST = 4 * 1024 * 1024;
/** Begins the name of a directory with an archive that is being imported. */
const IMPORT = 'import-';

export class DockerImage implements ImageDriver {
  readonly #client: DockerClient;

  constructor(client: DockerClient) {
    this.#client = client;
  }

  /** Removes what imports of a killed process left behind. Only for the one process that holds the data directory, before its first import. */
  static async create(client: DockerClient): Promise<DockerImage> {
    const names = await readdir(client.dataDir).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return [];
      throw error;
    });
    for (const name of names) if (name.startsWith(IMPORT)) await rm(join(client.dataDir, name), { recursive: true, force: true });
    return new DockerImage(client);
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#client.ping(signal);
  }

  async report(signal?: AbortSignal): Promise<DriverReport> {
    const info = await engineInfo(this.#client, signal);
    if (info instanceof Error) return awayReport(info);
    return {
      driver: 'docker',
      version: info.ServerVersion,
      features: [
        { name: 'pull', level: 'enforced', detail: 'By the engine, with its own registry credentials and mirrors; an image that is present is never pulled' },
        { name: 'import', level: 'enforced', detail: 'Root file system tars and archives of docker save' },
        { name: 'ownership', level: 'recorded', detail: "The engine's store is one for all tenants: who may delete or import images acts on everybody's" },
      ],
      checks: [],
    };
  }

  async list(): Promise<ImageObserved[]> {
    try {
      const images = await this.#client.docker.listImages();
      const ours = images.filter((image) => references(image.RepoTags).length > 0);
      const observed = await Promise.all(ours.map(({ Id }) => unlessAbsent(this.#client.docker.getImage(Id).inspect())));
      return observed
        .flatMap((image) => (image === undefined ? [] : [observe(image)]))
        .sort((a, b) => (a.reference < b.reference ? -1 : a.reference > b.reference ? 1 : 0));
    } catch (error) {
      throw translate(error, 'Could not list the images');
    }
  }

  async inspect(reference: string): Promise<ImageObserved | undefined> {
    const name = normaliseReference(reference);
    if (isOurOwn(name)) return undefined;
    try {
      const image = await unlessAbsent(this.#client.docker.getImage(name).inspect());
      return image && observe(image, name);
    } catch (error) {
      throw translate(error, 'Could not look at the image');
    }
  }

  async ensure(reference: string, options: { signal: AbortSignal; always?: boolean; onProgress?: (progress: ImageProgress) => void }): Promise<ImageObserved> {
    const name = nameOf(reference);
    options.signal.throwIfAborted();
    const present = await this.inspect(name);
    if (present !== undefined && options.always !== true) return present;
    const doing = `Could not pull ${name}`;
    try {
      const stream = await this.#client.docker.pull(name, { abortSignal: options.signal });
      const layers = new Map<string, { current: number; total: number }>();
      await drainProgress(stream, doing, (line) => options.onProgress?.(progressOf(line, layers)));
    } catch (error) {
      options.signal.throwIfAborted();
      throw pullError(error, name);
    }
    return this.#made(name);
  }

  async import(reference: string, archive: Readable, options: { signal: AbortSignal; command?: string[] }): Promise<ImageObserved> {
    const name = nameOf(reference);
    if (name.includes('@')) throw new DriverError('bad_spec', 'An import needs a name and a tag, not a digest');
    await mkdir(this.#client.dataDir, { recursive: true, mode: 0o700 });
    // Kept on disk first: which of the engine's two doors it must go through stands anywhere in the archive.
    const folder = await mkdtemp(join(this.#client.dataDir, IMPORT));
    const path = join(folder, 'archive');
    try {
      await pipeline(archive, createWriteStream(path, { mode: 0o600 }), { signal: options.signal });
      const saved = await isSaved(path);
      if (saved) await this.#load(name, await openArchive(path));
      else await this.#importRoot(name, await openArchive(path), options.command);
      options.signal.throwIfAborted();
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason;
      throw translate(error, `Could not import ${name}`);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return this.#made(name);
  }

  async #importRoot(name: string, archive: Readable, command: string[] | undefined): Promise<void> {
    const colon = name.lastIndexOf(':');
    const stream = await this.#client.docker.importImage(archive, {
      fromSrc: '-',
      repo: name.slice(0, colon),
      tag: name.slice(colon + 1),
      ...(command === undefined ? {} : { changes: `CMD ${JSON.stringify(command)}` }),
    });
    await drainProgress(stream, `Could not import ${name}`);
  }

  /** A saved archive brings names of its own; ours is added to the one image in it. */
  async #load(name: string, archive: Readable): Promise<void> {
    const loaded = new Set<string>();
    const stream = await this.#client.docker.loadImage(archive, { quiet: true });
    await drainProgress(stream, `Could not load ${name}`, (line) => {
      const found = /Loaded image(?: ID)?: (\S+)/.exec(line.stream ?? '')?.[1];
      if (found !== undefined) loaded.add(found);
    });
    const ids = new Set<string>();
    for (const each of loaded) ids.add((await this.#client.docker.getImage(each).inspect()).Id);
    const [id] = ids;
    if (id === undefined) throw new DriverError('bad_spec', 'The archive holds no image');
    if (loaded.has(name)) return;
    if (ids.size > 1) throw new DriverError('bad_spec', `The archive holds several images (${[...loaded].join(', ')}); they are loaded under their own names`);
    const colon = name.lastIndexOf(':');
    await this.#client.docker.getImage(id).tag({ repo: name.slice(0, colon), tag: name.slice(colon + 1) });
  }

  async #made(name: string): Promise<ImageObserved> {
    const image = await this.inspect(name);
    if (image === undefined) throw new DriverError('failed', `Docker Engine has no image ${name} although it said so`);
    return image;
  }

  async remove(reference: string): Promise<void> {
    const name = nameOf(reference);
    try {
      const image = await unlessAbsent(this.#client.docker.getImage(name).inspect());
      if (image === undefined) return;
      const users = await this.#client.docker.listContainers({ all: true, filters: { ancestor: [name] } });
      // Another name of the same content keeps its users content.
      if (users.length > 0 && references(image.RepoTags).length <= 1) {
        const who = users.map(({ Labels, Names }) => Labels[LABEL_ID] ?? Names[0]?.slice(1) ?? 'a container');
        throw new DriverError('busy', `Image ${name} is in use by ${who.join(', ')}`);
      }
      await unlessAbsent(this.#client.docker.getImage(name).remove({ force: false }));
    } catch (error) {
      if (statusOf(error) === 409) throw new DriverError('busy', `Image ${name} is in use: ${messageOf(error)}`, { cause: error });
      throw translate(error, `Could not remove ${name}`);
    }
  }
}

/** Whether the engine would take the name for one under which instances' own files are kept, however often its usual prefixes are written. */
const isOurOwn = (name: string): boolean => name.replace(/^(?:(?:index\.)?docker\.io\/|library\/)+/, '').startsWith(`${FILES_REPOSITORY}/`);

/** As `normaliseReference`, but what instances have written is no image that anybody may start from, replace or remove. */
function nameOf(reference: string): string {
  const name = normaliseReference(reference);
  if (isOurOwn(name)) throw kept();
  return name;
}

const kept = (): DriverError => new DriverError('bad_spec', `Names that begin with ${FILES_REPOSITORY}/ are kept for instances' own files; use another`);

const references = (tags: string[] | null | undefined): string[] =>
  (tags ?? []).filter((tag) => tag !== '<none>:<none>' && !tag.startsWith(`${FILES_REPOSITORY}/`)).sort();

/** `asked` comes first where the content has several names. */
function observe(image: ImageInspectInfo, asked?: string): ImageObserved {
  const names = references(image.RepoTags);
  const digests = (image.RepoDigests ?? []).filter((digest) => digest !== '<none>@<none>');
  const reference = asked ?? names[0] ?? digests[0] ?? image.Id;
  return {
    reference,
    references: names.length > 0 ? names : [reference],
    // The registry's digest where it came from one: that is what others know it by.
    digest: digests[0]?.split('@')[1] ?? image.Id,
    sizeBytes: image.Size,
    createdAt: Date.parse(image.Created),
    architecture: image.Architecture,
  };
}

function progressOf(line: ProgressLine, layers: Map<string, { current: number; total: number }>): ImageProgress {
  const { current, total } = line.progressDetail ?? {};
  if (line.id !== undefined && line.status === 'Downloading' && total !== undefined) layers.set(line.id, { current: current ?? 0, total });
  const done = line.id === undefined ? undefined : layers.get(line.id);
  if (done !== undefined && /^(Download complete|Pull complete|Verifying)/.test(line.status ?? '')) done.current = done.total;
  const all = [...layers.values()];
  const bytes = all.reduce((sum, layer) => sum + layer.total, 0);
  const message = `${line.id === undefined ? '' : `${line.id}: `}${line.status ?? ''}`;
  return bytes === 0 ? { message } : { message, percent: Math.floor((100 * all.reduce((sum, layer) => sum + layer.current, 0)) / bytes) };
}

function pullError(error: unknown, name: string): DriverError {
  const cause = error instanceof DriverError ? error.cause : error;
  const said = cause instanceof Error ? messageOf(cause) : String(error);
  if (
    /manifest unknown|manifest for .* not found|pull access denied|repository does not exist|requested access to the resource is denied|no matching manifest/i.test(
      said,
    )
  ) {
    const platform = /no matching manifest/i.test(said);
    return new DriverError(
      'bad_spec',
      platform ? `${name} does not exist for this machine's architecture` : `The registry knows no ${name}, or it is private`,
      {
        cause: error,
        hint: `cloud image list  # shows what is here; a private one: docker login, then cloud image pull ${name}`,
      },
    );
  }
  if (/unauthorized|authentication required/i.test(said)) {
    return new DriverError('bad_spec', `The registry of ${name} wants credentials`, { cause: error, hint: 'docker login' });
  }
  if (/toomanyrequests|rate limit/i.test(said))
    return new DriverError('unavailable', `The registry of ${name} lets this address pull no more for now`, { cause: error });
  if (
    /no such host|lookup |dial tcp|i\/o timeout|connection refused|TLS handshake|Client\.Timeout|request canceled|temporary failure|EOF|network is unreachable|server misbehaving|proxyconnect|x509/i.test(
      said,
    )
  ) {
    return new DriverError('unavailable', `The registry of ${name} is out of reach: ${said}`, {
      cause: error,
      hint: `cloud image import ${name} --file archive.tar  # works without a network`,
    });
  }
  return translate(cause, `Could not pull ${name}`);
}

/** The archive as a tar, whatever it was compressed with: older engines know no zstd, and the names in it must be read here too. */
async function openArchive(path: string): Promise<Readable> {
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

/** Looks for an image archive's manifest among the names in a tar. */
async function isSaved(path: string): Promise<boolean> {
  if ((await firstBytes(path)).length === 0) throw new DriverError('bad_spec', 'The archive is empty');
  const extract = tar.extract();
  const archive = await openArchive(path);
  const piped = pipeline(archive, extract);
  // The loop meets the same failure; without this line it would also be an unhandled rejection.
  piped.catch(() => extract.destroy());
  try {
    for await (const entry of extract) {
      if (entry.header.name.replace(/^\.\//, '') === MANIFEST) {
        if ((entry.header.size ?? 0) > MAX_MANIFEST) throw new DriverError('bad_spec', `The archive's ${MANIFEST} is too large to be one`);
        refuseOurOwn(await text(entry));
        return true;
      }
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

/** A saved archive brings names along, and the engine gives them to its images whoever has them now. */
function refuseOurOwn(manifest: string): void {
  let images: unknown;
  try {
    images = JSON.parse(manifest);
  } catch {
    return; // by accident of that name, or damaged: the engine says so
  }
  const tags = Array.isArray(images) ? images.flatMap((image: { RepoTags?: unknown } | null) => image?.RepoTags ?? []) : [];
  if (tags.some((tag) => typeof tag === 'string' && isOurOwn(tag))) throw kept();
}

async function firstBytes(path: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of createReadStream(path, { start: 0, end: 7 })) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
