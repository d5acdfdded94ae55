// The whole cloud in one object: opens the data directory, loads the drivers, starts the controllers.
import { join } from 'node:path';
import { type Clock, systemClock } from './kernel/clock.ts';
import type { Core } from './kernel/core.ts';
import { type OpenedDb, openDb } from './kernel/db.ts';
import type { DriverSet } from './kernel/driver.ts';
import { Fault } from './kernel/errors.ts';
import { makeDirectory } from './kernel/files.ts';
import { newId } from './kernel/ids.ts';
import { Kernel } from './kernel/invoke.ts';
import { openKeyring } from './kernel/keyring.ts';
import { lockDataDir } from './kernel/lock.ts';
import { type Log, silent } from './kernel/log.ts';
import type { MasterKeySource, OutsideSource } from './kernel/master-key.ts';
import { migrate, migrateKernel } from './kernel/migrate.ts';
import { Store } from './kernel/store.ts';
import { readKeyCommand } from './key-command.ts';
import { type ObjectStoreOptions, rememberObjectStore, withObjectStore } from './object-store.ts';
import { type PowerDnsOptions, withPowerDns } from './powerdns.ts';
import { services } from './services.ts';

export { DEFAULT_TENANT, localAdministrator, type Principal } from './kernel/authorize.ts';
export { type Clock, ManualClock, systemClock } from './kernel/clock.ts';
export type { Answer, Core, Invocation } from './kernel/core.ts';
export type { DriverSet } from './kernel/driver.ts';
export { DriverError, ERRORS, type ErrorCode, Fault, type FaultBody } from './kernel/errors.ts';
export type { ListenAt, Listening } from './kernel/listener.ts';
export { type Log, silent } from './kernel/log.ts';
export { type MasterKeySource, masterKeySource, nextMasterKeySource, type OutsideSource } from './kernel/master-key.ts';
export { OBJECT_STORE_VARIABLES, type ObjectStoreOptions, objectStoreFrom } from './object-store.ts';
export { POWERDNS_VARIABLES, type PowerDnsOptions, powerDnsFrom } from './powerdns.ts';

export const VERSION = '0.1.0';

export const DRIVERS = ['docker', 'memory'] as const;
export type DriverName = (typeof DRIVERS)[number];

export interface CoreOptions {
  /** Made when absent, with mode 0700. One core at a time: `conflict` while another holds it. */
  dataDir: string;
  /** Default: the one that the data directory was used with, else docker. */
  drivers?: DriverName | DriverSet;
  /** Keeps the bytes of objects. Default: the driver's own store; with docker that is the data directory. `conflict` when there are objects elsewhere. */
  objectStore?: ObjectStoreOptions | undefined;
  /** Serves the DNS zones. Default: the driver's own; with docker that is a PowerDNS which runs as a child of this process once there is a zone. */
  powerDns?: PowerDnsOptions | undefined;
  /** Where the master key comes from. Default: a file of the data directory, made at first start. */
  masterKey?: MasterKeySource;
  /** To rotate to before anything else is done; nothing when that is done already. */
  nextMasterKey?: OutsideSource | undefined;
  log?: Log;
  clock?: Clock;
  /** Whether an accepted change survives power loss. Default true; only tests turn it off. */
  durable?: boolean;
  /** False: the controllers wait for `start()`. Default true. */
  start?: boolean;
}

export interface StartableCore extends Core {
  /** Starts the controllers, which then look at every row. Twice is once. */
  start(): Promise<void>;
}

/** Opens the cloud in a data directory. Rejects with a Fault; a backend that is away is no reason to reject. */
export async function createCore(options: CoreOptions): Promise<StartableCore> {
  const { dataDir, log = silent, clock = systemClock } = options;
  try {
    makeDirectory(dataDir);
  } catch (error) {
    throw new Fault('unavailable', `Cannot make the data directory ${dataDir}: ${(error as Error).message}`, {
      hint: 'choose another with --data-dir',
      cause: error,
    });
  }
  const lock = lockDataDir(dataDir);
  let opened: OpenedDb | undefined;
  let drivers: DriverSet | undefined;
  try {
    opened = openDb(join(dataDir, 'cloud.db'), { durable: options.durable ?? true });
    const { db, close: closeDb } = opened;
    await migrateKernel(db);
    const meta = async (key: string, initial: string): Promise<string> => {
      await db
        .insertInto('meta')
        .values({ key, value: initial })
        .onConflict((on) => on.doNothing())
        .execute();
      return (await db.selectFrom('meta').select('value').where('key', '=', key).executeTakeFirstOrThrow()).value;
    };
    const installation = await meta('installation', newId('cloud'));
    const wanted = options.drivers === undefined || typeof options.drivers === 'string' ? options.drivers : options.drivers.name;
    const used = await meta('driver', wanted ?? 'docker');
    if (wanted !== undefined && wanted !== used) {
      throw new Fault('conflict', `The data directory ${dataDir} belongs to the ${used} driver`, {
        hint: `start it with --driver ${used}, or use another --data-dir`,
      });
    }
    drivers =
      typeof options.drivers === 'object' ? options.drivers : await loadDrivers(used, { installation, dataDir, log, clock, durable: options.durable ?? true });
    if (options.objectStore !== undefined) drivers = await withObjectStore(drivers, options.objectStore, { clock, log });
    if (options.powerDns !== undefined) drivers = await withPowerDns(drivers, { server: options.powerDns, installation, dataDir, clock, log });
    const { keyring, pending } = await openKeyring({
      dataDir,
      source: options.masterKey ?? { kind: 'local' },
      next: options.nextMasterKey,
      db,
      installation,
      readCommand: readKeyCommand,
    });
    const store = new Store(db, clock);
    const kernel = new Kernel({ store, definitions: services, drivers: drivers.drivers, clock, log, keyring, dataDir, installation, version: VERSION });
    await migrate(db, kernel.migrations());
    await rememberObjectStore(db, options.objectStore);
    if (pending !== undefined) {
      const { from, to } = await kernel.rotateMasterKey(pending);
      log.info({ from, to }, 'the master key was rotated');
    }
    let started: Promise<void> | undefined;
    const start = (): Promise<void> => (started ??= kernel.start());
    if (options.start !== false) await start();
    const set = drivers;
    let closed: Promise<void> | undefined;
    return {
      start,
      installation,
      version: VERSION,
      dataDir,
      authenticate: (bearer, source) => kernel.authenticate(bearer, source),
      principal: (nameOrId) => kernel.principal(nameOrId),
      check: (invocation) => kernel.check(invocation),
      invoke: (invocation) => kernel.invoke(invocation),
      stream: (invocation) => kernel.stream(invocation),
      channel: (invocation) => kernel.channel(invocation),
      listeners: kernel.listeners,
      listen: (name, at) => kernel.listen(name, at),
      metrics: () => kernel.metrics(),
      close: () => {
        closed ??= (async () => {
          await kernel.close();
          await set.close();
          await closeDb();
          lock.release();
        })();
        return closed;
      },
    };
  } catch (error) {
    await drivers?.close();
    await opened?.close();
    lock.release();
    throw error;
  }
}

/** The drivers of one installation without a core over them: what a core does by itself, and what clears up after one. */
export async function loadDrivers(
  name: string,
  options: { installation: string; dataDir: string; log: Log; clock: Clock; durable?: boolean },
): Promise<DriverSet> {
  if (name === 'docker') return withPowerDns(await withFiles(await (await import('./drivers/docker/index.ts')).dockerDrivers(options), options), options);
  if (name === 'memory') return (await import('./drivers/memory/index.ts')).memoryDrivers({ clock: options.clock });
  throw new Fault('invalid_input', `There is no driver ${JSON.stringify(name)}`, { hint: `use ${DRIVERS.join(' or ')}` });
}

/** A backend that runs things and keeps no objects: they lie in the data directory. */
async function withFiles(
  set: DriverSet,
  { dataDir, log, clock, durable = true }: { dataDir: string; log: Log; clock: Clock; durable?: boolean },
): Promise<DriverSet> {
  const { FilesObjectStore } = await import('./drivers/files/index.ts');
  const store = new FilesObjectStore({ directory: join(dataDir, 'objects'), log, clock, durable });
  return {
    name: set.name,
    drivers: { ...set.drivers, 'object-store': store },
    close: async () => {
      try {
        await store.close();
      } finally {
        await set.close();
      }
    },
  };
}
