// Events of objects on their way to queues and webhooks. A notice is written in the transaction of the change, so it is there exactly when the change is; it is
// delivered after that, at least once, and survives a restart.
import type { Tx } from '../../kernel/db.ts';
import { Fault } from '../../kernel/errors.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import { appendEvent } from '../../kernel/store.ts';
import { queues } from '../queue/contract.ts';
import { type Calling, mustAlso } from './calls.ts';
import type { NotificationTarget } from './engine/config.ts';
import { engineOf } from './engine/objects.ts';
import { all, chunks, marks, one, run } from './engine/sql.ts';
import type { ObjectChange } from './engine/types.ts';
import { recordOf } from './notification-record.ts';
import { postTo, refuseHost } from './webhook.ts';

export const notificationMigrations: Migration[] = [
  {
    id: 'bucket-notice-001',
    up: statements(
      `create table object_notice (id text primary key, tenant text not null, bucket_id text not null, bucket_name text not null, rule text not null, queue_id text,
        webhook text, record text not null, attempts integer not null, next_at bigint not null, created_at bigint not null)`,
      'create index object_notice_due on object_notice (tenant, next_at)',
    ),
  },
];

interface Notice {
  id: string;
  tenant: string;
  bucket_id: string;
  bucket_name: string;
  rule: string;
  queue_id: string | null;
  webhook: string | null;
  record: string;
  attempts: number;
  next_at: number;
  created_at: number;
}

/** What `bucket notification` takes: queues by name. */
interface Wanted {
  id?: string | undefined;
  events: string[];
  prefix?: string | undefined;
  suffix?: string | undefined;
  queue?: string | undefined;
  webhook?: string | undefined;
}

/** Under way at once: of one tenant, so that its dead webhooks keep nobody else waiting, and of all. */
const AT_ONCE = { tenant: 4, all: 32 };
const FIRST_RETRY_MS = 1_000;
const LONGEST_RETRY_MS = 10 * 60_000;
/** Then it is given up. */
const LONGEST_MS = 24 * 60 * 60_000;
/** Of one tenant; beyond, the oldest are given up. */
const MOST_WAITING = 100_000;
const COUNT_EVERY_MS = 60_000;
const ID_DIGITS = 16;
/** The queue is gone, or takes no messages that are so long: later it would be the same. */
const FINAL: ReadonlySet<string> = new Set(['not_found', 'invalid_input']);
/** Before the database is asked again after it failed. */
const PAUSE_MS = 1_000;

const invalid = (path: string, message: string): Fault => new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }] });

export class Notifier {
  readonly #context: ServiceContext;
  readonly #stop = new AbortController();
  /** Ids that are being delivered, with their tenants. */
  readonly #open = new Map<string, string>();
  readonly #deliveries = new Set<Promise<void>>();
  #wake: (() => void) | undefined;
  #woken = false;
  #running: Promise<void> | undefined;
  #last = 0;
  #countedAt = 0;

  constructor(context: ServiceContext) {
    this.#context = context;
    engineOf(context).onChange((sql, change) => this.#note(sql, change));
    context.onCommit(({ rows }) => {
      // What waited for a queue, or was written with this commit.
      if (rows.some(({ resource }) => resource === 'bucket')) this.kick();
    });
  }

  // ---- what is configured

  /** Rules as callers write them, with queues found and everything checked. `invalid_input`, `not_found`, `forbidden`. */
  async targetsOf(calling: Calling, rules: readonly Wanted[]): Promise<NotificationTarget[]> {
    const targets: NotificationTarget[] = [];
    const taken = new Set(rules.flatMap(({ id }) => (id === undefined ? [] : [id])));
    for (const [index, { id, events, prefix, suffix, queue, webhook }] of rules.entries()) {
      if ((queue === undefined) === (webhook === undefined)) throw invalid(`rules.${index}`, 'give a queue or a webhook, and not both');
      let name = id;
      for (let number = index + 1; name === undefined; number++) if (!taken.has(`rule-${number}`)) name = `rule-${number}`;
      if (targets.some((other) => other.id === name)) throw invalid(`rules.${index}.id`, 'another rule has this id');
      taken.add(name);
      targets.push({
        id: name,
        events,
        ...(prefix === undefined ? {} : { prefix }),
        ...(suffix === undefined ? {} : { suffix }),
        ...(queue === undefined ? {} : { queueId: await this.#queueId(calling, queue, `rules.${index}.queue`) }),
        ...(webhook === undefined ? {} : { webhook }),
      });
    }
    await this.checkTargets(calling, targets, 'rules');
    return targets;
  }

  /** Of both doors: whoever has events sent somewhere may send there. */
  async checkTargets(calling: Calling, targets: readonly NotificationTarget[], at = 'value'): Promise<void> {
    for (const [index, { queueId, webhook }] of targets.entries()) {
      if (queueId !== undefined) {
        const queue = await one<{ name: string }>(this.#context.db, 'select name from r_queue where tenant = ? and id = ?', calling.tenantId, queueId);
        if (queue === undefined) {
          const path = `${at}.${index}.queueId`;
          const message = `there is no queue ${JSON.stringify(queueId)}`;
          throw new Fault('not_found', `${path}: ${message}`, { details: [{ path, message }], hint: 'cloud queue list' });
        }
        await mustAlso(this.#context, calling, 'queue:send', queue.name);
      }
      if (webhook !== undefined) {
        const problem = await refuseHost(new URL(webhook).hostname);
        if (problem !== undefined) throw invalid(`${at}.${index}.webhook`, problem);
      }
    }
  }

  async #queueId({ tenantId }: Calling, nameOrId: string, path: string): Promise<string> {
    const found = await one<{ id: string }>(this.#context.db, 'select id from r_queue where tenant = ? and (name = ? or id = ?)', tenantId, nameOrId, nameOrId);
    if (found !== undefined) return found.id;
    const message = `there is no queue ${JSON.stringify(nameOrId)}`;
    throw new Fault('not_found', `${path}: ${message}`, { details: [{ path, message }], hint: `cloud queue create ${nameOrId}` });
  }

  // ---- what happens

  /** In the transaction of the change. */
  async #note(sql: Tx, change: ObjectChange): Promise<void> {
    const { bucket, type, info, time } = change;
    const name = `s3:${type}`;
    let written = false;
    for (const target of bucket.config.notifications ?? []) {
      const { events, prefix = '', suffix = '' } = target;
      if (!info.key.startsWith(prefix) || !info.key.endsWith(suffix) || !events.some((event) => matches(event, name))) continue;
      const id = this.#nextId(time);
      await run(
        sql,
        `insert into object_notice (id, tenant, bucket_id, bucket_name, rule, queue_id, webhook, record, attempts, next_at, created_at)
          values (?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
        id,
        bucket.tenantId,
        bucket.id,
        bucket.name,
        target.id,
        target.queueId ?? null,
        target.webhook ?? null,
        JSON.stringify(recordOf(change, { rule: target.id, sequencer: id })),
        time,
        time,
      );
      written = true;
    }
    // Whoever looks waits for this transaction to end.
    if (written) this.kick();
  }

  /** Grows; also what tells the order of two events of one key. */
  #nextId(now: number): string {
    this.#last = Math.max(now * 1000, this.#last + 1);
    return this.#last.toString(16).padStart(ID_DIGITS, '0').toUpperCase();
  }

  // ---- how it gets there

  async start(): Promise<void> {
    const newest = await one<{ id: string }>(this.#context.db, 'select id from object_notice order by id desc limit 1');
    if (newest !== undefined) this.#last = Math.max(this.#last, Number.parseInt(newest.id, 16));
    this.#running ??= this.#run();
  }

  kick(): void {
    this.#woken = true;
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const { clock, log } = this.#context;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      this.#woken = false;
      let wait: number | undefined;
      try {
        wait = await this.#pass();
      } catch (error) {
        if (signal.aborted) return;
        log.warn({ error: String(error) }, 'notifications could not be looked at; they wait');
        wait = PAUSE_MS;
      }
      if (this.#woken || signal.aborted) continue;
      const waked = new AbortController();
      this.#wake = () => waked.abort();
      const either = AbortSignal.any([signal, waked.signal]);
      if (wait === undefined) await new Promise<void>((resolve) => either.addEventListener('abort', () => resolve(), { once: true }));
      else await clock.sleep(wait, either).catch(() => undefined); // woken earlier
      this.#wake = undefined;
    }
  }

  /** Begins what may be begun. Answers with the milliseconds until there is more; undefined: nothing waits but for what is under way. */
  async #pass(): Promise<number | undefined> {
    const { db, clock } = this.#context;
    const now = clock.now();
    if (now - this.#countedAt >= COUNT_EVERY_MS) {
      this.#countedAt = now;
      await this.#shed(now);
    }
    for (const { tenant } of await all<{ tenant: string }>(db, 'select distinct tenant from object_notice where next_at <= ?', now)) {
      const busy = [...this.#open].filter(([, of]) => of === tenant).map(([id]) => id);
      const room = Math.min(AT_ONCE.tenant - busy.length, AT_ONCE.all - this.#open.size);
      if (room <= 0) continue;
      const due = await all<Notice>(
        db,
        `select * from object_notice where tenant = ? and next_at <= ?${busy.length === 0 ? '' : ` and id not in (${marks(busy.length)})`} order by next_at, id limit ?`,
        tenant,
        now,
        ...busy,
        room,
      );
      for (const notice of due) this.#begin(notice);
    }
    const later = await one<{ at: number | null }>(db, 'select min(next_at) as at from object_notice where next_at > ?', now);
    return later?.at === null || later?.at === undefined ? undefined : Math.max(later.at - now, 1);
  }

  #begin(notice: Notice): void {
    this.#open.set(notice.id, notice.tenant);
    const delivery = this.#deliver(notice)
      .catch((error: unknown) => {
        // It stays as it is and is due again; not at once, or a full disk would keep us busy.
        if (!this.#stop.signal.aborted) this.#context.log.warn({ notice: notice.id, error: String(error) }, 'a notification could not be dealt with');
        return this.#context.clock.sleep(PAUSE_MS, this.#stop.signal).catch(() => undefined); // stopping
      })
      .finally(() => {
        this.#open.delete(notice.id);
        this.#deliveries.delete(delivery);
        this.kick();
      });
    this.#deliveries.add(delivery);
  }

  async #deliver(notice: Notice): Promise<void> {
    const { clock, log } = this.#context;
    let problem: { message: string; final: boolean } | undefined;
    try {
      await this.#send(notice);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      problem = { message: error instanceof Error ? error.message : String(error), final: error instanceof Fault && FINAL.has(error.code) };
    }
    const now = clock.now();
    if (problem === undefined) return this.#change(notice, async (tx) => void (await run(tx, 'delete from object_notice where id = ?', notice.id)));
    if (problem.final || now - notice.created_at >= LONGEST_MS) return this.#giveUp(notice, problem.message);
    const wait = Math.min(FIRST_RETRY_MS * 2 ** Math.min(notice.attempts, 20), LONGEST_RETRY_MS);
    log.debug({ notice: notice.id, bucket: notice.bucket_name, attempts: notice.attempts + 1, error: problem.message }, 'a notification will be sent again');
    await this.#change(notice, async (tx) => {
      await run(tx, 'update object_notice set attempts = attempts + 1, next_at = ? where id = ?', now + wait / 2 + Math.random() * (wait / 2), notice.id);
    });
  }

  async #send(notice: Notice): Promise<void> {
    const body = `{"Records":[${notice.record}]}`;
    if (notice.webhook !== null) return postTo(notice.webhook, body, { id: notice.id, version: this.#context.version, signal: this.#stop.signal });
    const { queue } = this.#context.client(notice.tenant, { queue: queues });
    // Sent twice after a crash in between, it is one message.
    await queue.send(notice.queue_id as string, { body }, { idempotencyKey: `notice-${notice.id}` });
  }

  /** All of this rule that are as old, so that one event tells of them. */
  async #giveUp(notice: Notice, why: string): Promise<void> {
    const { tenant, bucket_id, bucket_name, rule } = notice;
    await this.#change(notice, async (tx, unit) => {
      const before = unit.now - LONGEST_MS;
      const gone = await all<{ id: string }>(
        tx,
        'select id from object_notice where tenant = ? and bucket_id = ? and rule = ? and (id = ? or created_at <= ?)',
        tenant,
        bucket_id,
        rule,
        notice.id,
        before,
      );
      for (const some of chunks(gone.map(({ id }) => id))) await run(tx, `delete from object_notice where id in (${marks(some.length)})`, ...some);
      const message = `${gone.length} ${gone.length === 1 ? 'event' : 'events'} of the bucket ${bucket_name} could not be delivered by the rule ${rule}: ${why}`;
      await appendEvent(unit, { type: 'bucket.undelivered', resource: 'bucket', resourceId: bucket_id, name: bucket_name, message });
      this.#context.log.warn({ bucket: bucket_name, rule, events: gone.length, error: why }, 'events were given up');
    });
  }

  /** A tenant whose target is away for long must not fill the disk. */
  async #shed(now: number): Promise<void> {
    const { db } = this.#context;
    const many = await all<{ tenant: string; count: number }>(
      db,
      'select tenant, count(*) as count from object_notice group by tenant having count(*) > ?',
      MOST_WAITING,
    );
    for (const { tenant, count } of many) {
      const more = count - MOST_WAITING;
      await this.#context.submit({ tenantId: tenant, principal: 'system' }, async ({ tx }) => {
        await run(tx, 'delete from object_notice where id in (select id from object_notice where tenant = ? order by id limit ?)', tenant, more);
      });
      this.#context.log.warn({ tenant, events: more, now }, 'more events wait than are kept; the oldest were given up');
    }
    await run(db, 'delete from object_notice where tenant not in (select id from r_tenant)');
  }

  #change(notice: Notice, work: (tx: Tx, unit: Parameters<Parameters<ServiceContext['submit']>[1]>[0]) => Promise<void>): Promise<void> {
    return this.#context.submit({ tenantId: notice.tenant, principal: 'system' }, (unit) => work(unit.tx, unit));
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await Promise.all(this.#deliveries);
  }
}

/** `s3:ObjectCreated:*` stands for all of its kind. */
const matches = (pattern: string, name: string): boolean => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name);

const known = new WeakMap<ServiceContext, Notifier>();

/** The one of a core. */
export function notifierOf(context: ServiceContext): Notifier {
  let notifier = known.get(context);
  if (notifier === undefined) {
    notifier = new Notifier(context);
    known.set(context, notifier);
  }
  return notifier;
}
