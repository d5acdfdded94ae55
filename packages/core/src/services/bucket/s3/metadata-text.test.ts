import { expect, test } from 'vitest';
import { decodeWords, encodeWords } from './metadata-text.ts';
import { headerText } from './request.ts';

test.each([
  ['', ''],
  ['AMAZONS3', 'AMAZONS3'],
  ['a = b?', 'a = b?'],
  ['Hello Worldé', '=?UTF-8?Q?Hello_World=C3=A9?='],
  ['日本', '=?UTF-8?B?5pel5pys?='],
  // As the documentation of S3 has it, for a client that sent UTF-8 twice over.
  ['Ã\u0084MÃ\u0084ZÃ\u0095Ã\u0091 S3', '=?UTF-8?B?w4PChE3Dg8KEWsODwpXDg8KRIFMz?='],
])('%j is %j', (text, header) => {
  expect(encodeWords(text)).toBe(header);
  expect(decodeWords(header)).toBe(text);
});

test('long texts are several words, none of them too long, and no character is cut', () => {
  for (const text of ['日本🎉'.repeat(60), `${'word and '.repeat(40)}ü`, `${'é'.repeat(300)}x`]) {
    const header = encodeWords(text);
    for (const word of header.split(' ')) expect(word).toMatch(/^=\?UTF-8\?[BQ]\?[!->@-~]{1,63}\?=$/);
    expect(decodeWords(header)).toBe(text);
  }
});

test('what clients send', () => {
  expect(decodeWords('=?utf-8?q?caf=C3=A9_=5F?= and =?ISO-8859-1?B?6Q==?=')).toBe('café _ and é');
  expect(decodeWords('=?UTF-8?Q?a?= =?UTF-8?Q?b?=')).toBe('ab');
  expect(decodeWords('=?KOI8-R?B?6Q==?= =?x')).toBe('=?KOI8-R?B?6Q==?= =?x');
  expect(decodeWords(headerText('caf\u00c3\u00a9'))).toBe('café');
  expect(decodeWords(headerText('caf\u00e9'))).toBe('café');
  expect(encodeWords(headerText('\u00e9'))).toBe('=?UTF-8?B?w6k=?=');
});

test('a long run of beginnings takes no long time', () => {
  const text = '=?a?q?'.repeat(20_000);
  const began = performance.now();
  expect(decodeWords(text)).toBe(text);
  expect(performance.now() - began).toBeLessThan(1000);
});
