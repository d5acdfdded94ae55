// Users of the installation. Passwords, tokens and sessions are kept by `auth`.
import type { Kysely } from 'kysely';
import { INSTALLATION } from '../../kernel/authorize.ts';
import type { KernelTables } from '../../kernel/db.ts';
import { service } from '../../kernel/service.ts';
import { apiKeys } from '../api-key/contract.ts';
import { auths } from '../auth/contract.ts';
import { s3Keys } from '../bucket/contract.ts';
import { tenantMembers } from '../tenant-member/contract.ts';
import { users } from './contract.ts';

/** What is read here of the tables of `auth`. */
type Sql = Kysely<
  KernelTables & {
    user_password: { user_id: string };
    user_login: { user_id: string; at: number };
    login_failure: { account: string; until: number };
  }
>;

const HASH = Symbol('hash');
const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

export const userService = service(users, (context) => ({
  spelling: (target) => (target.includes('@') ? target.trim().toLowerCase() : target),
  async status(rows, from) {
    const sql = from as unknown as Sql;
    const ids = rows.map(({ id }) => id);
    const names = rows.map(({ name }) => name);
    const withPassword = new Set((await sql.selectFrom('user_password').select('user_id').where('user_id', 'in', ids).execute()).map(({ user_id }) => user_id));
    const logins = new Map((await sql.selectFrom('user_login').selectAll().where('user_id', 'in', ids).execute()).map(({ user_id, at }) => [user_id, at]));
    const locked = await sql
      .selectFrom('login_failure')
      .select((of) => ['account', of.fn.max('until').as('until')])
      .where('account', 'in', names)
      .where('until', '>', context.clock.now())
      .groupBy('account')
      .execute();
    const until = new Map(locked.map((row) => [row.account, Number(row.until)]));
    return rows.map(({ id, name }) => {
      const login = logins.get(id);
      const lock = until.get(name);
      return {
        passwordSet: withPassword.has(id),
        ...(login === undefined ? {} : { lastLoginAt: time(login) }),
        ...(lock === undefined ? {} : { lockedUntil: time(lock) }),
      };
    });
  },
  prepare: {
    async create(call) {
      const { password, ...rest } = call.input;
      if (password === undefined) return;
      const { hash } = await call.client({ auth: auths }).auth.hash({ email: rest.name, password });
      call.input = Object.assign({ ...rest }, { [HASH]: hash }) as typeof call.input;
    },
  },
  handlers: {
    async create(call) {
      const { name, labels, password: _, ...spec } = call.input;
      const row = await call.rows.insert({ name, labels, spec });
      const hash = (call.input as { [HASH]?: string })[HASH];
      if (hash !== undefined) await call.client({ auth: auths }).auth.keepPassword({ userId: row.id, hash });
      return row;
    },
    async enroll(call) {
      const { name, hash, displayName } = call.input;
      const row = await call.rows.insert({ name, spec: { administrator: false, disabled: false, ...(displayName === undefined ? {} : { displayName }) } });
      if (hash !== undefined) await call.client({ auth: auths }).auth.keepPassword({ userId: row.id, hash });
      return row;
    },
    async update(call) {
      const { labels, ...spec } = call.input;
      const row = await call.rows.update(call.target, { labels, spec });
      if (spec.disabled === true) await call.client({ auth: auths }).auth.endSessions({ principalId: row.id });
      return row;
    },
    async delete(call) {
      const row = call.target;
      const memberships = await call.sql.selectFrom('r_tenant_member').select(['id', 'tenant']).where('name', '=', row.name).execute();
      for (const { id, tenant } of memberships) await call.systemClient(tenant, { member: tenantMembers }).member.remove(id);
      // Of an administrator there may be keys for tenants whose member she is not.
      for (const { table, end } of [
        { table: 'r_api_key', end: (tenant: string, id: string) => call.systemClient(tenant, { apiKey: apiKeys }).apiKey.revoke(id) },
        { table: 'r_s3_key', end: (tenant: string, id: string) => call.systemClient(tenant, { s3Key: s3Keys }).s3Key.delete(id) },
      ] as const) {
        const keys = await call.sql.selectFrom(table).select(['id', 'tenant', 'status']).execute();
        for (const { id, tenant, status } of keys) if ((JSON.parse(status) as { ownerId?: string }).ownerId === row.id) await end(tenant, id);
      }
      await call.systemClient(INSTALLATION, { auth: auths }).auth.forgetUser({ userId: row.id, email: row.name });
      return call.rows.delete(row);
    },
    async resetPassword(call) {
      const row = call.target;
      const { token, expiresAt } = await call.client({ auth: auths }).auth.issueToken({ userId: row.id });
      await call.event(row, 'reset-issued', `A one-time token was issued for ${row.name}`);
      return { email: row.name, token, expiresAt };
    },
    async signOut(call) {
      const row = call.target;
      const { ended } = await call.client({ auth: auths }).auth.endSessions({ principalId: row.id });
      await call.event(row, 'signed-out', `${ended} sessions of ${row.name} were ended`);
      return { ended };
    },
    async unlock(call) {
      const row = call.target;
      await call.client({ auth: auths }).auth.forgetUser({ userId: row.id, email: row.name, failuresOnly: true });
      await call.event(row, 'unlocked', `Wrong passwords for ${row.name} were forgotten`);
      return row;
    },
  },
}));
