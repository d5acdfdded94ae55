import { expect, test } from 'vitest';
import { actor, attributes, engineBench, problemOf, SetClock, signal } from './engine.testbench.ts';

const DAY = 86_400_000;

test('a bucket that keeps versions hides what is deleted and shows it again when the marker goes', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos', { versioning: 'enabled' });
  const one = await desk.put(photos, 'k', 'one');
  const two = await desk.put(photos, 'k', 'two');
  expect(one.version).toMatch(/^[0-9a-z]{32}$/);
  expect(await desk.text(photos, 'k')).toBe('two');
  expect(await desk.text(photos, 'k', one.version)).toBe('one');
  const gone = await engine.delete(photos, 'k', { actor });
  expect(gone).toEqual({ deleteMarker: true, version: expect.any(String) });
  expect(await problemOf(engine.get(photos, 'k', { signal }))).toBe('delete_marker');
  expect(await problemOf(engine.get(photos, 'k', { signal, version: gone.version }))).toBe('delete_marker');
  expect((await engine.list(photos, { prefix: '', delimiter: undefined, after: undefined, limit: 10 })).objects).toEqual([]);
  const { versions } = await engine.listVersions(photos, { prefix: '', delimiter: undefined, after: undefined, limit: 10 });
  expect(versions.map(({ version, latest, deleteMarker }) => [version, latest, deleteMarker])).toEqual([
    [gone.version, true, true],
    [two.version, false, false],
    [one.version, false, false],
  ]);
  expect(await engine.delete(photos, 'k', { actor, version: gone.version })).toEqual({ deleteMarker: true, version: gone.version });
  expect(await desk.text(photos, 'k')).toBe('two');
  expect(await engine.delete(photos, 'k', { actor, version: two.version })).toEqual({ deleteMarker: false, version: two.version });
  expect(await desk.text(photos, 'k')).toBe('one');
  expect((await engine.usage([photos.id])).get(photos.id)).toMatchObject({ objects: 1, versions: 1, bytes: 3 });
  expect(await engine.delete(photos, 'k', { actor, version: 'none' })).toEqual({ deleteMarker: false, version: 'none' });
  expect(await problemOf(engine.get(photos, 'k', { signal, version: 'none' }))).toBe('no_such_version');
  expect(await desk.blobs()).toHaveLength(1);
  // A marker also for what was never there, as S3 does.
  expect(await engine.delete(photos, 'never', { actor })).toMatchObject({ deleteMarker: true });
});

test('suspended: the null version is replaced, the others stay', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  let photos = await desk.bucket('photos');
  const before = await desk.put(photos, 'k', 'before');
  expect(before.version).toBeUndefined();
  photos = await desk.update(photos, { versioning: 'enabled' });
  const kept = await desk.put(photos, 'k', 'kept');
  expect(await desk.text(photos, 'k', 'null')).toBe('before');
  photos = await desk.update(photos, { versioning: 'suspended' });
  const loose = await desk.put(photos, 'k', 'loose');
  expect([loose.version, loose.info.version]).toEqual([undefined, 'null']);
  await desk.put(photos, 'k', 'looser');
  expect(await desk.text(photos, 'k')).toBe('looser');
  const list = async () =>
    (await engine.listVersions(photos, { prefix: '', delimiter: undefined, after: undefined, limit: 10 })).versions.map(({ version, deleteMarker }) => [
      version,
      deleteMarker,
    ]);
  expect(await list()).toEqual([
    ['null', false],
    [kept.version, false],
  ]);
  expect(await engine.delete(photos, 'k', { actor })).toEqual({ deleteMarker: true, version: 'null' });
  expect(await list()).toEqual([
    ['null', true],
    [kept.version, false],
  ]);
  await engine.delete(photos, 'k', { actor });
  expect(await list()).toHaveLength(2);
  await engine.delete(photos, 'k', { actor, version: 'null' });
  expect(await desk.text(photos, 'k')).toBe('kept');
  expect(await desk.blobs()).toHaveLength(1);
  expect((await engine.usage([photos.id])).get(photos.id)).toMatchObject({ objects: 1, versions: 1, bytes: 4 });
});

test('the newest is the last one written, also when the clock goes back', async () => {
  const clock = new SetClock(1_800_000_000_000);
  await using desk = await engineBench({ clock });
  const photos = await desk.bucket('photos', { versioning: 'enabled' });
  await desk.put(photos, 'k', 'one');
  clock.at = 1_700_000_000_000;
  await desk.put(photos, 'k', 'two');
  expect(await desk.text(photos, 'k')).toBe('two');
});

test('many deletions have an outcome each', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  for (let at = 0; at < 120; at++) await desk.put(photos, `k${at}`, 'x');
  const outcomes = await engine.deleteMany(
    photos,
    [...Array.from({ length: 119 }, (_, at) => ({ key: `k${at}` })), { key: 'k119', conditions: { ifMatch: ['bad'] } }, { key: 'none' }],
    actor,
  );
  expect(outcomes.filter((outcome) => outcome instanceof Error)).toMatchObject([{ problem: 'precondition_failed' }]);
  expect(outcomes).toHaveLength(121);
  expect(await desk.blobs()).toHaveLength(1);
});

test('locks: retention, governance, compliance, legal hold', async () => {
  const clock = new SetClock(1_800_000_000_000);
  await using desk = await engineBench({ clock });
  const { engine } = desk;
  const plain = await desk.bucket('plain');
  const until = clock.now() + DAY;
  expect(await problemOf(desk.put(plain, 'k', 'x', { attributes: attributes({ lock: { mode: 'GOVERNANCE', until } }) }))).toBe('invalid_lock');
  const safe = await desk.bucket('safe', { objectLock: true });
  expect(safe.versioning).toBe('enabled');
  expect(await problemOf(desk.put(safe, 'k', 'x', { attributes: attributes({ lock: { mode: 'GOVERNANCE', until: clock.now() } }) }))).toBe('invalid_lock');
  const governed = await desk.put(safe, 'k', 'x', { attributes: attributes({ lock: { mode: 'GOVERNANCE', until } }) });
  expect(await problemOf(engine.delete(safe, 'k', { actor, version: governed.version }))).toBe('locked');
  // Hiding it is no deletion.
  const marker = await engine.delete(safe, 'k', { actor });
  await engine.delete(safe, 'k', { actor, version: marker.version });
  const set = (version: string | undefined, lock: Parameters<typeof engine.setLock>[3], bypassGovernance = false) =>
    engine.setLock(safe, 'k', version, lock, { actor, bypassGovernance });
  expect(await problemOf(set(governed.version, { mode: 'GOVERNANCE', until: until - 1000 }))).toBe('locked');
  await set(governed.version, { mode: 'GOVERNANCE', until: until + 1000 });
  await set(governed.version, { mode: 'GOVERNANCE', until: until - 1000 }, true);
  expect(await problemOf(set(governed.version, { mode: 'COMPLIANCE', until }))).toBe('locked');
  await set(governed.version, { mode: 'COMPLIANCE', until }, true);
  expect(await problemOf(set(governed.version, { mode: null }, true))).toBe('locked');
  expect(await problemOf(engine.delete(safe, 'k', { actor, version: governed.version, bypassGovernance: true }))).toBe('locked');
  clock.at += DAY + 1;
  await set(governed.version, { legalHold: true });
  expect(await problemOf(engine.delete(safe, 'k', { actor, version: governed.version, bypassGovernance: true }))).toBe('locked');
  expect((await set(governed.version, { legalHold: false })).attributes.lock).toMatchObject({ legalHold: false });
  await engine.delete(safe, 'k', { actor, version: governed.version });
  // The bucket's own rule.
  await engine.buckets.setConfig(safe, 'lockDefault', { mode: 'GOVERNANCE', days: 2 }, actor);
  const fresh = await desk.again(safe);
  const { info } = await desk.put(fresh, 'd', 'x');
  expect(info.attributes.lock).toEqual({ mode: 'GOVERNANCE', until: clock.now() + 2 * DAY });
  await engine.delete(fresh, 'd', { actor, version: info.version, bypassGovernance: true });
});

test('a bucket is cleared but for what is locked; with locks when nobody is left', async () => {
  const clock = new SetClock(1_800_000_000_000);
  await using desk = await engineBench({ clock });
  const { engine } = desk;
  const safe = await desk.bucket('safe', { objectLock: true });
  for (let at = 0; at < 70; at++) await desk.put(safe, `k${at % 35}`, 'x');
  await desk.put(safe, 'a', 'x', { attributes: attributes({ lock: { legalHold: true } }) });
  await engine.createUpload(safe, 'm', { attributes: attributes(), checksum: undefined, actor });
  expect(await problemOf(engine.clear(safe, { actor, signal }))).toBe('locked');
  expect((await engine.usage([safe.id])).get(safe.id)).toMatchObject({ objects: 1, versions: 1, bytes: 1 });
  await expect(desk.drop(safe)).rejects.toMatchObject({ code: 'conflict' });
  await engine.clear(safe, { actor, signal, locked: true });
  expect((await engine.usage([safe.id])).get(safe.id)).toEqual({ objects: 0, versions: 0, bytes: 0, uploads: 0, uploadBytes: 0 });
  await desk.drop(safe);
  expect(await engine.find('safe')).toBeUndefined();
  expect(await desk.blobs()).toEqual([]);
});
