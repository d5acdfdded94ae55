// Which bytes a request asks for.
import type { ByteRange } from '../engine/types.ts';
import { s3Error } from './errors.ts';

/** `Range` of a read. What is not one range of bytes is ignored, as RFC 9110 has it and S3 does: several ranges, another unit, an end before the start. */
export function rangeOf(value: string | undefined): ByteRange | undefined {
  const [, first, last] = /^bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*$/i.exec(value ?? '') ?? [];
  if (first === undefined || last === undefined || (first === '' && last === '')) return undefined;
  if (first === '') return { suffix: Number(last) };
  if (last !== '' && Number(last) < Number(first)) return undefined;
  return { start: Number(first), end: last === '' ? undefined : Number(last) };
}

/** `x-amz-copy-source-range`, which must be well-formed. */
export function copyRangeOf(value: string | undefined): ByteRange | undefined {
  if (value === undefined) return undefined;
  const [, first, last] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(value) ?? [];
  if (first === undefined || last === undefined || Number(last) < Number(first)) {
    throw s3Error(
      'InvalidArgument',
      'The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the zero-based offsets of the first and last bytes to copy',
      { ArgumentName: 'x-amz-copy-source-range', ArgumentValue: value },
    );
  }
  return { start: Number(first), end: Number(last) };
}

/** `partNumber` of the query. */
export function partNumberOf(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  const number = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  if (number < 1 || number > 10_000) {
    throw s3Error('InvalidArgument', 'Part number must be an integer between 1 and 10000, inclusive', { ArgumentName: 'partNumber', ArgumentValue: value });
  }
  return number;
}
