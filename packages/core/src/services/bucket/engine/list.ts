// Lists of objects, versions and uploads, in the order of their keys' UTF-8 bytes. What a delimiter rolls into one common prefix is stepped over with the index,
// so that a page costs what it shows, however many keys there are.
import type { Ground } from './ground.ts';
import { after, compareKeys } from './names.ts';
import { infoOf, LISTED_COLUMNS, UPLOAD_COLUMNS, type UploadRow, uploadOf, VERSION_COLUMNS, type VersionRow } from './rows.ts';
import { all } from './sql.ts';
import type { Bucket, ListOptions, ObjectPage, UploadPage, VersionPage } from './types.ts';
import { versionOf } from './versions.ts';

/** Rows asked for at once where a delimiter may roll up most of them; doubled while they are used. */
const FEW = 4;

/** Where to read on: at or after a key, or after a row of it. */
export interface Place {
  key: string;
  /** The key itself, too. */
  inclusive: boolean;
}
type From<Row> = Place | { row: Row };
type Scan<Row> = (from: From<Row>, before: string | undefined, limit: number) => Promise<Row[]>;

interface Page<Row> {
  rows: Row[];
  prefixes: string[];
  truncated: boolean;
  /** The last thing shown. */
  last: { row: Row } | { prefix: string } | undefined;
}

/** Part of a key up to and with the first delimiter after the prefix. */
function commonPrefix(key: string, { prefix, delimiter }: Pick<ListOptions, 'prefix' | 'delimiter'>): string | undefined {
  if (delimiter === undefined || delimiter === '' || !key.startsWith(prefix)) return undefined;
  const at = key.indexOf(delimiter, prefix.length);
  return at < 0 ? undefined : key.slice(0, at + delimiter.length);
}

/** `rolls`: the scan gives only one row for each common prefix. */
async function pageOf<Row extends { key: string }>(scan: Scan<Row>, begin: From<Row> | undefined, options: ListOptions, rolls = false): Promise<Page<Row>> {
  const { prefix, limit } = options;
  const page: Page<Row> = { rows: [], prefixes: [], truncated: false, last: undefined };
  const before = after(prefix);
  let from = beginning(begin, options);
  let shown = 0;
  const whole = rolls || options.delimiter === undefined || options.delimiter === '';
  let size = whole ? limit + 1 : Math.min(limit + 1, FEW);
  while (limit > 0 && from !== undefined && (before === undefined || 'row' in from || compareKeys(from.key, before) < 0)) {
    const rows = await scan(from, before, size);
    let rolled: string | undefined;
    let used = 0;
    for (const row of rows) {
      if (rolled !== undefined && row.key.startsWith(rolled)) break;
      used++;
      if (shown === limit) return { ...page, truncated: true };
      rolled = commonPrefix(row.key, options);
      if (rolled === undefined) {
        page.rows.push(row);
        page.last = { row };
      } else {
        page.prefixes.push(rolled);
        page.last = { prefix: rolled };
      }
      shown++;
    }
    if (used === rows.length && rows.length < size) break;
    const last = rows.at(used - 1) as Row;
    const next = rolled === undefined ? undefined : after(rolled);
    from = rolled === undefined ? { row: last } : next === undefined ? undefined : { key: next, inclusive: true };
    size = Math.min(used < rows.length ? FEW : size * 2, limit + 1 - shown);
    if (size < 1) size = 1;
  }
  return page;
}

/** Nothing before the prefix, and nothing of a common prefix that was shown or passed already. */
function beginning<Row extends { key: string }>(begin: From<Row> | undefined, options: ListOptions): From<Row> | undefined {
  const { prefix } = options;
  const least: Place = { key: prefix, inclusive: true };
  if (begin === undefined) return least;
  const key = 'row' in begin ? begin.row.key : begin.key;
  if (compareKeys(key, prefix) < 0) return least;
  const rolled = commonPrefix(key, options);
  if (rolled === undefined) return begin;
  const next = after(rolled);
  return next === undefined ? undefined : { key: next, inclusive: true };
}

const placeOf = <Row extends { key: string }>(from: From<Row>): Place => ('row' in from ? { key: from.row.key, inclusive: false } : from);

const LIVE = 'bucket_id = ? and latest = 1 and marker = 0';

/** Live objects in order. */
const scanLive =
  (ground: Ground, bucket: Bucket): Scan<VersionRow> =>
  (from, before, limit) => {
    const { key, inclusive } = placeOf(from);
    return all<VersionRow>(
      ground.db,
      `select ${LISTED_COLUMNS} from object_version where ${LIVE} and key ${inclusive ? '>=' : '>'} ? ${before === undefined ? '' : 'and key < ?'}
        order by key limit ?`,
      bucket.id,
      key,
      ...(before === undefined ? [] : [before]),
      limit,
    );
  };

/**
 * Of live objects the first of every common prefix, and all that have none: each step looks up the first key after what the last one stands for. In one statement,
 * because a thousand small ones take several times as long. It counts bytes, not characters, so that keys may have any of them.
 */
const scanFolders =
  (ground: Ground, bucket: Bucket, prefix: string, delimiter: string, afterDelimiter: string): Scan<VersionRow> =>
  (from, before, limit) => {
    const { key, inclusive } = placeOf(from);
    const bytes = Buffer.byteLength(prefix);
    const bound = before === undefined ? '' : 'and key < ?';
    const bounds = before === undefined ? [] : [before];
    const found = `instr(substr(cast(k as blob), ?), cast(? as blob))`;
    return all<VersionRow>(
      ground.db,
      `with recursive step (n, k) as (
          select * from (select 1, key from object_version where ${LIVE} and key ${inclusive ? '>=' : '>'} ? ${bound} order by key limit 1)
        union all
          select n + 1, (select key from object_version where ${LIVE} and key >= case ${found} when 0 then cast(cast(k as blob) || x'00' as text)
              else cast(substr(cast(k as blob), 1, ? + ${found}) || cast(? as blob) as text) end ${bound} order by key limit 1)
            from step where k is not null limit ?)
        select ${LISTED_COLUMNS} from step cross join object_version on key = k where ${LIVE} order by n`,
      bucket.id,
      key,
      ...bounds,
      bucket.id,
      bytes + 1,
      delimiter,
      bytes - 1,
      bytes + 1,
      delimiter,
      afterDelimiter,
      ...bounds,
      limit,
      bucket.id,
    );
  };

export async function listObjects(ground: Ground, bucket: Bucket, options: ListOptions): Promise<ObjectPage> {
  const { prefix, delimiter = '' } = options;
  const afterDelimiter = delimiter === '' ? undefined : after(delimiter);
  const scan = afterDelimiter === undefined ? scanLive(ground, bucket) : scanFolders(ground, bucket, prefix, delimiter, afterDelimiter);
  const begin = options.after === undefined ? undefined : { key: options.after, inclusive: false };
  const { rows, prefixes, truncated, last } = await ground.read(() => pageOf(scan, begin, options, afterDelimiter !== undefined));
  return {
    objects: rows.map((row) => infoOf(bucket.id, row)),
    prefixes,
    truncated,
    last: last === undefined ? undefined : 'row' in last ? last.row.key : last.prefix,
  };
}

/** Versions of a bucket from a place on, markers too, the newest of a key first. */
export async function scanVersions(
  ground: Pick<Ground, 'db'>,
  bucketId: string,
  from: Place | { row: Pick<VersionRow, 'key' | 'seq'> },
  before: string | undefined,
  limit: number,
): Promise<VersionRow[]> {
  const rest =
    'row' in from
      ? await all<VersionRow>(
          ground.db,
          `select ${VERSION_COLUMNS} from object_version where bucket_id = ? and key = ? and seq < ? order by seq desc limit ?`,
          bucketId,
          from.row.key,
          from.row.seq,
          limit,
        )
      : [];
  if (rest.length === limit) return rest;
  const { key, inclusive } = 'row' in from ? { key: from.row.key, inclusive: false } : from;
  const others = await all<VersionRow>(
    ground.db,
    `select ${VERSION_COLUMNS} from object_version where bucket_id = ? and key ${inclusive ? '>=' : '>'} ? ${before === undefined ? '' : 'and key < ?'}
      order by key, seq desc limit ?`,
    bucketId,
    key,
    ...(before === undefined ? [] : [before]),
    limit - rest.length,
  );
  return rest.length === 0 ? others : [...rest, ...others];
}

export async function listVersions(ground: Ground, bucket: Bucket, options: ListOptions & { afterVersion?: string | undefined }): Promise<VersionPage> {
  const scan: Scan<VersionRow> = (from, before, limit) => scanVersions(ground, bucket.id, from, before, limit);
  const { rows, prefixes, truncated, last } = await ground.read(async () => {
    let begin: From<VersionRow> | undefined = options.after === undefined ? undefined : { key: options.after, inclusive: false };
    if (options.after !== undefined && options.afterVersion !== undefined) {
      const row = await versionOf(ground.db, bucket.id, options.after, options.afterVersion);
      // Deleted since: its key is shown from its newest version on. Better twice than never.
      begin = row === undefined ? { key: options.after, inclusive: true } : { row };
    }
    return pageOf(scan, begin, options);
  });
  return {
    versions: rows.map((row) => infoOf(bucket.id, row)),
    prefixes,
    truncated,
    nextKey: !truncated || last === undefined ? undefined : 'row' in last ? last.row.key : last.prefix,
    nextVersion: truncated && last !== undefined && 'row' in last ? last.row.version : undefined,
  };
}

export async function listUploads(ground: Ground, bucket: Bucket, options: ListOptions & { afterUpload?: string | undefined }): Promise<UploadPage> {
  const read = (where: string, order: string, limit: number, ...values: string[]): Promise<UploadRow[]> =>
    all<UploadRow>(
      ground.db,
      `select ${UPLOAD_COLUMNS} from object_upload where bucket_id = ? and completed is null and ${where} order by ${order} limit ?`,
      bucket.id,
      ...values,
      limit,
    );
  const scan: Scan<UploadRow> = async (from, before, limit) => {
    const rest = 'row' in from ? await read('key = ? and id > ?', 'id', limit, from.row.key, from.row.id) : [];
    if (rest.length === limit) return rest;
    const { key, inclusive } = placeOf(from);
    const bound = before === undefined ? [] : [before];
    const where = `key ${inclusive ? '>=' : '>'} ? ${before === undefined ? '' : 'and key < ?'}`;
    return [...rest, ...(await read(where, 'key, id', limit - rest.length, key, ...bound))];
  };
  const begin: From<UploadRow> | undefined =
    options.after === undefined
      ? undefined
      : options.afterUpload === undefined
        ? { key: options.after, inclusive: false }
        : { row: { key: options.after, id: options.afterUpload } as UploadRow };
  const { rows, prefixes, truncated, last } = await ground.read(() => pageOf(scan, begin, options));
  return {
    uploads: rows.map(uploadOf),
    prefixes,
    truncated,
    nextKey: !truncated || last === undefined ? undefined : 'row' in last ? last.row.key : last.prefix,
    nextUpload: truncated && last !== undefined && 'row' in last ? last.row.id : undefined,
  };
}
