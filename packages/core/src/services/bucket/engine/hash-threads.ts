// Digests of large streams, on threads of their own: MD5 alone takes most of the time of an upload, and the event loop serves others meanwhile. Bytes are in memory
// that both sides see, a block at a time, because waking a thread costs more than hashing little.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { crcPrograms } from './crc.ts';

/** As node:crypto calls hashes, and S3 the others. */
export type DigestName = 'md5' | 'sha1' | 'sha256' | 'CRC32' | 'CRC32C' | 'CRC64NVME';

/** A whole number of sealed segments. */
export const BLOCK_BYTES = 1024 * 1024;
/** Kept for the next stream. */
const MOST_SPARE = 16;
const MOST_THREADS = 4;

/** What each costs, as far as it matters to where the next stream goes. */
const WEIGHTS: Readonly<Record<DigestName, number>> = { md5: 13, sha1: 5, sha256: 6, CRC32: 3, CRC32C: 5, CRC64NVME: 5 };

/**
 * Where the processors are busy the event loop goes first: Linux has a priority for each thread, and without it the loop waited 40 to 60 ms (p99) during four uploads,
 * with it 15 to 20. Text, because a thread needs a file or a text, and this is in a bundle at times and in sources at others; as a script or a module, as the process
 * takes texts.
 */
const PROGRAM = `
const { parentPort, workerData } = process.getBuiltinModule('node:worker_threads');
const { createHash } = process.getBuiltinModule('node:crypto');
const { crc32 } = process.getBuiltinModule('node:zlib');
const os = process.getBuiltinModule('node:os');
if (process.platform === 'linux') os.setPriority(0, os.constants.priority.PRIORITY_BELOW_NORMAL);
const runners = {};
function runnerOf(name) {
  const { module, tables } = workerData[name];
  const { memory, update } = new WebAssembly.Instance(module).exports;
  new BigInt64Array(memory.buffer).set(tables);
  const page = Buffer.from(memory.buffer, 65536);
  return (crc, bytes) => {
    for (let at = 0; at < bytes.length; at += page.length) {
      const piece = bytes.subarray(at, at + page.length);
      page.fill(piece, 0, piece.length); // into or out of shared memory, set would go word by word
      crc = update(crc, piece.length);
    }
    return crc;
  };
}
function running(name) {
  if (name === 'CRC32') {
    let crc = 0;
    return { update: (bytes) => { crc = crc32(bytes, crc); }, digest: () => crc.toString(16).padStart(8, '0') };
  }
  if (name in workerData) {
    const run = (runners[name] ??= runnerOf(name));
    const bits = name === 'CRC32C' ? 32 : 64;
    const ones = (1n << BigInt(bits)) - 1n;
    let crc = ones;
    return { update: (bytes) => { crc = run(crc, bytes); }, digest: () => BigInt.asUintN(bits, crc ^ ones).toString(16).padStart(bits / 4, '0') };
  }
  const hash = createHash(name);
  return { update: (bytes) => hash.update(bytes), digest: () => hash.digest('hex') };
}
const jobs = new Map();
parentPort.on('message', ({ job, begin, block, length, end }) => {
  if (begin !== undefined) jobs.set(job, begin.map(running));
  const all = jobs.get(job);
  if (all === undefined) return;
  if (block !== undefined) {
    for (const each of all) each.update(new Uint8Array(block, 0, length));
    parentPort.postMessage({ job });
  }
  if (end === undefined) return;
  jobs.delete(job);
  if (end === 'digest') parentPort.postMessage({ job, digests: all.map((each) => each.digest()) });
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
    this.#worker = new Worker(PROGRAM, { eval: true, name: 'hashing', workerData: crcPrograms() });
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
  get load(): number {
    let load = 0;
    for (const { weight } of this.#jobs.values()) load += weight;
    return load;
  }

  begin(id: number, job: Job, names: readonly DigestName[]): void {
    this.#jobs.set(id, job);
    this.#worker.ref();
    this.#worker.postMessage({ job: id, begin: names });
  }
  block(id: number, block: ArrayBufferLike, length: number): void {
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
let lastJob = 0;

/** The one with the least to do; a new one while all have something to do and there are fewer than processors. */
function thread(): Thread {
  for (const [at, each] of threads.entries()) if (!each.alive) threads.splice(at, 1);
  const least = threads.reduce<Thread | undefined>((found, each) => (found === undefined || each.load < found.load ? each : found), undefined);
  if (least !== undefined && (least.load === 0 || threads.length >= Math.min(MOST_THREADS, availableParallelism()))) return least;
  const made = new Thread();
  threads.push(made);
  return made;
}

/** One stream on one thread. */
class Job {
  readonly weight: number;
  readonly #thread = thread();
  readonly #id = (lastJob += 1);
  /** Who waits for each block that is under way. They are done in the order in which they were sent. */
  readonly #sent: PromiseWithResolvers<void>[] = [];
  #over = false;
  #failure: Error | undefined;
  #digests: PromiseWithResolvers<string[]> | undefined;

  constructor(names: readonly DigestName[]) {
    this.weight = names.reduce((sum, name) => sum + WEIGHTS[name], 0);
    this.#thread.begin(this.#id, this, names);
  }

  /** Of a block, from its beginning. Resolves when the bytes may be changed. Rejects with what `digests` rejects with. */
  update(bytes: Buffer): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const done = Promise.withResolvers<void>();
    this.#sent.push(done);
    this.#thread.block(this.#id, bytes.buffer, bytes.length);
    return done.promise;
  }

  digests(): Promise<string[]> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    this.#digests = Promise.withResolvers<string[]>();
    this.#over = true;
    this.#thread.end(this.#id, 'digest');
    return this.#digests.promise;
  }

  /** Not needed after all. Nothing after `digests`. Blocks that are under way may change: what becomes of them matters to nobody. */
  forget(): void {
    if (this.#over) return;
    this.#over = true;
    this.#thread.end(this.#id, 'forget');
    for (const done of this.#sent.splice(0)) done.resolve();
  }

  blockDone(): void {
    this.#sent.shift()?.resolve();
  }
  finished(digests: string[]): void {
    this.#digests?.resolve(digests);
  }
  failed(error: Error): void {
    this.#failure = error;
    this.#over = true;
    for (const done of this.#sent.splice(0)) done.reject(error);
    this.#digests?.reject(error);
  }
}

export type HashJob = Pick<Job, 'update' | 'digests' | 'forget'>;
export const hashJob = (names: readonly DigestName[]): HashJob => new Job(names);

const spare: Buffer[] = [];

/** Memory that threads see too. */
export const takeBlock = (): Buffer => spare.pop() ?? Buffer.from(new SharedArrayBuffer(BLOCK_BYTES));
/** Only when nobody looks at it any more. */
export function giveBlock(block: Buffer): void {
  if (spare.length < MOST_SPARE) spare.push(block);
}
