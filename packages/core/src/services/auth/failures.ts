// Wrong passwords slow down the pair of account and source, ever more; so nobody can lock out somebody else. Guessing from many places at once is slowed too, but
// never for a source from which the right password came before.
import { createHash } from 'node:crypto';
import { isIP } from 'node:net';
import { Fault } from '../../kernel/errors.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import type { Sql } from './tables.ts';

const FREE = 5;
const FIRST_MS = 1000;
const LONGEST_MS = 15 * 60 * 1000;
const FORGOTTEN_MS = 24 * 60 * 60 * 1000;
const KNOWN_MS = 90 * 24 * 60 * 60 * 1000;
/** Wrong passwords for one account in an hour, from wherever, after which unknown sources wait. */
const MANY = 50;
const HOUR_MS = 60 * 60 * 1000;
const SLOW_MS = 60_000;

/** What counts as one source: whoever has one IPv6 address has the 2^64 beside it too. */
function placeOf(source: string): string {
  const address = source.replace(/^::ffff:(?=\d+\.)/i, '').replace(/%.*$/, '');
  if (isIP(address) !== 6) return address;
  const [left = [], right = []] = address.split('::').map((part) => (part === '' ? [] : part.split(':')));
  const groups = [...left, ...Array.from({ length: Math.max(0, 8 - left.length - right.length) }, () => '0'), ...right];
  return `${groups
    .slice(0, 4)
    .map((group) => Number.parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

const hashed = (source: string): string => createHash('sha256').update(source).digest('base64url');

export class Failures {
  readonly #context: ServiceContext;
  constructor(context: ServiceContext) {
    this.#context = context;
  }
  get #sql(): Sql {
    return this.#context.db as unknown as Sql;
  }

  /** Throws `rate_limited` when this source has to wait before it tries this account again. */
  async check(account: string, from: string): Promise<void> {
    const source = placeOf(from);
    const now = this.#context.clock.now();
    const own = await this.#sql.selectFrom('login_failure').select('until').where('account', '=', account).where('source', '=', source).executeTakeFirst();
    if (own !== undefined && own.until > now) throw wait(own.until - now);
    const all = await this.#sql
      .selectFrom('login_failure')
      .select((of) => [of.fn.sum<number>('failures').as('failures'), of.fn.max('newest').as('newest')])
      .where('account', '=', account)
      .where('newest', '>', now - HOUR_MS)
      .executeTakeFirst();
    if (Number(all?.failures ?? 0) < MANY) return;
    const known = await this.#sql
      .selectFrom('known_source')
      .select('newest')
      .where('account', '=', account)
      .where('source', '=', hashed(source))
      .where('newest', '>', now - KNOWN_MS)
      .executeTakeFirst();
    const until = Number(all?.newest ?? 0) + SLOW_MS;
    if (known === undefined && until > now) throw wait(until - now);
  }

  async failed(account: string, from: string): Promise<void> {
    const source = placeOf(from);
    const now = this.#context.clock.now();
    await this.#sql.transaction().execute(async (tx) => {
      const before = await tx
        .selectFrom('login_failure')
        .select(['failures', 'newest'])
        .where('account', '=', account)
        .where('source', '=', source)
        .executeTakeFirst();
      const failures = (before === undefined || before.newest < now - FORGOTTEN_MS ? 0 : before.failures) + 1;
      const until = failures < FREE ? now : now + Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures - FREE, 20));
      const values = { failures, until, newest: now };
      await tx
        .insertInto('login_failure')
        .values({ account, source, ...values })
        .onConflict((on) => on.columns(['account', 'source']).doUpdateSet(values))
        .execute();
    });
  }

  async prune(now: number): Promise<void> {
    await this.#sql
      .deleteFrom('login_failure')
      .where('newest', '<', now - FORGOTTEN_MS)
      .execute();
    await this.#sql
      .deleteFrom('known_source')
      .where('newest', '<', now - KNOWN_MS)
      .execute();
  }
}

/** In the transaction of a login: the failures from there are forgotten, the source is known. */
export async function succeeded(sql: Sql, account: string, from: string, now: number): Promise<void> {
  const source = placeOf(from);
  await sql.deleteFrom('login_failure').where('account', '=', account).where('source', '=', source).execute();
  await sql
    .insertInto('known_source')
    .values({ account, source: hashed(source), newest: now })
    .onConflict((on) => on.columns(['account', 'source']).doUpdateSet({ newest: now }))
    .execute();
}

function wait(milliseconds: number): Fault {
  const seconds = Math.max(1, Math.ceil(milliseconds / 1000));
  return new Fault('rate_limited', `Too many wrong passwords; try again in ${seconds} s`, { details: { retryAfter: seconds } });
}
