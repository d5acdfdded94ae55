// Bytes on their way are bounded by the quota of their tenant: those that never end, those of no known length, those that fail.
import { expect, test } from 'vitest';
import { actor, attributes, bytes, engineBench, problemOf, read, SetClock, signal } from './engine.testbench.ts';

const LIMIT = 1000;

test('a tenant never has more on its way than it may keep', async () => {
  await using desk = await engineBench();
  await desk.bench.cloud.quota.set({ name: 'objectBytes', limit: LIMIT });
  const bucket = await desk.bucket('photos');
  const stop = new AbortController();
  const waiting = Promise.withResolvers<void>();
  const endless = async function* (): AsyncGenerator<Buffer> {
    yield Buffer.alloc(600);
    waiting.resolve();
    await new Promise((_, reject) => stop.signal.addEventListener('abort', () => reject(new Error('gone'))));
  };
  const put = (key: string, size: number | undefined, body: AsyncIterable<Buffer> = bytes(Buffer.alloc(600))) =>
    desk.engine.put(bucket, key, body, { attributes: attributes(), expected: size === undefined ? {} : { size }, actor, signal });
  const first = put('first', undefined, endless());
  first.catch(() => undefined);
  await waiting.promise;
  expect(await problemOf(put('known', 600))).toBe('quota_exceeded');
  expect(await problemOf(put('unknown', undefined))).toBe('quota_exceeded');
  const upload = await desk.engine.createUpload(bucket, 'm', { attributes: attributes(), checksum: undefined, actor });
  const part = () => desk.engine.putPart(bucket, 'm', upload.id, 1, bytes(Buffer.alloc(600)), { expected: { size: 600 }, actor, signal });
  expect(await problemOf(part())).toBe('quota_exceeded');
  expect(await put('small', 300, bytes(Buffer.alloc(300)))).toMatchObject({ size: 300 });
  stop.abort();
  await expect(first).rejects.toThrow('gone');
  // What failed is on its way no more, and what replaces counts only where it is.
  expect(await put('known', 600)).toMatchObject({ size: 600 });
  for (let time = 0; time < 5; time++) expect(await put('known', time === 0 ? undefined : 600)).toMatchObject({ size: 600 });
  expect((await read((await desk.engine.get(bucket, 'known', { signal })).body)).length).toBe(600);
});

test('what was deleted while it is read counts until it has been read', async () => {
  await using desk = await engineBench();
  await desk.bench.cloud.quota.set({ name: 'objectBytes', limit: 300_000 });
  const bucket = await desk.bucket('photos');
  const put = (): Promise<unknown> => desk.put(bucket, 'k', Buffer.alloc(200_000), { expected: { size: 200_000 } });
  await put();
  const { body } = await desk.engine.get(bucket, 'k', { signal });
  const reader = body[Symbol.asyncIterator]();
  await reader.next();
  await desk.engine.delete(bucket, 'k', { actor });
  expect(await desk.blobs()).toHaveLength(1);
  expect(await problemOf(put())).toBe('quota_exceeded');
  await reader.return?.();
  expect(await desk.blobs()).toEqual([]);
  await put();
});

test('a limit that is set counts a second later', async () => {
  const clock = new SetClock(Date.now());
  await using desk = await engineBench({ clock });
  const bucket = await desk.bucket('photos');
  await desk.put(bucket, 'k', 'x');
  await desk.bench.cloud.quota.set({ name: 'objectBytes', limit: 10 });
  clock.at += 1000;
  expect(await problemOf(desk.put(bucket, 'l', Buffer.alloc(11)))).toBe('quota_exceeded');
});
