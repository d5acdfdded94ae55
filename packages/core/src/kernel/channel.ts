// Bytes both ways with a second output, control messages and a result: what exec, file copies and port forwards have in common.
// The same shape embedded and over a WebSocket; `wire.ts` says how it is framed there.
import type { Readable, Writable } from 'node:stream';

export type Control = { type: 'resize'; columns: number; rows: number };

export interface Channel<R = unknown> {
  /** Bytes to the far end. Ending it ends the far end's input, nothing else. */
  readonly input: Writable;
  readonly output: Readable;
  /** The second output (a program's stderr). */
  readonly error: Readable;
  control(message: Control): void;
  /** Resolves when the far end is done and both outputs have ended; rejects with a Fault. */
  readonly result: Promise<R>;
  /** Gives up: ends the program or transfer and both outputs. */
  close(): void;
}
