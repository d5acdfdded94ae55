// Whatever changes who may do what holds from the very next call on, for those who are in the middle of their work; and what one is told about oneself.
import { describe, expect, test } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import { DEFAULT_TENANT } from '../../kernel/authorize.ts';
import { faultOf } from '../../testing/bench.ts';
import { type People, people, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';
const TENANT = DEFAULT_TENANT.id;
const allow = (...Action: string[]) => ({ Version: '2012-10-17', Statement: [{ Sid: 'Yes', Effect: 'Allow', Action, Resource: '*' }] });
const deny = (...Action: string[]) => ({ Version: '2012-10-17', Statement: [{ Sid: 'No', Effect: 'Deny', Action, Resource: '*' }] });

/** Whether a call that only role or policy decides about passes now. */
const passes = async (call: Promise<unknown>): Promise<string> => call.then(() => 'ok').catch((error: { code: string }) => error.code);
const lists = (cloud: Cloud): Promise<string> => passes(cloud.queue.list());
let number = 0;
const makes = (cloud: Cloud): Promise<string> => passes(cloud.queue.create({ name: `q-${++number}` }));

/** Ann by what she proves herself with, each used once so that everything about her is in memory. */
async function everyWay(b: People): Promise<Record<string, Cloud>> {
  const session = await b.by((await b.login(ANN)).accessToken);
  const key = await b.by((await b.as(await b.principal(ANN)).apiKey.create({ name: `k-${++number}` })).key);
  const ways = { session, key, embedded: b.as(await b.principal(ANN)) };
  for (const cloud of Object.values(ways)) await lists(cloud);
  return ways;
}
const all = async (ways: Record<string, Cloud>, ask: (cloud: Cloud) => Promise<string>) =>
  [...new Set(await Promise.all(Object.values(ways).map(ask)))].join(' ');

describe('the very next call sees', () => {
  test('another role, a bound and an unbound one', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ways = await everyWay(b);
    expect(await all(ways, makes)).toBe('ok');
    await b.cloud.tenantMember.update(ANN, { roles: ['viewer'] });
    expect(await all(ways, makes)).toBe('forbidden');
    await b.cloud.role.bind('developer', { user: ANN });
    expect(await all(ways, makes)).toBe('ok');
    await b.cloud.role.unbind('developer', { user: ANN });
    expect(await all(ways, makes)).toBe('forbidden');
  });

  test('another definition of a role', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ways = await everyWay(b);
    await b.cloud.role.create({ name: 'ops', permissions: ['queue:*'] });
    await b.cloud.tenantMember.update(ANN, { roles: ['ops'] });
    expect(await all(ways, makes)).toBe('ok');
    await b.cloud.role.update('ops', { permissions: ['queue:list'] });
    expect([await all(ways, makes), await all(ways, lists)]).toEqual(['forbidden', 'ok']);
  });

  test('a policy attached, changed and detached, her own and of her role', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ways = await everyWay(b);
    await b.cloud.policy.create({ name: 'p', document: allow('queue:list') });
    for (const to of [{ user: ANN }, { role: 'developer' }]) {
      await b.cloud.policy.attach('p', to);
      expect([await all(ways, makes), await all(ways, lists)], JSON.stringify(to)).toEqual(['forbidden', 'ok']);
      await b.cloud.policy.update('p', { document: allow('queue:*') });
      expect(await all(ways, makes)).toBe('ok');
      await b.cloud.policy.update('p', { document: deny('queue:list') });
      expect([await all(ways, makes), await all(ways, lists)]).toEqual(['forbidden', 'forbidden']);
      await b.cloud.policy.detach('p', to);
      expect([await all(ways, makes), await all(ways, lists)]).toEqual(['ok', 'ok']);
      await b.cloud.policy.update('p', { document: allow('queue:list') });
    }
  });

  test('that she is no member any more', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.tenant('acme');
    b.clock.jump(1000); // the first membership is home
    await b.cloud.tenantMember.add({ name: ANN, roles: ['viewer'] }, { tenant: 'acme' });
    const { key: _, ...ways } = await everyWay(b);
    await b.cloud.tenantMember.remove(ANN);
    expect(await all(ways, (cloud) => passes(cloud.queue.list({}, { tenant: 'default' })))).toBe('not_found');
    expect(await all(ways, lists), 'her other tenant is her own now').toBe('ok');
    expect(await all(ways, makes)).toBe('forbidden');
    await b.cloud.tenantMember.remove(ANN, {}, { tenant: 'acme' });
    expect(await all(ways, lists)).toBe('forbidden');
    expect(await all(ways, (cloud) => passes(cloud.auth.whoami()))).toBe('ok');
  });

  test('that a tenant is gone', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.tenant('acme');
    b.clock.jump(1000); // the first membership is home
    await b.cloud.tenantMember.add({ name: ANN, roles: ['admin'] }, { tenant: 'acme' });
    const { key: _, ...ways } = await everyWay(b);
    const inAcme = (cloud: Cloud) => passes(cloud.queue.list({}, { tenant: 'acme' }));
    expect(await all(ways, inAcme)).toBe('ok');
    await b.cloud.tenant.delete('acme');
    await b.until(async () => (await b.cloud.tenant.list()).items.length === 1);
    expect(await all(ways, inAcme)).toBe('not_found');
    await b.tenant('acme');
    expect(await all(ways, inAcme), 'another one of that name is none of hers').toBe('not_found');
  });

  test('that she is disabled, an administrator, gone', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const ways = await everyWay(b);
    const { session, embedded } = ways as { session: Cloud; embedded: Cloud };
    expect(await passes(session.user.list())).toBe('forbidden');
    await b.cloud.user.update(ANN, { administrator: true });
    expect(await passes(session.user.list())).toBe('ok');
    await b.cloud.user.update(ANN, { administrator: false });
    expect(await passes(session.user.list())).toBe('forbidden');
    await b.cloud.user.update(ANN, { disabled: true });
    expect(await all(ways, lists)).toBe('unauthenticated');
    await b.cloud.user.update(ANN, { disabled: false });
    expect(await lists(embedded)).toBe('ok');
    await b.cloud.user.delete(ANN);
    expect(await all(ways, lists)).toBe('unauthenticated');
  });
});

describe('what is looked up while something changes', () => {
  test('by a call that began before is not kept for those that come after', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    const before = await b.directory.current(await b.principal(ANN));
    await b.cloud.tenantMember.update(ANN, { roles: ['viewer'] });
    await b.directory.grants(before, TENANT);
    const ann = b.as(await b.principal(ANN));
    expect(await makes(ann)).toBe('forbidden');
    expect((await ann.auth.whoami()).roles).toEqual(['viewer']);
  });

  test('is as it was before or after, with many calls and changes at once', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.cloud.policy.create({ name: 'a', document: allow('queue:list') });
    await b.cloud.policy.create({ name: 'b', document: allow('queue:list', 'queue:get') });
    await b.cloud.policy.attach('a', { user: ANN });
    const ann = b.as(await b.principal(ANN));
    let over = false;
    const seen = new Set<string>();
    const calling = Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!over) {
          seen.add(await makes(ann));
          await new Promise((resolve) => setImmediate(resolve));
        }
      }),
    );
    // There is always one that is attached, so her role never counts.
    for (let n = 0; n < 60; n++) {
      const [comes, goes] = n % 2 === 0 ? ['b', 'a'] : ['a', 'b'];
      await b.cloud.policy.attach(comes as string, { user: ANN });
      await b.cloud.policy.detach(goes as string, { user: ANN });
      expect((await ann.auth.whoami()).policies).toEqual([comes]);
    }
    over = true;
    await calling;
    expect([...seen]).toEqual(['forbidden']);
  });

  test('a policy that is attached and cannot be read denies everything, until it can', async () => {
    const errors: unknown[] = [];
    await using b = await people({ log: { debug() {}, info() {}, warn() {}, error: (fields) => void errors.push(fields) } });
    await b.person(ANN, 'admin');
    const { id } = await b.cloud.policy.create({ name: 'later', document: allow('*') });
    await b.cloud.policy.attach('later', { user: ANN });
    const ann = b.as(await b.principal(ANN));
    expect(await makes(ann)).toBe('ok');
    const document = { Version: '2042-01-01', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*', Unless: {} }] };
    await b.db
      .updateTable('r_policy')
      .set({ spec: JSON.stringify({ document }) })
      .where('id', '=', id)
      .execute();
    await b.cloud.policy.update('later', { description: 'touched' });
    expect([await makes(ann), await lists(ann)]).toEqual(['forbidden', 'forbidden']);
    expect(errors).toContainEqual(expect.objectContaining({ policy: id }));
    expect(await b.cloud.policy.simulate({ action: 'queue:list', user: ANN })).toMatchObject({
      allowed: false,
      by: { policy: 'later', sid: 'Unreadable' },
    });
    expect(await lists(b.cloud), 'others are not concerned').toBe('ok');
    await b.cloud.policy.update('later', { document: allow('*') });
    expect(await makes(ann)).toBe('ok');
    await b.db.deleteFrom('r_policy').where('id', '=', id).execute();
    await b.cloud.role.create({ name: 'touch', permissions: ['queue:list'] });
    expect(await makes(ann), 'nor does one that is attached and not there let her roles count').toBe('forbidden');
  });
});

describe('who one is and what one may', () => {
  test('whoami, for every kind', async () => {
    await using b = await people();
    const { id } = await b.person(ANN, 'viewer');
    await b.cloud.role.create({ name: 'ops', permissions: ['queue:*'] });
    await b.cloud.role.bind('ops', { user: ANN });
    await b.cloud.policy.create({ name: 'p', document: allow('*') });
    await b.cloud.policy.attach('p', { role: 'ops' });
    await b.person('root@example.com');
    await b.cloud.user.update('root@example.com', { administrator: true });
    await b.person('new@example.com');
    const tenant = { id: TENANT, name: 'default' };
    expect(await b.cloud.auth.whoami()).toEqual({
      id: 'local',
      name: 'local',
      kind: 'user',
      administrator: true,
      tenant,
      roles: ['admin'],
      policies: [],
      tenants: [],
      credential: { kind: 'local' },
    });
    const session = await b.login(ANN);
    expect(await (await b.by(session.accessToken)).auth.whoami()).toEqual({
      id,
      name: ANN,
      kind: 'user',
      administrator: false,
      tenant,
      roles: ['viewer', 'ops'],
      policies: ['p'],
      tenants: [{ ...tenant, roles: ['viewer', 'ops'] }],
      credential: { kind: 'session', id: expect.stringMatching(/^ses-/), expiresAt: new Date(b.clock.now() + 900_000).toISOString() },
    });
    const root = await b.login('root@example.com');
    expect(root.tenant, 'the same in the answer of the login').toEqual(tenant);
    expect(await (await b.by(root.accessToken)).auth.whoami()).toMatchObject({ administrator: true, tenant, roles: ['admin'], tenants: [] });
    const nowhere = await b.login('new@example.com');
    expect(nowhere).not.toHaveProperty('tenant');
    const whoami = await (await b.by(nowhere.accessToken)).auth.whoami();
    expect(whoami).toMatchObject({ administrator: false, roles: [], policies: [], tenants: [] });
    expect(whoami).not.toHaveProperty('tenant');
    expect((await faultOf(b.open('whoami', {}))).code).toBe('unauthenticated');
  });

  test('canI says what a call would, and in detail only to those who may read policies', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    await b.person('eve@example.com', 'admin');
    const ann = b.as(await b.principal(ANN));
    const eve = b.as(await b.principal('eve@example.com'));
    expect(await ann.auth.canI({ action: 'queue:create' })).toMatchObject({
      allowed: true,
      resource: `crn:cloud:${TENANT}:queue:queue/*`,
      reason: 'allowed by the role developer',
      by: { kind: 'role', role: 'developer' },
    });
    expect(await ann.auth.canI({ action: 'policy:attach' })).toMatchObject({ allowed: false, by: { kind: 'none' } });
    expect(await b.cloud.auth.canI({ action: 'policy:attach' })).toMatchObject({ allowed: true });
    const { id } = await b.cloud.queue.create({ name: 'prod' });
    const document = {
      Version: '2012-10-17',
      Statement: [...allow('*').Statement, { Sid: 'Keep', Effect: 'Deny', Action: 'queue:delete', Resource: 'crn:cloud:*:queue:queue/prod' }],
    };
    await b.cloud.policy.create({ name: 'keep', document });
    for (const user of [ANN, 'eve@example.com']) await b.cloud.policy.attach('keep', { user });
    await b.cloud.policy.create({ name: 'blind', document: deny('policy:*') });
    await b.cloud.policy.attach('blind', { user: ANN });
    for (const target of ['prod', id]) {
      const told = await eve.auth.canI({ action: 'queue:delete', resource: target });
      expect(told).toMatchObject({
        allowed: false,
        by: { kind: 'policy', policy: 'keep', sid: 'Keep' },
        statements: [{ matched: true }, { sid: 'Keep', matched: true }],
      });
      const brief = await ann.auth.canI({ action: 'queue:delete', resource: target });
      expect(brief).toMatchObject({ allowed: false, reason: 'a policy denies it', by: { kind: 'policy' } });
      expect(JSON.stringify(brief)).not.toMatch(/keep|Keep|blind/);
      for (const cloud of [ann, eve]) expect((await faultOf(cloud.queue.delete(target))).code).toBe('forbidden');
    }
    expect(await ann.auth.canI({ action: 'queue:delete', resource: 'other' })).toMatchObject({ allowed: true, reason: 'a policy allows it' });
    expect(await faultOf(ann.auth.canI({ action: 'queue:paint' }))).toMatchObject({ code: 'invalid_input' });
    await b.person('new@example.com');
    expect(await faultOf(b.as(await b.principal('new@example.com')).auth.canI({ action: 'queue:list' }))).toMatchObject({ code: 'forbidden' });
  });

  test('people are found by id and address, accounts and keys by id', async () => {
    await using b = await people();
    const { id } = await b.person(ANN, 'viewer');
    const account = await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] });
    const key = await b.cloud.apiKey.create({ name: 'k', serviceAccount: 'ci' });
    for (const name of [id, ANN, ' Ann@Example.com ']) expect(await b.principal(name)).toMatchObject({ id });
    expect(await b.principal(account.id)).toMatchObject({ kind: 'service-account', tenantId: TENANT });
    expect(await b.principal(key.id)).toMatchObject({ id: account.id, credential: { kind: 'api-key', id: key.id } });
    for (const name of ['local', 'system', 'ci', 'key-0000000000000000', 'nobody@example.com', ''])
      expect((await faultOf(b.principal(name))).code, name).toBe('not_found');
    await b.core.authenticate(key.key, SOURCE);
  });
});
