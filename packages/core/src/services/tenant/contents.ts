// What is in a tenant, in the order in which it can be deleted: what refers to something goes before it.
import type { Kysely } from 'kysely';
import type { Contract } from '../../kernel/contract.ts';
import type { Db, KernelTables, Tx } from '../../kernel/db.ts';
import { tableName } from '../../kernel/migrate.ts';

export interface Content {
  resource: string;
  id: string;
  name: string;
  state: string;
  deleting: boolean;
}

/** Resources whose rows a cascade deletes by their own operation. What belongs to identity goes at the end, by itself. */
export const deletable = (contracts: readonly Contract[]): { contract: Contract; operation: string }[] =>
  contracts.flatMap((contract) => {
    const found = Object.entries(contract.operations).find(([, { standard }]) => standard === 'delete');
    const { stored, scope } = contract.resource;
    return found === undefined || !stored || scope !== 'tenant' || IDENTITY.has(contract.resource.name) ? [] : [{ contract, operation: found[0] }];
  });

/** Who may do what in a tenant is no content of it: it ends with the tenant. */
export const IDENTITY = new Set(['tenant-member', 'role', 'policy', 'api-key', 's3-key', 'service-account']);

export async function contentsOf(db: Db | Tx, tenantId: string, contracts: readonly Contract[]): Promise<Content[]> {
  const all: Content[] = [];
  // Services stand behind those that they build on, so what merely names another (an SSH key, say) comes before that too.
  for (const { contract } of deletable(contracts).toReversed()) {
    const { name } = contract.resource;
    const rows = await db
      .selectFrom(tableName(name))
      .select(['id', 'name', 'state', 'deleted_at'])
      .where('tenant', '=', tenantId)
      .orderBy('created_at')
      .orderBy('id')
      .execute();
    all.push(...rows.map((row) => ({ resource: name, id: row.id, name: row.name, state: row.state, deleting: row.deleted_at !== null })));
  }
  return inOrder(all, await usesOf(db, tenantId, all));
}

/** What is read here of the tables of `image`. */
type Sql = Kysely<KernelTables & { image_use: { tenant: string; instance_id: string; image_id: string | null } }>;

interface Use {
  user: string;
  used: string;
}

async function usesOf(db: Db | Tx, tenantId: string, all: readonly Content[]): Promise<Use[]> {
  const found: Use[] = [];
  for (let at = 0; at < all.length; at += 500) {
    const ids = all.slice(at, at + 500).map(({ id }) => id);
    const rows = await db.selectFrom('reference').select(['from_id', 'to_id']).where('to_id', 'in', ids).execute();
    found.push(...rows.map(({ from_id, to_id }) => ({ user: from_id, used: to_id })));
  }
  // Which image an instance was made from is no reference, because its name may mean another one by now.
  const made = await (db as unknown as Sql).selectFrom('image_use').select(['instance_id', 'image_id']).where('tenant', '=', tenantId).execute();
  for (const { instance_id, image_id } of made) if (image_id !== null) found.push({ user: instance_id, used: image_id });
  const known = new Set(all.map(({ id }) => id));
  return found.filter(({ user, used }) => known.has(user) && known.has(used));
}

/** Users before what they use, else as they come; at the end those that use each other, and what they use. */
function inOrder(all: readonly Content[], found: readonly Use[]): Content[] {
  const byId = new Map(all.map((content) => [content.id, content]));
  const open = new Set(peel(all, found));
  const rest = all.filter(({ id }) => !open.has(id));
  return [...open, ...rest.map(({ id }) => id)].map((id) => byId.get(id) as Content);
}

/** Ids without users, then those without users once these are gone, and so on. */
function peel(all: readonly { id: string }[], found: readonly Use[]): string[] {
  const users = new Map(all.map(({ id }) => [id, 0]));
  const used = new Map<string, string[]>();
  for (const use of found) {
    users.set(use.used, (users.get(use.used) ?? 0) + 1);
    used.set(use.user, [...(used.get(use.user) ?? []), use.used]);
  }
  const ready = all.filter(({ id }) => users.get(id) === 0).map(({ id }) => id);
  for (const id of ready) {
    for (const next of used.get(id) ?? []) {
      const left = (users.get(next) ?? 0) - 1;
      users.set(next, left);
      if (left === 0) ready.push(next);
    }
  }
  return ready;
}

/** Lets go of each other what would else wait for each other for ever. Only in a tenant that is being deleted. */
export async function breakCircles(db: Db, tenantId: string, all: readonly Content[]): Promise<void> {
  const found = await usesOf(db, tenantId, all);
  const below = new Set(peel(all, found));
  const above = new Set(
    peel(
      all,
      found.map(({ user, used }) => ({ user: used, used: user })),
    ),
  );
  const circular = new Set(all.map(({ id }) => id).filter((id) => !below.has(id) && !above.has(id)));
  for (const { user, used } of found) {
    if (circular.has(user) && circular.has(used)) await db.deleteFrom('reference').where('from_id', '=', user).where('to_id', '=', used).execute();
  }
}
