// Signatures: the values that AWS publishes, what AWS's own client signs, and everything that is wrong with a signature.
import { type BinaryLike, createHash, createHmac } from 'node:crypto';
import { Readable } from 'node:stream';
import { GetObjectCommand, ListObjectsV2Command, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ManualClock } from '../../../kernel/clock.ts';
import { RequestBody } from './body.ts';
import type { Inflow } from './inflow.ts';
import { parseTarget } from './request.ts';
import { type Authentication, Authenticator } from './sigv4.ts';
import { ACCESS_KEY, type Bench, EXAMPLE_TIME, echo, keys, open, SECRET, serve, signingKey } from './testbench.ts';
import type { Route, S3Error } from './types.ts';

const EMPTY = createHash('sha256').update('').digest('hex');
const sha256 = (data: BinaryLike): string => createHash('sha256').update(data).digest('hex');
const HOST = 'examplebucket.s3.amazonaws.com';

const authenticator = (now = EXAMPLE_TIME, region = 'us-east-1') => new Authenticator({ keys, region, clock: new ManualClock(now) });

function authenticate(
  method: string,
  url: string,
  headers: Record<string, string>,
  { now, region, rawHeaders }: { now?: number; region?: string; rawHeaders?: string[] } = {},
): Promise<Authentication> {
  return authenticator(now, region).authenticate({
    method,
    target: parseTarget(url, headers.host, ['s3.amazonaws.com']),
    headers,
    rawHeaders: rawHeaders ?? Object.entries(headers).flat(),
  });
}
const authorization = (signedHeaders: string, signature: string, scope = '20130524/us-east-1/s3/aws4_request'): string =>
  `AWS4-HMAC-SHA256 Credential=${ACCESS_KEY}/${scope},SignedHeaders=${signedHeaders},Signature=${signature}`;
const refusal = (of: Promise<unknown>): Promise<S3Error> =>
  of.then(
    () => {
      throw new Error('it was accepted');
    },
    (error: S3Error) => error,
  );

describe('the examples of the documentation', () => {
  const base = { host: HOST, 'x-amz-date': '20130524T000000Z', 'x-amz-content-sha256': EMPTY };

  test('GET with a range', async () => {
    const { caller, signing } = await authenticate('GET', '/test.txt', {
      ...base,
      range: 'bytes=0-9',
      authorization: authorization('host;range;x-amz-content-sha256;x-amz-date', 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41'),
    });
    expect(caller).toMatchObject({ accessKeyId: ACCESS_KEY, tenantId: 'tnt-1', authType: 'REST-HEADER' });
    expect(signing?.scope).toBe('20130524/us-east-1/s3/aws4_request');
  });

  test('PUT of a key that needs encoding', async () => {
    const headers = {
      ...base,
      date: 'Fri, 24 May 2013 00:00:00 GMT',
      'x-amz-storage-class': 'REDUCED_REDUNDANCY',
      'x-amz-content-sha256': '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072',
      authorization: authorization(
        'date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class',
        '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd',
      ),
    };
    expect((await authenticate('PUT', '/test%24file.text', headers)).payload).toBe(headers['x-amz-content-sha256']);
    // The same object, sent by a client that does not encode the dollar although it signs it encoded.
    expect((await authenticate('PUT', '/test$file.text', headers)).caller.accessKeyId).toBe(ACCESS_KEY);
    expect(await refusal(authenticate('PUT', '/test%25file.text', headers))).toMatchObject({ code: 'SignatureDoesNotMatch' });
  });

  test('parameters, without and with values', async () => {
    const signed = 'host;x-amz-content-sha256;x-amz-date';
    await authenticate('GET', '/?lifecycle', {
      ...base,
      authorization: authorization(signed, 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'),
    });
    const list = { ...base, authorization: authorization(signed, '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7') };
    await authenticate('GET', '/?max-keys=2&prefix=J', list);
    await authenticate('GET', '/?prefix=J&max-keys=2', list);
    expect(await refusal(authenticate('GET', '/?max-keys=3&prefix=J', list))).toMatchObject({ code: 'SignatureDoesNotMatch', status: 403 });
  });

  const presigned = (expires: number | string, signature = 'aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404') =>
    `/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${ACCESS_KEY}%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=${expires}&X-Amz-SignedHeaders=host&X-Amz-Signature=${signature}`;

  test('a presigned address, until it ends', async () => {
    const { caller, payload } = await authenticate('GET', presigned(86400), { host: HOST });
    expect(caller.authType).toBe('REST-QUERY-STRING');
    expect(payload).toBe('UNSIGNED-PAYLOAD');
    await authenticate('GET', presigned(86400), { host: HOST }, { now: EXAMPLE_TIME + 86_399_000 });
    const late = await refusal(authenticate('GET', presigned(86400), { host: HOST }, { now: EXAMPLE_TIME + 86_400_000 }));
    expect(late).toMatchObject({ code: 'AccessDenied', message: 'Request has expired', elements: { Expires: '2013-05-25T00:00:00.000Z' } });
    const early = await refusal(authenticate('GET', presigned(86400), { host: HOST }, { now: EXAMPLE_TIME - 901_000 }));
    expect(early).toMatchObject({ code: 'AccessDenied', message: 'Request is not yet valid' });
    expect(await refusal(authenticate('GET', presigned(86401), { host: HOST }))).toMatchObject({ code: 'SignatureDoesNotMatch' });
    expect(await refusal(authenticate('PUT', presigned(86400), { host: HOST }))).toMatchObject({ code: 'SignatureDoesNotMatch' });
    expect(await refusal(authenticate('GET', presigned(86400), { host: `x${HOST}` }))).toMatchObject({ code: 'SignatureDoesNotMatch' });
  });

  test.each([
    [0, 'AccessDenied'],
    [-7, 'AuthorizationQueryParametersError'],
    [604_801, 'AuthorizationQueryParametersError'],
  ])('an address that is good for %i seconds is refused', async (expires, code) => {
    expect(await refusal(authenticate('GET', presigned(expires), { host: HOST }))).toMatchObject({ code, status: 403 });
  });

  test('headers that were not signed are refused on a presigned address', async () => {
    const error = await refusal(authenticate('PUT', presigned(86400), { host: HOST, 'x-amz-acl': 'public-read' }));
    expect(error).toMatchObject({ code: 'AccessDenied', elements: { HeadersNotSigned: 'x-amz-acl' } });
  });

  const chunk = (size: number, signature: string) => `${size.toString(16)};chunk-signature=${signature}\r\n${'a'.repeat(size)}\r\n`;
  async function decode(headers: Record<string, string>, text: string): Promise<{ bytes: Buffer; body: RequestBody }> {
    const authentication = await authenticate('PUT', '/examplebucket/chunkObject.txt', headers);
    const source = Readable.from([Buffer.from(text.slice(0, 70_000)), Buffer.from(text.slice(70_000))]);
    const body = new RequestBody(source as unknown as Inflow, { headers, authentication, checksumOfBody: true });
    const pieces: Buffer[] = [];
    for await (const piece of body.stream()) pieces.push(piece);
    return { bytes: Buffer.concat(pieces), body };
  }
  const streaming = {
    host: 's3.amazonaws.com',
    'x-amz-date': '20130524T000000Z',
    'x-amz-storage-class': 'REDUCED_REDUNDANCY',
    'x-amz-decoded-content-length': '66560',
    'content-encoding': 'aws-chunked',
  };

  test('signed chunks', async () => {
    const headers = {
      ...streaming,
      'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD',
      'content-length': '66824',
      authorization: authorization(
        'content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class',
        '4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9',
      ),
    };
    const text =
      chunk(65536, 'ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648') +
      chunk(1024, '0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497') +
      chunk(0, 'b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9');
    expect(text.length).toBe(66824);
    const { bytes, body } = await decode(headers, text);
    expect(bytes.equals(Buffer.alloc(66560, 'a'))).toBe(true);
    expect(body.size).toBe(66560);
    for (const bad of [text.replace('ad80', 'ad81'), text.replace('b6c6', 'b6c7'), text.replace('aaaa\r\n4', 'aaab\r\n4')]) {
      expect(await refusal(decode(headers, bad))).toMatchObject({ code: 'SignatureDoesNotMatch' });
    }
    expect(await refusal(decode(headers, text.slice(0, -90)))).toMatchObject({ code: 'IncompleteBody' });
  });

  test('signed chunks with a signed trailer', async () => {
    const headers = {
      ...streaming,
      'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER',
      'x-amz-trailer': 'x-amz-checksum-crc32c',
      authorization: authorization(
        'content-encoding;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class;x-amz-trailer',
        '106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e',
      ),
    };
    const text = `${chunk(65536, 'b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2')}${chunk(
      1024,
      '1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7',
    )}0;chunk-signature=2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992\r\nx-amz-checksum-crc32c:sOO8/Q==\n\r\nx-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435\r\n\r\n`;
    const { bytes, body } = await decode(headers, text);
    expect(bytes.length).toBe(66560);
    const { checksum } = body;
    expect(checksum?.algorithm).toBe('CRC32C');
    expect(typeof checksum?.value === 'function' ? checksum.value() : undefined).toBe('sOO8/Q==');
    expect(await refusal(decode(headers, text.replace('sOO8', 'sOO9')))).toMatchObject({ code: 'SignatureDoesNotMatch' });
    expect(await refusal(decode(headers, text.replace(/x-amz-trailer-signature.*/, '')))).toMatchObject({ code: 'IncompleteBody' });
  });
});

describe('what is wrong with a signature', () => {
  const base = { host: HOST, 'x-amz-date': '20130524T000000Z', 'x-amz-content-sha256': EMPTY };
  const SIGNED = 'host;x-amz-content-sha256;x-amz-date';
  const good = { ...base, authorization: authorization(SIGNED, 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543') };
  const get = (headers: Record<string, string>, options: Parameters<typeof authenticate>[3] = {}) =>
    refusal(authenticate('GET', '/?lifecycle', headers, options));

  test('it says what was compared', async () => {
    const { elements } = await get({ ...good, authorization: authorization(SIGNED, 'f'.repeat(64)) });
    expect(elements).toMatchObject({ AWSAccessKeyId: ACCESS_KEY, SignatureProvided: 'f'.repeat(64) });
    expect(elements.StringToSign).toMatch(/^AWS4-HMAC-SHA256\n20130524T000000Z\n20130524\/us-east-1\/s3\/aws4_request\n[0-9a-f]{64}$/);
    expect(elements.CanonicalRequest).toBe(
      `GET\n/\nlifecycle=\nhost:${HOST}\nx-amz-content-sha256:${EMPTY}\nx-amz-date:20130524T000000Z\n\n${SIGNED}\n${EMPTY}`,
    );
    expect(elements.CanonicalRequestBytes?.startsWith('47 45 54 0a 2f 0a')).toBe(true);
  });

  test.each<[string, string, string, number]>([
    ['no scheme that is known', 'Basic YTpi', 'InvalidArgument', 400],
    ['version 2', `AWS ${ACCESS_KEY}:c2lnbmF0dXJl`, 'InvalidRequest', 400],
    ['version 4A', 'AWS4-ECDSA-P256-SHA256 Credential=a', 'InvalidRequest', 400],
    ['nothing behind the scheme', 'AWS4-HMAC-SHA256', 'AuthorizationHeaderMalformed', 400],
    ['no signature', `AWS4-HMAC-SHA256 Credential=${ACCESS_KEY}/20130524/us-east-1/s3/aws4_request, SignedHeaders=host`, 'AuthorizationHeaderMalformed', 400],
    ['an empty signature', authorization(SIGNED, ''), 'AuthorizationHeaderMalformed', 400],
    ['a part that is none', `${authorization(SIGNED, 'ff')}, what`, 'AuthorizationHeaderMalformed', 400],
    ['a short scope', authorization(SIGNED, 'ff', '20130524/us-east-1/s3'), 'AuthorizationHeaderMalformed', 400],
    ['another service', authorization(SIGNED, 'ff', '20130524/us-east-1/ec2/aws4_request'), 'AuthorizationHeaderMalformed', 400],
    ['another day', authorization(SIGNED, 'ff', '20130525/us-east-1/s3/aws4_request'), 'AuthorizationHeaderMalformed', 400],
    ['host unsigned', authorization('x-amz-content-sha256;x-amz-date', 'ff'), 'AuthorizationHeaderMalformed', 400],
    ['a header of S3 unsigned', authorization('host;x-amz-date', 'ff'), 'AccessDenied', 403],
    ['an unknown key', authorization(SIGNED, 'ff').replace(ACCESS_KEY, 'AKIANOBODY'), 'InvalidAccessKeyId', 403],
    ['a key that has ended', authorization(SIGNED, 'ff').replace(ACCESS_KEY, 'AKIAEXPIRED'), 'ExpiredToken', 400],
    ['a wrong signature', authorization(SIGNED, 'ff'), 'SignatureDoesNotMatch', 403],
  ])('%s', async (_what, value, code, status) => {
    expect(await get({ ...base, authorization: value })).toMatchObject({ code, status });
  });

  test('the region: the configured one and us-east-1 do, another is told the right one', async () => {
    expect(await get({ ...good, authorization: authorization(SIGNED, 'ff', '20130524/eu-west-1/s3/aws4_request') })).toMatchObject({
      code: 'AuthorizationHeaderMalformed',
      elements: { Region: 'us-east-1' },
    });
    await authenticate('GET', '/?lifecycle', good, { region: 'home-1' });
    expect(await get({ ...good, authorization: authorization(SIGNED, 'ff', '20130524/eu-west-1/s3/aws4_request') }, { region: 'home-1' })).toMatchObject({
      elements: { Region: 'home-1' },
    });
  });

  test('the time: a quarter of an hour either way', async () => {
    await authenticate('GET', '/?lifecycle', good, { now: EXAMPLE_TIME + 900_000 });
    await authenticate('GET', '/?lifecycle', good, { now: EXAMPLE_TIME - 900_000 });
    for (const now of [EXAMPLE_TIME + 900_001, EXAMPLE_TIME - 900_001]) {
      expect(await get(good, { now })).toMatchObject({ code: 'RequestTimeTooSkewed', status: 403, elements: { MaxAllowedSkewMilliseconds: '900000' } });
    }
    for (const bad of ['', 'yesterday', '20130532T000000Z', '2013-05-24T00:00:00Z']) {
      expect(await get({ ...good, 'x-amz-date': bad })).toMatchObject({ code: 'AccessDenied', status: 403 });
    }
  });

  test('the digest of the body', async () => {
    const { 'x-amz-content-sha256': _, ...without } = good;
    expect(await get({ ...without, authorization: authorization('host;x-amz-date', 'ff') })).toMatchObject({ code: 'InvalidRequest' });
    expect(await get({ ...good, 'x-amz-content-sha256': 'sha' })).toMatchObject({ code: 'InvalidArgument' });
  });

  test('two proofs at once, and a token that we never gave', async () => {
    expect(await refusal(authenticate('GET', '/?X-Amz-Algorithm=AWS4-HMAC-SHA256', good))).toMatchObject({ code: 'InvalidArgument' });
    expect(await get({ ...good, 'x-amz-security-token': 'x', authorization: authorization(`${SIGNED};x-amz-security-token`, 'ff') })).toMatchObject({
      code: 'InvalidToken',
    });
    expect(await refusal(authenticate('GET', '/k?X-Amz-Algorithm=AWS4-HMAC-SHA256', { host: HOST }))).toMatchObject({
      code: 'AuthorizationQueryParametersError',
    });
  });

  test('a header that came twice is signed as its values in order', async () => {
    const headers = { ...base, 'x-amz-meta-a': 'one  two, three' };
    const canonical = `GET\n/k\n\nhost:${HOST}\nx-amz-content-sha256:${EMPTY}\nx-amz-date:20130524T000000Z\nx-amz-meta-a:one two,three\n\nhost;x-amz-content-sha256;x-amz-date;x-amz-meta-a\n${EMPTY}`;
    const text = `AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n${sha256(canonical)}`;
    const signature = createHmac('sha256', signingKey('20130524')).update(text).digest('hex');
    const all = { ...headers, authorization: authorization('host;x-amz-content-sha256;x-amz-date;x-amz-meta-a', signature) };
    const rawHeaders = [...Object.entries({ ...all, 'x-amz-meta-a': 'one  two' }).flat(), 'X-Amz-Meta-A', 'three'];
    await authenticate('GET', '/k', all, { rawHeaders });
    expect(await refusal(authenticate('GET', '/k', all))).toMatchObject({ code: 'SignatureDoesNotMatch' });
  });
});

describe("AWS's own client", () => {
  let bench: Bench;
  let stored: Buffer = Buffer.alloc(0);
  const routes: Route[] = [
    { name: 'ListObjectsV2', method: 'GET', level: 'bucket', handle: echo },
    {
      name: 'PutObject',
      method: 'PUT',
      level: 'object',
      handle: open(async ({ body }) => {
        stored = await body.bytes(1 << 24);
        return { status: 200, headers: { etag: '"0"' } };
      }),
    },
    { name: 'GetObject', method: 'GET', level: 'object', handle: echo },
  ];
  beforeAll(async () => {
    bench = await serve({ routes });
  });
  afterAll(() => bench.close());

  const client = (options: Partial<ConstructorParameters<typeof S3Client>[0]> = {}) =>
    new S3Client({
      endpoint: bench.endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: SECRET },
      maxAttempts: 1,
      ...options,
    });
  const KEYS = [
    'plain.txt',
    'a b+c&d=e?f#g',
    "it's (all) *here*!~",
    'ünïcode/日本語/😀',
    '//double//',
    './dot/../up',
    'trailing/',
    '%2F%25',
    'a\tb',
    '\u00a0nbsp',
    '"quotes" <tags>',
    'back\\slash;semi:colon@at,comma$',
  ];

  test.each(KEYS)('the key %j arrives as it was sent', async (key) => {
    const { Body } = await client().send(new GetObjectCommand({ Bucket: 'bucket', Key: key }));
    expect(JSON.parse((await Body?.transformToString()) ?? '')).toMatchObject({ bucket: 'bucket', key, caller: ACCESS_KEY, authType: 'REST-HEADER' });
  });

  // Dots `fetch` would change before it is sent.
  test.each(KEYS.filter((key) => !key.includes('..')))('a presigned address of %j', async (key) => {
    const url = await getSignedUrl(client(), new GetObjectCommand({ Bucket: 'bucket', Key: key, ResponseContentType: 'a/b; c="ü"' }), { expiresIn: 60 });
    const answer = await fetch(url);
    expect(await answer.json()).toMatchObject({ key, authType: 'REST-QUERY-STRING', query: { 'response-content-type': 'a/b; c="ü"' } });
    expect((await fetch(url.replace('bucket', 'bucker'))).status).toBe(403);
  });

  test('parameters with anything in them', async () => {
    const seen: Record<string, string>[] = [];
    const with_ = client();
    with_.middlewareStack.add(
      (next) => async (args) => {
        seen.push((args.request as { query: Record<string, string> }).query);
        return next(args);
      },
      { step: 'finalizeRequest' },
    );
    const answer = await with_
      .send(new ListObjectsV2Command({ Bucket: 'bucket', Prefix: 'a/ü +&=?%', Delimiter: '/', ContinuationToken: 'x==', StartAfter: "'()*!~" }))
      .catch((error: Error & { $response?: { statusCode: number } }) => error.$response?.statusCode);
    // The answer is JSON, which the client cannot read; that it was one is enough.
    expect(answer).not.toBe(403);
    expect(seen).toHaveLength(1);
  });

  test('bodies: a digest, and checksums in trailers', async () => {
    const bytes = Buffer.alloc(300_000, 'thecloud');
    await client().send(new PutObjectCommand({ Bucket: 'bucket', Key: 'k', Body: bytes, Metadata: { name: 'Zoë  Müller' } }));
    expect(stored.equals(bytes)).toBe(true);
    for (const ChecksumAlgorithm of ['CRC32', 'CRC32C', 'CRC64NVME', 'SHA1', 'SHA256'] as const) {
      stored = Buffer.alloc(0);
      await client().send(
        new PutObjectCommand({
          Bucket: 'bucket',
          Key: 'k',
          Body: Readable.from([bytes.subarray(0, 7), bytes.subarray(7)]),
          ContentLength: bytes.length,
          ChecksumAlgorithm,
        }),
      );
      expect(stored.equals(bytes)).toBe(true);
    }
    const wrong = await refusal(client().send(new PutObjectCommand({ Bucket: 'bucket', Key: 'k', Body: bytes, ChecksumSHA256: 'A'.repeat(43) + '=' })));
    expect(wrong.name).toBe('BadDigest');
    expect(bench.troubles()).toEqual([]);
  });

  test('with the wrong secret', async () => {
    const error = await refusal(
      client({ credentials: { accessKeyId: ACCESS_KEY, secretAccessKey: 'wrong' } }).send(new GetObjectCommand({ Bucket: 'b', Key: 'k' })),
    );
    expect(error.name).toBe('SignatureDoesNotMatch');
  });
});
