// From words to a command. Plain command lines run straight from the table, without a framework; all others through oclif.
import { nearest } from '@thecloud/core/contracts';
import { EXIT, flushed, out, quietOnClosedPipe, tell, usage } from './base.ts';
import { helpFor } from './help.ts';
import { runOperation } from './run.ts';
import { wantsJson } from './settings.ts';
import { type Command, findCommand, hasGroup, loadGroup, loadIndex } from './table.ts';
import { commandFirst, parse } from './words.ts';

export async function main(argv: readonly string[]): Promise<void> {
  quietOnClosedPipe();
  const code = await start(argv);
  await flushed();
  process.exit(code);
}

async function start(argv: readonly string[]): Promise<number> {
  const words = commandFirst(argv);
  let command: Command | undefined;
  try {
    const help = askedForHelp(words);
    if (help !== undefined) {
      out(help);
      return EXIT.done;
    }
    command = resolve(words);
    const rest = words.slice(command.id.split(' ').length);
    const fast = parse(command, rest);
    if (fast === undefined) return await (await import('./oclif.ts')).runWithOclif(command, rest);
    return command.module === undefined ? await runOperation(fast) : await (await import('./commands/index.ts')).runCommand(fast);
  } catch (error) {
    return tell(error, { command, json: wantsJson(words) });
  }
}

/** Help is for whoever asks anywhere before `--`: `cloud`, `cloud help vpc`, `cloud vpc`, `cloud vpc create --help`. */
function askedForHelp(words: readonly string[]): string | undefined {
  const end = words.indexOf('--');
  const before = end < 0 ? words : words.slice(0, end);
  const [first] = before;
  if (first === undefined || first === '--help' || first === '-h') return helpFor([]);
  if (first === 'complete') return undefined;
  if (first === 'help') return helpFor(named(before.slice(1)));
  if (before.includes('--help') || before.includes('-h')) return helpFor(named(before));
  if (before.length === 1 && hasGroup(first)) return helpFor([first]);
  return undefined;
}

/** The words that name a command; throws for what does not exist. */
function named(words: readonly string[]): string[] {
  const names = words.filter((word) => !word.startsWith('-'));
  const [first] = names;
  if (first === undefined) return [];
  if (names.length === 1 && hasGroup(first)) return [first];
  return resolve(names).id.split(' ');
}

function resolve(words: readonly string[]): Command {
  const [first = '', second] = words;
  const { groups, commands } = loadIndex();
  if (!hasGroup(first)) {
    const single = findCommand(first);
    if (single !== undefined) return single;
    if (first.startsWith('-')) throw usage(`There is no flag ${first} here`, 'cloud --help');
    const names = [...groups.map(({ name }) => name), ...commands.filter((one) => !one.hidden).map(({ id }) => id), 'help'];
    const near = nearest(first, names);
    throw usage(
      `There is no command "${first}"${near === undefined ? orderSwapped(first, second) : `. Did you mean ${near}?`}`,
      near === undefined ? 'cloud --help' : `cloud ${[near, ...words.slice(1)].join(' ')}`,
    );
  }
  if (second !== undefined && !second.startsWith('-')) {
    const found = findCommand(`${first} ${second}`);
    if (found !== undefined) return found;
    const names = loadGroup(first)
      .commands.filter((one) => !one.hidden)
      .map(({ id }) => id.slice(first.length + 1));
    const near = nearest(second, names) ?? SYNONYMS[second]?.find((one) => names.includes(one));
    throw usage(
      `\`cloud ${first}\` has no "${second}"${near === undefined ? `; it has ${names.join(', ')}` : `. Did you mean ${near}?`}`,
      near === undefined ? `cloud ${first} --help` : `cloud ${[first, near, ...words.slice(2)].join(' ')}`,
    );
  }
  throw usage(`Say what to do: \`cloud ${first} <operation>\``, `cloud ${first} --help`);
}

/** What other tools call the same things. */
const SYNONYMS: Readonly<Record<string, readonly string[]>> = {
  ls: ['list'],
  rm: ['delete'],
  remove: ['delete'],
  destroy: ['delete'],
  describe: ['get'],
  show: ['get', 'info', 'status', 'list'],
  inspect: ['get'],
  add: ['create', 'set'],
  new: ['create'],
  run: ['create', 'exec'],
  edit: ['update'],
  up: ['start'],
  down: ['stop'],
  log: ['logs'],
  copy: ['cp'],
};

/** `cloud list instances`: the words are right, their order is not. */
function orderSwapped(first: string, second: string | undefined): string {
  if (second === undefined || second.startsWith('-')) return '';
  const group = loadIndex().groups.find(({ name }) => name === second || `${name}s` === second);
  return group !== undefined && findCommand(`${group.name} ${first}`) !== undefined ? `. Did you mean \`cloud ${group.name} ${first}\`?` : '';
}
