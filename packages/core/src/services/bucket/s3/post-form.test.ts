// Form uploads: forms cut anywhere, files with anything in them, and policies.
import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { authenticateForm, type PostForm, parsePostForm } from './post-form.ts';
import { checkPolicy, limited } from './post-policy.ts';
import { ACCESS_KEY, type Bench, codeOf, EXAMPLE_TIME, open, plain, raw, SECRET, serve, signingKey, statusOf } from './testbench.ts';
import type { Route, S3Error, S3Request } from './types.ts';

const BOUNDARY = '----WebKitFormBoundary7MA4YWxkTrZu0gW';
const part = (disposition: string, value: string): string => `--${BOUNDARY}\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n${value}\r\n`;
const field = (name: string, value: string): string => part(`name="${name}"`, value);
const file = (value: string, name = 'C:\\fakepath\\photo.jpg'): string =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="${name}"\r\nContent-Type: image/jpeg\r\n\r\n${value}\r\n`;
const END = `--${BOUNDARY}--\r\n`;

function requestOf(text: string, cut = 1_000_000, contentType = `multipart/form-data; boundary=${BOUNDARY}`): S3Request {
  const bytes = Buffer.from(text, 'utf8');
  async function* stream(): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += cut) yield bytes.subarray(at, at + cut);
  }
  return { headers: { 'content-type': contentType }, body: { stream } } as unknown as S3Request;
}
async function textOf(form: AsyncIterable<Buffer>): Promise<string> {
  const pieces: Buffer[] = [];
  for await (const piece of form) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}
async function codeOfError(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    return (error as S3Error).code;
  }
  return 'accepted';
}

const TRICKY = `\r\n--${BOUNDARY.slice(0, -1)}\r\n--${BOUNDARY}`.slice(0, -1);
test('fields and file, cut anywhere', async () => {
  const text = `preamble\r\n${field('Key', 'user/ü/${filename}')}${field('x-amz-meta-a', 'b\r\nc')}${file(TRICKY)}${field('late', 'x')}${END}`;
  for (const cut of [1, 2, 3, 5, 17, 64, 1000]) {
    const form = await parsePostForm(requestOf(text, cut));
    expect(Object.fromEntries(form.fields)).toEqual({ key: 'user/ü/${filename}', 'x-amz-meta-a': 'b\r\nc' });
    expect(form).toMatchObject({ key: 'user/ü/photo.jpg', fileName: 'photo.jpg', fileType: 'image/jpeg' });
    expect(await textOf(form.file)).toBe(TRICKY);
  }
});

test('a form that ends too early at any byte is no upload', async () => {
  const text = `${field('key', 'k')}${file('hello')}${END}`;
  const whole = text.indexOf(`\r\n${END}`) + `\r\n--${BOUNDARY}`.length;
  for (let length = 0; length < whole; length++) {
    const attempt = (async () => textOf((await parsePostForm(requestOf(text.slice(0, length)))).file))();
    expect(await codeOfError(attempt)).toMatch(/^(MalformedPOSTRequest|IncompleteBody)$/);
  }
  expect(await textOf((await parsePostForm(requestOf(text.slice(0, whole)))).file)).toBe('hello');
});

test.each<[string, string, string]>([
  ['no file', `${field('key', 'k')}${END}`, 'IncorrectNumberOfFilesInPostRequest'],
  ['no key', `${field('acl', 'private')}${file('x')}${END}`, 'InvalidArgument'],
  ['the key behind the file', `${file('x')}${field('key', 'k')}${END}`, 'InvalidArgument'],
  ['a field twice', `${field('key', 'k')}${field('KEY', 'l')}${file('x')}${END}`, 'InvalidArgument'],
  ['a part without a name', `${part('x="y"', 'v')}${file('x')}${END}`, 'MalformedPOSTRequest'],
  ['no parts', 'hello', 'MalformedPOSTRequest'],
  ['too much before the file', `${field('key', 'k')}${field('x-amz-meta-a', 'x'.repeat(21_000))}${file('x')}${END}`, 'MaxPostPreDataLengthExceededError'],
  ['a preamble without end', 'x'.repeat(100_000), 'MaxPostPreDataLengthExceededError'],
])('%s', async (_what, text, code) => {
  for (const cut of [1, 500, 1_000_000]) expect(await codeOfError(parsePostForm(requestOf(text, cut)))).toBe(code);
});

test('what is no form', async () => {
  for (const type of ['application/json', 'multipart/mixed; boundary=x', 'multipart/form-datax; boundary=x']) {
    expect(await codeOfError(parsePostForm(requestOf('', 1, type)))).toBe('RequestIsNotMultiPartContent');
  }
  expect(await codeOfError(parsePostForm(requestOf('', 1, 'multipart/form-data')))).toBe('MalformedPOSTRequest');
});

const encoded = (policy: unknown): string => Buffer.from(typeof policy === 'string' ? policy : JSON.stringify(policy)).toString('base64');
const HOUR = '2013-05-24T01:00:00Z';
const RULES = [{ bucket: 'photos' }, ['starts-with', '$key', 'user/'], { ACL: 'private' }, ['content-length-range', 2, 8]];
const formOf = (policy: unknown, fields: Record<string, string> = {}): PostForm => ({
  fields: new Map(Object.entries({ key: 'user/a', acl: 'private', ...(policy === undefined ? {} : { policy: encoded(policy) }), ...fields })),
  key: 'user/a',
  fileName: '',
  fileType: undefined,
  file: (async function* () {})(),
});
const check = (policy: unknown, fields?: Record<string, string>, now = EXAMPLE_TIME): ReturnType<typeof checkPolicy> | string => {
  try {
    return checkPolicy(formOf(policy, fields), { bucketName: 'photos', now });
  } catch (error) {
    return (error as S3Error).code;
  }
};

test('a policy that is met', async () => {
  expect(check({ expiration: HOUR, conditions: RULES })).toEqual({ minimum: 2, maximum: 8 });
  expect(check({ expiration: HOUR, conditions: RULES }, { 'x-ignore-me': '1', 'x-amz-checksum-crc32': 'AAAAAA==' })).toEqual({ minimum: 2, maximum: 8 });
  expect(check({ expiration: '2013-05-24T01:00:00.000Z', conditions: [...RULES, ['StArTs-WiTh', '$Content-Type', '']] }, { 'content-type': 'a/b' })).toEqual({
    minimum: 2,
    maximum: 8,
  });
  expect(check(undefined)).toBeUndefined();
});

test.each<[string, unknown, string, Record<string, string>?, number?]>([
  ['it has ended', { expiration: HOUR, conditions: RULES }, 'AccessDenied', {}, EXAMPLE_TIME + 3_600_000],
  ['another bucket', { expiration: HOUR, conditions: [{ bucket: 'other' }, ['starts-with', '$key', ''], { acl: 'private' }] }, 'AccessDenied'],
  ['no word about the bucket', { expiration: HOUR, conditions: RULES.slice(1) }, 'AccessDenied'],
  ['no word about a field', { expiration: HOUR, conditions: RULES }, 'AccessDenied', { 'x-amz-meta-a': 'b' }],
  ['a field that is not there', { expiration: HOUR, conditions: [...RULES, ['starts-with', '$x-amz-meta-a', 'b']] }, 'AccessDenied'],
  ['a value that is another', { expiration: HOUR, conditions: [...RULES, ['eq', '$x-amz-meta-a', '']] }, 'AccessDenied', { 'x-amz-meta-a': 'b' }],
  ['no end', { conditions: RULES }, 'InvalidPolicyDocument'],
  ['another spelling of its end', { EXPIRATION: HOUR, conditions: RULES }, 'InvalidPolicyDocument'],
  ['an end that is no time', { expiration: '2013-05-24 01:00', conditions: RULES }, 'InvalidPolicyDocument'],
  ['no conditions', { expiration: HOUR }, 'InvalidPolicyDocument'],
  ['another spelling of them', { expiration: HOUR, CONDITIONS: RULES }, 'InvalidPolicyDocument'],
  ['conditions that are no list', { expiration: HOUR, conditions: {} }, 'InvalidPolicyDocument'],
  ['an empty condition', { expiration: HOUR, conditions: [{}] }, 'InvalidPolicyDocument'],
  ['two in one', { expiration: HOUR, conditions: [{ bucket: 'photos', acl: 'private' }] }, 'InvalidPolicyDocument'],
  ['an unknown operation', { expiration: HOUR, conditions: [['ends-with', '$key', 'a']] }, 'InvalidPolicyDocument'],
  ['a name without $', { expiration: HOUR, conditions: [['eq', 'key', 'a']] }, 'InvalidPolicyDocument'],
  ['a range with one end', { expiration: HOUR, conditions: [...RULES, ['content-length-range', 0]] }, 'InvalidPolicyDocument'],
  ['a range below nothing', { expiration: HOUR, conditions: [...RULES, ['content-length-range', -1, 0]] }, 'InvalidPolicyDocument'],
  ['no JSON', 'hello', 'InvalidPolicyDocument'],
  ['no object', [1], 'InvalidPolicyDocument'],
  ['nothing', 'null', 'InvalidPolicyDocument'],
])('a policy: %s', (_what, policy, code, fields = {}, now = EXAMPLE_TIME) => {
  expect(check(policy, fields, now)).toBe(code);
});

test('the size of the file', async () => {
  async function* bytes(size: number): AsyncGenerator<Buffer> {
    for (let at = 0; at < size; at++) yield Buffer.from('x');
  }
  const range = { minimum: 2, maximum: 4 };
  expect(await textOf(limited(bytes(4), range))).toBe('xxxx');
  expect(await codeOfError(textOf(limited(bytes(5), range)))).toBe('EntityTooLarge');
  expect(await codeOfError(textOf(limited(bytes(1), range)))).toBe('EntityTooSmall');
  expect(await textOf(limited(bytes(9), undefined))).toBe('x'.repeat(9));
});

let bench: Bench;
const routes: Route[] = [
  {
    name: 'PostObject',
    method: 'POST',
    level: 'bucket',
    handle: open(async (request) => {
      const form = await parsePostForm(request);
      await authenticateForm(request, form);
      const range = checkPolicy(form, { bucketName: request.bucketName ?? '', now: EXAMPLE_TIME });
      const text = await textOf(limited(form.file, range));
      return { status: 200, text: JSON.stringify({ caller: request.caller.accessKeyId, by: request.actor.principal, type: request.caller.authType, text }) };
    }),
  },
];
beforeAll(async () => {
  bench = await serve({ routes, now: EXAMPLE_TIME });
});
afterAll(() => bench.close());

const post = async (fields: Record<string, string>): Promise<string> => {
  const body = `${Object.entries(fields)
    .map(([name, value]) => field(name, value))
    .join('')}${file('hello')}${END}`;
  const headers = { 'Content-Type': `multipart/form-data; boundary=${BOUNDARY}`, 'Content-Length': String(Buffer.byteLength(body)), Connection: 'close' };
  return raw(bench.port, plain('POST', '/photos', headers, body));
};
const POLICY = encoded({
  expiration: HOUR,
  conditions: [
    { bucket: 'photos' },
    { key: 'k' },
    ['starts-with', '$x-amz-algorithm', ''],
    ['starts-with', '$x-amz-credential', ''],
    ['starts-with', '$x-amz-date', ''],
  ],
});
const V4 = {
  key: 'k',
  policy: POLICY,
  'x-amz-algorithm': 'AWS4-HMAC-SHA256',
  'x-amz-credential': `${ACCESS_KEY}/20130524/us-east-1/s3/aws4_request`,
  'x-amz-date': '20130524T000000Z',
  'x-amz-signature': createHmac('sha256', signingKey('20130524')).update(POLICY).digest('hex'),
};
const V2 = { key: 'k', policy: POLICY, AWSAccessKeyId: ACCESS_KEY, signature: createHmac('sha1', SECRET).update(POLICY).digest('base64') };

test('who signed the policy is who uploads', async () => {
  for (const fields of [V4, V2]) {
    expect(await post(fields)).toContain(JSON.stringify({ caller: ACCESS_KEY, by: 'usr-1', type: 'POST', text: 'hello' }));
  }
  expect(await post({ key: 'k' })).toContain(JSON.stringify({ by: 'anonymous', type: 'ANONYMOUS', text: 'hello' }));
});

test.each<[string, Record<string, string>, number, string]>([
  ['a wrong signature', { ...V4, 'x-amz-signature': '0'.repeat(64) }, 403, 'SignatureDoesNotMatch'],
  ['a wrong signature of version 2', { ...V2, signature: 'c2ln' }, 403, 'SignatureDoesNotMatch'],
  ['another policy', { ...V4, policy: encoded({}) }, 403, 'SignatureDoesNotMatch'],
  ['an unknown key', { ...V2, AWSAccessKeyId: 'nobody' }, 403, 'InvalidAccessKeyId'],
  ['no signature', { key: 'k', policy: POLICY }, 400, 'InvalidArgument'],
  ['no signature of version 2', { key: 'k', policy: POLICY, AWSAccessKeyId: ACCESS_KEY }, 400, 'InvalidArgument'],
  ['a signature without a policy', { key: 'k', AWSAccessKeyId: ACCESS_KEY, signature: 'c2ln' }, 400, 'InvalidArgument'],
  ['another scope', { ...V4, 'x-amz-credential': `${ACCESS_KEY}/20130524/us-east-1/ec2/aws4_request` }, 400, 'InvalidRequest'],
])('%s', async (_what, fields, status, code) => {
  const answer = await post(fields);
  expect([statusOf(answer), codeOf(answer)]).toEqual([status, code]);
});
