import { describe, expect, it } from 'vitest';
import { sidesOf } from './object-sync.ts';

const here = (directory: string) => ({ directory });
const there = (bucket: string, key = '') => ({ folder: { bucket, key } });
const none = (): boolean => false;
const all = (): boolean => true;

describe('which side is here', () => {
  it('is told by its first character, or by what there is', () => {
    expect(sidesOf('./site', 'photos/site', none)).toEqual({ from: here('./site'), to: there('photos', 'site/') });
    expect(sidesOf('photos', '.', none)).toEqual({ from: there('photos'), to: here('.') });
    expect(sidesOf('site', 'photos', all)).toEqual({ from: here('site'), to: there('photos') });
    expect(sidesOf('site', './x', all)).toEqual({ from: there('site'), to: here('./x') });
    expect(sidesOf('s3://site', '/x', all)).toEqual({ from: there('site'), to: here('/x') });
    expect(sidesOf('photos/a', 'archive/b', none)).toEqual({ from: there('photos', 'a/'), to: there('archive', 'b/') });
    expect(sidesOf('s3://a', 's3://b', all)).toEqual({ from: there('a'), to: there('b') });
  });
  it('is asked back where it cannot be told', () => {
    expect(() => sidesOf('./a', './b', all)).toThrow('Neither side is a bucket');
    expect(() => sidesOf('photos', 'site', (path) => path === 'site')).toThrow('write ./site or s3://site');
    expect(() => sidesOf('', 'x', none)).toThrow('empty');
  });
});
