// The policy engine: AWS-style documents, compiled once and asked often.

/** Values of the context keys of one call; a key that is absent has no value. */
export type ContextValues = Readonly<Record<string, string | number | boolean | readonly string[]>>;

export interface CompiledPolicy {
  readonly id: string;
  readonly name: string;
}

export interface PolicyRequest {
  readonly action: string;
  /** All names of one resource. */
  readonly resources: readonly string[];
  readonly context: ContextValues;
}

export interface Decision {
  readonly effect: 'allow' | 'deny' | 'none';
  readonly by?: { readonly policyId: string; readonly policyName: string; readonly sid?: string; readonly index: number };
}

/** Deny wins, else an allow, else none. */
export function evaluate(policies: readonly CompiledPolicy[], request: PolicyRequest): Decision {
  if (policies.length > 0) throw new Error(`policies cannot be evaluated yet (${request.action})`);
  return { effect: 'none' };
}
