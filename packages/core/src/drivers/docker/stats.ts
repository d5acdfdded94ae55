// Samples of what an instance uses, from the engine's stream.
import type { Readable } from 'node:stream';
import type { ContainerStats } from 'dockerode';
import { systemClock } from '../../kernel/clock.ts';
import { DriverError } from '../../kernel/errors.ts';
import type { Stats } from '../../services/instance/driver.ts';
import { type DockerClient, statusOf, translate } from './client.ts';
import { linesOf } from './frames.ts';

/** Distance of the two quick samples that make the first answer; the engine's own stream starts a second later. */
const FIRST_INTERVAL = 100;

export async function* readStats(client: DockerClient, id: string, signal: AbortSignal): AsyncGenerator<Stats> {
  const container = client.docker.getContainer(id);
  let source: Readable | undefined;
  const stop = () => source?.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    let before = await container.stats({ stream: false, 'one-shot': true });
    if (!isRunning(before)) throw new DriverError('bad_spec', 'The instance is not running; it must be running for this');
    await systemClock.sleep(FIRST_INTERVAL, signal);
    const first = await container.stats({ stream: false, 'one-shot': true });
    if (!isRunning(first)) return;
    yield sample(first, before);
    before = first;
    source = (await container.stats({ stream: true })) as Readable;
    signal.throwIfAborted();
    for await (const text of linesOf(source)) {
      const next = JSON.parse(text) as ContainerStats;
      if (!isRunning(next)) return;
      // The stream opens with a repetition.
      if (timeOf(next) - timeOf(before) < FIRST_INTERVAL / 2) continue;
      yield sample(next, before);
      before = next;
    }
  } catch (error) {
    if (signal.aborted) return;
    if (statusOf(error) === 404) throw new DriverError('bad_spec', `Docker Engine has no instance ${id}`, { cause: error });
    throw translate(error, 'Could not measure the instance');
  } finally {
    signal.removeEventListener('abort', stop);
    source?.destroy();
  }
}

/** The engine answers for a stopped container too, with a time before all times and no processes. */
const isRunning = (stats: ContainerStats): boolean => !stats.read.startsWith('0001') && (stats.pids_stats?.current ?? 0) > 0;

const timeOf = (stats: ContainerStats): number => Date.parse(stats.read);

/** Nanosecond precision matters over a tenth of a second; `Date.parse` keeps only milliseconds. */
const nanosOf = (stats: ContainerStats): number => {
  const fraction = /\.(\d+)/.exec(stats.read)?.[1] ?? '';
  return Math.floor(timeOf(stats) / 1000) * 1e9 + Number(fraction.padEnd(9, '0').slice(0, 9));
};

function sample(now: ContainerStats, before: ContainerStats): Stats {
  const elapsed = nanosOf(now) - nanosOf(before);
  const used = now.cpu_stats.cpu_usage.total_usage - before.cpu_stats.cpu_usage.total_usage;
  const memory = now.memory_stats as { usage?: number; limit?: number; stats?: { total_inactive_file?: number; inactive_file?: number } };
  // Page cache that the kernel may drop at any time is nobody's use: cgroup v1 tells it for the whole tree under `total_`, v2 always does.
  const cache = memory.stats?.total_inactive_file ?? memory.stats?.inactive_file ?? 0;
  const networks = Object.values(now.networks ?? {});
  const blocks = now.blkio_stats?.io_service_bytes_recursive ?? [];
  const bytes = (operation: string) => blocks.filter(({ op }) => op.toLowerCase() === operation).reduce((sum, { value }) => sum + value, 0);
  return {
    time: timeOf(now),
    cpu: elapsed > 0 ? Math.max(0, used / elapsed) : 0,
    memoryBytes: Math.max(0, (memory.usage ?? 0) - cache),
    memoryLimitBytes: memory.limit ?? 0,
    networkReceivedBytes: networks.reduce((sum, each) => sum + each.rx_bytes, 0),
    networkSentBytes: networks.reduce((sum, each) => sum + each.tx_bytes, 0),
    blockReadBytes: bytes('read'),
    blockWrittenBytes: bytes('write'),
    pids: now.pids_stats?.current ?? 0,
  };
}
