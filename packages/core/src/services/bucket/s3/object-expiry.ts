// When lifecycle rules will end an object or an upload, as answers announce it: in days of the calendar, however short they are made for tests.
import { dueAt, enabledRules, expirationOf } from '../engine/lifecycle-rules.ts';
import type { Bucket, ObjectInfo } from '../engine/types.ts';
import { httpDate } from './dates.ts';

const CALENDAR = { daySeconds: undefined };

/** `x-amz-expiration`. Of the newest version only: older ones end in their own way. */
export function expirationHeader({ config }: Bucket, info: ObjectInfo): string | undefined {
  if (config.lifecycle === undefined || !info.latest || info.deleteMarker) return undefined;
  const end = expirationOf(enabledRules(config), { ...info, tags: info.attributes.tags }, CALENDAR);
  return end === undefined ? undefined : `expiry-date="${httpDate(end.at)}", rule-id="${encodeURIComponent(end.rule.id.toWellFormed())}"`;
}

/** `x-amz-abort-date` and the rule that says so. */
export function abortHeaders({ config }: Bucket, { key, startedAt }: { key: string; startedAt: number }): Record<string, string> {
  if (config.lifecycle === undefined) return {};
  const ends = enabledRules(config)
    .filter(({ abortUploadDays, filter }) => abortUploadDays !== undefined && key.startsWith(filter.prefix ?? ''))
    .map(({ abortUploadDays = 0, id }) => ({ at: dueAt(startedAt, abortUploadDays, CALENDAR), id }));
  const [first] = ends.sort((a, b) => a.at - b.at);
  return first === undefined ? {} : { 'x-amz-abort-date': httpDate(first.at), 'x-amz-abort-rule-id': encodeURIComponent(first.id.toWellFormed()) };
}
