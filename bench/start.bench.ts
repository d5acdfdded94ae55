// From the start of the daemon's process to its first answer, with a data directory that exists, and its memory when it has been idle for five seconds.
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { type Bench, type Case, inTurns } from './case.ts';
import { answered, type DriverName, fill, serve, spawnDaemon, temporary } from './daemon.ts';
import { dockerObstacle } from './docker.ts';
import { end, rssOf } from './process.ts';

const BARE = 'node:http + better-sqlite3';
const IDLE_MS = 5000;

const start: Case = { name: 'daemon start to first answer', unit: 'ms', subjects: ['memory driver, 20 rows', BARE, 'docker driver'], goals: [{ most: 300 }] };
const idle: Case = { name: 'idle memory after 5 s', unit: 'MiB', subjects: ['memory driver, 20 rows', BARE, 'docker driver'], goals: [{ most: 90 }] };

export const bench: Bench = {
  name: 'start',
  cases: [start, idle],
  open: async (stack) => {
    const directories = new Map<DriverName, string>();
    for (const driver of ['memory', ...((await dockerObstacle()) === undefined ? (['docker'] as const) : [])] as const) {
      await using once = new AsyncDisposableStack();
      const dataDir = await temporary(stack);
      const daemon = await serve(once, driver, dataDir);
      if (driver === 'memory') await fill(daemon, 20);
      directories.set(driver, dataDir);
    }
    const bareDir = await temporary(stack);
    const subjects: [name: string, spawned: () => ChildProcess, socketPath: string][] = [...directories].map(([driver, dataDir]) => [
      driver === 'memory' ? start.subjects[0] : 'docker driver',
      () => spawnDaemon(dataDir, driver),
      join(dataDir, 'cloud.sock'),
    ]);
    subjects.push([
      BARE,
      () => spawn(process.execPath, [join(import.meta.dirname, 'peer-start.mjs'), bareDir], { stdio: 'inherit' }),
      join(bareDir, 'peer.sock'),
    ]);
    return async (take, round) => {
      const children: ChildProcess[] = [];
      try {
        await inTurns(
          round,
          subjects.map(([name, spawned, socketPath]) => async () => {
            const began = performance.now();
            const child = spawned();
            children.push(child);
            await answered(socketPath, '/v1/instances');
            take(start)(name, { value: performance.now() - began });
            // Each is idle on its own: not while the next one starts.
            await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
            const value = rssOf(child.pid ?? 0);
            if (value !== undefined) take(idle)(name, { value });
            await end(child);
          }),
        );
      } finally {
        await Promise.all(children.map(end));
      }
    };
  },
};
