// One S3 request on its way through the listener: parsed and authenticated by `server.ts`, matched by `routes.ts`, answered by a handler.
import type { IncomingHttpHeaders } from 'node:http';
import type { Principal } from '../../../kernel/authorize.ts';
import type { ServiceContext } from '../../../kernel/service.ts';
import type { Actor, Bucket, Objects } from '../engine/types.ts';

/** Who signed it. Anonymous: no principal. */
export interface Caller {
  readonly principal: Principal | undefined;
  /** Tenant of the access key; empty for anonymous. It is the account, in AWS's words: owner ids are tenant ids. */
  readonly tenantId: string;
  /** Name of that tenant: the DisplayName of owners. */
  readonly tenantName: string;
  readonly accessKeyId: string | undefined;
  /** How it was authenticated, for `s3:authType` and `s3:signatureversion`. */
  readonly authType: 'REST-HEADER' | 'REST-QUERY-STRING' | 'POST' | 'ANONYMOUS';
  /** `AWS`: Version 2. Version 4 when absent. */
  readonly signatureVersion?: 'AWS' | 'AWS4-HMAC-SHA256';
}

/** The request's bytes after de-chunking, with signature, length and digests checked as they pass; a failed check throws S3Error from the iterator. */
export interface S3Body {
  /** Decoded length when it is known. */
  readonly size: number | undefined;
  /** Once. `passing`: each piece is there only until the next is asked for, and its memory is used again. */
  stream(how?: 'passing' | 'kept'): AsyncIterable<Buffer>;
  /** The whole of it, at most `limit` bytes (`MaxMessageLengthExceeded` beyond); for XML and JSON. */
  bytes(limit: number): Promise<Buffer>;
  /** `x-amz-content-sha256` when it is a digest, lower-case hex: the engine checks it while the bytes pass. */
  readonly sha256: string | undefined;
  /** Base64 of Content-MD5. `InvalidDigest` when it is no MD5. */
  readonly md5: string | undefined;
  /** From `x-amz-checksum-*` or from the trailer (then a function, good after the last byte). `InvalidRequest` for two different ones. */
  readonly checksum: { algorithm: 'CRC32' | 'CRC32C' | 'CRC64NVME' | 'SHA1' | 'SHA256'; value: string | (() => string) } | undefined;
}

export interface S3Request {
  readonly requestId: string;
  readonly method: string;
  /** Path as it came, undecoded, without the query. */
  readonly rawPath: string;
  /** Undefined at the level of the service. */
  readonly bucketName: string | undefined;
  /** Decoded; undefined at the level of bucket or service. */
  readonly key: string | undefined;
  /** Decoded; a parameter without `=` is ''. Of several of one name the first. */
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
  readonly caller: Caller;
  readonly actor: Actor;
  /** Address of the peer. */
  readonly source: string;
  readonly secure: boolean;
  /** Aborted when the client goes away or the listener closes. */
  readonly signal: AbortSignal;
  readonly body: S3Body;
  /** Host and port that the client asked for, for Location. */
  readonly host: string;
  readonly startedAt: number;
  /** Set by `authorize`: the dispatcher refuses to answer 2xx for what nobody decided about. */
  decided: boolean;
}

export interface S3Reply {
  status: number;
  headers?: Record<string, string | undefined>;
  /** An XML document without its declaration. */
  xml?: string;
  /** Bytes; Content-Length must be among the headers. A piece that was sent is freed. */
  body?: AsyncIterable<Buffer>;
  text?: string;
}

export interface S3Context {
  readonly objects: Objects;
  readonly service: ServiceContext;
  /** `us-east-1` unless configured. */
  readonly region: string;
}

export type S3Handler = (request: S3Request, context: S3Context) => Promise<S3Reply>;

/** As the error answer says it: Code, Message, status and further elements (`Key`, `BucketName` …). */
export class S3Error extends Error {
  readonly code: string;
  readonly status: number;
  readonly elements: Readonly<Record<string, string>>;
  readonly headers: Readonly<Record<string, string>>;
  constructor(
    code: string,
    status: number,
    message: string,
    options: { elements?: Record<string, string>; headers?: Record<string, string>; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'S3Error';
    this.code = code;
    this.status = status;
    this.elements = options.elements ?? {};
    this.headers = options.headers ?? {};
  }
}

/** The first route that fits answers. More particular ones (with `query`) stand before the plain ones. */
export interface Route {
  /** Name of the operation in S3's API reference: `PutObject`. */
  name: string;
  method: string;
  level: 'service' | 'bucket' | 'object';
  /** Parameters that must be there, with this value if one is given. */
  query?: Readonly<Record<string, string | true>>;
  /** Headers that must be there. */
  header?: string;
  /** Absent: `NotImplemented`, and listed in the docs as such. */
  handle?: S3Handler;
}

/**
 * Decided in `s3/authorize.ts`: the caller's own grants (roles and identity policies), the bucket's policy, its ACL or the object's, and the public access
 * block, in AWS's order. Throws AccessDenied (or NoSuchBucket …), audits refusals of changes, and sets `request.decided`.
 */
export interface Demand {
  /** `s3:GetObject`, as AWS names it. */
  action: string;
  bucket?: Bucket | undefined;
  key?: string | undefined;
  /** Tags of the object that is there, for `s3:ExistingObjectTag/`, and its ACL: read only when a policy or ACL must be asked. */
  object?:
    | (() => Promise<{ tags: Readonly<Record<string, string>>; acl: import('../engine/types.ts').Acl | undefined; owner: string } | undefined>)
    | undefined;
  /** More context: `s3:x-amz-acl`, `s3:prefix`, `s3:RequestObjectTag/…`, `s3:VersionId` …, by their AWS names. */
  context?: Readonly<Record<string, string | number | boolean | readonly string[]>> | undefined;
}
export type Authorize = (request: S3Request, context: S3Context, demand: Demand) => Promise<void>;
/** The same without throwing or auditing: for `s3:BypassGovernanceRetention`, multi-object delete and the like. */
export type Allows = (request: S3Request, context: S3Context, demand: Demand) => Promise<boolean>;
