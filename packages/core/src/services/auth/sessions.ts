// Sessions: what refresh tokens belong to. Access tokens are believed without looking at the table; those of a session that was ended are not, for which it is enough
// to remember the ended ones for as long as their tokens could live.
import type { ServiceContext } from '../../kernel/service.ts';
import type { Sql } from './tables.ts';
import { ACCESS_SECONDS } from './tokens.ts';

export const REFRESH_SECONDS = 30 * 24 * 60 * 60;

export class Sessions {
  readonly #context: ServiceContext;
  readonly #ended = new Map<string, number>();
  #loaded: Promise<void> | undefined;

  constructor(context: ServiceContext) {
    this.#context = context;
    // A handler that ended some says so by `call.changed(id)`; they count from the commit on.
    context.onCommit(({ rows }) => {
      for (const { resource, id } of rows) if (resource === 'auth' && id.startsWith('ses-')) this.#ended.set(id, context.clock.now());
    });
  }

  get #sql(): Sql {
    return this.#context.db as unknown as Sql;
  }

  async isLive(id: string): Promise<boolean> {
    await this.ready();
    return !this.#ended.has(id);
  }

  ready(): Promise<void> {
    this.#loaded ??= this.#load().catch((error: unknown) => {
      this.#loaded = undefined;
      throw error;
    });
    return this.#loaded;
  }

  async #load(): Promise<void> {
    const rows = await this.#sql
      .selectFrom('session')
      .select(['id', 'ended_at'])
      .where('ended_at', '>', this.#context.clock.now() - ACCESS_SECONDS * 1000)
      .execute();
    for (const { id, ended_at } of rows) this.#ended.set(id, ended_at as number);
  }

  async prune(now: number): Promise<void> {
    const old = now - ACCESS_SECONDS * 1000;
    for (const [id, at] of this.#ended) if (at < old) this.#ended.delete(id);
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
