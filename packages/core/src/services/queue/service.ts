// Queues: messages are rows of a table of their own, so that sending one writes one row and no event. What time does to them (becoming
// visible, dying, expiring) is decided when somebody looks, by the clock; nothing has to run for it to be so.
import type { z } from 'zod';
import { Fault } from '../../kernel/errors.ts';
import { type Call, Outdated, type RowOf, type Rows, service } from '../../kernel/service.ts';
import { type Peeked, queues, type Received } from './contract.ts';
import { Lines } from './line.ts';
import * as messages from './messages.ts';
import { type Message, migrations, type Sql } from './tables.ts';

type Queue = RowOf<typeof queues>;

const wrong = (path: string, message: string): Fault => new Fault('invalid_input', `${path}: ${message}`, { details: [{ path, message }] });

/** Fields whose change concerns messages that are there already. */
const FOLLOWED = ['retention', 'maxReceives', 'deadLetterQueueId'] as const;

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

/** What a dead-letter queue needs to be one. */
function checked(queue: Queue): Queue {
  const { maxReceives, deadLetterQueueId } = queue.spec;
  if (maxReceives !== undefined && deadLetterQueueId === undefined) {
    throw wrong('deadLetterQueue', 'give the queue that messages go to after maxReceives receives, or leave both out');
  }
  if (maxReceives === undefined && deadLetterQueueId !== undefined) {
    throw wrong('maxReceives', 'give the number of receives after which a message goes to the dead-letter queue, or leave both out');
  }
  if (deadLetterQueueId === queue.id) throw wrong('deadLetterQueue', 'a queue cannot be its own dead-letter queue; name another');
  return queue;
}

/** Both what died into this queue and what died out of it is moved, so that what is left with its id is its own. */
async function settled(rows: Rows<typeof queues>, sql: Sql, queue: Queue, now: number): Promise<void> {
  await messages.settle(sql, queue, now);
  if (queue.spec.deadLetterQueueId === undefined) return;
  const dead = await rows.byId(queue.spec.deadLetterQueueId);
  if (dead !== undefined) await messages.settle(sql, dead, now);
}

const common = (message: Message) => ({
  body: message.body,
  attributes: JSON.parse(message.attributes) as Record<string, string>,
  receiveCount: message.receives,
  sentAt: time(message.sent_at),
  visibleAt: time(message.visible_at),
  ...(message.dead_from === null ? {} : { deadLetterFrom: message.dead_from }),
});

export const queueService = service(queues, (context) => {
  const { clock } = context;
  const lines = new Lines(clock);
  context.onCommit(({ rows }) => {
    for (const { resource, id } of rows) if (resource === 'queue') lines.changed(id);
  });
  const sqlOf = (call: Pick<Call<typeof queues, unknown>, 'sql'>): Sql => call.sql as unknown as Sql;

  /** The message that a receipt holds, or undefined when it is gone for good. Throws when the receipt holds nothing any more. */
  const heldBy = async (call: Call<typeof queues, { receipt: string }>): Promise<{ id: string; message: Message | undefined }> => {
    const found = await messages.held(sqlOf(call), call.target, call.input.receipt, clock.now());
    switch (found.is) {
      case 'held':
        return { id: found.message.id, message: found.message };
      case 'gone':
        return { id: found.id, message: undefined };
      case 'malformed':
        throw wrong('receipt', 'give the receipt that `receive` answered with');
      case 'foreign':
        throw wrong('receipt', `this receipt comes from another queue than ${call.target.name}`);
      case 'dead': {
        const to = await call.rows.byId(found.to);
        throw new Fault('conflict', `The message was received too often and is in the dead-letter queue${to === undefined ? '' : ` ${to.name}`} now`, {
          ...(to === undefined ? {} : { hint: `cloud queue receive ${to.name}` }),
        });
      }
      case 'lost':
        throw new Fault(
          'conflict',
          found.givenBack
            ? 'The message was given back with this receipt, which holds nothing any more'
            : `The message was received again since (${found.received} times in all); only the newest receipt holds it`,
        );
    }
  };

  /** Changes until when a held message is hidden; it must still be. */
  const hide = async (call: Call<typeof queues, { receipt: string }>, seconds: number, keep: boolean): Promise<{ id: string; visibleAt: string }> => {
    const { id, message } = await heldBy(call);
    if (message === undefined) throw new Fault('conflict', `The message ${id} is no longer in the queue: acknowledged, purged, or dropped by its age`);
    const now = clock.now();
    if (message.visible_at <= now) {
      throw new Fault('conflict', 'The visibility timeout of the message has run out, and others may receive it; it can still be acknowledged until one does');
    }
    const at = now + seconds * 1000;
    await messages.show(sqlOf(call), message, at, keep ? message.receipt : null);
    call.changed(call.target.id);
    if (message.dead_to !== null) call.changed(message.dead_to);
    return { id, visibleAt: time(at) };
  };

  return {
    migrations,
    status: (rows, sql) => messages.count(sql as unknown as Sql, rows, clock.now()),
    prepare: {
      async receive({ input, target, startedAt, signal, rows }) {
        if (input.wait === 0) return;
        const queue = await rows.get(target as string);
        await lines.turn({
          queueId: queue.id,
          since: startedAt,
          deadline: startedAt + input.wait * 1000,
          signal,
          next: async (later) => {
            // As it is now: changed meanwhile, or deleted, which ends the wait.
            const current = await rows.get(queue.id);
            return messages.nextVisible(context.db as unknown as Sql, current, clock.now(), later);
          },
        });
        signal.throwIfAborted();
      },
    },
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        return checked(await call.rows.insert({ name, labels, spec }));
      },
      async update(call) {
        const { labels, ...spec } = call.input;
        await settled(call.rows, sqlOf(call), call.target, clock.now());
        const queue = checked(await call.rows.update(call.target, { labels, spec }));
        if (FOLLOWED.some((field) => queue.spec[field] !== call.target.spec[field])) await messages.follow(sqlOf(call), queue);
        if (queue.spec.deadLetterQueueId !== undefined) call.changed(queue.spec.deadLetterQueueId);
        return queue;
      },
      async delete(call) {
        await settled(call.rows, sqlOf(call), call.target, clock.now());
        await messages.clear(sqlOf(call), call.target);
        return call.rows.delete(call.target);
      },
      async send(call) {
        const { target, input } = call;
        const { body, attributes, delay = target.spec.delay } = input;
        const bytes = Object.entries(attributes)
          .flat()
          .reduce((sum, text) => sum + Buffer.byteLength(text), Buffer.byteLength(body));
        const { maxMessageBytes } = target.spec;
        if (bytes > maxMessageBytes) throw wrong('body', `the message has ${bytes} bytes with its attributes; ${target.name} takes at most ${maxMessageBytes}`);
        const now = clock.now();
        const { id, visibleAt } = await messages.insert(sqlOf(call), target, { body, attributes, delayMs: delay * 1000 }, now);
        call.changed(target.id);
        return { id, sentAt: time(now), visibleAt: time(visibleAt) };
      },
      async receive(call) {
        const { target, input } = call;
        const now = clock.now();
        await settled(call.rows, sqlOf(call), target, now);
        const hiddenMs = (input.visibilityTimeout ?? target.spec.visibilityTimeout) * 1000;
        const taken = await messages.take(sqlOf(call), target, { max: input.max, hiddenMs }, now);
        if (taken.length === 0 && now < call.startedAt + input.wait * 1000) throw new Outdated();
        if (taken.length > 0) call.changed(target.id);
        for (const id of new Set(taken.map((message) => message.dead_to))) if (id !== null) call.changed(id);
        return {
          items: taken.map(
            (message): z.output<typeof Received> => ({
              id: message.id,
              receipt: messages.receiptOf(target, message),
              ...common(message),
              firstReceivedAt: time(message.first_received_at ?? now),
            }),
          ),
        };
      },
      async ack(call) {
        const { id, message } = await heldBy(call);
        if (message !== undefined) await messages.remove(sqlOf(call), message);
        return { id, acked: message !== undefined };
      },
      release: (call) => hide(call, call.input.delay, false),
      extend: (call) => hide(call, call.input.seconds, true),
      async peek(call) {
        const seen = await messages.peek(sqlOf(call), call.target, call.input.limit, clock.now());
        return {
          items: seen.map(
            (message): z.output<typeof Peeked> => ({
              id: message.id,
              state: message.state,
              ...common(message),
              ...(message.first_received_at === null ? {} : { firstReceivedAt: time(message.first_received_at) }),
            }),
          ),
        };
      },
      async purge(call) {
        await settled(call.rows, sqlOf(call), call.target, clock.now());
        const purged = await messages.clear(sqlOf(call), call.target);
        if (purged > 0) await call.event(call.target, 'purged', `Queue ${call.target.name} was purged of ${purged} message${purged === 1 ? '' : 's'}`);
        return { purged };
      },
    },
    prune: (now) => messages.prune(context.db as unknown as Sql, now),
  };
});
