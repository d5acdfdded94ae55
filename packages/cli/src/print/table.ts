// Tables that fit: columns as wide as their content, the longest ones shrink first when the terminal is narrower.
import type { Column } from '../table.ts';
import { cell, type Style } from './cells.ts';
import { cut, pad, width } from './width.ts';

export interface TableOptions extends Style {
  header: boolean;
  /** Columns of the terminal; undefined (a pipe): as wide as it gets. */
  terminal: number | undefined;
  /** Columns are at least so wide; grows with what is printed, for tables that come in parts. */
  widths?: number[];
}

const GAP = '   ';
/** No column shrinks below this many characters, unless even so the table does not fit. */
const LEAST = 6;

export function table(columns: readonly Column[], rows: readonly Record<string, unknown>[], options: TableOptions): string {
  const cells = rows.map((row) => columns.map((column) => cell(column.format, lookUp(row, column.field), options).replaceAll('\n', ' ') || '-'));
  const headers = columns.map((column) => (column.format === 'age' && column.field === 'createdAt' ? 'AGE' : column.header.toUpperCase()));
  const widths = columns.map((_, index) => Math.max(options.header ? width(headers[index] as string) : 0, ...cells.map((row) => width(row[index] as string))));
  for (const [index, one] of widths.entries()) {
    if (options.widths !== undefined) options.widths[index] = widths[index] = Math.max(one, options.widths[index] ?? 0);
  }
  if (options.terminal !== undefined) shrink(widths, options.terminal - GAP.length * (columns.length - 1), headers.map(width));
  const line = (parts: readonly string[]): string =>
    parts
      .map((part, index) =>
        index === parts.length - 1 ? cut(part, widths[index] as number) : pad(cut(part, widths[index] as number), widths[index] as number),
      )
      .join(GAP)
      .trimEnd();
  return [...(options.header ? [line(headers)] : []), ...cells.map(line)].map((text) => `${text}\n`).join('');
}

/** Takes from the widest column until all fit; a column goes below its header only when nothing else is left to take. */
function shrink(widths: number[], room: number, headers: readonly number[]): void {
  // The first column is what people type again: it gives way last.
  const least = (header: number, index: number): number => (index === 0 ? (widths[0] as number) : Math.max(LEAST, header));
  const floors = [headers.map(least), widths.map((one, index) => (index === 0 ? one : LEAST)), widths.map(() => LEAST), widths.map(() => 1)];
  for (const floor of floors) {
    for (let over = widths.reduce((sum, one) => sum + one, 0) - room; over > 0; over--) {
      let widest = -1;
      for (const [index, one] of widths.entries()) if (one > (floor[index] as number) && (widest < 0 || one > (widths[widest] as number))) widest = index;
      if (widest < 0) break;
      (widths[widest] as number)--;
    }
  }
}

/** Of something that is known by an id and has a name (`principal`, `principalName`) people read the name. */
const lookUp = (row: Record<string, unknown>, field: string): unknown =>
  field in row
    ? (row[`${field}Name`] ?? row[field])
    : field
        .split('.')
        .reduce<unknown>((value, key) => (typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined), row);

/** One thing, a line per field; a ref shows the name with its id. */
export function card(fields: readonly Column[], value: Record<string, unknown>, style: Style, all: boolean): string {
  const lines: [string, string][] = [];
  for (const field of fields) {
    const content = value[field.field];
    if (content === undefined || (!all && isEmpty(content))) continue;
    const ref = /^(.+?)Ids?$/.exec(field.field)?.[1];
    if (ref !== undefined && (ref in value || `${ref}s` in value)) continue;
    if (!all && field.wide) continue;
    const id = value[`${field.field}Id`];
    const facts = field.format === 'json' ? [content].flat() : [];
    if (facts.length > 0 && facts.every((one): one is object => typeof one === 'object' && one !== null && !Array.isArray(one))) {
      lines.push([field.header, facts.map((one) => factsText(one, style)).join('\n')]);
    } else lines.push([field.header, `${cell(field.format, content, { ...style, long: true })}${typeof id === 'string' && id !== content ? ` (${id})` : ''}`]);
  }
  const widest = Math.max(0, ...lines.map(([header]) => width(header)));
  return lines.map(([header, text]) => `${pad(`${header}:`, widest + 1)}  ${text.split('\n').join(`\n${' '.repeat(widest + 3)}`)}\n`).join('');
}

/** A small object in a line: how it is first, then the rest by name. */
function factsText(content: object, style: Style): string {
  return Object.entries(content)
    .map(([key, one]) => {
      if (key === 'status' || key === 'state') return cell('state', one, style);
      if (key === 'name' || key === 'detail') return cell('text', one, style);
      const name = key.replace(/At$/, '').replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);
      return `${name} ${cell(key.endsWith('At') ? 'time' : 'text', one, style)}`;
    })
    .join(', ');
}

const isEmpty = (value: unknown): boolean => value === null || value === '' || (typeof value === 'object' && Object.keys(value).length === 0);
