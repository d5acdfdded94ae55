// Who may do what, for every operation of every contract: real users, roles and policies, as the directory knows them.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { contracts, permissionsOf } from '../../packages/core/src/contracts.ts';
import type { Principal } from '../../packages/core/src/kernel/authorize.ts';
import { Fault } from '../../packages/core/src/kernel/errors.ts';
import { faultOf } from '../../packages/core/src/testing/bench.ts';
import { attempt, type Case, cases, type Fixture, fixture, titleOf } from './fixture.ts';

const EMAIL = 'eve@example.com';
const permissionOf = (of: Case): string => `${of.service}:${of.name}`;
const decided = cases.filter(({ operation }) => operation.access === 'role');
const everything = permissionsOf(Object.values(contracts));

/** What an operation asks of other services, and so of other permissions, for what the fixture gives it. Only to shrink. */
const ASKS_MORE: Readonly<Record<string, readonly string[]>> = {
  // It is `snapshot create` by another name.
  'volume snapshot': ['snapshot:create'],
  // What sends somewhere must be allowed to send there.
  'bucket notification': ['queue:send'],
  // They read, write and delete, by other names.
  'object copy': ['object:get', 'object:put'],
  'object move': ['object:get', 'object:put', 'object:delete'],
  'object presign': ['object:get'],
  'object uploadStart': ['object:put'],
  'object uploadPart': ['object:put'],
  'object uploadComplete': ['object:put'],
};

/** A user of the directory with this role in the default tenant and nothing else. */
async function member(f: Fixture, email: string, role: string): Promise<Principal> {
  const { id } = await f.cloud.user.create({ name: email });
  await f.cloud.tenantMember.add({ name: email, roles: [role] });
  return f.core.principal(id);
}

/** Which permission was missing, if one was. Giving others what one has not oneself is refused too, and is no matter of this one. */
async function missing(made: Promise<unknown>): Promise<unknown> {
  try {
    await made;
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const details = (error.details ?? {}) as { permission?: string; missing?: string };
    if (error.code === 'forbidden' && details.missing === undefined) return details.permission ?? error.message;
  }
  return undefined;
}

describe('one permission', () => {
  // What is done is done once in a fixture of its own; what only looks can share one.
  describe('is enough', () => {
    test.each(decided.filter(({ operation: { kind } }) => kind === 'write'))('$service $name', async (of) => {
      await using f = await fixture();
      await f.cloud.role.create({ name: 'only', permissions: [permissionOf(of), ...(ASKS_MORE[titleOf(of)] ?? [])] });
      const ann = await member(f, EMAIL, 'only');
      expect(await missing(attempt(f, of, { principal: ann }))).toBeUndefined();
    });
  });

  describe('is enough to look, and all others are not', () => {
    let f: Fixture;
    let ann: Principal;
    beforeAll(async () => {
      f = await fixture();
      await f.cloud.role.create({ name: 'only', permissions: ['*'] });
      ann = await member(f, EMAIL, 'only');
    });
    afterAll(() => f.close());

    test.each(decided.filter(({ operation: { kind } }) => kind !== 'write'))('$service $name', async (of) => {
      await f.cloud.role.update('only', { permissions: [permissionOf(of), ...(ASKS_MORE[titleOf(of)] ?? [])] });
      expect(await missing(attempt(f, of, { principal: ann }))).toBeUndefined();
    });
    test.each(decided)('$service $name: every other permission', async (of) => {
      await f.cloud.role.update('only', { permissions: everything.filter((permission) => permission !== permissionOf(of)) });
      const fault = await faultOf(attempt(f, of, { principal: ann }));
      expect(fault).toMatchObject({ code: 'forbidden', details: { permission: permissionOf(of) } });
    });
  });
});

describe('an explicit deny', () => {
  let f: Fixture;
  let ann: Principal;
  let machine: Principal;
  beforeAll(async () => {
    f = await fixture();
    ann = await member(f, EMAIL, 'admin');
    await f.cloud.serviceAccount.create({ name: 'machine', roles: ['admin'] });
    machine = await f.core.principal((await f.cloud.serviceAccount.get('machine')).id);
    await f.cloud.policy.create({ name: 'all', document: { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } } });
    await f.cloud.policy.create({ name: 'no', document: { Version: '2012-10-17', Statement: { Effect: 'Deny', Action: 'vpc:list', Resource: '*' } } });
    for (const name of ['all', 'no']) {
      await f.cloud.policy.attach(name, { user: EMAIL });
      await f.cloud.policy.attach(name, { serviceAccount: 'machine' });
    }
  });
  afterAll(() => f.close());

  test.each(decided)('$service $name: refuses an administrator whom a policy allows everything, and says why', async (of) => {
    await f.cloud.policy.update('no', {
      document: { Version: '2012-10-17', Statement: [{ Sid: 'Never', Effect: 'Deny', Action: permissionOf(of), Resource: '*' }] },
    });
    for (const principal of [ann, machine]) {
      const fault = await faultOf(attempt(f, of, { principal }));
      expect(fault).toMatchObject({ code: 'forbidden', details: { permission: permissionOf(of) } });
      // Whoever may read policies is told which one it was.
      if (permissionOf(of) !== 'policy:get') expect(fault.details).toMatchObject({ policy: { name: 'no', sid: 'Never', statement: 0 } });
    }
  });

  test.each(decided.filter(({ operation, stored }) => operation.target && stored))('$service $name: holds for the name and the id alike', async (of) => {
    const target = f.targetOf(of) as string;
    const found = (await f.call({ service: of.service, operation: 'get', target, input: {} })).value as { id: string; name: string };
    for (const named of [found.name, found.id]) {
      const Resource = `crn:cloud:*:${of.service}:${of.service}/${named}`;
      await f.cloud.policy.update('no', { document: { Version: '2012-10-17', Statement: { Effect: 'Deny', Action: permissionOf(of), Resource } } });
      for (const asked of [found.name, found.id]) {
        expect((await faultOf(attempt(f, of, { principal: ann, target: asked }))).code, `${named} denied, asked as ${asked}`).toBe('forbidden');
      }
    }
  });
});

describe('operations for administrators of the installation', () => {
  let f: Fixture;
  let ann: Principal;
  beforeAll(async () => {
    f = await fixture();
    ann = await member(f, EMAIL, 'admin');
  });
  afterAll(() => f.close());

  test.each(cases.filter(({ operation }) => operation.access === 'administrator'))('$service $name: not for one of a tenant, nor for a key', async (of) => {
    expect((await faultOf(attempt(f, of, { principal: ann }))).code).toBe('forbidden');
    const key: Principal = { ...ann, kept: false, administrator: true, credential: { kind: 'api-key', id: 'key-x' } };
    expect((await faultOf(attempt(f, of, { principal: key }))).code).toBe('forbidden');
  });
});
