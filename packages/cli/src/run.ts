// Runs a command of the table: send, wait, print. The same code whichever parser read the words.
import { Fault } from '@thecloud/core/contracts';
import { confirm, someoneIsThere } from './ask.ts';
import { Exit, err, out, tell, usage } from './base.ts';
import { duration, inputOf } from './input.ts';
import { nameOf, printList, printOne, structured } from './print/index.ts';
import { printable } from './print/printable.ts';
import { doing, done } from './progress.ts';
import { type Called, Remote } from './remote.ts';
import { settingsOf } from './settings.ts';
import { type GroupTable, loadGroup, type OperationSpec, spoken, spokenGroup } from './table.ts';
import { waitFor } from './wait.ts';
import { flag, isSet, type Words } from './words.ts';

type Row = Record<string, unknown>;

const TEN_MINUTES = 600_000;
/** Writes on several targets that run at once. */
const AT_ONCE = 8;

/** Answers with the exit code. */
export async function runOperation(words: Words): Promise<number> {
  const { command } = words;
  const operation = command.operation as OperationSpec;
  const remote = new Remote(settingsOf(words));
  const { targets, input } = await inputOf(words);
  if (isSet(words, 'watch')) return (await import('./watch.ts')).watch(words, remote, targets[0], input);
  switch (operation.kind) {
    case 'read':
      await read(words, remote, targets[0], input);
      return 0;
    case 'write':
      return await write(words, remote, targets, input);
    case 'stream':
      return (await import('./watch.ts')).follow(words, remote, targets[0], input);
    default:
      throw new Fault('unsupported', `\`cloud ${spoken(command.id)}\` carries bytes and has no command form of its own`, { hint: 'cloud instance cp --help' });
  }
}

async function read(words: Words, remote: Remote, target: string | undefined, input: Row): Promise<void> {
  const operation = words.command.operation as OperationSpec;
  if (operation.form === 'items') return printItems(words, remote, await listAll(remote, operation, target, input), input);
  const { value } = await remote.call(operation, { target, input });
  await printOne(viewOf(operation), value, remote.settings.output);
}

/** How the answer of an operation is shown: as the resource, unless it is something else. */
export function viewOf({ resource, shows, fields }: OperationSpec): GroupTable {
  const group = loadGroup(shows ?? resource);
  return fields === undefined ? group : { ...group, columns: fields, fields };
}

async function printItems(words: Words, remote: Remote, answer: { items: Row[]; cursor?: string }, input: Row): Promise<void> {
  const operation = words.command.operation as OperationSpec;
  const { output, quiet } = remote.settings;
  await printList(viewOf(operation), answer, {
    output,
    columns: flag(words, 'columns'),
    header: !isSet(words, 'no-header'),
    plural: operation.fields === undefined ? pluralOf(operation.path, input) : undefined,
    quiet,
  });
  if (answer.cursor !== undefined && !quiet && output !== 'json' && output !== 'yaml') err(`There are more: --cursor ${answer.cursor}\n`);
}

/** `ssh-keys` → `SSH keys`, as sentences say it. */
const nounOf = (name: string): string =>
  (name === 'audit' ? 'audit lines' : name).replace(/^(ssh|vpc|api)/, (letters) => letters.toUpperCase()).replaceAll('-', ' ');

/** `/v1/ssh-keys/{…}` → `SSH keys`, and what they were looked for by. */
const pluralOf = (path: string, input: Row): string => {
  const filter = input['label'];
  return `${nounOf(path.split('/')[2] ?? 'items')}${Array.isArray(filter) ? ` with ${filter.join(' and ')}` : ''}`;
};

/** All pages, unless the caller asked for one. */
export async function listAll(
  remote: Remote,
  operation: OperationSpec,
  target: string | undefined,
  input: Row,
  signal?: AbortSignal,
): Promise<{ items: Row[]; cursor?: string }> {
  let page = (await remote.call(operation, { target, input, signal })).value as { items: Row[]; cursor?: string };
  if (input['limit'] !== undefined || page.cursor === undefined) return page;
  const items = [...page.items];
  while (page.cursor !== undefined) {
    page = (await remote.call(operation, { target, input: { ...input, limit: 1000, cursor: page.cursor }, signal })).value as { items: Row[]; cursor?: string };
    items.push(...page.items);
  }
  return { items };
}

async function write(words: Words, remote: Remote, targets: readonly string[], input: Row): Promise<number> {
  const operation = words.command.operation as OperationSpec;
  if (operation.standard === 'update' && Object.keys(input).length === 0) {
    throw usage('Nothing to change: give at least one field', `cloud ${spoken(words.command.id)} --help`);
  }
  if (isSet(words, 'dry-run')) {
    await (await import('./dry-run.ts')).dryRun(words.command, remote, targets, input);
    return 0;
  }
  if (operation.secretAnswer && remote.settings.output === 'name') {
    throw usage(
      '--output name would throw away what is shown this one time',
      `cloud ${spoken(words.command.id)} ${targets.join(' ')} --output json`.replaceAll('  ', ' '),
    );
  }
  if (operation.destructive && !isSet(words, 'yes') && someoneIsThere()) {
    await confirm(`${capital(operation.name)} ${targets.length > 1 ? pluralOf(operation.path, {}) : nounOf(operation.resource)} ${targets.join(', ')}?`);
  }
  if (targets.length <= 1) {
    const answer = await writeOne(words, remote, targets[0], input);
    await printWritten(words, remote, answer);
    return 0;
  }
  return writeMany(words, remote, targets, input);
}

/** One failure does not keep the others from being done; the first decides the exit code. */
async function writeMany(words: Words, remote: Remote, targets: readonly string[], input: Row): Promise<number> {
  const answers: unknown[] = Array.from({ length: targets.length });
  const codes: number[] = Array.from({ length: targets.length }, () => 0);
  const waiting = [...targets.entries()];
  const json = remote.settings.output === 'json';
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, target] = next;
      try {
        answers[index] = await writeOne(words, remote, target, input);
      } catch (error) {
        codes[index] = tell(error, { command: words.command, json });
        if (error instanceof Exit) waiting.length = 0; // interrupted: nothing more is begun
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, targets.length) }, work));
  const good = answers.filter((answer) => answer !== undefined);
  const { output } = remote.settings;
  if (output === 'json' || output === 'yaml') out(await structured({ items: good }, output));
  else for (const answer of good) await printWritten(words, remote, answer);
  return codes.find((code) => code !== 0) ?? 0;
}

/** Sends, asks about a restart where one is needed, waits. Answers with the newest view. */
export async function writeOne(words: Words, remote: Remote, target: string | undefined, input: Row): Promise<unknown> {
  const { command } = words;
  const operation = command.operation as OperationSpec;
  let called: Called;
  try {
    called = await remote.call(operation, { target, input });
  } catch (error) {
    if (!needsRestart(error)) throw error;
    if (!someoneIsThere()) throw new Fault(error.code, error.message, { details: error.details, hint: `${commandLine()} --yes` });
    await confirm(`${error.message}. Restart it now?`);
    called = await remote.call(operation, { target, input: { ...input, allowRestart: true } });
  }
  if (called.operation === undefined) return called.value;
  if (isSet(words, 'no-wait')) {
    if (!remote.settings.quiet) err(`Accepted. To wait for it: cloud operation wait ${called.operation}\n`);
    return called.value;
  }
  const view = called.value as Row;
  const name = nameOf(view);
  const what = `${operation.resource} ${target === undefined || operation.resource === 'image' ? name : nameOf({ name: target === view['id'] ? name : target })}`;
  const timeout = flag(words, 'wait-timeout');
  const ended = await waitFor(remote, called.operation, {
    title: `${doing(kebabOf(operation.name))} ${what}`,
    // Where the answer itself is that sentence, it need not be said twice.
    done: showsResource(operation) || remote.settings.output !== 'table' ? `${what} ${done(kebabOf(operation.name))}` : undefined,
    timeout: timeout === undefined ? TEN_MINUTES : duration(timeout, 'wait-timeout'),
    quiet: remote.settings.quiet,
  });
  if (operation.standard === 'delete') return view;
  // The operation may follow another resource than the one answered with: attaching a volume is done when the instance has it.
  const own = view['id'] === ended.resourceId ? ended.resource : operation.resource;
  return refreshed(remote, own, String(view['id']), view);
}

const kebabOf = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What was typed, fit to be typed again. */
const commandLine = (): string =>
  ['cloud', ...process.argv.slice(2).map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`))].join(' ');

export const needsRestart = (error: unknown): error is Fault =>
  error instanceof Fault && error.code === 'conflict' && (error.details as { reason?: unknown } | undefined)?.reason === 'restart_required';

/** The resource as it is now that the operation has ended; the accepted view when it has gone since. */
async function refreshed(remote: Remote, resource: string, id: string, accepted: unknown): Promise<unknown> {
  const get = loadGroup(resource).commands.find((one) => one.operation?.standard === 'get')?.operation;
  if (get === undefined) return accepted;
  try {
    return (await remote.call(get, { target: id })).value;
  } catch (error) {
    if (error instanceof Fault && error.code === 'not_found') return accepted;
    throw error;
  }
}

/** Of these the state itself says what they have done. */
const TOLD_BY_STATE = new Set(['start', 'stop', 'restart', 'pause', 'resume', 'pull']);

const showsResource = ({ standard, form }: OperationSpec): boolean => standard === 'create' || standard === 'update' || form !== 'resource';

/** Whoever looks at it now is the last to see it. */
const shownOnce = (remote: Remote): void => {
  if (!remote.settings.quiet) err('Keep this now: it is not shown again.\n');
};

/** create and update show the resource; other changes say in a line what it is now. */
async function printWritten(words: Words, remote: Remote, answer: unknown): Promise<void> {
  const operation = words.command.operation as OperationSpec;
  const { output } = remote.settings;
  if (operation.secretAnswer) {
    await printOne(viewOf(operation), answer, output);
    return shownOnce(remote);
  }
  if (operation.form === 'items') return printItems(words, remote, answer as { items: Row[] }, {});
  const row = (typeof answer === 'object' && answer !== null ? answer : {}) as Row;
  if (output !== 'table' || showsResource(operation)) {
    return printOne(viewOf(operation), answer, output);
  }
  if (operation.async && isSet(words, 'no-wait')) return out(`${spokenGroup(operation.resource)} ${nameOf(row)}: ${kebabOf(operation.name)} accepted\n`);
  if (operation.standard === 'delete') return out(`${spokenGroup(operation.resource)} ${nameOf(row)} ${done(kebabOf(operation.name))}\n`);
  const told = TOLD_BY_STATE.has(operation.name) || row['state'] === 'error';
  out(`${spokenGroup(operation.resource)} ${nameOf(row)} ${told ? `is ${printable(String(row['state']))}` : done(kebabOf(operation.name))}\n`);
}
