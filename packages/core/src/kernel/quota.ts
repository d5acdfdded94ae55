// Limits per tenant: counted in the transaction that creates, changes or removes, so that no race can overshoot and nothing stays reserved by a failure.
import { INSTALLATION } from './authorize.ts';
import type { AnyResource } from './contract.ts';
import type { Db } from './db.ts';
import { Fault } from './errors.ts';
import { all, one } from './sql.ts';
import type { Unit } from './store.ts';

/** In place of a tenant's id: the limits of those that have none of their own. */
export const EVERY_TENANT = '*';

/** What a row of this spec counts, by quota. */
export const costOf = ({ quota }: Pick<AnyResource, 'quota'>, spec: Record<string, unknown>): Record<string, number> =>
  Object.fromEntries(Object.entries(quota ?? {}).map(([name, cost]) => [name, typeof cost === 'number' ? cost : cost(spec)]));

export interface Limit {
  value: number;
  source: 'tenant' | 'default';
}

/** The limits that hold for a tenant, by name; a name that is missing has none. */
export async function limitsOf(db: Db, tenantId: string, names: readonly string[]): Promise<Map<string, Limit>> {
  const limits = new Map<string, Limit>();
  // What belongs to the installation is nobody's to limit.
  if (tenantId === INSTALLATION || names.length === 0) return limits;
  const found = await all<{ tenant: string; name: string; value: number }>(
    db,
    `select tenant, name, value from quota_limit where tenant in (?, ?) and name in (${names.map(() => '?').join(', ')})`,
    tenantId,
    EVERY_TENANT,
    ...names,
  );
  for (const { tenant, name, value } of found) {
    if (tenant === tenantId) limits.set(name, { value, source: 'tenant' });
    else if (!limits.has(name)) limits.set(name, { value, source: 'default' });
  }
  return limits;
}

/** Made with most changes, so it is built once. */
const COUNT =
  'insert into quota_usage (tenant, name, value) values (?, ?, ?) on conflict (tenant, name) do update set value = quota_usage.value + excluded.value returning value';

/** Replaces the cost `before` by `after`. Only more of something is refused: what is there already stays when a limit becomes smaller. */
export async function adjustQuota(unit: Unit, before: Record<string, number> | undefined, after: Record<string, number> | undefined): Promise<void> {
  const names = new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})]);
  const changes = [...names].map((name) => ({ name, change: (after?.[name] ?? 0) - (before?.[name] ?? 0) })).filter(({ change }) => change !== 0);
  if (changes.length === 0) return;
  const more = changes.filter(({ change }) => change > 0).map(({ name }) => name);
  const limits = await limitsOf(unit.tx, unit.tenantId, more);
  for (const { name, change } of changes) {
    const usage = (await one<{ value: number }>(unit.tx, COUNT, unit.tenantId, name, change)) as { value: number };
    const limit = limits.get(name);
    if (change > 0 && limit !== undefined && usage.value > limit.value) {
      throw new Fault('quota_exceeded', `This needs ${change} more ${name}, and ${usage.value - change} of ${limit.value} are in use`, {
        details: { quota: name, limit: limit.value, used: usage.value - change, needed: change },
        hint: 'cloud quota list',
      });
    }
  }
}
