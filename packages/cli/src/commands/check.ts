// `cloud auth can-i`, `policy simulate`, `policy lint`, `audit verify`: questions whose answer is yes or no. All but the simulation, which asks about
// others, say it by their exit code too: 1 for no.
import { colours, EXIT, err, out, paint, pathText } from '../base.ts';
import { inputOf } from '../input.ts';
import { listText, printOne, structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
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

const STATEMENTS: readonly Column[] = [
  { field: 'policy', header: 'Policy', format: 'text' },
  { field: 'sid', header: 'Statement', format: 'text' },
  { field: 'effect', header: 'Effect', format: 'text' },
  { field: 'matched', header: 'Fits', format: 'boolean' },
  { field: 'why', header: 'Why', format: 'text' },
];

interface Verdict {
  allowed: boolean;
  resource: string;
  reason: string;
  wouldAllow?: string;
  statements?: { sid?: string; statement: number }[];
}

export async function run(words: Words): Promise<number> {
  return words.command.id === 'policy lint' || words.command.id === 'audit verify' ? check(words) : verdict(words);
}

async function verdict(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const { output, quiet, ...settings } = settingsOf(words);
  const simulated = words.command.id === 'policy simulate';
  const answer = (await new Remote({ output, quiet, ...settings }).call(words.command.operation as OperationSpec, { input })).value as Verdict;
  const code = answer.allowed || simulated ? EXIT.done : EXIT.failed;
  if (quiet && !simulated) return code;
  if (output === 'json' || output === 'yaml') {
    out(await structured(answer, output));
    return code;
  }
  const colour = colours(process.stdout);
  out(`${answer.allowed ? paint('green', 'yes', colour) : paint('red', 'no', colour)}: ${printable(answer.reason)}\n`);
  if (!answer.allowed && answer.wouldAllow !== undefined && output !== 'name' && !quiet) err(`${printable(answer.wouldAllow)}\n`);
  const statements = answer.statements?.map((one) => ({ ...one, sid: one.sid ?? `[${one.statement}]` })) ?? [];
  if (statements.length > 0 && (output === 'wide' || (simulated && output === 'table'))) out(`\n${listText(STATEMENTS, statements, true, output)}`);
  return code;
}

async function check(words: Words): Promise<number> {
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
    if (answer.ok && !quiet)
      err(
        answer.lines === undefined
          ? found.length > 0
            ? 'There are no errors.\n'
            : 'The document is right.\n'
          : `${answer.lines} lines, and the chain is whole.\n`,
      );
  }
  return code;
}
