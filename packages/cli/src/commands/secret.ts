// `cloud secret create|rotate|get|value`: values come from standard input, a file or a question, and go to standard output only when asked for.
import { Fault } from '@thecloud/core/contracts';
import { askNewSecret, someoneIsThere } from '../ask.ts';
import { EXIT, err, out, usage } from '../base.ts';
import { inputOf } from '../input.ts';
import { printOne, structured } from '../print/index.ts';
import { Remote } from '../remote.ts';
import { runOperation, viewOf } from '../run.ts';
import { settingsOf } from '../settings.ts';
import { commandOf, loadGroup, type OperationSpec } from '../table.ts';
import { isSet, type Words } from '../words.ts';

interface Value {
  value: string;
}

const operation = (id: string): OperationSpec => commandOf(id).operation as OperationSpec;

export async function run(words: Words): Promise<number> {
  switch (words.command.id) {
    case 'secret create':
    case 'secret rotate':
      return runOperation(await withValue(words));
    case 'secret value':
      return value(words);
    default:
      return get(words);
  }
}

/** Somebody who gave neither a value nor a length is asked; in a pipe there is nobody. */
async function withValue(words: Words): Promise<Words> {
  const { flags } = words;
  if (flags.has('value') && flags.has('generate')) throw usage('Give either --value or --generate, not both');
  if (flags.has('value') || flags.has('generate') || flags.has('from')) return words;
  const name = words.positionals[0];
  if (name === undefined) return words; // what is missing is said as for any command
  if (!someoneIsThere()) throw usage('Give --value -, --value @file or --generate <length>', `cloud ${words.command.id} ${name} --value -`);
  return { ...words, answers: new Map([['value', await askNewSecret('Value')]]) };
}

/** Metadata from one call, the value from another, which is the one that is audited as a reading. */
async function get(words: Words): Promise<number> {
  if (isSet(words, 'watch')) return runOperation(words);
  const { targets } = await inputOf(words);
  const settings = settingsOf(words);
  const remote = new Remote(settings);
  const [target] = targets;
  if (isSet(words, 'raw') || settings.quiet) return raw(((await remote.call(operation('secret value'), { target })).value as Value).value);
  const secret = (await remote.call(operation('secret get'), { target })).value as Record<string, unknown>;
  let shown = secret;
  try {
    const { value: text } = (await remote.call(operation('secret value'), { target })).value as Value;
    shown = { ...secret, value: text };
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'forbidden') throw error;
    err(`Its value is not for you: ${error.message}.\n`);
  }
  const { output } = settings;
  if (output === 'json' || output === 'yaml') out(await structured(shown, output));
  else await printOne(loadGroup('secret'), shown, output);
  return EXIT.done;
}

async function value(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const settings = settingsOf(words);
  const answer = (await new Remote(settings).call(operation('secret value'), { target: targets[0], input })).value as Value;
  if (isSet(words, 'raw') || settings.quiet) return raw(answer.value);
  await printOne(viewOf(operation('secret value')), answer, settings.output);
  return EXIT.done;
}

/** The bytes and nothing else, for pipes. */
function raw(text: string): number {
  out(text);
  return EXIT.done;
}
