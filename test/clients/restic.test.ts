// restic keeps a repository in a bucket: what it checks when it reads all of it back is ours to have kept.
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientBench, clientMissing, noise, tree } from './bench.ts';

const missing = clientMissing('restic');

describe.skipIf(missing !== undefined)(`restic${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let bench: ClientBench;
  const restic = (...words: string[]): Promise<string> =>
    bench.ok('restic', ['--no-cache', '-r', `s3:${bench.endpoint}/backups`, ...words], { env: { RESTIC_PASSWORD: 'a test', RESTIC_PROGRESS_FPS: '0' } });

  beforeAll(async () => {
    bench = await ClientBench.start('restic');
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test('init, two backups, check, restore, forget', async () => {
    const folder = bench.file('home');
    mkdirSync(bench.file('home', 'photos'), { recursive: true });
    for (let n = 0; n < 20; n++) writeFileSync(bench.file('home', 'photos', `${n}.jpg`), noise(300_000 + n));
    writeFileSync(bench.file('home', 'empty'), '');
    writeFileSync(bench.file('home', 'naïve ✓.txt'), 'first');
    await restic('init');
    await restic('backup', 'home');
    const first = tree(folder);
    writeFileSync(bench.file('home', 'naïve ✓.txt'), 'second');
    rmSync(bench.file('home', 'photos', '3.jpg'));
    await restic('backup', 'home');
    expect(await restic('check', '--read-data')).toContain('no errors were found');
    const snapshots = JSON.parse(await restic('snapshots', '--json')) as { id: string }[];
    expect(snapshots).toHaveLength(2);
    for (const [index, wanted] of [first, tree(folder)].entries()) {
      await restic('restore', snapshots[index]?.id ?? '', '--target', `back${index}`);
      expect(tree(bench.file(`back${index}`, 'home'))).toEqual(wanted);
    }
    await restic('forget', '--keep-last', '1', '--prune');
    expect(await restic('check', '--read-data')).toContain('no errors were found');
  });
});
