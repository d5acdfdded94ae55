// The one way in. Every call of every service, embedded or over any transport, runs these steps in this order:
//   1 operation  2 input  3 tenant  4 authorization  5 stored answer  6 preparation (waits for backends)  7 transaction:
//   8 stored answer again  9 target and references  10 precondition  11 handler  12 operation, audit, stored answer  13 commit, wake controllers
// A refused attempt at a change is audited too. A service cannot forget a step, because it never takes one.
import { randomUUID } from 'node:crypto';
import { Access, inlineGrants, rulesByTarget } from './access.ts';
import { AuditLog } from './audit.ts';
import { bareDirectory, type Directory, INSTALLATION, isAdministrator, localAdministrator, type Principal, rulingText, systemPrincipal } from './authorize.ts';
import { type Bound, type Frame, findOperation, freshView, freshViews, isRow, ownerOf, spelt } from './bound.ts';
import type { Channel } from './channel.ts';
import { type Client, clientOf, type Request, type Transport } from './client.ts';
import type { Clock } from './clock.ts';
import { type Contract, type Contracts, listInput } from './contract.ts';
import { Loop } from './controller.ts';
import type { Answer, Core, Invocation } from './core.ts';
import type { Driver } from './driver.ts';
import { Fault } from './errors.ts';
import { GroupCommit } from './group.ts';
import { pruneForever } from './history.ts';
import { hashFor, type IdempotencyKey, resealAnswers, storeAnswer, storedAnswer } from './idempotency.ts';
import type { Keyring } from './keyring.ts';
import { type ListenAt, Listeners, type Listening } from './listener.ts';
import type { Log } from './log.ts';
import type { OutsideSource } from './master-key.ts';
import { Outcomes } from './outcome.ts';
import { refFields, resolveRefs } from './resolve.ts';
import {
  type Call,
  type CallLine,
  Outdated,
  type Preparation,
  type Reconciliation,
  type Rows,
  type Service,
  type ServiceContext,
  type ServiceDefinition,
} from './service.ts';
import { appendEvent, appendOperation, type Committed, type Store, type Unit } from './store.ts';
import { type Row, Table } from './table.ts';
import { validate } from './validate.ts';
import { Views } from './view.ts';

export interface KernelOptions {
  store: Store;
  definitions: readonly ServiceDefinition[];
  drivers: Readonly<Record<string, Driver>>;
  clock: Clock;
  log: Log;
  keyring: Keyring;
  dataDir: string;
  installation: string;
  version: string;
}

/** Rows in the answers that one service keeps; a page has at most 1,000, and one without any counts as one. */
const MOST_ROWS = 5_000;
/** Characters of a question whose answer is kept. Whoever asks longer ones asks seldom, or wants to fill the memory. */
const LONGEST_QUESTION = 512;

export class Kernel implements Core {
  readonly installation: string;
  readonly version: string;
  readonly dataDir: string;
  readonly #options: KernelOptions;
  readonly #store: Store;
  readonly #bound = new Map<string, Bound>();
  readonly #stop = new AbortController();
  readonly #audit: AuditLog;
  readonly #outcomes: Outcomes;
  readonly #directory: Directory;
  readonly #access: Access;
  readonly #group: GroupCommit;
  readonly #listeners = new Listeners();
  #inFlight = 0;
  #drained: (() => void) | undefined;
  #closed: Promise<void> | undefined;

  constructor(options: KernelOptions) {
    this.#options = options;
    this.#store = options.store;
    this.installation = options.installation;
    this.version = options.version;
    this.dataDir = options.dataDir;
    this.#audit = new AuditLog(options.store, options.keyring);
    this.#group = new GroupCommit(options.store, this.#audit);
    this.#outcomes = new Outcomes({
      audit: this.#audit,
      clock: options.clock,
      log: options.log,
      bound: this.#bound,
      tenantOf: async (nameOrId, principal) => (await this.#access.tenant(nameOrId, principal, true))?.id ?? INSTALLATION,
      signal: this.#stop.signal,
    });
    const startedAt = options.clock.now();
    const context: ServiceContext = {
      clock: options.clock,
      log: options.log,
      dataDir: options.dataDir,
      installation: options.installation,
      version: options.version,
      startedAt,
      resources: options.definitions.map(({ contract }) => contract.resource.name),
      contracts: options.definitions.map(({ contract }) => contract),
      keyring: options.keyring,
      audit: this.#audit,
      rotateMasterKey: () => this.rotateMasterKey(),
      principal: async (nameOrId) => (nameOrId === localAdministrator.id ? localAdministrator : this.#directory.find(nameOrId)),
      access: { rule: (principal, tenantId, question) => this.#access.rule(principal, tenantId, question) },
      drivers: options.drivers,
      driver: (port) => {
        const driver = options.drivers[port.name];
        if (driver === undefined) throw new Error(`no driver for the ${port.name} port`);
        return driver as never;
      },
      client: (tenantId, contracts) => this.clientFor(systemPrincipal(tenantId), contracts),
      clientFor: ({ principal, tenantId, source, requestId }, contracts) =>
        clientOf(
          contracts,
          this.#transport((request) => ({ ...invocationOf(request, principal, source), tenant: tenantId, requestId })),
        ),
      submit: (by, work) => this.#group.submit(by, work),
      listening: (name) => this.#listeners.at(name),
      db: options.store.db,
      onCommit: (listener) => options.store.onCommit(listener),
    };
    let directory: Directory | undefined;
    for (const definition of options.definitions) {
      const { contract } = definition;
      const service = definition.make(context);
      if (service.listener !== undefined) this.#listeners.add(service.listener);
      directory ??= service.directory;
      const operations = new Map(Object.entries(contract.operations).map(([name, operation]) => [name, { operation, refs: refFields(operation) }]));
      const loop =
        service.controller === undefined
          ? undefined
          : new Loop({
              contract,
              controller: service.controller,
              store: options.store,
              clock: options.clock,
              log: options.log,
              client: (tenantId) => ((contracts: Contracts) => this.clientFor(systemPrincipal(tenantId), contracts)) as Reconciliation<Contract>['client'],
            });
      this.#bound.set(contract.resource.name, { contract, service, views: new Views(contract), operations, loop, answers: new Map(), keptRows: 0 });
    }
    this.#directory = directory ?? bareDirectory(options.store.db);
    this.#access = new Access({ directory: this.#directory, store: options.store, clock: options.clock, bound: this.#bound, outcomes: this.#outcomes });
    options.store.onCommit((committed) => this.#committed(committed));
  }

  async authenticate(bearer: string, source: string): Promise<Principal> {
    try {
      return await this.#directory.authenticate(bearer, source);
    } catch (error) {
      if (error instanceof Fault && error.code === 'unauthenticated') await this.#outcomes.auditCredentials(source, error);
      throw error;
    }
  }

  async principal(nameOrId: string): Promise<Principal> {
    const found = await this.#directory.find(nameOrId);
    if (found === undefined) throw new Fault('not_found', `There is no user or service account ${JSON.stringify(nameOrId)}`, { hint: 'cloud user list' });
    return found;
  }

  /** Starts the controllers and the hourly clean-up. */
  async start(): Promise<void> {
    for (const { loop, service } of this.#bound.values()) {
      await loop?.start();
      await service.start?.();
    }
    const { clock, log } = this.#options;
    void pruneForever({ store: this.#store, clock, log, bound: this.#bound, audit: this.#audit, signal: this.#stop.signal });
  }

  /** Another master key: the given one, or one from where the present one came. */
  rotateMasterKey(next?: OutsideSource): Promise<{ from: string; to: string }> {
    return this.#options.keyring.rotate(next, async (tx, from, to) => {
      await resealAnswers(tx, from, to);
      await this.#audit.reseal(tx, from, to);
      for (const { service } of this.#bound.values()) await service.reseal?.(tx, from, to);
    });
  }

  /** Migrations of the services, for `migrate` before the start. */
  migrations(): { contract: Contract; migrations: Service<Contract>['migrations'] }[] {
    return [...this.#bound.values()].map(({ contract, service }) => ({ contract, migrations: service.migrations }));
  }

  clientFor<C extends Contracts>(principal: Principal, contracts: C, source = 'internal'): Client<C> {
    return clientOf(
      contracts,
      this.#transport((request) => invocationOf(request, principal, source)),
    );
  }

  #transport(invocation: (request: Request) => Invocation): Transport {
    const items = async function* (this: Kernel, request: Request) {
      yield* await this.#open(invocation(request), 'stream', true);
    }.bind(this);
    return {
      call: async (request) => structuredClone((await this.#invoke(invocation(request), true)).value),
      stream: items,
      channel: async (request) => (await this.#open(invocation(request), 'channel', true)) as Channel,
    };
  }

  async check(invocation: Invocation): Promise<void> {
    const { principal } = await this.#frame(invocation, false, invocation.requestId ?? randomUUID());
    // What an administrator opened goes on showing what only administrators see, although anybody might open the like.
    if (invocation.principal !== undefined && isAdministrator(invocation.principal) && !isAdministrator(principal)) {
      throw new Fault('forbidden', `${principal.name ?? principal.id} is no administrator of the installation any more`);
    }
  }

  async invoke(invocation: Invocation): Promise<Answer> {
    return this.#invoke(invocation, false);
  }

  async stream(invocation: Invocation): Promise<AsyncIterable<unknown>> {
    return (await this.#open(invocation, 'stream', false)) as AsyncIterable<unknown>;
  }

  async channel(invocation: Invocation): Promise<Channel> {
    return (await this.#open(invocation, 'channel', false)) as Channel;
  }

  get listeners(): readonly { name: string; defaultPort: number }[] {
    return this.#listeners.names;
  }

  listen(name: string, at: ListenAt): Promise<Listening> {
    return this.#listeners.listen(name, at);
  }

  metrics(): ReturnType<Core['metrics']> {
    const queued: Record<string, number> = {};
    for (const [name, { loop }] of this.#bound) if (loop !== undefined) queued[name] = loop.queued;
    return { calls: this.#outcomes.counts, queued };
  }

  close(): Promise<void> {
    this.#closed ??= (async () => {
      this.#stop.abort(new Fault('unavailable', 'The daemon is stopping', { hint: 'cloud daemon start' }));
      await this.#listeners.close();
      await Promise.all([...this.#bound.values()].map(async ({ loop }) => loop?.close()));
      if (this.#inFlight > 0) {
        await new Promise<void>((resolve) => {
          this.#drained = resolve;
        });
      }
      for (const [name, { service }] of this.#bound) {
        await service.close?.().catch((error: unknown) => this.#options.log.error({ service: name, error: String(error) }, 'could not end in order'));
      }
      await this.#group.close();
      await this.#outcomes.close();
    })();
    return this.#closed;
  }

  // ---- steps 1 to 4, the same for every kind

  async #frame(invocation: Invocation, inside: boolean, requestId: string): Promise<Frame> {
    const { bound, operation, refs } = findOperation(this.#bound, invocation, inside);
    const { resource } = bound.contract;
    const principal = await this.#access.caller(invocation, operation.access === 'anonymous');
    const input = validate(operation, invocation.input, resource);
    if (operation.target && (invocation.target === undefined || invocation.target === '')) {
      throw new Fault('invalid_input', `Name the ${invocation.service}: its name or id`, {
        details: [{ path: invocation.service, message: 'give its name or id' }],
      });
    }
    // Read before the tenant is looked at, so that a change between the two counts as one.
    const tenants = this.#access.tenantsVersion;
    const acting = await this.#access.acting(invocation, principal, operation);
    const stop = this.#stop.signal;
    let signal: AbortSignal | undefined;
    const frame: Frame = {
      bound,
      name: invocation.operation,
      operation,
      refs,
      principal,
      actingIn: acting.id,
      tenants,
      tenantId: resource.scope === 'installation' ? INSTALLATION : acting.id,
      tenantName: acting.name,
      source: invocation.source,
      requestId,
      input,
      target: spelt(bound, invocation.target),
      startedAt: this.#options.clock.now(),
      administers: false,
      // Most calls never look at it, and joining two signals costs more than a whole `list`.
      get signal() {
        signal ??= invocation.signal === undefined ? stop : AbortSignal.any([stop, invocation.signal]);
        return signal;
      },
    };
    await this.#access.authorize(frame, invocation);
    return frame;
  }

  // ---- calls

  async #invoke(invocation: Invocation, inside: boolean): Promise<Answer> {
    const started = performance.now();
    const requestId = invocation.requestId ?? randomUUID();
    let outcome = 'ok';
    this.#inFlight++;
    try {
      if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
      const frame = await this.#frame(invocation, inside, requestId);
      if (frame.operation.kind === 'stream' || frame.operation.kind === 'channel') {
        throw new Fault('invalid_input', `${invocation.service} ${invocation.operation} is a ${frame.operation.kind}; open it as one`);
      }
      return frame.operation.kind === 'read' ? await this.#read(frame) : await this.#write(frame, invocation);
    } catch (error) {
      const fault = this.#outcomes.fault(error, requestId, invocation);
      outcome = fault.code;
      await this.#outcomes.auditRefusal(invocation, requestId, fault);
      throw fault;
    } finally {
      this.#outcomes.count(invocation, outcome, started);
      this.#inFlight--;
      if (this.#inFlight === 0) this.#drained?.();
    }
  }

  async #read(frame: Frame): Promise<Answer> {
    const { bound, operation, tenantId, name } = frame;
    const custom = bound.service.handlers?.[name] as ((call: Call<Contract, unknown>) => Promise<unknown>) | undefined;
    const table = new Table(bound.contract, tenantId, this.#store.db);
    if (custom === undefined && operation.standard === 'get') {
      const target = frame.target as string;
      const look = async () => {
        const row = await this.#store.read(() => table.get(target));
        await this.#access.permitAgain(frame, row);
        return this.#answer(bound, row);
      };
      // A ruling about one row must not show what has its name by now, or has become of it.
      return rulesByTarget(frame.grants) ? look() : this.#remembered(frame, target, look);
    }
    if (custom === undefined && operation.standard === 'list') return this.#remembered(frame, JSON.stringify(frame.input), () => this.#list(frame, table));
    if (custom === undefined) throw new Error(`${bound.contract.resource.name}.${name} has no handler`);
    const target = await this.#store.read(() => this.#target(frame, table));
    await this.#access.permitAgain(frame, target);
    const refs = await this.#resolve(frame, this.#store.db);
    const value = await custom(this.#call(frame, undefined, target, refs));
    return this.#answer(bound, value);
  }

  /** The answer given before, while no row of the tenant's has changed since; else a new one. */
  async #remembered({ bound, operation, tenantId }: Frame, question: string, ask: () => Promise<Answer>): Promise<Answer> {
    if (bound.service.status !== undefined) return ask(); // counted when it is shown: no row tells that it changed
    if (question.length > LONGEST_QUESTION) return ask();
    const version = this.#store.version(bound.contract.resource.name, tenantId);
    const key = `${tenantId} ${operation.standard} ${question}`;
    const known = bound.answers.get(key);
    if (known !== undefined && known.version === version) return known.answer;
    const answer = await ask();
    const rows = Math.max(1, (answer.value as { items?: unknown[] }).items?.length ?? 1);
    if (known !== undefined && bound.answers.delete(key)) bound.keptRows -= known.rows;
    for (const [oldest, entry] of bound.answers) {
      if (bound.keptRows + rows <= MOST_ROWS) break;
      bound.answers.delete(oldest);
      bound.keptRows -= entry.rows;
    }
    // Two may have asked at once: the second takes the first one's place.
    bound.keptRows += rows - (bound.answers.get(key)?.rows ?? 0);
    bound.answers.set(key, { version, answer, rows });
    return answer;
  }

  async #list({ bound, input }: Frame, table: Table): Promise<Answer> {
    const { rows, cursor } = await this.#store.read(() => table.list(listInput.parse(input)));
    const items = bound.service.status === undefined ? rows.map((row) => bound.views.of(row)) : await freshViews(bound, rows, this.#store.db);
    return { value: { items, ...(cursor === undefined ? {} : { cursor }) } };
  }

  async #write(frame: Frame, invocation: Invocation): Promise<Answer> {
    const { bound, tenantId, principal, requestId, name } = frame;
    const idempotency: IdempotencyKey | undefined =
      invocation.idempotencyKey === undefined || frame.operation.answerKept === 0
        ? undefined
        : {
            tenantId,
            principal: principal.id,
            key: invocation.idempotencyKey,
            hash: hashFor(frame.operation, this.#options.keyring, tenantId, bound.contract.resource.name, name, frame.target, frame.input),
            seal: frame.operation.secretAnswer ? this.#options.keyring : undefined,
          };
    if (idempotency !== undefined) {
      const stored = await this.#store.read((db) => storedAnswer(db, idempotency, this.#options.clock.now()));
      if (stored !== undefined) return { ...stored, replayed: true };
    }
    for (const needed of bound.service.needs ?? []) await this.#options.drivers[needed.name]?.ping(AbortSignal.timeout(5000));
    const prepare = bound.service.prepare?.[name] as ((call: Preparation<Contract, unknown>) => Promise<void>) | undefined;
    if (prepare === undefined) return this.#commit(frame, invocation, idempotency);
    for (;;) {
      const preparation: Preparation<Contract, unknown> = {
        startedAt: frame.startedAt,
        principal,
        tenantId,
        actingIn: frame.actingIn,
        source: frame.source ?? 'internal',
        administers: frame.administers,
        requestId,
        signal: frame.signal,
        target: frame.target,
        input: frame.input,
        rows: new Table(bound.contract, tenantId, this.#store.db) as unknown as Rows<Contract>,
        line: this.#line(frame, invocation),
        client: (contracts) =>
          clientOf(
            contracts,
            this.#transport((request) => ({ ...invocationOf(request, principal, invocation.source ?? 'internal'), tenant: frame.actingIn || undefined })),
          ),
      };
      await prepare(preparation);
      frame.input = preparation.input as Record<string, unknown>;
      try {
        return await this.#commit(frame, invocation, idempotency);
      } catch (error) {
        if (!(error instanceof Outdated)) throw error;
      }
    }
  }

  #line(frame: Frame, invocation: Invocation): CallLine {
    const { principal, requestId, tenantId } = frame;
    return {
      get written() {
        return frame.audited === true;
      },
      write: (unit) => this.#outcomes.done({ ...unit, tenantId }, invocation, { principal, requestId, decision: decisionOf(frame) }),
      committed: () => {
        frame.audited = true;
      },
    };
  }

  /** Steps 7 to 13. */
  #commit(frame: Frame, invocation: Invocation, idempotency: IdempotencyKey | undefined): Promise<Answer> {
    const { operation, tenantId, principal, requestId } = frame;
    return this.#store.transaction({ tenantId, principal: principal.id, requestId }, async (unit) => {
      if (idempotency !== undefined) {
        const stored = await storedAnswer(unit.tx, idempotency, unit.now);
        if (stored !== undefined) return { ...stored, replayed: true };
      }
      const answer = await this.#inside(frame, unit, invocation);
      await this.#access.stillOpen(frame, unit);
      const targetId = idOf(answer.value);
      if (frame.audited === undefined) await this.#outcomes.done(unit, invocation, { principal, requestId, targetId, decision: decisionOf(frame) });
      if (idempotency !== undefined) await storeAnswer(unit, idempotency, answer, operation.answerKept * 1000);
      return answer;
    });
  }

  /** Steps 9 to 12 of a write, in its transaction or in that of the call which made it. */
  async #inside(frame: Frame, unit: Unit, invocation: Pick<Invocation, 'ifMatch'>, nested = false): Promise<Answer> {
    const { bound, operation, name, tenantId } = frame;
    const table = new Table(bound.contract, tenantId, unit);
    const target = await this.#target(frame, table);
    await this.#access.permitAgain(frame, target);
    if (invocation.ifMatch !== undefined && target !== undefined && !(target instanceof Fault) && target.generation !== invocation.ifMatch) {
      throw new Fault('stale', `${target.name} has changed since you read it (generation ${target.generation}, not ${invocation.ifMatch})`, {
        hint: `cloud ${bound.contract.resource.name} get ${target.name}`,
        details: { generation: target.generation },
      });
    }
    const refs = await this.#resolve(frame, unit);
    let followed: { resource: string; id: string } | undefined;
    const call = this.#call(frame, unit, target, refs, (resource, id) => {
      followed = { resource, id };
    });
    const custom = bound.service.handlers?.[name] as ((call: Call<Contract, unknown>) => Promise<unknown>) | undefined;
    const value = custom === undefined ? await this.#standard(frame, table, target as Row | undefined) : await custom(call);
    let row = isRow(value) ? value : undefined;
    const subject = nested ? undefined : await this.#subject(followed, row, bound, tenantId, unit);
    let operationId: string | undefined;
    if (operation.async && subject !== undefined) {
      const { row: of } = subject;
      const done = of.deletedAt === undefined && of.observed >= of.generation && of.state !== 'error';
      const kind = `${bound.contract.resource.name}.${name}`;
      operationId = await appendOperation(unit, { kind, resource: subject.resource, resourceId: of.id, name: of.name, generation: of.generation, done });
      // A handler that answers with what another service made shows it with this operation.
      if (row === undefined && (value as { id?: unknown } | undefined)?.id === of.id) row = of;
      const owner = this.#bound.get(subject.resource);
      if (owner?.contract.resource.stored === true) await new Table(owner.contract, tenantId, unit).setOperation(of, operationId);
      if (row !== undefined)
        row =
          row.id === of.id
            ? { ...row, operation: operationId }
            : await new Table(ownerOf(this.#bound, row, bound).contract, tenantId, unit).setOperation(row, operationId);
    }
    const answer: Answer =
      row === undefined ? { value } : { value: await freshView(ownerOf(this.#bound, row, bound), row, unit.tx), generation: row.generation };
    return { ...answer, ...(operationId === undefined ? {} : { operation: operationId }) };
  }

  /** The row whose generation an operation follows: the one the handler named, or the one it answers with. */
  async #subject(
    followed: { resource: string; id: string } | undefined,
    row: Row | undefined,
    bound: Bound,
    tenantId: string,
    unit: Unit,
  ): Promise<{ resource: string; row: Row } | undefined> {
    if (followed === undefined) return row === undefined ? undefined : { resource: bound.contract.resource.name, row };
    const owner = this.#bound.get(followed.resource);
    const of = owner === undefined ? undefined : await new Table(owner.contract, tenantId, unit).byId(followed.id);
    if (of === undefined) throw new Error(`nothing to follow: ${followed.resource} ${followed.id}`);
    return { resource: followed.resource, row: of };
  }

  /** The row the call is for. That it is missing is told to handlers only when they ask for it: an image may be there without a row. */
  async #target({ bound, operation, target, name }: Frame, table: Table): Promise<Row | Fault | undefined> {
    if (!operation.target || !bound.contract.resource.stored) return undefined;
    try {
      return await table.get(target as string);
    } catch (error) {
      if (error instanceof Fault && error.code === 'not_found' && bound.service.handlers?.[name] !== undefined) return error;
      throw error;
    }
  }

  async #standard(frame: Frame, table: Table, target: Row | undefined): Promise<Row> {
    const { bound, operation, name } = frame;
    const { name: rowName, labels, ...spec } = frame.input as { name?: string; labels?: Record<string, string> } & Record<string, unknown>;
    switch (operation.standard) {
      case 'create':
        return table.insert({ name: rowName as string, labels: labels ?? {}, spec });
      case 'update':
        return table.update(target as Row, { labels, spec });
      case 'delete':
        return table.delete(target as Row);
      default:
        throw new Error(`${bound.contract.resource.name}.${name} has no handler`);
    }
  }

  #resolve(frame: Frame, from: Unit | Store['db']): Promise<Record<string, Row[]>> {
    return resolveRefs(frame.input, frame.refs, (resource) => {
      const bound = this.#bound.get(resource);
      if (bound === undefined) throw new Error(`a field refers to ${resource}, which no service provides`);
      return { table: new Table(bound.contract, scoped(bound.contract, frame.actingIn), from), contract: bound.contract };
    });
  }

  #call(
    frame: Frame,
    unit: Unit | undefined,
    target: Row | Fault | undefined,
    refs: Record<string, Row[]>,
    follow?: (resource: string, id: string) => void,
  ): Call<Contract, unknown> {
    const { bound, startedAt, principal, tenantId, actingIn, requestId, input } = frame;
    const table = new Table(bound.contract, tenantId, unit ?? this.#store.db);
    return {
      startedAt,
      principal,
      tenantId,
      actingIn,
      source: frame.source ?? 'internal',
      administers: frame.administers,
      requestId,
      input,
      signal: unit === undefined ? frame.signal : this.#stop.signal,
      get target() {
        if (target === undefined) throw new Error('this operation has no target');
        if (target instanceof Fault) throw target;
        return target as never;
      },
      targetName: frame.target ?? '',
      found: target === undefined || target instanceof Fault ? undefined : (target as never),
      refs,
      rows: table as unknown as Rows<Contract>,
      sql: unit?.tx ?? this.#store.db,
      client: (contracts) =>
        clientOf(
          contracts,
          unit === undefined
            ? this.#transport((request) => ({ ...invocationOf(request, principal, frame.source ?? 'internal'), tenant: actingIn || undefined }))
            : this.#nested(unit, frame),
        ),
      systemClient: (inTenant, contracts) => {
        const as = systemPrincipal(inTenant);
        if (unit === undefined) return this.clientFor(as, contracts);
        return clientOf(
          contracts,
          this.#nested(unit, { principal: as, actingIn: inTenant, tenantName: '', source: 'internal', requestId, grants: inlineGrants(as, inTenant) }),
        );
      },
      mayGive: (permission) => this.#access.mayGive(frame, permission),
      event: async (row, type, text) => {
        if (unit === undefined) throw new Error('an event needs a transaction');
        await appendEvent(unit, {
          type: `${bound.contract.resource.name}.${type}`,
          resource: bound.contract.resource.name,
          resourceId: row.id,
          name: row.name,
          message: text,
        });
      },
      changed: (id) => {
        if (unit === undefined) throw new Error('only a transaction changes something');
        unit.changes.rows.push({ resource: bound.contract.resource.name, id, tenantId, stateChanged: false });
      },
      follow: (resource, id) => follow?.(resource, id),
    };
  }

  /** Calls inside a transaction: the same steps, but for those that belong to the outer call (audit, stored answer, preparation, operation). */
  #nested(outerUnit: Unit, outer: Outer): Transport {
    const refuse = () => {
      throw new Error('streams and channels cannot be opened inside a transaction');
    };
    return {
      call: async (request) => {
        const invocation = invocationOf(request, outer.principal, 'internal');
        const frame = await this.#frameInside(invocation, outer, outerUnit);
        const unit: Unit = { ...outerUnit, tenantId: frame.tenantId };
        if (frame.operation.kind !== 'read') return (await this.#inside(frame, unit, invocation, true)).value;
        const { bound, operation } = frame;
        const table = new Table(bound.contract, frame.tenantId, unit);
        if (bound.service.handlers?.[frame.name] === undefined && operation.standard === 'get')
          return freshView(bound, await table.get(frame.target as string), unit.tx);
        if (bound.service.handlers?.[frame.name] === undefined && operation.standard === 'list') {
          const { rows, cursor } = await table.list(listInput.parse(frame.input));
          return { items: await freshViews(bound, rows, unit.tx), cursor };
        }
        throw new Error(`${request.service}.${request.operation} cannot be read inside a transaction`);
      },
      stream: refuse,
      channel: refuse,
    };
  }

  /** All that would have to be looked up is known from the outer call: in its transaction the database answers nobody else. */
  async #frameInside(invocation: Invocation, outer: Outer, unit: Unit): Promise<Frame> {
    const { bound, operation, refs } = findOperation(this.#bound, invocation, true);
    const { principal, actingIn, tenantName, source, requestId } = outer;
    if (bound.service.prepare?.[invocation.operation] !== undefined) {
      throw new Error(`${invocation.service}.${invocation.operation} waits for a backend first, so it cannot be called inside a transaction`);
    }
    const frame: Frame = {
      bound,
      name: invocation.operation,
      operation,
      refs,
      principal,
      actingIn,
      tenants: this.#access.tenantsVersion,
      tenantId: scoped(bound.contract, actingIn),
      tenantName,
      source,
      requestId,
      input: validate(operation, invocation.input, bound.contract.resource),
      target: spelt(bound, invocation.target),
      startedAt: this.#options.clock.now(),
      administers: false,
      signal: this.#stop.signal,
    };
    await this.#access.authorize(frame, invocation, outer.grants ?? inlineGrants(principal, actingIn), unit);
    return frame;
  }

  // ---- streams and channels

  async #open(invocation: Invocation, kind: 'stream' | 'channel', inside: boolean): Promise<AsyncIterable<unknown> & Channel> {
    const started = performance.now();
    const requestId = invocation.requestId ?? randomUUID();
    let outcome = 'ok';
    try {
      if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
      const frame = await this.#frame(invocation, inside, requestId);
      if (frame.operation.kind !== kind) throw new Fault('invalid_input', `${invocation.service} ${invocation.operation} is not a ${kind}`);
      const { bound, name, tenantId } = frame;
      const handler = bound.service.handlers?.[name] as ((call: Call<Contract, unknown>) => AsyncIterable<unknown> | Promise<Channel>) | undefined;
      if (handler === undefined) throw new Error(`${invocation.service}.${name} has no handler`);
      const table = new Table(bound.contract, tenantId, this.#store.db);
      const target = await this.#store.read(() => this.#target(frame, table));
      // A stream's handler begins with its first item, which is too late to say that there is nothing to stream from.
      if (target instanceof Fault) throw target;
      await this.#access.permitAgain(frame, target);
      const refs = await this.#resolve(frame, this.#store.db);
      const call = this.#call(frame, undefined, target, refs);
      if (kind === 'channel') {
        const channel = (await handler(call)) as Channel;
        // From here on it may break at any moment, while nobody has it yet: what nobody hears would end the process. `result` tells it.
        for (const pipe of [channel.input, channel.output, channel.error]) pipe.on('error', () => undefined);
        const close = () => channel.close();
        frame.signal.addEventListener('abort', close, { once: true });
        const done = () => frame.signal.removeEventListener('abort', close);
        const result = channel.result.then(
          (value) => {
            done();
            return isRow(value) ? bound.views.of(value) : value;
          },
          (error: unknown) => {
            done();
            throw this.#outcomes.fault(error, requestId, invocation);
          },
        );
        result.catch(() => undefined); // whoever opened the channel sees it; nobody else must
        // Aborted while the far end was being opened: no event tells of that any more.
        if (frame.signal.aborted) close();
        try {
          // What goes through a channel may change things, so its opening is audited as a change is.
          const { principal } = frame;
          const targetId = target instanceof Object && 'id' in target ? target.id : undefined;
          await this.#outcomes.opened(tenantId, invocation, { principal, requestId, targetId, decision: decisionOf(frame) });
        } catch (error) {
          close();
          throw error;
        }
        return { ...channelParts(channel), result } as never;
      }
      return this.#guarded(handler(call) as AsyncIterable<unknown>, frame.signal, requestId, invocation) as never;
    } catch (error) {
      const fault = this.#outcomes.fault(error, requestId, invocation);
      outcome = fault.code;
      await this.#outcomes.auditRefusal(invocation, requestId, fault);
      throw fault;
    } finally {
      this.#outcomes.count(invocation, outcome, started);
    }
  }

  async *#guarded(items: AsyncIterable<unknown>, signal: AbortSignal, requestId: string, invocation: Invocation): AsyncGenerator<unknown> {
    try {
      yield* items;
    } catch (error) {
      if (signal.aborted && !this.#stop.signal.aborted) return; // the caller went away
      throw this.#outcomes.fault(error, requestId, invocation);
    }
  }

  // ---- what every outcome passes through

  async #answer(bound: Bound, value: unknown): Promise<Answer> {
    if (!isRow(value)) return { value };
    const counted = bound.service.status !== undefined;
    return { value: counted ? await freshView(bound, value, this.#store.db) : bound.views.of(value), generation: value.generation };
  }

  #committed(committed: Committed): void {
    // A transaction writes one row several times (the change, its operation); two wakes would be two rounds of work.
    const woken = new Set<string>();
    const users = new Set<string>();
    for (const { resource, id, stateChanged } of committed.rows) {
      if (committed.from !== resource && !woken.has(id)) {
        woken.add(id);
        this.#bound.get(resource)?.loop?.wake(id);
      }
      if (stateChanged && !users.has(id)) {
        users.add(id);
        void this.#wakeUsers(id);
      }
    }
  }

  /** What refers to a row may have waited for its change. */
  async #wakeUsers(id: string): Promise<void> {
    if (this.#stop.signal.aborted) return;
    try {
      const users = await this.#store.read((db) => db.selectFrom('reference').select(['from_kind', 'from_id']).where('to_id', '=', id).execute());
      for (const { from_kind, from_id } of users) this.#bound.get(from_kind)?.loop?.wake(from_id);
    } catch (error) {
      // The sweep wakes them later.
      if (!this.#stop.signal.aborted) this.#options.log.warn({ id, error: String(error) }, 'could not look up what refers to a row');
    }
  }
}

type Outer = Pick<Frame, 'principal' | 'actingIn' | 'tenantName' | 'source' | 'requestId' | 'grants'>;

/** Whose rows a resource's are, for a caller who acts in this tenant. */
const scoped = (contract: Contract, actingIn: string): string => (contract.resource.scope === 'installation' ? INSTALLATION : actingIn);

const decisionOf = ({ ruling }: Frame): string | undefined => (ruling === undefined ? undefined : rulingText(ruling));

/** Of an answer that is a resource. */
const idOf = (value: unknown): string | undefined => {
  const id = (value as { id?: unknown } | null | undefined)?.id;
  return typeof id === 'string' ? id : undefined;
};

const invocationOf = (request: Request, principal: Principal, source: string): Invocation => ({
  service: request.service,
  operation: request.operation,
  target: request.target,
  input: request.input,
  principal,
  source,
  tenant: request.options.tenant,
  ifMatch: request.options.ifMatch,
  idempotencyKey: request.options.idempotencyKey,
  signal: request.options.signal,
});

const channelParts = (channel: Channel): Omit<Channel, 'result'> => ({
  input: channel.input,
  output: channel.output,
  error: channel.error,
  control: (message) => channel.control(message),
  close: () => channel.close(),
});
