// What takes a permission of its own takes it however it is asked for: in a header, in a presigned address, along with something else.
import { createHash, createHmac } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Listening } from '../../../kernel/listener.ts';
import { type ServiceContext, service } from '../../../kernel/service.ts';
import { services } from '../../../services.ts';
import { type Bench, bench } from '../../../testing/bench.ts';
import { testContracts } from '../../../testing/gadget.ts';
import { presigned } from '../presign.ts';
import { listenS3 } from './listen.ts';

interface Key {
  accessKeyId: string;
  secretAccessKey: string;
}
interface Asked {
  who?: Key | undefined;
  method?: string;
  query?: Record<string, string>;
  headers?: Record<string, string>;
  body?: string;
}

let b: Bench;
let listening: Listening;
let own: Key;
let other: Key;
let otherTenant: string;
let bucket = '';
let count = 0;

beforeAll(async () => {
  let context: ServiceContext | undefined;
  const watching = service(testContracts.plain, (given) => {
    context = given;
    return {};
  });
  b = await bench({ definitions: [...services, watching] });
  listening = await listenS3(context as unknown as ServiceContext, { host: '127.0.0.1', port: 0 });
  otherTenant = await b.tenant('other');
  own = await b.cloud.s3Key.create({ name: 'own' });
  other = await b.cloud.s3Key.create({ name: 'other' }, { tenant: 'other' });
});
afterAll(async () => {
  await listening.close();
  await b.close();
});
beforeEach(async () => {
  bucket = `bucket-${++count}`;
  await b.cloud.bucket.create({ name: bucket });
});

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** Signed in headers, or not at all; answers with the code of the error, or the status. Paths here need no encoding. */
async function ask(path: string, { who = own, method = 'GET', query = {}, headers = {}, body = '' }: Asked = {}, anonymous = false): Promise<string> {
  // No test gives two of them, which would have to be sorted.
  const search = new URLSearchParams(query).toString();
  const url = `http://127.0.0.1:${listening.port}${path}${search === '' ? '' : `?${search}`}`;
  const signed: Record<string, string> = { ...headers };
  if (!anonymous) {
    const time = new Date(b.clock.now()).toISOString().replace(/[-:]|\.\d{3}/g, '');
    const scope = `${time.slice(0, 8)}/us-east-1/s3/aws4_request`;
    Object.assign(signed, { 'x-amz-date': time, 'x-amz-content-sha256': sha256(body) });
    const all: [string, string][] = [...Object.entries(signed), ['host', new URL(url).host]];
    all.sort(([one], [two]) => (one < two ? -1 : 1));
    const names = all.map(([name]) => name).join(';');
    const canonical = [method, path, search, ...all.map(([name, value]) => `${name}:${value}`), '', names, sha256(body)].join('\n');
    const key = [time.slice(0, 8), 'us-east-1', 's3', 'aws4_request'].reduce<string | Buffer>(hmac, `AWS4${who.secretAccessKey}`);
    const signature = hmac(key as Buffer, ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n')).toString('hex');
    signed['authorization'] = `AWS4-HMAC-SHA256 Credential=${who.accessKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`;
  }
  return outcome(await fetch(url, { method, headers: signed, ...(body === '' ? {} : { body }) }));
}
async function outcome(response: Response): Promise<string> {
  const text = await response.text();
  return /<Code>(\w+)<\/Code>/.exec(text)?.[1] ?? String(response.status);
}

const presign = (key: string, method: string, query: Record<string, string>): string =>
  presigned({
    ...{ endpoint: `http://127.0.0.1:${listening.port}`, region: 'us-east-1', accessKeyId: own.accessKeyId, secret: own.secretAccessKey },
    ...{ method, path: [bucket, key], query, now: b.clock.now(), seconds: 60 },
  });
const asks = async (key: string, method: string, query: Record<string, string>): Promise<string> =>
  outcome(await fetch(presign(key, method, query), { method, ...(method === 'PUT' ? { body: 'x' } : {}) }));

const says = (...statements: Record<string, unknown>[]): Promise<unknown> =>
  b.cloud.bucket.configure(bucket, {
    name: 'policy',
    value: {
      Version: '2012-10-17',
      Statement: statements.map((statement) => ({ Principal: '*', Resource: `arn:aws:s3:::${bucket}/*`, ...statement })),
    },
  });
const PUBLIC = { 'x-amz-acl': 'public-read' };

test('a policy sees the parameters of a presigned address that stand for headers', async () => {
  await says({ Effect: 'Deny', Action: 's3:PutObject', Condition: { StringLike: { 's3:x-amz-acl': 'public*' } } });
  expect(await ask(`/${bucket}/k`, { method: 'PUT', headers: PUBLIC })).toBe('AccessDenied');
  expect(await asks('k', 'PUT', PUBLIC)).toBe('AccessDenied');
  expect(await asks('k', 'PUT', {})).toBe('200');
  expect(await asks('k', 'GET', { 'x-amz-expected-bucket-owner': otherTenant })).toBe('AccessDenied');
});

test('an ACL along with an object takes s3:PutObjectAcl', async () => {
  await says({ Effect: 'Deny', Action: 's3:PutObjectAcl' });
  expect(await ask(`/${bucket}/k`, { method: 'PUT', headers: { 'x-amz-acl': 'private' } })).toBe('200');
  expect(await ask(`/${bucket}/k`, { method: 'PUT', headers: PUBLIC })).toBe('AccessDenied');
  expect(await ask(`/${bucket}/l`, { method: 'PUT', headers: { ...PUBLIC, 'x-amz-copy-source': `${bucket}/k` } })).toBe('AccessDenied');
  expect(await ask(`/${bucket}/k`, { method: 'POST', query: { uploads: '' }, headers: PUBLIC })).toBe('AccessDenied');
  // Nobody's object would be the bucket's; another's is its own.
  await says({ Effect: 'Allow', Action: 's3:PutObject' });
  expect(await ask(`/${bucket}/k`, { method: 'PUT', headers: PUBLIC }, true)).toBe('AccessDenied');
  expect(await ask(`/${bucket}/k`, { method: 'PUT' }, true)).toBe('200');
  expect(await ask(`/${bucket}/k`, { who: other, method: 'PUT', headers: PUBLIC })).toBe('200');
});

test('a copy takes tags over for those who may read them', async () => {
  expect(await ask(`/${bucket}/k`, { method: 'PUT', headers: { 'x-amz-tagging': 'a=b' } })).toBe('200');
  expect(await ask(`/${bucket}/plain`, { method: 'PUT' })).toBe('200');
  await says({ Effect: 'Allow', Principal: { AWS: otherTenant }, Action: 's3:GetObject' });
  const target = `/their-${bucket}`;
  expect(await ask(target, { who: other, method: 'PUT' })).toBe('200');
  const copy = (key: string, more = {}) => ask(`${target}/k`, { who: other, method: 'PUT', headers: { 'x-amz-copy-source': `${bucket}/${key}`, ...more } });
  expect(await copy('k')).toBe('AccessDenied');
  expect(await copy('k', { 'x-amz-tagging-directive': 'REPLACE' })).toBe('200');
  expect(await copy('plain')).toBe('200');
  await says({ Effect: 'Allow', Principal: { AWS: otherTenant }, Action: ['s3:GetObject', 's3:GetObjectTagging'] });
  expect(await copy('k')).toBe('200');
  expect(await copy('absent')).toBe('AccessDenied');
});

test('a new bucket is configured at once by those who may configure it', async () => {
  await b.cloud.role.create({ name: 'maker', permissions: ['bucket:create', 's3-key:create'] });
  await b.cloud.serviceAccount.create({ name: 'maker', roles: ['maker'] });
  const { id } = await b.cloud.serviceAccount.get('maker');
  const maker = await b.as(await b.core.principal(id)).s3Key.create({ name: 'maker' });
  const make = (name: string, headers: Record<string, string>) => ask(`/${name}-${bucket}`, { who: maker, method: 'PUT', headers });
  expect(await make('public', { 'x-amz-acl': 'public-read-write' })).toBe('AccessDenied');
  expect(await make('theirs', { 'x-amz-grant-full-control': `id=${otherTenant}` })).toBe('AccessDenied');
  expect(await make('owned', { 'x-amz-object-ownership': 'ObjectWriter' })).toBe('AccessDenied');
  expect(await make('plain', {})).toBe('200');
  expect(await ask(`/public-${bucket}`, { method: 'HEAD' })).toBe('404');
});

test('logs go into a bucket of another account only where its policy says for whom', async () => {
  await says({ Effect: 'Allow', Principal: { Service: 'logging.s3.amazonaws.com' }, Action: 's3:PutObject' });
  const to = `<BucketLoggingStatus><LoggingEnabled><TargetBucket>${bucket}</TargetBucket><TargetPrefix/></LoggingEnabled></BucketLoggingStatus>`;
  for (const [who, expected] of [
    [own, '200'],
    [other, 'AccessDenied'],
  ] as const) {
    const from = `/from-${expected.toLowerCase()}-${bucket}`;
    expect(await ask(from, { who, method: 'PUT' })).toBe('200');
    expect(await ask(from, { who, method: 'PUT', query: { logging: '' }, body: to })).toBe(expected);
  }
  const Condition = { StringEquals: { 'aws:SourceAccount': otherTenant } };
  await says({ Effect: 'Allow', Principal: { Service: 'logging.s3.amazonaws.com' }, Action: 's3:PutObject', Condition });
  expect(await ask(`/from-accessdenied-${bucket}`, { who: other, method: 'PUT', query: { logging: '' }, body: to })).toBe('200');
});

test('a header that was said to be signed and has the name of something else is no header', async () => {
  const address = presign('k', 'GET', {}).replace('X-Amz-SignedHeaders=host', 'X-Amz-SignedHeaders=constructor%3Bhost');
  expect(await outcome(await fetch(address))).toBe('SignatureDoesNotMatch');
});
