// PostObject: a form of a web page, whose fields say what headers say elsewhere, and which may ask to be led on to another page.
import { type Expected, KEPT_HEADERS } from '../engine/types.ts';
import { s3Error } from './errors.ts';
import { bucketOf } from './find.ts';
import { ALGORITHMS, checksumHeader, checksumHeaders, writtenHeaders } from './object-answer.ts';
import { type Headers, header } from './object-headers.ts';
import { quoted } from './object-text.ts';
import { attributesOf, authorizeWrite } from './object-write.ts';
import { authenticateForm, parsePostForm } from './post-form.ts';
import { checkPolicy, limited } from './post-policy.ts';
import { MOST_OBJECT_TAGS, taggingOf } from './tagging.ts';
import type { Demand, S3Handler, S3Reply, S3Request } from './types.ts';
import { encode } from './uri.ts';
import { element, render } from './xml.ts';

type Fields = ReadonlyMap<string, string>;

/** Fields as headers. Those of the signature are left out: no header of an object is called so. */
export function headersOfForm(fields: Fields): Headers {
  const headers: Headers = {};
  for (const [name, value] of fields) {
    if (name === 'acl') headers['x-amz-acl'] = value;
    else if (name.startsWith('x-amz-') || KEPT_HEADERS.some((known) => known === name)) headers[name] = value;
  }
  return headers;
}

/** What bucket policies look at in headers elsewhere. */
const contextOfForm = (headers: Headers): NonNullable<Demand['context']> =>
  Object.fromEntries(
    Object.keys(headers).flatMap((name) => {
      const value = name.startsWith('x-amz-') && !name.startsWith('x-amz-meta-') ? header(headers, name) : undefined;
      const key = name.startsWith('x-amz-object-lock-') ? name.replace('x-amz-', 's3:') : `s3:${name}`;
      return value === undefined ? [] : [[key, value]];
    }),
  );

function expectedOfForm(fields: Fields): Expected {
  const checksums = ALGORITHMS.flatMap((algorithm) => {
    const value = fields.get(checksumHeader(algorithm));
    return value === undefined ? [] : [{ algorithm, value }];
  });
  if (checksums.length > 1) throw s3Error('InvalidRequest', 'Expecting a single x-amz-checksum- field. Multiple checksum Types are not allowed.');
  return { md5: fields.get('content-md5'), checksum: checksums[0] };
}

/** Where the browser is sent. What is no address of the web counts as not given. */
export function redirectOf(fields: Fields, result: { bucket: string; key: string; etag: string }): string | undefined {
  const text = fields.get('success_action_redirect') ?? fields.get('redirect');
  if (text === undefined || !URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) return undefined;
  const added = `bucket=${encode(result.bucket)}&key=${encode(result.key)}&etag=${encode(quoted(result.etag))}`;
  const [, page = text, fragment = ''] = /^([^#]*)(#.*)?$/s.exec(text) ?? [];
  return `${page}${page.includes('?') ? '&' : '?'}${added}${fragment}`;
}

function replyOf({ secure, host, rawPath }: S3Request, fields: Fields, result: { bucket: string; key: string; etag: string }): S3Reply {
  const location = redirectOf(fields, result);
  if (location !== undefined) return { status: 303, headers: { location } };
  const at = `${secure ? 'https' : 'http'}://${host}${rawPath.replace(/\/$/, '')}/${encode(result.key, true)}`;
  switch (fields.get('success_action_status')) {
    case '200':
      return { status: 200, headers: { location: at } };
    case '201':
      return {
        status: 201,
        headers: { location: at },
        // This document alone has no namespace.
        xml: render(
          element('PostResponse', [
            element('Location', at),
            element('Bucket', result.bucket),
            element('Key', result.key),
            element('ETag', quoted(result.etag)),
          ]),
        ),
      };
    default:
      return { status: 204, headers: { location: at } };
  }
}

export const postObject: S3Handler = async (request, context) => {
  const form = await parsePostForm(request);
  const bucket = await bucketOf(request, context);
  await authenticateForm(request, form);
  const range = checkPolicy(form, { bucketName: bucket.name, now: context.service.clock.now() });
  const { fields, key } = form;
  const headers = headersOfForm(fields);
  const tagging = fields.get('tagging');
  const tags = tagging === undefined ? undefined : taggingOf(Buffer.from(tagging), MOST_OBJECT_TAGS);
  await authorizeWrite(request, context, { bucket, key }, headers, tags, contextOfForm(headers));
  const { attributes, customerKey } = await attributesOf(request, context, bucket, headers, tags);
  const result = await context.objects.put(bucket, key, limited(form.file, range), {
    attributes,
    expected: expectedOfForm(fields),
    customerKey,
    type: 'ObjectCreated:Post',
    actor: request.actor,
    signal: request.signal,
  });
  const reply = replyOf(request, fields, { bucket: bucket.name, key, etag: result.etag });
  return { ...reply, headers: { ...reply.headers, etag: quoted(result.etag), ...writtenHeaders(bucket, result), ...checksumHeaders(result.checksum) } };
};
