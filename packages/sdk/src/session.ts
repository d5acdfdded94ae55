// What a client proves itself with. Access tokens are obtained and renewed here, once for all calls that wait for one.
import { Fault, type Request } from '@thecloud/core/contracts';

/** The tokens of one login, to be kept and given to a later `connect`. */
export interface Session {
  accessToken: string;
  /** By the clock of this machine, in milliseconds since 1970. */
  expiresAt: number;
  /** Good for once; each renewal brings another. Clients of service accounts have none. */
  refreshToken?: string;
}

export interface SessionOptions {
  /** A user. Logs in at the first call, and again when the session has ended. */
  login?: { email: string; password: string };
  /** A service account (RFC 6749 §4.4). */
  client?: { id: string; secret: string };
  /** Tokens of an earlier login, renewed while their refresh token is good. */
  session?: Session;
  /** Called with every new pair of tokens, before the first call that uses them: a refresh token that is not kept is lost with the program. */
  onSession?: (session: Session) => void | Promise<void>;
}

/** What `auth login`, `refresh` and `client-token` answer. */
interface Tokens {
  accessToken: string;
  expiresIn: number;
  refreshToken?: string;
}

/** Renewed so long before the end: what is on its way should arrive while the token is good. Of short-lived tokens a quarter. */
const EARLY_MS = 30_000;

export interface Bearer {
  /** For the Authorization header. */
  get(signal: AbortSignal | undefined): Promise<string | undefined>;
  /** Another one than that, which was refused. Undefined: there is none. */
  renew(refused: string, signal: AbortSignal | undefined): Promise<string | undefined>;
}

export const fixedBearer = (token: string | undefined): Bearer => ({ get: async () => token, renew: async () => undefined });

/** Calls without credentials. */
export type AnonymousCall = (request: Request) => Promise<unknown>;

export function sessionBearer(call: AnonymousCall, { login, client, session, onSession }: SessionOptions): Bearer {
  let current = session;
  let renewAt = session === undefined ? 0 : session.expiresAt - EARLY_MS;
  let obtaining: Promise<string> | undefined;

  const ask = async (operation: string, input: unknown): Promise<string> => {
    const askedAt = Date.now();
    const tokens = (await call({ service: 'auth', operation, input, options: {} })) as Tokens;
    const lasts = tokens.expiresIn * 1000;
    current = {
      accessToken: tokens.accessToken,
      expiresAt: askedAt + lasts,
      ...(tokens.refreshToken === undefined ? {} : { refreshToken: tokens.refreshToken }),
    };
    renewAt = current.expiresAt - Math.min(EARLY_MS, lasts / 4);
    await onSession?.({ ...current });
    return current.accessToken;
  };

  const obtain = async (): Promise<string> => {
    const refreshToken = current?.refreshToken;
    if (refreshToken !== undefined) {
      try {
        return await ask('refresh', { refreshToken });
      } catch (error) {
        if (!(error instanceof Fault) || error.code !== 'unauthenticated') throw error;
        // It is spent or the session has ended; it must not be shown again.
        current = undefined;
        if (login === undefined && client === undefined) throw error;
      }
    }
    if (login !== undefined) return ask('login', login);
    if (client !== undefined) return ask('clientToken', { clientId: client.id, clientSecret: client.secret });
    throw new Fault('unauthenticated', 'The session has ended', { hint: 'cloud auth login' });
  };

  /** One for all who ask meanwhile. Whoever gives up does so alone. */
  const obtained = (signal: AbortSignal | undefined): Promise<string> => {
    obtaining ??= obtain().finally(() => {
      obtaining = undefined;
    });
    return signal === undefined ? obtaining : givingUp(obtaining, signal);
  };

  return {
    async get(signal) {
      if (obtaining === undefined && current !== undefined && Date.now() < renewAt) return current.accessToken;
      try {
        return await obtained(signal);
      } catch (error) {
        // It still holds for a moment, so whoever is too busy to renew it may be asked the question itself.
        if (current !== undefined && Date.now() < current.expiresAt && error instanceof Fault && error.code !== 'unauthenticated') return current.accessToken;
        throw error;
      }
    },
    renew: async (refused, signal) =>
      obtaining === undefined && current !== undefined && current.accessToken !== refused ? current.accessToken : obtained(signal),
  };
}

function givingUp<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
