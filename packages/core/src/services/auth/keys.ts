// API keys as the directory looks them up: by the id in their text, from memory. When one was used is written down once a minute for all of them.

import { isSecret } from '../../kernel/secret-text.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import { rowOf } from '../../kernel/table.ts';
import type { Sql } from './tables.ts';

export interface Key {
  id: string;
  tenantId: string;
  ownerId: string;
  /** Absent for what no bearer can be. */
  hash: string | undefined;
  previousHash: string | undefined;
  previousUntil: number | undefined;
  expiresAt: number | undefined;
  policyIds: readonly string[];
}

const TEXT = /^tck_([0-9a-z]{16})_([A-Za-z0-9_-]{43})$/;
/** Of access keys for S3 clients, whose secrets are not kept here: what they open ends with them all the same. */
const S3_KEY = 's3key-';
const WRITE_EVERY_MS = 60_000;
const MOST = 10_000;

export const isKeyId = (id: string): boolean => id.startsWith('key-') || isS3Key(id);
const isS3Key = (id: string): boolean => id.startsWith(S3_KEY);

export class Keys {
  readonly #context: ServiceContext;
  readonly #known = new Map<string, Key>();
  readonly #used = new Map<string, { at: number; from: string }>();
  #age = 0;
  #writtenAt = 0;
  /** Of the writing that is due within the minute. */
  #due: AbortController | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(context: ServiceContext) {
    this.#context = context;
    context.onCommit(({ rows }) => {
      // Those of a tenant that was deleted went with it.
      if (!rows.some(({ resource }) => resource === 'api-key' || resource === 's3-key' || resource === 'tenant')) return;
      this.#age++;
      this.#known.clear();
    });
  }

  get #sql(): Sql {
    return this.#context.db as unknown as Sql;
  }

  /** The key of this text; undefined when it is none, was revoked or has expired. An id that is not there takes as long as a wrong secret. */
  async find(text: string): Promise<Key | undefined> {
    const [, id] = TEXT.exec(text) ?? [];
    if (id === undefined) return undefined;
    const key = await this.byId(`key-${id}`);
    const now = this.#context.clock.now();
    const current = isSecret(text, key?.hash);
    const before = isSecret(text, key?.previousUntil !== undefined && key.previousUntil > now ? key.previousHash : undefined);
    return current || before ? key : undefined;
  }

  async byId(id: string): Promise<Key | undefined> {
    const now = this.#context.clock.now();
    const known = this.#known.get(id) ?? (await this.#look(id));
    return known === undefined || (known.expiresAt !== undefined && known.expiresAt <= now) ? undefined : known;
  }

  async #look(id: string): Promise<Key | undefined> {
    const age = this.#age;
    const table = isS3Key(id) ? 'r_s3_key' : 'r_api_key';
    const record = await this.#sql.selectFrom(table).selectAll().where('id', '=', id).executeTakeFirst();
    if (record === undefined) return undefined;
    const { spec, status, tenantId } = rowOf(record);
    const hidden = spec as { hash?: string; previousHash?: string; previousUntil?: number; expiresAt?: string; policyIds?: string[] };
    const key: Key = {
      id,
      tenantId,
      ownerId: String(status['ownerId']),
      hash: hidden.hash,
      previousHash: hidden.previousHash,
      previousUntil: hidden.previousUntil,
      expiresAt: hidden.expiresAt === undefined ? undefined : Date.parse(hidden.expiresAt),
      policyIds: hidden.policyIds ?? [],
    };
    if (age === this.#age) {
      if (this.#known.size >= MOST) this.#known.clear();
      this.#known.set(id, key);
    }
    return key;
  }

  used(id: string, from: string): void {
    const now = this.#context.clock.now();
    this.#used.set(id, { at: now, from });
    if (this.#due !== undefined) return;
    const wait = this.#writtenAt + WRITE_EVERY_MS - now;
    if (wait <= 0) return this.#writeNow(now);
    // Another key may have been the last to be written down, and this one may not be used again for long.
    const due = new AbortController();
    this.#due = due;
    this.#context.clock.sleep(wait, due.signal).then(
      () => {
        this.#due = undefined;
        this.#writeNow(this.#context.clock.now());
      },
      () => undefined, // closing, which writes by itself
    );
  }

  /** Off the path of the call; what a crash loses is when a key was used in its last minute. */
  #writeNow(now: number): void {
    this.#writtenAt = now;
    this.flush().catch((error: unknown) => this.#context.log.warn({ error: String(error) }, 'could not write down when API keys were used'));
  }

  async close(): Promise<void> {
    this.#due?.abort();
    await this.flush();
  }

  /** One after the other, so that the last one to return has seen all to their end. */
  flush(): Promise<void> {
    const next = this.#writing.then(() => this.#write());
    this.#writing = next.catch(() => undefined); // told to whoever asked for it
    return next;
  }

  async #write(): Promise<void> {
    const used = [...this.#used];
    this.#used.clear();
    if (used.length === 0) return;
    const write = async (tx: Sql): Promise<void> => {
      for (const [key_id, { at, from }] of used) {
        const there = await tx.selectFrom('r_api_key').select('id').where('id', '=', key_id).executeTakeFirst();
        if (there === undefined) continue; // revoked since
        await tx
          .insertInto('api_key_use')
          .values({ key_id, at, source: from })
          .onConflict((on) => on.column('key_id').doUpdateSet({ at, source: from }))
          .execute();
      }
    };
    try {
      await this.#sql.transaction().execute(write);
    } catch (error) {
      for (const [id, use] of used) if (!this.#used.has(id)) this.#used.set(id, use);
      throw error;
    }
  }

  /** What is left of keys that went with their tenant. */
  async prune(): Promise<void> {
    await this.flush();
    await this.#sql
      .deleteFrom('api_key_use')
      .where('key_id', 'not in', (of) => of.selectFrom('r_api_key').select('id'))
      .execute();
  }
}
