// What every call leaves behind, however it ends: an error that a caller can read, an audit line, and a count.
import type { AuditLine, AuditLog } from './audit.ts';
import { INSTALLATION, type Principal } from './authorize.ts';
import type { Bound } from './bound.ts';
import type { Clock } from './clock.ts';
import { fieldMeta, inputShape } from './contract.ts';
import type { Core, Invocation } from './core.ts';
import { databaseFault } from './db.ts';
import { DriverError, Fault } from './errors.ts';
import { FloodGuard } from './flood.ts';
import type { Log } from './log.ts';
import type { Unit } from './store.ts';

export interface OutcomesOptions {
  audit: AuditLog;
  clock: Clock;
  log: Log;
  bound: ReadonlyMap<string, Bound>;
  tenantOf(nameOrId: string, principal: Principal): Promise<string>;
  /** Aborted when the core stops. */
  signal: AbortSignal;
}

/** What the audit says besides what the caller said. */
export interface Known {
  principal: Principal | undefined;
  requestId: string;
  targetId?: string | undefined;
  /** What allowed or refused it. */
  decision?: string | undefined;
  /** What the call is about, where it has no target. */
  about?: string | undefined;
}

/** Codes that say no to the caller rather than to what was asked: of those a line is written even where nothing would have changed. */
const REFUSALS: ReadonlySet<string> = new Set(['forbidden', 'unauthenticated', 'quota_exceeded']);

export class Outcomes {
  readonly #options: OutcomesOptions;
  readonly #flood = new FloodGuard();
  #telling: Promise<void> | undefined;
  readonly #decisions = new WeakMap<Fault, string>();
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
      const code = { bad_spec: 'conflict', busy: 'conflict', unavailable: 'unavailable', full: 'insufficient_storage', failed: 'unavailable' } as const;
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

  /** What decided that this was refused, for its audit line. */
  decided(fault: Fault, decision: string): void {
    this.#decisions.set(fault, decision);
  }

  /** The line of a change, in its transaction. */
  done(unit: Unit, invocation: Invocation, known: Known): Promise<void> {
    return this.#options.audit.append(unit, lineOf(unit.tenantId, invocation, { ...known, about: this.#about(invocation) }, 'ok'));
  }

  /** The line of what is no transaction, before it begins. */
  async opened(tenantId: string, invocation: Invocation, known: Known): Promise<void> {
    await this.#options.audit.appendAlone(lineOf(tenantId, invocation, { ...known, about: this.#about(invocation) }, 'ok'));
  }

  /** Every change that failed, and every refusal. What else fails of a read is nobody's business. */
  async auditRefusal(invocation: Invocation, requestId: string, fault: Fault): Promise<void> {
    const bound = this.#options.bound.get(invocation.service);
    const kind = bound?.operations.get(invocation.operation)?.operation.kind;
    if (bound === undefined || kind === undefined) return;
    const looks = kind === 'read' || kind === 'stream';
    if (looks && fault.code !== 'not_found' && !REFUSALS.has(fault.code)) return;
    const { principal, tenant } = invocation;
    await this.#guarded(invocation.source, principal, requestId, async () => {
      // What was tried in another tenant is that tenant's business; one that the principal does not belong to hears nothing.
      const own = principal?.tenantId ?? INSTALLATION;
      let meant = own;
      let foreign = false;
      if (principal !== undefined && tenant !== undefined) {
        meant = await this.#options.tenantOf(tenant, principal).catch((error: unknown) => {
          foreign = error instanceof Fault && error.code === 'not_found';
          return own;
        });
      }
      if (looks && fault.code === 'not_found' && !foreign) return undefined;
      const tenantId = bound.contract.resource.scope === 'installation' ? INSTALLATION : meant;
      return lineOf(tenantId, invocation, { principal, requestId, decision: this.#decisions.get(fault), about: this.#about(invocation) }, fault.code);
    });
  }

  /** Credentials that are not valid here: there was no call yet. */
  async auditCredentials(source: string, fault: Fault): Promise<void> {
    const requestId = fault.requestId ?? '';
    const invocation = { service: 'auth', operation: 'authenticate', input: undefined, principal: undefined, source };
    await this.#guarded(source, undefined, requestId, async () => lineOf(INSTALLATION, invocation, { principal: undefined, requestId }, fault.code));
  }

  /** Writes how many refusals were not written down one by one. To be called when the core stops, while the database is still open. */
  async close(): Promise<void> {
    await this.#telling;
    await this.#tell(this.#flood.take());
  }

  /** A line by itself; that it cannot be written must not change what the caller hears. */
  async #guarded(source: string | undefined, principal: Principal | undefined, requestId: string, make: () => Promise<AuditLine | undefined>): Promise<void> {
    const { clock, log, audit } = this.#options;
    try {
      const line = await make();
      if (line === undefined) return;
      if (principal === undefined && !this.#flood.passes(source ?? 'internal', clock.now())) {
        this.#telling ??= this.#tellLater().finally(() => {
          this.#telling = undefined;
        });
        return;
      }
      await audit.appendAlone(line);
    } catch (error) {
      log.error({ requestId, error: String(error) }, 'could not write an audit line');
    }
  }

  /** Until no minute with a number is left, or the core stops. */
  async #tellLater(): Promise<void> {
    const { clock, signal } = this.#options;
    for (let next = this.#flood.next; next !== undefined && !signal.aborted; next = this.#flood.next) {
      await clock.sleep(Math.max(next - clock.now(), 0), signal).catch(() => undefined); // stopping: `close` tells the rest
      if (!signal.aborted) await this.#tell(this.#flood.take(clock.now()));
    }
  }

  async #tell(numbers: readonly { source: string; held: number }[]): Promise<void> {
    for (const { source, held } of numbers) {
      const target = `${held} more were refused`;
      const line = { tenantId: INSTALLATION, principal: 'anonymous', source, permission: FLOOD, target, requestId: '', outcome: 'refused' };
      await this.#options.audit.appendAlone(line).catch((error: unknown) => {
        this.#options.log.error({ source, held, error: String(error) }, 'could not write an audit line');
      });
    }
  }

  /**
   * What a call without a target is about: the name that something is to have; of what is open to all, in its first argument, who somebody claims to be.
   * As it would be kept, and only if it can be one: people paste secrets into wrong fields.
   */
  #about({ service, operation: name, input }: Invocation): string | undefined {
    const operation = this.#options.bound.get(service)?.operations.get(name)?.operation;
    if (operation === undefined) return undefined;
    for (const [field, schema] of Object.entries(inputShape(operation))) {
      const { secret, cli } = fieldMeta(schema);
      if (secret === true || !(field === 'name' || (operation.access === 'anonymous' && cli?.positional === true))) continue;
      const { data } = schema.safeParse((input as Readonly<Record<string, unknown>> | null | undefined)?.[field]);
      return typeof data === 'string' ? data : undefined;
    }
    return undefined;
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

/** Permission of the line that says how many refusals were not written down one by one. */
const FLOOD = 'audit:flood';

const lineOf = (tenantId: string, invocation: Invocation, { principal, requestId, targetId, decision, about }: Known, outcome: string): AuditLine => ({
  tenantId,
  principal: principal?.id ?? 'anonymous',
  principalName: principal?.name,
  credential: principal?.credential?.id,
  source: invocation.source ?? 'internal',
  permission: `${invocation.service}:${invocation.operation}`,
  target: invocation.target ?? about,
  targetId,
  requestId,
  outcome,
  decision,
});
