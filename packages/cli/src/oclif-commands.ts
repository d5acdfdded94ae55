// The table as oclif's Command classes. oclif only reads the words here: what they mean is decided by the same code as on the fast path.
import { Args, Flags, type Interfaces, Command as OclifCommand } from '@oclif/core';
import { type Command, type Flag, loadGroup, loadIndex } from './table.ts';
import { flagsOf, type Words } from './words.ts';

/** What followed `--`, kept from oclif, which would mix it with the positional arguments. */
let afterDashes: readonly string[] = [];
export const setRest = (words: readonly string[]): void => {
  afterDashes = words;
};

type FlagSpec = Interfaces.FlagInput[string];

function flagFrom(flag: Flag): FlagSpec {
  const base = {
    description: flag.description ?? '',
    ...(flag.char === undefined ? {} : { char: flag.char as 'a' }),
    ...(flag.hidden ? { hidden: true } : {}),
  };
  if (flag.type === 'boolean') return Flags.boolean({ ...base, allowNo: flag.negatable === true });
  // Values are checked later, the same way as on the fast path: here they are only words.
  return flag.many ? Flags.string({ ...base, multiple: true, multipleNonGreedy: true }) : Flags.string(base);
}

function classFrom(command: Command): typeof OclifCommand {
  const flags = Object.fromEntries(flagsOf(command).map((flag) => [flag.name, flagFrom(flag)]));
  const args = Object.fromEntries(command.positionals.map((one) => [one.label, Args.string({ description: one.description ?? '', ignoreStdin: true })]));
  class TableCommand extends OclifCommand {
    static override id = command.id.replaceAll(' ', ':');
    static override summary = command.summary;
    static override description = command.description ?? '';
    static override examples = command.examples.map(([line, description]) => ({ command: `<%= config.bin %> ${line}`, description }));
    static override hidden = command.hidden === true;
    static override strict = false;
    static override flags = flags;
    static override args = args;

    async run(): Promise<number> {
      const { raw } = await this.parse(TableCommand);
      const found = new Map<string, string[]>();
      const positionals: string[] = [];
      for (const token of raw) {
        if (token.type === 'arg') positionals.push(token.input);
        else {
          const flag = flagsOf(command).find((one) => one.name === token.flag) as Flag;
          const value = flag.type === 'boolean' ? String(!token.input.startsWith('--no-') || flag.name.startsWith('no-')) : token.input;
          if (flag.many) found.set(flag.name, [...(found.get(flag.name) ?? []), value]);
          else found.set(flag.name, [value]);
        }
      }
      const words: Words = { command, flags: found, positionals, rest: afterDashes };
      if (command.module === undefined) return (await import('./run.ts')).runOperation(words);
      return (await import('./commands/index.ts')).runCommand(words);
    }
  }
  return TableCommand;
}

/** By oclif's ids (`instance:list`); each class is made when it is asked for. */
export const COMMANDS: Record<string, typeof OclifCommand> = {};
for (const group of ['', ...loadIndex().groups.map(({ name }) => name)]) {
  const ids = group === '' ? loadIndex().commands : (loadIndex().groups.find(({ name }) => name === group)?.commands ?? []);
  for (const { id } of ids) {
    Object.defineProperty(COMMANDS, id.replaceAll(' ', ':'), {
      enumerable: true,
      get: () => classFrom(loadGroup(group).commands.find((one) => one.id === id) as Command),
    });
  }
}
