// `cloud dns dig` and `cloud zone export`: answers and zone files as they are, without a table around them.
import { EXIT, err, out } from '../base.ts';
import { inputOf } from '../input.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import type { Words } from '../words.ts';

interface Dug {
  status: string;
  from: 'zone' | 'outside' | 'nobody';
  answers: { name: string; ttl: number; type: string; value: string }[];
}

const FROM: Readonly<Record<Dug['from'], string>> = {
  zone: 'a zone of the VPC',
  outside: 'the resolvers of the host',
  nobody: 'nobody: the question does not leave the VPC',
};

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const { output, quiet } = remote.settings;
  const [target] = targets;
  const { value } = await remote.call(words.command.operation as OperationSpec, { ...(target === undefined ? {} : { target }), input });
  if (output === 'json' || output === 'yaml') {
    out(await structured(value, output));
    return EXIT.done;
  }
  if (words.command.id === 'zone export') {
    // A file for other programs: what is in it was quoted when it was written.
    out((value as { content: string }).content);
    return EXIT.done;
  }
  const { status, from, answers } = value as Dug;
  for (const { name, ttl, type, value: data } of answers) out(`${printable(output === 'wide' ? `${name} ${ttl} ${type} ${data}` : data)}\n`);
  if (answers.length === 0 && !quiet) err(`${status === 'NOERROR' ? 'There is nothing of that type' : status} (asked: ${FROM[from]})\n`);
  return status === 'NOERROR' ? EXIT.done : EXIT.failed;
}
