// Strict parsing of inputs, and problems in words: which field, what would be right, and the field that was probably meant.
import { z } from 'zod';
import { type AnyResource, type Operation, unwrap } from './contract.ts';
import { Fault, type FieldProblem } from './errors.ts';
import { nearest } from './near.ts';
import { objectInside } from './resolve.ts';
import { words } from './words.ts';

export function validate(operation: Operation, input: unknown, of?: AnyResource): Record<string, unknown> {
  const result = operation.input.safeParse(input ?? {}, { reportInput: true });
  const lost = lostKeys(input);
  if (result.success && lost.length === 0) return result.data as Record<string, unknown>;
  const problems: FieldProblem[] = [...lost];
  const issues = result.error?.issues ?? [];
  for (const issue of issues.slice(0, MOST_PROBLEMS)) collect(issue, [], operation, problems, operation.standard === 'update' ? of : undefined);
  const first = problems[0] as FieldProblem;
  const all = Math.max(problems.length, issues.length);
  problems.splice(MOST_PROBLEMS);
  const more = all > 1 ? ` (and ${all - 1} more)` : '';
  throw new Fault('invalid_input', `${first.path === '' ? '' : `${first.path}: `}${first.message}${more}`, { details: problems });
}

/** More help nobody, and a caller could make us write without end. */
const MOST_PROBLEMS = 100;

/** Maps lose this key when they are parsed, because to JavaScript it means something else; better said than lost. */
function lostKeys(input: unknown): FieldProblem[] {
  if (typeof input !== 'object' || input === null) return [];
  return Object.entries(input)
    .filter(([, value]) => typeof value === 'object' && value !== null && Object.hasOwn(value, '__proto__'))
    .map(([field]) => ({ path: `${field}.__proto__`, message: 'choose another key; this one cannot be kept' }));
}

/** `changed`: the resource of which the operation changes one. */
function collect(issue: z.core.$ZodIssue, before: PropertyKey[], operation: Operation, problems: FieldProblem[], changed?: AnyResource): void {
  const path = [...before, ...issue.path].map(String);
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) {
      if (problems.length > MOST_PROBLEMS) return;
      if (path.length === 0 && changed !== undefined && (key === 'name' || key in changed.spec)) {
        problems.push({ path: key, message: `it is set when the ${words(changed.name)} is created; update cannot change it` });
        continue;
      }
      const near = nearest(key, fieldsAt(operation, path));
      problems.push({ path: [...path, key].join('.'), message: `there is no such field${near === undefined ? '' : `; did you mean ${near}?`}` });
    }
    return;
  }
  if (issue.code === 'invalid_union') {
    // The branch whose type fits is the one the caller meant.
    const branch = issue.errors.find((errors) => errors.length > 0 && !errors.some((inner) => inner.code === 'invalid_type' && inner.path.length === 0));
    if (branch !== undefined) {
      for (const inner of branch) collect(inner, path, operation, problems);
      return;
    }
    const expected = issue.errors
      .flatMap((errors) => errors.map((inner) => (inner.code === 'invalid_type' ? inner.expected : undefined)))
      .filter((type) => type !== undefined);
    problems.push({ path: path.join('.'), message: expected.length > 0 ? `give ${[...new Set(expected)].map(withArticle).join(' or ')}` : issue.message });
    return;
  }
  problems.push({ path: path.join('.'), message: sentence(issue) });
}

/** Names of the fields that may stand at a path of the input. */
function fieldsAt(operation: Operation, path: readonly string[]): string[] {
  let schema: z.ZodType | undefined = operation.input;
  for (const key of path) {
    const inner: z.ZodType = unwrap(schema);
    if (inner instanceof z.ZodArray) schema = inner.def.element as z.ZodType;
    else if (inner instanceof z.ZodRecord) schema = inner.def.valueType as z.ZodType;
    else schema = objectInside(inner)?.shape[key] as z.ZodType | undefined;
    if (schema === undefined) return [];
  }
  return Object.keys(objectInside(schema)?.shape ?? {});
}

const ARTICLES: Readonly<Record<string, string>> = { object: 'an object', record: 'an object', array: 'an array', int: 'an integer' };
const withArticle = (type: string): string => ARTICLES[type] ?? `a ${type}`;

function sentence(issue: z.core.$ZodIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return issue.input === undefined ? `give ${withArticle(issue.expected)}; it is required` : `give ${withArticle(issue.expected)}`;
    case 'too_small':
      return issue.origin === 'string' || issue.origin === 'array'
        ? `give at least ${issue.minimum} ${issue.origin === 'string' ? 'character' : 'item'}${issue.minimum === 1 ? '' : 's'}`
        : `give ${issue.minimum} or more`;
    case 'too_big':
      return issue.origin === 'string' || issue.origin === 'array'
        ? `give at most ${issue.maximum} ${issue.origin === 'string' ? 'character' : 'item'}${issue.maximum === 1 ? '' : 's'}`
        : `give ${issue.maximum} or less`;
    case 'invalid_value': {
      const values = issue.values.map(String);
      const near = typeof issue.input === 'string' ? nearest(issue.input, values) : undefined;
      return `use ${values.join(', ')}${issue.input === undefined ? '; it is required' : ''}${near === undefined ? '' : `; did you mean ${near}?`}`;
    }
    case 'invalid_key': {
      const inner = issue.issues[0];
      return inner === undefined ? issue.message : inner.message;
    }
    default:
      return issue.message;
  }
}
