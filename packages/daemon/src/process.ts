// The daemon's process. It says one line of JSON on standard output, `{"ready":…}` or `{"error":…}`, logs elsewhere, and ends in good order on SIGTERM and SIGINT.
import { parseArgs } from 'node:util';
import { defaultDataDir, ERRORS, Fault } from '@thecloud/core/contracts';
import { startDaemon } from './daemon.ts';
import { createLog } from './log.ts';

function options(): Parameters<typeof startDaemon>[0] & { logLevel?: string } {
  const { values } = parseArgs({
    options: {
      'data-dir': { type: 'string' },
      driver: { type: 'string' },
      listen: { type: 'string' },
      's3-listen': { type: 'string', default: process.env.CLOUD_S3_LISTEN || undefined },
      'allow-remote': { type: 'boolean', default: false },
      'allowed-host': { type: 'string', multiple: true },
      'allowed-origin': { type: 'string', multiple: true },
      'trusted-proxy': { type: 'string', multiple: true },
      'rate-limit': { type: 'string' },
      'max-connections': { type: 'string' },
      production: { type: 'boolean', default: false },
      'log-file': { type: 'string' },
      'log-level': { type: 'string', default: process.env.CLOUD_LOG_LEVEL || 'info' },
    },
  });
  const driver = values.driver ?? (process.env.CLOUD_DRIVER || undefined);
  if (driver !== undefined && driver !== 'docker' && driver !== 'memory')
    throw new Fault('invalid_input', `There is no driver "${driver}"; use docker or memory`);
  return {
    dataDir: values['data-dir'] ?? defaultDataDir(process.env),
    driver,
    listen: values.listen,
    s3Listen: values['s3-listen'],
    insecureListen: values['allow-remote'],
    allowedHosts: values['allowed-host'],
    allowedOrigins: values['allowed-origin'],
    trustedProxies: values['trusted-proxy'],
    rateLimit: numberFrom('rate-limit', values['rate-limit']),
    maxConnections: numberFrom('max-connections', values['max-connections']),
    production: values.production,
    logFile: values['log-file'],
    logLevel: values['log-level'],
  };
}

function numberFrom(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^\d{1,9}$/.test(text)) throw new Fault('invalid_input', `--${name} takes a whole number, not "${text}"`);
  return Number(text);
}

/** Never rejects: a failure is printed, and becomes the exit code. */
export async function main(): Promise<void> {
  // Whatever is written from here on, by us or by the tools we run, is nobody else's to read.
  process.umask(0o077);
  try {
    const { logLevel, logFile, ...rest } = options();
    const log = createLog({ file: logFile, level: logLevel });
    process.on('uncaughtException', (error) => {
      log.error({ err: error }, 'uncaught: ending');
      process.exit(ERRORS.internal.exit);
    });
    const daemon = await startDaemon({ ...rest, log });
    let signalled = false;
    for (const [signal, number] of [
      ['SIGTERM', 15],
      ['SIGINT', 2],
    ] as const) {
      process.on(signal, () => {
        if (signalled) process.exit(128 + number);
        signalled = true;
        daemon.close().then(
          () => process.exit(0),
          (error: unknown) => {
            log.error({ err: error }, 'could not end in good order');
            process.exit(ERRORS.internal.exit);
          },
        );
      });
    }
    say({ ready: { pid: process.pid, socket: daemon.socketPath, address: daemon.address, s3: daemon.s3 } });
  } catch (error) {
    const fault =
      error instanceof Fault
        ? error
        : String((error as { code?: string }).code).startsWith('ERR_PARSE_ARGS')
          ? new Fault('invalid_input', (error as Error).message)
          : new Fault('internal', `The daemon could not start: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    say({ error: fault.toJSON() });
    process.exitCode = ERRORS[fault.code].exit;
  }
}

/** Whoever started us may be gone by now; the line is then for nobody. */
function say(line: unknown): void {
  process.stdout.on('error', () => {});
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
