// `cloud instance exec`: the program's terminal is this one, its exit code is ours.
import { Fault } from '@thecloud/core/contracts';
import { EXIT } from '../base.ts';
import { openChannel } from '../channel.ts';
import { inputOf } from '../input.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { flag, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const terminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const tty = flag(words, 'tty') === undefined ? terminal : flag(words, 'tty') === 'true';
  const stdin = flag(words, 'interactive') !== 'false';
  if (tty && flag(words, 'tty') !== undefined && process.stdin.isTTY !== true && stdin) {
    throw new Fault('invalid_input', '--tty: standard input is not a terminal', { hint: 'leave --tty out, or add --no-interactive' });
  }
  const size = { columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 };
  const channel = await openChannel<{ exitCode: number }>(remote, words.command.operation as OperationSpec, targets[0], {
    ...input,
    tty,
    stdin,
    ...(tty ? size : {}),
  });

  const raw = tty && process.stdin.isTTY === true;
  if (tty) process.on('SIGWINCH', () => channel.control({ type: 'resize', columns: process.stdout.columns || 80, rows: process.stdout.rows || 24 }));
  if (raw) process.stdin.setRawMode(true);
  else {
    // Without a terminal of its own the program cannot be interrupted by a key: closing the channel ends it.
    for (const name of ['SIGINT', 'SIGTERM'] as const) {
      process.once(name, () => {
        channel.close();
        process.exit(EXIT.interrupted);
      });
    }
  }
  try {
    if (stdin) process.stdin.pipe(channel.input);
    else channel.input.end();
    channel.output.pipe(process.stdout, { end: false });
    channel.error.pipe(process.stderr, { end: false });
    return (await channel.result).exitCode;
  } finally {
    if (raw) process.stdin.setRawMode(false);
    process.stdin.unpipe(channel.input);
    process.stdin.pause();
  }
}
