// Group commit, on a database on disk: many works, one transaction, each by itself.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ManualClock } from './clock.ts';
import { type OpenedDb, openDb } from './db.ts';
import { GroupCommit } from './group.ts';
import { Store, type Unit } from './store.ts';

let directory: string;
let opened: OpenedDb;
let store: Store;
let group: GroupCommit;
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'group-'));
  opened = openDb(join(directory, 'cloud.db'), { durable: true });
  store = new Store(opened.db, new ManualClock());
  group = new GroupCommit(store, { gather: () => ({ length: 0, write: async () => undefined }) });
  await sql`create table number (value integer primary key)`.execute(opened.db);
});
afterEach(async () => {
  await group.close();
  await opened.close();
  rmSync(directory, { recursive: true });
});

const by = { tenantId: 'tnt-0000000000000000', principal: 'local' };
const add =
  (value: number) =>
  async ({ tx }: Unit): Promise<number> => {
    await sql`insert into number (value) values (${value})`.execute(tx);
    return value;
  };
const kept = async (): Promise<number[]> =>
  (await sql<{ value: number }>`select value from number order by value`.execute(opened.db)).rows.map(({ value }) => value);

test('works that come together are committed together, in order', async () => {
  let commits = 0;
  store.onCommit(() => commits++);
  const answers = await Promise.all(Array.from({ length: 50 }, (_, value) => group.submit(by, add(value))));
  expect(answers).toEqual(Array.from({ length: 50 }, (_, value) => value));
  expect(await kept()).toEqual(answers);
  expect(commits).toBe(1);
});

test('one that throws, in its own words or the database’s, takes nothing of the others with it', async () => {
  const outcomes = await Promise.allSettled([
    group.submit(by, add(1)),
    group.submit(by, async (unit) => {
      await add(2)(unit);
      throw new Error('changed my mind');
    }),
    group.submit(by, add(1)),
    group.submit(by, add(3)),
  ]);
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected', 'fulfilled']);
  expect(String((outcomes[1] as PromiseRejectedResult).reason)).toContain('changed my mind');
  expect(await kept()).toEqual([1, 3]);
});

test('what is touched is told once it has been committed, and only of those that were', async () => {
  const seen: string[][] = [];
  store.onCommit(({ rows }) => seen.push(rows.map(({ id }) => id)));
  const touch = (id: string, fail: boolean) => async (unit: Unit) => {
    unit.changes.rows.push({ resource: 'thing', id, tenantId: by.tenantId, stateChanged: false });
    if (fail) throw new Error('no');
  };
  await Promise.allSettled([group.submit(by, touch('a', false)), group.submit(by, touch('b', true)), group.submit(by, touch('c', false))]);
  expect(seen).toEqual([['a', 'c']]);
});

test('closed, it takes no more and has ended what it took', async () => {
  const last = group.submit(by, add(7));
  await group.close();
  expect(await last).toBe(7);
  await expect(group.submit(by, add(8))).rejects.toMatchObject({ code: 'unavailable' });
});
