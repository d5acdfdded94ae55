// `cloud object get`: an object becomes a file or standard output, a folder of objects a directory.
import { statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { Fault } from '@thecloud/core/contracts';
import { EXIT, out, usage } from '../base.ts';
import { expandHome, inputOf } from '../input.ts';
import { every, type ObjectView } from '../objects/calls.ts';
import { downloadFile, downloadStream } from '../objects/download.ts';
import { baseOf, folderFrom, type ObjectName, oneFrom, textOf, unfit } from '../objects/name.ts';
import { severalSizes } from '../objects/parts.ts';
import { Directories } from '../objects/walk.ts';
import { amount, inWords, Meter, onlyForOne, Tally, type Work, wantedOf, workOf } from '../objects/work.ts';
import { bytes } from '../print/cells.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { destination: _, ...input } = (await inputOf(words)).input;
  const [from = '', destination] = words.positionals;
  if (isSet(words, 'recursive')) {
    onlyForOne(words, 'version', 'start', 'end', 'if-match');
    if (destination === undefined || destination === '-')
      throw usage('Name the directory that the objects are to be written to', `cloud object get ${from} . --recursive`);
    return getMany(workOf(words), folderFrom(from), expandHome(destination));
  }
  for (const name of ['include', 'exclude', 'follow-symlinks']) if (words.flags.has(name)) throw usage(`--${name} goes with --recursive only`);
  const name = oneFrom(from);
  if (name.key.endsWith('/') && destination !== undefined && destination !== '-')
    throw usage(`"${from}" is a folder`, `cloud object get ${from} ${destination} --recursive`);
  const ranged = input['start'] !== undefined || input['end'] !== undefined;
  if (destination === undefined || destination === '-' || ranged) {
    if (ranged && destination !== undefined && destination !== '-')
      throw usage('A range goes to standard output', `cloud object get ${from} --start … > ${destination}`);
    return toOutput(workOf(words), name, input, destination === '-');
  }
  return toFile(workOf(words), name, expandHome(destination), input);
}

interface Which {
  version?: string;
  start?: number;
  end?: number;
  ifMatch?: string;
}

async function toOutput(work: Work, name: ObjectName, input: Which, asked: boolean): Promise<number> {
  const { objects } = work;
  const { stdout } = process;
  if (stdout.isTTY && !asked) {
    const { contentType = '', size } = await objects.head(name, input.version);
    if (!TEXT.test(contentType) && size > 0)
      throw usage(
        `${textOf(name)} is ${contentType === '' ? 'of no known type' : contentType}, and this is a terminal: name a file, or \`-\` to see it all the same`,
      );
  }
  const meter = new Meter(`Getting ${textOf(name)}`, work.quiet || stdout.isTTY);
  const { version, ...range } = input;
  const whole = range.start === undefined && range.end === undefined && range.ifMatch === undefined;
  const source = whole
    ? downloadStream(name, { ...work, count: meter.count, version })
    : objects.get(name, { ...(input.end !== undefined && input.start === undefined ? { start: 0 } : {}), ...input });
  try {
    await pipeline(source, stdout.isTTY && !asked ? shown : passed, stdout, { end: false });
    meter.end();
    return EXIT.done;
  } catch (error) {
    meter.end();
    throw inWords(work, textOf(name), error);
  }
}

const TEXT = /^(text\/|application\/(json|jsonl|xml|yaml|toml|sql|javascript|x-sh)|[a-z]+\/[a-z.+-]*\+(json|xml))/;

async function* passed(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

/** Text for eyes: nothing in it that the terminal would obey. */
async function* shown(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  for await (const piece of pieces) yield printable(decoder.decode(piece, { stream: true }));
  yield printable(decoder.decode());
}

async function toFile(work: Work, name: ObjectName, destination: string, { version, ifMatch }: Which): Promise<number> {
  const { objects } = work;
  const info = statSync(destination, { throwIfNoEntry: false });
  const directory = info?.isDirectory() === true || destination.endsWith('/');
  const why = directory ? unfit(baseOf(name.key)) : undefined;
  if (why !== undefined) throw usage(`${textOf(name)} cannot keep its name: ${why}; name the file`);
  const path = directory ? join(destination, baseOf(name.key)) : destination;
  if (info !== undefined && !directory && !info.isFile()) throw usage(`${destination} is no file`, `cloud object get ${textOf(name)} > ${destination}`);
  if (statSync(dirname(path), { throwIfNoEntry: false }) === undefined) throw usage(`There is no directory ${dirname(path)}`);
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw usage(`${path} is a directory`);
  const view = await objects.head(name, version);
  if (ifMatch !== undefined && ifMatch !== view.etag) throw new Fault('stale', `${textOf(name)} has the ETag ${view.etag}`);
  const meter = new Meter(`Getting ${textOf(name)}`, work.quiet, view.size);
  try {
    await downloadFile(name, view, path, { ...work, count: meter.count, ...(version === undefined ? {} : { version }) });
    meter.end();
  } catch (error) {
    meter.end();
    throw inWords(work, path, error);
  }
  await print(work, view, path, meter);
  return EXIT.done;
}

async function print({ remote: { settings } }: Work, view: ObjectView, path: string, meter: Meter): Promise<void> {
  if (settings.output === 'json' || settings.output === 'yaml') return out(await structured(view, settings.output));
  if (settings.output === 'name') return out(`${printable(path)}\n`);
  if (!settings.quiet) out(`${printable(textOf(view))} is in ${printable(path)}: ${bytes(view.size)} in ${meter.seconds}\n`);
}

async function getMany(work: Work, from: ObjectName, directory: string): Promise<number> {
  const { objects, words } = work;
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() === false) throw usage(`${directory} is no directory`);
  const meter = new Meter(`Getting ${textOf(from)} to ${directory}`, work.quiet, 0);
  const tally = new Tally(work, 'read');
  const directories = new Directories(directory, isSet(words, 'follow-symlinks'));
  const wanted = wantedOf(words);
  try {
    await severalSizes(every(objects, from), work, async ({ key, size }) => {
      const below = key.slice(from.key.length);
      // The mark of the folder itself, which other clients leave behind.
      if (below === '' && size === 0) return;
      if (!wanted.takes(below)) return;
      const name = { ...from, key };
      try {
        const why = unfit(below);
        if (why !== undefined) return tally.refused(textOf(name), `it cannot be a file here: ${why}`);
        const inside = await directories.of(below);
        if (below.endsWith('/')) {
          if (size > 0) tally.refused(textOf(name), 'it has the name of a folder, and bytes: get it by itself into a file');
          return;
        }
        const path = join(inside, basename(below));
        if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return tally.refused(textOf(name), `${path} is a directory`);
        const view = await objects.head(name);
        meter.expect(view.size);
        await downloadFile(name, view, path, { ...work, count: meter.count });
        tally.done('read', { key, size: view.size, etag: view.etag, path }, view.size);
      } catch (error) {
        tally.failed(textOf(name), error);
      }
    });
  } catch (error) {
    meter.end();
    throw inWords(work, directory, error);
  }
  meter.end();
  if (tally.counts['read'] === 0 && tally.code === EXIT.done)
    throw new Fault('not_found', `There are no objects in ${textOf(from)}`, { hint: `cloud object list ${from.bucket}` });
  return tally.end(`${amount(tally.counts['read'] ?? 0, 'object')} read to ${directory} (${bytes(tally.bytes)} in ${meter.seconds})`);
}
