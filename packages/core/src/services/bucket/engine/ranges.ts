// Ranges of bytes, checked against what there is.
import { type ByteRange, ObjectError } from './types.ts';

const outside = (size: number): ObjectError => new ObjectError('invalid_range', 'The requested range is not satisfiable', { size });

/** Both ends included. Undefined for all of what has no bytes. `invalid_range` where nothing of it is there. */
export function resolveRange(range: ByteRange | undefined, size: number): { start: number; end: number } | undefined {
  if (range === undefined) return size === 0 ? undefined : { start: 0, end: size - 1 };
  if ('suffix' in range) {
    if (range.suffix <= 0 || size === 0) throw outside(size);
    return { start: Math.max(0, size - range.suffix), end: size - 1 };
  }
  const end = Math.min(range.end ?? size - 1, size - 1);
  if (range.start < 0 || range.start >= size || range.start > end) throw outside(size);
  return { start: range.start, end };
}

/** For copies of ranges: both ends must be there. */
export function exactRange(range: ByteRange | undefined, size: number): { start: number; end: number } | undefined {
  if (range !== undefined && !('suffix' in range) && (range.end ?? 0) >= size) throw outside(size);
  return resolveRange(range, size);
}
