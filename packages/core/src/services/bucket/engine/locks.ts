// Object lock: versions that cannot be deleted before a date, or until a legal hold is lifted.
import type { VersionRow } from './rows.ts';
import { type Bucket, ObjectError, type ObjectLock } from './types.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

export interface LockColumns {
  lock_mode: string | null;
  lock_until: number | null;
  /** 2: lifted. */
  legal_hold: number;
}

const NONE: LockColumns = { lock_mode: null, lock_until: null, legal_hold: 0 };
const holdOf = (legalHold: boolean | undefined): number => (legalHold === undefined ? 0 : legalHold ? 1 : 2);

function defaultUntil(now: number, { days, years }: { days?: number; years?: number }): number {
  if (days !== undefined) return now + days * DAY_MS;
  const until = new Date(now);
  until.setUTCFullYear(until.getUTCFullYear() + (years ?? 0));
  return until.getTime();
}

export const checkLockable = (bucket: Bucket): void => {
  if (!bucket.objectLock) throw new ObjectError('invalid_lock', 'Bucket is missing Object Lock Configuration', { bucket: bucket.name });
};

/** What a new version gets: what the writer asked for, else the bucket's default. `invalid_lock`, `invalid_argument`. */
export function lockFor(bucket: Bucket, asked: ObjectLock | undefined, now: number): LockColumns {
  const wants = asked !== undefined && (asked.mode !== undefined || asked.until !== undefined || asked.legalHold !== undefined);
  if (!bucket.objectLock) {
    if (wants) checkLockable(bucket);
    return NONE;
  }
  const legal_hold = holdOf(asked?.legalHold);
  if (asked?.mode !== undefined || asked?.until !== undefined) {
    const { mode, until } = retention(asked.mode, asked.until, now);
    return { lock_mode: mode, lock_until: until, legal_hold };
  }
  const fallback = bucket.config.lockDefault;
  if (fallback === undefined) return { ...NONE, legal_hold };
  return { lock_mode: fallback.mode, lock_until: defaultUntil(now, fallback), legal_hold };
}

function retention(mode: ObjectLock['mode'] | null, until: number | null | undefined, now: number): { mode: NonNullable<ObjectLock['mode']>; until: number } {
  if (mode === undefined || mode === null || until === undefined || until === null) {
    throw new ObjectError('invalid_argument', 'A retention has both a mode and a date until which it holds');
  }
  if (until <= now) throw new ObjectError('invalid_lock', 'The retain until date must be in the future!', { until });
  return { mode, until };
}

/** `locked` while it may not be deleted. */
export function checkUnlocked(row: VersionRow, now: number, bypassGovernance: boolean | undefined): void {
  if (isLocked(row, now, bypassGovernance)) {
    throw new ObjectError('locked', 'Access Denied because object protected by object lock.', { key: row.key, version: row.version });
  }
}

export function isLocked({ lock_mode, lock_until, legal_hold }: LockColumns, now: number, bypassGovernance = false): boolean {
  if (legal_hold === 1) return true;
  return lock_until !== null && lock_until > now && !(lock_mode === 'GOVERNANCE' && bypassGovernance);
}

/** The columns after a change. What shortens, weakens or takes away retention that still holds needs the right to, and in compliance mode never happens. */
export function changedLock(
  row: VersionRow,
  change: { mode?: ObjectLock['mode'] | null; until?: number | null; legalHold?: boolean },
  options: { now: number; bypassGovernance: boolean },
): LockColumns {
  const legal_hold = change.legalHold === undefined ? row.legal_hold : holdOf(change.legalHold);
  if (change.mode === undefined && change.until === undefined) return { lock_mode: row.lock_mode, lock_until: row.lock_until, legal_hold };
  const next =
    change.mode === null || change.until === null
      ? { lock_mode: null, lock_until: null }
      : (({ mode, until }) => ({ lock_mode: mode, lock_until: until }))(retention(change.mode, change.until, options.now));
  const holds = row.lock_until !== null && row.lock_until > options.now;
  if (holds) {
    const keeps = next.lock_mode === row.lock_mode && next.lock_until !== null && next.lock_until >= (row.lock_until as number);
    const mayChange = row.lock_mode === 'GOVERNANCE' && options.bypassGovernance;
    if (!keeps && !mayChange) throw new ObjectError('locked', 'Access Denied because object protected by object lock.', { key: row.key, version: row.version });
  }
  return { ...next, legal_hold };
}
