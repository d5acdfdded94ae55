// The language once more, as naively as it can be written, straight from the JSON: what the engine is compared with.
import type { ContextValues } from '../index.ts';

export interface ReferenceStatement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action?: string | readonly string[];
  readonly NotAction?: string | readonly string[];
  readonly Resource?: string | readonly string[];
  readonly NotResource?: string | readonly string[];
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | number | boolean | readonly (string | number | boolean)[]>>>>;
}

interface Request {
  readonly action: string;
  readonly resources: readonly string[];
  readonly context: ContextValues;
}

type Letter = { readonly letter: string } | 'star' | 'one';
const list = <T>(value: T | readonly T[] | undefined): readonly T[] => (value === undefined ? [] : Array.isArray(value) ? value : [value as T]);

/** By trying everything; exponential, for short texts only. */
export function recursiveMatch(pattern: readonly Letter[], text: string): boolean {
  const [first, ...rest] = pattern;
  if (first === undefined) return text === '';
  if (first === 'star') return recursiveMatch(rest, text) || (text !== '' && recursiveMatch(pattern, text.slice(1)));
  return text !== '' && (first === 'one' || first.letter === text[0]) && recursiveMatch(rest, text.slice(1));
}

/** With variables replaced; undefined when one has no value. */
export function lettersOf(text: string, context: ContextValues, wildcards: boolean): Letter[] | undefined {
  const letters: Letter[] = [];
  for (let at = 0; at < text.length; at++) {
    if (text.startsWith('${', at)) {
      const end = text.indexOf('}', at);
      const [name = '', fallback] = text.slice(at + 2, end).split(',');
      const value = ['*', '?', '$'].includes(name) ? name : (context[name] ?? fallback?.trim().slice(1, -1));
      if (value === undefined || typeof value === 'object') return undefined;
      letters.push(...Array.from(String(value), (letter) => ({ letter })));
      at = end;
    } else if (wildcards && text[at] === '*') letters.push('star');
    else if (wildcards && text[at] === '?') letters.push('one');
    else letters.push({ letter: text[at] as string });
  }
  return letters;
}

function compare(operator: string, value: string, wanted: string, context: ContextValues): boolean | undefined {
  if (operator.startsWith('Numeric')) {
    const [a, b] = [Number(value), Number(wanted)];
    if (operator.includes('LessThan')) return operator.endsWith('Equals') ? a <= b : a < b;
    if (operator.includes('GreaterThan')) return operator.endsWith('Equals') ? a >= b : a > b;
    return a === b;
  }
  const letters = lettersOf(wanted, context, operator.endsWith('Like'));
  if (letters === undefined) return undefined;
  if (!operator.endsWith('IgnoreCase')) return recursiveMatch(letters, value);
  return (
    letters
      .map((one) => (typeof one === 'object' ? one.letter : ''))
      .join('')
      .toLowerCase() === value.toLowerCase()
  );
}

function conditionHolds(written: string, key: string, wanted: readonly string[], context: ContextValues): boolean {
  const given = context[key];
  const values = given === undefined ? [] : list(given as string | readonly string[]).map(String);
  if (written === 'Null') return wanted.some((one) => one === String(values.length === 0));
  const set = /^For(Any|All)/.exec(written)?.[1];
  const bare = written.replace(/^For(AnyValue|AllValues):/, '');
  const operator = bare.replace(/IfExists$/, '');
  const negated = operator.includes('Not');
  if (values.length === 0) return bare !== operator || (set === undefined ? negated : set === 'All');
  const one = (value: string) => {
    const results = wanted.map((each) => compare(operator.replace('Not', ''), value, each, context));
    return negated ? results.every((result) => result === false) : results.includes(true);
  };
  return set === 'All' || (set === undefined && negated) ? values.every(one) : values.some(one);
}

function statementFits(statement: ReferenceStatement, { action, resources, context }: Request): boolean {
  const acts = list(statement.Action ?? statement.NotAction).some((pattern) =>
    recursiveMatch(lettersOf(pattern.toLowerCase(), {}, true) as Letter[], action.toLowerCase()),
  );
  if (acts === (statement.Action === undefined)) return false;
  const results = list(statement.Resource ?? statement.NotResource).flatMap((pattern) => {
    const letters = lettersOf(pattern.replace(/^crn:cloud::/, 'crn:cloud:*:'), context, true);
    return resources.map((name) => (letters === undefined ? undefined : recursiveMatch(letters, name)));
  });
  if (statement.Resource === undefined ? results.some((result) => result !== false) : !results.includes(true)) return false;
  return Object.entries(statement.Condition ?? {}).every(([operator, keys]) =>
    Object.entries(keys).every(([key, values]) => conditionHolds(operator, key, list<string | number | boolean>(values).map(String), context)),
  );
}

export function referenceDecision(statements: readonly ReferenceStatement[], request: Request): 'allow' | 'deny' | 'none' {
  const fitting = statements.filter((statement) => statementFits(statement, request));
  return fitting.some(({ Effect }) => Effect === 'Deny') ? 'deny' : fitting.length > 0 ? 'allow' : 'none';
}
