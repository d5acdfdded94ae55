// A small cloud in which every operation of every contract has something to work on, and an input for each, made from the contract's own examples.

import { z } from 'zod';
import { contracts, fieldMeta, inputShape, type Operation, unwrap } from '../../packages/core/src/contracts.ts';
import { localAdministrator, type Principal } from '../../packages/core/src/kernel/authorize.ts';
import type { Channel } from '../../packages/core/src/kernel/channel.ts';
import type { Answer, Invocation } from '../../packages/core/src/kernel/core.ts';
import type { Hasher } from '../../packages/core/src/services/auth/passwords.ts';
import { authServiceWith } from '../../packages/core/src/services/auth/service.ts';
import { services } from '../../packages/core/src/services.ts';
import { type Bench, bench } from '../../packages/core/src/testing/bench.ts';

export interface Case {
  service: string;
  name: string;
  operation: Operation;
  stored: boolean;
}

export const cases: Case[] = Object.values(contracts).flatMap(({ resource, operations }) =>
  Object.entries(operations as Readonly<Record<string, Operation>>)
    .filter(([, operation]) => !operation.internal)
    .map(([name, operation]) => ({ service: resource.name, name, operation, stored: resource.stored })),
);
export const titleOf = ({ service, name }: Case): string => `${service} ${name}`;

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8q0u8FzSGDLg8mXAnA8mVq1T9bD3Vbl0Fvq4vJ2m0Q me@example';

/** What a name in a field stands for, by resource. */
const NAMES: Readonly<Record<string, string>> = {
  vpc: 'prod',
  volume: 'data',
  instance: 'web',
  snapshot: 'nightly',
  'ssh-key': 'laptop',
  image: 'busybox',
  'instance-type': 'small',
  user: 'ann@example.com',
  'tenant-member': 'ann@example.com',
  tenant: 'spare',
  role: 'helper',
  policy: 'readers',
  'service-account': 'robot',
  'api-key': 'backup',
  's3-key': 'wallet',
  object: 'photos/a',
  zone: 'prod.internal',
  record: 'www.prod.internal/A',
  subnet: 'apps',
  'security-group': 'front',
  'internet-gateway': 'out',
  'route-table': 'public',
  'nat-gateway': 'nat',
  'elastic-ip': 'address',
  peering: 'joined',
};

const PASSWORD = 'correct horse battery';
const READERS = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*:list', Resource: '*' } };

/** Where the resource's usual one will not do, or an example cannot be known from the field alone. */
const SPECIAL: Readonly<Record<string, { target?: string; input?: Record<string, unknown> }>> = {
  'vpc delete': { target: 'lonely' },
  'subnet delete': { target: 'unused' },
  'internet-gateway create': { input: { vpc: 'lonely' } },
  'internet-gateway delete': { target: 'unused' },
  'nat-gateway create': { input: { subnet: 'front' } },
  'route-table delete': { target: 'unused' },
  'route-table routeAdd': { input: { destination: '203.0.113.0/24', blackhole: true } },
  'peering create': { input: { peerVpc: 'lonely' } },
  'elastic-ip disassociate': { target: 'held' },
  'security-group delete': { target: 'unused' },
  'security-group detach': { target: 'attached' },
  'vpc create': { input: { cidr: '10.40.0.0/16' } },
  'subnet create': { input: { cidr: '10.20.3.0/24' } },
  // Without one the VPC `default` is made, which is a change besides.
  'instance create': { input: { vpc: 'prod', ports: ['80'] } },
  'instance update': { input: { ports: ['81'], allowRestart: true } },
  'instance start': { target: 'idle' },
  'instance resume': { target: 'frozen' },
  'volume attach': { input: { allowRestart: true } },
  'volume detach': { target: 'disk', input: { allowRestart: true } },
  'image delete': { target: 'alpine:3.20' },
  'instance connect': { input: { port: 80 } },
  'instance upload': { input: { path: '/tmp' } },
  'instance download': { input: { path: '/tmp' } },
  'instance stats': { input: { samples: 1 } },
  'tenant get': { target: 'default' },
  'role unbind': { target: 'held' },
  'policy detach': { target: 'in-force' },
  'service-account delete': { target: 'idle-robot' },
  'tenant-member add': { input: { name: 'spare@example.com' } },
  // The local administrator is no user, whom a key could act as.
  'api-key create': { input: { serviceAccount: 'robot' } },
  // Versions that are kept, and may be locked.
  'bucket delete': { target: 'spare-bucket' },
  'bucket create': { input: { versioning: 'enabled' } },
  'bucket update': { input: { versioning: 'suspended' } },
  'bucket configure': { input: { name: 'tags', value: { team: 'a' } } },
  'bucket notification': { input: { rules: [{ queue: 'sample' }] } },
  'object list': { target: 'photos' },
  'object versions': { target: 'photos' },
  'object uploads': { target: 'photos' },
  'object restore': { target: 'photos/deleted' },
  'object setLock': { target: 'locked/a', input: { legalHold: true } },
  'object copy': { input: { to: 'photos/copy' } },
  'object move': { target: 'photos/moved', input: { to: 'photos/new' } },
  'object uploadStart': { target: 'photos/big' },
  'object uploadPart': { target: 'photos/big', input: { number: 2 } },
  'object uploadParts': { target: 'photos/big' },
  'object uploadComplete': { target: 'photos/big' },
  'object uploadAbort': { target: 'photos/big' },
  'zone delete': { target: 'lonely.internal' },
  'quota set': { input: { name: 'queues' } },
  'quota unset': { input: { name: 'queues' } },
};

const nameOf = (resource: string): string => NAMES[resource] ?? 'sample';

/** A valid input: the examples of the fields, and for references what the fixture has. */
export function inputOf(of: Pick<Case, 'service' | 'name' | 'operation'>): Record<string, unknown> {
  const input: Record<string, unknown> = {};
  for (const [key, schema] of Object.entries(inputShape(of.operation))) {
    const meta = fieldMeta(schema);
    const required = !schema.safeParse(undefined).success;
    const many = unwrap(schema) instanceof z.ZodArray;
    if (key === 'name') input[key] = schema.safeParse('fresh').success && of.service !== 'tenant-member' ? 'fresh' : 'fresh@example.com';
    else if (meta.ref !== undefined && required) input[key] = many ? [nameOf(meta.ref)] : nameOf(meta.ref);
    else if (meta.example !== undefined) input[key] = meta.example;
    else if (required && unwrap(schema) instanceof z.ZodString) input[key] = 'x';
  }
  if (of.operation.standard === 'update') input['labels'] = { changed: 'yes' };
  return { ...input, ...SPECIAL[`${of.service} ${of.name}`]?.input };
}

export interface Fixture extends Bench {
  targetOf(of: Case): string | undefined;
  /** What only this fixture knows of an input, by title. */
  known: Readonly<Record<string, Record<string, unknown>>>;
  /** Who has to call, by title, where an administrator will not do. */
  callers: Readonly<Record<string, Principal>>;
}

/** Hashing a password takes a quarter of a second, and hashes nothing that is tested here. */
const quick: Hasher = { hash: async (password) => `quick ${password}`, compare: async (password, hash) => hash === `quick ${password}` };
const definitions = services.map((each) => (each.contract === contracts.auth ? authServiceWith(quick) : each));

export async function fixture(): Promise<Fixture> {
  const b = await bench({ definitions });
  const { cloud } = b;
  const anybody = async (operation: string, input: object) =>
    (await b.call({ service: 'auth', operation, input, principal: undefined })).value as Record<string, string>;
  const ann = await cloud.user.create({ name: NAMES['user'] as string, password: PASSWORD });
  await cloud.user.create({ name: 'spare@example.com' });
  await cloud.tenantMember.add({ name: ann.name, roles: ['developer'] });
  await b.tenant('spare');
  await cloud.role.create({ name: 'helper', permissions: ['vpc:list'] });
  await cloud.role.create({ name: 'held', permissions: ['vpc:list'] });
  await cloud.role.bind('held', { user: ann.name });
  for (const name of ['readers', 'in-force']) await cloud.policy.create({ name, document: READERS });
  await cloud.policy.attach('in-force', { user: ann.name });
  const robot = await cloud.serviceAccount.create({ name: 'robot', roles: ['viewer'] });
  await cloud.serviceAccount.create({ name: 'idle-robot' });
  const { clientSecret } = await cloud.serviceAccount.rotateSecret('robot');
  await cloud.apiKey.create({ name: 'backup', serviceAccount: 'robot' });
  await cloud.auth.configure({ registration: 'open' });
  const session = await anybody('login', { email: ann.name, password: PASSWORD });
  const { token } = await cloud.user.resetPassword(ann.name);
  await b.ready(cloud.vpc.create({ name: 'prod', cidr: '10.20.0.0/16' }));
  await b.ready(cloud.vpc.create({ name: 'lonely' }));
  await networksIn(b);
  await b.ready(cloud.volume.create({ name: 'data' }));
  await b.ready(cloud.volume.create({ name: 'disk' }));
  for (const name of ['prod.internal', 'lonely.internal']) await b.ready(cloud.zone.create({ name, vpc: 'prod' }));
  await cloud.record.create({ name: 'www', zone: 'prod.internal', type: 'A', values: ['10.20.0.9'] });
  await cloud.sshKey.create({ name: 'laptop', publicKey: KEY });
  await b.ended(cloud.snapshot.create({ name: 'nightly', volume: 'data' }));
  await b.ended(cloud.image.pull({ reference: 'alpine:3.20' }));
  const last = await b.ready(cloud.instance.create({ name: 'web', image: 'busybox', vpc: 'prod', volumes: ['disk:/disk'], securityGroups: ['attached'] }));
  for (const name of ['idle', 'frozen']) await b.ready(cloud.instance.create({ name, image: 'busybox', vpc: 'prod' }));
  await b.ready(cloud.elasticIp.associate('held', { instance: 'idle' }));
  await b.ended(cloud.instance.stop('idle'));
  await b.ended(cloud.instance.pause('frozen'));
  // Services that are not named here get one resource called `sample`, if the examples suffice to make it.
  for (const { resource, operations } of Object.values(contracts)) {
    const create = (operations as Readonly<Record<string, Operation>>)['create'];
    if (create === undefined || !resource.stored || NAMES[resource.name] !== undefined) continue;
    const input = { ...inputOf({ service: resource.name, name: 'create', operation: create }), name: 'sample' };
    const { operation } = await b.call({ service: resource.name, operation: 'create', input });
    if (operation !== undefined) await b.ended({ operation });
  }
  const uploaded = await objectsIn(b);
  await cloud.secret.rotate('sample', { value: 'another' });
  const { ciphertext } = await cloud.kmsKey.encrypt('sample', { plaintext: 'aGVsbG8=' });
  await cloud.queue.send('sample', { body: 'hello', delay: 0 });
  const [{ id: rule } = { id: '' }] = (await cloud.securityGroup.ruleList(NAMES['security-group'] as string)).items;
  const { items } = await cloud.queue.receive('sample');
  const receipt = items[0]?.receipt;
  return {
    ...b,
    known: {
      'kms-key decrypt': { ciphertext },
      'security-group ruleAdd': { port: '22' },
      'security-group ruleRemove': { rule },
      'queue ack': { receipt },
      'queue release': { receipt },
      'queue extend': { receipt },
      'object uploadPart': { upload: uploaded.upload },
      'object uploadParts': { upload: uploaded.upload },
      'object uploadComplete': { ...uploaded },
      'object uploadAbort': { upload: uploaded.upload },
      'auth register': { email: 'new@example.com', password: PASSWORD },
      'auth login': { email: ann.name, password: PASSWORD },
      'auth refresh': { refreshToken: session['refreshToken'] },
      'auth clientToken': { clientId: robot.id, clientSecret },
      'auth changePassword': { current: PASSWORD, password: 'another correct horse' },
      'auth resetPassword': { email: ann.name, token, password: 'another correct horse' },
    },
    callers: {
      'auth changePassword': await b.core.principal(ann.id),
      'auth logout': await b.core.authenticate(session['accessToken'] as string, 'test'),
      // A key is for those who are known again.
      's3-key create': localAdministrator,
      's3 credentials': localAdministrator,
      'object presign': localAdministrator,
    },
    targetOf: (of) => {
      if (!of.operation.target) return undefined;
      return of.service === 'operation' ? last.operation : (SPECIAL[titleOf(of)]?.target ?? nameOf(of.service));
    },
    [Symbol.asyncDispose]: () => b.close(),
  };
}

/** Parts of the VPC, what they lead to, and who may send what. */
async function networksIn({ cloud, ready }: Bench): Promise<void> {
  const destination = '0.0.0.0/0';
  const name = (resource: string) => NAMES[resource] as string;
  await ready(cloud.vpc.create({ name: 'elsewhere', cidr: '10.21.0.0/16' }));
  await ready(cloud.peering.create({ name: name('peering'), vpc: 'prod', peerVpc: 'elsewhere' }));
  await ready(cloud.internetGateway.create({ name: 'unused', vpc: 'elsewhere' }));
  await ready(cloud.internetGateway.create({ name: name('internet-gateway'), vpc: 'prod' }));
  await ready(cloud.routeTable.create({ name: 'unused', vpc: 'prod' }));
  await ready(cloud.routeTable.create({ name: name('route-table'), vpc: 'prod', routes: [{ destination, internetGateway: 'out' }] }));
  await ready(cloud.subnet.create({ name: name('subnet'), vpc: 'prod', cidr: '10.20.1.0/24' }));
  await ready(cloud.subnet.create({ name: 'unused', vpc: 'prod', cidr: '10.20.4.0/24' }));
  await ready(cloud.subnet.create({ name: 'front', vpc: 'prod', cidr: '10.20.5.0/24', routeTable: 'public' }));
  await ready(cloud.natGateway.create({ name: name('nat-gateway'), subnet: 'front' }));
  for (const each of [name('security-group'), 'attached', 'unused']) await ready(cloud.securityGroup.create({ name: each, vpc: 'prod' }));
  for (const each of [name('elastic-ip'), 'held']) await ready(cloud.elasticIp.allocate({ name: each }));
}

/** Objects to read, change, restore and complete, and whoever serves addresses of them. */
async function objectsIn({ cloud, core }: Bench): Promise<{ upload: string; parts: { number: number; etag: string }[] }> {
  const filled = async <R>(opening: Promise<Channel<R>>): Promise<R> => {
    const channel = await opening;
    channel.input.end('bytes');
    return channel.result;
  };
  await core.listen('s3', { host: '127.0.0.1', port: 0 });
  await cloud.s3Key.create({ name: NAMES['s3-key'] as string });
  await cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
  await cloud.bucket.create({ name: 'locked', objectLock: true });
  await cloud.bucket.create({ name: 'spare-bucket' });
  for (const name of ['photos/a', 'photos/moved', 'photos/deleted', 'locked/a']) await filled(cloud.object.put(name));
  await cloud.object.delete('photos/deleted');
  const { upload } = await cloud.object.uploadStart('photos/big');
  const { number, etag } = await filled(cloud.object.uploadPart('photos/big', { upload, number: 1 }));
  return { upload, parts: [{ number, etag }] };
}

export const principal = (id: string, roles: Principal['roles'], tenantId = 'tnt-0000000000000000'): Principal => ({ id, kind: 'user', tenantId, roles });

/** Opens whatever kind of operation it is, far enough that every check has been made. */
export async function attempt(f: Fixture, of: Case, call: Partial<Invocation>): Promise<Answer | undefined> {
  const abort = new AbortController();
  const invocation: Invocation = {
    service: of.service,
    operation: of.name,
    target: f.targetOf(of),
    input: { ...inputOf(of), ...f.known[titleOf(of)] },
    principal: f.callers[titleOf(of)] ?? principal('admin', { '*': ['admin'] }),
    source: 'test',
    ...call,
    signal: abort.signal,
  };
  try {
    if (of.operation.kind === 'stream') {
      const items = (await f.core.stream(invocation))[Symbol.asyncIterator]();
      abort.abort();
      await items.return?.();
      return undefined;
    }
    if (of.operation.kind === 'channel') {
      const channel = await f.core.channel(invocation);
      channel.close();
      await channel.result.catch(() => undefined);
      return undefined;
    }
    return await f.core.invoke(invocation);
  } finally {
    abort.abort();
  }
}
