// For tests of the HTTP side alone: a core that does what the test says, a daemon over it, and requests as raw as they need to be.
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Answer, Core, Invocation, Principal } from '@thecloud/core';
import { type Channel, Fault } from '@thecloud/core/contracts';
import { type Daemon, type ServeOptions, serve } from './daemon.ts';

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

export interface Play {
  /** Whose token that is; every token is bad when absent. */
  authenticate?(bearer: string, source: string): Principal;
  check?(invocation: Invocation): void;
  invoke?(invocation: Invocation): Promise<Answer> | Answer;
  stream?(invocation: Invocation): AsyncIterable<unknown>;
  channel?(invocation: Invocation): Promise<Channel> | Channel;
}

export interface Bench extends AsyncDisposable {
  daemon: Daemon;
  dataDir: string;
  /** What reached the core, in order. */
  calls: Invocation[];
  /** Whether the core was closed. */
  closed(): boolean;
}

export async function bench(play: Play = {}, options: Partial<ServeOptions> = {}): Promise<Bench> {
  const dataDir = await mkdtemp(join(tmpdir(), 'cloud-daemon-'));
  const calls: Invocation[] = [];
  let closed = false;
  const missing = (invocation: Invocation): never => {
    throw new Error(`the test plays no ${invocation.service} ${invocation.operation}`);
  };
  const core: Core = {
    installation: 'test',
    version: '0.0.0',
    dataDir,
    authenticate: async (bearer, source) => {
      if (play.authenticate === undefined) throw new Fault('unauthenticated', 'This token is not valid here');
      return play.authenticate(bearer, source);
    },
    check: async (invocation) => play.check?.(invocation),
    principal: async (nameOrId) => {
      throw new Fault('not_found', `There is no ${nameOrId}`);
    },
    invoke: async (invocation) => {
      if (invocation.principal === undefined && invocation.service !== 'auth') throw new Fault('unauthenticated', 'This needs credentials');
      calls.push(invocation);
      return play.invoke?.(invocation) ?? missing(invocation);
    },
    stream: async (invocation) => {
      calls.push(invocation);
      return play.stream?.(invocation) ?? missing(invocation);
    },
    channel: async (invocation) => {
      calls.push(invocation);
      return play.channel?.(invocation) ?? missing(invocation);
    },
    listeners: [],
    listen: async (name) => {
      throw new Fault('not_found', `There is no listener ${name}`);
    },
    metrics: () => ({ calls: [{ service: 'vpc', operation: 'list', outcome: 'ok', count: 3, seconds: 0.5 }], queued: { vpc: 2 } }),
    close: async () => {
      closed = true;
    },
  };
  const daemon = await serve(core, { log: quiet, ...options });
  return {
    daemon,
    dataDir,
    calls,
    closed: () => closed,
    [Symbol.asyncDispose]: async () => {
      await daemon.close();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

export interface RawAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  json: unknown;
}

/** One request over the socket, or over TCP when `port` is given. */
export function ask(
  { daemon }: Pick<Bench, 'daemon'>,
  method: string,
  path: string,
  { headers = {}, body, port }: { headers?: Record<string, string>; body?: string | Buffer; port?: number } = {},
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const where = port === undefined ? { socketPath: daemon.socketPath } : { port, host: '127.0.0.1' };
    const length: Record<string, string> = body === undefined ? {} : { 'content-length': String(Buffer.byteLength(body)) };
    const request = httpRequest({ ...where, method, path, headers: { ...length, ...headers }, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const text = Buffer.concat(chunks).toString('utf8');
        const json: unknown = response.headers['content-type']?.startsWith('application/json') ? JSON.parse(text) : undefined;
        resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json });
      });
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Polls until something is so. */
export async function until(what: () => boolean | Promise<boolean>, milliseconds = 5_000): Promise<void> {
  const deadline = Date.now() + milliseconds;
  while (!(await what())) {
    if (Date.now() > deadline) throw new Error(`not so within ${milliseconds} ms: ${what.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
