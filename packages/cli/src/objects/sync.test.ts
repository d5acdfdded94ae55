// One side is made like the other, and a second run finds nothing to do.
import { mkdir, readdir, readFile, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parse } from '../words.ts';
import { folderFrom } from './name.ts';
import { type Side, sync } from './sync.ts';
import { Fake, folder } from './testbench.ts';
import type { Work } from './work.ts';

let output = '';
let errors = '';
beforeEach(() => {
  output = '';
  errors = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
    output += String(text);
    return true;
  });
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    errors += String(text);
    return true;
  });
});
afterEach(() => vi.restoreAllMocks());

const FLAGS = ['delete', 'dry-run', 'follow-symlinks', 'yes', 'resume'].map((name) => ({ name, type: 'boolean' as const }));
const LISTS = ['include', 'exclude'].map((name) => ({ name, type: 'string' as const, many: true as const }));

async function run(fake: Fake, from: Side, to: Side, ...flags: string[]): Promise<{ code: number; line: string }> {
  output = '';
  const command = { id: 'object sync', group: 'object', summary: '', positionals: [], flags: [...FLAGS, ...LISTS], examples: [], common: ['output'] };
  const words = parse(command, flags);
  if (words === undefined) throw new Error('these flags are not understood');
  const work: Work = {
    words,
    remote: { settings: { output: words.flags.get('output')?.[0] ?? 'table', quiet: false } } as unknown as Work['remote'],
    objects: fake,
    signal: new AbortController().signal,
    parallel: 3,
    smallParallel: 3,
    partSize: undefined,
    quiet: false,
  };
  const code = await sync(work, from, to);
  return {
    code,
    line:
      output
        .trim()
        .split('\n')
        .at(-1)
        ?.replace(/ \(.*?\)/, '') ?? '',
  };
}

const bucket = (text: string): Side => ({ folder: folderFrom(text) });

describe('a directory to a bucket', () => {
  it('writes what is not there or differs, and nothing the second time', async () => {
    await using here = await folder();
    const fake = new Fake();
    await mkdir(join(here.path, 'a/b'), { recursive: true });
    for (const name of ['x.txt', 'a/y.txt', 'a/b/z.txt']) await writeFile(join(here.path, name), name);
    await writeFile(join(here.path, 'large'), Buffer.alloc(2 ** 20 + 1, 7));
    fake.add('photos/site/x.txt', 'x.txt');
    fake.add('photos/site/old', 'old');
    fake.add('photos/sitemap', 'not in the folder');
    const [from, to] = [{ directory: here.path }, bucket('photos/site')];
    expect((await run(fake, from, to)).line).toMatch(/: 3 written, 1 unchanged$/);
    expect(fake.keys()).toEqual([
      'photos/site/a/b/z.txt',
      'photos/site/a/y.txt',
      'photos/site/large',
      'photos/site/old',
      'photos/site/x.txt',
      'photos/sitemap',
    ]);
    expect((await run(fake, from, to)).line).toMatch(/: 0 written, 4 unchanged$/);
    // What is small is compared itself, what is large by time and size first.
    expect(fake.asked.filter((line) => line.startsWith('head'))).toEqual(['head photos/site/large']);
    await utimes(join(here.path, 'large'), 5, 5);
    expect((await run(fake, from, to)).line).toMatch(/: 0 written, 4 unchanged$/);
    await writeFile(join(here.path, 'large'), Buffer.alloc(2 ** 20 + 1, 8));
    await writeFile(join(here.path, 'x.txt'), 'y.txt');
    expect((await run(fake, from, to)).line).toMatch(/: 2 written, 2 unchanged$/);
    expect(fake.text('photos/site/x.txt')).toBe('y.txt');
  });

  it('deletes what is not here only when told to, and never what is excluded or could not be read', async () => {
    await using here = await folder();
    const fake = new Fake();
    await writeFile(join(here.path, 'keep'), 'k');
    await symlink('/etc/hostname', join(here.path, 'out'));
    for (const key of ['gone', 'tmp/gone', 'out', 'out/x']) fake.add(`photos/${key}`, 'x');
    const [from, to] = [{ directory: here.path }, bucket('photos')];
    await run(fake, from, to);
    expect(fake.keys()).toHaveLength(5);
    await run(fake, from, to, '--delete', '--dry-run', '--exclude', 'tmp/');
    expect(output).toContain('Would delete gone\n');
    expect(fake.keys()).toHaveLength(5);
    expect((await run(fake, from, to, '--delete', '--exclude', 'tmp/')).line).toMatch(/0 written, 1 deleted, 1 unchanged$/);
    expect(fake.keys()).toEqual(['photos/keep', 'photos/out', 'photos/out/x', 'photos/tmp/gone']);
    expect(errors).toContain('symbolic link that leads out');
  });

  it('goes on after one that failed, says so, and does not delete it there', async () => {
    await using here = await folder();
    const fake = new Fake();
    for (const name of ['a', 'b', 'c']) await writeFile(join(here.path, name), name);
    fake.add('photos/b', 'other');
    fake.fail = (asked) => {
      if (asked === 'put photos/b') throw new Fault('forbidden', 'You may not');
    };
    const { code, line } = await run(fake, { directory: here.path }, bucket('photos'), '--delete');
    expect(code).toBe(3);
    expect(line).toMatch(/2 written, 0 deleted, 0 unchanged; 1 failed$/);
    expect(errors).toContain('b: You may not');
    expect(fake.keys()).toEqual(['photos/a', 'photos/b', 'photos/c']);
    fake.fail = () => {
      throw new Fault('unavailable', 'The connection to the daemon broke off');
    };
    await expect(run(fake, { directory: here.path }, bucket('photos'))).rejects.toThrow('broke off');
  });
});

describe('a bucket to a directory', () => {
  it('writes files and folders, and nothing the second time; deletes with the folders that are empty then', async () => {
    await using here = await folder();
    const fake = new Fake();
    fake.pageSize = 2;
    for (const key of ['a', 'b/c', 'b/d/e', 'f/g/h']) fake.add(`photos/${key}`, key, { metadata: { mtime: '1700000000.123' } });
    fake.add('photos/large', Buffer.alloc(2 ** 20 + 1, 7), { metadata: { mtime: '1700000000.123' }, etag: `${'a'.repeat(32)}-3`, parts: 3 });
    fake.add('photos/folder/', '');
    const [from, to] = [bucket('photos'), { directory: join(here.path, 'new') }];
    expect((await run(fake, from, to)).line).toMatch(/: 5 written, 0 unchanged$/);
    expect(await readFile(join(here.path, 'new/b/d/e'), 'utf8')).toBe('b/d/e');
    expect((await run(fake, from, to)).line).toMatch(/: 0 written, 5 unchanged$/);
    for (const key of ['f/g/h', 'b/c']) fake.objects.delete(`photos/${key}`);
    expect((await run(fake, from, to, '--delete')).line).toMatch(/: 0 written, 2 deleted, 3 unchanged$/);
    expect(await readdir(join(here.path, 'new'))).toEqual(['a', 'b', 'large']);
  });

  it('never writes out of the directory, and says what it left out', async () => {
    await using here = await folder();
    const fake = new Fake();
    for (const key of ['../evil', 'a/../../evil', '/abs', 'good', 'a//b', 'dir/']) fake.add(`photos/${key}`, 'x');
    const root = join(here.path, 'root');
    const { code, line } = await run(fake, bucket('photos'), { directory: root }, '--output', 'table');
    expect(code).toBe(2);
    expect(line).toMatch(/1 written, 0 unchanged; 5 failed$/);
    expect(await readdir(here.path)).toEqual(['root']);
    expect(await readdir(root)).toEqual(['good']);
  });
});

describe('a bucket to a bucket', () => {
  it('copies there, and nothing the second time, however the copy is cut', async () => {
    const fake = new Fake();
    fake.add('photos/a', 'a');
    fake.add('photos/big', 'bbbb', { etag: `${'b'.repeat(32)}-2`, parts: 2 });
    const [from, to] = [bucket('photos'), bucket('archive/photos')];
    expect((await run(fake, from, to)).line).toMatch(/: 2 written, 0 unchanged$/);
    expect((await run(fake, from, to)).line).toMatch(/: 0 written, 2 unchanged$/);
    fake.now += 5000;
    fake.add('photos/a', 'b');
    fake.add('photos/big', 'cccc', { etag: `${'c'.repeat(32)}-2`, parts: 2 });
    expect((await run(fake, from, to)).line).toMatch(/: 2 written, 0 unchanged$/);
    expect(fake.text('archive/photos/big')).toBe('cccc');
    await expect(run(fake, from, bucket('photos/below'))).rejects.toThrow('lie in each other');
  });
});
