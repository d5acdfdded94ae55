// What a document may speak of: actions, resources, context keys, and whom. Identity has one vocabulary, made from the contracts; buckets have another.
import { type Contract, permissionsOf } from '../contract.ts';
import { foldedKey } from './pattern.ts';

export type KeyType = 'string' | 'numeric' | 'date' | 'bool' | 'ip' | 'binary';

export interface ConditionKey {
  /** Ends with `/` when any text may follow: `cloud:RequestLabel/`. */
  readonly name: string;
  readonly types: readonly KeyType[];
  /** Has several values: wants ForAnyValue or ForAllValues. */
  readonly many?: boolean;
  readonly meaning: string;
}

export interface Vocabulary {
  readonly actions: readonly string[];
  /** The fourth part of a CRN. */
  readonly services: readonly string[];
  readonly keys: readonly ConditionKey[];
  /** Of policies that hang on a resource and say whom they are about. Absent: whom a policy is about is said by attaching it. */
  readonly resourcePolicy?: ResourcePolicyForm;
}

interface ResourcePolicyForm {
  /** Why a text is no pattern for names of this resource, or undefined. In place of CRNs. */
  resource(text: string): string | undefined;
  /** A value of Principal, of kind `AWS`, `CanonicalUser` …, as requests name it; `*` is read before. */
  principal(kind: string, text: string): { name: string } | { problem: string };
}

export const cloudKeys: readonly ConditionKey[] = [
  { name: 'cloud:SourceIp', types: ['ip'], meaning: 'Address that the call came from; absent over the socket' },
  { name: 'cloud:CurrentTime', types: ['date'], meaning: 'Time of the call' },
  { name: 'cloud:EpochTime', types: ['date', 'numeric'], meaning: 'Time of the call, seconds since 1970' },
  { name: 'cloud:TenantId', types: ['string'], meaning: 'Id of the tenant' },
  { name: 'cloud:TenantName', types: ['string'], meaning: 'Name of the tenant' },
  { name: 'cloud:PrincipalId', types: ['string'], meaning: 'Id of the user or service account' },
  { name: 'cloud:PrincipalName', types: ['string'], meaning: 'E-mail address of the user, or name of the service account' },
  { name: 'cloud:PrincipalType', types: ['string'], meaning: 'user, service-account or system' },
  { name: 'cloud:CredentialId', types: ['string'], meaning: 'Id of the session or API key' },
  { name: 'cloud:RequestLabel/', types: ['string'], meaning: 'A label that the call would set' },
  { name: 'cloud:ResourceLabel/', types: ['string'], meaning: 'A label of what it would be done to' },
  { name: 'cloud:LabelKeys', types: ['string'], many: true, meaning: 'Keys of the labels that the call would set' },
];

/** The vocabulary of identity policies. */
export function vocabularyOf(contracts: Iterable<Contract>): Vocabulary {
  const all = [...contracts];
  return { actions: permissionsOf(all), services: all.map(({ resource }) => resource.name), keys: cloudKeys };
}

export function keyOf({ keys }: Vocabulary, name: string): ConditionKey | undefined {
  const wanted = foldedKey(name);
  return keys.find((key) => {
    const known = foldedKey(key.name);
    return known.endsWith('/') ? wanted.startsWith(known) && wanted.length > known.length : known === wanted;
  });
}
