// A core on the memory driver for tests, put together from the kernel's parts so that a test can hold the database, move time,
// and end the core as kill -9 does: between two statements, without a word to anybody.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import type { z } from 'zod';
import { type Cloud, contracts } from '../contracts.ts';
import { type MemoryDriverSet, memoryDrivers } from '../drivers/memory/index.ts';
import type { MemoryWorld } from '../drivers/memory/world.ts';
import { localAdministrator, type Principal } from '../kernel/authorize.ts';
import { type Client, clientOf, type Request } from '../kernel/client.ts';
import { type Clock, ManualClock, systemClock } from '../kernel/clock.ts';
import type { Contracts } from '../kernel/contract.ts';
import type { Core, Invocation } from '../kernel/core.ts';
import { type Db, openDb } from '../kernel/db.ts';
import type { Driver, DriverSet } from '../kernel/driver.ts';
import { Fault } from '../kernel/errors.ts';
import { newId } from '../kernel/ids.ts';
import { Kernel } from '../kernel/invoke.ts';
import { type Keyring, openKeyring } from '../kernel/keyring.ts';
import { type Log, silent } from '../kernel/log.ts';
import type { MasterKeySource } from '../kernel/master-key.ts';
import { migrate, migrateKernel } from '../kernel/migrate.ts';
import type { ServiceDefinition } from '../kernel/service.ts';
import { Store } from '../kernel/store.ts';
import type { OperationView } from '../services/operation/contract.ts';
import { services } from '../services.ts';

export interface BenchOptions {
  principal?: Principal;
  drivers?: MemoryDriverSet;
  clock?: Clock;
  /** An earlier bench's directory; the one who made it removes it. */
  dataDir?: string;
  definitions?: readonly ServiceDefinition[];
  log?: Log;
  /** Default: always the same one, which costs no file; a rotation takes another. */
  masterKey?: MasterKeySource;
}

const MASTER_KEY: MasterKeySource = { kind: 'command', command: ['key'] };
const FIRST_KEY = 'dGVzdHMgYWx3YXlzIGhhdmUgdGhpcyBtYXN0ZXJrZXk';

type Ended = z.output<typeof OperationView>;

export interface Bench extends AsyncDisposable {
  readonly core: Core;
  readonly cloud: Cloud;
  readonly drivers: MemoryDriverSet;
  readonly world: MemoryWorld;
  readonly clock: Clock;
  readonly db: Db;
  readonly store: Store;
  readonly keyring: Keyring;
  readonly dataDir: string;
  /** The same cloud as somebody else. */
  as(principal: Principal): Cloud;
  /** A client of contracts that are not in the product's list. */
  clientOf<C extends Contracts>(contracts: C): Client<C>;
  /** One call with everything that an invocation can say. */
  call(call: Omit<Invocation, 'principal'> & { principal?: Principal | undefined }): ReturnType<Core['invoke']>;
  /** Makes a tenant and returns its id. */
  tenant(name: string): Promise<string>;
  /** The operation of an answer, once it has ended. */
  ended(answer: { operation?: string | undefined } | Promise<{ operation?: string | undefined }>): Promise<Ended>;
  /** Waits for an asynchronous answer and shows the resource as it then is. Throws the operation's error. */
  ready<T extends { id: string; operation?: string | undefined }>(answer: Promise<T>): Promise<T>;
  /** Waits until something is so, with a manual clock by moving it. */
  until(what: () => unknown, stepMs?: number): Promise<void>;
  close(): Promise<void>;
  /** Nothing of this core happens any more, from this instant on; what was in a transaction is rolled back. */
  kill(): void;
}

const never = new Promise<never>(() => undefined);
const forever = async (): Promise<never> => never;

/** Drivers and clock of one life: once it has ended, no call returns and no sleeper wakes. */
function mortal(set: DriverSet, clock: Clock): { drivers: Record<string, Driver>; clock: Clock; end(): void } {
  let dead = false;
  const guard = <T extends object>(target: T): T =>
    new Proxy(target, {
      get(_, key) {
        const value: unknown = Reflect.get(target, key, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]) => {
          if (dead) return never;
          const answer: unknown = Reflect.apply(value, target, args);
          return answer instanceof Promise
            ? answer.then(
                (result: unknown) => (dead ? never : result),
                (error: unknown) => (dead ? never : Promise.reject(error)),
              )
            : answer;
        };
      },
    });
  return {
    drivers: Object.fromEntries(Object.entries(set.drivers).map(([name, driver]) => [name, guard(driver)])),
    clock: guard(clock),
    end: () => {
      dead = true;
    },
  };
}

export async function bench(options: BenchOptions = {}): Promise<Bench> {
  const clock = options.clock ?? systemClock;
  const drivers = options.drivers ?? memoryDrivers({ clock });
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'cloud-core-'));
  const opened = openDb(join(dataDir, 'cloud.db'), { durable: false });
  await migrateKernel(opened.db);
  let nextKey = FIRST_KEY;
  const { keyring } = await openKeyring({
    dataDir,
    source: options.masterKey ?? MASTER_KEY,
    db: opened.db,
    installation: 'cloud-test',
    readCommand: async () => {
      const key = nextKey;
      nextKey = randomBytes(32).toString('base64');
      return key;
    },
  });
  const life = mortal(drivers, clock);
  const store = new Store(opened.db, life.clock);
  const kernel = new Kernel({
    store,
    definitions: options.definitions ?? services,
    drivers: life.drivers,
    clock: life.clock,
    log: options.log ?? silent,
    keyring,
    dataDir,
    installation: 'cloud-test',
    version: '0.0.0',
  });
  await migrate(opened.db, kernel.migrations());
  await kernel.start();

  const invocationOf = (
    { service, operation, target, input, options: { tenant, ifMatch, idempotencyKey, signal } }: Request,
    principal: Principal,
  ): Invocation => ({
    service,
    operation,
    target,
    input,
    principal,
    tenant,
    ifMatch,
    idempotencyKey,
    signal,
    source: 'test',
  });
  const client = <C extends Contracts>(of: C, principal: Principal): Client<C> =>
    clientOf(of, {
      call: async (request) => structuredClone((await kernel.invoke(invocationOf(request, principal))).value),
      async *stream(request) {
        yield* await kernel.stream(invocationOf(request, principal));
      },
      channel: (request) => kernel.channel(invocationOf(request, principal)),
    });
  const principal = options.principal ?? localAdministrator;
  const cloud = client(contracts, principal);

  const ended: Bench['ended'] = async (answer) => {
    const { operation } = await answer;
    if (operation === undefined) throw new Error('the answer has no operation');
    const { value } = await kernel.invoke({ service: 'operation', operation: 'wait', target: operation, input: { timeout: 20 }, principal });
    return value as Ended;
  };
  let over = false;
  const close = async (): Promise<void> => {
    if (over) return;
    over = true;
    await kernel.close();
    await opened.close();
    if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true });
  };
  return {
    core: kernel,
    cloud,
    drivers,
    world: drivers.world,
    clock,
    db: opened.db,
    store,
    keyring,
    dataDir,
    as: (other) => client(contracts, other),
    clientOf: (of) => client(of, principal),
    call: (call) => kernel.invoke({ source: 'test', ...call, principal: 'principal' in call ? call.principal : principal }),
    async tenant(name) {
      if (services.every(({ contract }) => (options.definitions ?? services).some((each) => each.contract === contract))) {
        const made = await cloud.tenant.create({ name });
        await ended(made);
        return made.id;
      }
      // A test of the kernel with services of its own has no service for tenants.
      const id = newId('tnt');
      await opened.db.insertInto('tenant').values({ id, name, created_at: clock.now() }).execute();
      return id;
    },
    ended,
    async ready(answer) {
      const first = await answer;
      const operation = await ended(first);
      if (operation.error !== undefined) throw Fault.from(operation.error as Parameters<typeof Fault.from>[0]);
      const { value } = await kernel.invoke({ service: operation.kind.split('.')[0] as string, operation: 'get', target: first.id, input: {}, principal });
      return structuredClone(value) as typeof first;
    },
    async until(what, stepMs = 250) {
      const deadline = Date.now() + 10_000;
      for (;;) {
        if (await what()) return;
        if (Date.now() > deadline) throw new Error(`not so within 10 s: ${what.toString()}`);
        if (clock instanceof ManualClock) await clock.advance(stepMs);
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    },
    close,
    kill() {
      if (over) return;
      over = true;
      life.end();
      void opened.close().catch(forever);
    },
    [Symbol.asyncDispose]: close,
  };
}

/** Refuses every write that needs another page, as a full disk does; `undefined` gives room again. */
export async function fillDisk(db: Db, room: boolean): Promise<void> {
  if (room) await sql`pragma max_page_count = 1073741823`.execute(db);
  else await sql`pragma max_page_count = 1`.execute(db);
}

/** The code, sentence, hint and details of the Fault that a promise rejects with. */
export async function faultOf(promise: Promise<unknown>): Promise<Fault> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof Fault) return error;
    throw error;
  }
  throw new Error('no fault came');
}
