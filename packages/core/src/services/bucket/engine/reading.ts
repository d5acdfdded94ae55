// Reading: which version is meant, whether its conditions and key fit, and the bytes of the range or part that was asked for, joined from the parts it was
// uploaded in.
import { Whole } from '../driver.ts';
import type { StoredBody } from './body-types.ts';
import { checkRead } from './conditions.ts';
import type { Ground } from './ground.ts';
import { boundTo, checkBound, NULL_VERSION } from './names.ts';
import { resolveRange } from './ranges.ts';
import { bodyOf, infoOf, type PartRow, partOf, type VersionRow } from './rows.ts';
import { all, one } from './sql.ts';
import { type Bucket, type ByteRange, type Conditions, type CustomerKey, type GetOptions, ObjectError, type Opened, type PartInfo } from './types.ts';
import { objectVersion } from './versions.ts';

/** Sizes of the parts of objects that were read lately, in numbers kept. */
const MOST_SIZES = 500_000;

/** Where each part of an object begins. What an object is made of never changes, so it is read once. */
interface Layout {
  numbers: Int32Array;
  /** One more than there are parts: the last is the size of the whole. */
  starts: Float64Array;
}

export class Layouts {
  readonly #known = new Map<string, Layout>();
  #sizes = 0;

  async of(ground: Pick<Ground, 'db'>, owner: string): Promise<Layout> {
    const known = this.#known.get(owner);
    if (known !== undefined) {
      this.#known.delete(owner);
      this.#known.set(owner, known);
      return known;
    }
    const rows = await all<{ number: number; size: number }>(ground.db, 'select number, size from object_part where owner = ? order by number', owner);
    const layout: Layout = { numbers: new Int32Array(rows.length), starts: new Float64Array(rows.length + 1) };
    rows.forEach(({ number, size }, at) => {
      layout.numbers[at] = number;
      layout.starts[at + 1] = (layout.starts[at] as number) + size;
    });
    this.#known.set(owner, layout);
    this.#sizes += rows.length;
    for (const [oldest, { numbers }] of this.#known) {
      if (this.#sizes <= MOST_SIZES || oldest === owner) break;
      this.#known.delete(oldest);
      this.#sizes -= numbers.length;
    }
    return layout;
  }
}

/** A run of stored bytes, and what of it is wanted. */
interface Piece {
  body: StoredBody;
  range: { start: number; end: number } | undefined;
}

export interface Found {
  row: VersionRow;
  opened: Omit<Opened, 'body'>;
}

/** Everything about a read but the bytes. `how`: what a copy sees differently. */
export async function locate(
  ground: Ground,
  bucket: Bucket,
  key: string,
  options: Omit<GetOptions, 'signal'>,
  how: {
    conditions: (conditions: Conditions | undefined, seen: { etag: string; modifiedAt: number }) => void;
    range: (range: ByteRange | undefined, size: number) => { start: number; end: number } | undefined;
  } = { conditions: checkRead, range: resolveRange },
): Promise<Found> {
  if (options.part !== undefined && options.range !== undefined) {
    throw new ObjectError('invalid_request', 'Cannot specify both Range header and partNumber query parameter');
  }
  const row = await ground.read((db) => objectVersion(db, bucket.id, key, options.version));
  const info = infoOf(bucket.id, row);
  const part = options.part === undefined ? undefined : await ground.read(() => partNumbered(ground, row, options.part as number));
  await checkCustomerKey(ground, bucket, row, options.customerKey);
  how.conditions(options.conditions, info);
  if (part === undefined) {
    return { row, opened: { info, range: how.range(options.range, row.size), partial: options.range !== undefined, partInfo: undefined } };
  }
  const { partInfo, start } = part;
  const size = partInfo?.size ?? row.size;
  return { row, opened: { info, range: size === 0 ? undefined : { start, end: start + size - 1 }, partial: true, partInfo } };
}

/** The parts of an object are 1, 2, 3 … whatever numbers they were uploaded under: clients count to `x-amz-mp-parts-count`. */
async function partNumbered(ground: Ground, row: VersionRow, number: number): Promise<{ partInfo: PartInfo | undefined; start: number }> {
  const none = (): ObjectError => new ObjectError('invalid_part', 'The requested partnumber is not satisfiable', { part: number });
  if (row.parts_of === null) {
    if (number !== 1) throw none();
    return { partInfo: undefined, start: 0 };
  }
  const part = await one<PartRow>(
    ground.db,
    'select number, size, etag, modified_at, checksum from object_part where owner = ? order by number limit 1 offset ?',
    row.parts_of,
    number - 1,
  );
  if (part === undefined) throw none();
  const before = await one<{ bytes: number | null }>(
    ground.db,
    'select sum(size) as bytes from object_part where owner = ? and number < ?',
    row.parts_of,
    part.number,
  );
  return { partInfo: { ...partOf(part), number }, start: before?.bytes ?? 0 };
}

/** All parts of an object are sealed with the same key. */
async function checkCustomerKey(ground: Ground, bucket: Bucket, row: VersionRow, customerKey: CustomerKey | undefined): Promise<void> {
  if (row.body !== null) {
    const body = bodyOf(row.body);
    checkOwner(body, bucket.id, row);
    ground.bodies.checkKey(body, customerKey);
  } else if (row.parts_of !== null) {
    const first = await ground.read((db) => one<{ body: string }>(db, 'select body from object_part where owner = ? order by number limit 1', row.parts_of));
    if (first !== undefined) ground.bodies.checkKey(bodyOf(first.body), customerKey);
  }
}

/** That the bytes were written for this key, and for this version where it has an id of its own. */
export function checkOwner(body: StoredBody, bucketId: string, row: Pick<VersionRow, 'key' | 'version'>): void {
  if (row.version === NULL_VERSION) checkBound(body.bound, bucketId, row.key);
  else checkBound(body.bound, bucketId, row.key, row.version);
}

export const boundOf = (bucketId: string, key: string, token: string): string => boundTo(bucketId, key, token);
export const partBound = (bucketId: string, key: string, upload: string, number: number, token: string): string =>
  boundTo(bucketId, key, upload, number, token);

/** Undefined: all of it. */
const wantedOf = ({ size }: VersionRow, range: { start: number; end: number }): { start: number; end: number } | undefined =>
  range.start === 0 && range.end === size - 1 ? undefined : range;

/** The bodies that a range touches, as they are named now. */
async function piecesOf(ground: Ground, layouts: Layouts, bucket: Bucket, row: VersionRow, range: { start: number; end: number }): Promise<Piece[]> {
  if (row.body !== null) {
    const body = bodyOf(row.body);
    return [{ body, range: wantedOf(row, range) }];
  }
  const owner = row.parts_of as string;
  const { numbers, starts } = await layouts.of(ground, owner);
  let [low, high] = [0, numbers.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if ((starts[middle] as number) <= range.start) low = middle;
    else high = middle - 1;
  }
  let last = low;
  while (last + 1 < numbers.length && (starts[last + 1] as number) <= range.end) last++;
  const rows = await all<{ body: string; number: number }>(
    ground.db,
    'select number, body from object_part where owner = ? and number between ? and ? order by number',
    owner,
    numbers[low] as number,
    numbers[last] as number,
  );
  if (rows.length !== last - low + 1) throw new ObjectError('no_such_key', 'The specified key does not exist.', { key: row.key });
  return rows.flatMap(({ body: text }, index) => {
    const [begin, end] = [starts[low + index] as number, (starts[low + index + 1] as number) - 1];
    if (begin > end) return [];
    const body = bodyOf(text);
    checkBound(body.bound, bucket.id, row.key, owner, numbers[low + index] as number);
    const start = Math.max(range.start, begin) - begin;
    const stop = Math.min(range.end, end) - begin;
    return [{ body, range: start === 0 && stop === end - begin ? undefined : { start, end: stop } }];
  });
}

/** The bytes. The blobs stay until they have been read, whatever happens to the object meanwhile. */
export async function bytesOf(
  ground: Ground,
  layouts: Layouts,
  bucket: Bucket,
  { row, opened }: Found,
  options: { customerKey?: CustomerKey | undefined; signal: AbortSignal },
): Promise<AsyncIterable<Buffer>> {
  const { range } = opened;
  if (range === undefined) return nothing();
  if (row.body !== null && options.customerKey === undefined) {
    const bytes = ground.bodies.atHand(bodyOf(row.body), wantedOf(row, range));
    if (bytes !== undefined) return new Whole(bytes);
  }
  const pieces = await ground.read(() => piecesOf(ground, layouts, bucket, row, range));
  const held = ground.garbage.hold(
    pieces.map(({ body }) => body),
    bucket.tenantId,
  );
  return (async function* () {
    held.begin();
    try {
      for (const { body, range: wanted } of pieces) {
        yield* ground.bodies.read(body, { range: wanted, customerKey: options.customerKey, signal: options.signal });
      }
    } finally {
      held.release();
    }
  })();
}

async function* nothing(): AsyncGenerator<Buffer> {
  // There are no bytes.
}
