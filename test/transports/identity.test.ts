// One story of users, tenants, keys and tokens for every way to the cloud: in the same process, over the Unix socket, over TCP.
// Who somebody is does not depend on how they came.
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createCore, silent } from '@thecloud/core';
import { serve } from '@thecloud/daemon';
import { type Cloud, type ConnectOptions, connect, isFault, type Session } from '@thecloud/sdk';
import { type Embedded, embed } from '@thecloud/sdk/embed';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { memoryDrivers } from '../../packages/core/src/drivers/memory/index.ts';

const PASSWORD = 'correct horse battery';
const ANN = 'ann@example.com';

interface Subject {
  /** Administers the installation. */
  root: Cloud;
  /** Ann, in the tenant acme, by her password or, embedded, by her name. */
  ann(): Cloud;
  /** By what she proves herself with. Undefined: in the same process nobody has to. */
  open: ((options: ConnectOptions) => Cloud) | undefined;
  close(): Promise<void>;
}

async function overDaemon(dataDir: string, where: (port: number) => Promise<ConnectOptions>, rootOptions: () => Promise<ConnectOptions>): Promise<Subject> {
  const core = await createCore({ dataDir, drivers: memoryDrivers(), durable: false });
  const daemon = await serve(core, { listen: '0', log: silent, recheckMs: 50 });
  const place = await where(daemon.address?.port as number);
  const opened = new Set<{ close(): void }>();
  const open = (options: ConnectOptions) => {
    const cloud = connect({ ...place, ...options });
    opened.add(cloud);
    return cloud;
  };
  return {
    root: open(await rootOptions()),
    ann: () => open({ login: { email: ANN, password: PASSWORD }, tenant: 'acme' }),
    open,
    close: async () => {
      for (const cloud of opened) cloud.close();
      await daemon.close();
    },
  };
}

const ways: Record<string, (dataDir: string) => Promise<Subject>> = {
  embedded: async (dataDir) => {
    const root: Embedded = await embed({ dataDir, driver: memoryDrivers(), durable: false });
    return { root, ann: () => root.as(ANN, { tenant: 'acme' }), open: undefined, close: () => root.close() };
  },
  socket: (dataDir) =>
    overDaemon(
      dataDir,
      async () => ({ dataDir }),
      async () => ({}),
    ),
  tcp: (dataDir) =>
    overDaemon(
      dataDir,
      async (port) => ({ url: `http://127.0.0.1:${port}` }),
      async () => ({ token: (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim() }),
    ),
};

describe.each(Object.keys(ways))('%s', (way) => {
  let subject: Subject;
  let root: Cloud;
  let dataDir: string;
  beforeAll(async () => {
    dataDir = await mkdtemp(join(tmpdir(), 'cloud-who-'));
    subject = await (ways[way] as (typeof ways)[string])(dataDir);
    root = subject.root;
    await root.tenant.create({ name: 'acme' }, { wait: true });
    await root.user.create({ name: ANN, password: PASSWORD });
    await root.tenantMember.add({ name: ANN, roles: ['viewer'] }, { tenant: 'acme' });
  });
  afterAll(async () => {
    await subject.close();
    await rm(dataDir, { recursive: true, force: true });
  });

  it('tells who one is', async () => {
    expect(await root.auth.whoami()).toMatchObject({ id: 'local', administrator: true });
    expect(await subject.ann().auth.whoami()).toMatchObject({ name: ANN, kind: 'user', administrator: false, tenant: { name: 'acme' }, roles: ['viewer'] });
  });

  it('lets a member do what their role allows, from the next call on', async () => {
    const ann = subject.ann();
    expect((await ann.vpc.list()).items.map(({ name }) => name)).toEqual(expect.any(Array));
    await expect(ann.vpc.create({ name: 'prod' })).rejects.toMatchObject({ code: 'forbidden' });
    await root.tenantMember.update(ANN, { roles: ['developer'] }, { tenant: 'acme' });
    const vpc = await ann.vpc.create({ name: 'prod' }, { wait: true });
    expect(await ann.vpc.get('prod')).toMatchObject({ id: vpc.id });
    await expect(root.vpc.get(vpc.id), 'each tenant is a world of its own').rejects.toMatchObject({ code: 'not_found' });
    expect(await root.vpc.get(vpc.id, {}, { tenant: 'acme' })).toMatchObject({ name: 'prod' });
    await ann.vpc.delete('prod', {}, { wait: true });
  });

  it('shows nothing of what is not theirs', async () => {
    const ann = subject.ann();
    await expect(ann.vpc.list({}, { tenant: 'default' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(ann.vpc.list({}, { tenant: 'nowhere' })).rejects.toMatchObject({ code: 'not_found' });
    await expect(ann.user.list()).rejects.toMatchObject({ code: 'forbidden' });
    await expect(ann.auth.configure({ registration: 'open' })).rejects.toMatchObject({ code: 'forbidden' });
    expect((await ann.tenant.list()).items.map(({ name }) => name)).toEqual(['acme']);
  });

  it('takes API keys and client tokens for what they are', async (test) => {
    const { open } = subject;
    if (open === undefined) return test.skip('in the same process nobody proves who they are');
    const key = await subject.ann().apiKey.create({ name: 'backup' });
    const byKey = open({ apiKey: key.key });
    expect(await byKey.auth.whoami()).toMatchObject({ name: ANN, credential: { kind: 'api-key', id: key.id }, tenant: { name: 'acme' } });
    await byKey.vpc.list();
    await subject.ann().apiKey.revoke('backup');
    await expect(byKey.vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });

    const account = await root.serviceAccount.create({ name: 'ci', roles: ['viewer'] }, { tenant: 'acme' });
    const { clientId, clientSecret } = await root.serviceAccount.rotateSecret('ci', {}, { tenant: 'acme' });
    const ci = open({ client: { id: clientId, secret: clientSecret } });
    expect(await ci.auth.whoami()).toMatchObject({ id: account.id, kind: 'service-account', roles: ['viewer'] });
    await expect(ci.vpc.create({ name: 'x' })).rejects.toMatchObject({ code: 'forbidden' });
    await expect(open({ client: { id: clientId, secret: 'wrong' } }).vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('keeps a session that is handed on, and renews it when its token is refused', async (test) => {
    const { open } = subject;
    if (open === undefined) return test.skip('in the same process there are no sessions');
    const sessions: Session[] = [];
    const onSession = (session: Session) => void sessions.push(session);
    await open({ login: { email: ANN, password: PASSWORD }, onSession }).auth.whoami();
    const first = sessions[0] as Session;
    // What the clock holds for good and the daemon does not.
    const again = open({ session: { ...first, accessToken: `${first.accessToken}x` }, onSession });
    const made = await again.vpc.create({ name: 'once' }, { wait: true });
    expect(sessions).toHaveLength(2);
    expect((await again.vpc.list()).items.filter(({ name }) => name === 'once').map(({ id }) => id)).toEqual([made.id]);
    await again.vpc.delete('once', {}, { wait: true });
    // The refresh token is spent: whoever shows it again had stolen it, and the session is over.
    await expect(open({ session: { ...first, expiresAt: 0 } }).vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(again.vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('ends streams and calls with the session', async (test) => {
    const { open } = subject;
    if (open === undefined) return test.skip('in the same process there are no sessions');
    const ann = open({ session: await sessionOf(open) });
    const watching = (async () => {
      for await (const _ of ann.event.watch()) void _;
    })();
    await ann.auth.whoami();
    await root.user.signOut(ANN);
    await expect(watching).rejects.toMatchObject({ code: 'unauthenticated' });
    await expect(ann.vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
  });

  it('knows nobody who is disabled or gone', async () => {
    const ann = subject.ann();
    await ann.vpc.list();
    await root.user.update(ANN, { disabled: true });
    await expect(ann.vpc.list()).rejects.toMatchObject({ code: 'unauthenticated' });
    await root.user.update(ANN, { disabled: false });
    await subject.ann().vpc.list();
    await root.user.delete(ANN);
    const refused = await subject
      .ann()
      .vpc.list()
      .catch((error: unknown) => error);
    expect(isFault(refused, 'unauthenticated') || isFault(refused, 'not_found'), String(refused)).toBe(true);
  });
});

/** The tokens of a login of Ann's, in the hands of the test. */
async function sessionOf(open: (options: ConnectOptions) => Cloud): Promise<Session> {
  let kept: Session | undefined;
  await open({
    login: { email: ANN, password: PASSWORD },
    onSession: (session) => {
      kept = session;
    },
  }).auth.whoami();
  if (kept === undefined) throw new Error('no session was told');
  return kept;
}

it('is nobody when there is nobody of that name', async () => {
  const dataDir = await mkdtemp(join(tmpdir(), 'cloud-who-'));
  await expect(embed({ dataDir, driver: 'memory', durable: false, as: 'nobody@example.com' })).rejects.toMatchObject({ code: 'not_found' });
  await using cloud = await embed({ dataDir, driver: 'memory', durable: false });
  await expect(cloud.as('nobody@example.com').vpc.list()).rejects.toMatchObject({ code: 'not_found' });
  await cloud.close();
  await rm(dataDir, { recursive: true, force: true });
});
