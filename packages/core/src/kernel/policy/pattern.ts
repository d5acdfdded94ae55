// Wildcards: `*` is any text, also none, `?` one character. Matching walks both texts once and goes back to the last star only, so no pattern makes it
// explode; nothing here is ever a regular expression. `${key}` stands for a value of the call and is taken literally, whatever is in it.
import type { ContextValues } from './index.ts';

const STAR = -1;
const ANY = -2;

/** Character codes, `*` and `?` among them as negative numbers. */
export type Tokens = readonly number[];

interface Variable {
  readonly key: string;
  readonly fallback: string | undefined;
}

export interface Template {
  readonly text: string;
  /** Without wildcards and variables: simply compared. */
  readonly literal: string | undefined;
  readonly tokens: Tokens | undefined;
  readonly parts: readonly (Tokens | Variable)[];
}

/** How much was looked at, for tests that it stays in bounds. */
export interface Steps {
  count: number;
}

export function matchTokens(tokens: Tokens, text: string, steps?: Steps): boolean {
  let at = 0;
  let token = 0;
  let star = -1;
  let taken = 0;
  while (at < text.length) {
    if (steps !== undefined) steps.count++;
    const wanted = tokens[token];
    if (wanted === STAR) {
      star = token++;
      taken = at;
    } else if (wanted === ANY || wanted === text.charCodeAt(at)) {
      token++;
      at++;
    } else if (star >= 0) {
      token = star + 1;
      at = ++taken;
    } else return false;
  }
  while (tokens[token] === STAR) token++;
  return token === tokens.length;
}

function tokensOf(text: string): number[] {
  const tokens: number[] = [];
  for (let index = 0; index < text.length; index++) {
    const code = text[index] === '*' ? STAR : text[index] === '?' ? ANY : text.charCodeAt(index);
    if (code !== STAR || tokens.at(-1) !== STAR) tokens.push(code);
  }
  return tokens;
}
const literally = (text: string): number[] => Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));

/** Whether a pattern with `*` and `?` fits all of a text. */
export const matches = (pattern: string, text: string): boolean => matchTokens(tokensOf(pattern), text);

export const hasWildcard = (text: string): boolean => /[*?]/.test(text);

/** The variables of a text; `undefined` where one is not closed. */
export function variablesOf(text: string): { key: string; fallback: string | undefined; start: number; end: number }[] | undefined {
  const found: { key: string; fallback: string | undefined; start: number; end: number }[] = [];
  for (let at = text.indexOf('${'); at >= 0; at = text.indexOf('${', at)) {
    const end = text.indexOf('}', at + 2);
    if (end < 0) return undefined;
    const inner = text.slice(at + 2, end);
    const comma = inner.indexOf(',');
    const fallback = comma < 0 ? undefined : inner.slice(comma + 1).trim();
    if (fallback !== undefined && !/^'[^']*'$/.test(fallback)) return undefined;
    found.push({ key: comma < 0 ? inner : inner.slice(0, comma).trim(), fallback: fallback?.slice(1, -1), start: at, end: end + 1 });
    at = end + 1;
  }
  return found;
}

/** `wildcards`: whether `*` and `?` mean anything. A text whose variables are not well formed must have been refused before. */
export function templateOf(text: string, { wildcards }: { wildcards: boolean }): Template {
  const read = (plain: string): number[] => (wildcards ? tokensOf(plain) : literally(plain));
  const parts: (Tokens | Variable)[] = [];
  let last = 0;
  for (const { key, fallback, start, end } of variablesOf(text) ?? []) {
    if (start > last) parts.push(read(text.slice(last, start)));
    parts.push(['*', '?', '$'].includes(key) ? literally(key) : { key, fallback });
    last = end;
  }
  if (last < text.length || parts.length === 0) parts.push(read(text.slice(last)));
  if (!parts.every((part) => Array.isArray(part))) return { text, literal: undefined, tokens: undefined, parts };
  const tokens = (parts as number[][]).flat();
  const literal = tokens.some((token) => token < 0) ? undefined : String.fromCharCode(...tokens);
  return { text, literal, tokens, parts };
}

/** The value of a context key as text; keys are compared without case, but for what stands after a slash. */
export function valueIn(context: ContextValues, key: string): ContextValues[string] | undefined {
  if (Object.hasOwn(context, key)) return context[key];
  const wanted = foldedKey(key);
  for (const name of Object.keys(context)) if (foldedKey(name) === wanted) return context[name];
  return undefined;
}

/** `Cloud:RequestLabel/Team` → `cloud:requestlabel/Team`. */
export function foldedKey(key: string): string {
  const slash = key.indexOf('/');
  return slash < 0 ? key.toLowerCase() : key.slice(0, slash).toLowerCase() + key.slice(slash);
}

/** The tokens with all values filled in; undefined when one is missing. */
function filled(template: Template, context: ContextValues): Tokens | undefined {
  if (template.tokens !== undefined) return template.tokens;
  const tokens: number[] = [];
  for (const part of template.parts) {
    if (Array.isArray(part)) tokens.push(...(part as number[]));
    else {
      const { key, fallback } = part as Variable;
      const value = valueIn(context, key);
      const text = value === undefined || Array.isArray(value) ? fallback : String(value);
      if (text === undefined) return undefined;
      for (const code of literally(text)) tokens.push(code);
    }
  }
  return tokens;
}

/** Undefined when a variable has no value: then it can be said neither to fit nor not to. */
export function fits(template: Template, text: string, context: ContextValues): boolean | undefined {
  if (template.literal !== undefined) return template.literal === text;
  const tokens = filled(template, context);
  return tokens === undefined ? undefined : matchTokens(tokens, text);
}

/** Whether it fits every text that begins with `prefix`: what fits the prefix with a star at its end fits whatever follows. */
export function coversAll(template: Template, prefix: string, context: ContextValues): boolean {
  const tokens = filled(template, context);
  return tokens?.at(-1) === STAR && matchTokens(tokens, prefix);
}

/** The text with its values, for comparisons that know no wildcards; undefined when one is missing. */
export function textOf(template: Template, context: ContextValues): string | undefined {
  if (template.literal !== undefined) return template.literal;
  const tokens = filled(template, context);
  return tokens === undefined ? undefined : tokens.map((token) => (token === STAR ? '*' : token === ANY ? '?' : String.fromCharCode(token))).join('');
}
