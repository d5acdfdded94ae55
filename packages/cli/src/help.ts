// Help texts from the table: root, group, command.
import { colours, paint } from './base.ts';
import { COMMON, GLOBAL } from './common-flags.ts';
import { pad, width } from './print/width.ts';
import { type Command, type Flag, findCommand, groupIn, loadGroup, loadIndex, spoken, spokenGroup, subgroups } from './table.ts';

const WIDEST = 100;

function rootHelp(): string {
  const { groups, commands } = loadIndex();
  const shown = (list: readonly { hidden?: true }[]) => list.filter((one) => !one.hidden);
  const resources = groups.filter((group) => group.resource && shown(group.commands).length > 0);
  const own = [
    ...groups.filter((group) => !group.resource && shown(group.commands).length > 0),
    ...commands.filter((one) => !one.hidden).map(({ id, summary }) => ({ name: id, summary })),
  ];
  const size = Math.max(...[...resources, ...own].map(({ name }) => name.length));
  const lines = (list: readonly { name: string; summary: string }[]) => list.map(({ name, summary }) => `  ${pad(spokenGroup(name), size)}  ${summary}`);
  return text([
    'The Cloud: a cloud on your own machine.',
    '',
    title('Usage'),
    '  cloud <resource> <operation> [name] [flags]',
    '',
    title('Resources'),
    ...lines(resources),
    '',
    title('Around them'),
    ...lines(own),
    '',
    title('Flags of every command'),
    ...flagLines(GLOBAL.map((key) => COMMON[key] as Flag)),
    '',
    title('Environment'),
    ...ENVIRONMENT.map(([name, meaning]) => `  ${pad(name, 16)}  ${meaning}`),
    '',
    title('Examples'),
    ...exampleLines([
      ['daemon start', ''],
      ['instance create web --image busybox --command "httpd -f -h /www" --publish 8080:80', ''],
      ['instance list', ''],
      ['instance exec web -- sh', ''],
      ['instance delete web', ''],
    ]),
    '',
    '`cloud <resource> --help` lists its operations, `cloud <resource> <operation> --help` the flags.',
  ]);
}

const ENVIRONMENT = [
  ['CLOUD_DATA_DIR', "The daemon's data directory"],
  ['CLOUD_SOCKET', "The daemon's Unix socket"],
  ['CLOUD_URL', "The daemon's address, instead of the socket"],
  ['CLOUD_TOKEN', 'Token to call with'],
  ['CLOUD_API_KEY', 'API key to call with'],
  ['CLOUD_CONTEXT', 'Context to use'],
  ['CLOUD_TENANT', 'Tenant to act in'],
  ['CLOUD_OUTPUT', 'How to print'],
  ['NO_COLOR', 'No colours'],
] as const;

function groupHelp(name: string): string {
  const { group, states } = loadGroup(name);
  const commands = group.commands.filter((one) => !one.hidden).map(({ id, summary }) => ({ word: id.slice(name.length + 1), summary }));
  const below = subgroups(name).map((one) => ({ word: one.name.slice(name.length + 1), summary: one.summary }));
  const size = Math.max(0, ...[...commands, ...below].map(({ word }) => word.length));
  const lines = (list: typeof commands) => list.map(({ word, summary }) => `  ${pad(word, size)}  ${summary}`);
  const said = spokenGroup(name);
  return text([
    `${group.summary}.`,
    ...(group.description === undefined ? [] : ['', ...wrap(group.description, '')]),
    '',
    title('Usage'),
    `  cloud ${said} <operation>${group.resource ? ' [name]' : ''} [flags]`,
    '',
    title(group.resource ? 'Operations' : 'Commands'),
    ...lines(commands),
    ...(below.length === 0 ? [] : ['', title('Below it'), ...lines(below)]),
    ...(group.resource && states.length > 1 ? ['', title('States'), `  ${states.join(', ')}`] : []),
    '',
    `\`cloud ${said} <operation> --help\` shows flags and examples.`,
  ]);
}

function commandHelp(command: Command): string {
  const own = command.flags.filter((flag) => !flag.hidden);
  const common = command.common.filter((key) => !GLOBAL.some((one) => one === key)).map((key) => COMMON[key] as Flag);
  const required = own.filter((flag) => flag.required);
  const positionals = command.positionals.filter((one) => one.description !== undefined);
  const unset = own.filter((flag) => flag.nullable).map((flag) => flag.name);
  return text([
    `${command.summary}.`,
    ...(command.description === undefined ? [] : ['', ...wrap(command.description, '')]),
    '',
    title('Usage'),
    `  cloud ${[spoken(command.id), ...command.positionals.map(positionalText), ...required.map((flag) => `--${flag.name} ${valueText(flag)}`)].join(' ')} [flags]`,
    ...(positionals.length === 0 ? [] : ['', title('Arguments'), ...argumentLines(positionals)]),
    ...(own.length === 0 ? [] : ['', title('Flags'), ...flagLines(own)]),
    ...(common.length === 0
      ? []
      : ['', title('Common flags'), ...flagLines(common.map((flag) => (flag.name === 'unset' ? { ...flag, values: unset } : flag)))]),
    '',
    title('Flags of every command'),
    ...flagLines(GLOBAL.map((key) => COMMON[key] as Flag)),
    '',
    title('Examples'),
    ...exampleLines(command.examples),
  ]);
}

const argumentLines = (positionals: Command['positionals']): string[] => {
  const size = Math.max(...positionals.map((one) => one.label.length + 2));
  return positionals.map((one) => `  ${pad(`<${one.label}>`, size)}  ${one.description}`);
};

export const positionalText = (one: Command['positionals'][number]): string => {
  const name = one.rest && one.field === '$target' ? `<${one.label}>...` : one.rest ? `[--] <${one.label}>...` : `<${one.label}>`;
  return one.required ? name : `[${name}]`;
};

export function valueText(flag: Flag): string {
  if (flag.type === 'boolean') return '';
  if (flag.type === 'map') return '<key=value>';
  if (flag.ref !== undefined) return `<${flag.ref}>`;
  if (flag.secret) return '<@file|->';
  if (flag.file) return '<text|@file|->';
  if (flag.seconds) return '<duration>';
  if (flag.time !== undefined) return '<time>';
  return flag.type === 'integer' || flag.type === 'number' ? '<n>' : flag.type === 'json' ? '<json>' : flag.values === undefined ? '<text>' : '<word>';
}

function flagLines(flags: readonly Flag[]): string[] {
  const left = flags.map((flag) => {
    const name = `--${flag.negatable ? '[no-]' : ''}${flag.name}`;
    return `  ${flag.char === undefined ? '    ' : `-${flag.char}, `}${name}${flag.type === 'boolean' ? '' : ` ${valueText(flag)}`}`;
  });
  const size = Math.min(40, Math.max(...left.map(width)));
  return flags.flatMap((flag, index) => {
    const lines = wrap(flagMeaning(flag), ' '.repeat(size + 2));
    const start = left[index] as string;
    const [first = '', ...more] = lines;
    return width(start) > size ? [start, ...lines] : [`${pad(start, size)}${first.slice(size)}`, ...more];
  });
}

export function flagMeaning(flag: Flag): string {
  const facts = [
    ...(flag.values === undefined || flag.values.every((value) => flag.description?.includes(value)) ? [] : [`one of ${flag.values.join(', ')}`]),
    ...(flag.minimum !== undefined && flag.maximum !== undefined ? [`${flag.minimum} to ${flag.maximum}`] : []),
    ...(flag.many ? ['may be repeated'] : []),
    ...(flag.time === undefined ? [] : [`24h: so long ${flag.time}`]),
    ...(flag.default === undefined ? [] : [`default ${String(flag.default)}`]),
    ...(flag.required ? ['required'] : []),
    ...(flag.example === undefined || flag.example === String(flag.default) || flag.type === 'boolean' || flag.values !== undefined
      ? []
      : [`such as ${flag.example.length > 40 ? `${flag.example.slice(0, 37)}...` : flag.example}`]),
  ];
  return `${flag.description ?? ''}${facts.length === 0 ? '' : ` (${facts.join('; ')})`}`.trim();
}

const exampleLines = (examples: Command['examples']): string[] =>
  examples.flatMap(([line, meaning]) => [...(meaning === '' ? [] : [`  # ${meaning}`]), `  $ cloud ${line}`]);

const title = (name: string): string => paint('bold', name, colours(process.stdout));

function wrap(paragraph: string, indent: string): string[] {
  const room = Math.max(30, Math.min(WIDEST, process.stdout.columns || WIDEST) - indent.length);
  const lines: string[] = [];
  let line = '';
  for (const word of paragraph.split(' ')) {
    if (line !== '' && width(line) + 1 + width(word) > room) {
      lines.push(line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, line].map((one) => `${indent}${one}`);
}

const text = (lines: readonly string[]): string => `${lines.join('\n')}\n`;

/** Help for what the words name, as far as they name anything. Undefined when they name nothing known. */
export function helpFor(words: readonly string[]): string | undefined {
  const names = words.filter((word) => !word.startsWith('-'));
  if (names.length === 0) return rootHelp();
  const group = groupIn(names);
  if (group === undefined) {
    const command = findCommand(names[0] as string);
    return command === undefined ? undefined : commandHelp(command);
  }
  const operation = names[group.used];
  if (operation === undefined) return groupHelp(group.name);
  const command = findCommand(`${group.name} ${operation}`);
  return command === undefined ? undefined : commandHelp(command);
}
