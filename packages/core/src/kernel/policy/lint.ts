// What is wrong with a document, and what is probably not meant.
import { operatorOf, operators, usesWildcard } from './conditions.ts';
import { readDocument, type Statement } from './document.ts';
import { contradictions, foreignServices } from './never.ts';
import { foldedKey, matches } from './pattern.ts';
import type { Vocabulary } from './vocabulary.ts';

export interface Finding {
  readonly level: 'error' | 'warning';
  /** Inside the document: `Statement.0.Action`. */
  readonly path: string;
  readonly message: string;
}

/** Every error for which the document would be refused; without errors, the warnings. */
export function lint(document: unknown, vocabulary: Vocabulary): Finding[] {
  const { problems, statements } = readDocument(document, vocabulary);
  if (problems.length > 0) return problems.map(({ path, message }) => ({ level: 'error', path, message }));
  const findings: Finding[] = [];
  const warn = (path: string, message: string): void => void findings.push({ level: 'warning', path, message });
  const given = (document as { Statement: unknown }).Statement;
  const pathOf = (index: number): string => (Array.isArray(given) ? `Statement.${index}` : 'Statement');
  const sids = new Set<string>();
  for (const statement of statements) {
    const path = pathOf(statement.index);
    const raw = (Array.isArray(given) ? given[statement.index] : given) as Readonly<Record<string, unknown>>;
    if (statement.sid !== undefined) {
      if (sids.has(statement.sid)) warn(`${path}.Sid`, `another statement is called ${statement.sid} too`);
      sids.add(statement.sid);
    }
    if (statement.effect === 'Allow' && everything(statement, vocabulary)) warn(path, 'this allows everything');
    if (statement.effect === 'Allow' && raw['NotAction'] !== undefined)
      warn(`${path}.NotAction`, 'with Allow, this also allows operations that come with later versions');
    if (statement.effect === 'Allow' && raw['NotResource'] !== undefined) warn(`${path}.NotResource`, 'with Allow, this allows everything that is not named');
    redundant(raw, path, warn);
    for (const { operator: name, key, values } of statement.conditions) {
      const at = `${path}.Condition.${name}.${key}`;
      const operator = operatorOf(name);
      const real = operator === undefined ? undefined : operators.get(operator.operator.name);
      if (real !== undefined && values.some((value) => usesWildcard(real, value)))
        warn(at, `${real.name} takes * and ? as they are; for patterns use ${real.name.replace('Equals', 'Like').replace('IgnoreCase', '')}`);
      const demanded = statement.conditions.some(
        (other) => other.operator === 'Null' && foldedKey(other.key) === foldedKey(key) && !other.values.includes('true'),
      );
      if (operator?.set === 'all' && !demanded) warn(at, 'ForAllValues holds also when the key is absent; add Null to demand it');
    }
    for (const key of contradictions(statement.conditions)) warn(`${path}.Condition`, `the conditions on ${key} never hold together, so this never fits`);
    if (statement.actions.size === 0) warn(`${path}.NotAction`, 'no action is left, so this never fits');
    else if (!statement.notResources) {
      for (const [index, { text }] of (statement.resources ?? []).entries()) {
        const foreign = foreignServices(text, statement.actions, vocabulary.services);
        const at = Array.isArray(raw['Resource']) ? `${path}.Resource.${index}` : `${path}.Resource`;
        if (foreign !== undefined) warn(at, `this never fits: it is about ${foreign.join(', ')}, and the actions are not`);
      }
    }
    const shadow = statement.effect === 'Allow' && statements.find((other) => other.effect === 'Deny' && shadows(other, statement));
    if (shadow) warn(path, `statement ${shadow.sid ?? shadow.index} denies all that this allows`);
  }
  if (statements.every(({ effect }) => effect === 'Deny'))
    warn('Statement', 'nothing is allowed: who has only this policy may do nothing, whatever their roles; add an Allow for the rest');
  return findings;
}

const everything = ({ actions, resources, conditions }: Statement | Omit<Statement, 'policyId' | 'policyName'>, { actions: all }: Vocabulary): boolean =>
  resources === undefined && conditions.length === 0 && actions.size === new Set(all.map((action) => action.toLowerCase())).size;

type Read = Omit<Statement, 'policyId' | 'policyName'>;
const shadows = (deny: Read, allow: Read): boolean =>
  deny.conditions.length === 0 && deny.resources === undefined && [...allow.actions].every((action) => deny.actions.has(action));

function redundant(raw: Readonly<Record<string, unknown>>, path: string, warn: (path: string, message: string) => void): void {
  for (const element of ['Action', 'NotAction', 'Resource', 'NotResource']) {
    const list = raw[element];
    if (!Array.isArray(list)) continue;
    // Each with each only so far: the next hundred would cost more than they tell.
    const texts = (list as string[]).slice(0, 100);
    for (const [index, text] of texts.entries()) {
      const by = texts.findIndex((other, at) => at !== index && (other === text ? at < index : says(other, text)));
      if (by >= 0) warn(`${path}.${element}.${index}`, `${JSON.stringify(texts[by])} says that already`);
    }
  }
}

/** Whether a pattern stands for all that another stands for; no where that is hard to say or long to find out. Stars of the other are letters that only a star takes. */
const says = (wide: string, narrow: string): boolean =>
  wide.length * narrow.length <= 20_000 && !wide.includes('${') && !(wide.includes('?') && /[*$]/.test(narrow)) && matches(wide, narrow);
