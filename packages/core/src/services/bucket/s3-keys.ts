// Access keys as the S3 listener looks them up: by what the client sends, from memory, and never later than anything that ends them.
import { belongsTo, type Principal } from '../../kernel/authorize.ts';
import type { Keys } from '../../kernel/keyring.ts';
import type { ServiceContext } from '../../kernel/service.ts';
import { one, run } from './engine/sql.ts';

/** A key, and whom it speaks for. */
export interface S3Credential {
  /** What requests are signed with. */
  readonly secret: string;
  /** Bound to the key's tenant by its `credential`. */
  readonly principal: Principal;
  readonly tenantId: string;
  readonly tenantName: string;
  /** Nobody is let in by it any more. */
  readonly expired: boolean;
}

interface Known {
  readonly credential: S3Credential;
  readonly expiresAt: number | undefined;
}

interface Found {
  key_id: string;
  sealed: string;
  tenant: string;
  spec: string;
  status: string;
  tenant_name: string;
}

/** Id of the local administrator. */
export const LOCAL = 'local';
const PURPOSE = 's3-key';
const ACCESS_KEY_ID = /^TC[A-Z0-9]{18}$/;
/** Rows of these decide whether a key is good, and for whom. */
const BEHIND = new Set(['s3-key', 'user', 'tenant', 'tenant-member', 'service-account']);
const MOST = 10_000;

export const sealSecret = (keys: Keys, tenantId: string, accessKeyId: string, secret: string): string =>
  keys.seal(PURPOSE, { tenant: tenantId }, Buffer.from(secret), accessKeyId);

export function openSecret(keys: Keys, tenantId: string, accessKeyId: string, sealed: string): string {
  const bytes = keys.open(PURPOSE, { tenant: tenantId }, sealed, accessKeyId);
  const secret = bytes.toString();
  bytes.fill(0);
  return secret;
}

export class S3Keys {
  readonly #context: ServiceContext;
  readonly #known = new Map<string, Known>();
  #age = 0;

  constructor(context: ServiceContext) {
    this.#context = context;
    context.onCommit(({ rows }) => {
      if (rows.some(({ resource }) => BEHIND.has(resource))) this.forget();
    });
  }

  forget(): void {
    this.#age++;
    this.#known.clear();
  }

  /** Undefined: there is none, it was revoked, or whom it speaks for is disabled, gone, or no member of its tenant any more. */
  async keyOf(accessKeyId: string): Promise<S3Credential | undefined> {
    if (!ACCESS_KEY_ID.test(accessKeyId)) return undefined;
    const known = this.#known.get(accessKeyId) ?? (await this.#look(accessKeyId));
    if (known === undefined) return undefined;
    const { credential, expiresAt } = known;
    return expiresAt !== undefined && expiresAt <= this.#context.clock.now() ? { ...credential, expired: true } : credential;
  }

  async #look(accessKeyId: string): Promise<Known | undefined> {
    const age = this.#age;
    const { db, keyring } = this.#context;
    const found = await one<Found>(
      db,
      `select s.key_id, s.sealed, r.tenant, r.spec, r.status, t.name as tenant_name from s3_key s join r_s3_key r on r.id = s.key_id
        join r_tenant t on t.id = r.tenant where s.access_key_id = ? and t.deleted_at is null`,
      accessKeyId,
    );
    if (found === undefined) return undefined;
    const principal = await this.#speaker(found);
    if (principal === undefined || !belongsTo(principal, found.tenant)) return undefined;
    const { expiresAt } = JSON.parse(found.spec) as { expiresAt?: string };
    const known: Known = {
      credential: {
        secret: openSecret(keyring, found.tenant, accessKeyId, found.sealed),
        principal,
        tenantId: found.tenant,
        tenantName: found.tenant_name,
        expired: false,
      },
      expiresAt: expiresAt === undefined ? undefined : Date.parse(expiresAt),
    };
    if (age === this.#age) {
      if (this.#known.size >= MOST) this.#known.clear();
      this.#known.set(accessKeyId, known);
    }
    return known;
  }

  /** The local administrator is in no directory: a key of theirs is bound to its tenant all the same. */
  async #speaker({ key_id: id, tenant, status }: Found): Promise<Principal | undefined> {
    const { ownerId } = JSON.parse(status) as { ownerId?: string };
    if (ownerId !== LOCAL) return this.#context.principal(id);
    const local = await this.#context.principal(LOCAL);
    return local === undefined ? undefined : { ...local, tenantId: tenant, credential: { kind: 'api-key', id, tenantId: tenant } };
  }
}

const known = new WeakMap<ServiceContext, S3Keys>();

/** Those of a core. */
export function s3KeysOf(context: ServiceContext): S3Keys {
  let keys = known.get(context);
  if (keys === undefined) {
    keys = new S3Keys(context);
    known.set(context, keys);
  }
  return keys;
}

export async function keepSecret(sql: Parameters<typeof run>[0], of: { accessKeyId: string; keyId: string; sealed: string }): Promise<void> {
  await run(sql, 'insert into s3_key (access_key_id, key_id, sealed) values (?, ?, ?)', of.accessKeyId, of.keyId, of.sealed);
}
