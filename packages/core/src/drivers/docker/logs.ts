// What the instance's own program wrote: the engine's log of the present container, before it what earlier containers of the instance wrote.
import { createReadStream } from 'node:fs';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { ContainerInspectInfo } from 'dockerode';
import { systemClock } from '../../kernel/clock.ts';
import type { LogLine, LogOptions } from '../../services/instance/driver.ts';
import { type DockerClient, statusOf, translate } from './client.ts';
import { frames, linesOf } from './frames.ts';
import { look } from './lifecycle.ts';

/** A line without an end is cut here, so that no program can fill our memory. */
const MAX_LINE = 1024 * 1024;
/** Containers whose output is kept besides the present one's. */
const KEPT = 3;
const RESTART_POLL = 300;

interface Stamped extends LogLine {
  /** The engine's own time, to the nanosecond. */
  stamp: string;
}

const directory = (client: DockerClient, id: string): string => join(client.dataDir, 'instance-logs', id);

export async function* readLogs(client: DockerClient, id: string, options: LogOptions): AsyncGenerator<LogLine> {
  const { signal, follow, since } = options;
  let tail = options.tail;
  let after = '';
  if (tail === 0 && !follow) return;
  const earlier = await archived(client, id);
  if (earlier.length > 0 && tail !== 0) {
    if (tail === undefined) for (const file of earlier) yield* savedLines(file, since);
    else {
      let own = 0;
      for await (const _ of contents(client, id, { follow: false, tail, since, signal })) own += 1;
      const old: LogLine[] = [];
      for (const file of own >= tail ? [] : earlier) for await (const line of savedLines(file, since)) old.push(line);
      yield* tail - own > 0 ? old.slice(-(tail - own)) : [];
    }
  }
  for (;;) {
    for await (const { stamp, ...line } of contents(client, id, { follow, tail, since, signal, after })) {
      if (stamp > after) after = stamp;
      yield line;
    }
    if (!follow || signal.aborted) return;
    // The engine ends the stream when the program ends; the next run may come at any time.
    tail = undefined;
    if (after === '') after = new Date(since ?? 0).toISOString();
    for (;;) {
      const info = await look(client, id);
      if (info === undefined || signal.aborted) return;
      if (info.State.Running) break;
      await systemClock.sleep(RESTART_POLL, signal).catch((error: unknown) => {
        if (!signal.aborted) throw error;
      });
    }
  }
}

async function* contents(
  client: DockerClient,
  name: string,
  options: Omit<LogOptions, 'signal'> & { signal: AbortSignal; after?: string },
): AsyncGenerator<Stamped> {
  const { signal, follow, tail, since, after = '' } = options;
  if (signal.aborted) return;
  let source: Readable;
  try {
    const query = {
      stdout: true,
      stderr: true,
      timestamps: true,
      ...(tail === undefined || after !== '' ? {} : { tail }),
      ...(after !== '' ? { since: secondsOf(after) } : since === undefined ? {} : { since: (since / 1000).toFixed(3) }),
    };
    const container = client.docker.getContainer(name);
    // Without `follow` the client library reads the whole answer into one buffer; a stream does for both.
    source = (await container.logs({ ...query, follow: true, _query: { ...query, follow } } as unknown as { follow: true })) as Readable;
  } catch (error) {
    if (statusOf(error) === 404 || signal.aborted) return;
    throw translate(error, 'Could not read the output of the instance');
  }
  const stop = () => source.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const line of lines(source)) {
      if (line.stamp > after && (since === undefined || line.time >= since)) yield line;
    }
  } catch (error) {
    if (!signal.aborted) throw translate(error, 'The output of the instance broke off');
  } finally {
    signal.removeEventListener('abort', stop);
    source.destroy();
  }
}

/** The engine cuts a long line into several records, each with a time of its own, and only the last ends in a line break. */
async function* lines(source: Readable): AsyncGenerator<Stamped> {
  const partial = {
    stdout: undefined as { stamp: string; parts: Buffer[]; length: number } | undefined,
    stderr: undefined as { stamp: string; parts: Buffer[]; length: number } | undefined,
  };
  const line = (stream: 'stdout' | 'stderr'): Stamped | undefined => {
    const record = partial[stream];
    partial[stream] = undefined;
    if (record === undefined) return undefined;
    return {
      stamp: record.stamp,
      time: Date.parse(`${record.stamp.slice(0, 23)}Z`),
      stream,
      text: Buffer.concat(record.parts)
        .toString('utf8')
        .replace(/\r?\n$/, ''),
    };
  };
  for await (const { stream, data } of frames(source)) {
    const space = data.indexOf(0x20);
    const record = (partial[stream] ??= { stamp: data.toString('latin1', 0, space), parts: [], length: 0 });
    const text = data.subarray(space + 1);
    record.parts.push(text);
    record.length += text.length;
    const whole = text.at(-1) === 0x0a || record.length >= MAX_LINE ? line(stream) : undefined;
    if (whole !== undefined) yield whole;
  }
  for (const rest of [line('stdout'), line('stderr')]) if (rest !== undefined) yield rest;
}

/** `2026-01-02T03:04:05.123456789Z` as the engine wants it in a query: seconds, a point, nanoseconds. */
function secondsOf(stamp: string): string {
  const [whole = '', fraction = ''] = stamp.replace(/Z$/, '').split('.');
  return `${Date.parse(`${whole}Z`) / 1000}.${fraction.padEnd(9, '0')}`;
}

/** Keeps a stopped container's output before it is replaced. Written whole or not at all; again is fine. */
export async function archiveLogs(client: DockerClient, id: string, container: ContainerInspectInfo, layer: number): Promise<void> {
  const folder = directory(client, id);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, `${String(layer).padStart(6, '0')}.jsonl`);
  const file = await open(`${path}.part`, 'w', 0o600);
  try {
    const signal = new AbortController().signal;
    const text = async function* () {
      for await (const { stamp: _, ...line } of contents(client, container.Id, { follow: false, tail: undefined, since: undefined, signal }))
        yield `${JSON.stringify(line)}\n`;
    };
    await file.writeFile(Readable.from(text()));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.part`, path);
  const files = await archived(client, id);
  await Promise.all(files.slice(0, -KEPT).map((old) => rm(old, { force: true })));
}

export const forgetLogs = (client: DockerClient, id: string): Promise<void> => rm(directory(client, id), { recursive: true, force: true });

async function archived(client: DockerClient, id: string): Promise<string[]> {
  const folder = directory(client, id);
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names
    .filter((name) => name.endsWith('.jsonl'))
    .sort()
    .map((name) => join(folder, name));
}

async function* savedLines(path: string, since: number | undefined): AsyncGenerator<LogLine> {
  for await (const text of linesOf(createReadStream(path))) {
    const line = JSON.parse(text) as LogLine;
    if (since === undefined || line.time >= since) yield line;
  }
}
