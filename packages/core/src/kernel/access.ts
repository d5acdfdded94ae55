// Step 4 of every call: who calls, in which tenant, and whether they may. What decides in which order stands in authorize.ts; here is what it is asked about.
import {
  administersInstallation,
  anonymous,
  belongsTo,
  contextOf,
  crn,
  type Directory,
  decide,
  type Grants,
  INSTALLATION,
  isAdministrator,
  mayGive,
  type Principal,
  rolesIn,
  rulingText,
} from './authorize.ts';
import { type Bound, type Frame, spelt } from './bound.ts';
import type { Clock } from './clock.ts';
import type { Operation } from './contract.ts';
import type { Invocation } from './core.ts';
import { Fault } from './errors.ts';
import type { Outcomes } from './outcome.ts';
import type { AccessAnswer, AccessQuestion } from './service.ts';
import type { Store, Unit } from './store.ts';
import { type Row, Table } from './table.ts';

export interface AccessOptions {
  directory: Directory;
  store: Store;
  clock: Clock;
  bound: ReadonlyMap<string, Bound>;
  outcomes: Outcomes;
}

/** What those are given whom the directory does not have: what they say of themselves. */
export const inlineGrants = (principal: Principal, tenantId: string): Grants => ({
  roles: rolesIn(principal, tenantId),
  permits: () => false,
  policies: [],
  bounds: undefined,
});

/** Whether what is allowed may depend on which row it is done to. */
export const rulesByTarget = (grants: Grants | undefined): grants is Grants =>
  grants !== undefined && (grants.bounds !== undefined || grants.policies.length > 0);

/** What a tenant that is being deleted takes no more; controllers go on, to take it down. */
const beginsSomething = ({ kind, access }: Operation, principal: Principal): boolean =>
  kind !== 'read' && kind !== 'stream' && access === 'role' && principal.kind !== 'system';
const closing = (name: string): Fault => new Fault('conflict', `The tenant ${name} is being deleted`);

export class Access {
  readonly #directory: Directory;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #bound: ReadonlyMap<string, Bound>;
  readonly #outcomes: Outcomes;

  constructor({ directory, store, clock, bound, outcomes }: AccessOptions) {
    this.#directory = directory;
    this.#store = store;
    this.#clock = clock;
    this.#bound = bound;
    this.#outcomes = outcomes;
  }

  /** Who calls, as it is now. */
  async caller({ principal }: Invocation, openToAll: boolean): Promise<Principal> {
    if (principal === undefined) {
      if (openToAll) return anonymous;
      throw new Fault('unauthenticated', 'This needs credentials', { hint: 'cloud auth login' });
    }
    return principal.kept === true ? this.#directory.current(principal) : principal;
  }

  /** The tenant that the caller acts in: the one it named, else its own. */
  async acting({ tenant, service, operation: name }: Invocation, principal: Principal, operation: Operation): Promise<{ id: string; name: string }> {
    if (operation.access === 'anonymous') return { id: INSTALLATION, name: '' };
    const found = await this.tenant(tenant ?? principal.tenantId, principal, tenant !== undefined);
    if (found === undefined) {
      // Of a system that acts for the installation itself, internal operations are all that it may call.
      if (operation.access !== 'role' || operation.internal) return { id: INSTALLATION, name: '' };
      throw new Fault('forbidden', `${principal.name ?? principal.id} belongs to no tenant`, {
        details: { permission: `${service}:${name}` },
        hint: 'cloud tenant list',
      });
    }
    if (found.closing && beginsSomething(operation, principal)) throw closing(found.name);
    return found;
  }

  /** Grows with every change to the list of tenants. */
  get tenantsVersion(): number {
    return this.#store.version('tenant', INSTALLATION);
  }

  /**
   * At the end of a transaction: its tenant may have begun to go since the call was let in, while a backend was waited for. A tenant is emptied only after
   * its deletion was committed and counted, and looked at for the last time in a transaction: what commits before is seen there, what commits after sees this.
   */
  async stillOpen({ tenants, operation, principal, actingIn, tenantName }: Frame, unit: Unit): Promise<void> {
    if (tenants === this.tenantsVersion || actingIn === INSTALLATION || !this.#bound.has('tenant') || !beginsSomething(operation, principal)) return;
    const row = await unit.tx.selectFrom('r_tenant').select('deleted_at').where('id', '=', actingIn).executeTakeFirst();
    if (row === undefined || row.deleted_at !== null) throw closing(tenantName);
  }

  /** Step 4. A ruling that looked at the target is made again in the transaction, should the target have changed until then. */
  async authorize(frame: Frame, invocation: Invocation, known?: Grants, from: Unit | Store['db'] = this.#store.db): Promise<void> {
    const { operation, principal } = frame;
    const permission = `${invocation.service}:${invocation.operation}`;
    if (operation.access === 'anonymous' || operation.access === 'authenticated' || operation.internal) {
      frame.administers = isAdministrator(principal);
      return;
    }
    if (operation.access === 'administrator') {
      if (!administersInstallation(principal)) {
        const reason = isAdministrator(principal) ? 'keys and client tokens never administer the installation' : 'not an administrator of the installation';
        const fault = new Fault('forbidden', `${principal.name ?? principal.id} may not ${permission}: that is for administrators of the installation`, {
          details: { permission, reason },
        });
        this.#outcomes.decided(fault, reason);
        throw fault;
      }
      frame.administers = true;
      frame.ruling = { allowed: true, kind: 'administrator', reason: 'allowed: an administrator of the installation' };
      return;
    }
    const grants = known ?? (await this.#grants(principal, frame.actingIn));
    frame.grants = grants;
    frame.administers = isAdministrator(principal) || grants.roles.includes('admin');
    let target: Row | undefined;
    if (rulesByTarget(grants) && operation.target && frame.bound.contract.resource.stored) {
      target = await this.#store.read(() => new Table(frame.bound.contract, frame.tenantId, from).find(frame.target as string));
    }
    await this.#permit(frame, grants, target);
  }

  /** Those whom the directory does not have are what they say: the local administrator, controllers, embedders. */
  async #grants(principal: Principal, tenantId: string): Promise<Grants> {
    return principal.kept === true ? this.#directory.grants(principal, tenantId) : inlineGrants(principal, tenantId);
  }

  /** In the transaction, or before it is shown: the target may be another one by now, or have other labels. */
  async permitAgain(frame: Frame, target: Row | Fault | undefined): Promise<void> {
    const { grants, operation } = frame;
    if (!rulesByTarget(grants) || target === undefined || target instanceof Fault) return;
    if (target.id === frame.ruledOn?.id && target.revision === frame.ruledOn.revision) return;
    if (operation.access === 'role') await this.#permit(frame, grants, target);
  }

  /** Throws `forbidden`. What decided is told to those who may read policies. */
  async #permit(frame: Frame, grants: Grants, target: Row | undefined): Promise<void> {
    const { bound, name, operation, principal, input } = frame;
    const { resource } = bound.contract;
    const permission = `${resource.name}:${name}`;
    const requestLabels = (input['labels'] as Record<string, string> | undefined) ?? undefined;
    const named = operation.target ? frame.target : operation.standard === 'create' ? (input['name'] as string | undefined) : undefined;
    const ruling = decide(grants, {
      permission,
      onlyReads: operation.onlyReads,
      restricted: resource.restricted,
      resources:
        target === undefined
          ? [crn(frame.actingIn, resource.name, named ?? '*')]
          : [target.id, target.name].map((of) => crn(frame.actingIn, resource.name, of)),
      context: contextOf({
        principal,
        tenant: { id: frame.actingIn, name: frame.tenantName },
        source: frame.source,
        now: frame.startedAt,
        requestLabels,
        resourceLabels: target?.labels,
      }),
    });
    frame.ruling = ruling;
    frame.ruledOn = target;
    if (ruling.allowed) return;
    const open = await this.#mayReadPolicies(frame, grants);
    const fault = new Fault('forbidden', `${principal.name ?? principal.id} may not ${permission} here`, {
      details: { permission, ...(open ? { reason: ruling.reason, ...(ruling.policy === undefined ? {} : { policy: ruling.policy }) } : {}) },
      hint: `cloud auth can-i ${permission}${named === undefined ? '' : ` ${named}`}`,
    });
    this.#outcomes.decided(fault, rulingText(ruling));
    throw fault;
  }

  async #mayReadPolicies(frame: Frame, grants: Grants): Promise<boolean> {
    const policies = this.#bound.get('policy');
    if (policies === undefined) return false;
    const { principal, actingIn, tenantName, source, startedAt } = frame;
    const context = contextOf({
      principal,
      tenant: { id: actingIn, name: tenantName },
      source,
      now: startedAt,
      requestLabels: undefined,
      resourceLabels: undefined,
    });
    const { restricted } = policies.contract.resource;
    return decide(grants, { permission: 'policy:get', onlyReads: true, restricted, resources: [crn(actingIn, 'policy', '*')], context }).allowed;
  }

  mayGive({ grants, principal, actingIn, tenantName, source, startedAt }: Frame, permission: string): boolean {
    const [service = '', name = ''] = permission.split(':');
    const bound = this.#bound.get(service);
    const found = bound?.operations.get(name)?.operation;
    if (grants === undefined || bound === undefined || found === undefined || found.access !== 'role' || found.internal) return false;
    return mayGive(grants, {
      permission,
      onlyReads: found.onlyReads,
      restricted: bound.contract.resource.restricted,
      resources: [crn(actingIn, service, '*')],
      prefix: crn(actingIn, service, ''),
      context: contextOf({
        principal,
        tenant: { id: actingIn, name: tenantName },
        source,
        now: startedAt,
        requestLabels: undefined,
        resourceLabels: undefined,
      }),
    });
  }

  /** The same question without a call, for those who ask what would be. */
  async rule(principal: Principal, tenantId: string, asked: AccessQuestion): Promise<AccessAnswer> {
    const [service = '', name = ''] = asked.permission.split(':');
    const bound = this.#bound.get(service);
    const found = bound?.operations.get(name)?.operation;
    if (bound === undefined || found === undefined || found.access !== 'role' || found.internal) {
      throw new Fault('invalid_input', `There is no action ${JSON.stringify(asked.permission)}`, {
        details: [{ path: 'action', message: 'use <resource>:<operation>' }],
      });
    }
    const { resource } = bound.contract;
    const tenant = await this.#directory.tenant(tenantId);
    const grants = asked.grants ?? (await this.#grants(principal, tenantId));
    const given = asked.target?.startsWith('crn:') === true ? asked.target : spelt(bound, asked.target);
    let resources = [crn(tenantId, resource.name, '*')];
    let labels: Readonly<Record<string, string>> | undefined;
    if (given !== undefined && given.startsWith('crn:')) resources = [given];
    else if (given !== undefined) {
      const row = resource.stored && found.target ? await this.#store.read(() => new Table(bound.contract, tenantId, this.#store.db).find(given)) : undefined;
      resources = (row === undefined ? [given] : [row.id, row.name]).map((of) => crn(tenantId, resource.name, of));
      labels = row?.labels;
    }
    const question = {
      permission: asked.permission,
      onlyReads: found.onlyReads,
      restricted: resource.restricted,
      resources,
      context: {
        ...contextOf({ principal, tenant, source: asked.source, now: this.#clock.now(), requestLabels: asked.labels, resourceLabels: labels }),
        ...asked.context,
      },
    };
    return { ruling: decide(grants, question), grants, question };
  }

  /** `named`: by the caller, who is told that it is not there; one's own that is gone is none. */
  async tenant(nameOrId: string, principal: Principal, named: boolean): Promise<{ id: string; name: string; closing: boolean } | undefined> {
    const found = nameOrId === INSTALLATION ? undefined : await this.#directory.tenant(nameOrId);
    // A tenant that one is no member of is not there.
    if (found !== undefined && belongsTo(principal, found.id)) return found;
    if (!named) return undefined;
    throw new Fault('not_found', `There is no tenant ${JSON.stringify(nameOrId)}`, { hint: 'cloud tenant list' });
  }
}
