// Images on a real engine: what instances have written stands in its store too, and is nobody's image.
import { execFileSync } from 'node:child_process';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import tar from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DockerImage } from './image.ts';
import { filesRepository } from './lifecycle.ts';
import { dockerMissing, TestInstallation } from './testbench.ts';
import { installed } from './tools.ts';

const signal = new AbortController().signal;
const missing = await dockerMissing();
const compressors = await Promise.all(['xz', 'bzip2', 'gzip', 'zstd'].map(async (program) => ((await installed(program)) ? [program] : []))).then((found) =>
  found.flat(),
);

/** An archive as `docker save` writes it, with these names for an image that is not even in it. */
async function saved(...tags: string[]): Promise<Readable> {
  const pack = tar.pack();
  pack.entry({ name: 'manifest.json' }, JSON.stringify([{ Config: 'config.json', RepoTags: tags, Layers: [] }]));
  pack.finalize();
  return Readable.from([await buffer(pack)]);
}

describe.skipIf(missing !== undefined)(`images with Docker${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let installation: TestInstallation;
  let driver: DockerImage;
  const repository = filesRepository(`inst-${Math.random().toString(36).slice(2)}`);
  const own = `${repository}:1`;
  const exists = async () => (await installation.client.docker.listImages({ filters: { reference: [own] } })).length === 1;

  beforeAll(async () => {
    installation = await TestInstallation.create();
    driver = await DockerImage.create(installation.client);
    await installation.client.docker.getImage('busybox').tag({ repo: repository, tag: '1' });
  });
  afterAll(async () => {
    await installation.client.docker.getImage(own).remove();
    await installation.close();
  });

  test.each(['', 'docker.io/', 'index.docker.io/', 'docker.io/docker.io/', 'library/docker.io/'])(
    "an instance's own files under %s are not there, and stay as they are",
    async (prefix) => {
      const name = `${prefix}${own}`;
      const refusal = { code: 'bad_spec', message: expect.stringContaining("instances' own files") };
      expect(await driver.inspect(name)).toBeUndefined();
      await expect(driver.ensure(name, { signal })).rejects.toMatchObject(refusal);
      await expect(driver.import(name, Readable.from([]), { signal })).rejects.toMatchObject(refusal);
      await expect(driver.remove(name)).rejects.toMatchObject(refusal);
      await expect(driver.import('acme/harmless:1', await saved('acme/harmless:1', name), { signal })).rejects.toMatchObject(refusal);
      expect(await exists()).toBe(true);
      expect((await driver.list()).flatMap(({ references }) => references).filter((reference) => reference.includes(repository))).toEqual([]);
    },
  );

  test.each(compressors)('what docker save wrote is that image still after %s', async (program) => {
    const busybox = installation.client.docker.getImage('busybox');
    const archive = await buffer((await busybox.get()) as Readable);
    const name = `acme/${repository.slice(repository.lastIndexOf('/') + 1)}:${program}`;
    try {
      const imported = await driver.import(name, Readable.from([execFileSync(program, ['-c'], { input: archive, maxBuffer: 2 * archive.length })]), { signal });
      expect(imported.reference).toBe(name);
      expect(imported.references).toContain('busybox:latest');
    } finally {
      await driver.remove(name);
    }
  });

  test('what an import of a killed process left on disk goes with the next start', async () => {
    const { dataDir } = installation.client;
    await mkdir(join(dataDir, 'import-abcdef'));
    await DockerImage.create(installation.client);
    expect((await readdir(dataDir)).filter((name) => name.startsWith('import-'))).toEqual([]);
  });
});
