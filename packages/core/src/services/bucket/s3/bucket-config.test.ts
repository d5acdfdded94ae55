// What S3 clients configure of a bucket, as documents: what is read from them, what is given back, and with which error others are refused.
import { describe, expect, test } from 'vitest';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Acl, Bucket } from '../engine/types.ts';
import { aclFromHeaders, aclFromXml, aclXml, cannedAcl, newObjectAcl, privateAcl } from './acl.ts';
import { corsOf, corsXml } from './bucket-cors.ts';
import { lifecycleOf, lifecycleXml } from './bucket-lifecycle.ts';
import { lockDefaultOf, lockDefaultXml } from './bucket-settings.ts';
import { isPublicPolicy, readPolicy } from './policy.ts';
import { publicAccessBlockOf, publicAccessBlockXml, readAllowedPolicy, refusePublicAcl } from './public-access.ts';
import { MOST_OBJECT_TAGS, taggingOf, taggingXml, tagsOfHeader } from './tagging.ts';
import { S3Error } from './types.ts';
import { parseXml } from './xml.ts';

const bytes = (text: string): Buffer => Buffer.from(text);
/** The code that it is refused with. */
async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof S3Error) return error.code;
    throw error;
  }
  return 'none';
}

const NAMES: Record<string, string> = { 'tnt-1': 'acme', 'tnt-2': 'other' };
const service = {
  onCommit: () => () => undefined,
  db: {
    selectFrom: () => ({
      select: () => ({ where: (_: string, __: string, id: string) => ({ executeTakeFirst: async () => NAMES[id] && { name: NAMES[id] } }) }),
    }),
  },
} as unknown as ServiceContext;
const bucket = (config: Bucket['config'] = {}): Bucket => ({ name: 'photos', tenantId: 'tnt-1', config }) as Bucket;

describe('lifecycle', () => {
  const rule = (inner: string, status = 'Enabled'): string => `<Rule><ID>r</ID><Prefix>a/</Prefix><Status>${status}</Status>${inner}</Rule>`;
  const whole = (...rules: string[]): Buffer => bytes(`<LifecycleConfiguration>${rules.join('')}</LifecycleConfiguration>`);
  const filtered = (filter: string, inner = '<Expiration><Days>1</Days></Expiration>'): Buffer =>
    whole(`<Rule><ID>r</ID><Filter>${filter}</Filter><Status>Enabled</Status>${inner}</Rule>`);

  test.each([
    rule('<Expiration><Days>31</Days></Expiration>'),
    rule('<Expiration><Date>2017-09-27T00:00:00Z</Date></Expiration>', 'Disabled'),
    rule('<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>'),
    rule('<NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays><NewerNoncurrentVersions>5</NewerNoncurrentVersions></NoncurrentVersionExpiration>'),
    rule('<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation></AbortIncompleteMultipartUpload>'),
    ...['', '<Prefix>foo</Prefix>', '<Tag><Key>a</Key><Value>b</Value></Tag>', '<ObjectSizeGreaterThan>2000</ObjectSizeGreaterThan>'].map((filter) =>
      rule('<Expiration><Days>1</Days></Expiration>').replace('<Prefix>a/</Prefix>', `<Filter>${filter}</Filter>`),
    ),
    rule('<Expiration><Days>1</Days></Expiration>').replace(
      '<Prefix>a/</Prefix>',
      '<Filter><And><Prefix>a</Prefix><Tag><Key>a</Key><Value>1</Value></Tag><Tag><Key>b</Key><Value></Value></Tag></And></Filter>',
    ),
  ])('comes back as it was: %s', (text) => {
    const rules = lifecycleOf(whole(text));
    expect(lifecycleOf(bytes(lifecycleXml(rules)))).toEqual(rules);
    expect(lifecycleXml(rules).includes('<Filter>')).toBe(text.includes('<Filter>'));
  });

  test('takes criteria without the And around them, and gives them back with it', () => {
    const criteria = '<Prefix>a</Prefix><ObjectSizeLessThan>9</ObjectSizeLessThan>';
    const rules = lifecycleOf(filtered(criteria));
    expect(rules).toMatchObject([{ filter: { prefix: 'a', sizeLessThan: 9 }, and: true }]);
    expect(rules).toEqual(lifecycleOf(filtered(`<And>${criteria}</And>`)));
    expect(lifecycleXml(rules)).toContain(`<Filter><And>${criteria}</And></Filter>`);
  });

  test('gives rules without a name one', () => {
    const [one, two] = lifecycleOf(
      whole(...['a', 'b'].map((prefix) => `<Rule><Prefix>${prefix}</Prefix><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>`)),
    );
    expect(one?.id).toMatch(/^[0-9a-f-]{36}$/);
    expect(two?.id).not.toBe(one?.id);
  });

  const expires = '<Expiration><Days>1</Days></Expiration>';
  test.each<[string, Buffer, string]>([
    ['no rule', whole(), 'MalformedXML'],
    ['a status in lower case', whole(rule(expires, 'enabled')), 'MalformedXML'],
    ['no status', whole(`<Rule><Prefix/>${expires}</Rule>`), 'MalformedXML'],
    ['neither prefix nor filter', whole(`<Rule><Status>Enabled</Status>${expires}</Rule>`), 'MalformedXML'],
    ['both', whole(`<Rule><Prefix/><Filter/><Status>Enabled</Status>${expires}</Rule>`), 'MalformedXML'],
    ['an unknown element', whole(rule(`${expires}<Expire/>`)), 'MalformedXML'],
    ['a long id', whole(rule(expires).replace('<ID>r', `<ID>${'a'.repeat(256)}`)), 'InvalidArgument'],
    ['the same id twice', whole(rule(expires), rule(expires)), 'InvalidArgument'],
    ['no days', whole(rule('<Expiration><Days>0</Days></Expiration>')), 'InvalidArgument'],
    ['fewer than no days', whole(rule('<Expiration><Days>-1</Days></Expiration>')), 'InvalidArgument'],
    ['days that are no number', whole(rule('<Expiration><Days>1.5</Days></Expiration>')), 'MalformedXML'],
    ['days and a date', whole(rule('<Expiration><Days>1</Days><Date>2017-09-27</Date></Expiration>')), 'MalformedXML'],
    ['a date that is none', whole(rule('<Expiration><Date>20200101</Date></Expiration>')), 'MalformedXML'],
    ['a date at noon', whole(rule('<Expiration><Date>2020-01-01T12:00:00Z</Date></Expiration>')), 'InvalidArgument'],
    ['nothing to do', whole(rule('')), 'InvalidRequest'],
    ['criteria beside And', filtered('<Prefix>a</Prefix><And><Prefix>a</Prefix><ObjectSizeLessThan>1</ObjectSizeLessThan></And>'), 'MalformedXML'],
    ['And of one', filtered('<And><Prefix>a</Prefix></And>'), 'MalformedXML'],
    [
      'sizes that exclude each other',
      filtered('<And><ObjectSizeGreaterThan>9</ObjectSizeGreaterThan><ObjectSizeLessThan>9</ObjectSizeLessThan></And>'),
      'InvalidArgument',
    ],
    [
      'markers by tag',
      filtered('<Tag><Key>a</Key><Value>b</Value></Tag>', '<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>'),
      'InvalidRequest',
    ],
    [
      'uploads by tag',
      filtered(
        '<Tag><Key>a</Key><Value>b</Value></Tag>',
        '<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>',
      ),
      'InvalidRequest',
    ],
    [
      'newer versions alone',
      whole(rule('<NoncurrentVersionExpiration><NewerNoncurrentVersions>1</NewerNoncurrentVersions></NoncurrentVersionExpiration>')),
      'MalformedXML',
    ],
    [
      'a transition with a bad date',
      whole(rule(`${expires}<Transition><Date>20220927</Date><StorageClass>GLACIER</StorageClass></Transition>`)),
      'MalformedXML',
    ],
    ['a transition', whole(rule(`${expires}<Transition><Days>1</Days><StorageClass>GLACIER</StorageClass></Transition>`)), 'NotImplemented'],
  ])('refuses %s', async (_, document, code) => expect(await codeOf(() => lifecycleOf(document))).toBe(code));
});

describe('CORS', () => {
  const whole = (inner: string): Buffer => bytes(`<CORSConfiguration><CORSRule>${inner}</CORSRule></CORSConfiguration>`);
  const good = '<AllowedOrigin>*.get</AllowedOrigin><AllowedMethod>GET</AllowedMethod>';

  test('comes back as it was', () => {
    const rules = corsOf(
      whole(
        `<ID>x</ID>${good}<AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>9</MaxAgeSeconds>`,
      ),
    );
    expect(rules).toEqual([
      { id: 'x', allowedOrigins: ['*.get'], allowedMethods: ['GET', 'PUT'], allowedHeaders: ['x-amz-*'], exposeHeaders: ['ETag'], maxAgeSeconds: 9 },
    ]);
    expect(corsOf(bytes(corsXml(rules)))).toEqual(rules);
  });

  test.each<[string, Buffer, string]>([
    ['no rule', bytes('<CORSConfiguration/>'), 'MalformedXML'],
    ['no origin', whole('<AllowedMethod>GET</AllowedMethod>'), 'MalformedXML'],
    ['no method', whole('<AllowedOrigin>*</AllowedOrigin>'), 'MalformedXML'],
    ['an unknown method', whole(`${good}<AllowedMethod>PATCH</AllowedMethod>`), 'InvalidRequest'],
    ['two stars', whole(`${good}<AllowedOrigin>*a*</AllowedOrigin>`), 'InvalidRequest'],
    ['a header with a line end', whole(`${good}<ExposeHeader>a&#10;b</ExposeHeader>`), 'InvalidRequest'],
    ['a star to expose', whole(`${good}<ExposeHeader>*</ExposeHeader>`), 'InvalidRequest'],
  ])('refuses %s', async (_, document, code) => expect(await codeOf(() => corsOf(document))).toBe(code));
});

describe('object lock', () => {
  const whole = (inner: string, enabled = 'Enabled'): Buffer =>
    bytes(`<ObjectLockConfiguration><ObjectLockEnabled>${enabled}</ObjectLockEnabled>${inner}</ObjectLockConfiguration>`);
  const rule = (inner: string): string => `<Rule><DefaultRetention>${inner}</DefaultRetention></Rule>`;

  test('comes back as it was', () => {
    for (const inner of ['', rule('<Mode>GOVERNANCE</Mode><Days>1</Days>'), rule('<Mode>COMPLIANCE</Mode><Years>1</Years>')]) {
      const lock = lockDefaultOf(whole(inner));
      expect(lockDefaultOf(bytes(lockDefaultXml(lock)))).toEqual(lock);
    }
  });

  test.each<[string, Buffer, string]>([
    ['days and years', whole(rule('<Mode>GOVERNANCE</Mode><Days>1</Days><Years>1</Years>')), 'MalformedXML'],
    ['neither', whole(rule('<Mode>GOVERNANCE</Mode>')), 'MalformedXML'],
    ['no days', whole(rule('<Mode>GOVERNANCE</Mode><Days>0</Days>')), 'InvalidRetentionPeriod'],
    ['negative years', whole(rule('<Mode>GOVERNANCE</Mode><Years>-1</Years>')), 'InvalidRetentionPeriod'],
    ['a mode in lower case', whole(rule('<Mode>governance</Mode><Years>1</Years>')), 'MalformedXML'],
    ['another status', whole(rule('<Mode>GOVERNANCE</Mode><Years>1</Years>'), 'Disabled'), 'MalformedXML'],
  ])('refuses %s', async (_, document, code) => expect(await codeOf(() => lockDefaultOf(document))).toBe(code));
});

describe('tags', () => {
  const tag = (key: string, value: string): string => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`;
  const whole = (...tags: string[]): Buffer => bytes(`<Tagging><TagSet>${tags.join('')}</TagSet></Tagging>`);
  const read = (...tags: string[]) => taggingOf(whole(...tags), MOST_OBJECT_TAGS);

  test('come back as they were', () => {
    for (const tags of [{}, { Hello: 'World' }, { a: '', 'b c': '1/2=3' }] as Record<string, string>[])
      expect(taggingOf(bytes(taggingXml(tags)), MOST_OBJECT_TAGS)).toEqual(tags);
    expect(tagsOfHeader('foo=bar&bar&a+b=c%2Fd')).toEqual({ foo: 'bar', bar: '', 'a b': 'c/d' });
    expect(Object.keys(read(tag('__proto__', 'x')))).toEqual(['__proto__']);
  });

  test.each<[string, () => unknown, string]>([
    ['eleven', () => read(...Array.from({ length: 11 }, (_, index) => tag(`k${index}`, 'v'))), 'InvalidTag'],
    ['a long key', () => read(tag('k'.repeat(129), 'v')), 'InvalidTag'],
    ['a long value', () => read(tag('k', 'v'.repeat(257))), 'InvalidTag'],
    ['no key', () => read(tag('', 'v')), 'InvalidTag'],
    ['a key twice', () => read(tag('k', 'v'), tag('k', 'w')), 'InvalidTag'],
    ['a key of the system', () => read(tag('aws:k', 'v')), 'InvalidTag'],
    ['no set', () => taggingOf(bytes('<Tagging/>'), 10), 'MalformedXML'],
    ['a header that is not encoded', () => tagsOfHeader('a=%zz'), 'InvalidArgument'],
  ])('refuse %s', async (_, work, code) => expect(await codeOf(work)).toBe(code));
});

describe('ACLs', () => {
  const subject = { kind: 'object', owner: 'tnt-1', bucketOwner: 'tnt-2' } as const;

  test('come back as they were', async () => {
    const names = ['private', 'public-read', 'public-read-write', 'authenticated-read', 'bucket-owner-read', 'bucket-owner-full-control'];
    for (const name of names) {
      const acl = cannedAcl(name, subject);
      expect(await aclFromXml(service, bytes(await aclXml(service, acl)), subject)).toEqual(acl);
    }
    const log = cannedAcl('log-delivery-write', { kind: 'bucket', owner: 'tnt-1', bucketOwner: 'tnt-1' });
    expect(await aclXml(service, log)).toContain('http://acs.amazonaws.com/groups/s3/LogDelivery');
    expect(await aclXml(service, log)).toContain('<ID>tnt-1</ID><DisplayName>acme</DisplayName>');
  });

  test('from headers', async () => {
    const headers = { 'x-amz-grant-read': 'id="tnt-2", uri=http://acs.amazonaws.com/groups/global/AllUsers', 'x-amz-grant-full-control': 'ID=tnt-1' };
    expect(await aclFromHeaders(service, headers, subject)).toEqual({
      owner: 'tnt-1',
      grants: [
        { grantee: { kind: 'tenant', id: 'tnt-2' }, permission: 'READ' },
        { grantee: { kind: 'all-users' }, permission: 'READ' },
        { grantee: { kind: 'tenant', id: 'tnt-1' }, permission: 'FULL_CONTROL' },
      ],
    });
    expect(await aclFromHeaders(service, {}, subject)).toBeUndefined();
  });

  const grant = (grantee: string, permission = 'READ'): Buffer =>
    bytes(
      `<AccessControlPolicy xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><Owner><ID>tnt-1</ID></Owner><AccessControlList><Grant>${grantee}<Permission>${permission}</Permission></Grant></AccessControlList></AccessControlPolicy>`,
    );
  test.each<[string, () => unknown, string]>([
    ['an unknown name', () => cannedAcl('public', subject), 'InvalidArgument'],
    ['both', () => aclFromHeaders(service, { 'x-amz-acl': 'private', 'x-amz-grant-read': 'id=tnt-1' }, subject), 'InvalidRequest'],
    ['a header of another form', () => aclFromHeaders(service, { 'x-amz-grant-read': 'tnt-1' }, subject), 'InvalidArgument'],
    ['an account that there is not', () => aclFromXml(service, grant('<Grantee xsi:type="CanonicalUser"><ID>_foo</ID></Grantee>'), subject), 'InvalidArgument'],
    [
      'an address',
      () => aclFromXml(service, grant('<Grantee xsi:type="AmazonCustomerByEmail"><EmailAddress>a@b</EmailAddress></Grantee>'), subject),
      'UnresolvableGrantByEmailAddress',
    ],
    [
      'a group that there is not',
      () => aclFromXml(service, grant('<Grantee xsi:type="Group"><URI>http://example.com</URI></Grantee>'), subject),
      'InvalidArgument',
    ],
    [
      'a permission that there is not',
      () => aclFromXml(service, grant('<Grantee xsi:type="CanonicalUser"><ID>tnt-1</ID></Grantee>', 'ALL'), subject),
      'MalformedACLError',
    ],
    ['no type', () => aclFromXml(service, grant('<Grantee><ID>tnt-1</ID></Grantee>'), subject), 'MalformedACLError'],
    [
      'another owner',
      () => aclFromXml(service, grant('<Grantee xsi:type="CanonicalUser"><ID>tnt-1</ID></Grantee>'), { ...subject, owner: 'tnt-2' }),
      'AccessDenied',
    ],
  ])('refuse %s', async (_, work, code) => expect(await codeOf(work)).toBe(code));

  test('say who owns a new object', async () => {
    const made = (ownership: Bucket['config']['ownership'], acl: string | undefined, tenantId = 'tnt-2') =>
      newObjectAcl(service, bucket(ownership === undefined ? {} : { ownership }), { tenantId }, acl === undefined ? {} : { 'x-amz-acl': acl });
    expect(await made(undefined, undefined)).toEqual({ owner: 'tnt-2', acl: undefined });
    expect(await made(undefined, undefined, '')).toEqual({ owner: 'tnt-1', acl: undefined });
    expect((await made('ObjectWriter', 'bucket-owner-full-control')).owner).toBe('tnt-2');
    expect(await made('BucketOwnerPreferred', 'bucket-owner-full-control')).toEqual({ owner: 'tnt-1', acl: privateAcl('tnt-1') });
    expect((await made('BucketOwnerPreferred', undefined)).owner).toBe('tnt-2');
    expect(await made('BucketOwnerEnforced', undefined)).toEqual({ owner: 'tnt-1', acl: undefined });
    expect(await made('BucketOwnerEnforced', 'bucket-owner-full-control')).toEqual({ owner: 'tnt-1', acl: undefined });
    expect(await codeOf(() => made('BucketOwnerEnforced', 'public-read'))).toBe('AccessControlListNotSupported');
    const blocked = bucket({ publicAccessBlock: { blockPublicAcls: true, ignorePublicAcls: false, blockPublicPolicy: false, restrictPublicBuckets: false } });
    expect(await codeOf(() => newObjectAcl(service, blocked, { tenantId: 'tnt-1' }, { 'x-amz-acl': 'authenticated-read' }))).toBe('AccessDenied');
  });
});

describe('public access', () => {
  const block = { blockPublicAcls: true, ignorePublicAcls: false, blockPublicPolicy: true, restrictPublicBuckets: false };
  const policy = (more: object): string =>
    JSON.stringify({
      Version: '2012-10-17',
      Statement: { Effect: 'Allow', Principal: '*', Action: 's3:GetObject', Resource: 'arn:aws:s3:::photos/*', ...more },
    });

  test('the block comes back as it was; what it does not say is off', () => {
    expect(publicAccessBlockOf(parseXml(bytes(publicAccessBlockXml(block)), { root: 'PublicAccessBlockConfiguration' }))).toEqual(block);
    const empty = parseXml(bytes('<PublicAccessBlockConfiguration/>'), { root: 'PublicAccessBlockConfiguration' });
    expect(Object.values(publicAccessBlockOf(empty))).toEqual([false, false, false, false]);
  });

  test('the block refuses', async () => {
    const acl: Acl = cannedAcl('authenticated-read', { kind: 'bucket', owner: 'tnt-1', bucketOwner: 'tnt-1' });
    expect(await codeOf(() => refusePublicAcl(bucket({ publicAccessBlock: block }), acl))).toBe('AccessDenied');
    expect(await codeOf(() => refusePublicAcl(bucket(), acl))).toBe('none');
    expect(await codeOf(() => readAllowedPolicy(bucket({ publicAccessBlock: block }), policy({})))).toBe('AccessDenied');
    expect(await codeOf(() => readAllowedPolicy(bucket({ publicAccessBlock: block }), policy({ Principal: { AWS: 'tnt-2' } })))).toBe('none');
    expect(await codeOf(() => readAllowedPolicy(bucket(), policy({})))).toBe('none');
  });

  test.each<[string, boolean, object]>([
    ['everybody', true, {}],
    ['everybody, in a list', true, { Principal: { AWS: ['tnt-2', '*'] } }],
    ['an account', false, { Principal: { AWS: 'tnt-2' } }],
    ['a Deny', false, { Effect: 'Deny' }],
    ['an address', false, { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/32' } } }],
    ['all addresses', true, { Condition: { IpAddress: { 'aws:SourceIp': '0.0.0.0/0' } } }],
    ['half of all', true, { Condition: { IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '128.0.0.0/1'] } } }],
    ['not an address', true, { Condition: { NotIpAddress: { 'aws:SourceIp': '10.0.0.0/8' } } }],
    ['an account that is said by a condition', false, { Condition: { StringEquals: { 'aws:PrincipalAccount': 'tnt-2' } } }],
    ['some account', true, { Condition: { StringLike: { 'aws:PrincipalAccount': 'tnt-*' } } }],
    ['who does not say it', true, { Condition: { StringEqualsIfExists: { 'aws:PrincipalAccount': 'tnt-2' } } }],
    ['a referer', true, { Condition: { StringLike: { 'aws:Referer': 'http://example.com/' } } }],
  ])('%s: %s', (_, expected, more) => expect(isPublicPolicy(readPolicy('photos', policy(more)))).toBe(expected));

  test.each<[string, string]>([
    ['no JSON', '{'],
    ['no object', '[]'],
    ['another bucket', policy({ Resource: 'arn:aws:s3:::other/*' })],
    ['everything', policy({ Resource: '*' })],
    ['no bucket', policy({ Resource: 'arn:aws:s3:::' })],
    ['another kind of ARN', policy({ Resource: 'arn:aws:sqs:::photos' })],
    ['an action of another service', policy({ Action: 'sqs:*' })],
    ['an unknown action', policy({ Action: 's3:GetObjekt' })],
    ['an unknown key', policy({ Condition: { StringEquals: { 's3:prefiks': 'a' } } })],
    ['an unknown operator', policy({ Condition: { StringEqual: { 's3:prefix': 'a' } } })],
    ['an unknown service', policy({ Principal: { Service: 'ec2.amazonaws.com' } })],
    ['a role', policy({ Principal: { AWS: 'arn:aws:iam::tnt-1:role/x' } })],
    ['a pattern of users', policy({ Principal: { AWS: 'arn:aws:iam::tnt-1:user/*' } })],
    ['all but some', policy({ Principal: undefined, NotPrincipal: { AWS: 'tnt-2' } })],
    ['too long', policy({ Sid: 'a'.repeat(128), Resource: Array.from({ length: 400 }, (_, index) => `arn:aws:s3:::photos/${'x'.repeat(60)}${index}`) })],
  ])('a policy is refused: %s', async (_, text) => expect(await codeOf(() => readPolicy('photos', text))).toBe('MalformedPolicy'));

  test.each(['arn:aws:s3:::*', 'arn:aws:s3:::pho*/*', 'arn:aws:s3:::photos/${aws:username}/*'])('a policy may name %s', (Resource) => {
    expect(readPolicy('photos', policy({ Resource })).statements).toHaveLength(1);
  });
});
