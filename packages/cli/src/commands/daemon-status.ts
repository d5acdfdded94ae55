// `cloud daemon status`: exit code 0 when it answers, 8 when it does not.
import { resolve } from 'node:path';
import { EXIT, err, out } from '../base.ts';
import { daemonRecord, systemInfo } from '../daemon-files.ts';
import { describeEndpoint } from '../http.ts';
import { inputOf } from '../input.ts';
import { structured, styleNow } from '../print/index.ts';
import { card } from '../print/table.ts';
import { settingsOf } from '../settings.ts';
import type { Words } from '../words.ts';

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const settings = settingsOf(words);
  const info = await systemInfo(settings);
  const record = 'socket' in settings.endpoint ? daemonRecord(resolve(settings.dataDir)) : undefined;
  const drivers = [...new Set(info?.drivers.map(({ driver }) => driver) ?? [])];
  const status = {
    state: info === undefined ? 'stopped' : 'running',
    endpoint: describeEndpoint(settings.endpoint),
    ...(record === undefined
      ? {}
      : {
          pid: record.pid,
          ...(record.listen === undefined ? {} : { listen: record.listen }),
          ...(record.s3 === undefined ? {} : { s3: `http://${record.s3}` }),
        }),
    ...(info === undefined ? {} : { version: info.version, drivers, startedAt: info.startedAt, node: info.node }),
    dataDir: info?.dataDir ?? resolve(settings.dataDir),
  };
  const { output } = settings;
  if (output === 'json' || output === 'yaml') out(await structured(status, output));
  else if (output === 'name') out(`${status.state}\n`);
  else {
    const columns = [
      { field: 'state', header: 'State', format: 'state' },
      { field: 'pid', header: 'Process', format: 'text' },
      { field: 'endpoint', header: 'Endpoint', format: 'text' },
      { field: 'listen', header: 'Listens on', format: 'text' },
      { field: 's3', header: 'S3', format: 'text' },
      { field: 'version', header: 'Version', format: 'text' },
      { field: 'drivers', header: 'Driver', format: 'list' },
      { field: 'startedAt', header: 'Started', format: 'age' },
      { field: 'dataDir', header: 'Data', format: 'text' },
    ] as const;
    out(card(columns, status, styleNow(), true));
  }
  if (info !== undefined) return EXIT.done;
  if (record !== undefined) err(`Process ${record.pid} is there but does not answer. Hint: cloud daemon logs\n`);
  else if (!settings.quiet) err('Hint: cloud daemon start\n');
  return EXIT.unavailable;
}
