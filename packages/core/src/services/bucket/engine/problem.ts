// Why the engine refuses, in its own words.

/** Why the engine refused. The S3 listener and the services say it in their own ways. */
export type ObjectProblem =
  | 'no_such_bucket'
  | 'no_such_key'
  | 'no_such_version'
  | 'no_such_upload'
  | 'delete_marker' // the version (or the newest one) is a delete marker; `details.version` names it
  | 'precondition_failed' // If-Match and its like
  | 'not_modified'
  | 'conflict' // conditional write lost a race, upload being completed
  | 'invalid_range'
  | 'invalid_part' // complete names a part that is not there or differs
  | 'invalid_part_order'
  | 'part_too_small'
  | 'part_too_large'
  | 'object_too_large'
  | 'bad_digest' // Content-MD5, x-amz-checksum-*, sha256
  | 'incomplete_body'
  | 'locked' // object lock: retention or legal hold
  | 'invalid_lock' // lock asked for on a bucket without it, date in the past …
  | 'invalid_argument'
  | 'invalid_request'
  | 'invalid_key' // SSE-C: none, another, or one where none belongs
  | 'key_too_long'
  | 'quota_exceeded'
  | 'bucket_not_empty'
  | 'storage_full'
  | 'storage_unavailable'
  | 'damaged' // bytes at rest are not those that were written
  | 'no_lock_configuration'
  | 'no_such_kms_key' // there is none of that name, or it was deleted
  | 'kms_denied'; // the key may not be used

export class ObjectError extends Error {
  readonly problem: ObjectProblem;
  readonly details: Readonly<Record<string, string | number | boolean | undefined>>;
  constructor(problem: ObjectProblem, message: string, details: ObjectError['details'] = {}, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = 'ObjectError';
    this.problem = problem;
    this.details = details;
  }
}
