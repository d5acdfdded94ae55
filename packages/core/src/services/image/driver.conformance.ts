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
  /** Makes an instance of the image and returns what ends it. */
  use(reference: string): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

const signal = new AbortController().signal;
const unique = (): string => `thecloud-test/${Math.random().toString(36).slice(2, 10)}`;

export function rootArchive(): Readable {
  const pack = tar.pack();
  pack.entry({ name: 'etc/', type: 'directory' });
  pack.entry({ name: 'etc/motd' }, 'hello\n');
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
    const made = new Set<string>();

    beforeAll(async () => {
      bench = await setUp();
      driver = bench.driver;
    });

    afterAll(async () => {
      for (const reference of made) await driver.remove(reference);
      await bench.close();
    });

    const imported = async (): Promise<string> => {
      const reference = `${unique()}:1`;
      made.add(reference);
      await driver.import(reference, rootArchive(), { signal, command: ['sh'] });
      return reference;
    };

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
      await refused(driver.ensure('Not A Reference', { signal }), 'bad_spec');
    });

    test('what is present is never pulled', async () => {
      const progress: string[] = [];
      const image = await driver.ensure(bench.present, { signal, onProgress: ({ message }) => progress.push(message) });
      expect(image).toEqual(await driver.inspect(bench.present));
      expect(progress).toEqual([]);
    });

    test('imports a root file system, and removes it', async () => {
      const reference = await imported();
      expect(await driver.inspect(reference)).toMatchObject({ reference, references: [reference] });
      await driver.remove(reference);
      await driver.remove(reference);
      expect(await driver.inspect(reference)).toBeUndefined();
      expect((await driver.list()).flatMap((each) => each.references)).not.toContain(reference);
    });

    test('an image in use is not removed, and the refusal names the user', async () => {
      const reference = await imported();
      const release = await bench.use(reference);
      try {
        expect((await refused(driver.remove(reference), 'busy')).message).toMatch(/in use by \S+/);
        expect(await driver.inspect(reference)).toBeDefined();
      } finally {
        await release();
      }
      await driver.remove(reference);
    });

    test('an aborted call throws the reason', async () => {
      const reason = new Error('enough');
      await expect(driver.ensure(`${unique()}:1`, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
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
