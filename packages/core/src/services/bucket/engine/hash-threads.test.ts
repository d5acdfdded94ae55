// Hashing on threads: the same digests as without, many streams at a time, in pieces of any size, given up at any point.
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { expect, test } from 'vitest';
import { CHECKSUM_ALGORITHMS, digestsOf, RunningDigests } from './checksums.ts';
import { BLOCK_BYTES, giveBlock, hashJob, takeBlock } from './hash-threads.ts';

const MIB = 1024 * 1024;
const wanted = { sha256: true, checksums: new Set(CHECKSUM_ALGORITHMS) };

async function digests(bytes: Buffer, piece: () => number) {
  const running = new RunningDigests(wanted);
  const under = [];
  for (let at = 0; at < bytes.length; ) {
    const block = takeBlock();
    const length = bytes.subarray(at, at + Math.min(BLOCK_BYTES, piece())).copy(block);
    under.push(running.update(block.subarray(0, length)).then(() => giveBlock(block.fill(0)))); // whoever gave the bytes may use the memory again
    at += length;
    if (under.length > 2) await under.shift();
  }
  return running.finish();
}

test('digests are those of the whole, on threads or not', async () => {
  for (const length of [0, 1, 256 * 1024, 256 * 1024 + 1, 3 * MIB + 7]) {
    const bytes = randomBytes(length);
    const here = digestsOf(bytes, wanted);
    expect(here.md5).toBe(createHash('md5').update(bytes).digest('hex'));
    expect(here.sha256).toBe(createHash('sha256').update(bytes).digest('hex'));
    expect(here.checksums.SHA1).toBe(createHash('sha1').update(bytes).digest('base64'));
    for (const piece of [() => 65_536, () => 2 * MIB, () => 1 + randomInt(300_000)]) expect(await digests(bytes, piece)).toEqual(here);
  }
});

test('many streams at a time do not get mixed up, and some are given up', async () => {
  await Promise.all(
    Array.from({ length: 24 }, async (_, at) => {
      const bytes = randomBytes(randomInt(2 * MIB));
      if (at % 3 === 0) {
        const job = hashJob(['md5']);
        const block = takeBlock();
        const under = Array.from({ length: at }, () => job.update(block));
        job.forget();
        await Promise.all(under);
        giveBlock(block);
        job.forget();
        return;
      }
      expect((await digests(bytes, () => 1 + randomInt(200_000))).md5).toBe(createHash('md5').update(bytes).digest('hex'));
    }),
  );
});

test('an idle thread keeps no process alive', { timeout: 30_000 }, () => {
  const program = `
    import { hashJob, takeBlock } from ${JSON.stringify(new URL('./hash-threads.ts', import.meta.url).href)};
    for (const how of ['digests', 'forget']) {
      const job = hashJob(['md5']);
      await job.update(takeBlock());
      await job[how]();
    }
    console.log('over');
  `;
  expect(execFileSync(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000, encoding: 'utf8' })).toBe('over\n');
});
