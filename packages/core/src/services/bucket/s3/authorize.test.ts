// Who may do what over S3: a table of requests, as AWS's documentation decides them, and what is written down of refusals.
import { describe, expect, test } from 'vitest';
import { contextOf, crn, decide, type Principal } from '../../../kernel/authorize.ts';
import { type CompiledPolicy, compilePolicy, vocabularyOf } from '../../../kernel/policy/index.ts';
import type { AccessQuestion, ServiceContext } from '../../../kernel/service.ts';
import { buckets } from '../contract.ts';
import type { BucketConfig } from '../engine/config.ts';
import type { Acl, Bucket } from '../engine/types.ts';
import { objects } from '../object-contract.ts';
import { cannedAcl, privateAcl } from './acl.ts';
import { s3Actions } from './actions.ts';
import { allows, authorize, deniedByPolicy } from './authorize.ts';
import { type Demand, type S3Context, S3Error, type S3Request } from './types.ts';

const OWNER = 'tnt-owner';
const OTHER = 'tnt-other';
const contracts = [buckets, objects];
const vocabulary = vocabularyOf(contracts);

interface Person extends Principal {
  policies?: CompiledPolicy[];
  bounds?: CompiledPolicy[];
}
const person = (id: string, tenantId: string, role: string | undefined, more: Partial<Person> = {}): Person => ({
  id,
  name: `${id}@example.com`,
  kind: 'user',
  tenantId,
  roles: role === undefined ? {} : { [tenantId]: [role] },
  ...more,
});
const identity = (...statements: unknown[]): CompiledPolicy[] => [compilePolicy('p', 'p', { Version: '2012-10-17', Statement: statements }, vocabulary)];

const admin = person('admin', OWNER, 'admin');
const developer = person('dev', OWNER, 'developer');
const viewer = person('viewer', OWNER, 'viewer');
const nothing = person('nothing', OWNER, undefined);
const stranger = person('stranger', OTHER, 'admin');
const idle = person('idle', OTHER, undefined);
const watching = person('watching', OTHER, 'viewer');

const notes: Parameters<ServiceContext['audit']['note']>[0][] = [];
const service = {
  clock: { now: () => Date.UTC(2026, 0, 31, 12) },
  log: { error: () => undefined },
  audit: { note: async (line: (typeof notes)[number]) => void notes.push(line) },
  access: {
    rule: async (principal: Person, tenantId: string, { permission, target, source }: AccessQuestion) => {
      const [resource = '', operation = ''] = permission.split(':');
      const found = contracts.find((contract) => contract.resource.name === resource);
      const onlyReads = (found?.operations as Record<string, { onlyReads: boolean }> | undefined)?.[operation]?.onlyReads;
      if (found === undefined || onlyReads === undefined) throw new Error(`no operation ${permission}`);
      const grants = { roles: principal.roles[tenantId] ?? [], permits: () => false, policies: principal.policies ?? [], bounds: principal.bounds };
      const context = contextOf({
        ...{ principal, source, tenant: { id: tenantId, name: tenantId }, now: 0 },
        ...{ requestLabels: undefined, resourceLabels: undefined },
      });
      const question = { permission, onlyReads, restricted: found.resource.restricted, resources: [crn(tenantId, resource, target ?? '*')], context };
      return { ruling: decide(grants, question), grants, question };
    },
  },
} as unknown as ServiceContext;
const context = { service, region: 'us-east-1' } as unknown as S3Context;

const bucketWith = (config: BucketConfig = {}): Bucket => ({
  ...{ id: 'bkt-1', name: 'photos', tenantId: OWNER, createdAt: 0, versioning: 'off', objectLock: false, encrypted: true },
  ...{ maxBytes: undefined, maxObjects: undefined, auditReads: false, config },
});
/** One statement or several, as a document. */
const policy = (...statements: Record<string, unknown>[]): string => JSON.stringify({ Version: '2012-10-17', Statement: statements });
const BUCKET = 'arn:aws:s3:::photos';
const OBJECTS = 'arn:aws:s3:::photos/*';
const allow = (Action: string | string[], more: Record<string, unknown> = {}) => ({
  Effect: 'Allow',
  Principal: '*',
  Action,
  Resource: [BUCKET, OBJECTS],
  ...more,
});
const deny = (Action: string | string[], more: Record<string, unknown> = {}) => ({ ...allow(Action, more), Effect: 'Deny' });

interface Asked extends Partial<Omit<Demand, 'bucket'>> {
  who?: Person | undefined;
  config?: BucketConfig;
  headers?: Record<string, string>;
  query?: Record<string, string>;
  source?: string;
  /** Of the object that is there; null: there is none. */
  there?: { owner?: string; acl?: Acl; tags?: Record<string, string> } | null;
}
function requestOf({ who, headers = {}, query = {}, source = '203.0.113.7', key }: Asked): S3Request {
  const request: Partial<S3Request> = {
    ...{ requestId: 'req-1', method: 'GET', bucketName: 'photos', key, query: new Map(Object.entries(query)), headers, source, secure: false, decided: false },
    caller: {
      principal: who,
      tenantId: who?.tenantId ?? '',
      tenantName: '',
      accessKeyId: who && 'AKIA',
      authType: who === undefined ? 'ANONYMOUS' : 'REST-HEADER',
    },
  };
  return request as S3Request;
}
function demandOf({ config, there, action = 's3:GetObject', key, context: more }: Asked): Demand & { bucket: Bucket } {
  const owner = there?.owner ?? OWNER;
  const facts = { owner, acl: there?.acl ?? privateAcl(owner), tags: there?.tags ?? {} };
  return { action, bucket: bucketWith(config), key, context: more, object: there === undefined ? undefined : async () => (there === null ? undefined : facts) };
}
const may = (asked: Asked): Promise<boolean> => allows(requestOf(asked), context, demandOf(asked));
const get = (asked: Asked): Promise<boolean> => may({ action: 's3:GetObject', key: 'a.jpg', there: {}, ...asked });
const list = (asked: Asked): Promise<boolean> => may({ action: 's3:ListBucket', ...asked });
const put = (asked: Asked): Promise<boolean> => may({ action: 's3:PutObject', key: 'a.jpg', ...asked });
/** Each by its name. */
const all = async (of: (asked: Asked) => Promise<boolean>, people: (Person | undefined)[], asked: Asked = {}): Promise<Record<string, boolean>> =>
  Object.fromEntries(await Promise.all(people.map(async (who) => [who?.id ?? 'anybody', await of({ ...asked, who })])));
const PEOPLE = [admin, developer, viewer, nothing, stranger, idle, watching, undefined];

describe('without policy and ACL', () => {
  test('roles of the bucket’s tenant decide, and nobody else may anything', async () => {
    const nobody = { nothing: false, stranger: false, idle: false, watching: false, anybody: false };
    expect(await all(get, PEOPLE)).toEqual({ admin: true, dev: true, viewer: true, ...nobody });
    expect(await all(list, PEOPLE)).toEqual({ admin: true, dev: true, viewer: true, ...nobody });
    expect(await all(put, PEOPLE)).toEqual({ admin: true, dev: true, viewer: false, ...nobody });
  });

  test('policies of the caller may be for some keys', async () => {
    const some = person('some', OWNER, undefined, {
      policies: identity({ Effect: 'Allow', Action: 'object:get', Resource: `crn:cloud:${OWNER}:object:object/photos/public/*` }),
    });
    expect(await get({ who: some, key: 'public/a' })).toBe(true);
    expect(await get({ who: some, key: 'private/a' })).toBe(false);
  });

  test('every action asks for a permission that there is', async () => {
    for (const action of s3Actions.keys()) expect(await may({ who: admin, action, key: 'a', there: {} }), action).toBe(true);
  });

  test('what nobody looks at costs no look at the object', async () => {
    const demand = { action: 's3:GetObject', bucket: bucketWith(), key: 'a', object: () => Promise.reject(new Error('not to be read')) };
    await expect(allows(requestOf({ who: developer, key: 'a' }), context, demand)).resolves.toBe(true);
  });
});

describe('a bucket policy', () => {
  test('that allows everybody: strangers need their own tenant to let them', async () => {
    const config = { policy: policy(allow('s3:GetObject')) };
    expect(await all(get, PEOPLE, { config })).toEqual({
      ...{ admin: true, dev: true, viewer: true, nothing: true, stranger: true, idle: false, watching: true, anybody: true },
    });
    expect(await all(list, [stranger, undefined], { config })).toEqual({ stranger: false, anybody: false });
  });

  test('that names an account is about all in it, as far as that lets them', async () => {
    for (const Principal of [{ AWS: OTHER }, { AWS: `arn:aws:iam::${OTHER}:root` }, { CanonicalUser: OTHER }]) {
      const config = { policy: policy(allow('s3:PutObject', { Principal })) };
      expect(await all(put, [stranger, idle, watching, nothing, undefined], { config })).toEqual({
        ...{ stranger: true, idle: false, watching: false, nothing: false, anybody: false },
      });
    }
  });

  test('that names the owner’s own account gives nobody in it more than they have', async () => {
    const config = { policy: policy(allow('s3:PutObject', { Principal: { AWS: OWNER } })) };
    expect(await all(put, [viewer, nothing, developer], { config })).toEqual({ viewer: false, nothing: false, dev: true });
  });

  test('that names a user, by name or id, is enough in its own account', async () => {
    for (const name of ['nothing', 'nothing@example.com', 'people/nothing@example.com']) {
      const config = { policy: policy(allow('s3:PutObject', { Principal: { AWS: `arn:aws:iam::${OWNER}:user/${name}` } })) };
      expect(await all(put, [nothing, viewer], { config })).toEqual({ nothing: true, viewer: false });
    }
    const elsewhere = { policy: policy(allow('s3:PutObject', { Principal: { AWS: `arn:aws:iam::${OTHER}:user/nothing` } })) };
    expect(await put({ who: nothing, config: elsewhere })).toBe(false);
  });

  test('that denies wins over everything, also for administrators', async () => {
    const config = { policy: policy(allow('s3:*'), deny('s3:GetObject')), acl: cannedAcl('public-read', { kind: 'bucket', owner: OWNER, bucketOwner: OWNER }) };
    expect(Object.values(await all(get, PEOPLE, { config })).includes(true)).toBe(false);
    expect(await list({ who: undefined, config })).toBe(true);
  });

  test('is beaten by a Deny of the caller’s own, and by what the credential is bound to', async () => {
    const config = { policy: policy(allow('s3:*')) };
    const denied = person('denied', OWNER, 'admin', { policies: identity({ Effect: 'Deny', Action: 'object:get', Resource: '*' }) });
    const bound = person('bound', OWNER, 'admin', { bounds: identity({ Effect: 'Allow', Action: 'object:list', Resource: '*' }) });
    const narrow = person('narrow', OWNER, undefined, { policies: identity({ Effect: 'Allow', Action: 'object:list', Resource: '*' }) });
    expect(await all(get, [denied, bound, narrow], { config })).toEqual({ denied: false, bound: false, narrow: true });
  });

  test('that locks everybody out can be mended by administrators of its tenant, and by nobody else', async () => {
    const config = { policy: policy(deny('s3:*')) };
    for (const action of ['s3:GetBucketPolicy', 's3:PutBucketPolicy', 's3:DeleteBucketPolicy'])
      expect(await all((asked) => may({ ...asked, action }), PEOPLE, { config }), action).toEqual({
        ...{ admin: true, dev: false, viewer: false, nothing: false, stranger: false, idle: false, watching: false, anybody: false },
      });
    expect(await may({ who: admin, action: 's3:PutBucketAcl', config })).toBe(false);
  });

  test('is about the bucket or about keys, as it says', async () => {
    const config = { policy: policy(allow('s3:*', { Resource: 'arn:aws:s3:::photos/public/*' })) };
    expect(await get({ who: undefined, key: 'public/a', config })).toBe(true);
    expect(await get({ who: undefined, key: 'private/a', config })).toBe(false);
    expect(await list({ who: undefined, config })).toBe(false);
    expect(await put({ who: undefined, key: 'a', config: { policy: policy(allow('s3:PutObject', { Resource: BUCKET })) } })).toBe(false);
  });

  test('that cannot be read any more denies, and can be mended', async () => {
    const config = { policy: '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:Later","Resource":"arn:aws:s3:::photos"}]}' };
    expect(await all(get, [admin, undefined], { config })).toEqual({ admin: false, anybody: false });
    expect(await may({ who: admin, action: 's3:PutBucketPolicy', config })).toBe(true);
  });

  test.each<[string, Record<string, unknown>, Asked, Asked]>([
    ['address', { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }, { source: '::ffff:10.1.2.3' }, { source: '192.0.2.1' }],
    ['TLS', { Bool: { 'aws:SecureTransport': 'false' } }, {}, { context: { 'aws:SecureTransport': true } }],
    [
      'referer',
      { StringLikeIfExists: { 'aws:Referer': 'http://www.example.com/*' } },
      { headers: { referer: 'http://www.example.com/a' } },
      { headers: { referer: 'http://example.com' } },
    ],
    ['user agent', { StringLike: { 'aws:UserAgent': 'aws-cli/*' } }, { headers: { 'user-agent': 'aws-cli/2' } }, {}],
    ['time', { DateLessThan: { 'aws:CurrentTime': '2026-02-01T00:00:00Z' } }, {}, { context: { 'aws:CurrentTime': '2026-03-01T00:00:00Z' } }],
    ['seconds', { NumericGreaterThan: { 'aws:EpochTime': 1_700_000_000 } }, {}, { context: { 'aws:EpochTime': 1 } }],
    ['ACL', { StringLike: { 's3:x-amz-acl': 'public*' } }, { headers: { 'x-amz-acl': 'public-read' } }, { headers: { 'x-amz-acl': 'private' } }],
    ['grant', { StringEquals: { 's3:x-amz-grant-full-control': 'id=x' } }, { headers: { 'x-amz-grant-full-control': 'id=x' } }, {}],
    [
      'source of a copy',
      { StringLike: { 's3:x-amz-copy-source': 'b/public/*' } },
      { headers: { 'x-amz-copy-source': '/b/public/a' } },
      { headers: { 'x-amz-copy-source': 'b/a' } },
    ],
    ['directive', { StringEquals: { 's3:x-amz-metadata-directive': 'COPY' } }, { headers: { 'x-amz-metadata-directive': 'COPY' } }, {}],
    ['encryption', { StringNotEquals: { 's3:x-amz-server-side-encryption': 'AES256' } }, {}, { headers: { 'x-amz-server-side-encryption': 'AES256' } }],
    ['no encryption', { Null: { 's3:x-amz-server-side-encryption': 'true' } }, {}, { headers: { 'x-amz-server-side-encryption': 'AES256' } }],
    ['class', { StringEquals: { 's3:x-amz-storage-class': 'STANDARD' } }, { headers: { 'x-amz-storage-class': 'STANDARD' } }, {}],
    [
      'tag of the object',
      { StringEquals: { 's3:ExistingObjectTag/security': 'public' } },
      { there: { tags: { security: 'public' } } },
      { there: { tags: { Security: 'public' } } },
    ],
    ['tag of the request', { StringEquals: { 's3:RequestObjectTag/a': '1' } }, { context: { 's3:RequestObjectTag/a': '1' } }, {}],
    [
      'keys of tags',
      { 'ForAllValues:StringLike': { 's3:RequestObjectTagKeys': ['a', 'b'] } },
      { context: { 's3:RequestObjectTagKeys': ['a'] } },
      { context: { 's3:RequestObjectTagKeys': ['a', 'c'] } },
    ],
    ['version', { StringEquals: { 's3:VersionId': 'v1' } }, { query: { versionId: 'v1' } }, { query: { versionId: 'v2' } }],
    [
      'lock',
      { NumericLessThan: { 's3:object-lock-remaining-retention-days': '10' } },
      { headers: { 'x-amz-object-lock-retain-until-date': '2026-02-05T00:00:00Z' } },
      { headers: { 'x-amz-object-lock-retain-until-date': '2026-03-05T00:00:00Z' } },
    ],
    ['signature', { StringEquals: { 's3:authType': 'REST-HEADER' } }, { who: stranger }, { who: undefined }],
    [
      'age',
      { NumericLessThan: { 's3:signatureAge': 600_000 } },
      { who: stranger, headers: { 'x-amz-date': '20260131T115500Z' } },
      { who: stranger, headers: { 'x-amz-date': '20260131T114500Z' } },
    ],
    ['name', { StringLike: { 'aws:username': 'stranger@*' } }, { who: stranger }, { who: undefined }],
    ['ARN', { ArnLike: { 'aws:PrincipalArn': `arn:aws:iam::${OTHER}:user/str*` } }, { who: stranger }, { who: undefined }],
    ['account', { StringEquals: { 'aws:PrincipalAccount': OTHER } }, { who: stranger }, { who: undefined }],
    ['owner', { StringEquals: { 's3:ResourceAccount': OWNER } }, {}, { context: { 's3:ResourceAccount': 'x' } }],
  ])('may look at: %s', async (_, Condition, holds, not) => {
    const config = { policy: policy(allow('s3:PutObject', { Condition })) };
    expect(await put({ there: {}, ...holds, config })).toBe(true);
    expect(await put({ there: {}, ...not, config })).toBe(false);
  });

  test('may look at prefix, delimiter and size of a list, and at variables', async () => {
    const config = {
      policy: policy(allow('s3:ListBucket', { Condition: { StringLike: { 's3:prefix': '${aws:username}/*' }, NumericLessThanEquals: { 's3:max-keys': 10 } } })),
    };
    expect(await list({ who: stranger, config, query: { prefix: 'stranger@example.com/a', 'max-keys': '10' } })).toBe(true);
    expect(await list({ who: stranger, config, query: { prefix: 'stranger@example.com/a', 'max-keys': '11' } })).toBe(false);
    expect(await list({ who: stranger, config, query: { prefix: 'other/', 'max-keys': '10' } })).toBe(false);
    expect(await list({ config, query: { prefix: '*/', 'max-keys': '1' } })).toBe(false);
  });
});

describe('an ACL', () => {
  const ofBucket = (name: string): BucketConfig => ({ acl: cannedAcl(name, { kind: 'bucket', owner: OWNER, bucketOwner: OWNER }) });
  const ofObject = (name: string, owner = OWNER) => ({ owner, acl: cannedAcl(name, { kind: 'object', owner, bucketOwner: OWNER }) });

  test('of the bucket gives lists and writes, and nothing of the objects', async () => {
    expect(await all(list, [stranger, idle, undefined, nothing], { config: ofBucket('public-read') })).toEqual({
      stranger: true,
      idle: false,
      anybody: true,
      nothing: true,
    });
    expect(await all(get, [stranger, undefined], { config: ofBucket('public-read-write') })).toEqual({ stranger: false, anybody: false });
    expect(await all(put, [stranger, undefined], { config: ofBucket('public-read-write') })).toEqual({ stranger: true, anybody: true });
    expect(await all(put, [stranger, undefined], { config: ofBucket('public-read') })).toEqual({ stranger: false, anybody: false });
    expect(await all(list, [stranger, undefined], { config: ofBucket('authenticated-read') })).toEqual({ stranger: true, anybody: false });
  });

  test('of the object gives the object', async () => {
    expect(await all(get, [stranger, undefined], { there: ofObject('public-read') })).toEqual({ stranger: true, anybody: true });
    expect(await all((asked) => may({ ...asked, action: 's3:GetObjectAcl', key: 'a' }), [stranger], { there: ofObject('public-read') })).toEqual({
      stranger: false,
    });
  });

  test('to one account', async () => {
    const acl: Acl = { owner: OWNER, grants: [{ grantee: { kind: 'tenant', id: OTHER }, permission: 'FULL_CONTROL' }] };
    for (const action of ['s3:ListBucket', 's3:GetBucketAcl', 's3:PutBucketAcl']) {
      expect(await all((asked) => may({ ...asked, action }), [stranger, idle, undefined, nothing], { config: { acl } })).toEqual({
        ...{ stranger: true, idle: false, anybody: false, nothing: false },
      });
    }
    expect(await may({ who: stranger, action: 's3:PutBucketPolicy', config: { acl } })).toBe(false);
  });

  test('says nothing where the owner is enforced', async () => {
    const config: BucketConfig = { ...ofBucket('public-read-write'), ownership: 'BucketOwnerEnforced' };
    expect(await all(list, [stranger, undefined, developer], { config })).toEqual({ stranger: false, anybody: false, dev: true });
    expect(await all(get, [stranger, developer], { config, there: ofObject('public-read', OTHER) })).toEqual({ stranger: false, dev: true });
  });

  test('an object of another account is that account’s', async () => {
    const config = ofBucket('public-read-write');
    const there = { owner: OTHER, acl: privateAcl(OTHER) };
    expect(await all(get, [developer, admin, stranger, undefined], { config, there })).toEqual({ dev: false, admin: false, stranger: true, anybody: false });
    expect(await get({ who: developer, config, there: ofObject('bucket-owner-read', OTHER) })).toBe(true);
    expect(await get({ who: undefined, config: { ...config, policy: policy(allow('s3:GetObject')) }, there })).toBe(false);
    expect(await get({ who: stranger, config: { ...config, policy: policy(deny('s3:GetObject')) }, there })).toBe(false);
    expect(await may({ who: developer, action: 's3:DeleteObject', key: 'a', config, there })).toBe(true);
  });

  test('uploads are also those of whom began them', async () => {
    const config = ofBucket('public-read-write');
    const abort = (asked: Asked) => may({ ...asked, action: 's3:AbortMultipartUpload', key: 'a', config });
    expect(await all(abort, [developer, stranger, idle, undefined], { there: { owner: OTHER } })).toEqual({
      dev: true,
      stranger: true,
      idle: false,
      anybody: false,
    });
    expect(await all(abort, [stranger], { there: { owner: OWNER } })).toEqual({ stranger: false });
  });
});

describe('the public access block', () => {
  const block = (more: Partial<NonNullable<BucketConfig['publicAccessBlock']>>): BucketConfig => ({
    publicAccessBlock: { blockPublicAcls: false, ignorePublicAcls: false, blockPublicPolicy: false, restrictPublicBuckets: false, ...more },
  });
  const acl = cannedAcl('public-read', { kind: 'bucket', owner: OWNER, bucketOwner: OWNER });

  test('ignores what ACLs give to everybody, and nothing else', async () => {
    const config = { ...block({ ignorePublicAcls: true }), acl };
    expect(await all(list, [stranger, undefined, developer], { config })).toEqual({ stranger: false, anybody: false, dev: true });
    const named: Acl = { owner: OWNER, grants: [...acl.grants, { grantee: { kind: 'tenant', id: OTHER }, permission: 'READ' }] };
    expect(await list({ who: stranger, config: { ...config, acl: named } })).toBe(true);
  });

  test('keeps a bucket with a public policy for its own account', async () => {
    const config = { ...block({ restrictPublicBuckets: true }), policy: policy(allow('s3:GetObject')) };
    expect(await all(get, [stranger, undefined, nothing], { config })).toEqual({ stranger: false, anybody: false, nothing: true });
    const named = { ...config, policy: policy(allow('s3:GetObject', { Principal: { AWS: OTHER } })) };
    expect(await get({ who: stranger, config: named })).toBe(true);
  });
});

describe('what is not there', () => {
  const refusal = async (asked: Asked): Promise<string> => {
    try {
      await authorize(requestOf(asked), context, demandOf({ key: 'public/a', there: null, ...asked }));
    } catch (error) {
      if (error instanceof S3Error) return `${error.status} ${error.code}`;
      throw error;
    }
    return 'allowed';
  };

  test('is known to who may list, with that prefix', async () => {
    const config = { policy: policy(allow('s3:ListBucket', { Condition: { StringLike: { 's3:prefix': 'public/*' } } })) };
    expect(await refusal({ who: stranger, config })).toBe('404 NoSuchKey');
    expect(await refusal({ who: stranger, config, key: 'private/a' })).toBe('403 AccessDenied');
    expect(await refusal({ who: developer, config })).toBe('allowed');
    expect(await refusal({ who: undefined, config: { policy: policy(allow('s3:GetObject')) } })).toBe('403 AccessDenied');
    expect(await refusal({ who: undefined, config: { policy: policy(allow(['s3:GetObject', 's3:ListBucket'])) } })).toBe('allowed');
    expect(await refusal({ who: undefined, config: { policy: policy(allow('s3:ListBucket'), deny('s3:GetObject')) } })).toBe('403 AccessDenied');
  });
});

describe('refusals', () => {
  const attempt = async (asked: Asked) => {
    notes.length = 0;
    const request = requestOf(asked);
    const outcome = await authorize(request, context, demandOf(asked)).then(
      () => 'allowed',
      () => 'refused',
    );
    return { outcome, decided: request.decided, notes: [...notes] };
  };

  test('of changes, and of strangers, are written down', async () => {
    const changed = await attempt({ who: viewer, action: 's3:PutObject', key: 'a' });
    expect(changed).toMatchObject({ outcome: 'refused', decided: false });
    expect(changed.notes).toMatchObject([
      { tenantId: OWNER, principal: 'viewer', permission: 'object:put', target: 'photos/a', outcome: 'forbidden', source: '203.0.113.7' },
    ]);
    expect((await attempt({ who: nothing, action: 's3:ListBucket' })).notes).toEqual([]);
    expect((await attempt({ who: stranger, action: 's3:ListBucket' })).notes).toMatchObject([{ tenantId: OWNER, principal: 'stranger' }]);
    expect(await attempt({ who: developer, action: 's3:ListBucket' })).toEqual({ outcome: 'allowed', decided: true, notes: [] });
  });

  test('of nobody in particular are a few lines', async () => {
    let lines = 0;
    for (let index = 0; index < 200; index++) lines += (await attempt({ source: '198.51.100.1', key: 'a', there: {} })).notes.length;
    expect(lines).toBe(60);
  });
});

test('a Deny holds for calls over the daemon, and can be mended there', async () => {
  const bucket = bucketWith({ policy: policy(deny('s3:*', { Condition: { StringNotEquals: { 's3:ExistingObjectTag/free': 'yes' } } })) });
  const asked = { principal: developer, tenantId: OWNER, administers: false, key: 'a' };
  expect(await deniedByPolicy(service, bucket, { ...asked, action: 's3:GetObject' })).toBe(true);
  expect(await deniedByPolicy(service, bucket, { ...asked, action: 's3:GetObject', tags: async () => ({ free: 'yes' }) })).toBe(false);
  expect(await deniedByPolicy(service, bucket, { ...asked, action: 's3:PutBucketPolicy' })).toBe(true);
  expect(await deniedByPolicy(service, bucket, { ...asked, principal: admin, administers: true, action: 's3:PutBucketPolicy' })).toBe(false);
  expect(await deniedByPolicy(service, bucketWith(), { ...asked, action: 's3:GetObject' })).toBe(false);
});
