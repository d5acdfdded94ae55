// MD5 and SHA of large streams, on threads of their own: MD5 alone takes most of the time of an upload, and the event loop serves others meanwhile. Bytes are copied
// once, into memory that both sides see, and never more than a few blocks ahead.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';

/** As node:crypto calls them. */
export type HashName = 'md5' | 'sha1' | 'sha256';

const BLOCK_BYTES = 1024 * 1024;
/** Of one stream, under way at a time. */
const MOST_AHEAD = 3;
/** Kept for the next stream. */
const MOST_SPARE = 8;
const MOST_THREADS = 4;

/** Text, because a thread needs a file or a text, and this is in a bundle at times and in sources at others; as a script or a module, as the
 * process takes texts. */
const PROGRAM = `
const { parentPort } = process.getBuiltinModule('node:worker_threads');
const { createHash } = process.getBuiltinModule('node:crypto');
const jobs = new Map();
parentPort.on('message', ({ job, begin, block, length, end }) => {
  if (begin !== undefined) jobs.set(job, begin.map((name) => createHash(name)));
  const hashes = jobs.get(job);
  if (hashes === undefined) return;
  if (block !== undefined) {
    for (const hash of hashes) hash.update(new Uint8Array(block, 0, length));
    parentPort.postMessage({ job });
  }
  if (end === undefined) return;
  jobs.delete(job);
  if (end === 'digest') parentPort.postMessage({ job, digests: hashes.map((hash) => hash.digest('hex')) });
});
`;

interface Message {
  job: number;
  /** Absent: a block is done. */
  digests?: string[];
}

class Thread {
  readonly #worker: Worker;
  readonly #jobs = new Map<number, Job>();
  #failure: Error | undefined;

  constructor() {
    this.#worker = new Worker(PROGRAM, { eval: true, name: 'hashing' });
    this.#worker.on('message', ({ job, digests }: Message) => {
      const of = this.#jobs.get(job);
      if (digests === undefined) of?.blockDone();
      else {
        this.#leave(job);
        of?.finished(digests);
      }
    });
    const fail = (error: Error) => {
      this.#failure ??= error;
      for (const job of this.#jobs.values()) job.failed(error);
      this.#jobs.clear();
    };
    this.#worker.on('error', fail);
    this.#worker.on('exit', (code) => fail(new Error(`a hashing thread ended with ${code}`)));
  }

  get alive(): boolean {
    return this.#failure === undefined;
  }
  get busy(): number {
    return this.#jobs.size;
  }

  begin(id: number, job: Job, names: readonly HashName[]): void {
    this.#jobs.set(id, job);
    this.#worker.ref();
    this.#worker.postMessage({ job: id, begin: names });
  }
  block(id: number, block: SharedArrayBuffer, length: number): void {
    this.#worker.postMessage({ job: id, block, length });
  }
  end(id: number, how: 'digest' | 'forget'): void {
    this.#worker.postMessage({ job: id, end: how });
    if (how === 'forget') this.#leave(id);
  }

  /** An idle thread keeps no process alive. */
  #leave(id: number): void {
    this.#jobs.delete(id);
    if (this.#jobs.size === 0) this.#worker.unref();
  }
}

const threads: Thread[] = [];
const spare: SharedArrayBuffer[] = [];
let lastJob = 0;

/** The one with the least to do; a new one while there are fewer than processors, less the one for everything else. */
function thread(): Thread {
  for (const [at, each] of threads.entries()) if (!each.alive) threads.splice(at, 1);
  const free = threads.find((each) => each.busy === 0);
  if (free !== undefined) return free;
  if (threads.length < Math.max(1, Math.min(MOST_THREADS, availableParallelism() - 1))) {
    const made = new Thread();
    threads.push(made);
    return made;
  }
  return threads.reduce((least, each) => (each.busy < least.busy ? each : least));
}

/** One stream on one thread. */
class Job {
  readonly #thread = thread();
  readonly #id = (lastJob += 1);
  /** In the order in which they were sent, which is that in which they are done. */
  readonly #sent: SharedArrayBuffer[] = [];
  #filling: SharedArrayBuffer | undefined;
  #filled = 0;
  #over = false;
  #wake: (() => void) | undefined;
  #failure: Error | undefined;
  #resolve: ((digests: string[]) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;

  constructor(names: readonly HashName[]) {
    this.#thread.begin(this.#id, this, names);
  }

  /** The bytes may be changed when it returns. A promise: wait for it before the next. */
  update(chunk: Uint8Array): Promise<void> | undefined {
    if (this.#failure !== undefined) throw this.#failure;
    for (let at = 0; at < chunk.length; ) {
      this.#filling ??= spare.pop() ?? new SharedArrayBuffer(BLOCK_BYTES);
      const piece = chunk.subarray(at, at + BLOCK_BYTES - this.#filled);
      new Uint8Array(this.#filling).set(piece, this.#filled);
      this.#filled += piece.length;
      at += piece.length;
      if (this.#filled === BLOCK_BYTES) this.#send();
    }
    return this.#sent.length < MOST_AHEAD ? undefined : new Promise((resolve) => (this.#wake = resolve));
  }

  digests(): Promise<string[]> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      this.#resolve = resolve;
      this.#reject = reject;
      this.#over = true;
      this.#send();
      this.#thread.end(this.#id, 'digest');
    });
  }

  /** Not needed after all. Nothing after `digests`. */
  forget(): void {
    if (this.#over) return;
    this.#over = true;
    this.#thread.end(this.#id, 'forget');
    this.#wake?.();
  }

  blockDone(): void {
    this.#keep(this.#sent.shift());
    if (this.#sent.length < MOST_AHEAD) this.#wake?.();
  }
  finished(digests: string[]): void {
    this.#resolve?.(digests);
  }
  failed(error: Error): void {
    this.#failure = error;
    this.#over = true;
    this.#wake?.();
    this.#reject?.(error);
  }

  #send(): void {
    if (this.#filling === undefined) return;
    this.#thread.block(this.#id, this.#filling, this.#filled);
    this.#sent.push(this.#filling);
    this.#filling = undefined;
    this.#filled = 0;
  }

  #keep(block: SharedArrayBuffer | undefined): void {
    if (block !== undefined && spare.length < MOST_SPARE) spare.push(block);
  }
}

export type HashJob = Pick<Job, 'update' | 'digests' | 'forget'>;
export const hashJob = (names: readonly HashName[]): HashJob => new Job(names);
