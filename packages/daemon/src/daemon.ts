// One process that owns a data directory: a core, its listeners, and an orderly end.
import { rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { join, resolve } from 'node:path';
import type { Core, Log } from '@thecloud/core';
import { FILES, socketPathOf } from '@thecloud/core/contracts';
import { adminToken, overSocket, overTcp } from './access.ts';
import { type Access, createApp } from './app.ts';
import { OpenCalls } from './calls.ts';
import { writeFileWhole } from './files.ts';
import { type Address, listenOnSocket, listenOnTcp, parseListen } from './listen.ts';
import { createUpgrades } from './upgrade.ts';

export interface ServeOptions {
  /** TCP besides the socket: `127.0.0.1:7070`, or a port on loopback; port 0 takes a free one. */
  listen?: string | undefined;
  /** Leave to listen on an address that other machines reach, by plain HTTP. Default false. */
  insecureListen?: boolean | undefined;
  log: Log;
}

export interface DaemonOptions extends Omit<ServeOptions, 'log'> {
  /** Made when absent. One daemon at a time: `conflict` otherwise. */
  dataDir: string;
  /** Default: the one that the data directory was used with, else docker. */
  driver?: 'docker' | 'memory' | undefined;
  /** Where log lines go; standard error otherwise. */
  logFile?: string | undefined;
  log?: Log | undefined;
}

/** The file `daemon.json`: there while a daemon serves the directory. After a crash it stays and tells of a process that is gone. */
export interface DaemonRecord {
  pid: number;
  version: string;
  startedAt: string;
  socket: string;
  listen?: string;
}

export interface Daemon {
  readonly core: Core;
  readonly socketPath: string;
  /** Where TCP is served, if it is. */
  readonly address: Address | undefined;
  /** Takes no more calls, ends streams and channels, lets the rest finish for ten seconds, then closes the core. Twice is once. */
  close(): Promise<void>;
}

const GRACE_MS = 10_000;

export async function startDaemon({ dataDir: given, driver, logFile, log: ownLog, ...rest }: DaemonOptions): Promise<Daemon> {
  const dataDir = resolve(given);
  socketPathOf(dataDir); // too long: said before anything is made
  if (rest.listen !== undefined) parseListen(rest.listen);
  const log = ownLog ?? (await import('./log.ts')).createLog({ file: logFile });
  const { createCore } = await import('@thecloud/core');
  // Callers are answered first: the controllers' look at every row, after a restart a write for many of them, would keep them waiting.
  const core = await createCore({ dataDir, log, start: false, ...(driver === undefined ? {} : { drivers: driver }) });
  let daemon: Daemon | undefined;
  try {
    daemon = await serve(core, { ...rest, log });
    await core.start();
    return daemon;
  } catch (error) {
    await (daemon ?? core).close();
    throw error;
  }
}

/** Serves a core that exists. It must hold the lock of its data directory; closing the daemon closes it. */
export async function serve(core: Core, { listen, insecureListen, log }: ServeOptions): Promise<Daemon> {
  const { localAdministrator } = await import('@thecloud/core');
  const access: Access = new WeakMap();
  const calls = new OpenCalls();
  const socketPath = socketPathOf(core.dataDir);
  const upgrades = createUpgrades({ core, log, access, calls });
  const app = await createApp({ core, log, access, calls });
  const handlers = { routing: (...[request, response]: Parameters<typeof app.routing>) => app.routing(request, response), upgrades, access };

  const servers: Server[] = [];
  let address: Address | undefined;
  try {
    // TCP first: when its address is taken, nothing else has happened yet.
    if (listen !== undefined) {
      const token = await adminToken(core.dataDir);
      const tcp = await listenOnTcp(parseListen(listen), handlers, overTcp(localAdministrator, token), { allowRemote: insecureListen ?? false });
      servers.push(tcp.server);
      address = tcp.address;
    }
    servers.push(await listenOnSocket(socketPath, handlers, overSocket(localAdministrator)));
  } catch (error) {
    for (const server of servers) server.close();
    throw error;
  }

  const recordPath = join(core.dataDir, FILES.daemon);
  const record: DaemonRecord = {
    pid: process.pid,
    version: core.version,
    startedAt: new Date().toISOString(),
    socket: socketPath,
    ...(address === undefined ? {} : { listen: address.host.includes(':') ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}` }),
  };
  await writeFileWhole(recordPath, `${JSON.stringify(record)}\n`);
  log.info({ version: record.version, socket: record.socket, listen: record.listen }, 'serving');

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
  return { core, socketPath, address, close: () => (stopping ??= stop()) };
}
