// A command line in tokens. The own parser understands plain command lines in no time; what it does not understand, oclif explains.
import { COMMON, GLOBAL } from './common-flags.ts';
import type { Command, Flag } from './table.ts';

export interface Words {
  command: Command;
  /** By flag name; a boolean flag holds `true` or `false` as text. */
  flags: ReadonlyMap<string, readonly string[]>;
  positionals: readonly string[];
  /** What stood after `--`. */
  rest: readonly string[];
  /** Fields that the command asked for: values as they are, never on a command line. */
  answers?: ReadonlyMap<string, string>;
}

export const flagsOf = (command: Command): Flag[] => [...command.flags.filter((flag) => !flag.hidden), ...command.common.flatMap((key) => COMMON[key] ?? [])];

/** Undefined when anything is unusual: unknown or repeated flags, missing values, bundled letters. */
export function parse(command: Command, argv: readonly string[]): Words | undefined {
  const byName = new Map<string, [flag: Flag, negative: boolean]>();
  for (const flag of flagsOf(command)) {
    byName.set(`--${flag.name}`, [flag, false]);
    if (flag.char !== undefined) byName.set(`-${flag.char}`, [flag, false]);
    if (flag.negatable) byName.set(`--no-${flag.name}`, [flag, true]);
  }
  const flags = new Map<string, string[]>();
  const positionals: string[] = [];
  let rest: readonly string[] = [];
  for (let index = 0; index < argv.length; index++) {
    const word = argv[index] as string;
    if (word === '--') {
      rest = argv.slice(index + 1);
      break;
    }
    if (!word.startsWith('-') || word === '-') {
      positionals.push(word);
      continue;
    }
    const equals = word.startsWith('--') ? word.indexOf('=') : -1;
    const found = byName.get(equals < 0 ? word : word.slice(0, equals));
    if (found === undefined) return undefined;
    const [flag, negative] = found;
    const before = flags.get(flag.name);
    if (before !== undefined && !flag.many) return undefined;
    if (flag.type === 'boolean') {
      if (equals >= 0) return undefined;
      flags.set(flag.name, [String(!negative)]);
      continue;
    }
    const value = equals < 0 ? argv[++index] : word.slice(equals + 1);
    if (value === undefined || (equals < 0 && value.length > 1 && value.startsWith('-'))) return undefined;
    if (before === undefined) flags.set(flag.name, [value]);
    else before.push(value);
  }
  return { command, flags, positionals, rest };
}

/** Flags that every command takes may also stand before it: they are moved behind. Answers the words with the command first. */
export function commandFirst(argv: readonly string[]): string[] {
  const byWord = new Map<string, Flag>();
  for (const key of GLOBAL) {
    const flag = COMMON[key] as Flag;
    byWord.set(`--${flag.name}`, flag);
    if (flag.char !== undefined) byWord.set(`-${flag.char}`, flag);
  }
  const moved: string[] = [];
  let index = 0;
  for (; index < argv.length; index++) {
    const word = argv[index] as string;
    const equals = word.indexOf('=');
    const flag = byWord.get(equals < 0 ? word : word.slice(0, equals));
    if (flag === undefined) break;
    moved.push(word);
    if (flag.type !== 'boolean' && equals < 0 && index + 1 < argv.length) moved.push(argv[++index] as string);
  }
  if (moved.length === 0) return [...argv];
  const words = argv.slice(index);
  const end = words.indexOf('--');
  return end < 0 ? [...words, ...moved] : [...words.slice(0, end), ...moved, ...words.slice(end)];
}

export const flag = (words: Words, name: string): string | undefined => words.flags.get(name)?.at(-1);
export const isSet = (words: Words, name: string): boolean => flag(words, name) === 'true';
