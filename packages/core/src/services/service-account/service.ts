// Service accounts: principals of one tenant, for programs.
import type { Kysely } from 'kysely';
import { INSTALLATION } from '../../kernel/authorize.ts';
import type { KernelTables } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { refuseToBecome, refuseToShed, rolesToGive, without } from '../../kernel/roles.ts';
import { randomSecret, secretDigest } from '../../kernel/secret-text.ts';
import { type Call, service } from '../../kernel/service.ts';
import { auths } from '../auth/contract.ts';
import { policies } from '../policy/contract.ts';
import { serviceAccounts } from './contract.ts';

type Sql = Kysely<KernelTables & { user_login: { user_id: string; at: number } }>;

export const serviceAccountService = service(serviceAccounts, (context) => {
  const check = (call: Call<typeof serviceAccounts, unknown>, roles: readonly string[]): Promise<string[]> => rolesToGive(call, roles, context.contracts);
  /** Those that it made itself name no service account, so nothing refers to it. */
  const refuseWithKeys = async ({ sql, tenantId, target }: Pick<Call<typeof serviceAccounts, unknown>, 'sql' | 'tenantId' | 'target'>): Promise<void> => {
    for (const { table, what, end } of [
      { table: 'r_api_key', what: 'API key', end: 'api-key revoke' },
      { table: 'r_s3_key', what: 'access key', end: 's3-key delete' },
    ] as const) {
      const keys = await sql.selectFrom(table).select(['name', 'status']).where('tenant', '=', tenantId).execute();
      const own = keys.find(({ status }) => (JSON.parse(status) as { ownerId?: string }).ownerId === target.id);
      if (own === undefined) continue;
      throw new Fault('conflict', `The ${what} ${own.name} acts as the service account ${target.name}`, { hint: `cloud ${end} ${own.name}` });
    }
  };

  return {
    async status(rows, from) {
      const sql = from as unknown as Sql;
      const ids = rows.map(({ id }) => id);
      const used = new Map((await sql.selectFrom('user_login').selectAll().where('user_id', 'in', ids).execute()).map(({ user_id, at }) => [user_id, at]));
      return rows.map(({ id, spec }) => {
        const at = used.get(id);
        return {
          secretSet: (spec as { secretHash?: string }).secretHash !== undefined,
          ...(at === undefined ? {} : { lastUsedAt: new Date(at).toISOString() }),
        };
      });
    },
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        return call.rows.insert({ name, labels, spec: { ...spec, roles: await check(call, spec.roles) } });
      },
      async update(call) {
        const { labels, roles, ...spec } = call.input;
        const checked = roles === undefined || roles === null ? {} : { roles: await check(call, roles) };
        if (checked.roles !== undefined) await refuseToShed(call, without(call.target.spec.roles, checked.roles), context.contracts);
        const { id, name, spec: before } = call.target;
        // Somebody may still have its secret.
        if (spec.disabled === false && before.disabled) await refuseToBecome(call, { id, name, roles: before.roles }, context.contracts);
        const row = await call.rows.update(call.target, { labels, spec: { ...spec, ...checked } });
        if (spec.disabled === true) await call.systemClient(INSTALLATION, { auth: auths }).auth.endSessions({ principalId: row.id });
        return row;
      },
      async delete(call) {
        await refuseWithKeys(call);
        const row = await call.rows.delete(call.target);
        await call.systemClient(call.tenantId, { policy: policies }).policy.forget({ kind: 'service-account', id: row.id });
        await call.systemClient(INSTALLATION, { auth: auths }).auth.forgetUser({ userId: row.id, email: row.id });
        return row;
      },
      async rotateSecret(call) {
        // Whoever has the secret is the account, so nobody makes one for an account that may more than they do.
        const { id, name, spec } = call.target;
        await refuseToBecome(call, { id, name, roles: spec.roles }, context.contracts);
        const clientSecret = `tcs_${randomSecret()}`;
        const row = await call.rows.update(call.target, { spec: { secretHash: secretDigest(clientSecret) } });
        await call.systemClient(INSTALLATION, { auth: auths }).auth.endSessions({ principalId: row.id });
        return { clientId: row.id, clientSecret };
      },
    },
  };
});
