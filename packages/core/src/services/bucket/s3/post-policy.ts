// The policy of a form upload: what may be in the form, until when, and how large the file may be ("POST Policy" of S3's API reference).
import { parseExpiration } from './dates.ts';
import { s3Error } from './errors.ts';
import type { PostForm } from './post-form.ts';
import type { S3Error } from './types.ts';

export interface FileRange {
  readonly minimum: number;
  readonly maximum: number;
}

type Condition = { kind: 'eq' | 'starts-with'; name: string; value: string } | ({ kind: 'content-length-range' } & FileRange);

const invalid = (problem: string): S3Error => s3Error('InvalidPolicyDocument', `Invalid Policy: ${problem}`);
const refused = (problem: string): S3Error => s3Error('AccessDenied', `Invalid according to Policy: ${problem}`);

/** Fields that no condition has to speak of: those that carry the policy and its proof, and digests of the file, which allow nothing. */
const FREE: ReadonlySet<string> = new Set(['policy', 'x-amz-signature', 'awsaccesskeyid', 'signature', 'file']);
const isFree = (name: string): boolean => FREE.has(name) || name.startsWith('x-ignore-') || name.startsWith('x-amz-checksum-');

/**
 * Checks the form against the policy in it: AccessDenied when it does not meet it, InvalidPolicyDocument when there is no making sense of it. Gives how
 * large the file may be, for `limited`; undefined when the policy does not say, or there is none.
 */
export function checkPolicy(form: PostForm, { bucketName, now }: { bucketName: string; now: number }): FileRange | undefined {
  const text = form.fields.get('policy');
  if (text === undefined) return undefined;
  const { expiration, conditions } = parsePolicy(text);
  if (now >= expiration) throw refused('Policy expired.');
  const fields = new Map([...form.fields, ['key', form.key], ['bucket', bucketName]]);
  const covered = new Set<string>();
  let range: FileRange | undefined;
  for (const condition of conditions) {
    if (condition.kind === 'content-length-range') {
      range = {
        minimum: Math.max(condition.minimum, range?.minimum ?? 0),
        maximum: Math.min(condition.maximum, range?.maximum ?? Number.MAX_SAFE_INTEGER),
      };
      continue;
    }
    const { kind, name, value } = condition;
    covered.add(name);
    const given = fields.get(name) ?? '';
    if (kind === 'eq' ? given !== value : !given.startsWith(value)) {
      throw refused(`Policy Condition failed: ${JSON.stringify([kind, `$${name}`, value])}`);
    }
  }
  const extra = [...fields.keys()].filter((name) => !covered.has(name) && !isFree(name));
  if (extra.length > 0) throw refused(`Extra input fields: ${extra.join(', ')}`);
  return range;
}

/** The file, as long as it keeps to the range. */
export async function* limited(file: AsyncIterable<Buffer>, range: FileRange | undefined): AsyncGenerator<Buffer> {
  let size = 0;
  for await (const chunk of file) {
    size += chunk.length;
    if (range !== undefined && size > range.maximum) {
      throw s3Error('EntityTooLarge', 'Your proposed upload exceeds the maximum allowed size', {
        ProposedSize: String(size),
        MaxSizeAllowed: String(range.maximum),
      });
    }
    yield chunk;
  }
  if (range !== undefined && size < range.minimum) {
    throw s3Error('EntityTooSmall', 'Your proposed upload is smaller than the minimum allowed size', {
      ProposedSize: String(size),
      MinSizeAllowed: String(range.minimum),
    });
  }
}

function parsePolicy(text: string): { expiration: number; conditions: Condition[] } {
  let policy: unknown;
  try {
    policy = JSON.parse(Buffer.from(text, 'base64').toString('utf8'));
  } catch (error) {
    throw s3Error('InvalidPolicyDocument', 'Invalid Policy: Invalid JSON.', undefined, { cause: error });
  }
  if (typeof policy !== 'object' || policy === null || Array.isArray(policy)) throw invalid('Invalid JSON.');
  const expiration = 'expiration' in policy ? policy.expiration : undefined;
  const conditions = 'conditions' in policy ? policy.conditions : undefined;
  if (expiration === undefined) throw invalid('Policy missing expiration.');
  const time = typeof expiration === 'string' ? parseExpiration(expiration) : undefined;
  if (time === undefined) throw invalid(`Invalid 'expiration' value: '${String(expiration)}'`);
  if (conditions === undefined) throw invalid('Policy missing conditions.');
  if (!Array.isArray(conditions)) throw invalid("Invalid 'conditions' value: must be a List.");
  return { expiration: time, conditions: conditions.map(parseCondition) };
}

function parseCondition(condition: unknown): Condition {
  if (Array.isArray(condition)) return parseList(condition);
  if (typeof condition !== 'object' || condition === null) throw invalid('Invalid condition.');
  const [entry, ...more] = Object.entries(condition);
  if (entry === undefined || more.length > 0) {
    throw invalid('Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.');
  }
  const [name, value] = entry;
  if (typeof value !== 'string') throw invalid('Invalid Simple-Condition: value must be a string.');
  return { kind: 'eq', name: name.toLowerCase(), value };
}

function parseList(condition: readonly unknown[]): Condition {
  const [operation, first, second] = condition;
  const kind = typeof operation === 'string' ? operation.toLowerCase() : '';
  if (kind === 'content-length-range') {
    const minimum = sizeOf(first);
    const maximum = sizeOf(second);
    if (condition.length !== 3 || minimum === undefined || maximum === undefined) {
      throw invalid('Invalid content-length-range: it takes a minimum and a maximum in bytes.');
    }
    return { kind, minimum, maximum };
  }
  if (kind !== 'eq' && kind !== 'starts-with') throw invalid(`Invalid condition: unknown operation: ${JSON.stringify(operation) ?? ''}.`);
  if (condition.length !== 3 || typeof first !== 'string' || !first.startsWith('$') || typeof second !== 'string') {
    throw invalid(`Invalid ${kind}: it takes the name of a field after '$', and a value.`);
  }
  return { kind, name: first.slice(1).toLowerCase(), value: second };
}

function sizeOf(value: unknown): number | undefined {
  const size = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return typeof size === 'number' && Number.isSafeInteger(size) && size >= 0 ? size : undefined;
}
