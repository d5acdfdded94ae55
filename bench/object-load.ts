// The load on object stores: signed requests over plain sockets, each with another key, from a process of its own. Its one argument is the task as JSON; it
// prints what it found as one line of JSON.
import { spawn } from 'node:child_process';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import type { Sample } from './case.ts';
import { cpuOf, firstLine, rssOf } from './process.ts';
import { quantile } from './statistics.ts';

export interface ObjectTask {
  port: number;
  /** Whose protocol: S3 with SigV4 in a header, Azure's blobs with a shared signature in the address, or plain HTTP. */
  protocol: 's3' | 'azure' | 'plain';
  /** Azure: the query that carries the signature. */
  query?: string;
  accessKeyId?: string;
  secretAccessKey?: string;
  /** `/bucket` */
  prefix: string;
  method: 'PUT' | 'GET';
  /** Query of a list; keys are not used then. */
  list?: string;
  keys: number;
  bytes: number;
  connections: number;
  warmSeconds: number;
  seconds: number;
  /** Instead of seconds: so many requests, and the value is in MB/s. */
  times?: number;
  pid: number;
}

const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex');
const hmac = (key: string | Buffer, data: string): Buffer => createHmac('sha256', key).update(data).digest();

/** The head of each request. Signed once: signatures are good for minutes. */
function heads(task: ObjectTask, body: Buffer): Buffer[] {
  const host = `127.0.0.1:${task.port}`;
  const time = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const scope = `${time.slice(0, 8)}/us-east-1/s3/aws4_request`;
  const signing = ['us-east-1', 's3', 'aws4_request'].reduce((key, part) => hmac(key, part), hmac(`AWS4${task.secretAccessKey}`, time.slice(0, 8)));
  const digest = sha256(task.method === 'PUT' ? body : '');
  const count = task.list === undefined ? task.keys : 1;
  return Array.from({ length: count }, (_, index) => {
    const path = task.list === undefined ? `${task.prefix}/key-${String(index).padStart(7, '0')}` : task.prefix;
    const lines: Record<string, string> = { host };
    if (task.method === 'PUT') lines['content-length'] = String(body.length);
    let query = task.list ?? task.query ?? '';
    if (task.protocol === 's3') {
      Object.assign(lines, { 'x-amz-content-sha256': digest, 'x-amz-date': time });
      const signed = ['host', 'x-amz-content-sha256', 'x-amz-date'];
      const canonical = [task.method, path, query, ...signed.map((name) => `${name}:${lines[name]}`), '', signed.join(';'), digest].join('\n');
      const signature = hmac(signing, ['AWS4-HMAC-SHA256', time, scope, sha256(canonical)].join('\n')).toString('hex');
      lines['authorization'] = `AWS4-HMAC-SHA256 Credential=${task.accessKeyId}/${scope}, SignedHeaders=${signed.join(';')}, Signature=${signature}`;
    }
    if (task.protocol === 'azure') {
      lines['x-ms-version'] = '2021-12-02';
      if (task.method === 'PUT') lines['x-ms-blob-type'] = 'BlockBlob';
      query = task.query ?? '';
    }
    const target = query === '' ? path : `${path}?${query}`;
    return Buffer.from(`${[`${task.method} ${target} HTTP/1.1`, ...Object.entries(lines).map(([name, value]) => `${name}: ${value}`)].join('\r\n')}\r\n\r\n`);
  });
}

const HEAD_END = Buffer.from('\r\n\r\n');

/** One request, and the answer read to its end. */
function exchange(socket: Socket, parts: readonly Buffer[]): Promise<void> {
  return new Promise((resolve, reject) => {
    let head: Buffer | undefined = Buffer.alloc(0);
    let missing = 0;
    const done = (error?: Error): void => {
      socket.off('data', read).off('close', gone);
      if (error === undefined) resolve();
      else reject(error);
    };
    const gone = (): void => done(new Error('the server closed the connection'));
    let chunked = false;
    let tail = '';
    const read = (bytes: Buffer): void => {
      let rest = bytes;
      if (head !== undefined) {
        head = Buffer.concat([head, bytes]);
        const end = head.indexOf(HEAD_END);
        if (end < 0) return;
        const text = head.toString('latin1', 0, end);
        if (!/^HTTP\/1\.1 2\d\d/.test(text)) return done(new Error(`not an answer to count: ${head.toString('latin1').slice(0, 600)}`));
        chunked = /\r\ntransfer-encoding: *chunked/i.test(text);
        missing = Number(/\r\ncontent-length: *(\d+)/i.exec(text)?.[1] ?? 0);
        rest = head.subarray(end + HEAD_END.length);
        head = undefined;
      }
      if (chunked) {
        tail = (tail + rest.toString('latin1', Math.max(0, rest.length - 5))).slice(-5);
        if (tail === '0\r\n\r\n') done();
        return;
      }
      missing -= rest.length;
      if (missing <= 0) done();
    };
    socket.on('data', read).once('close', gone);
    socket.cork();
    for (const part of parts) socket.write(part);
    socket.uncork();
  });
}

async function measure(task: ObjectTask): Promise<Sample> {
  const body = task.method === 'PUT' ? randomBytes(task.bytes) : Buffer.alloc(0);
  const requests = heads(task, body);
  const from = performance.now() + task.warmSeconds * 1000;
  const until = from + task.seconds * 1000;
  const latencies: number[] = [];
  const cpuBefore = cpuOf(task.pid);
  let next = 0;
  let sent = 0;
  const begun = performance.now();
  await Promise.all(
    Array.from({ length: task.connections }, async () => {
      const socket = connect({ port: task.port, host: '127.0.0.1', noDelay: true });
      await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
      while (task.times === undefined ? performance.now() < until : sent < task.times) {
        sent++;
        const started = performance.now();
        await exchange(socket, [requests[next++ % requests.length] as Buffer, ...(body.length === 0 ? [] : [body])]);
        const ended = performance.now();
        if (task.times !== undefined || (started >= from && ended <= until)) latencies.push(ended - started);
      }
      socket.destroy();
    }),
  );
  const seconds = (performance.now() - begun) / 1000;
  const cpuAfter = cpuOf(task.pid);
  return {
    value: task.times === undefined ? latencies.length / task.seconds : (latencies.length * task.bytes) / seconds / 1e6,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    cpu: cpuBefore === undefined || cpuAfter === undefined ? undefined : (cpuAfter - cpuBefore) / sent,
    rss: rssOf(task.pid),
  };
}

/** Puts the load on a server, from a process of its own. */
export async function objectLoad(task: ObjectTask): Promise<Sample> {
  const child = spawn(process.execPath, [import.meta.filename, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'inherit'] });
  return (await firstLine(child)) as Sample;
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await measure(JSON.parse(process.argv[2] ?? '') as ObjectTask))}\n`);
