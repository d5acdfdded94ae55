// Quotas: what a tenant may have, and has. Counting is the kernel's (kernel/quota.ts); here limits are shown and set.
import type { z } from 'zod';
import { quotasOf } from '../../kernel/contract.ts';
import type { Db, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';
import { EVERY_TENANT, limitsOf } from '../../kernel/quota.ts';
import { service } from '../../kernel/service.ts';
import { type QuotaView, quotas } from './contract.ts';

type View = z.output<typeof QuotaView>;

/** The name of a quota says what it counts in; things that are counted one by one have no unit. */
const unitOf = (name: string): string | undefined => /(?<=[a-z])(?:[KMGT]iB|Bytes)$/.exec(name)?.[0];

export const quotaService = service(quotas, (context) => {
  const names = quotasOf(context.contracts).sort();

  const known = (name: string): void => {
    if (names.includes(name)) return;
    const near = nearest(name, names);
    const message = `there is no quota ${JSON.stringify(name)}; ${near === undefined ? `use ${names.join(', ')}` : `did you mean ${near}?`}`;
    throw new Fault('invalid_input', `name: ${message}`, { details: [{ path: 'name', message }], hint: 'cloud quota list' });
  };

  const views = async (db: Tx | Db, tenantId: string, which: readonly string[]): Promise<View[]> => {
    const usage = await db.selectFrom('quota_usage').select(['name', 'value']).where('tenant', '=', tenantId).where('name', 'in', which).execute();
    const used = new Map(usage.map(({ name, value }) => [name, value]));
    const limits = await limitsOf(db, tenantId, which);
    return which.map((name) => {
      const [limit, unit] = [limits.get(name), unitOf(name)];
      return {
        name,
        used: used.get(name) ?? 0,
        ...(limit === undefined ? {} : { limit: limit.value }),
        ...(unit === undefined ? {} : { unit }),
        source: limit?.source ?? 'none',
      };
    });
  };

  /** Whose limit a call is about. */
  const whose = ({ tenantId, input }: { tenantId: string; input: { forAll: boolean } }): string => {
    if (input.forAll) return EVERY_TENANT;
    if (tenantId !== '') return tenantId;
    throw new Fault('invalid_input', 'Name the tenant that the limit is for, or set it for all', { hint: 'repeat with --tenant, or with --default' });
  };

  return {
    handlers: {
      list: async (call) => ({ items: await views(call.sql, call.tenantId, names) }),
      async set(call) {
        const { name, limit: value } = call.input;
        known(name);
        const tenant = whose(call);
        await call.sql
          .insertInto('quota_limit')
          .values({ tenant, name, value })
          .onConflict((on) => on.columns(['tenant', 'name']).doUpdateSet({ value }))
          .execute();
        return (await views(call.sql, call.tenantId, [name]))[0] as View;
      },
      async unset(call) {
        const { name } = call.input;
        known(name);
        await call.sql.deleteFrom('quota_limit').where('tenant', '=', whose(call)).where('name', '=', name).execute();
        return (await views(call.sql, call.tenantId, [name]))[0] as View;
      },
    },
  };
});
