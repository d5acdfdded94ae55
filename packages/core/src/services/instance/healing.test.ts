// Self-healing as a pure function, over all the lives that an instance may have.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { afterEnd, type Ended, type HealingRecord, LASTING_MS, MOST_RESTARTS } from './healing.ts';

const base: Ended = { policy: 'always', exitCode: 1, outOfMemory: false, startedAt: 1000, now: 1500, record: undefined };
const policy = fc.constantFrom('always', 'on-failure', 'never');
const facts = fc.record({ policy, exitCode: fc.option(fc.integer({ min: 0, max: 255 }), { nil: undefined }), outOfMemory: fc.boolean() });

test('`never` stays stopped whatever happened; `on-failure` after a clean end', () => {
  fc.assert(
    fc.property(facts, (given) => {
      const decision = afterEnd({ ...base, ...given });
      const stays = given.policy === 'never' || (given.policy === 'on-failure' && given.exitCode === 0 && !given.outOfMemory);
      expect(decision.do === 'stay-stopped').toBe(stays);
      expect(decision.reason.length).toBeGreaterThan(0);
    }),
  );
});

test('asking twice about one end is asking once', () => {
  fc.assert(
    fc.property(facts, fc.nat(100_000), (given, ran) => {
      const first = afterEnd({ ...base, ...given, now: base.now + ran });
      if (first.do === 'stay-stopped') return;
      expect(afterEnd({ ...base, ...given, now: base.now + ran, record: first.record })).toEqual(first);
      const later = afterEnd({ ...base, ...given, now: first.record.notBefore, record: first.record });
      expect(later.do).toBe(first.do === 'give-up' ? 'give-up' : 'restart');
      if (later.do !== 'stay-stopped') expect(later.record).toEqual(first.record);
    }),
  );
});

/** Lives of an instance: how long each run was. Returns what was decided after each. */
function live(runs: readonly number[]): { decisions: ('restart' | 'give-up')[]; delays: number[] } {
  let record: HealingRecord | undefined;
  let startedAt = 1_000_000;
  const decisions: ('restart' | 'give-up')[] = [];
  const delays: number[] = [];
  for (const ran of runs) {
    const endedAt = startedAt + ran;
    const first = afterEnd({ ...base, startedAt, now: endedAt, record });
    if (first.do === 'give-up') return { decisions: [...decisions, 'give-up'], delays };
    if (first.do !== 'wait') throw new Error(`${first.do} at once`);
    delays.push(first.milliseconds);
    const then = afterEnd({ ...base, startedAt, now: endedAt + first.milliseconds, record: first.record });
    if (then.do !== 'restart') throw new Error(`${then.do} after the wait`);
    decisions.push('restart');
    record = then.record;
    startedAt = endedAt + first.milliseconds + 1;
  }
  return { decisions, delays };
}

test('gives up after five restarts in a row, with growing pauses; a run that lasts starts the count again', () => {
  const { decisions, delays } = live([10, 10, 10, 10, 10, 10]);
  expect(decisions).toEqual([...Array.from({ length: MOST_RESTARTS }, () => 'restart'), 'give-up']);
  expect(delays).toEqual([200, 800, 3200, 12_800, 30_000]);
  expect(live([10, 10, 10, 10, LASTING_MS, 10, 10, 10, 10]).decisions).toEqual(Array.from({ length: 9 }, () => 'restart'));
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(LASTING_MS - 1), fc.integer({ min: LASTING_MS, max: 10 * LASTING_MS })), { maxLength: 30 }), (runs) => {
      let inARow = 0;
      let expected = 0;
      for (const ran of runs) {
        inARow = ran >= LASTING_MS ? 1 : inARow + 1;
        if (inARow > MOST_RESTARTS) break;
        expected++;
      }
      const { decisions } = live(runs);
      expect(decisions.filter((decision) => decision === 'restart')).toHaveLength(expected);
      expect(decisions.includes('give-up')).toBe(expected < runs.length);
    }),
  );
});
