// XML of S3: what is written can be read back, whatever it is, and what is no document of S3 is refused.
import { XMLParser } from 'fast-xml-parser';
import { expect, test } from 'vitest';
import { ObjectError } from '../engine/types.ts';
import { errorXml, s3Error, toS3Error } from './errors.ts';
import type { S3Error } from './types.ts';
import { declaration, document, element, list, optional, parseXml, render, urlEncoded } from './xml.ts';

const code = (text: string | Buffer, root: string | string[] = 'A'): string => {
  try {
    return parseXml(Buffer.from(text), { root }).name;
  } catch (error) {
    return (error as S3Error).code;
  }
};

const TEXTS = ['plain', '<&>"\'', ' spaces ', 'a\r\nb\tc', 'ü日本語😀', '&amp; &#x41; ]]>', '', '{}[]', '\u2028\u0085'];
test.each(TEXTS)('%j comes back as it was', (text) => {
  const xml = declaration + document('A', [element('B', text), list('C', [text, text], (each) => [element('D', each)])]);
  const root = parseXml(Buffer.from(xml), { root: 'A' });
  expect(root.text('B')).toBe(text);
  expect(root.children('C').map((each) => each.needText('D'))).toEqual([text, text]);
});

test('control characters are written as references, as S3 does', () => {
  expect(render(element('Key', 'a\u0001b\u000bc\ufffe'))).toBe('<Key>a&#x1;b&#xB;c&#xFFFE;</Key>');
});

test('numbers, absences and attributes', () => {
  expect(document('A', [element('N', 0), optional('X', undefined), element('T', false), element('G', [], { 'xsi:type': 'a"b' })])).toBe(
    '<A xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><N>0</N><T>false</T><G xsi:type="a&quot;b"></G></A>',
  );
});

test('encoding-type=url', () => {
  expect(urlEncoded('a/b c+d&e=f~(g)*\'!ü"')).toBe('a/b+c%2Bd%26e%3Df%7E%28g%29*%27%21%C3%BC%22');
  expect(urlEncoded('plain/key_1.txt')).toBe('plain/key_1.txt');
  expect(urlEncoded('\ud800')).toBe('%EF%BF%BD');
});

test('reading: prefixes, comments, CDATA, attributes', () => {
  const root = parseXml(
    Buffer.from(
      '<?xml version="1.0" encoding="UTF-8"?>\n<!-- c --><s3:A xmlns:s3="x" xmlns:xsi="y">\n <s3:B> a<!-- x -->b &lt;&#65;&#x42; </s3:B><C xsi:type="Group"><![CDATA[<&amp;>]]></C><N> 12 </N><T>TRUE</T></s3:A>\n',
    ),
    { root: 'A' },
  );
  expect(root.text('B')).toBe(' ab <AB ');
  expect(root.text('C')).toBe('<&amp;>');
  expect(root.child('C')?.attribute('type')).toBe('Group');
  expect([root.integer('N'), root.boolean('T'), root.text('X'), root.integer('X')]).toEqual([12, true, undefined, undefined]);
  expect(() => root.only('B', 'C', 'N')).toThrow();
  expect(() => root.value()).toThrow();
  expect(() => root.need('X')).toThrow();
});

test.each<[string, string | Buffer]>([
  ['nothing', ''],
  ['text', 'hello'],
  ['an element that is not closed', '<A><B></A>'],
  ['two roots', '<A/><A/>'],
  ['another root', '<B/>'],
  ['something behind it', '<A></A>x'],
  ['a DOCTYPE', '<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>'],
  ['no UTF-8', Buffer.from([0x3c, 0x41, 0x3e, 0xff, 0x3c, 0x2f, 0x41, 0x3e])],
  ['a depth without end', `${'<A>'.repeat(1000)}${'</A>'.repeat(1000)}`],
  ['names that are properties of everything', '<A><__proto__>x</__proto__></A>'],
  ['JSON', '{"A":1}'],
])('%s is malformed', (_what, text) => {
  expect(code(text)).toBe('MalformedXML');
});

test('entities that nobody has', () => {
  for (const text of ['&foo;', '&', '&#xFFFFFFF;', '&constructor;', '&#xD800;', '&#57343;']) {
    const read = () => parseXml(Buffer.from(`<A><B>${text}</B></A>`), { root: 'A' }).text('B');
    expect(read).toThrow();
  }
});

test('documents that would keep the parser busy are not given to it', () => {
  const most = '<Part><PartNumber>1</PartNumber><ETag>"e"</ETag><ChecksumSHA256>a==</ChecksumSHA256></Part>'.repeat(10_000);
  expect(parseXml(Buffer.from(`<A>${most}</A>`), { root: 'A' }).children('Part')).toHaveLength(10_000);
  const many = 400_000;
  for (const text of [
    ...['<b/>', '<b>', '<', '<!---->', '<![CDATA[]]>', '<?b?>', '<!--'].map((unit) => unit.repeat(many)),
    ...[' ', ' a=""', '&amp;', 'text'].flatMap((unit) => [`<B${unit.repeat(many)}/>`, `<B>${unit.repeat(many)}</B>`]),
    `<B ${'a="" '.repeat(200)}/>`.repeat(100),
  ]) {
    expect(() => parseXml(Buffer.from(`<A>${text}</A>`), { root: 'A' })).toThrow();
  }
});

test('a character in two halves is one', () => {
  expect(parseXml(Buffer.from('<A><B>&#xD83D;&#xDE00;</B></A>'), { root: 'A' }).text('B')).toBe('😀');
});

test('errors as documents', () => {
  const error = s3Error('NoSuchKey', undefined, { Key: 'a<b>&"c"' });
  const parsed = new XMLParser().parse(errorXml(error, { resource: '/b/a', requestId: 'R', hostId: 'H' })) as { Error: Record<string, string> };
  expect(parsed.Error).toEqual({
    Code: 'NoSuchKey',
    Message: 'The specified key does not exist.',
    Key: 'a<b>&"c"',
    Resource: '/b/a',
    RequestId: 'R',
    HostId: 'H',
  });
});

test('errors of the engine in the words of S3', () => {
  const of = (...[problem, message, details]: ConstructorParameters<typeof ObjectError>) => toS3Error(new ObjectError(problem, message, details), { key: 'k' });
  expect(of('delete_marker', '', { version: 'v' })).toMatchObject({
    code: 'NoSuchKey',
    status: 404,
    headers: { 'x-amz-delete-marker': 'true', 'x-amz-version-id': 'v' },
  });
  expect(toS3Error(new ObjectError('delete_marker', '', { version: 'v' }), { version: 'v' })).toMatchObject({ code: 'MethodNotAllowed', status: 405 });
  expect(of('invalid_range', '', { size: 5 })).toMatchObject({ status: 416, headers: { 'content-range': 'bytes */5' }, elements: { ActualObjectSize: '5' } });
  expect(of('not_modified', '', { etag: 'e', modifiedAt: 0 })).toMatchObject({
    status: 304,
    headers: { etag: '"e"', 'last-modified': 'Thu, 01 Jan 1970 00:00:00 GMT' },
  });
  expect(of('bad_digest', '', { digest: 'sha256' }).code).toBe('XAmzContentSHA256Mismatch');
  expect(of('storage_full', '')).toMatchObject({ code: 'InsufficientStorage', status: 507 });
  const bug = new TypeError('secret inside');
  expect(toS3Error(bug)).toMatchObject({ code: 'InternalError', status: 500, message: 'We encountered an internal error. Please try again.', cause: bug });
});
