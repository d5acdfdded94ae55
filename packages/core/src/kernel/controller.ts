// The loop that makes rows true. It is level-triggered: a wake says only "look again", so a wake too many does nothing and a lost one
// is made good by the next sweep. One row is never worked on twice at once; a process that dies in the middle is simply called again.
import { setMaxListeners } from 'node:events';
import type { Clock } from './clock.ts';
import type { Contract } from './contract.ts';
import { DriverError, Fault, type FaultBody } from './errors.ts';
import type { Log } from './log.ts';
import { tableName } from './migrate.ts';
import { reapLeftovers } from './reap.ts';
import { type Controller, type Reconciliation, Unsuccessful, Waiting } from './service.ts';
import { appendEvent, endOperation, endOperations, type Store, type Unit } from './store.ts';
import { type Row, rowOf, Table } from './table.ts';

const RESYNC_MS = 30_000;
const SWEEP_PAGE = 500;
const REAP_MS = 60_000;
const FIRST_RETRY_MS = 250;
const LONGEST_RETRY_MS = 15_000;
/** After so many failures in a row an accepted change is called failed; it is still tried now and then. */
const MOST_FAILURES = 5;
const FAILED_RETRY_MS = 60_000;
/** How long `busy` may last before it counts as a failure. */
const BUSY_MS = 120_000;

interface Entry {
  running: boolean;
  /** Woken while running. */
  again: boolean;
  queued: boolean;
  /** Tries in a row that ended otherwise than well; decides how long the next one waits. */
  tries: number;
  /** Those among them that count against the generation, and which generation that is: a new change has its own tries. */
  failures: number;
  generation: number;
  busySince: number | undefined;
  /** The generation that the backend called wrong: not tried again by a sweep. */
  hopeless: number | undefined;
  /** Ends a wait for a later look. */
  timer: AbortController | undefined;
}

export interface LoopOptions {
  contract: Contract;
  controller: Controller<Contract>;
  store: Store;
  clock: Clock;
  log: Log;
  client(tenantId: string): Reconciliation<Contract>['client'];
}

export class Loop {
  readonly #options: LoopOptions;
  readonly #entries = new Map<string, Entry>();
  readonly #queue: string[] = [];
  readonly #stop = new AbortController();
  readonly #background: Promise<void>[] = [];
  #active = 0;
  #started = false;
  readonly #idle: (() => void)[] = [];

  constructor(options: LoopOptions) {
    this.#options = options;
    setMaxListeners(0, this.#stop.signal);
  }

  /** Rows waiting for their turn or being worked on. */
  get queued(): number {
    return this.#queue.length + this.#active;
  }

  async start(): Promise<void> {
    this.#started = true;
    const { controller } = this.#options;
    await this.sweep(true);
    this.#background.push(this.#every(controller.resyncMs ?? RESYNC_MS, () => this.sweep(false)));
    const { reap } = controller;
    if (reap !== undefined) {
      const look = () => reapLeftovers({ ...this.#options, reap, signal: this.#stop.signal });
      this.#background.push(look().then(() => this.#every(REAP_MS, look)));
    }
    if (controller.watch !== undefined) this.#background.push(this.#watch());
  }

  /** Look at this row soon. */
  wake(id: string): void {
    if (!this.#started || this.#stop.signal.aborted) return;
    const entry = this.#entry(id);
    entry.timer?.abort();
    entry.timer = undefined;
    if (entry.running) entry.again = true;
    else if (!entry.queued) {
      entry.queued = true;
      this.#queue.push(id);
      this.#pump();
    }
  }

  /** Lets work in progress come to a safe point, then returns. Work that waits for a backend is aborted: it is repeatable. */
  async close(): Promise<void> {
    this.#stop.abort(new DriverError('unavailable', 'The daemon is stopping'));
    this.#queue.length = 0;
    while (this.#active > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
    await Promise.allSettled(this.#background);
  }

  #entry(id: string): Entry {
    let entry = this.#entries.get(id);
    if (entry === undefined) {
      entry = {
        running: false,
        again: false,
        queued: false,
        tries: 0,
        failures: 0,
        generation: 0,
        busySince: undefined,
        hopeless: undefined,
        timer: undefined,
      };
      this.#entries.set(id, entry);
    }
    return entry;
  }

  /** Wakes the rows that need a look: `all` of them, or those that the controller says differ and those with something unfinished. */
  async sweep(all: boolean): Promise<void> {
    const { contract, controller, store, log } = this.#options;
    try {
      const rows: Row[] = [];
      // In pages, so that a large table does not hold up those who wait for answers.
      for (let last = ''; ; ) {
        const records = await store.read((db) =>
          db.selectFrom(tableName(contract.resource.name)).selectAll().where('id', '>', last).orderBy('id').limit(SWEEP_PAGE).execute(),
        );
        rows.push(...records.map(rowOf));
        if (records.length < SWEEP_PAGE) break;
        last = (records[records.length - 1] as { id: string }).id;
        await new Promise((resolve) => setImmediate(resolve));
      }
      const differing = all || controller.differing === undefined ? undefined : await controller.differing(rows as never);
      const wanted = differing === undefined ? undefined : new Set(differing);
      for (const row of rows) {
        if (wanted !== undefined && !wanted.has(row.id) && row.observed >= row.generation) continue;
        const entry = this.#entries.get(row.id);
        if (!all && entry?.hopeless === row.generation) continue;
        // A row that waits for its next try is not hurried by a sweep.
        if (entry?.timer === undefined || all || wanted?.has(row.id) === true) this.wake(row.id);
      }
    } catch (error) {
      log.warn({ resource: contract.resource.name, error: message(error) }, 'could not sweep');
    }
  }

  #pump(): void {
    const most = this.#options.controller.concurrency ?? 8;
    while (this.#active < most) {
      const id = this.#queue.shift();
      if (id === undefined) return;
      this.#active++;
      const entry = this.#entry(id);
      entry.queued = false;
      entry.running = true;
      void this.#work(id, entry).finally(() => {
        entry.running = false;
        this.#active--;
        if (entry.again) {
          entry.again = false;
          this.wake(id);
        }
        if (this.#active === 0) for (const resolve of this.#idle.splice(0)) resolve();
        this.#pump();
      });
    }
  }

  async #work(id: string, entry: Entry): Promise<void> {
    const { contract, controller, store, log } = this.#options;
    const resource = contract.resource.name;
    let row: Row | undefined;
    try {
      const record = await store.read((db) => db.selectFrom(tableName(resource)).selectAll().where('id', '=', id).executeTakeFirst());
      if (record === undefined) {
        this.#entries.delete(id);
        return;
      }
      row = rowOf(record);
      const context = this.#context(row);
      if (row.deletedAt !== undefined) {
        await controller.remove(row as never, context);
        await this.#gone(row);
        this.#entries.delete(id);
        return;
      }
      // What cannot work is not tried again for every little event; a new wish, or a new process, tries it.
      if (entry.hopeless === row.generation) return;
      const next = await controller.reconcile(row as never, context);
      await this.#done(row);
      entry.tries = 0;
      entry.failures = 0;
      entry.busySince = undefined;
      entry.hopeless = undefined;
      if (typeof next === 'number') this.#later(id, entry, next);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      try {
        await this.#failed(id, entry, row, error);
      } catch (second) {
        // The database itself fails (a full disk, say): nothing can be written down, so try again later.
        log.error({ resource, id, error: message(second), first: message(error) }, 'could not record a failure');
        this.#later(id, entry, backoff(entry.tries++));
      }
    }
  }

  #context(row: Row): Reconciliation<Contract> {
    const { contract, clock, log } = this.#options;
    const write = <T>(work: (unit: Unit, current: Row) => Promise<T>): Promise<T> =>
      this.#unit(row, async (unit) => {
        const current = await new Table(contract, row.tenantId, unit).byId(row.id);
        if (current === undefined) throw new DriverError('busy', 'The row went away');
        return work(unit, current);
      });
    return {
      signal: this.#stop.signal,
      clock,
      log,
      client: this.#options.client(row.tenantId),
      report: (change) => write((unit, current) => new Table(contract, row.tenantId, unit).report(current, change)) as never,
      event: (type, text) =>
        write(async (unit, current) => {
          await appendEvent(unit, {
            type: `${contract.resource.name}.${type}`,
            resource: contract.resource.name,
            resourceId: current.id,
            name: current.name,
            message: text,
          });
        }),
      progress: (text, percent) => {
        void this.#progress(row, text, percent).catch((error: unknown) => log.warn({ id: row.id, error: message(error) }, 'could not record progress'));
      },
    };
  }

  #unit<T>(row: Row, work: (unit: Unit) => Promise<T>): Promise<T> {
    return this.#options.store.transaction({ tenantId: row.tenantId, principal: 'system', from: this.#options.contract.resource.name }, work);
  }

  async #progress(row: Row, text: string, percent: number | undefined): Promise<void> {
    await this.#unit(row, async (unit) => {
      const open = await unit.tx
        .selectFrom('operation')
        .select(['id', 'progress', 'percent'])
        .where('resource_id', '=', row.id)
        .where('state', '=', 'running')
        .execute();
      for (const operation of open) {
        if (operation.progress === text && operation.percent === (percent ?? null)) continue;
        await unit.tx
          .updateTable('operation')
          .set({ progress: text, percent: percent ?? null })
          .where('id', '=', operation.id)
          .where('state', '=', 'running')
          .execute();
        unit.changes.operations.push(operation.id);
      }
    });
  }

  /** The world is as generation `row.generation` wants it. */
  async #done(row: Row): Promise<void> {
    const { contract } = this.#options;
    const open = await this.#options.store.read((db) =>
      db
        .selectFrom('operation')
        .select('id')
        .where('resource_id', '=', row.id)
        .where('state', '=', 'running')
        .where('generation', '<=', row.generation)
        .execute(),
    );
    if (row.observed >= row.generation && open.length === 0) return;
    await this.#unit(row, async (unit) => {
      const table = new Table(contract, row.tenantId, unit);
      const current = await table.byId(row.id);
      if (current !== undefined && current.observed < row.generation) await table.report(current, { observed: row.generation });
      await endOperations(unit, row.id, row.generation, undefined);
    });
  }

  async #gone(row: Row): Promise<void> {
    await this.#unit(row, async (unit) => {
      const table = new Table(this.#options.contract, row.tenantId, unit);
      await table.remove(row);
      const { operations, resource } = this.#options.contract;
      const [deletion] = Object.entries(operations).find(([, { standard }]) => standard === 'delete') ?? ['delete'];
      const kind = `${resource.name}.${deletion}`;
      const open = await unit.tx.selectFrom('operation').select(['id', 'kind']).where('resource_id', '=', row.id).where('state', '=', 'running').execute();
      for (const operation of open) {
        const error: FaultBody | undefined =
          operation.kind === kind ? undefined : { code: 'conflict', message: `${row.name} was deleted before this was done` };
        await endOperation(unit, operation.id, error);
      }
    });
  }

  async #failed(id: string, entry: Entry, row: Row | undefined, error: unknown): Promise<void> {
    const { contract, clock, log } = this.#options;
    if (row === undefined) throw error;
    if (entry.generation !== row.generation) {
      entry.generation = row.generation;
      entry.failures = 0;
      entry.busySince = undefined;
    }
    if (error instanceof Waiting) {
      entry.busySince = undefined;
      await this.#progress(row, error.message, undefined);
      this.#later(id, entry, error.milliseconds);
      return;
    }
    if (error instanceof Unsuccessful) {
      await this.#unit(row, async (unit) => {
        const table = new Table(contract, row.tenantId, unit);
        const current = await table.byId(row.id);
        if (current !== undefined && current.observed < row.generation) await table.report(current, { observed: row.generation });
        await endOperations(unit, row.id, row.generation, { code: 'conflict', message: error.message });
      });
      return;
    }
    const kind = kindOf(error);
    const text = message(error);
    log.warn({ resource: contract.resource.name, id, kind, error: text, ...(kind === 'bug' ? { stack: (error as Error).stack } : {}) }, 'reconcile failed');
    const deleting = row.deletedAt !== undefined;
    if (kind === 'unavailable' || (kind === 'busy' && (deleting || clock.now() - (entry.busySince ??= clock.now()) < BUSY_MS))) {
      if (kind === 'unavailable') entry.busySince = undefined;
      await this.#progress(row, `waiting: ${text}`, undefined);
      this.#later(id, entry, backoff(entry.tries++));
      return;
    }
    entry.failures++;
    if (!deleting && (kind === 'bad_spec' || entry.failures >= MOST_FAILURES)) {
      const said = kind === 'bug' ? 'An internal error; the daemon log has it under this id' : text;
      const body: FaultBody = error instanceof Fault ? error.toJSON() : { code: kind === 'bug' ? 'internal' : 'conflict', message: said, ...hintOf(error) };
      await this.#unit(row, async (unit) => {
        const table = new Table(contract, row.tenantId, unit);
        const current = await table.byId(row.id);
        if (current === undefined) return;
        if (current.deletedAt === undefined) {
          await table.report(current, { state: 'error', reason: said, observed: Math.max(current.observed, row.generation) });
        }
        await endOperations(unit, row.id, row.generation, body);
      });
      if (kind === 'bad_spec') entry.hopeless = row.generation;
      else this.#later(id, entry, FAILED_RETRY_MS);
      return;
    }
    await this.#progress(row, `trying again: ${text}`, undefined);
    if (deleting) await this.#context(row).report({ reason: text });
    this.#later(id, entry, backoff(entry.tries++));
  }

  #later(id: string, entry: Entry, milliseconds: number): void {
    entry.timer?.abort();
    const timer = new AbortController();
    entry.timer = timer;
    this.#options.clock.sleep(milliseconds, AbortSignal.any([timer.signal, this.#stop.signal])).then(
      () => {
        if (entry.timer === timer) entry.timer = undefined;
        this.wake(id);
      },
      () => undefined, // woken earlier, or stopping
    );
  }

  async #every(milliseconds: number, work: () => Promise<void>): Promise<void> {
    for (;;) {
      try {
        await this.#options.clock.sleep(milliseconds, this.#stop.signal);
      } catch {
        return; // stopping
      }
      await work();
    }
  }

  async #watch(): Promise<void> {
    const { controller, contract, clock, log } = this.#options;
    for (let failures = 0; !this.#stop.signal.aborted; failures++) {
      const begun = clock.now();
      try {
        await controller.watch?.(
          (id) => this.wake(id),
          this.#stop.signal,
          () => void this.sweep(false),
        );
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log.warn({ resource: contract.resource.name, error: message(error) }, 'the backend stopped telling its events');
      }
      if (clock.now() - begun > LONGEST_RETRY_MS) failures = 0;
      await clock.sleep(Math.min(2000, backoff(failures)), this.#stop.signal).catch(() => undefined);
    }
  }
}

const backoff = (tries: number): number => Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(tries, 20));

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const hintOf = (error: unknown): { hint?: string } => (error instanceof DriverError && error.hint !== undefined ? { hint: error.hint } : {});

function kindOf(error: unknown): 'bad_spec' | 'busy' | 'unavailable' | 'failed' | 'bug' {
  if (error instanceof DriverError) return error.code === 'full' ? 'unavailable' : error.code;
  if (error instanceof Fault) {
    if (error.code === 'unavailable' || error.code === 'insufficient_storage' || error.code === 'timeout') return 'unavailable';
    if (error.code === 'stale') return 'busy';
    return 'failed';
  }
  return 'bug';
}
