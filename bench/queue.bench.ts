// Messages through a queue, each change of one durable before it is answered. Beside it the least that this costs: the same SQLite with the same durability, and nothing else.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { Database } from 'better-sqlite3';
import { type Bench, type Case, inTurns } from './case.ts';
import { serve, temporary } from './daemon.ts';
import { load } from './load.ts';

const BARE = 'better-sqlite3, a commit each';
const CONNECTIONS = 20;
const SECONDS = 2;
const BODY = 'x'.repeat(256);

const sending: Case = { name: 'queue: send 256 bytes, 20 connections', unit: '/s', subjects: ['POST /v1/queues/jobs/send', BARE], goals: [] };
const passing: Case = {
  name: 'queue: messages sent, received and acknowledged',
  unit: '/s',
  subjects: ['SDK over the socket, 20 at once', BARE],
  goals: [],
};

export const bench: Bench = {
  name: 'queue',
  cases: [sending, passing],
  open: async (stack) => {
    const { cloud, port, pid, headers } = await serve(stack, 'memory');
    await cloud.queue.create({ name: 'jobs' });
    const database = openDatabase(join(await temporary(stack), 'peer.db'));
    stack.defer(() => void database.close());
    database.exec('create table message (id integer primary key, body text not null, visible_at integer not null)');
    const insert = database.prepare('insert into message (body, visible_at) values (?, 0)');
    const hide = database.prepare('update message set visible_at = ? where id = (select min(id) from message where visible_at = 0) returning id').pluck();
    const remove = database.prepare('delete from message where id = ?');

    const pass = async (until: number): Promise<number> => {
      let count = 0;
      for (; performance.now() < until; count++) {
        await cloud.queue.send('jobs', { body: BODY });
        const { items } = await cloud.queue.receive('jobs');
        for (const { receipt } of items) await cloud.queue.ack('jobs', { receipt });
      }
      return count;
    };
    return async (take, round) => {
      await inTurns(round, [
        async () => {
          const body = JSON.stringify({ body: BODY });
          const task = {
            port,
            pid,
            headers,
            paths: ['/v1/queues/jobs/send'],
            method: 'POST',
            body,
            connections: CONNECTIONS,
            warmSeconds: 0.3,
            seconds: SECONDS,
          };
          take(sending)(sending.subjects[0], await load(task));
          await cloud.queue.purge('jobs');
        },
        async () => take(sending)(BARE, { value: perSecond(() => void insert.run(BODY)) }),
        async () => {
          const counts = await Promise.all(Array.from({ length: CONNECTIONS }, () => pass(performance.now() + SECONDS * 1000)));
          take(passing)(passing.subjects[0], { value: counts.reduce((sum, more) => sum + more) / SECONDS });
          await cloud.queue.purge('jobs');
        },
        async () => {
          database.exec('delete from message');
          const value = perSecond(() => {
            insert.run(BODY);
            remove.run(hide.get(1));
          });
          take(passing)(BARE, { value });
        },
      ]);
    };
  },
};

function perSecond(work: () => void): number {
  const began = performance.now();
  let count = 0;
  for (; performance.now() - began < SECONDS * 1000; count++) work();
  return (count * 1000) / (performance.now() - began);
}

/** As the product has it. */
function openDatabase(file: string): Database {
  const require = createRequire(new URL('../packages/core/package.json', import.meta.url));
  const database = new (require('better-sqlite3') as typeof import('better-sqlite3'))(file);
  database.pragma('journal_mode = wal');
  database.pragma('synchronous = full');
  return database;
}
