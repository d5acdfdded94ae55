// kill -9 at random instants under load: what was answered is there, what was removed is not, and nothing else is but what was under way.
import { spawn } from 'node:child_process';
import { createHash, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { FilesObjectStore } from './index.ts';

const ROUNDS = 6;
const child = fileURLToPath(new URL('./crash.child.ts', import.meta.url));
const never = new AbortController().signal;

test('what was answered survives kill -9', { timeout: 120_000 }, async () => {
  const root = mkdtempSync(join(tmpdir(), 'cloud-killed-'));
  const directory = join(root, 'objects');
  const there = new Map<string, string>();
  const limbo = new Set<string>();
  const gone = new Set<string>();
  try {
    for (let round = 0; round < ROUNDS; round += 1) {
      const running = spawn(process.execPath, ['--conditions=@thecloud/source', child, directory], { stdio: ['ignore', 'pipe', 'inherit'] });
      let said = '';
      running.stdout.on('data', (data: Buffer) => (said += data.toString()));
      await once(running.stdout, 'data');
      await sleep(randomInt(50, 1200));
      running.kill('SIGKILL');
      await once(running, 'close');
      for (const line of said.split('\n').slice(0, -1)) {
        const [what, id, digest] = line.split(' ') as [string, string, string?];
        if (what === 'put') there.set(id, digest as string);
        else {
          there.delete(id);
          (what === 'removing' ? limbo : gone).add(id);
          if (what === 'removed') limbo.delete(id);
        }
      }
      const store = new FilesObjectStore({ directory });
      const listed = new Set<string>();
      for (let last: string | undefined; ; ) {
        const page = await store.list(last, 500);
        for (const { id } of page) listed.add(id);
        last = page.at(-1)?.id;
        if (page.length < 500) break;
      }
      for (const [id, digest] of there) {
        expect(listed).toContain(id);
        const hash = createHash('sha1');
        for await (const piece of store.get(id, { start: 0, end: undefined }, never)) hash.update(piece);
        expect(hash.digest('hex')).toBe(digest);
      }
      for (const id of gone) expect(listed).not.toContain(id);
      expect(readdirSync(join(directory, 'incoming'))).toEqual([]);
      // Of what was under way, each is whole or not there; it is nobody's, and goes as the engine's sweep would have it.
      const orphans = [...listed].filter((id) => !there.has(id));
      expect(orphans.length).toBeLessThanOrEqual(16 + limbo.size);
      for (const id of orphans) for await (const piece of store.get(id, { start: 0, end: undefined }, never)) expect(piece.length).toBeGreaterThan(0);
      await store.remove(orphans, never);
      for (const id of orphans) gone.add(id);
      limbo.clear();
      await store.close();
    }
    expect(there.size).toBeGreaterThan(100);
  } finally {
    rmSync(root, { recursive: true });
  }
});
