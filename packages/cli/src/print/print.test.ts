// Tables and values as people see them.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { logLine } from '../daemon-files.ts';
import type { Column } from '../table.ts';
import { age, bytes, cell, portText, type Style } from './cells.ts';
import { structured } from './index.ts';
import { card, table } from './table.ts';
import { cut, pad, width } from './width.ts';

const style: Style = { colour: false, now: Date.parse('2026-01-31T12:00:00Z'), long: false };
const column = (field: string, format: Column['format'] = 'text'): Column => ({ field, header: field, format });
const print = (columns: Column[], rows: Record<string, unknown>[], terminal?: number, header = true): string =>
  table(columns, rows, { ...style, header, terminal });

describe('values', () => {
  it('shows ages by their two largest units', () => {
    const ago = (seconds: number) => age(new Date(style.now - seconds * 1000).toISOString(), style.now);
    expect([0, 59, 60, 190, 3600, 7800, 36_000, 90_000, 864_000].map(ago)).toEqual(['0s', '59s', '1m', '3m10s', '1h', '2h10m', '10h', '1d1h', '10d']);
    expect(ago(-5)).toBe('0s'); // the daemon's clock may be a little ahead
  });

  it('tells what is to come from what has been', () => {
    const at = (seconds: number) => new Date(style.now + seconds * 1000).toISOString();
    expect([cell('age', at(-90), style), cell('age', at(1), style), cell('age', at(30), style)]).toEqual(['1m30s', '0s', 'in 30s']);
    expect(cell('age', at(30), { ...style, long: true })).toMatch(/ \(in 30s\)$/);
    expect(cell('age', at(-30), { ...style, long: true })).toMatch(/ \(30s ago\)$/);
  });

  it('shows documents as they are written, in a line where there is only one', () => {
    const value = { Version: '2012-10-17', Statement: [] };
    expect(cell('document', value, style)).toBe('{"Version":"2012-10-17","Statement":[]}');
    expect(cell('document', value, { ...style, long: true })).toBe('{\n  "Version": "2012-10-17",\n  "Statement": []\n}');
  });

  it('shows bytes in the unit that keeps them short', () => {
    expect([0, 1023, 1024, 1536, 1_288_490_189, 1024 ** 2 - 1].map(bytes)).toEqual(['0 B', '1023 B', '1 KiB', '1.5 KiB', '1.2 GiB', '1 MiB']);
  });

  it('shows seconds in the largest unit that says them exactly', () => {
    expect([0, 10, 60, 90, 3600, 5400, 345_600].map((seconds) => cell('seconds', seconds, style))).toEqual([
      '0 s',
      '10 s',
      '1 min',
      '90 s',
      '1 h',
      '90 min',
      '4 d',
    ]);
  });

  it('shows ports as they are reached', () => {
    expect(portText({ hostAddress: '127.0.0.1', hostPort: 8080, instancePort: 80, protocol: 'tcp' })).toBe('127.0.0.1:8080->80/tcp');
    expect(portText({ hostAddress: '::1', hostPort: 0, instancePort: 53, protocol: 'udp' })).toBe('[::1]:auto->53/udp');
  });

  it('shows words that have spaces in quotes', () => {
    expect(cell('words', ['sh', '-c', 'sleep 1'], style)).toBe('sh -c "sleep 1"');
  });

  it('never passes on what a terminal would obey', () => {
    expect(cell('text', 'a\x1b[31mb\x07', style)).toBe('a\\x1b[31mb\\x07');
    expect(cell('labels', { a: '\x1b]0;title\x07' }, style)).not.toContain('\x1b');
  });
});

describe('tables that come in parts', () => {
  it('keep their columns', () => {
    const widths: number[] = [];
    const part = (header: boolean, ...names: string[]) =>
      table(
        [column('name'), column('state')],
        names.map((name) => ({ name, state: 'ready' })),
        { ...style, header, terminal: undefined, widths },
      );
    expect(`${part(true, 'a', 'longer')}${part(false, 'b')}`).toBe('NAME     STATE\na        ready\nlonger   ready\nb        ready\n');
  });
});

describe('width', () => {
  it('counts wide characters as two, combining ones and colours as none', () => {
    expect(['web', 'e\u0301', '日本', '🚀', '\x1b[32mok\x1b[0m'].map(width)).toEqual([3, 1, 4, 2, 2]);
  });

  it('cuts to the asked width, whatever the text, and never inside a colour', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 0, max: 40 }), (text, to) => {
        const plain = text.replaceAll('\x1b', '');
        expect(width(cut(plain, to))).toBeLessThanOrEqual(to);
        if (width(plain) <= to) expect(cut(plain, to)).toBe(plain);
        else if (to > 0) expect(cut(plain, to).endsWith('…')).toBe(true);
      }),
    );
    expect(cut('\x1b[32mrunning\x1b[0m', 4)).toBe('\x1b[32mrun…\x1b[0m');
  });

  it('pads by what is seen', () => {
    expect(pad('日本', 6)).toBe('日本  ');
  });
});

describe('tables', () => {
  const columns = [column('name'), column('image'), column('size', 'gib')];
  const rows = [
    { name: 'web', image: 'registry.example.com/team/application:2026.01.31', size: 10 },
    { name: '日本', image: 'busybox' },
  ];

  it('align columns, and mark what is not there', () => {
    expect(print(columns, rows)).toBe(
      'NAME   IMAGE                                              SIZE\n' +
        'web    registry.example.com/team/application:2026.01.31   10 GiB\n' +
        '日本   busybox                                            -\n',
    );
  });

  it('fit the terminal: the longest column gives way first', () => {
    const lines = print(columns, rows, 40).trimEnd().split('\n');
    expect(Math.max(...lines.map(width))).toBeLessThanOrEqual(40);
    expect(lines[1]).toBe('web    registry.example.com/te…   10 GiB');
  });

  it('fit any terminal that has room for a character per column', () => {
    const cells = fc.record({ name: fc.string(), image: fc.string({ unit: 'grapheme' }), size: fc.integer() });
    fc.assert(
      fc.property(fc.array(cells, { minLength: 1, maxLength: 5 }), fc.integer({ min: 9, max: 120 }), (some, terminal) => {
        for (const line of print(columns, some, terminal).split('\n')) expect(width(line)).toBeLessThanOrEqual(terminal);
      }),
    );
  });

  it('do without a header when asked', () => {
    expect(print([column('name')], rows, undefined, false)).toBe('web\n日本\n');
  });

  it('reach into nested fields by path', () => {
    expect(print([column('cloudInit.status')], [{ cloudInit: { status: 'done' } }])).toBe('CLOUDINIT.STATUS\ndone\n');
  });
});

describe('cards', () => {
  const fields = [column('name'), column('vpc'), column('vpcId'), column('labels', 'labels'), { ...column('generation'), wide: true as const }];
  const value = { name: 'web', vpc: 'prod', vpcId: 'vpc-1', labels: {}, generation: 3 };

  it('show a reference with its id and leave out what is empty', () => {
    expect(card(fields, value, style, false)).toBe('name:  web\nvpc:   prod (vpc-1)\n');
  });

  it('show everything when asked', () => {
    expect(card(fields, value, style, true)).toContain('generation:  3\n');
  });

  it('put one value of a list on a line', () => {
    expect(card([column('labels', 'labels')], { labels: { a: '1', b: '2' } }, style, false)).toBe('labels:  a=1\n         b=2\n');
  });
});

it('writes nothing that a terminal would obey, in any form', async () => {
  const planted = 'a\u001b[2Jb\u009b2Jc\u007f';
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  const control = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/;
  const json = await structured({ [planted]: [planted] }, 'json');
  expect(json).not.toMatch(control);
  expect(JSON.parse(json)).toEqual({ [planted]: [planted] });
  const yaml = await structured({ name: planted }, 'yaml');
  expect(yaml).not.toMatch(control);
  const { parse } = await import('yaml');
  expect(parse(yaml)).toEqual({ name: planted });
  for (const line of [JSON.stringify({ time: 0, level: 30, msg: planted, fact: planted, err: { stack: planted } }), planted, `{${planted}`]) {
    expect(logLine(line)).not.toMatch(control);
  }
});
