import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { folderFrom, nameFrom, oneFrom, partName, textOf, typeOf, unfit } from './name.ts';

describe('names of objects', () => {
  it('are a bucket and whatever follows the first slash', () => {
    expect(nameFrom('photos')).toEqual({ bucket: 'photos', key: '' });
    expect(nameFrom('photos/2026//a b')).toEqual({ bucket: 'photos', key: '2026//a b' });
    expect(textOf(nameFrom('photos//etc'))).toBe('photos//etc');
    expect(folderFrom('photos/2026')).toEqual({ bucket: 'photos', key: '2026/' });
    expect(folderFrom('photos')).toEqual({ bucket: 'photos', key: '' });
    expect(() => oneFrom('photos/')).toThrow('names a bucket and no object');
    expect(() => nameFrom('/etc')).toThrow('no name of an object');
  });
});

describe('a key on disk', () => {
  it.each([
    '../a',
    'a/../b',
    '..',
    '.',
    './a',
    '/etc/passwd',
    'a//b',
    '',
    'a\0b',
    `${'x'.repeat(256)}`,
    'a/..',
    'a/./b',
    '/',
    '//',
    `.x.part-${'0'.repeat(32)}`,
    `a/.x.part-${'0'.repeat(32)}-2`,
  ])('%j is refused', (key) => {
    expect(unfit(key)).toBeTypeOf('string');
  });
  it.each(['a', 'a/b', 'a/', '...', '..a', 'a..', 'a\\..\\b', 'C:\\x', '-rf', 'a b', '日本/ñ'])('%j is a path', (key) => {
    expect(unfit(key)).toBeUndefined();
  });
  it('never leads out of its directory', async () => {
    const { join, resolve } = await import('node:path');
    const piece = fc.constantFrom('..', '.', '', 'a', 'b', '\\', '...', '/');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 8 }), (pieces) => {
        const key = pieces.join('/');
        if (unfit(key) === undefined) expect(resolve(join('/root/of', key)).startsWith('/root/of/')).toBe(true);
      }),
    );
  });
});

it('part files have names that fit, and differ by name and ETag', () => {
  expect(partName('a.iso', 'abc-2')).toBe('.a.iso.part-abc-2');
  const long = partName('ä'.repeat(120), 'a'.repeat(32));
  expect(Buffer.byteLength(long)).toBeLessThanOrEqual(255);
  expect(long).not.toBe(partName('ö'.repeat(120), 'a'.repeat(32)));
  expect(partName('x', '../../etc')).toBe('.x.part-etc');
});

it('types come from the end of the name', () => {
  expect(typeOf('a/b.JPG')).toBe('image/jpeg');
  expect(typeOf('a.tar.gz')).toBe('application/gzip');
  expect(typeOf('a.b/README')).toBeUndefined();
  expect(typeOf('x.constructor')).toBeUndefined();
});
