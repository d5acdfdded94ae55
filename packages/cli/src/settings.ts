// What holds for this command: flag before environment before configuration file.
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { defaultDataDir, nearest, socketPathOf } from '@thecloud/core/contracts';
import { usage } from './base.ts';
import { OUTPUTS, type Output } from './common-flags.ts';
import { flag, isSet, type Words } from './words.ts';

export type Endpoint = { socket: string } | { host: string; port: number; url: string; token: string | undefined };

export interface Settings {
  output: Output;
  tenant: string | undefined;
  quiet: boolean;
  verbose: boolean;
  dataDir: string;
  endpoint: Endpoint;
}

/** What `cloud config` keeps, and the environment variable that goes before each. */
export const SETTINGS = {
  output: { variable: 'CLOUD_OUTPUT', meaning: 'How to print: table, wide, json, yaml or name' },
  tenant: { variable: 'CLOUD_TENANT', meaning: 'Tenant to act in' },
  'data-dir': { variable: 'CLOUD_DATA_DIR', meaning: "The daemon's data directory" },
  socket: { variable: 'CLOUD_SOCKET', meaning: "The daemon's Unix socket" },
  url: { variable: 'CLOUD_URL', meaning: "The daemon's address, instead of the socket" },
  token: { variable: 'CLOUD_TOKEN', meaning: 'Token for url' },
} as const;
export type Setting = keyof typeof SETTINGS;

export const configFile = (): string => `${process.env['XDG_CONFIG_HOME'] || `${process.env['HOME'] || homedir()}/.config`}/thecloud/config.json`;

export function readConfig(): Partial<Record<Setting, string>> {
  const file = configFile();
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw usage(`${file} cannot be read: ${(error as Error).message}`);
  }
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Partial<Record<Setting, string>>;
  } catch (error) {
    throw usage(`${file} is not valid JSON: ${(error as Error).message}`);
  }
  throw usage(`${file} does not hold a JSON object`);
}

export interface Found {
  value: string;
  source: 'flag' | 'environment' | 'config';
}

export function find(setting: Setting, words: Words | undefined, config: Partial<Record<Setting, string>>): Found | undefined {
  const given = words === undefined ? undefined : flag(words, setting);
  if (given !== undefined) return { value: given, source: 'flag' };
  const variable = process.env[SETTINGS[setting].variable];
  if (variable !== undefined && variable !== '') return { value: variable, source: 'environment' };
  const kept = config[setting];
  return kept === undefined ? undefined : { value: String(kept), source: 'config' };
}

export function settingsOf(words: Words | undefined): Settings {
  const config = readConfig();
  const value = (setting: Setting) => find(setting, words, config);
  const dataDir = value('data-dir')?.value ?? defaultDataDir(process.env);
  return {
    output: outputFrom(value('output')?.value ?? 'table'),
    tenant: value('tenant')?.value,
    quiet: words !== undefined && isSet(words, 'quiet'),
    verbose: words !== undefined && isSet(words, 'verbose'),
    dataDir,
    endpoint: endpointFrom(value('socket'), value('url'), value('token')?.value, dataDir),
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

const ORDER = { flag: 0, environment: 1, config: 2 } as const;

function endpointFrom(socket: Found | undefined, url: Found | undefined, token: string | undefined, dataDir: string): Endpoint {
  if (url !== undefined && (socket === undefined || ORDER[url.source] <= ORDER[socket.source])) return endpointOfUrl(url.value, token);
  return { socket: socket?.value ?? socketPathOf(dataDir) };
}

function endpointOfUrl(text: string, token: string | undefined): Endpoint {
  const unix = /^unix:\/{0,2}(\/.+)$/.exec(text);
  if (unix?.[1] !== undefined) return { socket: unix[1] };
  if (!URL.canParse(text)) throw usage(`--url: "${text}" is not an address such as http://127.0.0.1:7070`);
  const { protocol, hostname, port, origin } = new URL(text);
  if (protocol !== 'http:') throw usage(`--url: ${protocol}// is not spoken here; use http:// (over loopback or a tunnel) or the socket`);
  return { host: hostname.replace(/^\[|\]$/g, ''), port: port === '' ? 80 : Number(port), url: origin, token };
}
