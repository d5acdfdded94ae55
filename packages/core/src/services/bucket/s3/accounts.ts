// Accounts as S3 shows them: an owner's ID is a tenant's id, and its DisplayName the tenant's name.
import type { ServiceContext } from '../../../kernel/service.ts';
import { type Element, element } from './xml.ts';

const MOST_NAMES = 10_000;

/** Names of tenants by id, until one of them changes. */
class AccountNames {
  readonly #service: ServiceContext;
  readonly #names = new Map<string, string>();

  constructor(service: ServiceContext) {
    this.#service = service;
    service.onCommit(({ rows }) => {
      if (rows.some(({ resource }) => resource === 'tenant')) this.#names.clear();
    });
  }

  /** Undefined: there is no such tenant. */
  async of(id: string): Promise<string | undefined> {
    const kept = this.#names.get(id);
    if (kept !== undefined) return kept;
    const row = await this.#service.db.selectFrom('r_tenant').select('name').where('id', '=', id).executeTakeFirst();
    if (row === undefined) return undefined;
    if (this.#names.size >= MOST_NAMES) this.#names.clear();
    this.#names.set(id, row.name);
    return row.name;
  }
}

const known = new WeakMap<ServiceContext, AccountNames>();

/** Undefined: there is no such account. */
export function accountNameOf(service: ServiceContext, id: string): Promise<string | undefined> {
  let names = known.get(service);
  if (names === undefined) {
    names = new AccountNames(service);
    known.set(service, names);
  }
  return names.of(id);
}

/** What `Owner` and `Initiator` have in them. What a tenant that is gone has left is shown with its id. */
export async function ownerContent(service: ServiceContext, id: string): Promise<Element[]> {
  return [element('ID', id), element('DisplayName', (await accountNameOf(service, id)) ?? id)];
}
