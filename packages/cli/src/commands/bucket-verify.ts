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
  try {
    for await (const item of remote.stream(words.command.operation as OperationSpec, { target: bucket, input, signal })) {
      const found = item as Found;
      // Each item tells of its own page.
      result.checked += found.checked;
      result.bytes += found.bytes;
      result.damaged.push(...found.damaged);
      progress.update(`${amount(found.checked, 'version')}, ${bytes(found.bytes)}`);
    }
  } finally {
    progress.end();
  }
  if (output === 'json' || output === 'yaml') out(await structured(result, output));
  else if (plain) {
    for (const one of result.damaged) out(`${lineOf(bucket, one)}\n`);
    if (!quiet) {
      const what = `${amount(result.checked, 'version')}, ${bytes(result.bytes)}`;
      if (result.damaged.length === 0) out(`${printable(bucket)} is sound: ${what} read\n`);
      else err(`${result.damaged.length} damaged; ${what} read\n`);
    }
  } else for (const { key } of result.damaged) out(`${printable(`${bucket}/${key}`)}\n`);
  return result.damaged.length === 0 ? EXIT.done : EXIT.failed;
}

const lineOf = (bucket: string, { key, version, part, problem }: Damaged): string =>
  printable(`${bucket}/${key}${version === 'null' ? '' : ` (version ${version})`}${part === undefined ? '' : `, part ${part}`}: ${problem}`);
