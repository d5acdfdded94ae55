// What makes a cascade hard: things that use each other, what is hidden from whoever deletes, writers that do not stop, and traces outside the resources' tables.
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { Fault } from '../../kernel/errors.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';

const IN = { tenant: 'acme' };
const done = async (b: Bench, answer: Promise<{ operation?: string | undefined }>) =>
  b.cloud.operation.wait((await answer).operation ?? '', { timeout: 20 }, IN);
async function person(b: Bench, name: string, tenant: string, ...roles: string[]) {
  await b.cloud.user.create({ name });
  await b.cloud.tenantMember.add({ name, roles }, { tenant });
  return b.as(await b.core.principal(name));
}
const gone = async (b: Bench): Promise<void> => {
  const operation = await b.ended(b.cloud.tenant.delete('acme', { cascade: true }));
  expect(operation).toMatchObject({ state: 'succeeded' });
};
/** Every row of every table in which one of these texts is, but for the audit. */
async function rowsWith(b: Bench, ids: readonly string[]): Promise<string[]> {
  const tables = (await b.db
    .selectFrom('sqlite_master' as 'meta')
    .select('name' as never)
    .where('type' as never, '=', 'table' as never)
    .execute()) as unknown as { name: string }[];
  const found: string[] = [];
  for (const { name } of tables) {
    if (name.startsWith('sqlite_') || name.startsWith('audit')) continue;
    for (const row of await b.db
      .selectFrom(name as 'meta')
      .selectAll()
      .execute()) {
      // The list of audit chains, and what the installation was told of a tenant, stay with the audit; sessions that ended are pruned later.
      const { key, tenant, ended_at } = row as { key?: string; tenant?: string; ended_at?: number | null };
      if (key === 'audit_chains' || (tenant === '' && ['event', 'operation'].includes(name)) || (name === 'session' && ended_at !== null)) continue;
      const text = JSON.stringify(row);
      if (ids.some((id) => text.includes(id))) found.push(`${name} ${text}`);
    }
  }
  return found;
}

test('an image stands behind the instances that were made from it', async () => {
  await using b = await bench();
  await b.tenant('acme');
  const channel = await b.cloud.image.import({ reference: 'acme/app:1' }, IN);
  Readable.from([Buffer.from('content')]).pipe(channel.input);
  await channel.result;
  for (const name of ['one', 'two']) await done(b, b.cloud.instance.create({ name, image: 'acme/app:1' }, IN));
  const { items } = await b.cloud.tenant.contents('acme');
  const at = (name: string) => items.findIndex((item) => item.name === name);
  expect(at('acme/app:1')).toBeGreaterThan(Math.max(at('one'), at('two')));
  await gone(b);
  expect(b.world.keptImages.size).toBe(0);
});

test('what uses each other goes too', async () => {
  await using b = await bench();
  const id = await b.tenant('acme');
  const { queue } = b.cloud;
  await queue.create({ name: 'a' }, IN);
  await queue.create({ name: 'b', deadLetterQueue: 'a', maxReceives: 2 }, IN);
  await queue.update('a', { deadLetterQueue: 'b', maxReceives: 2 }, IN).catch((error: unknown) => expect(error).toMatchObject({ code: 'invalid_input' }));
  expect((await b.cloud.tenant.contents('acme')).items.map(({ name }) => name).sort()).toEqual(['a', 'b']);
  await gone(b);
  expect(await rowsWith(b, [id])).toEqual([]);
});

test('private secrets of members, which nobody else can read, go too', async () => {
  await using b = await bench();
  await b.tenant('acme');
  const ann = await person(b, 'ann@example.com', 'acme', 'developer');
  const { id } = await ann.secret.create({ name: 'diary', value: 'hidden text', private: true });
  expect((await faultOf(b.cloud.tenant.delete('acme'))).message).toBe('The tenant acme is not empty: 1 secret');
  await gone(b);
  expect(await rowsWith(b, [id, 'hidden text'])).toEqual([]);
});

test('nothing is left of anything that was in it, by any of its ids, in any table', async () => {
  await using b = await bench();
  const tenant = await b.tenant('acme');
  const ann = await person(b, 'ann@example.com', 'acme', 'admin');
  const user = await b.cloud.user.get('ann@example.com');
  const account = await ann.serviceAccount.create({ name: 'ci', roles: ['viewer'] });
  const { clientId, clientSecret } = await ann.serviceAccount.rotateSecret('ci');
  const open = async (operation: string, input: unknown) =>
    (await b.core.invoke({ service: 'auth', operation, input, principal: undefined, source: '192.0.2.1' })).value;
  const { accessToken } = (await open('clientToken', { clientId, clientSecret })) as { accessToken: string };
  const robot = b.as(await b.core.authenticate(accessToken, '192.0.2.1'));
  await robot.vpc.list();
  const { key, id: keyId } = await ann.apiKey.create({ name: 'k' });
  await b.as(await b.core.authenticate(key, '192.0.2.1')).vpc.list();
  await open('clientToken', { clientId, clientSecret: 'tcs_wrong' }).catch((error: unknown) => expect(error).toMatchObject({ code: 'unauthenticated' }));
  const role = await ann.role.create({ name: 'ops', permissions: ['vpc:*'], labels: { a: 'b' } });
  const policy = await ann.policy.create({
    name: 'p',
    document: { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: '*', Resource: '*' } },
    labels: { a: 'b' },
  });
  await ann.policy.attach('p', { role: 'ops' });
  await ann.policy.attach('p', { user: 'ann@example.com' });
  const member = await ann.tenantMember.get('ann@example.com');
  const { id: queueId } = await ann.queue.create({ name: 'jobs' });
  await ann.queue.send('jobs', { body: 'some work' });
  await gone(b);
  for (const holder of [robot, ann]) expect(['unauthenticated', 'forbidden', 'not_found']).toContain((await faultOf(holder.vpc.list())).code);
  expect(await rowsWith(b, [account.id, keyId, role.id, policy.id, member.id, queueId, 'some work', 'jobs'])).toEqual([]);
  // Of the tenant there is what the installation was told of it, and the audit.
  const left = await rowsWith(b, [tenant]);
  expect(left).toEqual([]);
  // The user is the installation's and stays, without a tenant.
  expect(await b.cloud.user.get(user.id)).toMatchObject({ name: 'ann@example.com' });
  expect((await ann.tenant.list()).items).toEqual([]);
  expect((await b.cloud.audit.verify({}, { tenant: 'default' })).ok).toBe(true);
});

test('writers that do not stop are refused sooner or later, and leave nothing', { timeout: 30_000 }, async () => {
  await using b = await bench();
  const id = await b.tenant('acme');
  await b.tenant('globex');
  const ann = await person(b, 'ann@example.com', 'acme', 'admin');
  const codes = new Set<string>();
  let ended = false;
  let n = 0;
  const writer = async (kind: number): Promise<void> => {
    while (!ended) {
      const name = `x-${n++}`;
      const write = [
        () => ann.vpc.create({ name }),
        () => ann.queue.create({ name }),
        () => ann.instance.create({ name, image: 'busybox' }),
        () => ann.role.create({ name, permissions: ['vpc:*'] }),
        () => ann.apiKey.create({ name }),
        () => ann.secret.create({ name, value: 'hidden', private: true }),
        () => ann.volume.create({ name, size: 1 }),
      ][kind];
      await write?.().catch((error: unknown) => {
        if (!(error instanceof Fault)) throw error;
        codes.add(error.code);
      });
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  };
  const writers = Array.from({ length: 7 }, (_, kind) => writer(kind));
  await b.until(() => n > 40);
  await gone(b);
  ended = true;
  await Promise.all(writers);
  expect([...codes].filter((code) => !['conflict', 'forbidden', 'not_found'].includes(code))).toEqual([]);
  const left = await rowsWith(b, [id]);
  expect(left).toEqual([]);
  const { world } = b;
  await b.until(() => [world.instances, world.volumes, world.networks].every(({ size }) => size === 0));
  expect((await b.cloud.tenant.list()).items.map(({ name }) => name)).toEqual(['default', 'globex']);
});

test('keys and service accounts see the one tenant that they are good for', async () => {
  await using b = await bench();
  await b.tenant('acme');
  await b.cloud.user.create({ name: 'root@example.com', administrator: true });
  const root = b.as(await b.core.principal('root@example.com'));
  const { key } = await root.apiKey.create({ name: 'k' }, IN);
  const account = await b.cloud.serviceAccount.create({ name: 'ci', roles: ['viewer'] }, IN);
  const seen = async (cloud: Bench['cloud']) => (await cloud.tenant.list()).items.map(({ name, role }) => [name, role]);
  const byKey = b.as(await b.core.authenticate(key, '192.0.2.1'));
  const robot = b.as(await b.core.principal(account.id));
  expect(await seen(byKey)).toEqual([['acme', 'admin']]);
  expect(await seen(robot)).toEqual([['acme', 'viewer']]);
  for (const cloud of [byKey, robot]) {
    expect(await faultOf(cloud.tenant.get('default'))).toMatchObject({ code: 'not_found' });
    expect(await faultOf(cloud.vpc.list({}, { tenant: 'default' }))).toMatchObject({ code: 'not_found' });
    expect(await faultOf(cloud.tenant.delete('acme', { cascade: true }))).toMatchObject({ code: 'forbidden' });
    expect(await faultOf(cloud.tenant.contents('acme'))).toMatchObject({ code: 'forbidden' });
  }
});
