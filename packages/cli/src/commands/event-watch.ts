// `cloud event watch`: a line per event, as it happens.
import { out } from '../base.ts';
import { inputOf } from '../input.ts';
import { cell, type Style } from '../print/cells.ts';
import { structured, styleNow, terminalWidth } from '../print/index.ts';
import { structuredText } from '../print/printable.ts';
import { cut, pad } from '../print/width.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { untilInterrupted } from '../watch.ts';
import type { Words } from '../words.ts';

interface EventView {
  id: number;
  time: string;
  type: string;
  resource: string;
  resourceId: string;
  name: string;
  message: string;
  principal: string;
}

export async function run(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const { output } = remote.settings;
  const { signal } = untilInterrupted();
  const style = styleNow();
  const resume = (last: unknown) => ({ ...input, since: (last as EventView).id });
  for await (const item of remote.stream(words.command.operation as OperationSpec, { input, signal, resume })) {
    const event = item as EventView;
    if (output === 'json') out(structuredText(`${JSON.stringify(event)}\n`));
    else if (output === 'yaml') out(`---\n${await structured(event, 'yaml')}`);
    else if (output === 'name') out(`${event.name}\n`);
    else out(`${line(event, output === 'wide', style)}\n`);
  }
  return 0;
}

/** Widths are fixed, since nobody knows what comes. */
function line(event: EventView, wide: boolean, style: Style): string {
  const parts = [
    cell('time', event.time, style),
    pad(cell('text', event.type, style), 22),
    pad(cell('text', event.name, style), 16),
    cell('text', event.message, style),
    ...(wide ? [String(event.id), event.resourceId, event.principal] : []),
  ];
  const text = parts.join('  ').trimEnd();
  const terminal = terminalWidth();
  return terminal === undefined ? text : cut(text, terminal);
}
