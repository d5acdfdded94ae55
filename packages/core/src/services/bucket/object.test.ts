// Objects through the client: bytes in and out, names, versions, uploads in parts, and what a caller may do to them.
import { createHash, randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import type { Channel } from '../../kernel/channel.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import { people } from '../../testing/people.ts';

const ANN = 'ann@example.com';
const md5 = (bytes: Buffer | string): string => createHash('md5').update(bytes).digest('hex');

type PutInput = Parameters<Cloud['object']['put']>[1];
async function put(cloud: Cloud, name: string, bytes: Buffer | string, input: PutInput = {}) {
  const channel = await cloud.object.put(name, input);
  channel.input.on('error', () => undefined);
  channel.input.end(bytes);
  return channel.result;
}
async function drained(channel: Channel): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of channel.output) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}
async function get(cloud: Cloud, name: string, input: Parameters<Cloud['object']['get']>[1] = {}): Promise<string> {
  const channel = await cloud.object.get(name, input);
  const bytes = await drained(channel);
  await channel.result;
  return bytes.toString();
}
async function withBucket(spec: Omit<Parameters<Cloud['bucket']['create']>[0], 'name'> = {}): Promise<Bench> {
  const b = await bench();
  await b.cloud.bucket.create({ name: 'photos', ...spec });
  return b;
}

describe('bytes', () => {
  test('come back as they were, with what was said of them', async () => {
    await using b = await withBucket();
    const bytes = randomBytes(300_000);
    const made = await put(b.cloud, 'photos/2026/ä ☃ +%?.jpg', bytes, {
      contentType: 'image/jpeg',
      cacheControl: 'no-store',
      metadata: { album: 'sümmer' },
      tags: { kind: 'photo' },
      size: bytes.length,
      md5: md5(bytes),
    });
    expect(made).toMatchObject({
      bucket: 'photos',
      key: '2026/ä ☃ +%?.jpg',
      size: 300_000,
      etag: md5(bytes),
      latest: true,
      deleteMarker: false,
      contentType: 'image/jpeg',
      headers: { 'content-type': 'image/jpeg', 'cache-control': 'no-store' },
      metadata: { album: 'sümmer' },
      tags: { kind: 'photo' },
      checksum: { algorithm: 'CRC64NVME', type: 'full' },
    });
    expect(made).not.toHaveProperty('version');
    const channel = await b.cloud.object.get('photos/2026/ä ☃ +%?.jpg');
    expect((await drained(channel)).equals(bytes)).toBe(true);
    expect(await channel.result).toEqual(made);
    expect(await b.cloud.object.head('photos/2026/ä ☃ +%?.jpg')).toEqual(made);
  });

  test('none at all are an object too', async () => {
    await using b = await withBucket();
    expect(await put(b.cloud, 'photos/empty', '')).toMatchObject({ size: 0, etag: md5('') });
    expect(await get(b.cloud, 'photos/empty')).toBe('');
  });

  test('a range of them, by its ends or from its beginning on', async () => {
    await using b = await withBucket();
    const { etag } = await put(b.cloud, 'photos/a', 'hello world');
    expect(await get(b.cloud, 'photos/a', { start: 6 })).toBe('world');
    expect(await get(b.cloud, 'photos/a', { start: 0, end: 4 })).toBe('hello');
    expect(await get(b.cloud, 'photos/a', { start: 6, end: 99, ifMatch: etag })).toBe('world');
    for (const input of [{ start: 11 }, { end: 3 }, { start: 5, end: 4 }]) {
      expect((await faultOf(b.cloud.object.get('photos/a', input))).code, JSON.stringify(input)).toBe('invalid_input');
    }
    expect((await faultOf(b.cloud.object.get('photos/a', { ifMatch: 'another' }))).code).toBe('stale');
  });

  test('that are not what was said leave nothing', async () => {
    await using b = await withBucket();
    await put(b.cloud, 'photos/a', 'old');
    for (const input of [{ size: 5 }, { size: 3 }, { md5: md5('other') }]) {
      const fault = await faultOf(put(b.cloud, 'photos/a', 'four', input));
      expect(fault.code, JSON.stringify(input)).toBe('invalid_input');
    }
    expect(await faultOf(put(b.cloud, 'photos/a', 'x', { md5: 'zz' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'md5' }] });
    expect(await get(b.cloud, 'photos/a')).toBe('old');
    expect(await b.cloud.bucket.get('photos')).toMatchObject({ objects: 1, bytes: 3 });
  });

  test('that break off in the middle leave what was there before', async () => {
    await using b = await withBucket();
    await put(b.cloud, 'photos/a', 'old');
    const channel = await b.cloud.object.put('photos/a', {});
    channel.input.on('error', () => undefined);
    channel.input.write(Buffer.alloc(200_000));
    await sleep(20);
    channel.close();
    expect((await faultOf(channel.result)).code).toBe('timeout');
    const torn = await b.cloud.object.put('photos/b', {});
    torn.input.on('error', () => undefined);
    torn.input.write('half');
    torn.input.destroy();
    expect((await faultOf(torn.result)).code).toBe('timeout');
    expect(await get(b.cloud, 'photos/a')).toBe('old');
    expect((await b.cloud.object.list('photos')).items.map(({ key }) => key)).toEqual(['a']);
    await b.until(async () => (await b.drivers.drivers['object-store'].list(undefined, 10)).length === 1);
  });

  test('are not read further than somebody wants them', async () => {
    await using b = await withBucket();
    await put(b.cloud, 'photos/a', Buffer.alloc(8 * 1024 * 1024));
    const channel = await b.cloud.object.get('photos/a');
    await sleep(30);
    expect(channel.output.readableLength).toBeLessThan(1024 * 1024);
    channel.close();
    expect((await faultOf(channel.result)).code).toBe('timeout');
  });

  test('go only where nothing is, or what is known, when that is asked', async () => {
    await using b = await withBucket();
    const { etag } = await put(b.cloud, 'photos/a', 'one', { ifNoneMatch: true });
    expect((await faultOf(put(b.cloud, 'photos/a', 'two', { ifNoneMatch: true }))).code).toBe('stale');
    expect((await faultOf(put(b.cloud, 'photos/a', 'two', { ifMatch: 'another' }))).code).toBe('stale');
    await put(b.cloud, 'photos/a', 'two', { ifMatch: etag });
    expect(await get(b.cloud, 'photos/a')).toBe('two');
  });
});

describe('names', () => {
  test('are a bucket and a key of up to 1024 bytes', async () => {
    await using b = await withBucket();
    const long = 'é'.repeat(512);
    await put(b.cloud, `photos/${long}`, 'x');
    expect((await b.cloud.object.head(`photos/${long}`)).key).toBe(long);
    expect((await faultOf(put(b.cloud, `photos/${long}x`, 'x'))).code).toBe('invalid_input');
    for (const name of ['photos', 'photos/', '/a', '']) expect((await faultOf(b.cloud.object.head(name))).code, name).toBe('invalid_input');
    for (const key of ['/', '//', '..', '../a', 'a//b', ' ', '%2F', '?', '#']) {
      await put(b.cloud, `photos/${key}`, key);
      expect(await get(b.cloud, `photos/${key}`)).toBe(key);
    }
  });

  test('of nothing, or of another tenant’s bucket, are not there', async () => {
    await using b = await withBucket();
    await b.tenant('other');
    await put(b.cloud, 'photos/a', 'x');
    const there = { tenant: 'other' };
    for (const attempt of [
      b.cloud.object.head('photos/a', {}, there),
      b.cloud.object.list('photos', {}, there),
      b.cloud.object.versions('photos', {}, there),
      b.cloud.object.uploads('photos', {}, there),
      b.cloud.object.get('photos/a', {}, there),
      b.cloud.object.put('photos/a', {}, there),
      b.cloud.object.delete('photos/a', {}, there),
      b.cloud.object.copy('photos/a', { to: 'photos/b' }, there),
      b.cloud.object.setTags('photos/a', { tags: {} }, there),
      b.cloud.object.uploadStart('photos/a', {}, there),
      b.cloud.object.head('nowhere/a'),
      b.cloud.object.head('photos/b'),
    ])
      expect((await faultOf(attempt)).code).toBe('not_found');
    await b.cloud.bucket.create({ name: 'theirs' }, there);
    expect((await faultOf(b.cloud.object.copy('photos/a', { to: 'theirs/a' }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.object.move('photos/a', { to: 'theirs/a' }))).code).toBe('not_found');
    expect(await get(b.cloud, 'photos/a')).toBe('x');
  });
});

describe('lists', () => {
  test('show one level with folders, or everything below, in pages', async () => {
    await using b = await withBucket();
    for (const key of ['a', 'dir/one', 'dir/two', 'dir2/x', 'z']) await put(b.cloud, `photos/${key}`, key);
    const shape = async (name: string, input = {}) => {
      const { items, folders } = await b.cloud.object.list(name, input);
      return [...items.map(({ key }) => key), ...folders];
    };
    expect(await shape('photos')).toEqual(['a', 'z', 'dir/', 'dir2/']);
    expect(await shape('photos/dir')).toEqual(['dir/', 'dir2/']);
    expect(await shape('photos/dir/')).toEqual(['dir/one', 'dir/two']);
    expect(await shape('photos', { recursive: true })).toEqual(['a', 'dir/one', 'dir/two', 'dir2/x', 'z']);
    const seen: string[] = [];
    for (let cursor: string | undefined; ; ) {
      const page = await b.cloud.object.list('photos', { limit: 1, ...(cursor === undefined ? {} : { cursor }) });
      seen.push(...page.items.map(({ key }) => key), ...page.folders);
      cursor = page.cursor;
      if (cursor === undefined) break;
    }
    expect(seen).toEqual(['a', 'dir/', 'dir2/', 'z']);
    for (const cursor of ['nonsense', Buffer.from('[1]').toString('base64url'), Buffer.from('{}').toString('base64url')])
      expect((await faultOf(b.cloud.object.list('photos', { cursor }))).code).toBe('invalid_input');
  });
});

describe('versions', () => {
  test('are kept, listed, read, restored and deleted', async () => {
    await using b = await withBucket({ versioning: 'enabled' });
    const first = await put(b.cloud, 'photos/a', 'one');
    const second = await put(b.cloud, 'photos/a', 'two');
    expect(first.version).not.toBe(second.version);
    expect(await get(b.cloud, 'photos/a', { version: first.version })).toBe('one');
    const deleted = await b.cloud.object.delete('photos/a');
    expect(deleted).toMatchObject({ key: 'a', deleteMarker: true });
    expect(await faultOf(b.cloud.object.head('photos/a'))).toMatchObject({ code: 'not_found', hint: 'cloud object restore photos/a' });
    const versions = async () =>
      (await b.cloud.object.versions('photos/a')).items.map(({ version, deleteMarker, latest }) => ({ version, deleteMarker, latest }));
    expect(await versions()).toEqual([
      { version: deleted.version, deleteMarker: true, latest: true },
      { version: second.version, deleteMarker: false, latest: false },
      { version: first.version, deleteMarker: false, latest: false },
    ]);
    await b.cloud.object.delete('photos/a');
    expect(await b.cloud.object.restore('photos/a')).toMatchObject({ version: second.version, latest: true });
    expect(await get(b.cloud, 'photos/a')).toBe('two');
    expect((await faultOf(b.cloud.object.restore('photos/a'))).code).toBe('conflict');
    await b.cloud.object.restore('photos/a', { version: first.version });
    expect(await get(b.cloud, 'photos/a')).toBe('one');
    expect(await versions()).toHaveLength(3);
    await b.cloud.object.delete('photos/a', { version: first.version });
    expect((await faultOf(b.cloud.object.get('photos/a', { version: first.version }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.object.restore('photos/never'))).code).toBe('not_found');
    const page = await b.cloud.object.versions('photos', { limit: 1 });
    expect(page.items).toHaveLength(1);
    expect((await b.cloud.object.versions('photos', { cursor: page.cursor })).items).toHaveLength(1);
  });

  test('that are locked stay, for as long as they are', async () => {
    await using b = await withBucket({ objectLock: true });
    const made = await put(b.cloud, 'photos/a', 'one');
    const until = new Date(Date.now() + 3_600_000).toISOString();
    expect(await b.cloud.object.setLock('photos/a', { mode: 'GOVERNANCE', until })).toMatchObject({ lockMode: 'GOVERNANCE', lockedUntil: until });
    expect((await faultOf(b.cloud.object.delete('photos/a', { version: made.version }))).code).toBe('conflict');
    expect((await faultOf(b.cloud.bucket.delete('photos', { force: true }))).code).toBe('conflict');
    expect((await faultOf(b.cloud.object.setLock('photos/a', { mode: 'GOVERNANCE' }))).details).toMatchObject([{ path: 'until' }]);
    await b.cloud.object.setLock('photos/a', { legalHold: true });
    expect((await faultOf(b.cloud.object.delete('photos/a', { version: made.version, bypassGovernance: true }))).code).toBe('conflict');
    await b.cloud.object.setLock('photos/a', { legalHold: false });
    await b.cloud.object.delete('photos/a', { version: made.version, bypassGovernance: true });
    await b.cloud.bucket.delete('photos', { force: true });
  });
});

describe('a copy', () => {
  test('has the bytes and all that is said of them; a move leaves nothing behind', async () => {
    await using b = await withBucket();
    await b.cloud.bucket.create({ name: 'archive' });
    await put(b.cloud, 'photos/a', 'bytes', { metadata: { by: 'me' }, tags: { kind: 'photo' }, contentType: 'text/plain' });
    expect(await b.cloud.object.copy('photos/a', { to: 'archive/deep/b' })).toMatchObject({
      bucket: 'archive',
      key: 'deep/b',
      metadata: { by: 'me' },
      tags: { kind: 'photo' },
      contentType: 'text/plain',
    });
    expect(await get(b.cloud, 'archive/deep/b')).toBe('bytes');
    await b.cloud.object.move('photos/a', { to: 'photos/c' });
    expect(await get(b.cloud, 'photos/c')).toBe('bytes');
    expect((await faultOf(b.cloud.object.head('photos/a'))).code).toBe('not_found');
    expect((await faultOf(b.cloud.object.move('photos/c', { to: 'photos/c' }))).code).toBe('conflict');
    expect((await faultOf(b.cloud.object.move('photos/never', { to: 'photos/d' }))).code).toBe('not_found');
    expect(await b.cloud.object.setTags('photos/c', { tags: { other: 'x' } })).toMatchObject({ tags: { other: 'x' } });
  });
});

describe('an upload in parts', () => {
  const part = async (cloud: Cloud, name: string, upload: string, number: number, bytes: Buffer | string) => {
    const channel = await cloud.object.uploadPart(name, { upload, number, size: bytes.length });
    channel.input.end(bytes);
    return channel.result;
  };
  test('is an object when it is completed, and nothing when it is given up', async () => {
    await using b = await withBucket();
    const { upload } = await b.cloud.object.uploadStart('photos/big', { contentType: 'application/x' });
    const first = randomBytes(5 * 1024 * 1024);
    const parts = [await part(b.cloud, 'photos/big', upload, 1, first), await part(b.cloud, 'photos/big', upload, 2, 'tail')];
    expect((await b.cloud.object.uploadParts('photos/big', { upload })).items).toEqual(parts);
    expect((await b.cloud.object.uploads('photos')).items).toMatchObject([{ upload, key: 'big' }]);
    expect(await b.cloud.bucket.get('photos')).toMatchObject({ objects: 0, uploads: 1, uploadBytes: first.length + 4 });
    const chosen = parts.map(({ number, etag }) => ({ number, etag }));
    expect((await faultOf(b.cloud.object.uploadComplete('photos/big', { upload, parts: [{ number: 1, etag: 'wrong' }] }))).code).toBe('invalid_input');
    const done = await b.cloud.object.uploadComplete('photos/big', { upload, parts: chosen });
    expect(done).toMatchObject({ size: first.length + 4, parts: 2, contentType: 'application/x', etag: expect.stringMatching(/-2$/) });
    expect(await get(b.cloud, 'photos/big', { start: first.length })).toBe('tail');
    const other = await b.cloud.object.uploadStart('photos/none', {});
    await part(b.cloud, 'photos/none', other.upload, 1, 'x');
    await b.cloud.object.uploadAbort('photos/none', { upload: other.upload });
    expect((await faultOf(b.cloud.object.uploadParts('photos/none', { upload: other.upload }))).code).toBe('not_found');
    expect((await faultOf(b.cloud.object.uploadPart('photos/none', { upload: other.upload, number: 1 }))).code).toBe('not_found');
    expect(await b.cloud.bucket.get('photos')).toMatchObject({ objects: 1, uploads: 0, uploadBytes: 0 });
  });
});

describe('what a caller may do', () => {
  const allow = (...Action: string[]) => ({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource: '*' }] });

  test('policies speak of objects by bucket and key; a copy and a move need what they do', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.cloud.bucket.create({ name: 'photos' });
    await put(b.cloud, 'photos/public/a', 'x');
    await put(b.cloud, 'photos/private/a', 'x');
    await b.cloud.policy.create({
      name: 'some',
      document: {
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: 'object:*', Resource: '*' },
          { Effect: 'Deny', Action: ['object:get', 'object:put', 'object:delete'], Resource: 'crn:cloud:*:object:object/photos/private/*' },
        ],
      },
    });
    await b.cloud.policy.attach('some', { user: ANN });
    const ann = b.as(await b.principal(ANN));
    await get(ann, 'photos/public/a');
    for (const attempt of [
      ann.object.get('photos/private/a'),
      ann.object.put('photos/private/b'),
      ann.object.copy('photos/private/a', { to: 'photos/public/b' }),
      ann.object.copy('photos/public/a', { to: 'photos/private/b' }),
      ann.object.move('photos/private/a', { to: 'photos/public/b' }),
      ann.object.uploadStart('photos/private/b'),
      ann.object.delete('photos/public/a', { bypassGovernance: true }),
    ])
      expect((await faultOf(attempt)).code).toBe('forbidden');
    await ann.object.copy('photos/public/a', { to: 'photos/public/b' });
    await b.cloud.policy.create({ name: 'copies', document: allow('object:copy', 'object:get') });
    await b.cloud.policy.detach('some', { user: ANN });
    await b.cloud.policy.attach('copies', { user: ANN });
    expect((await faultOf(ann.object.copy('photos/public/a', { to: 'photos/public/c' }))).code).toBe('forbidden');
  });

  test('an explicit Deny of the bucket’s policy holds here too, and an administrator mends it', async () => {
    await using b = await withBucket();
    await put(b.cloud, 'photos/secret/a', 'x');
    await put(b.cloud, 'photos/open', 'x');
    await b.cloud.bucket.configure('photos', {
      name: 'policy',
      value: {
        Version: '2012-10-17',
        Statement: [
          { Sid: 'a', Effect: 'Deny', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/secret/*' },
          { Sid: 'b', Effect: 'Deny', Principal: '*', Action: 's3:DeleteBucket', Resource: 'arn:aws:s3:::photos' },
        ],
      },
    });
    for (const attempt of [
      b.cloud.object.get('photos/secret/a'),
      b.cloud.object.head('photos/secret/a'),
      b.cloud.object.copy('photos/secret/a', { to: 'photos/b' }),
      b.cloud.bucket.delete('photos', { force: true }),
    ])
      expect((await faultOf(attempt)).code).toBe('forbidden');
    expect(await get(b.cloud, 'photos/open')).toBe('x');
    await b.cloud.bucket.configure('photos', { name: 'policy' });
    expect(await get(b.cloud, 'photos/secret/a')).toBe('x');
  });

  test('everything that changes an object is one line of the audit', async () => {
    await using b = await withBucket();
    await put(b.cloud, 'photos/a', 'x');
    await b.cloud.object.copy('photos/a', { to: 'photos/b' });
    await b.cloud.object.move('photos/b', { to: 'photos/c' });
    await b.cloud.object.setTags('photos/a', { tags: { a: 'b' } });
    await b.cloud.object.delete('photos/a');
    const lines = (await b.cloud.audit.list({})).items.filter(({ permission }) => permission.startsWith('object:'));
    expect(lines.map(({ permission, target, outcome }) => `${permission} ${target} ${outcome}`).sort()).toEqual(
      ['object:copy photos/a ok', 'object:delete photos/a ok', 'object:move photos/b ok', 'object:put photos/a ok', 'object:setTags photos/a ok'].sort(),
    );
  });
});

describe('quotas', () => {
  test('of objects and bytes are counted and hold', async () => {
    await using b = await withBucket();
    await b.cloud.quota.set({ name: 'objectBytes', limit: 10 });
    await put(b.cloud, 'photos/a', '12345678');
    expect(await faultOf(put(b.cloud, 'photos/b', '123'))).toMatchObject({ code: 'quota_exceeded', hint: 'cloud quota list' });
    await put(b.cloud, 'photos/a', '1234567890');
    const used = async () => Object.fromEntries((await b.cloud.quota.list()).items.map(({ name, used }) => [name, used]));
    expect(await used()).toMatchObject({ objectBytes: 10, objects: 1, buckets: 1 });
    await b.cloud.quota.unset({ name: 'objectBytes' });
    await b.cloud.quota.set({ name: 'objects', limit: 1 });
    expect((await faultOf(put(b.cloud, 'photos/b', 'x'))).code).toBe('quota_exceeded');
    await b.cloud.object.delete('photos/a');
    expect(await used()).toMatchObject({ objectBytes: 0, objects: 0 });
    await b.cloud.bucket.update('photos', { maxBytes: 3 });
    expect((await faultOf(put(b.cloud, 'photos/a', '1234'))).code).toBe('quota_exceeded');
  });
});
