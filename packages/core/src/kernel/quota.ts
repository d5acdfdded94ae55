// Limits per tenant: counted in the transaction that creates, changes or removes, so that no race can overshoot and nothing stays reserved by a failure.
import { Fault } from './errors.ts';
import type { Unit } from './store.ts';

/** Replaces the cost `before` by `after`. A missing limit is none. */
export async function adjustQuota(unit: Unit, before: Record<string, number> | undefined, after: Record<string, number> | undefined): Promise<void> {
  for (const name of new Set([...Object.keys(before ?? {}), ...Object.keys(after ?? {})])) {
    const change = (after?.[name] ?? 0) - (before?.[name] ?? 0);
    if (change === 0) continue;
    const usage = await unit.tx
      .insertInto('quota_usage')
      .values({ tenant: unit.tenantId, name, value: change })
      .onConflict((on) => on.columns(['tenant', 'name']).doUpdateSet((of) => ({ value: of('quota_usage.value', '+', change) })))
      .returning('value')
      .executeTakeFirstOrThrow();
    if (change < 0) continue;
    const limit = await unit.tx.selectFrom('quota_limit').select('value').where('tenant', '=', unit.tenantId).where('name', '=', name).executeTakeFirst();
    if (limit !== undefined && usage.value > limit.value) {
      throw new Fault('quota_exceeded', `This needs ${change} more ${name}, and ${usage.value - change} of ${limit.value} are in use`, {
        details: { quota: name, limit: limit.value, used: usage.value - change, needed: change },
      });
    }
  }
}
