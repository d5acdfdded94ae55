// Memory of bytes that pass through. A buffer lives for a moment, but is freed only when V8 collects garbage, which looks at its own heap, where a buffer is next to
// nothing: either they pile up, and every allocation takes fresh pages from the system, or they make V8 collect everything several times a second. So what has
// passed is freed at once, and the next buffer gets the same memory, which is still in the processor's cache.

/** Smaller ones are not worth the call. */
const LEAST = 16 * 1024;

/** Frees the memory. Only for who is the last to have the bytes: there are none afterwards. What shares its memory with others is left alone. */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes;
  if (bytes.byteLength >= LEAST && bytes.byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** Each piece is there until the next is asked for, and freed then. */
export async function* passing(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    yield piece;
    release(piece);
  }
}
