// Blobs that nothing names any more. They are written down in the transaction that let go of them and leave the object store after it; what a crash left between
// the bytes and their metadata is found by comparing the store with the tables.
import type { Clock } from '../../../kernel/clock.ts';
import type { Db, Tx } from '../../../kernel/db.ts';
import type { Log } from '../../../kernel/log.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { ObjectStoreDriver } from '../driver.ts';
import type { Bodies } from './body-types.ts';
import { all, breath, chunks, marks, run } from './sql.ts';

const BATCH = 500;
const PAGE = 1000;
/** Deletions that come close together go together: each removal costs two syncs of the disk. */
const PAUSE_MS = 250;
/** A reader that never began to read holds nothing for longer. */
const UNREAD_MS = 60_000;
const TIME_DIGITS = 12;
/** Digits of a blob's id that tell it apart in memory: as many as a number holds exactly. */
const MARK_DIGITS = 13;

/** Their blobs are garbage when this transaction has been committed. */
export async function discardBodies(sql: Db | Tx, bodies: readonly string[], now: number): Promise<void> {
  for (const some of chunks(bodies)) {
    const values = some.flatMap((body) => [(JSON.parse(body) as { blob: string }).blob, now]);
    await run(sql, `insert into object_garbage (blob, at) values ${some.map(() => '(?, ?)').join(', ')}`, ...values);
  }
}

interface Blob {
  blob: string;
  size: number;
}

interface Hold {
  blobs: readonly Blob[];
  tenantId: string;
  since: number;
  reading: boolean;
}

export interface Held {
  /** Reading has begun: it holds until it is let go. */
  begin(): void;
  release(): void;
}

export class Garbage {
  readonly #context: Pick<ServiceContext, 'db' | 'submit'>;
  readonly #bodies: Bodies;
  readonly #store: ObjectStoreDriver;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #stop = new AbortController();
  readonly #holds = new Set<Hold>();
  /** Ends the pause before a removal. */
  #hurry: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #again = false;
  /** Something waits for its reader. */
  #waiting = false;
  /** Bytes that do, by tenant. */
  #kept: ReadonlyMap<string, number> = new Map();
  #moved: Set<string> | undefined;

  constructor(options: { context: Pick<ServiceContext, 'db' | 'submit' | 'clock' | 'log'>; bodies: Bodies; store: ObjectStoreDriver }) {
    this.#context = options.context;
    this.#clock = options.context.clock;
    this.#log = options.context.log;
    this.#bodies = options.bodies;
    this.#store = options.store;
  }

  /** Keeps blobs in the store for a reader who found them, also when they are let go of meanwhile. */
  hold(blobs: readonly Blob[], tenantId: string): Held {
    const hold: Hold = { blobs, tenantId, since: this.#clock.now(), reading: false };
    this.#holds.add(hold);
    return {
      begin: () => {
        hold.reading = true;
      },
      release: () => {
        if (this.#holds.delete(hold) && this.#waiting) this.kick();
      },
    };
  }

  /** Bytes of a tenant that were deleted and are still on the disk, because somebody reads them. */
  keptOf(tenantId: string): number {
    return this.#kept.get(tenantId) ?? 0;
  }

  /** By blob. */
  #held(): Map<string, { tenantId: string; size: number }> {
    const now = this.#clock.now();
    const held = new Map<string, { tenantId: string; size: number }>();
    for (const hold of this.#holds) {
      if (!hold.reading && now - hold.since > UNREAD_MS) this.#holds.delete(hold);
      else for (const { blob, size } of hold.blobs) held.set(blob, { tenantId: hold.tenantId, size });
    }
    return held;
  }

  /** Something was let go of: has it removed soon. */
  kick(): void {
    this.#again = true;
    if (!this.#stop.signal.aborted) this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    try {
      // Not the clock of the cloud: this only lets several go together.
      await this.#pause();
      while (this.#again && !this.#stop.signal.aborted) {
        this.#again = false;
        await this.#collect();
      }
    } catch (error) {
      this.#log.warn({ error: String(error) }, 'what was deleted could not be removed from the object store; it will be tried again');
    } finally {
      this.#running = undefined;
    }
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, PAUSE_MS);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  /** Removes all that may go now. Rejects when the store does. */
  async #collect(): Promise<void> {
    this.#waiting = false;
    const kept = new Map<string, number>();
    for (let from = ''; !this.#stop.signal.aborted; ) {
      const found = await all<{ blob: string }>(this.#context.db, 'select blob from object_garbage where blob > ? order by blob limit ?', from, BATCH);
      const held = this.#held();
      const free = found.map(({ blob }) => blob).filter((blob) => !held.has(blob));
      if (free.length < found.length) this.#waiting = true;
      for (const { blob } of found) {
        const of = held.get(blob);
        if (of !== undefined) kept.set(of.tenantId, (kept.get(of.tenantId) ?? 0) + of.size);
      }
      if (free.length > 0) {
        await this.#bodies.discard(free);
        await this.#context.submit({ tenantId: '', principal: 'system' }, async ({ tx }) => {
          for (const some of chunks(free)) await run(tx, `delete from object_garbage where blob in (${marks(some.length)})`, ...some);
        });
      }
      const last = found.at(-1);
      if (found.length < BATCH || last === undefined) break;
      from = last.blob;
    }
    this.#kept = kept;
  }

  /** Resolves when nothing is being removed. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) {
      this.#hurry?.();
      await this.#running;
    }
  }

  /** Another row names the blob from now on: a sweep that reads the tables just now may see neither. */
  moved(blob: string): void {
    this.#moved?.add(blob);
  }

  /** Removes what no table names and what was written before this began. Answers with how many there were. */
  async sweep(): Promise<number> {
    const { db } = this.#context;
    // Ids begin with their time. What is being written now may be committed while the tables are read.
    const before = this.#clock.now().toString(16).padStart(TIME_DIGITS, '0');
    const writing = new Set(this.#bodies.inFlight());
    const moved = new Set<string>();
    this.#moved = moved;
    const named = await marksOf(db, this.#stop.signal);
    let removed = 0;
    for (let after: string | undefined; !this.#stop.signal.aborted; ) {
      const page = await this.#store.list(after, PAGE);
      const held = this.#held();
      const orphans = page.map(({ id }) => id).filter((id) => id < before && !writing.has(id) && !held.has(id) && !moved.has(id) && !named.has(id));
      if (orphans.length > 0) await this.#bodies.discard(orphans);
      removed += orphans.length;
      after = page.at(-1)?.id;
      if (page.length < PAGE || after === undefined) break;
      await breath();
    }
    if (removed > 0) this.#log.info({ removed }, 'blobs that no object names were removed from the object store');
    return removed;
  }

  async close(): Promise<void> {
    this.#stop.abort();
    await this.idle();
  }
}

const markOf = (blob: string): number => Number.parseInt(blob.slice(-MARK_DIGITS), 16);
const BLOB = /"blob":"([0-9a-f]+)"/;

interface Place {
  bucket_id: string;
  key: string;
  seq: number;
  body?: string | null;
}

/** In the order of the table's index: the newest of a key first. Empty at the end. */
async function versionsAfter(db: Db, at: Place): Promise<Place[]> {
  const columns = 'select bucket_id, key, seq, body from object_version where';
  const same = await all<Place>(db, `${columns} bucket_id = ? and key = ? and seq < ? order by seq desc limit ?`, at.bucket_id, at.key, at.seq, PAGE);
  if (same.length > 0) return same;
  return all<Place>(db, `${columns} (bucket_id, key) > (?, ?) order by bucket_id, key, seq desc limit ?`, at.bucket_id, at.key, PAGE);
}

/** All blobs that any table names: eight bytes for each, since there may be millions. Two that look alike keep each other; no harm is done. */
async function marksOf(db: Db, signal: AbortSignal): Promise<{ has(blob: string): boolean }> {
  let marks = new Float64Array(4096);
  let length = 0;
  const add = (blob: string | undefined): void => {
    if (blob === undefined) return;
    if (length === marks.length) {
      const more = new Float64Array(length * 2);
      more.set(marks);
      marks = more;
    }
    marks[length++] = markOf(blob);
  };
  for (let at: Place = { bucket_id: '', key: '', seq: 0 }; !signal.aborted; ) {
    const page: Place[] = await versionsAfter(db, at);
    for (const { body } of page) if (typeof body === 'string') add(BLOB.exec(body)?.[1]);
    const last = page.at(-1);
    if (last === undefined) break;
    at = last;
    await breath();
  }
  for (let at = { owner: '', number: 0 }; !signal.aborted; ) {
    const page: { owner: string; number: number; body: string }[] = await all(
      db,
      'select owner, number, body from object_part where (owner, number) > (?, ?) order by owner, number limit ?',
      at.owner,
      at.number,
      PAGE,
    );
    for (const { body } of page) add(BLOB.exec(body)?.[1]);
    const last = page.at(-1);
    if (page.length < PAGE || last === undefined) break;
    at = last;
    await breath();
  }
  for (let from = ''; !signal.aborted; ) {
    const page: { blob: string }[] = await all(db, 'select blob from object_garbage where blob > ? order by blob limit ?', from, PAGE);
    for (const { blob } of page) add(blob);
    const last = page.at(-1);
    if (page.length < PAGE || last === undefined) break;
    from = last.blob;
  }
  const sorted = marks.subarray(0, length).sort();
  return {
    has: (blob) => {
      const mark = markOf(blob);
      let [low, high] = [0, sorted.length];
      while (low < high) {
        const middle = (low + high) >>> 1;
        if ((sorted[middle] as number) < mark) low = middle + 1;
        else high = middle;
      }
      return sorted[low] === mark;
    },
  };
}
