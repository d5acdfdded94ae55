// AWS Signature Version 4, checked: in the Authorization header, in the query of a presigned address, and of a form's policy.
//
// The region of a scope is the configured one, or `us-east-1`, which many clients fall back to without asking; any other is refused with the right one
// in the answer, as S3 does, so that clients correct themselves. Version 4A is refused, and Version 2 unless the listener is told to take it (`sigv2.ts`).
import { createHmac, createSecretKey, hash, type KeyObject, timingSafeEqual } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import type { Principal } from '../../../kernel/authorize.ts';
import type { Clock } from '../../../kernel/clock.ts';
import { formatBasic, isoDate, parseBasic, parseHttpDate } from './dates.ts';
import { s3Error } from './errors.ts';
import { ANONYMOUS, type Target } from './request.ts';
import { repeatedHeaders, textOf, tidy } from './signed-headers.ts';
import { type Claim2, headerClaim2, queryClaim2, signature2 } from './sigv2.ts';
import type { Caller, S3Error } from './types.ts';
import { canonicalPath, canonicalQuery } from './uri.ts';

/** What is known of an access key. */
export interface AccessKey {
  readonly secret: string;
  readonly principal: Principal;
  readonly tenantId: string;
  readonly tenantName: string;
  readonly expired: boolean;
}
export type Keys = (accessKeyId: string) => Promise<AccessKey | undefined>;

export const ALGORITHM = 'AWS4-HMAC-SHA256';
const SKEW = 15 * 60_000;
const LONGEST = 604_800;
export const UNSIGNED = 'UNSIGNED-PAYLOAD';
export const STREAMING_UNSIGNED_TRAILER = 'STREAMING-UNSIGNED-PAYLOAD-TRAILER';
export const STREAMING = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD';
export const STREAMING_TRAILER = 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER';

/** What the signatures of chunks go on from. */
export interface Signing {
  readonly key: KeyObject;
  /** `20260102/us-east-1/s3/aws4_request` */
  readonly scope: string;
  /** `20260102T030405Z` */
  readonly time: string;
  /** The request's own, hexadecimal. */
  readonly signature: string;
}
export interface Authentication {
  readonly caller: Caller;
  readonly signing: Signing | undefined;
  /** What was signed in place of the body: a digest in lower-case hexadecimal, or one of the names above. */
  readonly payload: string;
}

/** A request before its body. */
export interface RequestHead {
  readonly method: string;
  readonly target: Target;
  readonly headers: IncomingHttpHeaders;
  /** As node:http has them: name, value, name, value, … */
  readonly rawHeaders: readonly string[];
}

interface Scope {
  accessKeyId: string;
  date: string;
  region: string;
  service: string;
  terminator: string;
}
/** A signature as it came, whatever carried it. */
interface Claim extends Scope {
  time: string;
  signedHeaders: readonly string[];
  signature: string;
  payload: string;
  presigned: boolean;
}

const MOST_KEYS = 2000;

export class Authenticator {
  readonly #keys: Keys;
  readonly #regions: readonly string[];
  readonly #clock: Clock;
  readonly #version2: boolean;
  /** Derived keys, good for one day each, with the secret that they come from: it may have been exchanged. */
  readonly #derived = new Map<string, { secret: string; key: KeyObject }>();

  #lastScope: { text: string; scope: Scope } | undefined;
  #lastDate: { text: string; at: number; basic: string } | undefined;

  constructor({ keys, region, clock, version2 = false }: { keys: Keys; region: string; clock: Clock; version2?: boolean | undefined }) {
    this.#keys = keys;
    this.#version2 = version2;
    this.#regions = region === 'us-east-1' ? [region] : [region, 'us-east-1'];
    this.#clock = clock;
  }

  async authenticate(head: RequestHead): Promise<Authentication> {
    const { headers, target } = head;
    const { query } = target;
    const authorization = headers.authorization;
    const presigned = query.has('X-Amz-Algorithm') || query.has('X-Amz-Signature') || query.has('X-Amz-Credential');
    const version2 = query.has('AWSAccessKeyId') && query.has('Signature');
    if (authorization === undefined || authorization === '') {
      if (presigned) return this.#verify(head, this.#queryClaim(head));
      // Of addresses the old version is as good as the new: neither signs the body. Debian's awscli makes such ones.
      if (version2) return this.#verify2(headers, queryClaim2(head.method, target, headers, this.#clock.now()));
      const payload = payloadOf(headers) ?? UNSIGNED;
      if (payload === STREAMING || payload === STREAMING_TRAILER) throw unsignedChunks();
      return { caller: ANONYMOUS, signing: undefined, payload };
    }
    if (presigned || version2) {
      throw s3Error(
        'InvalidArgument',
        'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified',
        { ArgumentName: 'Authorization', ArgumentValue: authorization },
      );
    }
    if (authorization.startsWith('AWS ')) return this.#verify2(headers, headerClaim2(this.#taken(head), target, headers, this.#clock.now()));
    return this.#verify(head, this.#headerClaim(head, authorization));
  }

  /** The method of a request by Version 2, where that is taken. */
  #taken({ method }: RequestHead): string {
    if (!this.#version2) throw oldVersion();
    return method;
  }

  async #verify2(headers: IncomingHttpHeaders, { accessKeyId, signature, presigned, toSign }: Claim2): Promise<Authentication> {
    const payload = payloadOf(headers) ?? UNSIGNED;
    if (payload === STREAMING || payload === STREAMING_TRAILER) throw unsignedChunks();
    const access = await this.#accessKey(accessKeyId);
    if (!toSign.some((text) => same(signature2(access.secret, text), signature))) throw mismatch(accessKeyId, toSign[0], signature);
    const caller: Caller = { ...callerOf(accessKeyId, access, presigned ? 'REST-QUERY-STRING' : 'REST-HEADER'), signatureVersion: 'AWS' };
    return { caller, signing: undefined, payload };
  }

  /** The policy of a form: it is the string to sign itself. */
  async authenticatePolicy(policy: string, fields: { credential: string; date: string; signature: string }): Promise<Caller> {
    const invalid = (what: string): S3Error => s3Error('InvalidRequest', `The form's ${what} is not valid`);
    const scope = parseScope(fields.credential);
    if (scope === undefined || !isScope(scope)) throw invalid('x-amz-credential');
    if (!this.#regions.includes(scope.region)) throw s3Error('InvalidRequest', `The region '${scope.region}' is wrong; expecting '${this.#regions[0]}'`);
    if (!fields.date.startsWith(scope.date) || parseBasic(fields.date) === undefined) throw invalid('x-amz-date');
    const key = await this.#accessKey(scope.accessKeyId);
    const expected = createHmac('sha256', this.#signingKey(scope, key.secret)).update(policy).digest('hex');
    if (!same(expected, fields.signature.toLowerCase())) throw mismatch(scope.accessKeyId, policy, fields.signature);
    return callerOf(scope.accessKeyId, key, 'POST');
  }

  /** Forms that are signed by Version 2: HMAC-SHA1 of the policy. Clients of forms are web pages, and many were never changed; S3 takes them too. */
  async authenticatePolicyV2(policy: string, fields: { accessKeyId: string; signature: string }): Promise<Caller> {
    const key = await this.#accessKey(fields.accessKeyId);
    if (!same(signature2(key.secret, policy), fields.signature)) throw mismatch(fields.accessKeyId, policy, fields.signature);
    return { ...callerOf(fields.accessKeyId, key, 'POST'), signatureVersion: 'AWS' };
  }

  #headerClaim({ headers }: RequestHead, authorization: string): Claim {
    if (!authorization.startsWith(ALGORITHM) || !/^[\s,]/.test(authorization.slice(ALGORITHM.length, ALGORITHM.length + 1) || ' ')) {
      if (authorization.startsWith('AWS4-ECDSA-P256-SHA256 ')) throw oldVersion();
      throw s3Error('InvalidArgument', 'Unsupported Authorization Type', { ArgumentName: 'Authorization', ArgumentValue: authorization });
    }
    const malformed = (problem: string, elements?: Record<string, string>): S3Error =>
      s3Error('AuthorizationHeaderMalformed', `The authorization header is malformed; ${problem}`, elements);
    const parts = parseParts(authorization.slice(ALGORITHM.length));
    if (parts === undefined) throw malformed('a part has no value.');
    const { credential, signedHeaders, signature } = parts;
    if (credential === undefined || signedHeaders === undefined || signature === undefined) {
      throw malformed('the authorization header requires three components: Credential, SignedHeaders, and Signature.');
    }
    const scope = this.#scopeOf(credential);
    if (scope === undefined) {
      throw malformed('the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".');
    }
    if (!this.#regions.includes(scope.region)) {
      throw malformed(`the region '${scope.region}' is wrong; expecting '${this.#regions[0]}'`, { Region: this.#regions[0] ?? '' });
    }
    const amzDate = headers['x-amz-date'];
    const dateText = typeof amzDate === 'string' ? amzDate : headers.date;
    const date = dateText === undefined ? undefined : this.#dateOf(dateText);
    if (date === undefined) throw s3Error('AccessDenied', 'AWS authentication requires a valid Date or x-amz-date header');
    const { at, basic: time } = date;
    if (!time.startsWith(scope.date))
      throw malformed(`Invalid credential date "${scope.date}". This date is not the same as X-Amz-Date: "${time.slice(0, 8)}".`);
    const now = this.#clock.now();
    if (Math.abs(now - at) > SKEW) {
      throw s3Error('RequestTimeTooSkewed', undefined, { RequestTime: time, ServerTime: isoDate(now), MaxAllowedSkewMilliseconds: String(SKEW) });
    }
    const payload = payloadOf(headers);
    if (payload === undefined) throw s3Error('InvalidRequest', 'Missing required header for this request: x-amz-content-sha256');
    return { ...scope, time, signedHeaders: signedHeaders.split(';'), signature, payload, presigned: false };
  }

  #queryClaim({ target, headers }: RequestHead): Claim {
    const { query } = target;
    const wrong = (message: string, elements?: Record<string, string>, status?: number): S3Error =>
      s3Error('AuthorizationQueryParametersError', message, elements, status === undefined ? {} : { status });
    const algorithm = query.get('X-Amz-Algorithm');
    const credential = query.get('X-Amz-Credential');
    const signature = query.get('X-Amz-Signature');
    const time = query.get('X-Amz-Date');
    const signedHeaders = query.get('X-Amz-SignedHeaders');
    const expires = query.get('X-Amz-Expires');
    if (!algorithm || !credential || !signature || !time || !signedHeaders || !expires) {
      throw wrong(
        'Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.',
      );
    }
    if (algorithm !== ALGORITHM) throw wrong(`X-Amz-Algorithm only supports "${ALGORITHM}"`);
    const scope = parseScope(credential);
    if (scope === undefined || !isScope(scope)) {
      throw wrong('Error parsing the X-Amz-Credential parameter; the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".');
    }
    if (!this.#regions.includes(scope.region)) {
      throw wrong(`Error parsing the X-Amz-Credential parameter; the region '${scope.region}' is wrong; expecting '${this.#regions[0]}'`, {
        Region: this.#regions[0] ?? '',
      });
    }
    const at = parseBasic(time);
    if (at === undefined) throw wrong("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    if (!time.startsWith(scope.date)) {
      throw wrong(`Invalid credential date "${scope.date}". This date is not the same as X-Amz-Date: "${time.slice(0, 8)}".`);
    }
    // S3 answers 400 here; its clients and its conformance suite take an address that is good for no time, or for too long, as refused: 403.
    if (!/^-?\d{1,12}$/.test(expires)) throw wrong('X-Amz-Expires should be a number');
    const seconds = Number(expires);
    if (seconds < 0) throw wrong('X-Amz-Expires must be non-negative', undefined, 403);
    if (seconds > LONGEST) {
      throw wrong(`X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than ${LONGEST} seconds`, undefined, 403);
    }
    const now = this.#clock.now();
    if (at > now + SKEW) throw s3Error('AccessDenied', 'Request is not yet valid', { 'X-Amz-Date': time, ServerTime: isoDate(now) });
    const end = at + seconds * 1000;
    if (now >= end) throw s3Error('AccessDenied', 'Request has expired', { 'X-Amz-Expires': expires, Expires: isoDate(end), ServerTime: isoDate(now) });
    const payload = payloadOf({ 'x-amz-content-sha256': query.get('X-Amz-Content-Sha256') ?? headers['x-amz-content-sha256'] }) ?? UNSIGNED;
    return { ...scope, time, signedHeaders: signedHeaders.split(';'), signature, payload, presigned: true };
  }

  async #verify(head: RequestHead, claim: Claim): Promise<Authentication> {
    const { headers, target } = head;
    if (!claim.signedHeaders.includes('host')) {
      const message = 'The host header must be signed.';
      throw claim.presigned ? s3Error('AuthorizationQueryParametersError', message) : s3Error('AuthorizationHeaderMalformed', message);
    }
    const unsigned = unsignedHeaders(headers, claim);
    if (unsigned.length > 0) {
      throw s3Error('AccessDenied', 'There were headers present in the request which were not signed', { HeadersNotSigned: unsigned.join(', ') });
    }
    const token = headers['x-amz-security-token'] ?? target.query.get('X-Amz-Security-Token');
    if (token !== undefined && token !== '') throw s3Error('InvalidToken', undefined, { 'Token-0': String(token) });
    const access = await this.#accessKey(claim.accessKeyId);
    const key = this.#signingKey(claim, access.secret);
    const scope = `${claim.date}/${claim.region}/s3/aws4_request`;
    const given = claim.signature.toLowerCase();
    const signs = (form: string, encoding?: 'utf8'): boolean => {
      const text = stringToSign(claim.time, scope, form, encoding);
      return same(createHmac('sha256', key).update(text).digest('hex'), given);
    };
    const canonical = canonicalRequest(head, claim, head.target.rawPath, true);
    if (!signs(canonical) && !otherForms(head, claim).some((form) => signs(form) || signs(form, 'utf8'))) {
      throw mismatch(claim.accessKeyId, stringToSign(claim.time, scope, canonical), claim.signature, canonical);
    }
    const caller = callerOf(claim.accessKeyId, access, claim.presigned ? 'REST-QUERY-STRING' : 'REST-HEADER');
    return { caller, signing: { key, scope, time: claim.time, signature: given }, payload: claim.payload };
  }

  /** Undefined for what is none. Clients say the same all day. */
  #scopeOf(credential: string): Scope | undefined {
    if (this.#lastScope?.text === credential) return this.#lastScope.scope;
    const scope = parseScope(credential);
    if (scope === undefined || !isScope(scope)) return undefined;
    this.#lastScope = { text: credential, scope };
    return scope;
  }

  /** Many requests come in one second. */
  #dateOf(text: string): { at: number; basic: string } | undefined {
    if (this.#lastDate?.text === text) return this.#lastDate;
    const at = parseBasic(text) ?? parseHttpDate(text);
    if (at === undefined) return undefined;
    this.#lastDate = { text, at, basic: formatBasic(at) };
    return this.#lastDate;
  }

  async #accessKey(accessKeyId: string): Promise<AccessKey> {
    const key = await this.#keys(accessKeyId);
    if (key === undefined) throw s3Error('InvalidAccessKeyId', undefined, { AWSAccessKeyId: accessKeyId });
    if (key.expired) throw s3Error('ExpiredToken', 'The access key has expired.', { AWSAccessKeyId: accessKeyId });
    return key;
  }

  #signingKey({ accessKeyId, date, region }: Scope, secret: string): KeyObject {
    const name = `${accessKeyId}/${date}/${region}`;
    const known = this.#derived.get(name);
    if (known?.secret === secret) return known.key;
    const step = (by: string | Buffer, text: string): Buffer => createHmac('sha256', by).update(text).digest();
    const key = createSecretKey(step(step(step(step(`AWS4${secret}`, date), region), 's3'), 'aws4_request'));
    if (this.#derived.size >= MOST_KEYS) this.#derived.clear();
    this.#derived.set(name, { secret, key });
    return key;
  }
}

const callerOf = (accessKeyId: string, { principal, tenantId, tenantName }: AccessKey, authType: Caller['authType']): Caller => ({
  principal,
  tenantId,
  tenantName,
  accessKeyId,
  authType,
});

const unsignedChunks = (): S3Error => s3Error('InvalidRequest', 'Chunks can only be signed in a request that is signed so itself');
const oldVersion = (): S3Error => s3Error('InvalidRequest', 'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.');

function mismatch(accessKeyId: string, toSign: string, signature: string, canonical?: string): S3Error {
  const bytes = (text: string): string =>
    Buffer.from(text, 'latin1')
      .toString('hex')
      .replace(/(..)(?=.)/g, '$1 ');
  return s3Error('SignatureDoesNotMatch', undefined, {
    AWSAccessKeyId: accessKeyId,
    StringToSign: toSign,
    SignatureProvided: signature,
    StringToSignBytes: bytes(toSign),
    ...(canonical === undefined ? {} : { CanonicalRequest: canonical, CanonicalRequestBytes: bytes(canonical) }),
  });
}

/** `Credential=…, SignedHeaders=…, Signature=…`, in any order; undefined for what is no list of `name=value`. */
function parseParts(text: string): { credential?: string; signedHeaders?: string; signature?: string } | undefined {
  const parts: { credential?: string; signedHeaders?: string; signature?: string } = {};
  for (const part of text.split(',')) {
    const trimmed = part.trim();
    if (trimmed === '') continue;
    const equals = trimmed.indexOf('=');
    if (equals <= 0 || equals === trimmed.length - 1) return undefined;
    const name = trimmed.slice(0, equals);
    const value = trimmed.slice(equals + 1);
    if (name === 'Credential') parts.credential = value;
    else if (name === 'SignedHeaders') parts.signedHeaders = value;
    else if (name === 'Signature') parts.signature = value;
  }
  return parts;
}

function parseScope(credential: string): Scope | undefined {
  const parts = credential.split('/');
  if (parts.length !== 5) return undefined;
  const [accessKeyId = '', date = '', region = '', service = '', terminator = ''] = parts;
  return { accessKeyId, date, region, service, terminator };
}
const isScope = ({ accessKeyId, date, service, terminator }: Scope): boolean =>
  accessKeyId !== '' && /^\d{8}$/.test(date) && service === 's3' && terminator === 'aws4_request';

/** What the header says of the body; undefined when it is absent. */
function payloadOf(headers: IncomingHttpHeaders): string | undefined {
  const value = headers['x-amz-content-sha256'];
  if (value === undefined) return undefined;
  if (value === UNSIGNED || value === STREAMING || value === STREAMING_TRAILER || value === STREAMING_UNSIGNED_TRAILER) return value;
  if (typeof value === 'string' && /^[0-9a-fA-F]{64}$/.test(value)) return value.toLowerCase();
  throw s3Error(
    'InvalidArgument',
    `x-amz-content-sha256 must be ${UNSIGNED}, ${STREAMING_UNSIGNED_TRAILER}, ${STREAMING}, ${STREAMING_TRAILER} or a valid sha256 value.`,
    { ArgumentName: 'x-amz-content-sha256', ArgumentValue: String(value) },
  );
}

/** What tells S3 what to do must be signed. Of a presigned address the digest of the body can only be known to who sends it. */
function unsignedHeaders(headers: IncomingHttpHeaders, { signedHeaders, presigned }: Claim): string[] {
  const unsigned: string[] = [];
  for (const name in headers) {
    if (name.startsWith('x-amz-') && !signedHeaders.includes(name) && !(presigned && name === 'x-amz-content-sha256')) unsigned.push(name);
  }
  return unsigned;
}

const stringToSign = (time: string, scope: string, canonical: string, encoding: 'latin1' | 'utf8' = 'latin1'): string =>
  `${ALGORITHM}\n${time}\n${scope}\n${hash('sha256', Buffer.from(canonical, encoding), 'hex')}`;

function canonicalRequest({ method, target, headers, rawHeaders }: RequestHead, claim: Claim, path: string, collapse: boolean): string {
  let lines = '';
  const repeated = rawHeaders.length > 2 * countOf(headers) ? repeatedHeaders(rawHeaders) : undefined;
  for (const name of claim.signedHeaders) {
    const value =
      repeated
        ?.get(name)
        ?.map((each) => tidy(each, collapse))
        .join(',') ?? tidy(textOf(headers, name), collapse);
    lines += `${name}:${value}\n`;
  }
  const query = canonicalQuery(target.rawQuery, claim.presigned ? 'X-Amz-Signature' : undefined);
  return `${method}\n${path}\n${query}\n${lines}\n${claim.signedHeaders.join(';')}\n${claim.payload}`;
}
function countOf(headers: IncomingHttpHeaders): number {
  let count = 0;
  for (const _name in headers) count++;
  return count;
}
/**
 * The same request as other clients write it for signing: with the path encoded as the documentation says although it was sent otherwise, with runs of spaces
 * in headers left, and with headers signed as UTF-8 that were sent as Latin-1 (AWS's own client for JavaScript). Each stands for exactly what was sent.
 */
function otherForms(head: RequestHead, claim: Claim): string[] {
  const raw = head.target.rawPath;
  const forms = new Set<string>();
  for (const path of [raw, canonicalPath(raw)]) for (const collapse of [true, false]) forms.add(canonicalRequest(head, claim, path, collapse));
  return [...forms];
}

function same(expected: string, given: string): boolean {
  const a = Buffer.from(expected, 'latin1');
  const b = Buffer.from(given, 'latin1');
  return a.length === b.length && timingSafeEqual(a, b);
}

export { same as sameSignature };
