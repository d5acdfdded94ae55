// What can be done with the messages of a queue, as statements. A queue is known here by its id and what its spec says; that it is
// one of the caller's tenant was decided before.
import { randomBytes } from 'node:crypto';
import { newId } from '../../kernel/ids.ts';
import type { Message, Sql } from './tables.ts';

export interface QueueFacts {
  readonly id: string;
  readonly spec: { readonly retention: number; readonly maxReceives?: number | undefined; readonly deadLetterQueueId?: string | undefined };
}

/** A message that was received too often is in its dead-letter queue from the moment at which it would have become visible, if it lived so long. */
const isDead = (message: Message, now: number): boolean => message.dead_to !== null && message.visible_at <= now && message.visible_at < message.expires_at;

export async function insert(
  sql: Sql,
  queue: QueueFacts,
  message: { body: string; attributes: Record<string, string>; delayMs: number },
  now: number,
): Promise<{ id: string; visibleAt: number }> {
  const id = newId('msg');
  const visibleAt = now + message.delayMs;
  await sql
    .insertInto('queue_message')
    .values({
      id,
      queue_id: queue.id,
      body: message.body,
      attributes: JSON.stringify(message.attributes),
      sent_at: now,
      arrived_at: now,
      expires_at: now + queue.spec.retention * 1000,
      visible_at: visibleAt,
      receives: 0,
      first_received_at: null,
      receipt: null,
      dead_to: null,
      dead_from: null,
    })
    .execute();
  return { id, visibleAt };
}

/** Moves in the dead letters that are due. They begin a new life here: retention and receives count anew, and old receipts hold nothing. */
export async function settle(sql: Sql, queue: QueueFacts, now: number): Promise<void> {
  await sql
    .updateTable('queue_message')
    .set((old) => ({
      queue_id: queue.id,
      arrived_at: old.ref('visible_at'),
      expires_at: old('visible_at', '+', queue.spec.retention * 1000),
      receives: 0,
      receipt: null,
      dead_to: null,
      dead_from: old.selectFrom('r_queue').select('name').whereRef('r_queue.id', '=', 'queue_message.queue_id'),
    }))
    .where('dead_to', '=', queue.id)
    .where('visible_at', '<=', now)
    .whereRef('visible_at', '<', 'expires_at')
    .execute();
}

/** Hands out up to `max` messages, first those that became visible first. */
export async function take(sql: Sql, queue: QueueFacts, { max, hiddenMs }: { max: number; hiddenMs: number }, now: number): Promise<Message[]> {
  const visible = () => sql.selectFrom('queue_message').where('queue_id', '=', queue.id).where('visible_at', '<=', now).where('dead_to', 'is', null);
  let found: Message[];
  for (;;) {
    found = await visible().selectAll().orderBy('visible_at').orderBy('seq').limit(max).execute();
    if (found.every((message) => message.expires_at > now)) break;
    const expired = visible().select('seq').where('expires_at', '<=', now).orderBy('visible_at').orderBy('seq').limit(1000);
    await sql.deleteFrom('queue_message').where('seq', 'in', expired).execute();
  }
  const { maxReceives = Number.POSITIVE_INFINITY, deadLetterQueueId = null } = queue.spec;
  const taken: Message[] = [];
  for (const message of found) {
    const receives = message.receives + 1;
    const change = {
      receives,
      visible_at: now + hiddenMs,
      first_received_at: message.first_received_at ?? now,
      receipt: randomBytes(6).toString('base64url'),
      dead_to: receives >= maxReceives ? deadLetterQueueId : null,
    };
    await sql.updateTable('queue_message').set(change).where('seq', '=', message.seq).execute();
    taken.push({ ...message, ...change });
  }
  return taken;
}

/** Which message a receipt is for: `<queue>.<message>.<receive>`, opaque to callers. */
export const receiptOf = (queue: QueueFacts, message: Message): string => `${bare(queue.id)}.${bare(message.id)}.${message.receipt ?? ''}`;
const bare = (id: string): string => id.slice(id.indexOf('-') + 1);

export type Held =
  | { is: 'held'; message: Message }
  /** Acknowledged, purged or expired. */
  | { is: 'gone'; id: string }
  | { is: 'dead'; to: string }
  /** Given back, or received again, so often in all. */
  | { is: 'lost'; received: number; givenBack: boolean }
  | { is: 'foreign' }
  | { is: 'malformed' };

/** What a receipt still holds. */
export async function held(sql: Sql, queue: QueueFacts, receipt: string, now: number): Promise<Held> {
  const match = /^([0-9a-z]{16})\.([0-9a-z]{16})\.([\w-]{8})$/.exec(receipt.trim());
  if (match === null) return { is: 'malformed' };
  const [, ofQueue, ofMessage, token] = match;
  // Told by the text alone, so that nothing is learned about queues of others.
  if (ofQueue !== bare(queue.id)) return { is: 'foreign' };
  const id = `msg-${ofMessage}`;
  const message = await sql.selectFrom('queue_message').selectAll().where('id', '=', id).executeTakeFirst();
  if (message === undefined) return { is: 'gone', id };
  if (message.queue_id !== queue.id) return { is: 'dead', to: message.queue_id };
  if (isDead(message, now)) return { is: 'dead', to: message.dead_to as string };
  if (message.expires_at <= now) return { is: 'gone', id };
  if (message.receipt !== token) return { is: 'lost', received: message.receives, givenBack: message.receipt === null };
  return { is: 'held', message };
}

export async function remove(sql: Sql, message: Message): Promise<void> {
  await sql.deleteFrom('queue_message').where('seq', '=', message.seq).execute();
}

/** Changes when a received message becomes visible. Without a receipt it is nobody's any more. */
export async function show(sql: Sql, message: Message, at: number, receipt: string | null): Promise<void> {
  await sql.updateTable('queue_message').set({ visible_at: at, receipt }).where('seq', '=', message.seq).execute();
}

/** Every message of the queue goes. Those that are due elsewhere must have been settled there before. */
export async function clear(sql: Sql, queue: QueueFacts): Promise<number> {
  const { numDeletedRows } = await sql.deleteFrom('queue_message').where('queue_id', '=', queue.id).executeTakeFirstOrThrow();
  return Number(numDeletedRows);
}

/** After a change of the queue's spec: its messages follow the new retention and the new limit of receives. */
export async function follow(sql: Sql, { id, spec }: QueueFacts): Promise<void> {
  await sql
    .updateTable('queue_message')
    .set((old) => ({
      expires_at: old('arrived_at', '+', spec.retention * 1000),
      dead_to:
        spec.maxReceives === undefined
          ? null
          : old
              .case()
              .when('receives', '>=', spec.maxReceives)
              .then(spec.deadLetterQueueId ?? null)
              .else(null)
              .end(),
    }))
    .where('queue_id', '=', id)
    .execute();
}

export interface Counts {
  depth: number;
  inFlight: number;
  delayed: number;
}

/** Exact at this instant, also for messages that became visible, died or expired since the last write. */
export async function count(sql: Sql, queues: readonly QueueFacts[], now: number): Promise<Counts[]> {
  const ids = queues.map((queue) => queue.id);
  const own = await sql
    .selectFrom('queue_message')
    .select((of) => [
      'queue_id',
      of.fn.sum<number>(of.case().when('visible_at', '>', now).then(0).when('dead_to', 'is not', null).then(0).else(1).end()).as('depth'),
      of.fn.sum<number>(of.case().when('visible_at', '<=', now).then(0).when('receipt', 'is', null).then(0).else(1).end()).as('inFlight'),
      of.fn.sum<number>(of.case().when('visible_at', '<=', now).then(0).when('receipt', 'is not', null).then(0).else(1).end()).as('delayed'),
    ])
    .where('queue_id', 'in', ids)
    .where('expires_at', '>', now)
    .groupBy('queue_id')
    .execute();
  const incoming = await arriving(sql, now).select('dead_to').distinct().where('dead_to', 'in', ids).execute();
  const counts: Counts[] = [];
  for (const queue of queues) {
    const { depth = 0, inFlight = 0, delayed = 0 } = own.find((row) => row.queue_id === queue.id) ?? {};
    let dead = 0;
    if (incoming.some((row) => row.dead_to === queue.id)) {
      const { n } = await arriving(sql, now, queue)
        .select((of) => of.fn.countAll<number>().as('n'))
        .executeTakeFirstOrThrow();
      dead = Number(n);
    }
    counts.push({ depth: Number(depth) + dead, inFlight: Number(inFlight), delayed: Number(delayed) });
  }
  return counts;
}

/** Dead letters that are due and not yet settled, of one queue or of all. */
function arriving(sql: Sql, now: number, queue?: QueueFacts) {
  const due = sql.selectFrom('queue_message').where('visible_at', '<=', now).whereRef('visible_at', '<', 'expires_at');
  return queue === undefined
    ? due.where('dead_to', 'is not', null)
    : due.where('dead_to', '=', queue.id).where('visible_at', '>', now - queue.spec.retention * 1000);
}

export interface Seen extends Message {
  state: 'visible' | 'in-flight' | 'delayed';
}

export async function peek(sql: Sql, queue: QueueFacts, limit: number, now: number): Promise<Seen[]> {
  const own = () =>
    sql.selectFrom('queue_message').selectAll().where('queue_id', '=', queue.id).where('expires_at', '>', now).orderBy('visible_at').orderBy('seq');
  const visible = await own().where('visible_at', '<=', now).where('dead_to', 'is', null).limit(limit).execute();
  const dead = await arriving(sql, now, queue)
    .leftJoin('r_queue', 'r_queue.id', 'queue_message.queue_id')
    .selectAll('queue_message')
    .select('r_queue.name as from')
    .orderBy('visible_at')
    .orderBy('seq')
    .limit(limit)
    .execute();
  const first = [...visible, ...dead.map(({ from, ...message }) => ({ ...message, receives: 0, dead_from: from }))]
    .sort((a, b) => a.visible_at - b.visible_at || a.seq - b.seq)
    .slice(0, limit)
    .map((message) => ({ ...message, state: 'visible' as const }));
  if (first.length === limit) return first;
  const hidden = await own()
    .where('visible_at', '>', now)
    .limit(limit - first.length)
    .execute();
  return [...first, ...hidden.map((message) => ({ ...message, state: message.receipt === null ? ('delayed' as const) : ('in-flight' as const) }))];
}

/** When the next message of the queue can be received; `after` leaves out those that can be already. What this finds, `settle` and `take` must find. */
export async function nextVisible(sql: Sql, queue: QueueFacts, now: number, after: boolean): Promise<number | undefined> {
  let own = sql.selectFrom('queue_message').select('visible_at').where('queue_id', '=', queue.id).where('dead_to', 'is', null).where('expires_at', '>', now);
  let dead = sql
    .selectFrom('queue_message')
    .select('visible_at')
    .where('dead_to', '=', queue.id)
    .whereRef('visible_at', '<', 'expires_at')
    .where('visible_at', '>', now - queue.spec.retention * 1000);
  if (after) {
    own = own.where('visible_at', '>', now);
    dead = dead.where('visible_at', '>', now);
  }
  const first = await own.orderBy('visible_at').limit(1).executeTakeFirst();
  const second = await dead.orderBy('visible_at').limit(1).executeTakeFirst();
  const times = [first, second].filter((row) => row !== undefined).map((row) => row.visible_at);
  return times.length === 0 ? undefined : Math.min(...times);
}

/** Settles every dead letter and drops what has expired, a part at a time so that calls get their turn. */
export async function prune(sql: Sql, now: number): Promise<void> {
  const due = await arriving(sql, now).select('dead_to').distinct().execute();
  for (const { dead_to } of due) {
    const queue = await sql
      .selectFrom('r_queue')
      .select(['id', 'spec'])
      .where('id', '=', dead_to as string)
      .executeTakeFirst();
    if (queue !== undefined) await settle(sql, { id: queue.id, spec: JSON.parse(queue.spec) as QueueFacts['spec'] }, now);
  }
  for (;;) {
    const expired = sql.selectFrom('queue_message').select('seq').where('expires_at', '<=', now).orderBy('expires_at').limit(1000);
    const { numDeletedRows } = await sql.deleteFrom('queue_message').where('seq', 'in', expired).executeTakeFirstOrThrow();
    if (numDeletedRows < 1000n) return;
  }
}
