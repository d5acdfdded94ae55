// Where the cloud of this user lives, said once for the daemon, the CLI and the SDK. Loads nothing, so that the CLI's fast path can use it.
import { Fault } from './errors.ts';

/** The daemon's files in the data directory, by what they are. */
export const FILES = { socket: 'cloud.sock', adminToken: 'admin-token', daemon: 'daemon.json', log: 'daemon.log', s3Port: 's3-port' } as const;

/** Longest Unix socket path in bytes that Linux takes (`sun_path` less its closing zero). */
export const SOCKET_PATH_LIMIT = 107;

type Environment = Readonly<Record<string, string | undefined>>;

/** `CLOUD_DATA_DIR`, else `thecloud` in `XDG_DATA_HOME`, else in `~/.local/share`. An empty variable counts as absent. */
export function defaultDataDir(environment: Environment): string {
  if (environment.CLOUD_DATA_DIR) return environment.CLOUD_DATA_DIR;
  if (environment.XDG_DATA_HOME) return `${environment.XDG_DATA_HOME}/thecloud`;
  if (environment.HOME) return `${environment.HOME}/.local/share/thecloud`;
  throw new Fault('invalid_input', 'There is no home directory to keep data in; set CLOUD_DATA_DIR');
}

/** Path of the daemon's socket in a data directory. Throws `invalid_input` when it is too long for a socket. */
export function socketPathOf(dataDir: string): string {
  const path = `${dataDir.replace(/\/+$/, '')}/${FILES.socket}`;
  if (new TextEncoder().encode(path).length > SOCKET_PATH_LIMIT) {
    throw new Fault('invalid_input', `The data directory's path is too long: ${path} is over the ${SOCKET_PATH_LIMIT} bytes that a socket's path may have`, {
      hint: 'export CLOUD_DATA_DIR=/var/lib/thecloud',
    });
  }
  return path;
}
