// `cloud object presign`: the address alone on standard output, so that it can stand in another command.
import { EXIT, err, out } from '../base.ts';
import { inputOf } from '../input.ts';
import { localTime } from '../print/cells.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { runOperation } from '../run.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const settings = settingsOf(words);
  if (isSet(words, 'dry-run') || settings.output !== 'table') return runOperation(words);
  const { targets, input } = await inputOf(words);
  const { url, expiresAt } = (await new Remote(settings).call(words.command.operation as OperationSpec, { target: targets[0], input })).value as {
    url: string;
    expiresAt: string;
  };
  out(`${printable(url)}\n`);
  if (!settings.quiet) err(`Good until ${localTime(expiresAt)}, for whoever has it.\n`);
  return EXIT.done;
}
