// `cloud bucket configure`: a part is taken away only by a word that says so, not by one that was forgotten.
import { EXIT, out, usage } from '../base.ts';
import { inputOf } from '../input.ts';
import { printOne } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { runOperation, viewOf } from '../run.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remove = isSet(words, 'remove');
  const name = String(input['name']);
  const bucket = targets[0] ?? '';
  if (!words.flags.has('from') && remove === (input['value'] !== undefined))
    throw usage(remove ? 'Give a value or --remove, not both' : 'Give a value, or --remove to take it away', `cloud bucket configuration ${bucket}`);
  const settings = settingsOf(words);
  if (isSet(words, 'dry-run')) return runOperation(words);
  const operation = words.command.operation as OperationSpec;
  const { value } = await new Remote(settings).call(operation, { target: bucket, input });
  if (settings.output !== 'table') {
    await printOne(viewOf(operation), value, settings.output);
    return EXIT.done;
  }
  if (!settings.quiet) out(`${printable(name)} of bucket ${printable(bucket)} ${remove ? 'removed' : 'set'}\n`);
  return EXIT.done;
}
