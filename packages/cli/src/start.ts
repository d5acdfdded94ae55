// From words to a command. Plain command lines run straight from the table, without a framework; all others through oclif.
import { nearest } from '@thecloud/core/contracts';
import { EXIT, flushed, out, quietOnClosedPipe, tell, usage } from './base.ts';
import { helpFor } from './help.ts';
import { runOperation } from './run.ts';
import { wantsJson } from './settings.ts';
import { type Command, commandIn, findCommand, groupIn, loadGroup, loadIndex, spokenGroup, subgroups } from './table.ts';
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
    const found = resolve(words);
    command = found.command;
    const rest = words.slice(found.used);
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
  return namesGroup(before);
}

const namesGroup = (words: readonly string[]): string | undefined => {
  const group = groupIn(words);
  return group !== undefined && words.length === group.used ? helpFor([group.name]) : undefined;
};

/** The words that name a command; throws for what does not exist. */
function named(words: readonly string[]): string[] {
  const names = words.filter((word) => !word.startsWith('-'));
  if (names.length === 0) return [];
  const group = groupIn(names);
  if (group !== undefined && names.length === group.used) return [group.name];
  return resolve(names).command.id.split(' ');
}

function resolve(words: readonly string[]): { command: Command; used: number } {
  const found = commandIn(words);
  if (found !== undefined) return found;
  const [first = '', second] = words;
  const { groups, commands } = loadIndex();
  const group = groupIn(words);
  if (group === undefined) {
    if (first.startsWith('-')) throw usage(`There is no flag ${first} here`, 'cloud --help');
    const names = [...groups.map(({ name }) => name), ...commands.filter((one) => !one.hidden).map(({ id }) => id), 'help'];
    const joined = second === undefined || second.startsWith('-') ? undefined : nearestBoth(first, second, groups);
    if (joined !== undefined)
      throw usage(`There is no command "${first} ${second}". Did you mean ${joined}?`, `cloud ${[joined, ...words.slice(2)].join(' ')}`);
    const near = nearest(first, names);
    throw usage(
      `There is no command "${first}"${near === undefined ? orderSwapped(first, second) : `. Did you mean ${near}?`}`,
      near === undefined ? 'cloud --help' : `cloud ${[near, ...words.slice(1)].join(' ')}`,
    );
  }
  const said = spokenGroup(group.name);
  const [action, ...more] = words.slice(group.used);
  if (action !== undefined && !action.startsWith('-')) {
    const names = loadGroup(group.name)
      .commands.filter((one) => !one.hidden)
      .map(({ id }) => id.slice(group.name.length + 1));
    const below = subgroups(group.name).map(({ name }) => name.slice(group.name.length + 1));
    const near = nearest(action, [...names, ...below]) ?? SYNONYMS[action]?.find((one) => names.includes(one));
    throw usage(
      `\`cloud ${said}\` has no "${action}"${near === undefined ? `; it has ${[...names, ...below].join(', ')}` : `. Did you mean ${near}?`}`,
      near === undefined ? `cloud ${said} --help` : `cloud ${[said, near, ...more].join(' ')}`,
    );
  }
  throw usage(`Say what to do: \`cloud ${said} <operation>\``, `cloud ${said} --help`);
}

/** `tenat member`: both words together are nearly a group. */
function nearestBoth(first: string, second: string, groups: readonly { name: string; spoken?: string }[]): string | undefined {
  const spokenNames = groups.flatMap((group) => group.spoken ?? []);
  const near = nearest(`${first} ${second}`, spokenNames);
  return near !== undefined && near.endsWith(` ${second}`) ? near : undefined;
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
