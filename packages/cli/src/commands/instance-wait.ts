// `cloud instance wait`: one long question, with a living line meanwhile.
import { EXIT, Exit } from '../base.ts';
import { inputOf } from '../input.ts';
import { printOne } from '../print/index.ts';
import { Progress } from '../progress.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { loadGroup, type OperationSpec } from '../table.ts';
import { untilInterrupted } from '../watch.ts';
import { flag, type Words } from '../words.ts';

const DEFAULT_SECONDS = 300;

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const seconds = typeof input['timeout'] === 'number' ? input['timeout'] : DEFAULT_SECONDS;
  const { signal } = untilInterrupted();
  const what = flag(words, 'for') ?? 'running';
  const progress = new Progress(`Waiting for instance ${targets[0]} to be ${what === 'cloud-init' ? 'through with cloud-init' : what}`, remote.settings.quiet);
  try {
    const { value } = await remote.call(words.command.operation as OperationSpec, { target: targets[0], input, signal, patience: (seconds + 30) * 1000 });
    progress.end();
    await printOne(loadGroup('instance'), value, remote.settings.output);
    return EXIT.done;
  } catch (error) {
    progress.end();
    if (signal.aborted) throw signal.reason instanceof Exit ? signal.reason : error;
    throw error;
  }
}
