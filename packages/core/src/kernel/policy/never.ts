// Statements that nothing can ever fit: conditions that exclude each other, resources that the actions are never done to.
import { type Condition, dateOf, numberOf, operatorOf } from './conditions.ts';
import type { ContextValues } from './index.ts';
import { canFit } from './names.ts';
import { foldedKey } from './pattern.ts';

/** Keys whose conditions never hold together. Silent where that is too hard to say: with variables, sets of values and wildcards. */
export function contradictions(conditions: readonly Condition[]): string[] {
  const byKey = Map.groupBy(conditions, ({ key }) => foldedKey(key));
  return [...byKey.values()].filter((about) => about.length > 1 && exclusive(about)).map(([first]) => (first as Condition).key);
}

function exclusive(conditions: readonly Condition[]): boolean {
  if (conditions.some(({ operator, values }) => operatorOf(operator)?.set !== undefined || values.some((value) => value.includes('${')))) return false;
  const key = (conditions[0] as Condition).key;
  const together = (context: ContextValues): boolean => conditions.every((condition) => condition.holds(context));
  if (together({})) return false;
  if (conditions.some(({ operator, values }) => operator === 'Null' && values.every((value) => value === 'true'))) return true;
  const valued = conditions.filter(({ operator }) => operator !== 'Null');
  // One that names all values leaves only these to try.
  const named = valued.find(({ operator }) => /^(String|Numeric|Date|Binary)Equals(IfExists)?$|^Bool(IfExists)?$/.test(operator));
  if (named !== undefined) return named.values.every((value) => !together({ [key]: value }));
  // Between two bounds nothing changes: each of them and a value on either side stand for all.
  const read = valued.every(({ operator }) => operator.startsWith('Numeric'))
    ? numberOf
    : valued.every(({ operator }) => operator.startsWith('Date'))
      ? secondsOf
      : undefined;
  if (read === undefined) return false;
  const bounds = valued
    .flatMap(({ values }) => values.map(read))
    .filter((bound) => bound !== undefined)
    .sort((a, b) => a - b);
  const text = (value: number): string => (read === numberOf ? String(value) : new Date(value * 1000).toISOString());
  return bounds.every((bound, index) => [bound - 1, bound, (bound + (bounds[index + 1] ?? bound + 2)) / 2].every((value) => !together({ [key]: text(value) })));
}

const secondsOf = (text: string): number | undefined => {
  const moment = dateOf(text);
  return moment === undefined ? undefined : moment / 1000;
};

const LONGEST_TOLD = 200;

/** The services that a pattern is about when the actions are about none of them; undefined: it can fit. */
export function foreignServices(pattern: string, actions: ReadonlySet<string>, services: readonly string[]): string[] | undefined {
  const acted = new Set([...actions].map((action) => action.slice(0, action.indexOf(':'))));
  // Longer ones would take longer to tell than they are worth.
  if (pattern.length > LONGEST_TOLD || services.some((service) => acted.has(service.toLowerCase()) && canFit(pattern, [service]))) return undefined;
  return services.filter((service) => canFit(pattern, [service]));
}
