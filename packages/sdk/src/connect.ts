// The client of a running daemon.
import { type Cloud, defaultDataDir, Fault, socketPathOf } from '@thecloud/core/contracts';
import { openChannel } from './channel.ts';
import { cloudOver, type Exchange } from './exchange.ts';
import { httpExchange, type Place } from './http.ts';
import { type Bearer, fixedBearer, type SessionOptions, sessionBearer } from './session.ts';

/** With what to come: one of `token`, `apiKey`, `login`, `client` and `session`, but that `session` may go before `login`. */
export interface ConnectOptions extends SessionOptions {
  /** The daemon's socket. Default: `CLOUD_SOCKET`, else `cloud.sock` in the data directory. */
  socketPath?: string;
  /** Instead of a socket: `http://127.0.0.1:7070`. Default: `CLOUD_URL`. */
  url?: string | URL;
  /** A token as it is, never renewed. Default: `CLOUD_TOKEN`. Over the socket nobody needs one; with one, you are who it says. */
  token?: string;
  /** Of a user or service account, for one tenant. Default: `CLOUD_API_KEY`. */
  apiKey?: string;
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
  if (url !== undefined) return { url: parseUrl(url), tenant };
  return { socketPath: socketPathOf(options.dataDir ?? defaultDataDir(env)), tenant };
}

/** The one kind of credentials that is given; else what the environment has. */
function bearerOf(options: ConnectOptions, call: Exchange['call']): Bearer {
  const { token, apiKey, login, client, session } = options;
  const given = Object.entries({ token, apiKey, login: login ?? session, client }).filter(([, value]) => value !== undefined);
  if (given.length > 1) {
    throw new Fault('invalid_input', `There is more than one thing to prove oneself with: ${given.map(([name]) => name).join(' and ')}; give one`);
  }
  if (given.length === 0) return fixedBearer(fromEnvironment());
  if (token !== undefined || apiKey !== undefined) return fixedBearer(token ?? apiKey);
  return sessionBearer(async (request) => (await call(request)).value, options);
}

function fromEnvironment(): string | undefined {
  const { CLOUD_TOKEN: token, CLOUD_API_KEY: key } = process.env;
  if (token && key) throw new Fault('invalid_input', 'CLOUD_TOKEN and CLOUD_API_KEY are both set: which is it to be?', { hint: 'unset CLOUD_TOKEN' });
  return token || key || undefined;
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
  place.bearer = bearerOf(options, exchange.call);
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
