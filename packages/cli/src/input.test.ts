// What keeps a word from becoming a value: secrets that were typed, times, documents.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { inputOf } from './input.ts';
import type { Command, Flag } from './table.ts';
import { parse, type Words } from './words.ts';

const folder = mkdtempSync(join(tmpdir(), 'cloud-input-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const file = (name: string, content: string | Buffer): string => {
  writeFileSync(join(folder, name), content);
  return `@${join(folder, name)}`;
};

const flags: Flag[] = [
  { field: 'password', name: 'password', type: 'string', file: true, secret: true },
  { field: 'note', name: 'note', type: 'string', file: true },
  { field: 'document', name: 'document', type: 'json', file: true },
  { field: 'since', name: 'since', type: 'string', time: 'ago' },
  { field: 'expiresAt', name: 'expires-at', type: 'string', time: 'from now' },
  { name: 'parallel', type: 'integer', minimum: 1, maximum: 64 },
];
const command: Command = { id: 'audit list', group: 'audit', summary: '', positionals: [], flags, examples: [], common: [] };
const read = async (...argv: string[]): Promise<Record<string, unknown>> => (await inputOf(parse(command, argv) as Words)).input;

it('a number that only the command itself reads is a number between its bounds', async () => {
  expect(await read('--parallel', '64')).toEqual({});
  for (const wrong of ['0', '65', 'many', '1.5', ''])
    await expect(read(`--parallel=${wrong}`), wrong).rejects.toMatchObject({ code: 'invalid_input', details: [{ path: 'parallel' }] });
});

describe('a secret', () => {
  it.each([['hunter2'], ['@@hunter2'], ['']])('%j on the command line is refused', async (value) => {
    await expect(read(`--password=${value}`)).rejects.toMatchObject({ code: 'invalid_input', hint: 'cloud audit list --password -' });
  });

  it.each([
    ['line\n', 'line'],
    ['line\r\n', 'line'],
    ['line', 'line'],
    [' two words \n', ' two words '],
    ['a\nb\n', 'a\nb\n'],
    ['\n', ''],
  ])('%j in a file is %j', async (content, value) => {
    expect(await read('--password', file('secret', content))).toEqual({ password: value });
  });

  it('that is no text is refused, not mangled', async () => {
    await expect(read('--password', file('bytes', Buffer.from([0xff, 0x00])))).rejects.toMatchObject({ message: expect.stringContaining('no text in UTF-8') });
  });

  it('and something else cannot both come from standard input', async () => {
    await expect(read('--password', '-', '--note', '-')).rejects.toMatchObject({ message: expect.stringContaining('read once only') });
  });
});

describe('a time', () => {
  it.each([
    ['2026-01-31T12:00:00Z', '2026-01-31T12:00:00.000Z'],
    ['2026-01-31T12:00:00+01:00', '2026-01-31T11:00:00.000Z'],
    ['2026-01-31', new Date(2026, 0, 31).toISOString()],
  ])('%s is %s', async (text, value) => {
    expect(await read('--since', text)).toEqual({ since: value });
  });

  it('may be so long ago, or so long from now', async () => {
    const { since, expiresAt } = (await read('--since', '24h', '--expires-at', '1d')) as { since: string; expiresAt: string };
    expect(Math.round((Date.parse(expiresAt) - Date.parse(since)) / 3_600_000)).toBe(48);
  });

  it.each(['soon', '2026-13-01', '17'])('%s is none', async (text) => {
    await expect(read('--since', text)).rejects.toMatchObject({
      code: 'invalid_input',
      details: [{ path: 'since', message: expect.stringContaining('is not a time') }],
    });
  });
});

describe('a document', () => {
  it.each([['{"Version":"2012-10-17"}'], ['Version: "2012-10-17"\n'], ['# a comment\n"Version": "2012-10-17"']])('%j is understood', async (text) => {
    expect(await read('--document', file('document', text))).toEqual({ document: { Version: '2012-10-17' } });
  });

  it.each([
    ['{"Version":', 'JSON'],
    ['a: [', 'YAML'],
    ['policy.json', 'write @policy.json'],
  ])('%j is told to be none: %s', async (text, said) => {
    await expect(read(`--document=${text}`)).rejects.toMatchObject({ details: [{ path: 'document', message: expect.stringContaining(said) }] });
  });
});
