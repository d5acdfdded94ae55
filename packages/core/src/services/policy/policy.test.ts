// Policies through the client: what is refused when it is written, to whom they are attached, and what a simulation says of them.
import { expect, test } from 'vitest';
import type { JSONType } from 'zod';
import { bench, faultOf } from '../../testing/bench.ts';

const IN = { tenant: 'acme' };
const Version = '2012-10-17';
const allow = (Action: string | string[], Resource: string | string[] = '*') => ({
  Version,
  Statement: [{ Sid: 'Allows', Effect: 'Allow', Action, Resource }],
});
const deny = (Action: string | string[], Resource: string | string[] = '*') => ({ Version, Statement: [{ Sid: 'Denies', Effect: 'Deny', Action, Resource }] });

async function house() {
  const b = await bench();
  await b.tenant('acme');
  await b.tenant('globex');
  const { id } = await b.cloud.user.create({ name: 'ann@example.com' });
  await b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['developer'] }, IN);
  await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] }, IN);
  return { b, policy: b.cloud.policy, ann: b.as(await b.core.principal('ann@example.com')), annId: id };
}
const pathsOf = async (call: Promise<unknown>) => {
  const { code, details } = await faultOf(call);
  expect(code).toBe('invalid_input');
  return (details as { path: string }[]).map(({ path }) => path);
};

test('a document that is not understood is refused whole, with the place of every problem', async () => {
  const { b, policy } = await house();
  await using _ = b;
  const wrong: Record<string, JSONType> = {
    Version,
    Statement: [
      { Effect: 'Allow', Action: 'instance:crate', Resource: '*' },
      { Effect: 'Permit', Action: 'vpc:*', Resource: 'crn:nowhere', Condition: { StringEquls: { 'cloud:PrincipalName': 'x' } } },
    ],
  };
  const create = () => policy.create({ name: 'p', document: wrong }, IN);
  expect(await pathsOf(create())).toEqual(
    expect.arrayContaining([
      'document.Statement.0.Action',
      'document.Statement.1.Effect',
      'document.Statement.1.Resource',
      'document.Statement.1.Condition.StringEquls',
    ]),
  );
  expect(JSON.stringify((await faultOf(create())).details)).toContain('did you mean instance:create');
  await policy.create({ name: 'p', document: allow('vpc:list') }, IN);
  expect(await pathsOf(policy.update('p', { document: wrong }, IN))).toContain('document.Statement.0.Action');
  expect(await pathsOf(policy.create({ name: 'q', document: {} }, IN))).toContain('document.Version');
  expect((await policy.get('p', {}, IN)).document).toEqual(allow('vpc:list'));
  expect((await policy.list({}, IN)).items).toHaveLength(1);
});

test('it is attached to a member, service account, key or role of the tenant, by name or id, twice as well as once', async () => {
  const { b, policy, annId } = await house();
  await using _ = b;
  const { id } = await policy.create({ name: 'p', document: allow('vpc:list') }, IN);
  const ci = await b.cloud.serviceAccount.get('ci', {}, IN);
  const key = await b.cloud.apiKey.create({ name: 'k', serviceAccount: 'ci' }, IN);
  const role = await b.cloud.role.create({ name: 'ops', permissions: ['vpc:*'] }, IN);
  const all = [
    [{ user: 'Ann@example.com' }, { user: annId }, { kind: 'user', id: annId, name: 'ann@example.com' }],
    [{ serviceAccount: 'ci' }, { serviceAccount: ci.id }, { kind: 'service-account', id: ci.id, name: 'ci' }],
    [{ apiKey: 'k' }, { apiKey: key.id }, { kind: 'api-key', id: key.id, name: 'k' }],
    [{ role: 'ops' }, { role: role.id }, { kind: 'role', id: 'ops', name: 'ops' }],
    [{ role: 'viewer' }, { role: 'viewer' }, { kind: 'role', id: 'viewer', name: 'viewer' }],
  ] as const;
  for (const [byName, byId, subject] of all) {
    expect(await policy.attach('p', byName, IN)).toEqual({ policy: 'p', ...subject });
    expect(await policy.attach(id, byId, IN)).toEqual({ policy: 'p', ...subject });
  }
  expect((await policy.get('p', {}, IN)).attachments).toBe(5);
  expect((await policy.list({}, IN)).items).toMatchObject([{ attachments: 5 }]);
  expect((await policy.attachments('p', {}, IN)).items).toHaveLength(5);
  expect((await policy.attachments('p', {}, IN)).items).toEqual(expect.arrayContaining(all.map(([, , subject]) => ({ policy: 'p', ...subject }))));
  expect(await faultOf(policy.delete('p', {}, IN))).toMatchObject({ code: 'conflict', message: expect.stringContaining('and 4 more') });
  for (const [byName, byId] of all) {
    await policy.detach('p', byId, IN);
    await policy.detach(id, byName, IN);
  }
  expect((await policy.get('p', {}, IN)).attachments).toBe(0);
  await policy.delete('p', {}, IN);
});

test('to exactly one, and to nobody who is not here', async () => {
  const { b, policy } = await house();
  await using _ = b;
  await b.cloud.user.create({ name: 'bob@example.com' });
  await b.cloud.tenantMember.add({ name: 'bob@example.com', roles: ['admin'] }, { tenant: 'globex' });
  await b.cloud.serviceAccount.create({ name: 'theirs', roles: [] }, { tenant: 'globex' });
  const theirKey = await b.cloud.apiKey.create({ name: 'theirs', serviceAccount: 'theirs' }, { tenant: 'globex' });
  await b.cloud.role.create({ name: 'theirs', permissions: ['vpc:*'] }, { tenant: 'globex' });
  await policy.create({ name: 'p', document: allow('vpc:list') }, IN);
  for (const operation of ['attach', 'detach'] as const) {
    expect(await pathsOf(policy[operation]('p', {}, IN))).toEqual(['user', 'serviceAccount', 'apiKey', 'role']);
    expect(await pathsOf(policy[operation]('p', { user: 'ann@example.com', role: 'viewer' }, IN))).toEqual(['user', 'role']);
    for (const to of [{ user: 'bob@example.com' }, { serviceAccount: 'theirs' }, { apiKey: 'theirs' }, { apiKey: theirKey.id }, { role: 'theirs' }])
      expect(await faultOf(policy[operation]('p', to, IN))).toMatchObject({ code: 'not_found', details: [{ path: Object.keys(to)[0] }] });
    expect((await faultOf(policy[operation]('p', { user: 'bob@example.com' }, { tenant: 'globex' }))).code).toBe('not_found');
  }
  await policy.create({ name: 'p', document: deny('*') }, { tenant: 'globex' });
  expect((await policy.get('p', {}, IN)).document).toEqual(allow('vpc:list'));
});

test('attached, changed and detached, it holds from the next call on', async () => {
  const { b, policy, ann } = await house();
  await using _ = b;
  await policy.create({ name: 'p', document: allow('vpc:*') }, IN);
  await ann.volume.list();
  await policy.attach('p', { user: 'ann@example.com' }, IN);
  await ann.vpc.create({ name: 'net' });
  expect((await faultOf(ann.volume.list())).code).toBe('forbidden');
  await policy.update('p', { document: allow(['volume:list', 'vpc:get']) }, IN);
  await ann.volume.list();
  expect((await faultOf(ann.vpc.delete('net'))).code).toBe('forbidden');
  await policy.detach('p', { user: 'ann@example.com' }, IN);
  await ann.vpc.delete('net');
  // By a role: whoever has it, and only while they have it.
  await policy.attach('p', { role: 'viewer' }, IN);
  await ann.vpc.list();
  await b.cloud.role.bind('viewer', { user: 'ann@example.com' }, IN);
  expect((await faultOf(ann.vpc.list())).code).toBe('forbidden');
  await b.cloud.role.unbind('viewer', { user: 'ann@example.com' }, IN);
  await ann.vpc.list();
});

test('an explicit deny wins over every allow, by name and by id, and for administrators of the tenant too', async () => {
  const { b, policy } = await house();
  await using _ = b;
  await b.cloud.user.create({ name: 'root@example.com' });
  await b.cloud.tenantMember.add({ name: 'root@example.com', roles: ['admin'] }, IN);
  const root = b.as(await b.core.principal('root@example.com'));
  const { id } = await b.cloud.vpc.create({ name: 'prod' }, IN);
  await b.cloud.vpc.create({ name: 'test' }, IN);
  await policy.create({ name: 'all', document: allow('*') }, IN);
  await policy.create({ name: 'but', document: deny('vpc:delete', 'crn:cloud::vpc:vpc/prod') }, IN);
  for (const name of ['all', 'but']) await policy.attach(name, { user: 'root@example.com' }, IN);
  for (const target of ['prod', id]) expect((await faultOf(root.vpc.delete(target))).code).toBe('forbidden');
  await root.vpc.delete('test');
});

test('what a key was made with counts as attached, and stays', async () => {
  const { b, policy } = await house();
  await using _ = b;
  await policy.create({ name: 'p', document: allow('vpc:list') }, IN);
  const { id, key } = await b.cloud.apiKey.create({ name: 'k', serviceAccount: 'ci', policies: ['p'] }, IN);
  expect((await policy.get('p', {}, IN)).attachments).toBe(1);
  expect((await policy.attachments('p', {}, IN)).items).toEqual([{ policy: 'p', kind: 'api-key', id, name: 'k' }]);
  expect(await faultOf(policy.detach('p', { apiKey: 'k' }, IN))).toMatchObject({ code: 'conflict', hint: 'cloud api-key revoke k' });
  expect(await faultOf(policy.delete('p', {}, IN))).toMatchObject({ code: 'conflict', hint: 'cloud api-key revoke k' });
  await policy.attach('p', { apiKey: 'k' }, IN);
  expect((await policy.get('p', {}, IN)).attachments).toBe(1);
  const keyed = b.as(await b.core.authenticate(key, '192.0.2.1'));
  await keyed.vpc.list();
  expect((await faultOf(keyed.volume.list())).code).toBe('forbidden');
  await b.cloud.apiKey.revoke('k', {}, IN);
  expect((await policy.get('p', {}, IN)).attachments).toBe(0);
  await policy.delete('p', {}, IN);
});

test('with a service account goes what was attached to it', async () => {
  const { b, policy } = await house();
  await using _ = b;
  await policy.create({ name: 'p', document: allow('vpc:list') }, IN);
  await policy.attach('p', { serviceAccount: 'ci' }, IN);
  await b.cloud.serviceAccount.delete('ci', {}, IN);
  expect((await policy.attachments('p', {}, IN)).items).toEqual([]);
});

test('a simulation says what decides, for oneself, for others and for a draft', async () => {
  const { b, policy, ann } = await house();
  await using _ = b;
  const { id } = await b.cloud.vpc.create({ name: 'prod', labels: { env: 'prod' } }, IN);
  expect(await policy.simulate({ action: 'vpc:delete', resource: 'prod', user: 'ann@example.com' }, IN)).toMatchObject({
    allowed: true,
    by: { kind: 'role', role: 'developer' },
  });
  await policy.create({ name: 'all', document: allow('*') }, IN);
  await policy.create(
    {
      name: 'but',
      document: {
        Version,
        Statement: [
          { Sid: 'NoProd', Effect: 'Deny', Action: 'vpc:delete', Resource: '*', Condition: { StringEquals: { 'cloud:ResourceLabel/env': 'prod' } } },
          { Sid: 'Inside', Effect: 'Deny', Action: 'queue:*', Resource: '*', Condition: { NotIpAddress: { 'cloud:SourceIp': '10.0.0.0/8' } } },
        ],
      },
    },
    IN,
  );
  for (const name of ['all', 'but']) await policy.attach(name, { user: 'ann@example.com' }, IN);
  const verdict = await policy.simulate({ action: 'vpc:delete', resource: 'prod', user: 'ann@example.com' }, IN);
  expect(verdict).toMatchObject({ allowed: false, by: { kind: 'policy', policy: 'but', sid: 'NoProd', statement: 0 } });
  expect(verdict.reason).toContain('NoProd');
  expect(verdict.wouldAllow).toContain('NoProd');
  expect(verdict.resource).toContain(`vpc/${id}`);
  expect(verdict.statements?.map(({ policy: of, sid, matched }) => `${of} ${sid} ${matched}`).sort()).toEqual([
    'all Allows true',
    'but Inside false',
    'but NoProd true',
  ]);
  // It is what happens.
  expect((await faultOf(ann.vpc.delete('prod'))).code).toBe('forbidden');
  const ask = (address: string) => policy.simulate({ action: 'queue:create', user: 'ann@example.com', context: { 'cloud:SourceIp': address } }, IN);
  expect([(await ask('10.1.2.3')).allowed, (await ask('192.0.2.1')).allowed]).toEqual([true, false]);

  expect(await policy.simulate({ action: 'vpc:list', serviceAccount: 'ci' }, IN)).toMatchObject({ allowed: true, by: { role: 'viewer' } });
  expect(await policy.simulate({ action: 'vpc:create', serviceAccount: 'ci' }, IN)).toMatchObject({
    allowed: false,
    wouldAllow: expect.stringContaining('vpc:create'),
  });
  await b.cloud.apiKey.create({ name: 'k', serviceAccount: 'ci', policies: ['but'] }, IN);
  expect(await policy.simulate({ action: 'vpc:list', apiKey: 'k' }, IN)).toMatchObject({ allowed: false });
  expect(await policy.simulate({ action: 'vpc:list' }, IN)).toMatchObject({ allowed: true, by: { kind: 'role', role: 'admin' } });

  const draft = { action: 'vpc:delete', document: allow('vpc:delete', 'crn:cloud::vpc:vpc/test-*') };
  expect(await policy.simulate({ ...draft, resource: 'test-1' }, IN)).toMatchObject({ allowed: true, by: { sid: 'Allows' } });
  expect(await policy.simulate({ ...draft, resource: 'prod' }, IN)).toMatchObject({ allowed: false, by: { kind: 'none' } });
  expect(await policy.simulate({ ...draft, resource: 'crn:cloud:tnt-1:vpc:vpc/test-1' }, IN)).toMatchObject({ allowed: true });
});

test('a simulation refuses what it does not know', async () => {
  const { b, policy } = await house();
  await using _ = b;
  await b.cloud.user.create({ name: 'bob@example.com' });
  expect(await pathsOf(policy.simulate({ action: 'vpc:destroy' }, IN))).toEqual(['action']);
  expect(await pathsOf(policy.simulate({ action: 'vpc:list', context: { 'cloud:Nothing': 'x' } }, IN))).toEqual(['context.cloud:Nothing']);
  expect(await pathsOf(policy.simulate({ action: 'vpc:list', document: allow('vpc:destroy') }, IN))).toContain('document.Statement.0.Action');
  expect(await pathsOf(policy.simulate({ action: 'vpc:list', user: 'ann@example.com', serviceAccount: 'ci' }, IN))).toEqual(['user', 'serviceAccount']);
  expect((await faultOf(policy.simulate({ action: 'vpc:list', user: 'bob@example.com' }, IN))).code).toBe('not_found');
});

test('lint says what is wrong and what is suspicious, and keeps nothing', async () => {
  const { b, policy } = await house();
  await using _ = b;
  expect(await policy.lint({ document: deny('vpc:delete') }, IN)).toMatchObject({ ok: true });
  const { ok, findings } = await policy.lint({ document: allow('vpc:destroy') }, IN);
  expect(ok).toBe(false);
  expect(findings).toMatchObject([{ level: 'error', path: 'Statement.0.Action' }]);
  expect((await policy.list({}, IN)).items).toEqual([]);
});

test('policies are for those who administer the tenant', async () => {
  const { b, policy, ann } = await house();
  await using _ = b;
  await policy.create({ name: 'p', document: allow('vpc:list') }, IN);
  for (const call of [
    ann.policy.list(),
    ann.policy.get('p'),
    ann.policy.create({ name: 'q', document: allow('*') }),
    ann.policy.attach('p', { user: 'ann@example.com' }),
    ann.policy.detach('p', { user: 'ann@example.com' }),
    ann.policy.simulate({ action: 'vpc:list' }),
    ann.policy.lint({ document: allow('*') }),
  ])
    expect((await faultOf(call)).code).toBe('forbidden');
  // What she may not read she is not told either.
  await policy.create({ name: 'hidden-name', document: deny('vpc:list') }, IN);
  await policy.attach('hidden-name', { user: 'ann@example.com' }, IN);
  const fault = await faultOf(ann.vpc.list());
  expect(JSON.stringify(fault)).not.toContain('hidden-name');
  expect(JSON.stringify(await ann.auth.canI({ action: 'vpc:list' }))).not.toContain('hidden-name');
});

test('policies count, and a limit of them holds', async () => {
  const { b, policy } = await house();
  await using _ = b;
  await b.cloud.quota.set({ name: 'policies', limit: 1 }, IN);
  await policy.create({ name: 'one', document: allow('vpc:list') }, IN);
  expect((await faultOf(policy.create({ name: 'two', document: allow('vpc:list') }, IN))).code).toBe('quota_exceeded');
});
