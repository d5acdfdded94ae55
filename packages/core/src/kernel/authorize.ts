// Who may do what. Every call passes here, whatever carried it; a service cannot forget it, because it never calls it.
// The kernel knows roles that are built in and the order in which things decide; who people are and what was given to them, a directory tells.
import { isIP } from 'node:net';
import type { AnyResource, Contract } from './contract.ts';
import type { Db } from './db.ts';
import { Fault } from './errors.ts';
import { allowsAll, type CompiledPolicy, type ContextValues, evaluate } from './policy/index.ts';

export interface Principal {
  /** `local` over the socket, `system` for controllers, else the id of a user or service account. */
  readonly id: string;
  readonly kind: 'user' | 'service-account' | 'system';
  /** For people: an e-mail address or name. The id when absent. */
  readonly name?: string;
  /** Tenant to act in when the call names none; empty: in none. */
  readonly tenantId: string;
  /** Role names by tenant id; `*` stands for every tenant. */
  readonly roles: Readonly<Record<string, readonly string[]>>;
  /** Administers the installation. */
  readonly administrator?: boolean;
  /** What it proved itself with; none for those who are known by where they come from. */
  readonly credential?: {
    readonly kind: 'session' | 'client' | 'api-key';
    readonly id: string;
    /** The only tenant that it is good for. */
    readonly tenantId?: string;
    readonly expiresAt?: number;
    /** Of a key: the digest of the secret that was shown, so that what it opened ends when the key gets another. */
    readonly digest?: string;
  };
  /** The directory has it, so it is looked up again at each call. */
  readonly kept?: boolean;
}

/** The installation's first tenant. Its id is fixed, so that a fresh data directory and a restored one agree. */
export const DEFAULT_TENANT = { id: 'tnt-0000000000000000', name: 'default' } as const;

/** In place of a tenant's id, for rows that belong to none. */
export const INSTALLATION = '';

/** Whoever may open the socket: the owner of the data directory. */
export const localAdministrator: Principal = { id: 'local', kind: 'user', tenantId: DEFAULT_TENANT.id, roles: { '*': ['admin'] }, administrator: true };

/** A controller acting for a tenant. */
export const systemPrincipal = (tenantId: string): Principal => ({
  id: 'system',
  kind: 'system',
  tenantId,
  roles: { [tenantId]: ['admin'] },
  administrator: true,
});

/** Whoever calls without credentials. */
export const anonymous: Principal = { id: 'anonymous', kind: 'system', tenantId: INSTALLATION, roles: {} };

export interface TenantFacts {
  readonly id: string;
  readonly name: string;
  /** Being deleted: nothing new may begin in it. */
  readonly closing: boolean;
}

/** What was given to a principal in a tenant. */
export interface Grants {
  /** Names, built-in ones and custom ones. */
  readonly roles: readonly string[];
  /** Whether a custom role of that name has the permission; false for names that nothing stands behind. */
  permits(role: string, permission: string): boolean;
  /** Its own policies and those of its roles. When there is one, only an Allow of theirs passes. */
  readonly policies: readonly CompiledPolicy[];
  /** Policies of the credential, which must allow too. Undefined: the credential has none. */
  readonly bounds: readonly CompiledPolicy[] | undefined;
}

/** Who people and tenants are. One service provides it; without it there is the default tenant and what a principal says of itself. */
export interface Directory {
  /** By id or name. */
  tenant(nameOrId: string): Promise<TenantFacts | undefined>;
  /** A principal that is `kept`, as it is now. Throws `unauthenticated` when it, or its credential, is no more. */
  current(principal: Principal): Promise<Principal>;
  /** Whose token or key this is. Throws `unauthenticated`. `source` is where it came from. */
  authenticate(bearer: string, source: string): Promise<Principal>;
  /** A user by id or e-mail address, a service account or API key (its owner, with it) by id. */
  find(nameOrId: string): Promise<Principal | undefined>;
  grants(principal: Principal, tenantId: string): Promise<Grants>;
}

/** Where no service provides one: the kernel's own list of tenants, and principals are what they say. */
export const bareDirectory = (db: Db): Directory => ({
  async tenant(nameOrId) {
    const found = await db
      .selectFrom('tenant')
      .select(['id', 'name'])
      .where((where) => where.or([where('id', '=', nameOrId), where('name', '=', nameOrId)]))
      .executeTakeFirst();
    return found === undefined ? undefined : { ...found, closing: false };
  },
  current: async (principal) => principal,
  authenticate: async () => {
    throw new Fault('unauthenticated', 'This token is not valid here');
  },
  find: async () => undefined,
  grants: async (principal, tenantId) => ({ roles: rolesIn(principal, tenantId), permits: () => false, policies: [], bounds: undefined }),
});

export const isAdministrator = (principal: Principal): boolean => principal.administrator === true || principal.roles['*']?.includes('admin') === true;

/** Administers the installation by what it proved itself with, too: keys and client tokens lie in files of programs. */
export const administersInstallation = (principal: Principal): boolean =>
  isAdministrator(principal) && (principal.credential === undefined || principal.credential.kind === 'session');

/** Where to look for what was written down of calls: in the tenant, and for administrators of the installation among the installation's own. */
export const scopesOf = ({ tenantId, principal }: { tenantId: string; principal: Principal }): readonly string[] =>
  administersInstallation(principal) ? [tenantId, INSTALLATION] : [tenantId];

/** Roles that a principal says it has in a tenant. */
export const rolesIn = (principal: Principal, tenantId: string): readonly string[] => [...(principal.roles[tenantId] ?? []), ...(principal.roles['*'] ?? [])];

/** Whether the principal belongs to the tenant, as far as its credential goes. */
export const belongsTo = (principal: Principal, tenantId: string): boolean =>
  (principal.credential?.tenantId === undefined || principal.credential.tenantId === tenantId) &&
  (isAdministrator(principal) || principal.roles[tenantId] !== undefined || principal.roles['*'] !== undefined);

type BuiltIn = (onlyReads: boolean, restricted: AnyResource['restricted']) => boolean;

/** `admin` everything in the tenant; `developer` everything but who may do what; `viewer` looks. */
const builtIn: Readonly<Record<string, BuiltIn>> = {
  admin: () => true,
  developer: (onlyReads, restricted) => restricted === 'no' || (restricted === 'changes' && onlyReads),
  viewer: (onlyReads, restricted) => restricted !== 'all' && onlyReads,
};
export const BUILT_IN_ROLES = ['admin', 'developer', 'viewer'] as const;

/** What a built-in role allows among these contracts. */
export const builtInPermissions = (role: (typeof BUILT_IN_ROLES)[number], contracts: Iterable<Contract>): string[] =>
  [...contracts].flatMap(({ resource, operations }) =>
    Object.entries(operations)
      .filter(([, { access, internal, onlyReads }]) => access === 'role' && !internal && builtIn[role]?.(onlyReads, resource.restricted))
      .map(([name]) => `${resource.name}:${name}`),
  );

/**
 * Whether a principal has a permission so that it may give it to others: for everything of its kind, always, and with no Deny about it.
 * What it has for some names, from some addresses or at some times would be more in the hands of another.
 */
export const mayGive = (grants: Grants, question: Question & { prefix: string }): boolean => {
  const request = { action: question.permission, prefix: question.prefix, context: question.context };
  if (grants.bounds !== undefined && !allowsAll(grants.bounds, request)) return false;
  return grants.policies.length > 0 ? allowsAll(grants.policies, request) : decide({ ...grants, bounds: undefined }, question).allowed;
};

export interface Question {
  /** `<resource>:<operation>`. */
  readonly permission: string;
  /** It changes nothing. */
  readonly onlyReads: boolean;
  readonly restricted: AnyResource['restricted'];
  /** All names of the one thing it would be done to. */
  readonly resources: readonly string[];
  readonly context: ContextValues;
}

/** What allowed or refused, for the audit, the denial and simulations. */
export interface Ruling {
  readonly allowed: boolean;
  readonly kind: 'administrator' | 'role' | 'policy' | 'none';
  readonly role?: string;
  readonly policy?: { readonly id: string; readonly name: string; readonly sid?: string; readonly statement: number };
  /** Decided by a policy of the credential rather than of the principal. */
  readonly bound?: boolean;
  /** One sentence. */
  readonly reason: string;
}

/** The order: what bounds the credential, then policies if there are any, else roles. A Deny always wins, for administrators too. */
export function decide(grants: Grants, question: Question): Ruling {
  const request = { action: question.permission, resources: question.resources, context: question.context };
  for (const [policies, bound] of [
    [grants.bounds, true],
    [grants.policies, false],
  ] as const) {
    if (policies === undefined || (!bound && policies.length === 0)) continue;
    const { effect, by } = evaluate(policies, request);
    const whose = bound ? 'a policy of the credential' : 'a policy';
    if (effect === 'allow' && bound) continue;
    if (by === undefined) {
      return {
        allowed: false,
        kind: 'none',
        bound,
        reason: bound ? 'no policy of the credential allows it' : 'there are policies, and none of them allows it',
      };
    }
    const policy = { id: by.policyId, name: by.policyName, statement: by.index, ...(by.sid === undefined ? {} : { sid: by.sid }) };
    const statement = `statement ${by.sid ?? by.index} of the policy ${by.policyName}`;
    return { allowed: effect === 'allow', kind: 'policy', policy, bound, reason: `${effect === 'allow' ? 'allowed' : `denied by ${whose}`}: ${statement}` };
  }
  for (const role of grants.roles) {
    const allowed = Object.hasOwn(builtIn, role) ? builtIn[role]?.(question.onlyReads, question.restricted) : grants.permits(role, question.permission);
    if (allowed === true) return { allowed: true, kind: 'role', role, reason: `allowed by the role ${role}` };
  }
  return {
    allowed: false,
    kind: 'none',
    reason: grants.roles.length === 0 ? 'there is no role' : `no role allows it (${grants.roles.join(', ')})`,
  };
}

/** A ruling as the audit keeps it. */
export const rulingText = (ruling: Ruling): string =>
  ruling.kind === 'policy'
    ? `policy ${ruling.policy?.id} statement ${ruling.policy?.sid ?? ruling.policy?.statement}`
    : ruling.kind === 'role'
      ? `role ${ruling.role}`
      : ruling.kind === 'administrator'
        ? 'administrator'
        : 'nothing allows it';

export const crn = (tenantId: string, resource: string, name: string): string => `crn:cloud:${tenantId}:${resource}:${resource}/${name}`;

/** What conditions may look at. */
export function contextOf(of: {
  principal: Principal;
  tenant: { id: string; name: string } | undefined;
  source: string | undefined;
  now: number;
  requestLabels: Readonly<Record<string, string>> | undefined;
  resourceLabels: Readonly<Record<string, string>> | undefined;
}): ContextValues {
  const { principal, tenant, source, now, requestLabels, resourceLabels } = of;
  const values: Record<string, string | number | boolean | string[]> = {
    'cloud:CurrentTime': new Date(now).toISOString(),
    'cloud:EpochTime': Math.floor(now / 1000),
    'cloud:PrincipalId': principal.id,
    'cloud:PrincipalName': principal.name ?? principal.id,
    'cloud:PrincipalType': principal.kind,
  };
  if (tenant !== undefined) Object.assign(values, { 'cloud:TenantId': tenant.id, 'cloud:TenantName': tenant.name });
  if (principal.credential !== undefined) values['cloud:CredentialId'] = principal.credential.id;
  const address = source?.replace(/^::ffff:(?=\d+\.)/, '');
  if (address !== undefined && isIP(address) !== 0) values['cloud:SourceIp'] = address;
  for (const [key, value] of Object.entries(requestLabels ?? {})) values[`cloud:RequestLabel/${key}`] = value;
  if (requestLabels !== undefined) values['cloud:LabelKeys'] = Object.keys(requestLabels);
  for (const [key, value] of Object.entries(resourceLabels ?? {})) values[`cloud:ResourceLabel/${key}`] = value;
  return values;
}
