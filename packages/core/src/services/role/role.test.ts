// Roles through the client: those that are built in, those of a tenant, and who has them. That nobody gives what they do not have: giving.test.ts.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { contracts } from '../../contracts.ts';
import { permissionsOf } from '../../kernel/contract.ts';
import { permissionsFor } from '../../kernel/roles.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const IN = { tenant: 'acme' };
const BUILT_IN = ['admin', 'developer', 'viewer'];
const all = permissionsOf(Object.values(contracts));

async function house() {
  const b = await bench();
  await b.tenant('acme');
  await b.tenant('globex');
  const { id } = await b.cloud.user.create({ name: 'ann@example.com' });
  await b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['viewer'] }, IN);
  await b.cloud.serviceAccount.create({ name: 'ci', roles: [] }, IN);
  return { b, ann: b.as(await b.core.principal('ann@example.com')), annId: id };
}
const names = async (b: Bench, tenant: string) => (await b.cloud.role.list({}, { tenant })).items.map(({ name }) => name);

test('built-in roles are listed first, in every tenant, and cannot be made, changed or deleted', async () => {
  const { b } = await house();
  await using _ = b;
  await b.cloud.role.create({ name: 'aaa', permissions: ['vpc:list'], labels: { team: 'web' } }, IN);
  expect(await names(b, 'acme')).toEqual([...BUILT_IN, 'aaa']);
  expect(await names(b, 'globex')).toEqual(BUILT_IN);
  for (const name of BUILT_IN) {
    const role = await b.cloud.role.get(name, {}, IN);
    expect(role).toMatchObject({ name, builtIn: true, id: `role-${name}` });
    expect(await b.cloud.role.get(role.id, {}, IN)).toEqual(role);
    expect(await faultOf(b.cloud.role.create({ name, permissions: ['vpc:list'] }, IN))).toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('built in'),
    });
    for (const target of [name, role.id])
      for (const call of [b.cloud.role.update(target, { permissions: ['*'] }, IN), b.cloud.role.delete(target, {}, IN)])
        expect(await faultOf(call)).toMatchObject({ code: 'conflict', message: expect.stringContaining('built in') });
  }
  expect((await b.cloud.role.get('admin', {}, IN)).permissions).toEqual(['*']);
  // What is shown of a role is what it allows, no more and no less.
  for (const name of ['developer', 'viewer']) {
    const { permissions } = await b.cloud.role.get(name, {}, IN);
    await b.cloud.tenantMember.update('ann@example.com', { roles: [name] }, IN);
    const ann = b.as(await b.core.principal('ann@example.com'));
    for (const action of all) expect((await ann.auth.canI({ action })).allowed, `${name} ${action}`).toBe(permissions.includes(action));
  }
  expect((await faultOf(b.cloud.role.get('aab', {}, IN))).code).toBe('not_found');
  expect((await faultOf(b.cloud.role.get('aaa', {}, { tenant: 'globex' }))).code).toBe('not_found');
  expect((await b.cloud.role.list({ label: ['team=web'] }, IN)).items.map(({ name }) => name)).toEqual(['aaa']);
});

test('lists are read page by page', async () => {
  const { b } = await house();
  await using _ = b;
  for (const name of ['x', 'y', 'z']) await b.cloud.role.create({ name, permissions: ['vpc:list'] }, IN);
  const read: string[] = [];
  for (let cursor: string | undefined; ; ) {
    const page = await b.cloud.role.list({ limit: 2, cursor }, IN);
    read.push(...page.items.map(({ name }) => name));
    cursor = page.cursor;
    if (cursor === undefined) break;
  }
  expect(read).toEqual([...BUILT_IN, 'x', 'y', 'z']);
});

test('each permission must fit an operation that there is; a near one is told', async () => {
  const { b } = await house();
  await using _ = b;
  expect(await faultOf(b.cloud.role.create({ name: 'ops', permissions: ['vpc:list', 'instance:crate', 'nothing:*'] }, IN))).toMatchObject({
    code: 'invalid_input',
    message: 'permissions.1: no operation fits "instance:crate"; did you mean instance:create?',
    details: [{ path: 'permissions.1' }, { path: 'permissions.2' }],
  });
  // What is for administrators of the installation, for everybody, or for services only, no role can give.
  for (const permission of ['user:create', 'tenant:delete', 'auth:login', 'policy:forget'])
    expect((await faultOf(b.cloud.role.create({ name: 'ops', permissions: [permission] }, IN))).code, permission).toBe('invalid_input');
  for (const permissions of [['*'], ['*:*'], ['instance:*', '*:list'], ['INSTANCE:Get'], ['?pc:list']]) {
    await b.cloud.role.create({ name: 'ops', permissions }, IN);
    expect((await b.cloud.role.get('ops', {}, IN)).permissions).toEqual(permissions);
    await b.cloud.role.delete('ops', {}, IN);
  }
});

test('a custom role allows what its patterns say, from the next call on, in its tenant only', async () => {
  const { b, ann } = await house();
  await using _ = b;
  await b.cloud.role.create({ name: 'ops', permissions: ['vpc:*'] }, IN);
  await b.cloud.tenantMember.update('ann@example.com', { roles: ['ops'] }, IN);
  await ann.vpc.create({ name: 'net' });
  expect((await faultOf(ann.volume.list())).code).toBe('forbidden');
  await b.cloud.role.update('ops', { permissions: ['volume:list'] }, IN);
  expect((await ann.volume.list()).items).toEqual([]);
  expect((await faultOf(ann.vpc.delete('net'))).code).toBe('forbidden');
  // A role of the same name elsewhere is another one.
  await b.cloud.role.create({ name: 'ops', permissions: ['*'] }, { tenant: 'globex' });
  await b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['ops'] }, { tenant: 'globex' });
  await ann.vpc.create({ name: 'net-2' }, { tenant: 'globex' });
  expect((await faultOf(ann.vpc.delete('net'))).code).toBe('forbidden');
});

test('any set of patterns allows exactly what one of them fits', async () => {
  const { b, ann } = await house();
  await using _ = b;
  await b.cloud.role.create({ name: 'ops', permissions: ['vpc:list'] }, IN);
  await b.cloud.tenantMember.update('ann@example.com', { roles: ['ops'] }, IN);
  const pattern = fc.constantFrom(...all).chain((permission) =>
    fc.oneof(
      fc.constant(permission),
      fc.nat(permission.length - 1).map((at) => `${permission.slice(0, at)}*`),
      fc.nat(permission.length - 1).map((at) => `*${permission.slice(at)}`),
      fc.nat(permission.length - 1).map((at) => `${permission.slice(0, at)}?${permission.slice(at + 1)}`),
      fc.constant(permission.toUpperCase()),
    ),
  );
  /** Written down once more, as plainly as can be. */
  const fits = (text: string, permission: string) =>
    new RegExp(
      `^${text
        .replace(/[.+^${}()|[\]\\]/g, '\\$&')
        .replaceAll('*', '.*')
        .replaceAll('?', '.')}$`,
      'i',
    ).test(permission);
  await fc.assert(
    fc.asyncProperty(
      fc.array(pattern, { minLength: 1, maxLength: 4 }),
      fc.array(fc.constantFrom(...all), { minLength: 3, maxLength: 10 }),
      async (permissions, asked) => {
        expect(permissions.flatMap((one) => permissionsFor(one, all)).length).toBeGreaterThan(0);
        await b.cloud.role.update('ops', { permissions }, IN);
        for (const action of [...asked, ...permissions.filter((one) => all.includes(one))])
          expect((await ann.auth.canI({ action })).allowed, action).toBe(permissions.some((one) => fits(one, action)));
      },
    ),
    { numRuns: 60 },
  );
});

test('bound and unbound by name or id, twice as well as once', async () => {
  const { b, ann, annId } = await house();
  await using _ = b;
  const { role } = b.cloud;
  const { id } = await role.create({ name: 'ops', permissions: ['vpc:*'] }, IN);
  const ci = await b.cloud.serviceAccount.get('ci', {}, IN);
  for (const [target, user] of [
    ['ops', 'ANN@example.com'],
    [id, annId],
  ] as const)
    expect(await role.bind(target, { user }, IN)).toEqual({ role: 'ops', kind: 'user', id: annId, name: 'ann@example.com' });
  for (const serviceAccount of ['ci', ci.id]) {
    expect(await role.bind('ops', { serviceAccount }, IN)).toEqual({ role: 'ops', kind: 'service-account', id: ci.id, name: 'ci' });
    await role.bind('role-viewer', { serviceAccount }, IN);
  }
  expect((await b.cloud.tenantMember.get('ann@example.com', {}, IN)).roles).toEqual(['viewer', 'ops']);
  expect((await b.cloud.serviceAccount.get('ci', {}, IN)).roles).toEqual(['ops', 'viewer']);
  await ann.vpc.create({ name: 'net' });
  expect((await role.bindings('ops', {}, IN)).items.map(({ kind, name }) => `${kind} ${name}`)).toEqual(['user ann@example.com', 'service-account ci']);
  expect((await role.bindings('viewer', {}, IN)).items).toHaveLength(2);
  expect((await role.bindings('admin', {}, IN)).items).toEqual([]);
  for (let n = 0; n < 2; n++) {
    await role.unbind('ops', { user: annId }, IN);
    await role.unbind(id, { serviceAccount: 'ci' }, IN);
  }
  expect((await faultOf(ann.vpc.delete('net'))).code).toBe('forbidden');
  expect((await role.bindings(id, {}, IN)).items).toEqual([]);
  // A member has a role; a service account may have none.
  expect(await faultOf(role.unbind('viewer', { user: annId }, IN))).toMatchObject({ code: 'conflict', hint: 'cloud tenant member remove ann@example.com' });
  await role.unbind('viewer', { serviceAccount: 'ci' }, IN);
  expect((await b.cloud.serviceAccount.get('ci', {}, IN)).roles).toEqual([]);
});

test('one of the two, of this tenant, and a role that there is', async () => {
  const { b } = await house();
  await using _ = b;
  const { role } = b.cloud;
  for (const operation of ['bind', 'unbind'] as const) {
    for (const to of [{}, { user: 'ann@example.com', serviceAccount: 'ci' }])
      expect(await faultOf(role[operation]('viewer', to, IN))).toMatchObject({
        code: 'invalid_input',
        details: [{ path: 'user' }, { path: 'serviceAccount' }],
      });
    expect(await faultOf(role[operation]('viewer', { user: 'ann@example.com' }, { tenant: 'globex' }))).toMatchObject({
      code: 'not_found',
      details: [{ path: 'user' }],
    });
    expect(await faultOf(role[operation]('viewer', { serviceAccount: 'ci' }, { tenant: 'globex' }))).toMatchObject({
      code: 'not_found',
      details: [{ path: 'serviceAccount' }],
    });
    expect((await faultOf(role[operation]('viewr', { user: 'ann@example.com' }, IN))).code).toBe('not_found');
  }
  await role.create({ name: 'elsewhere', permissions: ['vpc:*'] }, { tenant: 'globex' });
  expect((await faultOf(role.bind('elsewhere', { user: 'ann@example.com' }, IN))).code).toBe('not_found');
});

test('a role goes when nobody has it and no policy is attached to it', async () => {
  const { b } = await house();
  await using _ = b;
  const { role, policy } = b.cloud;
  await role.create({ name: 'ops', permissions: ['vpc:*'] }, IN);
  await role.bind('ops', { user: 'ann@example.com' }, IN);
  await role.bind('ops', { serviceAccount: 'ci' }, IN);
  expect(await faultOf(role.delete('ops', {}, IN))).toMatchObject({ code: 'conflict', message: 'The role ops is bound to ann@example.com, ci' });
  await role.unbind('ops', { user: 'ann@example.com' }, IN);
  await role.unbind('ops', { serviceAccount: 'ci' }, IN);
  await policy.create({ name: 'p', document: { Version: '2012-10-17', Statement: { Effect: 'Deny', Action: 'vpc:delete', Resource: '*' } } }, IN);
  await policy.attach('p', { role: 'ops' }, IN);
  expect(await faultOf(role.delete('ops', {}, IN))).toMatchObject({ code: 'conflict', hint: 'cloud policy detach p --role ops' });
  await policy.detach('p', { role: 'ops' }, IN);
  await role.delete('ops', {}, IN);
  expect(await names(b, 'acme')).toEqual(BUILT_IN);
});

test('roles count, and a limit of them holds', async () => {
  const { b } = await house();
  await using _ = b;
  await b.cloud.quota.set({ name: 'roles', limit: 1 }, IN);
  await b.cloud.role.create({ name: 'one', permissions: ['vpc:*'] }, IN);
  expect((await faultOf(b.cloud.role.create({ name: 'two', permissions: ['vpc:*'] }, IN))).code).toBe('quota_exceeded');
  await b.cloud.role.delete('one', {}, IN);
  await b.cloud.role.create({ name: 'two', permissions: ['vpc:*'] }, IN);
});
