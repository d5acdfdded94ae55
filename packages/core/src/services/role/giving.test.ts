// Nobody gives what they do not have: not by a role, a policy, a service account or its secrets, and not by shedding what narrows them.
import { describe, expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

type Cloud = Bench['cloud'];
const Version = '2012-10-17';
const allow = (...Action: string[]) => ({ Version, Statement: { Effect: 'Allow', Action, Resource: '*' } });
const deny = (...Action: string[]) => ({ Version, Statement: { Effect: 'Deny', Action, Resource: '*' } });

async function person(b: Bench, name: string, ...roles: string[]): Promise<Cloud> {
  await b.cloud.user.create({ name });
  await b.cloud.tenantMember.add({ name, roles });
  return b.as(await b.core.principal(name));
}
/** Somebody with these permissions and no others. */
async function narrow(b: Bench, ...permissions: string[]): Promise<Cloud> {
  await b.cloud.role.create({ name: 'narrow', permissions });
  return person(b, 'eve@example.com', 'narrow');
}
const refused = async (call: Promise<unknown>, missing?: string): Promise<void> =>
  expect(await faultOf(call)).toMatchObject({
    code: 'forbidden',
    details: { reason: 'nobody gives what they do not have', ...(missing === undefined ? {} : { missing }) },
  });

describe('with a custom role', () => {
  test('role:create and role:update make no wider role', async () => {
    await using b = await bench();
    const eve = await narrow(b, 'role:*', 'instance:list');
    await refused(eve.role.create({ name: 'wide', permissions: ['*'] }));
    await refused(eve.role.create({ name: 'wide', permissions: ['instance:list', 'instance:create'] }), 'instance:create');
    // What has wildcards is what it stands for, whatever it is written like.
    await refused(eve.role.create({ name: 'wide', permissions: ['INSTANCE:LIS*', 'i?stance:delete'] }), 'instance:delete');
    await eve.role.create({ name: 'same', permissions: ['instance:list', 'role:get'] });
    await refused(eve.role.update('same', { permissions: ['secret:value'] }), 'secret:value');
    await refused(eve.role.update('narrow', { permissions: ['role:*', 'instance:*'] }));
    expect(await eve.role.update('same', { permissions: ['role:get'] })).toMatchObject({ permissions: ['role:get'] });
  });

  test('role:bind and tenant-member:add and :update give no wider role, to anybody', async () => {
    await using b = await bench();
    const eve = await narrow(b, 'role:bind', 'tenant-member:*', 'vpc:get');
    await person(b, 'bob@example.com', 'viewer');
    await b.cloud.user.create({ name: 'carl@example.com' });
    await b.cloud.serviceAccount.create({ name: 'ci', roles: [] });
    await b.cloud.role.create({ name: 'wide', permissions: ['vpc:*'] });
    await b.cloud.role.create({ name: 'small', permissions: ['vpc:get'] });
    for (const role of ['admin', 'developer', 'viewer', 'wide']) {
      for (const to of [{ user: 'eve@example.com' }, { user: 'bob@example.com' }, { serviceAccount: 'ci' }]) await refused(eve.role.bind(role, to));
      await refused(eve.tenantMember.add({ name: 'carl@example.com', roles: [role] }));
      await refused(eve.tenantMember.update('eve@example.com', { roles: ['narrow', role] }));
    }
    expect(await eve.role.bind('small', { user: 'bob@example.com' })).toMatchObject({ role: 'small', name: 'bob@example.com' });
    expect(await eve.tenantMember.add({ name: 'carl@example.com', roles: ['narrow', 'small'] })).toMatchObject({ roles: ['narrow', 'small'] });
  });

  test('service accounts, their secrets and their keys are no way around', async () => {
    await using b = await bench();
    const eve = await narrow(b, 'service-account:*', 'api-key:*', 'vpc:get');
    await b.cloud.serviceAccount.create({ name: 'strong', roles: ['admin'] });
    await refused(eve.serviceAccount.create({ name: 'mine', roles: ['developer'] }));
    await eve.serviceAccount.create({ name: 'mine', roles: ['narrow'] });
    await refused(eve.serviceAccount.update('mine', { roles: ['admin'] }));
    await refused(eve.serviceAccount.rotateSecret('strong'));
    await refused(eve.apiKey.create({ name: 'k', serviceAccount: 'strong' }));
    // Whoever had its secret may still have it.
    await b.cloud.serviceAccount.update('strong', { disabled: true });
    await refused(eve.serviceAccount.update('strong', { disabled: false }));
    await eve.serviceAccount.update('mine', { disabled: true });
    await eve.serviceAccount.update('mine', { disabled: false });
    expect((await eve.serviceAccount.rotateSecret('mine')).clientSecret).toMatch(/^tcs_/);
    expect((await eve.apiKey.create({ name: 'k', serviceAccount: 'mine' })).key).toMatch(/^tck_/);
  });

  test('policy:attach puts nothing in force that is wider, nor does it widen what is', async () => {
    await using b = await bench();
    const eve = await narrow(b, 'policy:*', 'vpc:*');
    await eve.policy.create({ name: 'all', document: allow('*') });
    await eve.policy.create({ name: 'vpcs', document: allow('vpc:*') });
    await eve.policy.create({ name: 'others', document: { Version, Statement: { Effect: 'Allow', NotAction: 'vpc:*', Resource: '*' } } });
    for (const name of ['all', 'others']) {
      await refused(eve.policy.attach(name, { user: 'eve@example.com' }));
      await refused(eve.policy.attach(name, { role: 'narrow' }));
    }
    await eve.policy.attach('vpcs', { role: 'viewer' });
    await refused(eve.policy.update('vpcs', { document: allow('*') }));
    await refused(eve.policy.detach('vpcs', { role: 'viewer' }));
  });
});

describe('what a policy gives counts as what a role gives', () => {
  test('a role that has a policy gives what that allows', async () => {
    await using b = await bench();
    const eve = await narrow(b, 'role:*', 'tenant-member:*', 'service-account:*', 'vpc:get');
    await b.cloud.user.create({ name: 'carl@example.com' });
    await b.cloud.serviceAccount.create({ name: 'ci', roles: [] });
    await b.cloud.role.create({ name: 'powers', permissions: ['vpc:get'] });
    await b.cloud.policy.create({ name: 'all', document: allow('*') });
    await b.cloud.policy.attach('all', { role: 'powers' });
    await refused(eve.role.bind('powers', { user: 'eve@example.com' }));
    await refused(eve.role.bind('powers', { serviceAccount: 'ci' }));
    await refused(eve.tenantMember.add({ name: 'carl@example.com', roles: ['powers'] }));
    await refused(eve.tenantMember.update('eve@example.com', { roles: ['narrow', 'powers'] }));
    await refused(eve.serviceAccount.create({ name: 'mine', roles: ['powers'] }));
    await refused(eve.serviceAccount.update('ci', { roles: ['powers'] }));
  });

  test('a service account that has a policy may what that allows', async () => {
    await using b = await bench();
    const eve = await narrow(b, 'service-account:*', 'api-key:*');
    await b.cloud.serviceAccount.create({ name: 'ci', roles: [] });
    await b.cloud.policy.create({ name: 'all', document: allow('*') });
    await b.cloud.policy.attach('all', { serviceAccount: 'ci' });
    await refused(eve.serviceAccount.rotateSecret('ci'));
    await refused(eve.apiKey.create({ name: 'k', serviceAccount: 'ci' }));
    const { key } = await b.cloud.apiKey.create({ name: 'k', serviceAccount: 'ci' });
    expect(key).toMatch(/^tck_/);
    // Keys of others are not there for those who administer nothing.
    expect(await faultOf(eve.apiKey.rotate('k'))).toMatchObject({ code: 'not_found' });
  });
});

describe('what narrows', () => {
  /** An administrator of the tenant who may all but this, by a policy of her own. */
  async function bounded(b: Bench, ...but: string[]): Promise<Cloud> {
    const ann = await person(b, 'ann@example.com', 'admin');
    await b.cloud.policy.create({ name: 'all', document: allow('*') });
    await b.cloud.policy.create({ name: 'but', document: deny(...but) });
    for (const name of ['all', 'but']) await b.cloud.policy.attach(name, { user: 'ann@example.com' });
    return ann;
  }

  test('an administrator narrowed by policies does not shed them, nor give away what they deny', async () => {
    await using b = await bench();
    const ann = await bounded(b, 'secret:value');
    await person(b, 'bob@example.com', 'viewer');
    await b.cloud.serviceAccount.create({ name: 'strong', roles: ['admin'] });
    await refused(ann.policy.detach('but', { user: 'ann@example.com' }), 'secret:value');
    await refused(ann.policy.update('but', { document: deny('vpc:list') }), 'secret:value');
    await refused(ann.policy.attach('all', { user: 'bob@example.com' }), 'secret:value');
    await refused(ann.role.bind('admin', { user: 'bob@example.com' }), 'secret:value');
    await refused(ann.role.create({ name: 'r', permissions: ['secret:*'] }), 'secret:value');
    await refused(ann.serviceAccount.create({ name: 'sa', roles: ['admin'] }), 'secret:value');
    await refused(ann.serviceAccount.rotateSecret('strong'), 'secret:value');
    await refused(ann.apiKey.create({ name: 'k', serviceAccount: 'strong' }), 'secret:value');
    // What she has, she gives.
    await ann.role.create({ name: 'r', permissions: ['instance:*'] });
    await ann.role.bind('r', { user: 'bob@example.com' });
  });

  test('what is denied for one name, or at some times, is not given for all', async () => {
    await using b = await bench();
    const ann = await person(b, 'ann@example.com', 'admin');
    await b.cloud.policy.create({
      name: 'p',
      document: {
        Version,
        Statement: [
          { Effect: 'Allow', NotAction: ['vpc:delete', 'secret:value'], Resource: '*' },
          { Effect: 'Allow', Action: 'vpc:delete', Resource: 'crn:cloud:*:vpc:vpc/test-*' },
          { Effect: 'Allow', Action: 'secret:value', Resource: '*', Condition: { IpAddress: { 'cloud:SourceIp': '10.0.0.0/8' } } },
          { Effect: 'Deny', Action: 'queue:delete', Resource: 'crn:cloud:*:queue:queue/prod' },
        ],
      },
    });
    await b.cloud.policy.attach('p', { user: 'ann@example.com' });
    for (const permission of ['vpc:delete', 'secret:value', 'queue:delete']) {
      await refused(ann.role.create({ name: 'r', permissions: [permission] }), permission);
    }
    await ann.role.create({ name: 'r', permissions: ['vpc:create', 'secret:list', 'queue:send'] });
  });

  test('a role that carries a policy is not dropped by whom it narrows', async () => {
    await using b = await bench();
    await b.cloud.role.create({ name: 'careful', permissions: ['vpc:get'] });
    const ann = await person(b, 'ann@example.com', 'admin', 'careful');
    await b.cloud.serviceAccount.create({ name: 'robot', roles: ['admin', 'careful'] });
    await b.cloud.policy.create({
      name: 'no-secrets',
      document: { Version, Statement: [allow('*').Statement, deny('secret:value').Statement] },
    });
    await b.cloud.policy.attach('no-secrets', { role: 'careful' });
    await b.cloud.secret.create({ name: 's', value: 'hidden' });
    expect((await faultOf(ann.secret.value('s'))).code).toBe('forbidden');
    await refused(ann.role.unbind('careful', { user: 'ann@example.com' }), 'secret:value');
    await refused(ann.tenantMember.update('ann@example.com', { roles: ['admin'] }), 'secret:value');
    await refused(ann.role.unbind('careful', { serviceAccount: 'robot' }), 'secret:value');
    await refused(ann.serviceAccount.update('robot', { roles: ['admin'] }), 'secret:value');
    expect((await faultOf(ann.secret.value('s'))).code).toBe('forbidden');
    // Whoever has everything takes it away.
    await b.cloud.role.unbind('careful', { user: 'ann@example.com' });
    expect((await ann.secret.value('s')).value).toBe('hidden');
  });

  test('a key of an administrator’s, bounded by a policy, gives no more than the bounds', async () => {
    await using b = await bench();
    const ann = await person(b, 'ann@example.com', 'admin');
    await person(b, 'bob@example.com', 'viewer');
    await b.cloud.policy.create({ name: 'people', document: allow('role:*', 'tenant-member:*', 'policy:*', 'service-account:*', 'vpc:get') });
    await b.cloud.policy.create({ name: 'all', document: allow('*') });
    const { key } = await ann.apiKey.create({ name: 'k', policies: ['people'] });
    const byKey = b.as(await b.core.authenticate(key, '192.0.2.1'));
    await refused(byKey.role.create({ name: 'r', permissions: ['*'] }));
    await refused(byKey.role.bind('admin', { user: 'bob@example.com' }));
    await refused(byKey.tenantMember.update('bob@example.com', { roles: ['developer'] }));
    await refused(byKey.policy.attach('all', { user: 'bob@example.com' }));
    await refused(byKey.policy.update('people', { document: allow('*') }));
    await refused(byKey.serviceAccount.create({ name: 'sa', roles: ['admin'] }));
    expect((await faultOf(byKey.apiKey.create({ name: 'k2' }))).code).toBe('forbidden');
    await byKey.role.create({ name: 'r', permissions: ['vpc:get'] });
    await byKey.role.bind('r', { user: 'bob@example.com' });
  });

  test('what is taken away holds for giving too, from the next call on', async () => {
    await using b = await bench();
    const ann = await person(b, 'ann@example.com', 'admin');
    await person(b, 'bob@example.com', 'viewer');
    await person(b, 'root@example.com', 'admin');
    await ann.role.create({ name: 'wide', permissions: ['*'] });
    await ann.role.bind('wide', { user: 'bob@example.com' });
    await b.cloud.role.create({ name: 'binder', permissions: ['role:*'] });
    await b.cloud.tenantMember.update('ann@example.com', { roles: ['binder'] });
    await refused(ann.role.bind('wide', { user: 'ann@example.com' }));
  });
});

test('who has everything gives everything', async () => {
  await using b = await bench();
  const ann = await person(b, 'ann@example.com', 'admin');
  await b.cloud.user.create({ name: 'bob@example.com' });
  await ann.tenantMember.add({ name: 'bob@example.com', roles: ['admin'] });
  await ann.role.create({ name: 'all', permissions: ['*'] });
  await ann.role.bind('all', { user: 'bob@example.com' });
  await ann.policy.create({ name: 'all', document: allow('*') });
  await ann.policy.attach('all', { role: 'all' });
  await ann.policy.update('all', { document: allow('*:*') });
  await ann.policy.detach('all', { role: 'all' });
  await ann.serviceAccount.create({ name: 'ci', roles: ['admin', 'all'] });
  expect((await ann.serviceAccount.rotateSecret('ci')).clientSecret).toMatch(/^tcs_/);
  expect((await ann.apiKey.create({ name: 'k', serviceAccount: 'ci' })).key).toMatch(/^tck_/);
  // A custom role with everything, and a policy that allows everything, are as good.
  const bob = b.as(await b.core.principal('bob@example.com'));
  await b.cloud.role.unbind('admin', { user: 'bob@example.com' });
  await bob.role.create({ name: 'all-2', permissions: ['*'] });
  await b.cloud.policy.attach('all', { user: 'bob@example.com' });
  await bob.role.create({ name: 'all-3', permissions: ['*'] });
});

test('what changes nothing is no event', async () => {
  await using b = await bench();
  await person(b, 'ann@example.com', 'viewer');
  await b.cloud.policy.create({ name: 'all', document: allow('*') });
  for (let n = 0; n < 2; n++) await b.cloud.role.bind('developer', { user: 'ann@example.com' });
  for (let n = 0; n < 2; n++) await b.cloud.role.unbind('developer', { user: 'ann@example.com' });
  for (let n = 0; n < 2; n++) await b.cloud.policy.attach('all', { role: 'viewer' });
  for (let n = 0; n < 2; n++) await b.cloud.policy.detach('all', { role: 'viewer' });
  const types = (await b.cloud.event.list({ limit: 1000 })).items
    .map(({ type }) => type)
    .filter((type) => /^(role|policy)\.(un)?(bound|attached|detached)$/.test(type));
  expect(types).toEqual(['role.bound', 'role.unbound', 'policy.attached', 'policy.detached']);
});

test('roles and policies of one tenant mean nothing in another, though they are called the same', async () => {
  await using b = await bench();
  await b.tenant('acme');
  const there = { tenant: 'acme' };
  await b.cloud.user.create({ name: 'ann@example.com' });
  for (const at of [{}, there]) {
    await b.cloud.role.create({ name: 'ops', permissions: at === there ? ['vpc:list'] : ['vpc:*', 'queue:list'] }, at);
    await b.cloud.policy.create({ name: 'p', document: at === there ? deny('*') : allow('vpc:*') }, at);
    await b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['ops'] }, at);
  }
  const ann = b.as(await b.core.principal('ann@example.com'));
  expect((await faultOf(ann.vpc.create({ name: 'net' }, there))).code).toBe('forbidden');
  await ann.vpc.create({ name: 'net' });
  const policyHere = await b.cloud.policy.get('p');
  expect((await faultOf(b.cloud.policy.attach(policyHere.id, { role: 'ops' }, there))).code).toBe('not_found');
  await b.cloud.policy.attach('p', { role: 'ops' }, there);
  await b.cloud.policy.attach('p', { user: 'ann@example.com' }, there);
  expect((await faultOf(ann.vpc.list({}, there))).code).toBe('forbidden');
  expect((await ann.queue.list()).items).toEqual([]);
  // Whoever may not read policies is told that it was refused and no more.
  const { details, message } = await faultOf(ann.vpc.list({}, there));
  expect(details).toEqual({ permission: 'vpc:list' });
  expect(message).toBe('ann@example.com may not vpc:list here');
  await b.cloud.role.bind('admin', { user: 'ann@example.com' });
  await b.cloud.policy.create({
    name: 'no-queues',
    document: { Version, Statement: [allow('*').Statement, { Sid: 'NoQueues', ...deny('queue:*').Statement }] },
  });
  await b.cloud.policy.attach('no-queues', { user: 'ann@example.com' });
  expect((await faultOf(ann.queue.list())).details).toMatchObject({ permission: 'queue:list', policy: { name: 'no-queues', sid: 'NoQueues', statement: 1 } });
});
