// The load: so many connections, each with one request on its way at a time, over plain sockets so that it costs little beside what it measures. It runs
// in a process of its own, gets its task as JSON in its one argument, and prints what it found as one line of JSON.
import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import type { Sample } from './case.ts';
import { cpuOf, firstLine, rssOf } from './process.ts';
import { quantile } from './statistics.ts';

export interface Task {
  port: number;
  /** One round trip is all of these, one after the other. */
  paths: readonly string[];
  method?: string;
  body?: string;
  headers?: Readonly<Record<string, string>>;
  connections: number;
  /** Before anything counts. */
  warmSeconds: number;
  seconds: number;
  /** Whose processor time and memory to look at. */
  pid: number;
}

const HEAD_END = Buffer.from('\r\n\r\n');

async function measure(task: Task): Promise<Sample> {
  const requests = task.paths.map((path) =>
    Buffer.from(
      [
        `${task.method ?? 'GET'} ${path} HTTP/1.1`,
        `host: 127.0.0.1:${task.port}`,
        ...Object.entries(task.headers ?? {}).map(([name, value]) => `${name}: ${value}`),
        ...(task.body === undefined ? [] : ['content-type: application/json', `content-length: ${Buffer.byteLength(task.body)}`]),
        '',
        task.body ?? '',
      ].join('\r\n'),
    ),
  );
  const from = performance.now() + task.warmSeconds * 1000;
  const until = from + task.seconds * 1000;
  const latencies: number[] = [];
  let cpuBefore: number | undefined;
  const counting = setTimeout(() => (cpuBefore = cpuOf(task.pid)), task.warmSeconds * 1000);
  await Promise.all(Array.from({ length: task.connections }, () => one(task.port, requests, from, until, latencies)));
  clearTimeout(counting);
  const cpuAfter = cpuOf(task.pid);
  return {
    value: latencies.length / task.seconds,
    p50: quantile(latencies, 0.5),
    p99: quantile(latencies, 0.99),
    cpu: cpuBefore === undefined || cpuAfter === undefined ? undefined : (cpuAfter - cpuBefore) / latencies.length,
    rss: rssOf(task.pid),
  };
}

function one(port: number, requests: readonly Buffer[], from: number, until: number, latencies: number[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    let begun = 0;
    let next = 0;
    let head: Buffer | undefined;
    /** Bytes of the body still to come; undefined while the head is not complete. */
    let missing: number | undefined;
    const send = (): void => {
      if (next === 0) begun = performance.now();
      socket.write(requests[next] as Buffer);
    };
    socket.once('connect', send);
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the server closed the connection')));
    socket.on('data', (bytes: Buffer) => {
      if (missing === undefined) {
        head = head === undefined ? bytes : Buffer.concat([head, bytes]);
        const end = head.indexOf(HEAD_END);
        if (end < 0) return;
        const text = head.toString('latin1', 0, end);
        const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
        if (!/^HTTP\/1\.1 2\d\d /.test(text) || length === undefined) return void socket.destroy(new Error(`not an answer to count: ${text}`));
        missing = Number(length) - (head.length - end - HEAD_END.length);
      } else missing -= bytes.length;
      if (missing > 0) return;
      head = missing = undefined;
      next = (next + 1) % requests.length;
      if (next === 0) {
        const now = performance.now();
        if (begun >= from && now <= until) latencies.push(now - begun);
        if (now >= until) {
          socket.removeAllListeners('close').end();
          return resolve();
        }
      }
      send();
    });
  });
}

/** Puts the load on a server, from a process of its own. */
export async function load(task: Task): Promise<Sample> {
  const child = spawn(process.execPath, [import.meta.filename, JSON.stringify(task)], { stdio: ['ignore', 'pipe', 'inherit'] });
  return (await firstLine(child)) as Sample;
}

if (import.meta.main) process.stdout.write(`${JSON.stringify(await measure(JSON.parse(process.argv[2] ?? '') as Task))}\n`);
