// The own parser and oclif's must read the same words in a command line, or the fast path would be another command line language.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { buildTables } from './build/table.ts';
import type { Command } from './table.ts';
import { commandFirst, flagsOf, parse } from './words.ts';

const { groups } = buildTables();
const command = (id: string): Command => {
  const found = Object.values(groups)
    .flatMap((group) => group.commands)
    .find((one) => one.id === id);
  if (found === undefined) throw new Error(`no command ${id}`);
  return found;
};

describe('the own parser', () => {
  const create = command('instance create');

  it('reads flags in every plain form', () => {
    const words = parse(create, ['web', '--image', 'busybox', '-p', '8080:80', '--publish=9090:90', '-e', 'A=b=c', '--no-wait', '--', 'x', '--y']);
    expect(words?.positionals).toEqual(['web']);
    expect(Object.fromEntries(words?.flags ?? [])).toEqual({
      image: ['busybox'],
      publish: ['8080:80', '9090:90'],
      env: ['A=b=c'],
      'no-wait': ['true'],
    });
    expect(words?.rest).toEqual(['x', '--y']);
  });

  it('takes - as a value, and an empty one', () => {
    expect(parse(create, ['--user-data', '-'])?.flags.get('user-data')).toEqual(['-']);
    expect(parse(create, ['--command='])?.flags.get('command')).toEqual(['']);
  });

  it.each([
    ['an unknown flag', ['--imgae', 'x']],
    ['a flag twice', ['--image', 'a', '--image', 'b']],
    ['a value that is missing', ['--image']],
    ['a value that looks like a flag', ['--image', '--vpc']],
    ['letters together', ['-qy']],
    ['a value for a switch', ['--no-wait=true']],
    ['a letter with its value', ['-pfoo']],
  ])('leaves %s to oclif', (_, argv) => {
    expect(parse(create, argv)).toBeUndefined();
  });
});

describe('both parsers', () => {
  it('read the same', async () => {
    const { Parser } = await import('@oclif/core');
    const { COMMANDS } = await import('./oclif-commands.ts');
    const ids = ['instance create', 'instance list', 'vpc update', 'instance exec', 'operation wait', 'volume delete'];
    const words = fc.constantFrom('web', 'a=b', '8080:80', '-', '', '10', 'x y', '--', '-n', 'ä');
    const commandLine = fc.constantFrom(...ids).chain((id) => {
      const flags = flagsOf(command(id)).flatMap((flag) => [`--${flag.name}`, `--${flag.name}=v`, ...(flag.char === undefined ? [] : [`-${flag.char}`])]);
      return fc.tuple(fc.constant(id), fc.array(fc.oneof(words, fc.constantFrom(...flags)), { maxLength: 7 }));
    });
    await fc.assert(
      fc.asyncProperty(commandLine, async ([id, argv]) => {
        const ours = parse(command(id), argv);
        if (ours === undefined) return;
        const dashes = argv.indexOf('--');
        const theirs = COMMANDS[id.replace(' ', ':')];
        const { raw } = await Parser.parse(dashes < 0 ? argv : argv.slice(0, dashes), { flags: theirs?.flags ?? {}, args: theirs?.args ?? {}, strict: false });
        const flags = new Map<string, string[]>();
        for (const token of raw) {
          if (token.type !== 'flag') continue;
          const boolean = flagsOf(command(id)).find((flag) => flag.name === token.flag)?.type === 'boolean';
          flags.set(token.flag, [...(flags.get(token.flag) ?? []), boolean ? 'true' : token.input]);
        }
        expect(raw.filter((token) => token.type === 'arg').map((token) => token.input)).toEqual(ours.positionals);
        expect(Object.fromEntries(flags)).toEqual(Object.fromEntries(ours.flags));
      }),
      { numRuns: 300 },
    );
  });
});

describe('flags before the command', () => {
  it('are moved behind it, before --', () => {
    expect(commandFirst(['-o', 'json', '--quiet', 'instance', 'exec', 'web', '--', 'ls'])).toEqual([
      'instance',
      'exec',
      'web',
      '-o',
      'json',
      '--quiet',
      '--',
      'ls',
    ]);
    expect(commandFirst(['instance', 'list'])).toEqual(['instance', 'list']);
  });
});

describe('the table', () => {
  const commands = Object.values(groups).flatMap((group) => group.commands);

  it('has no two flags of one name or letter in any command', () => {
    for (const one of commands) {
      const names = flagsOf(one).map((flag) => flag.name);
      const letters = flagsOf(one).flatMap((flag) => flag.char ?? []);
      expect([one.id, names.length, letters.length]).toEqual([one.id, new Set(names).size, new Set(letters).size]);
    }
  });

  it('has a summary and an example that names a real command for every command', () => {
    for (const one of commands.filter(({ hidden }) => !hidden)) {
      expect(one.summary, one.id).not.toBe('');
      expect(one.examples.length, one.id).toBeGreaterThan(0);
      const said = one.id.replace(one.group, groups[one.group]?.group.spoken ?? one.group);
      // Operations on the parts of a thing may be said in two words: `rule add`.
      const apart = said.replace(/-(add|remove|list)$/, ' $1');
      for (const [line] of one.examples) expect(line.startsWith(said) || line.startsWith(apart), `${said}: ${line}`).toBe(true);
    }
  });

  it('has flags for every example', () => {
    for (const one of commands.filter(({ hidden }) => !hidden)) {
      const known = new Set(
        flagsOf(one).flatMap((flag) => [
          `--${flag.name}`,
          ...(flag.negatable ? [`--no-${flag.name}`] : []),
          ...(flag.char === undefined ? [] : [`-${flag.char}`]),
        ]),
      );
      for (const [line] of one.examples) {
        for (const word of line.split(' -- ')[0]?.match(/(?<= )--?[a-z][a-z-]*/g) ?? []) {
          if (!/"[^"]*$/.test(line.slice(0, line.indexOf(` ${word}`)).replace(/"[^"]*"/g, ''))) expect(known.has(word), `${line}: ${word}`).toBe(true);
        }
      }
    }
  });
});
