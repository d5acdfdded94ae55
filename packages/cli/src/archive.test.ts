// Copies keep what files are, and a hostile archive writes nowhere but where it is unpacked.
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { pack } from 'tar-stream';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { firstHeader, packPath, type Tally, unpackTo, unpackToStream } from './archive.ts';

let folder: string;
let skipped: string[];
const tally: Tally = { bytes: () => undefined, skipped: (name) => skipped.push(name) };

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cloud-archive-'));
  skipped = [];
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function archiveOf(path: string, name: string): Promise<Buffer> {
  const through = new PassThrough();
  const parts: Buffer[] = [];
  through.on('data', (bytes: Buffer) => parts.push(bytes));
  await packPath(path, name, through, tally);
  return Buffer.concat(parts);
}

function tree(): string {
  const path = join(folder, 'site');
  mkdirSync(join(path, 'sub', 'empty'), { recursive: true });
  writeFileSync(join(path, 'index.html'), 'hello');
  writeFileSync(join(path, 'sub', 'run.sh'), '#!/bin/sh\n');
  chmodSync(join(path, 'sub', 'run.sh'), 0o750);
  writeFileSync(join(path, 'none'), '');
  writeFileSync(join(path, `${'long-'.repeat(40)}ä`), 'x'.repeat(100_000));
  symlinkSync('index.html', join(path, 'link'));
  utimesSync(join(path, 'index.html'), 1_700_000_000, 1_700_000_000);
  utimesSync(join(path, 'sub'), 1_600_000_000, 1_600_000_000);
  return path;
}

describe('a directory that was packed and unpacked', () => {
  it('has the same content, modes, times and links, under the new name', async () => {
    const target = join(folder, 'copy');
    await unpackTo(Readable.from([await archiveOf(tree(), 'site')]), target, tally);
    expect(readFileSync(join(target, 'index.html'), 'utf8')).toBe('hello');
    expect(statSync(join(target, 'index.html')).mtimeMs).toBe(1_700_000_000_000);
    expect(statSync(join(target, 'sub')).mtimeMs).toBe(1_600_000_000_000);
    expect(statSync(join(target, 'sub', 'run.sh')).mode & 0o777).toBe(0o750);
    expect(statSync(join(target, 'none')).size).toBe(0);
    expect(statSync(join(target, `${'long-'.repeat(40)}ä`)).size).toBe(100_000);
    expect(readlinkSync(join(target, 'link'))).toBe('index.html');
    expect(statSync(join(target, 'sub', 'empty')).isDirectory()).toBe(true);
  });

  it('is known by its first header', async () => {
    expect((await firstHeader(Readable.from([await archiveOf(tree(), 'site')])))?.type).toBe('directory');
  });

  it('can be unpacked over itself', async () => {
    const target = join(folder, 'copy');
    const bytes = await archiveOf(tree(), 'site');
    await unpackTo(Readable.from([bytes]), target, tally);
    await unpackTo(Readable.from([bytes]), target, tally);
    expect(readFileSync(join(target, 'index.html'), 'utf8')).toBe('hello');
  });
});

it('writes one file to a stream, and refuses a directory', async () => {
  const file = join(folder, 'file');
  writeFileSync(file, 'content');
  const sink = new PassThrough();
  await unpackToStream(Readable.from([await archiveOf(file, 'file')]), sink, 'web:/file');
  expect(String(sink.read())).toBe('content');
  await expect(unpackToStream(Readable.from([await archiveOf(tree(), 'site')]), new PassThrough(), 'web:/site')).rejects.toThrow('web:/site is a directory');
});

describe('an archive that means harm', () => {
  type Entry = Parameters<ReturnType<typeof pack>['entry']>[0] & { content?: string };
  function hostile(...entries: Entry[]): Readable {
    const archive = pack();
    for (const { content, ...header } of entries) archive.entry(header, content ?? '');
    archive.finalize();
    return archive as unknown as Readable;
  }

  it.each(['root/../../escaped', '/escaped', 'root/../escaped'])('may not name %s', async (name) => {
    await expect(unpackTo(hostile({ name: 'root/', type: 'directory' }, { name, content: 'x' }), join(folder, 'target'), tally)).rejects.toThrow(
      'outside of itself',
    );
    expect(existsSync(join(folder, 'escaped'))).toBe(false);
    expect(existsSync('/escaped')).toBe(false);
  });

  it('may not write through a link of its own', async () => {
    const outside = join(folder, 'outside');
    mkdirSync(outside);
    const archive = hostile(
      { name: 'root/', type: 'directory' },
      { name: 'root/door', type: 'symlink', linkname: outside },
      { name: 'root/door/file', content: 'x' },
    );
    await expect(unpackTo(archive, join(folder, 'target'), tally)).rejects.toThrow('symbolic link');
    expect(existsSync(join(outside, 'file'))).toBe(false);
  });

  it('may not make its own root a link and write through that', async () => {
    const outside = join(folder, 'outside');
    mkdirSync(outside);
    const archive = hostile({ name: 'root', type: 'symlink', linkname: outside }, { name: 'root/file', content: 'x' });
    await expect(unpackTo(archive, join(folder, 'target'), tally)).rejects.toThrow('symbolic link');
    expect(existsSync(join(outside, 'file'))).toBe(false);
  });

  it.each([
    ['in its place', 'root/a', 'root/a/'],
    ['above it', 'root/a', 'root/a/b/'],
  ])('may not change the mode of a directory outside by a link %s', async (_, link, directory) => {
    const outside = join(folder, 'outside');
    mkdirSync(join(outside, 'b'), { recursive: true, mode: 0o700 });
    mkdirSync(join(folder, 'target'));
    const archive = hostile(
      { name: 'root/', type: 'directory' },
      { name: directory, type: 'directory', mode: 0o777 },
      { name: link, type: 'symlink', linkname: outside },
    );
    await expect(unpackTo(archive, join(folder, 'target'), tally)).rejects.toThrow();
    for (const path of [outside, join(outside, 'b')]) expect(statSync(path).mode & 0o777).toBe(0o700);
  });

  it.each([
    ['a link', { type: 'symlink', linkname: 'x' }],
    ['a file', { content: 'x' }],
    ['a hard link', { type: 'link', linkname: 'root/first' }],
  ] as const)('does not take a directory of the user away to put %s in its place', async (_, entry) => {
    mkdirSync(join(folder, 'target', 'mine'), { recursive: true });
    writeFileSync(join(folder, 'target', 'mine', 'work'), 'of a year');
    const archive = hostile({ name: 'root/', type: 'directory' }, { name: 'root/first', content: 'y' }, { name: 'root/mine', ...(entry as object) });
    await expect(unpackTo(archive, join(folder, 'target'), tally)).rejects.toThrow('is a directory here');
    expect(readFileSync(join(folder, 'target', 'mine', 'work'), 'utf8')).toBe('of a year');
  });

  it('may not write through a link to a file', async () => {
    const victim = join(folder, 'victim');
    writeFileSync(victim, 'mine');
    const archive = hostile(
      { name: 'root/', type: 'directory' },
      { name: 'root/file', type: 'symlink', linkname: victim },
      { name: 'root/file', content: 'yours' },
    );
    await unpackTo(archive, join(folder, 'target'), tally);
    expect(readFileSync(victim, 'utf8')).toBe('mine');
    expect(lstatSync(join(folder, 'target', 'file')).isFile()).toBe(true);
  });

  it('may not link to a file outside', async () => {
    writeFileSync(join(folder, 'victim'), 'mine');
    const archive = hostile({ name: 'root/', type: 'directory' }, { name: 'root/hard', type: 'link', linkname: '../victim' });
    await expect(unpackTo(archive, join(folder, 'target'), tally)).rejects.toThrow('outside of itself');
  });

  it('gets no set-uid bit and no device', async () => {
    const archive = hostile(
      { name: 'root/', type: 'directory' },
      { name: 'root/su', mode: 0o4755, content: 'x' },
      { name: 'root/null', type: 'character-device', devmajor: 1, devminor: 3 },
    );
    await unpackTo(archive, join(folder, 'target'), tally);
    expect(statSync(join(folder, 'target', 'su')).mode & 0o7777).toBe(0o755);
    expect(skipped).toEqual(['root/null']);
  });
});
