// The policy engine: AWS-style documents, compiled once and asked often. Pure: what is so at a call comes in as context.

/** Values of the context keys of one call; a key that is absent has no value. */
export type ContextValues = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface PolicyRequest {
  readonly action: string;
  /** All names of one resource: by id and by name. */
  readonly resources: readonly string[];
  readonly context: ContextValues;
  /** Asked of policies that say whom they are about. Absent: somebody whom nobody knows, about whom only `*` speaks. */
  readonly principal?: RequestPrincipal;
}

export interface RequestPrincipal {
  /** Its own names. */
  readonly names: readonly string[];
  /** What it is part of: a Principal that names this is about it, a NotPrincipal that does leaves it in. */
  readonly groups: readonly string[];
}

export interface Decision {
  readonly effect: 'allow' | 'deny' | 'none';
  /** The statement that decided; `index` counts from 0. */
  readonly by?: { readonly policyId: string; readonly policyName: string; readonly sid?: string; readonly index: number };
}

export { type CompiledPolicy, compilePolicy, type Statement } from './document.ts';
export { allowsAll, evaluate, explain } from './evaluate.ts';
export { lint } from './lint.ts';
export { matches } from './pattern.ts';
export { type ConditionKey, cloudKeys, keyOf, type Vocabulary, vocabularyOf } from './vocabulary.ts';
