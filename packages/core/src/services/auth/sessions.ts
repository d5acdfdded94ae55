// Sessions: what refresh tokens belong to. A token, and what was opened with it, is good while its session is open, which is looked up once and then remembered
// until the session ends.
import type { ServiceContext } from '../../kernel/service.ts';
import type { Sql } from './tables.ts';
import { ACCESS_SECONDS } from './tokens.ts';

export const REFRESH_SECONDS = 30 * 24 * 60 * 60;
/** Of a session without refresh tokens: what was opened with its access token ends then. */
export const CLIENT_SECONDS = 24 * 60 * 60;
/** Ended ones are kept for as long as a token of theirs could be shown. */
const KEPT_MS = ACCESS_SECONDS * 1000;
const MOST = 10_000;

export class Sessions {
  readonly #context: ServiceContext;
  /** Those that were open when they were looked up, and until when. */
  readonly #open = new Map<string, number>();
  #age = 0;

  constructor(context: ServiceContext) {
    this.#context = context;
    // A handler that ended some says so by `call.changed(id)`; they count from the commit on.
    context.onCommit(({ rows }) => {
      for (const { resource, id } of rows) {
        if (resource !== 'auth' || !id.startsWith('ses-')) continue;
        this.#age++;
        this.#open.delete(id);
      }
    });
  }

  get #sql(): Sql {
    return this.#context.db as unknown as Sql;
  }

  async isLive(id: string): Promise<boolean> {
    for (;;) {
      const now = this.#context.clock.now();
      if ((this.#open.get(id) ?? 0) > now) return true;
      const age = this.#age;
      const row = await this.#sql.selectFrom('session').select(['ended_at', 'expires_at']).where('id', '=', id).executeTakeFirst();
      if (age !== this.#age) continue; // one ended meanwhile, perhaps this one
      if (row === undefined || row.ended_at !== null || row.expires_at <= now) return false;
      if (this.#open.size >= MOST) this.#open.clear();
      this.#open.set(id, row.expires_at);
      return true;
    }
  }

  async prune(now: number): Promise<void> {
    const old = now - KEPT_MS;
    for (const [id, expiresAt] of this.#open) if (expiresAt <= now) this.#open.delete(id);
    await this.#sql
      .deleteFrom('session')
      .where((where) => where.or([where('expires_at', '<', old), where('ended_at', '<', old)]))
      .execute();
  }
}

/** In a transaction: ends those that are open, and tells their ids. */
export async function endSessions(sql: Sql, now: number, of: { principalId: string; but?: string | undefined } | { id: string }): Promise<string[]> {
  let query = sql.selectFrom('session').select('id').where('ended_at', 'is', null);
  query = 'id' in of ? query.where('id', '=', of.id) : query.where('principal_id', '=', of.principalId);
  if ('but' in of && of.but !== undefined) query = query.where('id', '!=', of.but);
  const ids = (await query.execute()).map(({ id }) => id);
  for (let at = 0; at < ids.length; at += 500) {
    await sql
      .updateTable('session')
      .set({ ended_at: now, refresh_hash: null, family_hash: null })
      .where('id', 'in', ids.slice(at, at + 500))
      .execute();
  }
  return ids;
}
