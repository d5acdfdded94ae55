// `cloud operation wait`: takes up the waiting that a command did not do or did not finish.
import { EXIT, OperationFailed } from '../base.ts';
import { inputOf } from '../input.ts';
import { printOne } from '../print/index.ts';
import { doing, done } from '../progress.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { commandOf, loadGroup, type OperationSpec } from '../table.ts';
import { type OperationView, waitFor } from '../wait.ts';
import type { Words } from '../words.ts';

const DEFAULT_SECONDS = 300;

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const id = targets[0] as string;
  const get = commandOf('operation get').operation as OperationSpec;
  const view = (await remote.call(get, { target: id })).value as OperationView;
  const verb = view.kind.split('.')[1] ?? view.kind;
  const what = `${view.resource} ${view.name}`;
  try {
    const ended = await waitFor(remote, id, {
      title: `${doing(verb)} ${what}`,
      done: `${what} ${done(verb)}`,
      timeout: (typeof input['timeout'] === 'number' ? input['timeout'] : DEFAULT_SECONDS) * 1000,
      quiet: remote.settings.quiet,
    });
    await printOne(loadGroup('operation'), ended, remote.settings.output);
    return EXIT.done;
  } catch (error) {
    if (error instanceof OperationFailed && remote.settings.output !== 'table')
      await printOne(loadGroup('operation'), (await remote.call(get, { target: id })).value, remote.settings.output);
    throw error;
  }
}
