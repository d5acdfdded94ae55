// docs/cli.md: every command with its flags and examples, from the same table as the commands themselves.
import { COMMON, GLOBAL } from '../common-flags.ts';
import { flagMeaning, positionalText, valueText } from '../help.ts';
import type { Command, Flag } from '../table.ts';
import { buildTables } from './table.ts';

/** The whole page, as Markdown. */
export function cliReference(): string {
  const { index, groups } = buildTables();
  const parts = [INTRODUCTION, table(GLOBAL.map((key) => COMMON[key] as Flag))];
  parts.push('## Commands\n', ...index.groups.map(({ name, spoken, summary }) => `- [\`cloud ${spoken ?? name}\`](#cloud-${name}): ${summary}`), '');
  for (const { name, spoken = name, summary, description } of index.groups) {
    const { states, commands } = groups[name] ?? { states: [], commands: [] };
    parts.push(`## cloud ${spoken}\n`, `${summary}.${description === undefined ? '' : ` ${description}`}\n`);
    if (states.length > 1) parts.push(`States: ${states.map((state) => `\`${state}\``).join(', ')}.\n`);
    for (const command of commands) if (!command.hidden) parts.push(...section(command, `${spoken}${command.id.slice(name.length)}`));
  }
  parts.push('## Other commands\n');
  for (const command of groups['']?.commands ?? []) if (!command.hidden) parts.push(...section(command, command.id));
  return `${parts.join('\n').trimEnd()}\n`;
}

const INTRODUCTION = `<!-- Made by \`npm run generate\`; do not edit. -->
# The command line

\`cloud <resource> <operation> [name] [flags]\`. The name, the id or the beginning of an id that no other has names a resource everywhere.

- **Answers** go to standard output, everything else (progress, notes, errors) to standard error. \`--output json\` and \`yaml\` print exactly what the daemon
  answered: the resource, or \`{ "items": […] }\` for a list. \`--output name\` prints names, one a line.
- **Waiting.** What is accepted first and done after is waited for, with a living line on a terminal and a line per change in a pipe. \`--no-wait\` returns at
  once; Ctrl-C leaves the operation going and says how to take the waiting up again.
- **Questions** are asked only where somebody can answer, that is when standard input and standard error are a terminal: before a delete, and before a restart
  that a change needs. \`--yes\` answers them. In a pipe a delete goes on without a question; a change that needs a restart is refused unless \`--yes\` is there.
- **Values from files.** Flags marked \`@file\` take \`@path\`, or \`-\` for standard input. Secrets are taken in no other way; on a terminal they are asked for. \`--from
  file.yaml\` gives a whole input, nested where it is; flags win.
- **Settings** come from flags, then the environment (\`CLOUD_OUTPUT\`, \`CLOUD_TENANT\`, \`CLOUD_DATA_DIR\`, \`CLOUD_SOCKET\`, \`CLOUD_URL\`, \`CLOUD_TOKEN\`,
  \`CLOUD_API_KEY\`), then the context (\`--context\`, \`CLOUD_CONTEXT\`, \`cloud context use\`), then \`cloud config\` (\`$XDG_CONFIG_HOME/thecloud/config.json\`).
  \`NO_COLOR\` and \`CLICOLOR\` are honoured.
- **Hyphens** in the names of resources and operations may be spaces: \`cloud tenant member add\` is \`cloud tenant-member add\`.
- **Exit codes**: 0 done, 1 accepted but failed (or no, where the answer is yes or no), 130 interrupted (or a question answered with no), the others by [the error table](errors.md).

## Flags of every command
`;

function section(command: Command, said: string): string[] {
  const own = command.flags.filter((flag) => !flag.hidden);
  const common = command.common.filter((key) => !GLOBAL.some((one) => one === key)).map((key) => COMMON[key] as Flag);
  const required = own.filter((flag) => flag.required).map((flag) => ` --${flag.name} ${valueText(flag)}`);
  const flags = [...own, ...common];
  return [
    `### cloud ${said}\n`,
    `${command.summary}.${command.description === undefined ? '' : ` ${command.description}`}\n`,
    `\`\`\`\ncloud ${[said, ...command.positionals.map(positionalText)].join(' ')}${required.join('')}${flags.length === 0 ? '' : ' [flags]'}\n\`\`\`\n`,
    ...(flags.length === 0 ? [] : [table(flags)]),
    ...(command.examples.length === 0
      ? []
      : [`\`\`\`sh\n${command.examples.map(([line, meaning]) => `${meaning === '' ? '' : `# ${meaning}\n`}cloud ${line}`).join('\n')}\n\`\`\`\n`]),
  ];
}

function table(flags: readonly Flag[]): string {
  const rows = flags.map((flag) => {
    const name = `${flag.char === undefined ? '' : `-${flag.char}, `}--${flag.negatable ? '[no-]' : ''}${flag.name}${flag.type === 'boolean' ? '' : ` ${valueText(flag)}`}`;
    return `| \`${name.replaceAll('|', '\\|')}\` | ${flagMeaning(flag).replaceAll('|', '\\|')} |`;
  });
  return `| flag | |\n|---|---|\n${rows.join('\n')}\n`;
}
