// Buckets in memory for the tests of transfers: what was asked is written down, and anything can be made to fail.
import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Fault } from '@thecloud/core/contracts';
import type { About, Listed, Objects, ObjectView, Part } from './calls.ts';
import { type ObjectName, textOf } from './name.ts';
import { etagOfParts } from './parts.ts';

interface Stored {
  bytes: Buffer;
  view: ObjectView;
}
interface OpenUpload {
  name: ObjectName;
  about: About;
  startedAt: string;
  parts: Map<number, { part: Part; bytes: Buffer }>;
}

const md5 = (bytes: Buffer): string => createHash('md5').update(bytes).digest('hex');

export class Fake implements Objects {
  readonly objects = new Map<string, Stored>();
  readonly open = new Map<string, OpenUpload>();
  /** `<operation> <bucket>/<key>[ <detail>]`, in order. */
  readonly asked: string[] = [];
  /** Throws what the named call is to fail with. */
  fail: (asked: string) => void = () => undefined;
  now = Date.now();
  pageSize = 1000;
  atOnce = 0;
  mostAtOnce = 0;

  #ask(operation: string, name: ObjectName, detail = ''): void {
    const line = `${operation} ${textOf(name)}${detail === '' ? '' : ` ${detail}`}`;
    this.asked.push(line);
    this.fail(line);
  }
  count(operation: string): number {
    return this.asked.filter((line) => line.startsWith(`${operation} `)).length;
  }

  add(text: string, bytes: Buffer | string, about: { metadata?: Record<string, string>; etag?: string; parts?: number } = {}): ObjectView {
    const slash = text.indexOf('/');
    const data = Buffer.from(bytes as string);
    const view: ObjectView = {
      bucket: text.slice(0, slash),
      key: text.slice(slash + 1),
      size: data.length,
      etag: about.etag ?? md5(data),
      modifiedAt: new Date(this.now).toISOString(),
      metadata: about.metadata ?? {},
      ...(about.parts === undefined ? {} : { parts: about.parts }),
    };
    this.objects.set(text, { bytes: data, view });
    return view;
  }
  text(name: string): string | undefined {
    return this.objects.get(name)?.bytes.toString('utf8');
  }
  keys(): string[] {
    return [...this.objects.keys()].sort();
  }

  #found(name: ObjectName): Stored {
    const found = this.objects.get(textOf(name));
    if (found === undefined) throw new Fault('not_found', `There is no object ${textOf(name)}`);
    return found;
  }

  async list(name: ObjectName, { cursor }: { cursor?: string }) {
    this.#ask('list', name);
    const all: Listed[] = [...this.objects.values()]
      .filter(({ view }) => view.bucket === name.bucket && view.key.startsWith(name.key))
      .map(({ view: { key, size, etag, modifiedAt } }) => ({ key, size, etag, modifiedAt, storageClass: 'STANDARD' }))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
    const from = Number(cursor ?? 0);
    const end = from + this.pageSize;
    return { items: all.slice(from, end), folders: [], ...(end < all.length ? { cursor: String(end) } : {}) };
  }
  async head(name: ObjectName): Promise<ObjectView> {
    this.#ask('head', name);
    return this.#found(name).view;
  }
  async #taken(bytes: AsyncIterable<Uint8Array>): Promise<Buffer> {
    this.mostAtOnce = Math.max(this.mostAtOnce, ++this.atOnce);
    try {
      const pieces: Uint8Array[] = [];
      for await (const piece of bytes) pieces.push(piece);
      return Buffer.concat(pieces);
    } finally {
      this.atOnce--;
    }
  }
  async put(name: ObjectName, { ifNoneMatch, size, metadata }: About, bytes: AsyncIterable<Uint8Array>): Promise<ObjectView> {
    this.#ask('put', name);
    const data = await this.#taken(bytes);
    if (typeof size === 'number' && size !== data.length) throw new Fault('invalid_input', `${data.length} bytes came, ${size} were told`);
    if (ifNoneMatch === true && this.objects.has(textOf(name))) throw new Fault('stale', 'There is one already');
    return this.add(textOf(name), data, { metadata: (metadata ?? {}) as Record<string, string> });
  }
  async *get(name: ObjectName, { start = 0, end, ifMatch }: { start?: number; end?: number; ifMatch?: string }) {
    this.#ask('get', name, end === undefined ? '' : `${start}-${end}`);
    const { bytes, view } = this.#found(name);
    if (ifMatch !== undefined && ifMatch !== view.etag) throw new Fault('stale', 'It is another one now');
    const part = bytes.subarray(start, end === undefined ? undefined : end + 1);
    for (let at = 0; at < part.length; at += 100_000) {
      this.fail(`sending ${textOf(name)} ${start + at}`);
      yield part.subarray(at, at + 100_000);
    }
  }
  async delete(name: ObjectName): Promise<void> {
    this.#ask('delete', name);
    this.objects.delete(textOf(name));
  }
  async copy(name: ObjectName, to: ObjectName): Promise<ObjectView> {
    this.#ask('copy', name);
    const { bytes, view } = this.#found(name);
    return this.add(textOf(to), bytes, { metadata: view.metadata });
  }
  async move(name: ObjectName, to: ObjectName): Promise<ObjectView> {
    const view = await this.copy(name, to);
    await this.delete(name);
    return view;
  }
  async uploadStart(name: ObjectName, about: About) {
    this.#ask('start', name);
    const upload = `upload-${this.open.size + 1}`;
    const startedAt = new Date(this.now).toISOString();
    this.open.set(upload, { name, about, startedAt, parts: new Map() });
    return { upload, key: name.key, startedAt };
  }
  async uploadPart(name: ObjectName, { upload, number }: { upload: string; number: number }, bytes: AsyncIterable<Uint8Array>): Promise<Part> {
    this.#ask('part', name, String(number));
    const data = await this.#taken(bytes);
    const part = { number, size: data.length, etag: md5(data) };
    this.open.get(upload)?.parts.set(number, { part, bytes: data });
    return part;
  }
  async uploadParts(name: ObjectName, upload: string): Promise<Part[]> {
    this.#ask('parts', name);
    return [...(this.open.get(upload)?.parts.values() ?? [])].map(({ part }) => part).sort((a, b) => a.number - b.number);
  }
  async uploadComplete(name: ObjectName, { upload, parts }: { upload: string; parts: { number: number; etag: string }[] }): Promise<ObjectView> {
    this.#ask('complete', name);
    const found = this.open.get(upload);
    if (found === undefined) throw new Fault('not_found', 'There is no such upload');
    const bytes = parts.map(({ number, etag }) => {
      const one = found.parts.get(number);
      if (one?.part.etag !== etag) throw new Fault('invalid_input', `Part ${number} is another one`);
      return one.bytes;
    });
    this.open.delete(upload);
    const metadata = (found.about['metadata'] ?? {}) as Record<string, string>;
    return this.add(textOf(name), Buffer.concat(bytes), { metadata, etag: etagOfParts(parts.map(({ etag }) => etag)), parts: parts.length });
  }
  async uploadAbort(name: ObjectName, upload: string): Promise<void> {
    this.#ask('abort', name);
    this.open.delete(upload);
  }
  async uploads(name: ObjectName) {
    this.#ask('uploads', name);
    return [...this.open.entries()]
      .filter(([, one]) => textOf(one.name) === textOf(name))
      .map(([upload, { startedAt }]) => ({ upload, key: name.key, startedAt }));
  }
}

export async function folder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'cloud-objects-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}
