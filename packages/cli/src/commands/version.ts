// `cloud version`: this side, and the other one when it answers.
import { Fault } from '@thecloud/core/contracts';
import { out } from '../base.ts';
import { structured } from '../print/index.ts';
import { Remote } from '../remote.ts';
import { settingsOf } from '../settings.ts';
import { commandOf, type OperationSpec } from '../table.ts';
import { VERSION } from '../version.ts';
import type { Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  const remote = new Remote(settingsOf(words));
  let daemon: { version: string } | undefined;
  let why = '';
  try {
    daemon = (await remote.call(commandOf('system info').operation as OperationSpec, { patience: 3000 })).value as { version: string };
  } catch (error) {
    // A version can be asked for without a daemon; anything else that is wrong still is.
    if (!(error instanceof Fault) || error.code !== 'unavailable') throw error;
    why = 'not running';
  }
  const { output } = remote.settings;
  if (output === 'json' || output === 'yaml')
    out(await structured({ client: VERSION, node: process.versions.node, ...(daemon === undefined ? {} : { daemon: daemon.version }) }, output));
  else out(`cloud   ${VERSION} (Node ${process.versions.node})\ndaemon  ${daemon?.version ?? why}\n`);
  return 0;
}
