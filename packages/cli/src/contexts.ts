// Contexts: names for where a cloud is and in which tenant one acts there. No secrets: those stand in credentials.json, see credentials.ts.
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { Fault, nearest } from '@thecloud/core/contracts';
import { usage } from './base.ts';
import { flag, type Words } from './words.ts';

export interface Context {
  /** One of the three at most; without any, settings decide as if there were no context. */
  url?: string;
  socket?: string;
  dataDir?: string;
  tenant?: string;
}

export interface Contexts {
  current?: string;
  contexts: Record<string, Context>;
}

/** Always there, in no file: the daemon of this user, without credentials. */
export const DEFAULT_CONTEXT = 'default';

const configFolder = (): string => `${process.env['XDG_CONFIG_HOME'] || `${process.env['HOME'] || homedir()}/.config`}/thecloud`;
export const configFile = (): string => `${configFolder()}/config.json`;
export const contextsFile = (): string => `${configFolder()}/contexts.json`;
export const credentialsFile = (): string => `${configFolder()}/credentials.json`;

/** What a JSON file of ours holds; undefined when there is none. */
export function readObject(file: string): Record<string, unknown> | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw usage(`${file} cannot be read: ${(error as Error).message}`);
  }
  return objectFrom(text, file);
}

export function objectFrom(text: string, file: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be a secret.
    throw usage(`${file} is not valid JSON`);
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw usage(`${file} does not hold a JSON object`);
}

export function readContexts(): Contexts {
  const { current, contexts } = (readObject(contextsFile()) ?? {}) as Partial<Contexts>;
  return { ...(current === undefined ? {} : { current }), contexts: contexts ?? {} };
}

export interface Chosen {
  name: string;
  source: 'flag' | 'environment' | 'context' | 'default';
  /** Undefined: nothing is kept under that name. */
  context: Context | undefined;
}

/** The context in force. Throws `not_found` for a name that there is not, unless one may be made. */
export function chosenContext(words: Words | undefined, mayBeNew = false): Chosen {
  const contexts = readContexts();
  const byFlag = words === undefined ? undefined : flag(words, 'context');
  const byVariable = process.env['CLOUD_CONTEXT'] || undefined;
  const name = byFlag ?? byVariable ?? contexts.current ?? DEFAULT_CONTEXT;
  const context = Object.hasOwn(contexts.contexts, name) ? contexts.contexts[name] : undefined;
  if (context === undefined && name !== DEFAULT_CONTEXT && !mayBeNew) throw noContext(name, contexts);
  const source = byFlag !== undefined ? 'flag' : byVariable !== undefined ? 'environment' : contexts.current === undefined ? 'default' : 'context';
  return { name, source, context };
}

export function noContext(name: string, { contexts }: Contexts): Fault {
  const near = nearest(name, [DEFAULT_CONTEXT, ...Object.keys(contexts)]);
  return new Fault('not_found', `There is no context "${name}"${near === undefined ? '' : `. Did you mean ${near}?`}`, { hint: 'cloud context list' });
}
