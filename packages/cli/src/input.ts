// From words to the input of an operation: types, files, key=value. The contract itself is checked by the daemon;
// what is checked here is only what keeps a word from becoming a value.
import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { Fault, type FieldProblem, nearest } from '@thecloud/core/contracts';
import { askSecret, someoneIsThere } from './ask.ts';
import { usage } from './base.ts';
import { type Flag, type FlagType, type Positional, spoken } from './table.ts';
import { flag, isSet, type Words } from './words.ts';

export interface Input {
  targets: string[];
  input: Record<string, unknown>;
}

export async function inputOf(words: Words): Promise<Input> {
  const { command } = words;
  const problems: FieldProblem[] = [];
  const from = flag(words, 'from');
  const input: Record<string, unknown> = from === undefined ? {} : await fieldsFrom(from);
  const targets: string[] = [];

  const given = [...words.positionals, ...words.rest];
  await yamlFor(words);
  checkSecrets(words);
  const rest = command.positionals.find((one) => one.rest);
  for (const positional of command.positionals) {
    const values = positional.rest ? given.splice(0) : given.splice(0, 1);
    if (values.length === 0) {
      const inFile = positional.field !== '$target' && input[positional.field] !== undefined;
      if (positional.required && !inFile) throw usage(`<${positional.label}> is missing`, `cloud ${spoken(command.id)} --help`);
      continue;
    }
    if (positional.field === '$target') {
      for (const value of values) {
        if (value === '') throw usage(`<${positional.label}> is empty`);
        targets.push(value);
      }
    } else if (positional.rest) input[positional.field] = values;
    else {
      const value = values[0] as string;
      const text = positional.secret ? secretFrom(value, `<${positional.label}>`) : positional.file ? textFrom(value, `<${positional.label}>`) : value;
      input[positional.field] = scalar(positional.type, positional, text, positional.field, problems);
    }
  }
  if (given.length > 0 && rest === undefined) {
    throw usage(`"${given[0]}" is one word too many; ${signature(words)}`, `cloud ${spoken(command.id)} --help`);
  }

  for (const one of command.flags) {
    const values = words.flags.get(one.name);
    if (values === undefined) continue;
    if (one.field !== undefined) input[one.field] = valueOf(one, values, problems);
    // Of the command itself: it reads them as they are, which a number has to be.
    else if (one.type === 'integer' || one.type === 'number') valueOf(one, values, problems);
  }
  for (const name of words.flags.get('unset')?.flatMap((value) => value.split(',')) ?? []) {
    const nullable = command.flags.filter((one) => one.nullable);
    const found = nullable.find((one) => one.name === name || one.field === name);
    if (found?.field === undefined) {
      const near = nearest(
        name,
        nullable.map((one) => one.name),
      );
      throw usage(
        `--unset: "${name}" cannot be taken away; use ${nullable.map((one) => one.name).join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}`,
      );
    }
    input[found.field] = null;
  }
  if (command.operation?.restarts && isSet(words, 'yes')) input['allowRestart'] = true;
  for (const [field, answer] of words.answers ?? []) input[field] = answer;
  if (someoneIsThere()) {
    for (const one of command.flags) {
      if (!one.secret || !one.required || one.field === undefined || input[one.field] !== undefined) continue;
      input[one.field] = await askSecret(`${labelOf(one)}: `);
    }
  }
  // A file may have misspelt the very field that is missing: then the daemon names both.
  const whole = from === undefined || isSet(words, 'dry-run');
  const missing = command.flags.filter(
    (one) => (whole || one.field === undefined) && one.required && !words.flags.has(one.name) && (one.field === undefined || input[one.field] === undefined),
  );
  for (const one of missing)
    problems.push({ path: one.field ?? one.name, message: `give ${one.type === 'integer' || one.type === 'number' ? 'a number' : 'a value'}; it is required` });
  if (problems.length > 0) {
    const first = problems[0] as FieldProblem;
    throw new Fault('invalid_input', `${first.path}: ${first.message}`, { details: problems, hint: `cloud ${spoken(command.id)} --help` });
  }
  return { targets, input };
}

const signature = ({ command }: Words): string => {
  const names = command.positionals.map((one) => `<${one.label}>`);
  return names.length === 0 ? `\`cloud ${spoken(command.id)}\` takes flags only` : `\`cloud ${spoken(command.id)}\` takes ${names.join(' and ')}`;
};

export function valueOf(one: Flag, values: readonly string[], problems: FieldProblem[]): unknown {
  const field = one.field ?? one.name;
  const read = (text: string): string => (one.secret ? secretFrom(text, `--${one.name}`) : one.file ? textFrom(text, `--${one.name}`) : text);
  if (one.type === 'map') {
    const map: Record<string, string> = {};
    for (const text of values) {
      const equals = text.indexOf('=');
      if (equals < 1) problems.push({ path: field, message: `"${text}" is not key=value${one.example === undefined ? '' : `, for example ${one.example}`}` });
      else map[text.slice(0, equals)] = text.slice(equals + 1);
    }
    return map;
  }
  if (one.many) {
    const all = values.map((text) => scalar(one.type, one, read(text), field, problems));
    // A document that is a list is the list itself, not one thing in it.
    return one.type === 'json' ? all.flat(1) : all;
  }
  return scalar(one.type, one, read(values.at(-1) as string), field, problems);
}

function scalar(
  type: FlagType,
  bounds: Pick<Flag, 'example' | 'minimum' | 'maximum' | 'values' | 'seconds' | 'time'>,
  text: string,
  field: string,
  problems: FieldProblem[],
): unknown {
  switch (type) {
    case 'boolean':
      return text === 'true';
    case 'integer':
    case 'number': {
      const value = bounds.seconds ? secondsOf(text) : Number(text);
      if (text.trim() === '' || !Number.isFinite(value) || (type === 'integer' && !Number.isInteger(value))) {
        problems.push({
          path: field,
          message: bounds.seconds
            ? `"${text}" is not a number of seconds, nor a duration such as 90s or 5m`
            : `"${text}" is not ${type === 'integer' ? 'a whole number' : 'a number'}${bounds.example === undefined ? '' : `, for example ${bounds.example}`}`,
        });
      } else if (bounds.minimum !== undefined && value < bounds.minimum) problems.push({ path: field, message: `give ${bounds.minimum} or more` });
      else if (bounds.maximum !== undefined && value > bounds.maximum) problems.push({ path: field, message: `give ${bounds.maximum} or less` });
      return value;
    }
    case 'json':
      try {
        return jsonOrYaml(text);
      } catch (error) {
        problems.push({ path: field, message: (error as Error).message });
        return undefined;
      }
    default:
      if (bounds.values !== undefined && !bounds.values.includes(text)) {
        const near = nearest(text, bounds.values);
        problems.push({ path: field, message: `use ${bounds.values.join(', ')}${near === undefined ? '' : `; did you mean ${near}?`}` });
      }
      return bounds.time === undefined ? text : timeOf(text, bounds.time, field, problems);
  }
}

/** A date begins at midnight here; what says no zone is local time, too. */
function timeOf(text: string, direction: 'ago' | 'from now', field: string, problems: FieldProblem[]): string {
  const match = DURATION.exec(text);
  if (match?.[2] !== undefined) return new Date(Date.now() + (direction === 'ago' ? -1 : 1) * duration(text, field)).toISOString();
  const time = new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text);
  if (/^\d{4}-/.test(text) && !Number.isNaN(time.getTime())) return time.toISOString();
  problems.push({ path: field, message: `"${text}" is not a time such as 2026-01-31T12:00:00Z, 2026-01-31 or 24h` });
  return text;
}

export const expandHome = (path: string): string => (path === '~' || path.startsWith('~/') ? `${process.env['HOME'] || homedir()}${path.slice(1)}` : path);

/** Loaded when a document is given that is not JSON, since most are. */
let parseYaml: ((text: string) => unknown) | undefined;

async function yamlFor(words: Words): Promise<void> {
  const { command, flags, positionals } = words;
  const inFlags = command.flags.some((one) => one.type === 'json' && flags.has(one.name));
  if (inFlags || command.positionals.some((one, index) => one.type === 'json' && index < positionals.length)) parseYaml ??= (await import('yaml')).parse;
}

/** What begins like JSON is meant as JSON, and its mistakes are told as such. */
function jsonOrYaml(text: string): unknown {
  const start = text.trimStart();
  const asJson = parseYaml === undefined || start.startsWith('{') || start.startsWith('[');
  let value: unknown;
  try {
    value = asJson ? JSON.parse(text) : parseYaml?.(text);
  } catch (error) {
    const shown = text.length > 60 ? 'this' : `"${text}"`;
    throw new Error(`${shown} is not ${asJson ? 'JSON' : 'YAML'}: ${(error as Error).message.split(':\n', 1)[0]}`, { cause: error });
  }
  if (typeof value === 'string') throw new Error(`"${value}" is no document; to read it from a file, write @${value}`);
  return value;
}

const labelOf = (one: Flag): string => {
  const words = one.name.replaceAll('-', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
};

/** Secrets on a command line are in the shell's history and in `ps` before anything can be done about it; they are not taken, so that nobody gets used to it. */
function checkSecrets({ command, flags, positionals }: Words): void {
  let streams = 0;
  const check = (value: string, what: string, fix: string): void => {
    if (value === '-') streams++;
    if (value === '-' || (value.startsWith('@') && !value.startsWith('@@'))) return;
    throw usage(
      `${what}: a secret is not taken from the command line, where the shell's history and \`ps\` would have it; use - (standard input) or @file`,
      `cloud ${spoken(command.id)} ${fix}`,
    );
  };
  for (const one of command.flags) {
    const values = flags.get(one.name) ?? [];
    if (one.secret) for (const value of values) check(value, `--${one.name}`, [...positionals, `--${one.name} -`].join(' '));
    else if (one.file) streams += values.filter((value) => value === '-').length;
  }
  const isSecret = (one: Positional): boolean => one.secret === true;
  if (command.positionals.some(isSecret)) {
    for (const [index, one] of command.positionals.entries()) {
      const value = positionals[index];
      if (value !== undefined && one.secret) check(value, `<${one.label}>`, [...positionals.slice(0, index), '-'].join(' '));
    }
  }
  if (streams > 1) throw usage('Standard input can be read once only: give - for one of them, and @file for the others');
}

/** A single line comes without the line end that editors and `echo` put behind it; several lines (a key in PEM) stay as they are. */
const secretFrom = (text: string, what: string): string => textFrom(text, what).replace(/^([^\n]*?)\r?\n$/, '$1');

/** `@path` is the file's content, `-` standard input, `@@…` a value that begins with @. */
function textFrom(text: string, what: string): string {
  if (text === '-') return utf8(readFileSync(0), what, 'standard input');
  if (text.startsWith('@@')) return text.slice(1);
  if (!text.startsWith('@')) return text;
  return fileText(text.slice(1), what);
}

function fileText(path: string, what: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(expandHome(path));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw usage(
      `${what}: ${code === 'ENOENT' ? `there is no file ${path}` : code === 'EISDIR' ? `${path} is a directory` : `${path} cannot be read: ${message}`}`,
    );
  }
  return utf8(bytes, what, path);
}

/** Bytes that are no text would come out as other bytes, without a word. */
function utf8(bytes: Buffer, what: string, from: string): string {
  if (!isUtf8(bytes)) throw usage(`${what}: ${from} holds bytes that are no text in UTF-8; encode them, for example with base64`);
  return bytes.toString('utf8');
}

async function fieldsFrom(path: string): Promise<Record<string, unknown>> {
  const text = path === '-' ? readFileSync(0, 'utf8') : fileText(path, '--from');
  const { parse } = await import('yaml');
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    throw usage(`--from: ${path} is not valid YAML: ${(error as Error).message.split(':\n', 1)[0]}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw usage(`--from: ${path} does not hold fields (key: value)`);
  return value as Record<string, unknown>;
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/;

/** `90s`, `5m`, or seconds. Milliseconds. */
export function duration(text: string, name: string): number {
  const match = DURATION.exec(text);
  if (match === null) throw usage(`--${name}: "${text}" is not a duration such as 90s or 5m`);
  return Number(match[1]) * (UNITS[match[2] ?? 's'] as number);
}

/** The same in seconds; what is no duration is read as a number, negative ones among them. */
function secondsOf(text: string): number {
  const match = DURATION.exec(text);
  return match?.[2] === undefined ? Number(text) : (Number(match[1]) * (UNITS[match[2]] as number)) / 1000;
}
