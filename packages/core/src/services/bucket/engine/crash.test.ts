import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type MemoryDriverSet, memoryDrivers } from '../../../drivers/memory/index.ts';
import type { MemoryObjectStore } from '../../../drivers/memory/object-store.ts';
import { DriverError } from '../../../kernel/errors.ts';
import { actor, attributes, bytes, type EngineBench, engineBench, signal } from './engine.testbench.ts';
import type { Bucket } from './types.ts';

const KEYS = 12;
const TURNS = 8;
/** Some smaller, some larger than a segment. */
const SIZES = [3, 5000, 70_000, 200_000];

interface Told {
  /** What was answered last, of each key. Undefined: deleted, or never written. */
  sure: Map<string, string | undefined>;
  /** What was asked for and not answered when the end came: it may be so or not. */
  asked: Map<string, string | undefined>;
}

const contentOf = (word: string): Buffer => Buffer.from(`${word} `.repeat(Math.ceil((SIZES[word.length % SIZES.length] as number) / (word.length + 1))));

/** The drivers as one life has them: after its end nothing that it began reaches the object store any more. */
function lifeOf(drivers: MemoryDriverSet): { drivers: MemoryDriverSet; end(): void } {
  let dead = false;
  const check = (): void => {
    if (dead) throw new DriverError('unavailable', 'this life is over');
  };
  async function* whileAlive(pieces: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      check();
      yield piece;
    }
    check();
  }
  const store = drivers.drivers['object-store'];
  const mortal = new Proxy(store, {
    get: (_, name: keyof MemoryObjectStore) => {
      const member = store[name];
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => {
        check();
        if (name === 'put') args[1] = whileAlive(args[1] as AsyncIterable<Uint8Array>);
        return (member as (...given: unknown[]) => unknown).apply(store, args);
      };
    },
  });
  return {
    drivers: { ...drivers, drivers: { ...drivers.drivers, 'object-store': mortal } },
    end: () => {
      dead = true;
    },
  };
}

/** One writer has a key to itself, so that what it was told is what has to be there. */
async function write({ engine }: EngineBench, bucket: Bucket, key: string, told: Told, over: () => boolean): Promise<void> {
  for (let turn = 0; !over(); turn++) {
    const word = `${key}-${'x'.repeat(turn % 7)}${turn}`;
    const deletes = turn % 5 === 4;
    told.asked.set(key, deletes ? undefined : word);
    if (deletes) await engine.delete(bucket, key, { actor });
    else if (turn % 3 === 2) {
      const upload = await engine.createUpload(bucket, key, { attributes: attributes(), checksum: undefined, actor });
      const whole = contentOf(word);
      const parts = [];
      for (const [at, piece] of [whole.subarray(0, 11), whole.subarray(11)].entries()) {
        parts.push(await engine.putPart(bucket, key, upload.id, at + 1, bytes(piece), { expected: {}, actor, signal }));
      }
      await engine.completeUpload(bucket, key, upload.id, parts, { actor });
    } else await engine.put(bucket, key, bytes(contentOf(word)), { attributes: attributes(), expected: {}, actor, signal });
    if (over()) return; // answered to nobody
    told.sure.set(key, deletes ? undefined : word);
    told.asked.delete(key);
  }
}

test.each(['off', 'enabled'])(
  'what was answered is there after a kill at any instant, and nothing else takes room: versioning %s',
  async (versioning) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cloud-objects-'));
    const drivers = memoryDrivers();
    const told: Told = { sure: new Map(), asked: new Map() };
    try {
      for (let turn = 0; turn < TURNS; turn++) {
        const life = lifeOf(drivers);
        const desk = await engineBench({ dataDir, drivers: life.drivers });
        const bucket = (await desk.engine.find('photos')) ?? (await desk.bucket('photos', { versioning }));
        desk.engine.startSweep();
        for (let number = 0; number < KEYS; number++) {
          const key = `k${number}`;
          const found = await desk.text(bucket, key).catch((error: { problem?: string }) => {
            if (error.problem === 'no_such_key' || error.problem === 'delete_marker') return undefined;
            throw error;
          });
          const word = found?.slice(0, found.indexOf(' '));
          if (word !== undefined) expect(found).toBe(contentOf(word).toString());
          expect(told.asked.has(key) ? [told.sure.get(key), told.asked.get(key)] : [told.sure.get(key)]).toContain(word);
          told.sure.set(key, word);
        }
        told.asked.clear();
        // Every blob is named, and every name has its blob.
        const blobs = await desk.blobs();
        const named: string[] = [];
        for await (const { damage } of desk.engine.verify(bucket, { prefix: '', signal })) expect(damage).toEqual([]);
        const rows = await desk.rows<{ body: string }>('select body from object_version where body is not null union all select body from object_part');
        for (const { body } of rows) named.push((JSON.parse(body) as { blob: string }).blob);
        expect(blobs.toSorted()).toEqual(named.toSorted());
        const usage = (await desk.engine.usage([bucket.id])).get(bucket.id);
        const counted = await desk.rows<Record<string, number>>(
          `select (select count(*) from object_version where latest = 1 and marker = 0) as objects, (select count(*) from object_version) as versions,
          (select coalesce(sum(size), 0) from object_version) as bytes, (select count(*) from object_upload where completed is null) as uploads,
          (select coalesce(sum(size), 0) from object_part where owner in (select id from object_upload where completed is null)) as "uploadBytes"`,
        );
        expect(usage).toEqual(counted[0]);

        let over = false;
        const writers = Array.from({ length: KEYS }, (_, number) => write(desk, bucket, `k${number}`, told, () => over));
        const ended = Promise.allSettled(writers);
        await new Promise((resolve) => setTimeout(resolve, 20 + 37 * turn));
        over = true;
        life.end();
        desk.kill();
        await Promise.race([ended, new Promise((resolve) => setTimeout(resolve, 50))]);
      }
    } finally {
      rmSync(dataDir, { recursive: true, force: true });
    }
  },
  60_000,
);
