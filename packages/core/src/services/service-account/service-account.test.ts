// Service accounts: programs that prove themselves with a secret, in one tenant, and nowhere once they are disabled, rotated or gone.
import { describe, expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { type People, people, type SessionView, SOURCE } from '../../testing/people.ts';

const ANN = 'ann@example.com';
const WRONG = { code: 'unauthenticated', message: 'The client id or the secret is wrong' };
const token = (b: People, { clientId, clientSecret }: { clientId: string; clientSecret: string }, source = SOURCE) =>
  b.open('clientToken', { clientId, clientSecret }, source) as Promise<SessionView>;
const dead = async (b: People, bearer: string) => expect((await faultOf(b.core.authenticate(bearer, SOURCE))).code).toBe('unauthenticated');

describe('a service account', () => {
  test('gets tokens for its secret, which is shown once and stored as a hash', async () => {
    await using b = await people();
    const account = await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] });
    expect(account).toMatchObject({ secretSet: false });
    expect(await faultOf(token(b, { clientId: account.id, clientSecret: 'undefined' }))).toMatchObject(WRONG);
    const secret = await b.cloud.serviceAccount.rotateSecret('ci');
    expect(secret).toEqual({ clientId: account.id, clientSecret: expect.stringMatching(/^tcs_[\w-]{43}$/) });
    expect(JSON.stringify(await b.cloud.serviceAccount.get('ci'))).not.toContain(secret.clientSecret.slice(4));
    expect(JSON.stringify(await b.db.selectFrom('r_service_account').selectAll().execute())).not.toContain(secret.clientSecret.slice(4));
    const session = await token(b, secret);
    expect(session).toMatchObject({ expiresIn: 900, principal: { id: account.id, name: 'ci', kind: 'service-account' }, tenant: { name: 'default' } });
    expect(session.refreshToken).toBeUndefined();
    const ci = await b.by(session.accessToken);
    expect(await ci.auth.whoami()).toMatchObject({ id: account.id, kind: 'service-account', roles: ['viewer'], credential: { kind: 'client' } });
    expect((await faultOf(ci.queue.create({ name: 'q' }))).code).toBe('forbidden');
    expect(await b.cloud.serviceAccount.get('ci')).toMatchObject({ secretSet: true, lastUsedAt: new Date(b.clock.now()).toISOString() });
    b.clock.jump(900_000);
    await dead(b, session.accessToken);
    for (const wrong of [
      { ...secret, clientId: 'sa-0000000000000000' },
      { ...secret, clientId: 'ci' },
      { ...secret, clientSecret: `${secret.clientSecret}x` },
    ])
      expect(await faultOf(token(b, wrong))).toMatchObject(WRONG);
    const lines = (await b.cloud.audit.list({ installation: true })).items.filter(
      ({ permission, outcome }) => permission === 'auth:clientToken' && outcome !== 'ok',
    );
    expect(lines.map(({ target }) => target)).toEqual([account.id, 'ci', 'sa-0000000000000000', account.id]);
  });

  test('waits after wrong secrets, from that source only', async () => {
    await using b = await people();
    await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] });
    const secret = await b.cloud.serviceAccount.rotateSecret('ci');
    for (let n = 0; n < 5; n++) await faultOf(token(b, { ...secret, clientSecret: 'x' }));
    expect((await faultOf(token(b, secret))).code).toBe('rate_limited');
    await token(b, secret, '192.0.2.2');
  });

  test('disabled, rotated or deleted is refused from the next call on, by token and by key', async () => {
    await using b = await people();
    await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] });
    const secret = await b.cloud.serviceAccount.rotateSecret('ci');
    const { key } = await b.cloud.apiKey.create({ name: 'k', serviceAccount: 'ci' });
    const byKey = await b.by(key);
    expect(await byKey.auth.whoami()).toMatchObject({ name: 'ci', kind: 'service-account', credential: { kind: 'api-key' } });
    const first = await token(b, secret);
    const byToken = await b.by(first.accessToken);
    await byToken.queue.list();

    await b.cloud.serviceAccount.update('ci', { disabled: true });
    for (const held of [byKey, byToken]) expect((await faultOf(held.queue.list())).code).toBe('unauthenticated');
    for (const bearer of [first.accessToken, key]) await dead(b, bearer);
    expect(await faultOf(token(b, secret))).toMatchObject(WRONG);
    await b.cloud.serviceAccount.update('ci', { disabled: false });
    await byKey.queue.list();
    await dead(b, first.accessToken);

    const second = await token(b, secret);
    const next = await b.cloud.serviceAccount.rotateSecret('ci');
    await dead(b, second.accessToken);
    expect(await faultOf(token(b, secret))).toMatchObject(WRONG);
    const third = await token(b, next);

    expect(await faultOf(b.cloud.serviceAccount.delete('ci')), 'keys act as it').toMatchObject({ code: 'conflict' });
    await b.cloud.apiKey.revoke('k');
    await b.cloud.serviceAccount.delete('ci');
    await dead(b, third.accessToken);
    expect(await faultOf(token(b, next))).toMatchObject(WRONG);
    expect((await faultOf(b.core.principal(next.clientId))).code).toBe('not_found');
  });

  test('belongs to one tenant', async () => {
    await using b = await people();
    await b.tenant('acme');
    await b.cloud.serviceAccount.create({ name: 'ci', roles: ['admin'] }, { tenant: 'acme' });
    const { accessToken } = await token(b, await b.cloud.serviceAccount.rotateSecret('ci', {}, { tenant: 'acme' }));
    const ci = await b.by(accessToken);
    expect(await ci.auth.whoami()).toMatchObject({ tenant: { name: 'acme' }, tenants: [{ name: 'acme', roles: ['admin'] }] });
    await ci.queue.create({ name: 'q' });
    expect((await faultOf(ci.queue.list({}, { tenant: 'default' }))).code).toBe('not_found');
    expect((await faultOf(ci.user.list())).code).toBe('forbidden');
    await b.cloud.tenant.delete('acme', { cascade: true });
    await b.until(async () => (await b.cloud.tenant.list()).items.length === 1);
    await dead(b, accessToken);
    expect((await faultOf(ci.auth.whoami())).code).toBe('unauthenticated');
  });

  test('is given by nobody what they do not have', async () => {
    await using b = await people();
    await b.person(ANN, 'viewer');
    await b.cloud.role.create({ name: 'accounts', permissions: ['service-account:*', 'api-key:*'] });
    await b.cloud.role.bind('accounts', { user: ANN });
    const ann = b.as(await b.principal(ANN));
    await b.cloud.serviceAccount.create({ name: 'strong', roles: ['admin'] });
    for (const attempt of [
      ann.serviceAccount.create({ name: 'x', roles: ['admin'] }),
      ann.serviceAccount.rotateSecret('strong'),
      ann.apiKey.create({ name: 'k', serviceAccount: 'strong' }),
    ])
      expect((await faultOf(attempt)).code).toBe('forbidden');
    expect(await faultOf(ann.serviceAccount.create({ name: 'x', roles: ['viewr'] }))).toMatchObject({ code: 'invalid_input', details: [{ path: 'roles.0' }] });
    await ann.serviceAccount.create({ name: 'weak', roles: ['viewer'] });
    expect((await faultOf(ann.serviceAccount.update('weak', { roles: ['admin'] }))).code).toBe('forbidden');
    const secret = await ann.serviceAccount.rotateSecret('weak');
    const weak = await b.by((await token(b, secret)).accessToken);
    await weak.queue.list();
    await b.cloud.serviceAccount.update('weak', { roles: [] });
    expect((await faultOf(weak.queue.list())).code).toBe('forbidden');
  });
});
