// What lifecycle rules say about one version: pure, so that a header can foretell what the walk will do.
import type { BucketConfig, LifecycleFilter, LifecycleRule } from './config.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** How long a day lasts: undefined is a day, and ends at midnight UTC. */
export interface Days {
  daySeconds: number | undefined;
}

/** When so many days after a time are over. */
export function dueAt(since: number, days: number, { daySeconds }: Days): number {
  if (daySeconds !== undefined) return since + days * daySeconds * 1000;
  return Math.ceil((since + days * DAY_MS) / DAY_MS) * DAY_MS;
}

export interface Subject {
  key: string;
  size: number;
  tags: Readonly<Record<string, string>> | undefined;
}

function fits({ prefix, tags, sizeGreaterThan, sizeLessThan }: LifecycleFilter, subject: Subject): boolean {
  if (prefix !== undefined && !subject.key.startsWith(prefix)) return false;
  if (sizeGreaterThan !== undefined && subject.size <= sizeGreaterThan) return false;
  if (sizeLessThan !== undefined && subject.size >= sizeLessThan) return false;
  return Object.entries(tags ?? {}).every(([name, value]) => subject.tags?.[name] === value);
}

export const enabledRules = ({ lifecycle }: BucketConfig): LifecycleRule[] => (lifecycle ?? []).filter(({ enabled }) => enabled);

function expiryOf({ expiration }: LifecycleRule, modifiedAt: number, days: Days): number | undefined {
  if (expiration?.date !== undefined) return Date.parse(expiration.date);
  return expiration?.days === undefined ? undefined : dueAt(modifiedAt, expiration.days, days);
}

/** When a newest version expires, and by which rule; the earliest counts. For the header `x-amz-expiration`. */
export function expirationOf(
  rules: readonly LifecycleRule[],
  subject: Subject & { modifiedAt: number },
  days: Days,
): { at: number; rule: LifecycleRule } | undefined {
  let first: { at: number; rule: LifecycleRule } | undefined;
  for (const rule of rules) {
    const at = expiryOf(rule, subject.modifiedAt, days);
    if (at !== undefined && (first === undefined || at < first.at) && fits(rule.filter, subject)) first = { at, rule };
  }
  return first;
}

/** A delete marker that hides nothing any more. */
export const markerExpires = (rules: readonly LifecycleRule[], subject: Subject & { modifiedAt: number }, now: number, days: Days): boolean =>
  rules.some((rule) => {
    if (!fits(rule.filter, subject)) return false;
    if (rule.expiration?.expiredObjectDeleteMarker === true) return true;
    const at = rule.expiration?.days === undefined ? undefined : dueAt(subject.modifiedAt, rule.expiration.days, days);
    return at !== undefined && at <= now;
  });

/** A version that is not the newest: since when, and how many of its kind are newer. */
export const noncurrentExpires = (
  rules: readonly LifecycleRule[],
  subject: Subject & { noncurrentSince: number; newer: number },
  now: number,
  days: Days,
): boolean =>
  rules.some(({ filter, noncurrentExpiration }) => {
    if (noncurrentExpiration === undefined || !fits(filter, subject)) return false;
    if (subject.newer < (noncurrentExpiration.newerVersions ?? 0)) return false;
    return dueAt(subject.noncurrentSince, noncurrentExpiration.days, days) <= now;
  });

export const uploadExpires = (rules: readonly LifecycleRule[], upload: { key: string; startedAt: number }, now: number, days: Days): boolean =>
  rules.some(
    ({ filter, abortUploadDays }) =>
      abortUploadDays !== undefined &&
      (filter.prefix === undefined || upload.key.startsWith(filter.prefix)) &&
      dueAt(upload.startedAt, abortUploadDays, days) <= now,
  );
