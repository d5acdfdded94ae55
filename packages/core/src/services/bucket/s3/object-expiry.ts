// When lifecycle rules will end an object or an upload, as answers announce it.
import type { LifecycleRule } from '../engine/config.ts';
import type { Bucket, ObjectInfo } from '../engine/types.ts';
import { httpDate } from './dates.ts';

const DAY_MS = 24 * 60 * 60 * 1000;

/** Rules act at midnight UTC, after the last of their days is over. */
const midnightAfter = (time: number, days: number): number => Math.ceil((time + days * DAY_MS) / DAY_MS) * DAY_MS;

function fits({ filter }: LifecycleRule, { key, size, attributes: { tags = {} } }: Pick<ObjectInfo, 'key' | 'size' | 'attributes'>): boolean {
  const { prefix, sizeGreaterThan, sizeLessThan } = filter;
  if (prefix !== undefined && !key.startsWith(prefix)) return false;
  if (sizeGreaterThan !== undefined && size <= sizeGreaterThan) return false;
  if (sizeLessThan !== undefined && size >= sizeLessThan) return false;
  return Object.entries(filter.tags ?? {}).every(([name, value]) => Object.hasOwn(tags, name) && tags[name] === value);
}

interface End {
  at: number;
  rule: string;
}

function soonest(rules: readonly LifecycleRule[] | undefined, endOf: (rule: LifecycleRule) => number | undefined): End | undefined {
  let first: End | undefined;
  for (const rule of rules ?? []) {
    const at = rule.enabled ? endOf(rule) : undefined;
    if (at !== undefined && (first === undefined || at < first.at)) first = { at, rule: rule.id };
  }
  return first;
}

/** `x-amz-expiration`. Of the newest version only: older ones end in their own way. */
export function expirationOf({ config }: Bucket, info: ObjectInfo): string | undefined {
  if (config.lifecycle === undefined || !info.latest || info.deleteMarker) return undefined;
  const end = soonest(config.lifecycle, (rule) => {
    const { days, date } = rule.expiration ?? {};
    if ((days === undefined && date === undefined) || !fits(rule, info)) return undefined;
    return days === undefined ? Date.parse(date as string) : midnightAfter(info.modifiedAt, days);
  });
  return end === undefined ? undefined : `expiry-date="${httpDate(end.at)}", rule-id="${encodeURIComponent(end.rule)}"`;
}

/** `x-amz-abort-date` and the rule that says so. */
export function abortHeaders({ config }: Bucket, { key, startedAt }: { key: string; startedAt: number }): Record<string, string> {
  const end = soonest(config.lifecycle, (rule) => {
    if (rule.abortUploadDays === undefined || !key.startsWith(rule.filter.prefix ?? '')) return undefined;
    return midnightAfter(startedAt, rule.abortUploadDays);
  });
  return end === undefined ? {} : { 'x-amz-abort-date': httpDate(end.at), 'x-amz-abort-rule-id': encodeURIComponent(end.rule) };
}
