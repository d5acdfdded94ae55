// The AWS command line: copies, syncs, uploads in parts, presigned addresses, versions.
import { mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ClientBench, clientMissing, noise, sha256, tree } from './bench.ts';

const missing = clientMissing('aws', 'curl');

describe.skipIf(missing !== undefined)(`awscli${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
  let bench: ClientBench;
  const aws = (...words: string[]): Promise<string> => bench.ok('aws', ['--endpoint-url', bench.endpoint, ...words]);
  const json = async <T>(...words: string[]): Promise<T> => JSON.parse(await aws(...words, '--output', 'json')) as T;

  beforeAll(async () => {
    bench = await ClientBench.start('aws');
    // The first version of this client signs addresses in a way of 2006 unless told otherwise.
    writeFileSync(bench.file('config'), '[default]\ns3 =\n  signature_version = s3v4\n');
    bench.env['AWS_CONFIG_FILE'] = bench.file('config');
    await aws('s3', 'mb', 's3://shelf');
  });
  afterAll(() => bench?.[Symbol.asyncDispose]());

  test('cp there and back, from standard input and to standard output, ls and rm', async () => {
    const text = 'Zeile eins\nzwei ✓\n';
    writeFileSync(bench.file('note.txt'), text);
    await aws('s3', 'cp', 'note.txt', 's3://shelf/a folder/nöte+1.txt', '--metadata', 'album=summer', '--cache-control', 'max-age=60');
    expect(await aws('s3', 'cp', 's3://shelf/a folder/nöte+1.txt', '-')).toBe(text);
    const head = await json('s3api', 'head-object', '--bucket', 'shelf', '--key', 'a folder/nöte+1.txt');
    expect(head).toMatchObject({
      ContentLength: Buffer.byteLength(text),
      ContentType: 'text/plain',
      CacheControl: 'max-age=60',
      Metadata: { album: 'summer' },
    });
    await bench.ok('aws', ['--endpoint-url', bench.endpoint, 's3', 'cp', '-', 's3://shelf/piped'], { input: 'by pipe' });
    await aws('s3', 'cp', 's3://shelf/piped', 's3://shelf/copies/piped');
    await aws('s3', 'mv', 's3://shelf/copies/piped', 's3://shelf/copies/moved');
    const listed = await aws('s3', 'ls', 's3://shelf', '--recursive');
    expect(
      listed
        .split('\n')
        .filter(Boolean)
        .map((line) => line.slice(31))
        .sort(),
    ).toEqual(['a folder/nöte+1.txt', 'copies/moved', 'piped']);
    expect(await aws('s3', 'ls', 's3://shelf/')).toMatch(/PRE a folder\/\n[^]*PRE copies\/\n/);
    await aws('s3', 'rm', 's3://shelf', '--recursive', '--quiet');
    expect(await aws('s3', 'ls', 's3://shelf')).toBe('');
  });

  test('64 MB go up in parts and come back the same', async () => {
    const bytes = noise(64 * 1024 * 1024);
    writeFileSync(bench.file('big'), bytes);
    await aws('s3', 'cp', 'big', 's3://shelf/big', '--no-progress');
    const head = await json<{ ETag: string; ContentLength: number }>('s3api', 'head-object', '--bucket', 'shelf', '--key', 'big');
    expect(head).toMatchObject({ ContentLength: bytes.length, ETag: expect.stringMatching(/^"[0-9a-f]{32}-8"$/) });
    await aws('s3', 'cp', 's3://shelf/big', 'big.back', '--no-progress');
    expect(sha256(readFileSync(bench.file('big.back')))).toBe(sha256(bytes));
    await aws('s3', 'rm', 's3://shelf/big');
    rmSync(bench.file('big'));
    rmSync(bench.file('big.back'));
  });

  test('sync up and down sends what changed, and deletes what is gone', async () => {
    const folder = bench.file('site');
    mkdirSync(bench.file('site', 'deep', 'er'), { recursive: true });
    // Times in S3 are whole seconds: what was written in the second of its upload would look newer than that.
    const hour = new Date(Date.now() - 3_600_000);
    for (let n = 0; n < 60; n++) {
      const file = bench.file('site', n % 3 === 0 ? `deep/${n}.txt` : n % 3 === 1 ? `deep/er/${n} %41&=.txt` : `${n}.txt`);
      writeFileSync(file, `file ${n}`);
      utimesSync(file, hour, hour);
    }
    await aws('s3', 'sync', 'site', 's3://shelf/site', '--quiet');
    expect(await aws('s3', 'sync', 'site', 's3://shelf/site')).toBe('');
    writeFileSync(bench.file('site', '2.txt'), 'longer than before');
    rmSync(bench.file('site', 'deep', '0.txt'));
    const second = await aws('s3', 'sync', 'site', 's3://shelf/site', '--delete', '--no-progress');
    expect(second.trim().split('\n').sort()).toEqual([expect.stringMatching(/^delete: .*deep\/0\.txt$/), expect.stringMatching(/^upload: .*2\.txt/)]);
    await aws('s3', 'sync', 's3://shelf/site', 'site.back', '--quiet');
    expect(tree(bench.file('site.back'))).toEqual(tree(folder));
  });

  test('presigned addresses are good for whoever has them, and for nothing else', async () => {
    writeFileSync(bench.file('shown'), 'for a while');
    await aws('s3', 'cp', 'shown', 's3://shelf/shown');
    const url = (await aws('s3', 'presign', 's3://shelf/shown', '--expires-in', '60')).trim();
    const curl = (...words: string[]): Promise<string> => bench.ok('curl', ['-s', '-S', ...words]);
    expect(await curl(url)).toBe('for a while');
    expect(await curl('-r', '4-4', '-w', ' %{http_code}', url)).toBe('a 206');
    expect(await curl('-o', '/dev/null', '-w', '%{http_code}', '-X', 'PUT', '-d', 'x', url)).toBe('403');
    expect(await curl('-w', ' %{http_code}', url.replace('shelf/shown', 'shelf/other'))).toMatch(/<Code>SignatureDoesNotMatch<\/Code>[^]* 403$/);
    expect(await curl('-w', ' %{http_code}', `${bench.endpoint}/shelf/shown`)).toMatch(/<Code>AccessDenied<\/Code>[^]* 403$/);
  });

  test('versions are kept, listed, read and deleted one by one', async () => {
    await aws('s3api', 'create-bucket', '--bucket', 'history');
    await aws('s3api', 'put-bucket-versioning', '--bucket', 'history', '--versioning-configuration', 'Status=Enabled');
    for (const text of ['one', 'two']) {
      writeFileSync(bench.file('v'), text);
      await aws('s3', 'cp', 'v', 's3://history/v');
    }
    await aws('s3', 'rm', 's3://history/v');
    type Versions = { Versions: { VersionId: string; IsLatest: boolean; Size: number }[]; DeleteMarkers: { VersionId: string; IsLatest: boolean }[] };
    const { Versions: versions, DeleteMarkers: markers } = await json<Versions>('s3api', 'list-object-versions', '--bucket', 'history');
    expect([versions.length, markers.length, markers[0]?.IsLatest]).toEqual([2, 1, true]);
    const gone = await bench.run('aws', ['--endpoint-url', bench.endpoint, 's3api', 'head-object', '--bucket', 'history', '--key', 'v']);
    expect(gone.stderr).toContain('404');
    await aws('s3api', 'get-object', '--bucket', 'history', '--key', 'v', '--version-id', versions[1]?.VersionId ?? '', 'first');
    expect(readFileSync(bench.file('first'), 'utf8')).toBe('one');
    const notEmpty = await bench.run('aws', ['--endpoint-url', bench.endpoint, 's3api', 'delete-bucket', '--bucket', 'history']);
    expect(notEmpty.stderr).toContain('BucketNotEmpty');
    const all = { Objects: [...versions, ...markers].map(({ VersionId }) => ({ Key: 'v', VersionId })) };
    await aws('s3api', 'delete-objects', '--bucket', 'history', '--delete', JSON.stringify(all));
    await aws('s3', 'rb', 's3://history');
  });
});
