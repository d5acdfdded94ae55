// `cloud object list`: folders first, a page at a time, so that the first lines of a million come at once.

import { EXIT, err, flushed, out } from '../base.ts';
import type { Output } from '../common-flags.ts';
import { inputOf } from '../input.ts';
import type { Listed, Page } from '../objects/calls.ts';
import { nameFrom } from '../objects/name.ts';
import { amount, workOf } from '../objects/work.ts';
import { columnsFor, structured, styleNow, terminalWidth } from '../print/index.ts';
import { printable, structuredText } from '../print/printable.ts';
import { table } from '../print/table.ts';
import { type Column, loadGroup } from '../table.ts';
import { flag, isSet, type Words } from '../words.ts';

/** As many as an answer holds, and few enough that the first come soon. */
const PAGE = 1000;

export async function run(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const work = workOf(words);
  const name = nameFrom(words.positionals[0] ?? '');
  const recursive = isSet(words, 'recursive');
  const { output } = work.remote.settings;
  const limit = input['limit'] as number | undefined;
  const pages = async function* (): AsyncGenerator<Page> {
    for (let cursor = input['cursor'] as string | undefined; ; ) {
      const page = await work.objects.list(name, { recursive, limit: limit ?? PAGE, ...(cursor === undefined ? {} : { cursor }) });
      yield page;
      if (page.cursor === undefined || limit !== undefined) return;
      cursor = page.cursor;
    }
  };
  switch (output) {
    case 'json':
      await asJson(pages(), limit !== undefined);
      break;
    case 'yaml': {
      const whole: Page = { items: [], folders: [] };
      for await (const page of pages()) {
        whole.items.push(...page.items);
        whole.folders.push(...page.folders);
        if (limit !== undefined && page.cursor !== undefined) whole.cursor = page.cursor;
      }
      out(await structured(whole, 'yaml'));
      break;
    }
    case 'name':
      for await (const { items, folders } of pages()) {
        await written([...folders, ...items.map(({ key }) => key)].map((key) => `${printable(`${name.bucket}/${key}`)}\n`).join(''));
      }
      break;
    default:
      await asTable(words, name, pages(), output, work.quiet);
  }
  return EXIT.done;
}

/** Waits until a reader that is slow has taken it, so that no list piles up here. */
async function written(text: string): Promise<void> {
  if (text === '') return;
  out(text);
  if (process.stdout.writableNeedDrain) await flushed();
}

/** One document, written as the pages come; folders are few and follow. */
async function asJson(pages: AsyncIterable<Page>, one: boolean): Promise<void> {
  const folders: string[] = [];
  let cursor: string | undefined;
  let any = false;
  await written('{\n  "items": [');
  for await (const page of pages) {
    folders.push(...page.folders);
    cursor = page.cursor;
    const rows = page.items.map((item) => JSON.stringify(item, undefined, 2).replaceAll('\n', '\n    '));
    if (rows.length > 0) await written(structuredText(`${any ? ',' : ''}\n    ${rows.join(',\n    ')}`));
    any ||= rows.length > 0;
  }
  const rest = { folders, ...(one && cursor !== undefined ? { cursor } : {}) };
  await written(structuredText(`${any ? '\n  ' : ''}],\n${JSON.stringify(rest, undefined, 2).slice(2)}\n`));
}

async function asTable(words: Words, name: { bucket: string; key: string }, pages: AsyncIterable<Page>, output: Output, quiet: boolean): Promise<void> {
  const group = loadGroup('object');
  // Sizes are for eyes on a terminal and for programs elsewhere.
  const exact = (column: Column): Column => (column.format === 'bytes' && process.stdout.isTTY !== true ? { ...column, format: 'text' } : column);
  const columns = columnsFor(group, { output, columns: flag(words, 'columns') }).map(exact);
  const widths: number[] = [];
  let header = !isSet(words, 'no-header');
  let [objects, folders, bytes] = [0, 0, 0];
  let cursor: string | undefined;
  for await (const page of pages) {
    const rows: Record<string, unknown>[] = [...page.folders.map((key) => ({ key })), ...page.items.map((item: Listed) => ({ ...item }))];
    objects += page.items.length;
    folders += page.folders.length;
    bytes += page.items.reduce((sum, { size }) => sum + size, 0);
    cursor = page.cursor;
    if (rows.length === 0) continue;
    await written(table(columns, rows, { ...styleNow(), header, terminal: output === 'wide' ? undefined : terminalWidth(), widths }));
    header = false;
  }
  if (quiet) return;
  if (objects + folders === 0)
    err(`There are no objects in ${printable(name.bucket)}${name.key === '' ? '' : ` whose keys begin with ${printable(name.key)}`}.\n`);
  else if (cursor !== undefined && flag(words, 'limit') !== undefined) err(`There are more: --cursor ${cursor}\n`);
  else if (process.stdout.isTTY) {
    const { bytes: text } = await import('../print/cells.ts');
    err(`${folders === 0 ? '' : `${amount(folders, 'folder')}, `}${amount(objects, 'object')}, ${text(bytes)}\n`);
  }
}
