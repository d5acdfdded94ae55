// If-Match and its like. Reads answer 304 or 412 in the order of RFC 9110; writes look at the newest version in the transaction that would replace it.
import type { VersionRow } from './rows.ts';
import { type Conditions, ObjectError } from './types.ts';

const failed = (condition: string): ObjectError =>
  new ObjectError('precondition_failed', 'At least one of the preconditions that you gave does not hold', { condition });

const names = (etags: readonly string[], etag: string): boolean => etags.some((each) => each === '*' || each === etag);
const seconds = (milliseconds: number): number => Math.floor(milliseconds / 1000);

export interface Seen {
  etag: string;
  modifiedAt: number;
}

/** Throws `precondition_failed`, or `not_modified` with `etag` and `modifiedAt`. */
export function checkRead(conditions: Conditions | undefined, { etag, modifiedAt }: Seen): void {
  if (conditions === undefined) return;
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions;
  if (ifMatch !== undefined) {
    if (!names(ifMatch, etag)) throw failed('If-Match');
  } else if (ifUnmodifiedSince !== undefined && seconds(modifiedAt) > seconds(ifUnmodifiedSince)) throw failed('If-Unmodified-Since');
  const same = ifNoneMatch !== undefined ? names(ifNoneMatch, etag) : ifModifiedSince !== undefined && seconds(modifiedAt) <= seconds(ifModifiedSince);
  if (same) throw new ObjectError('not_modified', 'It is what you have already', { etag, modifiedAt });
}

/** The source of a copy: what a read would answer with 304 is a failed precondition. */
export function checkSource(conditions: Conditions | undefined, seen: Seen): void {
  try {
    checkRead(conditions, seen);
  } catch (error) {
    if (error instanceof ObjectError && error.problem === 'not_modified') {
      throw failed(conditions?.ifNoneMatch === undefined ? 'x-amz-copy-source-if-modified-since' : 'x-amz-copy-source-if-none-match');
    }
    throw error;
  }
}

/** `current` is the newest version of the key. If-Match where there is nothing to match is `no_such_key`. */
export function checkWrite(conditions: Conditions | undefined, key: string, current: VersionRow | undefined): void {
  if (conditions === undefined) return;
  const there = current !== undefined && current.marker === 0 ? current : undefined;
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince } = conditions;
  if (ifMatch !== undefined) {
    if (there === undefined) throw new ObjectError('no_such_key', 'The specified key does not exist', { key });
    if (!names(ifMatch, there.etag)) throw failed('If-Match');
  }
  if (there === undefined) return;
  if (ifNoneMatch !== undefined && names(ifNoneMatch, there.etag)) throw failed('If-None-Match');
  if (ifUnmodifiedSince !== undefined && seconds(there.modified_at) > seconds(ifUnmodifiedSince)) throw failed('If-Unmodified-Since');
  if (ifModifiedSince !== undefined && seconds(there.modified_at) <= seconds(ifModifiedSince)) throw failed('If-Modified-Since');
}

/** Of the version that would go, or be hidden. Where there is none a delete does nothing, whatever was asked for. */
export function checkDelete(conditions: Conditions | undefined, row: VersionRow | undefined): void {
  if (conditions === undefined || row === undefined) return;
  const { ifMatch, ifMatchSize, ifMatchLastModified } = conditions;
  if (ifMatch !== undefined && !names(ifMatch, row.etag)) throw failed('If-Match');
  if (ifMatchSize !== undefined && row.size !== ifMatchSize) throw failed('x-amz-if-match-size');
  if (ifMatchLastModified !== undefined && seconds(row.modified_at) !== seconds(ifMatchLastModified)) throw failed('x-amz-if-match-last-modified-time');
}

export const isConditional = (conditions: Conditions | undefined): boolean =>
  conditions !== undefined && Object.values(conditions).some((condition) => condition !== undefined);
