// The ways in which S3 writes a time: `20260102T030405Z` where it is signed, RFC 9110 in headers, ISO 8601 with milliseconds in XML.

const BASIC = /^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/;

/** `20260102T030405Z` as Unix milliseconds; undefined for anything else. */
export function parseBasic(text: string): number | undefined {
  const match = BASIC.exec(text);
  if (match === null) return undefined;
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number) as [number, number, number, number, number, number];
  if (hour > 23 || minute > 59 || second > 59) return undefined;
  const time = Date.UTC(year, month - 1, day, hour, minute, second);
  // A 31st of February would be taken for one of March.
  const date = new Date(time);
  return date.getUTCDate() === day && date.getUTCMonth() === month - 1 ? time : undefined;
}

export function formatBasic(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replace(/[-:]/g, '')}Z`;
}

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];
// RFC 9110 5.6.7: IMF-fixdate, RFC 850 and asctime.
const FIXDATE = /^[A-Za-z]{3,9}, (\d{1,2})[ -]([A-Za-z]{3})[ -](\d{4}|\d{2}) (\d{2}):(\d{2}):(\d{2}) (?:GMT|UTC|[+-]0000)$/;
const ASCTIME = /^[A-Za-z]{3} ([A-Za-z]{3}) {1,2}(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/;

/** A date of a header as Unix milliseconds; undefined for what is none. */
export function parseHttpDate(text: string): number | undefined {
  const fixed = FIXDATE.exec(text);
  const ascending = fixed === null ? ASCTIME.exec(text) : null;
  let parts: (string | undefined)[];
  if (fixed !== null) parts = [fixed[3], fixed[2], fixed[1], fixed[4], fixed[5], fixed[6]];
  else if (ascending !== null) parts = [ascending[6], ascending[1], ascending[2], ascending[3], ascending[4], ascending[5]];
  else return undefined;
  const [yearText = '', monthName = '', ...rest] = parts;
  const [day = 0, hour = 0, minute = 0, second = 0] = rest.map(Number);
  const month = MONTHS.indexOf(monthName.toLowerCase());
  // Two digits are a year of this century or of the one before it, whichever is not more than 50 years ahead.
  const short = Number(yearText);
  const year = yearText.length === 4 ? short : short + (short < 70 ? 2000 : 1900);
  if (month < 0 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60) return undefined;
  const time = Date.UTC(year, month, day, hour, minute, second);
  return new Date(time).getUTCMonth() === month ? time : undefined;
}

let lastSecond = -1;
let lastText = '';
/** `Fri, 02 Jan 2026 03:04:05 GMT`; the same second is asked for often. */
export function httpDate(time: number): string {
  const second = Math.floor(time / 1000);
  if (second !== lastSecond) {
    lastSecond = second;
    lastText = new Date(second * 1000).toUTCString();
  }
  return lastText;
}

/** `2026-01-02T03:04:05.678Z` */
export const isoDate = (time: number): string => new Date(time).toISOString();

/** `2026-01-02T03:04:05.678Z`, with or without the fraction: the end of a form's policy. */
export function parseExpiration(text: string): number | undefined {
  if (!/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/.test(text)) return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
