import { expect, test } from 'vitest';
import type { LifecycleRule } from './config.ts';
import { actor, attributes, type EngineBench, engineBench, SetClock } from './engine.testbench.ts';
import { dueAt } from './lifecycle-rules.ts';
import type { Bucket } from './types.ts';

const DAY = 86_400_000;
const NOON = Date.UTC(2027, 0, 1, 12);

const rule = (more: Partial<LifecycleRule>): LifecycleRule => ({ id: 'r', enabled: true, filter: {}, ...more });
const rules = async (desk: EngineBench, bucket: Bucket, ...lifecycle: LifecycleRule[]): Promise<Bucket> => {
  const named = lifecycle.map((each, index) => ({ ...each, id: each.id === 'r' ? `r${index}` : each.id }));
  await desk.engine.buckets.setConfig(bucket, 'lifecycle', named, actor);
  return desk.again(bucket);
};
const listed = async (desk: EngineBench, bucket: Bucket): Promise<string[]> =>
  (await desk.engine.listVersions(bucket, { prefix: '', delimiter: undefined, after: undefined, limit: 1000 })).versions.map(
    ({ key, latest, deleteMarker }) => `${key}${latest ? '' : ' old'}${deleteMarker ? ' marker' : ''}`,
  );

test('a day ends at midnight, unless it was made short', () => {
  expect(dueAt(NOON, 1, { daySeconds: undefined })).toBe(Date.UTC(2027, 0, 3));
  expect(dueAt(NOON, 2, { daySeconds: 10 })).toBe(NOON + 20_000);
});

test('what rules say expires, and nothing else', async () => {
  const clock = new SetClock(NOON);
  await using desk = await engineBench({ clock });
  const { engine } = desk;
  let photos = await desk.bucket('photos');
  for (const [key, text, tags] of [
    ['logs/a', 'x', {}],
    ['logs/b', 'xxxxx', {}],
    ['tagged/a', 'x', { t: '1', u: '2' }],
    ['tagged/b', 'x', { t: '2' }],
    ['off', 'x', {}],
    ['dated', 'x', {}],
  ] as const)
    await desk.put(photos, key, text, { attributes: attributes({ tags }) });
  const upload = await engine.createUpload(photos, 'up', { attributes: attributes(), checksum: undefined, actor });
  photos = await rules(
    desk,
    photos,
    rule({ id: 'small logs', filter: { prefix: 'logs/', sizeLessThan: 5 }, expiration: { days: 1 } }),
    rule({ filter: { prefix: 'tagged/', tags: { t: '1' } }, expiration: { days: 3 } }),
    rule({ enabled: false, filter: { prefix: 'off' }, expiration: { days: 1 } }),
    rule({ filter: { prefix: 'dated' }, expiration: { date: '2027-01-04T00:00:00Z' } }),
    rule({ abortUploadDays: 2 }),
  );
  const { info } = await engine.head(photos, 'logs/a', {});
  expect(engine.expiration(photos, info)).toEqual({ at: Date.UTC(2027, 0, 3), rule: 'small logs' });
  await engine.prune(clock.now());
  expect(await listed(desk, photos)).toHaveLength(6);
  clock.at += Date.UTC(2027, 0, 3) - clock.now();
  await engine.prune(clock.now());
  expect(await listed(desk, photos)).toEqual(['dated', 'logs/b', 'off', 'tagged/a', 'tagged/b']);
  expect((await engine.upload(photos, 'up', upload.id)).id).toBe(upload.id);
  clock.at += 2 * DAY;
  await engine.prune(clock.now());
  expect(await listed(desk, photos)).toEqual(['logs/b', 'off', 'tagged/b']);
  expect((await engine.usage([photos.id])).get(photos.id)).toMatchObject({ objects: 3, uploads: 0 });
});

test('versions: hidden first, then removed but for the newest few; markers that hide nothing go; what is locked stays', async () => {
  const clock = new SetClock(NOON);
  await using desk = await engineBench({ clock });
  const { engine } = desk;
  let safe = await desk.bucket('safe', { objectLock: true });
  for (let at = 0; at < 4; at++) await desk.put(safe, 'k', `${at}`);
  await desk.put(safe, 'locked', 'x', { attributes: attributes({ lock: { legalHold: true } }) });
  await desk.put(safe, 'locked', 'y');
  await engine.delete(safe, 'only', { actor });
  safe = await rules(
    desk,
    safe,
    rule({ noncurrentExpiration: { days: 1, newerVersions: 1 } }),
    rule({ filter: { prefix: 'locked' }, noncurrentExpiration: { days: 1 } }),
    rule({ expiration: { expiredObjectDeleteMarker: true } }),
  );
  await engine.prune(clock.now());
  expect(await listed(desk, safe)).toEqual(['k', 'k old', 'k old', 'k old', 'locked', 'locked old']);
  clock.at += 2 * DAY;
  await engine.prune(clock.now());
  expect(await listed(desk, safe)).toEqual(['k', 'k old', 'locked', 'locked old']);
  safe = await rules(
    desk,
    safe,
    rule({ filter: { prefix: 'k' }, expiration: { days: 1 } }),
    rule({ filter: { prefix: 'k' }, noncurrentExpiration: { days: 1 } }),
  );
  await engine.prune(clock.now());
  // Hidden now; the one before it was not the newest for long enough.
  expect(await listed(desk, safe)).toEqual(['k marker', 'k old', 'locked', 'locked old']);
  clock.at += 2 * DAY;
  await engine.prune(clock.now());
  await engine.prune(clock.now());
  expect(await listed(desk, safe)).toEqual(['locked', 'locked old']);
});

test('a short day is followed by itself', async () => {
  await using desk = await engineBench({ engine: { daySeconds: 0.2 } });
  const photos = await desk.bucket('photos');
  await rules(desk, photos, rule({ expiration: { days: 1 } }));
  for (let at = 0; at < 450; at++) await desk.put(photos, `k${at}`, 'x');
  desk.engine.startSweep();
  await expect.poll(() => listed(desk, photos), { timeout: 10_000 }).toEqual([]);
});
