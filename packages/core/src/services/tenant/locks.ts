// Objects that nobody may delete yet: under a compliance lock, or a legal hold. A tenant that has any is not deleted unless that is said in so many words.
import type { Kysely } from 'kysely';
import type { Db, KernelTables, Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';

interface LockedObject {
  object: string;
  version: string;
  /** Of a compliance lock. */
  lockedUntil?: string | undefined;
  legalHold: boolean;
}
export interface Locked {
  /** The first of them. */
  items: LockedObject[];
  total: number;
}

/** What is read here of the tables of `bucket`. */
type Sql = Kysely<
  KernelTables & {
    object_version: { bucket_id: string; key: string; version: string; seq: number; lock_mode: string | null; lock_until: number | null; legal_hold: number };
  }
>;

const MOST_NAMED = 20;
const BUCKETS_AT_ONCE = 500;

export async function lockedIn(db: Db | Tx, tenantId: string, now: number): Promise<Locked> {
  const rows = await db.selectFrom('r_bucket').select(['id', 'name', 'spec']).where('tenant', '=', tenantId).orderBy('name').execute();
  const lockable = rows.filter(({ spec }) => (JSON.parse(spec) as { objectLock?: boolean }).objectLock === true);
  const names = new Map(lockable.map(({ id, name }) => [id, name]));
  const ids = [...names.keys()];
  const locked: Locked = { items: [], total: 0 };
  for (let at = 0; at < ids.length; at += BUCKETS_AT_ONCE) {
    const found = (db as unknown as Sql)
      .selectFrom('object_version')
      .where('bucket_id', 'in', ids.slice(at, at + BUCKETS_AT_ONCE))
      // As the index of locked versions says it; the lock may be over.
      .where((where) => where.or([where('lock_mode', 'is not', null), where('legal_hold', '=', where.lit(1))]))
      .where((where) => where.or([where('legal_hold', '=', 1), where.and([where('lock_mode', '=', 'COMPLIANCE'), where('lock_until', '>', now)])]));
    const { count } = await found.select(({ fn }) => fn.countAll<number>().as('count')).executeTakeFirstOrThrow();
    locked.total += count;
    if (count === 0 || locked.items.length >= MOST_NAMED) continue;
    const some = await found
      .select(['bucket_id', 'key', 'version', 'lock_mode', 'lock_until', 'legal_hold'])
      .orderBy('bucket_id')
      .orderBy('key')
      .orderBy('seq', 'desc')
      .limit(MOST_NAMED - locked.items.length)
      .execute();
    for (const { bucket_id, key, version, lock_mode, lock_until, legal_hold } of some) {
      locked.items.push({
        object: `${names.get(bucket_id)}/${key}`,
        version,
        ...(lock_mode === 'COMPLIANCE' && lock_until !== null && lock_until > now ? { lockedUntil: new Date(lock_until).toISOString() } : {}),
        legalHold: legal_hold === 1,
      });
    }
  }
  return locked;
}

export function refuseLocked(tenant: string, { items, total }: Locked): void {
  if (total === 0) return;
  const [first] = items;
  const others = total === 1 ? '' : ` and ${total - 1} more`;
  throw new Fault('conflict', `The tenant ${tenant} has objects under a compliance lock or a legal hold: ${first?.object}${others}`, {
    details: { locked: items, total },
    hint: `cloud tenant delete ${tenant} --cascade --dry-run; with --locked-objects they go all the same`,
  });
}
