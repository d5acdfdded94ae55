// `cloud daemon start`: a process of its own, that is heard once (ready, or why not) and then left alone.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Fault, type FaultBody, FILES, socketPathOf } from '@thecloud/core/contracts';
import { EXIT, err, out } from '../base.ts';
import { daemonRecord, logLine, makeDirectory, rememberDriver, rememberedDriver, systemInfo, tailOf } from '../daemon-files.ts';
import { inputOf } from '../input.ts';
import { structured } from '../print/index.ts';
import { Progress } from '../progress.ts';
import { type Settings, settingsOf } from '../settings.ts';
import { pause } from '../wait.ts';
import { flag, isSet, type Words } from '../words.ts';

interface Place {
  host: string;
  port: number;
}
type Heard = { ready: { pid: number; socket: string; address?: Place; s3?: Place } } | { error: FaultBody };

const placeText = (place: Place | undefined): string | undefined =>
  place === undefined ? undefined : `${place.host.includes(':') ? `[${place.host}]` : place.host}:${place.port}`;

const DRIVERS = ['docker', 'memory'] as const;
type DriverName = (typeof DRIVERS)[number];
/** How long a daemon that was started at the same moment is waited for. */
const SOON = 3000;

export async function run(words: Words): Promise<number> {
  await inputOf(words);
  const given = settingsOf(words);
  const dataDir = resolve(given.dataDir);
  const settings: Settings = { ...given, dataDir, endpoint: { socket: socketPathOf(dataDir) }, proof: undefined };
  checkFlags(words);
  const named = flag(words, 'driver') ?? (process.env['CLOUD_DRIVER'] || undefined);
  const asked = named === undefined ? undefined : driverFrom(named);
  const remembered = rememberedDriver(dataDir);
  if (asked !== undefined && remembered !== undefined && asked !== remembered) {
    throw new Fault('conflict', `${dataDir} was made with the ${remembered} driver; its instances cannot be run by ${asked}`, {
      hint: `cloud daemon start --driver ${asked} --data-dir <another directory>`,
    });
  }
  const driver = driverFrom(asked ?? remembered ?? 'docker');
  if ((await systemInfo(settings)) !== undefined) return alreadyRunning(settings);
  return isSet(words, 'foreground') ? foreground(words, settings, driver) : background(words, settings, driver);
}

async function alreadyRunning(settings: Settings): Promise<number> {
  const record = daemonRecord(settings.dataDir);
  if (!settings.quiet) err(`The daemon runs already${record === undefined ? '' : ` (process ${record.pid})`}.\n`);
  await report(settings, { pid: record?.pid, socket: socketPathOf(settings.dataDir), listen: record?.listen, s3: record?.s3 });
  return EXIT.done;
}

/** Somebody holds the data directory: whether it is a daemon that was started at the same moment and answers soon. */
async function soonAnswers(settings: Settings): Promise<boolean> {
  for (const deadline = Date.now() + SOON; Date.now() < deadline; await pause(100)) {
    if ((await systemInfo(settings)) !== undefined) return true;
  }
  return false;
}

/** Of TCP, and told as they are to the daemon's process, which checks them. */
const ONLY_TCP = ['allow-remote', 'allowed-host', 'allowed-origin', 'trusted-proxy', 'rate-limit', 'max-connections'];

function checkFlags(words: Words): void {
  if (flag(words, 'listen') !== undefined) return;
  const lonely = ONLY_TCP.find((name) => words.flags.has(name) && !(name === 'allow-remote' && s3ListenOf(words) !== undefined));
  if (lonely !== undefined) throw new Fault('invalid_input', `--${lonely} says something only together with --listen`);
}

const s3ListenOf = (words: Words): string | undefined => flag(words, 's3-listen') ?? (process.env['CLOUD_S3_LISTEN'] || undefined);

const numberOf = (words: Words, name: string): number | undefined => {
  const text = flag(words, name);
  return text === undefined ? undefined : Number(text);
};

function driverFrom(name: string): DriverName {
  const found = DRIVERS.find((one) => one === name);
  if (found === undefined) throw new Fault('invalid_input', `There is no driver "${name}"; use ${DRIVERS.join(' or ')}`);
  return found;
}

async function foreground(words: Words, settings: Settings, driver: DriverName): Promise<number> {
  const listen = flag(words, 'listen');
  process.umask(0o077); // as the daemon's own process does
  const { createLog, startDaemon } = await import('@thecloud/daemon');
  const daemon = await startDaemon({
    dataDir: settings.dataDir,
    driver,
    s3Listen: s3ListenOf(words),
    insecureListen: isSet(words, 'allow-remote'),
    allowedHosts: words.flags.get('allowed-host'),
    allowedOrigins: words.flags.get('allowed-origin'),
    trustedProxies: words.flags.get('trusted-proxy'),
    rateLimit: numberOf(words, 'rate-limit'),
    maxConnections: numberOf(words, 'max-connections'),
    production: isSet(words, 'production'),
    ...(listen === undefined ? {} : { listen }),
    // For eyes as `daemon logs` shows it; for programs as it is kept.
    ...(process.stderr.isTTY ? { log: createLog({ write: (line) => err(`${logLine(line.trimEnd())}\n`) }) } : {}),
  });
  rememberDriver(settings.dataDir, driver);
  if (!settings.quiet)
    err(
      `The daemon answers at ${[daemon.socketPath, placeText(daemon.address)].filter(Boolean).join(' and ')}${daemon.s3 === undefined ? '' : `, S3 clients at http://${placeText(daemon.s3)}`}. Ctrl-C stops it.\n`,
    );
  await new Promise<void>((stop) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stop());
  });
  await daemon.close();
  return EXIT.done;
}

async function background(words: Words, settings: Settings, driver: DriverName): Promise<number> {
  const { dataDir } = settings;
  try {
    makeDirectory(dataDir);
  } catch (error) {
    throw new Fault('unavailable', `${dataDir} cannot be made: ${(error as Error).message}`, {
      hint: 'cloud daemon start --data-dir <a directory of yours>',
      cause: error,
    });
  }
  const logFile = join(dataDir, FILES.log);
  const listen = flag(words, 'listen');
  const s3Listen = s3ListenOf(words);
  const log = openSync(logFile, 'a', 0o600);
  const child: ChildProcess = spawn(
    process.execPath,
    [
      daemonEntry(),
      '--data-dir',
      dataDir,
      '--driver',
      driver,
      '--log-file',
      logFile,
      ...(listen === undefined ? [] : ['--listen', listen]),
      ...(s3Listen === undefined ? [] : [`--s3-listen=${s3Listen}`]),
      ...['allow-remote', 'production'].filter((name) => isSet(words, name)).map((name) => `--${name}`),
      ...['allowed-host', 'allowed-origin', 'trusted-proxy', 'rate-limit', 'max-connections'].flatMap((name) =>
        (words.flags.get(name) ?? []).map((value) => `--${name}=${value}`),
      ),
    ],
    // The environment goes along, and with it the master key, which the daemon removes from its own. A crash before the log is open writes to the log's file too.
    { detached: true, stdio: ['ignore', 'pipe', log], cwd: '/' },
  );
  closeSync(log);
  const progress = new Progress('Starting the daemon', settings.quiet || process.stderr.isTTY !== true);
  const heard = await new Promise<Heard>((hear, fail) => {
    let text = '';
    child.once('error', fail);
    child.stdout?.on('data', (bytes: Buffer) => {
      text += bytes.toString('utf8');
      const end = text.indexOf('\n');
      if (end >= 0) hear(JSON.parse(text.slice(0, end)) as Heard);
    });
    child.once('exit', (code, signal) => {
      const tail = tailOf(logFile, 10)?.text ?? '';
      fail(
        new Fault(
          'unavailable',
          `The daemon ended before it answered (${signal ?? `exit code ${code}`})${tail === '' ? '' : `. Its last words:\n${tail.trimEnd().split('\n').map(logLine).join('\n')}`}`,
          {
            hint: 'cloud daemon start --foreground',
          },
        ),
      );
    });
  }).finally(() => progress.end());
  child.removeAllListeners();
  child.stdout?.destroy();
  child.unref();
  if ('error' in heard) {
    if (heard.error.code === 'conflict' && (await soonAnswers(settings))) return alreadyRunning(settings);
    throw Fault.from(heard.error);
  }
  rememberDriver(dataDir, driver);
  const { pid, socket, address, s3 } = heard.ready;
  if (!settings.quiet) err(`The daemon runs (process ${pid}, ${driver} driver).\n`);
  await report(settings, {
    pid,
    socket,
    listen: placeText(address),
    s3: placeText(s3),
  });
  return EXIT.done;
}

const daemonEntry = (): string => fileURLToPath(import.meta.resolve('@thecloud/daemon/main'));

interface Facts {
  pid: number | undefined;
  socket: string;
  listen: string | undefined;
  s3: string | undefined;
}

async function report({ output, dataDir }: Settings, facts: Facts): Promise<void> {
  if (output === 'json' || output === 'yaml') return out(await structured({ running: true, dataDir, ...facts }, output));
  out(
    `${facts.socket}\n${facts.listen === undefined ? '' : `http://${facts.listen} (token in ${join(dataDir, FILES.adminToken)})\n`}${facts.s3 === undefined ? '' : `http://${facts.s3} (S3; cloud s3 credentials)\n`}`,
  );
}
