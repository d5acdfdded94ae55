// One process that owns a data directory: a core, its listeners, and an orderly end.
import { rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join, resolve } from 'node:path';
import type { Core, Listening, Log } from '@thecloud/core';
import { Fault, FILES, socketPathOf } from '@thecloud/core/contracts';
import { overSocket, overTcp } from './access.ts';
import { type Address, parseListen } from './address.ts';
import { adminToken, readAdminToken } from './admin-token.ts';
import { type Access, createApp } from './app.ts';
import { OpenCalls } from './calls.ts';
import { writeFileWhole } from './files.ts';
import { listenOnSocket, listenOnTcp, MAX_CONNECTIONS, type Patience } from './listen.ts';
import { takeMasterKeys } from './master-keys.ts';
import { takeObjectStore } from './object-store.ts';
import { webOf } from './origin.ts';
import { takePowerDns } from './powerdns.ts';
import { AUTO, checkS3Listen, listenForS3 } from './s3.ts';
import { sourcesOf } from './source.ts';
import { createUpgrades } from './upgrade.ts';

export interface ServeOptions {
  /** TCP besides the socket: `127.0.0.1:7070`, or a port on loopback; port 0 takes a free one. */
  listen?: string | undefined;
  /** Where S3 clients are served: `127.0.0.1:9000`, a port on loopback, `auto` or `off`. Default `off`. */
  s3Listen?: string | undefined;
  /** Take S3 requests signed by Version 2 as well: HMAC-SHA1 that does not cover the body. Default false; of `startDaemon` whether CLOUD_S3_SIGNATURE_V2 is 1. */
  s3Legacy?: boolean | undefined;
  /** Leave to listen on an address that other machines reach, by plain HTTP. Default false. */
  insecureListen?: boolean | undefined;
  /** Names, besides localhost and the address itself, by which it is asked for over TCP. */
  allowedHosts?: readonly string[] | undefined;
  /** Origins (`https://app.example.com`) whose pages may call. Default: none. */
  allowedOrigins?: readonly string[] | undefined;
  /** Addresses or CIDR blocks of proxies whose X-Forwarded-For is believed. Default: none. */
  trustedProxies?: readonly string[] | undefined;
  /** Calls a second of one principal over TCP; 0 for no limit. Default 200. */
  rateLimit?: number | undefined;
  /** Connections over TCP; one address may have half of them. Default 1024. */
  maxConnections?: number | undefined;
  /** How often the credentials of an open stream or channel are looked at again, in milliseconds. Default 30 seconds. */
  recheckMs?: number | undefined;
  patience?: Patience | undefined;
  log: Log;
}

export interface DaemonOptions extends Omit<ServeOptions, 'log'> {
  /** Made when absent. One daemon at a time: `conflict` otherwise. */
  dataDir: string;
  /** Default: the one that the data directory was used with, else docker. */
  driver?: 'docker' | 'memory' | undefined;
  /** Refuse to keep the master key in the data directory: it comes from the environment. Default false. */
  production?: boolean | undefined;
  /** Where log lines go; standard error otherwise. */
  logFile?: string | undefined;
  log?: Log | undefined;
  /** Default `auto`: where the data directory served S3 clients before, else 127.0.0.1:9000, else a free port; it is remembered. */
  s3Listen?: string | undefined;
}

/** The file `daemon.json`: there while a daemon serves the directory. After a crash it stays and tells of a process that is gone. */
export interface DaemonRecord {
  pid: number;
  version: string;
  startedAt: string;
  socket: string;
  listen?: string;
  /** Where S3 clients are served. */
  s3?: string;
}

export interface Daemon {
  readonly core: Core;
  readonly socketPath: string;
  /** Where TCP is served, if it is. */
  readonly address: Address | undefined;
  /** Where S3 clients are served, if they are. */
  readonly s3: Address | undefined;
  /** Takes no more calls, ends streams and channels, lets the rest finish for ten seconds, then closes the core. Twice is once. */
  close(): Promise<void>;
}

const GRACE_MS = 10_000;

/**
 * The master key, and where objects are kept, come from the environment (`CLOUD_MASTER_KEY`, `CLOUD_OBJECT_STORE` and their like), which does not have them any
 * more afterwards, so that no child inherits them.
 */
export async function startDaemon({
  dataDir: given,
  driver,
  logFile,
  log: ownLog,
  production = false,
  s3Listen = AUTO,
  s3Legacy = process.env.CLOUD_S3_SIGNATURE_V2 === '1',
  ...rest
}: DaemonOptions): Promise<Daemon> {
  const dataDir = resolve(given);
  socketPathOf(dataDir); // too long: said before anything is made
  checkOptions({ ...rest, s3Listen });
  const keys = await takeMasterKeys(process.env, { production });
  const objectStore = await takeObjectStore(process.env);
  const powerDns = await takePowerDns(process.env);
  const log = ownLog ?? (await import('./log.ts')).createLog({ file: logFile });
  const { createCore } = await import('@thecloud/core');
  // Callers are answered first: the controllers' look at every row, after a restart a write for many of them, would keep them waiting.
  const core = await createCore({ dataDir, log, start: false, objectStore, powerDns, ...keys, ...(driver === undefined ? {} : { drivers: driver }) });
  let daemon: Daemon | undefined;
  try {
    daemon = await serve(core, { ...rest, log, s3Listen, s3Legacy });
    await core.start();
    return daemon;
  } catch (error) {
    await (daemon ?? core).close();
    throw error;
  }
}

/** Throws `invalid_input` for what no daemon could be started with. */
function checkOptions(options: Omit<ServeOptions, 'log'>): void {
  const { listen, s3Listen = 'off', insecureListen = false, allowedHosts, allowedOrigins, trustedProxies = [], rateLimit, maxConnections } = options;
  if (listen !== undefined) parseListen(listen);
  checkS3Listen(s3Listen, insecureListen);
  webOf(allowedHosts, allowedOrigins);
  sourcesOf(trustedProxies);
  if (rateLimit !== undefined && !(Number.isInteger(rateLimit) && rateLimit >= 0 && rateLimit <= 1_000_000)) {
    throw new Fault('invalid_input', `${rateLimit} is no rate limit: it takes calls a second, 0 for none`, { hint: 'cloud daemon start --rate-limit 200' });
  }
  if (maxConnections !== undefined && !(Number.isInteger(maxConnections) && maxConnections >= 1)) {
    throw new Fault('invalid_input', `${maxConnections} is no number of connections`, { hint: `cloud daemon start --max-connections ${MAX_CONNECTIONS}` });
  }
}

const textOf = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;

/** Serves a core that exists. It must hold the lock of its data directory; closing the daemon closes it. */
export async function serve(core: Core, options: ServeOptions): Promise<Daemon> {
  const { listen, s3Listen = 'off', s3Legacy = false, insecureListen = false, log, recheckMs, patience, maxConnections = MAX_CONNECTIONS } = options;
  checkOptions(options);
  const web = webOf(options.allowedHosts, options.allowedOrigins);
  const { localAdministrator: owner } = await import('@thecloud/core');
  const access: Access = new WeakMap();
  const calls = new OpenCalls();
  const socketPath = socketPathOf(core.dataDir);
  const common = { core, log, access, calls, web, recheckMs };
  const upgrades = createUpgrades(common);
  const app = await createApp(common);
  const handlers = { routing: (...[request, response]: Parameters<typeof app.routing>) => app.routing(request, response), upgrades, access, patience };

  const servers: Server[] = [];
  let address: Address | undefined;
  let s3: Listening | undefined;
  try {
    // TCP first: when its address is taken, nothing else has happened yet.
    if (listen !== undefined) {
      const keeper = { core, owner, adminToken: await adminToken(core.dataDir) };
      const { limitsOf } = await import('./limits.ts');
      const sources = sourcesOf(options.trustedProxies ?? []);
      const at = parseListen(listen);
      const door = { authenticate: overTcp(keeper, { limits: limitsOf(options.rateLimit), sources }), host: at.host };
      const tcp = await listenOnTcp(at, handlers, door, { allowRemote: insecureListen, maxConnections, sources, log });
      servers.push(tcp.server);
      address = tcp.address;
    }
    s3 = await listenForS3(core, { listen: s3Listen, allowRemote: insecureListen, legacy: s3Legacy, log });
    servers.push(await listenOnSocket(socketPath, handlers, { authenticate: overSocket({ core, owner, adminToken: await readAdminToken(core.dataDir) }) }));
  } catch (error) {
    for (const server of servers) server.close();
    await s3?.close();
    throw error;
  }

  const recordPath = join(core.dataDir, FILES.daemon);
  const record: DaemonRecord = {
    pid: process.pid,
    version: core.version,
    startedAt: new Date().toISOString(),
    socket: socketPath,
    ...(address === undefined ? {} : { listen: textOf(address) }),
    ...(s3 === undefined ? {} : { s3: textOf(s3) }),
  };
  await writeFileWhole(recordPath, `${JSON.stringify(record)}\n`);
  log.info({ version: record.version, socket: record.socket, listen: record.listen, s3: record.s3 }, 'serving');

  const stop = async (): Promise<void> => {
    log.info({}, 'stopping');
    const closed = Promise.all(servers.map((server) => new Promise((done) => server.close(done))));
    calls.stop();
    for (const server of servers) server.closeIdleConnections();
    const impatience = setTimeout(() => {
      log.warn({}, 'some calls did not end in time and are cut off');
      upgrades.terminate();
      for (const server of servers) server.closeAllConnections();
    }, GRACE_MS);
    await closed;
    clearTimeout(impatience);
    upgrades.terminate();
    await app.close();
    await core.close();
    await rm(recordPath, { force: true });
    log.info({}, 'stopped');
  };
  let stopping: Promise<void> | undefined;
  return { core, socketPath, address, s3: s3 === undefined ? undefined : { host: s3.host, port: s3.port }, close: () => (stopping ??= stop()) };
}
