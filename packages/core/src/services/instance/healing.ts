// Self-healing: what to do when an instance's program has ended though it is meant to run. Pure: facts in, decision out.

export interface Ended {
  policy: 'always' | 'on-failure' | 'never';
  exitCode: number | undefined;
  outOfMemory: boolean;
  /** Unix milliseconds of the start of the run that ended. */
  startedAt: number | undefined;
  now: number;
  /** From the runs before. */
  record: HealingRecord | undefined;
}

export interface HealingRecord {
  /** Restarts in a row without a run that lasted. */
  count: number;
  /** No restart before this, Unix milliseconds. */
  notBefore: number;
  /** Start of the run that this record was made for, so that one end counts once. */
  run: number;
}

export type Decision =
  | { do: 'stay-stopped'; reason: string }
  | { do: 'give-up'; reason: string; record: HealingRecord }
  | { do: 'wait'; reason: string; milliseconds: number; record: HealingRecord }
  | { do: 'restart'; reason: string; record: HealingRecord };

/** A run at least this long ends a row of failures. */
export const LASTING_MS = 60_000;
export const MOST_RESTARTS = 5;
const FIRST_DELAY_MS = 200;
const LONGEST_DELAY_MS = 30_000;

export function afterEnd({ policy, exitCode, outOfMemory, startedAt, now, record }: Ended): Decision {
  const how = outOfMemory
    ? 'it used more memory than its type has'
    : exitCode === undefined
      ? 'its program ended'
      : `its program ended with exit code ${exitCode}`;
  if (policy === 'never' || (policy === 'on-failure' && exitCode === 0 && !outOfMemory)) return { do: 'stay-stopped', reason: how };
  const run = startedAt ?? 0;
  let current = record;
  if (current === undefined || current.run !== run) {
    const lasted = startedAt !== undefined && now - startedAt >= LASTING_MS;
    const count = (lasted ? 0 : (current?.count ?? 0)) + 1;
    current = { count, run, notBefore: now + Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 4 ** (count - 1)) };
  }
  if (current.count > MOST_RESTARTS) return { do: 'give-up', reason: `${how}, ${MOST_RESTARTS} restarts in a row did not help`, record: current };
  if (now < current.notBefore)
    return { do: 'wait', reason: `${how}; restart ${current.count} of ${MOST_RESTARTS} follows`, milliseconds: current.notBefore - now, record: current };
  return { do: 'restart', reason: how, record: current };
}
