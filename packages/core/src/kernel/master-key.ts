// Where the installation's master key comes from: a file of its own, or, so that a copied data directory opens nothing, from outside.
// Nothing here puts a key, or what a key might have been, into an error.
import { createHmac, createSecretKey, type KeyObject, randomBytes } from 'node:crypto';
import { closeSync, constants, fchmodSync, fstatSync, openSync, readSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { Fault } from './errors.ts';
import { removeWhole, writeWhole } from './files.ts';

export type MasterKeySource =
  /** A file of the data directory's own, made at first start. */
  | { kind: 'local' }
  | { kind: 'value'; value: string }
  | { kind: 'file'; path: string }
  /** A program and its arguments, run without a shell; what it prints is the key. */
  | { kind: 'command'; command: readonly string[] };

export type OutsideSource = Exclude<MasterKeySource, { kind: 'local' }>;

/** Runs a program and returns what it printed, at most a few KiB. Rejects with a Fault that says nothing of what it printed. */
export type ReadCommand = (command: readonly string[]) => Promise<string>;

const MASTER_KEY_BYTES = 32;
/** No form of a key is longer; `/dev/zero` is. */
const MOST_TEXT = 4096;
const MAKE_ONE = 'head -c 32 /dev/urandom | base64  # makes one';

const KEY_FILE = 'master-key';
const NEXT_FILE = 'master-key.next';
export const keyFile = (dataDir: string): string => join(dataDir, KEY_FILE);
export const nextKeyFile = (dataDir: string): string => join(dataDir, NEXT_FILE);

type Environment = Readonly<Record<string, string | undefined>>;

/** What `CLOUD_MASTER_KEY`, `CLOUD_MASTER_KEY_FILE` or `CLOUD_MASTER_KEY_COMMAND` say, else the local file, which production refuses. An empty variable counts as absent. */
export function masterKeySource(environment: Environment, { production }: { production: boolean }): MasterKeySource {
  const given = outsideSource(environment, 'CLOUD_MASTER_KEY');
  if (given !== undefined) return given;
  // The start that takes the data directory over to a key from outside still needs the one inside.
  if (production && outsideSource(environment, 'CLOUD_MASTER_KEY_NEXT') === undefined) {
    throw new Fault('invalid_input', 'Production needs a master key from outside: set CLOUD_MASTER_KEY, CLOUD_MASTER_KEY_FILE or CLOUD_MASTER_KEY_COMMAND', {
      hint: MAKE_ONE,
    });
  }
  return { kind: 'local' };
}

/** The key to rotate to at this start: the same three variables with `CLOUD_MASTER_KEY_NEXT` in front. Undefined: none. Once rotated, it changes nothing. */
export const nextMasterKeySource = (environment: Environment): OutsideSource | undefined => outsideSource(environment, 'CLOUD_MASTER_KEY_NEXT');

function outsideSource(environment: Environment, variable: string): OutsideSource | undefined {
  const value = environment[variable];
  const path = environment[`${variable}_FILE`];
  const command = environment[`${variable}_COMMAND`];
  const given = [value && variable, path && `${variable}_FILE`, command && `${variable}_COMMAND`].filter((name) => name);
  if (given.length > 1) throw new Fault('invalid_input', `There is more than one master key: ${given.join(' and ')} are set`, { hint: `unset ${given[1]}` });
  if (value) return { kind: 'value', value };
  if (path) {
    // A daemon in the background works in another directory than whoever starts it.
    if (!isAbsolute(path)) throw new Fault('invalid_input', `${variable}_FILE has to be an absolute path`, { hint: `${variable}_FILE=$PWD/${path}` });
    return { kind: 'file', path };
  }
  if (command) return { kind: 'command', command: wordsOf(command, `${variable}_COMMAND`) };
  return undefined;
}

function wordsOf(text: string, variable: string): readonly string[] {
  let words: unknown = text.split(/\s+/).filter((word) => word !== '');
  if (text.trimStart().startsWith('[')) {
    try {
      words = JSON.parse(text);
    } catch {
      words = undefined; // said below; the parser's own words would repeat the text
    }
  }
  if (!Array.isArray(words) || words.length === 0 || words[0] === '' || !words.every((word) => typeof word === 'string')) {
    throw new Fault('invalid_input', `${variable} is no program with arguments`, { hint: `${variable}='["/usr/bin/get-key", "--name", "the cloud"]'` });
  }
  return words as string[];
}

/** Throws `invalid_input` for what is no key. */
function parseMasterKey(text: string, from: string): KeyObject {
  const bytes = bytesOf(text.trim());
  if (bytes === undefined) {
    throw new Fault('invalid_input', `${from} holds no master key: it takes ${MASTER_KEY_BYTES} bytes in base64 or in hexadecimal`, { hint: MAKE_ONE });
  }
  if (bytes.every((byte) => byte === bytes[0])) {
    throw new Fault('invalid_input', `${from} holds a placeholder, which anybody can guess, in place of a master key`, { hint: MAKE_ONE });
  }
  return secretKey(bytes);
}

function bytesOf(text: string): Buffer | undefined {
  if (/^[0-9a-f]{64}$/i.test(text)) return Buffer.from(text, 'hex');
  if (!/^[\w+/-]{43}=?$/.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64'); // takes both alphabets
  return bytes.length === MASTER_KEY_BYTES ? bytes : undefined;
}

function secretKey(bytes: Buffer): KeyObject {
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

export const newMasterKey = (): KeyObject => secretKey(randomBytes(MASTER_KEY_BYTES));

/** Tells keys apart without telling anything of them. */
export const keyIdOf = (key: KeyObject): string => createHmac('sha256', key).update('thecloud key check').digest('hex').slice(0, 16);

/** The key of a source outside the data directory. Rejects with a Fault that names the source and never its content. */
export async function readOutside(source: OutsideSource, readCommand: ReadCommand): Promise<KeyObject> {
  if (source.kind === 'value') return parseMasterKey(source.value, 'What was given as master key');
  if (source.kind === 'command') return parseMasterKey(await readCommand(source.command), `What ${source.command[0]} printed`);
  let text: string | undefined;
  try {
    text = readText(source.path);
  } catch (error) {
    throw new Fault('unavailable', `The master key cannot be read from ${source.path}: ${(error as Error).message}`, {
      hint: `ls -l ${source.path}`,
      cause: error,
    });
  }
  if (text === undefined) throw new Fault('unavailable', `The master key is missing: there is no ${source.path}`, { hint: `ls -l ${source.path}` });
  return parseMasterKey(text, source.path);
}

/** Undefined where there is no such file. */
function readText(path: string, own = false): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDONLY);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const info = fstatSync(fd);
    if (own && (info.mode & 0o077) !== 0 && info.uid === process.getuid?.()) fchmodSync(fd, 0o600);
    const buffer = Buffer.alloc(MOST_TEXT);
    let length = 0;
    // One that comes through a pipe comes in pieces.
    for (let got = -1; got !== 0 && length < MOST_TEXT; length += got) got = readSync(fd, buffer, length, MOST_TEXT - length, null);
    const text = buffer.toString('latin1', 0, length);
    buffer.fill(0);
    return text;
  } finally {
    closeSync(fd);
  }
}

/** A key file of the data directory. Undefined: none, or not a key; a file that is there and cannot be read is `unavailable`. */
export function readOwn(path: string): KeyObject | undefined {
  let text: string | undefined;
  try {
    text = readText(path, true);
  } catch (error) {
    throw new Fault('unavailable', `The master key cannot be read from ${path}: ${(error as Error).message}`, {
      hint: 'the data directory must belong to this user',
      cause: error,
    });
  }
  const bytes = text === undefined ? undefined : bytesOf(text.trim());
  return bytes === undefined ? undefined : secretKey(bytes);
}

/** Written whole or not at all. */
export function writeOwn(path: string, key: KeyObject): void {
  try {
    writeWhole(path, `${key.export().toString('base64url')}\n`);
  } catch (error) {
    throw new Fault('unavailable', `The master key cannot be written to ${path}: ${(error as Error).message}`, {
      hint: 'df -h  # and see that the data directory belongs to this user',
      cause: error,
    });
  }
}

export function removeOwn(path: string): void {
  try {
    removeWhole(path);
  } catch (error) {
    throw new Fault('unavailable', `A master key that is no longer used cannot be removed from ${path}: ${(error as Error).message}`, { cause: error });
  }
}
