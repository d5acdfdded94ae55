// Zone files (RFC 1035, section 5): read into records, and written.
import { RECORD_TYPES, type RecordType } from './contract.ts';

export interface FileRecord {
  line: number;
  /** Absolute, in lower case, with its last dot. */
  name: string;
  type: RecordType;
  ttl: number | undefined;
  /** As it stands there, names in it relative to `origin`. */
  value: string;
  /** Without last dot. */
  origin: string;
}

/** A line that is not understood, and why. */
export class WrongLine extends Error {
  readonly line: number;
  constructor(line: number, message: string) {
    super(`line ${line}: ${message}`);
    this.name = 'WrongLine';
    this.line = line;
  }
}

interface Line {
  number: number;
  /** Begins with a blank: the name of the line before goes on. */
  indented: boolean;
  words: string[];
}

const SKIPPED = new Set(['SOA']);
const TYPES = new Set<string>(RECORD_TYPES);
const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** Logical lines: comments gone, what is in parentheses on one line. Quotes stay around their words. */
function linesOf(text: string): Line[] {
  const lines: Line[] = [];
  let current: Line | undefined;
  let depth = 0;
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const number = index + 1;
    current ??= { number, indented: /^[ \t]/.test(raw), words: [] };
    let word = '';
    const end = (): void => {
      if (word !== '') current?.words.push(word);
      word = '';
    };
    for (let at = 0; at < raw.length; at++) {
      const character = raw[at] as string;
      if (character === ';') break;
      if (character === '"') {
        const close = closing(raw, at);
        if (close === -1) throw new WrongLine(number, 'a quote is not closed');
        end();
        current.words.push(raw.slice(at, close + 1));
        at = close;
      } else if (character === '\\') word += character + (raw[++at] ?? '');
      else if (character === '(' || character === ')') {
        end();
        depth += character === '(' ? 1 : -1;
        if (depth < 0) throw new WrongLine(number, 'a parenthesis is closed that was not opened');
      } else if (character === ' ' || character === '\t') end();
      else word += character;
    }
    end();
    if (depth > 0) continue;
    if (current.words.length > 0) lines.push(current);
    current = undefined;
  }
  if (depth > 0) throw new WrongLine(current?.number ?? 0, 'a parenthesis is not closed');
  return lines;
}

function closing(text: string, from: number): number {
  for (let at = from + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at;
  }
  return -1;
}

/** `300`, `5m`, `1h30m`. */
function seconds(word: string): number | undefined {
  if (/^\d{1,10}$/.test(word)) return Number(word);
  if (!/^(?:\d{1,8}[smhdw])+$/i.test(word)) return undefined;
  return [...word.toLowerCase().matchAll(/(\d+)([smhdw])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * (UNITS[unit as string] as number), 0);
}

const absolute = (name: string, origin: string): string => {
  const small = name.toLowerCase();
  if (small === '@') return `${origin}.`;
  return small.endsWith('.') ? small : `${small}.${origin}.`;
};

/** Records of a file, in their order; the SOA record is left out. Throws WrongLine. */
export function parseZoneFile(text: string, domain: string): FileRecord[] {
  const records: FileRecord[] = [];
  let origin = domain;
  let defaultTtl: number | undefined;
  let name: string | undefined;
  for (const { number, indented, words } of linesOf(text)) {
    const [first = '', second] = words;
    if (first.startsWith('$')) {
      if (first.toUpperCase() === '$ORIGIN' && second !== undefined) origin = absolute(second, origin).slice(0, -1);
      else if (first.toUpperCase() === '$TTL' && second !== undefined) {
        defaultTtl = seconds(second);
        if (defaultTtl === undefined) throw new WrongLine(number, `${second} is no number of seconds`);
      } else throw new WrongLine(number, `${first} is not understood; write its records out`);
      continue;
    }
    const rest = [...words];
    if (!indented) name = absolute(rest.shift() as string, origin);
    if (name === undefined) throw new WrongLine(number, 'the first record has no name');
    let ttl = defaultTtl;
    for (;;) {
      const word = rest[0] ?? '';
      if (/^(IN|CH|HS|CS)$/i.test(word)) {
        if (word.toUpperCase() !== 'IN') throw new WrongLine(number, `the class is IN, not ${word}`);
        rest.shift();
        continue;
      }
      const given = seconds(word);
      if (given === undefined) break;
      ttl = given;
      rest.shift();
    }
    const type = rest.shift()?.toUpperCase();
    if (type === undefined) throw new WrongLine(number, 'there is no type');
    if (SKIPPED.has(type)) continue;
    if (!TYPES.has(type)) throw new WrongLine(number, `there are no records of type ${type} here; use ${RECORD_TYPES.join(', ')}`);
    if (rest.length === 0) throw new WrongLine(number, 'there is no value');
    records.push({ line: number, name, type: type as RecordType, ttl, value: rest.join(' '), origin });
  }
  return records;
}

export interface WrittenRecord {
  host: string;
  type: string;
  ttl: number;
  values: readonly string[];
}

export function writeZoneFile({
  domain,
  ttl,
  records,
  registered,
}: {
  domain: string;
  ttl: number;
  records: readonly WrittenRecord[];
  registered: readonly WrittenRecord[];
}): string {
  const lines = [`$ORIGIN ${domain}.`, `$TTL ${ttl}`];
  const width = Math.max(1, ...[...records, ...registered].map(({ host }) => host.length));
  const write = ({ host, type, ttl: own, values }: WrittenRecord): string[] =>
    values.map((value) => `${host.padEnd(width)} ${own === ttl ? '' : `${own} `}IN ${type.padEnd(5)} ${value}`);
  lines.push(...records.flatMap(write));
  if (registered.length > 0) lines.push('; registered by instances', ...registered.flatMap(write).map((line) => `; ${line}`));
  return `${lines.join('\n')}\n`;
}
