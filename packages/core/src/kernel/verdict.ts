// A ruling as it is shown to those who asked what would be.
import { explain } from './policy/index.ts';
import type { AccessAnswer } from './service.ts';

const MOST_STATEMENTS = 1000;

/** `detail`: for those who may read policies: every statement, and what would allow it. */
export function verdictOf({ ruling, grants, question }: AccessAnswer, detail: boolean) {
  const { policy } = ruling;
  const base = {
    allowed: ruling.allowed,
    action: question.permission,
    resource: question.resources.join(' = '),
    reason: ruling.reason,
    by: {
      kind: ruling.kind,
      ...(ruling.role === undefined ? {} : { role: ruling.role }),
      ...(policy === undefined || !detail
        ? {}
        : { policy: policy.name, policyId: policy.id, statement: policy.statement, ...(policy.sid === undefined ? {} : { sid: policy.sid }) }),
    },
  };
  if (!detail) return policy === undefined ? base : { ...base, reason: ruling.allowed ? 'a policy allows it' : 'a policy denies it' };
  const { statements, wouldAllow } = explain([...grants.policies, ...(grants.bounds ?? [])], {
    action: question.permission,
    resources: question.resources,
    context: question.context,
  });
  return {
    ...base,
    ...(ruling.allowed
      ? {}
      : { wouldAllow: (grants.policies.length > 0 || grants.bounds !== undefined ? wouldAllow : undefined) ?? `A role that has ${question.permission}` }),
    statements: statements.slice(0, MOST_STATEMENTS).map(({ policyName, policyId, sid, index, effect, matched, why }) => ({
      policy: policyName,
      policyId,
      ...(sid === undefined ? {} : { sid }),
      statement: index,
      effect,
      matched,
      why,
    })),
  };
}
