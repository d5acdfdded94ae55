// `cloud image import`: a file (or standard input) is sent, the image comes back.
import { createReadStream, statSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { Fault } from '@thecloud/core/contracts';
import { openChannel } from '../channel.ts';
import { expandHome, inputOf } from '../input.ts';
import { bytes } from '../print/cells.ts';
import { printOne } from '../print/index.ts';
import { Progress } from '../progress.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { loadGroup, type OperationSpec } from '../table.ts';
import { flag, type Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const { input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const path = flag(words, 'file') as string;
  const size = path === '-' ? undefined : sizeOf(path);
  const channel = await openChannel(remote, words.command.operation as OperationSpec, undefined, input);
  const progress = new Progress(`Importing image ${String(input['reference'])}`, remote.settings.quiet);
  let sent = 0;
  const source = path === '-' ? process.stdin : createReadStream(expandHome(path));
  source.on('data', (piece: Buffer | string) => {
    sent += piece.length;
    if (process.stderr.isTTY) progress.update(size === undefined ? bytes(sent) : `${bytes(sent)} of ${bytes(size)}`);
  });
  channel.output.resume();
  channel.error.resume();
  // A daemon that refuses closes the pipe early; then its own words say why, not the broken pipe.
  const sending = pipeline(source, channel.input).catch((error: unknown) => error);
  try {
    const image = await channel.result;
    progress.end(`image ${String(input['reference'])} imported`);
    await printOne(loadGroup('image'), image, remote.settings.output);
    return 0;
  } catch (error) {
    progress.end();
    throw error;
  } finally {
    source.destroy();
    await sending;
  }
}

function sizeOf(path: string): number {
  const info = statSync(expandHome(path), { throwIfNoEntry: false });
  if (info === undefined) throw new Fault('invalid_input', `--file: there is no file ${path}`);
  if (info.isDirectory())
    throw new Fault('invalid_input', `--file: ${path} is a directory`, { hint: `tar -C ${path} -cf - . | cloud image import <reference> --file -` });
  return info.size;
}
