// What the CLI knows of the contracts: plain JSON, written by the build, read one resource at a time. No zod at run time.
import { readFileSync } from 'node:fs';

export type FlagType = 'string' | 'integer' | 'number' | 'boolean' | 'map' | 'json';

export interface Flag {
  /** Field of the operation's input; absent for what the CLI itself means by the flag. */
  field?: string;
  /** Long name, without dashes. */
  name: string;
  char?: string;
  type: FlagType;
  /** May be given several times. */
  many?: true;
  values?: readonly string[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  required?: true;
  /** The field may be set to nothing (`--unset`). */
  nullable?: true;
  /** Also understood as `--no-<name>`. */
  negatable?: true;
  description?: string;
  example?: string;
  /** Values are names of this resource. */
  ref?: string;
  /** A number of seconds: `5m` is understood. */
  seconds?: true;
  /** A point in time: a date is understood, and `24h` for so long ago, or so long from now. */
  time?: 'ago' | 'from now';
  /** Takes `@path`, or `-` for standard input. */
  file?: true;
  /** Takes nothing else than these two: what is typed stands in the shell's history and in `ps`. Asked for on a terminal where it is required. */
  secret?: true;
  hidden?: true;
}

export interface Positional {
  /** Field of the input; `$target` is the resource that the command acts on. */
  field: string;
  label: string;
  type: FlagType;
  required: boolean;
  values?: readonly string[];
  /** Takes all that follow. */
  rest?: true;
  /** Takes `@path`, or `-` for standard input. */
  file?: true;
  secret?: true;
  ref?: string;
  description?: string;
}

export type Format =
  | 'text'
  | 'age'
  | 'time'
  | 'bytes'
  | 'mib'
  | 'gib'
  | 'state'
  | 'ports'
  | 'mounts'
  | 'labels'
  | 'list'
  | 'boolean'
  | 'seconds'
  | 'words'
  | 'document'
  | 'json';

export interface Column {
  field: string;
  header: string;
  format: Format;
  /** Only with `--output wide`, or when named. */
  wide?: true;
}

/** What the answer is: the resource, a list, some other object, items of a stream, the result of a channel. */
export type Form = 'resource' | 'items' | 'object' | 'stream' | 'channel';

export interface Command {
  /** Words: `instance create`. */
  id: string;
  group: string;
  summary: string;
  description?: string;
  positionals: readonly Positional[];
  flags: readonly Flag[];
  examples: readonly (readonly [command: string, meaning: string])[];
  /** Which of the CLI's common flags it takes. */
  common: readonly string[];
  hidden?: true;
  /** Written by hand: the module in `commands/` that runs it. */
  module?: string;
  /** Everything after the positionals (or after `--`) belongs to something else. */
  passThrough?: true;
  operation?: OperationSpec;
}

export interface OperationSpec {
  resource: string;
  name: string;
  kind: 'read' | 'write' | 'stream' | 'channel';
  standard?: 'create' | 'list' | 'get' | 'update' | 'delete';
  method: string;
  path: string;
  target: boolean;
  async: boolean;
  destructive: boolean;
  form: Form;
  /** Takes several targets at once. */
  manyTargets?: true;
  /** Answers with another resource than its own (a volume's snapshot). */
  shows?: string;
  /** Of the answer or its items, where that is something else than the resource. */
  fields?: readonly Column[];
  /** The input has `allowRestart`. */
  restarts?: true;
  /** Needs no credentials, and is sent none. */
  anonymous?: true;
  /** For administrators of the installation: no role and no policy gives it. */
  administrators?: true;
  /** No answer is kept for a repeated call, so it is not repeated by itself. */
  once?: true;
  /** The answer holds something that is shown this one time. */
  secretAnswer?: true;
}

export interface Group {
  name: string;
  /** Written with spaces, where its beginning is a group too. */
  spoken?: string;
  summary: string;
  description?: string;
  /** False for `daemon`, `config` and whatever else is the CLI's own. */
  resource: boolean;
  commands: readonly { id: string; summary: string; hidden?: true }[];
}

export interface Index {
  groups: readonly Group[];
  /** Commands of one word: `completion`, `version`. */
  commands: readonly { id: string; summary: string; hidden?: true }[];
}

export interface GroupTable {
  group: Group;
  /** Path of one resource: `/v1/instances/{instance}`. */
  path?: string;
  columns: readonly Column[];
  /** All fields of the resource, in the order in which `get` shows them. */
  fields: readonly Column[];
  states: readonly string[];
  commands: readonly Command[];
}

const folder = new URL(import.meta.url.endsWith('.ts') ? '../dist/table/' : import.meta.url.includes('/bundle/') ? '../table/' : './table/', import.meta.url);
const loaded = new Map<string, unknown>();

function load<T>(name: string): T {
  let value = loaded.get(name);
  if (value === undefined) {
    value = JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8'));
    loaded.set(name, value);
  }
  return value as T;
}

export const loadIndex = (): Index => load<Index>('index');
export const loadGroup = (name: string): GroupTable => load<GroupTable>(`group-${name === '' ? 'top' : name}`);
export const hasGroup = (name: string): boolean => loadIndex().groups.some((group) => group.name === name);

/** The command of that id; throws when there is none, which only a caller's mistake can make happen. */
export function commandOf(id: string): Command {
  const found = findCommand(id);
  if (found === undefined) throw new Error(`No command "${id}" in the table`);
  return found;
}

export function findCommand(id: string): Command | undefined {
  const space = id.indexOf(' ');
  const group = space < 0 ? '' : id.slice(0, space);
  if (group !== '' && !hasGroup(group)) return undefined;
  return loadGroup(group).commands.find((command) => command.id === id);
}

/** How many of the words name a group: `tenant member` is two that name `tenant-member`. */
export function groupIn(words: readonly string[]): { name: string; used: number } | undefined {
  const [first = '', second] = words;
  const both = `${first}-${second}`;
  if (second !== undefined && hasGroup(both) && (!hasGroup(first) || findCommand(`${first} ${second}`) === undefined)) return { name: both, used: 2 };
  return hasGroup(first) ? { name: first, used: 1 } : undefined;
}

/** The command that the words begin with. A hyphen in the name of a group or of an action may be a space. */
export function commandIn(words: readonly string[]): { command: Command; used: number } | undefined {
  const group = groupIn(words);
  if (group === undefined) {
    const command = findCommand(words[0] ?? '');
    return command === undefined ? undefined : { command, used: 1 };
  }
  // As few words as make a command: `secret delete version` deletes the secret `version`.
  for (let count = 1; count <= LONGEST_ACTION && group.used + count <= words.length; count++) {
    const command = findCommand(`${group.name} ${words.slice(group.used, group.used + count).join('-')}`);
    if (command !== undefined) return { command, used: group.used + count };
  }
  return undefined;
}

const LONGEST_ACTION = 3;

/** How a command is written in help and hints: the group `tenant-member` beside `tenant` is `tenant member`. */
export const spoken = (id: string): string => {
  const [group = '', ...rest] = id.split(' ');
  return [spokenGroup(group), ...rest].join(' ');
};
export const spokenGroup = (name: string): string => loadIndex().groups.find((one) => one.name === name)?.spoken ?? name;

/** Groups whose name goes on where this one's ends: `tenant-member` of `tenant`. */
export const subgroups = (name: string): readonly Group[] => loadIndex().groups.filter((one) => one.spoken !== undefined && one.name.startsWith(`${name}-`));
