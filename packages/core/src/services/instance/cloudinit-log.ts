// The output of first boot, read from the file that the script writes inside the instance. What that file cannot tell is made plain:
// a line's time is that of the file's last change when the line was read, and both outputs of a program are one stream.
import { systemClock } from '../../kernel/clock.ts';
import { LOG_PATH } from './cloudinit-script.ts';
import { isOver, readTar } from './cloudinit-state.ts';
import type { ComputeDriver } from './driver.ts';

const POLL = 500;
/** Longer lines are given in pieces, so that a program that writes no line breaks cannot fill the memory. */
const MAX_LINE = 64 * 1024;

export interface BootLine {
  /** ISO time. */
  time: string;
  stream: 'stdout' | 'stderr';
  text: string;
}

/**
 * The log of first boot, from its beginning; empty while there is none. With `follow` it goes on until first boot is over or the instance
 * is gone, or the signal is aborted, which ends it quietly.
 */
export async function* bootLog(driver: ComputeDriver, id: string, options: { follow: boolean; signal: AbortSignal }): AsyncIterable<BootLine> {
  const tail = new Tail(driver, id);
  const { signal } = options;
  while (!signal.aborted) {
    // Asked before reading, so that nothing is missed of what was written in between.
    const last = !options.follow || driver.capabilities.cloudInit !== 'exec' || (await isOver(driver, id));
    yield* tail.more();
    if (last) {
      yield* tail.rest();
      return;
    }
    try {
      await systemClock.sleep(POLL, signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }
}

/** Reads a growing file again and again, giving each line once. */
class Tail {
  readonly #driver: ComputeDriver;
  readonly #id: string;
  #offset = 0;
  #pending = Buffer.alloc(0);
  #time = new Date(0);

  constructor(driver: ComputeDriver, id: string) {
    this.#driver = driver;
    this.#id = id;
  }

  async *more(): AsyncGenerator<BootLine> {
    for await (const { type, size, modifiedAt, content } of readTar(this.#driver, this.#id, LOG_PATH)) {
      if (type !== 'file') continue;
      // It began anew: what an image brought along is emptied when first boot starts.
      if (size < this.#offset) [this.#offset, this.#pending] = [0, Buffer.alloc(0)];
      if (size === this.#offset) return;
      this.#time = modifiedAt;
      let skip = this.#offset;
      for await (const chunk of content as AsyncIterable<Buffer>) {
        const fresh = chunk.subarray(Math.min(skip, chunk.length));
        skip -= chunk.length - fresh.length;
        this.#offset += fresh.length;
        yield* this.#lines(fresh);
      }
    }
  }

  /** What stands after the last line break. */
  *rest(): Generator<BootLine> {
    if (this.#pending.length > 0) yield this.#line(this.#pending);
    this.#pending = Buffer.alloc(0);
  }

  *#lines(fresh: Buffer): Generator<BootLine> {
    let data = Buffer.concat([this.#pending, fresh]);
    for (let end = data.indexOf(10); end !== -1 || data.length > MAX_LINE; end = data.indexOf(10)) {
      const length = end === -1 || end > MAX_LINE ? MAX_LINE : end;
      yield this.#line(data.subarray(0, length));
      data = data.subarray(length === end ? length + 1 : length);
    }
    this.#pending = data;
  }

  #line(bytes: Buffer): BootLine {
    return { time: this.#time.toISOString(), stream: 'stdout', text: bytes.toString('utf8').replace(/\r$/, '') };
  }
}

const LAST_LINES = 20;

/**
 * The last lines that a step wrote before it failed; without a step, those of the whole log. `running` is the last step that began.
 * A program may write lines that look like the script's own; that changes only what is shown of its own output.
 */
export async function lastWords(driver: ComputeDriver, id: string, step?: string): Promise<{ lines: string[]; running: string | undefined }> {
  const tail = new Tail(driver, id);
  let lines: string[] = [];
  let running: string | undefined;
  for await (const { text } of tail.more()) {
    // It follows the last output directly when that ended without a line break.
    const failed = step === undefined ? -1 : text.indexOf(`cloud-init: ${step} failed with exit code `);
    if (failed !== -1) return { lines: [...lines, text.slice(0, failed)], running };
    const [, begun] = /^cloud-init: ((?:(?!failed with exit code|ended the shell|finished with).)+)$/.exec(text) ?? [];
    if (begun !== undefined) [running, lines] = [begun, []];
    else lines = [...lines, text].slice(-LAST_LINES);
  }
  return { lines: [...lines, ...[...tail.rest()].map(({ text }) => text)], running };
}
