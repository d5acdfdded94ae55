// Puts and removes blobs as fast as it can, and says on its standard output what it was answered, until it is killed.
import { createHash, randomBytes, randomInt } from 'node:crypto';
import { writeSync } from 'node:fs';
import { FilesObjectStore } from './index.ts';

const store = new FilesObjectStore({ directory: process.argv[2] as string });
const never = new AbortController().signal;
// One call for each line: what was said is out, whatever comes next.
const say = (line: string): void => void writeSync(1, `${line}\n`);

async function work(): Promise<never> {
  const mine: string[] = [];
  for (;;) {
    const id = Date.now().toString(16).padStart(12, '0') + randomBytes(6).toString('hex');
    const bytes = randomBytes(randomInt(8) === 0 ? randomInt(70_000, 400_000) : randomInt(5000));
    await store.put(
      id,
      (async function* () {
        yield bytes.subarray(0, 1000);
        yield bytes.subarray(1000);
      })(),
      { size: randomInt(2) === 0 ? bytes.length : undefined, signal: never },
    );
    say(`put ${id} ${createHash('sha1').update(bytes).digest('hex')}`);
    mine.push(id);
    if (mine.length < 20) continue;
    const old = mine.splice(randomInt(mine.length), 1)[0] as string;
    say(`removing ${old}`);
    await store.remove([old], never);
    say(`removed ${old}`);
  }
}

await Promise.all(Array.from({ length: 16 }, work));
