// The decision: an explicit deny wins, else an allow, else nothing (AWS, "Policy evaluation logic"). Of a thousand policies only the statements that speak of
// the action are looked at: they are found once for each list of policies and action.
import type { CompiledPolicy, Statement } from './document.ts';
import type { ContextValues, Decision, PolicyRequest } from './index.ts';
import { coversAll, fits } from './pattern.ts';

const MOST_ACTIONS = 2048;
const indexes = new WeakMap<readonly CompiledPolicy[], Map<string, Statement[]>>();

function statementsFor(policies: readonly CompiledPolicy[], action: string): readonly Statement[] {
  let index = indexes.get(policies);
  if (index === undefined) {
    index = new Map();
    indexes.set(policies, index);
  }
  const wanted = action.toLowerCase();
  let found = index.get(wanted);
  if (found === undefined) {
    // Denies first: the first one that matches ends the search.
    found = policies
      .flatMap(({ statements }) => statements.filter(({ actions }) => actions.has(wanted)))
      .sort((a, b) => Number(a.effect === 'Allow') - Number(b.effect === 'Allow'));
    // Actions that do not exist may be asked about without end.
    if (index.size >= MOST_ACTIONS) index.clear();
    index.set(wanted, found);
  }
  return found;
}

function aboutResource({ resources, notResources }: Statement, names: readonly string[], context: ContextValues): boolean {
  if (resources === undefined) return true;
  for (const pattern of resources) {
    for (const name of names) {
      const result = fits(pattern, name, context);
      // A pattern whose variable has no value leaves open what NotResource would be about, so it is about nothing.
      if (notResources ? result !== false : result === true) return !notResources;
    }
  }
  return notResources;
}

const EVERYBODY = '*';

function aboutPrincipal({ principals, notPrincipals }: Statement, asking: PolicyRequest['principal']): boolean {
  if (principals === undefined) return true;
  const named =
    principals.has(EVERYBODY) ||
    (asking !== undefined && (asking.names.some((name) => principals.has(name)) || (!notPrincipals && asking.groups.some((name) => principals.has(name)))));
  return named !== notPrincipals;
}

const decision = (effect: 'allow' | 'deny', { policyId, policyName, sid, index }: Statement): Decision => ({
  effect,
  by: { policyId, policyName, index, ...(sid === undefined ? {} : { sid }) },
});

/** What a list of policies says. The list is known again by its identity: change it by making a new one. */
export function evaluate(policies: readonly CompiledPolicy[], { action, resources, context, principal }: PolicyRequest): Decision {
  let allow: Statement | undefined;
  for (const statement of statementsFor(policies, action)) {
    if (statement.effect === 'Allow' && allow !== undefined) continue;
    if (!aboutPrincipal(statement, principal) || !aboutResource(statement, resources, context)) continue;
    if (!statement.conditions.every((condition) => condition.holds(context))) continue;
    if (statement.effect === 'Deny') return decision('deny', statement);
    allow = statement;
  }
  return allow === undefined ? { effect: 'none' } : decision('allow', allow);
}

/** Whether an action is allowed on every resource whose name begins with `prefix`, under no condition, and never denied: by one statement, as it stands. */
export function allowsAll(
  policies: readonly CompiledPolicy[],
  { action, prefix, context }: { action: string; prefix: string; context: ContextValues },
): boolean {
  const statements = statementsFor(policies, action);
  if (statements.some(({ effect }) => effect === 'Deny')) return false;
  return statements.some(
    ({ principals, resources, notResources, conditions }) =>
      principals === undefined &&
      conditions.length === 0 &&
      !notResources &&
      (resources === undefined || resources.some((pattern) => coversAll(pattern, prefix, context))),
  );
}

export interface Explained {
  readonly policyId: string;
  readonly policyName: string;
  readonly sid?: string;
  readonly index: number;
  readonly effect: 'Allow' | 'Deny';
  readonly matched: boolean;
  /** What fits, or which element does not. */
  readonly why: string;
}

/** The decision, every statement with what it has to do with the request, and one sentence on what would allow it. */
export function explain(policies: readonly CompiledPolicy[], request: PolicyRequest): { decision: Decision; statements: Explained[]; wouldAllow?: string } {
  const decided = evaluate(policies, request);
  const statements = policies.flatMap((policy) => policy.statements.map((statement) => explained(statement, request)));
  const [name = ''] = request.resources;
  let wouldAllow: string | undefined;
  if (decided.effect === 'deny') {
    const denies = statements.filter(({ effect, matched }) => effect === 'Deny' && matched).map(called);
    wouldAllow = `Nothing, while ${denies.join(' and ')} ${denies.length === 1 ? 'denies' : 'deny'} it`;
  } else if (decided.effect === 'none') {
    const near = statements.find(({ effect, why }) => effect === 'Allow' && !why.startsWith('its action'));
    wouldAllow = `A statement that allows ${request.action} on ${name}${near === undefined ? '' : `; ${called(near)} comes near: ${near.why}`}`;
  }
  return { decision: decided, statements, ...(wouldAllow === undefined ? {} : { wouldAllow }) };
}

const called = ({ policyName, sid, index }: Explained): string => `statement ${sid ?? index} of ${policyName}`;

function explained(statement: Statement, { action, resources, context, principal }: PolicyRequest): Explained {
  const { policyId, policyName, sid, index, effect } = statement;
  const failing = statement.conditions.find((condition) => !condition.holds(context));
  const why = !statement.actions.has(action.toLowerCase())
    ? `its actions do not include ${action}`
    : !aboutPrincipal(statement, principal)
      ? 'its principals do not include who asks'
      : !aboutResource(statement, resources, context)
        ? `its resources do not include ${resources.join(' or ')}`
        : failing !== undefined
          ? `its condition ${failing.operator} on ${failing.key} does not hold`
          : 'everything fits';
  return { policyId, policyName, ...(sid === undefined ? {} : { sid }), index, effect, matched: why === 'everything fits', why };
}
