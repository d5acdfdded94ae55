// The audit log. Each line carries a keyed hash of itself and of the line before it, and the head of a tenant's chain says with another where it begins and ends;
// so a line that was changed, removed, moved, doubled or put in is found by verification (audit-verify.ts), unless one has the key.
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import {
  type AuditRecord,
  BREAK,
  DAMAGED,
  type Head,
  headIn,
  isGenuine,
  lineHash,
  macOf,
  PRUNE,
  readRoster,
  rosterText,
  same,
  withMac,
} from './audit-chain.ts';
import { type Verification, verifyChain } from './audit-verify.ts';
import type { Db, Tx } from './db.ts';
import { Fault } from './errors.ts';
import type { Keyring, Reseal } from './keyring.ts';
import { run } from './sql.ts';
import type { Store, Unit } from './store.ts';

/** What is written down of one call. Absent: not known. */
export interface AuditLine {
  /** Empty: the installation's own chain. */
  tenantId: string;
  principal: string;
  principalName?: string | undefined;
  /** Id of the session, client token or API key. */
  credential?: string | undefined;
  /** Address, `socket`, `embedded` or `internal`. */
  source: string;
  /** `<resource>:<operation>`. */
  permission: string;
  /** As the caller wrote it. */
  target?: string | undefined;
  targetId?: string | undefined;
  requestId: string;
  /** `ok`, or the error code. */
  outcome: string;
  /** What allowed or refused it. */
  decision?: string | undefined;
}

/** A line, and when it was written. */
interface Gathered {
  now: number;
  line: AuditLine;
}

const KEY_BYTES = 32;
const META_KEY = 'audit_key';
const META_CHAINS = 'audit_chains';
const META_RETENTION = 'audit_retention';
const DAY_MS = 24 * 60 * 60 * 1000;
const DEFAULT_RETENTION_DAYS = 365;
/** Lines removed in one transaction, and adopted in one statement's page. */
const BATCH = 1000;
/** Heads kept at hand. */
const MOST_HEADS = 1000;
/** Characters of what callers choose freely. */
const MOST_TEXT = 254;

/** Every change writes a line: these two are built once. */
const COLUMNS = [
  'tenant',
  'seq',
  'time',
  'principal',
  'principal_name',
  'credential',
  'source',
  'permission',
  'target',
  'target_id',
  'request_id',
  'outcome',
  'decision',
] as const satisfies readonly (keyof ReturnType<typeof recordOf>)[];
const ADD = `insert into audit (${COLUMNS.join(', ')}, hash) values (${COLUMNS.map(() => '?').join(', ')}, ?)`;
const MOVE = 'update audit_head set seq = ?, hash = ?, first_seq = ?, anchor = ?, mac = ? where tenant = ? and mac = ?';

/** Half a surrogate pair would come back from the database as another character, and the line would look changed. */
const text = (value: string): string => value.slice(0, MOST_TEXT).toWellFormed();
const textOrNull = (value: string | undefined): string | null => (value === undefined ? null : text(value));

const recordOf = (seq: number, time: number, line: AuditLine): Omit<AuditRecord, 'id' | 'hash'> => ({
  tenant: line.tenantId,
  seq,
  time,
  principal: text(line.principal),
  principal_name: textOrNull(line.principalName),
  credential: textOrNull(line.credential),
  source: text(line.source),
  permission: text(line.permission),
  target: textOrNull(line.target),
  target_id: textOrNull(line.targetId),
  request_id: text(line.requestId),
  outcome: text(line.outcome),
  decision: textOrNull(line.decision),
});

/** A line by the cloud itself about a chain. */
const ownLine = (tenantId: string, permission: string, target: string, outcome: string): AuditLine => ({
  tenantId,
  principal: 'system',
  source: 'internal',
  permission,
  target,
  requestId: '',
  outcome,
});

export class AuditLog {
  readonly #store: Store;
  readonly #keyring: Keyring;
  #key: KeyObject | undefined;
  readonly #heads = new Map<string, Head>();
  /** Lines of transactions that many works share: they are put into the chain together, at the end. */
  readonly #gathered = new WeakMap<Tx, Gathered[]>();

  constructor(store: Store, keyring: Keyring) {
    this.#store = store;
    this.#keyring = keyring;
  }

  /** Writes a line as part of a transaction: both are there afterwards, or neither. */
  async append({ tx, now }: Pick<Unit, 'tx' | 'now'>, line: AuditLine): Promise<void> {
    const gathered = this.#gathered.get(tx);
    if (gathered === undefined) await this.#chain(tx, [{ now, line }]);
    else gathered.push({ now, line });
  }

  /** From now on lines of this transaction are gathered. Who shortens the list takes back lines of what is rolled back; `write` puts the others down. */
  gather(tx: Tx): { length: number; write(): Promise<void> } {
    const lines: Gathered[] = [];
    this.#gathered.set(tx, lines);
    return {
      get length() {
        return lines.length;
      },
      set length(length) {
        lines.length = length;
      },
      write: async () => {
        this.#gathered.delete(tx);
        for (const [, some] of Map.groupBy(lines, ({ line }) => line.tenantId)) await this.#chain(tx, some);
      },
    };
  }

  /** Lines of one tenant. */
  async #chain(tx: Tx, lines: readonly Gathered[]): Promise<void> {
    const [first] = lines as [Gathered, ...Gathered[]];
    const { tenantId } = first.line;
    const [key, head] = [this.#key, this.#heads.get(tenantId)];
    if (key !== undefined && head !== undefined && (await this.#add(tx, key, head, lines))) return;
    // Not known yet, or what was known came from a transaction that was rolled back.
    const found = await this.#load(tx, first.now, tenantId);
    if (await this.#add(tx, found.key, found.head, lines)) return;
    throw new Error(`the head of the audit chain ${JSON.stringify(tenantId)} changed within a transaction`);
  }

  /** Writes a line in a transaction of its own. Must not be called inside one. */
  async appendAlone(line: AuditLine): Promise<void> {
    await this.#store.transaction({ tenantId: line.tenantId, principal: line.principal, requestId: line.requestId }, (unit) => this.append(unit, line));
  }

  /** For services: a line of their own. With `sql` of a call that is in a transaction, as part of that. */
  async note(line: AuditLine, sql?: Tx | Db): Promise<void> {
    if (sql?.isTransaction === true) await this.append({ tx: sql as Tx, now: this.#store.clock.now() }, line);
    else await this.appendAlone(line);
  }

  /** The first hundred problems of a chain. Reads page by page, beside writers. */
  async verify(tenantId: string, signal: AbortSignal): Promise<Verification> {
    return this.#store.read(async (db) => {
      const sealed = await metaValue(db, META_KEY);
      const key = sealed === undefined ? createSecretKey(randomBytes(KEY_BYTES)) : this.#open(sealed);
      const chains = await metaValue(db, META_CHAINS);
      const roster = sealed === undefined ? { tenants: [], genuine: chains === undefined } : readRoster(key, chains);
      return verifyChain({ db, key, tenantId, roster, signal });
    });
  }

  /** Days for which lines are kept. `conflict` when the setting was changed behind our back. */
  async retentionDays(db: Db = this.#store.db): Promise<number> {
    const kept = await this.#store.read(() => metaValue(db, META_RETENTION));
    if (kept === undefined) return DEFAULT_RETENTION_DAYS;
    const [days = '', mac = ''] = kept.split('.');
    const sealed = await this.#store.read(() => metaValue(db, META_KEY));
    if (sealed === undefined || !same(mac, macOf(this.#open(sealed), 'retention', days))) {
      throw new Fault('conflict', 'The retention of audit lines was changed outside the cloud; nothing is removed until it is set again', {
        hint: `cloud audit configure --retention-days ${DEFAULT_RETENTION_DAYS}`,
      });
    }
    return Number(days);
  }

  async keepFor(days: number, tx: Tx): Promise<void> {
    const key = await this.#keyIn(tx);
    await writeMeta(tx, META_RETENTION, `${days}.${macOf(key, 'retention', String(days))}`);
  }

  /** Removes lines that are older than they are kept for, from the beginning of each chain. */
  async prune(now: number, signal: AbortSignal): Promise<void> {
    const before = now - (await this.retentionDays()) * DAY_MS;
    const oldest = await this.#store.read((db) =>
      db
        .selectFrom('audit_head')
        .select('tenant')
        .where(
          (head) =>
            head
              .selectFrom('audit')
              .select('time')
              .whereRef('audit.tenant', '=', 'audit_head.tenant')
              .whereRef('audit.seq', '>=', 'audit_head.first_seq')
              .orderBy('audit.seq')
              .limit(1),
          '<',
          before,
        )
        .execute(),
    );
    for (const { tenant } of oldest) while (!signal.aborted && (await this.#pruneSome(tenant, before))) continue;
  }

  /** Another master key: what the lines are hashed with stays. */
  reseal: Reseal = async (tx, from, to) => {
    const sealed = await metaValue(tx, META_KEY);
    if (sealed !== undefined) await writeMeta(tx, META_KEY, to.seal('audit', {}, from.open('audit', {}, sealed, META_KEY), META_KEY));
  };

  #open(sealed: string): KeyObject {
    return createSecretKey(this.#keyring.open('audit', {}, sealed, META_KEY));
  }

  /** False: `head` is not the head any more, and nothing was written. */
  async #add(tx: Tx, key: KeyObject, head: Head, lines: readonly Gathered[]): Promise<boolean> {
    const [{ line: first }] = lines as [Gathered];
    let { seq, hash } = head;
    const rows = lines.map(({ now, line }) => {
      const record = recordOf(++seq, now, line);
      hash = lineHash(key, hash, record);
      return [...COLUMNS.map((column) => record[column]), hash];
    });
    if (!(await this.#move(tx, key, first.tenantId, head, { ...head, seq, hash }))) return false;
    for (const row of rows) await run(tx, ADD, ...row);
    return true;
  }

  /** Compares before it writes, so that a head kept in memory can be stale and never wrong. */
  async #move(tx: Tx, key: KeyObject, tenant: string, from: Head, to: Omit<Head, 'mac'>): Promise<boolean> {
    const next = withMac(key, tenant, to);
    if ((await run(tx, MOVE, next.seq, next.hash, next.first_seq, next.anchor, next.mac, tenant, from.mac)) === 0) return false;
    this.#key = key;
    if (this.#heads.size >= MOST_HEADS && !this.#heads.has(tenant)) this.#heads.delete(this.#heads.keys().next().value as string);
    this.#heads.set(tenant, next);
    return true;
  }

  /** The head as the database has it. What is damaged gets a line that says so before anything is written on top of it. */
  async #load(tx: Tx, now: number, tenant: string): Promise<{ key: KeyObject; head: Head }> {
    const key = await this.#keyIn(tx);
    const found = await headIn(tx, tenant);
    if (found !== undefined && isGenuine(key, tenant, found)) return { key, head: found };
    const roster = readRoster(key, await metaValue(tx, META_CHAINS));
    const last = await tx
      .selectFrom('audit')
      .select(['seq', 'hash'])
      .where('tenant', '=', tenant)
      .where('seq', '>', 0)
      .orderBy('seq', 'desc')
      .limit(1)
      .executeTakeFirst();
    const problem =
      found !== undefined
        ? 'the head was changed'
        : !roster.genuine
          ? 'the list of chains was changed'
          : roster.tenants.includes(tenant)
            ? 'the head was removed'
            : undefined;
    if (!roster.tenants.includes(tenant) || !roster.genuine) await writeRoster(tx, key, [...new Set([...roster.tenants, tenant])]);
    const { first_seq, anchor } = found ?? { first_seq: 1, anchor: '' };
    const head = withMac(key, tenant, { seq: Math.max(found?.seq ?? 0, last?.seq ?? 0), hash: last?.hash ?? anchor, first_seq, anchor });
    await tx
      .insertInto('audit_head')
      .values({ tenant, ...head })
      .onConflict((on) => on.column('tenant').doUpdateSet(head))
      .execute();
    if (problem === undefined) return { key, head };
    await this.#add(tx, key, head, [{ now, line: ownLine(tenant, BREAK, problem, DAMAGED) }]);
    return { key, head: this.#heads.get(tenant) as Head };
  }

  /** The key, made at first use; lines from before there was one are then taken into the chains as they are. */
  async #keyIn(tx: Tx): Promise<KeyObject> {
    const sealed = await metaValue(tx, META_KEY);
    if (sealed !== undefined) return this.#open(sealed);
    const bytes = randomBytes(KEY_BYTES);
    const key = createSecretKey(bytes);
    await writeMeta(tx, META_KEY, this.#keyring.seal('audit', {}, bytes, META_KEY));
    const tenants = (await tx.selectFrom('audit').select('tenant').where('seq', '=', 0).distinct().execute()).map(({ tenant }) => tenant);
    for (const tenant of tenants) await adopt(tx, key, tenant);
    await writeRoster(tx, key, tenants);
    return key;
  }

  /** True: there may be more. */
  async #pruneSome(tenant: string, before: number): Promise<boolean> {
    return this.#store.transaction({ tenantId: tenant, principal: 'system' }, async (unit) => {
      const { tx } = unit;
      const key = await this.#keyIn(tx);
      const head = await headIn(tx, tenant);
      if (head === undefined || !isGenuine(key, tenant, head)) return false; // the next line that is written says so
      const lines = await tx
        .selectFrom('audit')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('seq', '>=', head.first_seq)
        .where('seq', '<=', head.seq)
        .orderBy('seq')
        .limit(BATCH)
        .execute();
      const young = lines.findIndex(({ time }) => time >= before);
      const old = young < 0 ? lines : lines.slice(0, young);
      const last = old.at(-1);
      if (last === undefined) return false;
      // Otherwise an old date on a new line would be a way to have it removed for good.
      let [genuine, expected, previous] = [true, head.first_seq, head.anchor];
      for (const line of old) {
        genuine &&= line.seq === expected && same(line.hash, lineHash(key, previous, line));
        [expected, previous] = [line.seq + 1, line.hash];
      }
      await tx.deleteFrom('audit').where('tenant', '=', tenant).where('seq', '>=', head.first_seq).where('seq', '<=', last.seq).execute();
      if (!(await this.#move(tx, key, tenant, head, { ...head, first_seq: last.seq + 1, anchor: last.hash }))) return false;
      // That of lines about removals alone nothing is said lets them end some day.
      if (!genuine || old.some(({ permission }) => permission !== PRUNE)) {
        const what = `${old.length} lines, ${head.first_seq} to ${last.seq}`;
        await this.append(unit, ownLine(tenant, PRUNE, what, genuine ? 'ok' : DAMAGED));
      }
      return young < 0 && lines.length === BATCH;
    });
  }
}

const metaValue = async (db: Db, key: string): Promise<string | undefined> =>
  (await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirst())?.value;

const writeMeta = async (tx: Tx, key: string, value: string): Promise<void> => {
  await tx
    .insertInto('meta')
    .values({ key, value })
    .onConflict((on) => on.column('key').doUpdateSet({ value }))
    .execute();
};

async function writeRoster(tx: Tx, key: KeyObject, tenants: readonly string[]): Promise<void> {
  await writeMeta(tx, META_CHAINS, rosterText(key, tenants));
}

/** Lines that were written before there were chains become the beginning of one. */
async function adopt(tx: Tx, key: KeyObject, tenant: string): Promise<void> {
  let [seq, hash] = [0, ''];
  for (;;) {
    const lines = await tx.selectFrom('audit').selectAll().where('tenant', '=', tenant).where('seq', '=', 0).orderBy('id').limit(BATCH).execute();
    for (const line of lines) {
      seq++;
      hash = lineHash(key, hash, { ...line, seq });
      await tx.updateTable('audit').set({ seq, hash }).where('id', '=', line.id).execute();
    }
    if (lines.length < BATCH) break;
  }
  await tx
    .insertInto('audit_head')
    .values({ tenant, ...withMac(key, tenant, { seq, hash, first_seq: 1, anchor: '' }) })
    .execute();
}
