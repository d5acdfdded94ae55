// `cloud object sync`: which side is a directory here and which a folder in a bucket; `objects/sync.ts` does the rest.
import { statSync } from 'node:fs';
import { err, usage } from '../base.ts';
import { expandHome, inputOf } from '../input.ts';
import { folderFrom } from '../objects/name.ts';
import { type Side, sideText, sync } from '../objects/sync.ts';
import { workOf } from '../objects/work.ts';
import { printable } from '../print/printable.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const [source = '', destination = ''] = words.positionals;
  const { from, to } = sidesOf(source, destination, isDirectory);
  if ('directory' in from && !isDirectory(from.directory)) throw usage(`There is no directory ${source}`);
  if ('directory' in to && statSync(to.directory, { throwIfNoEntry: false })?.isDirectory() === false) throw usage(`${destination} is no directory`);
  const work = workOf(words);
  if (!work.quiet && !isSet(words, 'dry-run') && process.stderr.isTTY) err(`${kind(from)} → ${kind(to)}\n`);
  return sync(work, from, to);
}

const kind = (side: Side): string => printable('directory' in side ? `directory ${sideText(side)}` : `bucket ${sideText(side)}`);

const isDirectory = (path: string): boolean => statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

const HERE = /^(?:[./~]|$)/;
const THERE = /^s3:\/\//;

/** What begins with `.`, `/` or `~` is here, `s3://` is there. A plain name is a directory when there is one; the other side is then a bucket. */
export function sidesOf(source: string, destination: string, exists: (path: string) => boolean): { from: Side; to: Side } {
  const here = (text: string): Side => ({ directory: expandHome(text) });
  const there = (text: string): Side => ({ folder: folderFrom(text.replace(THERE, '')) });
  const plain = (text: string): boolean => !HERE.test(text) && !THERE.test(text);
  if (source === '' || destination === '') throw usage('A side is empty');
  const fromHere = HERE.test(source) || (plain(source) && exists(source) && !HERE.test(destination));
  if (fromHere) {
    if (HERE.test(destination)) throw usage('Neither side is a bucket', 'cloud object sync --help');
    return { from: here(source), to: there(destination) };
  }
  if (plain(destination) && exists(destination))
    throw usage(`"${destination}" may be a bucket, and is a directory here: write ./${destination} or s3://${destination}`);
  return { from: there(source), to: HERE.test(destination) ? here(destination) : there(destination) };
}
