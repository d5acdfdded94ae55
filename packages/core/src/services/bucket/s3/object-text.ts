// Text of headers. Node gives their bytes as Latin-1; clients send UTF-8, or Latin-1, and want back what they sent. Inside it is text: bytes that are no
// UTF-8 are kept as lone surrogates (U+DC80 …), which no UTF-8 can hold, so that both ways round nothing is lost.

// biome-ignore lint/suspicious/noControlCharactersInRegex: what is plain ASCII is what is asked
const ASCII = /^[\x00-\x7f]*$/;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const ESCAPE = 0xdc00;

/** Text of a header's value as Node gives it. */
export function textOfHeader(value: string): string {
  if (ASCII.test(value)) return value;
  try {
    return decoder.decode(Buffer.from(value, 'latin1'));
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    let text = '';
    for (let at = 0; at < value.length; at++) {
      const unit = value.charCodeAt(at);
      text += unit < 0x80 ? value.charAt(at) : String.fromCharCode(ESCAPE + unit);
    }
    return text;
  }
}

/** What Node is to send for a text; undefined when a header cannot say it: control characters, line ends. */
export function headerOfText(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a header must not have
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(text)) return undefined;
  if (ASCII.test(text)) return text;
  let value = '';
  for (const character of text) {
    const code = character.codePointAt(0) as number;
    if (code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff) value += String.fromCharCode(code - ESCAPE);
    else if (code < 0x80) value += character;
    else value += Buffer.from(character).toString('latin1');
  }
  return value;
}

/** A date of ISO 8601 with its zone, as XML and the headers of object lock have it. */
export function isoTime(value: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d))?$/.test(value.trim())) return undefined;
  const time = Date.parse(value.trim());
  return Number.isNaN(time) ? undefined : time;
}

/** As documents of S3 say when an object was written: whole seconds, so that it is what its headers say. */
export const xmlDate = (time: number): string => `${new Date(time).toISOString().slice(0, 19)}.000Z`;

/** In the quotes that HTTP wants. */
export const quoted = (etag: string): string => `"${etag}"`;
export const unquoted = (etag: string): string =>
  etag
    .trim()
    .replace(/^W\//, '')
    .replace(/^"(.*)"$/s, '$1');
/** A list of ETags, or `*`. */
export const etagsOf = (value: string | undefined): string[] | undefined => value?.split(',').map(unquoted);
