// `cloud instance connect`: standard input and output are a TCP connection to a port of the instance.
import { once } from 'node:events';
import { openChannel } from '../channel.ts';
import { inputOf } from '../input.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import type { Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const channel = await openChannel(remote, words.command.operation as OperationSpec, targets[0], input);
  process.stdin.pipe(channel.input);
  channel.output.pipe(process.stdout, { end: false });
  channel.error.resume();
  const ended = once(channel.output, 'end');
  await channel.result;
  await ended;
  return 0;
}
