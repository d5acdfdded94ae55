// Members of a tenant: which users belong to it, and with which roles.
import { INSTALLATION } from '../../kernel/authorize.ts';
import type { Db, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { keepAnAdministrator, refuseToShed, rolesToGive, without } from '../../kernel/roles.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { notFound, rowOf } from '../../kernel/table.ts';
import { apiKeys } from '../api-key/contract.ts';
import { s3Keys } from '../bucket/contract.ts';
import { policies } from '../policy/contract.ts';
import { tenantMembers } from './contract.ts';

type Member = RowOf<typeof tenantMembers>;
type MemberCall = Call<typeof tenantMembers, unknown>;

async function userOf(sql: Tx | Db, nameOrId: string): Promise<{ id: string; name: string }> {
  const wanted = nameOrId.trim();
  const found = await sql
    .selectFrom('r_user')
    .select(['id', 'name'])
    .where('tenant', '=', INSTALLATION)
    .where((where) => where.or([where('id', '=', wanted), where('name', '=', wanted.toLowerCase())]))
    .executeTakeFirst();
  if (found !== undefined) return found;
  const message = `There is no user ${JSON.stringify(nameOrId)}`;
  throw new Fault('not_found', message, { details: [{ path: 'name', message }], hint: `cloud user create ${wanted}` });
}

export const tenantMemberService = service(tenantMembers, (context) => {
  /** By e-mail address, id of the user, or id of the membership. */
  const target = async (call: MemberCall): Promise<Member> => {
    if (call.found !== undefined) return call.found;
    const wanted = call.targetName.trim();
    const byName = wanted.includes('@') ? await call.rows.find(wanted.toLowerCase()) : undefined;
    if (byName !== undefined) return byName;
    const rows = await call.sql.selectFrom('r_tenant_member').selectAll().where('tenant', '=', call.tenantId).execute();
    const found = rows.map(rowOf).find(({ status }) => status['userId'] === wanted);
    if (found !== undefined) return found as unknown as Member;
    throw notFound(
      'tenant-member',
      call.targetName,
      rows.map(({ name }) => name),
    );
  };

  /** Each must exist here, and nobody gives what they do not have. */
  const check = (call: MemberCall, roles: readonly string[]): Promise<string[]> => rolesToGive(call, roles, context.contracts);

  return {
    handlers: {
      async add(call) {
        const { name, labels, roles } = call.input;
        const checked = await check(call, roles);
        const user = await userOf(call.sql, name);
        return call.rows.insert({ name: user.name, labels, spec: { roles: checked }, status: { userId: user.id } });
      },
      get: (call) => target(call),
      async update(call) {
        const row = await target(call);
        const { labels, roles } = call.input;
        const checked = roles === undefined || roles === null ? undefined : await check(call, roles);
        if (row.spec.roles.includes('admin') && checked?.includes('admin') === false) await keepAnAdministrator(call, row);
        if (checked !== undefined) await refuseToShed(call, without(row.spec.roles, checked), context.contracts);
        return call.rows.update(row, { labels, spec: checked === undefined ? {} : { roles: checked } });
      },
      async remove(call) {
        const row = await target(call);
        if (row.spec.roles.includes('admin')) await keepAnAdministrator(call, row);
        const { userId } = row.status as { userId: string };
        const asSystem = call.systemClient(call.tenantId, { apiKey: apiKeys, s3Key: s3Keys, policy: policies });
        for (const { table, end } of [
          { table: 'r_api_key', end: (id: string) => asSystem.apiKey.revoke(id) },
          { table: 'r_s3_key', end: (id: string) => asSystem.s3Key.delete(id) },
        ] as const) {
          const keys = await call.sql.selectFrom(table).select(['id', 'status']).where('tenant', '=', call.tenantId).execute();
          for (const { id, status } of keys) if ((JSON.parse(status) as { ownerId?: string }).ownerId === userId) await end(id);
        }
        await asSystem.policy.forget({ kind: 'user', id: userId });
        return call.rows.delete(row);
      },
    },
  };
});
