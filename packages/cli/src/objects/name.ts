// `<bucket>/<key>`, and where a key lies on disk: a key is any text, a path is not.
import { Buffer } from 'node:buffer';
import { createHash } from 'node:crypto';
import { usage } from '../base.ts';

export interface ObjectName {
  bucket: string;
  /** Empty: the bucket itself. */
  key: string;
}

export function nameFrom(text: string): ObjectName {
  const slash = text.indexOf('/');
  const bucket = slash < 0 ? text : text.slice(0, slash);
  if (bucket === '') throw usage(`"${text}" is no name of an object; write it as <bucket>/<key>`);
  return { bucket, key: slash < 0 ? '' : text.slice(slash + 1) };
}

export const textOf = ({ bucket, key }: ObjectName): string => (key === '' ? bucket : `${bucket}/${key}`);

/** What stands for many objects: everything below a folder, or the whole bucket. `photos/2026` and `photos/2026/` are the same folder. */
export function folderFrom(text: string): ObjectName {
  const { bucket, key } = nameFrom(text);
  return { bucket, key: key === '' || key.endsWith('/') ? key : `${key}/` };
}

/** The name of exactly one object; throws for a bucket. */
export function oneFrom(text: string): ObjectName {
  const name = nameFrom(text);
  if (name.key === '') throw usage(`"${text}" names a bucket and no object; write it as ${name.bucket}/<key>`);
  return name;
}

/** Last part of a key: the name of its file. */
export const baseOf = (key: string): string => key.slice(key.lastIndexOf('/') + 1);

/** Why a key cannot be a path below a directory; undefined: it can. One that ends with a slash is a folder. */
export function unfit(relative: string): string | undefined {
  if (relative === '') return 'it has no name there';
  if (relative.includes('\0')) return 'a NUL stands in it';
  const parts = relative.endsWith('/') ? relative.slice(0, -1).split('/') : relative.split('/');
  if (relative.startsWith('/')) return 'it begins with a slash';
  if (parts.includes('..') || parts.includes('.')) return 'it leads elsewhere (`.` or `..`)';
  if (parts.includes('')) return 'two slashes in a row are one on disk';
  // What such a file says of itself would be believed by the download that it seems to be a part of.
  if (parts.some((part) => PART.test(part))) return 'it has the name of a download that broke off';
  if (parts.some((part) => Buffer.byteLength(part) > LONGEST)) return `a part of it is longer than ${LONGEST} bytes`;
  return undefined;
}

/** Bytes of the name of a file, on every file system that matters. */
const LONGEST = 255;

/** Of a download that broke off. */
export const PART = /^\..+\.part-[0-9a-f]{32}(-\d+)?$/;

/** Beside the file that it is to become: hidden, and told apart by what it is a part of. */
export function partName(name: string, etag: string): string {
  const mark = `.part-${etag.replaceAll(/[^A-Za-z0-9-]/g, '')}`;
  const whole = `.${name}${mark}`;
  if (Buffer.byteLength(whole) <= LONGEST) return whole;
  return `.${createHash('sha256').update(name).digest('hex')}${mark}`;
}

/** Types by the end of the name; what is not here is left to the daemon. */
const TYPES: Readonly<Record<string, string>> = {
  '7z': 'application/x-7z-compressed',
  aac: 'audio/aac',
  avif: 'image/avif',
  bmp: 'image/bmp',
  bz2: 'application/x-bzip2',
  css: 'text/css',
  csv: 'text/csv',
  doc: 'application/msword',
  docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
  epub: 'application/epub+zip',
  flac: 'audio/flac',
  gif: 'image/gif',
  gz: 'application/gzip',
  htm: 'text/html',
  html: 'text/html',
  ico: 'image/vnd.microsoft.icon',
  ics: 'text/calendar',
  iso: 'application/x-iso9660-image',
  jar: 'application/java-archive',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  js: 'text/javascript',
  json: 'application/json',
  jsonl: 'application/jsonl',
  log: 'text/plain',
  m4a: 'audio/mp4',
  map: 'application/json',
  md: 'text/markdown',
  mjs: 'text/javascript',
  mov: 'video/quicktime',
  mp3: 'audio/mpeg',
  mp4: 'video/mp4',
  mpeg: 'video/mpeg',
  odt: 'application/vnd.oasis.opendocument.text',
  ogg: 'audio/ogg',
  opus: 'audio/ogg',
  otf: 'font/otf',
  parquet: 'application/vnd.apache.parquet',
  pdf: 'application/pdf',
  png: 'image/png',
  ppt: 'application/vnd.ms-powerpoint',
  pptx: 'application/vnd.openxmlformats-officedocument.presentationml.presentation',
  rtf: 'application/rtf',
  sh: 'application/x-sh',
  sql: 'application/sql',
  svg: 'image/svg+xml',
  tar: 'application/x-tar',
  tgz: 'application/gzip',
  tif: 'image/tiff',
  tiff: 'image/tiff',
  toml: 'application/toml',
  ttf: 'font/ttf',
  txt: 'text/plain',
  wasm: 'application/wasm',
  wav: 'audio/wav',
  webm: 'video/webm',
  webmanifest: 'application/manifest+json',
  webp: 'image/webp',
  woff: 'font/woff',
  woff2: 'font/woff2',
  xls: 'application/vnd.ms-excel',
  xlsx: 'application/vnd.openxmlformats-officedocument.spreadsheetml.sheet',
  xml: 'application/xml',
  xz: 'application/x-xz',
  yaml: 'application/yaml',
  yml: 'application/yaml',
  zip: 'application/zip',
  zst: 'application/zstd',
};

export const typeOf = (name: string): string | undefined => {
  const base = baseOf(name);
  const dot = base.lastIndexOf('.');
  const end = base.slice(dot + 1).toLowerCase();
  return dot >= 0 && Object.hasOwn(TYPES, end) ? TYPES[end] : undefined;
};
