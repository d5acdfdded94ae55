// `cloud instance stats`: one line that is redrawn on a terminal, a line per sample elsewhere.
import { out } from '../base.ts';
import { inputOf } from '../input.ts';
import { bytes } from '../print/cells.ts';
import { structured, styleNow, terminalWidth } from '../print/index.ts';
import { table } from '../print/table.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { untilInterrupted } from '../watch.ts';
import { flag, type Words } from '../words.ts';

interface Sample {
  time: string;
  cpu: number;
  memoryBytes: number;
  memoryLimitBytes: number;
  networkReceivedBytes: number;
  networkSentBytes: number;
  blockReadBytes: number;
  blockWrittenBytes: number;
  pids: number;
}

const COLUMNS = ['cpu', 'memory', 'received', 'sent', 'read', 'written', 'pids'].map((field) => ({
  field,
  header: field === 'cpu' ? 'CPU' : field,
  format: 'text' as const,
}));

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const { output } = remote.settings;
  const tables = output === 'table' || output === 'wide';
  const live = process.stdout.isTTY === true && tables;
  if (!live && flag(words, 'samples') === undefined) input['samples'] = 1;
  const { signal } = untilInterrupted();
  let first = true;
  for await (const item of remote.stream(words.command.operation as OperationSpec, {
    target: targets[0],
    input,
    signal,
    ...(input['samples'] === undefined ? { resume: () => input } : {}),
  })) {
    const sample = item as Sample;
    if (output === 'json') out(`${JSON.stringify(sample)}\n`);
    else if (output === 'yaml') out(`---\n${await structured(sample, 'yaml')}`);
    else {
      if (live && !first) out('\x1b[2A\x1b[J');
      out(table(COLUMNS, [rowOf(sample)], { ...styleNow(), header: live || first, terminal: terminalWidth() }));
    }
    first = false;
  }
  return 0;
}

/** Padded, so that the columns stand still while the figures move. */
const rowOf = (sample: Sample): Record<string, string> => ({
  cpu: `${(sample.cpu * 100).toFixed(1)} %`.padStart(7),
  memory: `${bytes(sample.memoryBytes)}${sample.memoryLimitBytes > 0 ? ` / ${bytes(sample.memoryLimitBytes)}` : ''}`.padEnd(19),
  received: bytes(sample.networkReceivedBytes).padEnd(8),
  sent: bytes(sample.networkSentBytes).padEnd(8),
  read: bytes(sample.blockReadBytes).padEnd(8),
  written: bytes(sample.blockWrittenBytes).padEnd(8),
  pids: String(sample.pids),
});
