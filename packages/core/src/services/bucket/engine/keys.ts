// Each tenant has one random key that wraps the keys of its blobs. It is kept sealed by the keyring, so a new master key means one row for each tenant, not
// one for each object.
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import type { Keyring, Reseal } from '../../../kernel/keyring.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { all, one, run } from './sql.ts';

const PURPOSE = 'objects';
const AAD = 'object_key';
const KEY_BYTES = 32;

export class TenantKeys {
  readonly #context: Pick<ServiceContext, 'db' | 'keyring' | 'submit'>;
  readonly #known = new Map<string, KeyObject>();
  readonly #asked = new Map<string, Promise<KeyObject>>();

  constructor(context: Pick<ServiceContext, 'db' | 'keyring' | 'submit'>) {
    this.#context = context;
  }

  /** Made when there is none. `conflict` when what is kept does not open. */
  of(tenantId: string): KeyObject | Promise<KeyObject> {
    const known = this.#known.get(tenantId);
    if (known !== undefined) return known;
    let asked = this.#asked.get(tenantId);
    if (asked === undefined) {
      asked = this.#load(tenantId).finally(() => this.#asked.delete(tenantId));
      this.#asked.set(tenantId, asked);
    }
    return asked;
  }

  async #load(tenantId: string): Promise<KeyObject> {
    const { db, keyring } = this.#context;
    const read = 'select sealed from object_key where tenant = ?';
    const kept = await one<{ sealed: string }>(db, read, tenantId);
    const key =
      kept !== undefined
        ? opened(keyring, tenantId, kept.sealed)
        : await this.#context.submit({ tenantId, principal: 'system' }, async ({ tx }) => {
            const other = await one<{ sealed: string }>(tx, read, tenantId);
            if (other !== undefined) return opened(keyring, tenantId, other.sealed);
            const made = randomBytes(KEY_BYTES);
            await run(tx, 'insert into object_key (tenant, sealed) values (?, ?)', tenantId, keyring.seal(PURPOSE, { tenant: tenantId }, made, AAD));
            return createSecretKey(made);
          });
    this.#known.set(tenantId, key);
    return key;
  }

  /** Those of tenants that are no more go. */
  async prune(): Promise<void> {
    const { db } = this.#context;
    const ended = await all<{ tenant: string }>(
      db,
      'select tenant from object_key where tenant not in (select id from r_tenant) and tenant not in (select tenant from bucket_name)',
    );
    for (const { tenant } of ended) {
      await this.#context.submit({ tenantId: '', principal: 'system' }, ({ tx }) => run(tx, 'delete from object_key where tenant = ?', tenant));
      this.#known.delete(tenant);
    }
  }
}

const opened = (keyring: Pick<Keyring, 'open'>, tenantId: string, sealed: string): KeyObject =>
  createSecretKey(keyring.open(PURPOSE, { tenant: tenantId }, sealed, AAD));

/** For the service's `reseal`. The keys themselves stay. */
export const resealTenantKeys: Reseal = async (tx, from, to) => {
  for (const { tenant, sealed } of await all<{ tenant: string; sealed: string }>(tx, 'select tenant, sealed from object_key')) {
    const scope = { tenant };
    await run(tx, 'update object_key set sealed = ? where tenant = ?', to.seal(PURPOSE, scope, from.open(PURPOSE, scope, sealed, AAD), AAD), tenant);
  }
};
