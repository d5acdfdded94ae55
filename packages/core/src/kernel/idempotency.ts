// The same write sent twice is one write: the first answer is kept under the caller's key, for a day unless the contract says less.
import { createHash } from 'node:crypto';
import { fieldMeta, inputShape, type Operation } from './contract.ts';
import type { Db, Tx } from './db.ts';
import { Fault } from './errors.ts';
import type { Keys } from './keyring.ts';
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
  /** Of an answer that must not lie about readable: what seals it. */
  seal: Keys | undefined;
}

const PURPOSE = 'idempotency';
const aadOf = ({ tenantId, principal, key }: Pick<IdempotencyKey, 'tenantId' | 'principal' | 'key'>): string => `${tenantId}/${principal}/${key}`;

/** The hash of a call whose input has a secret is keyed: a plain one could be tried against guesses by whoever reads the database. */
export function hashFor(operation: Operation, keys: Keys, tenantId: string, ...parts: unknown[]): string {
  const secret = Object.values(inputShape(operation)).some((schema) => fieldMeta(schema).secret === true);
  return secret ? keys.mac(PURPOSE, { tenant: tenantId }, JSON.stringify(parts)).toString('base64url') : hashOf(...parts);
}

/** Sealed answers, under another master key. */
export async function resealAnswers(tx: Tx, from: Keys, to: Keys): Promise<void> {
  const rows = await tx.selectFrom('idempotency').select(['tenant', 'principal', 'key', 'answer']).where('answer', 'like', `${SEALED}%`).execute();
  for (const { tenant, principal, key, answer } of rows) {
    const aad = aadOf({ tenantId: tenant, principal, key });
    const plain = from.open(PURPOSE, { tenant }, answer.slice(SEALED.length), aad);
    await tx
      .updateTable('idempotency')
      .set({ answer: `${SEALED}${to.seal(PURPOSE, { tenant }, plain, aad)}` })
      .where('tenant', '=', tenant)
      .where('principal', '=', principal)
      .where('key', '=', key)
      .execute();
  }
}

/** Begins a stored answer that is sealed; JSON never begins so. */
const SEALED = 'sealed:';

const hashOf = (...parts: unknown[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('base64url');

/** The answer given before; undefined when there was none. The same key for another call is a `conflict`. */
export async function storedAnswer(db: Db, { tenantId, principal, key, hash, seal }: IdempotencyKey, now: number): Promise<StoredAnswer | undefined> {
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
  if (!found.answer.startsWith(SEALED)) return JSON.parse(found.answer) as StoredAnswer;
  if (seal === undefined) throw new Error('a sealed answer to a call whose answers are none');
  return JSON.parse(
    seal.open(PURPOSE, { tenant: tenantId }, found.answer.slice(SEALED.length), aadOf({ tenantId, principal, key })).toString(),
  ) as StoredAnswer;
}

/** Two go for one that comes, so that answers with a short life never pile up between the hourly clean-ups. */
const SWEPT_WITH_EACH = 2;

export async function storeAnswer(unit: Unit, { tenantId, principal, key, hash, seal }: IdempotencyKey, answer: StoredAnswer, keptMs: number): Promise<void> {
  const text = JSON.stringify(answer);
  const kept = seal === undefined ? text : `${SEALED}${seal.seal(PURPOSE, { tenant: tenantId }, Buffer.from(text), aadOf({ tenantId, principal, key }))}`;
  const values = { hash, answer: kept, created_at: unit.now, expires_at: unit.now + keptMs };
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
