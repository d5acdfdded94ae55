// Everything that can be done with objects over S3, in the order in which routes are tried: what has a parameter or header of its own comes first.
import { getObjectAttributes } from './object-attributes.ts';
import { copyObject, uploadPartCopy } from './object-copy.ts';
import { deleteObject, deleteObjects } from './object-delete.ts';
import { getObject, headObject } from './object-get.ts';
import { listMultipartUploads, listObjects, listObjectsV2, listObjectVersions } from './object-lists.ts';
import { postObject } from './object-post.ts';
import { putObject } from './object-put.ts';
import {
  deleteObjectTagging,
  getObjectAcl,
  getObjectLegalHold,
  getObjectRetention,
  getObjectTagging,
  putObjectAcl,
  putObjectLegalHold,
  putObjectRetention,
  putObjectTagging,
} from './object-settings.ts';
import { abortMultipartUpload, completeMultipartUpload, createMultipartUpload, listParts, uploadPart } from './object-upload.ts';
import type { Route } from './types.ts';

const COPY = 'x-amz-copy-source';

export const objectRoutes: Route[] = [
  // Of a bucket.
  { name: 'ListObjectVersions', method: 'GET', level: 'bucket', query: { versions: true }, handle: listObjectVersions },
  { name: 'ListMultipartUploads', method: 'GET', level: 'bucket', query: { uploads: true }, handle: listMultipartUploads },
  { name: 'DeleteObjects', method: 'POST', level: 'bucket', query: { delete: true }, handle: deleteObjects },
  { name: 'ListObjectsV2', method: 'GET', level: 'bucket', query: { 'list-type': '2' }, handle: listObjectsV2 },
  { name: 'PostObject', method: 'POST', level: 'bucket', handle: postObject },
  { name: 'ListObjects', method: 'GET', level: 'bucket', handle: listObjects },

  // Of an object.
  { name: 'GetObjectAcl', method: 'GET', level: 'object', query: { acl: true }, handle: getObjectAcl },
  { name: 'PutObjectAcl', method: 'PUT', level: 'object', query: { acl: true }, handle: putObjectAcl },
  { name: 'GetObjectTagging', method: 'GET', level: 'object', query: { tagging: true }, handle: getObjectTagging },
  { name: 'PutObjectTagging', method: 'PUT', level: 'object', query: { tagging: true }, handle: putObjectTagging },
  { name: 'DeleteObjectTagging', method: 'DELETE', level: 'object', query: { tagging: true }, handle: deleteObjectTagging },
  { name: 'GetObjectRetention', method: 'GET', level: 'object', query: { retention: true }, handle: getObjectRetention },
  { name: 'PutObjectRetention', method: 'PUT', level: 'object', query: { retention: true }, handle: putObjectRetention },
  { name: 'GetObjectLegalHold', method: 'GET', level: 'object', query: { 'legal-hold': true }, handle: getObjectLegalHold },
  { name: 'PutObjectLegalHold', method: 'PUT', level: 'object', query: { 'legal-hold': true }, handle: putObjectLegalHold },
  { name: 'GetObjectAttributes', method: 'GET', level: 'object', query: { attributes: true }, handle: getObjectAttributes },
  { name: 'GetObjectTorrent', method: 'GET', level: 'object', query: { torrent: true } },
  { name: 'SelectObjectContent', method: 'POST', level: 'object', query: { select: true } },
  { name: 'RestoreObject', method: 'POST', level: 'object', query: { restore: true } },
  { name: 'RenameObject', method: 'PUT', level: 'object', query: { renameObject: true } },

  { name: 'CreateMultipartUpload', method: 'POST', level: 'object', query: { uploads: true }, handle: createMultipartUpload },
  { name: 'CompleteMultipartUpload', method: 'POST', level: 'object', query: { uploadId: true }, handle: completeMultipartUpload },
  { name: 'AbortMultipartUpload', method: 'DELETE', level: 'object', query: { uploadId: true }, handle: abortMultipartUpload },
  { name: 'UploadPartCopy', method: 'PUT', level: 'object', query: { partNumber: true, uploadId: true }, header: COPY, handle: uploadPartCopy },
  { name: 'UploadPart', method: 'PUT', level: 'object', query: { partNumber: true, uploadId: true }, handle: uploadPart },
  { name: 'ListParts', method: 'GET', level: 'object', query: { uploadId: true }, handle: listParts },

  { name: 'CopyObject', method: 'PUT', level: 'object', header: COPY, handle: copyObject },
  { name: 'PutObject', method: 'PUT', level: 'object', handle: putObject },
  { name: 'GetObject', method: 'GET', level: 'object', handle: getObject },
  { name: 'HeadObject', method: 'HEAD', level: 'object', handle: headObject },
  { name: 'DeleteObject', method: 'DELETE', level: 'object', handle: deleteObject },
];
