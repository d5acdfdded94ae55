// What every image driver must do, as one body of tests. A driver's own test file says how to make one and calls this.
import { Readable } from 'node:stream';
import tar from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DriverError } from '../../kernel/errors.ts';
import { type ImageDriver, normaliseReference } from './driver.ts';

export interface ImageBench {
  driver: ImageDriver;
  /** A reference with its tag that is present in the backend and stays there. */
  present: string;
  /** Gives the host another image of that name, as its administrator would. */
  host(reference: string): Promise<void>;
  /** Makes an instance of the content and returns what ends it. */
  use(content: string): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const signal = new AbortController().signal;
const unique = (): string => `thecloud-test/${Math.random().toString(36).slice(2, 10)}`;

export function rootArchive(text = 'hello\n'): Readable {
  const pack = tar.pack();
  pack.entry({ name: 'etc/', type: 'directory' });
  pack.entry({ name: 'etc/motd' }, text);
  pack.finalize();
  return Readable.from(pack);
}

async function refused(call: Promise<unknown>, code: DriverError['code']): Promise<DriverError> {
  const error = await call.then(
    () => expect.fail(`expected DriverError ${code}, but the call succeeded`),
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DriverError);
  expect(error).toMatchObject({ code });
  return error as DriverError;
}

export function imageConformance(backend: string, setUp: () => Promise<ImageBench>): void {
  describe(`image driver ${backend}`, () => {
    let bench: ImageBench;
    let driver: ImageDriver;
    const owners = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.driver;
    });

    afterAll(async () => {
      for (const owner of owners) await driver.release(owner, []);
      await bench.close();
    });

    const owner = (): string => {
      const id = `img-${Math.random().toString(36).slice(2, 14)}`;
      owners.add(id);
      return id;
    };
    const imported = async (id: string, text = Math.random().toString(36)): Promise<string> =>
      (await driver.import(id, rootArchive(text), { signal, command: ['sh'] })).content;
    const hosts = async () => (await driver.list()).flatMap(({ references }) => references).sort();
    const ownersKept = async () => (await driver.kept()).map(({ id }) => id);

    test('answers a ping and reports', async () => {
      await driver.ping();
      expect((await driver.report()).features.length).toBeGreaterThan(0);
    });

    test('lists and inspects by any spelling of a name', async () => {
      const image = await driver.inspect(bench.present);
      expect(image).toMatchObject({
        reference: bench.present,
        digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/),
        architecture: expect.stringMatching(/\w/),
      });
      expect(image?.references).toContain(bench.present);
      const [name = ''] = bench.present.split(':');
      expect(await driver.inspect(name)).toEqual(image);
      expect(await driver.inspect(`docker.io/library/${bench.present}`)).toEqual(image);
      expect((await driver.list()).some((each) => each.references.includes(bench.present))).toBe(true);
    });

    test('an image that is not there is undefined, and removing it is fine', async () => {
      expect(await driver.inspect('no-such-image:1')).toBeUndefined();
      await driver.remove('no-such-image:1');
    });

    test('a malformed reference is refused', async () => {
      await refused(driver.pull(owner(), 'Not A Reference', { signal }), 'bad_spec');
    });

    test('what is imported is kept for its owner, gets no name of the host’s, and goes when it is released', async () => {
      const before = await hosts();
      const id = owner();
      const image = await driver.import(id, rootArchive(id), { signal, command: ['sh'] });
      expect(image).toMatchObject({ digest: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), architecture: expect.stringMatching(/\w/) });
      expect(await driver.has(image.content)).toBe(true);
      expect(await driver.kept()).toContainEqual({ id, createdAt: expect.any(Number) });
      expect(await hosts()).toEqual(before);
      await driver.release(id, [image.content]);
      expect(await driver.has(image.content)).toBe(true);
      await driver.release(id, []);
      await driver.release(id, []);
      expect(await driver.has(image.content)).toBe(false);
      expect(await ownersKept()).not.toContain(id);
    });

    test('one content for two owners goes with the second', async () => {
      const [one, two] = [owner(), owner()];
      const content = await imported(one);
      await driver.keep(two, content);
      await driver.keep(two, content);
      await driver.release(one, []);
      expect(await driver.has(content)).toBe(true);
      await driver.release(two, []);
      expect(await driver.has(content)).toBe(false);
      await refused(driver.keep(two, content), 'failed');
    });

    test('the host’s image that is kept stays when the host’s name goes, and means the same when it moves', async () => {
      const reference = `${unique()}:1`;
      await bench.host(reference);
      const first = (await driver.inspect(reference))?.content as string;
      const id = owner();
      await driver.keep(id, first);
      await bench.host(reference);
      const second = (await driver.inspect(reference))?.content as string;
      expect(second).not.toBe(first);
      expect(await driver.has(first)).toBe(true);
      await driver.remove(reference);
      await driver.remove(reference);
      expect(await driver.inspect(reference)).toBeUndefined();
      expect(await driver.has(second)).toBe(false);
      await driver.release(id, []);
      expect(await driver.has(first)).toBe(false);
    });

    test('what runs stays until it has ended, and does not bother the reaper until then', async () => {
      const id = owner();
      const content = await imported(id);
      const end = await bench.use(content);
      await driver.release(id, []);
      expect(await driver.has(content)).toBe(true);
      expect(await ownersKept()).not.toContain(id);
      await end();
      expect(await ownersKept()).toContain(id);
      await driver.release(id, []);
      expect(await driver.has(content)).toBe(false);
    });

    test('an image of the host’s in use is not removed', async () => {
      const reference = `${unique()}:1`;
      await bench.host(reference);
      const end = await bench.use((await driver.inspect(reference))?.content as string);
      try {
        await refused(driver.remove(reference), 'busy');
        expect(await driver.inspect(reference)).toBeDefined();
      } finally {
        await end();
      }
      await driver.remove(reference);
    });

    test('an aborted call throws the reason', async () => {
      const reason = new Error('enough');
      await expect(driver.pull(owner(), `${unique()}:1`, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    });

    test('references have one spelling', () => {
      expect(normaliseReference('alpine')).toBe('alpine:latest');
      expect(normaliseReference('docker.io/library/alpine:3.20')).toBe('alpine:3.20');
      expect(normaliseReference('index.docker.io/acme/app')).toBe('acme/app:latest');
      expect(normaliseReference('localhost:5000/app')).toBe('localhost:5000/app:latest');
      expect(normaliseReference('ghcr.io/acme/app:1')).toBe('ghcr.io/acme/app:1');
      const digest = `alpine@sha256:${'a'.repeat(64)}`;
      expect(normaliseReference(digest)).toBe(digest);
      for (const bad of ['', 'UPPER', 'a b', 'a//b', ':tag', 'a:']) expect(() => normaliseReference(bad)).toThrow(/not an image reference/);
    });
  });
}
