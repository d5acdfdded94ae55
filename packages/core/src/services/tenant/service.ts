// Tenants. Deleting one with all that is in it is a loop like any other: it asks for the deletion of what nothing refers to any more, until nothing is left.

import type { Principal } from '../../kernel/authorize.ts';
import { administersInstallation, belongsTo, DEFAULT_TENANT, isAdministrator, rolesIn } from '../../kernel/authorize.ts';
import type { Contract } from '../../kernel/contract.ts';
import { Fault } from '../../kernel/errors.ts';
import { tableName } from '../../kernel/migrate.ts';
import { pageOf } from '../../kernel/page.ts';
import { type RowOf, service, Waiting } from '../../kernel/service.ts';
import { notFound } from '../../kernel/table.ts';
import { Views } from '../../kernel/view.ts';
import { words } from '../../kernel/words.ts';
import { apiKeys } from '../api-key/contract.ts';
import { s3Keys } from '../bucket/contract.ts';
import { serviceAccounts } from '../service-account/contract.ts';
import { breakCircles, type Content, contentsOf, deletable, IDENTITY } from './contents.ts';
import { tenants } from './contract.ts';
import { lockedIn, refuseLocked } from './locks.ts';
import { migrations } from './tables.ts';

type Tenant = RowOf<typeof tenants>;

const LOOK_AGAIN_MS = 200;
const AT_ONCE = 16;
const MOST_SHOWN = 20;
const MOST_TENANTS = 1000;

export const tenantService = service(tenants, (context) => {
  const views = new Views(tenants);
  const rolesOf = (principal: Principal, id: string): string[] => [...new Set([...rolesIn(principal, id), ...(isAdministrator(principal) ? ['admin'] : [])])];
  const shown = (row: Tenant, principal: Principal): Tenant => {
    const roles = rolesOf(principal, row.id);
    return roles.length === 0 ? row : { ...row, status: { ...row.status, role: roles.join(', ') } };
  };

  const inUse = (row: Tenant, contents: readonly Content[]): Fault => {
    const counts = new Map<string, number>();
    for (const { resource } of contents) counts.set(resource, (counts.get(resource) ?? 0) + 1);
    const said = [...counts].map(([resource, count]) => `${count} ${words(resource)}${count === 1 ? '' : 's'}`);
    return new Fault('conflict', `The tenant ${row.name} is not empty: ${said.join(', ')}`, {
      details: { contents: contents.slice(0, MOST_SHOWN).map(({ resource, id, name }) => ({ resource, id, name })), total: contents.length },
      hint: `cloud tenant contents ${row.name}, then cloud tenant delete ${row.name} --cascade`,
    });
  };

  /** Begins the deletion of what can be deleted now. Answers with how much is still there. */
  const sweep = async (row: Tenant): Promise<number> => {
    const contents = await contentsOf(context.db, row.id, context.contracts);
    await breakCircles(context.db, row.id, contents);
    const operations = new Map(deletable(context.contracts).map(({ contract, operation }) => [contract.resource.name, { contract, operation }]));
    const waiting = contents.filter(({ deleting }) => !deleting);
    const work = async (): Promise<void> => {
      for (let content = waiting.shift(); content !== undefined; content = waiting.shift()) {
        const { contract, operation } = operations.get(content.resource) as { contract: Contract; operation: string };
        const client = context.client(row.id, { it: contract }) as Readonly<Record<'it', Readonly<Record<string, (target: string) => Promise<unknown>>>>>;
        try {
          await client.it[operation]?.(content.id);
        } catch (error) {
          // In use by what is on its way out, or gone meanwhile: the next look tells. Anything else is told to whoever waits.
          if (!(error instanceof Fault) || !['conflict', 'not_found', 'stale'].includes(error.code)) throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, waiting.length) }, work));
    return contents.length;
  };

  /** Credentials end by the services' own operations, which know what else hangs on them. */
  const revokeAll = async (tenantId: string): Promise<void> => {
    const { apiKey, s3Key, account } = context.client(tenantId, { apiKey: apiKeys, s3Key: s3Keys, account: serviceAccounts });
    for (const { table, end } of [
      { table: 'r_api_key', end: (id: string) => apiKey.revoke(id) },
      { table: 'r_s3_key', end: (id: string) => s3Key.delete(id) },
      { table: 'r_service_account', end: (id: string) => account.delete(id) },
    ] as const) {
      for (const { id } of await context.db.selectFrom(table).select('id').where('tenant', '=', tenantId).execute()) {
        await end(id).catch((error: unknown) => {
          // Revoked meanwhile by somebody else.
          if (!(error instanceof Fault) || error.code !== 'not_found') throw error;
        });
      }
    }
  };

  return {
    migrations: migrations(context.clock.now()),
    handlers: {
      async list(call) {
        const rows: Tenant[] = [];
        for (let cursor: string | undefined; ; ) {
          const page = await call.rows.list({ label: call.input.label, limit: MOST_TENANTS, cursor });
          rows.push(...page.rows.filter((row) => belongsTo(call.principal, row.id)));
          cursor = page.cursor;
          if (cursor === undefined) break;
        }
        const { label: _, ...page } = call.input;
        return pageOf(
          rows.map((row) => views.once(shown(row, call.principal)) as never),
          ({ createdAt, id }: { createdAt: string; id: string }) => `${createdAt} ${id}`,
          page,
        ) as never;
      },
      async get(call) {
        // Administrators are told of names that are near.
        const row = administersInstallation(call.principal) ? call.target : call.found;
        if (row === undefined || !belongsTo(call.principal, row.id)) throw notFound('tenant', call.targetName, []);
        return views.once(shown(row, call.principal)) as never;
      },
      async contents(call) {
        const contents = await contentsOf(context.db, call.target.id, context.contracts);
        const locked = await lockedIn(context.db, call.target.id, context.clock.now());
        return { items: contents.map(({ deleting: _, ...content }) => content), total: contents.length, locked };
      },
      async delete(call) {
        const row = call.target;
        if (row.id === DEFAULT_TENANT.id) {
          throw new Fault('conflict', 'The first tenant cannot be deleted: whoever opens the socket acts in it', { hint: 'cloud tenant list' });
        }
        if (!call.input.cascade) {
          const contents = await contentsOf(call.sql, row.id, context.contracts);
          if (contents.length > 0) throw inUse(row, contents);
        } else if (!call.input.lockedObjects && row.deletedAt === undefined) refuseLocked(row.name, await lockedIn(call.sql, row.id, context.clock.now()));
        return call.rows.delete(row);
      },
    },
    controller: {
      async reconcile(_row, { report }) {
        await report({ state: 'ready', reason: null });
      },
      async remove(row, { progress }) {
        const left = await sweep(row);
        if (left > 0) {
          const said = `${left} ${left === 1 ? 'resource is' : 'resources are'} still there`;
          progress(said);
          throw new Waiting(said, LOOK_AGAIN_MS);
        }
        await revokeAll(row.id);
        // Identity of the tenant, and what the kernel kept for it. Repeatable: each statement finds what is left.
        await context.db.transaction().execute(async (tx) => {
          // A call that was let in before the deletion may have ended since the last look.
          if ((await contentsOf(tx, row.id, context.contracts)).length > 0) throw new Waiting('something was still on its way', LOOK_AGAIN_MS);
          for (const { resource } of context.contracts) {
            if (!IDENTITY.has(resource.name)) continue;
            const table = tableName(resource.name);
            const owned = tx.selectFrom(table).select('id').where('tenant', '=', row.id);
            await tx.deleteFrom('label').where('owner', 'in', owned).execute();
            await tx.deleteFrom('reference').where('from_id', 'in', owned).execute();
            await tx.deleteFrom(table).where('tenant', '=', row.id).execute();
          }
          for (const table of ['policy_attachment', 'idempotency', 'quota_limit', 'quota_usage', 'event', 'operation'] as const)
            await tx.deleteFrom(table).where('tenant', '=', row.id).execute();
        });
      },
    },
  };
});
