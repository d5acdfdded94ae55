// SSE-KMS: blobs whose keys are wrapped by a key that the tenant made (`cloud kms-key create`), besides the tenant's own. Whoever reads or writes them must be
// allowed to use that key, and when it is deleted nobody can.
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { Fault } from '../../../kernel/errors.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { kmsKeys } from '../../kms-key/contract.ts';
import { type Actor, type Bucket, type ObjectAttributes, ObjectError } from './types.ts';

const MOST_KEYS = 1000;

/** What `by` of a stored body says then: `<tenant>/<key id>/<version>`. No tenant's id has a slash in it. */
export const isKmsWrapper = (by: string): boolean => by.includes('/');

export class KmsWrappers {
  readonly #context: Pick<ServiceContext, 'access' | 'client' | 'onCommit' | 'principal'>;
  readonly #tenantKey: (tenantId: string) => KeyObject | Promise<KeyObject>;
  readonly #known = new Map<string, KeyObject>();
  /** Key and version that a name stands for, by tenant and name. */
  readonly #current = new Map<string, { id: string; version: number }>();
  #age = 0;

  constructor(context: Pick<ServiceContext, 'access' | 'client' | 'onCommit' | 'principal'>, tenantKey: (tenantId: string) => KeyObject | Promise<KeyObject>) {
    this.#context = context;
    this.#tenantKey = tenantKey;
    context.onCommit(({ rows }) => {
      if (!rows.some(({ resource }) => resource === 'kms-key' || resource === 'tenant')) return;
      this.#age++;
      this.#known.clear();
      this.#current.clear();
    });
  }

  /** What wraps the keys of an object that is written so. `no_such_kms_key`, `kms_denied`. */
  async wrapperOf(bucket: Bucket, { encryption, kmsKeyId }: Pick<ObjectAttributes, 'encryption' | 'kmsKeyId'>, actor: Actor): Promise<string> {
    const { tenantId } = bucket;
    if (encryption !== 'aws:kms') return tenantId;
    if (kmsKeyId === undefined) throw new ObjectError('no_such_kms_key', 'Name the key: there is none that a bucket has by itself');
    await this.#permit(tenantId, kmsKeyId, 'kms-key:encrypt', actor);
    const name = `${tenantId} ${kmsKeyId}`;
    let current = this.#current.get(name);
    if (current === undefined) {
      const age = this.#age;
      const { id, version } = await this.#material(tenantId, kmsKeyId, undefined);
      current = { id, version };
      if (age === this.#age && this.#current.size < MOST_KEYS) this.#current.set(name, current);
    }
    return `${tenantId}/${current.id}/${current.version}`;
  }

  /** Before bytes of such an object are read. `kms_denied`. */
  async permitReading(bucket: Bucket, { encryption, kmsKeyId }: Pick<ObjectAttributes, 'encryption' | 'kmsKeyId'>, actor: Actor | undefined): Promise<void> {
    if (encryption === 'aws:kms' && kmsKeyId !== undefined) await this.#permit(bucket.tenantId, kmsKeyId, 'kms-key:decrypt', actor);
  }

  /** `no_such_kms_key` when it was deleted. */
  async key(by: string): Promise<KeyObject> {
    const known = this.#known.get(by);
    if (known !== undefined) return known;
    const age = this.#age;
    const [tenantId = '', id = '', version = ''] = by.split('/');
    const [{ material }, tenantKey] = await Promise.all([this.#material(tenantId, id, Number(version)), this.#tenantKey(tenantId)]);
    // Of both, so that neither alone opens anything.
    const key = createSecretKey(createHmac('sha256', tenantKey).update(`thecloud/v1/kms/${id}/${version}/`).update(Buffer.from(material, 'base64')).digest());
    if (age === this.#age && this.#known.size < MOST_KEYS) this.#known.set(by, key);
    return key;
  }

  async #material(tenantId: string, nameOrId: string, version: number | undefined): Promise<{ id: string; version: number; material: string }> {
    try {
      return await this.#context.client(tenantId, { kmsKey: kmsKeys }).kmsKey.material(nameOrId, version === undefined ? {} : { version });
    } catch (error) {
      if (!(error instanceof Fault) || (error.code !== 'not_found' && error.code !== 'invalid_input')) throw error;
      throw new ObjectError('no_such_kms_key', `There is no key ${nameOrId}`, { key: nameOrId }, { cause: error });
    }
  }

  async #permit(tenantId: string, target: string, permission: string, actor: Actor | undefined): Promise<void> {
    // Keys are for those of the bucket's own tenant: nothing gives them to anybody else.
    const principal = actor?.tenantId === tenantId ? (actor.speaker ?? (await this.#context.principal(actor.principal))) : undefined;
    if (principal !== undefined) {
      const { ruling } = await this.#context.access.rule(principal, tenantId, { permission, target, source: actor?.source });
      if (ruling.allowed) return;
    }
    throw new ObjectError('kms_denied', `${actor?.principalName ?? (actor?.principal || 'anonymous')} may not ${permission}`, { key: target });
  }
}
