// What contexts prove themselves with: tokens and API keys, in a file that only its owner may read. Access tokens are renewed here, by one command
// for all that run at the same time: a refresh token is good for once, and a second use ends the session.
import { closeSync, fstatSync, openSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { EXIT, Exit } from './base.ts';
import { credentialsFile, objectFrom } from './contexts.ts';
import { describeEndpoint } from './http.ts';
import { Remote } from './remote.ts';
import type { Endpoint, Settings } from './settings.ts';
import { locked, writeWhole } from './store.ts';
import { commandOf, type OperationSpec } from './table.ts';

export interface Who {
  id: string;
  name: string;
}

export interface SessionTokens {
  kind: 'session';
  /** Where they are good, and nowhere else are they sent. */
  endpoint: string;
  principal: Who;
  accessToken: string;
  /** By the clock of this machine, so that clocks need not agree. Milliseconds. */
  expiresAt: number;
  refreshToken?: string;
  refreshExpiresAt?: string;
}

interface ApiKey {
  kind: 'api-key';
  endpoint: string;
  principal: Who;
  key: string;
}

export type Credential = SessionTokens | ApiKey;

/** What `auth login`, `refresh` and `client-token` answer. */
export interface SessionAnswer {
  accessToken: string;
  expiresIn: number;
  refreshToken?: string;
  refreshExpiresAt?: string;
  principal: Who;
  tenant?: Who;
}

/** Renewed so long before the end, milliseconds: a call that is on its way should arrive with a token that holds. */
const EARLY = 30_000;
const PATIENCE = 20_000;

/** A name for the far end that two commands in different folders agree about. */
export const endpointName = (endpoint: Endpoint): string => ('socket' in endpoint ? resolve(endpoint.socket) : describeEndpoint(endpoint));

export const tokensFrom = (answer: SessionAnswer, endpoint: string): SessionTokens => ({
  kind: 'session',
  endpoint,
  principal: { id: answer.principal.id, name: answer.principal.name },
  accessToken: answer.accessToken,
  expiresAt: Date.now() + answer.expiresIn * 1000,
  ...(answer.refreshToken === undefined ? {} : { refreshToken: answer.refreshToken }),
  ...(answer.refreshExpiresAt === undefined ? {} : { refreshExpiresAt: answer.refreshExpiresAt }),
});

/** All credentials by context. Throws `unauthenticated` when others may read the file: what was readable must count as read. */
export function readCredentials(): Record<string, Credential> {
  const file = credentialsFile();
  let handle: number;
  try {
    handle = openSync(file, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new Fault('unauthenticated', `${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const { mode } = fstatSync(handle);
    if ((mode & 0o077) !== 0) {
      throw new Fault('unauthenticated', `${file} can be read by others (mode ${(mode & 0o777).toString(8)}), so it is not used`, {
        hint: `chmod 600 ${file}`,
      });
    }
    const { contexts } = objectFrom(readFileSync(handle, 'utf8'), file);
    return (contexts ?? {}) as Record<string, Credential>;
  } finally {
    closeSync(handle);
  }
}

/** Under the lock. Undefined forgets. */
export function writeCredential(context: string, credential: Credential | undefined): void {
  const { [context]: _, ...others } = readCredentials();
  writeWhole(credentialsFile(), { contexts: credential === undefined ? others : { ...others, [context]: credential } });
}

/** The credential of one context, as it is used by one command. */
export class Session {
  readonly #context: string;
  readonly #settings: Settings;
  readonly #endpoint: string;
  #known: Credential | undefined;

  constructor(context: string, settings: Settings) {
    this.#context = context;
    this.#settings = settings;
    this.#endpoint = endpointName(settings.endpoint);
  }

  /** Undefined: the context has none, or has one for somewhere else. */
  get credential(): Credential | undefined {
    this.#known ??= readCredentials()[this.#context];
    return this.#known?.endpoint === this.#endpoint ? this.#known : undefined;
  }

  /** For the Authorization header, renewed when it is about to expire. */
  async bearer(): Promise<string | undefined> {
    const { credential } = this;
    if (credential === undefined) return undefined;
    if (credential.kind === 'api-key') return credential.key;
    const left = credential.expiresAt - Date.now();
    if (left > EARLY) return credential.accessToken;
    try {
      return (await this.renew(credential.accessToken)) ?? credential.accessToken;
    } catch (error) {
      // It holds for a few more seconds, so whoever does not answer the renewal may be asked the question itself.
      if (left > 0 && error instanceof Fault && error.code !== 'unauthenticated') return credential.accessToken;
      throw error;
    }
  }

  /**
   * Another token than the one that was refused or is about to expire: one that another command has fetched meanwhile, or a new one.
   * Undefined when there is nothing to renew with. Throws `unauthenticated` when the session has ended.
   */
  async renew(used: string): Promise<string | undefined> {
    if (this.credential?.kind !== 'session') return undefined;
    let interrupted = false;
    const hold = (): void => {
      interrupted = true;
    };
    // Once it has been sent, the old refresh token is spent: Ctrl-C waits until the new one is kept.
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.on(name, hold);
    try {
      return await locked(() => this.#renewed(used));
    } finally {
      for (const name of ['SIGINT', 'SIGTERM'] as const) process.off(name, hold);
      // oxlint-disable-next-line no-unsafe-finally -- an interruption goes before whatever else came of it
      if (interrupted) throw new Exit(EXIT.interrupted);
    }
  }

  async #renewed(used: string): Promise<string | undefined> {
    this.#known = undefined;
    const { credential } = this;
    if (credential?.kind !== 'session') throw this.#ended('This context has been logged out');
    if (credential.accessToken !== used && credential.expiresAt - Date.now() > EARLY) return credential.accessToken;
    if (credential.refreshToken === undefined) return undefined;
    try {
      const remote = new Remote({ ...this.#settings, tenant: undefined, proof: undefined });
      const refresh = commandOf('auth refresh').operation as OperationSpec;
      const answer = (await remote.call(refresh, { input: { refreshToken: credential.refreshToken }, patience: PATIENCE })).value as SessionAnswer;
      this.#known = tokensFrom(answer, this.#endpoint);
      writeCredential(this.#context, this.#known);
      return this.#known.accessToken;
    } catch (error) {
      if (!(error instanceof Fault) || error.code !== 'unauthenticated') throw error;
      writeCredential(this.#context, undefined);
      throw this.#ended(`The session of ${credential.principal.name} has ended`, credential.principal.name, error);
    }
  }

  #ended(message: string, name?: string, cause?: unknown): Fault {
    return new Fault('unauthenticated', message, { hint: `cloud auth login${name === undefined ? '' : ` ${name}`} --context ${this.#context}`, cause });
  }
}
