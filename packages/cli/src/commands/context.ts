// `cloud context …`: names for where a cloud is. One small file without secrets; what a context proves itself with stands beside it.
import { resolve } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { EXIT, err, out, usage } from '../base.ts';
import { type Context, type Contexts, chosenContext, contextsFile, DEFAULT_CONTEXT, noContext, readContexts } from '../contexts.ts';
import { readCredentials, writeCredential } from '../credentials.ts';
import { inputOf } from '../input.ts';
import { printList } from '../print/index.ts';
import { type Settings, settingsOf } from '../settings.ts';
import { locked, writeWhole } from '../store.ts';
import type { GroupTable } from '../table.ts';
import { flag, isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const [name = '', other = ''] = words.positionals;
  switch (words.command.id) {
    case 'context list':
      return list(words);
    case 'context current':
      out(`${chosenContext(words).name}\n`);
      return EXIT.done;
    case 'context use':
      await changeContexts((all) => {
        known(name, all);
        return useContext(all, name);
      });
      note(words, `${name} is the current context.\n`);
      if (process.env['CLOUD_CONTEXT'] && process.env['CLOUD_CONTEXT'] !== name) err(`CLOUD_CONTEXT=${process.env['CLOUD_CONTEXT']} goes before it.\n`);
      return EXIT.done;
    case 'context create':
      return create(words, checkedName(name));
    case 'context rename':
      checkedName(other);
      if (name === DEFAULT_CONTEXT) throw new Fault('conflict', `${DEFAULT_CONTEXT} is always there and keeps its name`);
      await changeContexts((all) => {
        const context = known(name, all);
        if (Object.hasOwn(all.contexts, other)) throw taken(other);
        const { [name]: _, ...others } = all.contexts;
        const credential = readCredentials()[name];
        if (credential !== undefined) {
          writeCredential(other, credential);
          writeCredential(name, undefined);
        }
        return {
          ...(all.current === name ? { current: other } : all.current === undefined ? {} : { current: all.current }),
          contexts: { ...others, [other]: context },
        };
      });
      return EXIT.done;
    default: {
      let session = false;
      await changeContexts((all) => {
        known(name, all);
        session = readCredentials()[name]?.kind === 'session';
        if (readCredentials()[name] !== undefined) writeCredential(name, undefined);
        const { [name]: _, ...contexts } = all.contexts;
        return all.current === undefined || all.current === name ? { contexts } : { current: all.current, contexts };
      });
      if (session) note(words, `Its session was not ended, only forgotten here; \`cloud auth logout --context ${name}\` before does both.\n`);
      return EXIT.done;
    }
  }
}

/** Reads, changes and writes while no other command does. */
export const changeContexts = (change: (contexts: Contexts) => Contexts): Promise<void> =>
  locked(() => {
    const before = readContexts();
    const after = change(before);
    if (JSON.stringify(after) !== JSON.stringify(before)) writeWhole(contextsFile(), after);
  });

export const useContext = ({ contexts }: Contexts, name: string): Contexts => (name === DEFAULT_CONTEXT ? { contexts } : { current: name, contexts });

function known(name: string, all: Contexts): Context {
  const found = Object.hasOwn(all.contexts, name) ? all.contexts[name] : undefined;
  if (found === undefined && name !== DEFAULT_CONTEXT) throw noContext(name, all);
  return found ?? {};
}

const taken = (name: string): Fault => new Fault('conflict', `There is a context "${name}" already`, { hint: `cloud context use ${name}` });

const NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

export function checkedName(name: string): string {
  if (name === DEFAULT_CONTEXT) throw new Fault('conflict', `${DEFAULT_CONTEXT} is always there and means this user's own daemon`);
  if (!NAME.test(name)) throw usage(`"${name}" is no name for a context: use 1 to 63 letters, digits and . _ - inside`);
  return name;
}

/** Where the settings in force lead, as a context keeps it. */
const whereIs = ({ endpoint, dataDir }: Settings, words: Words): Context =>
  'url' in endpoint ? { url: endpoint.url } : flag(words, 'socket') === undefined ? { dataDir: resolve(dataDir) } : { socket: resolve(endpoint.socket) };

async function create(words: Words, name: string): Promise<number> {
  const given = new Map([...words.flags].filter(([one]) => one !== 'context'));
  const where: Words = { ...words, flags: given };
  for (const one of ['url', 'socket', 'data-dir']) {
    if (!given.has(one)) continue;
    if (['url', 'socket', 'data-dir'].some((more) => more !== one && given.has(more))) throw usage('Give one of --url, --socket and --data-dir');
  }
  const settings = settingsOf(where);
  const tenant = flag(words, 'tenant');
  const context: Context = {
    ...(given.has('data-dir') ? { dataDir: resolve(flag(words, 'data-dir') as string) } : whereIs(settings, where)),
    ...(tenant === undefined ? {} : { tenant }),
  };
  await changeContexts((all) => {
    if (Object.hasOwn(all.contexts, name)) throw taken(name);
    const contexts = { ...all.contexts, [name]: context };
    return isSet(words, 'use') ? { current: name, contexts } : { ...all, contexts };
  });
  note(words, `Context ${name} created${isSet(words, 'use') ? '; it is the current one' : `. To use it: cloud context use ${name}`}.\n`);
  return EXIT.done;
}

const note = (words: Words, text: string): void => {
  if (!isSet(words, 'quiet')) err(text);
};

const VIEW: GroupTable = {
  group: { name: 'context', summary: '', resource: false, commands: [] },
  columns: [
    { field: 'current', header: 'Current', format: 'text' },
    { field: 'name', header: 'Name', format: 'text' },
    { field: 'where', header: 'Where', format: 'text' },
    { field: 'tenant', header: 'Tenant', format: 'text' },
    { field: 'principal', header: 'Principal', format: 'text' },
    { field: 'credential', header: 'Credential', format: 'text' },
  ],
  fields: [],
  states: [],
  commands: [],
};

async function list(words: Words): Promise<number> {
  const { output, quiet } = settingsOf(words);
  const { contexts } = readContexts();
  const { name: current } = chosenContext(words);
  const credentials = readCredentials();
  const own = settingsOf({ ...words, flags: new Map([['context', [DEFAULT_CONTEXT]]]) });
  const items = Object.entries({ [DEFAULT_CONTEXT]: {} as Context, ...contexts }).map(([name, context]) => {
    const credential = credentials[name];
    const where = context.url ?? context.socket ?? context.dataDir ?? ('url' in own.endpoint ? own.endpoint.url : own.dataDir);
    return {
      name,
      current: name === current,
      where,
      ...(context.tenant === undefined ? {} : { tenant: context.tenant }),
      ...(credential === undefined ? {} : { principal: credential.principal.name, credential: credential.kind }),
    };
  });
  const shown = output === 'table' || output === 'wide' ? items.map((one) => ({ ...one, current: one.current ? '*' : ' ' })) : items;
  await printList(VIEW, { items: shown }, { output, columns: undefined, header: true, plural: 'contexts', quiet });
  return EXIT.done;
}
