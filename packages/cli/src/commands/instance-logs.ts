// `cloud instance logs`: what was written to standard output and standard error, each to its own here.
import { out } from '../base.ts';
import { inputOf } from '../input.ts';
import { structuredText } from '../print/printable.ts';
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
  let seen: LogEntry | undefined;
  const resume = (last: unknown) => {
    const { tail: _, ...rest } = input;
    seen = last as LogEntry;
    return { ...rest, since: seen.time };
  };
  for await (const item of remote.stream(words.command.operation as OperationSpec, {
    target: targets[0],
    input,
    signal,
    ...(input['follow'] === true ? { resume } : {}),
  })) {
    const entry = item as LogEntry;
    // The line that it goes on from comes again.
    const again = seen !== undefined && entry.time === seen.time && entry.text === seen.text;
    seen = undefined;
    if (again) continue;
    if (remote.settings.output === 'json') {
      out(structuredText(`${JSON.stringify(entry)}\n`));
      continue;
    }
    const line = `${isSet(words, 'timestamps') ? `${entry.time} ` : ''}${entry.text.replace(/\n$/, '')}\n`;
    (entry.stream === 'stderr' ? process.stderr : process.stdout).write(line);
  }
  return 0;
}
