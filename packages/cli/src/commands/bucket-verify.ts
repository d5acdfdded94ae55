// `cloud bucket verify`: how far it is while it reads, then what is damaged, and an exit code that a script can ask.
import { EXIT, err, out } from '../base.ts';
import { inputOf } from '../input.ts';
import { amount } from '../objects/work.ts';
import { bytes } from '../print/cells.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { Progress } from '../progress.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import type { OperationSpec } from '../table.ts';
import { untilInterrupted } from '../watch.ts';
import type { Words } from '../words.ts';

interface Damaged {
  key: string;
  version: string;
  part?: number;
  problem: string;
}
interface Found {
  checked: number;
  bytes: number;
  damaged: Damaged[];
}

export async function run(words: Words): Promise<number> {
  const { targets, input } = await inputOf(words);
  const remote = new Remote(settingsOf(words));
  const { output, quiet } = remote.settings;
  const { signal } = untilInterrupted();
  const bucket = targets[0] ?? '';
  const plain = output === 'table' || output === 'wide';
  const progress = new Progress(`Verifying ${printable(bucket)}`, quiet || process.stderr.isTTY !== true);
  const result: Found = { checked: 0, bytes: 0, damaged: [] };
  const told = new Set<string>();
  try {
    for await (const item of remote.stream(words.command.operation as OperationSpec, { target: bucket, input, signal })) {
      const found = item as Found;
      result.checked = found.checked;
      result.bytes = found.bytes;
      progress.update(`${amount(found.checked, 'version')}, ${bytes(found.bytes)}`);
      for (const one of found.damaged) {
        const line = lineOf(bucket, one);
        if (told.has(line)) continue;
        told.add(line);
        result.damaged.push(one);
      }
    }
  } finally {
    progress.end();
  }
  if (output === 'json' || output === 'yaml') out(await structured(result, output));
  else if (plain) {
    for (const line of told) out(`${line}\n`);
    if (!quiet) {
      const what = `${amount(result.checked, 'version')}, ${bytes(result.bytes)}`;
      (told.size === 0 ? out : err)(told.size === 0 ? `${printable(bucket)} is sound: ${what} read\n` : `${told.size} damaged; ${what} read\n`);
    }
  } else for (const { key } of result.damaged) out(`${printable(`${bucket}/${key}`)}\n`);
  return result.damaged.length === 0 ? EXIT.done : EXIT.failed;
}

const lineOf = (bucket: string, { key, version, part, problem }: Damaged): string =>
  printable(`${bucket}/${key}${version === 'null' ? '' : ` (version ${version})`}${part === undefined ? '' : `, part ${part}`}: ${problem}`);
