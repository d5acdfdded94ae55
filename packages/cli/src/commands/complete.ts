// `cloud complete -- words…`: what could stand where the last word is. Silent about every failure: a shell is asking, in the middle of a line.
import { out } from '../base.ts';
import { COMMON, GLOBAL } from '../common-flags.ts';
import { DEFAULT_CONTEXT, readContexts } from '../contexts.ts';
import { nameOf } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { SETTINGS, settingsOf } from '../settings.ts';
import { type Command, commandIn, type Flag, groupIn, hasGroup, loadGroup, loadIndex, subgroups } from '../table.ts';
import { flagsOf, type Words } from '../words.ts';

type Candidate = readonly [word: string, meaning?: string];

/** A key press does not wait longer for names, milliseconds. */
const PATIENCE = 700;
const FILES: readonly Candidate[] = [[':files']];

export async function run(asked: Words): Promise<number> {
  const words = [...asked.positionals, ...asked.rest];
  const current = words.at(-1) ?? '';
  const found = await candidates(words.slice(0, -1), current);
  const starts = current.startsWith('-') && current.includes('=') ? '' : current;
  out(
    found
      .filter(([word]) => word === ':files' || word.startsWith(starts))
      .map(([word, meaning]) => `${word}${meaning ? `\t${meaning}` : ''}\n`)
      .join(''),
  );
  return 0;
}

async function candidates(given: readonly string[], current: string): Promise<readonly Candidate[]> {
  const { pending, words: before, flags } = withoutGlobals(given);
  if (pending !== undefined) return valuesOf(pending, { command: NONE, flags, positionals: [], rest: [] }, current);
  const [first] = before;
  if (first === undefined) return current.startsWith('-') ? flagCandidates(GLOBAL.map((key) => COMMON[key] as Flag)) : topCandidates();
  if (first === 'help') return before.length === 1 ? topCandidates() : groupCandidates(before.slice(1));
  const found = commandIn(before);
  if (found !== undefined) return inCommand(found.command, before.slice(found.used), current, flags);
  return groupCandidates(before);
}

/** Stands for the command where there is none yet. */
const NONE: Command = { id: '', group: '', summary: '', positionals: [], flags: [], examples: [], common: [] };

/** Flags of every command may stand before it; the last of them may still wait for its value. */
function withoutGlobals(given: readonly string[]): { words: readonly string[]; pending: Flag | undefined; flags: Map<string, string[]> } {
  const globals = GLOBAL.map((key) => COMMON[key] as Flag);
  const flags = new Map<string, string[]>();
  for (let index = 0; index < given.length; index++) {
    const word = given[index] as string;
    if (!word.startsWith('-')) return { words: given.slice(index), pending: undefined, flags };
    const flag = named(globals, word.split('=', 1)[0] as string);
    if (flag === undefined || flag.type === 'boolean') continue;
    const equals = word.indexOf('=');
    if (equals < 0 && ++index === given.length) return { words: [], pending: flag, flags };
    flags.set(flag.name, [equals < 0 ? (given[index] as string) : word.slice(equals + 1)]);
  }
  return { words: [], pending: undefined, flags };
}

async function inCommand(command: Command, before: readonly string[], current: string, globals: ReadonlyMap<string, string[]>): Promise<readonly Candidate[]> {
  const flags = flagsOf(command);
  const positionals: string[] = [];
  const given = new Map<string, string[]>(globals);
  let pending: Flag | undefined;
  let literal = false;
  for (const word of before) {
    if (pending !== undefined) {
      given.set(pending.name, [...(given.get(pending.name) ?? []), word]);
      pending = undefined;
    } else if (word === '--') literal = true;
    else if (!literal && word.startsWith('-') && word !== '-') {
      const flag = named(flags, word.split('=', 1)[0] as string);
      if (flag === undefined) continue;
      if (flag.type === 'boolean' || word.includes('=')) given.set(flag.name, [...(given.get(flag.name) ?? []), word.slice(word.indexOf('=') + 1)]);
      else pending = flag;
    } else positionals.push(word);
  }
  const words: Words = { command, flags: given, positionals, rest: [] };
  if (pending !== undefined) return valuesOf(pending, words, current);
  if (!literal && current.startsWith('--') && current.includes('=')) {
    const name = current.slice(0, current.indexOf('='));
    const flag = named(flags, name);
    const values = flag === undefined ? [] : await valuesOf(flag, words, current.slice(name.length + 1));
    return values.filter(([word]) => word.startsWith(current.slice(name.length + 1))).map(([word, meaning]) => [`${name}=${word}`, meaning] as const);
  }
  if (!literal && current.startsWith('-')) return flagCandidates(flags.filter((flag) => flag.many || !given.has(flag.name)));
  const last = command.positionals.at(-1);
  const positional = command.positionals[positionals.length] ?? (last?.rest ? last : undefined);
  if (positional === undefined) return [];
  if (command.id === 'completion') return [['bash'], ['zsh'], ['fish']];
  if (command.group === 'config' && positionals.length === 0) return Object.entries(SETTINGS).map(([name, { meaning }]) => [name, meaning] as const);
  if (command.id === 'config set') return valuesOf(COMMON[positionals[0] ?? ''] ?? { name: '', type: 'string' }, words, current);
  if (command.id === 'instance cp') {
    if (/^[./~]/.test(current)) return FILES;
    const names = (await liveNames('instance', words)).map(([name, meaning]) => [`${name}:/`, meaning] as const);
    return names.some(([name]) => name.startsWith(current)) ? names : FILES;
  }
  if (positional.values !== undefined) return positional.values.map((value) => [value] as const);
  if (positional.ref === 'object') return objectNames(current, words);
  if (command.id === 'object put' || command.id === 'object get') return FILES;
  if (positional.field === 'action') return actions();
  if (command.id === 'tenant-member add') return liveNames('user', words);
  if (positional.ref === undefined) return [];
  return (await liveNames(positional.ref, words)).filter(([name]) => !positionals.includes(name));
}

const named = (flags: readonly Flag[], word: string): Flag | undefined =>
  flags.find((flag) => word === `--${flag.name}` || word === `-${flag.char}` || (flag.negatable && word === `--no-${flag.name}`));

async function valuesOf(flag: Flag, words: Words, current: string): Promise<readonly Candidate[]> {
  if (flag.values !== undefined) return flag.values.map((value) => [value] as const);
  if (flag.ref !== undefined) return liveNames(flag.ref, words);
  if (flag.field === 'image') return liveNames('image', words);
  const resource = NAMES[flag.name];
  if (resource !== undefined) return liveNames(resource, words);
  if (flag.name === 'volume' && !current.includes(':')) return (await liveNames('volume', words)).map(([name, meaning]) => [`${name}:/`, meaning] as const);
  if (flag.name === 'unset') return words.command.flags.filter((one) => one.nullable).map((one) => [one.name, one.description] as const);
  if (flag.name === 'columns' && hasGroup(words.command.group)) {
    const done = current.includes(',') ? current.slice(0, current.lastIndexOf(',') + 1) : '';
    return loadGroup(words.command.group).fields.map(({ field, header }) => [`${done}${field}`, header] as const);
  }
  if (flag.file && current.startsWith('@')) return [];
  return ['from', 'file', 'identity', 'out', 'data-dir', 'socket'].includes(flag.name) ? FILES : [];
}

/** Flags that name something which is no reference in the contract, because it may be another thing too (an id, a built-in). */
const NAMES: Readonly<Record<string, string>> = {
  user: 'tenant-member',
  role: 'role',
  'service-account': 'service-account',
  'api-key': 'api-key',
  permission: 'action',
};

/** What policies and roles speak of, as far as the table knows: every command of a resource. */
const actions = (): readonly Candidate[] =>
  loadIndex().groups.flatMap(({ name, resource }) =>
    resource
      ? loadGroup(name).commands.flatMap(({ operation, summary }) =>
          operation === undefined || operation.anonymous || operation.administrators ? [] : [[`${operation.resource}:${operation.name}`, summary] as const],
        )
      : [],
  );

const contextNames = (): readonly Candidate[] => {
  try {
    return [DEFAULT_CONTEXT, ...Object.keys(readContexts().contexts).filter((name) => name !== DEFAULT_CONTEXT)].map((name) => [name] as const);
  } catch {
    return []; // an unreadable file is told by the command, not in the middle of a line
  }
};

/** Names that there are now, with their states; none when the daemon is away or slow. */
async function liveNames(resource: string, words: Words): Promise<readonly Candidate[]> {
  if (resource === 'context') return contextNames();
  if (resource === 'action') return actions();
  if (!hasGroup(resource)) return [];
  const list = loadGroup(resource).commands.find((one) => one.operation?.name === 'list')?.operation;
  if (list === undefined) return [];
  try {
    const { value } = await new Remote(settingsOf(words)).call(list, { patience: PATIENCE, input: list.standard === 'list' ? { limit: 200 } : {} });
    const { items } = value as { items: Record<string, unknown>[] };
    return items.map((item) => [resource === 'operation' ? String(item['id']) : nameOf(item), printable(String(item['state'] ?? ''))] as const);
  } catch {
    return []; // no names: the line can still be typed
  }
}

/** Keys are chosen by others, and bash puts a word into the line as it is: none with a meaning to a shell. */
const PLAIN_KEY = /^[\p{L}\p{N}_@%+=:,./-]+$/u;

/** Buckets until there is a slash, then what is in the folder so far; a path of this machine, where a side may be one. */
async function objectNames(current: string, words: Words): Promise<readonly Candidate[]> {
  const local = words.command.id === 'object sync';
  if (local && /^[./~]/.test(current)) return FILES;
  const slash = current.indexOf('/');
  if (slash < 0) {
    const buckets = (await liveNames('bucket', words)).map(([name, meaning]) => [`${name}/`, meaning] as const);
    return local && !buckets.some(([name]) => name.startsWith(current)) ? FILES : buckets;
  }
  const list = loadGroup('object').commands.find((one) => one.operation?.name === 'list')?.operation;
  if (list === undefined) return [];
  try {
    const { value } = await new Remote(settingsOf(words)).call(list, { target: current, patience: PATIENCE, input: { limit: 200 } });
    const { items, folders } = value as { items: { key: string }[]; folders: string[] };
    const bucket = current.slice(0, slash);
    return [...folders, ...items.map(({ key }) => key)].flatMap((key) => (PLAIN_KEY.test(key) ? [[`${bucket}/${key}`] as const] : []));
  } catch {
    return []; // no names: the line can still be typed
  }
}

const topCandidates = (): readonly Candidate[] => {
  const { groups, commands } = loadIndex();
  return [
    ...groups.filter((one) => one.spoken === undefined).map(({ name, summary }) => [name, summary] as const),
    ...commands.filter((one) => !one.hidden).map(({ id, summary }) => [id, summary] as const),
    ['help', 'Explain a command'],
  ];
};

/** What may follow words that begin a command: operations, and the rest of the names of groups (`member` after `tenant`). */
const groupCandidates = (words: readonly string[]): readonly Candidate[] => {
  const group = groupIn(words);
  if (group === undefined || words.length > group.used) return [];
  const { name } = group;
  return [
    ...loadGroup(name)
      .commands.filter((one) => !one.hidden)
      .map(({ id, summary }) => [id.slice(name.length + 1), summary] as const),
    ...subgroups(name).map((one) => [one.name.slice(name.length + 1), one.summary] as const),
  ];
};

const flagCandidates = (flags: readonly Flag[]): readonly Candidate[] =>
  flags.flatMap((flag) => [[`--${flag.name}`, flag.description] as const, ...(flag.negatable ? [[`--no-${flag.name}`, flag.description] as const] : [])]);
