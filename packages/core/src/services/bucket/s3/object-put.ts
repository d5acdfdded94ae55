// PutObject: bytes of the body become an object, or nothing happens.
import { s3Error } from './errors.ts';
import { bucketOf } from './find.ts';
import { checksumHeaders, writtenHeaders } from './object-answer.ts';
import { header, headersOf, writeConditionsOf } from './object-headers.ts';
import { quoted } from './object-text.ts';
import { attributesOf, authorizeWrite, expectedOf, tagsIn } from './object-write.ts';
import type { S3Handler } from './types.ts';

export const putObject: S3Handler = async (request, context) => {
  const bucket = await bucketOf(request, context);
  const headers = headersOf(request);
  const key = request.key ?? '';
  const tags = tagsIn(headers);
  await authorizeWrite(request, context, { bucket, key }, headers, tags);
  if (header(headers, 'x-amz-write-offset-bytes') !== undefined) throw s3Error('NotImplemented', 'Objects here cannot be appended to');
  const { attributes, customerKey } = await attributesOf(request, context, bucket, headers, tags);
  const result = await context.objects.put(bucket, key, request.body.stream('passing'), {
    attributes,
    expected: expectedOf(request.body, headers),
    conditions: writeConditionsOf(headers),
    customerKey,
    actor: request.actor,
    signal: request.signal,
  });
  return { status: 200, headers: { etag: quoted(result.etag), ...writtenHeaders(bucket, result), ...checksumHeaders(result.checksum) } };
};
