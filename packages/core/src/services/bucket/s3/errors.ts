// Every error that the S3 listener answers: one table of S3's codes, and one place where errors of the engine, the kernel and drivers become one of them.
import { DriverError, Fault } from '../../../kernel/errors.ts';
import { ObjectError } from '../engine/types.ts';
import { S3Error } from './types.ts';
import { declaration, type Element, element, render } from './xml.ts';

/** Code → status, message. From "Error responses" of S3's API reference; the last few are this endpoint's own. */
const S3_ERRORS = {
  AccessControlListNotSupported: [400, 'The bucket does not allow ACLs'],
  AccessDenied: [403, 'Access Denied'],
  AccessForbidden: [403, 'CORSResponse: CORS is not enabled for this bucket.'],
  AuthorizationHeaderMalformed: [400, 'The authorization header you provided is invalid.'],
  AuthorizationQueryParametersError: [400, 'The authorization query parameters that you provided are not valid.'],
  BadDigest: [400, 'The Content-MD5 or checksum value that you specified did not match what the server received.'],
  BadRequest: [400, 'An error occurred when parsing the HTTP request.'],
  BucketAlreadyExists: [
    409,
    'The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.',
  ],
  BucketAlreadyOwnedByYou: [409, 'Your previous request to create the named bucket succeeded and you already own it.'],
  BucketNotEmpty: [409, 'The bucket you tried to delete is not empty.'],
  ConditionalRequestConflict: [409, 'The conditional request cannot succeed due to a conflicting operation against this resource.'],
  EntityTooLarge: [400, 'Your proposed upload exceeds the maximum allowed object size.'],
  EntityTooSmall: [400, 'Your proposed upload is smaller than the minimum allowed object size.'],
  ExpiredToken: [400, 'The provided token has expired.'],
  IllegalLocationConstraintException: [400, 'The location constraint is incompatible for the region specific endpoint this request was sent to.'],
  IllegalVersioningConfigurationException: [400, 'The Versioning element must be specified'],
  IncompleteBody: [400, 'You did not provide the number of bytes specified by the Content-Length HTTP header.'],
  IncorrectNumberOfFilesInPostRequest: [400, 'POST requires exactly one file upload per request.'],
  InternalError: [500, 'We encountered an internal error. Please try again.'],
  InvalidAccessKeyId: [403, 'The AWS access key ID you provided does not exist in our records.'],
  InvalidArgument: [400, 'Invalid Argument'],
  InvalidBucketAclWithObjectOwnership: [400, 'Bucket cannot have ACLs set with ObjectOwnership’s BucketOwnerEnforced setting'],
  InvalidBucketName: [400, 'The specified bucket is not valid.'],
  InvalidBucketState: [409, 'The request is not valid with the current state of the bucket.'],
  InvalidDigest: [400, 'The Content-MD5 or checksum value that you specified is not valid.'],
  InvalidEncryptionAlgorithmError: [400, 'The encryption request you specified is not valid.'],
  InvalidLocationConstraint: [400, 'The specified location constraint is not valid.'],
  InvalidObjectState: [403, 'The operation is not valid for the current state of the object.'],
  InvalidPart: [
    400,
    "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.",
  ],
  InvalidPartNumber: [416, 'The requested partnumber is not satisfiable'],
  InvalidPartOrder: [400, 'The list of parts was not in ascending order. The parts list must be specified in order by part number.'],
  InvalidPolicyDocument: [400, 'The content of the form does not meet the conditions specified in the policy document.'],
  InvalidRange: [416, 'The requested range is not satisfiable'],
  InvalidRequest: [400, 'Invalid Request'],
  InvalidRetentionPeriod: [400, 'The retention period must be a positive integer.'],
  InvalidStorageClass: [400, 'The storage class you specified is not valid'],
  InvalidTag: [400, 'The tag provided was not a valid tag.'],
  InvalidTargetBucketForLogging: [400, 'The target bucket for logging does not exist, is not owned by you, or does not have the appropriate grants.'],
  InvalidToken: [400, 'The provided token is malformed or otherwise not valid.'],
  InvalidURI: [400, "Couldn't parse the specified URI."],
  KeyTooLongError: [400, 'Your key is too long'],
  MalformedACLError: [400, 'The XML you provided was not well-formed or did not validate against our published schema'],
  MalformedPOSTRequest: [400, 'The body of your POST request is not well-formed multipart/form-data.'],
  MalformedPolicy: [400, "Policies must be valid JSON and the first byte must be '{'"],
  MalformedXML: [400, 'The XML you provided was not well-formed or did not validate against our published schema'],
  MalformedTrailerError: [400, 'The request contained trailing data that was not well-formed or did not conform to our published schema.'],
  MaxMessageLengthExceeded: [400, 'Your request was too big.'],
  MaxPostPreDataLengthExceededError: [400, 'Your POST request fields preceding the upload file were too large.'],
  MetadataTooLarge: [400, 'Your metadata headers exceed the maximum allowed metadata size'],
  MethodNotAllowed: [405, 'The specified method is not allowed against this resource.'],
  MissingContentLength: [411, 'You must provide the Content-Length HTTP header.'],
  MissingRequestBodyError: [400, 'Request Body is empty'],
  MissingSecurityHeader: [400, 'Your request was missing a required header'],
  NoSuchBucket: [404, 'The specified bucket does not exist'],
  NoSuchBucketPolicy: [404, 'The bucket policy does not exist'],
  NoSuchConfiguration: [404, 'The specified configuration does not exist.'],
  NoSuchCORSConfiguration: [404, 'The CORS configuration does not exist'],
  NoSuchKey: [404, 'The specified key does not exist.'],
  NoSuchLifecycleConfiguration: [404, 'The lifecycle configuration does not exist'],
  'KMS.NotFoundException': [400, 'There is no such key'],
  NoSuchObjectLockConfiguration: [404, 'The specified object does not have a ObjectLock configuration'],
  NoSuchPublicAccessBlockConfiguration: [404, 'The public access block configuration was not found'],
  NoSuchTagSet: [404, 'The TagSet does not exist'],
  NoSuchUpload: [
    404,
    'The specified multipart upload does not exist. The upload ID might be invalid, or the multipart upload might have been aborted or completed.',
  ],
  NoSuchVersion: [404, 'The specified version does not exist.'],
  NoSuchWebsiteConfiguration: [404, 'The specified bucket does not have a website configuration'],
  NotImplemented: [501, 'A header or query you provided implies functionality that is not implemented.'],
  NotModified: [304, 'Not Modified'],
  ObjectLockConfigurationNotFoundError: [404, 'Object Lock configuration does not exist for this bucket'],
  OperationAborted: [409, 'A conflicting conditional operation is currently in progress against this resource. Please try again.'],
  OwnershipControlsNotFoundError: [404, 'The bucket ownership controls were not found'],
  PreconditionFailed: [412, 'At least one of the pre-conditions you specified did not hold'],
  ReplicationConfigurationNotFoundError: [404, 'The replication configuration was not found'],
  RequestHeaderSectionTooLarge: [400, 'Your request header section exceeds the maximum allowed size.'],
  RequestIsNotMultiPartContent: [400, 'Bucket POST must be of the enclosure-type multipart/form-data.'],
  RequestTimeTooSkewed: [403, 'The difference between the request time and the current time is too large.'],
  RequestTimeout: [400, 'Your socket connection to the server was not read from or written to within the timeout period.'],
  ServerSideEncryptionConfigurationNotFoundError: [404, 'The server side encryption configuration was not found'],
  ServiceUnavailable: [503, 'Service is unable to handle request.'],
  SignatureDoesNotMatch: [403, 'The request signature we calculated does not match the signature you provided. Check your key and signing method.'],
  SlowDown: [503, 'Please reduce your request rate.'],
  TooManyBuckets: [400, 'You have attempted to create more buckets than allowed.'],
  TooManyParts: [400, 'You have attempted to upload more parts than allowed.'],
  UnexpectedContent: [400, 'This request does not support content.'],
  UnresolvableGrantByEmailAddress: [400, 'The email address you provided does not match any account on record.'],
  UnsupportedArgument: [400, 'The request contained an unsupported argument.'],
  UnsupportedSignature: [400, 'The provided request is signed with an unsupported STS Token version or the signature version is not supported.'],
  XAmzContentChecksumMismatch: [400, 'The checksum that you specified did not match what the server received.'],
  XAmzContentSHA256Mismatch: [400, "The provided 'x-amz-content-sha256' header does not match what was computed."],
  InsufficientStorage: [507, 'There is no space left where objects are kept. Delete something, or give it a larger disk.'],
  QuotaExceeded: [403, 'A quota of the bucket or of its tenant does not allow this.'],
} as const satisfies Record<string, readonly [status: number, message: string]>;

export type S3Code = keyof typeof S3_ERRORS;

/** An error of the table. `elements` are further elements of the answer, in order. */
export function s3Error(
  code: S3Code,
  message?: string,
  elements?: Record<string, string>,
  options: { headers?: Record<string, string>; cause?: unknown; status?: number } = {},
): S3Error {
  const [status, standard] = S3_ERRORS[code];
  return new S3Error(code, options.status ?? status, message ?? standard, {
    ...(elements === undefined ? {} : { elements }),
    ...(options.headers === undefined ? {} : { headers: options.headers }),
    ...(options.cause === undefined ? {} : { cause: options.cause }),
  });
}

/** What the request was about: for elements, and where one problem has two codes. */
export interface Where {
  bucketName?: string | undefined;
  key?: string | undefined;
  /** The version that was asked for. */
  version?: string | undefined;
  uploadId?: string | undefined;
}

const present = (elements: Record<string, unknown>): Record<string, string> =>
  Object.fromEntries(Object.entries(elements).flatMap(([name, value]) => (value === undefined || value === '' ? [] : [[name, String(value)]])));

/**
 * Details that are looked at: `version` (delete_marker, no_such_version), `etag`, `modifiedAt` (not_modified), `size`, `range` (invalid_range),
 * `condition` (precondition_failed), `digest`: `md5`, `sha256` or an algorithm of checksums (bad_digest), `expected`, `computed`, `part`, `etag` (invalid_part),
 * `argument`, `value` (invalid_argument), `minimum`, `maximum`.
 */
export function fromObjectError(error: ObjectError, where: Where = {}): S3Error {
  const { details } = error;
  const options = { cause: error };
  const detail = (name: string): string | undefined => (details[name] === undefined ? undefined : String(details[name]));
  const bucket = present({ BucketName: where.bucketName });
  const key = present({ Key: where.key });
  switch (error.problem) {
    case 'no_such_bucket':
      return s3Error('NoSuchBucket', undefined, bucket, options);
    case 'no_such_key':
      return s3Error('NoSuchKey', undefined, key, options);
    case 'no_such_version':
      return s3Error('NoSuchVersion', undefined, present({ Key: where.key, VersionId: detail('version') ?? where.version }), options);
    case 'no_such_upload':
      return s3Error('NoSuchUpload', undefined, present({ UploadId: where.uploadId }), options);
    case 'delete_marker': {
      const headers = present({ 'x-amz-delete-marker': 'true', 'x-amz-version-id': detail('version') });
      if (where.version === undefined) return s3Error('NoSuchKey', undefined, key, { ...options, headers });
      return s3Error('MethodNotAllowed', undefined, present({ ResourceType: 'DeleteMarker' }), { ...options, headers: { ...headers, allow: 'DELETE' } });
    }
    case 'precondition_failed':
      return s3Error('PreconditionFailed', undefined, present({ Condition: detail('condition') }), options);
    case 'not_modified': {
      const modifiedAt = typeof details.modifiedAt === 'number' ? new Date(details.modifiedAt).toUTCString() : undefined;
      const etag = detail('etag');
      const headers = present({ etag: etag === undefined ? undefined : `"${etag}"`, 'last-modified': modifiedAt, 'x-amz-version-id': detail('version') });
      return s3Error('NotModified', undefined, undefined, { ...options, headers });
    }
    case 'conflict':
      return s3Error('ConditionalRequestConflict', undefined, key, options);
    case 'invalid_range': {
      const size = detail('size');
      const headers = present({ 'content-range': size === undefined ? undefined : `bytes */${size}` });
      return s3Error('InvalidRange', undefined, present({ RangeRequested: detail('range'), ActualObjectSize: size }), { ...options, headers });
    }
    case 'invalid_part':
      return s3Error('InvalidPart', undefined, present({ UploadId: where.uploadId, PartNumber: detail('part'), ETag: detail('etag') }), options);
    case 'invalid_part_order':
      return s3Error('InvalidPartOrder', undefined, present({ UploadId: where.uploadId }), options);
    case 'part_too_small':
      return s3Error(
        'EntityTooSmall',
        undefined,
        present({ ProposedSize: detail('size'), MinSizeAllowed: detail('least'), PartNumber: detail('part'), ETag: detail('etag') }),
        options,
      );
    case 'part_too_large':
    case 'object_too_large':
      return s3Error('EntityTooLarge', undefined, present({ ProposedSize: detail('size'), MaxSizeAllowed: detail('maximum') }), options);
    case 'bad_digest': {
      const digest = detail('digest');
      if (digest === 'sha256')
        return s3Error(
          'XAmzContentSHA256Mismatch',
          undefined,
          present({ ClientComputedContentSHA256: detail('expected'), S3ComputedContentSHA256: detail('computed') }),
          options,
        );
      if (digest === undefined || digest === 'md5')
        return s3Error(
          'BadDigest',
          'The Content-MD5 you specified did not match what we received.',
          present({ ExpectedDigest: detail('expected'), CalculatedDigest: detail('computed') }),
          options,
        );
      return s3Error('BadDigest', `The ${digest} you specified did not match the calculated checksum.`, {}, options);
    }
    case 'incomplete_body':
      return s3Error('IncompleteBody', undefined, present({ NumberBytesExpected: detail('expected'), NumberBytesProvided: detail('size') }), options);
    case 'locked':
      return s3Error('AccessDenied', 'Access Denied because object protected by object lock.', undefined, options);
    case 'invalid_lock':
      return s3Error('InvalidRequest', error.message, undefined, options);
    case 'invalid_argument':
      return s3Error('InvalidArgument', error.message, present({ ArgumentName: detail('argument'), ArgumentValue: detail('value') }), options);
    case 'invalid_request':
      return s3Error('InvalidRequest', error.message, undefined, options);
    case 'invalid_key':
      // A wrong key is refused, a missing or superfluous one is a request that makes no sense.
      return detail('reason') === 'wrong'
        ? s3Error('AccessDenied', error.message, undefined, options)
        : s3Error('InvalidRequest', error.message, undefined, options);
    case 'key_too_long':
      return s3Error('KeyTooLongError', undefined, present({ Size: detail('size'), MaxSizeAllowed: detail('maximum') ?? '1024' }), options);
    case 'quota_exceeded':
      return s3Error('QuotaExceeded', error.message, bucket, options);
    case 'bucket_not_empty':
      return s3Error('BucketNotEmpty', undefined, bucket, options);
    case 'storage_full':
      return s3Error('InsufficientStorage', undefined, undefined, options);
    case 'storage_unavailable':
      return s3Error('ServiceUnavailable', undefined, undefined, options);
    case 'damaged':
      return s3Error('InternalError', 'The bytes of this object are damaged where they are kept.', key, options);
    case 'no_such_kms_key':
      return s3Error('KMS.NotFoundException', error.message, undefined, options);
    case 'kms_denied':
      return s3Error('AccessDenied', undefined, undefined, options);
    case 'no_lock_configuration':
      return s3Error('NoSuchObjectLockConfiguration', undefined, key, options);
  }
}

/** What a call of another service was refused for. */
function fromFault(fault: Fault, where: Where): S3Error {
  const options = { cause: fault };
  switch (fault.code) {
    case 'invalid_input':
      return s3Error('InvalidArgument', fault.message, undefined, options);
    case 'unauthenticated':
    case 'forbidden':
      return s3Error('AccessDenied', undefined, undefined, options);
    case 'not_found':
      return s3Error('NoSuchBucket', undefined, present({ BucketName: where.bucketName }), options);
    case 'conflict':
      return s3Error('OperationAborted', fault.message, undefined, options);
    case 'stale':
      return s3Error('PreconditionFailed', undefined, undefined, options);
    case 'quota_exceeded':
      return s3Error('QuotaExceeded', fault.message, undefined, options);
    case 'rate_limited':
      return s3Error('SlowDown', undefined, undefined, options);
    case 'unsupported':
      return s3Error('NotImplemented', fault.message, undefined, options);
    case 'insufficient_storage':
      return s3Error('InsufficientStorage', undefined, undefined, options);
    case 'unavailable':
    case 'timeout':
      return s3Error('ServiceUnavailable', undefined, undefined, options);
    case 'internal':
      return s3Error('InternalError', undefined, undefined, options);
  }
}

/** Any error as S3 says it. What nobody foresaw is `InternalError`, with the error as its cause for the log. */
export function toS3Error(error: unknown, where: Where = {}): S3Error {
  if (error instanceof S3Error) return error;
  if (error instanceof ObjectError) return fromObjectError(error, where);
  if (error instanceof Fault) return fromFault(error, where);
  if (error instanceof DriverError) {
    if (error.code === 'full') return s3Error('InsufficientStorage', undefined, undefined, { cause: error });
    return error.code === 'failed' || error.code === 'bad_spec'
      ? s3Error('InternalError', undefined, undefined, { cause: error })
      : s3Error('ServiceUnavailable', undefined, undefined, { cause: error });
  }
  return s3Error('InternalError', undefined, undefined, { cause: error });
}

/** The error as the document that is sent. */
export function errorXml(error: S3Error, request: { resource: string; requestId: string; hostId: string }): string {
  const content: Element[] = [element('Code', error.code), element('Message', error.message)];
  for (const [name, value] of Object.entries(error.elements)) content.push(element(name, value));
  if (error.elements.Resource === undefined) content.push(element('Resource', request.resource));
  content.push(element('RequestId', request.requestId), element('HostId', request.hostId));
  return declaration + render(element('Error', content));
}
