// A browser's form upload (`multipart/form-data`): the fields, which come first and are few, and then the file, which is streamed and may be large.
import { s3Error } from './errors.ts';
import { IncomingRequest } from './request.ts';
import { ALGORITHM } from './sigv4.ts';
import type { S3Error, S3Request } from './types.ts';

export interface PostForm {
  /** By name in lower case, as text. Not the file. */
  readonly fields: ReadonlyMap<string, string>;
  /** The field `key`, with `${filename}` put in. */
  readonly key: string;
  readonly fileName: string;
  /** Content-Type of the file's own part. S3 does not use it; the field `Content-Type` counts. */
  readonly fileType: string | undefined;
  /** Once. Ends in an error unless the form does end. */
  readonly file: AsyncIterable<Buffer>;
}

/** Of everything before the file, as S3 has it. */
const MOST_BYTES = 20 * 1024;
const DASHES = '--';
const LINE_END = '\r\n';
const HEADERS_END = '\r\n\r\n';
const NOTHING = Buffer.alloc(0);

const malformed = (): S3Error => s3Error('MalformedPOSTRequest');
const missing = (name: string): S3Error =>
  s3Error('InvalidArgument', `Bucket POST must contain a field named '${name}'.  If it is specified, please check the order of the fields.`, {
    ArgumentName: name,
    ArgumentValue: '',
  });

/** Reads as far as the beginning of the file. */
export async function parsePostForm(request: S3Request): Promise<PostForm> {
  const boundary = boundaryOf(request.headers['content-type']);
  const scanner = new Scanner(request.body.stream(), boundary);
  const fields = new Map<string, string>();
  await scanner.skipPreamble();
  for (;;) {
    const head = await scanner.partHead();
    if (head === undefined) throw s3Error('IncorrectNumberOfFilesInPostRequest');
    const { name, fileName, type } = parsePartHead(head);
    if (name.toLowerCase() !== 'file') {
      const field = name.toLowerCase();
      const value = (await scanner.value()).toString('utf8');
      if (fields.has(field)) throw s3Error('InvalidArgument', 'A field of the form is there twice', { ArgumentName: name, ArgumentValue: value });
      fields.set(field, value);
      continue;
    }
    const key = fields.get('key');
    if (key === undefined || key === '') throw missing('key');
    const baseName = (fileName ?? '').replace(/^.*[/\\]/s, '');
    return { fields, key: key.replaceAll('${filename}', () => baseName), fileName: baseName, fileType: type, file: scanner.file() };
  }
}

/** Proves who signed the form's policy, and makes the request theirs. A form without a policy is anonymous. */
export async function authenticateForm(request: S3Request, form: PostForm): Promise<void> {
  if (!(request instanceof IncomingRequest)) throw new Error('a form is authenticated with the request that it came in');
  const { fields } = form;
  const policy = fields.get('policy');
  const needed = (name: string, shown = name): string => {
    const value = fields.get(name);
    if (value === undefined || value === '') throw missing(shown);
    return value;
  };
  const version4 = ['x-amz-signature', 'x-amz-credential', 'x-amz-algorithm'].some((name) => fields.has(name));
  const version2 = fields.has('awsaccesskeyid') || fields.has('signature');
  if (policy === undefined) {
    if (version4 || version2) throw missing('policy');
    return;
  }
  if (version4 || !version2) {
    if (needed('x-amz-algorithm') !== ALGORITHM) throw s3Error('InvalidArgument', `X-Amz-Algorithm only supports "${ALGORITHM}"`);
    if ((fields.get('x-amz-security-token') ?? '') !== '') throw s3Error('InvalidToken');
    request.authenticated(
      await request.authenticator.authenticatePolicy(policy, {
        credential: needed('x-amz-credential'),
        date: needed('x-amz-date'),
        signature: needed('x-amz-signature'),
      }),
    );
    return;
  }
  request.authenticated(
    await request.authenticator.authenticatePolicyV2(policy, {
      accessKeyId: needed('awsaccesskeyid', 'AWSAccessKeyId'),
      signature: needed('signature', 'Signature'),
    }),
  );
}

function boundaryOf(contentType: string | undefined): string {
  if (contentType === undefined || !/^multipart\/form-data\s*(;|$)/i.test(contentType)) throw s3Error('RequestIsNotMultiPartContent');
  const match = /;\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))/i.exec(contentType);
  const boundary = match?.[1] ?? match?.[2];
  if (boundary === undefined) throw malformed();
  return boundary;
}

interface PartHead {
  name: string;
  fileName: string | undefined;
  type: string | undefined;
}

function parsePartHead(head: string): PartHead {
  let disposition: string | undefined;
  let type: string | undefined;
  for (const line of head.split(LINE_END)) {
    if (line === '') continue;
    const colon = line.indexOf(':');
    if (colon <= 0) throw malformed();
    const name = line.slice(0, colon).trim().toLowerCase();
    if (name === 'content-disposition') disposition = line.slice(colon + 1).trim();
    else if (name === 'content-type') type = line.slice(colon + 1).trim();
  }
  if (disposition === undefined || !/^form-data\s*(;|$)/i.test(disposition)) throw malformed();
  const name = parameter(disposition, 'name');
  if (name === undefined || name === '') throw malformed();
  return { name, fileName: parameter(disposition, 'filename'), type };
}

/** As browsers write them: quotes and line ends of the value come percent-encoded, older ones escape quotes by a backslash. */
function parameter(disposition: string, name: string): string | undefined {
  const match = new RegExp(`;\\s*${name}=(?:"((?:\\\\"|[^"])*)"|([^\\s;"]+))`, 'i').exec(disposition);
  if (match === null) return undefined;
  return (match[1]?.replace(/\\"/g, '"') ?? match[2] ?? '').replace(/%22/g, '"').replace(/%0D/gi, '\r').replace(/%0A/gi, '\n');
}

/** Goes along the body from boundary to boundary, keeping no more than it must. */
class Scanner {
  readonly #source: AsyncIterator<Buffer>;
  readonly #delimiter: Buffer;
  // The first boundary has no line end before it; with this one it is like all others.
  #buffer: Buffer = Buffer.from(LINE_END);
  #ended = false;
  #before = 0;

  constructor(source: AsyncIterable<Buffer>, boundary: string) {
    this.#source = source[Symbol.asyncIterator]();
    this.#delimiter = Buffer.from(LINE_END + DASHES + boundary, 'latin1');
  }

  async #more(): Promise<boolean> {
    if (this.#ended) return false;
    const next = await this.#source.next();
    if (next.done === true) {
      this.#ended = true;
      return false;
    }
    this.#buffer = this.#buffer.length === 0 ? next.value : Buffer.concat([this.#buffer, next.value]);
    return true;
  }

  /** Everything before `mark`, and goes behind it. */
  async #until(mark: Buffer | string): Promise<Buffer> {
    let from = 0;
    for (;;) {
      const found = this.#buffer.indexOf(mark, from);
      const length = found < 0 ? this.#buffer.length : found;
      if (this.#before + length > MOST_BYTES) throw s3Error('MaxPostPreDataLengthExceededError', undefined, { MaxPostPreDataLength: String(MOST_BYTES) });
      if (found >= 0) {
        const taken = this.#buffer.subarray(0, found);
        this.#buffer = this.#buffer.subarray(found + mark.length);
        this.#before += found + mark.length;
        return taken;
      }
      from = Math.max(0, this.#buffer.length - mark.length + 1);
      if (!(await this.#more())) throw malformed();
    }
  }

  async skipPreamble(): Promise<void> {
    await this.#until(this.#delimiter);
  }

  /** Behind a boundary: the headers of what follows; undefined at the end of the form. */
  async partHead(): Promise<string | undefined> {
    while (this.#buffer.length < 2) if (!(await this.#more())) throw malformed();
    if (this.#buffer.toString('latin1', 0, 2) === DASHES) return undefined;
    const padding = await this.#until(LINE_END);
    if (padding.toString('latin1').trim() !== '') throw malformed();
    // A part without headers has the empty line at once.
    this.#buffer = Buffer.concat([Buffer.from(LINE_END), this.#buffer]);
    return (await this.#until(HEADERS_END)).toString('utf8');
  }

  value(): Promise<Buffer> {
    return this.#until(this.#delimiter);
  }

  async *file(): AsyncGenerator<Buffer> {
    try {
      for (;;) {
        const found = this.#buffer.indexOf(this.#delimiter);
        if (found >= 0) {
          if (found > 0) yield this.#buffer.subarray(0, found);
          this.#buffer = NOTHING;
          break;
        }
        // What may be the beginning of a boundary stays.
        const sure = this.#buffer.length - this.#delimiter.length + 1;
        if (sure > 0) {
          const data = this.#buffer.subarray(0, sure);
          this.#buffer = this.#buffer.subarray(sure);
          yield data;
        }
        if (!(await this.#more())) throw s3Error('IncompleteBody', 'The form ended before its file did');
      }
      // Fields behind the file do not count. They are read, so that the connection can be used again.
      let ignored = 0;
      while (ignored <= MOST_BYTES && (await this.#more())) {
        ignored += this.#buffer.length;
        this.#buffer = NOTHING;
      }
    } finally {
      await this.#source.return?.();
    }
  }
}
