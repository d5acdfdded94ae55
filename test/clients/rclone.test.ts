// rclone: many small files with the names that people really give them, each compared by its hash.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientBench, clientMissing, noise, tree } from './bench.ts';

const missing = clientMissing('rclone');
const FILES = 1000;
/** What breaks encodings: of XML, of URLs, of signatures, and two ways to write the same letter. */
const ODD = [
  'plain',
  'a b',
  ' leading',
  'trailing ',
  'a+b',
  'a%20b',
  'a%b',
  'a&b<c>d"e\'f',
  'ümläut',
  'u\u0308mlaut',
  '日本語/ファイル',
  '🎉🎉',
  '#hash?query=1',
  'semi;colon,comma',
  '[brackets]{braces}|^`~',
  'back\\slash',
  'tab\there',
  'new\nline',
  'dots...',
  '.hidden',
  '$dollar@at!bang*star(paren)',
  '=equals:colon',
  'x'.repeat(200),
];

describe.skipIf(missing !== undefined)(`rclone${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let bench: ClientBench;
  const rclone = (...words: string[]): Promise<string> => bench.ok('rclone', ['--config', bench.file('rclone.conf'), '--retries', '1', ...words]);

  beforeAll(async () => {
    bench = await ClientBench.start('rclone');
    const { accessKeyId, secretAccessKey } = bench.account;
    writeFileSync(
      bench.file('rclone.conf'),
      `[cloud]\ntype = s3\nprovider = Other\nendpoint = ${bench.endpoint}\naccess_key_id = ${accessKeyId}\nsecret_access_key = ${secretAccessKey}\nregion = us-east-1\n`,
    );
    for (let n = 0; n < FILES; n++) {
      const file = bench.file('many', `${n % 20}`, `${ODD[n % ODD.length]}-${n}`);
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, n % 100 === 0 ? '' : noise(1 + ((n * 7919) % 6000)));
    }
    writeFileSync(bench.file('many', 'large'), noise(12 * 1024 * 1024));
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test(`copy, check, read back and purge ${FILES} files with odd names`, async () => {
    await rclone('mkdir', 'cloud:many');
    await rclone('copy', 'many', 'cloud:many', '--transfers', '8', '--s3-upload-cutoff', '5M', '--s3-chunk-size', '5M');
    await rclone('check', 'many', 'cloud:many', '--one-way');
    await rclone('check', 'many', 'cloud:many', '--download');
    const size = JSON.parse(await rclone('size', 'cloud:many', '--json')) as { count: number };
    expect(size.count).toBe(FILES + 1);
    await rclone('copy', 'cloud:many', 'back', '--transfers', '8');
    expect(tree(bench.file('back'))).toEqual(tree(bench.file('many')));
    // Times are kept in metadata: nothing is sent twice.
    const again = await bench.run('rclone', ['--config', bench.file('rclone.conf'), 'copy', 'many', 'cloud:many', '-v', '--stats-one-line']);
    expect(again.stderr).not.toMatch(/Copied \(/);
    await rclone('moveto', 'cloud:many/large', 'cloud:many/renamed');
    expect(await rclone('lsf', 'cloud:many', '--files-only')).toBe('renamed\n');
    await rclone('purge', 'cloud:many');
    expect(await rclone('lsd', 'cloud:')).toBe('');
  });
});
