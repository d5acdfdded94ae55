// Lifecycle rules, followed by walking over the buckets that have some: page by page, each deletion checked again in its transaction, what is locked left alone.
import type { LifecycleRule } from './config.ts';
import { type DeleteNames, deleteIn } from './deleting.ts';
import type { Ground } from './ground.ts';
import { type Days, enabledRules, expirationOf, markerExpires, noncurrentExpires, uploadExpires } from './lifecycle-rules.ts';
import { listUploads, scanVersions } from './list.ts';
import { isLocked } from './locks.ts';
import type { VersionRow } from './rows.ts';
import { breath, one } from './sql.ts';
import type { Actor, Bucket } from './types.ts';
import { dropUpload, openUpload } from './uploads.ts';
import { newestOf, versionOf } from './versions.ts';

const PAGE = 200;
/** Deletions in one transaction. */
const BATCH = 50;
const LEAST_PAUSE_MS = 250;
const MOST_PAUSE_MS = 5000;
const NAMES: DeleteNames = { permission: 'object:expire', removed: 'LifecycleExpiration:Delete', hidden: 'LifecycleExpiration:DeleteMarkerCreated' };

interface Due {
  row: VersionRow;
  /** Hidden or removed as by a delete without a version, or that version for good. */
  how: 'expire' | 'remove' | 'unmark';
}

/** Of the key that the walk is in. */
interface Current {
  key: string;
  /** When the version before was written: since then this one is not the newest. */
  newerAt: number;
  /** Versions seen that are not the newest. */
  noncurrent: number;
}

export class Lifecycle {
  readonly #ground: Ground;
  readonly #days: Days;
  readonly #stop = new AbortController();
  #passing: Promise<void> | undefined;
  #loop: Promise<void> | undefined;

  constructor(ground: Ground, daySeconds: number | undefined) {
    this.#ground = ground;
    this.#days = { daySeconds };
  }

  /** Where a day is shorter than a day, passes come closer together than once an hour. Twice is once. */
  start(): void {
    if (this.#days.daySeconds !== undefined) this.#loop ??= this.#run(this.#days.daySeconds);
  }

  async #run(daySeconds: number): Promise<void> {
    const pause = Math.min(Math.max((daySeconds * 1000) / 4, LEAST_PAUSE_MS), MOST_PAUSE_MS);
    while (!this.#stop.signal.aborted) {
      await this.#ground.context.clock.sleep(pause, this.#stop.signal).catch(() => undefined); // stopping
      if (!this.#stop.signal.aborted) await this.pass();
    }
  }

  /** When the newest version of a key expires, and by which rule. */
  expiration(bucket: Bucket, subject: Parameters<typeof expirationOf>[1]): { at: number; rule: LifecycleRule } | undefined {
    return bucket.config.lifecycle === undefined ? undefined : expirationOf(enabledRules(bucket.config), subject, this.#days);
  }

  /** Goes once over all buckets that have rules. While one is under way, another is the same. */
  pass(): Promise<void> {
    this.#passing ??= this.#pass().finally(() => {
      this.#passing = undefined;
    });
    return this.#passing;
  }

  async #pass(): Promise<void> {
    const { buckets, context } = this.#ground;
    for (const id of await buckets.configured('lifecycle')) {
      if (this.#stop.signal.aborted) return;
      try {
        const bucket = await buckets.byId(id);
        if (bucket !== undefined) await this.#follow(bucket);
      } catch (error) {
        context.log.warn({ bucket: id, error: String(error) }, 'the lifecycle rules of a bucket could not be followed; they will be looked at again');
      }
    }
  }

  async #follow(bucket: Bucket): Promise<void> {
    const rules = enabledRules(bucket.config);
    if (rules.some(({ expiration, noncurrentExpiration }) => expiration !== undefined || noncurrentExpiration !== undefined)) {
      await this.#walkVersions(bucket, rules);
    }
    if (rules.some(({ abortUploadDays }) => abortUploadDays !== undefined)) await this.#walkUploads(bucket, rules);
  }

  async #walkVersions(bucket: Bucket, rules: readonly LifecycleRule[]): Promise<void> {
    const ground = this.#ground;
    let current: Current | undefined;
    for (let from: Parameters<typeof scanVersions>[2] = { key: '', inclusive: true }; !this.#stop.signal.aborted; ) {
      const rows = await scanVersions(ground, bucket.id, from, undefined, PAGE);
      const now = ground.now();
      const due: Due[] = [];
      for (const row of rows) {
        const first = current?.key !== row.key;
        const state: Current = first || current === undefined ? { key: row.key, newerAt: row.modified_at, noncurrent: 0 } : current;
        const how = await this.#look(bucket, rules, row, first, state, now);
        if (how !== undefined) due.push({ row, how });
        if (!first) state.noncurrent++;
        state.newerAt = row.modified_at;
        current = state;
      }
      for (let at = 0; at < due.length; at += BATCH) await this.#expire(bucket, due.slice(at, at + BATCH));
      const last = rows.at(-1);
      if (rows.length < PAGE || last === undefined) return;
      from = { row: last };
      await breath();
    }
  }

  async #look(bucket: Bucket, rules: readonly LifecycleRule[], row: VersionRow, newest: boolean, state: Current, now: number): Promise<Due['how'] | undefined> {
    const subject = {
      key: row.key,
      size: row.size,
      tags: row.tags === null ? undefined : (JSON.parse(row.tags) as Record<string, string>),
      modifiedAt: row.modified_at,
    };
    if (!newest) {
      const expires = noncurrentExpires(rules, { ...subject, noncurrentSince: state.newerAt, newer: state.noncurrent }, now, this.#days);
      return expires && (row.marker === 1 || !isLocked(row, now)) ? 'remove' : undefined;
    }
    if (row.marker === 1) {
      if (!markerExpires(rules, subject, now, this.#days)) return undefined;
      return (await this.#alone(bucket, row)) ? 'unmark' : undefined;
    }
    const expiry = expirationOf(rules, subject, this.#days);
    if (expiry === undefined || expiry.at > now) return undefined;
    // Where versions are kept it is only hidden, which a lock does not forbid.
    return bucket.versioning === 'enabled' || !isLocked(row, now) ? 'expire' : undefined;
  }

  async #alone(bucket: Bucket, row: VersionRow): Promise<boolean> {
    const other = await one(this.#ground.db, 'select seq from object_version where bucket_id = ? and key = ? and seq < ? limit 1', bucket.id, row.key, row.seq);
    return other === undefined;
  }

  async #expire(bucket: Bucket, due: readonly Due[]): Promise<void> {
    const ground = this.#ground;
    const actor = actorFor(bucket);
    await ground.change(bucket, actor, async (change) => {
      for (const { row, how } of due) {
        const newest = await newestOf(change.tx, change.bucket.id, row.key);
        const now = newest?.seq === row.seq ? newest : await versionOf(change.tx, change.bucket.id, row.key, row.version);
        // Replaced or deleted since it was looked at, or not the newest any more.
        if (now === undefined || now.seq !== row.seq || (how !== 'remove' && now !== newest) || (how === 'remove' && now === newest)) continue;
        if (now.marker === 0 && isLocked(now, change.now) && !(how === 'expire' && change.bucket.versioning === 'enabled')) continue;
        await deleteIn(ground, change, { key: row.key, version: how === 'expire' ? undefined : row.version }, actor, NAMES);
      }
    });
  }

  async #walkUploads(bucket: Bucket, rules: readonly LifecycleRule[]): Promise<void> {
    const ground = this.#ground;
    const actor = actorFor(bucket);
    let place: { after?: string; afterUpload?: string } = {};
    for (; !this.#stop.signal.aborted; ) {
      const { uploads, truncated, nextKey, nextUpload } = await listUploads(ground, bucket, {
        prefix: '',
        delimiter: undefined,
        limit: PAGE,
        after: place.after,
        afterUpload: place.afterUpload,
      });
      const now = ground.now();
      for (const { id, key, startedAt } of uploads) {
        if (!uploadExpires(rules, { key, startedAt }, now, this.#days)) continue;
        await ground.change(bucket, actor, async (change) => {
          await openUpload(change.tx, bucket.id, key, id);
          await dropUpload(change, id);
          await ground.audit(change, actor, 'object:uploadAbort', key);
        });
      }
      if (!truncated || nextKey === undefined) return;
      place = { after: nextKey, ...(nextUpload === undefined ? {} : { afterUpload: nextUpload }) };
      await breath();
    }
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.#loop;
    await this.#passing;
  }
}

const actorFor = (bucket: Bucket): Actor => ({
  principal: 'system',
  principalName: 'lifecycle',
  tenantId: bucket.tenantId,
  credential: undefined,
  source: 'internal',
  requestId: '',
});
