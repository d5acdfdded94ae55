// Bytes up and down, with everything that can break off in the middle.
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { chmod, chown, link, mkdir, readdir, readFile, rm, stat, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import { describe, expect, it } from 'vitest';
import { downloadFile } from './download.ts';
import { nameFrom, partName } from './name.ts';
import { etagOfParts, inParts, MOST_PARTS, partSizeFor, partSizeFrom, rangesOf, severalSizes, together } from './parts.ts';
import { Fake, folder } from './testbench.ts';
import { mtimeFrom, mtimeText, type Sending, Unfinished, uploadFile, uploadStream } from './upload.ts';

const MIB = 2 ** 20;
const big = randomBytes(23 * MIB + 17);
const name = nameFrom('photos/big');

function sendingOf(objects: Fake, more: Partial<Sending> = {}): Sending & { counted: () => number } {
  let total = 0;
  return {
    objects,
    signal: new AbortController().signal,
    count: (bytes) => {
      total += bytes;
    },
    counted: () => total,
    parallel: 3,
    partSize: 5 * MIB,
    resume: false,
    ...more,
  };
}
const lost = (): Fault => new Fault('unavailable', 'The connection to the daemon broke off');

describe('parts', () => {
  it('are never more than 10,000', () => {
    for (const size of [1, 16 * MIB, 2 ** 37, 5 * 2 ** 40]) expect(rangesOf(size, partSizeFor(size, undefined)).length).toBeLessThanOrEqual(MOST_PARTS);
    expect(partSizeFor(2 ** 37, 5 * MIB)).toBeGreaterThan(5 * MIB);
    expect(rangesOf(0, 16)).toEqual([{ number: 1, start: 0, size: 0 }]);
    expect(rangesOf(10, 4).map(({ size }) => size)).toEqual([4, 4, 2]);
    expect([inParts(64 * MIB, undefined), inParts(64 * MIB + 1, undefined)]).toEqual([false, true]);
  });
  it('have sizes as people write them', () => {
    expect([partSizeFrom('16MiB'), partSizeFrom('16M'), partSizeFrom('8388608'), partSizeFrom(undefined)]).toEqual([16 * MIB, 16 * MIB, 8 * MIB, undefined]);
    for (const wrong of ['1MiB', '6GiB', 'x', '-1', '']) expect(() => partSizeFrom(wrong)).toThrow('--part-size');
  });
  it('run so many at once, and none after one that failed', async () => {
    let [now, most] = [0, 0];
    const begun: number[] = [];
    const run = together(
      Array.from({ length: 50 }, (_, index) => index),
      4,
      async (index) => {
        begun.push(index);
        most = Math.max(most, ++now);
        await new Promise((resolve) => setImmediate(resolve));
        now--;
        if (index === 10) throw new Error('ten');
      },
    );
    await expect(run).rejects.toThrow('ten');
    expect(most).toBe(4);
    expect(begun.length).toBeLessThan(20);
  });
  it('are many at once while they are small, few that are large, and none after one that failed', async () => {
    const now = { small: 0, large: 0 };
    const most = { small: 0, large: 0 };
    const begun: number[] = [];
    const run = (count: number, fails: number) =>
      severalSizes(
        Array.from({ length: count }, (_, index) => ({ index, size: index % 2 === 0 ? 10 : 2 * MIB })),
        { parallel: 2, smallParallel: 8 },
        async ({ index, size }) => {
          const kind = size > MIB ? 'large' : 'small';
          begun.push(index);
          most[kind] = Math.max(most[kind], ++now[kind]);
          for (let turn = 0; turn < (kind === 'large' ? 3 : 1); turn++) await new Promise((resolve) => setImmediate(resolve));
          now[kind]--;
          if (index === fails) throw new Error('failed');
        },
      );
    await run(40, -1);
    expect(begun.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 40 }, (_, index) => index));
    expect([most.large, most.small > 2, most.small <= 8, now]).toEqual([2, true, true, { small: 0, large: 0 }]);
    begun.length = 0;
    await expect(run(40, 1)).rejects.toThrow('failed');
    expect(begun.length).toBeLessThan(20);
  });
});

describe('a file', () => {
  it('goes as one while it is small, with its time and what was said of it', async () => {
    await using here = await folder();
    const path = join(here.path, 'a');
    await writeFile(path, 'hello');
    await utimes(path, 1_700_000_000.25, 1_700_000_000.25);
    const fake = new Fake();
    const sending = sendingOf(fake);
    await uploadFile(path, name, { metadata: { album: 'x' } }, sending);
    expect(fake.objects.get('photos/big')?.view.metadata).toEqual({ mtime: '1700000000.25', album: 'x' });
    expect(fake.asked).toEqual(['put photos/big']);
    expect(sending.counted()).toBe(5);
  });

  it('goes in parts when it is large, several at once', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    await writeFile(path, big);
    const fake = new Fake();
    const sending = sendingOf(fake);
    const view = await uploadFile(path, name, {}, sending);
    expect(fake.objects.get('photos/big')?.bytes.equals(big)).toBe(true);
    expect(view.parts).toBe(5);
    expect(fake.mostAtOnce).toBe(3);
    expect(sending.counted()).toBe(big.length);
  });

  it('that broke off is gone on with: only what is not there is sent, and what differs', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    await writeFile(path, big);
    const fake = new Fake();
    fake.now = Date.now() + 1000;
    fake.fail = (asked) => {
      if (asked === 'part photos/big 4') throw lost();
    };
    const first = sendingOf(fake, { parallel: 1 });
    await expect(uploadFile(path, name, {}, first)).rejects.toThrow(Unfinished);
    expect(first.counted()).toBe(15 * MIB);
    expect(fake.open.size).toBe(1);
    fake.fail = () => undefined;
    fake.asked.length = 0;
    // A part that is not what the file has there.
    const broken = fake.open.get('upload-1')?.parts.get(2);
    if (broken !== undefined) broken.part.etag = '0'.repeat(32);
    const second = sendingOf(fake, { resume: true, parallel: 1, partSize: undefined });
    await uploadFile(path, name, {}, { ...second, partSize: 5 * MIB });
    expect(fake.asked.filter((line) => line.startsWith('part '))).toEqual(['part photos/big 2', 'part photos/big 4', 'part photos/big 5']);
    expect(fake.count('start')).toBe(0);
    expect(fake.objects.get('photos/big')?.bytes.equals(big)).toBe(true);
    expect(second.counted()).toBe(big.length);
  });

  it('is not gone on with in an upload that is older than the file, or of another size', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    await writeFile(path, big);
    const fake = new Fake();
    fake.now = Date.now() - 60_000;
    const { upload } = await fake.uploadStart(name, {});
    await fake.uploadPart(name, { upload, number: 1 }, one(big.subarray(0, 5 * MIB)));
    fake.now = Date.now() + 60_000;
    const other = await fake.uploadStart(name, {});
    await fake.uploadPart(name, { upload: other.upload, number: 1 }, one(big.subarray(0, 6 * MIB)));
    await fake.uploadPart(name, { upload: other.upload, number: 2 }, one(big.subarray(6 * MIB, 8 * MIB)));
    await uploadFile(path, name, {}, sendingOf(fake, { resume: true }));
    expect(fake.count('start')).toBe(3);
    expect(fake.objects.get('photos/big')?.bytes.equals(big)).toBe(true);
  });

  it('that is refused leaves no parts behind; one that is interrupted does', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    await writeFile(path, big);
    const fake = new Fake();
    fake.fail = (asked) => {
      if (asked.startsWith('complete')) throw new Fault('quota_exceeded', 'Too much');
    };
    await expect(uploadFile(path, name, {}, sendingOf(fake))).rejects.toThrow('Too much');
    expect(fake.open.size).toBe(0);
    const stop = new AbortController();
    fake.fail = (asked) => {
      if (asked.startsWith('part')) stop.abort(new Error('stopped'));
    };
    await expect(uploadFile(path, name, {}, sendingOf(fake, { signal: stop.signal }))).rejects.toThrow('stopped');
    expect(fake.open.size).toBe(1);
    expect(fake.keys()).toEqual([]);
  });

  it('that changes while it is read does not become an object', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    for (const size of [1000, big.length]) {
      await writeFile(path, big.subarray(0, size));
      const fake = new Fake();
      const sending = sendingOf(fake);
      let told = false;
      sending.count = () => {
        if (!told) writeFileSync(path, Buffer.alloc(size + 5));
        told = true;
      };
      await expect(uploadFile(path, name, {}, sending)).rejects.toThrow('changed while it was being read');
      expect(fake.keys()).toEqual([]);
      expect(fake.open.size).toBe(0);
    }
  });

  it('that came over as something else is told', async () => {
    await using here = await folder();
    const path = join(here.path, 'a');
    await writeFile(path, 'hello');
    const fake = new Fake();
    const put = fake.put.bind(fake);
    fake.put = async (...args) => ({ ...(await put(...args)), etag: 'f'.repeat(32) });
    await expect(uploadFile(path, name, {}, sendingOf(fake))).rejects.toThrow('is not what was sent');
  });

  it('is not begun when there is one, and there must be none', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    await writeFile(path, big);
    const fake = new Fake();
    fake.add('photos/big', 'there');
    await expect(uploadFile(path, name, {}, sendingOf(fake, { ifNoneMatch: true }))).rejects.toMatchObject({ code: 'stale' });
    expect(fake.count('part')).toBe(0);
    await expect(uploadFile(join(here.path, 'none'), name, {}, sendingOf(fake))).rejects.toMatchObject({ code: 'invalid_input' });
  });
});

async function* one(...pieces: readonly Buffer[]): AsyncGenerator<Buffer> {
  yield* pieces;
}

describe('a stream', () => {
  const pieces = (bytes: Buffer): AsyncGenerator<Buffer> =>
    one(...Array.from({ length: Math.ceil(bytes.length / 70_001) }, (_, index) => bytes.subarray(index * 70_001, (index + 1) * 70_001)));

  it('is one object while it is small', async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from('x'), big.subarray(0, 8 * MIB - 1)]) {
      const fake = new Fake();
      await uploadStream(pieces(bytes), name, {}, sendingOf(fake));
      expect(fake.asked).toEqual(['put photos/big']);
      expect(fake.objects.get('photos/big')?.bytes.equals(bytes)).toBe(true);
    }
  });
  it('goes in parts as it comes, whole to the byte', async () => {
    for (const size of [8 * MIB, 10 * MIB, 15 * MIB, 15 * MIB + 1, big.length]) {
      const fake = new Fake();
      await uploadStream(pieces(big.subarray(0, size)), name, {}, sendingOf(fake));
      expect(fake.objects.get('photos/big')?.bytes.equals(big.subarray(0, size))).toBe(true);
      expect(fake.count('part')).toBe(Math.ceil(size / (5 * MIB)));
    }
  });
  it('that breaks off leaves nothing', async () => {
    const fake = new Fake();
    const breaking = async function* (): AsyncGenerator<Buffer> {
      yield big.subarray(0, 12 * MIB);
      throw new Error('the pipe broke');
    };
    await expect(uploadStream(breaking(), name, {}, sendingOf(fake))).rejects.toThrow('the pipe broke');
    expect([fake.open.size, fake.keys()]).toEqual([0, []]);
  });
});

describe('an object', () => {
  const view = (fake: Fake, bytes: Buffer, partSize: number) => {
    const etags = rangesOf(bytes.length, partSize).map(({ start, size }) => md5(bytes.subarray(start, start + size)));
    return fake.add('photos/big', bytes, { etag: etagOfParts(etags), parts: etags.length, metadata: { mtime: '1700000000.25' } });
  };
  const md5 = (bytes: Buffer): string => new Fake().add('x/y', bytes).etag;

  it('becomes a file with its time, whatever its size', async () => {
    await using here = await folder();
    for (const size of [0, 1, 5 * MIB, big.length]) {
      const fake = new Fake();
      const path = join(here.path, `file-${size}`);
      const object = fake.add('photos/big', big.subarray(0, size), { metadata: { mtime: '1700000000.25' } });
      const fetching = sendingOf(fake);
      await downloadFile(name, object, path, fetching);
      expect((await readFile(path)).equals(big.subarray(0, size))).toBe(true);
      expect((await stat(path)).mtimeMs).toBeCloseTo(1_700_000_000_250, -1);
      expect(fetching.counted()).toBe(size);
    }
    expect((await readdir(here.path)).filter((one) => one.startsWith('.'))).toEqual([]);
  });

  it('that broke off is gone on with from the parts that are whole', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    for (const cut of [5 * MIB, 8 * MIB]) {
      const fake = new Fake();
      const object = view(fake, big, cut);
      let left = 2;
      fake.fail = (asked) => {
        if (asked.startsWith('get') && left-- === 0) throw lost();
      };
      await expect(downloadFile(name, object, path, sendingOf(fake, { parallel: 1 }))).rejects.toThrow('broke off');
      await expect(stat(path)).rejects.toThrow();
      const before = fake.count('get');
      fake.fail = () => undefined;
      const fetching = sendingOf(fake, { parallel: 1 });
      await downloadFile(name, object, path, fetching);
      expect((await readFile(path)).equals(big)).toBe(true);
      expect(fake.count('get') - before).toBe(Math.ceil(big.length / cut) - 2);
      expect(fetching.counted()).toBe(big.length);
      expect(await readdir(here.path)).toEqual(['big']);
      await rm(path);
    }
  });

  it('that is another one now is not put together of both', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    await writeFile(path, 'before');
    const fake = new Fake();
    const object = view(fake, big, 5 * MIB);
    let left = 2;
    fake.fail = (asked) => {
      if (asked.startsWith('get') && left-- === 0) fake.add('photos/big', Buffer.alloc(big.length, 1));
    };
    await expect(downloadFile(name, object, path, sendingOf(fake, { parallel: 1 }))).rejects.toMatchObject({ code: 'stale' });
    expect(await readFile(path, 'utf8')).toBe('before');
    expect(await readdir(here.path)).toEqual(['big']);
  });

  it('whose bytes are others than its ETag says is not written', async () => {
    await using here = await folder();
    const path = join(here.path, 'big');
    const fake = new Fake();
    for (const bytes of [Buffer.from('hello'), big]) {
      const object = fake.add('photos/big', bytes, { etag: 'e'.repeat(32) });
      await expect(downloadFile(name, object, path, sendingOf(fake))).rejects.toThrow('is not what its ETag says');
      expect(await readdir(here.path)).toEqual([]);
    }
  });

  it('keeps the mode of the file that it replaces, and replaces a link, not what is behind it', async () => {
    await using here = await folder();
    const fake = new Fake();
    const object = fake.add('photos/big', 'new');
    await writeFile(join(here.path, 'secret'), 'old', { mode: 0o600 });
    await downloadFile(name, object, join(here.path, 'secret'), sendingOf(fake));
    expect((await stat(join(here.path, 'secret'))).mode & 0o777).toBe(0o600);
    await mkdir(join(here.path, 'elsewhere'));
    await writeFile(join(here.path, 'elsewhere/target'), 'old');
    await symlink('elsewhere/target', join(here.path, 'link'));
    await downloadFile(name, object, join(here.path, 'link'), sendingOf(fake));
    expect(await readFile(join(here.path, 'elsewhere/target'), 'utf8')).toBe('old');
    // Nor does it run as whom the old one ran as.
    await chmod(join(here.path, 'secret'), 0o4755);
    await downloadFile(name, object, join(here.path, 'secret'), sendingOf(fake));
    expect((await stat(join(here.path, 'secret'))).mode & 0o7777).toBe(0o755);
  });

  it('does not go on with what somebody else put there', async () => {
    await using here = await folder();
    const fake = new Fake();
    const object = fake.add('photos/big', 'new');
    const [path, beside] = [join(here.path, 'file'), join(here.path, partName('file', object.etag))];
    await writeFile(join(here.path, 'victim'), 'old');
    for (const make of [symlink, link]) {
      await make(join(here.path, 'victim'), beside);
      await expect(downloadFile(name, object, path, sendingOf(fake))).rejects.toMatchObject({ code: 'conflict' });
      expect(await readFile(join(here.path, 'victim'), 'utf8')).toBe('old');
      await rm(beside);
    }
    if (process.getuid?.() !== 0) return;
    await writeFile(beside, '');
    await chown(beside, 12345, 12345);
    await expect(downloadFile(name, object, path, sendingOf(fake))).rejects.toMatchObject({ code: 'conflict' });
  });
});

it('times survive the way through metadata', () => {
  for (const time of [0, 1, 1_700_000_000_123, 1_700_000_000_999, 253_402_300_799_999]) expect(mtimeFrom({ mtime: mtimeText(time) })).toBe(time);
  expect(mtimeFrom({ mtime: '1700000000.123456789' })).toBe(1_700_000_000_123);
  for (const wrong of ['', 'x', '-1', '1e9', '99999999999999']) expect(mtimeFrom({ mtime: wrong })).toBeUndefined();
});
