import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { actor, attributes, bytes, type EngineBench, engineBench, problemOf, read, signal } from './engine.testbench.ts';
import type { Bucket, UploadInfo } from './types.ts';

const begin = (desk: EngineBench, bucket: Bucket, key: string, checksum?: UploadInfo['checksum']): Promise<UploadInfo> =>
  desk.engine.createUpload(bucket, key, { attributes: attributes({ metadata: { m: '1' } }), checksum, actor });
const part = (desk: EngineBench, { key, id }: UploadInfo, bucket: Bucket, number: number, text: string | Buffer) =>
  desk.engine.putPart(bucket, key, id, number, bytes(text), { expected: {}, actor, signal });
const md5 = (text: string | Buffer): Buffer => createHash('md5').update(text).digest();

test('parts become one object: its ETag, its ranges, its parts', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  const upload = await begin(desk, photos, 'k');
  const texts = ['0123456789', 'abcdefghijkl', 'end'];
  await part(desk, upload, photos, 2, 'replaced by another');
  const parts: { number: number; etag: string }[] = [];
  for (const [at, number] of [2, 5, 9].entries()) parts.push({ number, etag: (await part(desk, upload, photos, number, texts[at] as string)).etag });
  await part(desk, upload, photos, 7, 'never named');
  expect((await engine.listParts(photos, 'k', upload.id, { after: 2, limit: 2 })).parts.map(({ number }) => number)).toEqual([5, 7]);
  expect((await engine.usage([photos.id])).get(photos.id)).toEqual({ objects: 0, versions: 0, bytes: 0, uploads: 1, uploadBytes: 36 });
  expect(await problemOf(engine.get(photos, 'k', { signal }))).toBe('no_such_key');
  const complete = () => engine.completeUpload(photos, 'k', upload.id, parts, { actor });
  const done = await complete();
  const whole = texts.join('');
  expect(done).toMatchObject({
    etag: `${createHash('md5')
      .update(Buffer.concat(texts.map(md5)))
      .digest('hex')}-3`,
    size: whole.length,
    info: { parts: 3, attributes: { metadata: { m: '1' } } },
    checksum: { algorithm: 'CRC64NVME', type: 'full' },
  });
  // Of the whole, as if it had come at once.
  expect(done.checksum?.value).toBe((await desk.put(photos, 'other', whole)).checksum?.value);
  expect(await complete()).toEqual(done);
  expect(await problemOf(engine.completeUpload(photos, 'k', upload.id, parts.slice(1), { actor }))).toBe('no_such_upload');
  expect(await desk.text(photos, 'k')).toBe(whole);
  expect(await desk.blobs()).toHaveLength(4);
  for (let start = 0; start < whole.length; start += 3) {
    for (let end = start; end < whole.length; end += 4) {
      const opened = await engine.get(photos, 'k', { signal, range: { start, end } });
      expect((await read(opened.body)).toString()).toBe(whole.slice(start, end + 1));
    }
  }
  const second = await engine.get(photos, 'k', { signal, part: 2 });
  expect((await read(second.body)).toString()).toBe('abcdefghijkl');
  expect(second).toMatchObject({ range: { start: 10, end: 21 }, partial: true, partInfo: { number: 2, size: 12 } });
  // Counted as they are in the object, not as they were uploaded.
  expect(await problemOf(engine.get(photos, 'k', { signal, part: 5 }))).toBe('invalid_part');
  expect((await engine.partsOf(photos, done.info, { after: 0, limit: 10 })).parts.map(({ number }) => number)).toEqual([1, 2, 3]);
  expect(await engine.partsOf(photos, done.info, { after: 1, limit: 1 })).toMatchObject({ parts: [{ number: 2, size: 12 }], truncated: true });
  expect((await engine.usage([photos.id])).get(photos.id)).toEqual({ objects: 2, versions: 2, bytes: 50, uploads: 0, uploadBytes: 0 });
  for await (const found of engine.verify(photos, { prefix: '', signal })) expect(found).toEqual({ checked: 2, bytes: 50, damage: [] });
  await desk.put(photos, 'k', 'x');
  expect(await desk.blobs()).toHaveLength(2);
});

test('what is wrong with a list of parts', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  const upload = await begin(desk, photos, 'k');
  const one = await part(desk, upload, photos, 1, 'short');
  const two = await part(desk, upload, photos, 2, 'last');
  const complete = (parts: { number: number; etag: string }[], more = {}) =>
    problemOf(engine.completeUpload(photos, 'k', upload.id, parts, { actor, ...more }));
  expect(await complete([one, two])).toBe('part_too_small');
  expect(await complete([two, one])).toBe('invalid_part_order');
  expect(
    await complete([
      { number: 2, etag: 'older' },
      { number: 2, etag: 'newer' },
    ]),
  ).toBe('invalid_part');
  expect(await complete([{ number: 1, etag: two.etag }])).toBe('invalid_part');
  expect(await complete([{ number: 3, etag: two.etag }])).toBe('invalid_part');
  expect(await complete([one], { size: 4 })).toBe('invalid_request');
  expect(await complete([one], { checksum: { value: 'AAAAAAAAAAA=' } })).toBe('bad_digest');
  expect(await complete([one], { checksum: { type: 'composite' } })).toBe('invalid_request');
  expect(await complete([one], { conditions: { ifMatch: ['*'] } })).toBe('no_such_key');
  expect(await problemOf(engine.completeUpload(photos, 'other', upload.id, [one], { actor }))).toBe('no_such_upload');
  expect(await problemOf(part(desk, upload, photos, 0, 'x'))).toBe('invalid_argument');
  expect(await problemOf(begin(desk, photos, 'k', { algorithm: 'SHA256', type: 'full' }))).toBe('invalid_request');
  await engine.abortUpload(photos, 'k', upload.id, actor);
  expect(await problemOf(engine.abortUpload(photos, 'k', upload.id, actor))).toBe('no_such_upload');
  expect(await problemOf(part(desk, upload, photos, 1, 'x'))).toBe('no_such_upload');
  expect(await desk.blobs()).toEqual([]);
  expect((await engine.usage([photos.id])).get(photos.id)).toEqual({ objects: 0, versions: 0, bytes: 0, uploads: 0, uploadBytes: 0 });
});

test('checksums of the whole and of the parts', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  const texts = ['0123456789', 'abc'];
  const crcOf = (value: string | Buffer): Buffer => {
    const buffer = Buffer.alloc(4);
    buffer.writeUInt32BE(crc32(value));
    return buffer;
  };
  const run = async (checksum: NonNullable<UploadInfo['checksum']>): Promise<string | undefined> => {
    const upload = await begin(desk, photos, 'k', checksum);
    const parts: { number: number; etag: string }[] = [];
    for (const [at, text] of texts.entries()) parts.push(await part(desk, upload, photos, at + 1, text));
    return (await engine.completeUpload(photos, 'k', upload.id, parts, { actor })).checksum?.value;
  };
  expect(await run({ algorithm: 'CRC32', type: 'full' })).toBe(crcOf(texts.join('')).toString('base64'));
  expect(await run({ algorithm: 'CRC32', type: 'composite' })).toBe(`${crcOf(Buffer.concat(texts.map(crcOf))).toString('base64')}-2`);
  const sha = (text: string | Buffer): Buffer => createHash('sha256').update(text).digest();
  const gap = await begin(desk, photos, 'gap', { algorithm: 'CRC32C', type: 'composite' });
  const third = await part(desk, gap, photos, 3, 'x');
  expect(await problemOf(engine.completeUpload(photos, 'gap', gap.id, [third], { actor }))).toBe('invalid_part_order');
  expect(await run({ algorithm: 'SHA256', type: 'composite' })).toBe(`${sha(Buffer.concat(texts.map(sha))).toString('base64')}-2`);
});

test('completing at the same time is once; a part that is written late is refused', async () => {
  await using desk = await engineBench();
  const { engine } = desk;
  const photos = await desk.bucket('photos', { versioning: 'enabled' });
  const upload = await begin(desk, photos, 'k');
  const one = await part(desk, upload, photos, 1, 'x');
  const done = await Promise.all(Array.from({ length: 5 }, () => engine.completeUpload(photos, 'k', upload.id, [one], { actor })));
  expect(new Set(done.map(({ version }) => version)).size).toBe(1);
  expect((await engine.usage([photos.id])).get(photos.id)).toMatchObject({ versions: 1, uploads: 0 });
  expect(await problemOf(part(desk, upload, photos, 2, 'late'))).toBe('no_such_upload');
  expect(await desk.blobs()).toHaveLength(1);
});

test('10,000 parts', async () => {
  await using desk = await engineBench({ engine: { leastPart: 1 } });
  const { engine } = desk;
  const photos = await desk.bucket('photos');
  const upload = await begin(desk, photos, 'k');
  const parts: { number: number; etag: string }[] = [];
  for (let number = 1; number <= 10_000; number += 100) {
    parts.push(...(await Promise.all(Array.from({ length: 100 }, (_, at) => part(desk, upload, photos, number + at, `${number + at},`)))));
  }
  const began = performance.now();
  const { size } = await engine.completeUpload(photos, 'k', upload.id, parts, { actor });
  const took = performance.now() - began;
  if (process.env['SHOW'] !== undefined) process.stderr.write(`complete ${took}\n`);
  expect(await desk.text(photos, 'k')).toBe(parts.map(({ number }) => `${number},`).join(''));
  const opened = await engine.get(photos, 'k', { signal, range: { start: size - 12, end: size - 1 } });
  expect((await read(opened.body)).toString()).toBe(',9999,10000,');
}, 120_000);
