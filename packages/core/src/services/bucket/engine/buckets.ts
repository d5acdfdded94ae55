// Buckets as the data plane sees them, kept in memory and read anew after every commit that changed them; and who has which name.
import type { Db, Tx } from '../../../kernel/db.ts';
import { isUniqueViolation } from '../../../kernel/db.ts';
import { Fault } from '../../../kernel/errors.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import { Table } from '../../../kernel/table.ts';
import { buckets } from '../contract.ts';
import type { BucketConfig, ConfigName } from './config.ts';
import { checkConfig } from './config-rules.ts';
import { discardBodies } from './garbage.ts';
import { all, chunks, marks, one, run } from './sql.ts';
import { type Acl, type Actor, type Bucket, ObjectError, type Versioning } from './types.ts';
import { gone } from './usage.ts';

/** Buckets kept at hand. */
const MOST = 10_000;

interface BucketRecord {
  id: string;
  tenant: string;
  name: string;
  spec: string;
  created_at: number;
}
interface Spec {
  versioning?: Versioning;
  objectLock?: boolean;
  encryption?: boolean;
  maxBytes?: number;
  maxObjects?: number;
  auditReads?: boolean;
}

const READ = 'select b.id, b.tenant, b.name, b.spec, b.created_at from bucket_name n join r_bucket b on b.id = n.bucket_id where';

/** Everything that was configured, by name. */
async function configOf(sql: Db | Tx, bucketId: string): Promise<BucketConfig> {
  const rows = await all<{ kind: string; value: string }>(sql, 'select kind, value from bucket_config where bucket_id = ?', bucketId);
  return Object.fromEntries(rows.map(({ kind, value }) => [kind, JSON.parse(value) as unknown])) as BucketConfig;
}

/** What a bucket without any ACL behaves as. */
const ownerOnly = (tenantId: string): Acl => ({ owner: tenantId, grants: [{ grantee: { kind: 'tenant', id: tenantId }, permission: 'FULL_CONTROL' }] });

/** Sets one part of the configuration, or removes it, in a transaction of the caller's, who then says that the bucket's row changed. */
export async function writeConfig<N extends ConfigName>(sql: Db | Tx, bucketId: string, name: N, value: BucketConfig[N] | undefined): Promise<void> {
  if (value === undefined) await run(sql, 'delete from bucket_config where bucket_id = ? and kind = ?', bucketId, name);
  else {
    // From now on others may write here, who own what they write: an ACL that is there says that owners have to be looked at.
    const owner = name === 'policy' ? await one<{ tenant: string }>(sql, 'select tenant from bucket_name where bucket_id = ?', bucketId) : undefined;
    if (owner !== undefined) {
      await run(
        sql,
        "insert into bucket_config (bucket_id, kind, value) values (?, 'acl', ?) on conflict (bucket_id, kind) do nothing",
        bucketId,
        JSON.stringify(ownerOnly(owner.tenant)),
      );
    }
    await run(
      sql,
      'insert into bucket_config (bucket_id, kind, value) values (?, ?, ?) on conflict (bucket_id, kind) do update set value = excluded.value',
      bucketId,
      name,
      JSON.stringify(value),
    );
  }
}

/** In the transaction that makes the bucket's row. `conflict` when anybody has the name. */
export async function claimName(sql: Db | Tx, { name, bucketId, tenantId }: { name: string; bucketId: string; tenantId: string }): Promise<void> {
  try {
    await run(sql, 'insert into bucket_name (name, bucket_id, tenant) values (?, ?, ?)', name, bucketId, tenantId);
  } catch (error) {
    if (!isUniqueViolation(error)) throw error;
    throw new Fault('conflict', `The bucket name ${name} is taken; names of buckets are unique in the installation`, {
      hint: 'choose another name',
      cause: error,
    });
  }
  await run(sql, 'insert into bucket_usage (bucket_id, objects, versions, bytes, uploads, upload_bytes) values (?, 0, 0, 0, 0, 0)', bucketId);
}

export class BucketRegistry {
  readonly #context: ServiceContext;
  readonly #byId = new Map<string, Bucket>();
  readonly #byName = new Map<string, Bucket>();
  /** Changes whenever something was forgotten: what was read before is not kept then. */
  #epoch = 0;

  constructor(context: ServiceContext) {
    this.#context = context;
    context.onCommit(({ rows }) => {
      for (const { resource, id } of rows) if (resource === 'bucket') this.forget(id);
    });
  }

  async find(name: string): Promise<Bucket | undefined> {
    return this.#byName.get(name) ?? this.#load(this.#context.db, 'n.name = ?', name);
  }

  async byId(id: string): Promise<Bucket | undefined> {
    return this.#byId.get(id) ?? this.#load(this.#context.db, 'b.id = ?', id);
  }

  /** As it is now, for a change that is being made. `no_such_bucket` when it was deleted meanwhile. */
  async current(tx: Tx, bucket: Bucket): Promise<Bucket> {
    const known = this.#byId.get(bucket.id) ?? (await this.#load(tx, 'b.id = ?', bucket.id));
    if (known === undefined) throw gone(bucket);
    return known;
  }

  async #load(sql: Db | Tx, where: string, value: string): Promise<Bucket | undefined> {
    const epoch = this.#epoch;
    const record = await one<BucketRecord>(sql, `${READ} ${where}`, value);
    if (record === undefined) return undefined;
    const config = await configOf(sql, record.id);
    const spec = JSON.parse(record.spec) as Spec;
    const bucket: Bucket = {
      id: record.id,
      name: record.name,
      tenantId: record.tenant,
      createdAt: record.created_at,
      versioning: spec.objectLock === true ? 'enabled' : (spec.versioning ?? 'off'),
      objectLock: spec.objectLock ?? false,
      encrypted: spec.encryption ?? true,
      maxBytes: spec.maxBytes,
      maxObjects: spec.maxObjects,
      auditReads: spec.auditReads ?? false,
      config,
    };
    if (epoch === this.#epoch) {
      if (this.#byId.size >= MOST) {
        this.#byId.clear();
        this.#byName.clear();
      }
      this.#byId.set(bucket.id, bucket);
      this.#byName.set(bucket.name, bucket);
    }
    return bucket;
  }

  forget(id: string): void {
    this.#epoch++;
    const known = this.#byId.get(id);
    if (known === undefined) return;
    this.#byId.delete(id);
    this.#byName.delete(known.name);
  }

  /** As `writeConfig`, by itself and audited: for the S3 listener. `invalid_argument` for what no door takes. */
  async setConfig<N extends ConfigName>(bucket: Bucket, name: N, value: BucketConfig[N] | undefined, actor: Actor): Promise<void> {
    const checked = value === undefined ? undefined : checkConfig(name, value);
    if (checked !== undefined && 'problems' in checked) throw new ObjectError('invalid_argument', checked.problems.map(({ message }) => message).join('; '));
    await this.#context.submit({ tenantId: bucket.tenantId, principal: actor.principal, requestId: actor.requestId }, async (unit) => {
      await this.current(unit.tx, bucket);
      await writeConfig(unit.tx, bucket.id, name, value);
      unit.changes.rows.push({ resource: 'bucket', id: bucket.id, tenantId: bucket.tenantId, stateChanged: false });
      if (actor.audited === true) return;
      await this.#context.audit.note(
        { ...actorLine(actor), tenantId: bucket.tenantId, permission: 'bucket:configure', target: bucket.name, targetId: bucket.id, outcome: 'ok' },
        unit.tx,
      );
    });
    this.forget(bucket.id);
  }

  /**
   * Changes the row as S3 clients may: `invalid_request` for a bucket with object lock that is to stop keeping versions, or for object lock on one that keeps none.
   * Object lock is never taken away.
   */
  async update(bucket: Bucket, change: { versioning?: 'enabled' | 'suspended'; objectLock?: true }, actor: Actor): Promise<void> {
    await this.#context.submit({ tenantId: bucket.tenantId, principal: actor.principal, requestId: actor.requestId }, async (unit) => {
      const now = await this.current(unit.tx, bucket);
      if (change.versioning === 'suspended' && now.objectLock) {
        throw new ObjectError('invalid_request', 'An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.');
      }
      if (change.objectLock === true && now.versioning !== 'enabled') {
        throw new ObjectError('invalid_request', "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration");
      }
      const table = new Table(buckets, bucket.tenantId, unit);
      const row = await table.byId(bucket.id);
      if (row === undefined) throw gone(bucket);
      await table.update(row, { spec: { ...change } });
      if (actor.audited !== true) {
        await this.#context.audit.note(
          { ...actorLine(actor), tenantId: bucket.tenantId, permission: 'bucket:update', target: bucket.name, targetId: bucket.id, outcome: 'ok' },
          unit.tx,
        );
      }
    });
    this.forget(bucket.id);
  }

  /** Of a tenant or of all, by name. */
  async list(page: { tenantId?: string | undefined; after: string; limit: number }): Promise<Bucket[]> {
    const found = await all<BucketRecord>(
      this.#context.db,
      `${READ} n.name > ? and (? is null or n.tenant = ?) order by n.name limit ?`,
      page.after,
      page.tenantId ?? null,
      page.tenantId ?? null,
      page.limit,
    );
    const buckets = await Promise.all(found.map(({ id }) => this.byId(id)));
    return buckets.filter((bucket) => bucket !== undefined);
  }

  /** Ids of the buckets for which something of this name is configured, in order. */
  async configured(name: ConfigName): Promise<string[]> {
    const rows = await all<{ bucket_id: string }>(this.#context.db, 'select bucket_id from bucket_config where kind = ? order by bucket_id', name);
    return rows.map(({ bucket_id }) => bucket_id);
  }
}

/** Who did it, as audit lines say it. */
export const actorLine = (
  actor: Actor,
): { principal: string; principalName: string | undefined; credential: string | undefined; source: string; requestId: string } => ({
  principal: actor.principal,
  principalName: actor.principalName,
  credential: actor.credential,
  source: actor.source,
  requestId: actor.requestId,
});

/**
 * In the transaction that removes the bucket's row. `conflict` while there are versions of objects in it; open uploads go with it. The blobs of those are left to
 * the collector of garbage.
 */
export async function releaseName(sql: Db | Tx, bucket: { id: string; name: string; tenantId: string; now: number }): Promise<void> {
  const usage = await one<{ versions: number; upload_bytes: number }>(sql, 'select versions, upload_bytes from bucket_usage where bucket_id = ?', bucket.id);
  if (usage !== undefined && usage.versions > 0) {
    throw new Fault(
      'conflict',
      `The bucket ${bucket.name} is not empty: it has ${usage.versions} ${usage.versions === 1 ? 'version' : 'versions'} of objects`,
      {
        details: { versions: usage.versions },
        hint: `cloud bucket delete ${bucket.name} --force`,
      },
    );
  }
  const uploads = await all<{ id: string }>(sql, 'select id from object_upload where bucket_id = ?', bucket.id);
  for (const some of chunks(uploads)) {
    const owners = some.map(({ id }) => id);
    const parts = await all<{ body: string }>(sql, `select body from object_part where owner in (${marks(owners.length)})`, ...owners);
    await discardBodies(
      sql,
      parts.map(({ body }) => body),
      bucket.now,
    );
    await run(sql, `delete from object_part where owner in (${marks(owners.length)})`, ...owners);
  }
  if (usage !== undefined && usage.upload_bytes > 0) {
    await run(sql, "update quota_usage set value = value - ? where tenant = ? and name = 'objectBytes'", usage.upload_bytes, bucket.tenantId);
  }
  for (const table of ['object_upload', 'bucket_config', 'bucket_usage', 'bucket_name']) await run(sql, `delete from ${table} where bucket_id = ?`, bucket.id);
}
