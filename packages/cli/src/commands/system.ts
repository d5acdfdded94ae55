// `cloud system info` and `cloud system doctor`. The doctor looks at this side first, so that it has something to say when the daemon is away.
import { accessSync, constants, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { colours, EXIT, out, paint } from '../base.ts';
import { rememberedDriver, type SystemInfo } from '../daemon-files.ts';
import { describeEndpoint, request } from '../http.ts';
import { inputOf } from '../input.ts';
import { localTime, stateText } from '../print/cells.ts';
import { structured } from '../print/index.ts';
import { printable } from '../print/printable.ts';
import { pad, width } from '../print/width.ts';
import { Remote } from '../remote.ts';
import { type Settings, settingsOf } from '../settings.ts';
import { findCommand, type OperationSpec } from '../table.ts';
import type { Words } from '../words.ts';

interface Check {
  name: string;
  ok: boolean;
  detail: string;
  remedy?: string;
}

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const settings = settingsOf(words);
  return words.command.id === 'system info' ? info(words, settings) : doctor(words, settings);
}

async function info(words: Words, settings: Settings): Promise<number> {
  const value = (await new Remote(settings).call(words.command.operation as OperationSpec, {})).value as SystemInfo;
  const { output } = settings;
  if (output === 'json' || output === 'yaml') {
    out(await structured(value, output));
    return EXIT.done;
  }
  if (output === 'name') {
    if (value.installation !== undefined) out(`${value.installation}\n`);
    return EXIT.done;
  }
  const who = await whoami(settings);
  const facts = [
    ['Version', value.version],
    ['Installation', value.installation],
    ['Data', value.dataDir],
    ['Tenant', withId(who?.tenant?.name, value.tenant)],
    ['Principal', withId(who?.name, value.principal)],
    ['Context', settings.context ?? 'default'],
    ['Node', value.node],
    ['Started', value.startedAt === undefined ? undefined : localTime(value.startedAt)],
  ] as const;
  // What only administrators of the installation are told is left out for others.
  out(facts.map(([name, text]) => (text === undefined ? '' : `${pad(`${name}:`, 13)}  ${text}\n`)).join(''));
  const colour = colours(process.stdout);
  const names = Math.max(0, ...value.drivers.flatMap(({ features }) => features.map(({ name }) => width(name))));
  for (const { port, driver, version, features } of value.drivers) {
    out(`\n${paint('bold', port, colour)}: ${driver}${version === undefined ? '' : ` ${version}`}\n`);
    for (const { name, level, detail } of features) out(`  ${pad(name, names)}  ${pad(stateText(level, colour), 11)}  ${detail}\n`);
  }
  return EXIT.done;
}

/** Names of what the daemon's facts have ids of. */
async function whoami(settings: Settings): Promise<{ name: string; tenant?: { name: string } } | undefined> {
  const operation = findCommand('auth whoami')?.operation;
  return operation === undefined ? undefined : ((await new Remote(settings).call(operation, {})).value as { name: string; tenant?: { name: string } });
}

const withId = (name: string | undefined, id: string): string => (name === undefined || name === id ? id : `${printable(name)} (${id})`);

async function doctor(words: Words, settings: Settings): Promise<number> {
  const checks: Check[] = [nodeCheck(), dataDirCheck(resolve(settings.dataDir))];
  let running = true;
  try {
    const answer = (await new Remote(settings).call(words.command.operation as OperationSpec, { patience: 60_000 })).value as { checks: Check[] };
    checks.push({ name: 'daemon', ok: true, detail: `answers at ${describeEndpoint(settings.endpoint)}` }, ...answer.checks);
  } catch (error) {
    if (!(error instanceof Fault) || error.code !== 'unavailable') throw error;
    running = false;
    checks.push({ name: 'daemon', ok: false, detail: error.message, remedy: error.hint ?? 'cloud daemon start' });
    if (rememberedDriver(resolve(settings.dataDir)) !== 'memory') checks.push(await dockerCheck());
  }
  const ok = checks.every((check) => check.ok);
  const { output } = settings;
  if (output === 'json' || output === 'yaml') out(await structured({ ok, checks }, output));
  else {
    const colour = colours(process.stdout);
    const size = Math.max(...checks.map(({ name }) => width(name)));
    for (const { name, ok: good, detail, remedy } of checks) {
      out(`${good ? paint('green', '✓', colour) : paint('red', '✗', colour)} ${pad(name, size)}  ${detail}\n`);
      if (!good && remedy !== undefined) out(`  ${' '.repeat(size)}  Mend it: ${remedy}\n`);
    }
    out(ok ? '\nEverything works.\n' : `\n${checks.filter((check) => !check.ok).length} of ${checks.length} checks failed.\n`);
  }
  return running ? (ok ? EXIT.done : EXIT.failed) : EXIT.unavailable;
}

function nodeCheck(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const ok = major > 22 || (major === 22 && minor >= 19);
  return { name: 'node', ok, detail: `version ${process.versions.node}`, ...(ok ? {} : { remedy: 'install Node 24' }) };
}

function dataDirCheck(dataDir: string): Check {
  const name = 'data directory';
  const info = statSync(dataDir, { throwIfNoEntry: false });
  if (info === undefined) return { name, ok: true, detail: `${dataDir} is not there yet; the first start makes it` };
  if (!info.isDirectory()) return { name, ok: false, detail: `${dataDir} is not a directory`, remedy: `mv ${dataDir} ${dataDir}.old` };
  try {
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (error) {
    return { name, ok: false, detail: `${dataDir} cannot be written: ${(error as Error).message}`, remedy: `sudo chown -R "$USER" ${dataDir}` };
  }
  if ((info.mode & 0o077) !== 0)
    return { name, ok: false, detail: `${dataDir} is open to other users (mode ${(info.mode & 0o777).toString(8)})`, remedy: `chmod 700 ${dataDir}` };
  return { name, ok: true, detail: dataDir };
}

/** Asked directly, since the daemon that would ask is away. */
async function dockerCheck(): Promise<Check> {
  const host = process.env['DOCKER_HOST'] || 'unix:///var/run/docker.sock';
  const socket = /^unix:\/\/(.+)$/.exec(host)?.[1];
  if (socket === undefined) return { name: 'docker', ok: true, detail: `DOCKER_HOST is ${host}; the daemon asks it when it starts` };
  try {
    const answer = await request({ socket }, { method: 'GET', path: '/version', patience: 5000 });
    const { Version: version } = JSON.parse(answer.body) as { Version?: string };
    return { name: 'docker', ok: answer.status === 200, detail: `Docker Engine ${version ?? ''} at ${socket}` };
  } catch (error) {
    return {
      name: 'docker',
      ok: false,
      detail: `Docker Engine does not answer at ${socket} (${(error as { cause?: { code?: string } }).cause?.code ?? (error as Error).message})`,
      remedy: 'sudo systemctl start docker, or try without: cloud daemon start --driver memory',
    };
  }
}
