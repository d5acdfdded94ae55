// The engine's image store, which the whole host shares. What it has under names of its own are the host's images; what is kept for an owner
// has a tag in a namespace of ours, `thecloud-image/<installation>/<owner>:<content>`, and instances' files one in another: those are nobody's images.
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ImageInfo, ImageInspectInfo } from 'dockerode';
import type { DriverReport, Found } from '../../kernel/driver.ts';
import { DriverError } from '../../kernel/errors.ts';
import { type ImageContent, type ImageDriver, type ImageObserved, type ImageProgress, normaliseReference } from '../../services/image/driver.ts';
import { type DockerClient, messageOf, statusOf, translate, unlessAbsent } from './client.ts';
import { isSaved, openArchive, renamed } from './image-archive.ts';
import { FILES_REPOSITORY } from './lifecycle.ts';
import { Locks } from './locks.ts';
import { drainProgress, type ProgressLine } from './progress.ts';
import { awayReport, engineInfo } from './report.ts';

const KEPT_REPOSITORY = 'thecloud-image';

/** Begins the name of a directory with an archive that is being imported. */
const IMPORT = 'import-';

export class DockerImage implements ImageDriver {
  readonly #client: DockerClient;
  readonly #pulls = new Locks();

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
        { name: 'pull', level: 'enforced', detail: 'By the engine, with its own mirrors; fetched by digest, so that no tag of the host moves' },
        { name: 'import', level: 'enforced', detail: 'Root file system tars and archives of docker save' },
        {
          name: 'ownership',
          level: 'enforced',
          detail: "What a tenant pulls or imports is kept for it under a tag of ours; the host's own tags are never set, moved or removed by it",
        },
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
      return image && references(image.RepoTags).length > 0 ? observe(image, name) : undefined;
    } catch (error) {
      throw translate(error, 'Could not look at the image');
    }
  }

  async has(content: string): Promise<boolean> {
    try {
      return (await unlessAbsent(this.#client.docker.getImage(content).inspect())) !== undefined;
    } catch (error) {
      throw translate(error, 'Could not look at the image');
    }
  }

  async pull(owner: string, reference: string, options: { signal: AbortSignal; onProgress?: (progress: ImageProgress) => void }): Promise<ImageContent> {
    const name = nameOf(reference);
    const { signal } = options;
    signal.throwIfAborted();
    try {
      const exact = await this.#exact(name, signal);
      // Two pulls of one content at once: the first would take away the name that the second is about to look at.
      return await this.#pulls.run(exact, signal, async () => {
        const before = await unlessAbsent(this.#client.docker.getImage(exact).inspect());
        const stream = await this.#client.docker.pull(exact, { abortSignal: signal });
        const layers = new Map<string, { current: number; total: number }>();
        await drainProgress(stream, `Could not pull ${name}`, (line) => options.onProgress?.(progressOf(line, layers)));
        const image = await this.#client.docker.getImage(exact).inspect();
        await this.keep(owner, image.Id);
        // The host knew nothing of it, and shall not.
        if (before === undefined) await unlessAbsent(this.#client.docker.getImage(exact).remove({ force: false }));
        return { ...contentOf(image), digest: exact.slice(exact.indexOf('@') + 1) };
      });
    } catch (error) {
      signal.throwIfAborted();
      throw pullError(error, name);
    }
  }

  /** The name with the digest that it has in its registry now: what is pulled by digest moves no tag. */
  async #exact(name: string, signal: AbortSignal): Promise<string> {
    const digest = /@(sha256:[0-9a-f]{64})$/.exec(name)?.[1];
    const repository = repositoryOf(name);
    if (digest !== undefined) return `${repository}@${digest}`;
    const { Descriptor } = await this.#client.docker.getImage(name).distribution({ abortSignal: signal });
    return `${repository}@${Descriptor.digest}`;
  }

  async import(owner: string, archive: Readable, options: { signal: AbortSignal; command?: string[] }): Promise<ImageContent> {
    await mkdir(this.#client.dataDir, { recursive: true, mode: 0o700 });
    // Kept on disk first: which of the engine's two doors it must go through stands anywhere in the archive.
    const folder = await mkdtemp(join(this.#client.dataDir, IMPORT));
    const path = join(folder, 'archive');
    const name = `${this.#repository(owner)}:new`;
    try {
      await pipeline(archive, createWriteStream(path, { mode: 0o600 }), { signal: options.signal });
      if (await isSaved(path)) {
        // Whole on disk before the engine hears of it: what does not fit must not reach it by half.
        const fit = join(folder, 'renamed');
        await pipeline(await renamed(path, name), createWriteStream(fit, { mode: 0o600 }), { signal: options.signal });
        await drainProgress(await this.#client.docker.loadImage(fit, { quiet: true }), 'Could not load the archive');
      } else await this.#importRoot(name, await openArchive(path), options.command);
      options.signal.throwIfAborted();
      const image = await this.#client.docker.getImage(name).inspect();
      await this.keep(owner, image.Id);
      await unlessAbsent(this.#client.docker.getImage(name).remove({ force: false }));
      return contentOf(image);
    } catch (error) {
      if (options.signal.aborted) throw options.signal.reason;
      throw translate(error, 'Could not import the archive');
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #importRoot(name: string, archive: Readable, command: string[] | undefined): Promise<void> {
    const colon = name.lastIndexOf(':');
    const stream = await this.#client.docker.importImage(archive, {
      fromSrc: '-',
      repo: name.slice(0, colon),
      tag: name.slice(colon + 1),
      ...(command === undefined ? {} : { changes: `CMD ${JSON.stringify(command)}` }),
    });
    await drainProgress(stream, 'Could not import the archive');
  }

  async keep(owner: string, content: string): Promise<void> {
    try {
      await this.#client.docker.getImage(content).tag({ repo: this.#repository(owner), tag: tagOf(content) });
    } catch (error) {
      if (statusOf(error) === 404) throw new DriverError('failed', 'The content of the image is gone', { cause: error });
      throw translate(error, 'Could not keep the image');
    }
  }

  async release(owner: string, but: readonly string[]): Promise<void> {
    const repository = this.#repository(owner);
    const needed = new Set(but.map((content) => `${repository}:${tagOf(content)}`));
    try {
      const images = await this.#client.docker.listImages({ filters: { reference: [repository] } });
      for (const tag of images.flatMap(({ RepoTags }) => RepoTags ?? [])) {
        if (repositoryOf(tag) !== repository || needed.has(tag)) continue;
        await unlessAbsent(this.#client.docker.getImage(tag).remove({ force: false })).catch((error: unknown) => {
          // A container still runs it; the reaper comes by again.
          if (statusOf(error) !== 409) throw error;
        });
      }
    } catch (error) {
      throw translate(error, 'Could not release the image');
    }
  }

  async kept(): Promise<Found[]> {
    const prefix = `${this.#repository('')}`;
    try {
      const [images, containers] = await Promise.all([
        this.#client.docker.listImages({ filters: { reference: [`${prefix}*`] } }),
        this.#client.docker.listContainers({ all: true }),
      ]);
      const running = new Set(containers.map(({ ImageID }) => ImageID));
      const found = new Map<string, number>();
      for (const image of images) {
        const owners = (image.RepoTags ?? []).flatMap((tag) => (tag.startsWith(prefix) ? [repositoryOf(tag).slice(prefix.length)] : []));
        if (owners.length === 0 || (running.has(image.Id) && namesOf(image) <= 1)) continue;
        const details = await unlessAbsent(this.#client.docker.getImage(image.Id).inspect());
        const tagged = Date.parse((details as { Metadata?: { LastTagTime?: string } } | undefined)?.Metadata?.LastTagTime ?? '');
        for (const owner of owners) found.set(owner, Math.max(found.get(owner) ?? 0, Number.isNaN(tagged) ? 0 : tagged));
      }
      return [...found].map(([id, createdAt]) => ({ id, createdAt }));
    } catch (error) {
      throw translate(error, 'Could not list the images');
    }
  }

  #repository(owner: string): string {
    return `${KEPT_REPOSITORY}/${this.#client.installation.toLowerCase()}/${owner}`;
  }

  async remove(reference: string): Promise<void> {
    const name = nameOf(reference);
    try {
      const image = await unlessAbsent(this.#client.docker.getImage(name).inspect());
      if (image === undefined || references(image.RepoTags).length === 0) return;
      const users = await this.#client.docker.listContainers({ all: true, filters: { ancestor: [name] } });
      // Another name of the same content keeps its users content. Who they are is not everybody's business.
      if (users.length > 0 && references(image.RepoTags).length <= 1) {
        throw new DriverError('busy', `Image ${name} is in use by ${users.length === 1 ? 'a container' : `${users.length} containers`}`);
      }
      await unlessAbsent(this.#client.docker.getImage(name).remove({ force: false }));
    } catch (error) {
      if (statusOf(error) === 409) throw new DriverError('busy', `Image ${name} is in use`, { cause: error });
      throw translate(error, `Could not remove ${name}`);
    }
  }
}

const repositoryOf = (name: string): string => {
  const bare = name.replace(/@sha256:[0-9a-f]{64}$/, '');
  const colon = bare.indexOf(':', bare.lastIndexOf('/') + 1);
  return colon < 0 ? bare : bare.slice(0, colon);
};

/** A tag has at most 128 characters of a small alphabet; a content's handle is the engine's. */
const tagOf = (content: string): string => createHash('sha256').update(content).digest('hex').slice(0, 40);

const namesOf = (image: ImageInfo): number => (image.RepoTags ?? []).filter((tag) => tag !== '<none>:<none>').length;

/** Whether the engine would take the name for one of our bookkeeping, however often its usual prefixes are written. */
const isOurOwn = (name: string): boolean => isKept(name.replace(/^(?:(?:index\.)?docker\.io\/|library\/)+/, ''));
const isKept = (name: string): boolean => name.startsWith(`${FILES_REPOSITORY}/`) || name.startsWith(`${KEPT_REPOSITORY}/`);

/** As `normaliseReference`, but what instances have written, or tenants have, is no image of the host's. */
function nameOf(reference: string): string {
  const name = normaliseReference(reference);
  if (isOurOwn(name)) throw kept();
  return name;
}

const kept = (): DriverError => new DriverError('bad_spec', `Names that begin with ${FILES_REPOSITORY}/ or ${KEPT_REPOSITORY}/ are used inside; use another`);

const references = (tags: string[] | null | undefined): string[] => (tags ?? []).filter((tag) => tag !== '<none>:<none>' && !isKept(tag)).sort();

const contentOf = (image: ImageInspectInfo): ImageContent => ({
  content: image.Id,
  // The registry's digest where it came from one: that is what others know it by.
  digest: (image.RepoDigests ?? []).find((digest) => digest !== '<none>@<none>' && !isKept(digest))?.split('@')[1] ?? image.Id,
  sizeBytes: image.Size,
  architecture: image.Architecture,
});

/** `asked` comes first where the content has several names. */
function observe(image: ImageInspectInfo, asked?: string): ImageObserved {
  const names = references(image.RepoTags);
  return { ...contentOf(image), reference: asked ?? names[0] ?? image.Id, references: names, createdAt: Date.parse(image.Created) };
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
