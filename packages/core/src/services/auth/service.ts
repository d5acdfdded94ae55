// Logins, sessions and what one may know of oneself. Hashing and signing are done before the transaction, which only writes down what came of it.
import { INSTALLATION, type Principal } from '../../kernel/authorize.ts';
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { isSecret, randomSecret, secretDigest } from '../../kernel/secret-text.ts';
import { type Call, service } from '../../kernel/service.ts';
import { rowOf } from '../../kernel/table.ts';
import { tenant, tenants } from '../tenant/contract.ts';
import { tenantMembers } from '../tenant-member/contract.ts';
import { users } from '../user/contract.ts';
import { auths } from './contract.ts';
import { CloudDirectory } from './directory.ts';
import { Failures, succeeded } from './failures.ts';
import { Keys } from './keys.ts';
import { oneself } from './oneself.ts';
import { type Hasher, Passwords, refuseAddress } from './passwords.ts';
import { CLIENT_SECONDS, endSessions, REFRESH_SECONDS, Sessions } from './sessions.ts';
import { migrations, type Sql } from './tables.ts';
import { ACCESS_SECONDS, Tokens } from './tokens.ts';

type AuthCall<I = unknown> = Call<typeof auths, I>;

const TOKEN_MS = 24 * 60 * 60 * 1000;
/** What all refresh tokens of a session begin with, then what only one of them has. */
const REFRESH_TEXT = /^(tcr_(ses-[0-9a-z]{16})_[A-Za-z0-9_-]{43}_)[A-Za-z0-9_-]{43}$/;
const REGISTRATION = 'registration';
/** One sentence for every reason, so that it tells nothing about accounts. */
const wrong = (): Fault => new Fault('unauthenticated', 'The e-mail address or the password is wrong', { hint: 'cloud auth login' });
const wrongClient = (): Fault => new Fault('unauthenticated', 'The client id or the secret is wrong', { hint: 'cloud service-account rotate-secret <name>' });

interface Found {
  id: string;
  name: string;
  kind: 'user' | 'service-account';
  /** Hash of what was proven: must still be in force when the session is opened. */
  proof?: string;
}

/** What the preparation made and the transaction writes. Travels in the input, out of reach of callers: a contract's input is strict. */
interface Prepared {
  found: Found;
  session: string;
  accessToken: string;
  refreshToken: string | undefined;
  refreshFamily: string | undefined;
  /** Where calls act that name no tenant. */
  home: { id: string; name: string } | undefined;
  /** Of a refresh: the hash that must still be in force. */
  from?: string;
}
const PREPARED = Symbol('prepared');
const keep = <T extends object>(call: { input: T }, prepared: unknown): void => {
  call.input = Object.assign({ ...call.input }, { [PREPARED]: prepared });
};
const kept = <T>(call: { input: unknown }): T => (call.input as { [PREPARED]?: T })[PREPARED] as T;

export const authServiceWith = (of?: Hasher) =>
  service(auths, (context) => {
    const { clock } = context;
    const db = context.db as unknown as Sql;
    const passwords = new Passwords(of);
    const tokens = new Tokens(context);
    const sessions = new Sessions(context);
    const keys = new Keys(context);
    const failures = new Failures(context);
    const directory = new CloudDirectory(context, { tokens, sessions, keys });
    const sqlOf = (call: AuthCall): Sql => call.sql as unknown as Sql;

    const userBy = async (by: 'name' | 'id', value: string) => {
      const record = await db.selectFrom('r_user').selectAll().where(by, '=', value).executeTakeFirst();
      if (record === undefined) return undefined;
      const { id, name, spec } = rowOf(record);
      return { id, name, kind: 'user' as const, disabled: spec['disabled'] === true };
    };
    const hashOf = async (userId: string | undefined): Promise<string | undefined> =>
      userId === undefined ? undefined : (await db.selectFrom('user_password').select('hash').where('user_id', '=', userId).executeTakeFirst())?.hash;

    /** The user, if the password is right. Every other case costs the same and says the same. */
    const proven = async (email: string, password: string, source: string): Promise<Found> => {
      await failures.check(email, source);
      const user = await userBy('name', email);
      const hash = await hashOf(user?.disabled === false ? user.id : undefined);
      // Looked at again when its turn has come: many that were sent at once would all have passed before the first has failed.
      const right = await passwords.compare(password, hash, { before: () => failures.check(email, source), wrong: () => failures.failed(email, source) });
      if (right && user !== undefined && hash !== undefined) return { id: user.id, name: user.name, kind: user.kind, proof: hash };
      throw wrong();
    };

    /** `family`: of the refresh tokens before; undefined: there are to be none. */
    const prepareSession = async (found: Found, session: string, family: string | undefined): Promise<Prepared> => {
      const tenantId = (await directory.find(found.id))?.tenantId ?? INSTALLATION;
      const home = tenantId === INSTALLATION ? undefined : await directory.tenant(tenantId);
      return {
        found,
        session,
        accessToken: await tokens.issue({ sub: found.id, sid: session }),
        refreshToken: family === undefined ? undefined : `${family}${randomSecret()}`,
        refreshFamily: family,
        home: home === undefined ? undefined : { id: home.id, name: home.name },
      };
    };

    const view = ({ found, accessToken, refreshToken, home }: Prepared, now: number) => ({
      tokenType: 'Bearer' as const,
      accessToken,
      expiresIn: ACCESS_SECONDS,
      ...(refreshToken === undefined ? {} : { refreshToken, refreshExpiresAt: new Date(now + REFRESH_SECONDS * 1000).toISOString() }),
      principal: { id: found.id, name: found.name, kind: found.kind },
      ...(home === undefined ? {} : { tenant: home }),
    });

    const openSession = async (call: AuthCall, prepared: Prepared): Promise<void> => {
      const now = clock.now();
      await sqlOf(call)
        .insertInto('session')
        .values({
          id: prepared.session,
          principal_id: prepared.found.id,
          refresh_hash: prepared.refreshToken === undefined ? null : secretDigest(prepared.refreshToken),
          family_hash: prepared.refreshFamily === undefined ? null : secretDigest(prepared.refreshFamily),
          source: call.source,
          created_at: now,
          expires_at: now + (prepared.refreshToken === undefined ? CLIENT_SECONDS : REFRESH_SECONDS) * 1000,
          ended_at: null,
        })
        .execute();
    };
    const end = async (call: AuthCall, which: Parameters<typeof endSessions>[2]): Promise<number> => {
      const ids = await endSessions(sqlOf(call), clock.now(), which);
      for (const id of ids) call.changed(id);
      return ids.length;
    };
    const setPassword = async (call: AuthCall, userId: string, hash: string): Promise<void> => {
      const values = { hash, set_at: clock.now() };
      const sql = sqlOf(call);
      await sql
        .insertInto('user_password')
        .values({ user_id: userId, ...values })
        .onConflict((on) => on.column('user_id').doUpdateSet(values))
        .execute();
      await sql.deleteFrom('one_time_token').where('user_id', '=', userId).execute();
    };
    /** A person, over a session or by where they come from. */
    const person = async (principal: Principal): Promise<Found> => {
      if (principal.credential !== undefined && principal.credential.kind !== 'session') {
        throw new Fault('forbidden', 'Passwords are changed with a session, not with a key', { hint: 'cloud auth login' });
      }
      const user = principal.kind === 'user' ? await userBy('id', principal.id) : undefined;
      if (user === undefined) throw new Fault('conflict', `${principal.name ?? principal.id} has no password`, { hint: 'cloud auth whoami' });
      return user;
    };
    const settings = async () => ({
      registration: ((await db.selectFrom('meta').select('value').where('key', '=', REGISTRATION).executeTakeFirst())?.value === 'open' ? 'open' : 'closed') as
        | 'open'
        | 'closed',
      accessTokenSeconds: ACCESS_SECONDS,
      refreshTokenSeconds: REFRESH_SECONDS,
    });

    return {
      migrations,
      directory,
      reseal: tokens.reseal,
      async prune(now) {
        await keys.prune();
        await tokens.prune(now);
        await sessions.prune(now);
        await failures.prune(now);
        await db.deleteFrom('one_time_token').where('expires_at', '<', now).execute();
        await db
          .deleteFrom('user_login')
          .where('user_id', 'not in', (of) => of.selectFrom('r_user').select('id'))
          .where('user_id', 'not in', (of) => of.selectFrom('r_service_account').select('id'))
          .execute();
      },
      close: () => keys.close(),
      prepare: {
        async login(call) {
          const { email, password } = call.input;
          const session = newId('ses');
          keep(call, await prepareSession(await proven(email, password, call.source), session, `tcr_${session}_${randomSecret()}_`));
        },
        async refresh(call) {
          const { refreshToken } = call.input;
          const [, family = '', id] = REFRESH_TEXT.exec(refreshToken) ?? [];
          const refused = (): Fault => new Fault('unauthenticated', 'This refresh token is not valid any more', { hint: 'cloud auth login' });
          const row = id === undefined ? undefined : await db.selectFrom('session').selectAll().where('id', '=', id).executeTakeFirst();
          const fits = isSecret(refreshToken, row?.refresh_hash);
          const ours = isSecret(family, row?.family_hash);
          if (row === undefined || row.ended_at !== null || row.expires_at <= clock.now()) throw refused();
          if (ours && !fits) {
            await context.client(INSTALLATION, { auth: auths }).auth.endSessions({ principalId: row.id });
            throw refused();
          }
          const user = fits ? await userBy('id', row.principal_id) : undefined;
          if (user === undefined || user.disabled) throw refused();
          keep(call, { ...(await prepareSession(user, row.id, family)), from: row.refresh_hash });
        },
        async clientToken(call) {
          const { clientId, clientSecret } = call.input;
          await failures.check(clientId, call.source);
          const record = await db.selectFrom('r_service_account').selectAll().where('id', '=', clientId).executeTakeFirst();
          const row = record === undefined ? undefined : rowOf(record);
          const proof = row?.spec['secretHash'] as string | undefined;
          const good = isSecret(clientSecret, proof);
          if (!good || row === undefined || proof === undefined || row.spec['disabled'] === true) {
            await failures.failed(clientId, call.source);
            throw wrongClient();
          }
          keep(call, await prepareSession({ id: row.id, name: row.name, kind: 'service-account', proof }, newId('ses'), undefined));
        },
        async register(call) {
          if ((await settings()).registration !== 'open') {
            throw new Fault('forbidden', 'Registration is closed here; ask an administrator for an account', {
              hint: 'cloud auth configure --registration open',
            });
          }
          refuseAddress(call.input.password, call.input.email);
          keep(call, await passwords.hash(call.input.password));
        },
        async changePassword(call) {
          const user = await person(call.principal);
          refuseAddress(call.input.password, user.name);
          const { proof } = await proven(user.name, call.input.current, call.source);
          keep(call, { user: { ...user, proof }, hash: await passwords.hash(call.input.password) });
        },
        async resetPassword(call) {
          const { email, token, password } = call.input;
          refuseAddress(password, email);
          await failures.check(email, call.source);
          const user = await userBy('name', email);
          const row = user === undefined ? undefined : await db.selectFrom('one_time_token').selectAll().where('user_id', '=', user.id).executeTakeFirst();
          // Hashed first, so that a wrong token costs what a right one does.
          const hash = await passwords.hash(password);
          const good = isSecret(token, row !== undefined && row.expires_at > clock.now() ? row.hash : undefined);
          if (!good || user === undefined || user.disabled) {
            await failures.failed(email, call.source);
            throw new Fault('unauthenticated', 'This token is not valid for this e-mail address, or was used, or has expired', {
              hint: 'cloud user reset-password <e-mail>',
            });
          }
          keep(call, { user, hash, used: row?.hash });
        },
        async rotateKeys(call) {
          keep(call, await tokens.rotate(call.input.revoke));
        },
      },
      handlers: {
        async login(call) {
          const prepared = kept<Prepared>(call);
          const now = clock.now();
          const sql = sqlOf(call);
          await stillProven(sql, prepared.found);
          await openSession(call, prepared);
          await succeeded(sql, prepared.found.name, call.source, now);
          await sql
            .insertInto('user_login')
            .values({ user_id: prepared.found.id, at: now })
            .onConflict((on) => on.column('user_id').doUpdateSet({ at: now }))
            .execute();
          await call.event(prepared.found, 'login', `${prepared.found.name} logged in`);
          return view(prepared, now);
        },
        async refresh(call) {
          const prepared = kept<Prepared & { from: string; refreshToken: string }>(call);
          const now = clock.now();
          const done = await sqlOf(call)
            .updateTable('session')
            .set({ refresh_hash: secretDigest(prepared.refreshToken), expires_at: now + REFRESH_SECONDS * 1000 })
            .where('id', '=', prepared.session)
            .where('refresh_hash', '=', prepared.from)
            .where('ended_at', 'is', null)
            .executeTakeFirst();
          if (done.numUpdatedRows === 0n)
            throw new Fault('unauthenticated', 'This refresh token was used at the same moment by another call', { hint: 'cloud auth login' });
          return view(prepared, now);
        },
        async clientToken(call) {
          const prepared = kept<Prepared>(call);
          const now = clock.now();
          const record = await sqlOf(call).selectFrom('r_service_account').selectAll().where('id', '=', prepared.found.id).executeTakeFirst();
          const spec = record === undefined ? {} : rowOf(record).spec;
          if (spec['disabled'] === true || spec['secretHash'] !== prepared.found.proof) throw wrongClient();
          await openSession(call, prepared);
          await succeeded(sqlOf(call), prepared.found.id, call.source, now);
          await sqlOf(call)
            .insertInto('user_login')
            .values({ user_id: prepared.found.id, at: now })
            .onConflict((on) => on.column('user_id').doUpdateSet({ at: now }))
            .execute();
          return view(prepared, now);
        },
        async logout(call) {
          const { principal } = call;
          if (call.input.everywhere && principal.credential?.kind === 'api-key') {
            throw new Fault('forbidden', 'An API key ends no sessions: use a login session', { hint: 'cloud auth login' });
          }
          if (call.input.everywhere) return { ended: await end(call, { principalId: principal.id }) };
          return {
            ended: principal.credential?.kind === 'session' || principal.credential?.kind === 'client' ? await end(call, { id: principal.credential.id }) : 0,
          };
        },
        async register(call) {
          const { email, displayName } = call.input;
          const system = call.systemClient(INSTALLATION, { user: users, tenant: tenants });
          const user = await system.user.enroll({ name: email, hash: kept<string>(call), ...(displayName === undefined ? {} : { displayName }) });
          const name = await freeName(sqlOf(call), email);
          const made = await system.tenant.create({ name });
          await call.systemClient(made.id, { member: tenantMembers }).member.add({ name: email, roles: ['admin'] });
          await call.event(user, 'registered', `${email} registered`);
          return { user: { id: user.id, name: user.name }, tenant: { id: made.id, name } };
        },
        async changePassword(call) {
          const { user, hash } = kept<{ user: Found; hash: string }>(call);
          await stillProven(sqlOf(call), user);
          await setPassword(call, user.id, hash);
          const ended = await end(call, { principalId: user.id, but: call.principal.credential?.id });
          await call.event(user, 'password-changed', `${user.name} has another password`);
          return { ended };
        },
        async resetPassword(call) {
          const { user, hash, used } = kept<{ user: Found; hash: string; used: string }>(call);
          const gone = await sqlOf(call).deleteFrom('one_time_token').where('user_id', '=', user.id).where('hash', '=', used).executeTakeFirst();
          if (gone.numDeletedRows === 0n) throw new Fault('unauthenticated', 'This token was used at the same moment by another call');
          await setPassword(call, user.id, hash);
          if ((await sqlOf(call).selectFrom('r_user').select('id').where('id', '=', user.id).executeTakeFirst()) === undefined) throw wrong();
          const ended = await end(call, { principalId: user.id });
          await succeeded(sqlOf(call), user.name, call.source, clock.now());
          await call.event(user, 'password-reset', `${user.name} has set a password with a token`);
          return { ended };
        },
        ...oneself(context, directory),
        settings: () => settings(),
        async configure(call) {
          const { registration } = call.input;
          await sqlOf(call)
            .insertInto('meta')
            .values({ key: REGISTRATION, value: registration })
            .onConflict((on) => on.column('key').doUpdateSet({ value: registration }))
            .execute();
          await call.event({ id: 'auth', name: 'auth' }, 'configured', `Registration is ${registration}`);
          return { registration, accessTokenSeconds: ACCESS_SECONDS, refreshTokenSeconds: REFRESH_SECONDS };
        },
        async rotateKeys(call) {
          const keyId = kept<string>(call);
          await call.event(
            { id: 'auth', name: 'auth' },
            'keys-rotated',
            `Access tokens are signed with a new key${call.input.revoke ? '; the earlier ones are void' : ''}`,
          );
          return { keyId };
        },
        async hash(call) {
          refuseAddress(call.input.password, call.input.email);
          return { hash: await passwords.hash(call.input.password) };
        },
        async keepPassword(call) {
          await setPassword(call, call.input.userId, call.input.hash);
          return { ended: await end(call, { principalId: call.input.userId }) };
        },
        async issueToken(call) {
          const token = `tcp_${randomSecret()}`;
          const values = { hash: secretDigest(token), expires_at: clock.now() + TOKEN_MS };
          await sqlOf(call)
            .insertInto('one_time_token')
            .values({ user_id: call.input.userId, ...values })
            .onConflict((on) => on.column('user_id').doUpdateSet(values))
            .execute();
          return { token, expiresAt: new Date(values.expires_at).toISOString() };
        },
        async endSessions(call) {
          const { principalId } = call.input;
          return { ended: await end(call, principalId.startsWith('ses-') ? { id: principalId } : { principalId }) };
        },
        async forgetUser(call) {
          const { userId, email, failuresOnly } = call.input;
          const sql = sqlOf(call);
          await sql.deleteFrom('login_failure').where('account', '=', email).execute();
          if (failuresOnly) return { ended: 0 };
          await sql.deleteFrom('known_source').where('account', '=', email).execute();
          for (const table of ['user_password', 'user_login', 'one_time_token'] as const) await sql.deleteFrom(table).where('user_id', '=', userId).execute();
          return { ended: await end(call, { principalId: userId }) };
        },
      },
    };
  });

export const authService = authServiceWith();

/** In the transaction: the password may be another one by now, or its user disabled or gone. */
async function stillProven(sql: Sql, { id, proof }: Found): Promise<void> {
  const row = await sql.selectFrom('user_password').select('hash').where('user_id', '=', id).executeTakeFirst();
  const record = await sql.selectFrom('r_user').selectAll().where('id', '=', id).executeTakeFirst();
  if (record === undefined || rowOf(record).spec['disabled'] === true || row?.hash !== proof) throw wrong();
}

/** A tenant's name from the local part of the address: `ann.lee+x@…` → `ann-lee-x`, with a number where that is taken. */
async function freeName(sql: Sql, email: string): Promise<string> {
  const base =
    (email.split('@')[0] ?? '')
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, '-')
      .replace(/^-+|-+$/g, '')
      .slice(0, 50)
      .replace(/-+$/, '') || 'tenant';
  for (let number = 1; ; number++) {
    const name = number === 1 ? base : `${base}-${number}`;
    if (!tenant.nameField.safeParse(name).success) continue; // looks like an id
    const taken = await sql.selectFrom('r_tenant').select('id').where('name', '=', name).executeTakeFirst();
    if (taken === undefined) return name;
  }
}
