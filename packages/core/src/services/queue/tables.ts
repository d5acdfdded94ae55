// Messages. Which queue a row belongs to is `queue_id`, until it has been received for the last time that its queue allows:
// then `dead_to` is set, and from `visible_at` on the row is in that queue, even before the next write there moves it.
import type { Generated, Kysely, Selectable } from 'kysely';
import type { KernelTables } from '../../kernel/db.ts';
import { type Migration, statements } from '../../kernel/migrate.ts';

interface MessageTable {
  /** Order of sending; decides between messages that became visible in the same millisecond. */
  seq: Generated<number>;
  id: string;
  queue_id: string;
  body: string;
  /** JSON. */
  attributes: string;
  sent_at: number;
  /** When it came into this queue, by sending or as a dead letter; its retention counts from here. */
  arrived_at: number;
  expires_at: number;
  visible_at: number;
  /** From this queue. */
  receives: number;
  first_received_at: number | null;
  /** Of the newest receive, until the message is given back. */
  receipt: string | null;
  dead_to: string | null;
  /** Name of the queue that it came from as a dead letter. */
  dead_from: string | null;
}

export type Message = Selectable<MessageTable>;
export type Sql = Kysely<KernelTables & { queue_message: MessageTable }>;

export const migrations: Migration[] = [
  {
    id: 'queue-001',
    up: statements(
      `create table queue_message (seq integer primary key, id text not null unique, queue_id text not null, body text not null, attributes text not null,
        sent_at bigint not null, arrived_at bigint not null, expires_at bigint not null, visible_at bigint not null, receives bigint not null,
        first_received_at bigint, receipt text, dead_to text, dead_from text)`,
      // Counts are read from this index alone.
      'create index queue_message_line on queue_message (queue_id, visible_at, seq, expires_at, receipt, dead_to)',
      'create index queue_message_dead on queue_message (dead_to, visible_at) where dead_to is not null',
      'create index queue_message_expiry on queue_message (expires_at)',
    ),
  },
];
