// The engine's multiplexed stream: frames of an eight-byte head (stream number, length) and bytes.
import type { Readable } from 'node:stream';

export interface Frame {
  stream: 'stdout' | 'stderr';
  data: Buffer;
}

const HEAD = 8;

/** Whole frames in order. Reads no further than its consumer does, so backpressure reaches the engine. */
export async function* frames(source: Readable): AsyncGenerator<Frame> {
  const parts: Buffer[] = [];
  let have = 0;
  const take = (length: number): Buffer => {
    const all = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
    parts.splice(0, parts.length, all.subarray(length));
    have -= length;
    return all.subarray(0, length);
  };
  let head: Buffer | undefined;
  for await (const chunk of source as AsyncIterable<Buffer>) {
    parts.push(chunk);
    have += chunk.length;
    for (;;) {
      if (head === undefined) {
        if (have < HEAD) break;
        head = take(HEAD);
      }
      const length = head.readUInt32BE(4);
      if (have < length) break;
      const data = take(length);
      yield { stream: head[0] === 2 ? 'stderr' : 'stdout', data };
      head = undefined;
    }
  }
}
