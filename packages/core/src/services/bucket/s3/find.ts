// The bucket that a request is about, and the two steps that each operation on a bucket begins with.
import type { Bucket } from '../engine/types.ts';
import { authorize } from './authorize.ts';
import { s3Error } from './errors.ts';
import { header, headersOf } from './object-headers.ts';
import type { S3Context, S3Handler, S3Reply, S3Request } from './types.ts';

/** NoSuchBucket; AccessDenied when it is not of whom the client expects. */
export async function bucketOf(request: S3Request, { objects }: S3Context): Promise<Bucket> {
  const name = request.bucketName ?? '';
  const bucket = await objects.find(name);
  if (bucket === undefined) throw s3Error('NoSuchBucket', undefined, { BucketName: name });
  const expected = header(headersOf(request), 'x-amz-expected-bucket-owner');
  if (expected !== undefined && expected !== bucket.tenantId) throw s3Error('AccessDenied');
  return bucket;
}

/** Finds the bucket and asks for the permission, then answers. */
export const onBucket =
  (action: string, answer: (request: S3Request, context: S3Context, bucket: Bucket) => Promise<S3Reply> | S3Reply): S3Handler =>
  async (request, context) => {
    const bucket = await bucketOf(request, context);
    await authorize(request, context, { action, bucket });
    return answer(request, context, bucket);
  };

export const NO_CONTENT: S3Reply = { status: 204 };
