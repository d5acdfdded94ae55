// What holds for this command: flag before environment before context before configuration file.
import { defaultDataDir, nearest, socketPathOf } from '@thecloud/core/contracts';
import { usage } from './base.ts';
import { OUTPUTS, type Output } from './common-flags.ts';
import { type Chosen, chosenContext, configFile, readObject } from './contexts.ts';
import { flag, isSet, type Words } from './words.ts';

export type Endpoint = { socket: string } | { host: string; port: number; url: string; secure: boolean };

/** What a call proves itself with: a token as it stands, or whatever the context of that name has. */
type Proof = { token: string } | { context: string };

export interface Settings {
  output: Output;
  tenant: string | undefined;
  quiet: boolean;
  verbose: boolean;
  dataDir: string;
  endpoint: Endpoint;
  /** None: whoever may open the socket is its owner. */
  proof?: Proof | undefined;
  /** Name of the context in force. */
  context?: string;
}

/** What `cloud config` keeps, and the environment variable that goes before each. */
export const SETTINGS = {
  output: { variable: 'CLOUD_OUTPUT', meaning: 'How to print: table, wide, json, yaml or name' },
  tenant: { variable: 'CLOUD_TENANT', meaning: 'Tenant to act in' },
  'data-dir': { variable: 'CLOUD_DATA_DIR', meaning: "The daemon's data directory" },
  socket: { variable: 'CLOUD_SOCKET', meaning: "The daemon's Unix socket" },
  url: { variable: 'CLOUD_URL', meaning: "The daemon's address, instead of the socket" },
  token: { variable: 'CLOUD_TOKEN', meaning: 'Token to call with' },
} as const;
/** Like a token, but never kept in the configuration: `cloud auth login --api-key -` puts it where it belongs. */
export const API_KEY_VARIABLE = 'CLOUD_API_KEY';
export type Setting = keyof typeof SETTINGS;

export type Config = Partial<Record<Setting, string>>;
export const readConfig = (): Config => (readObject(configFile()) ?? {}) as Config;

type Source = 'flag' | 'environment' | 'context' | 'config';
export interface Found {
  value: string;
  source: Source;
}

/** A context that a flag named is meant for this very command: it goes before the environment. */
const orderWith = (chosen: Chosen): readonly Source[] =>
  chosen.source === 'flag' ? ['flag', 'context', 'environment', 'config'] : ['flag', 'environment', 'context', 'config'];

const inContext = ({ context = {} }: Chosen, setting: Setting): string | undefined => {
  switch (setting) {
    case 'data-dir':
      return context.dataDir;
    case 'socket':
    case 'url':
    case 'tenant':
      return context[setting];
    default:
      return undefined;
  }
};

export function find(setting: Setting, words: Words | undefined, config: Config, chosen: Chosen): Found | undefined {
  const values: Record<Source, string | undefined> = {
    flag: words === undefined ? undefined : flag(words, setting),
    environment: process.env[SETTINGS[setting].variable] || undefined,
    context: inContext(chosen, setting),
    config: config[setting] === undefined ? undefined : String(config[setting]),
  };
  for (const source of orderWith(chosen)) {
    const value = values[source];
    if (value !== undefined) return { value, source };
  }
  return undefined;
}

/** `newContext`: a context that there is not yet may be named. */
export function settingsOf(words: Words | undefined, { newContext = false } = {}): Settings {
  const config = readConfig();
  const chosen = chosenContext(words, newContext);
  const value = (setting: Setting) => find(setting, words, config, chosen);
  const dataDir = value('data-dir')?.value ?? defaultDataDir(process.env);
  return {
    output: outputFrom(value('output')?.value ?? 'table'),
    tenant: value('tenant')?.value,
    quiet: words !== undefined && isSet(words, 'quiet'),
    verbose: words !== undefined && isSet(words, 'verbose'),
    dataDir,
    ...whereFrom(value('socket'), value('url'), value('data-dir'), value('token'), dataDir, chosen, config.url),
    context: chosen.name,
  };
}

/** JSON was asked for, as far as can be told while nothing else is known: errors honour it too. */
export function wantsJson(argv: readonly string[]): boolean {
  for (const [index, word] of argv.entries()) {
    if (word === '--') break;
    if (word === '--output=json' || ((word === '--output' || word === '-o') && argv[index + 1] === 'json') || word === '-ojson') return true;
    if (word.startsWith('--output') || word === '-o') return false;
  }
  if (process.env['CLOUD_OUTPUT']) return process.env['CLOUD_OUTPUT'] === 'json';
  try {
    return readConfig().output === 'json';
  } catch {
    return false; // the unreadable file is an error of its own, told when the settings are needed
  }
}

function outputFrom(text: string): Output {
  const found = OUTPUTS.find((one) => one === text);
  if (found !== undefined) return found;
  const near = nearest(text, OUTPUTS);
  throw usage(`--output: use ${OUTPUTS.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`);
}

function whereFrom(
  socket: Found | undefined,
  url: Found | undefined,
  given: Found | undefined,
  token: Found | undefined,
  dataDir: string,
  chosen: Chosen,
  configured: string | undefined,
): { endpoint: Endpoint; proof: Proof | undefined } {
  const order = orderWith(chosen);
  const rank = (found: Found | undefined): number => (found === undefined ? order.length : order.indexOf(found.source));
  // A context that names a data directory means the socket in it, whatever the configuration says.
  const inDirectory = given?.source === 'context' && rank(given) < Math.min(rank(socket), rank(url));
  const byUrl = !inDirectory && url !== undefined && rank(url) <= rank(socket);
  const endpoint = byUrl ? endpointOfUrl(url.value) : { socket: inDirectory || socket === undefined ? socketPathOf(dataDir) : socket.value };
  const beside = byUrl && (configured === undefined || isSame(endpoint, endpointOfUrl(configured)));
  return { endpoint, proof: proofFrom(token, chosen, beside) };
}

const isSame = (one: Endpoint, other: Endpoint): boolean =>
  'url' in one && 'url' in other ? one.url === other.url : 'socket' in one && 'socket' in other && one.socket === other.socket;

/** `beside`: the endpoint is the address that the configuration has, or it has none. */
function proofFrom(token: Found | undefined, chosen: Chosen, beside: boolean): Proof | undefined {
  const key = process.env[API_KEY_VARIABLE] || undefined;
  const inContext = chosen.context === undefined ? undefined : { context: chosen.name };
  if (inContext !== undefined && chosen.source === 'flag') return inContext;
  if (key !== undefined && token?.source === 'environment')
    throw usage(`CLOUD_TOKEN and ${API_KEY_VARIABLE} are both set: which is it to be?`, 'unset CLOUD_TOKEN');
  if (token?.source === 'environment') return { token: token.value };
  if (key !== undefined) return { token: key };
  if (inContext !== undefined) return inContext;
  // The configuration's token is for its url, and goes nowhere else; over the socket nobody needs one.
  return token !== undefined && beside ? { token: token.value } : undefined;
}

export function endpointOfUrl(text: string): Endpoint {
  const unix = /^unix:\/{0,2}(\/.+)$/.exec(text);
  if (unix?.[1] !== undefined) return { socket: unix[1] };
  if (!URL.canParse(text)) throw usage(`--url: "${text}" is not an address such as http://127.0.0.1:7070`);
  const { protocol, hostname, port, origin } = new URL(text);
  if (protocol !== 'http:' && protocol !== 'https:') throw usage(`--url: ${protocol}// is not spoken here; use http:// or https://, or the socket`);
  const secure = protocol === 'https:';
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? (secure ? 443 : 80) : Number(port), url: origin, secure };
}
