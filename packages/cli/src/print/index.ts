// One answer, five forms. JSON and YAML are the answer itself; the rest is for eyes.
import { nearest } from '@thecloud/core/contracts';
import { colours, err, out, usage } from '../base.ts';
import type { Output } from '../common-flags.ts';
import type { Column, GroupTable } from '../table.ts';
import type { Style } from './cells.ts';
import { printable, structuredText } from './printable.ts';
import { card, table } from './table.ts';

type Row = Record<string, unknown>;

export const styleNow = (): Style => ({ colour: colours(process.stdout), now: Date.now(), long: false });
export const terminalWidth = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns || 80 : undefined);

export async function structured(value: unknown, output: 'json' | 'yaml'): Promise<string> {
  if (output === 'json') return structuredText(`${JSON.stringify(value, undefined, 2)}\n`);
  const { stringify } = await import('yaml');
  return structuredText(stringify(value, { lineWidth: 0 }));
}

/** Operations and events carry the name of what they are about, they themselves are known by their id; an object is known by its key. */
export const nameOf = (row: Row): string => printable(String((row['resourceId'] === undefined ? (row['name'] ?? keyOf(row)) : undefined) ?? row['id'] ?? ''));

const keyOf = ({ bucket, key }: Row): string | undefined => (typeof key !== 'string' ? undefined : typeof bucket === 'string' ? `${bucket}/${key}` : key);

export interface ListOptions {
  output: Output;
  columns: string | undefined;
  header: boolean;
  /** What there are none of, when there are none: `instances`. */
  plural: string | undefined;
  quiet: boolean;
}

export async function printList(group: GroupTable, answer: { items: Row[] }, options: ListOptions): Promise<void> {
  if (options.output === 'json' || options.output === 'yaml') return out(await structured(answer, options.output));
  if (options.output === 'name') return out(answer.items.map((item) => `${nameOf(item)}\n`).join(''));
  const columns = columnsFor(group, options);
  if (answer.items.length === 0) {
    if (!options.quiet) err(options.plural === undefined ? 'Nothing.\n' : `There are no ${options.plural}.\n`);
    return;
  }
  out(listText(columns, answer.items, options.header, options.output));
}

/** `wide` is as wide as it gets: whoever asks for everything wants to read it whole. */
export const listText = (columns: readonly Column[], items: readonly Row[], header: boolean, output: Output): string =>
  table(columns, items, { ...styleNow(), brief: output !== 'wide', header, terminal: output === 'wide' ? undefined : terminalWidth() });

export function columnsFor(group: GroupTable, { output, columns }: { output: Output; columns: string | undefined }): Column[] {
  if (columns === undefined) return group.columns.filter((column) => output === 'wide' || !column.wide);
  const known = new Map([...group.fields, ...group.columns].map((column) => [key(column.field), column]));
  return columns.split(',').map((name) => {
    const wanted = name.trim();
    const [first = ''] = wanted.split('.');
    const found =
      known.get(key(wanted)) ?? (wanted.includes('.') && known.has(key(first)) ? { field: wanted, header: wanted, format: 'text' as const } : undefined);
    if (found !== undefined) return found;
    const names = [...new Set([...known.values()].map((column) => column.field))];
    const near = nearest(wanted, names);
    throw usage(`--columns: there is no column "${wanted}"${near === undefined ? `; use ${names.join(', ')}` : `; did you mean ${near}?`}`);
  });
}

const key = (name: string): string => name.replaceAll(/[-_ ]/g, '').toLowerCase();

export async function printOne(group: GroupTable, value: unknown, output: Output): Promise<void> {
  if (output === 'json' || output === 'yaml') return out(await structured(value, output));
  const row = (typeof value === 'object' && value !== null ? value : {}) as Row;
  if (output === 'name') return out(`${nameOf(row)}\n`);
  out(card(fieldsFor(group, row), row, styleNow(), output === 'wide'));
}

/** The known fields in their order, then whatever else the daemon (a newer one) sent. */
function fieldsFor(group: GroupTable, row: Row): Column[] {
  const known = new Set(group.fields.map((field) => field.field));
  const more = Object.keys(row).filter((field) => !known.has(field));
  return [...group.fields.filter((field) => field.field in row), ...more.map((field) => ({ field, header: field, format: 'text' as const }))];
}
