// What every call leaves behind, however it ends: an error that a caller can read, an audit line, and a count.
import type { Principal } from './authorize.ts';
import type { Bound } from './bound.ts';
import type { Clock } from './clock.ts';
import type { Core, Invocation } from './core.ts';
import { databaseFault } from './db.ts';
import { DriverError, Fault } from './errors.ts';
import type { Log } from './log.ts';
import type { Store, Unit } from './store.ts';

export interface OutcomesOptions {
  store: Store;
  clock: Clock;
  log: Log;
  bound: ReadonlyMap<string, Bound>;
  tenantOf(nameOrId: string, principal: Principal): Promise<string>;
}

export class Outcomes {
  readonly #options: OutcomesOptions;
  readonly #counts = new Map<string, { service: string; operation: string; outcome: string; count: number; seconds: number }>();

  constructor(options: OutcomesOptions) {
    this.#options = options;
  }

  get counts(): ReturnType<Core['metrics']>['calls'] {
    return [...this.#counts.values()];
  }

  /** Anything thrown becomes a Fault; what nobody foresaw is logged whole and told as `internal`. */
  fault(error: unknown, requestId: string, invocation: Invocation): Fault {
    const fault = this.#translate(error, invocation, requestId);
    fault.requestId = requestId;
    return fault;
  }

  #translate(error: unknown, invocation: Invocation, requestId: string): Fault {
    if (error instanceof Fault) return error;
    if (error instanceof DriverError) {
      const code = { bad_spec: 'conflict', busy: 'conflict', unavailable: 'unavailable', failed: 'unavailable' } as const;
      return new Fault(code[error.code], error.message, { cause: error, ...(error.hint === undefined ? {} : { hint: error.hint }) });
    }
    const database = databaseFault(error);
    if (database !== undefined) return database;
    const { service, operation, signal } = invocation;
    const write = this.#options.bound.get(service)?.operations.get(operation)?.operation.kind === 'write';
    // A write goes on without its caller: in one, only what says that it gave up for that reason is no bug.
    if (signal?.aborted === true && (!write || error === signal.reason)) return new Fault('timeout', 'The caller went away', { cause: error });
    this.#options.log.error(
      { requestId, service, operation, error: error instanceof Error ? (error.stack ?? error.message) : String(error) },
      'internal error',
    );
    return new Fault('internal', 'An internal error; the daemon log has it under this request id', { cause: error, hint: 'cloud daemon logs' });
  }

  async auditRefusal(invocation: Invocation, requestId: string, fault: Fault): Promise<void> {
    const kind = this.#options.bound.get(invocation.service)?.operations.get(invocation.operation)?.operation.kind;
    if (kind !== 'write' && kind !== 'channel') return;
    const { principal, tenant } = invocation;
    try {
      const own = principal?.tenantId ?? '';
      // What was tried in another tenant is that tenant's business; one that the principal does not belong to hears nothing.
      const meant = principal === undefined || tenant === undefined ? own : await this.#options.tenantOf(tenant, principal).catch(() => own);
      await this.audit(meant, principal?.id ?? 'anonymous', invocation, requestId, fault.code);
    } catch (error) {
      this.#options.log.error({ requestId, error: String(error) }, 'could not write an audit line');
    }
  }

  async audit(tenantId: string, principal: string, invocation: Invocation, requestId: string, outcome: string): Promise<void> {
    await this.#options.store.db
      .insertInto('audit')
      .values({
        tenant: tenantId,
        time: this.#options.clock.now(),
        principal,
        source: invocation.source ?? 'internal',
        permission: `${invocation.service}:${invocation.operation}`,
        target: invocation.target ?? nameIn(invocation.input),
        request_id: requestId,
        outcome,
      })
      .execute();
  }

  count(invocation: Invocation, outcome: string, started: number): void {
    // Names that no contract knows are counted together, so that a caller cannot make the table grow.
    const known = this.#options.bound.get(invocation.service)?.operations.has(invocation.operation) === true;
    const [service, operation] = known ? [invocation.service, invocation.operation] : ['unknown', 'unknown'];
    const key = `${service} ${operation} ${outcome}`;
    const entry = this.#counts.get(key) ?? { service, operation, outcome, count: 0, seconds: 0 };
    entry.count++;
    entry.seconds += (performance.now() - started) / 1000;
    this.#counts.set(key, entry);
  }
}

const nameIn = (input: unknown): string | null => {
  const name = (input as { name?: unknown } | null | undefined)?.name;
  return typeof name === 'string' ? name.slice(0, 128) : null;
};

/** The audit line of a change, in its own transaction. */
export const auditLine = (unit: Unit, invocation: Invocation, principal: Principal, requestId: string): Promise<unknown> =>
  unit.tx
    .insertInto('audit')
    .values({
      tenant: unit.tenantId,
      time: unit.now,
      principal: principal.id,
      source: invocation.source ?? 'internal',
      permission: `${invocation.service}:${invocation.operation}`,
      target: invocation.target ?? nameIn(invocation.input),
      request_id: requestId,
      outcome: 'ok',
    })
    .execute();
