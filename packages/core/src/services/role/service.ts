// Roles. The built-in ones are code, shown beside the tenant's own; who has a role stands with the member or service account that has it.
import { BUILT_IN_ROLES, builtInPermissions } from '../../kernel/authorize.ts';
import { permissionsOf } from '../../kernel/contract.ts';
import { Fault, type FieldProblem } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';
import { pageOf } from '../../kernel/page.ts';
import { keepAnAdministrator, permissionsFor, refusePermissions, refuseToGive, refuseToShed } from '../../kernel/roles.ts';
import { type Call, service } from '../../kernel/service.ts';
import { notFound, rowOf } from '../../kernel/table.ts';
import { Views } from '../../kernel/view.ts';
import { serviceAccounts } from '../service-account/contract.ts';
import { tenantMembers } from '../tenant-member/contract.ts';
import { roles } from './contract.ts';

type RoleCall = Call<typeof roles, unknown>;
interface Who {
  user?: string | undefined;
  serviceAccount?: string | undefined;
}

const MEANING = {
  admin: 'Everything in the tenant',
  developer: 'Everything but who may do what',
  viewer: 'Looks at everything but secrets and who may do what',
} as const;

const isBuiltIn = (name: string): name is (typeof BUILT_IN_ROLES)[number] => BUILT_IN_ROLES.some((one) => one === name);

export const roleService = service(roles, (context) => {
  const views = new Views(roles);
  const at = new Date(context.startedAt).toISOString();
  const all = (): string[] => permissionsOf(context.contracts);
  const builtIn = () =>
    BUILT_IN_ROLES.map((name) => ({
      id: `role-${name}`,
      name: name as string,
      labels: {},
      createdAt: at,
      updatedAt: at,
      generation: 1,
      state: 'ready' as const,
      permissions: name === 'admin' ? ['*'] : builtInPermissions(name, context.contracts).sort(),
      description: MEANING[name],
      builtIn: true,
    }));

  const refuseBuiltIn = (name: string): void => {
    if (isBuiltIn(name.replace(/^role-/, ''))) {
      throw new Fault('conflict', `The role ${name} is built in and cannot be changed`, { hint: `cloud role create my-${name} --permission …` });
    }
  };
  const checkPatterns = (call: RoleCall, patterns: readonly string[]): void => {
    const known = all();
    const problems: FieldProblem[] = [];
    const given: string[] = [];
    for (const [index, pattern] of patterns.entries()) {
      const found = permissionsFor(pattern, known);
      given.push(...found);
      if (found.length > 0) continue;
      const near = nearest(pattern, known);
      problems.push({
        path: `permissions.${index}`,
        message: `no operation fits ${JSON.stringify(pattern)}${near === undefined ? '' : `; did you mean ${near}?`}`,
      });
    }
    const [first] = problems;
    if (first !== undefined) throw new Fault('invalid_input', `${first.path}: ${first.message}`, { details: problems, hint: 'cloud role get admin' });
    refusePermissions(call, given, 'The role');
  };

  /** The name of the role that the call is for, of either sort. */
  const named = (call: RoleCall): string => {
    const name = call.found?.name ?? call.targetName;
    const known = builtIn().find((one) => one.name === name || one.id === name);
    if (known !== undefined) return known.name;
    if (call.found !== undefined) return call.found.name;
    throw notFound('role', call.targetName, BUILT_IN_ROLES);
  };

  const one = ({ user, serviceAccount }: Who): void => {
    if ((user === undefined) !== (serviceAccount === undefined)) return;
    const message = 'give user or serviceAccount, and only one of them';
    throw new Fault('invalid_input', message, {
      details: [
        { path: 'user', message },
        { path: 'serviceAccount', message },
      ],
    });
  };

  interface Holder {
    kind: 'user' | 'service-account';
    /** Of the user or service account. */
    id: string;
    name: string;
    /** Of the row that has the roles. */
    rowId: string;
    roles: string[];
  }
  const holders = async (call: Pick<RoleCall, 'sql' | 'tenantId'>): Promise<Holder[]> => {
    const members = await call.sql.selectFrom('r_tenant_member').selectAll().where('tenant', '=', call.tenantId).orderBy('name').execute();
    const accounts = await call.sql.selectFrom('r_service_account').selectAll().where('tenant', '=', call.tenantId).orderBy('name').execute();
    return [
      ...members
        .map(rowOf)
        .map(({ id, name, spec, status }) => ({ kind: 'user' as const, id: String(status['userId']), name, rowId: id, roles: spec['roles'] as string[] })),
      ...accounts.map(rowOf).map(({ id, name, spec }) => ({ kind: 'service-account' as const, id, name, rowId: id, roles: spec['roles'] as string[] })),
    ];
  };
  const holderOf = async (call: Pick<RoleCall, 'sql' | 'tenantId'>, { user, serviceAccount }: Who): Promise<Holder> => {
    const kind = user === undefined ? 'service-account' : 'user';
    const wanted = (user ?? serviceAccount ?? '').trim();
    const found = (await holders(call))
      .filter((holder) => holder.kind === kind)
      .find(({ id, name }) => id === wanted || name === (kind === 'user' ? wanted.toLowerCase() : wanted));
    if (found !== undefined) return found;
    const path = kind === 'user' ? 'user' : 'serviceAccount';
    const message = kind === 'user' ? `${wanted} is no member of this tenant` : `There is no service account ${JSON.stringify(wanted)}`;
    throw new Fault('not_found', message, {
      details: [{ path, message }],
      hint: kind === 'user' ? `cloud tenant member add ${wanted} --role <role>` : 'cloud service-account list',
    });
  };
  const setRoles = async (call: RoleCall, holder: Holder, names: string[]): Promise<void> => {
    // What may be given was decided here; that the member changes is what follows from it.
    const system = call.systemClient(call.tenantId, { member: tenantMembers, account: serviceAccounts });
    if (holder.kind === 'user') await system.member.update(holder.rowId, { roles: names });
    else await system.account.update(holder.rowId, { roles: names });
  };

  return {
    handlers: {
      async list(call) {
        const rows = await call.sql.selectFrom('r_role').selectAll().where('tenant', '=', call.tenantId).orderBy('created_at').execute();
        const own = rows.map((row) => views.once({ ...rowOf(row), status: { builtIn: false } }));
        return pageOf([...builtIn(), ...own] as ReturnType<typeof builtIn>, ({ name, builtIn: known }) => `${known ? 0 : 1} ${name}`, call.input);
      },
      async get(call) {
        const known = builtIn().find(({ name, id }) => name === call.targetName || id === call.targetName);
        if (known !== undefined) return known;
        const row = call.found;
        if (row === undefined) throw notFound('role', call.targetName, BUILT_IN_ROLES);
        return row;
      },
      async create(call) {
        const { name, labels, ...spec } = call.input;
        refuseBuiltIn(name);
        checkPatterns(call, spec.permissions);
        return call.rows.insert({ name, labels, spec, status: { builtIn: false } });
      },
      async update(call) {
        refuseBuiltIn(call.targetName);
        const { labels, ...spec } = call.input;
        if (spec.permissions !== undefined && spec.permissions !== null) checkPatterns(call, spec.permissions);
        return call.rows.update(call.target, { labels, spec });
      },
      async delete(call) {
        refuseBuiltIn(call.targetName);
        const row = call.target;
        const bound = (await holders(call)).filter(({ roles: names }) => names.includes(row.name));
        if (bound.length > 0) {
          throw new Fault(
            'conflict',
            `The role ${row.name} is bound to ${bound
              .slice(0, 5)
              .map(({ name }) => name)
              .join(', ')}${bound.length > 5 ? ` and ${bound.length - 5} others` : ''}`,
            {
              hint: `cloud role bindings ${row.name}`,
            },
          );
        }
        const attached = await policiesOf(call.sql, call.tenantId, row.name);
        if (attached.length > 0)
          throw new Fault('conflict', `The role ${row.name} has the policies ${attached.join(', ')}`, {
            hint: `cloud policy detach ${attached[0]} --role ${row.name}`,
          });
        return call.rows.delete(row);
      },
      async bind(call) {
        const role = named(call);
        one(call.input);
        const holder = await holderOf(call, call.input);
        await refuseToGive(call, [role], context.contracts);
        if (!holder.roles.includes(role)) {
          await setRoles(call, holder, [...holder.roles, role]);
          await call.event({ id: holder.id, name: role }, 'bound', `The role ${role} was given to ${holder.name}`);
        }
        return { role, kind: holder.kind, id: holder.id, name: holder.name };
      },
      async unbind(call) {
        const role = named(call);
        one(call.input);
        const holder = await holderOf(call, call.input);
        if (holder.roles.includes(role)) {
          const left = holder.roles.filter((name) => name !== role);
          if (left.length === 0 && holder.kind === 'user') {
            throw new Fault('conflict', `${role} is the only role of ${holder.name}`, { hint: `cloud tenant member remove ${holder.name}` });
          }
          if (role === 'admin' && holder.kind === 'user') await keepAnAdministrator(call, holder);
          await refuseToShed(call, [role], context.contracts);
          await setRoles(call, holder, left);
          await call.event({ id: holder.id, name: role }, 'unbound', `The role ${role} was taken from ${holder.name}`);
        }
        return { role, kind: holder.kind, id: holder.id, name: holder.name };
      },
      async bindings(call) {
        const role = named(call);
        return {
          items: (await holders(call)).filter(({ roles: names }) => names.includes(role)).map(({ kind, id, name }) => ({ role, kind, id, name })),
        };
      },
    },
  };
});

/** Names of the policies attached to a role. */
async function policiesOf(sql: RoleCall['sql'], tenant: string, role: string): Promise<string[]> {
  const rows = await sql
    .selectFrom('policy_attachment')
    .innerJoin('r_policy', 'r_policy.id', 'policy_attachment.policy_id')
    .select('r_policy.name')
    .where('policy_attachment.tenant', '=', tenant)
    .where('policy_attachment.kind', '=', 'role')
    .where('policy_attachment.principal_id', '=', role)
    .execute();
  return rows.map(({ name }) => name);
}
