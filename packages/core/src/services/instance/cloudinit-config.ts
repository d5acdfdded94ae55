// #cloud-config: YAML to plain data of which every part was checked, so that nothing can fail at boot that could be known before.
import { posix } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { isScalar, parseDocument } from 'yaml';
import { Fault } from '../../kernel/errors.ts';
import { type Command, emptyUserData, type FileToWrite, type UserData } from './cloudinit-data.ts';
import { type At, isMapping, type Path, Reader } from './cloudinit-reader.ts';
import { readUsers } from './cloudinit-users.ts';

const KEYS = [
  'hostname',
  'fqdn',
  'prefer_fqdn_over_hostname',
  'manage_etc_hosts',
  'users',
  'groups',
  'ssh_authorized_keys',
  'chpasswd',
  'ssh_pwauth',
  'disable_root',
  'write_files',
  'timezone',
  'packages',
  'package_update',
  'package_upgrade',
  'bootcmd',
  'runcmd',
  'final_message',
] as const;
const FILE_KEYS = ['path', 'content', 'encoding', 'permissions', 'owner', 'append', 'defer'] as const;
const ENCODINGS = ['text/plain', 'b64', 'base64', 'gz', 'gzip', 'gz+b64', 'gz+base64', 'gzip+b64', 'gzip+base64'] as const;

/** Unpacked content of all gzip files together would be unbounded otherwise. */
const MAX_FILE_BYTES = 16 * 1024 * 1024;
const MAX_NAME = 64;
const LABEL = '[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?';
const HOSTNAME = new RegExp(`^${LABEL}(?:\\.${LABEL})*$`);
const HOSTNAME_RULE = 'a host name has letters, digits and hyphens, in parts of at most 63 joined by dots';
const OWNER = /^(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|\d+)(?::(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|\d+))?$/;
const PACKAGE = /^[A-Za-z0-9@][A-Za-z0-9.+:_~=/@*-]*$/;
const VERSION = /^[A-Za-z0-9][A-Za-z0-9.+:_~*-]*$/;
const TIMEZONE = /^[A-Za-z0-9_+-]+(?:\/[A-Za-z0-9_+-]+)*$/;

/** Throws Fault('invalid_input') with every problem in `details`. */
export function readCloudConfig(text: string): UserData {
  // cloud-init reads YAML 1.1: there 0644 is octal, `yes` is true and !!binary is known.
  const document = parseDocument(text, { version: '1.1', prettyErrors: true });
  const unreadable = [...document.errors, ...document.warnings];
  if (unreadable.length > 0) refuse(unreadable.map(({ message, linePos }) => ({ path: 'userData', message: positioned(message, linePos?.[0].line) })));
  const reader = new Reader((path: Path) => {
    const node = document.getIn(path, true);
    return isScalar(node) && typeof node.source === 'string' ? node.source : undefined;
  });
  const data = emptyUserData();
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    refuse([{ path: 'userData', message: `its aliases cannot be followed: ${(error as Error).message}` }]);
  }
  if (content !== null && content !== undefined) read(reader, reader.map({ value: content, path: [] }, KEYS, 'YAML mapping'), data);
  if (reader.problems.length > 0) refuse(reader.problems);
  return data;
}

function refuse(details: { path: string; message: string }[]): never {
  const [first] = details;
  const more = details.length > 1 ? ` (and ${details.length - 1} more)` : '';
  const where = first?.path.replace(/^userData\.?/, '');
  throw new Fault('invalid_input', `The user data is no good #cloud-config: ${where === '' ? '' : `${where}: `}${first?.message ?? ''}${more}`, { details });
}

/** The library's sentence without the excerpt that follows it: that may show a secret. */
function positioned(message: string, line: number | undefined): string {
  const sentence = (message.split('\n')[0] ?? message).replace(/ at line \d+, column \d+:?$/, '');
  return line === undefined ? sentence : `line ${line}: ${sentence}`;
}

function read(reader: Reader, entries: Partial<Record<(typeof KEYS)[number], At>>, data: UserData): void {
  readNames(reader, entries, data);
  readUsers(reader, entries, data);
  data.bootcmd = readCommands(reader, entries.bootcmd);
  data.files = reader.list(entries.write_files).flatMap((at) => readFile(reader, at) ?? []);
  data.runcmd = readCommands(reader, entries.runcmd);
  data.packages = reader.list(entries.packages).flatMap((at) => readPackage(reader, at) ?? []);
  data.packageUpdate = reader.flag(entries.package_update) ?? false;
  data.packageUpgrade = reader.flag(entries.package_upgrade) ?? false;
  const timezone = reader.match(entries.timezone, TIMEZONE, 'a time zone is named like Europe/Berlin or UTC');
  if (timezone !== undefined) data.timezone = timezone;
  const finalMessage = reader.text(entries.final_message, { lines: true });
  if (finalMessage !== undefined) data.finalMessage = finalMessage;
}

/** As cloud-init: a host name with dots is the full name too, a full name gives the host name, and which of both is set can be chosen. */
function readNames(reader: Reader, entries: Partial<Record<(typeof KEYS)[number], At>>, data: UserData): void {
  const given = reader.match(entries.hostname, HOSTNAME, HOSTNAME_RULE);
  const fqdn = reader.match(entries.fqdn, HOSTNAME, HOSTNAME_RULE) ?? (given?.includes('.') ? given : undefined);
  const short = (entries.fqdn === undefined ? given?.split('.')[0] : given) ?? fqdn?.split('.')[0];
  const preferFull = reader.flag(entries.prefer_fqdn_over_hostname) ?? false;
  const hostname = preferFull ? (fqdn ?? short) : short;
  if (hostname !== undefined && hostname.length > MAX_NAME) {
    reader.say(entries.hostname ?? entries.fqdn ?? { path: [] }, `Linux takes host names of at most ${MAX_NAME} characters`);
  }
  if (hostname !== undefined) data.hostname = hostname;
  if (fqdn !== undefined) data.fqdn = fqdn;
  const hosts = entries.manage_etc_hosts;
  if (hosts === undefined) return;
  if (typeof hosts.value === 'boolean') data.manageHosts = hosts.value;
  else if (hosts.value === 'localhost') data.manageHosts = true;
  else reader.say(hosts, 'must be true, false or localhost; templates are not supported');
}

function readCommands(reader: Reader, at: At | undefined): Command[] {
  return reader.list(at).flatMap((item): Command[] => {
    if (!Array.isArray(item.value)) {
      const line = reader.text(item, { lines: true });
      return line === undefined ? [] : [line];
    }
    const words = reader.list(item).map((word) => reader.text(word, { lines: true }));
    if (words.length === 0) reader.say(item, 'must name a program');
    return words.length > 0 && words.every((word) => word !== undefined) ? [words] : [];
  });
}

function readPackage(reader: Reader, at: At): { name: string; version: string } | undefined {
  const NAME_RULE = 'a package name has letters, digits and . + - _ : ~ = / @';
  if (isMapping(at.value)) return reader.say(at, 'must be a name or [name, version]; lists per package manager are not supported');
  if (!Array.isArray(at.value)) {
    const name = reader.match(at, PACKAGE, NAME_RULE);
    return name === undefined ? undefined : { name, version: '' };
  }
  const [first, second, ...others] = reader.list(at);
  if (first === undefined || others.length > 0) return reader.say(at, 'must be a name or [name, version]');
  const name = reader.match(first, PACKAGE, NAME_RULE);
  const version = second === undefined ? '' : reader.match(second, VERSION, 'this is no package version');
  return name === undefined || version === undefined ? undefined : { name, version };
}

function readFile(reader: Reader, at: At): FileToWrite | undefined {
  const entries = reader.map(at, FILE_KEYS);
  if (isMapping(at.value) && entries.path === undefined) reader.say({ path: [...at.path, 'path'] }, 'is required: an absolute path');
  const path = reader.text(entries.path);
  if (path !== undefined && (!/^\/.*[^/]$/.test(path) || /\p{Cc}/u.test(path))) {
    reader.say({ path: [...at.path, 'path'] }, 'must be an absolute path of a file, without control characters');
  }
  const content = readContent(reader, entries);
  const mode = readPermissions(reader, entries.permissions);
  const owner = reader.match(entries.owner, OWNER, 'an owner is a user, or user:group, by name or number');
  const append = reader.flag(entries.append) ?? false;
  const defer = reader.flag(entries.defer) ?? false;
  return path === undefined || content === undefined ? undefined : { path: posix.normalize(path), content, mode: mode ?? 0o644, owner, append, defer };
}

/**
 * "0644", "644", '0o644', or an unquoted 0644. An unquoted 644 is a decimal number to YAML and would be --w----r-T,
 * which nobody means.
 */
function readPermissions(reader: Reader, at: At | undefined): number | undefined {
  const text = reader.text(at);
  if (text === undefined || at === undefined) return undefined;
  if (typeof at.value === 'number' && !text.startsWith('0')) return reader.say(at, `must be octal: write '0${/^\d+$/.test(text) ? text : '644'}' in quotes`);
  const digits = /^(?:0o?)?([0-7]{1,4})$/.exec(text)?.[1];
  return digits === undefined ? reader.say(at, `must be octal digits such as '0644'`) : Number.parseInt(digits, 8);
}

function readContent(reader: Reader, entries: Partial<Record<'content' | 'encoding', At>>): Buffer | undefined {
  const encoding = entries.encoding === undefined ? 'text/plain' : reader.choice(entries.encoding, ENCODINGS);
  const at = entries.content;
  if (at === undefined) return Buffer.alloc(0);
  if (encoding === undefined) return undefined;
  const binary = at.value instanceof Uint8Array ? Buffer.from(at.value) : undefined;
  const text = binary === undefined ? contentText(reader, at) : binary.toString('latin1');
  if (text === undefined) return undefined;
  let bytes = binary ?? Buffer.from(text);
  if (/b64|base64/.test(encoding)) {
    const compact = text.replace(/\s+/g, '');
    if (!/^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(compact)) return reader.say(at, 'is not valid base64');
    bytes = Buffer.from(compact, 'base64');
  }
  if (!encoding.startsWith('gz')) return bytes;
  if (encoding === 'gz' || encoding === 'gzip') {
    if (binary === undefined) return reader.say(at, `with encoding ${encoding} it must be !!binary; for base64 text the encoding is gz+b64`);
  }
  try {
    return gunzipSync(bytes, { maxOutputLength: MAX_FILE_BYTES });
  } catch (error) {
    const tooLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';
    return reader.say(at, tooLarge ? `is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB when unpacked` : 'is not valid gzip data');
  }
}

/** Unlike other text it may hold any character. */
function contentText(reader: Reader, at: At): string | undefined {
  return typeof at.value === 'string' ? at.value : reader.text(at, { lines: true });
}
