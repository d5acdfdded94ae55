// The services as the kernel holds them: each contract with its implementation, its loop and what is kept of its answers.
import type { Grants, Principal, Ruling } from './authorize.ts';
import type { Contract, Operation } from './contract.ts';
import type { Loop } from './controller.ts';
import type { Answer, Invocation } from './core.ts';
import type { Db, Tx } from './db.ts';
import { Fault } from './errors.ts';
import { nearest } from './near.ts';
import type { refFields } from './resolve.ts';
import type { Service } from './service.ts';
import type { Row } from './table.ts';
import type { Views } from './view.ts';

type RefFields = ReturnType<typeof refFields>;

export interface Bound {
  contract: Contract;
  service: Service<Contract>;
  views: Views;
  operations: Map<string, { operation: Operation; refs: RefFields }>;
  loop: Loop | undefined;
  /** Answers to `get` and `list`, by tenant and question, while nothing changed. */
  answers: Map<string, { version: number; answer: Answer; rows: number }>;
  /** Rows in them. */
  keptRows: number;
}

/** A call on its way: found, validated and authorised. */
export interface Frame {
  bound: Bound;
  name: string;
  operation: Operation;
  refs: RefFields;
  principal: Principal;
  /** Whose rows it works on; empty: the installation's. */
  tenantId: string;
  /** The tenant that the caller acts in, and its name; empty: none. */
  actingIn: string;
  tenantName: string;
  /** How often the list of tenants had changed when that was looked up. */
  tenants: number;
  source: string | undefined;
  /** An administrator of the tenant or of the installation. */
  administers: boolean;
  /** What let it pass, the target as it was looked at for that, and what to ask again should that have changed. */
  ruling?: Ruling;
  ruledOn?: Row | undefined;
  grants?: Grants;
  requestId: string;
  input: Record<string, unknown>;
  target: string | undefined;
  startedAt: number;
  /** Of a write: for its preparation only. */
  signal: AbortSignal;
  /** The preparation wrote the line of the audit. */
  audited?: true;
}

const maybe = (near: string | undefined): string => (near === undefined ? '' : `; did you mean ${near}?`);

/** Step 1: the operation, or `not_found` with a near match. Internal operations are there only for other services. */
export function findOperation(
  all: ReadonlyMap<string, Bound>,
  { service, operation: name }: Invocation,
  inside: boolean,
): { bound: Bound; operation: Operation; refs: RefFields } {
  const bound = all.get(service);
  if (bound === undefined) throw new Fault('not_found', `There is no service ${JSON.stringify(service)}${maybe(nearest(service, all.keys()))}`);
  const found = bound.operations.get(name);
  if (found === undefined || (found.operation.internal && !inside)) {
    const offered = [...bound.operations].filter(([, { operation }]) => !operation.internal).map(([known]) => known);
    throw new Fault('not_found', `${service} has no operation ${JSON.stringify(name)}${maybe(nearest(name, offered))}`);
  }
  return { bound, ...found };
}

/** The service whose row this is: a handler may answer with another service's. */
export function ownerOf(all: ReadonlyMap<string, Bound>, row: Row, fallback: Bound): Bound {
  const prefix = row.id.slice(0, row.id.indexOf('-'));
  for (const bound of all.values()) if (bound.contract.resource.prefix === prefix) return bound;
  return fallback;
}

export const isRow = (value: unknown): value is Row =>
  typeof value === 'object' && value !== null && 'tenantId' in value && 'revision' in value && 'spec' in value;

/** Views that are not kept: of a transaction, which may be rolled back, and with what is counted when it is shown. */
export async function freshViews(bound: Bound, rows: readonly Row[], from: Tx | Db): Promise<Record<string, unknown>[]> {
  if (bound.service.status === undefined || rows.length === 0) return rows.map((row) => bound.views.once(row));
  const counted = await bound.service.status(rows as never, from);
  return rows.map((row, index) => bound.views.once({ ...row, status: { ...row.status, ...counted[index] } }));
}

export const freshView = async (bound: Bound, row: Row, from: Tx | Db): Promise<Record<string, unknown>> =>
  (await freshViews(bound, [row], from))[0] as Record<string, unknown>;

/** Nothing has a longer name than an object: `<bucket>/<key>`. Policies are matched against it, so a longer one would cost everybody time. */
const LONGEST_TARGET = 1100;

/** The one spelling of a target that may be written in several. */
export function spelt({ service }: Bound, target: string | undefined): string | undefined {
  if (target === undefined) return undefined;
  if (target.length > LONGEST_TARGET) throw new Fault('invalid_input', `A name or id has at most ${LONGEST_TARGET} characters`);
  return service.spelling?.(target) ?? target;
}
