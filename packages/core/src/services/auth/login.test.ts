// Coming in: accounts, passwords, wrong passwords, sessions and their refresh tokens.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import bcrypt from 'bcrypt';
import { describe, expect, test } from 'vitest';
import { faultOf } from '../../testing/bench.ts';
import { PASSWORD, people, type SessionView, SOURCE } from '../../testing/people.ts';
import { hasher, Passwords } from './passwords.ts';

const ANN = 'ann@example.com';
const OTHER = 'another long password';
const DAY = 24 * 60 * 60 * 1000;
const WRONG = 'The e-mail address or the password is wrong';

describe('registration', () => {
  test('is closed until an administrator opens it, and nothing is hashed until then', async () => {
    await using b = await people();
    expect(await faultOf(b.open('register', { email: ANN, password: PASSWORD }))).toMatchObject({ code: 'forbidden' });
    expect(b.hasher.hashed).toBe(0);
    expect(await b.cloud.auth.settings()).toMatchObject({ registration: 'closed', accessTokenSeconds: 900 });
    await b.cloud.auth.configure({ registration: 'open' });
    const made = (await b.open('register', { email: ' Ann@Example.com', password: PASSWORD, displayName: 'Ann' })) as {
      user: { name: string };
      tenant: { name: string };
    };
    expect(made).toMatchObject({ user: { name: ANN }, tenant: { name: 'ann' } });
    const session = await b.login('ANN@example.com');
    expect(session).toMatchObject({ principal: { name: ANN, kind: 'user' }, tenant: made.tenant });
    const ann = await b.by(session.accessToken);
    expect(await ann.auth.whoami()).toMatchObject({ name: ANN, administrator: false, roles: ['admin'], tenants: [{ name: 'ann', roles: ['admin'] }] });
    expect(await b.cloud.user.get(ANN)).toMatchObject({ displayName: 'Ann', administrator: false, passwordSet: true });
    await b.cloud.auth.configure({ registration: 'closed' });
    expect(await faultOf(b.open('register', { email: 'bob@example.com', password: PASSWORD }))).toMatchObject({ code: 'forbidden' });
  });

  test('twice is a conflict; a tenant has a name that is free', async () => {
    await using b = await people();
    await b.cloud.auth.configure({ registration: 'open' });
    const names: string[] = [];
    for (const email of ['ann.lee+x@example.com', 'ann.lee+x@example.org', 'tnt-0123456789abcdef@example.com', '+@example.com']) {
      names.push(((await b.open('register', { email, password: PASSWORD })) as { tenant: { name: string } }).tenant.name);
    }
    expect(names).toEqual(['ann-lee-x', 'ann-lee-x-2', 'tnt-0123456789abcdef-2', 'tenant']);
    expect(await faultOf(b.open('register', { email: 'ann.lee+x@example.com', password: OTHER }))).toMatchObject({ code: 'conflict' });
    await b.login('ann.lee+x@example.com');
  });

  test.each(['short', 'x'.repeat(73), `nul in \0 the middle`, 'ü'.repeat(37)])('refuses the password %j, and does not repeat it', async (password) => {
    await using b = await people();
    await b.cloud.auth.configure({ registration: 'open' });
    const fault = await faultOf(b.open('register', { email: ANN, password }));
    expect(fault).toMatchObject({ code: 'invalid_input' });
    expect(JSON.stringify(fault)).not.toContain(JSON.stringify(password).slice(1, -1));
  });
});

describe('login', () => {
  test('wrong, unknown, disabled and without password: one comparison each, and one sentence', async () => {
    await using b = await people();
    await b.person(ANN, 'viewer');
    await b.person('dan@example.com');
    await b.cloud.user.update('dan@example.com', { disabled: true });
    await b.cloud.user.create({ name: 'nopass@example.com' });
    for (const [email, password] of [
      [ANN, 'not the password'],
      ['nobody@example.com', PASSWORD],
      ['dan@example.com', PASSWORD],
      ['nopass@example.com', PASSWORD],
      [ANN, ''.padEnd(1024, 'x')],
    ] as const) {
      const before = b.hasher.compared;
      expect(await faultOf(b.login(email, password)), email).toMatchObject({ code: 'unauthenticated', message: WRONG, hint: 'cloud auth login' });
      expect(b.hasher.compared - before, email).toBe(1);
    }
    await b.login(ANN);
    expect(await b.cloud.user.get('Ann@example.com')).toMatchObject({ lastLoginAt: new Date(b.clock.now()).toISOString() });
  });

  test('bcrypt at cost 12; where there is no hash the work is the same; nothing may follow the right password', async () => {
    const compared: string[] = [];
    const passwords = new Passwords({ ...hasher, compare: async (password, hash) => (compared.push(hash), hasher.compare(password, hash)) });
    const password = 'x'.repeat(72);
    const hash = await passwords.hash(password);
    expect(bcrypt.getRounds(hash)).toBe(12);
    const nothing = async () => undefined;
    const go = { before: nothing, wrong: nothing };
    expect(await passwords.compare(password, hash, go)).toBe(true);
    expect(await passwords.compare(`${password}y`, hash, go)).toBe(false);
    const started = performance.now();
    expect(await passwords.compare('anything', undefined, go)).toBe(false);
    expect(performance.now() - started, 'a hash that bcrypt does not take for one would be refused at once').toBeGreaterThan(20);
    expect(bcrypt.getRounds(compared.at(-1) as string)).toBe(12);
  });

  test('two at a time and a short line; whoever comes after is told to come back', async () => {
    let running = 0;
    let most = 0;
    let open = (): void => undefined;
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const passwords = new Passwords({
      hash: async () => {
        most = Math.max(most, ++running);
        await gate;
        running--;
        return '';
      },
      compare: async () => false,
    });
    const all = Array.from({ length: 67 }, () => passwords.hash('x'));
    expect(await faultOf(all[66] as Promise<string>)).toMatchObject({ code: 'rate_limited', details: { retryAfter: 2 } });
    open();
    await Promise.all(all.slice(0, 66));
    expect([most, running]).toEqual([2, 0]);
  });

  test('a failed one stands in the chain of the installation, with the address that was tried', async () => {
    await using b = await people();
    await b.person(ANN);
    await faultOf(b.login(' Ann@EXAMPLE.com', 'not the password'));
    await faultOf(b.login('a password in the wrong field', PASSWORD));
    await b.login(ANN);
    const lines = (await b.cloud.audit.list({ installation: true })).items.filter(({ permission }) => permission === 'auth:login');
    expect(lines.map(({ principal, target, outcome, source }) => [principal, target, outcome, source]).reverse()).toEqual([
      ['anonymous', ANN, 'unauthenticated', SOURCE],
      ['anonymous', undefined, 'invalid_input', SOURCE],
      ['anonymous', ANN, 'ok', SOURCE],
    ]);
    expect(await b.cloud.audit.verify({ installation: true })).toMatchObject({ ok: true });
    await faultOf(b.core.authenticate('tck_0123456789abcdef_x', SOURCE));
    expect((await b.cloud.audit.list({ installation: true, limit: 1 })).items[0]).toMatchObject({
      permission: 'auth:authenticate',
      outcome: 'unauthenticated',
    });
  });

  test('an old password opens no session once it was changed, however the two meet', async () => {
    await using b = await people();
    const { id } = await b.person(ANN);
    let open = (): void => undefined;
    b.hasher.gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    const session = faultOf(b.login(ANN));
    await b.until(() => b.hasher.compared === 1);
    await b.db
      .updateTable('user_password' as never)
      .set({ hash: 'hash-other' } as never)
      .where('user_id' as never, '=', id as never)
      .execute();
    open();
    expect(await session).toMatchObject({ code: 'unauthenticated', message: WRONG });
  });
});

describe('wrong passwords', () => {
  const fail = async (b: Awaited<ReturnType<typeof people>>, times: number, email = ANN, source = SOURCE) => {
    for (let n = 0; n < times; n++) expect((await faultOf(b.login(email, 'not the password', source))).code).toBe('unauthenticated');
  };

  test('make one source wait for one account, ever longer, for others nothing changes', async () => {
    await using b = await people();
    await b.person(ANN);
    await b.person('bob@example.com');
    await fail(b, 5);
    for (const seconds of [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]) {
      const compared = b.hasher.compared;
      expect(await faultOf(b.login(ANN)), 'the right one has to wait too').toMatchObject({ code: 'rate_limited', details: { retryAfter: seconds } });
      expect(b.hasher.compared).toBe(compared);
      b.clock.jump(seconds * 1000);
      await fail(b, 1);
    }
    expect((await b.cloud.user.get(ANN)).lockedUntil).toBe(new Date(b.clock.now() + 900_000).toISOString());
    await b.login(ANN, PASSWORD, '192.0.2.2');
    await b.login('bob@example.com');
    expect((await faultOf(b.login(ANN))).code).toBe('rate_limited');
    b.clock.jump(900_000);
    await b.login(ANN);
    await fail(b, 4);
    await b.login(ANN);
  });

  test('count for addresses that nobody has as for others', async () => {
    await using b = await people();
    await fail(b, 5, 'nobody@example.com');
    expect((await faultOf(b.login('nobody@example.com'))).code).toBe('rate_limited');
  });

  test('sent all at once are not all tried', async () => {
    await using b = await people();
    await b.person(ANN);
    const codes = await Promise.all(Array.from({ length: 40 }, async () => (await faultOf(b.login(ANN, 'not the password'))).code));
    expect(codes.filter((code) => code === 'unauthenticated').length).toBeLessThanOrEqual(6);
    expect(b.hasher.compared).toBeLessThanOrEqual(6);
  });

  test('from everywhere slow down unknown sources only', async () => {
    await using b = await people();
    await b.person(ANN);
    await b.login(ANN, PASSWORD, '198.51.100.1');
    for (let n = 0; n < 50; n++) await fail(b, 1, ANN, `203.0.113.${n}`);
    expect(await faultOf(b.login(ANN, PASSWORD, '203.0.113.200'))).toMatchObject({ code: 'rate_limited', details: { retryAfter: 60 } });
    await b.login(ANN, PASSWORD, '198.51.100.1');
    b.clock.jump(60_000);
    await b.login(ANN, PASSWORD, '203.0.113.200');
  });

  test('from one network of IPv6 come from one source', async () => {
    await using b = await people();
    await b.person(ANN);
    for (const source of ['2001:db8:0:1::1', '2001:db8:0:1::2', '2001:DB8:0:1:a:b:c:d', '2001:db8::1:0:0:0:7', '2001:0db8:0000:0001::%eth0'])
      await fail(b, 1, ANN, source);
    expect((await faultOf(b.login(ANN, PASSWORD, '2001:db8:0:1:ffff::'))).code).toBe('rate_limited');
    await b.login(ANN, PASSWORD, '2001:db8:0:2::1');
    await b.login(ANN, PASSWORD, '::1');
    await fail(b, 4, ANN, '192.0.2.3');
    await fail(b, 1, ANN, '::ffff:192.0.2.3');
    expect((await faultOf(b.login(ANN, PASSWORD, '192.0.2.3'))).code).toBe('rate_limited');
  });

  test('are forgotten by unlock, and after a day', async () => {
    await using b = await people();
    await b.person(ANN);
    await fail(b, 5);
    expect((await b.cloud.user.unlock(ANN)).lockedUntil).toBeUndefined();
    await b.login(ANN);
    await fail(b, 5);
    b.clock.jump(DAY + 1);
    await fail(b, 4);
    await b.login(ANN);
  });

  test('are remembered over a restart', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-auth-'));
    const first = await people({ dataDir });
    await first.person(ANN);
    await fail(first, 5);
    await first.close();
    await using b = await people({ dataDir, clock: first.clock });
    expect((await faultOf(b.login(ANN))).code).toBe('rate_limited');
    await b.login(ANN, PASSWORD, '192.0.2.9');
    rmSync(dataDir, { recursive: true });
  });
});

describe('a session', () => {
  const refresh = (b: Awaited<ReturnType<typeof people>>, { refreshToken }: { refreshToken?: string | undefined }) =>
    b.open('refresh', { refreshToken }) as Promise<SessionView>;
  const refused = async (b: Awaited<ReturnType<typeof people>>, { accessToken }: SessionView) =>
    expect(await faultOf(b.core.authenticate(accessToken, SOURCE))).toMatchObject({ code: 'unauthenticated' });

  test('goes on by refreshing, each token good for once', async () => {
    await using b = await people();
    await b.person(ANN, 'viewer');
    const first = await b.login(ANN);
    expect(first).toMatchObject({ tokenType: 'Bearer', expiresIn: 900, tenant: { name: 'default' } });
    b.clock.jump(15 * 60_000);
    await refused(b, first);
    const second = await refresh(b, first);
    expect(second.refreshToken).not.toBe(first.refreshToken);
    await (await b.by(second.accessToken)).vpc.list();
    b.clock.jump(29 * DAY);
    const third = await refresh(b, second);
    b.clock.jump(30 * DAY);
    expect(await faultOf(refresh(b, third))).toMatchObject({ code: 'unauthenticated' });
  });

  test.each([1, 2, 5])('ends at once when a refresh token comes a second time, %i refreshes later', async (later) => {
    await using b = await people();
    await b.person(ANN);
    const first = await b.login(ANN);
    const other = await b.login(ANN);
    let last = first;
    for (let n = 0; n < later; n++) last = await refresh(b, last);
    await b.core.authenticate(last.accessToken, SOURCE);
    expect(await faultOf(refresh(b, first))).toMatchObject({ code: 'unauthenticated' });
    await refused(b, last);
    expect(await faultOf(refresh(b, last))).toMatchObject({ code: 'unauthenticated' });
    await b.core.authenticate(other.accessToken, SOURCE);
  });

  test('does not end by guesses of those who know its id', async () => {
    await using b = await people();
    await b.person(ANN);
    const session = await b.login(ANN);
    const [, id] = /^tcr_(ses-[a-z0-9]+)_/.exec(session.refreshToken ?? '') ?? [];
    for (const guess of ['', 'x', `tcr_${id}_${'A'.repeat(43)}`, `tcr_${id}_${'A'.repeat(43)}_${'A'.repeat(43)}`])
      await faultOf(b.open('refresh', { refreshToken: guess }));
    await refresh(b, session);
  });

  test('of two refreshes at once one wins', async () => {
    await using b = await people();
    await b.person(ANN);
    const session = await b.login(ANN);
    const both = await Promise.allSettled([refresh(b, session), refresh(b, session)]);
    expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const won = both.find((one) => one.status === 'fulfilled') as PromiseFulfilledResult<SessionView>;
    await b.core.authenticate(won.value.accessToken, SOURCE);
  });

  test('ends with logout, or all of them', async () => {
    await using b = await people();
    await b.person(ANN);
    await b.person('bob@example.com');
    const [one, two, three, bob] = [await b.login(ANN), await b.login(ANN), await b.login(ANN), await b.login('bob@example.com')];
    const ann = await b.by(one.accessToken);
    expect(await ann.auth.logout({})).toEqual({ ended: 1 });
    await refused(b, one);
    expect((await faultOf(ann.auth.whoami())).code).toBe('unauthenticated');
    expect(await faultOf(refresh(b, one))).toMatchObject({ code: 'unauthenticated' });
    expect(await (await b.by(two.accessToken)).auth.logout({ everywhere: true })).toEqual({ ended: 2 });
    await refused(b, three);
    await b.core.authenticate(bob.accessToken, SOURCE);
    expect(await b.cloud.auth.logout({ everywhere: true }), 'the local administrator has none').toEqual({ ended: 0 });
  });

  test('ended ones stay so over a restart', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-auth-'));
    const first = await people({ dataDir });
    await first.person(ANN);
    const [ended, open] = [await first.login(ANN), await first.login(ANN)];
    await (await first.by(ended.accessToken)).auth.logout({});
    await first.close();
    await using b = await people({ dataDir, clock: first.clock });
    await refused(b, ended);
    await b.core.authenticate(open.accessToken, SOURCE);
    await refresh(b, open);
    rmSync(dataDir, { recursive: true });
  });

  test('one that ended does not come back when it is forgotten', async () => {
    await using b = await people();
    await b.person(ANN);
    const ann = await b.by((await b.login(ANN)).accessToken);
    await ann.auth.whoami();
    await b.cloud.user.signOut(ANN);
    b.clock.jump(60 * 60_000);
    await b.clock.advance(61 * 60_000);
    expect(
      await b.db
        .selectFrom('session' as never)
        .selectAll()
        .execute(),
    ).toEqual([]);
    expect((await faultOf(ann.auth.whoami())).code).toBe('unauthenticated');
  });

  test('all of a user end by signOut, by disabling and with the user', async () => {
    await using b = await people();
    await b.person(ANN);
    let session = await b.login(ANN);
    expect(await b.cloud.user.signOut(ANN)).toEqual({ ended: 1 });
    await refused(b, session);
    session = await b.login(ANN);
    await b.cloud.user.update(ANN, { disabled: true });
    await refused(b, session);
    expect(await faultOf(refresh(b, session))).toMatchObject({ code: 'unauthenticated' });
    await b.cloud.user.update(ANN, { disabled: false });
    await refused(b, session);
    session = await b.login(ANN);
    await b.cloud.user.delete(ANN);
    await refused(b, session);
    expect(await faultOf(b.login(ANN))).toMatchObject({ message: WRONG });
    await b.person(ANN);
    await refused(b, session);
  });
});

describe('passwords', () => {
  test('are changed by those who know the present one; other sessions end', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const [here, there] = [await b.login(ANN), await b.login(ANN)];
    const ann = await b.by(here.accessToken);
    expect(await faultOf(ann.auth.changePassword({ current: 'not the password', password: OTHER }))).toMatchObject({ message: WRONG });
    expect(await ann.auth.changePassword({ current: PASSWORD, password: OTHER })).toEqual({ ended: 1 });
    expect((await faultOf(b.core.authenticate(there.accessToken, SOURCE))).code).toBe('unauthenticated');
    await ann.auth.whoami();
    expect(await faultOf(b.login(ANN))).toMatchObject({ message: WRONG });
    await b.login(ANN, OTHER);
  });

  test('are not changed with keys, nor by those who have none', async () => {
    await using b = await people();
    await b.person(ANN, 'developer');
    const { key } = await (await b.by((await b.login(ANN)).accessToken)).apiKey.create({ name: 'k' });
    const byKey = await b.by(key);
    expect(await faultOf(byKey.auth.changePassword({ current: PASSWORD, password: OTHER }))).toMatchObject({ code: 'forbidden' });
    expect(await faultOf(byKey.auth.logout({ everywhere: true }))).toMatchObject({ code: 'forbidden' });
    expect(await byKey.auth.logout({})).toEqual({ ended: 0 });
    expect(await faultOf(b.cloud.auth.changePassword({ current: PASSWORD, password: OTHER }))).toMatchObject({ code: 'conflict' });
  });

  test('are guessed through a session no faster than through the login', async () => {
    await using b = await people();
    await b.person(ANN);
    const ann = await b.by((await b.login(ANN)).accessToken);
    for (let n = 0; n < 5; n++) await faultOf(ann.auth.changePassword({ current: 'not the password', password: OTHER }));
    expect(await faultOf(ann.auth.changePassword({ current: PASSWORD, password: OTHER }))).toMatchObject({ code: 'rate_limited' });
  });

  test('are set once with a one-time token; a newer one voids it, and it lives a day', async () => {
    await using b = await people();
    await b.cloud.user.create({ name: ANN });
    await b.person('bob@example.com');
    const reset = (token: string, email = ANN, password = PASSWORD) => b.open('resetPassword', { email, token, password });
    const old = await b.cloud.user.resetPassword(ANN);
    const { token, expiresAt } = await b.cloud.user.resetPassword(ANN);
    expect(expiresAt).toBe(new Date(b.clock.now() + DAY).toISOString());
    const said = 'This token is not valid for this e-mail address, or was used, or has expired';
    for (const [wrong, email] of [
      [old.token, ANN],
      [token, 'bob@example.com'],
      [token, 'nobody@example.com'],
      ['x', ANN],
    ] as const)
      expect(await faultOf(reset(wrong, email))).toMatchObject({ code: 'unauthenticated', message: said });
    expect(await reset(token)).toEqual({ ended: 0 });
    const session = await b.login(ANN);
    expect(await faultOf(reset(token, ANN, OTHER))).toMatchObject({ message: said });

    const again = (await b.cloud.user.resetPassword(ANN)).token;
    await b.login(ANN);
    expect(await reset(again, 'Ann@example.com', OTHER)).toEqual({ ended: 2 });
    expect((await faultOf(b.core.authenticate(session.accessToken, SOURCE))).code).toBe('unauthenticated');
    await b.login(ANN, OTHER);

    const late = (await b.cloud.user.resetPassword(ANN)).token;
    b.clock.jump(DAY);
    expect(await faultOf(reset(late))).toMatchObject({ message: said });
    const both = (await b.cloud.user.resetPassword(ANN)).token;
    const settled = await Promise.allSettled([reset(both), reset(both)]);
    expect(settled.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    const unused = (await b.cloud.user.resetPassword(ANN)).token;
    await (await b.by((await b.login(ANN)).accessToken)).auth.changePassword({ current: PASSWORD, password: OTHER });
    expect(await faultOf(reset(unused)), 'a password that was set voids it').toMatchObject({ message: said });
  });
});
