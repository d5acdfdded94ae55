// `cloud instance logs`: what was written to standard output and standard error, each to its own here.
import { out } from '../base.ts';
import { inputOf } from '../input.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { untilInterrupted } from '../watch.ts';
import { isSet, type Words } from '../words.ts';

interface LogEntry {
  time: string;
  stream: 'stdout' | 'stderr';
  text: string;
}

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const { signal } = untilInterrupted();
  for await (const item of remote.stream(words.command.operation as OperationSpec, { target: targets[0], input, signal })) {
    const entry = item as LogEntry;
    if (remote.settings.output === 'json') {
      out(`${JSON.stringify(entry)}\n`);
      continue;
    }
    const line = `${isSet(words, 'timestamps') ? `${entry.time} ` : ''}${entry.text.replace(/\n$/, '')}\n`;
    (entry.stream === 'stderr' ? process.stderr : process.stdout).write(line);
  }
  return 0;
}
