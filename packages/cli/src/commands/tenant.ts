// `cloud tenant list|switch|delete`: which one is current, and what a cascade would take along.
import { confirm, someoneIsThere } from '../ask.ts';
import { EXIT, err, out } from '../base.ts';
import { configFile, readContexts } from '../contexts.ts';
import { inputOf } from '../input.ts';
import { listText, printList, structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { listAll, runOperation } from '../run.ts';
import { readConfig, type Settings, settingsOf } from '../settings.ts';
import { locked, writeWhole } from '../store.ts';
import { commandOf, type GroupTable, loadGroup, type OperationSpec } from '../table.ts';
import { flag, isSet, type Words } from '../words.ts';
import { changeContexts } from './context.ts';

interface Tenant {
  id: string;
  name: string;
}

export async function run(words: Words): Promise<number> {
  switch (words.command.id) {
    case 'tenant list':
      return list(words);
    case 'tenant switch':
      return switchTo(words);
    default:
      return remove(words);
  }
}

async function list(words: Words): Promise<number> {
  const settings = settingsOf(words);
  const { output, quiet } = settings;
  if (isSet(words, 'watch') || (output !== 'table' && output !== 'wide')) return runOperation(words);
  const { input } = await inputOf(words);
  const remote = new Remote({ ...settings, tenant: undefined });
  const answer = await listAll(remote, words.command.operation as OperationSpec, undefined, input);
  const current = settings.tenant ?? (await ownTenant(remote));
  const items = answer.items.map((one) => ({ ...one, current: one['name'] === current || one['id'] === current ? '*' : ' ' }));
  const group = loadGroup('tenant');
  const marked: GroupTable = { ...group, columns: [{ field: 'current', header: 'Current', format: 'text' }, ...group.columns] };
  await printList(marked, { items }, { output, columns: flag(words, 'columns'), header: !isSet(words, 'no-header'), plural: 'tenants', quiet });
  if (answer.cursor !== undefined && !quiet) err(`There are more: --cursor ${answer.cursor}\n`);
  return EXIT.done;
}

const ownTenant = async (remote: Remote): Promise<string | undefined> =>
  ((await remote.call(commandOf('auth whoami').operation as OperationSpec, {})).value as { tenant?: Tenant }).tenant?.id;

/** Kept where the tenant comes from: in the context, or in the configuration when no context is kept. */
async function switchTo(words: Words): Promise<number> {
  await inputOf(words);
  const settings = settingsOf(words);
  const { output, quiet, context = '' } = settings;
  // Somebody who is no member is told that there is no such tenant.
  const found = (
    await new Remote({ ...settings, tenant: undefined }).call(commandOf('tenant get').operation as OperationSpec, { target: words.positionals[0] })
  ).value as Tenant;
  if (Object.hasOwn(readContexts().contexts, context)) {
    await changeContexts((all) => ({ ...all, contexts: { ...all.contexts, [context]: { ...all.contexts[context], tenant: found.name } } }));
  } else await locked(() => writeWhole(configFile(), { ...readConfig(), tenant: found.name }));
  if (output === 'json' || output === 'yaml') out(await structured(found, output));
  else if (!quiet) err(`Now in the tenant ${printable(found.name)} (context ${context}).\n`);
  if (process.env['CLOUD_TENANT'] && process.env['CLOUD_TENANT'] !== found.name) err(`CLOUD_TENANT=${process.env['CLOUD_TENANT']} goes before it.\n`);
  return EXIT.done;
}

interface Contents {
  items: Record<string, unknown>[];
  total: number;
  locked: { items: { object: string; version: string; lockedUntil?: string; legalHold: boolean }[]; total: number };
}

async function remove(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const settings = settingsOf(words);
  if (input['cascade'] !== true || (!isSet(words, 'dry-run') && (isSet(words, 'yes') || !someoneIsThere()))) return runOperation(words);
  const remote = new Remote({ ...settings, tenant: undefined });
  const operation = commandOf('tenant contents').operation as OperationSpec;
  const dry = isSet(words, 'dry-run');
  const previews: ({ tenant: string } & Contents)[] = [];
  for (const target of targets) previews.push({ tenant: target, ...((await remote.call(operation, { target })).value as Contents) });
  const say = dry ? out : err;
  if (dry && (settings.output === 'json' || settings.output === 'yaml')) {
    out(await structured(previews.length === 1 ? { dryRun: true, ...previews[0] } : { dryRun: true, items: previews }, settings.output));
    return EXIT.done;
  }
  const takesLocked = input['lockedObjects'] === true;
  for (const preview of previews) say(`${previewText(preview, settings)}${lockedText(preview, takesLocked, settings)}`);
  if (dry) return EXIT.done;
  await confirm(`Delete tenant ${targets.join(', ')} with all of this?`);
  return runOperation({ ...words, flags: new Map([...words.flags, ['yes', ['true']]]) });
}

function previewText({ tenant, items, total }: { tenant: string } & Contents, { output }: Settings): string {
  if (items.length === 0) return `There is nothing in the tenant ${printable(tenant)}.\n`;
  const columns = [
    { field: 'resource', header: 'Resource', format: 'text' },
    { field: 'name', header: 'Name', format: 'text' },
    { field: 'state', header: 'State', format: 'state' },
    { field: 'id', header: 'ID', format: 'text' },
  ] as const;
  const more = total > items.length ? `and ${total - items.length} more\n` : '';
  return `Would be deleted with the tenant ${printable(tenant)}, in this order:\n${listText(columns, items, true, output)}${more}`;
}

function lockedText({ locked: { items, total } }: Contents, taken: boolean, { output }: Settings): string {
  if (items.length === 0) return '';
  const columns = [
    { field: 'object', header: 'Object', format: 'text' },
    { field: 'version', header: 'Version', format: 'text' },
    { field: 'lockedUntil', header: 'Locked until', format: 'text' },
    { field: 'legalHold', header: 'Legal hold', format: 'text' },
  ] as const;
  const what = taken ? 'Also these objects, which are locked' : 'Refused while these objects are locked (--locked-objects takes them along)';
  const more = total > items.length ? `and ${total - items.length} more\n` : '';
  return `${what}:\n${listText(columns, items, true, output)}${more}`;
}
