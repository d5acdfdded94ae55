import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { actor, attributes, bytes, engineBench, problemOf, read, signal } from './engine.testbench.ts';

test('an object is what was written last, with everything said about it', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  const { engine } = desk;
  const put = await desk.put(photos, 'a/ä\u{10000}.txt', 'one', {
    attributes: attributes({ headers: { 'content-type': 'text/plain' }, metadata: { album: 'x' }, tags: { t: '1' } }),
  });
  expect(put).toMatchObject({
    etag: createHash('md5').update('one').digest('hex'),
    version: undefined,
    size: 3,
    checksum: { algorithm: 'CRC64NVME', type: 'full' },
  });
  expect(await desk.text(photos, 'a/ä\u{10000}.txt')).toBe('one');
  const { info } = await engine.head(photos, 'a/ä\u{10000}.txt', {});
  expect(info).toMatchObject({ size: 3, latest: true, deleteMarker: false, version: 'null', attributes: { metadata: { album: 'x' }, tags: { t: '1' } } });
  await desk.put(photos, 'a/ä\u{10000}.txt', 'three');
  expect(await desk.text(photos, 'a/ä\u{10000}.txt')).toBe('three');
  expect(await desk.blobs()).toHaveLength(1);
  expect((await engine.usage([photos.id])).get(photos.id)).toEqual({ objects: 1, versions: 1, bytes: 5, uploads: 0, uploadBytes: 0 });
  expect(await engine.delete(photos, 'a/ä\u{10000}.txt', { actor })).toEqual({ deleteMarker: false, version: undefined });
  expect(await problemOf(engine.get(photos, 'a/ä\u{10000}.txt', { signal }))).toBe('no_such_key');
  expect(await desk.blobs()).toHaveLength(0);
  expect((await engine.usage([photos.id])).get(photos.id)).toEqual({ objects: 0, versions: 0, bytes: 0, uploads: 0, uploadBytes: 0 });
  expect(await desk.bench.db.selectFrom('quota_usage').select(['name', 'value']).where('name', 'like', 'object%').execute()).toEqual([
    { name: 'objects', value: 0 },
    { name: 'objectBytes', value: 0 },
  ]);
});

test('ranges and conditions', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  const { engine } = desk;
  const { etag, modifiedAt } = await desk.put(photos, 'k', '0123456789');
  const range = async (range: Parameters<typeof engine.get>[2]['range']): Promise<[string, unknown]> => {
    const opened = await engine.get(photos, 'k', { range, signal });
    return [(await read(opened.body)).toString(), opened.range];
  };
  expect(await range({ start: 2, end: 4 })).toEqual(['234', { start: 2, end: 4 }]);
  expect(await range({ start: 8, end: 100 })).toEqual(['89', { start: 8, end: 9 }]);
  expect(await range({ start: 9, end: undefined })).toEqual(['9', { start: 9, end: 9 }]);
  expect(await range({ suffix: 3 })).toEqual(['789', { start: 7, end: 9 }]);
  expect(await problemOf(range({ start: 10, end: undefined }))).toBe('invalid_range');
  const head = (conditions: Parameters<typeof engine.head>[2]['conditions']) => engine.head(photos, 'k', { conditions });
  expect(await problemOf(head({ ifNoneMatch: [etag] }))).toBe('not_modified');
  expect(await problemOf(head({ ifMatch: ['other'] }))).toBe('precondition_failed');
  expect(await problemOf(head({ ifModifiedSince: modifiedAt }))).toBe('not_modified');
  expect(await problemOf(head({ ifUnmodifiedSince: modifiedAt - 5000 }))).toBe('precondition_failed');
  await head({ ifMatch: [etag], ifUnmodifiedSince: modifiedAt - 5000 });
  // Writes: nothing of the body is read.
  let asked = false;
  const never = (async function* () {
    asked = true;
    yield Buffer.from('x');
  })();
  expect(await problemOf(engine.put(photos, 'k', never, { attributes: attributes(), expected: {}, actor, signal, conditions: { ifNoneMatch: ['*'] } }))).toBe(
    'precondition_failed',
  );
  expect(asked).toBe(false);
  expect(await problemOf(desk.put(photos, 'new', 'x', { conditions: { ifMatch: ['*'] } }))).toBe('no_such_key');
  await desk.put(photos, 'k', 'x', { conditions: { ifMatch: [etag] } });
  expect(await problemOf(engine.delete(photos, 'k', { actor, conditions: { ifMatchSize: 10 } }))).toBe('precondition_failed');
  await engine.delete(photos, 'gone', { actor, conditions: { ifMatch: ['bad'] } });
});

test('of many who write one key only if there is none, one wins', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  const outcomes = await Promise.all(
    Array.from({ length: 20 }, (_, at) =>
      desk.put(photos, 'k', `${at}`, { conditions: { ifNoneMatch: ['*'] } }).then(
        () => at,
        () => undefined,
      ),
    ),
  );
  const winners = outcomes.filter((outcome) => outcome !== undefined);
  expect(winners).toHaveLength(1);
  expect(await desk.text(photos, 'k')).toBe(`${winners[0]}`);
  expect(await desk.blobs()).toHaveLength(1);
});

test('what fails leaves nothing behind, and what was there stays', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos', { maxBytes: 10 });
  await desk.put(photos, 'k', '12345678');
  expect(await problemOf(desk.put(photos, 'k', '123456789ab'))).toBe('quota_exceeded');
  expect(await problemOf(desk.put(photos, 'other', '123'))).toBe('quota_exceeded');
  expect(await problemOf(desk.put(photos, 'k', 'abc', { expected: { md5: 'AAAA' } }))).toBe('bad_digest');
  expect(await problemOf(desk.put(photos, 'k', 'abc', { expected: { size: 4 } }))).toBe('incomplete_body');
  expect(await problemOf(desk.put(photos, 'x'.repeat(1025), 'abc'))).toBe('key_too_long');
  expect(await desk.text(photos, 'k')).toBe('12345678');
  expect(await desk.blobs()).toHaveLength(1);
  await desk.drop(await desk.bucket('other'));
  const gone = await desk.bucket('gone');
  await desk.drop(gone);
  expect(await problemOf(desk.put(gone, 'k', 'abc'))).toBe('no_such_bucket');
  expect(await desk.blobs()).toHaveLength(1);
});

test('a reader goes on reading what was deleted meanwhile', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  const big = Buffer.alloc(300_000, 'x');
  await desk.put(photos, 'k', big);
  const opened = await desk.engine.get(photos, 'k', { signal });
  await desk.engine.delete(photos, 'k', { actor });
  expect(await desk.blobs()).toHaveLength(1);
  expect((await read(opened.body)).equals(big)).toBe(true);
  expect(await desk.blobs()).toHaveLength(0);
});

test('what a crash left between bytes and metadata is swept; nothing else is', async () => {
  await using desk = await engineBench();
  const photos = await desk.bucket('photos');
  await desk.put(photos, 'k', 'kept');
  const upload = await desk.engine.createUpload(photos, 'm', { attributes: attributes(), checksum: undefined, actor });
  await desk.engine.putPart(photos, 'm', upload.id, 1, bytes('part'), { expected: {}, actor, signal });
  const store = desk.bench.drivers.drivers['object-store'];
  await store.put('000000000000ffffffffffff', bytes('orphan'), { size: 6, signal });
  expect(await desk.blobs()).toHaveLength(3);
  await new Promise((resolve) => setTimeout(resolve, 5));
  desk.engine.startSweep();
  expect(await desk.blobs()).toHaveLength(2);
  expect(await desk.text(photos, 'k')).toBe('kept');
});
