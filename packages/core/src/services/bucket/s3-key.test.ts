// Keys of S3 clients: whom they speak for, where, and how soon they end.
import { describe, expect, test } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import { type ServiceContext, service } from '../../kernel/service.ts';
import { services } from '../../services.ts';
import { faultOf } from '../../testing/bench.ts';
import { type People, people, SOURCE } from '../../testing/people.ts';
import { s3s } from './contract.ts';
import { type S3Credential, s3KeysOf } from './s3-keys.ts';
import { s3Service } from './service.ts';

const ANN = 'ann@example.com';
const DEFAULT = 'tnt-0000000000000000';

interface Keyed extends People {
  /** As the listener looks it up. */
  keyOf(accessKeyId: string): Promise<S3Credential | undefined>;
}
async function keyed(): Promise<Keyed> {
  let context: ServiceContext | undefined;
  const definition = service(s3s, (given) => {
    context = given;
    return s3Service.make(given) as never;
  });
  const b = await people({ definitions: services.map((each) => (each.contract === s3s ? definition : each)) });
  return { ...b, keyOf: (id) => s3KeysOf(context as ServiceContext).keyOf(id) };
}
const as = async (b: People, email: string): Promise<Cloud> => b.as(await b.principal(email));

describe('a key', () => {
  test('is twenty and forty characters, kept sealed, and shown with its endpoint', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const made = await ann.s3Key.create({ name: 'laptop' });
    expect(made).toMatchObject({ region: 'us-east-1', tenant: 'default' });
    expect(made.accessKeyId).toMatch(/^TC[A-Z0-9]{18}$/);
    expect(made.secretAccessKey).toMatch(/^[A-Za-z0-9]{40}$/);
    const shown = await ann.s3Key.get('laptop');
    expect(shown).toMatchObject({ accessKeyId: made.accessKeyId, owner: ANN });
    for (const table of ['r_s3_key', 's3_key', 'idempotency', 'audit', 'event'])
      expect(
        JSON.stringify(
          await b.db
            .selectFrom(table as never)
            .selectAll()
            .execute(),
        ),
        table,
      ).not.toContain(made.secretAccessKey);
    expect(await b.keyOf(made.accessKeyId)).toMatchObject({
      secret: made.secretAccessKey,
      tenantId: DEFAULT,
      tenantName: 'default',
      expired: false,
      principal: { name: ANN, credential: { kind: 'api-key', id: shown.id, tenantId: DEFAULT } },
    });
    for (const other of ['', 'TC', made.accessKeyId.toLowerCase(), `${made.accessKeyId}A`, 'TC000000000000000000'])
      expect(await b.keyOf(other)).toBeUndefined();
  });

  test('of `s3 credentials` is one for each who asks, in each tenant, and comes again after it was revoked', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    await b.tenant('other');
    const ann = await as(b, ANN);
    const first = await ann.s3.credentials();
    expect(await ann.s3.credentials()).toEqual(first);
    const local = await b.cloud.s3.credentials();
    expect(local.accessKeyId).not.toBe(first.accessKeyId);
    expect((await b.cloud.s3.credentials({}, { tenant: 'other' })).accessKeyId).not.toBe(local.accessKeyId);
    expect(await b.keyOf(local.accessKeyId)).toMatchObject({ principal: { id: 'local', tenantId: DEFAULT, credential: { tenantId: DEFAULT } } });
    const { items } = await ann.s3Key.list();
    expect(items).toHaveLength(1);
    await ann.s3Key.delete(items[0]?.name as string);
    expect(await b.keyOf(first.accessKeyId)).toBeUndefined();
    expect((await ann.s3.credentials()).accessKeyId).not.toBe(first.accessKeyId);
    expect(await faultOf(ann.s3Key.create({ name: 'default-local' }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'name' }] });
  });

  test('is seen by its owner and by administrators', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    await b.person('bob@example.com', 'developer');
    const [ann, bob] = [await as(b, ANN), await as(b, 'bob@example.com')];
    await ann.s3Key.create({ name: 'anns' });
    expect((await bob.s3Key.list()).items).toEqual([]);
    for (const attempt of [bob.s3Key.get('anns'), bob.s3Key.delete('anns')]) expect((await faultOf(attempt)).code).toBe('not_found');
    expect((await b.cloud.s3Key.list()).items.map(({ name }) => name)).toEqual(['anns']);
    await b.cloud.s3Key.delete('anns');
  });

  test('is not made with an API key, nor for those whom nobody would know again', async () => {
    await using b = await keyed();
    await b.person(ANN, 'admin');
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' });
    const byKey = await b.by(key);
    for (const attempt of [byKey.s3Key.create({ name: 'x' }), byKey.s3.credentials()]) expect((await faultOf(attempt)).code).toBe('forbidden');
    const stranger = b.as({ id: 'somebody', kind: 'user', tenantId: DEFAULT, roles: { [DEFAULT]: ['admin'] } });
    expect((await faultOf(stranger.s3.credentials())).code).toBe('conflict');
    const impostor = b.as({ id: 'local', kind: 'user', tenantId: DEFAULT, roles: { [DEFAULT]: ['developer'] } });
    expect((await faultOf(impostor.s3.credentials())).code).toBe('conflict');
  });
});

describe('a key ends', () => {
  test('when it is revoked, and when its time is over', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const at = (ms: number) => new Date(b.clock.now() + ms).toISOString();
    expect((await faultOf(ann.s3Key.create({ name: 'k', expiresAt: at(0) }))).code).toBe('invalid_input');
    const short = await ann.s3Key.create({ name: 'short', expiresAt: at(60_000) });
    expect(await b.keyOf(short.accessKeyId)).toMatchObject({ expired: false });
    b.clock.jump(60_000);
    expect(await b.keyOf(short.accessKeyId)).toMatchObject({ expired: true });
    const { accessKeyId } = await ann.s3Key.create({ name: 'k' });
    expect(await b.keyOf(accessKeyId)).toBeDefined();
    await ann.s3Key.delete('k');
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
  });

  test('while its owner is disabled, and with the account', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    const { accessKeyId } = await (await as(b, ANN)).s3.credentials();
    expect(await b.keyOf(accessKeyId)).toBeDefined();
    await b.cloud.user.update(ANN, { disabled: true });
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
    await b.cloud.user.update(ANN, { disabled: false });
    expect(await b.keyOf(accessKeyId)).toBeDefined();
    await b.cloud.user.delete(ANN);
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
    expect((await b.cloud.s3Key.list()).items).toEqual([]);
    expect(
      await b.db
        .selectFrom('s3_key' as never)
        .selectAll()
        .execute(),
    ).toEqual([]);
  });

  test('with the membership, and does not come back with it', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    const { accessKeyId } = await (await as(b, ANN)).s3.credentials();
    expect(await b.keyOf(accessKeyId)).toBeDefined();
    await b.cloud.tenantMember.remove(ANN);
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
    await b.cloud.tenantMember.add({ name: ANN, roles: ['developer'] });
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
  });

  test('with its tenant', async () => {
    await using b = await keyed();
    await b.person(ANN);
    await b.tenant('acme');
    await b.cloud.tenantMember.add({ name: ANN, roles: ['developer'] }, { tenant: 'acme' });
    const { accessKeyId } = await (await as(b, ANN)).s3.credentials({}, { tenant: 'acme' });
    expect(await b.keyOf(accessKeyId)).toMatchObject({ tenantName: 'acme' });
    await b.cloud.tenant.delete('acme', { cascade: true });
    await b.until(async () => (await b.cloud.tenant.list()).items.length === 1);
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
  });
});

describe('who has a key', () => {
  test('may what its owner may in that tenant, no more, and administers nothing', async () => {
    await using b = await keyed();
    await b.person(ANN, 'viewer');
    await b.cloud.user.update(ANN, { administrator: true });
    await b.tenant('acme');
    const { accessKeyId } = await (await as(b, ANN)).s3.credentials({}, { tenant: 'acme' });
    const { principal } = (await b.keyOf(accessKeyId)) as S3Credential;
    const cloud = b.as(principal);
    await cloud.bucket.create({ name: 'photos' });
    expect(await cloud.auth.whoami()).toMatchObject({ tenant: { name: 'acme' } });
    expect((await faultOf(cloud.bucket.list({}, { tenant: 'default' }))).code).toBe('not_found');
    expect((await faultOf(cloud.user.list())).code).toBe('forbidden');
    expect((await faultOf(cloud.s3Key.create({ name: 'x' }))).code).toBe('forbidden');
    await b.cloud.s3Key.delete(`default-${principal.id}`, {}, { tenant: 'acme' });
    expect((await faultOf(cloud.bucket.list())).code).toBe('unauthenticated');
  });

  test('a service account has keys too, and cannot go before them', async () => {
    await using b = await keyed();
    await b.cloud.serviceAccount.create({ name: 'robot', roles: ['developer'] });
    const { clientId, clientSecret } = await b.cloud.serviceAccount.rotateSecret('robot');
    const { accessToken } = (await b.open('clientToken', { clientId, clientSecret }, SOURCE)) as { accessToken: string };
    const robot = await b.by(accessToken);
    const { accessKeyId } = await robot.s3.credentials();
    expect(await b.keyOf(accessKeyId)).toMatchObject({ principal: { name: 'robot', kind: 'service-account' } });
    expect(await faultOf(b.cloud.serviceAccount.delete('robot'))).toMatchObject({ code: 'conflict', hint: `cloud s3-key delete default-${clientId}` });
    await b.cloud.serviceAccount.update('robot', { disabled: true });
    expect(await b.keyOf(accessKeyId)).toBeUndefined();
    await b.cloud.s3Key.delete(`default-${clientId}`);
    await b.cloud.serviceAccount.delete('robot');
  });

  test('after another master key it is the same key', async () => {
    await using b = await keyed();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const made = await ann.s3.credentials();
    const channel = await (await as(b, ANN)).bucket.create({ name: 'photos' });
    expect(channel.name).toBe('photos');
    await b.cloud.system.rotateMasterKey({});
    expect(await ann.s3.credentials()).toEqual(made);
    await b.cloud.user.update(ANN, { displayName: 'Ann' });
    expect(await b.keyOf(made.accessKeyId)).toMatchObject({ secret: made.secretAccessKey });
  });
});

describe('the endpoint', () => {
  test('is not there while nothing listens, and no address is signed then', async () => {
    await using b = await keyed();
    expect(await b.cloud.s3.status()).toEqual({ region: 'us-east-1' });
    await b.cloud.bucket.create({ name: 'photos' });
    expect(await faultOf(b.cloud.object.presign('photos/a', {}))).toMatchObject({ code: 'unavailable', hint: expect.stringContaining('--s3-listen') });
  });
});

describe('an address that is signed', () => {
  test('does one thing, for a while, without credentials, as long as its key lives', async () => {
    await using b = await keyed();
    await b.core.listen('s3', { host: '127.0.0.1', port: 0 });
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    await ann.bucket.create({ name: 'photos' });
    const name = 'photos/ä b/(1)+%.txt';
    const to = await ann.object.presign(name, { method: 'PUT', expires: 60 });
    expect(to.expiresAt).toBe(new Date(b.clock.now() + 60_000).toISOString());
    expect((await fetch(to.url, { method: 'PUT', body: 'hello' })).status).toBe(200);
    const from = await ann.object.presign(name, {});
    expect(await (await fetch(from.url)).text()).toBe('hello');
    expect((await fetch(from.url, { method: 'DELETE' })).status).toBe(403);
    expect((await fetch(from.url.replace('Expires=3600', 'Expires=3601'))).status).toBe(403);
    const { url } = await ann.object.presign(name, { expires: 1 });
    b.clock.jump(2_000);
    expect((await fetch(url)).status).toBe(403);
    await ann.s3Key.delete((await ann.s3Key.list()).items[0]?.name as string);
    expect((await fetch(from.url)).status).toBe(403);
    const { key } = await ann.apiKey.create({ name: 'k' });
    expect((await faultOf((await b.by(key)).object.presign(name, {}))).code).toBe('forbidden');
    expect(await b.cloud.s3.credentials()).toMatchObject({ endpoint: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/) });
  });
});
