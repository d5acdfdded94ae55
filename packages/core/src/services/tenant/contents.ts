// What is in a tenant, in the order in which it can be deleted: what refers to something goes before it.
import type { Contract } from '../../kernel/contract.ts';
import type { Db, Tx } from '../../kernel/db.ts';
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
export const IDENTITY = new Set(['tenant-member', 'role', 'policy', 'api-key', 'service-account']);

export async function contentsOf(db: Db | Tx, tenantId: string, contracts: readonly Contract[]): Promise<Content[]> {
  const all: Content[] = [];
  for (const { contract } of deletable(contracts)) {
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
  const users = new Map<string, string[]>();
  for (let at = 0; at < all.length; at += 500) {
    const ids = all.slice(at, at + 500).map(({ id }) => id);
    for (const { from_id, to_id } of await db.selectFrom('reference').select(['from_id', 'to_id']).where('to_id', 'in', ids).execute()) {
      users.set(to_id, [...(users.get(to_id) ?? []), from_id]);
    }
  }
  const byId = new Map(all.map((content) => [content.id, content]));
  const ordered: Content[] = [];
  const seen = new Set<string>();
  const visit = (content: Content): void => {
    if (seen.has(content.id)) return;
    seen.add(content.id);
    for (const user of users.get(content.id) ?? []) {
      const found = byId.get(user);
      if (found !== undefined) visit(found);
    }
    ordered.push(content);
  };
  for (const content of all) visit(content);
  return ordered;
}
