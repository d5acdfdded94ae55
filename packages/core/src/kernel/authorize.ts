// Who may do what. Every call passes here, whatever carried it; a service cannot forget it, because it never calls it.

import type { Kind } from './contract.ts';
import { Fault } from './errors.ts';

export interface Principal {
  /** `local` over the socket, `system` for controllers. */
  readonly id: string;
  readonly kind: 'user' | 'system';
  /** Tenant to act in when the call names none. */
  readonly tenantId: string;
  /** Role by tenant id; `*` stands for every tenant. */
  readonly roles: Readonly<Record<string, readonly string[]>>;
}

/** The installation's first tenant. Its id is fixed, so that a fresh data directory and a restored one agree. */
export const DEFAULT_TENANT = { id: 'tnt-0000000000000000', name: 'default' } as const;

/** Whoever may open the socket: the owner of the data directory. */
export const localAdministrator: Principal = { id: 'local', kind: 'user', tenantId: DEFAULT_TENANT.id, roles: { '*': ['admin'] } };

/** A controller acting for a tenant. */
export const systemPrincipal = (tenantId: string): Principal => ({ id: 'system', kind: 'system', tenantId, roles: { [tenantId]: ['admin'] } });

const grants: Readonly<Record<string, (kind: Kind, permission: string) => boolean>> = {
  admin: () => true,
  developer: (_, permission) => !permission.startsWith('tenant:') && !permission.startsWith('user:') && !permission.startsWith('role:'),
  viewer: (kind, permission) => (kind === 'read' || kind === 'stream') && !permission.startsWith('secret:'),
};

/** Roles of a principal in a tenant. Unknown roles grant nothing. */
export const rolesIn = (principal: Principal, tenantId: string): readonly string[] => [...(principal.roles[tenantId] ?? []), ...(principal.roles['*'] ?? [])];

/** Throws `forbidden` unless a role of the principal in the tenant grants `<resource>:<operation>`. */
export function authorize(principal: Principal, tenantId: string, permission: string, kind: Kind): void {
  for (const role of rolesIn(principal, tenantId)) {
    if (Object.hasOwn(grants, role) && grants[role]?.(kind, permission)) return;
  }
  throw new Fault('forbidden', `${principal.id} may not ${permission} here`, { details: { permission } });
}
