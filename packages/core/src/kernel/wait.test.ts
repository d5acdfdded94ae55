// Long polls: what wakes them, what ends them, and what they leave behind.
import { getEventListeners } from 'node:events';
import { expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import type { Committed } from './store.ts';
import { waitFor } from './wait.ts';

/** A wait for `value` to be there, and the world around it. */
function world() {
  const listeners = new Set<(committed: Committed) => void>();
  const caller = new AbortController();
  const state: { value: string | undefined; looks: number } = { value: undefined, looks: 0 };
  const commit = (from = 'ours') => {
    for (const listener of listeners) listener({ rows: [], events: false, operations: [from], from: undefined });
  };
  const wait = (milliseconds: number) =>
    waitFor({
      onCommit: (listener) => {
        listeners.add(listener);
        return () => listeners.delete(listener);
      },
      signal: caller.signal,
      milliseconds,
      concerns: ({ operations }) => operations.includes('ours'),
      look: async () => {
        state.looks++;
        await new Promise((resolve) => setImmediate(resolve));
        return state.value;
      },
    });
  const nothingLeft = () => expect([listeners.size, getEventListeners(caller.signal, 'abort').length]).toEqual([0, 0]);
  return { caller, state, commit, wait, nothingLeft };
}
const soon = () => new Promise((resolve) => setTimeout(resolve, 10));

test('looks at once, after each commit that concerns it, and after no other', async () => {
  const { state, commit, wait, nothingLeft } = world();
  const waiting = wait(10_000);
  await soon();
  for (const from of ['others', 'ours', 'others']) {
    commit(from);
    await soon();
  }
  expect(state.looks).toBe(2);
  state.value = 'there';
  commit();
  expect(await waiting).toBe('there');
  nothingLeft();
});

test('a change while it looks is not missed', async () => {
  const { state, commit, wait } = world();
  const waiting = wait(10_000);
  state.value = undefined;
  commit();
  await soon();
  expect(state.looks).toBe(2);
  state.value = 'there';
  commit();
  expect(await waiting).toBe('there');
});

test('time that is up: one last look; a caller who goes: the reason; a look that fails: its error', async () => {
  const first = world();
  expect(await first.wait(0)).toBeUndefined();
  expect(await first.wait(20)).toBeUndefined();
  first.nothingLeft();

  const second = world();
  const waiting = second.wait(86_400_000);
  await soon();
  second.caller.abort(new Error('gone'));
  await expect(waiting).rejects.toThrow('gone');
  await expect(second.wait(86_400_000)).rejects.toThrow('gone');
  second.nothingLeft();
});

test('a sleep longer than timers can count does not end at once', async () => {
  const stop = new AbortController();
  let woken = false;
  const sleeping = systemClock.sleep(2 ** 40, stop.signal).then(
    () => (woken = true),
    () => undefined,
  );
  await soon();
  expect(woken).toBe(false);
  stop.abort();
  await sleeping;
});
