// The path of every command line that is not plain: oclif takes it apart, and its complaints become ours, with what was probably meant.
import { fileURLToPath } from 'node:url';
import { run } from '@oclif/core';
import { nearest } from '@thecloud/core/contracts';
import { usage } from './base.ts';
import { setRest } from './oclif-commands.ts';
import { type Command, findCommand, spoken } from './table.ts';
import { flagsOf } from './words.ts';

const root = fileURLToPath(new URL(import.meta.url.includes('/bundle/') ? '../..' : '..', import.meta.url));

export async function runWithOclif(command: Command, argv: readonly string[]): Promise<number> {
  const dashes = argv.indexOf('--');
  setRest(dashes < 0 ? [] : argv.slice(dashes + 1));
  const before = dashes < 0 ? argv : argv.slice(0, dashes);
  try {
    return (await run([...command.id.split(' '), ...before], { root })) as number;
  } catch (error) {
    throw translated(error, command);
  }
}

/** oclif's own complaints are about words; they are told by class, never by text. */
function translated(error: unknown, command: Command): unknown {
  const { constructor, flags } = error as { constructor: { name: string }; flags?: unknown };
  if (constructor.name === 'NonExistentFlagsError' && Array.isArray(flags)) return unknownFlag(String(flags[0]), command);
  if (error instanceof Error && 'oclif' in error && constructor.name !== 'ModuleLoadError')
    return usage(error.message.split('\n')[0] ?? error.message, `cloud ${spoken(command.id)} --help`);
  return error;
}

function unknownFlag(word: string, command: Command): Error {
  const name = word.split('=', 1)[0] as string;
  const known = flagsOf(command).flatMap((flag) => [`--${flag.name}`, ...(flag.negatable ? [`--no-${flag.name}`] : [])]);
  const near = name.startsWith('--')
    ? (nearest(
        name.slice(2),
        known.map((one) => one.slice(2)),
      ) ?? begins(name.slice(2), known))
    : undefined;
  const atCreation = command.operation?.standard === 'update' && findCommand(`${command.group} create`)?.flags.some((one) => `--${one.name}` === name);
  if (atCreation)
    return usage(`${name} is set by \`cloud ${command.group} create\`; \`cloud ${spoken(command.id)}\` cannot change it`, `cloud ${spoken(command.id)} --help`);
  const hint = command.passThrough
    ? `what belongs to the program goes after --: cloud ${spoken(command.id)} web -- ls -l`
    : `cloud ${spoken(command.id)} --help`;
  return usage(`\`cloud ${spoken(command.id)}\` has no flag ${name}${near === undefined ? '' : `. Did you mean --${near}?`}`, hint);
}

/** `--pub` for `--publish`: the beginning of exactly one. */
function begins(text: string, known: readonly string[]): string | undefined {
  const found = known.filter((one) => one.slice(2).startsWith(text));
  return text.length >= 2 && found.length === 1 ? found[0]?.slice(2) : undefined;
}
