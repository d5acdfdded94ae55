// The engine's problems in the words of calls: the one place where an ObjectError becomes a Fault.
import { type ErrorCode, Fault, type FieldProblem } from '../../kernel/errors.ts';
import { ObjectError, type ObjectProblem } from './engine/types.ts';

const CODES: Readonly<Record<ObjectProblem, ErrorCode>> = {
  no_such_bucket: 'not_found',
  no_such_key: 'not_found',
  no_such_version: 'not_found',
  no_such_upload: 'not_found',
  delete_marker: 'not_found',
  precondition_failed: 'stale',
  not_modified: 'stale',
  conflict: 'conflict',
  invalid_range: 'invalid_input',
  invalid_part: 'invalid_input',
  invalid_part_order: 'invalid_input',
  part_too_small: 'invalid_input',
  part_too_large: 'invalid_input',
  object_too_large: 'invalid_input',
  bad_digest: 'invalid_input',
  incomplete_body: 'invalid_input',
  locked: 'conflict',
  invalid_lock: 'invalid_input',
  invalid_argument: 'invalid_input',
  invalid_request: 'invalid_input',
  invalid_key: 'conflict',
  key_too_long: 'invalid_input',
  quota_exceeded: 'quota_exceeded',
  bucket_not_empty: 'conflict',
  storage_full: 'insufficient_storage',
  storage_unavailable: 'unavailable',
  damaged: 'unavailable',
  no_lock_configuration: 'not_found',
  no_such_kms_key: 'conflict',
  kms_denied: 'forbidden',
};

/** Fields of the call that a problem is about. */
const FIELDS: Readonly<Partial<Record<ObjectProblem, string>>> = {
  invalid_range: 'start',
  invalid_part: 'parts',
  invalid_part_order: 'parts',
  part_too_small: 'parts',
  bad_digest: 'md5',
  incomplete_body: 'size',
  invalid_lock: 'until',
  key_too_long: 'object',
};

/** What a caller of ours knows by another name than an S3 client does. */
const SENTENCES: Readonly<Partial<Record<ObjectProblem, (details: ObjectError['details'], about: string) => string>>> = {
  no_such_bucket: (_, about) => `There is no bucket ${JSON.stringify(bucketOf(about))}`,
  no_such_key: (_, about) => `There is no object ${JSON.stringify(about)}`,
  no_such_version: (_, about) => `The object ${JSON.stringify(about)} has no such version`,
  no_such_upload: (_, about) => `There is no such upload of ${JSON.stringify(about)}`,
  delete_marker: (_, about) => `The object ${JSON.stringify(about)} was deleted; older versions are there`,
  precondition_failed: (_, about) => `${about} is not as the call expects it`,
  invalid_key: (_, about) => `${about} is sealed with a key that its writer keeps; read it with an S3 client that has it`,
  // Whoever deletes a bucket hears which of its objects it is.
  locked: (details, about) => `${about.includes('/') ? about : `${about}/${String(details['key'])}`} is locked against deletion and change`,
  damaged: (_, about) => `What is kept of ${about} is damaged: it is not what was written`,
};

const HINTS: Readonly<Partial<Record<ObjectProblem, (about: string, details: ObjectError['details']) => string>>> = {
  no_such_bucket: () => 'cloud bucket list',
  no_such_key: (about) => `cloud object list ${bucketOf(about)}`,
  no_such_version: (about) => `cloud object versions ${about}`,
  no_such_upload: (about) => `cloud object uploads ${bucketOf(about)}`,
  delete_marker: (about) => `cloud object restore ${about}`,
  // A bucket has limits of its own, besides those of the tenant.
  quota_exceeded: (about, { quota }) => (quota === 'maxBytes' || quota === 'maxObjects' ? `cloud bucket get ${bucketOf(about)}` : 'cloud quota list'),
  damaged: (about) => `cloud bucket verify ${bucketOf(about)}`,
  no_such_kms_key: () => 'cloud kms-key list',
};

const bucketOf = (about: string): string => about.split('/', 1)[0] as string;

/** `about` is `<bucket>/<key>` as the caller wrote it. Anything but an ObjectError comes back as it is. */
export function toFault(error: unknown, about: string): unknown {
  if (!(error instanceof ObjectError)) return error;
  const { problem, details } = error;
  const code = CODES[problem];
  const message = SENTENCES[problem]?.(details, about) ?? error.message;
  const field = FIELDS[problem];
  const fields: FieldProblem[] | undefined = code === 'invalid_input' && field !== undefined ? [{ path: field, message }] : undefined;
  const shown = code === 'quota_exceeded' || problem === 'delete_marker' ? details : undefined;
  const hint = HINTS[problem]?.(about, details);
  return new Fault(code, message, {
    cause: error,
    ...(fields === undefined ? {} : { details: fields }),
    ...(shown === undefined ? {} : { details: shown }),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** What the engine rejects with, as a Fault. */
export async function withFaults<T>(about: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw toFault(error, about);
  }
}
