// Condition operators, as AWS documents them ("IAM JSON policy elements: Condition operators" and "Multivalued context keys").
import { addressOf, type Block, blockOf, inBlock } from './address.ts';
import type { ContextValues } from './index.ts';
import { partsOf } from './names.ts';
import { fits, hasWildcard, type Template, templateOf, textOf, valueIn } from './pattern.ts';
import type { KeyType } from './vocabulary.ts';

export interface Operator {
  readonly name: string;
  readonly types: readonly KeyType[];
  readonly negated: boolean;
  /** Takes `*` and `?`. */
  readonly wildcards: boolean;
  /** Why a value of a document is none for it, or undefined. Not asked about values with variables. */
  check(value: string): string | undefined;
  /** Whether a value of the call is what the document says. Undefined: a variable in that has no value. */
  compile(template: Template): (value: string, context: ContextValues) => boolean | undefined;
}

const plain = (compare: (value: string, wanted: string) => boolean) => (template: Template) => (value: string, context: ContextValues) => {
  const wanted = textOf(template, context);
  return wanted === undefined ? undefined : compare(value, wanted);
};
const pattern = (template: Template) => (value: string, context: ContextValues) => fits(template, value, context);

/** Compares values that are read first; what cannot be read is not equal, less or greater. */
const read =
  <T>(parse: (text: string) => T | undefined, compare: (value: T, wanted: T) => boolean) =>
  (template: Template) => {
    const known = template.literal === undefined ? undefined : parse(template.literal);
    return (text: string, context: ContextValues) => {
      const wantedText = known === undefined ? textOf(template, context) : undefined;
      const wanted = known ?? (wantedText === undefined ? undefined : parse(wantedText));
      const value = parse(text);
      return value !== undefined && wanted !== undefined && compare(value, wanted);
    };
  };

export const numberOf = (text: string): number | undefined => (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,3})?$/i.test(text.trim()) ? Number(text) : undefined);

/** ISO 8601 as W3C profiles it, or seconds since 1970. Milliseconds. */
export function dateOf(text: string): number | undefined {
  if (/^\d{1,12}$/.test(text)) return Number(text) * 1000;
  if (!/^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}))?$/.test(text)) return undefined;
  const time = Date.parse(text);
  // A day that the month does not have would be one of the next month.
  const [year, month, day] = text.slice(0, 10).split('-').map(Number) as [number, number, number];
  return Number.isNaN(time) || new Date(Date.UTC(year, month - 1, day)).getUTCDate() !== day ? undefined : time;
}
const boolOf = (text: string): boolean | undefined => (text === 'true' ? true : text === 'false' ? false : undefined);
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** Each part by itself, cut before variables have their values: a colon or star in a value is a letter. */
const nameFits = ({ text }: Template) => {
  const patterns = partsOf(text)?.map((part) => templateOf(part, { wildcards: true }));
  return (value: string, context: ContextValues) => {
    const parts = partsOf(value, { name: true });
    const results = patterns?.map((pattern, index) => fits(pattern, parts?.[index] ?? '', context)) ?? [];
    return results.includes(undefined) ? undefined : parts !== undefined && results.every((result) => result === true);
  };
};

const numberSays = (value: string): string | undefined => (numberOf(value) === undefined ? 'give a number' : undefined);
const dateSays = (value: string): string | undefined =>
  dateOf(value) === undefined ? 'give a date such as 2026-01-31T12:00:00Z, or seconds since 1970' : undefined;
const anything = (): undefined => undefined;

type Row = readonly [names: readonly [string, string?], types: readonly KeyType[], wildcards: boolean, check: Operator['check'], compile: Operator['compile']];
const rows: readonly Row[] = [
  [['StringEquals', 'StringNotEquals'], ['string'], false, anything, plain((value, wanted) => value === wanted)],
  [
    ['StringEqualsIgnoreCase', 'StringNotEqualsIgnoreCase'],
    ['string'],
    false,
    anything,
    plain((value, wanted) => value.toLowerCase() === wanted.toLowerCase()),
  ],
  [['StringLike', 'StringNotLike'], ['string'], true, anything, pattern],
  [['NumericEquals', 'NumericNotEquals'], ['numeric'], false, numberSays, read(numberOf, (value, wanted) => value === wanted)],
  [['NumericLessThan'], ['numeric'], false, numberSays, read(numberOf, (value, wanted) => value < wanted)],
  [['NumericLessThanEquals'], ['numeric'], false, numberSays, read(numberOf, (value, wanted) => value <= wanted)],
  [['NumericGreaterThan'], ['numeric'], false, numberSays, read(numberOf, (value, wanted) => value > wanted)],
  [['NumericGreaterThanEquals'], ['numeric'], false, numberSays, read(numberOf, (value, wanted) => value >= wanted)],
  [['DateEquals', 'DateNotEquals'], ['date'], false, dateSays, read(dateOf, (value, wanted) => value === wanted)],
  [['DateLessThan'], ['date'], false, dateSays, read(dateOf, (value, wanted) => value < wanted)],
  [['DateLessThanEquals'], ['date'], false, dateSays, read(dateOf, (value, wanted) => value <= wanted)],
  [['DateGreaterThan'], ['date'], false, dateSays, read(dateOf, (value, wanted) => value > wanted)],
  [['DateGreaterThanEquals'], ['date'], false, dateSays, read(dateOf, (value, wanted) => value >= wanted)],
  [['Bool'], ['bool'], false, (value) => (boolOf(value) === undefined ? 'give true or false' : undefined), read(boolOf, (value, wanted) => value === wanted)],
  [['BinaryEquals'], ['binary'], false, (value) => (BASE64.test(value) ? undefined : 'give base64'), plain((value, wanted) => value === wanted)],
  [
    ['IpAddress', 'NotIpAddress'],
    ['ip'],
    false,
    (value) => (blockOf(value) === undefined ? 'give an address or block such as 10.0.0.0/8' : undefined),
    (template) => {
      const known: Block | undefined = template.literal === undefined ? undefined : blockOf(template.literal);
      return (value, context) => {
        const block = known ?? blockOf(textOf(template, context) ?? '');
        const address = addressOf(value);
        return block !== undefined && address !== undefined && inBlock(block, address);
      };
    },
  ],
  [['ArnEquals', 'ArnNotEquals'], ['string'], true, nameSays, nameFits],
  [['ArnLike', 'ArnNotLike'], ['string'], true, nameSays, nameFits],
];
function nameSays(value: string): string | undefined {
  return partsOf(value) === undefined ? 'give a name such as crn:cloud:*:instance:instance/web' : undefined;
}

const ALL: KeyType[] = ['string', 'numeric', 'date', 'bool', 'ip', 'binary'];

export const operators: ReadonlyMap<string, Operator> = new Map(
  rows.flatMap(([names, types, wildcards, check, compile]) =>
    names.flatMap((name, index) => (name === undefined ? [] : [[name, { name, types, negated: index === 1, wildcards, check, compile }] as const])),
  ),
);
/** The one operator about a key itself and not its value. */
export const NULL: Pick<Operator, 'name' | 'types'> & { check: Operator['check'] } = {
  name: 'Null',
  types: ALL,
  check: (value) => (boolOf(value) === undefined ? 'give true (the key must be absent) or false' : undefined),
};

export interface Condition {
  /** As written: `ForAnyValue:StringLikeIfExists`. */
  readonly operator: string;
  readonly key: string;
  readonly values: readonly string[];
  holds(context: ContextValues): boolean;
}

/** The parts of an operator's name; undefined when there is no such operator. */
export function operatorOf(name: string): { operator: Operator | typeof NULL; set: 'any' | 'all' | undefined; ifExists: boolean } | undefined {
  const set = name.startsWith('ForAnyValue:') ? 'any' : name.startsWith('ForAllValues:') ? 'all' : undefined;
  const rest = set === undefined ? name : name.slice(name.indexOf(':') + 1);
  if (rest === NULL.name) return { operator: NULL, set, ifExists: false };
  const ifExists = rest.endsWith('IfExists');
  const operator = operators.get(ifExists ? rest.slice(0, -'IfExists'.length) : rest);
  return operator === undefined ? undefined : { operator, set, ifExists };
}

/** A condition that was checked before. */
export function conditionOf(name: string, key: string, values: readonly string[]): Condition {
  const found = operatorOf(name);
  if (found === undefined) throw new Error(`no operator ${name}`);
  const { operator, set, ifExists } = found;
  if (!('compile' in operator)) {
    const absent = (given: ContextValues[string] | undefined): boolean => given === undefined || (Array.isArray(given) && given.length === 0);
    return { operator: name, key, values, holds: (context) => values.includes(String(absent(valueIn(context, key)))) };
  }
  const tests = values.map((value) => operator.compile(templateOf(value, { wildcards: operator.wildcards })));
  return {
    operator: name,
    key,
    values,
    holds(context) {
      const given = valueIn(context, key);
      const all = given === undefined ? [] : Array.isArray(given) ? given.map(String) : [String(given)];
      if (given === undefined || all.length === 0) return set === 'all' || ifExists || (set === undefined && operator.negated);
      const one = (value: string): boolean =>
        operator.negated ? tests.every((test) => test(value, context) === false) : tests.some((test) => test(value, context) === true);
      return set === 'all' ? all.every(one) : set === 'any' || !operator.negated ? all.some(one) : all.every(one);
    },
  };
}

export const usesWildcard = (operator: Operator, value: string): boolean =>
  !operator.wildcards && operator.types.includes('string') && hasWildcard(value.replaceAll(/\$\{[^}]*\}/g, ''));
