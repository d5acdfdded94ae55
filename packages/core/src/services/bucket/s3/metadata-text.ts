// Metadata that is more than ASCII, as S3 has it: encoded words (RFC 2047) in answers, and taken as what they stand for in requests. Bytes of headers are
// UTF-8, or else Latin-1; how a client meant them is nowhere said.

/** Of an encoded word, with what encloses its text. */
const LONGEST_WORD = 75;
const OPENING = '=?UTF-8?Q?';
const CLOSING = '?=';
const LONGEST_TEXT = LONGEST_WORD - OPENING.length - CLOSING.length;

const PRINTABLE = /^[\t -~]*$/;
/** What a word of encoding Q says as itself. */
const ITSELF = /^[A-Za-z0-9!*+\-/]$/;

/** Bytes that were no UTF-8 when they came (see `headerText`) are Latin-1. */
const wellFormed = (text: string): string =>
  text.isWellFormed() ? text : text.replace(/[\udc80-\udcff]/g, (byte) => String.fromCharCode(byte.charCodeAt(0) - 0xdc00)).toWellFormed();

/** What a header says of it: as it is, or in encoded words. */
export function encodeWords(text: string): string {
  if (PRINTABLE.test(text)) return text;
  const characters = Array.from(wellFormed(text));
  const plain = characters.filter((character) => PRINTABLE.test(character)).length;
  const quoted = plain > characters.length - plain;
  const lengthOf = quoted ? (bytes: string) => quote(bytes).length : (bytes: string) => Math.ceil(Buffer.byteLength(bytes) / 3) * 4;
  const words: string[] = [];
  let word = '';
  for (const character of characters) {
    if (lengthOf(word + character) > LONGEST_TEXT) {
      words.push(word);
      word = '';
    }
    word += character;
  }
  words.push(word);
  return words.map((each) => (quoted ? `${OPENING}${quote(each)}${CLOSING}` : `=?UTF-8?B?${Buffer.from(each).toString('base64')}${CLOSING}`)).join(' ');
}

function quote(text: string): string {
  let quoted = '';
  for (const byte of Buffer.from(text)) {
    const character = String.fromCharCode(byte);
    if (character === ' ') quoted += '_';
    else quoted += ITSELF.test(character) ? character : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return quoted;
}

const WORD = /=\?([A-Za-z0-9_-]+)\?([BbQq])\?([!->@-~]*)\?=(?:[ \t]+(?==\?[A-Za-z0-9_-]+\?[BbQq]\?[!->@-~]*\?=))?/g;
const CHARSETS: Readonly<Record<string, BufferEncoding>> = { 'utf-8': 'utf8', 'us-ascii': 'utf8', 'iso-8859-1': 'latin1' };

/** Words of other character sets stay as they are. */
export function decodeWords(text: string): string {
  const whole = wellFormed(text);
  if (!whole.includes('=?')) return whole;
  return whole.replace(WORD, (word, charset: string, encoding: string, content: string) => {
    const known = CHARSETS[charset.toLowerCase()];
    if (known === undefined) return word;
    return (encoding.toUpperCase() === 'B' ? Buffer.from(content, 'base64') : unquote(content)).toString(known);
  });
}

const unquote = (content: string): Buffer =>
  Buffer.from(
    content.replace(/_/g, ' ').replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))),
    'latin1',
  );
