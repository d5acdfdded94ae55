import { CompiledQuery } from 'kysely';
import { expect, test } from 'vitest';
import { actor, attributes, type EngineBench, engineBench } from './engine.testbench.ts';
import { after, compareKeys } from './names.ts';
import type { Bucket, ListOptions, ObjectPage } from './types.ts';

const options = (more: Partial<ListOptions> = {}): ListOptions => ({ prefix: '', delimiter: undefined, after: undefined, limit: 1000, ...more });
const shown = ({ objects, prefixes }: ObjectPage): string[] => [...objects.map(({ key }) => key), ...prefixes].toSorted(compareKeys);

/** Every page until the end. */
async function all(desk: EngineBench, bucket: Bucket, of: ListOptions): Promise<string[]> {
  const found: string[] = [];
  for (let from = of.after; ; ) {
    const page = await desk.engine.list(bucket, { ...of, after: from });
    found.push(...shown(page));
    expect(shown(page).length).toBeLessThanOrEqual(of.limit);
    if (!page.truncated) return found;
    from = page.last;
  }
}

/** What S3 says a list is, the slow way. */
function expected(keys: readonly string[], { prefix, delimiter, after: from }: ListOptions): string[] {
  const found = new Set<string>();
  for (const key of keys) {
    if (!key.startsWith(prefix)) continue;
    const at = delimiter === undefined ? -1 : key.indexOf(delimiter, prefix.length);
    const name = at < 0 ? key : key.slice(0, at + (delimiter as string).length);
    if (from === undefined || Buffer.compare(Buffer.from(name), Buffer.from(from)) > 0) found.add(name);
  }
  return [...found].toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

test('keys in the order of their bytes', () => {
  const texts = ['', 'a', 'ab', 'b', '\u{ffff}', '\u{10000}', '\u{e000}', '\ud7ff', 'ä', 'a\u{10ffff}', 'a\0', '\u{10ffff}'];
  for (const a of texts) for (const b of texts) expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
  expect(after('a/')).toBe('a0');
  expect(after('\ud7ff')).toBe('\u{e000}');
  expect(after('a\u{10ffff}')).toBe('b');
  expect(after('')).toBeUndefined();
});

test('prefix, delimiter and pages of every size give the same', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  const keys = [
    'a',
    'a/',
    'a/1',
    'a/2',
    'a/b/c',
    'a/b/d',
    'a/b',
    'a0',
    'b//x',
    'b/y',
    'c',
    'ä/1',
    'ä/2',
    '\u{10000}/1',
    '\u{e000}',
    'z/z/z',
    'quux',
    'qu/x',
    'n\0/a',
    'n\0/b',
    'n\0',
    '\u{10ffff}/\u{10ffff}',
  ];
  for (const key of keys) await desk.put(photos, key, 'x');
  for (const prefix of ['', 'a', 'a/', 'a/b/', 'b/', 'ä', 'none', 'z/', 'q'])
    for (const delimiter of [undefined, '/', 'u', '//', 'b/', '\u{10ffff}', '\0', 'ä'])
      for (const from of [undefined, 'a', 'a/', 'a/b', 'a/b/', 'b', 'zz', '\u{e000}'])
        for (const limit of [1, 2, 3, 1000]) {
          const of = options({ prefix, delimiter, after: from, limit });
          expect(await all(desk, photos, of), JSON.stringify(of)).toEqual(expected(keys, of));
        }
  expect(await desk.engine.list(photos, options({ limit: 0 }))).toMatchObject({ objects: [], truncated: false });
}, 60_000);

test('versions in pages, also of one key, also when the marker is gone', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos', { versioning: 'enabled' });
  const written: string[] = [];
  for (const key of ['a', 'b/1', 'b/2', 'c']) for (let at = 0; at < 3; at++) written.push(`${key} ${(await desk.put(photos, key, `${at}`)).version}`);
  const whole = await engine.listVersions(photos, options());
  expect(whole.versions.map(({ key, version }) => `${key} ${version}`).toSorted()).toEqual(written.toSorted());
  expect(whole.versions.map(({ latest }) => latest)).toEqual([true, false, false, true, false, false, true, false, false, true, false, false]);
  for (const limit of [1, 2, 5]) {
    const found: string[] = [];
    let place: { after: string | undefined; afterVersion: string | undefined } = { after: undefined, afterVersion: undefined };
    for (;;) {
      const page = await engine.listVersions(photos, { ...options({ limit, after: place.after }), afterVersion: place.afterVersion });
      found.push(...page.versions.map(({ key, version }) => `${key} ${version}`));
      if (!page.truncated) break;
      place = { after: page.nextKey, afterVersion: page.nextVersion };
    }
    expect(found).toEqual(whole.versions.map(({ key, version }) => `${key} ${version}`));
  }
  const rolled = await engine.listVersions(photos, options({ delimiter: '/', limit: 4 }));
  expect(rolled).toMatchObject({ prefixes: ['b/'], truncated: true, nextKey: 'b/', nextVersion: undefined });
  const rest = await engine.listVersions(photos, options({ delimiter: '/', after: rolled.nextKey }));
  expect(rest).toMatchObject({ prefixes: [], truncated: false });
  expect(rest.versions).toHaveLength(3);
  const [first, second] = whole.versions;
  await engine.delete(photos, 'a', { actor, version: first?.version });
  const next = await engine.listVersions(photos, { ...options({ limit: 1, after: 'a' }), afterVersion: first?.version });
  expect(next.versions[0]?.version).toBe(second?.version);
});

test('uploads in order of keys, then of time', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  for (const key of ['b', 'a', 'a', 'c/1', 'c/2']) await engine.createUpload(photos, key, { attributes: attributes(), checksum: undefined, actor });
  const whole = await engine.listUploads(photos, options());
  expect(whole.uploads.map(({ key }) => key)).toEqual(['a', 'a', 'b', 'c/1', 'c/2']);
  const first = await engine.listUploads(photos, options({ limit: 1 }));
  expect(first).toMatchObject({ truncated: true, nextKey: 'a' });
  const second = await engine.listUploads(photos, { ...options({ limit: 10, delimiter: '/', after: first.nextKey }), afterUpload: first.nextUpload });
  expect(second.uploads.map(({ id }) => id)).toEqual([whole.uploads[1]?.id, whole.uploads[2]?.id]);
  expect(second).toMatchObject({ prefixes: ['c/'], truncated: false });
});

test('a page among a million keys costs what it shows', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  const { info } = await desk.put(photos, 'model', 'x');
  expect(info.key).toBe('model');
  // 1,000 folders of 1,000 objects, and in one of them 100,000 that are deleted and only hidden.
  await desk.bench.db.executeQuery(
    CompiledQuery.raw(
      `with recursive n(i) as (select 0 union all select i + 1 from n where i < 1099999)
        insert into object_version select bucket_id, case when i < 1000000 then printf('d%04d/%04d', i / 1000, i % 1000) else printf('d0500/0499-%d', i) end, seq + 1, version, 1, i >= 1000000, size, etag, modified_at, attributes, tags, acl, lock_mode,
          lock_until, legal_hold, body, parts_of, parts from object_version, n where key = 'model'`,
      [],
    ),
  );
  const timed = async (of: Partial<ListOptions>): Promise<{ page: ObjectPage; ms: number }> => {
    let best = Number.POSITIVE_INFINITY;
    let page: ObjectPage | undefined;
    for (let round = 0; round < 5; round++) {
      const began = performance.now();
      page = await desk.engine.list(photos, options(of));
      best = Math.min(best, performance.now() - began);
    }
    return { page: page as ObjectPage, ms: best };
  };
  const middle = await timed({ after: 'd0500/0499' });
  expect(middle.page.objects[0]?.key).toBe('d0500/0500');
  const folders = await timed({ delimiter: '/', limit: 100, after: 'd0500/' });
  expect(folders.page.prefixes).toHaveLength(100);
  const all1000 = await timed({ delimiter: '/' });
  expect(all1000.page.prefixes).toHaveLength(1000);
  const inside = await timed({ prefix: 'd0999/09', delimiter: '/' });
  expect(inside.page.objects).toHaveLength(100);
  const times = { middle: middle.ms, folders: folders.ms, all1000: all1000.ms, inside: inside.ms };
  if (process.env['SHOW'] !== undefined) process.stderr.write(`${JSON.stringify(times)}\n`);
  // A scan of what is passed over would take hundreds.
  expect(times.middle).toBeLessThan(60);
  expect(times.folders).toBeLessThan(60);
  expect(times.all1000).toBeLessThan(150);
  expect(times.inside).toBeLessThan(60);
}, 120_000);
