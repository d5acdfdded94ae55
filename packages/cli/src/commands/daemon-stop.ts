// `cloud daemon stop`: asks the process to end in good order and waits until it has. Stopping what does not run is done already.
import { resolve } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { EXIT, err } from '../base.ts';
import { daemonRecord, isDaemon } from '../daemon-files.ts';
import { inputOf } from '../input.ts';
import { Progress } from '../progress.ts';
import { settingsOf } from '../settings.ts';
import { pause } from '../wait.ts';
import type { Words } from '../words.ts';

/** The daemon gives open calls ten seconds. */
const LONGEST = 30_000;

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const settings = settingsOf(words);
  const record = daemonRecord(resolve(settings.dataDir));
  if (record === undefined) {
    if (!settings.quiet) err('The daemon does not run.\n');
    return EXIT.done;
  }
  process.kill(record.pid, 'SIGTERM');
  const progress = new Progress('Stopping the daemon', settings.quiet || process.stderr.isTTY !== true);
  try {
    for (const deadline = Date.now() + LONGEST; isDaemon(record.pid); await pause(25)) {
      if (Date.now() > deadline)
        throw new Fault('timeout', `The daemon (process ${record.pid}) has not ended within ${LONGEST / 1000} s`, { hint: `kill -9 ${record.pid}` });
    }
  } finally {
    progress.end();
  }
  if (!settings.quiet) err('The daemon has stopped.\n');
  return EXIT.done;
}
