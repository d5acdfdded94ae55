import { createHash, randomBytes } from 'node:crypto';
import { expect, test } from 'vitest';
import { actor, attributes, bytes, engineBench, problemOf, read, signal } from './engine.testbench.ts';
import type { CustomerKey, ObjectInfo } from './types.ts';

const same = ({ attributes: of }: ObjectInfo) => of;
const newKey = (): CustomerKey => {
  const key = randomBytes(32);
  return { key, md5: createHash('md5').update(key).digest('base64') };
};

test('a copy is an object of its own', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const [a, b] = [await desk.bucket('a1234'), await desk.bucket('b1234', { encryption: false })];
  const put = await desk.put(a, 'k', 'bytes', { attributes: attributes({ metadata: { x: '1' }, tags: { t: '1' } }) });
  const copied = await engine.copy({ bucket: a, key: 'k' }, { bucket: b, key: 'l' }, { attributes: same, actor, signal });
  expect(copied).toMatchObject({ etag: put.etag, checksum: put.checksum, info: { attributes: { metadata: { x: '1' }, tags: { t: '1' } } } });
  await engine.delete(a, 'k', { actor });
  expect(await desk.text(b, 'l')).toBe('bytes');
  expect(await problemOf(engine.copy({ bucket: a, key: 'k' }, { bucket: b, key: 'l' }, { attributes: same, actor, signal }))).toBe('no_such_key');
  expect(
    await problemOf(
      engine.copy({ bucket: b, key: 'l', conditions: { ifNoneMatch: [put.etag] } }, { bucket: b, key: 'm' }, { attributes: same, actor, signal }),
    ),
  ).toBe('precondition_failed');
  expect(await desk.blobs()).toHaveLength(1);
});

test('onto itself only what is said of it changes; where versions are kept there is a new one', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  let photos = await desk.bucket('photos');
  await desk.put(photos, 'k', 'bytes');
  const upload = await engine.createUpload(photos, 'm', { attributes: attributes(), checksum: undefined, actor });
  const part = await engine.putPart(photos, 'm', upload.id, 1, bytes('parts'), { expected: {}, actor, signal });
  await engine.completeUpload(photos, 'm', upload.id, [part], { actor });
  const before = await desk.blobs();
  const replace = (key: string) =>
    engine.copy({ bucket: photos, key }, { bucket: photos, key }, { attributes: () => attributes({ metadata: { n: '2' } }), actor, signal });
  expect(await replace('k')).toMatchObject({ info: { attributes: { metadata: { n: '2' } } } });
  expect(await replace('m')).toMatchObject({ info: { parts: 1, attributes: { metadata: { n: '2' } } } });
  expect(await desk.blobs()).toEqual(before);
  expect(await desk.text(photos, 'k')).toBe('bytes');
  expect(await desk.text(photos, 'm')).toBe('parts');
  expect((await engine.usage([photos.id])).get(photos.id)).toMatchObject({ objects: 2, versions: 2, bytes: 10 });
  photos = await desk.update(photos, { versioning: 'enabled' });
  const copied = await replace('k');
  expect(copied.version).not.toBe('null');
  await engine.delete(photos, 'k', { actor, version: 'null' });
  expect(await desk.text(photos, 'k')).toBe('bytes');
  expect(await desk.blobs()).toHaveLength(2);
});

test('keys of customers: asked for with every read, sealed anew by a copy', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  const [mine, other] = [newKey(), newKey()];
  await desk.put(photos, 'k', 'secret', { customerKey: mine });
  expect(await problemOf(engine.head(photos, 'k', {}))).toBe('invalid_key');
  expect(await problemOf(engine.get(photos, 'k', { signal, customerKey: other }))).toBe('invalid_key');
  expect((await engine.head(photos, 'k', { customerKey: mine })).info.customerKeyMd5).toBe(mine.md5);
  expect((await read((await engine.get(photos, 'k', { signal, customerKey: mine })).body)).toString()).toBe('secret');
  await engine.copy({ bucket: photos, key: 'k', customerKey: mine }, { bucket: photos, key: 'k' }, { attributes: same, actor, signal, customerKey: other });
  expect((await read((await engine.get(photos, 'k', { signal, customerKey: other })).body)).toString()).toBe('secret');
  await engine.copy({ bucket: photos, key: 'k', customerKey: other }, { bucket: photos, key: 'k' }, { attributes: same, actor, signal });
  expect(await desk.text(photos, 'k')).toBe('secret');
  await desk.put(photos, 'sealed', 'secret', { customerKey: mine });
  for await (const found of engine.verify(photos, { prefix: '', signal })) expect(found).toMatchObject({ checked: 2, damage: [] });
  const upload = await engine.createUpload(photos, 'm', { attributes: attributes(), checksum: undefined, actor, customerKey: mine });
  const putPart = (customerKey: CustomerKey | undefined) =>
    engine.putPart(photos, 'm', upload.id, 1, bytes('parts'), { expected: {}, actor, signal, customerKey });
  expect(await problemOf(putPart(undefined))).toBe('invalid_key');
  expect(await problemOf(putPart(other))).toBe('invalid_key');
  await engine.completeUpload(photos, 'm', upload.id, [await putPart(mine)], { actor });
  expect(await problemOf(engine.get(photos, 'm', { signal }))).toBe('invalid_key');
  expect((await read((await engine.get(photos, 'm', { signal, customerKey: mine })).body)).toString()).toBe('parts');
});

test('parts are copied from ranges that are there', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  await desk.put(photos, 'k', '0123456789abcdef');
  const upload = await engine.createUpload(photos, 'm', { attributes: attributes(), checksum: undefined, actor });
  const copyPart = (number: number, start: number, end: number) =>
    engine.copyPart({ bucket: photos, key: 'k', range: { start, end } }, { bucket: photos, key: 'm', uploadId: upload.id, number }, { actor, signal });
  const parts = [(await copyPart(1, 5, 15)).part, (await copyPart(2, 0, 2)).part];
  expect(await problemOf(copyPart(3, 5, 16))).toBe('invalid_range');
  await engine.completeUpload(photos, 'm', upload.id, parts, { actor });
  expect(await desk.text(photos, 'm')).toBe('56789abcdef012');
});

test('bytes that were changed, lost or exchanged are found', async () => {
  await using desk = await engineBench();
  const { engine, bench } = desk;
  const photos = await desk.bucket('photos', { versioning: 'enabled' });
  const store = bench.drivers.drivers['object-store'];
  for (const key of ['a', 'b', 'c', 'd']) await desk.put(photos, key, `of ${key}`);
  const bodies = await desk.rows<{ key: string; body: string }>('select key, body from object_version');
  const body = (key: string): string => bodies.find((row) => row.key === key)?.body as string;
  // By name: what is written within one millisecond has no order among blobs.
  const blobOf = (key: string): string => (JSON.parse(body(key)) as { blob: string }).blob;
  const flipped = await read(store.get(blobOf('b'), { start: 0, end: undefined }, signal));
  flipped[1] = (flipped[1] as number) ^ 1;
  await store.remove([blobOf('b'), blobOf('c')], signal);
  await store.put(blobOf('b'), bytes(flipped), { size: flipped.length, signal });
  await bench.db
    .updateTable('object_version' as never)
    .set({ body: body('a') } as never)
    .where('key' as never, '=', 'd' as never)
    .execute();
  expect(await desk.text(photos, 'a')).toBe('of a');
  expect(await problemOf(desk.text(photos, 'b'))).toBe('damaged');
  expect(await problemOf(desk.text(photos, 'c'))).toBe('damaged');
  expect(await problemOf(desk.text(photos, 'd'))).toBe('damaged');
  const found = [];
  for await (const { damage } of engine.verify(photos, { prefix: '', signal })) found.push(...damage.map(({ key }) => key));
  expect(found).toEqual(['b', 'c', 'd']);
});
