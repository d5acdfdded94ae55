// Policies: documents that are checked when they are written, and to whom they are attached. What they decide, the kernel asks them at each call.
import type { Grants, Principal, Question } from '../../kernel/authorize.ts';
import { BUILT_IN_ROLES } from '../../kernel/authorize.ts';
import { permissionsOf } from '../../kernel/contract.ts';
import { Fault } from '../../kernel/errors.ts';
import { type CompiledPolicy, compilePolicy, keyOf, lint, vocabularyOf } from '../../kernel/policy/index.ts';
import { allowedBy, refusePermissions } from '../../kernel/roles.ts';
import { type Call, service } from '../../kernel/service.ts';
import { rowOf } from '../../kernel/table.ts';
import { verdictOf } from '../../kernel/verdict.ts';
import { words } from '../../kernel/words.ts';
import { policies } from './contract.ts';

type PolicyCall = Call<typeof policies, unknown>;
interface To {
  user?: string | undefined;
  serviceAccount?: string | undefined;
  apiKey?: string | undefined;
  role?: string | undefined;
}
interface Subject {
  kind: 'user' | 'service-account' | 'api-key' | 'role';
  /** As it stands in the table of attachments. */
  id: string;
  name: string;
}

export const policyService = service(policies, (context) => {
  const vocabulary = () => vocabularyOf(context.contracts);

  const one = (to: To): keyof To => {
    const given = (['user', 'serviceAccount', 'apiKey', 'role'] as const).filter((field) => to[field] !== undefined);
    const [only] = given;
    if (only !== undefined && given.length === 1) return only;
    const message = 'give one of user, serviceAccount, apiKey and role';
    throw new Fault('invalid_input', message, {
      details: (given.length === 0 ? (['user', 'serviceAccount', 'apiKey', 'role'] as const) : given).map((path) => ({ path, message })),
    });
  };

  /** Whom it is about, in the call's tenant. */
  const subjectOf = async (call: Pick<PolicyCall, 'sql' | 'tenantId'>, to: To): Promise<Subject> => {
    const field = one(to);
    const wanted = (to[field] as string).trim();
    const none = (message: string, hint: string): Fault => new Fault('not_found', message, { details: [{ path: field, message }], hint });
    if (field === 'role') {
      const row = await call.sql
        .selectFrom('r_role')
        .select('name')
        .where('tenant', '=', call.tenantId)
        .where((where) => where.or([where('name', '=', wanted), where('id', '=', wanted)]))
        .executeTakeFirst();
      const name = row?.name ?? BUILT_IN_ROLES.find((known) => known === wanted);
      if (name === undefined) throw none(`There is no role ${JSON.stringify(wanted)}`, 'cloud role list');
      return { kind: 'role', id: name, name };
    }
    if (field === 'user') {
      const rows = await call.sql.selectFrom('r_tenant_member').selectAll().where('tenant', '=', call.tenantId).execute();
      const found = rows.map(rowOf).find(({ name, status }) => name === wanted.toLowerCase() || status['userId'] === wanted);
      if (found === undefined) throw none(`${wanted} is no member of this tenant`, 'cloud tenant member list');
      return { kind: 'user', id: String(found.status['userId']), name: found.name };
    }
    const table = field === 'apiKey' ? 'r_api_key' : 'r_service_account';
    const row = await call.sql
      .selectFrom(table)
      .select(['id', 'name'])
      .where('tenant', '=', call.tenantId)
      .where((where) => where.or([where('name', '=', wanted), where('id', '=', wanted)]))
      .executeTakeFirst();
    const kind = field === 'apiKey' ? 'api-key' : 'service-account';
    if (row === undefined) throw none(`There is no ${field === 'apiKey' ? 'API key' : 'service account'} ${JSON.stringify(wanted)}`, `cloud ${kind} list`);
    return { kind, ...row };
  };

  interface Attached {
    kind: Subject['kind'];
    /** As in the table of attachments. */
    id: string;
    /** Given to an API key when it was made, for good. */
    fixed: boolean;
  }
  /** Of any of these policies, in no order. */
  const attachedTo = async (sql: PolicyCall['sql'], policyIds: readonly string[]): Promise<(Attached & { policyId: string })[]> => {
    const attached = await sql
      .selectFrom('policy_attachment')
      .selectAll()
      .where('policy_id', 'in', policyIds)
      .orderBy('kind')
      .orderBy('principal_id')
      .execute();
    const keys = await sql
      .selectFrom('reference')
      .select(['from_id', 'to_id'])
      .where('from_kind', '=', 'api-key')
      .where('to_id', 'in', policyIds)
      .orderBy('from_id')
      .execute();
    const fixed = keys.map(({ from_id, to_id }) => ({ policyId: to_id, kind: 'api-key' as const, id: from_id, fixed: true }));
    const isFixed = new Set(fixed.map(({ policyId, id }) => `${policyId} ${id}`));
    return [
      ...attached
        .map(({ policy_id, kind, principal_id }) => ({ policyId: policy_id, kind: kind as Subject['kind'], id: principal_id, fixed: false }))
        .filter(({ policyId, id }) => !isFixed.has(`${policyId} ${id}`)),
      ...fixed,
    ];
  };

  /** Whatever a document allows, whoever puts it in force must have; and whoever takes one out of force, all. */
  const refuse = (call: PolicyCall, compiled: CompiledPolicy | undefined): void => {
    const all = permissionsOf(context.contracts);
    refusePermissions(call, compiled === undefined ? all : allowedBy(compiled, all), 'This');
  };

  const stored = (row: { id: string; name: string; spec: { document: unknown } }): CompiledPolicy =>
    compilePolicy(row.id, row.name, row.spec.document, vocabulary());

  const principalOf = async (call: PolicyCall, to: To): Promise<Principal> => {
    if (Object.values(to).every((value) => value === undefined)) return call.principal;
    const subject = await subjectOf(call, to);
    const found = await context.principal(subject.id);
    if (found === undefined) throw new Fault('not_found', `There is no ${subject.kind} ${JSON.stringify(subject.name)}`);
    return found;
  };

  const nameOfSubject = async (call: Pick<PolicyCall, 'sql' | 'tenantId'>, kind: string, id: string): Promise<string> => {
    if (kind === 'role') return id;
    const table = { user: 'r_user', 'api-key': 'r_api_key', 'service-account': 'r_service_account' }[kind] as 'r_user';
    return (await call.sql.selectFrom(table).select('name').where('id', '=', id).executeTakeFirst())?.name ?? id;
  };

  return {
    async status(rows, sql) {
      const ids = rows.map(({ id }) => id);
      const byId = new Map<string, number>();
      for (const { policyId } of await attachedTo(sql, ids)) byId.set(policyId, (byId.get(policyId) ?? 0) + 1);
      return ids.map((id) => ({ attachments: byId.get(id) ?? 0 }));
    },
    handlers: {
      async create(call) {
        const { name, labels, ...spec } = call.input;
        compilePolicy('', name, spec.document, vocabulary());
        return call.rows.insert({ name, labels, spec });
      },
      async update(call) {
        const { labels, ...spec } = call.input;
        const row = call.target;
        if (spec.document !== undefined && spec.document !== null) {
          compilePolicy(row.id, row.name, spec.document, vocabulary());
          if ((await attachedTo(call.sql, [row.id])).length > 0) refuse(call, undefined);
        }
        return call.rows.update(row, { labels, spec });
      },
      async delete(call) {
        const row = call.target;
        const attached = await attachedTo(call.sql, [row.id]);
        const [first] = attached;
        if (first !== undefined) {
          const name = await nameOfSubject(call, first.kind, first.id);
          const others = attached.length > 1 ? ` and ${attached.length - 1} more` : '';
          throw new Fault('conflict', `The policy ${row.name} is attached to ${words(first.kind)} ${name}${others}`, {
            hint: first.fixed ? `cloud api-key revoke ${name}` : `cloud policy detach ${row.name} --${first.kind} ${name}`,
          });
        }
        return call.rows.delete(row);
      },
      async attach(call) {
        const row = call.target;
        const subject = await subjectOf(call, call.input);
        refuse(call, stored(row));
        const values = { tenant: call.tenantId, policy_id: row.id, kind: subject.kind, principal_id: subject.id };
        const { numInsertedOrUpdatedRows: added } = await call.sql
          .insertInto('policy_attachment')
          .values(values)
          .onConflict((on) => on.doNothing())
          .executeTakeFirst();
        if (Number(added) > 0) {
          await call.event(row, 'attached', `The policy ${row.name} was attached to ${words(subject.kind)} ${subject.name}`);
          call.changed(row.id);
        }
        return { policy: row.name, ...subject };
      },
      async detach(call) {
        const row = call.target;
        const subject = await subjectOf(call, call.input);
        refuse(call, undefined);
        if ((await attachedTo(call.sql, [row.id])).some(({ kind, id, fixed }) => fixed && kind === subject.kind && id === subject.id)) {
          throw new Fault('conflict', `The API key ${subject.name} was made with the policy ${row.name}, for good`, {
            hint: `cloud api-key revoke ${subject.name}`,
          });
        }
        const { numDeletedRows: taken } = await call.sql
          .deleteFrom('policy_attachment')
          .where('tenant', '=', call.tenantId)
          .where('policy_id', '=', row.id)
          .where('kind', '=', subject.kind)
          .where('principal_id', '=', subject.id)
          .executeTakeFirst();
        if (Number(taken) > 0) {
          await call.event(row, 'detached', `The policy ${row.name} was detached from ${words(subject.kind)} ${subject.name}`);
          call.changed(row.id);
        }
        return { policy: row.name, ...subject };
      },
      async forget(call) {
        const { kind, id } = call.input;
        const gone = await call.sql
          .deleteFrom('policy_attachment')
          .where('tenant', '=', call.tenantId)
          .where('kind', '=', kind)
          .where('principal_id', '=', id)
          .executeTakeFirst();
        call.changed(id);
        return { detached: Number(gone.numDeletedRows) };
      },
      async attachments(call) {
        const row = call.target;
        const items = await attachedTo(call.sql, [row.id]);
        return { items: await Promise.all(items.map(async ({ kind, id }) => ({ policy: row.name, kind, id, name: await nameOfSubject(call, kind, id) }))) };
      },
      async simulate(call) {
        const { action, resource, document, context: given, ...to } = call.input;
        const values = contextOf(given, vocabulary());
        let grants: Grants | undefined;
        if (document !== undefined) {
          const compiled = compilePolicy('draft', 'the document', document, vocabulary());
          grants = { roles: [], permits: () => false, policies: [compiled], bounds: undefined };
        }
        const principal = await principalOf(call, to);
        const answer = await context.access.rule(principal, call.tenantId, {
          permission: action,
          target: resource,
          source: call.source,
          context: values,
          grants,
        });
        return verdictOf(answer, true);
      },
      async lint(call) {
        const findings = lint(call.input.document, vocabulary());
        return { ok: findings.every(({ level }) => level !== 'error'), findings: findings.map((finding) => ({ ...finding })) };
      },
    },
  };
});

/** Context values as a command line gives them: text, several ones separated by commas where a key has several. */
function contextOf(given: Readonly<Record<string, string>>, vocabulary: ReturnType<typeof vocabularyOf>): Question['context'] {
  const values: Record<string, string | string[]> = {};
  for (const [key, text] of Object.entries(given)) {
    const known = keyOf(vocabulary, key);
    if (known === undefined) {
      const message = `there is no context key ${JSON.stringify(key)}`;
      throw new Fault('invalid_input', message, {
        details: [{ path: `context.${key}`, message: `use ${vocabulary.keys.map(({ name }) => name).join(', ')}` }],
      });
    }
    values[key] = known.many === true ? text.split(',') : text;
  }
  return values;
}
