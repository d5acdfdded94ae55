// --watch and streams. A list is read again when events say that something changed: on a terminal it is redrawn, in a pipe only
// what changed is printed.
import { EXIT, Exit, out } from './base.ts';
import { columnsFor, listText, nameOf, printOne, structured, styleNow, terminalWidth } from './print/index.ts';
import { structuredText } from './print/printable.ts';
import { card, table } from './print/table.ts';
import { cut } from './print/width.ts';
import type { Remote } from './remote.ts';
import { listAll, viewOf } from './run.ts';
import { commandOf, loadGroup, type OperationSpec } from './table.ts';
import { pause } from './wait.ts';
import { flag, isSet, type Words } from './words.ts';

type Row = Record<string, unknown>;

/** Read again at least so often, for ages and whatever no event tells. */
const TICK = 5000;
/** Events come in bunches: one reading for all that come within this time. */
const SETTLE = 100;

/** A signal that Ctrl-C and SIGTERM abort with the exit code of an interruption. */
export function untilInterrupted(): AbortController {
  const abort = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, () => abort.abort(new Exit(EXIT.interrupted)));
  return abort;
}

export async function watch(words: Words, remote: Remote, target: string | undefined, input: Row): Promise<number> {
  const operation = words.command.operation as OperationSpec;
  const group = viewOf(operation);
  const { output } = remote.settings;
  const { signal } = untilInterrupted();
  const live = process.stdout.isTTY === true && (output === 'table' || output === 'wide');
  const columns = columnsFor(group, { output, columns: flag(words, 'columns') });
  const changes = new Changes(remote, operation.resource, signal);
  const shown = new Map<string, string>();
  const widths: number[] = [];
  let first = true;
  for (;;) {
    const rows =
      operation.form === 'items'
        ? (await listAll(remote, operation, target, input, signal)).items
        : [(await remote.call(operation, { target, input, signal })).value as Row];
    if (live) {
      const text =
        operation.form === 'items'
          ? listText(columns, rows, !isSet(words, 'no-header'), output) || 'None.\n'
          : card(group.fields, rows[0] as Row, styleNow(), output === 'wide');
      redraw(text);
    } else {
      const now = new Set<string>();
      const changed: Row[] = [];
      for (const row of rows) {
        const id = String(row['id'] ?? row['name']);
        now.add(id);
        const text = JSON.stringify(row);
        if (shown.get(id) === text) continue;
        shown.set(id, text);
        if (output === 'json') out(structuredText(`${text}\n`));
        else if (output === 'yaml') out(`---\n${await structured(row, 'yaml')}`);
        else if (output === 'name') out(`${nameOf(row)}\n`);
        else if (operation.form === 'items') {
          changed.push(row);
          continue;
        } else out(`${first ? '' : '\n'}${card(group.fields, row, styleNow(), output === 'wide')}`);
        first = false;
      }
      if (changed.length > 0) {
        out(table(columns, changed, { ...styleNow(), header: first && !isSet(words, 'no-header'), terminal: terminalWidth(), widths }));
        first = false;
      }
      for (const id of shown.keys()) {
        if (now.has(id)) continue;
        const gone = JSON.parse(shown.get(id) as string) as Row;
        shown.delete(id);
        if (output === 'json') out(structuredText(`${JSON.stringify({ ...gone, state: 'deleted' })}\n`));
        else if (output !== 'name') out(`${nameOf(gone)}   deleted\n`);
      }
    }
    await changes.next();
  }
}

/** Above the old picture, not the whole screen: what scrolled away stays readable. */
let lines = 0;
function redraw(text: string): void {
  const height = (process.stdout.rows || 24) - 1;
  const kept = text
    .split('\n')
    .slice(0, height)
    .map((line) => cut(line, process.stdout.columns || 80));
  out(
    `${lines > 0 ? `\x1b[${lines}A` : ''}${kept
      .map((line) => `${line}\x1b[K\n`)
      .join('')
      .replace(/\x1b\[K\n$/, '')}\x1b[J`,
  );
  lines = kept.length - 1;
}

/** Resolves `next` when something may have changed. */
class Changes {
  #ring: (() => void) | undefined;
  #pending = false;
  readonly #signal: AbortSignal;

  constructor(remote: Remote, resource: string, signal: AbortSignal) {
    this.#signal = signal;
    void this.#listen(remote, resource);
  }

  async #listen(remote: Remote, resource: string): Promise<void> {
    const events = commandOf('event watch').operation as OperationSpec;
    for (;;) {
      try {
        for await (const _ of remote.stream(events, { input: { resource }, signal: this.#signal })) {
          this.#pending = true;
          this.#ring?.();
        }
      } catch (error) {
        if (this.#signal.aborted) return;
        // The reading itself reports a daemon that is away; here it only means polling until it is back.
        if (!(error instanceof Error)) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1000).unref());
    }
  }

  async next(): Promise<void> {
    if (!this.#pending) {
      await Promise.race([
        new Promise<void>((resolve) => {
          this.#ring = resolve;
        }),
        pause(TICK, this.#signal),
      ]);
    }
    await pause(SETTLE, this.#signal);
    this.#pending = false;
  }
}

/** Items of a stream that has no command of its own: lines of JSON, or a table that grows. */
export async function follow(words: Words, remote: Remote, target: string | undefined, input: Row): Promise<number> {
  const { signal } = untilInterrupted();
  const { output } = remote.settings;
  const operation = words.command.operation as OperationSpec;
  const group = loadGroup(words.command.group);
  const columns = operation.fields === undefined && group.columns.length > 0 ? columnsFor(group, { output, columns: undefined }) : undefined;
  const widths: number[] = [];
  let header = true;
  for await (const item of remote.stream(operation, { target, input, signal })) {
    if (output === 'json') out(structuredText(`${JSON.stringify(item)}\n`));
    else if (output === 'yaml') out(`---\n${await structured(item, 'yaml')}`);
    else if (columns === undefined || output === 'name') await printOne(viewOf(operation), item, output);
    else {
      out(table(columns, [item as Row], { ...styleNow(), header, terminal: terminalWidth(), widths }));
      header = false;
    }
  }
  return 0;
}
