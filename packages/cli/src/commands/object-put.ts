// `cloud object put`: a file, a directory, or standard input becomes objects.
import { statSync } from 'node:fs';
import { Fault } from '@thecloud/core/contracts';
import { EXIT, out, usage } from '../base.ts';
import { expandHome, inputOf } from '../input.ts';
import type { About, ObjectView } from '../objects/calls.ts';
import { baseOf, folderFrom, nameFrom, type ObjectName, oneFrom, textOf, typeOf } from '../objects/name.ts';
import { severalSizes } from '../objects/parts.ts';
import { type Sending, uploadFile, uploadStream } from '../objects/upload.ts';
import { walk } from '../objects/walk.ts';
import { amount, inWords, Meter, onlyForOne, Tally, type Work, wantedOf, workOf } from '../objects/work.ts';
import { bytes } from '../print/cells.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { isSet, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const [to = '', source = ''] = words.positionals;
  const { size, md5, ifMatch, ifNoneMatch, source: _, ...about } = input;
  const sending = {
    ...(ifNoneMatch === true ? { ifNoneMatch: true } : {}),
    ...(typeof ifMatch === 'string' ? { ifMatch } : {}),
    ...(typeof md5 === 'string' ? { md5 } : {}),
    resume: isSet(words, 'resume'),
  };
  if (isSet(words, 'recursive')) {
    onlyForOne(words, 'size', 'md5', 'if-match');
    if (source === '-') throw usage('Standard input is one object: leave out --recursive');
    return putMany(workOf(words), folderFrom(to), expandHome(source), about, sending);
  }
  onlyForMany(words);
  if (source === '-') {
    if (sending.resume) throw usage('What comes from standard input cannot be gone on with: leave out --resume');
    return putOne(workOf(words), oneFrom(to), undefined, { ...about, ...(size === undefined ? {} : { size }) }, sending);
  }
  const path = expandHome(source);
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined) throw usage(`There is no ${source}`);
  if (info.isDirectory()) throw usage(`${source} is a directory`, `cloud object put ${to.endsWith('/') ? to : `${to}/`} ${source} --recursive`);
  if (size !== undefined && size !== info.size) throw usage(`${source} has ${info.size} bytes, and --size says ${String(size)}`);
  const named = nameFrom(to);
  // As `cp` into a directory: the file keeps its name.
  const name = named.key === '' || named.key.endsWith('/') ? { ...named, key: `${named.key}${baseOf(path)}` } : named;
  return putOne(workOf(words), name, { path, size: info.size }, about, sending);
}

function onlyForMany({ flags }: Words): void {
  for (const name of ['include', 'exclude', 'follow-symlinks']) if (flags.has(name)) throw usage(`--${name} goes with --recursive only`);
}

type Options = Pick<Sending, 'resume' | 'ifNoneMatch' | 'ifMatch' | 'md5'>;

async function putOne(work: Work, name: ObjectName, file: { path: string; size: number } | undefined, about: About, options: Options): Promise<number> {
  const { words } = work;
  const meter = new Meter(`Putting ${textOf(name)}`, work.quiet, file?.size);
  const sending: Sending = { ...work, ...options, count: meter.count };
  const described = withType(about, name.key);
  // Whoever waits for standard input hears nothing else.
  if (file === undefined) work.signal.addEventListener('abort', () => process.stdin.destroy(work.signal.reason as Error), { once: true });
  try {
    const view = file === undefined ? await uploadStream(process.stdin, name, described, sending) : await uploadFile(file.path, name, described, sending);
    meter.end();
    await print(work, view);
    return EXIT.done;
  } catch (error) {
    meter.end();
    throw inWords(work, file?.path ?? textOf(name), error, `cloud object put ${words.positionals.join(' ')} --resume`);
  }
}

async function print({ remote: { settings } }: Work, view: ObjectView): Promise<void> {
  const name = textOf(view);
  if (settings.output === 'json' || settings.output === 'yaml') return out(await structured(view, settings.output));
  if (settings.output === 'name') return out(`${printable(name)}\n`);
  if (settings.quiet) return;
  const version = view.version === undefined ? '' : `, version ${view.version}`;
  out(`object ${printable(name)} written: ${bytes(view.size)}, ETag ${view.etag}${printable(version)}\n`);
}

const withType = (about: About, key: string): About => {
  const type = about['contentType'] === undefined ? typeOf(key) : undefined;
  return type === undefined ? about : { ...about, contentType: type };
};

async function putMany(work: Work, to: ObjectName, directory: string, about: About, options: Options): Promise<number> {
  const info = statSync(directory, { throwIfNoEntry: false });
  if (info === undefined) throw usage(`There is no ${directory}`);
  if (!info.isDirectory()) throw usage(`${directory} is no directory: leave out --recursive`);
  const meter = new Meter(`Putting ${directory} to ${textOf(to)}`, work.quiet, 0);
  const tally = new Tally(work, 'written');
  const files = walk(directory, {
    follow: isSet(work.words, 'follow-symlinks'),
    wanted: wantedOf(work.words),
    skipped: (path, why) => tally.skipped(path, why),
  });
  try {
    await severalSizes(files, work, async ({ key, path, size }) => {
      const name = { ...to, key: `${to.key}${key}` };
      meter.expect(size);
      try {
        const view = await uploadFile(path, name, withType(about, key), { ...work, ...options, count: meter.count });
        tally.done('written', { key: view.key, size: view.size, etag: view.etag }, view.size);
      } catch (error) {
        tally.failed(path, error instanceof Fault ? error : inWords(work, path, error));
      }
    });
  } catch (error) {
    meter.end();
    throw inWords(work, directory, error, `cloud object put ${work.words.positionals.join(' ')} --recursive --resume`);
  }
  meter.end();
  return tally.end(`${amount(tally.counts['written'] ?? 0, 'object')} written to ${textOf(to)} (${bytes(tally.bytes)} in ${meter.seconds})`);
}
