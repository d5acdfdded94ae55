// What a call does besides takes the permission that it takes by itself: tags, locks, keys of the tenant's own.
import { expect, test } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import { bench, faultOf } from '../../testing/bench.ts';

const ALL = { Effect: 'Allow', Action: '*', Resource: '*' };
const document = (...Statement: Record<string, string>[]) => ({ Version: '2012-10-17', Statement });

type PutInput = Parameters<Cloud['object']['put']>[1];
async function put(cloud: Cloud, name: string, input: PutInput = {}) {
  const channel = await cloud.object.put(name, input);
  channel.input.on('error', () => undefined);
  channel.input.end('bytes');
  return channel.result;
}
async function get(cloud: Cloud, name: string): Promise<string> {
  const channel = await cloud.object.get(name);
  let text = '';
  for await (const piece of channel.output) text += String(piece);
  await channel.result;
  return text;
}

test('a key that may not use an encryption key does not get at what that sealed through its owner', async () => {
  await using b = await bench();
  await b.cloud.kmsKey.create({ name: 'mine' });
  await b.cloud.bucket.create({ name: 'photos' });
  await b.cloud.bucket.configure('photos', { name: 'encryption', value: { algorithm: 'aws:kms', kmsKeyId: 'mine' } });
  await put(b.cloud, 'photos/k');
  await b.cloud.serviceAccount.create({ name: 'ci', roles: ['developer'] });
  await b.cloud.policy.create({ name: 'sealed', document: document(ALL, { Effect: 'Deny', Action: 'kms-key:*', Resource: '*' }) });
  await b.cloud.apiKey.create({ name: 'free', serviceAccount: 'ci' });
  await b.cloud.apiKey.create({ name: 'bound', serviceAccount: 'ci', policies: ['sealed'] });
  const as = async (name: string) => b.as(await b.core.principal((await b.cloud.apiKey.get(name)).id));
  const [free, bound] = [await as('free'), await as('bound')];
  expect(await get(free, 'photos/k')).toBe('bytes');
  expect(await faultOf(get(bound, 'photos/k'))).toMatchObject({ code: 'forbidden' });
  expect(await faultOf(put(bound, 'photos/l'))).toMatchObject({ code: 'forbidden' });
  expect(await faultOf(bound.object.copy('photos/k', { to: 'photos/m' }))).toMatchObject({ code: 'forbidden' });
});

test('tags along with bytes take the permission to set tags', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos' });
  await put(b.cloud, 'photos/tagged', { tags: { team: 'blue' } });
  await b.cloud.role.create({ name: 'writer', permissions: ['object:put', 'object:get', 'object:copy', 'object:uploadStart'] });
  await b.cloud.serviceAccount.create({ name: 'ci', roles: ['writer'] });
  const writer = b.as(await b.core.principal((await b.cloud.serviceAccount.get('ci')).id));
  expect(await put(writer, 'photos/k')).toMatchObject({ size: 5 });
  const tags = { team: 'blue' };
  expect(await faultOf(put(writer, 'photos/k', { tags }))).toMatchObject({ code: 'forbidden', details: { permission: 'object:setTags' } });
  expect(await faultOf(writer.object.uploadStart('photos/k', { tags }))).toMatchObject({ code: 'forbidden' });
  expect(await faultOf(writer.object.copy('photos/tagged', { to: 'photos/l' }))).toMatchObject({ code: 'forbidden' });
  expect(await writer.object.copy('photos/k', { to: 'photos/l' })).toMatchObject({ key: 'l' });
  // And none may where the bucket's policy says so.
  const deny = { Effect: 'Deny', Principal: '*', Action: 's3:PutObjectTagging', Resource: 'arn:aws:s3:::photos/*' };
  await b.cloud.bucket.configure('photos', { name: 'policy', value: document(deny) });
  expect(await faultOf(put(b.cloud, 'photos/k', { tags }))).toMatchObject({ code: 'forbidden' });
  expect(await put(b.cloud, 'photos/k')).toMatchObject({ tags: {} });
});

test('a retention that is set along with a legal hold is a retention', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos', objectLock: true });
  await put(b.cloud, 'photos/k');
  const deny = { Effect: 'Deny', Principal: '*', Action: 's3:PutObjectRetention', Resource: 'arn:aws:s3:::photos/*' };
  await b.cloud.bucket.configure('photos', { name: 'policy', value: document(deny) });
  const until = new Date(b.clock.now() + 86_400_000).toISOString();
  expect(await faultOf(b.cloud.object.setLock('photos/k', { mode: 'COMPLIANCE', until, legalHold: false }))).toMatchObject({ code: 'forbidden' });
  expect(await b.cloud.object.setLock('photos/k', { legalHold: false })).toMatchObject({ legalHold: false });
});

test('a bucket goes with what is in it where that may be deleted', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
  await put(b.cloud, 'photos/k');
  await b.cloud.object.uploadStart('photos/u', {});
  await b.cloud.role.create({ name: 'cleaner', permissions: ['bucket:delete'] });
  await b.cloud.serviceAccount.create({ name: 'ci', roles: ['cleaner'] });
  const cleaner = b.as(await b.core.principal((await b.cloud.serviceAccount.get('ci')).id));
  expect(await faultOf(cleaner.bucket.delete('photos', { force: true }))).toMatchObject({ code: 'forbidden', details: { permission: 'object:delete' } });
  const deny = { Effect: 'Deny', Principal: '*', Action: 's3:DeleteObjectVersion', Resource: 'arn:aws:s3:::photos/k' };
  await b.cloud.bucket.configure('photos', { name: 'policy', value: document(deny) });
  expect(await faultOf(b.cloud.bucket.delete('photos', { force: true }))).toMatchObject({ code: 'forbidden' });
  expect(await b.cloud.object.list('photos', {})).toMatchObject({ items: [{ key: 'k' }] });
  await b.cloud.bucket.configure('photos', { name: 'policy' });
  await b.cloud.bucket.delete('photos', { force: true });
  expect((await b.cloud.bucket.list({})).items).toEqual([]);
});

test('a Deny of versioning holds for calls, too', async () => {
  await using b = await bench();
  await b.cloud.bucket.create({ name: 'photos' });
  const deny = { Effect: 'Deny', Principal: '*', Action: 's3:PutBucketVersioning', Resource: 'arn:aws:s3:::photos' };
  await b.cloud.bucket.configure('photos', { name: 'policy', value: document(deny) });
  expect(await faultOf(b.cloud.bucket.update('photos', { versioning: 'enabled' }))).toMatchObject({ code: 'forbidden' });
  expect(await b.cloud.bucket.update('photos', { maxObjects: 5 })).toMatchObject({ versioning: 'off' });
});
