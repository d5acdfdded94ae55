// s3cmd: the oldest of them, with ways of its own (dates, MD5 in attributes, ACLs by name).
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientBench, clientMissing, noise, sha256, tree } from './bench.ts';

const missing = clientMissing('s3cmd');

describe.skipIf(missing !== undefined)(`s3cmd${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let bench: ClientBench;
  const s3cmd = (...words: string[]): Promise<string> => bench.ok('s3cmd', ['-c', bench.file('s3cfg'), '--no-progress', ...words]);

  beforeAll(async () => {
    bench = await ClientBench.start('s3cmd');
    const { accessKeyId, secretAccessKey } = bench.account;
    const host = bench.daemon.endpoint.host;
    writeFileSync(
      bench.file('s3cfg'),
      `[default]\naccess_key = ${accessKeyId}\nsecret_key = ${secretAccessKey}\nhost_base = ${host}\nhost_bucket = ${host}\nuse_https = False\n`,
    );
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test('mb, put, get, ls, info, cp, mv, sync, setacl, del, rb', async () => {
    await s3cmd('mb', 's3://attic');
    expect(await s3cmd('ls')).toContain('s3://attic');
    const bytes = noise(17 * 1024 * 1024);
    writeFileSync(bench.file('box'), bytes);
    await s3cmd('put', 'box', 's3://attic/box'); // in parts of 15 MB
    await s3cmd('get', 's3://attic/box', 'box.back');
    expect(sha256(readFileSync(bench.file('box.back')))).toBe(sha256(bytes));

    writeFileSync(bench.file('note'), 'hello');
    await s3cmd('put', '--mime-type', 'text/x-note', '--add-header', 'x-amz-meta-mood: good', 'note', 's3://attic/a b/ü?#.txt');
    const info = await s3cmd('info', 's3://attic/a b/ü?#.txt');
    expect(info).toMatch(/File size:\s+5\n[^]*MIME type:\s+text\/x-note\n[^]*MD5 sum:\s+5d41402abc4b2a76b9719d911017c592\n/);
    expect(info).toContain('x-amz-meta-mood: good');
    expect(await s3cmd('ls', 's3://attic')).toMatch(/DIR\s+s3:\/\/attic\/a b\/\n[^]*17825792\s+s3:\/\/attic\/box\n/);
    await s3cmd('cp', 's3://attic/a b/ü?#.txt', 's3://attic/copy');
    await s3cmd('mv', 's3://attic/copy', 's3://attic/moved');
    expect(await s3cmd('get', 's3://attic/moved', '-')).toBe('hello');

    mkdirSync(bench.file('tree', 'x', 'y'), { recursive: true });
    for (let n = 0; n < 30; n++) writeFileSync(bench.file('tree', n % 2 === 0 ? `x/${n}` : `x/y/${n}`), `leaf ${n}`);
    await s3cmd('sync', 'tree/', 's3://attic/tree/');
    writeFileSync(bench.file('tree', 'x', '0'), 'another leaf');
    expect(await s3cmd('sync', 'tree/', 's3://attic/tree/')).toMatch(/upload: 'tree\/x\/0'/);
    mkdirSync(bench.file('tree.back'));
    await s3cmd('sync', 's3://attic/tree/', 'tree.back/');
    expect(tree(bench.file('tree.back'))).toEqual(tree(bench.file('tree')));

    const anonymous = async (): Promise<number> => (await fetch(`${bench.endpoint}/attic/moved`)).status;
    expect(await anonymous()).toBe(403);
    await s3cmd('setacl', '--acl-public', 's3://attic/moved');
    expect(await anonymous()).toBe(200);
    await s3cmd('setacl', '--acl-private', 's3://attic/moved');
    expect(await anonymous()).toBe(403);

    await s3cmd('del', '--recursive', '--force', 's3://attic');
    await s3cmd('rb', 's3://attic');
    expect(await s3cmd('ls')).not.toContain('attic');
  });
});
