// `cloud object copy|move|delete`: one object as any operation; with --recursive everything in a folder.
import { Fault } from '@thecloud/core/contracts';
import { confirm, someoneIsThere } from '../ask.ts';
import { EXIT, Exit, out, usage } from '../base.ts';
import { inputOf } from '../input.ts';
import { every, type Listed } from '../objects/calls.ts';
import { baseOf, folderFrom, nameFrom, type ObjectName, oneFrom, textOf } from '../objects/name.ts';
import { severalSizes, together } from '../objects/parts.ts';
import { amount, Meter, onlyForOne, Tally, type Work, wantedOf, workOf } from '../objects/work.ts';
import { bytes } from '../print/cells.ts';
import { printable } from '../print/printable.ts';
import { Remote } from '../remote.ts';
import { runOperation } from '../run.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const action = words.command.id.slice('object '.length) as 'copy' | 'move' | 'delete';
  await inputOf(words); // what is missing is said first
  const [from = '', to = ''] = words.positionals;
  if (!isSet(words, 'recursive')) {
    for (const name of ['include', 'exclude']) if (words.flags.has(name)) throw usage(`--${name} goes with --recursive only`);
    return one(words, action, from, to);
  }
  onlyForOne(words, 'version', 'from');
  const work = workOf(words);
  const source = folderFrom(from);
  return action === 'delete' ? deleteMany(work, source) : copyMany(work, source, folderFrom(to), action);
}

async function one(words: Words, action: keyof typeof PAST, from: string, to: string): Promise<number> {
  const name = textOf(oneFrom(from));
  const target = action === 'delete' ? undefined : targetOf(action, from, to);
  const given: Words = target === undefined ? words : { ...words, positionals: [from, target] };
  if (isSet(words, 'dry-run')) return runOperation(given);
  const remote = new Remote(settingsOf(words));
  if (remote.settings.output !== 'table') return runOperation(given);
  if (action === 'delete' && !isSet(words, 'yes') && someoneIsThere()) await confirm(`Delete object ${printable(name)}?`);
  const { targets, input } = await inputOf(given);
  const answer = (await remote.call(words.command.operation as OperationSpec, { target: targets[0], input })).value as {
    deleteMarker?: boolean;
    version?: string;
  };
  if (remote.settings.quiet) return EXIT.done;
  const marked = action === 'delete' && answer.deleteMarker === true && input['version'] === undefined;
  out(
    `object ${printable(name)} ${PAST[action]}${target === undefined ? '' : ` to ${printable(target)}`}${marked ? '; its versions stay (cloud object versions)' : ''}\n`,
  );
  return EXIT.done;
}

/** A key that is left out is the name that it has: `copy photos/a.jpg archive/` is `archive/a.jpg`. */
function targetOf(action: 'copy' | 'move', from: string, to: string): string {
  const target = nameFrom(to);
  if (target.key !== '' && !target.key.endsWith('/')) return to;
  if (from.endsWith('/')) throw usage(`"${from}" is a folder`, `cloud object ${action} ${from} ${to} --recursive`);
  return textOf({ ...target, key: `${target.key}${baseOf(oneFrom(from).key)}` });
}

/** Those in a folder that --include and --exclude leave. */
async function* wantedIn(work: Work, folder: ObjectName): AsyncGenerator<Listed> {
  const wanted = wantedOf(work.words);
  for await (const item of every(work.objects, folder)) if (wanted.takes(item.key.slice(folder.key.length))) yield item;
}

async function countOf(items: AsyncIterable<Listed>): Promise<{ count: number; size: number }> {
  let [count, size] = [0, 0];
  for await (const item of items) {
    count++;
    size += item.size;
  }
  return { count, size };
}

const PAST = { copy: 'copied', move: 'moved', delete: 'deleted' } as const;
const none = (folder: ObjectName): Fault => new Fault('not_found', `There are no objects in ${textOf(folder)}`, { hint: `cloud object list ${folder.bucket}` });

async function dryRun(work: Work, action: keyof typeof PAST, folder: ObjectName, to?: ObjectName): Promise<number> {
  const tally = new Tally(work, PAST[action]);
  const plain = !['json', 'yaml'].includes(work.remote.settings.output);
  for await (const { key, size } of wantedIn(work, folder)) {
    const target = to === undefined ? undefined : { ...to, key: `${to.key}${key.slice(folder.key.length)}` };
    if (plain) out(`Would ${action} ${printable(textOf({ ...folder, key }))}${target === undefined ? '' : ` to ${printable(textOf(target))}`}\n`);
    tally.done(PAST[action], { key, size, ...(target === undefined ? {} : { to: textOf(target) }) }, size);
  }
  return tally.end(`${amount(tally.counts[PAST[action]] ?? 0, 'object')} (${bytes(tally.bytes)}) would be ${PAST[action]}`);
}

async function copyMany(work: Work, from: ObjectName, to: ObjectName, action: 'copy' | 'move'): Promise<number> {
  if (from.bucket === to.bucket && to.key.startsWith(from.key)) {
    throw usage(to.key === from.key ? 'Both names are the same' : `${textOf(to)} lies in ${textOf(from)}: its copies would be copied again`);
  }
  if (isSet(work.words, 'dry-run')) return dryRun(work, action, from, to);
  const { objects } = work;
  const meter = new Meter(`${action === 'copy' ? 'Copying' : 'Moving'} ${textOf(from)} to ${textOf(to)}`, work.quiet, 0);
  const tally = new Tally(work, PAST[action]);
  try {
    await severalSizes(wantedIn(work, from), work, async ({ key, size }) => {
      const [source, target] = [
        { ...from, key },
        { ...to, key: `${to.key}${key.slice(from.key.length)}` },
      ];
      meter.expect(size);
      try {
        if (target.key === '') return tally.refused(textOf(source), 'it would have no key there');
        const view = await objects[action](source, target);
        meter.count(size);
        tally.done(PAST[action], { key, to: textOf(target), size, etag: view.etag }, size);
      } catch (error) {
        tally.failed(textOf(source), error);
      }
    });
  } finally {
    meter.end();
  }
  if (tally.counts[PAST[action]] === 0 && tally.code === EXIT.done) throw none(from);
  return tally.end(`${amount(tally.counts[PAST[action]] ?? 0, 'object')} ${PAST[action]} to ${textOf(to)} (${bytes(tally.bytes)} in ${meter.seconds})`);
}

async function deleteMany(work: Work, folder: ObjectName): Promise<number> {
  const { words, objects } = work;
  if (isSet(words, 'dry-run')) return dryRun(work, 'delete', folder);
  if (!isSet(words, 'yes') && someoneIsThere()) {
    const { count, size } = await countOf(wantedIn(work, folder));
    if (count === 0) throw none(folder);
    await confirm(`Delete ${amount(count, 'object')} (${bytes(size)}) in ${printable(textOf(folder))}?`);
    if (work.signal.aborted) throw new Exit(EXIT.interrupted);
  }
  const meter = new Meter(`Deleting ${textOf(folder)}`, work.quiet, 0);
  const tally = new Tally(work, 'deleted');
  try {
    await together(wantedIn(work, folder), work.smallParallel, async ({ key, size }) => {
      const name = { ...folder, key };
      meter.expect(size);
      try {
        await objects.delete(name);
        meter.count(size);
        tally.done('deleted', { key, size }, size);
      } catch (error) {
        tally.failed(textOf(name), error);
      }
    });
  } finally {
    meter.end();
  }
  if (tally.counts['deleted'] === 0 && tally.code === EXIT.done) throw none(folder);
  return tally.end(`${amount(tally.counts['deleted'] ?? 0, 'object')} deleted from ${textOf(folder)} (${bytes(tally.bytes)})`);
}
