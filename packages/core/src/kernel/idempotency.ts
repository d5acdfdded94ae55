// The same write sent twice is one write: the first answer is kept for a day under the caller's key.
import { createHash } from 'node:crypto';
import type { Db } from './db.ts';
import { Fault } from './errors.ts';
import type { Unit } from './store.ts';

export const KEPT_MS = 24 * 60 * 60 * 1000;

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
export async function storedAnswer(db: Db, { tenantId, principal, key, hash }: IdempotencyKey): Promise<StoredAnswer | undefined> {
  const found = await db
    .selectFrom('idempotency')
    .select(['hash', 'answer'])
    .where('tenant', '=', tenantId)
    .where('principal', '=', principal)
    .where('key', '=', key)
    .executeTakeFirst();
  if (found === undefined) return undefined;
  if (found.hash !== hash) throw new Fault('conflict', 'This idempotency key was used for another call', { hint: 'use a new key for every new call' });
  return JSON.parse(found.answer) as StoredAnswer;
}

export async function storeAnswer(unit: Unit, { tenantId, principal, key, hash }: IdempotencyKey, answer: StoredAnswer): Promise<void> {
  await unit.tx
    .insertInto('idempotency')
    .values({ tenant: tenantId, principal, key, hash, answer: JSON.stringify(answer), created_at: unit.now })
    .execute();
}
