// The engine's two ways to send many things over one stream: frames (an eight-byte head with stream number and length, then bytes), and
// one JSON object per line. Both end with the stream's own error when it breaks, which node:readline would hide.
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

/** Every line that is not empty, without its break; the last one may lack it. */
export async function* linesOf(source: Readable): AsyncGenerator<string> {
  let parts: Buffer[] = [];
  for await (const chunk of source as AsyncIterable<Buffer>) {
    let start = 0;
    for (let end = chunk.indexOf(0x0a); end >= 0; end = chunk.indexOf(0x0a, start)) {
      const line = Buffer.concat([...parts, chunk.subarray(start, end)])
        .toString('utf8')
        .trim();
      parts = [];
      start = end + 1;
      if (line !== '') yield line;
    }
    if (start < chunk.length) parts.push(chunk.subarray(start));
  }
  const rest = Buffer.concat(parts).toString('utf8').trim();
  if (rest !== '') yield rest;
}
