// Events of objects: what is told, to whom, again and again until it was heard, and to whom never.
import { createHmac } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import { networkInterfaces, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { Cloud } from '../../contracts.ts';
import { ManualClock } from '../../kernel/clock.ts';
import { type ServiceContext, service } from '../../kernel/service.ts';
import { services } from '../../services.ts';
import { type Bench, bench, faultOf } from '../../testing/bench.ts';
import { testContracts } from '../../testing/gadget.ts';
import { people } from '../../testing/people.ts';
import { listenS3 } from './s3/listen.ts';
import { refuseHost } from './webhook.ts';

interface Event {
  eventName: string;
  s3: {
    configurationId: string;
    bucket: { name: string; arn: string };
    object: { key: string; size?: number; eTag?: string; versionId?: string; sequencer: string };
  };
}
interface Heard {
  headers: IncomingHttpHeaders;
  path: string;
  events: Event[];
}

/** Somewhere to post to. `answer` may change its mind. */
async function webhook(answer: (heard: Heard, count: number) => number | 'silence' | { redirect: string } = () => 200) {
  const heard: Heard[] = [];
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const one = { headers: request.headers, path: request.url ?? '', events: (JSON.parse(Buffer.concat(pieces).toString()) as { Records: Event[] }).Records };
      heard.push(one);
      const said = answer(one, heard.length);
      if (said === 'silence') return;
      if (typeof said === 'number') response.writeHead(said).end('thanks');
      else response.writeHead(302, { location: said.redirect }).end();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    heard,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    keys: () => heard.flatMap(({ events }) => events.map(({ s3 }) => s3.object.key)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

async function put(cloud: Cloud, name: string, bytes = 'x', options: { tenant?: string } = {}) {
  const channel = await cloud.object.put(name, {}, options);
  channel.input.end(bytes);
  return channel.result;
}
const messages = async (b: Bench, queue: string): Promise<Event[]> => {
  const { items } = await b.cloud.queue.receive(queue, { max: 10 });
  for (const { receipt } of items) await b.cloud.queue.ack(queue, { receipt });
  return items.flatMap(({ body }) => (JSON.parse(body) as { Records: Event[] }).Records);
};
const hmac = (secret: string, text: string): string => createHmac('sha1', secret).update(text).digest('base64');
const waiting = async (b: Bench): Promise<number> =>
  (
    await b.db
      .selectFrom('object_notice' as never)
      .selectAll()
      .execute()
  ).length;

beforeEach(() => vi.stubEnv('CLOUD_WEBHOOKS_TO_HOST', '1'));
afterEach(() => vi.unstubAllEnvs());

describe('an event', () => {
  test('of a form is a Post', async () => {
    let context: ServiceContext | undefined;
    const watching = service(testContracts.plain, (given) => {
      context = given;
      return {};
    });
    await using b = await bench({ definitions: [...services, watching] });
    await b.cloud.queue.create({ name: 'forms' });
    await b.cloud.bucket.create({ name: 'photos' });
    await b.cloud.bucket.notification('photos', { rules: [{ queue: 'forms', events: ['s3:ObjectCreated:Post'] }] });
    const { accessKeyId, secretAccessKey } = await b.cloud.s3Key.create({ name: 'web' });
    const listening = await listenS3(context as ServiceContext, { host: '127.0.0.1', port: 0 });
    const policy = { expiration: '2100-01-01T00:00:00Z', conditions: [{ bucket: 'photos' }, ['starts-with', '$key', '']] };
    const encoded = Buffer.from(JSON.stringify(policy)).toString('base64');
    const form = new FormData();
    const fields = { key: 'by/${filename}', AWSAccessKeyId: accessKeyId, policy: encoded, signature: hmac(secretAccessKey, encoded) };
    for (const [name, value] of Object.entries(fields)) form.set(name, value);
    form.set('file', new Blob(['hello']), 'a.txt');
    expect((await fetch(`http://127.0.0.1:${listening.port}/photos`, { method: 'POST', body: form })).status).toBe(204);
    await put(b.cloud, 'photos/put');
    await b.until(async () => (await waiting(b)) === 0);
    expect((await messages(b, 'forms')).map(({ eventName, s3 }) => `${eventName} ${s3.object.key}`)).toEqual(['ObjectCreated:Post by/a.txt']);
    await listening.close();
  });

  test('goes to the queues and webhooks whose rules it fits, in the words of S3', async () => {
    await using hook = await webhook();
    await using b = await bench();
    await b.cloud.queue.create({ name: 'all' });
    await b.cloud.queue.create({ name: 'photos' });
    await b.cloud.bucket.create({ name: 'photos', versioning: 'enabled' });
    await b.cloud.bucket.notification('photos', {
      rules: [
        { id: 'everything', queue: 'all' },
        { queue: 'photos', events: ['s3:ObjectCreated:Put'], prefix: '2026/', suffix: '.jpg' },
        { webhook: hook.url, events: ['s3:ObjectRemoved:*'] },
      ],
    });
    expect((await b.cloud.bucket.configuration('photos')).items).toMatchObject([
      { name: 'notifications', value: [{ id: 'everything', events: ['s3:ObjectCreated:*', 's3:ObjectRemoved:*'] }, { id: 'rule-2' }, { id: 'rule-3' }] },
    ]);
    const made = await put(b.cloud, 'photos/2026/ä b+c.jpg', 'hello');
    await put(b.cloud, 'photos/2026/note.txt');
    await b.cloud.object.copy('photos/2026/note.txt', { to: 'photos/2026/copy.jpg' });
    const gone = await b.cloud.object.delete('photos/2026/note.txt');
    await b.until(async () => (await waiting(b)) === 0);
    const all = await messages(b, 'all');
    expect(all.map(({ eventName, s3 }) => `${eventName} ${s3.object.key}`).sort()).toEqual([
      'ObjectCreated:Copy 2026/copy.jpg',
      'ObjectCreated:Put 2026/%C3%A4+b%2Bc.jpg',
      'ObjectCreated:Put 2026/note.txt',
      'ObjectRemoved:DeleteMarkerCreated 2026/note.txt',
    ]);
    const some = await messages(b, 'photos');
    expect(some).toMatchObject([
      {
        eventVersion: '2.1',
        eventSource: 'aws:s3',
        awsRegion: 'us-east-1',
        eventName: 'ObjectCreated:Put',
        userIdentity: { principalId: 'local' },
        s3: {
          configurationId: 'rule-2',
          bucket: { name: 'photos', arn: 'arn:aws:s3:::photos', ownerIdentity: { principalId: 'tnt-0000000000000000' } },
          object: { size: 5, eTag: made.etag, versionId: made.version },
        },
      },
    ]);
    expect(hook.heard).toHaveLength(1);
    expect(hook.heard[0]).toMatchObject({
      path: '/hook',
      headers: { 'content-type': 'application/json; charset=utf-8', 'x-cloud-event-id': expect.any(String) },
    });
    expect(hook.heard[0]?.events[0]?.s3.object).toMatchObject({ versionId: gone.version });
  });

  test('is not there when the change is not', async () => {
    await using b = await bench();
    await b.cloud.queue.create({ name: 'all' });
    await b.cloud.bucket.create({ name: 'photos', maxBytes: 3 });
    await b.cloud.bucket.notification('photos', { rules: [{ queue: 'all' }] });
    expect((await faultOf(put(b.cloud, 'photos/a', 'four'))).code).toBe('quota_exceeded');
    await put(b.cloud, 'photos/b', 'one');
    await b.until(async () => (await b.cloud.queue.get('all')).depth === 1);
    expect((await messages(b, 'all')).map(({ s3 }) => s3.object.key)).toEqual(['b']);
    await b.cloud.bucket.notification('photos', { rules: [] });
    await b.cloud.object.delete('photos/b');
    expect(await waiting(b)).toBe(0);
  });
});

describe('a webhook', () => {
  test('that fails is tried again, later and later, until it takes it', async () => {
    await using hook = await webhook((_, count) => (count < 4 ? 500 : 204));
    const clock = new ManualClock(Date.UTC(2030, 0, 1));
    await using b = await bench({ clock });
    await b.cloud.bucket.create({ name: 'photos' });
    await b.cloud.bucket.notification('photos', { rules: [{ webhook: hook.url }] });
    await put(b.cloud, 'photos/a');
    const began = clock.now();
    await b.until(() => hook.heard.length === 4, 100);
    expect(clock.now() - began).toBeGreaterThan(3_000);
    await b.until(async () => (await waiting(b)) === 0);
    expect(new Set(hook.heard.map(({ headers }) => headers['x-cloud-event-id'])).size).toBe(1);
  });

  test('is not followed elsewhere', async () => {
    await using elsewhere = await webhook();
    await using hook = await webhook(() => ({ redirect: elsewhere.url }));
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos' });
    await b.cloud.bucket.notification('photos', { rules: [{ webhook: hook.url }] });
    await put(b.cloud, 'photos/a');
    await b.until(() => hook.heard.length > 0);
    expect(elsewhere.heard).toEqual([]);
    expect(await waiting(b)).toBe(1);
  });

  test('that is away for a day is given up, and that is told', async () => {
    await using hook = await webhook(() => 503);
    await using b = await people();
    await b.cloud.bucket.create({ name: 'photos' });
    await b.cloud.bucket.notification('photos', { rules: [{ id: 'dead', webhook: hook.url }] });
    for (const key of ['a', 'b', 'c']) await put(b.cloud, `photos/${key}`);
    await b.until(() => hook.heard.length >= 3);
    b.clock.jump(24 * 60 * 60_000);
    await b.until(async () => (await waiting(b)) === 0, 60_000);
    const events = (await b.cloud.event.list({})).items.filter(({ type }) => type === 'bucket.undelivered');
    expect(events.length).toBeGreaterThan(0);
    expect(events[0]?.message).toMatch(/could not be delivered by the rule dead: the webhook answered with 503/);
  });

  test('that never answers keeps nobody else waiting', async () => {
    await using dead = await webhook(() => 'silence');
    await using hook = await webhook();
    await using b = await bench();
    await b.tenant('other');
    const there = { tenant: 'other' };
    await b.cloud.bucket.create({ name: 'dead' });
    await b.cloud.bucket.notification('dead', { rules: [{ webhook: dead.url }] });
    await b.cloud.bucket.create({ name: 'alive' }, there);
    await b.cloud.bucket.notification('alive', { rules: [{ webhook: hook.url }] }, there);
    for (let number = 0; number < 20; number++) await put(b.cloud, `dead/${number}`);
    for (let number = 0; number < 20; number++) await put(b.cloud, `alive/${number}`, 'x', there);
    await b.until(() => hook.heard.length === 20);
    expect(dead.heard.length).toBe(4);
  });

  test('hears after a restart what it did not hear before', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-notices-'));
    await using hook = await webhook((_, count) => (count === 1 ? 'silence' : 200));
    try {
      const first = await bench({ dataDir });
      await first.cloud.bucket.create({ name: 'photos' });
      await first.cloud.bucket.notification('photos', { rules: [{ webhook: hook.url }] });
      await put(first.cloud, 'photos/a');
      await first.until(() => hook.heard.length === 1);
      first.kill();
      await using second = await bench({ dataDir });
      await second.until(() => hook.heard.length === 2);
      await second.until(async () => (await waiting(second)) === 0);
      expect(hook.keys()).toEqual(['a', 'a']);
      expect(new Set(hook.heard.map(({ headers }) => headers['x-cloud-event-id'])).size).toBe(1);
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});

describe('where nothing is sent', () => {
  test('the machine itself, link-local and reserved addresses, however they are written', async () => {
    vi.stubEnv('CLOUD_WEBHOOKS_TO_HOST', '');
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos' });
    const own = Object.values(networkInterfaces())
      .flatMap((each) => each ?? [])
      .find(({ internal, family }) => !internal && family === 'IPv4')?.address;
    const hosts = [
      ...['127.0.0.1', 'localhost', 'a.localhost', '127.1', '2130706433', '0x7f.1', '0.0.0.0', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:7f00:1]'],
      ...['169.254.169.254', '[fe80::1]', '224.0.0.1', '255.255.255.255', '[64:ff9b::a9fe:a9fe]', '[2002:7f00:1::]', '[fd00:ec2::254]'],
      ...['168.63.129.16', '192.0.0.192', '[fd20:ce::254]', '[64:ff9b:1::7f00:1]', '[2001:0:7f00:1::]', '[::127.0.0.1]', '[::ffff:0:127.0.0.1]'],
      ...(own === undefined ? [] : [own]),
    ];
    for (const host of hosts) {
      const fault = await faultOf(b.cloud.bucket.notification('photos', { rules: [{ webhook: `http://${host}:8080/` }] }));
      expect(fault, host).toMatchObject({ code: 'invalid_input', details: [{ path: 'rules.0.webhook' }] });
    }
    for (const host of ['10.1.2.3', '192.168.77.9', '[2001:db8::1]', 'example.com']) expect(await refuseHost(host), host).toBeUndefined();
    for (const url of ['ftp://example.com', 'file:///etc/passwd', 'nonsense']) {
      expect((await faultOf(b.cloud.bucket.notification('photos', { rules: [{ webhook: url }] }))).code, url).toBe('invalid_input');
    }
  });

  test('a name that leads to the machine is found out when it is connected to', async () => {
    await using hook = await webhook();
    await using b = await bench();
    await b.cloud.bucket.create({ name: 'photos' });
    await b.cloud.bucket.notification('photos', { rules: [{ webhook: hook.url.replace('127.0.0.1', 'localhost') }] });
    vi.stubEnv('CLOUD_WEBHOOKS_TO_HOST', '');
    await put(b.cloud, 'photos/a');
    await b.until(async () => {
      const [notice] = (await b.db
        .selectFrom('object_notice' as never)
        .selectAll()
        .execute()) as { attempts: number }[];
      return notice !== undefined && notice.attempts > 0;
    });
    expect(hook.heard).toEqual([]);
  });

  test('queues of others, none, or those that one may not send to', async () => {
    await using b = await people();
    await b.tenant('other');
    const { id } = await b.cloud.queue.create({ name: 'theirs' }, { tenant: 'other' });
    await b.cloud.bucket.create({ name: 'photos' });
    for (const queue of ['theirs', id, 'nowhere']) {
      expect((await faultOf(b.cloud.bucket.notification('photos', { rules: [{ queue }] }))).code, queue).toBe('not_found');
      const value = [{ id: 'a', events: ['s3:ObjectCreated:*'], queueId: queue }];
      expect((await faultOf(b.cloud.bucket.configure('photos', { name: 'notifications', value }))).code, queue).toBe('not_found');
    }
    expect((await faultOf(b.cloud.bucket.notification('photos', { rules: [{}] }))).code).toBe('invalid_input');
    expect((await faultOf(b.cloud.bucket.notification('photos', { rules: [{ queue: 'a', webhook: 'https://example.com' }] }))).code).toBe('invalid_input');
    await b.cloud.queue.create({ name: 'mine' });
    await b.person('ann@example.com');
    await b.cloud.role.create({ name: 'configures', permissions: ['bucket:*'] });
    await b.cloud.tenantMember.add({ name: 'ann@example.com', roles: ['configures'] });
    const ann = b.as(await b.principal('ann@example.com'));
    expect(await faultOf(ann.bucket.notification('photos', { rules: [{ queue: 'mine' }] }))).toMatchObject({
      code: 'forbidden',
      details: { permission: 'queue:send' },
    });
  });

  test('a queue that is gone: its events end, and that is told', async () => {
    await using b = await bench();
    await b.cloud.queue.create({ name: 'short' });
    await b.cloud.bucket.create({ name: 'photos' });
    await b.cloud.bucket.notification('photos', { rules: [{ queue: 'short' }] });
    await b.cloud.queue.delete('short');
    await put(b.cloud, 'photos/a');
    await b.until(async () => (await b.cloud.event.list({})).items.some(({ type }) => type === 'bucket.undelivered'));
    expect(await waiting(b)).toBe(0);
  });
});
