// Object storage from the command line: a session, then what a transcript does not show.
import { spawn, spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cloud, freePort, has } from './cloud.ts';

let cloud: Cloud;
let endpoint: string;
beforeAll(async () => {
  cloud = new Cloud();
  const port = await freePort();
  const { code, stderr } = await cloud.run(['daemon', 'start', '--driver', 'memory', '--s3-listen', `127.0.0.1:${port}`]);
  if (code !== 0) throw new Error(stderr);
  endpoint = `http://127.0.0.1:${port}`;
  await cloud.run(['bucket', 'create', 'box']);
});
afterAll(() => cloud[Symbol.asyncDispose]());

const at = (...names: string[]): string => join(cloud.folder, ...names);
/** What differs from run to run: times, addresses, keys. */
const normal = (text: string): string =>
  text
    .replaceAll(endpoint, 'http://127.0.0.1:9000')
    .replaceAll(endpoint.slice(7), '127.0.0.1:9000')
    .replace(/in \d+\.\d s\b/g, 'in 0.1 s')
    .replace(/\b1[0-9a-z]{31}\b/g, 'v'.repeat(32))
    .replace(/\bTC[A-Z0-9]{18}\b/g, `TC${'K'.repeat(18)}`)
    .replace(/'[A-Za-z0-9]{40}'/g, `'${'S'.repeat(40)}'`)
    .replace(/(?<=secret key: {2}).+/g, 'S'.repeat(40))
    .replace(/mtime=[\d.]+/g, 'mtime=1767225600')
    .replace(/X-Amz-(Date|Signature)=\w+/g, 'X-Amz-$1=0')
    .replace(/%2F\d{8}%2F/g, '%2F20260101%2F');

it('a session', async () => {
  mkdirSync(at('site', 'img'), { recursive: true });
  writeFileSync(at('site', 'index.html'), '<h1>Hello</h1>\n');
  writeFileSync(at('site', 'img', 'dot.svg'), '<svg/>\n');
  writeFileSync(at('a.txt'), 'one\n');
  const first = await cloud.transcript([
    ['bucket', 'create', 'photos', '--versioning', 'enabled', '-o', 'name'],
    ['object', 'put', 'photos/a.txt', 'a.txt'],
    ['object', 'put', 'photos/a.txt', 'a.txt', '--if-none-match'],
    ['object', 'put', 'photos/site/', 'site', '--recursive'],
    ['object', 'list', 'photos'],
    ['object', 'list', 'photos/site/', '--recursive', '--output', 'name'],
    ['object', 'list', 'photos/none/'],
    ['object', 'head', 'photos/site/index.html'],
    ['object', 'get', 'photos/site/index.html'],
    ['object', 'get', 'photos/site/index.html', '--start', '4', '--end', '8'],
    ['object', 'get', 'photos/a.txt', 'copy.txt'],
    ['object', 'get', 'photos/a.txt', 'nowhere/copy.txt'],
    ['object', 'get', 'photos/site', 'down', '--recursive'],
    ['object', 'sync', './site', 'photos/site'],
    ['object', 'sync', 'photos/site', 'photos/copy'],
    ['object', 'sync', './site', 'photos/copy', '--include', '*.html', '--delete', '--dry-run'],
    ['object', 'copy', 'photos/a.txt', 'photos/b/'],
    ['object', 'move', 'photos/b/', 'photos/c/', '--recursive'],
    ['object', 'delete', 'photos/a.txt'],
    ['object', 'versions', 'photos/a.txt'],
    ['object', 'restore', 'photos/a.txt', '-o', 'name'],
    ['object', 'delete', 'photos/copy', '--recursive'],
    ['object', 'delete', 'photos/copy', '--recursive'],
    ['object', 'presign', 'photos/a.txt'],
    ['bucket', 'verify', 'photos'],
    ['queue', 'create', 'events', '-o', 'name'],
    ['bucket', 'notification', 'photos', '--queue', 'events', '--event', 'ObjectCreated:*', '--suffix', '.jpg'],
    ['bucket', 'notification', 'photos', '--queue', 'events', '--none'],
    ['bucket', 'notification', 'photos', '--none'],
    ['bucket', 'configure', 'photos', 'cors', '[{"allowedOrigins":["*"],"allowedMethods":["GET"]}]'],
    ['bucket', 'configure', 'photos', 'cors'],
    ['bucket', 'configure', 'photos', 'kors', '[]'],
    ['bucket', 'configuration', 'photos', '-o', 'yaml'],
    ['bucket', 'configure', 'photos', 'cors', '--remove'],
    ['s3', 'credentials'],
    ['s3', 'env'],
    ['s3', 'env', '--shell', 'fish'],
    ['object', 'get', 'photos'],
    ['object', 'put', 'photos/x', 'site'],
    ['object', 'put', 'nobucket/x', 'a.txt'],
    ['object', 'sync', './site', './other'],
  ]);
  await expect(normal(first)).toMatchFileSnapshot('objects.txt');
});

const md5 = (path: string): string => createHash('md5').update(readFileSync(path)).digest('hex');
const big = 12 * 2 ** 20 + 5;

describe('transfers', () => {
  it('large ones go in parts and come back as they were, from and to files and pipes', async () => {
    writeFileSync(at('big'), randomBytes(big));
    const put = await cloud.json<{ parts: number; size: number }>(['object', 'put', 'box/big', 'big', '--part-size', '5MiB']);
    expect([put.parts, put.size]).toEqual([3, big]);
    expect((await cloud.run(['object', 'get', 'box/big', 'big.back', '--part-size', '5MiB'])).code).toBe(0);
    expect(md5(at('big.back'))).toBe(md5(at('big')));
    expect(Math.abs(statSync(at('big.back')).mtimeMs - statSync(at('big')).mtimeMs)).toBeLessThan(3);
    const script = `"$0" "$1" object put box/piped - --part-size 5MiB < big && "$0" "$1" object get box/piped > big.piped`;
    const binary = join(import.meta.dirname, '../../packages/cli/bin/cloud.js');
    expect(spawnSync('sh', ['-ec', script, process.execPath, binary], { cwd: cloud.folder, env: cloud.env }).status).toBe(0);
    expect(md5(at('big.piped'))).toBe(md5(at('big')));
  });

  it('that are interrupted go on where they were', async () => {
    writeFileSync(at('huge'), randomBytes(60 * 2 ** 20));
    const args = ['object', 'put', 'box/huge', 'huge', '--part-size', '5MiB', '--parallel', '1'];
    const child = cloud.spawn(args);
    child.stdin.end();
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    await until(async () => {
      const { items } = await cloud.json<{ items: { upload: string }[] }>(['object', 'uploads', 'box']);
      if (items[0] === undefined) return false;
      const parts = await cloud.json<{ items: unknown[] }>(['object', 'upload-parts', 'box/huge', '--upload', items[0].upload]);
      return parts.items.length > 0;
    });
    child.kill('SIGINT');
    expect([await ended, text.includes('--resume')]).toEqual([130, true]);
    expect((await cloud.run([...args, '--resume', '--verbose'])).code).toBe(0);
    expect((await cloud.json<{ items: unknown[] }>(['object', 'uploads', 'box'])).items).toEqual([]);
    const get = cloud.spawn(['object', 'get', 'box/huge', 'huge.back', '--part-size', '5MiB', '--parallel', '1']);
    get.stdin.end();
    const over = new Promise<number | null>((resolve) => get.once('close', resolve));
    const part = (): string | undefined => readdirSync(cloud.folder).find((name) => name.startsWith('.huge.back.part-'));
    await until(async () => part() !== undefined);
    get.kill('SIGKILL');
    await over;
    expect(existsSync(at('huge.back'))).toBe(false);
    expect((await cloud.run(['object', 'get', 'box/huge', 'huge.back', '--part-size', '5MiB'])).code).toBe(0);
    expect(md5(at('huge.back'))).toBe(md5(at('huge')));
    expect(part()).toBeUndefined();
  }, 60_000);

  it('of other names than a path may have are refused on the way down, and the rest comes', async () => {
    for (const key of ['evil/../../out', 'evil//slash', 'evil/good', 'evil/-n', 'evil/ü ♥']) {
      expect((await cloud.run(['object', 'put', `box/${key}`, '-'], { input: key })).code).toBe(0);
    }
    const { code, stdout, stderr } = await cloud.run(['object', 'get', 'box/evil/', 'evil', '--recursive']);
    expect([code, /^3 objects read to evil .*; 2 failed\n$/.test(stdout)]).toEqual([2, true]);
    expect(stderr).toContain('leads elsewhere');
    expect(readdirSync(at('evil')).sort()).toEqual(['-n', 'good', 'ü ♥']);
  });

  it('do not write behind a symbolic link', async () => {
    mkdirSync(at('outside'));
    mkdirSync(at('inside'));
    symlinkSync('../outside', at('inside', 'dir'));
    await cloud.run(['object', 'put', 'box/linked/dir/x', '-'], { input: 'x' });
    const { code, stderr } = await cloud.run(['object', 'get', 'box/linked/', 'inside', '--recursive']);
    expect([code, stderr.includes('symbolic link'), readdirSync(at('outside'))]).toEqual([5, true, []]);
  });
});

async function until(look: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 20_000;
  while (!(await look())) if (Date.now() > end) throw new Error('it did not come to that');
}

describe.skipIf(!has('script'))('on a terminal', () => {
  it('a folder is deleted after a question that says how much it is', async () => {
    for (const key of ['a', 'b']) await cloud.run(['object', 'put', `box/gone/${key}`, '-'], { input: 'x' });
    const no = cloud.terminal(['object', 'delete', 'box/gone', '--recursive']);
    await no.sees('Delete 2 objects (2 B) in box/gone/? [y/N]');
    no.type('n\n');
    expect(await no.ended).toBe(130);
    const yes = cloud.terminal(['object', 'delete', 'box/gone', '--recursive']);
    await yes.sees('[y/N]');
    yes.type('y\n');
    expect(await yes.ended).toBe(0);
    expect(yes.output).toContain('2 objects deleted');
  });

  it('bytes that are no text are not shown, and text shows nothing that a terminal obeys', async () => {
    await cloud.run(['object', 'put', 'box/plain.txt', '-'], { input: 'a\x1b[31mred' });
    const text = cloud.terminal(['object', 'get', 'box/plain.txt']);
    expect(await text.ended).toBe(0);
    expect(text.output).toContain('a\\x1b[31mred');
    await cloud.run(['object', 'put', 'box/bytes', '-'], { input: '\x1b[31m' });
    const binary = cloud.terminal(['object', 'get', 'box/bytes']);
    expect(await binary.ended).toBe(2);
    expect(binary.output).toContain('this is a terminal');
  });

  it('a key shows nothing that a terminal obeys', async () => {
    await cloud.run(['object', 'put', 'box/keys/\x1b[31mred', '-'], { input: 'x' });
    const list = cloud.terminal(['object', 'list', 'box/keys/']);
    expect(await list.ended).toBe(0);
    expect(list.output).toContain('\\x1b[31mred');
  });
});

it('a million lines need no memory: a reader that goes away ends the list', async () => {
  const child = spawn(
    'sh',
    ['-c', `"$0" "$1" object list box --recursive --output name | head -n 1`, process.execPath, join(import.meta.dirname, '../../packages/cli/bin/cloud.js')],
    { env: cloud.env },
  );
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
  });
  expect(await new Promise((resolve) => child.once('close', resolve))).toBe(0);
  expect(text).toMatch(/^box\/.+\n$/);
});

it('completion offers buckets, then what is in the folder, but nothing with a meaning to a shell', async () => {
  const candidates = async (...words: string[]): Promise<string[]> =>
    (await cloud.run(['complete', '--', ...words])).stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split('\t')[0] as string);
  for (const key of ['done/a.txt', 'done/below/b', 'done/$(id)', 'done/a b']) await cloud.run(['object', 'put', `box/${key}`, '-'], { input: 'x' });
  expect(await candidates('object', 'get', 'bo')).toEqual(['box/']);
  expect(await candidates('object', 'get', 'box/done/')).toEqual(['box/done/below/', 'box/done/a.txt']);
  expect(await candidates('object', 'put', 'box/new', '')).toEqual([':files']);
  expect(await candidates('object', 'copy', 'box/a', 'bo')).toEqual(['box/']);
  expect(await candidates('bucket', 'verify', 'b')).toEqual(['box']);
  expect(await candidates('bucket', 'configure', 'box', 'c')).toEqual(['cors']);
});

describe('Ctrl-C', () => {
  const interrupted = async (args: readonly string[], begun: () => Promise<boolean>, input?: Buffer): Promise<void> => {
    const child = cloud.spawn(args);
    let text = '';
    child.stderr.setEncoding('utf8').on('data', (piece: string) => {
      text += piece;
    });
    const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
    if (input !== undefined) child.stdin.write(input);
    await until(begun);
    child.kill('SIGINT');
    expect(await ended).toBe(130);
    expect(text).not.toContain('bug');
  };
  const count = async (place: string): Promise<number> =>
    (await cloud.run(['object', 'list', place, '--recursive', '-o', 'name'])).stdout.split('\n').length - 1;

  it('ends what waits for standard input, and leaves nothing of it', async () => {
    const uploads = async (): Promise<{ upload: string; key: string }[]> =>
      (await cloud.json<{ items: { upload: string; key: string }[] }>(['object', 'uploads', 'box'])).items;
    const waits = async (): Promise<boolean> => {
      const open = (await uploads()).find(({ key }) => key === 'never');
      if (open === undefined) return false;
      return (await cloud.json<{ items: unknown[] }>(['object', 'upload-parts', 'box/never', '--upload', open.upload])).items.length === 2;
    };
    await interrupted(['object', 'put', 'box/never', '-', '--part-size', '5MiB'], waits, Buffer.alloc(10 * 2 ** 20));
    expect(await uploads()).toEqual([]);
  }, 60_000);

  it('ends work on many in the middle', async () => {
    mkdirSync(at('lots'));
    // Many, and one after the other, so that there is a middle.
    const MANY = 3000;
    for (let index = 0; index < MANY; index++) writeFileSync(at('lots', String(index)), 'x');
    await interrupted(['object', 'put', 'box/lots/', 'lots', '--recursive', '--parallel', '1'], async () => (await count('box/lots/')) > 0);
    const there = await count('box/lots/');
    expect(there).toBeLessThan(MANY);
    await interrupted(['object', 'sync', './lots', 'box/lots', '--parallel', '1'], async () => (await count('box/lots/')) > there);
    await cloud.run(['object', 'sync', './lots', 'box/lots', '--parallel', '16']);
    expect(await count('box/lots/')).toBe(MANY);
    await interrupted(
      ['object', 'get', 'box/lots/', 'lots.back', '--recursive', '--parallel', '1'],
      async () => existsSync(at('lots.back')) && readdirSync(at('lots.back')).length > 0,
    );
    const before = await count('box/lots/');
    await interrupted(['object', 'delete', 'box/lots/', '--recursive', '--parallel', '1'], async () => (await count('box/lots/')) < before);
  }, 60_000);
});
