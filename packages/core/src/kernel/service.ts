// What a service hands to the kernel: handlers for what is special about it, and a controller if its resource must be made so in the world.
import type { z } from 'zod';
import type { AuditLog } from './audit.ts';
import type { Directory, Grants, Principal, Question, Ruling } from './authorize.ts';
import type { Channel } from './channel.ts';
import type { Client } from './client.ts';
import type { Clock } from './clock.ts';
import type { Contract, Contracts, Operation, RefIds, Shape } from './contract.ts';
import type { Db, Tx } from './db.ts';
import type { Driver, Found, Port } from './driver.ts';
import type { SubmittedBy } from './group.ts';
import type { Keyring, Reseal } from './keyring.ts';
import type { Listener, Listening } from './listener.ts';
import type { Log } from './log.ts';
import type { Migration } from './migrate.ts';
import type { Committed, Unit } from './store.ts';
import type { Draft, Page, Row } from './table.ts';

type Values<S extends Shape> = { [K in keyof S as undefined extends z.output<S[K]> ? never : K]: z.output<S[K]> } & {
  [K in keyof S as undefined extends z.output<S[K]> ? K : never]?: z.output<S[K]>;
};
export type SpecOf<C extends Contract> = C['resource'] extends { readonly spec: infer Spec extends Shape } ? Values<Spec> & RefIds : never;
export type StatusOf<C extends Contract> = C['resource'] extends { readonly status: infer Status extends Shape } ? Partial<Values<Status>> : never;
export type RowOf<C extends Contract> = Row<SpecOf<C>, StatusOf<C>>;

/** Changes of a status; null takes a field away. */
export type StatusPatch<Status> = { [K in keyof Status]?: Status[K] | null };

interface CallBase<Input> {
  /** When the call came in, Unix milliseconds. */
  readonly startedAt: number;
  readonly principal: Principal;
  /** Whose rows it works on; empty: the installation's. */
  readonly tenantId: string;
  /** The tenant that the caller acts in; empty: none. */
  readonly actingIn: string;
  /** Where the call came from: an address, `socket`, `embedded`, `internal`. */
  readonly source: string;
  /** The caller is an administrator of the tenant or of the installation. */
  readonly administers: boolean;
  readonly requestId: string;
  readonly input: Input;
  /** Aborted when the caller goes away. Never for a write: what was accepted is done. */
  readonly signal: AbortSignal;
}

/** The line of the audit of a call whose preparation changes something: written with that change, neither is there without the other. */
export interface CallLine {
  readonly written: boolean;
  /** As part of a submitted work. */
  write(unit: Unit): Promise<void>;
  /** That work was committed: the call's own transaction writes no other. */
  committed(): void;
}

/** Before the transaction: may wait for backends and call other services. May change `input` (defaults that need a look at the world). */
export interface Preparation<C extends Contract, Input> extends Omit<CallBase<Input>, 'input' | 'signal'> {
  input: Input;
  /** Aborted when the caller goes away: nothing is accepted yet. One that does not look at it goes on to the transaction. */
  readonly signal: AbortSignal;
  /** The rows of the call's own resource as they are now; the transaction looks again. */
  readonly rows: Pick<Rows<C>, 'find' | 'get' | 'byId' | 'list'>;
  readonly target: string | undefined;
  /** For what is changed here and now (`submit`), not in the call's transaction. */
  readonly line: CallLine;
  /** Calls as this principal, each in a transaction of its own. */
  client<C extends Contracts>(contracts: C): Client<C>;
}

/** A read or write. Of a write everything is in one transaction: no waiting for backends here. */
export interface Call<C extends Contract, Input> extends CallBase<Input> {
  /** The resource the call is for; `not_found` when there is no such row. */
  readonly target: RowOf<C>;
  /** The same, or undefined: for services whose resources may exist without a row. */
  readonly found: RowOf<C> | undefined;
  /** What the caller wrote to name it. */
  readonly targetName: string;
  /** Rows that the ref fields of the input named, by field. */
  readonly refs: Readonly<Record<string, readonly Row[]>>;
  readonly rows: Rows<C>;
  /** The transaction (of a read: the database), for a service's own tables. Tenancy of those is the service's to keep. */
  readonly sql: Tx | Db;
  /** Calls other services in this same transaction, as this principal. */
  client<D extends Contracts>(contracts: D): Client<D>;
  /** Calls in this same transaction too (of a read: each by itself), but as the system in any tenant: for what follows from a change that was allowed. */
  systemClient<D extends Contracts>(tenantId: string, contracts: D): Client<D>;
  /** Whether the caller has a permission in the tenant so that it may give it to others. Undefined names: false. */
  mayGive(permission: string): boolean;
  /** Adds an event besides those that row writes make. */
  event(row: Pick<Row, 'id' | 'name'>, type: string, message: string): Promise<void>;
  /** Says after the commit (`onCommit`) that something of this row of the call's resource changed, where only a table of the service's own was written. */
  changed(id: string): void;
  /** Of an asynchronous operation: the row whose generation it follows, when that is not the one answered with. */
  follow(resource: string, id: string): void;
}

/** The rows of the call's own resource, in its tenant. */
export interface Rows<C extends Contract> {
  find(target: string): Promise<RowOf<C> | undefined>;
  get(target: string): Promise<RowOf<C>>;
  byId(id: string): Promise<RowOf<C> | undefined>;
  list(page?: Page): Promise<{ rows: RowOf<C>[]; cursor: string | undefined }>;
  insert(draft: Draft): Promise<RowOf<C>>;
  update(
    row: RowOf<C>,
    change: { labels?: Record<string, string> | undefined; spec?: Record<string, unknown>; always?: boolean; message?: string },
  ): Promise<RowOf<C>>;
  report(row: RowOf<C>, change: { status?: StatusPatch<StatusOf<C>>; state?: string; reason?: string | null }): Promise<RowOf<C>>;
  delete(row: RowOf<C>): Promise<RowOf<C>>;
}

/** A row stands for its view; anything else is the answer itself. */
type HandlerResult<C extends Contract, O extends Operation> = O['answersResource'] extends true
  ? RowOf<C> | z.output<O['output']>
  : Row | z.output<O['output']>;

type Handler<C extends Contract, O extends Operation> = O['kind'] extends 'stream'
  ? (call: Call<C, z.output<O['input']>>) => AsyncIterable<z.output<O['output']>>
  : O['kind'] extends 'channel'
    ? (call: Call<C, z.output<O['input']>>) => Promise<Channel<z.output<O['output']>>>
    : (call: Call<C, z.output<O['input']>>) => Promise<HandlerResult<C, O>>;

export type Handlers<C extends Contract> = { readonly [O in keyof C['operations']]?: Handler<C, C['operations'][O]> };
export type Preparations<C extends Contract> = {
  readonly [O in keyof C['operations']]?: (call: Preparation<C, z.output<C['operations'][O]['input']>>) => Promise<void>;
};

/** Thrown by the handler of a write that has a preparation: what that saw is no longer so. Rolled back, then prepared and tried again. */
export class Outdated extends Error {
  constructor() {
    super('what was prepared is no longer so');
    this.name = 'Outdated';
  }
}

/** Thrown by a controller: not yet, and that is no failure. */
export class Waiting extends Error {
  readonly milliseconds: number;
  constructor(message: string, milliseconds: number) {
    super(message);
    this.name = 'Waiting';
    this.milliseconds = milliseconds;
  }
}

/** Thrown by a controller: what was asked for did not succeed, though the resource itself is in the state that was reported. */
export class Unsuccessful extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'Unsuccessful';
  }
}

/** What a controller has while it works on one row. */
export interface Reconciliation<C extends Contract> {
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly log: Log;
  /** Calls as the system, in the row's tenant. */
  client<D extends Contracts>(contracts: D): Client<D>;
  /** Writes what is so, at once. Reading back is not needed: the newest row comes back. */
  report(change: { status?: StatusPatch<StatusOf<C>>; state?: string; reason?: string | null }): Promise<RowOf<C>>;
  event(type: string, message: string): Promise<void>;
  /** One short line for those who wait for the operation. */
  progress(message: string, percent?: number): void;
}

/**
 * Makes the world as the row says. It may be stopped at any instant and is then called again: every step must be repeatable.
 * Returns the milliseconds until the next look, or nothing. Throws Waiting, or a DriverError, to be called again or to fail.
 */
export interface Controller<C extends Contract> {
  reconcile(row: RowOf<C>, context: Reconciliation<C>): Promise<number | void>;
  /** Tears down what the row had. The row goes when this returns. */
  remove(row: RowOf<C>, context: Reconciliation<C>): Promise<void>;
  /** Follows the backend's own events; restarted with backoff when it throws. */
  watch?(wake: (id: string) => void, signal: AbortSignal, onReady: () => void): Promise<void>;
  /** Ids of rows that look different from the backend; undefined = all. Asked every `resyncMs`, and when the watch (re)starts. */
  differing?(rows: readonly RowOf<C>[]): Promise<readonly string[] | undefined>;
  /** Default 30,000. */
  resyncMs?: number;
  /** Most rows worked on at once. Default 8. */
  concurrency?: number;
  /** What the backend has of ours, for the reaper. */
  reap?: { list(): Promise<readonly Found[]>; remove(id: string, signal: AbortSignal): Promise<void> };
}

/** Whether somebody might do something, asked without doing it. */
export interface AccessQuestion {
  /** `<resource>:<operation>`. */
  permission: string;
  /** Name, id or CRN; every one of the kind when absent. */
  target?: string | undefined;
  /** Labels that the call would carry. */
  labels?: Readonly<Record<string, string>> | undefined;
  source?: string | undefined;
  /** Context values in place of, or besides, those of a call made now. */
  context?: Question['context'] | undefined;
  /** In place of what the principal has. */
  grants?: Grants | undefined;
}
export interface AccessAnswer {
  ruling: Ruling;
  /** What it was decided by, for an explanation. */
  grants: Grants;
  question: Question;
}

/** What a service is given when the core starts. */
export interface ServiceContext {
  readonly clock: Clock;
  readonly log: Log;
  readonly dataDir: string;
  readonly installation: string;
  readonly version: string;
  readonly startedAt: number;
  /** The driver of a port; the core does not start without those that its services need. */
  driver<D extends Driver>(port: Port<D>): D;
  /** All drivers, by port name. */
  readonly drivers: Readonly<Record<string, Driver>>;
  /** Names of all resources, as events and operations say them. */
  readonly resources: readonly string[];
  readonly contracts: readonly Contract[];
  readonly keyring: Keyring;
  /** `note` writes a line besides those that the kernel writes of every change and refusal (a failed login, a value that was read). */
  readonly audit: Pick<AuditLog, 'note' | 'verify' | 'retentionDays' | 'keepFor'>;
  /** Has every service seal its own anew, in a transaction that this begins. As `Keyring.rotate` without `next`. */
  rotateMasterKey(): Promise<{ from: string; to: string }>;
  /** A user, service account or API key by id, as the directory knows it; `local` is the local administrator. */
  principal(nameOrId: string): Promise<Principal | undefined>;
  /** Throws `invalid_input` for a permission that no contract has. */
  readonly access: { rule(principal: Principal, tenantId: string, question: AccessQuestion): Promise<AccessAnswer> };
  /** Calls as the system in a tenant, each in a transaction of its own. */
  client<C extends Contracts>(tenantId: string, contracts: C): Client<C>;
  /** Calls as somebody whom a data plane has authenticated: the same way in as over any transport. */
  clientFor<C extends Contracts>(caller: { principal: Principal; tenantId: string; source: string; requestId?: string | undefined }, contracts: C): Client<C>;
  /** A small change of tables of the service's own, for data planes: made together with others, and lasting when it resolves (`GroupCommit`). */
  submit<T>(by: SubmittedBy, work: (unit: Unit) => Promise<T>): Promise<T>;
  /** Where a data plane listens now; undefined while it does not. */
  listening(name: string): Listening | undefined;
  /** Reads across rows, for services that show the kernel's own tables. */
  readonly db: Db;
  /** Called after each commit. */
  onCommit(listener: (committed: Committed) => void): () => void;
}

export interface Service<C extends Contract> {
  /** Schema besides the resource's own table. */
  migrations?: readonly Migration[];
  /** Drivers that must answer before a write is accepted. */
  needs?: readonly Port<Driver>[];
  /** The one spelling of what a caller writes to name one of them, where there are several. Decided, looked up and remembered is by that. */
  spelling?(target: string): string;
  prepare?: Preparations<C>;
  handlers?: Handlers<C>;
  /** Status that no row keeps because it is counted when it is shown: one for each row, in their order. From the transaction, in one. */
  status?(rows: readonly RowOf<C>[], sql: Tx | Db): Promise<readonly StatusOf<C>[]>;
  controller?: Controller<C>;
  /** Who people and tenants are; one service has it. */
  directory?: Directory;
  /** For those who keep what the keyring sealed: opens all of it with the first keys and seals it with the second. */
  reseal?: Reseal;
  /** Bytes that are not calls, at an address of their own. */
  listener?: Listener;
  /** Work of its own in the background; called when the controllers start. */
  start?(): Promise<void>;
  /** Removes what has become old; called about once an hour. */
  prune?(now: number): Promise<void>;
  /** Writes down what it has in memory only; called when the core stops, after the last call has ended. */
  close?(): Promise<void>;
}

export interface ServiceDefinition {
  readonly contract: Contract;
  make(context: ServiceContext): Service<Contract>;
}

/** Binds an implementation to its contract. */
export const service = <C extends Contract>(of: C, make: (context: ServiceContext) => Service<C>): ServiceDefinition => ({
  contract: of,
  make: make as unknown as (context: ServiceContext) => Service<Contract>,
});
