// Objects kept somewhere else: what the environment may say, and a whole cloud whose bytes lie in another one.
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, DeleteObjectCommand, GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { createCore, localAdministrator, type ObjectStoreOptions, objectStoreFrom, type StartableCore } from './index.ts';

const directory = mkdtempSync(join(tmpdir(), 'cloud-store-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

describe('the environment', () => {
  const keys = { CLOUD_OBJECT_STORE_ACCESS_KEY_ID: 'GK1', CLOUD_OBJECT_STORE_SECRET_ACCESS_KEY: 'top-secret' };
  const from = (value: string, more: Record<string, string | undefined> = keys) => objectStoreFrom({ CLOUD_OBJECT_STORE: value, ...more });

  test('says nothing: the data directory', () => {
    expect(objectStoreFrom({})).toBeUndefined();
    expect(objectStoreFrom({ CLOUD_OBJECT_STORE: '', ...keys })).toBeUndefined();
  });

  test('says where, as an address or as JSON', () => {
    const file = join(directory, 'secret');
    writeFileSync(file, 'top-secret\n');
    const expected = {
      endpoint: 'http://127.0.0.1:3900',
      bucket: 'cloud',
      region: 'garage',
      prefix: 'a/b/',
      accessKeyId: 'GK1',
      secretAccessKey: 'top-secret',
    };
    expect(from('http://127.0.0.1:3900/cloud/a/b?region=garage')).toEqual(expected);
    expect(from(JSON.stringify({ endpoint: 'http://127.0.0.1:3900/', bucket: 'cloud', region: 'garage', prefix: 'a/b' }))).toEqual(expected);
    expect(from('http://127.0.0.1:3900/cloud', { CLOUD_OBJECT_STORE_ACCESS_KEY_ID: 'GK1', CLOUD_OBJECT_STORE_SECRET_ACCESS_KEY_FILE: file })).toMatchObject({
      region: 'us-east-1',
      prefix: '',
      secretAccessKey: 'top-secret',
    });
    expect(
      from('http://127.0.0.1:3900/cloud?cluster=garage&cluster-endpoint=http://127.0.0.1:3903', { ...keys, CLOUD_OBJECT_STORE_CLUSTER_TOKEN: 't' })?.cluster,
    ).toEqual({ engine: 'garage', endpoint: 'http://127.0.0.1:3903', token: 't' });
  });

  test.each([
    ['ftp://127.0.0.1/cloud'],
    ['not an address'],
    ['http://127.0.0.1:3900'],
    ['http://GK1:top-secret@127.0.0.1:3900/cloud'],
    ['http://127.0.0.1:3900/cloud?secretAccessKey=top-secret'],
    ['{"endpoint":"http://127.0.0.1:3900","bucket":"cloud","prefix":"../top-secret"}'],
    ['http://127.0.0.1:3900/cloud?cluster=unknown'],
    ['{"endpoint":"http://127.0.0.1:3900","bucket":"cloud","secretAccessKey":"top-secret"}'],
    ['{"endpoint":"http://GK1:top-secret@127.0.0.1:3900","bucket":"cloud"}'],
    ['{top-secret'],
    ['http://127.0.0.1:3900/cloud/x y'],
  ])('%s is refused, without a word of secrets', (value) => {
    const refused = (() => {
      try {
        from(value);
      } catch (error) {
        return error;
      }
      return undefined;
    })();
    expect(refused).toMatchObject({ code: 'invalid_input' });
    expect(JSON.stringify([(refused as Error | undefined)?.message, refused])).not.toContain('top-secret');
  });

  test('needs credentials, one of each', () => {
    const { CLOUD_OBJECT_STORE_ACCESS_KEY_ID: id, ...secretOnly } = keys;
    for (const more of [
      {},
      secretOnly,
      { CLOUD_OBJECT_STORE_ACCESS_KEY_ID: id },
      { ...keys, CLOUD_OBJECT_STORE_SECRET_ACCESS_KEY_FILE: '/keys/secret' },
      { CLOUD_OBJECT_STORE_ACCESS_KEY_ID: id, CLOUD_OBJECT_STORE_SECRET_ACCESS_KEY_FILE: 'keys/secret' },
    ]) {
      expect(() => from('http://127.0.0.1:3900/cloud', more)).toThrow(expect.objectContaining({ code: 'invalid_input' }));
    }
  });
});

describe('one cloud behind another', () => {
  let behind: { core: StartableCore; client: S3Client };
  let objectStore: ObjectStoreOptions;
  const dataDir = join(directory, 'front');

  const open = async (path: string, more: { objectStore?: ObjectStoreOptions } = {}) => {
    const core = await createCore({ dataDir: path, drivers: 'memory', durable: false, ...more });
    const { port } = await core.listen('s3', { host: '127.0.0.1', port: 0 });
    const { value } = await core.invoke({
      service: 's3-key',
      operation: 'create',
      input: { name: `k${randomBytes(4).toString('hex')}` },
      principal: localAdministrator,
      source: 'test',
    });
    const credentials = value as { accessKeyId: string; secretAccessKey: string };
    const endpoint = `http://127.0.0.1:${port}`;
    const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1, credentials });
    return { core, client, credentials, endpoint };
  };
  beforeAll(async () => {
    const { core, client, credentials, endpoint } = await open(join(directory, 'behind'));
    behind = { core, client };
    await client.send(new CreateBucketCommand({ Bucket: 'bytes' }));
    objectStore = { endpoint, bucket: 'bytes', prefix: 'front', ...{ accessKeyId: credentials.accessKeyId, secretAccessKey: credentials.secretAccessKey } };
  });
  afterAll(async () => {
    behind.client.destroy();
    await behind.core.close();
  });
  const blobs = async () => (await behind.client.send(new ListObjectsV2Command({ Bucket: 'bytes' }))).Contents ?? [];

  test('bytes lie in the other, sealed, and go when they are deleted; nothing looks for them elsewhere', { timeout: 60_000 }, async () => {
    const bodies = [randomBytes(100), randomBytes(300_000), randomBytes(18 * 1024 * 1024)];
    const first = await open(dataDir, { objectStore });
    await first.client.send(new CreateBucketCommand({ Bucket: 'shop' }));
    for (const [at, Body] of bodies.entries()) {
      const { ETag } = await first.client.send(new PutObjectCommand({ Bucket: 'shop', Key: `k${at}`, Body }));
      expect(ETag).toBe(`"${createHash('md5').update(Body).digest('hex')}"`);
    }
    const kept = await blobs();
    expect(kept.map(({ Size }) => Size).sort((a, b) => Number(a) - Number(b))).toEqual([116, 300_000 + 5 * 16, 18 * 1024 * 1024 + 288 * 16]);
    expect(kept.every(({ Key }) => /^front\/[0-9a-f]{24}$/.test(Key ?? ''))).toBe(true);
    const lies = Buffer.from(
      await (
        (await behind.client.send(new GetObjectCommand({ Bucket: 'bytes', Key: kept[0]?.Key as string }))).Body as {
          transformToByteArray(): Promise<Uint8Array>;
        }
      ).transformToByteArray(),
    );
    expect(bodies.some((body) => lies.includes(body.subarray(0, 50)))).toBe(false);
    first.client.destroy();
    await first.core.close();

    await expect(createCore({ dataDir, drivers: 'memory', durable: false })).rejects.toMatchObject({ code: 'conflict' });
    await expect(createCore({ dataDir, drivers: 'memory', durable: false, objectStore: { ...objectStore, bucket: 'other' } })).rejects.toMatchObject({
      code: 'conflict',
    });

    const second = await open(dataDir, { objectStore });
    for (const [at, body] of bodies.entries()) {
      const { Body } = await second.client.send(new GetObjectCommand({ Bucket: 'shop', Key: `k${at}` }));
      expect(Buffer.from((await Body?.transformToByteArray()) as Uint8Array).equals(body)).toBe(true);
      await second.client.send(new DeleteObjectCommand({ Bucket: 'shop', Key: `k${at}` }));
    }
    await vi.waitFor(async () => expect(await blobs()).toEqual([]), { timeout: 10_000 });
    const { value } = await second.core.invoke({ service: 'bucket', operation: 'clusterStatus', input: {}, principal: localAdministrator, source: 'test' });
    expect(value).toMatchObject({ engine: 's3', location: `${objectStore.endpoint}/bytes/front/`, nodes: [{ state: 'up' }] });
    second.client.destroy();
    await second.core.close();

    // With no object anywhere, the place may change.
    await (await createCore({ dataDir, drivers: 'memory', durable: false })).close();
  });

  test('an engine that is away makes writes and reads fail, and nothing else', { timeout: 30_000 }, async () => {
    const away = await open(join(directory, 'away'), { objectStore: { ...objectStore, endpoint: 'http://127.0.0.1:1' } });
    await away.client.send(new CreateBucketCommand({ Bucket: 'lonely' }));
    await expect(away.client.send(new PutObjectCommand({ Bucket: 'lonely', Key: 'a', Body: 'a' }))).rejects.toMatchObject({
      $metadata: { httpStatusCode: 503 },
    });
    expect((await away.client.send(new ListObjectsV2Command({ Bucket: 'lonely' }))).KeyCount).toBe(0);
    away.client.destroy();
    await away.core.close();
  });
});
