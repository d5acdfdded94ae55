// Buckets through the client: names, settings that cannot be taken back, configuration, what is in them, and the end of them.
import { describe, expect, test } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import { bench, faultOf } from '../../testing/bench.ts';
import { people } from '../../testing/people.ts';

async function put(cloud: Cloud, name: string, bytes: string, options: { tenant?: string } = {}) {
  const channel = await cloud.object.put(name, {}, options);
  channel.input.end(bytes);
  return channel.result;
}

describe('a name', () => {
  test('is unique in the installation, follows the rules of S3, and is free again after the bucket', async () => {
    await using b = await bench();
    await b.tenant('other');
    const made = await b.cloud.bucket.create({ name: 'photos.of.2026' });
    expect(made).toMatchObject({ versioning: 'off', objectLock: false, encryption: true, objects: 0, versions: 0, bytes: 0, uploads: 0, uploadBytes: 0 });
    expect(await faultOf(b.cloud.bucket.create({ name: 'photos.of.2026' }, { tenant: 'other' }))).toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/unique in the installation/),
    });
    expect((await faultOf(b.cloud.bucket.get('photos.of.2026', {}, { tenant: 'other' }))).code).toBe('not_found');
    for (const name of ['ab', 'Photos', 'a..b', '10.0.0.1', '-a-', 'a_b', 'xn--abc', 'abc-s3alias', 'photos.s3', made.id]) {
      expect((await faultOf(b.cloud.bucket.create({ name }))).code, name).toBe('invalid_input');
    }
    await b.cloud.bucket.delete('photos.of.2026');
    await b.cloud.bucket.create({ name: 'photos.of.2026' }, { tenant: 'other' });
    expect((await b.cloud.quota.list()).items.find(({ name }) => name === 'buckets')?.used).toBe(0);
  });
});

describe('settings', () => {
  test('versions once kept are never forgotten, and locks keep them on', async () => {
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'plain' });
    expect(await faultOf(b.cloud.bucket.update('plain', { versioning: 'suspended' }))).toMatchObject({
      code: 'invalid_input',
      details: [{ path: 'versioning' }],
    });
    await b.cloud.bucket.update('plain', { versioning: 'enabled' });
    expect((await faultOf(b.cloud.bucket.update('plain', { versioning: 'off' }))).code).toBe('invalid_input');
    await b.cloud.bucket.update('plain', { versioning: 'suspended' });
    expect((await faultOf(b.cloud.bucket.update('plain', { versioning: 'off' }))).code).toBe('invalid_input');
    expect(await put(b.cloud, 'plain/a', 'x')).toMatchObject({ version: 'null' });
    expect(await b.cloud.bucket.create({ name: 'locked', objectLock: true })).toMatchObject({ versioning: 'enabled', objectLock: true });
    expect((await faultOf(b.cloud.bucket.update('locked', { versioning: 'suspended' }))).code).toBe('invalid_input');
    expect((await faultOf(b.cloud.bucket.create({ name: 'odd', versioning: 'suspended' }))).code).toBe('invalid_input');
    expect((await put(b.cloud, 'locked/a', 'x')).version).toMatch(/^\w{32}$/);
  });

  test('what is in it is counted, in the list too', async () => {
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
    await put(b.cloud, 'photos/a', '12345');
    await put(b.cloud, 'photos/a', '123');
    await b.cloud.object.delete('photos/a');
    const counted = { objects: 0, versions: 3, bytes: 8, uploads: 0, uploadBytes: 0 };
    expect(await b.cloud.bucket.get('photos')).toMatchObject(counted);
    expect((await b.cloud.bucket.list()).items).toMatchObject([counted]);
    expect(await b.cloud.bucket.update('photos', { labels: { a: 'b' } })).toMatchObject({ ...counted, labels: { a: 'b' } });
  });
});

describe('the end', () => {
  test('comes when it is empty, or with all that is in it', async () => {
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
    for (let number = 0; number < 120; number++) await put(b.cloud, `photos/${number}`, 'x');
    await b.cloud.object.delete('photos/1');
    await b.cloud.object.uploadStart('photos/big', {});
    const fault = await faultOf(b.cloud.bucket.delete('photos'));
    expect(fault).toMatchObject({ code: 'conflict', hint: 'cloud bucket delete photos --force' });
    expect(await b.cloud.bucket.get('photos')).toMatchObject({ versions: 121 });
    await b.cloud.bucket.delete('photos', { force: true });
    expect((await faultOf(b.cloud.bucket.get('photos'))).code).toBe('not_found');
    const used = (await b.cloud.quota.list()).items.filter(({ used: count }) => count > 0);
    expect(used).toEqual([]);
    await b.until(async () => (await b.drivers.drivers['object-store'].list(undefined, 10)).length === 0);
    for (const table of ['object_version', 'object_upload', 'object_part', 'bucket_usage', 'bucket_name', 'bucket_config'])
      expect(
        await b.db
          .selectFrom(table as never)
          .selectAll()
          .execute(),
        table,
      ).toEqual([]);
  });

  test('goes with the tenant, and what is locked in it only when that is said', async () => {
    await using b = await bench();
    await b.tenant('other');
    const there = { tenant: 'other' };
    await b.cloud.bucket.create({ name: 'theirs', objectLock: true }, there);
    await put(b.cloud, 'theirs/a', 'x', there);
    await b.cloud.object.setLock('theirs/a', { mode: 'COMPLIANCE', until: '2099-01-01T00:00:00Z', legalHold: true }, there);
    await b.cloud.s3.credentials({}, there);
    await b.cloud.s3Key.create({ name: 'laptop' }, there);
    for (const key of ['theirs/held', 'theirs/over', 'theirs/governed']) await put(b.cloud, key, 'x', there);
    await b.cloud.object.setLock('theirs/held', { legalHold: true }, there);
    await b.cloud.object.setLock('theirs/governed', { mode: 'GOVERNANCE', until: '2099-01-01T00:00:00Z' }, there);
    await b.cloud.object.setLock('theirs/over', { legalHold: true }, there);
    await b.cloud.object.setLock('theirs/over', { legalHold: false }, there);
    const locked = {
      items: [
        { object: 'theirs/a', lockedUntil: '2099-01-01T00:00:00.000Z', legalHold: true },
        { object: 'theirs/held', legalHold: true },
      ],
      total: 2,
    };
    expect(await b.cloud.tenant.contents('other')).toMatchObject({ items: [{ resource: 'bucket', name: 'theirs' }], locked });
    const refused = await faultOf(b.cloud.tenant.delete('other', { cascade: true }));
    expect([refused.code, refused.message]).toEqual(['conflict', 'The tenant other has objects under a compliance lock or a legal hold: theirs/a and 1 more']);
    expect(refused.details).toMatchObject({ locked: locked.items, total: 2 });
    expect(await b.cloud.object.head('theirs/a', {}, there)).toMatchObject({ size: 1 });
    await b.cloud.tenant.delete('other', { cascade: true, lockedObjects: true });
    await b.until(async () => (await b.cloud.tenant.list()).items.length === 1);
    for (const table of ['object_version', 'bucket_name', 's3_key', 'r_s3_key', 'r_bucket'])
      expect(
        await b.db
          .selectFrom(table as never)
          .selectAll()
          .execute(),
        table,
      ).toEqual([]);
    await b.until(async () => (await b.drivers.drivers['object-store'].list(undefined, 10)).length === 0);
    await b.cloud.bucket.create({ name: 'theirs' });
  });
});

describe('configuration', () => {
  test('each part is set, shown and removed, and nothing else is taken', async () => {
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos', objectLock: true });
    const parts: Readonly<Record<string, unknown>> = {
      acl: { owner: 'tnt-0000000000000000', grants: [{ grantee: { kind: 'all-users' }, permission: 'READ' }] },
      policy: { Version: '2012-10-17', Statement: [{ Sid: 'a', Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/*' }] },
      cors: [{ allowedOrigins: ['https://*.example.com'], allowedMethods: ['GET'], allowedHeaders: ['*'], exposeHeaders: ['etag'], maxAgeSeconds: 60 }],
      lifecycle: [{ id: 'old', enabled: true, filter: { prefix: 'tmp/' }, expiration: { days: 3 }, abortUploadDays: 1 }],
      tags: { team: 'a' },
      publicAccessBlock: { blockPublicAcls: false, ignorePublicAcls: true, blockPublicPolicy: false, restrictPublicBuckets: false },
      ownership: 'BucketOwnerPreferred',
      encryption: { algorithm: 'AES256' },
      lockDefault: { mode: 'GOVERNANCE', days: 1 },
      requestPayment: 'BucketOwner',
    };
    for (const [name, value] of Object.entries(parts)) await b.cloud.bucket.configure('photos', { name: name as 'acl', value });
    const shown = async () => Object.fromEntries((await b.cloud.bucket.configuration('photos')).items.map(({ name, value }) => [name, value]));
    expect(await shown()).toEqual(parts);
    const events = (await b.cloud.event.list({})).items.filter(({ type }) => type === 'bucket.configured');
    expect(events).toHaveLength(Object.keys(parts).length);
    const wrong: readonly (readonly [string, unknown, string])[] = [
      ['acl', { owner: 'tnt-another', grants: [] }, 'value'],
      ['policy', { Version: '2012-10-17', Statement: [{ Effect: 'Maybe' }] }, 'value'],
      ['policy', 'no json', 'value'],
      ['cors', [], 'value'],
      ['cors', [{ allowedOrigins: ['*.*'], allowedMethods: ['GET'] }], 'value.0.allowedOrigins.0'],
      ['cors', [{ allowedOrigins: ['*'], allowedMethods: ['PATCH'] }], 'value.0.allowedMethods.0'],
      ['lifecycle', [{ id: 'x', enabled: true, filter: {} }], 'value.0'],
      ['lifecycle', [{ id: 'x', enabled: true, filter: {}, expiration: { days: 0 } }], 'value.0.expiration.days'],
      ['lifecycle', [{ id: 'x', enabled: true, filter: {}, expiration: { days: 1, date: '2030-01-01T00:00:00Z' } }], 'value.0.expiration'],
      ['lifecycle', [{ id: 'x', enabled: true, filter: {}, expiration: { date: '2030-01-01T01:00:00Z' } }], 'value.0.expiration.date'],
      ['cors', [{ allowedOrigins: ['*'], allowedMethods: ['GET'], exposeHeaders: ['a\r\nset-cookie: b'] }], 'value.0.exposeHeaders.0'],
      ['tags', { 'aws:x': 'y' }, 'value'],
      ['ownership', 'Nobody', 'value'],
      ['lockDefault', { mode: 'GOVERNANCE', days: 1, years: 1 }, 'value'],
      ['encryption', { algorithm: 'AES256', kmsKeyId: 'x' }, 'value'],
      ['publicAccessBlock', { blockEverything: true }, 'value'],
      ['notifications', [{ id: 'a', events: ['ObjectCreated'], webhook: 'https://example.com' }], 'value.0.events.0'],
    ];
    for (const [name, value, path] of wrong) {
      const fault = await faultOf(b.cloud.bucket.configure('photos', { name: name as 'acl', value }));
      expect(fault, `${name} ${JSON.stringify(value)}`).toMatchObject({
        code: 'invalid_input',
        details: expect.arrayContaining([{ path, message: expect.any(String) }]),
      });
    }
    for (const name of Object.keys(parts)) await b.cloud.bucket.configure('photos', { name: name as 'acl' });
    expect(await shown()).toEqual({});
  });

  test('what forbids public access, or ACLs, holds for those that are put', async () => {
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos' });
    expect((await faultOf(b.cloud.bucket.configure('photos', { name: 'lockDefault', value: { mode: 'GOVERNANCE', days: 1 } }))).code).toBe('conflict');
    await b.cloud.bucket.configure('photos', { name: 'publicAccessBlock', value: { blockPublicPolicy: true, blockPublicAcls: true } });
    const Statement = [{ Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/*' }];
    expect((await faultOf(b.cloud.bucket.configure('photos', { name: 'policy', value: { Version: '2012-10-17', Statement } }))).code).toBe('conflict');
    const acl = { owner: 'tnt-0000000000000000', grants: [{ grantee: { kind: 'all-users' }, permission: 'READ' }] };
    expect((await faultOf(b.cloud.bucket.configure('photos', { name: 'acl', value: acl }))).code).toBe('conflict');
    await b.cloud.bucket.configure('photos', { name: 'publicAccessBlock' });
    await b.cloud.bucket.configure('photos', { name: 'ownership', value: 'BucketOwnerEnforced' });
    expect((await faultOf(b.cloud.bucket.configure('photos', { name: 'acl', value: acl }))).code).toBe('conflict');
  });
});

describe('what stands behind', () => {
  test('a verification reads everything and tells of what is damaged', async () => {
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos' });
    for (const key of ['a', 'b', 'x/c']) await put(b.cloud, `photos/${key}`, key.repeat(10));
    const verify = async (prefix = '') => {
      let [checked, bytes] = [0, 0];
      const damaged: string[] = [];
      for await (const item of b.cloud.bucket.verify('photos', { prefix })) {
        checked += item.checked;
        bytes += item.bytes;
        damaged.push(...item.damaged.map(({ key }) => key));
      }
      return { checked, bytes, damaged };
    };
    expect(await verify()).toEqual({ checked: 3, bytes: 50, damaged: [] });
    expect(await verify('x/')).toEqual({ checked: 1, bytes: 30, damaged: [] });
    const store = b.drivers.drivers['object-store'];
    const [first] = await store.list(undefined, 10);
    await store.remove([first?.id as string], new AbortController().signal);
    expect((await verify()).damaged).toHaveLength(1);
  });

  test('the cluster is shown to administrators of the installation', async () => {
    await using b = await people();
    expect(await b.cloud.bucket.clusterStatus()).toMatchObject({ engine: 'memory', nodes: expect.any(Array) });
    await b.person('ann@example.com', 'admin');
    expect((await faultOf(b.as(await b.principal('ann@example.com')).bucket.clusterStatus())).code).toBe('forbidden');
  });
});
