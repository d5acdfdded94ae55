// Buffers of bytes that pass through live for a moment, but V8 counts them, which lie outside of its heap, towards the next collection of everything: with a fast
// transfer that is one every few dozen megabytes, and most of its time. A collection of what is young takes a millisecond and frees them all, so it is asked for
// before.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Collect = (options: { type: 'minor' }) => void;

const EVERY_BYTES = 6 * 1024 * 1024;
let bytes = 0;
let collect: Collect | undefined;

/** So many bytes were read, sealed or opened. */
export function passed(count: number): void {
  bytes += count;
  if (bytes < EVERY_BYTES) return;
  bytes = 0;
  collect ??= collector();
  collect({ type: 'minor' });
}

/** V8 gives it to contexts that are made while the flag is set, and to no other. */
function collector(): Collect {
  setFlagsFromString('--expose-gc');
  try {
    return runInNewContext('gc') as Collect;
  } finally {
    setFlagsFromString('--no-expose-gc');
  }
}
