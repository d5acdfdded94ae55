// Host ports: one owner each, chosen once, never taken from a program of the host.
import { createServer, type Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { bench, faultOf } from '../../testing/bench.ts';

const servers: Server[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});
const listen = (port = 0, host = '127.0.0.1'): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = createServer().once('error', reject);
    server.listen(port, host, () => {
      servers.push(server);
      resolve((server.address() as { port: number }).port);
    });
  });
async function freePort(): Promise<number> {
  const port = await listen();
  await new Promise((resolve) => servers.pop()?.close(resolve));
  return port;
}

test('a free port is chosen once and stays over stop, start, restart and unrelated changes', async () => {
  await using b = await bench();
  const { instance } = b.cloud;
  const made = await b.ready(instance.create({ name: 'web', image: 'busybox', ports: ['80', '53/udp'] }));
  const ports = made.ports;
  expect(ports).toMatchObject([
    { hostAddress: '127.0.0.1', instancePort: 80, protocol: 'tcp' },
    { instancePort: 53, protocol: 'udp' },
  ]);
  for (const { hostPort } of ports) expect(hostPort).toBeGreaterThan(0);
  await b.ended(instance.stop('web'));
  await b.ended(instance.start('web'));
  await b.ended(instance.restart('web'));
  await b.ended(instance.update('web', { labels: { a: 'b' } }));
  await b.ended(instance.update('web', { ports: ['80', '53/udp'] }));
  expect((await instance.get('web')).ports).toEqual(ports);
  await b.ended(instance.update('web', { ports: ['53/udp', '80', '81'], allowRestart: true }));
  expect((await instance.get('web')).ports.map(({ hostPort }) => hostPort).slice(0, 2)).toEqual([ports[1]?.hostPort, ports[0]?.hostPort]);
});

test('a port has one owner: another instance, stopped or not, gets a conflict; after deletion it is free', async () => {
  await using b = await bench();
  const { instance } = b.cloud;
  const port = await freePort();
  await b.ready(instance.create({ name: 'one', image: 'busybox', ports: [`${port}:80`] }));
  await b.ended(instance.stop('one'));
  for (const published of [`${port}:80`, `0.0.0.0:${port}:80`]) {
    const fault = await faultOf(instance.create({ name: 'two', image: 'busybox', ports: ['90', published] }));
    expect(fault).toMatchObject({ code: 'conflict', details: [{ path: 'ports.1.hostPort' }] });
    expect(fault.message).toContain('in use by the instance one');
  }
  await b.ready(instance.create({ name: 'udp', image: 'busybox', ports: [`${port}:80/udp`] }));
  await b.ended(instance.delete('one'));
  await b.ready(instance.create({ name: 'two', image: 'busybox', ports: [`${port}:80`] }));
});

test('a port that a program of the host has is a conflict, and nothing is made', async () => {
  await using b = await bench();
  const port = await listen();
  const fault = await faultOf(b.cloud.instance.create({ name: 'web', image: 'busybox', ports: ['81', `${port}:80`] }));
  expect(fault).toMatchObject({ code: 'conflict', details: [{ path: 'ports.1.hostPort' }] });
  expect(fault.message).toContain('in use on this host');
  expect((await faultOf(b.cloud.instance.create({ name: 'web', image: 'busybox', ports: ['203.0.113.9:8080:80'] }))).details).toMatchObject([
    { path: 'ports.0.hostAddress' },
  ]);
  expect((await b.cloud.instance.list()).items).toEqual([]);
});

test('a port given twice names the second place', async () => {
  await using b = await bench();
  const port = await freePort();
  const create = (ports: string[]) => faultOf(b.cloud.instance.create({ name: 'web', image: 'busybox', ports }));
  expect(await create(['80', `${port}:80`, '81', `${port}:82`])).toMatchObject({ code: 'invalid_input', details: [{ path: 'ports.3' }] });
  const wild = await create([`${port}:80`, `0.0.0.0:${port}:81`]);
  expect(wild).toMatchObject({ code: 'invalid_input', details: [{ path: 'ports.1' }] });
  expect(wild.message).not.toContain('another instance');
});

test('the same program port published twice gets two host ports, also by an update', async () => {
  await using b = await bench();
  const made = await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox', ports: ['80'] }));
  const changed = await b.ready(b.cloud.instance.update('web', { ports: ['80', '80'], allowRestart: true }));
  const [first, second] = changed.ports.map(({ hostPort }) => hostPort);
  expect(first).toBe(made.ports[0]?.hostPort);
  expect(second).not.toBe(first);
});

test('an instance may move its own host port to another of its ports while it holds it', async () => {
  await using b = await bench();
  const port = await freePort();
  await b.ready(b.cloud.instance.create({ name: 'web', image: 'busybox', ports: [`${port}:80`] }));
  await listen(port); // as the backend does for a running instance
  const moved = await b.ready(b.cloud.instance.update('web', { ports: [`${port}:81`], allowRestart: true }));
  expect(moved.ports).toMatchObject([{ hostPort: port, instancePort: 81 }]);
});

test('thirty at once who want any port get thirty', async () => {
  await using b = await bench();
  await b.ready(b.cloud.vpc.create({ name: 'default' }));
  const made = await Promise.all(Array.from({ length: 30 }, (_, n) => b.cloud.instance.create({ name: `i-${n}`, image: 'busybox', ports: ['80', '81'] })));
  const ports = made.flatMap(({ ports }) => ports.map(({ hostPort }) => hostPort));
  expect(new Set(ports).size).toBe(60);
});
