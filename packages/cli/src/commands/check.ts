// `cloud policy lint` and `cloud audit verify`: questions whose answer is also an exit code, 1 when something is wrong.
import { EXIT, err, out, pathText } from '../base.ts';
import { inputOf } from '../input.ts';
import { listText, printOne, structured } from '../print/index.ts';
import { Remote } from '../remote.ts';
import { viewOf } from '../run.ts';
import { settingsOf } from '../settings.ts';
import type { Column, OperationSpec } from '../table.ts';
import type { Words } from '../words.ts';

interface Checked {
  ok: boolean;
  findings?: Record<string, unknown>[];
  problems?: Record<string, unknown>[];
  lines?: number;
}

const FINDINGS: readonly Column[] = [
  { field: 'level', header: 'Level', format: 'state' },
  { field: 'path', header: 'Where', format: 'text' },
  { field: 'message', header: 'Message', format: 'text' },
];
const PROBLEMS: readonly Column[] = [
  { field: 'id', header: 'Line', format: 'text' },
  { field: 'problem', header: 'Problem', format: 'text' },
];

export async function run(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const settings = settingsOf(words);
  const { output, quiet } = settings;
  const operation = words.command.operation as OperationSpec;
  const answer = (await new Remote(settings).call(operation, { input })).value as Checked;
  const code = answer.ok ? EXIT.done : EXIT.failed;
  if (output === 'json' || output === 'yaml') out(await structured(answer, output));
  else if (output === 'wide') await printOne(viewOf(operation), answer, output);
  else {
    const found = answer.findings?.map((one) => ({ ...one, path: pathText(String(one['path'] ?? '').split('.')) })) ?? answer.problems ?? [];
    if (found.length > 0) out(listText(answer.findings === undefined ? PROBLEMS : FINDINGS, found, true, output));
    if (answer.ok && !quiet) err(answer.lines === undefined ? 'The document is right.\n' : `${answer.lines} lines, and the chain is whole.\n`);
  }
  return code;
}
