// Buckets by an S3 client, two tenants of one installation: made, listed, configured, deleted; and by bare requests where clients would not ask.
import {
  CreateBucketCommand,
  type CreateBucketCommandInput,
  DeleteBucketCommand,
  DeleteBucketPolicyCommand,
  DeletePublicAccessBlockCommand,
  GetBucketAclCommand,
  GetBucketEncryptionCommand,
  GetBucketLocationCommand,
  GetBucketLoggingCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketOwnershipControlsCommand,
  GetBucketPolicyCommand,
  GetBucketPolicyStatusCommand,
  GetBucketRequestPaymentCommand,
  GetBucketTaggingCommand,
  GetBucketVersioningCommand,
  GetObjectLockConfigurationCommand,
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  type LoggingEnabled,
  PutBucketAccelerateConfigurationCommand,
  PutBucketAclCommand,
  PutBucketEncryptionCommand,
  PutBucketLoggingCommand,
  PutBucketNotificationConfigurationCommand,
  PutBucketOwnershipControlsCommand,
  PutBucketPolicyCommand,
  PutBucketTaggingCommand,
  PutBucketVersioningCommand,
  PutObjectCommand,
  PutObjectLockConfigurationCommand,
  PutPublicAccessBlockCommand,
  S3Client,
  S3ServiceException,
} from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Listening } from '../../../kernel/listener.ts';
import { type ServiceContext, service } from '../../../kernel/service.ts';
import { services } from '../../../services.ts';
import { type Bench, bench } from '../../../testing/bench.ts';
import { testContracts } from '../../../testing/gadget.ts';
import { engineOf } from '../engine/objects.ts';
import type { Bucket } from '../engine/types.ts';
import { s3KeysOf } from '../s3-keys.ts';
import { bucketRoutes, serviceRoutes } from './buckets.ts';
import { listenS3 } from './listen.ts';
import { createS3Server } from './server.ts';

const DEFAULT = 'tnt-0000000000000000';
let b: Bench;
let context: ServiceContext;
let listening: Listening;
let endpoint: string;
let own: S3Client;
let other: S3Client;
let otherTenant: string;
let count = 0;

const clientOf = async (tenant: string, at = endpoint): Promise<S3Client> => {
  const { accessKeyId, secretAccessKey } = await b.cloud.s3Key.create({ name: `key-${++count}` }, { tenant });
  return new S3Client({ endpoint: at, region: 'us-east-1', forcePathStyle: true, maxAttempts: 1, credentials: { accessKeyId, secretAccessKey } });
};

beforeAll(async () => {
  const watching = service(testContracts.plain, (given) => {
    context = given;
    return {};
  });
  b = await bench({ definitions: [...services, watching] });
  const server = createS3Server({
    context: { objects: engineOf(context), service: context, region: 'us-east-1' },
    keys: (accessKeyId) => s3KeysOf(context).keyOf(accessKeyId),
    routes: [...bucketRoutes, ...serviceRoutes],
  });
  listening = await server.listen({ host: '127.0.0.1', port: 0 });
  endpoint = `http://127.0.0.1:${listening.port}`;
  otherTenant = await b.tenant('other');
  [own, other] = [await clientOf('default'), await clientOf('other')];
});
afterAll(async () => {
  own.destroy();
  other.destroy();
  await listening.close();
  await b.close();
});

let name: string;
beforeEach(() => {
  name = `bucket-${++count}`;
});
const create = (more: Partial<CreateBucketCommandInput> = {}, client = own) => client.send(new CreateBucketCommand({ Bucket: name, ...more }));
const kept = async (): Promise<Bucket> => {
  const bucket = await engineOf(context).find(name);
  if (bucket === undefined) throw new Error(`no bucket ${name}`);
  return bucket;
};
/** `409 BucketNotEmpty`, or what came. */
async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof S3ServiceException) return `${error.$metadata.httpStatusCode} ${error.name}`;
    throw error;
  }
  return 'none';
}
const bare = async (path: string, init: RequestInit = {}): Promise<string> => {
  const response = await fetch(`${endpoint}${path}`, init);
  const [, code = ''] = /<Code>(\w+)<\/Code>/.exec(await response.text()) ?? [];
  return `${response.status} ${code}`.trim();
};
const policyOf = (...statements: object[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: statements.map((statement) => ({ Effect: 'Allow', Principal: '*', Resource: [`arn:aws:s3:::${name}`, `arn:aws:s3:::${name}/*`], ...statement })),
  });
const putPolicy = (...statements: object[]) => own.send(new PutBucketPolicyCommand({ Bucket: name, Policy: policyOf(...statements) }));

describe('a bucket', () => {
  test('is made, seen, and deleted, as a call of its maker', async () => {
    expect((await create()).Location).toBe(`/${name}`);
    expect(await b.cloud.bucket.get(name)).toMatchObject({ name, versioning: 'off', objectLock: false });
    expect(await own.send(new HeadBucketCommand({ Bucket: name }))).toMatchObject({ BucketRegion: 'us-east-1' });
    expect((await own.send(new GetBucketLocationCommand({ Bucket: name }))).LocationConstraint).toBeUndefined();
    await own.send(new DeleteBucketCommand({ Bucket: name }));
    expect(await refusal(own.send(new HeadBucketCommand({ Bucket: name })))).toBe('404 NotFound');
    expect(await refusal(own.send(new DeleteBucketCommand({ Bucket: name })))).toBe('404 NoSuchBucket');
    const lines = (await b.cloud.audit.list({})).items.filter(({ target }) => target === name);
    expect(lines.map(({ permission }) => permission).sort()).toEqual(['bucket:create', 'bucket:delete']);
    expect(lines[0]).toMatchObject({ principal: 'local', source: '127.0.0.1' });
  });

  test('made again is the same; with another ACL, or by another tenant, it is taken', async () => {
    await create({ ACL: 'public-read' });
    expect(await refusal(create())).toBe('409 BucketAlreadyExists');
    expect(await refusal(create({ ACL: 'public-read' }))).toBe('none');
    expect(await refusal(create({ ACL: 'public-read', ObjectLockEnabledForBucket: true }))).toBe('409 BucketAlreadyOwnedByYou');
    expect(await refusal(create({}, other))).toBe('409 BucketAlreadyExists');
  });

  test('of somebody else is closed', async () => {
    await create();
    expect(await refusal(other.send(new HeadBucketCommand({ Bucket: name })))).toMatch(/^403/);
    expect(await refusal(other.send(new DeleteBucketCommand({ Bucket: name })))).toBe('403 AccessDenied');
    expect(await bare(`/${name}?acl`)).toBe('403 AccessDenied');
    expect(await bare('/no-such-bucket?acl')).toBe('404 NoSuchBucket');
    expect(await bare(`/${name}-2`, { method: 'PUT', headers: { 'content-length': '0' } })).toBe('403 AccessDenied');
    expect(await refusal(own.send(new HeadBucketCommand({ Bucket: name, ExpectedBucketOwner: otherTenant })))).toMatch(/^403/);
    expect(await refusal(own.send(new HeadBucketCommand({ Bucket: name, ExpectedBucketOwner: DEFAULT })))).toBe('none');
  });

  test('has a name by the rules', async () => {
    for (const bad of ['aa', 'Upper', 'under_score', 'a..b', '192.168.0.1', 'xn--a', '-a-', 'bkt-0123456789abcdef'])
      expect(await bare(`/${bad}`, { method: 'PUT', headers: { 'content-length': '0' } }), bad).toBe('400 InvalidBucketName');
  });

  test('may have a region, object lock, an owner of all, tags', async () => {
    const CreateBucketConfiguration = { LocationConstraint: 'eu-west-1' as const };
    expect(await refusal(create({ CreateBucketConfiguration }))).toBe('400 IllegalLocationConstraintException');
    await create({
      ...{ ObjectLockEnabledForBucket: true, ObjectOwnership: 'BucketOwnerEnforced' },
      CreateBucketConfiguration: { LocationConstraint: 'us-east-1' as 'us-east-2', Tags: [{ Key: 'a', Value: 'b' }] },
    });
    expect(await kept()).toMatchObject({ objectLock: true, versioning: 'enabled', config: { ownership: 'BucketOwnerEnforced', tags: { a: 'b' } } });
    expect(await refusal(own.send(new PutBucketAclCommand({ Bucket: name, ACL: 'public-read' })))).toBe('400 AccessControlListNotSupported');
    name = `${name}-2`;
    expect(await refusal(create({ ACL: 'public-read', ObjectOwnership: 'BucketOwnerEnforced' }))).toBe('400 InvalidBucketAclWithObjectOwnership');
  });

  test('with something in it stays, whoever lets whom delete it', async () => {
    await create();
    await putPolicy({ Action: 's3:DeleteBucket', Principal: { AWS: otherTenant } });
    const actor = { principal: 'x', principalName: undefined, tenantId: DEFAULT, credential: undefined, source: '', requestId: '' };
    const bucket = await kept();
    const body = (async function* () {
      yield Buffer.from('x');
    })();
    const signal = AbortSignal.timeout(5000);
    await engineOf(context).put(bucket, 'a', body, { attributes: { headers: {}, metadata: {}, owner: DEFAULT }, expected: {}, actor, signal });
    expect(await refusal(own.send(new DeleteBucketCommand({ Bucket: name })))).toBe('409 BucketNotEmpty');
    expect(await refusal(other.send(new DeleteBucketCommand({ Bucket: name })))).toBe('409 BucketNotEmpty');
    await engineOf(context).delete(bucket, 'a', { actor });
    expect(await refusal(other.send(new DeleteBucketCommand({ Bucket: name })))).toBe('none');
    const line = (await b.cloud.audit.list({})).items.find(({ target, permission }) => target === name && permission === 'bucket:delete');
    expect(line).toMatchObject({ principal: 'local', outcome: 'ok' });
  });

  test('is not deleted for a part of it that nobody knows', async () => {
    await create();
    const { href, headers } = await signedDelete(`${endpoint}/${name}?whatever`);
    expect(await (await fetch(href, { method: 'DELETE', headers })).text()).toContain('<Code>NotImplemented</Code>');
    expect(await kept()).toMatchObject({ name });
  });
});

/** A request that no command of the client makes. */
async function signedDelete(href: string): Promise<{ href: string; headers: Record<string, string> }> {
  const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
  const command = new DeleteBucketCommand({ Bucket: name });
  command.middlewareStack.add(
    (next) => (args) => {
      (args.request as { query: Record<string, string> }).query['whatever'] = '';
      return next(args);
    },
    { step: 'build', name: 'whatever' },
  );
  const url = await getSignedUrl(own, command, { expiresIn: 60 });
  expect(url.startsWith(href.split('?')[0] as string)).toBe(true);
  return { href: url, headers: {} };
}

test('buckets are listed by name, page by page, and only one’s own', async () => {
  const names = ['page-a', 'page-b', 'page-c', 'other-d'];
  for (const each of names) await own.send(new CreateBucketCommand({ Bucket: each }));
  await other.send(new CreateBucketCommand({ Bucket: 'page-x' }));
  const all = await own.send(new ListBucketsCommand({ Prefix: 'page-' }));
  expect(all.Buckets?.map(({ Name }) => Name)).toEqual(['page-a', 'page-b', 'page-c']);
  expect(all.Owner).toEqual({ ID: DEFAULT, DisplayName: 'default' });
  expect(all.ContinuationToken).toBeUndefined();
  const first = await own.send(new ListBucketsCommand({ Prefix: 'page-', MaxBuckets: 2 }));
  expect(first.Buckets?.map(({ Name }) => Name)).toEqual(['page-a', 'page-b']);
  const second = await own.send(new ListBucketsCommand({ Prefix: 'page-', MaxBuckets: 2, ContinuationToken: first.ContinuationToken }));
  expect(second.Buckets?.map(({ Name }) => Name)).toEqual(['page-c']);
  expect(second.ContinuationToken).toBeUndefined();
  expect(await refusal(own.send(new ListBucketsCommand({ MaxBuckets: 0 })))).toBe('400 InvalidArgument');
  expect(await refusal(own.send(new ListBucketsCommand({ ContinuationToken: '!!' })))).toBe('400 InvalidArgument');
  expect((await other.send(new ListBucketsCommand({ Prefix: 'page-' }))).Buckets?.map(({ Name }) => Name)).toEqual(['page-x']);
  expect(await bare('/')).toBe('200');
});

describe('versions and locks', () => {
  test('are turned on and suspended', async () => {
    await create();
    const status = async () => (await own.send(new GetBucketVersioningCommand({ Bucket: name }))).Status;
    const put = (Status: 'Enabled' | 'Suspended') => own.send(new PutBucketVersioningCommand({ Bucket: name, VersioningConfiguration: { Status } }));
    expect(await status()).toBeUndefined();
    const ObjectLockConfiguration = { ObjectLockEnabled: 'Enabled' as const, Rule: { DefaultRetention: { Mode: 'GOVERNANCE' as const, Days: 1 } } };
    const lock = () => own.send(new PutObjectLockConfigurationCommand({ Bucket: name, ObjectLockConfiguration }));
    expect(await refusal(lock())).toBe('409 InvalidBucketState');
    for (const wanted of ['Suspended', 'Enabled'] as const) {
      await put(wanted);
      expect(await status()).toBe(wanted);
    }
    expect(await refusal(own.send(new GetObjectLockConfigurationCommand({ Bucket: name })))).toBe('404 ObjectLockConfigurationNotFoundError');
    await lock();
    expect((await own.send(new GetObjectLockConfigurationCommand({ Bucket: name }))).ObjectLockConfiguration).toEqual(ObjectLockConfiguration);
    expect(await refusal(put('Suspended'))).toBe('409 InvalidBucketState');
  });
});

describe('what is configured', () => {
  test('a policy is given back letter by letter', async () => {
    await create();
    expect(await refusal(own.send(new GetBucketPolicyCommand({ Bucket: name })))).toBe('404 NoSuchBucketPolicy');
    const Policy = `${policyOf({ Action: 's3:ListBucket' })} `;
    await own.send(new PutBucketPolicyCommand({ Bucket: name, Policy }));
    expect((await own.send(new GetBucketPolicyCommand({ Bucket: name }))).Policy).toBe(Policy);
    expect((await own.send(new GetBucketPolicyStatusCommand({ Bucket: name }))).PolicyStatus).toEqual({ IsPublic: true });
    expect(await refusal(other.send(new HeadBucketCommand({ Bucket: name })))).toBe('none');
    expect(await refusal(own.send(new PutBucketPolicyCommand({ Bucket: name, Policy: '{}' })))).toBe('400 MalformedPolicy');
    await own.send(new DeleteBucketPolicyCommand({ Bucket: name }));
    expect(await refusal(other.send(new HeadBucketCommand({ Bucket: name })))).toMatch(/^403/);
    expect((await own.send(new GetBucketPolicyStatusCommand({ Bucket: name }))).PolicyStatus).toEqual({ IsPublic: false });
  });

  test('a policy that locks out its writer can be mended', async () => {
    await create();
    await putPolicy({ Effect: 'Deny', Action: 's3:*' });
    expect(await refusal(own.send(new HeadBucketCommand({ Bucket: name })))).toMatch(/^403/);
    await own.send(new DeleteBucketPolicyCommand({ Bucket: name }));
    expect(await refusal(own.send(new HeadBucketCommand({ Bucket: name })))).toBe('none');
  });

  test('an ACL', async () => {
    await create();
    const grants = async () =>
      (await own.send(new GetBucketAclCommand({ Bucket: name }))).Grants?.map(({ Grantee, Permission }) => [Grantee?.URI ?? Grantee?.ID, Permission]);
    expect(await grants()).toEqual([[DEFAULT, 'FULL_CONTROL']]);
    await own.send(new PutBucketAclCommand({ Bucket: name, ACL: 'public-read' }));
    expect(await grants()).toEqual([
      ['http://acs.amazonaws.com/groups/global/AllUsers', 'READ'],
      [DEFAULT, 'FULL_CONTROL'],
    ]);
    expect((await own.send(new GetBucketPolicyStatusCommand({ Bucket: name }))).PolicyStatus).toEqual({ IsPublic: true });
    const owned = await own.send(new GetBucketAclCommand({ Bucket: name }));
    const Grants = [{ Grantee: { Type: 'CanonicalUser' as const, ID: otherTenant }, Permission: 'FULL_CONTROL' as const }];
    await own.send(new PutBucketAclCommand({ Bucket: name, AccessControlPolicy: { Owner: owned.Owner, Grants } }));
    expect(await grants()).toEqual([[otherTenant, 'FULL_CONTROL']]);
    await other.send(new PutBucketAclCommand({ Bucket: name, ACL: 'private' }));
    expect(await refusal(other.send(new GetBucketAclCommand({ Bucket: name })))).toBe('403 AccessDenied');
    expect(await grants()).toEqual([[DEFAULT, 'FULL_CONTROL']]);
  });

  test('the public access block', async () => {
    await create();
    const get = () => own.send(new GetPublicAccessBlockCommand({ Bucket: name }));
    expect(await refusal(get())).toBe('404 NoSuchPublicAccessBlockConfiguration');
    const PublicAccessBlockConfiguration = { BlockPublicAcls: true, IgnorePublicAcls: false, BlockPublicPolicy: true, RestrictPublicBuckets: false };
    await own.send(new PutPublicAccessBlockCommand({ Bucket: name, PublicAccessBlockConfiguration }));
    expect((await get()).PublicAccessBlockConfiguration).toEqual(PublicAccessBlockConfiguration);
    expect(await refusal(own.send(new PutBucketAclCommand({ Bucket: name, ACL: 'public-read' })))).toBe('403 AccessDenied');
    expect(await refusal(putPolicy({ Action: 's3:GetObject' }))).toBe('403 AccessDenied');
    expect(await refusal(putPolicy({ Action: 's3:GetObject', Principal: { AWS: otherTenant } }))).toBe('none');
    await own.send(new DeletePublicAccessBlockCommand({ Bucket: name }));
    expect(await refusal(get())).toBe('404 NoSuchPublicAccessBlockConfiguration');
  });

  test('ownership, tags, encryption, who pays', async () => {
    await create({ ACL: 'public-read' });
    const ownership = (ObjectOwnership: 'BucketOwnerEnforced' | 'ObjectWriter') =>
      own.send(new PutBucketOwnershipControlsCommand({ Bucket: name, OwnershipControls: { Rules: [{ ObjectOwnership }] } }));
    expect(await refusal(own.send(new GetBucketOwnershipControlsCommand({ Bucket: name })))).toBe('404 OwnershipControlsNotFoundError');
    expect(await refusal(ownership('BucketOwnerEnforced'))).toBe('400 InvalidBucketAclWithObjectOwnership');
    await ownership('ObjectWriter');
    expect((await own.send(new GetBucketOwnershipControlsCommand({ Bucket: name }))).OwnershipControls?.Rules).toEqual([{ ObjectOwnership: 'ObjectWriter' }]);

    expect(await refusal(own.send(new GetBucketTaggingCommand({ Bucket: name })))).toBe('404 NoSuchTagSet');
    await own.send(new PutBucketTaggingCommand({ Bucket: name, Tagging: { TagSet: [{ Key: 'Hello', Value: 'World' }] } }));
    expect((await own.send(new GetBucketTaggingCommand({ Bucket: name }))).TagSet).toEqual([{ Key: 'Hello', Value: 'World' }]);

    expect(await refusal(own.send(new GetBucketEncryptionCommand({ Bucket: name })))).toBe('404 ServerSideEncryptionConfigurationNotFoundError');
    const Rules = [{ ApplyServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' as const }, BucketKeyEnabled: false }];
    await own.send(new PutBucketEncryptionCommand({ Bucket: name, ServerSideEncryptionConfiguration: { Rules } }));
    expect((await own.send(new GetBucketEncryptionCommand({ Bucket: name }))).ServerSideEncryptionConfiguration?.Rules).toEqual(Rules);

    expect((await own.send(new GetBucketRequestPaymentCommand({ Bucket: name }))).Payer).toBe('BucketOwner');
  });

  test('notifications to queues of the tenant', async () => {
    await create();
    await b.cloud.queue.create({ name: `${name}-queue` });
    const QueueArn = `arn:aws:sqs:us-east-1:${DEFAULT}:${name}-queue`;
    const put = (NotificationConfiguration: object) => own.send(new PutBucketNotificationConfigurationCommand({ Bucket: name, NotificationConfiguration }));
    const get = async () => (await own.send(new GetBucketNotificationConfigurationCommand({ Bucket: name }))).QueueConfigurations;
    const one = { Id: 'x', QueueArn, Events: ['s3:ObjectCreated:*'], Filter: { Key: { FilterRules: [{ Name: 'Prefix', Value: 'in/' }] } } };
    expect(await get()).toBeUndefined();
    await put({ QueueConfigurations: [one] });
    expect(await get()).toEqual([one]);
    for (const wrong of [`${QueueArn}x`, `arn:aws:sqs:us-east-1:${otherTenant}:q`, 'arn:aws:sns:us-east-1:x:y', 'queue'])
      expect(await refusal(put({ QueueConfigurations: [{ ...one, QueueArn: wrong }] })), wrong).toBe('400 InvalidArgument');
    expect(await refusal(put({ QueueConfigurations: [{ ...one, Events: ['s3:Nothing:*'] }] }))).toBe('400 InvalidArgument');
    expect(await refusal(put({ TopicConfigurations: [{ TopicArn: 'arn:aws:sns:us-east-1:x:y', Events: ['s3:ObjectCreated:*'] }] }))).toBe(
      '400 InvalidArgument',
    );
    await put({});
    expect(await get()).toBeUndefined();
  });

  test('what cannot be had says so', async () => {
    await create();
    const accelerate = new PutBucketAccelerateConfigurationCommand({ Bucket: name, AccelerateConfiguration: { Status: 'Enabled' } });
    expect(await refusal(own.send(accelerate))).toBe('501 NotImplemented');
    await own.send(new PutBucketAclCommand({ Bucket: name, ACL: 'public-read' }));
    expect(await bare(`/${name}?website`)).toBe('403 AccessDenied');
    await putPolicy({ Action: 's3:Get*' });
    expect(await bare(`/${name}?website`)).toBe('404 NoSuchWebsiteConfiguration');
    expect(await bare(`/${name}?replication`)).toBe('404 ReplicationConfigurationNotFoundError');
    expect(await bare(`/${name}?accelerate`)).toBe('200');
    expect(await bare(`/${name}?inventory`)).toBe('200');
    expect(await bare(`/${name}?inventory&id=x`)).toBe('404 NoSuchConfiguration');
  });
});

describe('the access log', () => {
  const logging = (TargetBucket: string, more: Pick<LoggingEnabled, 'TargetObjectKeyFormat'> = {}) =>
    own.send(new PutBucketLoggingCommand({ Bucket: name, BucketLoggingStatus: { LoggingEnabled: { TargetBucket, TargetPrefix: 'log/', ...more } } }));
  const letIn = (target: string, Condition: object = { StringEquals: { 'aws:SourceAccount': DEFAULT } }) => {
    const statement = {
      Effect: 'Allow',
      Principal: { Service: 'logging.s3.amazonaws.com' },
      Action: 's3:PutObject',
      Resource: `arn:aws:s3:::${target}/log/*`,
      Condition,
    };
    return own.send(new PutBucketPolicyCommand({ Bucket: target, Policy: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }) }));
  };

  test('goes only where it is let in', async () => {
    await create();
    const target = `${name}-log`;
    expect(await refusal(logging(target))).toBe('400 InvalidTargetBucketForLogging');
    await own.send(new CreateBucketCommand({ Bucket: target }));
    expect(await refusal(logging(target))).toBe('403 AccessDenied');
    await letIn(target, { StringEquals: { 'aws:SourceAccount': otherTenant } });
    expect(await refusal(logging(target))).toBe('403 AccessDenied');
    await letIn(target, { ArnLike: { 'aws:SourceArn': `arn:aws:s3:::${name}` } });
    expect(await refusal(logging(target))).toBe('none');
    await own.send(new DeleteBucketPolicyCommand({ Bucket: target }));
    expect(await refusal(logging(target))).toBe('403 AccessDenied');
    await own.send(
      new PutBucketAclCommand({ Bucket: target, GrantWrite: 'uri=http://acs.amazonaws.com/groups/s3/LogDelivery', GrantFullControl: `id=${DEFAULT}` }),
    );
    expect(await refusal(logging(target))).toBe('none');
    const status = await own.send(new GetBucketLoggingCommand({ Bucket: name }));
    expect(status.LoggingEnabled).toEqual({ TargetBucket: target, TargetPrefix: 'log/', TargetObjectKeyFormat: { SimplePrefix: {} } });
    await own.send(new PutBucketLoggingCommand({ Bucket: name, BucketLoggingStatus: {} }));
    expect((await own.send(new GetBucketLoggingCommand({ Bucket: name }))).LoggingEnabled).toBeUndefined();
  });

  test('has a line for each request, and is written when the listener closes', async () => {
    await create();
    const target = `${name}-log`;
    await own.send(new CreateBucketCommand({ Bucket: target }));
    await letIn(target);
    await logging(target, { TargetObjectKeyFormat: { PartitionedPrefix: { PartitionDateSource: 'DeliveryTime' } } });
    const second = await listenS3(context, { host: '127.0.0.1', port: 0 });
    const client = await clientOf('default', `http://127.0.0.1:${second.port}`);
    await client.send(new PutObjectCommand({ Bucket: name, Key: 'a b"\n', Body: 'x' }));
    await refusal(client.send(new GetBucketTaggingCommand({ Bucket: name })));
    await fetch(`http://127.0.0.1:${second.port}/${name}`, { headers: { 'user-agent': 'a"b' } });
    client.destroy();
    await second.close();
    const bucket = (await engineOf(context).find(target)) as Bucket;
    const { objects } = await engineOf(context).list(bucket, { prefix: '', delimiter: undefined, after: undefined, limit: 10 });
    expect(objects).toHaveLength(1);
    const key = objects[0]?.key as string;
    expect(key).toMatch(new RegExp(`^log/${DEFAULT}/us-east-1/${name}/\\d{4}/\\d\\d/\\d\\d/\\d{4}(-\\d\\d){5}-[0-9A-F]{16}$`));
    const pieces: Buffer[] = [];
    for await (const piece of (await engineOf(context).get(bucket, key, { signal: AbortSignal.timeout(5000) })).body) pieces.push(piece);
    const lines = Buffer.concat(pieces).toString().trimEnd().split('\n');
    expect(lines).toHaveLength(3);
    const start = `${DEFAULT} ${name} \\[\\d\\d/\\w{3}/\\d{4}:\\d\\d:\\d\\d:\\d\\d \\+0000\\] 127\\.0\\.0\\.1`;
    expect(lines[0]).toMatch(
      new RegExp(`^${start} local [0-9A-F]{16} REST\\.PUT\\.OBJECT a%2Bb%2522%250A "PUT /${name}/a%20b%22%0A HTTP/1\\.1" 200 - .* SigV4 - AuthHeader `),
    );
    // How many bytes were sent, where any were.
    expect(lines[1]).toMatch(/ REST\.GET\.TAGGING - .* 404 NoSuchTagSet \d+ /);
    expect(lines[2]).toMatch(new RegExp(`^${start} - .* REST\\.GET\\.BUCKET - .* 403 AccessDenied .* "a%22b" `));
  });
});
