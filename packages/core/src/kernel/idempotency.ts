// The same write sent twice is one write: the first answer is kept under the caller's key, for a day unless the contract says less.
import { createHash } from 'node:crypto';
import type { Db } from './db.ts';
import { Fault } from './errors.ts';
import type { Unit } from './store.ts';

export interface StoredAnswer {
  value: unknown;
  operation?: string;
  generation?: number;
}

export interface IdempotencyKey {
  tenantId: string;
  principal: string;
  key: string;
  /** Of everything that makes the call this call. */
  hash: string;
}

export const hashOf = (...parts: unknown[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('base64url');

/** The answer given before; undefined when there was none. The same key for another call is a `conflict`. */
export async function storedAnswer(db: Db, { tenantId, principal, key, hash }: IdempotencyKey, now: number): Promise<StoredAnswer | undefined> {
  const found = await db
    .selectFrom('idempotency')
    .select(['hash', 'answer'])
    .where('tenant', '=', tenantId)
    .where('principal', '=', principal)
    .where('key', '=', key)
    .where('expires_at', '>', now)
    .executeTakeFirst();
  if (found === undefined) return undefined;
  if (found.hash !== hash) throw new Fault('conflict', 'This idempotency key was used for another call', { hint: 'use a new key for every new call' });
  return JSON.parse(found.answer) as StoredAnswer;
}

/** Two go for one that comes, so that answers with a short life never pile up between the hourly clean-ups. */
const SWEPT_WITH_EACH = 2;

export async function storeAnswer(unit: Unit, { tenantId, principal, key, hash }: IdempotencyKey, answer: StoredAnswer, keptMs: number): Promise<void> {
  const values = { hash, answer: JSON.stringify(answer), created_at: unit.now, expires_at: unit.now + keptMs };
  await unit.tx
    .insertInto('idempotency')
    .values({ tenant: tenantId, principal, key, ...values })
    .onConflict((on) => on.columns(['tenant', 'principal', 'key']).doUpdateSet(values)) // one that has expired and was not yet swept
    .execute();
  const old = await unit.tx
    .selectFrom('idempotency')
    .select(['tenant', 'principal', 'key'])
    .where('expires_at', '<=', unit.now)
    .orderBy('expires_at')
    .limit(SWEPT_WITH_EACH)
    .execute();
  for (const { tenant, principal: whose, key: which } of old) {
    await unit.tx.deleteFrom('idempotency').where('tenant', '=', tenant).where('principal', '=', whose).where('key', '=', which).execute();
  }
}
