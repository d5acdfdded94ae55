// The client of a running daemon.
import { type Cloud, defaultDataDir, Fault, socketPathOf } from '@thecloud/core/contracts';
import { openChannel } from './channel.ts';
import { cloudOver } from './exchange.ts';
import { httpExchange, type Place } from './http.ts';

export interface ConnectOptions {
  /** The daemon's socket. Default: `CLOUD_SOCKET`, else `cloud.sock` in the data directory. */
  socketPath?: string;
  /** Instead of a socket: `http://127.0.0.1:7070`. Default: `CLOUD_URL`. */
  url?: string | URL;
  /** For `url`. Default: `CLOUD_TOKEN`. */
  token?: string;
  /** Name or id of the tenant that calls act in. Default: `CLOUD_TENANT`, else the daemon's choice. */
  tenant?: string;
  /** Where to look for the socket. Default: `CLOUD_DATA_DIR`, else `thecloud` in `XDG_DATA_HOME` or `~/.local/share`. */
  dataDir?: string;
}

/** Letting go of it closes its connections and ends its open streams and channels; the daemon goes on. */
export type Connection = Cloud & Disposable & AsyncDisposable & { close(): void };

/** What is given wins over the environment, and an address over a directory to look in. */
function placeOf(options: ConnectOptions): Place {
  const { env } = process;
  const tenant = options.tenant ?? (env.CLOUD_TENANT || undefined);
  const socketPath = options.socketPath ?? (options.url === undefined && options.dataDir === undefined ? env.CLOUD_SOCKET || undefined : undefined);
  if (socketPath !== undefined) return { socketPath, tenant };
  const url = options.url ?? (options.dataDir === undefined ? env.CLOUD_URL || undefined : undefined);
  if (url !== undefined) return { url: parseUrl(url), token: options.token ?? (env.CLOUD_TOKEN || undefined), tenant };
  return { socketPath: socketPathOf(options.dataDir ?? defaultDataDir(env)), tenant };
}

function parseUrl(url: string | URL): URL {
  const parsed = URL.parse(String(url));
  if (parsed === null || (parsed.protocol !== 'http:' && parsed.protocol !== 'https:')) {
    throw new Fault('invalid_input', `"${String(url)}" is not a URL of a daemon; one looks like http://127.0.0.1:7070`);
  }
  return parsed;
}

/**
 * The cloud that a daemon serves. Connects at the first call; a daemon that does not answer is `unavailable` then.
 * Calls that broke off and may be repeated safely are, a few times; every write carries an idempotency key for that.
 * A stream begins when it is first asked for an item.
 */
export function connect(options: ConnectOptions = {}): Connection {
  const place = placeOf(options);
  const { exchange, close: closeHttp } = httpExchange(place);
  const channels = new Set<{ close(): void }>();
  const cloud = cloudOver({
    ...exchange,
    channel: async (request) => {
      const channel = await openChannel(place, request);
      channels.add(channel);
      const forget = () => channels.delete(channel);
      channel.result.then(forget, forget);
      return channel;
    },
  });
  const close = () => {
    closeHttp();
    for (const channel of channels) channel.close();
  };
  return { ...cloud, close, [Symbol.dispose]: close, [Symbol.asyncDispose]: async () => close() };
}
