// SSE-KMS: what a key of the tenant sealed opens with that key, for those who may use it, and for nobody once the key is gone.
import { expect, test } from 'vitest';
import { actor as anybody, attributes, bytes, engineBench, problemOf, read, signal } from './engine.testbench.ts';

const actor = { ...anybody, principal: 'local' };
const sealed = (kmsKeyId?: string) => attributes({ encryption: 'aws:kms', ...(kmsKeyId === undefined ? {} : { kmsKeyId }) });

test('needs a key that is there; reads back, whole, in parts, copied, also after the key was rotated; ends with the key', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const { cloud } = desk.bench;
  const photos = await desk.bucket('photos', { encryption: false });
  expect(await problemOf(desk.put(photos, 'k', 'bytes', { actor, attributes: sealed() }))).toBe('no_such_kms_key');
  expect(await problemOf(desk.put(photos, 'k', 'bytes', { actor, attributes: sealed('mine') }))).toBe('no_such_kms_key');
  expect(await desk.blobs()).toEqual([]);
  await cloud.kmsKey.create({ name: 'mine' });
  await cloud.kmsKey.create({ name: 'other' });
  await desk.put(photos, 'k', 'bytes', { actor, attributes: sealed('mine') });
  await cloud.kmsKey.rotate('mine');
  await desk.put(photos, 'l', 'later', { actor, attributes: sealed('mine') });
  const upload = await engine.createUpload(photos, 'm', { attributes: sealed('mine'), checksum: undefined, actor });
  const part = await engine.putPart(photos, 'm', upload.id, 1, bytes('parts'), { expected: {}, actor, signal });
  await engine.completeUpload(photos, 'm', upload.id, [part], { actor });
  await engine.copy({ bucket: photos, key: 'k' }, { bucket: photos, key: 'n' }, { attributes: () => sealed('other'), actor, signal });
  const text = async (key: string) => (await read((await engine.get(photos, key, { actor, signal })).body)).toString();
  expect([await text('k'), await text('l'), await text('m'), await text('n')]).toEqual(['bytes', 'later', 'parts', 'bytes']);
  // Onto itself with another key is sealed anew.
  await engine.copy({ bucket: photos, key: 'l' }, { bucket: photos, key: 'l' }, { attributes: () => sealed('other'), actor, signal });
  await cloud.kmsKey.delete('mine');
  expect(await problemOf(text('k'))).toBe('no_such_kms_key');
  expect(await problemOf(text('m'))).toBe('no_such_kms_key');
  expect([await text('l'), await text('n')]).toEqual(['later', 'bytes']);
  const found = [];
  for await (const { damage } of engine.verify(photos, { prefix: '', signal })) found.push(...damage);
  expect(found.map(({ key }) => key)).toEqual(['k', 'm']);
  // Another key of the same name is another key.
  await cloud.kmsKey.create({ name: 'mine' });
  expect(await problemOf(text('k'))).toBe('no_such_kms_key');
});

test('is read by those who may use the key', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const { cloud } = desk.bench;
  const photos = await desk.bucket('photos');
  await cloud.kmsKey.create({ name: 'mine' });
  await desk.put(photos, 'k', 'bytes', { actor, attributes: sealed('mine') });
  for (const stranger of [undefined, { ...actor, principal: '', tenantId: '' }, { ...actor, tenantId: 'tnt-other' }, { ...actor, principal: 'usr-nobody' }]) {
    expect(await problemOf(engine.get(photos, 'k', { signal, ...(stranger === undefined ? {} : { actor: stranger }) }))).toBe('kms_denied');
  }
});
