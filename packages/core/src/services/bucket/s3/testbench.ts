// The listener alone, with handlers that show what reached them, and sockets to be rude with.
import { createHmac } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { ManualClock } from '../../../kernel/clock.ts';
import type { Log } from '../../../kernel/log.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { type CorsRule } from '../engine/config.ts';
import { createS3Server, type S3ServerOptions } from './server.ts';
import type { AccessKey } from './sigv4.ts';
import type { Route, S3Context, S3Handler, S3Reply, S3Request } from './types.ts';

export const ACCESS_KEY = 'AKIAIOSFODNN7EXAMPLE';
export const SECRET = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY';
export const EXAMPLE_TIME = Date.UTC(2013, 4, 24);

const owner: AccessKey = {
  secret: SECRET,
  principal: { id: 'usr-1', kind: 'user', name: 'ada@example.com', tenantId: 'tnt-1', roles: { 'tnt-1': ['admin'] } },
  tenantId: 'tnt-1',
  tenantName: 'example',
  expired: false,
};
export const keys = async (id: string): Promise<AccessKey | undefined> =>
  id === ACCESS_KEY ? owner : id === 'AKIAEXPIRED' ? { ...owner, expired: true } : undefined;

/** A handler that may answer: what it says is decided about. */
export const open =
  (handle: (request: S3Request) => Promise<S3Reply> | S3Reply): S3Handler =>
  async (request) => {
    request.decided = true;
    return handle(request);
  };

/** Everything on every level: answers with what came, as JSON. */
export const echo = open(async (request) => {
  const bytes = await request.body.bytes(64 * 1024 * 1024);
  return {
    status: 200,
    headers: { 'content-type': 'application/json' },
    text: JSON.stringify({
      method: request.method,
      bucket: request.bucketName,
      key: request.key,
      query: Object.fromEntries(request.query),
      caller: request.caller.accessKeyId,
      authType: request.caller.authType,
      length: bytes.length,
      metadata: Object.fromEntries(Object.entries(request.headers).filter(([name]) => name.startsWith('x-amz-meta-'))),
    }),
  };
});

interface Seen {
  level: string;
  message: string;
  fields: Record<string, unknown>;
}

export interface Bench {
  readonly port: number;
  readonly endpoint: string;
  readonly seen: Seen[];
  /** Lines that are no `debug`. */
  readonly troubles: () => Seen[];
  close(): Promise<void>;
}

export async function serve(options: {
  routes: readonly Route[];
  now?: number;
  limits?: S3ServerOptions['limits'];
  cors?: readonly CorsRule[];
  region?: string;
  version2?: boolean;
}): Promise<Bench> {
  const seen: Seen[] = [];
  const line = (level: string) => (fields: Record<string, unknown>, message: string) => void seen.push({ level, message, fields });
  const log: Log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
  const clock = options.now === undefined ? { now: () => Date.now(), sleep: () => Promise.resolve() } : new ManualClock(options.now);
  // The listener asks nothing else of its service.
  const service = { clock, log } as unknown as ServiceContext;
  const context = { service, region: options.region ?? 'us-east-1', objects: undefined } as unknown as S3Context;
  const server = createS3Server({
    context,
    keys,
    routes: options.routes,
    cors: async () => options.cors,
    ...(options.version2 === undefined ? {} : { version2: options.version2 }),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
  });
  const listening = await server.listen({ host: '127.0.0.1', port: 0 });
  return {
    port: listening.port,
    endpoint: `http://127.0.0.1:${listening.port}`,
    seen,
    troubles: () => seen.filter(({ level }) => level !== 'debug'),
    close: () => listening.close(),
  };
}

/** Sends bytes as they are and reads until the other side ends, or `until` says that it is enough. */
export function raw(
  port: number,
  bytes: string | Buffer,
  { until, end = false, socket: given }: { until?: (text: string) => boolean; end?: boolean; socket?: Socket } = {},
): Promise<string> {
  return new Promise((resolve) => {
    const socket = given ?? connect(port, '127.0.0.1');
    let text = '';
    const finish = () => {
      socket.destroy();
      resolve(text);
    };
    socket.on('data', (data) => {
      text += data.toString('latin1');
      if (until?.(text) === true) finish();
    });
    socket.on('error', finish).on('end', finish).on('close', finish);
    if (end) socket.end(bytes);
    else socket.write(bytes);
  });
}

/** An anonymous request as text. */
export const plain = (method: string, path: string, headers: Record<string, string> = {}, body = ''): string =>
  `${method} ${path} HTTP/1.1\r\nHost: 127.0.0.1\r\n${Object.entries(headers)
    .map(([name, value]) => `${name}: ${value}\r\n`)
    .join('')}\r\n${body}`;

export const statusOf = (answer: string): number => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 0);
export const codeOf = (answer: string): string | undefined => /<Code>(\w+)<\/Code>/.exec(answer)?.[1];

const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();
/** The key of a day, by the documentation, written a second time. */
export const signingKey = (day: string, region = 'us-east-1'): Buffer => hmac(hmac(hmac(hmac(`AWS4${SECRET}`, day), region), 's3'), 'aws4_request');
