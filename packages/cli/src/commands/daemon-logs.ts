// `cloud daemon logs`: the log file, readable also when the daemon is not.
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Fault, FILES } from '@thecloud/core/contracts';
import { out } from '../base.ts';
import { logLine, tailOf } from '../daemon-files.ts';
import { inputOf } from '../input.ts';
import { settingsOf } from '../settings.ts';
import { pause } from '../wait.ts';
import { untilInterrupted } from '../watch.ts';
import { flag, isSet, type Words } from '../words.ts';

const DEFAULT_LINES = 200;

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const { dataDir, output } = settingsOf(words);
  const path = join(resolve(dataDir), FILES.log);
  const lines = Number(flag(words, 'tail') ?? DEFAULT_LINES);
  if (!Number.isInteger(lines) || lines < 0) throw new Fault('invalid_input', `--tail: "${flag(words, 'tail')}" is not a whole number`);
  const tail = tailOf(path, lines);
  if (tail === undefined) throw new Fault('not_found', `There is no log yet at ${path}`, { hint: 'cloud daemon start' });
  const show = (text: string): void => {
    if (text === '') return;
    if (output === 'json') out(text);
    else out(text.replace(/[^\n]+/g, logLine));
  };
  show(tail.text);
  if (!isSet(words, 'follow')) return 0;
  const { signal } = untilInterrupted();
  let at = tail.end;
  let rest = '';
  for (;;) {
    const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (size < at) at = 0; // begun anew
    if (size > at) {
      const file = openSync(path, 'r');
      const bytes = Buffer.alloc(Math.min(size - at, 1024 * 1024));
      at += readSync(file, bytes, 0, bytes.length, at);
      closeSync(file);
      const text = rest + bytes.toString('utf8');
      const end = text.lastIndexOf('\n') + 1;
      rest = text.slice(end);
      show(text.slice(0, end));
    } else await pause(200, signal);
  }
}
