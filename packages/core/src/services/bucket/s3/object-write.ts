// What every way of writing an object shares: its attributes from headers, and the permissions that they take.
import type { Bucket, CustomerKey, Expected, ObjectAttributes } from '../engine/types.ts';
import { asksAcl, newObjectAcl } from './acl.ts';
import { authorize } from './authorize.ts';
import { s3Error } from './errors.ts';
import { encryptionOf } from './object-encryption.ts';
import { contentOf, type Headers, header, lockOf, metadataOf, redirectOf, storageClassOf } from './object-headers.ts';
import { requestTagContext, type Tags, tagsOfHeader } from './tagging.ts';
import type { Demand, S3Body, S3Context, S3Request } from './types.ts';

export const tagsIn = (headers: Headers): Tags | undefined => {
  const value = header(headers, 'x-amz-tagging');
  return value === undefined ? undefined : tagsOfHeader(value);
};

/** To write, and to give the object at once what takes a permission of its own: tags, an ACL, a lock. */
export async function authorizeWrite(
  request: S3Request,
  context: S3Context,
  to: { bucket: Bucket; key: string },
  headers: Headers,
  tags: Tags | undefined,
  more?: Demand['context'],
): Promise<void> {
  const demand = { ...to, context: { ...requestTagContext(tags), ...more } };
  const may = (action: string): Promise<void> => authorize(request, context, { ...demand, action });
  await may('s3:PutObject');
  if (header(headers, 'x-amz-object-lock-mode') !== undefined) await may('s3:PutObjectRetention');
  if (header(headers, 'x-amz-object-lock-legal-hold') !== undefined) await may('s3:PutObjectLegalHold');
  // Where an ACL lets everybody write it lets them write tags and ACLs too: nothing else could say so.
  const byAcl = request.caller.principal === undefined && to.bucket.config.policy === undefined;
  if (tags !== undefined && !byAcl) await may('s3:PutObjectTagging');
  if (!asksAcl(to.bucket, headers) || byAcl) return;
  // What one writes is one's own, as far as its ACL goes; what nobody signed for is the bucket's.
  const owner = request.caller.tenantId === '' ? to.bucket.tenantId : request.caller.tenantId;
  await authorize(request, context, { ...demand, action: 's3:PutObjectAcl', object: async () => ({ tags: {}, acl: undefined, owner }) });
}

/** Everything that a writer says of an object. */
export async function attributesOf(
  request: Pick<S3Request, 'caller'>,
  context: S3Context,
  bucket: Bucket,
  headers: Headers,
  tags: Tags | undefined,
): Promise<{ attributes: ObjectAttributes; customerKey: CustomerKey | undefined }> {
  const { encryption, kmsKeyId, customerKey } = encryptionOf(headers, bucket);
  const { owner, acl } = await newObjectAcl(context.service, bucket, request.caller, headers);
  return {
    attributes: {
      headers: contentOf(headers),
      metadata: metadataOf(headers),
      tags,
      acl,
      owner,
      storageClass: storageClassOf(headers),
      lock: lockOf(headers),
      websiteRedirect: redirectOf(headers),
      encryption,
      kmsKeyId,
    },
    customerKey,
  };
}

/** What must be true of the bytes. */
export function expectedOf(body: S3Body, headers: Headers): Expected {
  const { checksum } = body;
  if (checksum === undefined && header(headers, 'x-amz-sdk-checksum-algorithm') !== undefined) {
    throw s3Error('InvalidRequest', 'x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers were found.');
  }
  return { size: body.size, md5: body.md5, sha256: body.sha256, checksum };
}
