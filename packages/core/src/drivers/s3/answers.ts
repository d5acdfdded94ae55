// What an S3 engine answers: the few XML documents that we ask for, and its errors in the words of drivers.
import type { IncomingMessage } from 'node:http';
import { DriverError, type DriverErrorCode } from '../../kernel/errors.ts';

/** No answer that we ask for is longer: a list of 1,000 names. */
const MOST_BYTES = 4 * 1024 * 1024;
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The whole of a body; rejects with DriverError('unavailable') when it is cut off or endless. */
export async function textOf(response: IncomingMessage): Promise<string> {
  const pieces: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      bytes += piece.length;
      if (bytes > MOST_BYTES) throw new Error(`it is longer than ${MOST_BYTES} bytes`);
      pieces.push(piece);
    }
  } catch (error) {
    throw new DriverError('unavailable', `The answer of the object store broke off: ${(error as Error).message}`, { cause: error });
  }
  return Buffer.concat(pieces).toString('utf8');
}

/** Contents of every element of that name; they are not nested in themselves in any answer of S3. Goes through it once, whatever is not closed. */
export function elements(xml: string, name: string): string[] {
  const found: string[] = [];
  const [open, close] = [`<${name}`, `</${name}>`];
  for (let at = xml.indexOf(open); at >= 0; at = xml.indexOf(open, at)) {
    at += open.length;
    if (!/[\s>]/.test(xml[at] ?? '')) continue;
    const begin = xml.indexOf('>', at) + 1;
    const end = begin === 0 ? -1 : xml.indexOf(close, begin);
    if (end < 0) break;
    found.push(xml.slice(begin, end));
    at = end + close.length;
  }
  return found;
}
/** Text of the first element of that name. */
export function textIn(xml: string, name: string): string | undefined {
  return elements(xml, name)[0]?.replace(/&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g, (whole, decimal?: string, hex?: string, named?: string) => {
    const code = decimal !== undefined ? Number(decimal) : hex !== undefined ? Number.parseInt(hex, 16) : undefined;
    if (code !== undefined) return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    return ENTITIES[named as string] ?? whole;
  });
}

/** Of what the engine says of an error: it is shown and logged. */
const MOST_SAID = 300;
/** `<code>: <message>`, as far as there is one. */
export const saidIn = (xml: string): string =>
  [textIn(xml, 'Code'), textIn(xml, 'Message')]
    .filter((each) => each !== undefined && each !== '')
    .join(': ')
    .slice(0, MOST_SAID);

const FULL = /^(InsufficientStorage|QuotaExceeded|XMinioStorageFull|XMinioAdminBucketQuotaExceeded)$/;
const BUSY = /^(SlowDown|TooManyRequests|ServiceUnavailable|RequestTimeout|OperationAborted)$/;
const ABSENT = /^(NoSuchKey|NotFound|NoSuchUpload)$/;

/** An answer that is none of those expected. */
export class AnswerError extends DriverError {
  readonly status: number;
  /** As the engine names it; empty when it does not. */
  readonly problem: string;
  /** Whether the same request may succeed a moment later. */
  readonly again: boolean;

  constructor(status: number, xml: string, what: string) {
    const problem = textIn(xml, 'Code') ?? '';
    const said = saidIn(xml);
    super(codeOf(status, problem), `${what}: the object store answered ${status}${said === '' ? '' : ` (${said})`}`, hintOf(status, problem));
    this.status = status;
    this.problem = problem;
    this.again = status === 429 || status >= 500 ? status !== 501 && status !== 507 : BUSY.test(problem);
  }
}

function codeOf(status: number, problem: string): DriverErrorCode {
  if (status === 507 || (FULL.test(problem) && status !== 400)) return 'full';
  if (ABSENT.test(problem) || (status === 404 && problem !== 'NoSuchBucket')) return 'failed';
  if (BUSY.test(problem) || status === 429) return 'busy';
  // Nothing that we ask for depends on what is in it, so every other refusal is about credentials, clocks, regions or the bucket.
  return 'unavailable';
}

function hintOf(status: number, problem: string): { hint?: string } {
  if (problem === 'RequestTimeTooSkewed') return { hint: 'timedatectl  # the clocks of the two machines differ' };
  if (status === 401 || status === 403) return { hint: 'check CLOUD_OBJECT_STORE_ACCESS_KEY_ID and its secret, and what they may do in the bucket' };
  if (problem === 'NoSuchBucket') return { hint: 'make the bucket there, then try again' };
  return {};
}
