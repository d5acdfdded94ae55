// API keys: shown once, kept as hashes, acting as their owners within what bounds them, and dead at once when they are to be.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import { faultOf } from '../../testing/bench.ts';
import { type People, people, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';
const BOB = 'bob@example.com';
const allow = (...Action: string[]) => ({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource: '*' }] });
const deny = (...Action: string[]) => ({ Version: '2012-10-17', Statement: [{ Effect: 'Deny', Action, Resource: '*' }] });
const dead = async (b: People, key: string) => expect((await faultOf(b.core.authenticate(key, SOURCE))).code).toBe('unauthenticated');
const as = async (b: People, email: string): Promise<Cloud> => b.as(await b.principal(email));

describe('a key', () => {
  test('is shown when it is made and never again, and stored as a hash', async () => {
    await using b = await people();
    const { id } = await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const made = await ann.apiKey.create({ name: 'backup', description: 'Nightly' });
    expect(made).toMatchObject({ name: 'backup', ownerId: id, owner: ANN, state: 'active', hint: made.key.slice(0, 12) });
    expect(made.key).toMatch(/^tck_[0-9a-z]{16}_[\w-]{43}$/);
    for (const shown of [await ann.apiKey.get('backup'), (await ann.apiKey.list()).items[0], await ann.apiKey.update('backup', { description: 'x' })]) {
      expect(shown).not.toHaveProperty('key');
      expect(JSON.stringify(shown)).not.toMatch(/hash/i);
      expect(JSON.stringify(shown)).not.toContain(made.key.slice(-43));
    }
    expect(JSON.stringify(await b.db.selectFrom('r_api_key').selectAll().execute())).not.toContain(made.key.slice(-43));
    const byKey = await b.by(made.key);
    expect(await byKey.auth.whoami()).toMatchObject({ id, name: ANN, roles: ['developer'], credential: { kind: 'api-key', id: made.id } });
    await byKey.queue.create({ name: 'q' });
    expect((await b.cloud.audit.list({})).items.find(({ permission }) => permission === 'queue:create')).toMatchObject({ principal: id, credential: made.id });
  });

  test('of a wrong shape, id or secret is nobody', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' });
    for (const wrong of [
      `${key}x`,
      key.slice(0, -1),
      `${key.slice(0, -1)}${key.endsWith('A') ? 'B' : 'A'}`,
      key.replace(/^tck_./, 'tck_0'.endsWith(key[4] as string) ? 'tck_1' : 'tck_0'),
      ` ${key}`,
      `${key}\n`,
      'tck_',
      key.toUpperCase(),
    ])
      await dead(b, wrong);
    await b.core.authenticate(key, SOURCE);
  });

  test('repeated with the same idempotency key is the same key', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const once = await ann.apiKey.create({ name: 'k' }, { idempotencyKey: 'one' });
    expect(await ann.apiKey.create({ name: 'k' }, { idempotencyKey: 'one' })).toEqual(once);
    const rows = await b.db.selectFrom('idempotency').selectAll().execute();
    expect(JSON.stringify(rows)).not.toContain(once.key);
  });

  test('is seen by its owner and by administrators; to others it is not there', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.person(BOB, 'developer');
    await b.person('eve@example.com', 'admin');
    const [ann, bob, eve] = [await as(b, ANN), await as(b, BOB), await as(b, 'eve@example.com')];
    const { id, key } = await ann.apiKey.create({ name: 'anns' });
    await bob.apiKey.create({ name: 'bobs' });
    const names = async (cloud: Cloud) => (await cloud.apiKey.list()).items.map(({ name }) => name).sort();
    expect([await names(ann), await names(bob), await names(eve), await names(b.cloud)]).toEqual([['anns'], ['bobs'], ['anns', 'bobs'], ['anns', 'bobs']]);
    expect((await eve.apiKey.list({ limit: 1 })).cursor).toBeDefined();
    const none = (await faultOf(bob.apiKey.get('nothing'))).message;
    for (const target of ['anns', id]) {
      for (const attempt of [bob.apiKey.get(target), bob.apiKey.update(target, { description: 'x' }), bob.apiKey.rotate(target), bob.apiKey.revoke(target)]) {
        const fault = await faultOf(attempt);
        expect([fault.code, fault.message]).toEqual(['not_found', none.replace('nothing', target)]);
      }
    }
    await b.core.authenticate(key, SOURCE);
    for (const admin of [eve, b.cloud]) {
      expect(await faultOf(admin.apiKey.rotate('anns')), 'nobody takes the key of another').toMatchObject({ code: 'forbidden' });
    }
    await b.core.authenticate(key, SOURCE);
    await eve.apiKey.revoke('anns');
    await dead(b, key);
  });

  test('is rotated: the old one dies at once, or after a grace', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const first = await ann.apiKey.create({ name: 'k' });
    const second = await ann.apiKey.rotate('k');
    expect(second).toMatchObject({ id: first.id, rotatedAt: new Date(b.clock.now()).toISOString() });
    await dead(b, first.key);
    const third = await ann.apiKey.rotate('k', { grace: 60 });
    await b.core.authenticate(second.key, SOURCE);
    await b.core.authenticate(third.key, SOURCE);
    await dead(b, first.key);
    b.clock.jump(60_000);
    await dead(b, second.key);
    await b.core.authenticate(third.key, SOURCE);
    const fourth = await ann.apiKey.rotate('k', { grace: 600 });
    const fifth = await ann.apiKey.rotate('k');
    await dead(b, third.key);
    await dead(b, fourth.key);
    await b.core.authenticate(fifth.key, SOURCE);
  });

  test('is revoked from the next call on, whoever holds it', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const { key } = await ann.apiKey.create({ name: 'k' });
    const held = await b.by(key);
    await held.queue.list();
    await ann.apiKey.revoke('k');
    expect((await faultOf(held.queue.list())).code).toBe('unauthenticated');
    await dead(b, key);
  });

  test('expires', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const at = (ms: number) => new Date(b.clock.now() + ms).toISOString();
    expect((await faultOf(ann.apiKey.create({ name: 'k', expiresAt: at(0) }))).code).toBe('invalid_input');
    const { key } = await ann.apiKey.create({ name: 'k', expiresAt: at(60_000) });
    const held = await b.by(key);
    b.clock.jump(59_999);
    await held.queue.list();
    b.clock.jump(1);
    expect((await faultOf(held.queue.list())).code).toBe('unauthenticated');
    await dead(b, key);
    expect(await ann.apiKey.get('k')).toMatchObject({ state: 'expired' });
  });

  test('makes no keys, and gives none a new secret', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' });
    const byKey = await b.by(key);
    expect(await faultOf(byKey.apiKey.create({ name: 'other' }))).toMatchObject({ code: 'forbidden' });
    expect(await faultOf(byKey.apiKey.rotate('k'))).toMatchObject({ code: 'forbidden' });
    await byKey.apiKey.revoke('k');
    await dead(b, key);
  });

  test('is not for those whom the directory does not have', async () => {
    await using b = await people();
    expect(await faultOf(b.cloud.apiKey.create({ name: 'k' }))).toMatchObject({ code: 'conflict' });
  });

  test('is good for its tenant only, and administers nothing', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    await b.cloud.user.update(ANN, { administrator: true });
    await b.tenant('acme');
    const ann = await as(b, ANN);
    const inAcme = await ann.apiKey.create({ name: 'k' }, { tenant: 'acme' });
    const byKey = await b.by(inAcme.key);
    expect(await byKey.auth.whoami()).toMatchObject({ tenant: { name: 'acme' }, roles: ['admin'] });
    expect((await byKey.tenant.list()).items.map(({ name }) => name)).toEqual(['acme']);
    await byKey.queue.create({ name: 'q' });
    expect((await faultOf(byKey.queue.list({}, { tenant: 'default' }))).code).toBe('not_found');
    expect((await faultOf(byKey.user.list())).code).toBe('forbidden');
    expect((await faultOf(byKey.auth.rotateKeys({}))).code).toBe('forbidden');
    expect((await byKey.event.list({})).items.filter(({ resource }) => resource === 'user')).toEqual([]);
    await b.cloud.user.delete(ANN);
    await dead(b, inAcme.key);
    expect(await b.cloud.apiKey.list({}, { tenant: 'acme' }), 'nothing of it is left').toEqual({ items: [] });
  });

  test('dies with the membership, and does not come back with it', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' });
    const held = await b.by(key);
    await b.cloud.tenantMember.remove(ANN);
    expect((await faultOf(held.auth.whoami())).code).toBe('unauthenticated');
    await b.cloud.tenantMember.add({ name: ANN, roles: ['developer'] });
    await dead(b, key);
  });

  test('dies with its tenant', async () => {
    await using b = await people();
    await b.person(ANN);
    await b.tenant('acme');
    await b.cloud.tenantMember.add({ name: ANN, roles: ['admin'] }, { tenant: 'acme' });
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' }, { tenant: 'acme' });
    const held = await b.by(key);
    await held.auth.whoami();
    await b.cloud.tenant.delete('acme', { cascade: true });
    await b.until(async () => (await b.cloud.tenant.list()).items.length === 1);
    await dead(b, key);
    expect((await faultOf(held.auth.whoami())).code).toBe('unauthenticated');
  });

  test('sleeps while its owner is disabled', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' });
    const held = await b.by(key);
    await b.cloud.user.update(ANN, { disabled: true });
    expect((await faultOf(held.queue.list())).code).toBe('unauthenticated');
    await dead(b, key);
    await b.cloud.user.update(ANN, { disabled: false });
    await held.queue.list();
    await b.cloud.user.delete(ANN);
    await dead(b, key);
  });
});

describe('policies of a key', () => {
  test('given when it is made, narrow and never widen', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.cloud.policy.create({ name: 'reads', document: allow('queue:list', 'queue:get', 'role:create') });
    const ann = await as(b, ANN);
    const { key } = await ann.apiKey.create({ name: 'k', policies: ['reads'] });
    const byKey = await b.by(key);
    await byKey.queue.list();
    expect((await faultOf(byKey.queue.create({ name: 'q' }))).code).toBe('forbidden');
    expect((await faultOf(byKey.role.create({ name: 'r', permissions: ['queue:list'] }))).code).toBe('forbidden');
    await ann.queue.create({ name: 'q' });
    expect(await byKey.auth.whoami()).toMatchObject({ policies: ['reads'] });
    expect(await byKey.auth.canI({ action: 'queue:create' })).toMatchObject({ allowed: false });
    expect(await ann.auth.canI({ action: 'queue:create' })).toMatchObject({ allowed: true, by: { kind: 'role', role: 'developer' } });
    expect(await faultOf(b.cloud.policy.delete('reads')), 'what bounds a key stays').toMatchObject({ code: 'conflict' });
    await b.cloud.policy.update('reads', { document: allow('queue:get') });
    expect((await faultOf(byKey.queue.list())).code).toBe('forbidden');
  });

  test('attached later hold from the next call on, until detached', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    await b.cloud.policy.create({ name: 'reads', document: allow('queue:list') });
    await b.cloud.policy.create({ name: 'no-lists', document: deny('queue:list') });
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k' });
    const byKey = await b.by(key);
    await byKey.queue.create({ name: 'q' });
    await b.cloud.policy.attach('reads', { apiKey: 'k' });
    expect((await faultOf(byKey.queue.delete('q'))).code).toBe('forbidden');
    await byKey.queue.list();
    await b.cloud.policy.attach('no-lists', { apiKey: 'k' });
    expect((await faultOf(byKey.queue.list())).code).toBe('forbidden');
    await b.cloud.policy.detach('no-lists', { apiKey: 'k' });
    await byKey.queue.list();
    await b.cloud.policy.detach('reads', { apiKey: 'k' });
    await byKey.queue.delete('q');
  });

  test('with only a Deny allow nothing', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    await b.cloud.policy.create({ name: 'no-lists', document: deny('queue:list') });
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k', policies: ['no-lists'] });
    const byKey = await b.by(key);
    expect((await faultOf(byKey.queue.create({ name: 'q' }))).code).toBe('forbidden');
    expect((await faultOf(byKey.queue.list())).code).toBe('forbidden');
  });

  test('are widened by nobody through the key itself', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    await b.cloud.policy.create({ name: 'writes-policies', document: allow('policy:*') });
    const { key } = await (await as(b, ANN)).apiKey.create({ name: 'k', policies: ['writes-policies'] });
    const byKey = await b.by(key);
    await byKey.policy.list();
    expect((await faultOf(byKey.policy.update('writes-policies', { document: allow('*') }))).code).toBe('forbidden');
    await byKey.policy.update('writes-policies', { description: 'still' });
  });

  test('a key that goes while its call is being looked at is refused, not unbound', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    const { id: tenantId } = await b.cloud.tenant.get('default');
    await b.cloud.policy.create({ name: 'reads', document: allow('queue:list') });
    const made = await (await as(b, ANN)).apiKey.create({ name: 'k', policies: ['reads'] });
    const { directory } = b;
    const principal = await directory.authenticate(made.key, SOURCE);
    await b.cloud.apiKey.revoke('k');
    expect((await faultOf(directory.grants(principal, tenantId))).code).toBe('unauthenticated');
  });
});

describe('when a key was used', () => {
  test('is written down once a minute, and at the end', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-key-'));
    const first = await people({ dataDir });
    await first.person(ANN, 'developer');
    const ann = await as(first, ANN);
    const { key } = await ann.apiKey.create({ name: 'k' });
    expect(await ann.apiKey.get('k')).not.toHaveProperty('lastUsedAt');
    const t0 = first.clock.now();
    await first.core.authenticate(key, '192.0.2.7');
    await first.until(async () => (await ann.apiKey.get('k')).lastUsedAt !== undefined, 0);
    expect(await ann.apiKey.get('k')).toMatchObject({ lastUsedAt: new Date(t0).toISOString(), lastUsedFrom: '192.0.2.7' });
    first.clock.jump(59_000);
    for (let n = 0; n < 10; n++) await first.core.authenticate(key, '192.0.2.8');
    expect((await ann.apiKey.get('k')).lastUsedFrom).toBe('192.0.2.7');
    await first.close();
    await using b = await people({ dataDir, clock: first.clock });
    expect(await (await as(b, ANN)).apiKey.get('k')).toMatchObject({ lastUsedAt: new Date(t0 + 59_000).toISOString(), lastUsedFrom: '192.0.2.8' });
    rmSync(dataDir, { recursive: true });
  });

  test('of one that was revoked leaves nothing', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ann = await as(b, ANN);
    const { key } = await ann.apiKey.create({ name: 'k' });
    await b.core.authenticate(key, SOURCE);
    await b.core.authenticate(key, SOURCE);
    await ann.apiKey.revoke('k');
    await b.clock.advance(61 * 60_000);
    expect(
      await b.db
        .selectFrom('api_key_use' as never)
        .selectAll()
        .execute(),
    ).toEqual([]);
  });
});
