// API keys: made, rotated and revoked here; looked up by the directory of `auth`, at every call.
import type { Kysely } from 'kysely';
import type { KernelTables } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { newId } from '../../kernel/ids.ts';
import { pageOf } from '../../kernel/page.ts';
import { refuseToBecome } from '../../kernel/roles.ts';
import { randomSecret, secretDigest } from '../../kernel/secret-text.ts';
import { type Call, type RowOf, service } from '../../kernel/service.ts';
import { notFound, rowOf } from '../../kernel/table.ts';
import { Views } from '../../kernel/view.ts';
import { policies } from '../policy/contract.ts';
import { apiKeys } from './contract.ts';

type Key = RowOf<typeof apiKeys>;
type KeyCall = Call<typeof apiKeys, unknown>;
type Sql = Kysely<KernelTables & { api_key_use: { key_id: string; at: number; source: string } }>;

const HINT_LENGTH = 12;
const time = (milliseconds: number): string => new Date(milliseconds).toISOString();
const textOf = (id: string): string => `tck_${id.slice('key-'.length)}_${randomSecret()}`;

export const apiKeyService = service(apiKeys, (context) => {
  const views = new Views(apiKeys);
  const mine = (row: Key, { principal, administers }: Pick<KeyCall, 'principal' | 'administers'>): boolean =>
    administers || principal.id === row.status.ownerId || principal.kind === 'system';

  const target = async (call: KeyCall): Promise<Key> => {
    const row = call.found;
    if (row !== undefined && mine(row, call)) return row;
    throw notFound('api-key', call.targetName, []);
  };
  /** A key that is narrowed could make one that is not. */
  const refuseNarrowed = ({ principal }: KeyCall): void => {
    if (principal.credential?.kind === 'api-key') {
      throw new Fault('forbidden', 'An API key makes no keys: use a login session', {
        details: { reason: 'a key could shed the policies that narrow it' },
        hint: 'cloud auth login',
      });
    }
  };

  /** Whoever has the secret acts as the owner: administrators revoke what is somebody else's, they do not take it. */
  const refuseForeign = async (call: KeyCall, row: Key): Promise<void> => {
    const { ownerId, owner } = row.status;
    if (ownerId === call.principal.id) return;
    const record = await call.sql
      .selectFrom('r_service_account')
      .selectAll()
      .where('tenant', '=', call.tenantId)
      .where('id', '=', String(ownerId))
      .executeTakeFirst();
    if (record !== undefined) return refuseToBecome(call, { ...record, roles: rowOf(record).spec['roles'] as string[] }, context.contracts);
    throw new Fault('forbidden', `The key ${row.name} acts as ${owner}, so only ${owner} gives it a new secret`, { hint: `cloud api-key revoke ${row.name}` });
  };

  const shown = async (rows: readonly Key[], from: unknown): Promise<Record<string, unknown>[]> => {
    const ids = rows.map(({ id }) => id);
    const used = ids.length === 0 ? [] : await (from as Sql).selectFrom('api_key_use').selectAll().where('key_id', 'in', ids).execute();
    const byId = new Map(used.map((use) => [use.key_id, use]));
    const now = context.clock.now();
    return rows.map((row) => {
      const use = byId.get(row.id);
      const expired = row.spec.expiresAt !== undefined && Date.parse(row.spec.expiresAt) <= now;
      return views.once({
        ...row,
        state: expired ? 'expired' : 'active',
        status: { ...row.status, ...(use === undefined ? {} : { lastUsedAt: time(use.at), lastUsedFrom: use.source }) },
      } as never);
    });
  };
  const one = async (row: Key, from: unknown) => (await shown([row], from))[0] as never;

  return {
    handlers: {
      async create(call) {
        refuseNarrowed(call);
        const { name, labels, ...spec } = call.input;
        if (spec.expiresAt !== undefined && Date.parse(spec.expiresAt) <= context.clock.now()) {
          throw new Fault('invalid_input', 'expiresAt: this is over', { details: [{ path: 'expiresAt', message: 'give a time to come' }] });
        }
        const account = call.refs['serviceAccount']?.[0];
        if (account !== undefined) await refuseToBecome(call, { ...account, roles: account.spec['roles'] as string[] }, context.contracts);
        const { principal } = call;
        if (account === undefined && principal.kept !== true) {
          throw new Fault('conflict', `${principal.name ?? principal.id} is no user: a key acts as a user or a service account`, {
            hint: 'cloud api-key create … --service-account <name>',
          });
        }
        const id = newId('key');
        const key = textOf(id);
        const status = { ownerId: account?.id ?? principal.id, owner: account?.name ?? principal.name ?? principal.id, hint: key.slice(0, HINT_LENGTH) };
        const row = await call.rows.insert({ id, name, labels, spec: { ...spec, hash: secretDigest(key) }, status });
        return { ...((await one(row, call.sql)) as object), key } as never;
      },
      async list(call) {
        const { label, ...page } = call.input;
        const rows: Key[] = [];
        for (let cursor: string | undefined; ; ) {
          const next = await call.rows.list({ label, cursor });
          rows.push(...next.rows.filter((row) => mine(row, call)));
          cursor = next.cursor;
          if (cursor === undefined) break;
        }
        return pageOf(
          (await shown(rows, call.sql)) as { labels: Record<string, string>; createdAt: string; id: string }[],
          ({ createdAt, id }) => `${createdAt} ${id}`,
          page,
        ) as never;
      },
      get: async (call) => one(await target(call), call.sql),
      async update(call) {
        const { labels, ...spec } = call.input;
        return one(await call.rows.update(await target(call), { labels, spec }), call.sql);
      },
      async rotate(call) {
        refuseNarrowed(call);
        const row = await target(call);
        await refuseForeign(call, row);
        const now = context.clock.now();
        const key = textOf(row.id);
        const { grace } = call.input;
        const before = row.spec as unknown as { hash: string };
        const changed = await call.rows.update(row, {
          spec: { hash: secretDigest(key), previousHash: grace > 0 ? before.hash : null, previousUntil: grace > 0 ? now + grace * 1000 : null },
        });
        const told = await call.rows.report(changed, { status: { rotatedAt: time(now), hint: key.slice(0, HINT_LENGTH) } });
        return { ...((await one(told, call.sql)) as object), key } as never;
      },
      async revoke(call) {
        const row = await target(call);
        const view = await one(row, call.sql);
        await call.systemClient(call.tenantId, { policy: policies }).policy.forget({ kind: 'api-key', id: row.id });
        await (call.sql as unknown as Sql).deleteFrom('api_key_use').where('key_id', '=', row.id).execute();
        await call.rows.delete(row);
        return view;
      },
    },
  };
});
