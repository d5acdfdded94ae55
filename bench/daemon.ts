// The built daemon as a user runs it, with a data directory of its own, and the few calls that the benchmarks need to fill it.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect as connectSocket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, connect } from '@thecloud/sdk';
import { end, firstLine } from './process.ts';

export const ROOT = join(import.meta.dirname, '..');
export const CLI = join(ROOT, 'cloud');
const MAIN = join(ROOT, 'packages/daemon/dist/main.js');

export const built = (): boolean => existsSync(MAIN) && existsSync(join(ROOT, 'packages/cli/dist/bundle/main.js'));

export type DriverName = 'memory' | 'docker';

export interface Running {
  dataDir: string;
  pid: number;
  port: number;
  cloud: Connection;
  /** What a call over TCP sends. */
  headers: { authorization: string };
}

/** A directory that goes away with the stack. */
export async function temporary(stack: AsyncDisposableStack): Promise<string> {
  const dataDir = await mkdtemp(join(tmpdir(), 'cloud-bench-'));
  stack.defer(() => rm(dataDir, { recursive: true, force: true }));
  return dataDir;
}

export const spawnDaemon = (dataDir: string, driver: DriverName, ...more: string[]) =>
  spawn(process.execPath, [MAIN, '--data-dir', dataDir, '--driver', driver, '--log-file', join(dataDir, 'daemon.log'), ...more], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });

/** Serves a data directory, a new one when none is given, over its socket and TCP until the stack is disposed. */
export async function serve(
  stack: AsyncDisposableStack,
  driver: DriverName,
  given?: string,
  more: readonly string[] = ['--s3-listen', 'off'],
): Promise<Running> {
  const dataDir = given ?? (await temporary(stack));
  const child = spawnDaemon(dataDir, driver, '--listen', '0', '--rate-limit', '0', ...more);
  stack.defer(() => end(child));
  const heard = (await firstLine(child)) as { ready?: { pid: number; address: { port: number } }; error?: { message: string } };
  if (heard.ready === undefined) throw new Error(`the daemon did not start: ${heard.error?.message}`);
  const token = (await readFile(join(dataDir, 'admin-token'), 'utf8')).trim();
  const cloud = stack.use(connect({ dataDir }));
  return { dataDir, pid: heard.ready.pid, port: heard.ready.address.port, cloud, headers: { authorization: `Bearer ${token}` } };
}

const AT_ONCE = 20;

/** Makes that many instances in one VPC, and waits until none of them is on its way any more. */
export async function fill({ cloud }: Running, count: number): Promise<void> {
  await cloud.vpc.create({ name: 'bench', cidr: '10.77.0.0/16' }, { wait: true });
  const left = Array.from({ length: count }, (_, index) => `web-${String(index).padStart(5, '0')}`);
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (let name = left.pop(); name !== undefined; name = left.pop()) {
        await cloud.instance.create({
          name,
          image: 'busybox',
          type: 'nano',
          vpc: 'bench',
          command: 'sleep 1d',
          labels: { tier: 'web' },
          env: { MODE: 'bench' },
        });
      }
    }),
  );
  for await (const page of pages(cloud)) {
    for (const { id, state } of page) if (state !== 'running') await running(cloud, id);
  }
}

/** Resolves when an instance runs; rejects when it has failed. */
export async function running(cloud: Connection, id: string): Promise<void> {
  for (;;) {
    const { state, reason } = await cloud.instance.get(id);
    if (state === 'running') return;
    if (state === 'error') throw new Error(`an instance failed: ${reason}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function* pages(cloud: Connection): AsyncGenerator<Awaited<ReturnType<Connection['instance']['list']>>['items']> {
  let cursor: string | undefined;
  do {
    const page = await cloud.instance.list({ limit: 1000, ...(cursor === undefined ? {} : { cursor }) });
    yield page.items;
    cursor = page.cursor;
  } while (cursor !== undefined);
}

/** The paths that, asked one after the other, give every instance. */
export async function pathsOfAll(cloud: Connection): Promise<string[]> {
  const paths: string[] = [];
  let cursor: string | undefined;
  do {
    const query = cursor === undefined ? '' : `?cursor=${cursor}`;
    paths.push(`/v1/instances${query}`);
    cursor = (await cloud.instance.list(cursor === undefined ? {} : { cursor })).cursor;
  } while (cursor !== undefined);
  return paths;
}

const RETRY_MS = 2;

/** Resolves when a server behind a socket has answered a request with success. */
export async function answered(socketPath: string, path: string): Promise<void> {
  for (;;) {
    const ok = await new Promise<boolean>((resolve) => {
      const socket = connectSocket(socketPath, () => socket.write(`GET ${path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n`));
      socket.once('data', (bytes: Buffer) => {
        socket.destroy();
        resolve(bytes.toString('latin1', 0, 12) === 'HTTP/1.1 200');
      });
      socket.once('error', () => resolve(false));
    });
    if (ok) return;
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}
