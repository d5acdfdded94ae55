// Documents of requests: how much of them is held at once.
import { expect, test } from 'vitest';
import { RequestBody } from './body.ts';
import type { Inflow } from './inflow.ts';
import type { S3Error } from './types.ts';

const MIB = 1024 * 1024;

/** A body of which so many bytes have come, and the rest comes when it is let go on. */
function bodyOf(bytes: number): { body: RequestBody; finish: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const inflow = (async function* () {
    for (let left = bytes; left > 0; left -= MIB) yield Buffer.alloc(Math.min(left, MIB));
    await promise;
  })();
  const facts = { headers: { 'transfer-encoding': 'chunked' }, authentication: { payload: 'UNSIGNED-PAYLOAD', signing: undefined }, checksumOfBody: true };
  return { body: new RequestBody(inflow as unknown as Inflow, facts), finish: resolve };
}
const outcome = (read: Promise<Buffer>): Promise<string | number> =>
  read.then(
    ({ length }) => length,
    (error: S3Error) => error.code,
  );

test('large ones that do not end leave room for small ones, and go', async () => {
  for (let round = 0; round < 2; round++) {
    const open = Array.from({ length: 20 }, () => bodyOf(4 * MIB));
    const reads: Promise<string | number>[] = [];
    for (const { body } of open) {
      reads.push(outcome(body.bytes(5 * MIB)));
      // All of it has come before the next begins.
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const late = bodyOf(4 * MIB);
    expect(await outcome(late.body.bytes(5 * MIB))).toBe('SlowDown');
    const small = bodyOf(64 * 1024);
    small.finish();
    expect(await outcome(small.body.bytes(MIB))).toBe(64 * 1024);
    for (const { finish } of open) finish();
    const got = await Promise.all(reads);
    expect(got.filter((each) => each === 4 * MIB).length).toBe(16);
    expect(new Set(got)).toEqual(new Set([4 * MIB, 'SlowDown']));
  }
});
