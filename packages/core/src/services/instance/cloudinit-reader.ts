// Reads loosely typed YAML values into what cloud-config means by them. Every problem is noted with its path and reading
// goes on, so that a user sees all of them at once. Anything but the expected type is a problem: nothing is guessed.
import type { FieldProblem } from '../../kernel/errors.ts';
import { nearest } from '../../kernel/near.ts';

export type Path = readonly (string | number)[];

/** A value and where it stands. */
export interface At {
  value: unknown;
  path: Path;
}

export type Entries<Key extends string> = Partial<Record<Key, At>>;

export class Reader {
  readonly problems: FieldProblem[] = [];
  readonly #sourceOf: (path: Path) => string | undefined;

  /** `sourceOf`: the characters of an unquoted scalar, which YAML may have taken for a number, a date or a truth value. */
  constructor(sourceOf: (path: Path) => string | undefined) {
    this.#sourceOf = sourceOf;
  }

  /** Notes a problem. Returns undefined, so that `return reader.say(…)` reads as "no value". */
  say({ path }: Pick<At, 'path'>, message: string): undefined {
    this.problems.push({ path: ['userData', ...path].join('.'), message });
    return undefined;
  }

  /** The entries of a mapping. Unknown keys are problems that name the near and the supported ones. */
  map<Key extends string>(at: At, keys: readonly Key[], what = 'mapping'): Entries<Key> {
    if (!isMapping(at.value)) {
      this.say(at, `must be a ${what} of keys and values; it is ${kindOf(at.value)}`);
      return {};
    }
    const entries: Entries<Key> = {};
    for (const [key, value] of Object.entries(at.value)) {
      const known = keys.find((each) => each === key);
      // A key without a value is as good as absent.
      if (known !== undefined) entries[known] = value === null ? undefined : { value, path: [...at.path, key] };
      else {
        const near = nearest(key, keys);
        const guess = near === undefined ? '.' : `; did you mean ${near}?`;
        this.say({ path: [...at.path, key] }, `is not a supported key${guess} Supported: ${keys.join(', ')}`);
      }
    }
    return entries;
  }

  list(at: At | undefined): At[] {
    if (at === undefined) return [];
    if (Array.isArray(at.value)) return at.value.map((value: unknown, index) => ({ value, path: [...at.path, index] }));
    this.say(at, `must be a list; it is ${kindOf(at.value)}`);
    return [];
  }

  /** Text; an unquoted number or truth value counts as the characters it was written with. */
  text(at: At | undefined, allowed: { lines?: boolean } = {}): string | undefined {
    if (at === undefined) return undefined;
    const text = typeof at.value === 'string' ? at.value : isPlain(at.value) ? this.source(at) : undefined;
    if (text === undefined) {
      const colon = isMapping(at.value) ? '. An unquoted ": " makes one; put the whole text in quotes' : '';
      return this.say(at, `must be text; it is ${kindOf(at.value)}${colon}`);
    }
    if (text.includes('\0')) return this.say(at, 'must not contain a zero byte');
    if (allowed.lines !== true && /[\r\n]/.test(text)) return this.say(at, 'must be one line');
    return text;
  }

  /** Text that the pattern allows. */
  match(at: At | undefined, pattern: RegExp, rule: string): string | undefined {
    const text = this.text(at);
    if (text === undefined || at === undefined) return undefined;
    return pattern.test(text) ? text : this.say(at, rule);
  }

  flag(at: At | undefined): boolean | undefined {
    if (at === undefined || typeof at.value === 'boolean') return at?.value as boolean | undefined;
    return this.say(at, `must be true or false; it is ${kindOf(at.value)}`);
  }

  integer(at: At | undefined, lowest: number, highest: number): number | undefined {
    if (at === undefined) return undefined;
    const { value } = at;
    const number = typeof value === 'string' && /^\d+$/.test(value) ? Number(value) : value;
    if (typeof number === 'number' && Number.isInteger(number) && number >= lowest && number <= highest) return number;
    return this.say(at, `must be a whole number from ${lowest} to ${highest}`);
  }

  /** One of some words. */
  choice<Word extends string>(at: At | undefined, words: readonly Word[]): Word | undefined {
    const text = this.text(at);
    if (text === undefined || at === undefined) return undefined;
    const found = words.find((word) => word === text);
    if (found !== undefined) return found;
    const near = nearest(text, words);
    return this.say(at, `must be one of ${words.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`);
  }

  source(at: At): string | undefined {
    return this.#sourceOf(at.path);
  }
}

const isPlain = (value: unknown): boolean => ['number', 'boolean', 'bigint'].includes(typeof value) || value instanceof Date;

export const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && [Object.prototype, null].includes(Object.getPrototypeOf(value) as object | null);

export function kindOf(value: unknown): string {
  if (value === null || value === undefined) return 'empty';
  if (Array.isArray(value)) return 'a list';
  if (value instanceof Uint8Array) return 'binary';
  if (value instanceof Date) return 'a date';
  if (typeof value === 'object') return 'a mapping';
  if (typeof value === 'string') return 'text';
  return typeof value === 'boolean' ? `${value}` : 'a number';
}
