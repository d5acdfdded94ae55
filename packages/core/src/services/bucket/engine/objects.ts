// The engine of object storage: everything that can be done with objects, whoever asks. Metadata are in the database, bytes in the object store.
import type { ServiceContext } from '../../../kernel/service.ts';
import { objectStorePort } from '../driver.ts';
import { BodyStore } from './bodies.ts';
import { BucketRegistry } from './buckets.ts';
import { changeAcl, changeLock, changeTags } from './changes.ts';
import { completeUpload } from './complete.ts';
import { copyObject, copyPart } from './copy.ts';
import { type ClearOptions, clearBucket, deleteMany, deleteObject } from './deleting.ts';
import { Garbage } from './garbage.ts';
import { Ground } from './ground.ts';
import { TenantKeys } from './keys.ts';
import { isKmsWrapper, KmsWrappers } from './kms.ts';
import { Lifecycle } from './lifecycle.ts';
import { listObjects, listUploads, listVersions } from './list.ts';
import { bytesOf, Layouts, locate } from './reading.ts';
import { infoOf } from './rows.ts';
import type * as types from './types.ts';
import { abortUpload, createUpload, findUpload, listParts, listPartsOf, pruneUploads, putPart } from './uploads.ts';
import { usageOf } from './usage.ts';
import { verifyBucket } from './verify.ts';
import { anyVersion, objectVersion } from './versions.ts';
import { putObject } from './writing.ts';

type Method<K extends keyof types.Objects> = types.Objects[K] extends (...args: infer A) => infer R ? { args: A; result: R } : never;
type Args<K extends keyof types.Objects> = Method<K>['args'];
type Result<K extends keyof types.Objects> = Method<K>['result'];

export interface EngineOptions {
  /** Least bytes of every part of an upload but the last. Default 5 MiB, as in S3. */
  leastPart?: number;
  /** How long a day of lifecycle rules lasts, for tests. Default: a day, counted to midnight. */
  daySeconds?: number | undefined;
}

const LEAST_PART = 5 * 1024 * 1024;
const DAY_MS = 24 * 60 * 60 * 1000;

export class ObjectEngine implements types.Objects {
  readonly buckets: BucketRegistry;
  readonly #ground: Ground;
  readonly #layouts = new Layouts();
  readonly #garbage: Garbage;
  readonly #keys: TenantKeys;
  readonly #lifecycle: Lifecycle;
  readonly #context: ServiceContext;
  #swept = 0;
  #sweeping: Promise<void> | undefined;

  constructor(context: ServiceContext, options: EngineOptions = {}) {
    const store = context.driver(objectStorePort);
    this.#context = context;
    this.#keys = new TenantKeys(context);
    const kms = new KmsWrappers(context, (tenantId) => this.#keys.of(tenantId));
    const bodies = new BodyStore({ store, keys: (by) => (isKmsWrapper(by) ? kms.key(by) : this.#keys.of(by)), log: context.log, clock: context.clock });
    this.buckets = new BucketRegistry(context);
    this.#garbage = new Garbage({ context, bodies, store });
    this.#ground = new Ground({
      context,
      store,
      bodies,
      buckets: this.buckets,
      garbage: this.#garbage,
      kms,
      leastPart: options.leastPart ?? LEAST_PART,
    });
    this.#lifecycle = new Lifecycle(this.#ground, options.daySeconds);
    // A bucket that went took the parts of its open uploads along.
    context.onCommit(({ rows }) => {
      if (rows.some(({ resource }) => resource === 'bucket')) this.#garbage.kick();
    });
  }

  find(name: string): Promise<types.Bucket | undefined> {
    return this.#ground.read(() => this.buckets.find(name));
  }
  byId(id: string): Promise<types.Bucket | undefined> {
    return this.#ground.read(() => this.buckets.byId(id));
  }

  put(...args: Args<'put'>): Result<'put'> {
    return putObject(this.#ground, ...args);
  }

  async get(bucket: types.Bucket, key: string, options: types.GetOptions): Promise<types.Opened> {
    const found = await locate(this.#ground, bucket, key, options);
    await this.#ground.kms.permitReading(bucket, found.opened.info.attributes, options.actor);
    const body = await bytesOf(this.#ground, this.#layouts, bucket, found, options);
    await this.#ground.auditRead(bucket, options.actor, 'object:get', key);
    return { ...found.opened, body };
  }

  async head(bucket: types.Bucket, key: string, options: Omit<types.GetOptions, 'signal'>): Promise<Omit<types.Opened, 'body'>> {
    const { opened } = await locate(this.#ground, bucket, key, options);
    await this.#ground.auditRead(bucket, options.actor, 'object:head', key);
    return opened;
  }

  delete(...args: Args<'delete'>): Result<'delete'> {
    return deleteObject(this.#ground, ...args);
  }
  deleteMany(...args: Args<'deleteMany'>): Result<'deleteMany'> {
    return deleteMany(this.#ground, ...args);
  }
  copy(...args: Args<'copy'>): Result<'copy'> {
    return copyObject(this.#ground, this.#layouts, ...args);
  }

  list(...args: Args<'list'>): Result<'list'> {
    return listObjects(this.#ground, ...args);
  }
  listVersions(...args: Args<'listVersions'>): Result<'listVersions'> {
    return listVersions(this.#ground, ...args);
  }

  async tags(bucket: types.Bucket, key: string, version: string | undefined): Promise<Awaited<Result<'tags'>>> {
    const info = infoOf(bucket.id, await this.#ground.read((db) => objectVersion(db, bucket.id, key, version)));
    return { tags: info.attributes.tags ?? {}, info };
  }
  setTags(...args: Args<'setTags'>): Result<'setTags'> {
    return changeTags(this.#ground, ...args);
  }
  setAcl(...args: Args<'setAcl'>): Result<'setAcl'> {
    return changeAcl(this.#ground, ...args);
  }
  setLock(...args: Args<'setLock'>): Result<'setLock'> {
    return changeLock(this.#ground, ...args);
  }

  createUpload(...args: Args<'createUpload'>): Result<'createUpload'> {
    return createUpload(this.#ground, ...args);
  }
  upload(...args: Args<'upload'>): Result<'upload'> {
    return findUpload(this.#ground, ...args);
  }
  putPart(...args: Args<'putPart'>): Result<'putPart'> {
    return putPart(this.#ground, ...args);
  }
  copyPart(...args: Args<'copyPart'>): Result<'copyPart'> {
    return copyPart(this.#ground, this.#layouts, ...args);
  }
  listParts(...args: Args<'listParts'>): Result<'listParts'> {
    return listParts(this.#ground, ...args);
  }
  partsOf(...args: Args<'partsOf'>): Result<'partsOf'> {
    return listPartsOf(this.#ground, ...args);
  }
  completeUpload(...args: Args<'completeUpload'>): Result<'completeUpload'> {
    return completeUpload(this.#ground, ...args);
  }
  abortUpload(...args: Args<'abortUpload'>): Result<'abortUpload'> {
    return abortUpload(this.#ground, ...args);
  }
  listUploads(...args: Args<'listUploads'>): Result<'listUploads'> {
    return listUploads(this.#ground, ...args);
  }

  usage(bucketIds: readonly string[]): Result<'usage'> {
    return this.#ground.read((db) => usageOf(db, bucketIds));
  }
  verify(...args: Args<'verify'>): Result<'verify'> {
    return verifyBucket(this.#ground, ...args);
  }
  onChange(listener: types.ObjectListener): void {
    this.#ground.listeners.push(listener);
  }

  /** A version as it is, markers too, without its bytes and whatever key it was sealed with: for decisions about it. Undefined: there is none. */
  async look(bucket: types.Bucket, key: string, version: string | undefined): Promise<types.ObjectInfo | undefined> {
    try {
      return infoOf(bucket.id, await this.#ground.read((db) => anyVersion(db, bucket.id, key, version)));
    } catch (error) {
      if ((error as { problem?: unknown }).problem === 'no_such_key' || (error as { problem?: unknown }).problem === 'no_such_version') return undefined;
      throw error;
    }
  }

  /** When the newest version of a key will expire, and by the rule of which name; undefined where no rule says so. */
  expiration(bucket: types.Bucket, info: types.ObjectInfo): { at: number; rule: string } | undefined {
    const { key, size, modifiedAt, attributes } = info;
    const expiry = this.#lifecycle.expiration(bucket, { key, size, modifiedAt, tags: attributes.tags });
    return expiry === undefined ? undefined : { at: expiry.at, rule: expiry.rule.id };
  }

  /** Deletes what is in a bucket, a batch in each transaction, before the bucket itself goes. `locked` when something may not be. */
  clear(bucket: types.Bucket, options: ClearOptions): Promise<void> {
    return clearBucket(this.#ground, bucket, options);
  }

  /** To be called when the core starts: removes what an earlier life left over, and begins to follow lifecycle rules. Does not wait for either. */
  startSweep(): void {
    this.#garbage.kick();
    this.#sweep();
    this.#lifecycle.start();
  }

  #sweep(): void {
    this.#swept = this.#ground.now();
    this.#sweeping ??= this.#garbage
      .sweep()
      .then(
        () => undefined,
        (error: unknown) => this.#context.log.warn({ error: String(error) }, 'the object store could not be compared with what objects name'),
      )
      .finally(() => {
        this.#sweeping = undefined;
      });
  }

  /** About once an hour: what rules and time say. */
  async prune(now: number): Promise<void> {
    this.#garbage.kick();
    await pruneUploads(this.#ground, now);
    await this.#keys.prune();
    await this.#lifecycle.pass();
    if (now - this.#swept >= DAY_MS) this.#sweep();
  }

  /** Resolves when what was deleted so far has left the object store, and nothing is being swept. */
  async settled(): Promise<void> {
    await this.#sweeping;
    await this.#garbage.idle();
  }

  async close(): Promise<void> {
    await this.#lifecycle.close();
    await this.#garbage.close();
    await this.#sweeping;
  }
}

const engines = new WeakMap<ServiceContext, ObjectEngine>();

const positive = (text: string | undefined): number | undefined => {
  const value = Number(text);
  return text === undefined || !(value > 0) ? undefined : value;
};

/** The one engine of a core. Options count for the first who asks; what stands in the environment is for tests of whole clients. */
export function engineOf(
  context: ServiceContext,
  options: EngineOptions = { daySeconds: positive(process.env['CLOUD_S3_LIFECYCLE_DAY_SECONDS']) },
): ObjectEngine {
  let engine = engines.get(context);
  if (engine === undefined) {
    engine = new ObjectEngine(context, options);
    engines.set(context, engine);
  }
  return engine;
}
