// Images on a real engine: the common suite, then what only an engine has: tags that somebody could move, a registry, archives with names in them.
import { execFileSync } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { imageConformance, rootArchive } from '../../services/image/driver.conformance.ts';
import { refused } from '../../services/instance/driver.conformance.ts';
import { DockerImage } from './image.ts';
import { filesRepository } from './lifecycle.ts';
import { type TestRegistry, testRegistry } from './registry.testbench.ts';
import { dockerMissing, TestInstallation } from './testbench.ts';
import { installed } from './tools.ts';

const signal = new AbortController().signal;
const missing = await dockerMissing();
const compressors = await Promise.all(['xz', 'bzip2', 'gzip', 'zstd'].map(async (program) => ((await installed(program)) ? [program] : []))).then((found) =>
  found.flat(),
);
const unique = () => Math.random().toString(36).slice(2, 12);

interface Entry {
  name: string;
  content?: string;
  type?: 'file' | 'symlink' | 'link' | 'directory';
  linkname?: string;
}
async function archive(...entries: Entry[]): Promise<Readable> {
  const pack = tar.pack();
  for (const { content = '', ...header } of entries) pack.entry(header, content);
  pack.finalize();
  return Readable.from([await buffer(pack)]);
}
/** As `docker save` writes it, with these names for images that are not even in it. */
const manifest = (...images: string[][]): string => JSON.stringify(images.map((RepoTags) => ({ Config: 'config.json', RepoTags, Layers: [] })));

describe.skipIf(missing !== undefined)(`images with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  imageConformance('docker', async () => {
    const installation = await TestInstallation.create();
    const { docker } = installation.client;
    return {
      driver: new DockerImage(installation.client),
      present: 'busybox:latest',
      host: async (reference) => {
        const [repo = '', tag = ''] = reference.split(':');
        await buffer((await docker.importImage(rootArchive(unique()), { fromSrc: '-', repo, tag })) as Readable);
      },
      use: async (content) => {
        const container = await docker.createContainer({ Image: content, name: `use-${unique()}`, Cmd: ['sh'] });
        return () => container.remove({ force: true });
      },
      close: () => installation.close(),
    };
  });

  describe('on the engine', () => {
    let installation: TestInstallation;
    let driver: DockerImage;
    let registry: TestRegistry;
    const repository = filesRepository(`inst-${unique()}`);
    const own = `${repository}:1`;
    const owners = new Set<string>();
    const owner = (): string => {
      const id = `img-${unique()}`;
      owners.add(id);
      return id;
    };
    const names = async () => {
      const images = await installation.client.docker.listImages();
      const all = images.flatMap(({ RepoTags, RepoDigests }) => [...(RepoTags ?? []), ...(RepoDigests ?? [])]);
      return all.filter((name) => !name.startsWith('<none>') && !name.startsWith('thecloud-')).sort();
    };
    const tagsOf = async (id: string) =>
      (await installation.client.docker.listImages({ filters: { reference: [`*/*/${id}`] } })).flatMap(({ RepoTags }) => RepoTags ?? []);

    beforeAll(async () => {
      installation = await TestInstallation.create();
      driver = await DockerImage.create(installation.client);
      registry = await testRegistry();
      await installation.client.docker.getImage('busybox').tag({ repo: repository, tag: '1' });
    });
    afterAll(async () => {
      for (const id of owners) await driver.release(id, []);
      await installation.client.docker.getImage(own).remove();
      await registry.close();
      await installation.close();
    });

    test.each(['', 'docker.io/', 'index.docker.io/', 'docker.io/docker.io/', 'library/docker.io/'])(
      'what instances have written and what tenants have is not there under %s',
      async (prefix) => {
        const id = owner();
        const { content } = await driver.import(id, rootArchive(id), { signal });
        const [kept = ''] = await tagsOf(id);
        expect(kept).toContain(id);
        for (const name of [own, kept].map((tag) => `${prefix}${tag}`)) {
          const refusal = { code: 'bad_spec', message: expect.stringContaining('are used inside') };
          expect(await driver.inspect(name)).toBeUndefined();
          await expect(driver.pull(id, name, { signal })).rejects.toMatchObject(refusal);
          await expect(driver.remove(name)).rejects.toMatchObject(refusal);
        }
        expect(await driver.has(content)).toBe(true);
        const shown = (await driver.list()).flatMap(({ references }) => references);
        expect(shown.filter((reference) => reference.includes(repository) || reference.includes(id))).toEqual([]);
      },
    );

    test('a pull keeps what the tag means now, without a name of the host’s; a later one moves nothing that is kept', async () => {
      const before = await names();
      const [one, two] = [owner(), owner()];
      const reference = `${registry.repository}:1`;
      const first = await registry.push('1', 'first');
      const progress: string[] = [];
      const pulled = await driver.pull(one, reference, { signal, onProgress: ({ message }) => progress.push(message) });
      expect(pulled.digest).toBe(first);
      expect(progress.length).toBeGreaterThan(0);
      expect(await names()).toEqual(before);
      expect(await driver.inspect(reference)).toBeUndefined();
      const second = await registry.push('1', 'second');
      const [other, again] = await Promise.all([driver.pull(two, reference, { signal }), driver.pull(owner(), reference, { signal })]);
      expect(other).toMatchObject({ digest: second });
      expect(again).toEqual(other);
      expect(other.content).not.toBe(pulled.content);
      expect(await driver.has(pulled.content)).toBe(true);
      expect((await driver.pull(two, `${reference}@${first}`, { signal })).content).toBe(pulled.content);
      expect(await names()).toEqual(before);
      for (const id of owners) await driver.release(id, []);
      expect([await driver.has(pulled.content), await driver.has(other.content)]).toEqual([false, false]);
    });

    test('a pull leaves alone what the host has under the same name', async () => {
      const { docker } = installation.client;
      const reference = `${registry.repository}:2`;
      await registry.push('2', 'the host has it');
      await buffer((await docker.pull(reference)) as Readable);
      const before = await driver.inspect(reference);
      try {
        const id = owner();
        expect((await driver.pull(id, reference, { signal })).content).toBe(before?.content);
        await registry.push('2', 'moved');
        expect((await driver.pull(id, reference, { signal })).content).not.toBe(before?.content);
        expect(await driver.inspect(reference)).toEqual(before);
        await driver.release(id, []);
        expect(await driver.inspect(reference)).toEqual(before);
      } finally {
        await docker.getImage(reference).remove();
      }
    });

    test('a registry that knows it not, and one out of reach', async () => {
      await registry.push('1', 'first');
      const unknown = await refused(driver.pull(owner(), `${registry.repository}:none`, { signal }), 'bad_spec');
      expect(unknown.message).toContain('knows no');
      const error = await refused(driver.pull(owner(), `no-such-registry.invalid/${unique()}:1`, { signal }), 'unavailable');
      expect(error.message).toContain('out of reach');
      expect(error.hint).toContain('cloud image import');
    });

    test.each(['', ...compressors])('what docker save wrote is that image still after %s, and its names stay the host’s', async (program) => {
      const busybox = installation.client.docker.getImage('busybox');
      const { Id } = await busybox.inspect();
      const saved = await buffer((await busybox.get()) as Readable);
      const before = await names();
      const id = owner();
      const sent = program === '' ? saved : execFileSync(program, ['-c'], { input: saved, maxBuffer: 2 * saved.length });
      expect(await driver.import(id, Readable.from([sent]), { signal })).toMatchObject({ content: Id });
      expect(await names()).toEqual(before);
      expect(await tagsOf(id)).toHaveLength(1);
    });

    test('an archive that brings a name of the host’s along does not get it', async () => {
      const { docker } = installation.client;
      const busybox = await docker.getImage('busybox').inspect();
      const id = owner();
      const { content } = await driver.import(id, rootArchive(id), { signal, command: ['sh'] });
      const [kept = ''] = await tagsOf(id);
      // The content of one image under the name of another, in every place where a name may stand.
      const entries: Entry[] = [];
      const extract = tar.extract();
      extract.end(await buffer((await docker.getImage(kept).get()) as Readable));
      for await (const entry of extract) {
        const bytes = await buffer(entry);
        const text = bytes.toString('latin1').replaceAll(kept, 'busybox:latest');
        entries.push({ name: `./x/../${entry.header.name}`, type: entry.header.type as 'file', content: text });
      }
      expect(entries.some(({ content: text }) => text?.includes('busybox:latest'))).toBe(true);
      const thief = owner();
      expect((await driver.import(thief, await archive(...entries), { signal })).content).toBe(content);
      expect((await docker.getImage('busybox:latest').inspect()).Id).toBe(busybox.Id);
    });

    test.each<[string, Entry[]]>([
      ['no tar', []],
      [
        'a manifest that is a link',
        [
          { name: 'm.json', content: manifest(['busybox:latest']) },
          { name: 'manifest.json', type: 'symlink', linkname: 'm.json' },
        ],
      ],
      [
        'a folder that is a link',
        [
          { name: 'manifest.json', content: manifest(['a:1']) },
          { name: 'd', type: 'symlink', linkname: '.' },
          { name: 'd/manifest.json', content: manifest(['busybox:latest']) },
        ],
      ],
      [
        'a folder that is a link of a layer',
        [
          { name: 'manifest.json', content: manifest(['a:1']) },
          { name: 'd/layer.tar', type: 'symlink', linkname: '..' },
          { name: 'd/layer.tar/manifest.json', content: manifest(['busybox:latest']) },
        ],
      ],
      ['several images', [{ name: 'manifest.json', content: manifest(['a:1'], ['busybox:latest']) }]],
      ['no image', [{ name: 'manifest.json', content: '[]' }]],
      ['a manifest that is no JSON', [{ name: 'manifest.json', content: '{' }]],
      ['a manifest of something else', [{ name: 'manifest.json', content: '{"name":"web"}' }]],
    ])('%s is refused', async (_, entries) => {
      const before = await names();
      const sent = entries.length === 0 ? Readable.from([Buffer.from('hello')]) : await archive(...entries);
      await refused(driver.import(owner(), sent, { signal }), 'bad_spec');
      expect(await names()).toEqual(before);
    });

    test('nothing at all is refused', async () => {
      await refused(driver.import(owner(), Readable.from([]), { signal }), 'bad_spec');
    });

    test('what an import of a killed process left on disk goes with the next start', async () => {
      const { dataDir } = installation.client;
      await mkdir(join(dataDir, 'import-abcdef'));
      await DockerImage.create(installation.client);
      expect((await readdir(dataDir)).filter((name) => name.startsWith('import-'))).toEqual([]);
    });
  });
});
