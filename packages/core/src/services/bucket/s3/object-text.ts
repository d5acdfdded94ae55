// How texts of objects are written in headers and documents: ETags, dates, and what a header can hold at all.

/** Whether a header can say it: no control characters, no line ends. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what a header must not have
export const fitsHeader = (text: string): boolean => !/[\x00-\x08\x0a-\x1f\x7f]/.test(text);

/** A date of ISO 8601 with its zone, as XML and the headers of object lock have it. */
export function isoTime(value: string): number | undefined {
  if (!/^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d))?$/.test(value.trim())) return undefined;
  const time = Date.parse(value.trim());
  return Number.isNaN(time) ? undefined : time;
}

let lastMinute = -1;
let lastText = '';
/** As documents of S3 say when an object was written: whole seconds, so that it is what its headers say. Objects of one minute stand together in most lists. */
export function xmlDate(time: number): string {
  const minute = Math.floor(time / 60_000);
  if (minute !== lastMinute) {
    lastText = new Date(minute * 60_000).toISOString().slice(0, 17);
    lastMinute = minute;
  }
  const second = Math.floor((time - minute * 60_000) / 1000);
  return `${lastText}${second < 10 ? '0' : ''}${second}.000Z`;
}

/** In the quotes that HTTP wants. */
export const quoted = (etag: string): string => `"${etag}"`;
export const unquoted = (etag: string): string =>
  etag
    .trim()
    .replace(/^W\//, '')
    .replace(/^"(.*)"$/s, '$1');
/** A list of ETags, or `*`. */
export const etagsOf = (value: string | undefined): string[] | undefined => value?.split(',').map(unquoted);
