// The source of a copy, as `x-amz-copy-source` names it: found, and allowed to be read.
import { type Bucket, type Conditions, type CustomerKey, ObjectError } from '../engine/types.ts';
import { authorize } from './authorize.ts';
import { fromObjectError, s3Error } from './errors.ts';
import { demandOf, type Target } from './object-access.ts';
import { sourceKeyOf } from './object-encryption.ts';
import { type Headers, header, invalid, sourceConditionsOf } from './object-headers.ts';
import type { Tags } from './tagging.ts';
import type { S3Context, S3Request } from './types.ts';
import { decode } from './uri.ts';

export interface Named {
  bucketName: string;
  key: string;
  version: string | undefined;
}

const COPY_SOURCE = 'x-amz-copy-source';

/** `[/]bucket/key[?versionId=…]`, percent-encoded except for the question mark. */
export function copySourceOf(value: string): Named {
  const bad = (message = 'Copy Source must mention the source bucket and key: sourcebucket/sourcekey'): Error => invalid(COPY_SOURCE, value, message);
  const [, path = '', rawVersion] = /^\/?([^?]*)(?:\?versionId=(.*))?$/s.exec(value) ?? [];
  if (/^arn(:|%3a)/i.test(path)) throw s3Error('NotImplemented', 'Access points are not here: name the source as bucket/key');
  const text = decode(path, true);
  const version = rawVersion === undefined ? undefined : decode(rawVersion, true);
  if (text === undefined || (rawVersion !== undefined && version === undefined)) throw bad('Copy Source must be URL-encoded');
  const slash = text.indexOf('/');
  if (slash < 1 || slash === text.length - 1) throw bad();
  if (version === '') throw bad('Version id cannot be the empty string');
  return { bucketName: text.slice(0, slash), key: text.slice(slash + 1), version };
}

export interface Source extends Target {
  readonly conditions: Conditions | undefined;
  readonly customerKey: CustomerKey | undefined;
}

export async function sourceOf(request: S3Request, context: S3Context, headers: Headers): Promise<Source> {
  const { bucketName, key, version } = copySourceOf(header(headers, COPY_SOURCE) ?? '');
  const bucket: Bucket | undefined = await context.objects.find(bucketName);
  if (bucket === undefined) throw s3Error('NoSuchBucket', undefined, { BucketName: bucketName });
  const expected = header(headers, 'x-amz-source-expected-bucket-owner');
  if (expected !== undefined && expected !== bucket.tenantId) throw s3Error('AccessDenied');
  const target = { bucket, key, version };
  // The version of the query, if there is one, is not that of the source.
  await authorize(request, context, demandOf(context, 's3:GetObject', target, version === undefined ? undefined : { 's3:VersionId': version }));
  return { ...target, conditions: sourceConditionsOf(headers), customerKey: sourceKeyOf(headers) };
}

/** Tags that a copy takes over: who may not read them does not get them so. Undefined: it has none, or is not there, which the copy says. */
export async function tagsOfSource(request: S3Request, context: S3Context, source: Source): Promise<Tags | undefined> {
  const { tags } = (await demandOf(context, 's3:GetObjectTagging', source).object?.()) ?? { tags: {} };
  if (Object.keys(tags).length === 0) return undefined;
  await authorize(request, context, demandOf(context, 's3:GetObjectTagging', source));
  return tags;
}

/** What is not there is the source. */
export async function fromSource<T>({ bucket, key, version }: Target, copying: () => Promise<T>): Promise<T> {
  try {
    return await copying();
  } catch (error) {
    if (!(error instanceof ObjectError)) throw error;
    if (error.problem === 'delete_marker' && version !== undefined) {
      throw s3Error('InvalidRequest', 'The source of a copy request may not specifically refer to a delete marker by version id.', undefined, { cause: error });
    }
    const ofSource = error.problem === 'delete_marker' || error.problem === 'no_such_key' || error.problem === 'no_such_version';
    throw ofSource ? fromObjectError(error, { bucketName: bucket.name, key, version }) : error;
  }
}
