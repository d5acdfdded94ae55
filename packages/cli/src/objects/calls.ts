// What the commands of objects ask the daemon for. An interface, so that transfers can be tried without one.
import { pipeline } from 'node:stream/promises';
import { type Channel, Fault } from '@thecloud/core/contracts';
import type { Remote } from '../remote.ts';
import { commandOf, type OperationSpec } from '../table.ts';
import { pause } from '../wait.ts';
import { type ObjectName, textOf } from './name.ts';

export interface ObjectView {
  bucket: string;
  key: string;
  version?: string;
  size: number;
  etag: string;
  modifiedAt: string;
  contentType?: string;
  metadata: Record<string, string>;
  parts?: number;
}

export interface Listed {
  key: string;
  size: number;
  modifiedAt: string;
  etag: string;
  storageClass: string;
}
export interface Page {
  items: Listed[];
  folders: string[];
  cursor?: string;
}
interface Upload {
  upload: string;
  key: string;
  startedAt: string;
}
export interface Part {
  number: number;
  size: number;
  etag: string;
}
/** What a writer says of an object, as the contract names it. */
export type About = Record<string, unknown>;

export interface Objects {
  list(name: ObjectName, input: { recursive?: boolean; limit?: number; cursor?: string }): Promise<Page>;
  head(name: ObjectName, version?: string): Promise<ObjectView>;
  put(name: ObjectName, about: About, bytes: AsyncIterable<Uint8Array>): Promise<ObjectView>;
  /** Bytes as they come; ends without error only when they are all there. */
  get(name: ObjectName, input: { version?: string; start?: number; end?: number; ifMatch?: string }): AsyncIterable<Uint8Array>;
  delete(name: ObjectName): Promise<void>;
  copy(name: ObjectName, to: ObjectName): Promise<ObjectView>;
  move(name: ObjectName, to: ObjectName): Promise<ObjectView>;
  uploadStart(name: ObjectName, about: About): Promise<Upload>;
  uploadPart(name: ObjectName, input: { upload: string; number: number; size?: number }, bytes: AsyncIterable<Uint8Array>): Promise<Part>;
  /** All of them. */
  uploadParts(name: ObjectName, upload: string): Promise<Part[]>;
  uploadComplete(name: ObjectName, input: { upload: string; parts: { number: number; etag: string }[]; ifNoneMatch?: boolean }): Promise<ObjectView>;
  uploadAbort(name: ObjectName, upload: string): Promise<void>;
  /** Open uploads of exactly this key, newest first. */
  uploads(name: ObjectName): Promise<Upload[]>;
}

export function objectsOf(remote: Remote, signal: AbortSignal): Objects {
  const specs = new Map<string, OperationSpec>();
  const spec = (name: string): OperationSpec => {
    let found = specs.get(name);
    if (found === undefined) {
      found = commandOf(`object ${name}`).operation as OperationSpec;
      specs.set(name, found);
    }
    return found;
  };
  const call = async <T>(operation: string, name: ObjectName, input: Record<string, unknown> = {}): Promise<T> =>
    (await patiently(() => remote.call(spec(operation), { target: textOf(name), input, signal }), signal)).value as T;
  // A list needs no WebSocket, and is to begin soon.
  const channel = async <T>(operation: string, name: ObjectName, input: Record<string, unknown>): Promise<Channel<T>> => {
    const { openChannel } = await import('../channel.ts');
    return patiently(() => openChannel<T>(remote, spec(operation), textOf(name), input), signal);
  };
  const send = async <T>(operation: string, name: ObjectName, input: Record<string, unknown>, bytes: AsyncIterable<Uint8Array>): Promise<T> =>
    sending(await channel<T>(operation, name, input), bytes, signal);

  return {
    list: (name, input) => call('list', name, input),
    head: (name, version) => call('head', name, version === undefined ? {} : { version }),
    put: (name, about, bytes) => send('put', name, about, bytes),
    async *get(name, input) {
      yield* receiving(await channel('get', name, input), signal);
    },
    delete: async (name) => void (await call('delete', name)),
    copy: (name, to) => call('copy', name, { to: textOf(to) }),
    move: (name, to) => call('move', name, { to: textOf(to) }),
    uploadStart: (name, about) => call('upload-start', name, about),
    uploadPart: (name, input, bytes) => send('upload-part', name, input, bytes),
    async uploadParts(name, upload) {
      const parts: Part[] = [];
      for (let truncated = true; truncated; ) {
        const page: { items: Part[]; truncated: boolean } = await call('upload-parts', name, { upload, after: parts.at(-1)?.number ?? 0 });
        parts.push(...page.items);
        truncated = page.truncated && page.items.length > 0;
      }
      return parts;
    },
    uploadComplete: (name, input) => call('upload-complete', name, input),
    // Also after Ctrl-C, which is when there is most to give up.
    uploadAbort: async (name, upload) => void (await remote.call(spec('upload-abort'), { target: textOf(name), input: { upload }, patience: LAST_WORD })),
    async uploads(name) {
      const found: Upload[] = [];
      for (let cursor: string | undefined; ; ) {
        const page: { items: Upload[]; cursor?: string } = await call('uploads', name, { limit: 1000, ...(cursor === undefined ? {} : { cursor }) });
        found.push(...page.items.filter(({ key }) => key === name.key));
        if (page.cursor === undefined) break;
        cursor = page.cursor;
      }
      return found.sort((a, b) => (a.startedAt < b.startedAt ? 1 : -1));
    },
  };
}

/** Milliseconds for what is said on the way out. */
const LAST_WORD = 5000;

/** Milliseconds that a caller who is too fast waits: longer each time, up to the longest, and so often. */
const SLOWER = { first: 100, longest: 5000, times: 20 } as const;

/** Many files are many calls; where a daemon limits them, the rest comes a little later. Nothing has been sent by then. */
async function patiently<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (let time = 0; ; time++) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Fault) || error.code !== 'rate_limited' || time === SLOWER.times) throw error;
      await pause(Math.min(SLOWER.longest, SLOWER.first * 2 ** time) * (0.5 + Math.random()), signal);
    }
  }
}

/** Closes the channel, and so ends whoever waits for it, when the command is interrupted. Answers with what takes that back. */
function closedBy(signal: AbortSignal, channel: Pick<Channel, 'close'>): () => void {
  const close = (): void => channel.close();
  if (signal.aborted) close();
  signal.addEventListener('abort', close, { once: true });
  return () => signal.removeEventListener('abort', close);
}

async function sending<T>(channel: Channel<T>, bytes: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<T> {
  const done = closedBy(signal, channel);
  channel.output.resume();
  channel.error.resume();
  let unread: { error: unknown } | undefined;
  const source = async function* (): AsyncGenerator<Uint8Array> {
    try {
      yield* bytes;
    } catch (error) {
      unread = { error };
      throw error;
    }
  };
  // What could not be read here must not become an object there; a daemon that refuses closes its end early, and then its own words say why.
  pipeline(source, channel.input).catch(() => {
    if (unread !== undefined) channel.close();
  });
  try {
    return await channel.result;
  } catch (error) {
    signal.throwIfAborted();
    throw unread === undefined ? error : unread.error;
  } finally {
    done();
  }
}

async function* receiving(channel: Channel, signal: AbortSignal): AsyncIterable<Uint8Array> {
  const done = closedBy(signal, channel);
  channel.error.resume();
  channel.input.end();
  let ended = false;
  try {
    yield* channel.output as AsyncIterable<Uint8Array>;
    await channel.result;
    ended = true;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    done();
    if (!ended) channel.close();
  }
}

/** All keys that begin so, a page at a time. */
export async function* every(objects: Objects, name: ObjectName): AsyncGenerator<Listed> {
  for (let cursor: string | undefined; ; ) {
    const page = await objects.list(name, { recursive: true, limit: 1000, ...(cursor === undefined ? {} : { cursor }) });
    yield* page.items;
    if (page.cursor === undefined) return;
    cursor = page.cursor;
  }
}

export const isThere = async (objects: Objects, name: ObjectName): Promise<ObjectView | undefined> => {
  try {
    return await objects.head(name);
  } catch (error) {
    if (error instanceof Fault && error.code === 'not_found') return undefined;
    throw error;
  }
};
