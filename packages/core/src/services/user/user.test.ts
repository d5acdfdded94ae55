// Users of the installation: made, changed and removed by its administrators, with everything that hangs on them.
import { describe, expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { PASSWORD, people, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';

describe('a user', () => {
  test('has an address in one spelling', async () => {
    await using b = await people();
    const { id } = await b.cloud.user.create({ name: '  Ann@Example.COM ', password: PASSWORD });
    for (const target of [ANN, 'ANN@example.com', id])
      expect(await b.cloud.user.get(target)).toMatchObject({ id, name: ANN, administrator: false, disabled: false });
    expect(await faultOf(b.cloud.user.create({ name: 'aNN@example.com' }))).toMatchObject({ code: 'conflict' });
    for (const name of [
      'ann',
      'ann@',
      '@example.com',
      'a b@example.com',
      'ann@exam_ple.com',
      `${'a'.repeat(65)}@example.com`,
      `a@${'b'.repeat(63)}.${'c'.repeat(260)}`,
      'a@b..c',
      '<a@b>',
    ])
      expect((await faultOf(b.cloud.user.create({ name }))).code, name).toBe('invalid_input');
    await b.cloud.user.update('Ann@example.com', { displayName: 'Ann' });
    expect(await faultOf(b.cloud.user.update(ANN, { name: 'other@example.com' } as never)), 'nobody becomes another').toMatchObject({ code: 'invalid_input' });
  });

  test('is the business of administrators of the installation, over no key', async () => {
    await using b = await people();
    await b.person(ANN, 'admin');
    await b.person('bob@example.com');
    const ann = b.as(await b.principal(ANN));
    const everything = (cloud: typeof ann) => [
      cloud.user.list(),
      cloud.user.get(ANN),
      cloud.user.create({ name: 'x@example.com' }),
      cloud.user.update('bob@example.com', { disabled: true }),
      cloud.user.resetPassword('bob@example.com'),
      cloud.user.signOut('bob@example.com'),
      cloud.user.unlock('bob@example.com'),
      cloud.user.delete('bob@example.com'),
      cloud.user.update(ANN, { administrator: true }),
    ];
    for (const attempt of await Promise.all(everything(ann).map((one) => faultOf(one)))) expect(attempt.code).toBe('forbidden');
    await b.cloud.user.update(ANN, { administrator: true });
    const { key } = await ann.apiKey.create({ name: 'k' });
    for (const attempt of await Promise.all(everything(await b.by(key)).map((one) => faultOf(one)))) expect(attempt.code).toBe('forbidden');
    expect((await (await b.by((await b.login(ANN)).accessToken)).user.list()).items).toHaveLength(2);
    const denied = (await b.cloud.audit.list({ installation: true, limit: 100 })).items.filter(({ outcome }) => outcome === 'forbidden');
    expect(denied.length).toBeGreaterThanOrEqual(18);
  });

  test('has a password, or a token to set one with', async () => {
    await using b = await people();
    await b.cloud.user.create({ name: ANN });
    expect(await b.cloud.user.get(ANN)).toMatchObject({ passwordSet: false });
    const { token, email } = await b.cloud.user.resetPassword('Ann@example.com');
    await b.open('resetPassword', { email, token, password: PASSWORD });
    expect(await b.cloud.user.get(ANN)).toMatchObject({ passwordSet: true });
    await b.login(ANN);
    const listed = await b.cloud.user.list();
    expect(JSON.stringify(listed)).not.toMatch(/hash-|tcp_/);
  });

  test('goes with memberships, keys, policies, sessions and tokens; what she made stays', async () => {
    await using b = await people();
    const { id } = await b.person(ANN, 'developer');
    await b.tenant('acme');
    b.clock.jump(1000); // the first membership is home
    await b.cloud.tenantMember.add({ name: ANN, roles: ['admin'] }, { tenant: 'acme' });
    await b.cloud.policy.create({ name: 'p', document: { Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }] } });
    await b.cloud.policy.attach('p', { user: ANN });
    const ann = b.as(await b.principal(ANN));
    await ann.queue.create({ name: 'q' });
    const keys = [(await ann.apiKey.create({ name: 'k' })).key, (await ann.apiKey.create({ name: 'k' }, { tenant: 'acme' })).key];
    const { accessToken } = await b.login(ANN);
    await b.cloud.user.resetPassword(ANN);
    await faultOf(b.login(ANN, 'not the password'));
    await b.cloud.user.delete(ANN);
    for (const bearer of [...keys, accessToken]) expect((await faultOf(b.core.authenticate(bearer, SOURCE))).code).toBe('unauthenticated');
    for (const tenant of ['default', 'acme']) {
      expect((await b.cloud.apiKey.list({}, { tenant })).items).toEqual([]);
      expect((await b.cloud.tenantMember.list({}, { tenant })).items).toEqual([]);
    }
    expect(await b.cloud.policy.get('p')).toMatchObject({ attachments: 0 });
    expect(await b.cloud.queue.get('q')).toMatchObject({ name: 'q' });
    for (const table of ['user_password', 'user_login', 'one_time_token', 'login_failure', 'known_source'])
      expect(
        await b.db
          .selectFrom(table as never)
          .selectAll()
          .execute(),
        table,
      ).toEqual([]);
    // Another person of that address has nothing of hers.
    const again = await b.person(ANN, 'viewer');
    expect(again.id).not.toBe(id);
    expect((await faultOf(b.core.authenticate(accessToken, SOURCE))).code).toBe('unauthenticated');
    expect(await b.as(await b.principal(ANN)).auth.whoami()).toMatchObject({ id: again.id, roles: ['viewer'], policies: [] });
  });
});
