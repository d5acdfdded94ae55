// Roles as sets of permissions, and the rule that nobody gives what they do not have.
import { BUILT_IN_ROLES, builtInPermissions } from './authorize.ts';
import { type Contract, permissionsOf } from './contract.ts';
import type { Db, Tx } from './db.ts';
import { Fault } from './errors.ts';
import { matches } from './policy/index.ts';

/** Permissions that a pattern with `*` and `?` stands for. */
export const permissionsFor = (pattern: string, all: readonly string[]): string[] => {
  const wanted = pattern.toLowerCase();
  return all.filter((permission) => matches(wanted, permission.toLowerCase()));
};

interface Giving {
  readonly tenantId: string;
  readonly sql: Db | Tx;
  mayGive(permission: string): boolean;
}

/** Throws `forbidden` for the first permission that the caller would give without having it. */
export function refusePermissions(call: Giving, permissions: Iterable<string>, what: string): void {
  for (const permission of permissions) {
    if (call.mayGive(permission)) continue;
    throw new Fault('forbidden', `${what} would give ${permission}, which you do not have yourself`, {
      details: { reason: 'nobody gives what they do not have', missing: permission },
      hint: `cloud auth can-i ${permission}`,
    });
  }
}

/** The same for roles by their names, built-in ones and those of the call's tenant. */
export async function refuseToGive(call: Giving, roles: readonly string[], contracts: readonly Contract[]): Promise<void> {
  const all = permissionsOf(contracts);
  for (const role of roles) {
    const known = BUILT_IN_ROLES.find((name) => name === role);
    let permissions: string[];
    if (known !== undefined) permissions = builtInPermissions(known, contracts);
    else {
      const row = await call.sql.selectFrom('r_role').select('spec').where('tenant', '=', call.tenantId).where('name', '=', role).executeTakeFirst();
      const patterns = row === undefined ? [] : (JSON.parse(row.spec) as { permissions: string[] }).permissions;
      permissions = patterns.flatMap((pattern) => permissionsFor(pattern, all));
    }
    refusePermissions(call, permissions, `The role ${role}`);
  }
}
