// What all of the engine stands on: the database, the path of the bytes, the buckets, and the one way to change something.
import { type Db, databaseFault } from '../../../kernel/db.ts';
import { DriverError, type ErrorCode, Fault } from '../../../kernel/errors.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Unit } from '../../../kernel/store.ts';
import type { ObjectStoreDriver } from '../driver.ts';
import type { Bodies, Written } from './body-types.ts';
import { actorLine, type BucketRegistry } from './buckets.ts';
import type { Garbage } from './garbage.ts';
import type { KmsWrappers } from './kms.ts';
import { type Actor, type Bucket, type ObjectChange, ObjectError, type ObjectInfo, type ObjectListener, type ObjectProblem } from './types.ts';
import { Underway } from './underway.ts';
import { bytesLimitOf } from './usage.ts';

export interface GroundOptions {
  context: ServiceContext;
  store: ObjectStoreDriver;
  bodies: Bodies;
  buckets: BucketRegistry;
  garbage: Garbage;
  kms: KmsWrappers;
  /** Least bytes of every part but the last. */
  leastPart: number;
}

const IN_ENGINE_WORDS: Readonly<Partial<Record<ErrorCode, ObjectProblem>>> = {
  quota_exceeded: 'quota_exceeded',
  insufficient_storage: 'storage_full',
  unavailable: 'storage_unavailable',
};

/** A Fault of the kernel, or what the object store said, in the words of the engine; anything else as it is. */
export function inEngineWords(error: unknown): unknown {
  if (error instanceof DriverError && error.code !== 'failed') {
    return new ObjectError(error.code === 'full' ? 'storage_full' : 'storage_unavailable', error.message, {}, { cause: error });
  }
  const fault = error instanceof Fault ? error : databaseFault(error);
  if (fault === undefined) return error;
  const problem = IN_ENGINE_WORDS[fault.code];
  if (problem === undefined) return error;
  const details = typeof fault.details === 'object' && fault.details !== null ? (fault.details as ObjectError['details']) : {};
  return new ObjectError(problem, fault.message, problem === 'quota_exceeded' ? details : {}, { cause: error });
}

export class Ground {
  readonly context: ServiceContext;
  readonly db: Db;
  readonly store: ObjectStoreDriver;
  readonly bodies: Bodies;
  readonly buckets: BucketRegistry;
  readonly garbage: Garbage;
  readonly kms: KmsWrappers;
  readonly leastPart: number;
  readonly listeners: ObjectListener[] = [];
  readonly #underway: Underway;
  #seq = 0;

  constructor(options: GroundOptions) {
    this.context = options.context;
    this.db = options.context.db;
    this.store = options.store;
    this.bodies = options.bodies;
    this.buckets = options.buckets;
    this.garbage = options.garbage;
    this.kms = options.kms;
    this.leastPart = options.leastPart;
    this.#underway = new Underway(options.context.clock, {
      limitOf: (tenantId) => this.read((db) => bytesLimitOf(db, tenantId)),
      goneOf: (tenantId) => this.garbage.keptOf(tenantId),
    });
  }

  now(): number {
    return this.context.clock.now();
  }

  /** Place of a new version among those of its key: growing, also when the clock goes back. */
  nextSeq(now: number, newest: number): number {
    this.#seq = Math.max(now * 1000, this.#seq + 1, newest + 1);
    return this.#seq;
  }

  /** Changes something of a bucket, with others in one commit, and with the bucket as it is then. What was let go of leaves the store after it. */
  async change<T>(bucket: Bucket, actor: Pick<Actor, 'principal' | 'requestId' | 'line'>, work: (change: Change) => Promise<T>): Promise<T> {
    let discarded = false;
    let audited = false;
    try {
      const done = await this.context.submit({ tenantId: bucket.tenantId, principal: actor.principal, requestId: actor.requestId }, async (unit) => {
        const change: Change = { ...unit, unit, bucket: await this.buckets.current(unit.tx, bucket), discarded: false, audited: false };
        const result = await work(change);
        discarded = change.discarded;
        audited = change.audited;
        return result;
      });
      if (audited) actor.line?.committed();
      return done;
    } catch (error) {
      throw inEngineWords(error);
    } finally {
      if (discarded) this.garbage.kick();
    }
  }

  /** Bytes into the object store, within what the bucket's tenant may have on its way. */
  write(bucket: Bucket, source: AsyncIterable<Buffer>, options: Parameters<Bodies['write']>[1]): Promise<Written> {
    return this.#underway.write(bucket.tenantId, source, options.expected.size, (from) => this.bodies.write(from, options));
  }

  async read<T>(work: (db: Db) => Promise<T>): Promise<T> {
    try {
      return await work(this.db);
    } catch (error) {
      throw inEngineWords(error);
    }
  }

  /** Of what was written and is not needed. When the store cannot now, the next sweep finds it. */
  async discard(blobs: readonly string[]): Promise<void> {
    try {
      await this.bodies.discard(blobs);
    } catch (error) {
      this.context.log.warn({ error: String(error), blobs: blobs.length }, 'bytes that nothing names could not be removed; the next sweep will');
    }
  }

  /** The audit line of a change, in its transaction. */
  async audit(change: Change, actor: Actor, permission: string, key: string): Promise<void> {
    const { unit, bucket } = change;
    const { line } = actor;
    if (line !== undefined && !line.written && !change.audited) {
      await line.write(unit);
      change.audited = true;
    }
    if (actor.audited === true) return;
    await this.context.audit.note(
      { ...actorLine(actor), tenantId: bucket.tenantId, permission, target: `${bucket.name}/${key}`, targetId: bucket.id, outcome: 'ok' },
      unit.tx,
    );
  }

  /** Of a bucket whose reads are written down. Who it was is not known of what the engine does by itself. */
  async auditRead(bucket: Bucket, actor: Actor | undefined, permission: string, key: string): Promise<void> {
    if (!bucket.auditReads || actor === undefined || actor.audited === true) return;
    await this.change(bucket, actor, (change) => this.audit(change, actor, permission, key));
  }

  /** Tells of what came or went, where the bucket wants that known. */
  async tell({ unit, bucket }: Change, type: ObjectChange['type'], info: () => ObjectInfo, actor: Actor): Promise<void> {
    if (bucket.config.notifications === undefined || bucket.config.notifications.length === 0) return;
    for (const listener of this.listeners) await listener(unit.tx, { type, bucket, info: info(), actor, time: unit.now });
  }
}

export interface Change extends Unit {
  readonly unit: Unit;
  /** As it is in this transaction. */
  readonly bucket: Bucket;
  /** Blobs were let go of. */
  discarded: boolean;
  /** The line of the call was written. */
  audited: boolean;
}
