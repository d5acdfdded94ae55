// Roles as sets of permissions, and the rule that nobody gives what they do not have.
import { administersInstallation, BUILT_IN_ROLES, builtInPermissions, type Principal } from './authorize.ts';
import { type Contract, permissionsOf } from './contract.ts';
import type { Db, Tx } from './db.ts';
import { Fault } from './errors.ts';
import { nearest } from './near.ts';
import { type CompiledPolicy, compilePolicy, matches, vocabularyOf } from './policy/index.ts';

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

/** The same for roles by their names, built-in ones and those of the call's tenant: what they permit, and what the policies that they have allow. */
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
    refusePermissions(call, [...permissions, ...(await allowedTo(call, 'role', role, contracts))], `The role ${role}`);
  }
}

/** The roles that a caller gives, each once. Throws `invalid_input` for one that is not there, `forbidden` for one that holds more than the caller has. */
export async function rolesToGive(call: Giving, roles: readonly string[], contracts: readonly Contract[]): Promise<string[]> {
  const wanted = [...new Set(roles)];
  const custom = await call.sql.selectFrom('r_role').select('name').where('tenant', '=', call.tenantId).execute();
  const known = [...BUILT_IN_ROLES, ...custom.map(({ name }) => name)];
  for (const [index, role] of wanted.entries()) {
    if (known.includes(role)) continue;
    const near = nearest(role, known);
    const message = `there is no role ${JSON.stringify(role)}${near === undefined ? '' : `; did you mean ${near}?`}`;
    throw new Fault('invalid_input', `roles.${index}: ${message}`, { details: [{ path: `roles.${index}`, message }], hint: 'cloud role list' });
  }
  await refuseToGive(call, wanted, contracts);
  return wanted;
}

/** The same for what a service account may: whoever has its secret or a key of it is the account. */
export async function refuseToBecome(
  call: Giving,
  account: { id: string; name: string; roles: readonly string[] },
  contracts: readonly Contract[],
): Promise<void> {
  await refuseToGive(call, account.roles, contracts);
  refusePermissions(call, await allowedTo(call, 'service-account', account.id, contracts), `The service account ${account.name}`);
}

/** A role that has policies narrows whoever has it, so taking it away gives: whatever they held back. */
export async function refuseToShed(call: Giving, roles: readonly string[], contracts: readonly Contract[]): Promise<void> {
  for (const role of roles) {
    if ((await policiesOf(call, 'role', role)).length > 0)
      refusePermissions(call, permissionsOf(contracts), `Without the role ${role}, what its policies hold back`);
  }
}

/** Which roles somebody no longer has. */
export const without = (before: readonly string[], after: readonly string[]): string[] => before.filter((role) => !after.includes(role));

const policiesOf = ({ sql, tenantId }: Giving, kind: 'role' | 'service-account', principalId: string) =>
  sql
    .selectFrom('policy_attachment')
    .innerJoin('r_policy', 'r_policy.id', 'policy_attachment.policy_id')
    .select(['r_policy.id', 'r_policy.name', 'r_policy.spec'])
    .where('policy_attachment.tenant', '=', tenantId)
    .where('policy_attachment.kind', '=', kind)
    .where('policy_attachment.principal_id', '=', principalId)
    .execute();

/** Permissions that some statement of its policies allows. */
async function allowedTo(call: Giving, kind: 'role' | 'service-account', principalId: string, contracts: readonly Contract[]): Promise<string[]> {
  const attached = await policiesOf(call, kind, principalId);
  if (attached.length === 0) return [];
  const vocabulary = vocabularyOf(contracts);
  const all = permissionsOf(contracts);
  return attached.flatMap(({ id, name, spec }) => {
    try {
      return allowedBy(compilePolicy(id, name, (JSON.parse(spec) as { document: unknown }).document, vocabulary), all);
    } catch (error) {
      // One that cannot be read any more denies everything.
      if (error instanceof Fault) return [];
      throw error;
    }
  });
}

/** What a document's statements allow, conditions aside. */
export function allowedBy({ statements }: CompiledPolicy, all: readonly string[]): string[] {
  const allowed = new Set(statements.filter(({ effect }) => effect === 'Allow').flatMap(({ actions }) => [...actions]));
  return all.filter((permission) => allowed.has(permission.toLowerCase()));
}

/** A tenant without an administrator of its own could be mended by nobody in it. Administrators of the installation may leave it so. */
export async function keepAnAdministrator(
  { tenantId, sql, principal }: Pick<Giving, 'tenantId' | 'sql'> & { readonly principal: Principal },
  leaving: { readonly name: string },
): Promise<void> {
  if (administersInstallation(principal)) return;
  const members = await sql
    .selectFrom('r_tenant_member')
    .innerJoin('r_user', 'r_user.name', 'r_tenant_member.name')
    .select(['r_tenant_member.name', 'r_tenant_member.spec', 'r_user.spec as user'])
    .where('r_tenant_member.tenant', '=', tenantId)
    .execute();
  const others = members.filter(
    ({ name, spec, user }) =>
      name !== leaving.name &&
      (JSON.parse(spec) as { roles: string[] }).roles.includes('admin') &&
      (JSON.parse(user) as { disabled?: boolean }).disabled !== true,
  );
  if (others.length > 0) return;
  throw new Fault('conflict', `${leaving.name} is the last administrator of this tenant`, { hint: 'cloud role bind admin --user <somebody else>' });
}
