// Access tokens: JSON Web Tokens (RFC 7519) signed with HMAC-SHA256, good for a quarter of an hour. Keys rotate; those before verify until what they signed has expired.
// Issued by jose; verified by hand with a KeyObject, which takes 4 µs in place of 50, and what was verified is kept until it expires.
import { createHash, createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto';
import { SignJWT } from 'jose';
import type { Reseal } from '../../kernel/keyring.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import type { Sql } from './tables.ts';

export const ACCESS_SECONDS = 15 * 60;
const KEY_DAYS = 30;
const DAY_MS = 24 * 60 * 60 * 1000;
const MOST_KEPT = 10_000;
const LONGEST = 4096;
const PURPOSE = 'signing-key';

export interface Claims {
  sub: string;
  sid: string;
  exp: number;
}

/** Three parts of base64url: everything else is taken for a key. */
export const isToken = (bearer: string): boolean => /^[\w-]+\.[\w-]+\.[\w-]+$/.test(bearer);

interface Key {
  kid: string;
  key: KeyObject;
  createdAt: number;
  retiredAt: number | undefined;
}

export class Tokens {
  readonly #context: ServiceContext;
  readonly #verified = new Map<string, Claims>();
  #keys: Promise<Map<string, Key>> | undefined;
  #revocations = 0;

  constructor(context: ServiceContext) {
    this.#context = context;
  }

  get #sql(): Sql {
    return this.#context.db as unknown as Sql;
  }

  /** Not to be called in a transaction: the first time it makes a key. */
  async issue(of: Omit<Claims, 'exp'>): Promise<string> {
    const { kid, key } = await this.#current();
    const now = Math.floor(this.#context.clock.now() / 1000);
    return new SignJWT({ sid: of.sid })
      .setProtectedHeader({ alg: 'HS256', typ: 'JWT', kid })
      .setIssuer(this.#context.installation)
      .setSubject(of.sub)
      .setJti(randomBytes(12).toString('base64url'))
      .setIssuedAt(now)
      .setExpirationTime(now + ACCESS_SECONDS)
      .sign(key);
  }

  /** Undefined for what was not signed here, or has expired. */
  async verify(token: string): Promise<Claims | undefined> {
    if (token.length > LONGEST) return undefined;
    const now = this.#context.clock.now();
    const digest = createHash('sha256').update(token).digest('base64url');
    const known = this.#verified.get(digest);
    if (known !== undefined) return known.exp * 1000 > now ? known : undefined;
    const [head = '', body = '', signature = ''] = token.split('.');
    const header = objectIn(head);
    if (header?.['alg'] !== 'HS256' || typeof header['kid'] !== 'string' || header['crit'] !== undefined) return undefined;
    const revocations = this.#revocations;
    const key = (await this.#all()).get(header['kid']);
    if (revocations !== this.#revocations) return this.verify(token);
    if (key === undefined) return undefined;
    const expected = createHmac('sha256', key.key).update(`${head}.${body}`).digest();
    const given = Buffer.from(signature, 'base64url');
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const claims = objectIn(body);
    const { iss, sub, sid, exp } = claims ?? {};
    if (iss !== this.#context.installation || typeof sub !== 'string' || typeof sid !== 'string' || typeof exp !== 'number' || exp * 1000 <= now)
      return undefined;
    if (this.#verified.size >= MOST_KEPT) this.#verified.delete(this.#verified.keys().next().value as string);
    const found = { sub, sid, exp };
    this.#verified.set(digest, found);
    return found;
  }

  /** A new key from now on. `revoke`: nothing that the others signed is good any more. */
  async rotate(revoke: boolean): Promise<string> {
    await this.#all();
    const made = await this.#make(revoke);
    return made.kid;
  }

  /** Rotates a key that is a month old, and forgets those whose last token has expired. */
  async prune(now: number): Promise<void> {
    const keys = [...(await this.#all()).values()];
    const current = keys.find(({ retiredAt }) => retiredAt === undefined);
    if (current !== undefined && now - current.createdAt > KEY_DAYS * DAY_MS) await this.#make(false);
    await this.#sql
      .deleteFrom('signing_key')
      .where('retired_at', '<', now - ACCESS_SECONDS * 1000)
      .execute();
    for (const [digest, { exp }] of this.#verified) if (exp * 1000 <= now) this.#verified.delete(digest);
  }

  readonly reseal: Reseal = async (tx, from, to) => {
    const sql = tx as unknown as Sql;
    for (const { kid, sealed } of await sql.selectFrom('signing_key').select(['kid', 'sealed']).execute()) {
      await sql
        .updateTable('signing_key')
        .set({ sealed: to.seal(PURPOSE, {}, from.open(PURPOSE, {}, sealed, kid), kid) })
        .where('kid', '=', kid)
        .execute();
    }
  };

  #all(): Promise<Map<string, Key>> {
    this.#keys ??= this.#load().catch((error: unknown) => {
      this.#keys = undefined;
      throw error;
    });
    return this.#keys;
  }

  async #load(): Promise<Map<string, Key>> {
    const rows = await this.#sql.selectFrom('signing_key').selectAll().execute();
    return new Map(
      rows.map(({ kid, sealed, created_at, retired_at }) => [
        kid,
        { kid, key: createSecretKey(this.#context.keyring.open(PURPOSE, {}, sealed, kid)), createdAt: created_at, retiredAt: retired_at ?? undefined },
      ]),
    );
  }

  async #current(): Promise<Key> {
    for (const key of (await this.#all()).values()) if (key.retiredAt === undefined) return key;
    return this.#make(false);
  }

  async #make(revoke: boolean): Promise<Key> {
    const kid = randomBytes(9).toString('base64url');
    const secret = randomBytes(32);
    const now = this.#context.clock.now();
    await this.#sql.transaction().execute(async (tx) => {
      if (revoke) await tx.deleteFrom('signing_key').execute();
      else await tx.updateTable('signing_key').set({ retired_at: now }).where('retired_at', 'is', null).execute();
      await tx
        .insertInto('signing_key')
        .values({ kid, sealed: this.#context.keyring.seal(PURPOSE, {}, secret, kid), created_at: now, retired_at: null })
        .execute();
    });
    this.#keys = undefined;
    if (revoke) {
      this.#revocations++;
      this.#verified.clear();
    }
    return { kid, key: createSecretKey(secret), createdAt: now, retiredAt: undefined };
  }
}

function objectIn(part: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(part, 'base64url').toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined; // not JSON: not a token of ours, which the caller says
  }
}
