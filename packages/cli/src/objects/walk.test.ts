import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { folder } from './testbench.ts';
import { Directories, globOf, Wanted, walk } from './walk.ts';

describe('globs', () => {
  it.each([
    ['*.jpg', 'a.jpg', true],
    ['*.jpg', 'deep/er/a.jpg', true],
    ['*.jpg', 'a.jpeg', false],
    ['/*.jpg', 'deep/a.jpg', false],
    ['node_modules/', 'node_modules/x/y.js', true],
    ['node_modules', 'web/node_modules/x', true],
    ['a/*.txt', 'a/b.txt', true],
    ['a/*.txt', 'a/b/c.txt', false],
    ['a/**', 'a/b/c.txt', true],
    ['**/x', 'x', true],
    ['**/x', 'a/b/x', true],
    ['a?c', 'abc', true],
    ['a?c', 'a/c', false],
    ['[ab].txt', 'b.txt', true],
    ['[!ab].txt', 'b.txt', false],
    ['[!ab].txt', 'c.txt', true],
    ['a.c', 'abc', false],
    ['\\*', '*', true],
    ['\\*', 'x', false],
    ['(', '(', true],
    ['[', '[', true],
  ])('%s on %s: %s', (glob, path, matches) => {
    expect(globOf(glob).test(path)).toBe(matches);
  });
  it('what is excluded is out, whatever is included', () => {
    const wanted = new Wanted(['*.jpg'], ['tmp/']);
    expect([wanted.takes('a.jpg'), wanted.takes('a.png'), wanted.takes('tmp/a.jpg'), wanted.enters('tmp'), wanted.enters('b')]).toEqual([
      true,
      false,
      false,
      false,
      true,
    ]);
  });
});

async function found(root: string, follow = false, wanted = new Wanted()): Promise<{ keys: string[]; skipped: string[] }> {
  const skipped: string[] = [];
  const keys: string[] = [];
  for await (const { key } of walk(root, { follow, wanted, skipped: (_, why, key) => skipped.push(`${key}: ${why}`) })) keys.push(key);
  return { keys: keys.sort(), skipped: skipped.sort() };
}

describe('a walk', () => {
  it('takes files, and links that stay inside; leaves out circles, what leads out, and parts of downloads', async () => {
    await using outside = await folder();
    await using tree = await folder();
    await mkdir(join(tree.path, 'a/b'), { recursive: true });
    for (const name of ['x', 'a/y', 'a/b/z', `.x.part-${'0'.repeat(32)}`, '.hidden']) await writeFile(join(tree.path, name), name);
    await writeFile(join(outside.path, 'secret'), '');
    await symlink('a/y', join(tree.path, 'inside'));
    await symlink('..', join(tree.path, 'a/up'));
    await symlink(join(outside.path, 'secret'), join(tree.path, 'out'));
    await symlink(outside.path, join(tree.path, 'outdir'));
    await symlink('nowhere', join(tree.path, 'broken'));
    const { keys, skipped } = await found(tree.path);
    expect(keys).toEqual(['.hidden', 'a/b/z', 'a/y', 'inside', 'x']);
    expect(skipped.map((line) => line.split(':')[0])).toEqual(['a/up', 'broken', 'out', 'outdir']);
    expect((await found(tree.path, true)).keys).toEqual(['.hidden', 'a/b/z', 'a/y', 'inside', 'out', 'outdir/secret', 'x']);
    expect((await found(tree.path, false, new Wanted([], ['a']))).keys).toEqual(['.hidden', 'inside', 'x']);
  });
  it('leaves out names that are no text', async () => {
    await using tree = await folder();
    await writeFile(Buffer.concat([Buffer.from(`${tree.path}/bad`), Buffer.from([0xff])]), '');
    expect((await found(tree.path)).skipped).toHaveLength(1);
  });
});

describe('directories', () => {
  it('are made, but never behind a link, unless that is wanted', async () => {
    await using outside = await folder();
    await using tree = await folder();
    await symlink(outside.path, join(tree.path, 'link'));
    await writeFile(join(tree.path, 'file'), '');
    const directories = new Directories(tree.path, false);
    expect(await directories.of('a/b/c.txt')).toBe(join(tree.path, 'a/b'));
    await expect(directories.of('link/x')).rejects.toThrow('is a symbolic link');
    await expect(directories.of('file/x')).rejects.toThrow('is no directory');
    expect(await new Directories(tree.path, true).of('link/x')).toBe(join(tree.path, 'link'));
  });
});
