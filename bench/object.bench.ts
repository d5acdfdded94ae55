// Object storage: small and large objects and lists, ours (synced before each answer, sealed) beside s3rver and Azurite from npm, which sync nothing, and beside
// node:http that keeps nothing. The peers are not among our dependencies: CLOUD_BENCH_PEERS names a directory in which `npm install s3rver azurite` was run.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { closeSync, existsSync, fdatasyncSync, openSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { type Bench, type Case, inTurns, type Sample, type Take } from './case.ts';
import { serve, temporary } from './daemon.ts';
import { dockerObstacle } from './docker.ts';
import { type ObjectTask, objectLoad } from './object-load.ts';
import { end, firstLine } from './process.ts';

const OURS = 'ours';
const PLAIN = 'ours, not sealed';
const S3RVER = 's3rver';
const AZURITE = 'Azurite';
const CEILING = 'node:http, keeps nothing';
const DISK = 'fdatasync of one block';
const SMALL = 4096;
const LARGE = 256 * 1024 * 1024;
const KEYS = 2000;
const CONNECTIONS = 32;

const all = [S3RVER, AZURITE, PLAIN, CEILING] as const;
const putSmall: Case = {
  name: '4 KB PUT, 32 connections',
  unit: '/s',
  subjects: [OURS, ...all, DISK],
  goals: [
    { least: 2.5, times: DISK },
    { least: 2, times: S3RVER },
  ],
};
const getSmall: Case = { name: '4 KB GET, 32 connections', unit: '/s', subjects: [OURS, ...all], goals: [{ least: 4, times: S3RVER }] };
const putOne: Case = { name: '4 KB PUT, 1 connection', unit: '/s', subjects: [OURS, ...all], goals: [] };
const putLarge: Case = { name: '256 MB PUT', unit: 'MB/s', subjects: [OURS, ...all], goals: [{ least: 1.5, times: S3RVER }] };
const getLarge: Case = { name: '256 MB GET', unit: 'MB/s', subjects: [OURS, ...all], goals: [{ least: 2, times: S3RVER }] };
const putMany: Case = { name: '16 MB PUT, 4 connections', unit: 'MB/s', subjects: [OURS, ...all], goals: [{ least: 1.5, times: S3RVER }] };
/** What others wait for meanwhile: as long as the event loop is busy, and as the processors are. */
const beside = (method: ObjectTask['method']): Case => ({
  name: `4 KB GET beside four 64 MB ${method}, p99`,
  unit: 'ms',
  subjects: [OURS, ...all],
  goals: [{ most: 20 }],
});
const besidePut = beside('PUT');
const besideGet = beside('GET');
const list: Case = {
  name: 'list of 1000 among 2000 keys, 1 connection',
  unit: '/s',
  // s3rver answers most lists of as many keys with InternalError.
  subjects: [OURS, PLAIN],
  goals: [{ figure: 'p50', most: 5 }],
};

const FOUR = { keys: 4, bytes: 64 * 1024 * 1024, connections: 4 };
const CASES = [putSmall, putOne, getSmall, list, putLarge, putMany, getLarge, besidePut, besideGet];

interface Subject {
  name: string;
  base: Pick<ObjectTask, 'port' | 'pid' | 'protocol' | 'prefix'> & Partial<ObjectTask>;
}

const peers = process.env['CLOUD_BENCH_PEERS'] ?? '';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port: number): Promise<void> {
  for (const deadline = Date.now() + 20_000; Date.now() < deadline; ) {
    try {
      await fetch(`http://127.0.0.1:${port}/`);
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 50)); // not up yet: refused
    }
  }
  throw new Error(`nothing listens on port ${port}`);
}

async function ours(stack: AsyncDisposableStack): Promise<Subject[]> {
  const { cloud, pid } = await serve(stack, 'docker', undefined, ['--s3-listen', '127.0.0.1:0']);
  const { endpoint, accessKeyId, secretAccessKey } = await cloud.s3.credentials();
  if (endpoint === undefined) throw new Error('the daemon serves no S3 clients');
  const base = { port: Number(new URL(endpoint).port), pid, protocol: 's3' as const, accessKeyId, secretAccessKey };
  await cloud.bucket.create({ name: 'bench' });
  await cloud.bucket.create({ name: 'bench-plain', encryption: false });
  return [
    { name: OURS, base: { ...base, prefix: '/bench' } },
    { name: PLAIN, base: { ...base, prefix: '/bench-plain' } },
  ];
}

async function s3rver(stack: AsyncDisposableStack): Promise<Subject | undefined> {
  const program = join(peers, 'node_modules/s3rver/bin/s3rver.js');
  if (peers === '' || !existsSync(program)) return undefined;
  const port = await freePort();
  const child = spawn(
    process.execPath,
    [program, '-d', await temporary(stack), '-a', '127.0.0.1', '-p', String(port), '--silent', '--configure-bucket', 'bench'],
    { stdio: 'ignore' },
  );
  stack.defer(() => end(child));
  await listening(port);
  return { name: S3RVER, base: { port, pid: child.pid ?? 0, protocol: 's3', prefix: '/bench', accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' } };
}

/** The account and key that Azurite always has (its README). */
const AZURE = { account: 'devstoreaccount1', key: 'Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==' };

/** An account SAS: one signature for every request ("Create an account SAS", Microsoft Learn). */
function azureQuery(): string {
  const expiry = new Date(Date.now() + 3_600_000).toISOString().replace(/\.\d+/, '');
  const fields = { sp: 'rwdlac', ss: 'b', srt: 'sco', st: '', se: expiry, sip: '', spr: '', sv: '2021-12-02', ses: '' };
  const text = `${[AZURE.account, ...Object.values(fields)].join('\n')}\n`;
  const sig = createHmac('sha256', Buffer.from(AZURE.key, 'base64')).update(text).digest('base64');
  return new URLSearchParams({ sv: fields.sv, ss: fields.ss, srt: fields.srt, sp: fields.sp, se: expiry, sig }).toString();
}

async function azurite(stack: AsyncDisposableStack): Promise<Subject | undefined> {
  const program = join(peers, 'node_modules/azurite/dist/src/blob/main.js');
  if (peers === '' || !existsSync(program)) return undefined;
  const port = await freePort();
  const child = spawn(
    process.execPath,
    [
      program,
      '--silent',
      '--location',
      await temporary(stack),
      '--blobHost',
      '127.0.0.1',
      '--blobPort',
      String(port),
      '--skipApiVersionCheck',
      '--disableTelemetry',
    ],
    {
      stdio: 'ignore',
    },
  );
  stack.defer(() => end(child));
  await listening(port);
  const query = azureQuery();
  const made = await fetch(`http://127.0.0.1:${port}/${AZURE.account}/bench?restype=container&${query}`, {
    method: 'PUT',
    headers: { 'x-ms-version': '2021-12-02' },
  });
  if (!made.ok) throw new Error(`Azurite made no container: ${made.status} ${await made.text()}`);
  return { name: AZURITE, base: { port, pid: child.pid ?? 0, protocol: 'azure', prefix: `/${AZURE.account}/bench`, query } };
}

async function ceiling(stack: AsyncDisposableStack, bytes: number): Promise<Subject> {
  const child = spawn(process.execPath, [`${import.meta.dirname}/peer-object.mjs`, String(bytes)], { stdio: ['ignore', 'pipe', 'inherit'] });
  stack.defer(() => end(child));
  const { port } = (await firstLine(child)) as { port: number };
  return { name: CEILING, base: { port, pid: child.pid ?? 0, protocol: 'plain', prefix: '/bench' } };
}

/** How often a second this disk makes a block last. */
async function disk(stack: AsyncDisposableStack): Promise<() => Sample> {
  const path = join(await temporary(stack), 'block');
  return () => {
    const fd = openSync(path, 'w');
    const until = performance.now() + 1000;
    let count = 0;
    for (; performance.now() < until; count++) {
      writeSync(fd, Buffer.alloc(SMALL), 0, SMALL, (count % 256) * SMALL);
      fdatasyncSync(fd);
    }
    closeSync(fd);
    return { value: count };
  };
}

export const bench: Bench = {
  name: 'object',
  cases: CASES,
  // The driver that keeps objects in files comes with Docker's.
  obstacle: dockerObstacle,
  open: async (stack) => {
    const [small, large] = [await ceiling(stack, SMALL), await ceiling(stack, LARGE)];
    const stores = [...(await ours(stack)), await s3rver(stack), await azurite(stack)].filter((each) => each !== undefined);
    const sync = await disk(stack);
    const common = { keys: KEYS, bytes: SMALL, connections: CONNECTIONS, warmSeconds: 0.5, seconds: 3 };
    // What is read and listed must be there, each key once.
    for (const { base } of stores) await objectLoad({ ...common, ...base, method: 'PUT', times: KEYS });
    for (const { base } of stores)
      await objectLoad({ ...common, ...base, prefix: `${base.prefix}/large`, method: 'PUT', keys: 1, bytes: LARGE, connections: 1, times: 1 });
    return async (take, round) => {
      const turns = async (
        of: Case,
        subjects: readonly Subject[],
        task: Partial<ObjectTask> & Pick<ObjectTask, 'method'>,
        more: readonly ((taking: Take) => Promise<void>)[] = [],
      ) => {
        const taking = take(of);
        await inTurns(round, [
          ...subjects.map(
            ({ name, base }) =>
              async () =>
                taking(name, await objectLoad({ ...common, ...base, ...task, prefix: `${base.prefix}${task.prefix ?? ''}` })),
          ),
          ...more.map((one) => () => one(taking)),
        ]);
      };
      await turns(putSmall, [...stores, small], { method: 'PUT' }, [async (taking) => taking(DISK, sync())]);
      await turns(putOne, [...stores, small], { method: 'PUT', connections: 1 });
      await turns(getSmall, [...stores, small], { method: 'GET' });
      await turns(
        list,
        stores.filter(({ name }) => name === OURS || name === PLAIN),
        { method: 'GET', list: 'list-type=2&max-keys=1000', connections: 1 },
      );
      await turns(putLarge, [...stores, large], { method: 'PUT', prefix: '/large', keys: 1, bytes: LARGE, connections: 1, times: 2 });
      await turns(putMany, [...stores, large], { method: 'PUT', prefix: '/medium', keys: 8, bytes: 16 * 1024 * 1024, connections: 4, times: 24 });
      await turns(getLarge, [...stores, large], { method: 'GET', prefix: '/large', keys: 1, bytes: LARGE, connections: 1, times: 2 });
      for (const [of, method] of [
        [besidePut, 'PUT'],
        [besideGet, 'GET'],
      ] as const) {
        const taking = take(of);
        const one = async ({ name, base }: Subject): Promise<void> => {
          const bulk = objectLoad({ ...common, ...base, ...FOUR, method, seconds: 5, prefix: `${base.prefix}/four` });
          const probed = objectLoad({ ...common, ...base, method: 'GET', connections: 1, warmSeconds: 1, seconds: 3 });
          const [, { p50, p99 }] = await Promise.all([bulk, probed]);
          if (p50 !== undefined && p99 !== undefined) taking(name, { value: p99, p50, p99 });
        };
        await inTurns(
          round,
          stores.map((store) => () => one(store)),
        );
      }
    };
  },
};
