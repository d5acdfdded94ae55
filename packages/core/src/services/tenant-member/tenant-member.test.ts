// Members through the client: who is added, found by which name, and why the last administrator stays.
import { expect, test } from 'vitest';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const IN = { tenant: 'acme' };

async function two() {
  const b = await bench();
  await b.tenant('acme');
  await b.tenant('globex');
  return b;
}
async function person(b: Bench, name: string, tenants: Record<string, string[]> = {}) {
  const user = await b.cloud.user.create({ name });
  for (const [tenant, roles] of Object.entries(tenants)) await b.cloud.tenantMember.add({ name, roles }, { tenant });
  return { id: user.id, cloud: b.as(await b.core.principal(name)) };
}

test('a user is added by e-mail address or id, and found by both and by the id of the membership', async () => {
  await using b = await two();
  const { tenantMember } = b.cloud;
  const ann = await person(b, 'ann@example.com');
  const bob = await person(b, 'bob@example.com');
  const member = await tenantMember.add({ name: ' Ann@Example.com ', roles: ['developer', 'viewer', 'developer'] }, IN);
  expect(member).toMatchObject({ name: 'ann@example.com', userId: ann.id, roles: ['developer', 'viewer'] });
  expect(member.id).toMatch(/^mbr-/);
  expect(await tenantMember.add({ name: bob.id, roles: ['viewer'] }, IN)).toMatchObject({ name: 'bob@example.com', userId: bob.id });
  for (const target of ['ann@example.com', 'ANN@example.com', ann.id, member.id]) {
    expect((await tenantMember.get(target, {}, IN)).id).toBe(member.id);
    expect((await tenantMember.update(target, { roles: ['viewer'] }, IN)).id).toBe(member.id);
  }
  expect((await tenantMember.list({}, IN)).items.map(({ name }) => name)).toEqual(['ann@example.com', 'bob@example.com']);
  expect((await tenantMember.list({}, { tenant: 'globex' })).items).toEqual([]);
  for (const target of [ann.id, member.id, 'ann@example.com']) {
    expect((await faultOf(tenantMember.get(target, {}, { tenant: 'globex' }))).code).toBe('not_found');
    expect((await faultOf(tenantMember.remove(target, {}, { tenant: 'globex' }))).code).toBe('not_found');
  }
  expect((await faultOf(tenantMember.add({ name: ann.id, roles: ['admin'] }, IN))).code).toBe('conflict');
  expect(await faultOf(tenantMember.add({ name: 'carl@example.com', roles: ['admin'] }, IN))).toMatchObject({
    code: 'not_found',
    hint: 'cloud user create carl@example.com',
  });
  for (const target of [bob.id, 'ann@example.com']) await tenantMember.remove(target, {}, IN);
  expect((await tenantMember.list({}, IN)).items).toEqual([]);
});

test('roles must be there, in this tenant', async () => {
  await using b = await two();
  await person(b, 'ann@example.com');
  await b.cloud.role.create({ name: 'web-ops', permissions: ['instance:*'] }, { tenant: 'globex' });
  const add = (roles: string[]) => b.cloud.tenantMember.add({ name: 'ann@example.com', roles }, IN);
  expect(await faultOf(add(['viewer', 'develper']))).toMatchObject({
    code: 'invalid_input',
    message: 'roles.1: there is no role "develper"; did you mean developer?',
    details: [{ path: 'roles.1' }],
  });
  const fault = await faultOf(add(['web-ops']));
  expect(fault.code).toBe('invalid_input');
  expect(fault.message).not.toContain('did you mean');
  expect((await faultOf(add([]))).code).toBe('invalid_input');
  await b.cloud.role.create({ name: 'web-ops', permissions: ['instance:*'] }, IN);
  expect(await add(['web-ops', 'viewer'])).toMatchObject({ roles: ['web-ops', 'viewer'] });
  expect((await faultOf(b.cloud.tenantMember.update('ann@example.com', { roles: ['wep-ops'] }, IN))).message).toContain('did you mean web-ops?');
});

test('what a member may follows from the next call on', async () => {
  await using b = await two();
  const ann = await person(b, 'ann@example.com', { acme: ['viewer'] });
  expect((await faultOf(ann.cloud.vpc.create({ name: 'net' }))).code).toBe('forbidden');
  await b.cloud.tenantMember.update('ann@example.com', { roles: ['developer'] }, IN);
  await ann.cloud.vpc.create({ name: 'net' });
  await b.cloud.tenantMember.remove('ann@example.com', {}, IN);
  expect((await faultOf(ann.cloud.vpc.list({}, IN))).code).toBe('not_found');
  await b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['viewer'] }, { tenant: 'globex' });
  expect((await ann.cloud.vpc.list({}, { tenant: 'globex' })).items).toEqual([]);
  expect((await faultOf(ann.cloud.vpc.list({}, IN))).code).toBe('not_found');
});

test('the last administrator stays, whichever way one tries, unless an administrator of the installation says so', async () => {
  await using b = await two();
  const ann = await person(b, 'ann@example.com', { acme: ['admin', 'viewer'] });
  await person(b, 'bob@example.com', { acme: ['admin'], globex: ['admin'] });
  await b.cloud.user.update('bob@example.com', { disabled: true });
  const message = 'ann@example.com is the last administrator of this tenant';
  for (const target of ['ann@example.com', ann.id])
    for (const call of [
      ann.cloud.tenantMember.remove(target),
      ann.cloud.tenantMember.update(target, { roles: ['viewer'] }),
      ann.cloud.role.unbind('admin', { user: target }),
    ])
      expect(await faultOf(call)).toMatchObject({ code: 'conflict', message });
  expect((await ann.cloud.tenantMember.update('ann@example.com', { labels: { a: 'b' } })).labels).toEqual({ a: 'b' });
  expect((await ann.cloud.tenantMember.update('ann@example.com', { roles: ['admin'] })).roles).toEqual(['admin']);
  // Of another tenant, and disabled ones, count for nothing; with one who can log in she may leave.
  await b.cloud.user.update('bob@example.com', { disabled: false });
  await ann.cloud.tenantMember.remove('ann@example.com');
  expect((await faultOf(ann.cloud.vpc.list())).code).toBe('forbidden');
  await b.cloud.tenantMember.remove('bob@example.com', {}, IN);
  expect((await b.cloud.tenantMember.list({}, IN)).items).toEqual([]);
});

test('two administrators who remove each other at once do not leave the tenant to nobody', async () => {
  await using b = await two();
  const ann = await person(b, 'ann@example.com', { acme: ['admin'] });
  const bob = await person(b, 'bob@example.com', { acme: ['admin'] });
  const outcomes = await Promise.allSettled([ann.cloud.tenantMember.remove('bob@example.com'), bob.cloud.tenantMember.remove('ann@example.com')]);
  expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
  expect((await b.cloud.tenantMember.list({}, IN)).items).toHaveLength(1);
});

test('with a member go the keys and policies that she had here, and none elsewhere', async () => {
  await using b = await two();
  const ann = await person(b, 'ann@example.com', { acme: ['developer'], globex: ['developer'] });
  const keys: Record<string, string> = {};
  for (const tenant of ['acme', 'globex']) {
    keys[tenant] = (await ann.cloud.apiKey.create({ name: 'k' }, { tenant })).key;
    await b.cloud.policy.create({ name: 'all', document: { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } } }, { tenant });
    await b.cloud.policy.attach('all', { user: ann.id }, { tenant });
  }
  const held = await b.core.authenticate(keys['acme'] ?? '', '192.0.2.1');
  await b.cloud.tenantMember.remove(ann.id, {}, IN);
  expect((await faultOf(b.core.authenticate(keys['acme'] ?? '', '192.0.2.1'))).code).toBe('unauthenticated');
  expect((await faultOf(b.as(held).vpc.list())).code).toBe('unauthenticated');
  expect((await b.cloud.policy.get('all', {}, IN)).attachments).toBe(0);
  expect((await b.cloud.policy.get('all', {}, { tenant: 'globex' })).attachments).toBe(1);
  await b.core.authenticate(keys['globex'] ?? '', '192.0.2.1');
  // Back again she has what she is given now.
  await b.cloud.tenantMember.add({ name: ann.id, roles: ['viewer'] }, IN);
  expect((await b.cloud.apiKey.list({}, IN)).items).toEqual([]);
  expect((await faultOf(ann.cloud.vpc.create({ name: 'net' }, IN))).code).toBe('forbidden');
});

test('with a user go all memberships; who comes under the same name has none', async () => {
  await using b = await two();
  await person(b, 'ann@example.com', { acme: ['admin'], globex: ['viewer'] });
  await b.cloud.user.delete('ann@example.com');
  for (const tenant of ['acme', 'globex']) expect((await b.cloud.tenantMember.list({}, { tenant })).items).toEqual([]);
  const again = await person(b, 'ann@example.com');
  expect((await again.cloud.tenant.list()).items).toEqual([]);
});

test('members are looked at by members, and changed by who administers the tenant', async () => {
  await using b = await two();
  await person(b, 'root@example.com', { acme: ['admin'] });
  const ann = await person(b, 'ann@example.com', { acme: ['developer'] });
  const bob = await person(b, 'bob@example.com', { globex: ['admin'] });
  expect((await ann.cloud.tenantMember.list()).items).toHaveLength(2);
  for (const call of [
    ann.cloud.tenantMember.add({ name: 'bob@example.com', roles: ['viewer'] }),
    ann.cloud.tenantMember.update('ann@example.com', { roles: ['admin'] }),
    ann.cloud.tenantMember.remove('root@example.com'),
  ])
    expect((await faultOf(call)).code).toBe('forbidden');
  expect((await faultOf(bob.cloud.tenantMember.list({}, IN))).code).toBe('not_found');
  expect((await bob.cloud.tenantMember.list()).items.map(({ name }) => name)).toEqual(['bob@example.com']);
});
