// The engine's progress streams: one JSON object per line, with the failure, if any, among them and not in the HTTP status.
import type { Readable } from 'node:stream';
import type { DriverError } from '../../kernel/errors.ts';
import { translate } from './client.ts';
import { linesOf } from './frames.ts';

export interface ProgressLine {
  status?: string;
  stream?: string;
  id?: string;
  progressDetail?: { current?: number; total?: number };
  error?: string;
}

/** Reads to the end. The first `error` line becomes a DriverError. */
export async function drainProgress(stream: NodeJS.ReadableStream, doing: string, onLine?: (line: ProgressLine) => void): Promise<void> {
  let failure: DriverError | undefined;
  try {
    for await (const text of linesOf(stream as Readable)) {
      const line = JSON.parse(text) as ProgressLine;
      if (line.error !== undefined) failure ??= translate(new Error(line.error), doing);
      else onLine?.(line);
    }
  } catch (error) {
    throw translate(error, doing);
  }
  if (failure !== undefined) throw failure;
}
